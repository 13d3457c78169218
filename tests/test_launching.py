"""Runs: their layout, the processes of their cases, what is recorded, and how they are stopped."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, Finished, Project, alive, wait_for

RUN_NAME = re.compile(r"\d{8}_\d{6}_[0-9a-f]{7,}(-dirty)?")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

FOREVER = "(folder / 'pid').write_text(str(os.getpid())); time.sleep(600)"
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def files(folder: Path) -> set[str]:
    """The files of a folder, by path in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def pid_of(project: Project, variant: str) -> int:
    """The pid that a case has written down."""

    def written() -> int:
        found = [path.read_text() for path in project.root.glob(f"results/exp/2*/{variant}/pid")]
        return int(found[0]) if found and found[0] else 0

    return wait_for(written, f"the start of {variant}")


# What single cases do, in one run: each test looks at its own.
ENDINGS = {
    "segmentation": ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    "asked": ("os.kill(os.getpid(), 15)", "killed by SIGTERM"),
    "realtime": ("os.kill(os.getpid(), 40)", "killed by signal 40"),
    "exit-139": ("os._exit(139)", "exit code 139"),
    "exit-255": ("os._exit(255)", "exit code 255"),
    "raises": ("raise KeyError('x')", "exit code 1"),
}
SINGLE = {
    **{name: code for name, (code, _) in ENDINGS.items()},
    "raw": "os.write(1, bytes(range(256)) * 10); os.write(2, b'\\xff\\r\\x1b[31m'); os.write(1, b'no newline')",
    "asks": "assert os.readlink('/proc/self/fd/0') == '/dev/null'\ntry: input()\nexcept EOFError: print('end')",
    "descriptors": "print(sorted(os.listdir('/proc/self/fd')))",
    "killed": "print('before'); os.kill(os.getpid(), 9)",
    "leaves": "import subprocess; p = subprocess.Popen(['sleep', '600']); (folder / 'pid').write_text(str(p.pid))",
    "large": "(folder / 'big').write_bytes(bytes(16_000_001)); (folder / 'fits').write_bytes(bytes(16_000_000)); "
    "(folder / 'link').symlink_to('/dev/zero')",
}


# Each case looks around for a while, and none ends before as many as may have been there at once.
LOOK_AROUND = """\
here, full = folder.parent / f'{folder.name}.on', folder.parent / 'full'
here.touch()
most = 0
end = time.monotonic() + 0.2
while time.monotonic() < end or not full.exists():
    most = max(most, len(list(folder.parent.glob('*.on'))))
    if most >= AT_ONCE:
        full.touch()
    time.sleep(0.01)
here.unlink()
print(most)
"""


PRINT_THREADS = f"print(*(os.environ.get(name) for name in {THREADS}))"

# One after the other, with all that may be recorded of a run.
RECORDED = {
    "a": "print(sorted(str(p.relative_to(folder.parent)) for p in folder.parent.rglob('*.json')))\n"
    "(folder / 'deep').mkdir(); (folder / 'deep' / 'f').write_bytes(b'123')",
    "b": f"{PRINT_THREADS}; sys.exit(3)",
    **{f"c{number}": LOOK_AROUND.replace("AT_ONCE", "1") for number in range(3)},
}


@dataclass(frozen=True)
class Single:
    """A run of the cases of `SINGLE`."""

    project: Project
    done: Finished

    def log(self, variant: str) -> bytes:
        return (self.project.run_dir / variant / "attempt-1.log").read_bytes()

    def event(self, name: str, variant: str) -> dict[str, Any]:
        (event,) = (event for event in self.project.events(name) if event["variant"] == variant)
        return event


@pytest.fixture(scope="module")
def single(new_project: Callable[[str], Project]) -> Single:
    project = new_project("single")
    project.suite(SINGLE)
    done = project.run(stdin=subprocess.PIPE, env={"FAKE_API_KEY": "s3cret", "HF_HOME": "/s3cret"})
    assert done.code == 1
    assert len(project.statuses()) == len(SINGLE)
    return Single(project, done)


@pytest.fixture(scope="module")
def recorded(new_project: Callable[[str], Project]) -> Project:
    """A run of the cases of `RECORDED`."""
    project = new_project("recorded")
    project.suite(RECORDED, more="tags=['t1', 't2']")
    assert project.run_forked("--note", "why", "--set", "x=5", "-p", "1").code == 1
    return project


# --- The run directory -----------------------------------------------------------------------------------------------


