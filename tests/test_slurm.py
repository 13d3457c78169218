"""What launchers of clusters do without a cluster: the program on the node, options, scripts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import HERE, Project, alive, wait_for

from experiment_runner import Ended, Resources, Session
from suitecase.launchers.attempt import ATTEMPTS, EXIT_FENCED, Spec, batch_file, record_name
from suitecase.launchers.following import ATTEMPT_PROGRAM, Followed, launch_of, left_behind, read_record
from suitecase.launchers.slurm import Slurm, commands
from suitecase.launchers.slurm.commands import limit_seconds, submit_environment
from suitecase.launchers.slurm.judging import Tracked, explained, verdict
from suitecase.launchers.slurm.scripts import request_for, script
from suitecase.rundir import layout


@dataclass
class Node:
    """A run directory whose attempts are run by hand, as a node would."""

    run_dir: Path

    def spec(self, code: str = "", **changes: Any) -> Path:
        """Write down attempt 1 of case `a`, which executes Python code; where."""
        (self.run_dir / "a").mkdir(parents=True, exist_ok=True)
        batch = self.run_dir / ATTEMPTS / "batch"
        batch.mkdir(parents=True, exist_ok=True)
        spec = Spec(
            launcher="slurm", job_variable="SLURM_JOB_ID", runner=str(HERE / "experiment_runner.py"),
            mark=(1 << 41) + time.monotonic_ns() % (1 << 40), variant="a", attempt=1,
            command=[sys.executable, "-I", "-S", "-c", "import os, sys, time\n" + code], root=str(self.run_dir),
            entry_point="work.py", experiment="exp", grace_s=1.0,
        )  # fmt: skip
        path = batch / "0.json"
        replace(spec, **changes).write(path, {"ONLY_HERE": "a b"})
        return path

    def start(self, spec: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", "-S", str(ATTEMPT_PROGRAM), str(spec)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "SLURM_JOB_ID": "7"})

    def run(self, spec: Path) -> tuple[int, str]:
        attempt = self.start(spec)
        _, said = attempt.communicate(timeout=60)
        return attempt.returncode, said

    def record(self) -> dict[str, Any]:
        return read_record(self.run_dir / "a", 1)

    def log(self) -> str:
        return (self.run_dir / "a" / "attempt-1.log").read_text()

    def wait_for_log(self) -> str:
        path = self.run_dir / "a" / "attempt-1.log"
        return wait_for(lambda: path.exists() and path.read_text(), "a word of the case")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "run")


FOREVER = "print(os.getpid(), flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER


def test_an_attempt_is_claimed_run_and_recorded(node: Node) -> None:
    """Its record and its log are all there is; its own variables are gone from the disk before it ends."""
    spec = node.spec("print(os.environ['ONLY_HERE'], os.environ['SLURM_JOB_ID']); sys.exit(3)")
    secret = batch_file(spec, "environment")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert node.run(spec) == (3, "")
    record = node.record()
    assert (record["exit_code"], record["job"], record["host"]) == (3, "7", os.uname().nodename)
    assert record["duration_s"] < 30
    assert node.log() == "a b 7\n"
    assert not secret.exists()
    assert {path.name for path in (node.run_dir / "a").iterdir()} == {"attempt-1.json", "attempt-1.log"}


def test_a_second_copy_of_an_attempt_runs_nothing(node: Node) -> None:
    """As after a requeue: the first one is left alone, and its record too, whether it still runs or has ended."""
    spec = node.spec("(print('one', flush=True), time.sleep(1))")
    first = node.start(spec)
    node.wait_for_log()
    code, said = node.run(spec)
    assert code == EXIT_FENCED
    assert f"claimed already, by process {first.pid} on {os.uname().nodename}" in said
    assert first.wait(60) == 0
    first.communicate()
    before = node.record()
    assert node.run(spec)[0] == EXIT_FENCED
    assert node.record() == before
    assert node.log() == "one\n"


def test_an_attempt_that_cant_speak_ends_as_it_should(node: Node) -> None:
    """What a task says goes into a file of the run directory: on a full disk there is no room for that either."""
    spec = node.spec()
    assert node.run(spec) == (0, "")
    command = [sys.executable, "-I", "-S", str(ATTEMPT_PROGRAM), str(spec)]
    with open("/dev/full", "wb") as full:
        assert subprocess.run(command, stderr=full).returncode == EXIT_FENCED


def test_an_attempt_keeps_its_own_time(node: Node) -> None:
    """Nobody else is there to do it."""
    assert node.run(node.spec(FOREVER, timeout_s=0.5))[0] == 128 + signal.SIGTERM
    record = node.record()
    assert (record["status"], record["exit_code"]) == ("timed_out", -signal.SIGTERM)
    assert 0.5 <= record["duration_s"] < 60


@pytest.mark.parametrize(
    ("asked", "status", "fault", "exit_code"),
    [
        ("signal", "", "preempted", -signal.SIGTERM),
        ("signal near the limit", "timed_out", "", -signal.SIGTERM),
        ("cancel", "cancelled", "", -signal.SIGTERM),
        ("asked", "cancelled", "", -signal.SIGTERM),
        ("asked to kill", "cancelled", "", -signal.SIGKILL),
    ],
)
def test_who_ended_it_is_told(node: Node, asked: str, status: str, fault: str, exit_code: int) -> None:
    """A scheduler's signal is a preemption, unless its limit of time is near, or a file says who asked for it."""
    spec = node.spec(FOREVER, limit_s=60.0 if "limit" in asked else None)
    attempt = node.start(spec)
    pid = int(node.wait_for_log())
    if asked == "cancel":
        (node.run_dir / "cancel").touch()
    if "asked" in asked:
        batch_file(spec, "asked").write_text("KILL" if "kill" in asked else "TERM")
    attempt.send_signal(signal.SIGTERM)
    attempt.communicate(timeout=60)
    record = node.record()
    assert (record["status"], record["fault"], record["exit_code"]) == (status, fault, exit_code)
    assert not alive(pid)


