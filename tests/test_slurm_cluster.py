"""The launcher `slurm` on a real cluster of two nodes: `python3 dev.py clusters`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import HERE, Project, alive, clean_environment, wait_for
from slurm_cluster import Cluster, missing
from transcripts import run_blocks

from suitecase.launchers.conformance import Conformance

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        bool(missing()), reason=f"no Slurm here: {', '.join(missing())} (apt-get install slurm-wlm munge)"
    ),
]

QUICK = ("--launcher", "slurm", "--launcher-option", "poll_s=1", "--launcher-option", "memory=100M")
"""What makes a suite run on the cluster; its queue is asked often, so that tests are short."""

FOREVER = "(folder / f'pid-{os.environ[\"SUITECASE_ATTEMPT\"]}').write_text(str(os.getpid())); time.sleep(600)"
UNTIL_GO = """
with (folder / "starts").open("a") as file: file.write(os.environ["SLURMD_NODENAME"] + "\\n")
while not (folder / "go").exists(): time.sleep(0.05)
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster, which every command of this module's processes then talks to."""
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    changed = {"SLURM_CONF": str(made.configuration), "PATH": made.environment["PATH"]}
    before = {name: os.environ.get(name) for name in changed}
    try:
        made.start()
        os.environ.update(changed)
        yield made
    finally:
        made.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(autouse=True)
def calm(cluster: Cluster) -> Iterator[None]:
    """Each test finds, and leaves, a cluster without jobs and with all its daemons."""
    yield
    if "slurmctld" not in cluster.daemons:
        cluster.daemon("slurmctld", "slurmctld", "-D")
    for node in ("n1", "n2"):
        if node not in cluster.daemons:
            cluster.start_node(node)
    wait_for(lambda: "UP" in cluster.ask("scontrol", "ping"), "the controller")
    cluster.ask("scancel", "--user", str(os.getuid()))
    wait_for(cluster.is_idle, "two idle nodes")


def started(project: Project, variant: str, attempt: int = 1) -> int:
    """The pid that a case's attempt has written down."""
    path = project.run_dir / variant / f"pid-{attempt}"
    return int(wait_for(lambda: path.exists() and path.read_text(), f"attempt {attempt} of {variant}"))


def begun(project: Project, variant: str) -> list[str]:
    """The nodes on which a case has begun, in order, once it has."""
    path = project.run_dir / variant / "starts"
    return wait_for(lambda: path.exists() and path.read_text().split(), f"a start of {variant}")


def let_go(project: Project, *variants: str) -> None:
    for variant in variants:
        (project.run_dir / variant / "go").touch()


def ends(project: Project, variant: str) -> list[dict[str, Any]]:
    return [event for event in project.events("attempt_ended") if event["variant"] == variant]


def causes(project: Project) -> dict[str, str]:
    return {event["variant"]: event["cause"] for event in project.events("case_ended")}


def jobs(cluster: Cluster) -> list[str]:
    """`JOB_INDEX|STATE` of every task that is not over."""
    return cluster.ask("squeue", "-h", "-r", "-o", "%F_%K|%T").split()


class TestSlurm(Conformance):
    """What every launcher must do."""

    arguments = QUICK
    patience_s = 240.0


# --- What is asked for