def test_layout(project: Project) -> None:
    """A run directory holds exactly the files of the format, and nothing lies beside it."""
    project.suite({"a": "(folder / 'results.json').write_text('{}')", "b": "print('x')"})
    assert project.run().code == 0
    assert files(project.root / "results") == {
        f"exp/{project.run_dir.name}/{name}"
        for name in (
            *("run.json", "environment.json", "journal.jsonl", "uncommitted.patch"),
            *("a/config.json", "a/attempt-1.log", "a/results.json", "b/config.json", "b/attempt-1.log"),
        )
    }
    assert RUN_NAME.fullmatch(project.run_dir.name)
    assert project.run_dir.name.endswith("-dirty")
    project.git("commit", "-qam", "Second")
    assert project.run_forked().code == 0
    assert RUN_NAME.fullmatch(project.run_dir.name)
    assert not project.run_dir.name.endswith("-dirty")
    assert not (project.run_dir / "uncommitted.patch").exists()


def test_all_configs_are_written_before_the_first_launch(recorded: Project) -> None:
    """The first case finds run.json, environment.json and the configs of all others."""
    seen = (recorded.run_dir / "a" / "attempt-1.log").read_text()
    assert seen.strip() == str([*(f"{variant}/config.json" for variant in RECORDED), "environment.json", "run.json"])


def test_config_json_is_the_whole_config(recorded: Project) -> None:
    """config.json holds every field, the output folder included."""
    folder = recorded.run_dir / "b"
    saved = json.loads((folder / "config.json").read_text())
    assert saved == {"output_dir": str(folder), "seed": 42, "do": RECORDED["b"], "x": 5, "name": "n"}


def test_starts_in_one_second_get_directories_of_their_own(project: Project) -> None:
    """Three runners started at once make three run directories, each complete."""
    started = [project.fork() for _ in range(3)]
    finished = [project.finish(process) for process in started]
    assert [done.code for done in finished] == [0] * 3
    said = {line for done in finished for line in done.lines if line.startswith("Run directory: ")}
    assert said == {f"Run directory: {path}" for path in project.runs()}
    assert len(said) == 3
    for path in project.runs():
        assert files(path) >= {"run.json", "environment.json", "journal.jsonl", "a/attempt-1.log", "b/attempt-1.log"}
        assert json.loads((path / "a" / "config.json").read_text())["output_dir"] == str(path / "a")


def test_run_json(recorded: Project) -> None:
    """run.json says what was asked, of which code, by which runner, and where."""
    run = json.loads((recorded.run_dir / "run.json").read_text())
    assert run["format_version"] == 1
    assert (run["experiment"], run["mode"], run["description"]) == ("exp", "standard", "What the suite is about.")
    assert (run["tags"], run["note"], run["set"], run["parallelism"]) == (["t1", "t2"], "why", ["x=5"], 1)
    assert run["project_root"] == str(recorded.root)
    assert run["results_dir"] == str(recorded.root / "results")
    assert run["code"]["commit"] == recorded.git("rev-parse", "HEAD")
    assert run["code"]["dirty"] is True
    for key, name in (("suite", "suite.py"), ("entry_point", "work.py"), ("runner", "experiment_runner.py")):
        assert run[key]["sha256"] == hashlib.sha256((recorded.root / name).read_bytes()).hexdigest()
    assert run["runner"]["version"]
    assert [case["variant"] for case in run["cases"]] == [*RECORDED]
    config = (recorded.run_dir / "a" / "config.json").read_bytes()
    assert run["cases"][0]["config_sha256"] == hashlib.sha256(config).hexdigest()
    assert run["cases"][0]["config_class"] == "Config"


def test_environment_json(single: Single) -> None:
    """environment.json names Python, packages and machine, and of the environment only names."""
    text = (single.project.run_dir / "environment.json").read_text()
    environment = json.loads(text)
    assert environment["python"]["version"] == sys.version
    assert environment["packages"]["pydantic"]
    assert environment["host"] == os.uname().nodename
    assert environment["memory_bytes"] > 0
    assert environment["cpus"] == os.cpu_count()
    assert {"FAKE_API_KEY", "HF_HOME"} <= set(environment["environment_names"])
    assert "s3cret" not in text