def test_an_attempt_that_was_given_up_ends_and_tells_nothing(node: Node) -> None:
    """The runner counts it as lost and may have begun the next one: it must leave no word of its own."""
    spec = node.spec(STUBBORN)
    attempt = node.start(spec)
    pid = int(node.wait_for_log())
    claim = node.record()
    batch_file(spec, "fenced").touch()
    assert attempt.wait(60) == EXIT_FENCED
    attempt.communicate()
    assert not alive(pid)
    assert node.record() == claim


@pytest.mark.parametrize("kind", ["fenced", "asked", "cancel"])
def test_an_attempt_that_is_no_longer_wanted_never_begins(node: Node, kind: str) -> None:
    spec = node.spec("print('ran')")
    path = node.run_dir / "a" / "cancel" if kind == "cancel" else batch_file(spec, kind)
    path.write_text("")
    code, _ = node.run(spec)
    assert code == (EXIT_FENCED if kind == "fenced" else 1)
    assert not (node.run_dir / "a" / "attempt-1.log").exists()
    assert node.record().get("status") == (None if kind == "fenced" else "cancelled")


def test_kill_9_of_an_attempt_takes_its_case_along(node: Node) -> None:
    attempt = node.start(node.spec(STUBBORN))
    pid = int(node.wait_for_log())
    attempt.kill()
    attempt.communicate()
    wait_for(lambda: not alive(pid), "the end of the case")
    assert "ended_at" not in node.record()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"command": ["/no/such/program"]}, "/no/such/program"),
        ({"prefix": ["no-such-prefix", "$NOWHERE"]}, "no-such-prefix"),
        ({"root": "/no/such/root"}, "/no/such/root"),
        ({"scratch": "/no/such/scratch"}, "/no/such/scratch"),
    ],
)
def test_what_cant_be_started_is_recorded(node: Node, changes: dict[str, Any], cause: str) -> None:
    spec = node.spec(**changes)
    assert node.run(spec)[0] == 1
    followed = Followed(launch_of(Spec.read(spec), node.run_dir), spec)
    (event,) = followed.news({})
    assert type(event).__name__ == "Refused"
    assert cause in node.record()["cause"]