def test_a_case_gets_what_it_needs(project: Project) -> None:
    """CPUs, memory, GPUs, setup lines and scratch arrive; what the runner's own job would have said doesn't."""
    do = """print(json.dumps(dict(os.environ))); assert Path(os.environ["TMPDIR"]).is_dir()"""
    project.suite(
        f"[ExperimentCase('a', Config(do={do!r}), resources=Resources(cpus=3, gpus=2, memory_gb=0.5))]",
        before="from experiment_runner import Resources",
    )
    options = ("--launcher-option", "setup=export FROM_SETUP=yes", "--launcher-option", f"scratch={project.root}")
    around = {"SLURM_MEM_PER_CPU": "7", "SLURM_ARRAY_TASK_ID": "99", "SBATCH_EXPORT": "NONE", "MINE": "a b"}
    done = project.run(*QUICK, *options, env={**os.environ, **around})
    assert done.code == 0, done.stdout + done.stderr
    seen = json.loads((project.run_dir / "a" / "attempt-1.log").read_text())
    assert seen["SLURM_CPUS_PER_TASK"] == "3"
    assert seen["OMP_NUM_THREADS"] == "3"
    assert seen["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert 477 + 64 <= int(seen["SLURM_MEM_PER_NODE"]) <= 478 + 64
    assert (seen["FROM_SETUP"], seen["MINE"], seen["SLURM_ARRAY_TASK_ID"]) == ("yes", "a b", "0")
    assert "SLURM_MEM_PER_CPU" not in seen
    assert seen["TMPDIR"] == seen["SUITECASE_SCRATCH"]
    assert not Path(seen["TMPDIR"]).exists()
    (event,) = project.events("attempt_started")
    assert event["job"] == f"{seen['SLURM_ARRAY_JOB_ID']}_0"


def test_a_case_on_two_nodes_finds_its_parts(project: Project) -> None:
    """The launch line starts one process a node, which know where to meet."""
    do = "print(os.environ['SLURMD_NODENAME'], os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'])"
    project.suite({"a": do})
    options = ("--launcher-option", "nodes=2", "--launcher-option", "launch=srun --ntasks-per-node=1 --label")
    done = project.run(*QUICK, *options, env=os.environ)
    assert done.code == 0, done.stdout + done.stderr
    log = (project.run_dir / "a" / "attempt-1.log").read_text()
    assert sorted(re.findall(r"^(\d): (n\d) n1 2\d{4}$", log, re.MULTILINE)) == [("0", "n1"), ("1", "n2")]


DISTRIBUTED = """
import torch, torch.distributed
torch.distributed.init_process_group("gloo")
rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
total = torch.tensor([float(rank)])
torch.distributed.all_reduce(total)
where = [None] * size
torch.distributed.all_gather_object(where, os.environ["SLURMD_NODENAME"])
if rank == 0:
    (folder / "results.json").write_text(json.dumps({"size": size, "total": float(total), "nodes": sorted(where)}))
torch.distributed.destroy_process_group()
"""


def test_torchrun_trains_across_nodes(project: Project) -> None:
    """Two processes on each of two nodes meet, and one of them writes. Both nodes are this machine: so its address."""
    pytest.importorskip("torch", reason="PyTorch is not here: `nox -s torch` installs it")
    project.suite({"a": DISTRIBUTED, "b": f"{DISTRIBUTED}\nif rank == 3: sys.exit(5)"})
    srun = "srun --ntasks-per-node=1 --kill-on-bad-exit=1"
    torchrun = f"{sys.executable} -m torch.distributed.run --nnodes=2 --nproc-per-node=2"
    meeting = "--rdzv-backend=c10d --rdzv-endpoint=127.0.0.1:$MASTER_PORT --rdzv-id=$SLURM_JOB_ID --no-python"
    options = ("nodes=2", f"launch={srun} {torchrun} {meeting}")
    done = project.run(*QUICK, *(word for each in options for word in ("--launcher-option", each)), env=os.environ)
    assert project.statuses() == {"a": "succeeded", "b": "failed"}, done.stdout + done.stderr
    results = json.loads((project.run_dir / "a" / "results.json").read_text())
    assert results == {"size": 4, "total": 6.0, "nodes": ["n1", "n1", "n2", "n2"]}


def test_equal_cases_share_an_array(project: Project, cluster: Cluster) -> None:
    """500 cases are two arrays, as many as MaxArraySize asks for; all succeed, all are recorded once."""
    project.suite("[ExperimentCase(f'c{i}', Config(do='pass')) for i in range(500)]")
    said, _ = project.start(*QUICK, env=os.environ, stderr=subprocess.STDOUT).communicate(timeout=600)
    assert "Completed: 500/500 succeeded" in said, said[-2000:]
    assert len(ended := project.events("attempt_ended")) == 500
    assert {event["status"] for event in ended} == {"succeeded"}
    numbers = {event["job"].split("_")[0] for event in project.events("attempt_started")}
    assert len(numbers) == 2


# --- What goes wrong


def test_what_slurm_refuses_is_recorded_and_the_run_goes_on(project: Project) -> None:
    needs = "from experiment_runner import Resources"
    cases = "[ExperimentCase('huge', Config(), resources=Resources(memory_gb=999)), ExperimentCase('small', Config())]"
    project.suite(cases, before=needs)
    done = project.run(*QUICK, env=os.environ)
    assert done.code == 1
    assert project.statuses() == {"huge": "failed", "small": "succeeded"}
    assert "sbatch:" in causes(project)["huge"]
    assert "not available" in causes(project)["huge"]


@pytest.mark.parametrize(
    ("option", "words"), [("partition=nope", "invalid partition"), ("constraint=nope", "nvalid feature")]
)
def test_a_name_that_the_cluster_lacks_is_told_before_anything_starts(
    project: Project, option: str, words: str
) -> None:
    project.suite({"a": ""})
    done = project.run(*QUICK, "--launcher-option", option, env={**os.environ, "SBATCH_PARTITION": "debug"})
    assert done.code == 2
    assert f"sbatch refuses --{option}" in done.stderr
    assert words in done.stderr
    assert not (project.root / "results").exists()


def test_a_dry_run_tells_what_slurm_would_refuse(project: Project) -> None:
    cases = "[ExperimentCase('huge', Config(), resources=Resources(memory_gb=999)), ExperimentCase('small', Config())]"
    project.suite(cases, before="from experiment_runner import Resources")
    done = project.run(*QUICK, "--dry-run", env=os.environ)
    assert done.code == 0, done.stderr
    assert "an array of 1, which it refuses: " in done.stdout
    assert "an array of 1:" in done.stdout


def test_a_quota_is_filled_and_kept(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the queue has no room for is submitted in smaller parts, and when there is room again."""
    small = Cluster(tmp_path_factory.mktemp("small"), more="MaxJobCount=10\nMinJobAge=2\n")
    try:
        small.start()
        project.suite("[ExperimentCase(f'c{i}', Config()) for i in range(14)]")
        done = project.run(*QUICK, env=small.environment)
    finally:
        small.stop()
    assert done.code == 0, done.stdout + done.stderr
    assert len({event["job"].split("_")[0] for event in project.events("attempt_started")}) >= 2


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        ("python=/no/such/python", "/no/such/python"),
        ("setup=echo no such module >&2; false", "no such module"),
        ("setup=false; true", "does a setup line end it?"),
        ("container=no-such-container exec x.sif", "no-such-container"),
        ("scratch=/no/such/folder", "/no/such/folder"),
        ("launch=no-such-launcher --x", "no-such-launcher"),
    ],
)
def test_a_node_that_cant_run_it_says_why(project: Project, option: str, cause: str) -> None:
    project.suite({"a": ""})
    done = project.run(*QUICK, "--launcher-option", option, env=os.environ)
    assert done.code == 1
    assert cause in causes(project)["a"], causes(project)


@pytest.mark.parametrize(("option", "reason"), [("extra=--hold", "JobHeldUser"), ("nodes=3", "Partition")])
def test_a_job_that_is_held_is_given_up(project: Project, cluster: Cluster, option: str, reason: str) -> None:
    project.suite({"a": ""})
    done = project.run(*QUICK, "--launcher-option", option, "--launcher-option", "held_s=2", env=os.environ)
    assert done.code == 1
    assert f"was held for 2 s: {reason}" in causes(project)["a"]
    assert not jobs(cluster)


def test_somebody_cancels_a_job(project: Project, cluster: Cluster) -> None:
    """scancel of a running task, and of one that waits: both are cancelled cases, and the run goes on."""
    project.suite({"runs": FOREVER, "waits": FOREVER, "other": "pass"})
    runner = project.start(*QUICK, "--launcher-option", "max_parallel=1", env=os.environ)
    wait_for(project.runs, "a run")
    started(project, "runs")
    (job,) = {line.split("_")[0] for line in jobs(cluster)}
    cluster.ask("scancel", f"{job}_1")
    cluster.ask("scancel", f"{job}_0")
    assert project.finish(runner).code == 1
    assert project.statuses() == {"runs": "cancelled", "waits": "cancelled", "other": "succeeded"}
    assert "cancelled in Slurm" in causes(project)["runs"]


def test_preemption_is_recorded_as_such_and_retried(project: Project, cluster: Cluster) -> None:
    do = "if os.environ['SUITECASE_ATTEMPT'] == '1':\n    " + FOREVER
    policy = "policy=ExecutionPolicy(max_attempts=2, retry_on=('preempted',), backoff_s=0)"
    project.suite({"a": do}, before="from experiment_runner import ExecutionPolicy", more=policy)
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    started(project, "a")
    cluster.ask("srun", "--partition=urgent", "--nodes=2", "--cpus-per-task=16", "--mem=60G", "true")
    assert project.finish(runner).code == 0
    (retry,) = project.events("retry_scheduled")
    assert "preempted" in retry["cause"]


@pytest.mark.slow
def test_the_limit_of_time_is_recorded_as_such(project: Project, cluster: Cluster) -> None:
    """A minute is the shortest that Slurm knows, and it gives notice before."""
    project.suite({"a": FOREVER})
    done = project.run(*QUICK, "--launcher-option", "time=1", env=os.environ)
    assert done.code == 1
    assert project.statuses() == {"a": "timed_out"}
    assert "limit of time" in causes(project)["a"]


def test_a_node_dies_and_its_case_begins_again_elsewhere(project: Project, cluster: Cluster) -> None:
    """Silent, and lost for Slurm: then the attempt counts as lost, and only then the next one begins."""
    policy = "policy=ExecutionPolicy(max_attempts=2, retry_on=('lost',), backoff_s=0)"
    project.suite({"a": UNTIL_GO}, before="from experiment_runner import ExecutionPolicy", more=policy)
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    (node,) = begun(project, "a")
    cluster.kill_node(node)
    wait_for(lambda: len(begun(project, "a")) == 2, "the second attempt", 150)
    let_go(project, "a")
    assert project.finish(runner).code == 0
    first, second = ends(project, "a")
    assert (first["status"], second["status"]) == ("failed", "succeeded")
    (retry,) = project.events("retry_scheduled")
    assert "its node failed" in retry["cause"]
    assert begun(project, "a")[1] != node


def test_a_node_that_slurm_lost_may_go_on_with_its_case(project: Project, cluster: Cluster) -> None:
    """The daemon is gone, the case is not: it runs to its end, and there is never a second copy."""
    project.suite({"a": UNTIL_GO})
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    (node,) = begun(project, "a")
    (job,) = {line.split("_")[0] for line in jobs(cluster)}
    cluster.kill_daemon(node)
    wait_for(lambda: "NODE_FAIL" in cluster.ask("squeue", "-h", "-t", "all", "-j", job, "-o", "%T"), "NODE_FAIL", 90)
    let_go(project, "a")
    done = project.finish(runner)
    assert done.code == 0, done.stdout
    assert begun(project, "a") == [node]
    assert [end["status"] for end in ends(project, "a")] == ["succeeded"]


def test_a_requeued_task_never_runs_a_second_copy(project: Project, cluster: Cluster) -> None:
    """Slurm starts the same task again, as after a node's loss where requeuing is forced: it finds the claim."""
    project.suite({"a": FOREVER})
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    started(project, "a")
    (job,) = {line.split("|")[0] for line in jobs(cluster)}
    number = cluster.ask("squeue", "-h", "-j", job, "-o", "%A")
    cluster.ask("scontrol", "update", f"JobId={number}", "Requeue=1")
    subprocess.run(["scontrol", "requeue", number], check=True, env=cluster.environment)
    done = project.finish(runner)
    assert project.statuses() == {"a": "failed"}, done.stdout
    assert "preempted" in causes(project)["a"]
    (out,) = project.run_dir.glob(".attempts/*/0.out")
    cluster.ask("scontrol", "update", f"JobId={number}", "StartTime=now")
    wait_for(lambda: "claimed already" in out.read_text(), "the second copy", 150)
    assert len(list((project.run_dir / "a").glob("pid-*"))) == 1


# --- When the runner, or the cluster, is away


def test_what_ended_while_the_runner_was_away_is_adopted(project: Project, cluster: Cluster) -> None:
    """Of three cases one ends, one runs on and one waits while nobody looks; a resume runs none of them again."""
    project.suite({"ends": UNTIL_GO, "runs": UNTIL_GO, "waits": UNTIL_GO})
    runner = project.start(*QUICK, "--launcher-option", "max_parallel=2", env=os.environ)
    wait_for(project.runs, "a run")
    for variant in ("ends", "runs"):
        begun(project, variant)
    runner.kill()
    project.finish(runner)
    let_go(project, "ends")
    wait_for(lambda: "ended_at" in (project.run_dir / "ends" / "attempt-1.json").read_text(), "the end of one")
    begun(project, "waits")
    again = project.start("--resume", "latest", env=os.environ)
    wait_for(lambda: project.statuses().get("ends") == "succeeded", "its record")
    let_go(project, "runs", "waits")
    done = project.finish(again)
    assert done.code == 0, done.stdout + done.stderr
    assert "Taking up 3 attempts" in done.stdout
    assert all(len(begun(project, variant)) == 1 for variant in ("ends", "runs", "waits"))
    assert len(project.events("attempt_started")) == len(project.events("attempt_ended")) == 3


def test_a_resume_needs_no_memory_of_slurms(project: Project, cluster: Cluster) -> None:
    """Slurm has forgotten the jobs, and there is no accounting: the attempts' own records are enough.

    So they are if the runner died before it noted a job's number.
    """
    good = f"ExperimentCase('good', Config(do={UNTIL_GO!r}), resources=Resources(cpus=2))"
    bad = f"ExperimentCase('bad', Config(do={UNTIL_GO + 'sys.exit(3)'!r}))"
    project.suite(f"[{good}, {bad}]", before="from experiment_runner import Resources")
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    for variant in ("good", "bad"):
        begun(project, variant)
    runner.kill()
    project.finish(runner)
    let_go(project, "good", "bad")
    for variant in ("good", "bad"):
        record = project.run_dir / variant / "attempt-1.json"
        wait_for(lambda record=record: "ended_at" in record.read_text(), f"the end of {variant}")
    one, _ = project.run_dir.glob(".attempts/*/job")
    one.unlink()
    cluster.stop_controller()
    shutil.rmtree(cluster.folder / "state")
    (cluster.folder / "state").mkdir()
    cluster.daemon("slurmctld", "slurmctld", "-D")
    wait_for(lambda: "UP" in cluster.ask("scontrol", "ping"), "the controller")
    assert cluster.ask("squeue", "-h", "-t", "all") == ""
    done = project.run("--resume", "latest", env=os.environ)
    assert done.code == 1, done.stdout + done.stderr
    assert project.statuses() == {"good": "succeeded", "bad": "failed"}
    assert [end.get("exit_code") for end in ends(project, "bad")] == [3]
    assert all(len(begun(project, variant)) == 1 for variant in ("good", "bad"))


def test_a_cluster_that_vanishes_is_waited_for_then_named(project: Project, cluster: Cluster) -> None:
    """What runs is followed by its files; what waits keeps the run, until patience ends; a resume completes it."""
    project.suite({"runs": UNTIL_GO, "waits": "pass"})
    options = ("--launcher-option", "max_parallel=1", "--launcher-option", "patience_s=12")
    runner = project.start(*QUICK, *options, env={**os.environ, "SLURM_TIMEOUT": "5"})
    wait_for(project.runs, "a run")
    begun(project, "runs")
    project.wait_for_started("runs")
    cluster.stop_controller()
    let_go(project, "runs")
    wait_for(lambda: project.statuses().get("runs") == "succeeded", "the record of what ran")
    done = project.finish(runner)
    assert done.code == 75, done.stdout + done.stderr
    assert "Slurm has not answered for" in done.stderr
    assert "Traceback" not in done.stderr
    cluster.daemon("slurmctld", "slurmctld", "-D")
    wait_for(lambda: "UP" in cluster.ask("scontrol", "ping"), "the controller")
    resumed = project.run("--resume", "latest", env=os.environ)
    assert resumed.code == 0, resumed.stdout + resumed.stderr
    assert project.statuses() == {"runs": "succeeded", "waits": "succeeded"}


def test_what_could_not_be_submitted_stays_pending(project: Project, cluster: Cluster) -> None:
    """The cluster is away when the next case's turn comes: that is no failure of the case."""
    project.suite({"first": UNTIL_GO, "second": "pass"})
    runner = project.start(*QUICK, "-p", "1", "--launcher-option", "patience_s=5", env=os.environ)
    wait_for(project.runs, "a run")
    begun(project, "first")
    project.wait_for_started("first")
    cluster.stop_controller()
    let_go(project, "first")
    done = project.finish(runner)
    assert done.code == 75, done.stdout + done.stderr
    assert "Slurm has not answered for" in done.stderr
    assert project.statuses() == {"first": "succeeded"}
    cluster.daemon("slurmctld", "slurmctld", "-D")
    wait_for(lambda: "UP" in cluster.ask("scontrol", "ping"), "the controller")
    resumed = project.run("--resume", "latest", env=os.environ)
    assert resumed.code == 0, resumed.stdout + resumed.stderr
    assert len(project.events("attempt_ended")) == 2


def test_ctrl_c_ends_what_runs_and_what_waits(project: Project, cluster: Cluster) -> None:
    project.suite({f"c{i}": FOREVER for i in range(6)})
    runner = project.start(*QUICK, "--launcher-option", "max_parallel=2", env=os.environ)
    project_runs = wait_for(project.runs, "a run")
    pids = [started(project, "c0"), started(project, "c1")]
    runner.send_signal(signal.SIGINT)
    done = project.finish(runner)
    assert done.code == 130, done.stdout
    assert set(project.statuses().values()) == {"cancelled"}
    assert not any(alive(pid) for pid in pids)
    wait_for(lambda: not jobs(cluster), "an empty queue")
    assert not list(project_runs[0].glob(".attempts/*/*.environment"))


def test_ctrl_c_ends_a_run_whose_cluster_is_away(project: Project, cluster: Cluster) -> None:
    """What runs is asked by a file; what waits stays in the queue, and runs nothing when its turn comes."""
    project.suite({"runs": FOREVER, "waits": FOREVER})
    runner = project.start(*QUICK, "--launcher-option", "max_parallel=1", env=os.environ)
    wait_for(project.runs, "a run")
    pid = started(project, "runs")
    cluster.stop_controller()
    runner.send_signal(signal.SIGINT)
    done = project.finish(runner)
    assert done.code == 130, done.stdout + done.stderr
    assert project.statuses() == {"runs": "cancelled", "waits": "cancelled"}
    assert not alive(pid)
    cluster.daemon("slurmctld", "slurmctld", "-D")
    (batch,) = project.run_dir.glob(".attempts/*")
    out = batch / "1.out"
    wait_for(lambda: out.exists() and "given this attempt up" in out.read_text(), "the turn of what waited")
    assert not list(project.run_dir.glob("waits/pid-*"))


def test_a_full_disk_is_the_cause(project: Project, tmp_path: Path) -> None:
    """There is no room for the words of a task either: the runner looks itself."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        project.suite({"a": FOREVER})
        arguments = ("--results-dir", str(small), "--launcher-option", "extra=--hold")
        runner = project.start(*QUICK, *arguments, env=os.environ)
        (job,) = wait_for(lambda: list(small.glob("exp/*/.attempts/*/job")), "a job")
        with suppress(OSError), (small / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        subprocess.run(["scontrol", "release", job.read_text().strip()], check=True, env=os.environ)
        done = project.finish(runner)
        assert done.code == 1
        assert "No space left on device" in done.stdout
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_what_ignores_the_request_is_killed(project: Project) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER
    project.suite({"a": stubborn})
    runner = project.start(*QUICK, "--grace", "1", env=os.environ)
    wait_for(project.runs, "a run")
    pid = started(project, "a")
    runner.send_signal(signal.SIGTERM)
    assert project.finish(runner).code == 143
    assert not alive(pid)
    assert [(end["status"], end["signal"]) for end in ends(project, "a")] == [("cancelled", signal.SIGKILL)]


def test_a_case_is_cancelled_by_command(project: Project) -> None:
    """`suitecase cancel RUN CASE`, of one that runs and one that waits, with a runner and without."""
    project.suite({"runs": FOREVER, "other": UNTIL_GO})
    runner = project.start(*QUICK, env=os.environ)
    wait_for(project.runs, "a run")
    project.wait_for_started("runs", "other")
    command = [sys.executable, "-m", "suitecase", "cancel", "latest", "runs"]
    environment = {**clean_environment(), "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runner.kill()
    project.finish(runner)
    command[-1] = "other"
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = project.run_dir / "other" / "attempt-1.json"
    wait_for(lambda: json.loads(record.read_text()).get("status") == "cancelled", "the end of the other one")


def test_a_dry_run_prints_the_exact_script(project: Project) -> None:
    """What is printed is what is submitted, but for the names that only a run has."""
    options = ("--launcher-option", "partition=debug", "--launcher-option", "setup=echo 'a b'")
    dry = project.run("--dry-run", *QUICK, *options, env=os.environ)
    assert dry.code == 0, dry.stderr
    assert not (project.root / "results").exists()
    assert project.run(*QUICK, *options, env=os.environ).code == 0
    (made,) = project.run_dir.glob(".attempts/*/script.sh")
    printed = dry.stdout[dry.stdout.index("#!/bin/bash") :]
    names = re.compile(r"\d{8}_\d{6}_\w+|BATCH|" + made.parent.name)
    assert names.sub("…", printed).strip() == names.sub("…", made.read_text()).strip()
    assert subprocess.run(["bash", "-n", made]).returncode == 0


def test_the_page_about_slurm_is_a_transcript(tmp_path: Path) -> None:
    run_blocks("docs/slurm.md", tmp_path)