def test_journal_events(recorded: Project) -> None:
    """The journal tells each case's steps in order, with the fields that the format promises."""
    events = recorded.events()
    told = {variant: [event for event in events if event.get("variant") == variant] for variant in RECORDED}
    for of_case in told.values():
        assert [event["event"] for event in of_case] == ["attempt_started", "attempt_ended", "case_ended"]
    assert len(events) == 2 + 3 * len(RECORDED)
    assert (events[0]["event"], events[-1]["event"]) == ("run_started", "run_ended")
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"]) for event in events)
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    started, ended, case = told["b"]
    assert started["attempt"] == 1
    assert started["host"] == os.uname().nodename
    assert started["commit"] == recorded.git("rev-parse", "HEAD")
    assert started["dirty"] is True
    assert isinstance(started["pid"], int)
    assert (ended["status"], ended["exit_code"]) == ("failed", 3)
    assert "signal" not in ended
    assert 0 < ended["duration_s"] < 60
    assert ended["user_cpu_s"] + ended["system_cpu_s"] > 0
    assert 1_000_000 < ended["max_rss_bytes"] < 1_000_000_000
    assert (case["status"], case["attempts"], case["cause"]) == ("failed", 1, "exit code 3")
    written = told["a"][2]["files"]
    assert written.keys() == {"config.json", "attempt-1.log", os.path.join("deep", "f")}
    assert written[os.path.join("deep", "f")] == {"size_bytes": 3, "sha256": hashlib.sha256(b"123").hexdigest()}
    assert events[-1]["exit_code"] == 1


def test_large_files_have_a_size_only(single: Single) -> None:
    """Up to 16 MB a file's sha256 is recorded, beyond that its size; a link is not followed."""
    ended = single.event("case_ended", "large")
    assert ended["files"]["big"] == {"size_bytes": 16_000_001}
    assert ended["files"]["fits"]["sha256"] == hashlib.sha256(bytes(16_000_000)).hexdigest()
    assert ended["files"]["link"] == {"size_bytes": len("/dev/zero")}


# --- Where results go ------------------------------------------------------------------------------------------------


def test_results_dir_option_is_relative_to_the_current_folder(project: Project, tmp_path: Path) -> None:
    """`--results-dir` moves the whole tree; both spellings are recorded."""
    (tmp_path / "here").mkdir()
    done = project.run_forked("--results-dir", "out", cwd=tmp_path / "here")
    assert done.code == 0
    (run_dir,) = (tmp_path / "here" / "out" / "exp").iterdir()
    assert json.loads((run_dir / "run.json").read_text())["results_dir"] == str(tmp_path / "here" / "out")
    assert not (project.root / "results").exists()


def test_results_dir_of_the_project(project: Project, tmp_path: Path) -> None:
    """`[tool.suitecase] results_dir` moves the tree, relative to the project root."""
    project.write("pyproject.toml", '[tool.suitecase]\nresults_dir = "kept/here"\n')
    assert project.run_forked(cwd=tmp_path).code == 0
    (run_dir,) = (project.root / "kept" / "here" / "exp").iterdir()
    assert (run_dir / "journal.jsonl").exists()
    assert not (project.root / "results").exists()


def test_results_may_be_a_link(project: Project, tmp_path: Path) -> None:
    """`results` may be a link to a scratch disk; where it led is recorded."""
    (tmp_path / "scratch").mkdir()
    (project.root / "results").symlink_to(tmp_path / "scratch")
    assert project.run_forked().code == 0
    (run_dir,) = (tmp_path / "scratch" / "exp").iterdir()
    run = json.loads((run_dir / "run.json").read_text())
    assert run["results_dir"] == str(project.root / "results")
    assert run["results_dir_target"] == str(tmp_path / "scratch")
    assert run["code"]["dirty"] is False


def test_results_lie_in_the_project_root(project: Project, tmp_path: Path) -> None:
    """Whatever folder one starts from, results and the cases' current folder are the project root's."""
    project.suite({"a": "print(os.getcwd())"}, path="experiments/x/suite.py")
    done = project.run_forked(suite="experiments/x/suite.py", cwd=tmp_path, env={"PYTHONPATH": str(project.root)})
    assert done.code == 0, done.stderr
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == f"{project.root}\n"


# --- The process of a case -------------------------------------------------------------------------------------------


def test_output_is_kept_raw(single: Single) -> None:
    """Standard output and error reach the log in order, byte for byte."""
    assert single.log("raw") == bytes(range(256)) * 10 + b"\xff\r\x1b[31m" + b"no newline"


def test_much_output_and_what_is_no_text(project: Project) -> None:
    """200 kB on each stream and a line of 10 MB pass, whole; bytes that are no text are no problem for --follow."""
    much = "sys.stdout.write('x' * 200_000); sys.stderr.write('y' * 200_000); sys.stdout.write('z' * 10_000_000)"
    half = "os.write(1, b'\\xff\\xfe\\x00 \\x1b]0;title\\x07 end\\n'); sys.exit(1)"
    project.suite({"much": much, "half": half})
    done = project.run_forked("--follow")
    assert done.code == 1
    log = (project.run_dir / "much" / "attempt-1.log").read_bytes()
    assert [log.count(letter) for letter in (b"x", b"y", b"z")] == [200_000, 200_000, 10_000_000]
    assert "end" in done.stdout
    assert project.statuses() == {"much": "succeeded", "half": "failed"}


