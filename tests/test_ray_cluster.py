"""The launcher `ray` on a real cluster: a head and nodes of this machine, in a network namespace of their own."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from conftest import Project, wait_for
from transcripts import run_blocks

from suitecase.launchers.conformance import Conformance
from suitecase.launchers.ray.client import RayClient
from suitecase.rundir import read_run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here: pip install 'suitecase[ray]'"),
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="no network namespace without root on Linux, and Ray listens on every address",
    ),
]

CLONE_NEWNET = 0x40000000  # linux/sched.h
PORT = 8265
TOKEN = secrets.token_hex(16)
RAYS_PATIENCE_S = 20
URL = f"http://127.0.0.1:{PORT}"
RAY = ("--launcher", "ray", "--launcher-option", f"address={URL}")
SHARED = (*RAY, "--launcher-option", "shared=yes")
ALONE = (*RAY, "--launcher-option", "shared=no", "--launcher-option", f"python={sys.executable}")


@dataclass
class Cluster:
    """A cluster that heeds words."""

    process: subprocess.Popen[str]
    log: Path

    @classmethod
    def start(cls, log: Path) -> Cluster:
        with log.open("w") as said:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("ray_cluster.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
        return cls(process, log)

    def do(self, *words: object) -> None:
        """Have something done, and wait until it is."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline()) and not line.startswith(f"done {words[0]}"):
            pass
        assert line, f"the cluster ended instead of: {words[0]}\n{self.log.read_text()[-3000:]}"

    def close(self) -> None:
        """End it; what doesn't end is ended with its namespace."""
        try:
            self.process.communicate("end\n" if self.process.poll() is None else None, timeout=60)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    """This process, and all that it starts, in a network namespace with nothing but a loopback device."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
        end_all_here()
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def end_all_here() -> None:
    """Kill every other process of this network namespace: nothing of a cluster may be left."""
    here = os.readlink("/proc/thread-self/ns/net")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(folder.name) != os.getpid() and os.readlink(folder / "ns" / "net") == here:
                os.kill(int(folder.name), signal.SIGKILL)


@pytest.fixture(scope="module", autouse=True)
def cluster(namespace: None) -> Iterator[Cluster]:
    """A head, and a node with 4 CPUs, that let in who has the token."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:  # short: sockets lie in it
        variables = {
            "HOME": home, "RAY_TMPDIR": home, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN, "RAY_JOB_START_TIMEOUT_SECONDS": str(RAYS_PATIENCE_S),
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("RAY_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            made = Cluster.start(Path(home) / "cluster.log")
            try:
                made.do("head", PORT)
                made.do("add")
                yield made
            finally:
                made.close()


class TestRay(Conformance):
    """With a run directory that the cluster sees."""

    arguments: ClassVar = SHARED
    patience_s: ClassVar = 240.0


def test_whether_folders_are_shared_is_found_out(project: Project) -> None:
    elsewhere = {"RAY_ADDRESS": "127.0.0.1:9", "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}  # of no weight here
    done = project.run(*RAY, env=elsewhere)
    assert (done.code, done.stderr) == (0, "")
    assert (project.run_dir / ".attempts" / "ray-shared").read_text() == f"yes {URL}\n"
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "hello\n"


def test_the_page_about_ray_is_a_transcript(tmp_path: Path) -> None:
    run_blocks("docs/ray.md", tmp_path)


def test_nobody_gets_in_without_the_token(project: Project) -> None:
    """And nothing that is recorded has it."""
    done = project.run(*SHARED, env={"RAY_AUTH_TOKEN": "another"})
    assert done.code == 2
    assert f"{URL} lets nobody in" in done.stderr
    assert not (project.root / "results").exists()
    assert project.run(*SHARED).code == 0
    assert not [path for path in project.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


FILES = "(folder / 'deep').mkdir(); (folder / 'deep' / 'x').write_bytes(b'x' * 10**6); print('said', os.getcwd())"


def test_files_come_back_without_a_shared_folder(project: Project) -> None:
    """The code of the tree goes there, what a case wrote comes back, whole; more than the limit is told."""
    big = "(folder / 'big').write_bytes(os.urandom(3 * 10**6))"
    codes = {"files": FILES, "fails": "import fresh; sys.exit(fresh.VALUE)", "big": big}
    project.suite(codes, more="env={'KEY': 'value-of-key'}")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Suite")
    project.write("fresh.py", "VALUE = 5  # not committed\n")
    done = project.run(*ALONE, "--launcher-option", "copy_limit_mb=2")
    assert done.code == 1
    run = read_run(project.run_dir)
    assert dict(run.statuses) == {"files": "succeeded", "fails": "failed", "big": "failed"}
    assert (project.run_dir / "files" / "deep" / "x").read_bytes() == b"x" * 10**6
    log = (project.run_dir / "files" / "attempt-1.log").read_text()
    assert log.startswith("said ")
    assert str(project.root) not in log
    assert run.cases["fails"].last.exit_code == 5  # pyright: ignore[reportOptionalMemberAccess]
    assert "copy_limit_mb is 2" in run.cases["big"].cause
    config = (project.run_dir / "files" / "config.json").read_text()
    assert str(project.run_dir) in config
    left = [path for path in project.root.rglob("*") if path.is_file() and b"value-of-key" in path.read_bytes()]
    assert left == [project.root / "suite.py"]


def test_what_a_distant_case_prints_is_shown(project: Project) -> None:
    """While it runs; and it is cancelled as any other, its files come back all the same."""
    project.suite({"a": "print('early', flush=True); (folder / 'x').touch(); time.sleep(600)"})
    runner = project.start(*ALONE, "--grace", "3")
    project.wait_for_started("a")
    log = project.run_dir / "a" / "attempt-1.log"
    wait_for(lambda: log.exists() and log.read_text().startswith("early\n"), "its output")
    assert read_run(project.run_dir).statuses["a"] == "running"
    (project.run_dir / "a" / "cancel").touch()
    assert project.finish(runner).code == 1
    case = read_run(project.run_dir).cases["a"]
    assert (case.status, case.cause) == ("cancelled", "killed by SIGTERM")
    assert (project.run_dir / "a" / "x").exists()
    assert log.read_text() == "early\n"


def test_who_is_in_a_hurry_need_not_wait_for_a_distant_case(project: Project) -> None:
    """The second Ctrl-C: Ray ends the case in its own time."""
    project.suite({"a": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"})
    runner = project.start(*ALONE, "--grace", "40")
    project.wait_for_started("a")
    runner.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert runner.stdout is not None
    assert any("Ctrl-C again kills them" in line for line in runner.stdout)
    runner.send_signal(signal.SIGINT)
    done = project.finish(runner)
    assert done.code == 130
    assert time.monotonic() - began < 35
    assert "Ray ends it on its node" in read_run(project.run_dir).cases["a"].cause


def test_a_distant_case_is_taken_up(project: Project) -> None:
    """It ends while no runner is there; the next one brings its files, and starts no second copy."""
    project.suite({"a": "time.sleep(4); (folder / 'x').write_text(os.environ['SUITECASE_ATTEMPT'])"})
    runner = project.start(*ALONE)
    project.wait_for_started("a")
    runner.kill()
    project.finish(runner)
    assert not (project.run_dir / "a" / "x").exists()
    again = project.run("--resume", "latest")
    assert again.code == 0, again.stdout
    assert (project.run_dir / "a" / "x").read_text() == "1"
    assert [event["attempt"] for event in project.events("attempt_ended")] == [1]
    assert not [path for path in (project.run_dir / ".attempts").rglob("*") if path.suffix in (".zip", ".environment")]


def test_what_stays_pending_is_given_up(project: Project) -> None:
    """There is no GPU here: the job is withdrawn after the start timeout, and the run goes on."""
    project.suite(
        "[ExperimentCase('a', Config(do='1')), ExperimentCase('never', Config(do='1'), resources=Resources(gpus=1))]",
        before="from experiment_runner import Resources",
    )
    done = project.run(*SHARED, "--launcher-option", "start_timeout_s=8")
    assert done.code == 1
    run = read_run(project.run_dir)
    assert dict(run.statuses) == {"a": "succeeded", "never": "failed"}
    assert "PENDING for 8 s" in run.cases["never"].cause
    assert "no node has 1 CPU, 1 GPU now, the most is 0 GPU" in run.cases["never"].cause
    assert "1 GPU now, the most is 0 GPU; an attempt waits for one" in done.stderr
    assert "--launcher local --debug never" in done.stdout


def test_cases_wait_for_room_for_as_long_as_it_takes(project: Project, tmp_path: Path) -> None:
    """Ray ends a job that has waited for a while; another one takes its place, for the same attempt."""
    wait = f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.05)"
    whole_node = "policy=ExecutionPolicy(cpus_per_case=4)"
    project.suite({"a": wait, "b": wait}, before="from experiment_runner import ExecutionPolicy", more=whole_node)
    runner = project.start(*ALONE)
    wait_for(lambda: project.runs() and project.events("attempt_started"), "the first of them")
    client = RayClient(URL)
    wait_for(lambda: [job for job in client.states() if job.endswith(".2")], "the second job of the other")
    (tmp_path / "go").touch()
    done = project.finish(runner)
    assert done.code == 0, done.stdout
    started = project.events("attempt_started")
    assert [event["attempt"] for event in started] == [1, 1]
    assert [event["job"].endswith(".2") for event in started] == [False, True]


@pytest.mark.parametrize("how", [SHARED, ALONE], ids=["shared", "alone"])
def test_a_job_that_somebody_stops_is_told(project: Project, how: Sequence[str]) -> None:
    """By Ray's own command: the case gets TERM, and may end in good order."""
    last = "lambda *_: (print('bye', flush=True), sys.exit(0))"
    project.suite(
        {"a": f"import signal; signal.signal(signal.SIGTERM, {last}); print('up', flush=True); time.sleep(600)"}
    )
    runner = project.start(*how, "--grace", "3")
    project.wait_for_started("a")
    (started,) = project.events("attempt_started")
    log = project.run_dir / "a" / "attempt-1.log"
    wait_for(lambda: log.exists() and log.read_text() == "up\n", "its handler")
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "stop", "--address", URL, started["job"]]
    subprocess.run(command, check=True, capture_output=True)
    assert project.finish(runner).code == 1
    case = read_run(project.run_dir).cases["a"]
    assert case.status == "failed"
    assert "ray asked it to end" in case.cause
    assert log.read_text().startswith("up\nbye\n")


def test_a_lost_node_is_told_and_retried(project: Project, cluster: Cluster) -> None:
    """The attempt on it is lost, by name; the next one runs on the node that came instead."""
    wait = "print(1); time.sleep(0 if os.environ['SUITECASE_ATTEMPT'] > '1' else 600)"
    project.suite({"a": wait}, before="from experiment_runner import ExecutionPolicy",
                  more="policy=ExecutionPolicy(max_attempts=9, retry_on=('lost',))")  # fmt: skip
    runner = project.start(*SHARED)
    project.wait_for_started("a")
    cluster.do("remove")
    cluster.do("add")
    done = project.finish(runner)
    assert done.code == 0, done.stderr
    assert "nobody saw its end" in project.events("retry_scheduled")[0]["cause"]
    # Ray may give the next job to the node that is gone: that is a loss as well, and retried.
    assert [event["status"] for event in project.events("attempt_ended")][-1] == "succeeded"


def test_a_lost_head_is_told_and_a_resume_completes(project: Project, cluster: Cluster) -> None:
    """What runs is followed by its files; what can't be submitted fails, and a resume completes it."""
    wait = "while not (folder / 'go').exists(): time.sleep(0.05)"
    project.suite({"a": wait, "b": "print(1)"})
    runner = project.start(*SHARED, "--launcher-option", "lost_after_s=15", "-p", "1")
    project.wait_for_started("a")
    cluster.do("lose-head")
    (project.run_dir / "a" / "go").touch()
    done = project.finish(runner)
    assert done.code == 1
    run = read_run(project.run_dir)
    assert dict(run.statuses) == {"a": "succeeded", "b": "failed"}
    assert f"Ray at {URL} has not answered for" in run.cases["b"].cause
    refused = project.run("--resume", "latest")
    assert refused.code == 2
    assert f"no Ray dashboard answers at {URL}" in refused.stderr
    cluster.do("head", PORT)
    cluster.do("add")
    again = project.run("--resume", "latest", "--launcher-option", "lost_after_s=300")
    assert again.code == 0, again.stdout
    assert dict(read_run(project.run_dir).statuses) == {"a": "succeeded", "b": "succeeded"}