def test_a_prefix_and_a_scratch_folder_are_the_nodes_own(node: Node, tmp_path: Path) -> None:
    spec = node.spec(
        "print(sys.argv[1:], os.listdir(os.environ['TMPDIR']), os.environ['TMPDIR'])",
        prefix=["env", "ADDED=$SLURM_JOB_ID"], scratch=str(tmp_path),
    )  # fmt: skip
    assert node.run(spec)[0] == 0
    arguments, listing, folder = node.log().rsplit(maxsplit=2)
    assert (arguments, listing) == ("[]", "[]")
    assert folder.startswith(f"{tmp_path}/suitecase-")
    assert not Path(folder).exists()


def test_what_a_dead_runner_left_is_found_by_its_files(node: Node) -> None:
    """Attempts whose end the journal has are left out, and their secrets removed; torn specs are passed over."""
    spec = node.spec("pass")
    (spec.parent / "1.json").write_text('{"launcher": "slu')
    (found,) = left_behind(node.run_dir, "slurm", set())
    assert (found.launch.variant, found.launch.attempt, found.index) == ("a", 1, 0)
    assert not list(left_behind(node.run_dir, "ray", set()))
    assert not list(left_behind(node.run_dir, "slurm", {found.launch.mark}))
    assert not batch_file(spec, "environment").exists()


def test_names_on_the_disk_are_those_of_the_format() -> None:
    assert (ATTEMPTS, record_name(3)) == (layout.ATTEMPTS, layout.attempt_record(3))


# --- Judging


def tracked(node: Node, said: commands.Task | None, **changes: Any) -> Tracked:
    """A task of which Slurm says something, at second 100 of the runner's clock."""
    spec = node.spec()
    made = Tracked(Followed(launch_of(Spec.read(spec), node.run_dir), spec, started=True), 7, asked=True, said=said)
    return replace(made, gone_s=100.0, **changes)


def test_an_attempt_on_a_lost_node_lives_while_it_beats(node: Node) -> None:
    """Whatever times its node's clock writes: that they change is what counts, by the runner's own clock."""
    task = tracked(node, commands.Task("NODE_FAIL", node="n1"))
    alive_file = batch_file(task.followed.spec, "alive")
    now = 100.0
    for moment in (2_000_000_000, 5, 1_000_000_000):  # in the future, long ago, later again
        alive_file.touch()
        os.utime(alive_file, (moment, moment))
        assert verdict(task, set(), now, 600.0) is None
        assert verdict(task, set(), now + 34, 600.0) is None
        now += 34
    end = verdict(task, set(), now + 36, 600.0)
    assert isinstance(end, Ended)
    assert (end.exit_code, end.fault, end.status) == (None, "lost", "")
    assert "its node failed on n1" in end.cause


@pytest.mark.parametrize(
    ("state", "fault", "status"),
    [
        ("TIMEOUT", "", "timed_out"),
        ("CANCELLED", "", "cancelled"),
        ("OUT_OF_MEMORY", "oom", ""),
        ("PREEMPTED", "preempted", ""),
        ("FAILED", "lost", ""),
        ("COMPLETED", "lost", ""),
    ],
)
def test_slurms_word_counts_where_no_end_was_recorded(node: Node, state: str, fault: str, status: str) -> None:
    task = tracked(node, commands.Task(state))
    assert verdict(task, set(), 100.0, 600.0) is None, "its record may not be visible yet"
    end = verdict(task, set(), 116.0, 600.0)
    assert isinstance(end, Ended)
    assert (end.fault, end.status) == (fault, status)


def test_a_loss_is_told_with_what_the_task_said_last(node: Node) -> None:
    task = tracked(node, commands.Task("COMPLETED"))
    batch_file(task.followed.spec, "out").write_text("one\nsuitecase: a.json: No space left on device\n\n")
    assert verdict(task, set(), 100.0, 600.0) is None
    end = verdict(task, set(), 116.0, 600.0)
    assert isinstance(end, Ended)
    assert "no record of its end: suitecase: a.json: No space left on device (more in " in end.cause


@pytest.mark.parametrize(
    ("reason", "passes"),
    [
        ("JobHeldUser", False),
        ("JobHoldMaxRequeue", False),
        ("QOSMaxCpuPerJobLimit", False),
        ("AssocMaxWallDurationPerJobLimit", False),
        ("QOSMinGRES", False),
        ("launch failed requeued held", False),
        ("Resources", True),
        ("QOSMaxCpuPerUserLimit", True),
        ("AssocGrpCPUMinutesLimit", True),
        ("JobArrayTaskLimit", True),
    ],
)
def test_what_doesnt_pass_by_itself_is_given_up(node: Node, reason: str, passes: bool) -> None:
    """A limit for all jobs together passes, one for a single job doesn't."""
    task = replace(tracked(node, commands.Task("PENDING", reason), held_s=100.0), gone_s=None)
    task.followed.started = False
    assert (verdict(task, set(), 701.0, 600.0) is None) == passes