def test_standard_input_is_empty(single: Single) -> None:
    """A case that asks a question fails at once instead of waiting, even if the runner has an input."""
    assert single.log("asks") == b"end\n"


def test_a_case_has_no_descriptors_of_the_runner(single: Single) -> None:
    """A case inherits its three standard streams and nothing else."""
    assert single.log("descriptors") == b"['0', '1', '2', '3']\n"  # 3 reads the list


def test_what_the_suite_can_import_its_entry_points_can(project: Project, tmp_path: Path) -> None:
    """Entries of the suite's sys.path reach the case, in order, and the standard library doesn't."""
    for name in ("first", "second", "site-packages", "added"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"in_{name.replace('-', '_')}.py").write_text("")
        (tmp_path / name / "shared.py").write_text(f"PLACE = {name!r}\n")
    path = os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second"), str(tmp_path / "site-packages")])
    modules = "in_first, in_second, in_site_packages, in_added, shared, config, json"
    project.suite(
        {"a": f"import {modules}; print(shared.PLACE); print(os.environ['PYTHONPATH'])"},
        path="deep/suite.py",
        before=f"import {modules}",
    )
    suite = project.root / "deep" / "suite.py"
    suite.write_text(
        f"import sys; sys.path[1:1] = [{str(project.root)!r}, {str(tmp_path / 'added')!r}]\n" + suite.read_text()
    )
    done = project.run_forked(suite="deep/suite.py", env={"PYTHONPATH": path})
    assert done.code == 0, done.stdout + done.stderr
    place, told = (project.run_dir / "a" / "attempt-1.log").read_text().splitlines()
    assert place == "added"
    assert told.split(os.pathsep)[:6] == [
        *(str(project.root / "deep"), str(project.root), str(tmp_path / "added")),
        *path.split(os.pathsep),
    ]
    assert not any(os.path.exists(os.path.join(entry, "json", "decoder.py")) for entry in told.split(os.pathsep))


def test_a_killed_case_has_its_log(single: Single) -> None:
    """What a case printed before it was killed is in its log, though it never flushed."""
    assert single.log("killed") == b"before\n"
    ended = single.event("attempt_ended", "killed")
    assert ended["signal"] == 9
    assert "exit_code" not in ended
    assert "[FAILED] killed: killed by SIGKILL (out of memory?)" in single.done.stdout
    assert "[FAILED] segmentation: killed by SIGSEGV (" in single.done.stdout


@pytest.mark.parametrize("variant", ENDINGS)
def test_signals_and_exit_codes_are_told_apart(single: Single, variant: str) -> None:
    """A case killed by a signal is reported as such, and one that exits with 139 as that."""
    ended = single.event("case_ended", variant)
    assert ended["status"] == "failed"
    assert ended["cause"].startswith(ENDINGS[variant][1])


@pytest.mark.parametrize("at_once", [2, 5])
def test_threads(project: Project, recorded: Project, at_once: int) -> None:
    """Numeric libraries get the CPUs divided by the cases that run at once, and at least one."""
    project.write("work.sh", f"#!/bin/sh\necho ${' $'.join(THREADS)}\n").chmod(0o755)
    project.suite(f"[ExperimentCase(f'c{{n}}', Config(x=n)) for n in range({at_once})]", entry_point="work.sh")
    assert project.run_forked("-p", str(at_once)).code == 0
    for run_dir, variant, threads in (
        (recorded.run_dir, "b", CPUS),
        (project.run_dir, "c0", max(1, CPUS // at_once)),
    ):
        assert (run_dir / variant / "attempt-1.log").read_text() == " ".join([str(threads)] * 4) + "\n"
        told = json.loads((run_dir / "run.json").read_text())["environment_set"]
        assert {name: told[name] for name in THREADS} == dict.fromkeys(THREADS, str(threads))
        assert told["PYTHONUNBUFFERED"] == "1"


def test_threads_of_the_user_stay(project: Project) -> None:
    """Thread variables that the user or the suite set are left alone, and not recorded as ours."""
    project.suite(
        f"[ExperimentCase('a', Config(do={PRINT_THREADS!r}), env={{'MKL_NUM_THREADS': '7'}})]",
        more="env={'OPENBLAS_NUM_THREADS': '8'}",
    )
    assert project.run_forked(env={"OMP_NUM_THREADS": "9"}).code == 0
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == f"9 8 7 {CPUS}\n"
    told = json.loads((project.run_dir / "run.json").read_text())["environment_set"]
    assert "OMP_NUM_THREADS" not in told
    assert "OPENBLAS_NUM_THREADS" not in told


def test_variables_of_cases_and_runs(project: Project) -> None:
    """`env=` of the run reaches every case, that of a case wins there; names are recorded, values nowhere."""
    code = "sys.exit(0 if os.environ['A'] == config['name'] and len(os.environ['B']) == 8 else 1)"
    project.suite(
        f"[ExperimentCase('one', Config(do={code!r}, name='one'), env={{'A': os.environ['ONE']}}),"
        f" ExperimentCase('two', Config(do={code!r}, name='two'))]",
        more="env={'A': os.environ['TWO'], 'B': os.environ['BEE']}",
        before="import os",
    )
    done = project.run_forked(env={"ONE": "one", "TWO": "two", "BEE": "b-s3cret"})
    assert done.code == 0, done.stdout
    run = json.loads((project.run_dir / "run.json").read_text())
    assert run["environment_names"] == ["A", "B"]
    assert [case["environment_names"] for case in run["cases"]] == [["A"], []]
    kept = [path for path in project.run_dir.rglob("*") if path.is_file()]
    assert len(kept) == 8
    assert all(b"s3cret" not in path.read_bytes() for path in kept)


def test_entry_point_that_is_no_python(project: Project) -> None:
    """An executable file of any language runs, with the same arguments."""
    script = project.write("work.sh", '#!/bin/sh\necho "$1"; test -f "$2/config.json" && echo found\n')
    script.chmod(0o755)
    project.suite({"a": "", "b": ""}, entry_point="work.sh")
    assert project.run_forked().code == 0
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "--output_dir\nfound\n"


def test_entry_point_that_cannot_start(project: Project) -> None:
    """A case whose interpreter is missing fails with the reason, and the others still get their turn."""
    script = project.write("work.sh", "#!/no/such/interpreter\n")
    script.chmod(0o755)
    project.suite({"a": "", "b": ""}, entry_point="work.sh")
    done = project.run_forked()
    assert done.code == 1
    assert project.statuses() == {"a": "failed", "b": "failed"}
    assert "could not be started: No such file or directory" in done.stdout
    script.write_text("#!/bin/sh\nexit 0\n")
    assert project.run_forked("--resume", "latest").code == 0
    assert project.statuses() == {"a": "succeeded", "b": "succeeded"}


def test_grandchildren_end_with_their_case(single: Single) -> None:
    """What a case left running in the background is gone when the run is over, and nothing waited for it."""
    assert single.event("case_ended", "leaves")["status"] == "succeeded"  # long before the grandchild would end
    wait_for(lambda: not alive(pid_of(single.project, "leaves")), "the end of the grandchild")


# --- How many at once ------------------------------------------------------------------------------------------------


def test_parallelism(project: Project, recorded: Project) -> None:
    """With -p N, N cases run at once and never more."""
    project.suite({f"c{number}": LOOK_AROUND.replace("AT_ONCE", "3") for number in range(7)})
    assert project.run_forked("-p", "3").code == 0
    for ran, at_once in ((project, 3), (recorded, 1)):
        assert max(int(log.read_text()) for log in ran.run_dir.glob("c*/attempt-1.log")) == at_once
        assert max(numbers_running(ran)) == at_once


def numbers_running(project: Project) -> list[int]:
    """How many cases were running after each event, as the journal tells it."""
    change = {"attempt_started": 1, "attempt_ended": -1}
    return list(accumulate(change.get(event["event"], 0) for event in project.events()))


class Crowd:
    """A suite whose cases wait, at no cost, until they are let go."""

    def __init__(self, project: Project, count: int) -> None:
        self.project = project
        gate = project.root.parent / "gate"
        os.mkfifo(gate)
        self.gate = os.open(gate, os.O_RDWR)
        script = project.write("work.sh", f'#!/bin/sh\n: > "$2/here"\nread go < "{gate}"\n')
        script.chmod(0o755)
        project.suite(f"[ExperimentCase(f'c{{i}}', Config(x=i)) for i in range({count})]", entry_point="work.sh")

    def wait_for(self, count: int) -> None:
        """Wait until that many cases have begun."""
        wait_for(lambda: len(list(self.project.root.glob("results/exp/2*/*/here"))) >= count, f"{count} cases")

    def let_go(self, count: int) -> None:
        """Let that many cases end; each takes one line."""
        os.write(self.gate, b"\n" * count)


@pytest.fixture
def crowd(project: Project) -> Iterator[Crowd]:
    """66 cases."""
    made = Crowd(project, 66)
    yield made
    os.close(made.gate)


def test_all_at_once(project: Project, crowd: Crowd) -> None:
    """`-p all` lifts the limit of 64: 66 cases run before one has ended."""
    process = project.fork("-p", "all")
    crowd.wait_for(66)
    crowd.let_go(66)
    done = project.finish(process)
    assert done.code == 0
    assert "parallelism=66)" in done.stdout
    assert "cases at a time" not in done.stdout


def test_limit_of_64(project: Project) -> None:
    """Without -p, no more than 64 cases run at once, and the header says so."""
    project.suite({f"c{number}": "" for number in range(66)})
    done = project.run_forked("--dry-run")
    assert "Note: 64 cases at a time; -p N or -p all changes that." in done.lines
    assert "parallelism=64)" in done.stdout
    assert "Note" not in project.run_forked("--dry-run", "-p", "64").stdout
    project.suite({f"c{number}": "" for number in range(64)})
    assert "Note" not in project.run_forked("--dry-run").stdout


def test_the_limit_holds(project: Project, crowd: Crowd) -> None:
    """Of 66 cases the 65th starts only when another one has ended, and the 66th never if the run is stopped."""
    process = project.fork()
    crowd.wait_for(64)
    project.wait_for_started(*(f"c{number}" for number in range(64)))
    descriptors = len(os.listdir(f"/proc/{process.pid}/fd")) if os.path.isdir("/proc") else 0
    assert descriptors <= 15 + 3 * 64
    crowd.let_go(1)
    project.wait_for_started("c64")
    process.send_signal(signal.SIGTERM)
    assert project.finish(process).code == 143
    steps = [event["event"] for event in project.events() if event["event"].startswith("attempt_")]
    assert steps[:66] == ["attempt_started"] * 64 + ["attempt_ended", "attempt_started"]
    assert set(steps[66:]) == {"attempt_ended"}
    assert len(list(project.root.glob("results/exp/2*/*/attempt-1.log"))) == 65


def test_few_descriptors(project: Project) -> None:
    """With room for 40 descriptors and 60 cases at once, all end well, with fewer at a time."""
    project.write("work.sh", "#!/bin/sh\nsleep 0.05\n").chmod(0o755)
    project.suite("[ExperimentCase(f'c{n}', Config(x=n)) for n in range(60)]", entry_point="work.sh")
    done = project.run("-p", "all", before=["sh", "-c", 'ulimit -n 40; exec "$@"', "sh"])
    assert done.code == 0, done.stdout + done.stderr
    assert set(project.statuses().values()) == {"succeeded"}
    assert len(project.statuses()) == 60


# --- Exit codes and signals ------------------------------------------------------------------------------------------


def test_exit_codes(project: Project) -> None:
    """0 if all cases succeeded, 1 if some failed."""
    assert project.run_forked().code == 0
    project.suite({"a": "", "b": "sys.exit(7)"})
    done = project.run_forked()
    assert done.code == 1
    assert "Completed: 1/2 succeeded (1 failed)" in done.lines


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_stop_everything(project: Project, number: signal.Signals, code: int) -> None:
    """A signal stops the running cases, starts no more, and is the exit code; the journal says what became of each."""
    project.suite({"done": "", "a": FOREVER, "b": FOREVER, "later": ""})
    process = project.fork("-p", "2")
    pids = [pid_of(project, "a"), pid_of(project, "b")]
    process.send_signal(number)
    done = project.finish(process)
    assert done.code == code
    ends = {event["variant"]: event.get("signal") for event in project.events("attempt_ended")}
    assert ends == {"done": None, "a": signal.SIGTERM, "b": signal.SIGTERM}, "nobody waited for the grace to end"
    assert not any(map(alive, pids))
    assert project.statuses() == {"done": "succeeded", "a": "cancelled", "b": "cancelled"}
    (cancelled,) = project.events("run_cancelled")
    assert cancelled["signal"] == number
    assert project.events()[-1]["event"] == "run_ended"
    assert project.events()[-1]["exit_code"] == code
    assert f"{number.name}: stopping 2 running cases (10 s at most; " in done.stdout
    assert "Completed: 1/4 succeeded (2 cancelled, 1 pending)" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_second_signal_kills_at_once(project: Project) -> None:
    """A case that ignores SIGTERM is killed by a second Ctrl-C, however long the grace would last."""
    project.suite({"a": IGNORES + FOREVER})
    process = project.start("--grace", "3600")
    pid = pid_of(project, "a")
    process.send_signal(signal.SIGINT)
    wait_for(lambda: project.events("run_cancelled"), "the first signal's effect")
    assert alive(pid)
    process.send_signal(signal.SIGINT)
    assert project.finish(process).code == 130
    assert not alive(pid)
    assert project.statuses() == {"a": "cancelled"}


CHILD = """\
import subprocess
p = subprocess.Popen(['sh', '-c', "trap '' TERM; echo; sleep 600; sleep 600"], stdout=subprocess.PIPE)
p.stdout.readline()
(folder / 'child').write_text(str(p.pid))
"""


@dataclass(frozen=True)
class Interrupted:
    """A run that got Ctrl-C on its process group, and the pids of its cases."""

    project: Project
    done: Finished
    took_s: float
    pids: Mapping[str, int]


@pytest.fixture(scope="module")
def interrupted(new_project: Callable[[str], Project]) -> Interrupted:
    project = new_project("interrupted")
    on_term = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit({}))\n"
    cases = {
        "asked": on_term.format("'was asked'"), "saves": on_term.format(0), "stubborn": f"{CHILD}{IGNORES}",
    }  # fmt: skip
    project.suite({variant: code + FOREVER for variant, code in cases.items()})
    process = project.fork("--grace", "1", start_new_session=True)
    pids = {variant: pid_of(project, variant) for variant in cases}
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    done = project.finish(process)
    return Interrupted(project, done, time.monotonic() - started, pids)


def test_ctrl_c_on_the_process_group(interrupted: Interrupted) -> None:
    """Ctrl-C reaches the runner alone: cases get SIGTERM from it, not a KeyboardInterrupt of their own."""
    assert interrupted.done.code == 130
    log = (interrupted.project.run_dir / "asked" / "attempt-1.log").read_text()
    assert "was asked" in log
    assert "KeyboardInterrupt" not in log


def test_stubborn_cases_are_killed_after_the_grace(interrupted: Interrupted) -> None:
    """A case that ignores SIGTERM, and its child, are dead after the grace."""
    assert interrupted.took_s > 1
    assert "(1 s at most; " in interrupted.done.stdout
    assert not alive(interrupted.pids["stubborn"])
    child = int((interrupted.project.run_dir / "stubborn" / "child").read_text())
    wait_for(lambda: not alive(child), "the end of the case's child")
    ends = {event["variant"]: event for event in interrupted.project.events("attempt_ended")}
    assert (ends["stubborn"]["status"], ends["stubborn"]["signal"]) == ("cancelled", 9)


def test_cases_that_end_well_when_asked_are_cancelled(interrupted: Interrupted) -> None:
    """A case that saves its work on SIGTERM and exits with 0 was cut short all the same: a resume runs it again."""
    assert interrupted.project.statuses() == dict.fromkeys(interrupted.pids, "cancelled")
    ends = {event["variant"]: event.get("exit_code") for event in interrupted.project.events("attempt_ended")}
    assert ends == {"asked": 1, "saves": 0, "stubborn": None}


def test_nohup(project: Project) -> None:
    """Under nohup a hang-up is ignored, and the run goes on to its end."""
    project.suite({"a": "(folder / 'pid').write_text('1')\nwhile not Path('go').exists(): time.sleep(0.02)"})
    process = project.start(before=["nohup"])
    pid_of(project, "a")
    process.send_signal(signal.SIGHUP)
    project.write("go", "")
    assert project.finish(process).code == 0


def test_started_in_the_background(project: Project) -> None:
    """A shell's background job has SIGINT ignored: SIGTERM still stops it."""
    project.suite({"a": FOREVER})
    process = project.start(before=["sh", "-c", "trap '' INT; exec \"$@\"", "sh"])
    pid = pid_of(project, "a")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert project.finish(process).code == 143
    assert project.events("run_cancelled")[0]["signal"] == signal.SIGTERM
    assert not alive(pid)


# --- Broken surroundings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "last", "code"),
    [([], "", 0), ([], "sys.exit(1)", 1), (["--json"], "", 0), (["--follow"], "sys.exit(1)", 1)],
    ids=["plain", "failing", "json", "follow"],
)
def test_closed_pipe(project: Project, arguments: list[str], last: str, code: int) -> None:
    """A reader that goes away, as `| head -1` does, changes neither the run nor its exit code."""
    project.suite({"a": "print('x')\nwhile not Path('go').exists(): time.sleep(0.02)", "b": "print('y')", "c": last})
    reader, writer = os.pipe()
    process = project.fork("-p", "1", *arguments, stdout=writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as head:
        assert head.readline()
    project.write("go", "")
    assert process.wait(timeout=DEADLINE_S) == code
    assert process.communicate()[1] == ""
    assert len(project.statuses()) == 3


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full"])
def test_closed_streams(project: Project, closing: str) -> None:
    """A runner without standard streams, or with a full disk behind them, runs everything to its right exit code."""
    project.suite({"a": "print('hello')", "b": "sys.exit(1)"})
    done = project.run(before=["sh", "-c", f'exec "$@" {closing}', "sh"])
    assert done.code == 1, done.stderr
    assert done.stderr == ""
    assert project.statuses() == {"a": "succeeded", "b": "failed"}
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "hello\n"
    assert project.run_dir.joinpath("journal.jsonl").read_text().count("\n") == len(project.events())


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_narrow_encodings(project: Project, env: dict[str, str]) -> None:
    """Names and output that the terminal's encoding lacks are shown escaped, and nothing fails for it."""
    project.suite({"naïve-模型": "", "bad-é": "sys.stdout.buffer.write('ü 模\\n'.encode()); sys.exit(1)"})
    done = project.run(env=env)
    assert done.code == 1, done.stderr
    assert done.stderr == ""
    assert "Completed: 1/2 succeeded" in done.stdout
    assert project.statuses() == {"naïve-模型": "succeeded", "bad-é": "failed"}
    assert project.run("--dry-run", env=env).code == 0


def test_a_suite_may_be_a_module(project: Project) -> None:
    """Started with -m, a suite runs, and its cases can import what it can."""
    project.suite({"a": "import config"}, path="package/suite.py")
    project.write("package/__init__.py", "")
    process = subprocess.run(
        [sys.executable, "-m", "package.suite"],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert project.statuses() == {"a": "succeeded"}


def test_run_experiments(project: Project) -> None:
    """`run_experiments` returns where the run lies, every status, the counts and the exit code."""
    suite = project.suite({"a": "", "b": "sys.exit(1)", "c": ""})
    text = suite.read_text().replace("run_experiments_cli(cases", "s = run_experiments(only=['a', 'b'], cases=cases")
    text = text.replace("'work.py', 'exp', )", "entry_point='work.py', experiment_name='exp', quiet=True, note='why')")
    suite.write_text(
        text + "import json\nprint(json.dumps([str(s.run_dir), dict(s.statuses), s.exit_code, dict(s.counts)]))\n"
    )
    done = project.run_forked()
    assert (done.code, done.stderr) == (0, "")
    statuses = {"a": "succeeded", "b": "failed", "c": "pending"}
    counts = {"succeeded": 1, "failed": 1, "pending": 1}
    assert json.loads(done.stdout) == [str(project.run_dir), statuses, 1, counts]
    assert json.loads((project.run_dir / "run.json").read_text())["note"] == "why"


def test_run_experiments_in_a_thread(project: Project) -> None:
    """Outside the main thread, where Python allows no signal handlers, a run works; with cases of any iterable."""
    suite = project.suite("(ExperimentCase(name, Config()) for name in 'abc')")
    text = suite.read_text().replace("run_experiments_cli(cases", "f = lambda: run_experiments(cases")
    suite.write_text(text + "import threading\nt = threading.Thread(target=f)\nt.start()\nt.join()\n")
    done = project.run_forked()
    assert (done.code, done.stderr) == (0, "")
    assert project.statuses() == dict.fromkeys("abc", "succeeded")


def test_a_case_that_can_not_start_does_not_slow_the_others(project: Project) -> None:
    """An environment too large to start with fails its case alone, and no other case waits for a place."""
    meet = """(folder.parent / ("here-" + folder.name)).touch()
for _ in range(9000):
    if len(list(folder.parent.glob("here-*"))) == 2:
        break
    time.sleep(0.01)
else:
    sys.exit(3)
"""
    cases = (
        "[ExperimentCase('huge', Config(), {'X': 'a' * 200_000}),"
        f" *(ExperimentCase(name, Config(do={meet!r})) for name in 'ab')]"
    )
    project.suite(cases)
    done = project.run_forked("-p", "2")
    assert done.code == 1
    assert "[FAILED] huge: could not be started: " in done.stdout
    assert project.statuses() == {"huge": "failed", "a": "succeeded", "b": "succeeded"}


def test_the_suite_is_no_entry_point(project: Project) -> None:
    """One file for both is refused with the reason, before every case fails for it."""
    project.suite({"a": ""}, entry_point="suite.py")
    done = project.run_forked()
    assert done.code == 2
    assert "is the suite itself" in done.stderr


WRONG_CALLS = """
for arguments, more in (
    ((None, 'work.py', 'exp'), {}), (([], None, 'exp'), {}), (([], 'work.py', 'exp'), {'tags': 'abc'}),
    (([], 'work.py', 'exp'), {'env': 'x'}),
):
    try:
        run_experiments_cli(*arguments, **more)
    except SystemExit as end:
        print(end.code)
"""


def test_arguments_of_wrong_types_are_messages(project: Project) -> None:
    """A suite's own mistake is a sentence that names the argument."""
    project.suite({"a": ""}, before=WRONG_CALLS)
    done = project.run_forked("--dry-run")
    assert done.lines[:4] == ["2"] * 4
    told = [line for line in done.stderr.splitlines() if ": give a" in line]
    assert len(told) >= 4
    assert all(any(f"{name} is " in line for line in told) for name in ("cases", "entry_point", "tags", "env"))
    assert "Traceback" not in done.stderr