def test_a_task_that_runs_is_left_to(node: Node) -> None:
    """However long it is silent: a file system may hang."""
    task = tracked(node, commands.Task("RUNNING"))
    assert verdict(task, set(), 100_000.0, 600.0) is None


@pytest.mark.parametrize(
    ("task", "duration_s", "told"),
    [
        (commands.Task("CANCELLED"), 5.0, ("cancelled", "")),
        (commands.Task("TIMEOUT"), 5.0, ("timed_out", "")),
        (commands.Task("COMPLETED", limit_s=3600.0), 3560.0, ("timed_out", "")),
        (commands.Task("FAILED", limit_s=3600.0), 5.0, ("", "preempted")),
        (commands.Task("RUNNING"), 5.0, None),
    ],
)
def test_a_signal_is_explained_by_what_slurm_says(
    node: Node, task: commands.Task, duration_s: float, told: tuple[str, str] | None
) -> None:
    end = Ended(1, -15, fault="preempted", cause="asked to end", duration_s=duration_s)
    better = explained(tracked(node, task), end, 101.0, 10.0)
    assert (better and (better.status, better.fault)) == told


# --- Options and scripts


def test_options_that_are_wrong_are_all_told(project: Project) -> None:
    arguments = ("--launcher", "slurm", "--launcher-option", "partion=gpu", "--launcher-option", "wait=1")
    done = project.run(*arguments, "--gpus-per-case", "99")
    assert done.code == 2
    assert "GPUs" not in done.stderr, "nobody knows what the cluster has"
    assert "launcher 'slurm' has no option 'partion'. Did you mean 'partition'?" in done.stderr
    assert "launcher 'slurm' has no option 'wait'. It has partition, account, " in done.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"memory": "lots"}, "memory is 'lots': write a size"),
        ({"memory": "1.5G"}, "without a point, such as 1500M"),
        ({"time": "INVALID"}, "time is 'INVALID': write minutes"),
        ({"extra": "--array=0-3"}, "--array is the launcher's own"),
        ({"extra": "--exclusive -Jmine"}, "-J is the launcher's own"),
        ({"extra": "--mem-per-cpu=1G"}, "in place of --mem-per-cpu say memory"),
        ({"extra": "--arr=0-3"}, "--arr is the launcher's own"),
        ({"extra": "-pgpu"}, "in place of -p say partition"),
        ({"time": "an hour"}, "time is 'an hour': write minutes"),
        ({"gpus": "a100"}, "gpus is 'a100': write a number"),
        ({"nodes": "two"}, "nodes is 'two': input should be a valid integer"),
        ({"cpus": 0}, "cpus is 0: input should be greater than or equal to 1"),
        ({"extra": "reservation=x"}, "each in one word"),
        ({"launch": "srun 'x"}, "launch is \"srun 'x\": it can't be split into words"),
        ({"partition": "a\nb"}, "there is a line break"),
    ],
)
def test_values_that_are_none_are_told(options: dict[str, Any], problem: str) -> None:
    assert any(problem in told for told in Slurm(**options).problems())


def test_options_travel_as_text() -> None:
    """What is recorded gives the same launcher again."""
    made = Slurm(partition="gpu", nodes=2, gpus="a100:4", setup="module load x\nmodule load y", poll_s=1.5)
    assert made.describe() == {
        "partition": "gpu", "gpus": "a100:4", "nodes": "2", "setup": "module load x\nmodule load y", "poll_s": "1.5",
    }  # fmt: skip
    again = Slurm(**cast(dict[str, Any], made.describe()))
    assert again.convert() == []
    assert vars(again) == vars(made)


def test_without_slurm_nothing_is_started(project: Project, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to("/usr/bin/git")
    project.suite({"a": ""}, before="from suitecase.launchers.slurm import Slurm", more="launcher=Slurm()")
    done = project.run(env={"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(HERE)})
    assert done.code == 2
    assert "launcher 'slurm' needs sbatch, squeue, scancel, scontrol: start the suite on a login node" in done.stderr
    assert not (project.root / "results").exists()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-12", 129600), ("1-0:30", 88200), ("UNLIMITED", None)],
)
def test_limits_of_time_are_read_as_slurm_writes_them(text: str, seconds: float | None) -> None:
    assert limit_seconds(text) == seconds


@pytest.mark.parametrize("time", ["0", "UNLIMITED", "infinite"])
def test_no_limit_of_time_is_asked_for_as_such(time: str, tmp_path: Path) -> None:
    """Left out, the partition's own would hold; and no signal is taken for the warning of one."""
    options = Slurm(time=time)
    session = session_in(tmp_path)
    request = request_for(Resources(), options, session)
    assert (request.minutes, request.limit_s) == (0, None)
    assert "#SBATCH --time=0\n" in script("b", 1, request, options, session)


def test_an_option_goes_before_a_variable() -> None:
    """For sbatch itself variables win over the script."""
    around = {"SBATCH_PARTITION": "old", "SBATCH_RESERVATION": "old", "SBATCH_QOS": "kept", "HOME": "/h"}
    options = Slurm(partition="new", extra="--reservation=new --exclusive")
    assert options.environment(around) == {"SBATCH_QOS": "kept", "HOME": "/h"}


def test_a_surrounding_job_says_nothing_to_sbatch() -> None:
    given = {"SLURM_CONF": "c", "SLURM_JOB_ID": "1", "SBATCH_EXPORT": "NONE", "SBATCH_ACCOUNT": "me", "PATH": "/bin"}
    assert submit_environment(given) == {"SLURM_CONF": "c", "SBATCH_ACCOUNT": "me", "PATH": "/bin"}


def session_in(run_dir: Path, **changes: Any) -> Session:
    return Session(
        run_dir=run_dir, root=run_dir, entry_point=run_dir / "work.py", experiment="exp", mode="standard",
        environment={}, first_signal=signal.SIGTERM, grace_s=1.0, nice=0, foreground=False, parallelism=1, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("needs", "asked"),
    [
        (Resources(), (1, "4G", "", None)),
        (Resources(cpus=2.5, gpus=2, memory_gb=1, timeout_s=60), (3, "1018M", "gpu:a100:2", 3)),
        (Resources(gpus=0), (1, "4G", "", None)),
        (Resources(timeout_s=3600), (1, "4G", "", 62)),
    ],
)
def test_needs_become_a_request(needs: Resources, asked: tuple[Any, ...], tmp_path: Path) -> None:
    """Memory in MiB with room for the attempt itself, a limit that the attempt's own timeout comes before."""
    options = Slurm(gpus="a100:0")
    request = request_for(needs, options, session_in(tmp_path))
    assert (request.cpus, request.memory, request.gres, request.minutes) == asked


def test_a_script_is_bash_in_any_folder(tmp_path: Path) -> None:
    """Executed by hand, with an index as Slurm would give it, it runs the attempt of that index."""
    node = Node(tmp_path / "a 'b' $c %d \"e\"")
    node.spec("print('ran')")
    options = Slurm(partition="p q", setup="export ADDED=1", launch="env", extra="--reservation=x")
    session = session_in(node.run_dir)
    text = script("batch", 1, request_for(Resources(), options, session), options, session)
    assert '#SBATCH --partition="p q"\n' in text
    assert "#SBATCH --reservation=x\n" in text
    done = subprocess.run(["bash", "-c", text], env={**os.environ, "SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "5"})
    assert done.returncode == 0
    assert node.log() == "ran\n"
    assert shlex.split(text.splitlines()[-1])[0] == "exec"


def test_tasks_of_a_queue_are_understood() -> None:
    key, task = commands.parse_task("12|3|RUNNING|None|n1|1-00:00:00")
    assert (key, task) == ((12, 3), commands.Task("RUNNING", "", "n1", 86400.0))
    key, task = commands.parse_task("12|N/A|CANCELLED|JobHeldUser||UNLIMITED")
    assert (key, task.reason) == ((12, None), "JobHeldUser")
    assert commands.parse_task("12|0|PENDING|Priority||NOT_SET")[1].limit_s is None
