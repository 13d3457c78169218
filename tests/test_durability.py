"""What the runner said is done is on disk, and damage is repaired where that can be proved, or refused by name.

Faults are real: `strace` lets system calls fail, the kernel refuses to let a file grow, files are damaged by a
seeded generator. Every test of a fault asserts that the fault happened.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, Finished, Project, alive, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from stracing import traced, under_strace

import experiment_config
import experiment_runner
from experiment_config import BaseExperimentConfig
from experiment_runner import (
    EXIT_LOCKED,
    STALE_S,
    ExperimentCase,
    Journal,
    Options,
    OwnerFile,
    Suite,
    SuiteError,
    is_alive,
    make_plan,
    process_place,
    read_journal,
    run,
    runs_folder,
    start_time,
    write_whole,
)

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: NO FAULT OF THE DISK IS TESTED")


class Config(BaseExperimentConfig):
    """The config of conftest's project, for suites of this process."""

    do: str = ""
    x: int = 0
    name: str = "n"


@pytest.fixture
def quick(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose entry point is a shell script; its case `bad` fails until there is a file `fixed`."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(experiment_config, "_command_lines_read", [])  # other tests read some in this process
    script = project.write("work.sh", '#!/bin/sh\ncase "$2" in */bad) [ -e fixed ] ;; esac\n')
    script.chmod(0o755)
    project.write(".gitignore", "__pycache__/\n/results*/\n/fixed\n*.trace\n")
    project.suite("[ExperimentCase(name, Config()) for name in ('good', 'bad')]", entry_point="work.sh")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "Quick")
    return project


def suite_of(project: Project) -> Suite:
    cases = [ExperimentCase(variant, Config()) for variant in ("good", "bad")]
    return Suite(cases, "work.sh", "exp", file=project.root / "suite.py")


# --- The journal -----------------------------------------------------------------------------------------------------

EVENTS = st.lists(st.text(max_size=8), min_size=2, max_size=6)
MOVES = ("flip", "lose", "double", "swap", "cut", "append")


def written(folder: Path, texts: list[str]) -> Path:
    path = folder / "journal.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for text in texts:
        journal.append("said", text=text, files={"a": {}})
    journal.close()
    return path


@settings(max_examples=100, deadline=None)
@given(texts=EVENTS, move=st.sampled_from(MOVES), data=st.data())
def test_the_law_of_checksums(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], move: str, data: st.DataObject
) -> None:
    """However a journal is damaged, it is refused, or gives the first of its events unchanged: never other ones."""
    path = written(tmp_path_factory.getbasetemp(), texts)
    whole, original = path.read_bytes(), read_journal(path).events
    assert [event["text"] for event in original] == texts
    lines = whole.splitlines(keepends=True)
    # Drawn as large numbers: the lengths hang on times and checksums, and hypothesis must see the same choices.
    one, other, at = (data.draw(st.integers(0, 10**6)) for _ in range(3))
    one, other, at = one % len(lines), other % len(lines), at % len(whole)
    if move == "flip":
        flipped = bytearray(whole)
        flipped[at] ^= data.draw(st.integers(1, 255))
        damaged = bytes(flipped)
    elif move == "cut":
        damaged = whole[:at]
    elif move == "append":
        damaged = whole + data.draw(st.binary(max_size=20))
    else:
        if move == "lose":
            del lines[one]
        elif move == "double":
            lines.insert(other, lines[one])
        else:
            lines[one], lines[other] = lines[other], lines[one]
        damaged = b"".join(lines)
    path.write_bytes(damaged)
    try:
        events = read_journal(path).events
    except SuiteError as error:
        refusal = str(error)
        assert damaged != whole
        assert re.search(rf"{re.escape(str(path))}, line \d+ ", refusal)
    else:
        assert events == original[: len(events)]
        assert len(events) >= len(original) - 1 or move in ("lose", "cut")


def test_a_line_names_its_checksum_last(tmp_path: Path) -> None:
    """The checksum is that of the line's bytes without it, begun with that of the line before."""
    checksum = 0
    for line in written(tmp_path, ["a", "ü", "c"]).read_bytes().splitlines():
        assert list(json.loads(line))[-1] == "crc32"
        body = re.sub(rb',"crc32":\d+\}$', b"}", line)
        checksum = zlib.crc32(body, checksum)
        assert json.loads(line)["crc32"] == checksum


def test_a_long_journal_is_read_quickly(tmp_path: Path) -> None:
    """30,000 lines are read in less than 0.45 s, and the next runner goes on in the chain."""
    path = tmp_path / "journal.jsonl"
    files = json.dumps({name: {"size_bytes": 1, "sha256": "c" * 64} for name in ("config.json", "results.json")})
    checksum = 0
    with path.open("wb") as file:
        for number in range(30_000):
            body = b'{"event":"case_ended","variant":"%d","status":"failed","files":%s' % (number, files.encode())
            checksum = zlib.crc32(body + b"}", checksum)
            file.write(b'%s,"crc32":%d}\n' % (body, checksum))
    started = time.process_time()
    known = read_journal(path)
    assert time.process_time() - started < 0.45
    assert (len(known.events), known.checksum) == (30_000, checksum)
    journal = Journal(path, known)
    journal.append("run_ended")
    journal.close()
    line = path.read_bytes().splitlines()[-1]
    assert json.loads(line)["crc32"] == zlib.crc32(line.rpartition(b",")[0] + b"}", checksum)


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets the size in bytes at which the kernel refuses to let a file of this process grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_that_was_written_in_part_is_cut_off(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    """An event that the disk took half of is as if it had never been; the next one is whole."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("first")
    before = journal.path.read_bytes()
    small_files(len(before) + 20)
    with pytest.raises(OSError, match="File too large") as failure:
        journal.append("second")
    assert failure.value.filename == str(journal.path)
    assert journal.path.read_bytes() == before
    small_files(resource.RLIM_INFINITY)
    journal.append("third")
    journal.close()
    assert [event["event"] for event in read_journal(journal.path).events] == ["first", "third"]


def test_a_file_that_was_written_in_part_never_appears(tmp_path: Path, small_files: Callable[[int], None]) -> None:
    """A whole file that can't be written leaves the old one, and nothing beside it."""
    file = tmp_path / "run.json"
    write_whole(file, b"old")
    small_files(20)
    with pytest.raises(OSError, match="File too large") as failure:
        write_whole(file, b"n" * 30)
    assert failure.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert file.read_bytes() == b"old"


# --- The disk refuses ------------------------------------------------------------------------------------------------

CALLS = ("mkdir", "openat", "write", "rename", "rmdir", "ftruncate", "fsync", "syncfs", "flock", "read")
CALL = re.compile(rf"({'|'.join(CALLS)})\(")


def disk_calls(
    project: Project, results: str, *arguments: str, faults: Mapping[str, int] | None = None
) -> tuple[Finished, list[str]]:
    """Run the suite under strace, with faults such as `write:error=EIO` at the n-th of a call: its end, its calls."""
    inject = [part for fault, number in (faults or {}).items() for part in ("-e", f"inject={fault}:when={number}")]
    options = ("-y", "-s", "80", "-e", f"trace={','.join(CALLS)}", *inject)
    folder = project.root / results
    return traced(project, folder.with_suffix(".trace"), "--results-dir", str(folder), *arguments, options=options)


def calls_on(project: Project, results: str, *arguments: str) -> list[tuple[str, int, str]]:
    """Every call that a run makes on its results folder: its name, the how manieth of that name it is, and its line."""
    done, lines = disk_calls(project, results, *arguments)
    assert done.code == 0, done
    counts: Counter[str] = Counter()
    found: list[tuple[str, int, str]] = []
    for line in lines:
        if match := CALL.match(line):
            counts[match[1]] += 1
            if str(project.root / results) in line:
                found.append((match[1], counts[match[1]], line))
    return found


def hit(project: Project, results: str, lines: list[str]) -> bool:
    """Whether the fault happened, and to a call on the results folder."""
    return any("(INJECTED)" in line and str(project.root / results) in line for line in lines)


def readable(folder: Path) -> None:
    """No file of the runner's own under a folder is half written."""
    for file in folder.rglob("*.json"):
        json.loads(file.read_bytes())
    for file in folder.rglob("journal.jsonl"):
        for line in file.read_bytes().splitlines():
            json.loads(line)
    assert not [path for path in folder.rglob(".*") if path.name.endswith((".writing", ".building"))]


@needs_strace
@pytest.mark.parametrize("arguments", [(), ("--resume", "latest")], ids=["start", "resume"])
def test_a_call_that_fails(quick: Project, arguments: tuple[str, ...]) -> None:
    """Whichever call the disk refuses: an exit code, one line that names file and cause, nothing half written, and a
    resume or a new start that completes.
    """
    root = quick.root
    if arguments:
        run(suite_of(quick), Options(results_dir="results-before", quiet=True))
    else:
        (root / "results-before").mkdir()
    quick.write("fixed", "")
    shutil.copytree(root / "results-before", root / "results-all")
    calls = [(call, number) for call, number, _ in calls_on(quick, "results-all", *arguments)]
    expected = {"openat", "write", "fsync", "syncfs", "flock", "ftruncate" if arguments else "mkdir"}
    assert expected <= dict(calls).keys()
    chosen = random.Random(7).sample(calls, 4)

    def fail(point: tuple[str, int]) -> bool:
        call, number = point
        error = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)[number % 4]
        results = f"results-{call}-{number}"
        shutil.copytree(root / "results-before", root / results)
        faults = {f"{call}:error={errno.errorcode[error]}": number}
        done, lines = disk_calls(quick, results, "--quiet", *arguments, faults=faults)
        readable(root / results)
        if not hit(quick, results, lines):  # once cases run, how many calls there are hangs on what ends first
            return False
        if done.code == 0:  # of no consequence: what was to be looked at, or swept away, was not needed
            assert call in ("openat", "rmdir", "read"), (point, lines[-3:])
            return True
        assert len(done.stderr.splitlines()) == 1, (point, done)
        assert str(root / results) in done.stderr, (point, done)
        assert os.strerror(error) in done.stderr, (point, done)
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(fail, chosen)) >= 3
    for call, number in chosen:
        results = f"results-{call}-{number}"
        left = list((root / results).glob("exp/2*"))
        summary = run(suite_of(quick), Options(results_dir=results, resume="latest" if left else None, quiet=True))
        assert set(summary.statuses.values()) == {"succeeded"}, (call, number)
        readable(root / results)


@needs_strace
def test_interrupted_calls_change_nothing(quick: Project) -> None:
    """EINTR is no error: the call is made again."""
    quick.write("fixed", "")
    numbers = {call: number for call, number, _ in reversed(calls_on(quick, "results-all"))}
    calls = ("write", "syncfs", "fsync", "ftruncate", "flock")
    done, lines = disk_calls(quick, "results-eintr", faults={f"{call}:error=EINTR": numbers[call] for call in calls})
    for call in calls:
        assert hit(quick, "results-eintr", [line for line in lines if line.startswith(f"{call}(")]), call
    assert (done.code, done.stderr) == (0, "")


@needs_strace
@pytest.mark.parametrize("call", ["syncfs", "fsync"])
def test_a_sync_that_fails_is_no_success(quick: Project, call: str) -> None:
    """What could not be brought to the disk is not reported, and taken back; nothing is written after that."""
    quick.write("fixed", "")
    to_journal = re.compile(r"results-\w+/exp/2[^/]*/journal\.jsonl")
    calls = calls_on(quick, "results-all")
    number = next(number for name, number, line in calls if name == call and to_journal.search(line))
    done, lines = disk_calls(quick, "results-eio", faults={f"{call}:error=EIO": number})
    assert hit(quick, "results-eio", lines)
    after = lines[next(n for n, line in enumerate(lines) if "(INJECTED)" in line) + 1 :]
    assert [line.partition("(")[0] for line in after if to_journal.search(line)] == ["ftruncate"]
    assert done.code == 1
    assert re.fullmatch(r"suite\.py: /\S+/journal\.jsonl: Input/output error\n", done.stderr)
    assert "[OK]" not in done.stdout
    (journal,) = (quick.root / "results-eio").glob("exp/2*/journal.jsonl")
    assert [event["event"] for event in read_journal(journal).events] == ["run_started"]
    summary = run(suite_of(quick), Options(results_dir="results-eio", resume="latest", quiet=True))
    assert set(summary.statuses.values()) == {"succeeded"}


@needs_strace
def test_a_file_gets_its_name_once_it_is_on_the_disk(quick: Project) -> None:
    """The run.json that a directory of the simple original gets: no power cut may leave its name without content."""
    quick.write("fixed", "")
    run(suite_of(quick), Options(results_dir="results-original", quiet=True))
    (original,) = (quick.root / "results-original").glob("exp/2*")
    for name in ("run.json", "journal.jsonl", "environment.json"):
        (original / name).unlink()
    done, lines = disk_calls(quick, "results-original", "--resume", "latest")
    assert done.code == 0, done
    synced = next(at for at, line in enumerate(lines) if line.startswith("fsync(") and ".run.json.writing" in line)
    renamed = next(at for at, line in enumerate(lines) if line.startswith("rename(") and ".run.json.writing" in line)
    assert synced < renamed
    assert any(line.startswith("fsync(") and f"<{original}>" in line for line in lines[renamed:])


# --- Damage ----------------------------------------------------------------------------------------------------------


def damage(run_dir: Path, chance: random.Random) -> str:
    """Do one thing to one of the runner's own files of a run; what it was."""
    files = ["journal.jsonl", "journal.jsonl", "run.json", "good/config.json", "bad/config.json"]
    file = run_dir / chance.choice(files)
    content = file.read_bytes()
    at = chance.randrange(len(content))
    lines = content.splitlines(keepends=True)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.choice(["flip", "truncate", "remove", "zeros", "lose", "double", "swap", "word", "folder"])
    if kind == "flip":
        content = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    elif kind == "truncate":
        content = content[:at]
    elif kind == "zeros":
        content = content[:at] + bytes(len(content) - at)
    elif kind == "lose":
        del lines[one]
    elif kind == "double":
        lines.insert(other, lines[one])
    elif kind == "swap":
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == "word":
        content = content.replace(b"failed", b"succeeded").replace(b"bad", b"new").replace(b"42", b"43")
    if kind in ("lose", "double", "swap"):
        content = b"".join(lines)
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind != "remove":
        file.write_bytes(content)
    return f"{kind} {file.relative_to(run_dir)} at {at} of {len(content)}"


def test_damages(quick: Project) -> None:
    """A damaged run is refused by name with nothing changed, or goes on; a failed case never turns into a success."""
    shutil.rmtree(quick.root / ".git")  # what git says of the code takes longer than all else
    summary = run(suite_of(quick), Options(quiet=True))
    assert summary.statuses == {"good": "succeeded", "bad": "failed"}
    whole = {path.relative_to(summary.run_dir): path for path in summary.run_dir.rglob("*") if path.is_file()}
    whole = {name: path.read_bytes() for name, path in whole.items()}
    quick.write("fixed", "")
    refused = resumed = 0
    for seed in range(20):
        case = summary.run_dir.with_name(f"20300101_{seed:06}_abc1234")
        summary.run_dir.rename(case)  # moved, as a run may be
        what = f"seed {seed}: {damage(case, random.Random(seed))}"
        before = [(path, path.lstat().st_mtime_ns) for path in case.rglob("*")]
        try:
            plan = make_plan(suite_of(quick), Options(resume=str(case), dry_run=True))
        except SuiteError as error:
            refused, refusals = refused + 1, error.problems
            assert len(refusals) == 1, what
            assert str(case) in refusals[0], what
            assert before == [(path, path.lstat().st_mtime_ns) for path in case.rglob("*")], what
        else:
            resumed += 1
            assert "bad" in plan.to_run, what
            ended = run(suite_of(quick), Options(resume=str(case), quiet=True))
            assert ended.statuses == {"good": "succeeded", "bad": "succeeded"}, what
            events = read_journal(case / "journal.jsonl").events
            assert any(e["event"] == "attempt_started" and e["attempt"] >= 2 and e["variant"] == "bad" for e in events)
        shutil.rmtree(case)
        for name, content in whole.items():
            (summary.run_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (summary.run_dir / name).write_bytes(content)
    assert min(refused, resumed) >= 5, (refused, resumed)


def test_a_link_in_place_of_the_runs_of_inspect_mode(tmp_path: Path) -> None:
    """Only the results folder itself may be a link, in either mode."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".runs").symlink_to("elsewhere")
    with pytest.raises(SuiteError, match=r"\.runs is a link"):
        runs_folder(tmp_path, "inspect")


# --- Who owns a run --------------------------------------------------------------------------------------------------

NO_FLOCK = ("-e", "trace=flock", "-e", "inject=flock:error=ENOSYS")


def run_without_flock(project: Project, *arguments: str, trace: str = "flock.trace") -> Finished:
    """Run the suite where the file system has no locks."""
    return traced(project, project.root / trace, *arguments, options=NO_FLOCK)[0]


def fired(project: Project) -> bool:
    return "(INJECTED)" in (project.root / "flock.trace").read_text()


@needs_strace
def test_a_run_without_flock(quick: Project) -> None:
    """Where the file system has no locks a file does it, which is said once; it stays, marked as given up."""
    done = run_without_flock(quick)
    assert fired(quick)
    assert done.code == 1
    assert done.stdout.count("has no flock, or had none for an earlier runner: .owner-1 shows who runs here") == 1
    assert (quick.run_dir / ".owner-1").stat().st_mtime == 0
    quick.write("fixed", "")
    before = quick.listing()
    assert run_without_flock(quick, "--resume", "latest", "--dry-run").code == 0
    assert {name for name, _ in quick.listing().items() ^ before.items()} <= {"flock.trace"}
    assert ".owner-2 shows" in quick.run_forked("--resume", "latest").stdout  # with flock too: others may have none
    assert quick.statuses() == {"good": "succeeded", "bad": "succeeded"}
    assert [path.name for path in quick.run_dir.glob(".*")] == [".owner-2"]


@needs_strace
def test_two_runners_without_flock(project: Project) -> None:
    """The second exits 75 and names the first; after kill -9 of the first nothing has to be unlocked."""
    project.suite({"a": "time.sleep(0 if Path('go').exists() else 60)"})
    first = project.fork("--quiet", stopped=True)
    with under_strace(first, project.root / "flock.trace", *NO_FLOCK):
        wait_for(lambda: project.runs() and project.events("attempt_started"))
        owner = json.loads((project.run_dir / ".owner-1").read_text())
        assert owner["pid"] == first.pid
        for arguments in ((), ("--dry-run",)):
            second = run_without_flock(project, "--resume", "latest", *arguments, trace="second.trace")
            assert second.code == 75
            assert f"pid {owner['pid']} on {socket.gethostname()}, since {owner['since']}" in second.stderr
        first.kill()
        project.finish(first)
    for event in project.events("attempt_started"):
        if alive(event["pid"]):
            os.kill(event["pid"], signal.SIGKILL)
    assert fired(project)
    project.write("go", "")
    assert run_without_flock(project, "--quiet", "--resume", "latest").code == 0
    assert project.statuses() == {"a": "succeeded"}
    assert [path.name for path in project.run_dir.glob(".*")] == [".owner-2"]


@needs_strace
def test_many_resumes_at_once_without_flock(quick: Project) -> None:
    """Of several resumes started together one runs the case, the others are turned away or find it done."""
    run_without_flock(quick)
    assert fired(quick)
    quick.write("fixed", "")

    def resume(number: int) -> int:
        return run_without_flock(quick, "--quiet", "--resume", "latest", trace=f"{number}.trace").code

    with ThreadPoolExecutor(3) as pool:
        codes = list(pool.map(resume, range(3)))
    assert set(codes) <= {0, 75}
    assert 0 in codes
    attempts = [(event["variant"], event["attempt"]) for event in quick.events("attempt_started")]
    assert sorted(attempts) == [("bad", 1), ("bad", 2), ("good", 1)]


def owner_elsewhere(folder: Path, age_s: float) -> None:
    """The file of an owner on another machine, who showed life so many seconds ago."""
    file = folder / ".owner-1"
    file.write_text(json.dumps({"host": "far", "place": "there", "pid": 1, "start_time": 5, "since": "then"}))
    os.utime(file, (time.time() - age_s, time.time() - age_s))


def test_an_owner_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as gone after two minutes of silence, by the file system's clock: this machine's may be an hour off."""
    now = time.time
    for offset_s in (0, 3600, -3600):
        owner_elsewhere(tmp_path, STALE_S - 20)
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda offset_s=offset_s: now() + offset_s)
            with pytest.raises(SuiteError, match="pid 1 on far, since then") as refusal:
                OwnerFile(tmp_path)
    assert refusal.value.exit_code == EXIT_LOCKED
    owner_elsewhere(tmp_path, STALE_S + 20)
    assert OwnerFile(tmp_path).number == 2
    assert [path.name for path in tmp_path.iterdir()] == [".owner-2"]


def test_a_pid_that_is_somebody_elses(tmp_path: Path) -> None:
    """A process that started at another time is not the owner, though it has its pid."""
    OwnerFile(tmp_path)
    file = tmp_path / ".owner-1"
    facts = json.loads(file.read_text())
    assert (facts["pid"], facts["place"]) == (os.getpid(), process_place())
    with pytest.raises(SuiteError, match=f"pid {os.getpid()} on {socket.gethostname()}"):
        OwnerFile(tmp_path)
    file.write_text(json.dumps({**facts, "start_time": facts["start_time"] - 1}))
    assert OwnerFile(tmp_path).number == 2


def test_whether_a_process_lives() -> None:
    """A pid, with the time at which its process started, tells who it is; a zombie has ended."""
    child = subprocess.Popen(["true"])
    started = start_time(child.pid) or 1
    wait_for(lambda: start_time(child.pid) == 0)
    assert is_alive(child.pid, started) is False
    child.wait()
    assert is_alive(child.pid, started) is False
    assert is_alive(os.getpid(), start_time(os.getpid())) is True
    assert is_alive(os.getpid(), None) is None
    assert is_alive(10**12, 1) is False


def no_lock(_descriptor: int, _path: Path, _kind: int) -> bool:
    """A file system without flock."""
    return False


def test_an_owner_that_was_silent_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner whose run was taken over, say while its machine slept, writes nothing more to it."""
    now = time.time
    monkeypatch.setattr(experiment_runner, "lock", no_lock)
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("first")
    file = tmp_path / ".owner-1"
    os.utime(file, (1, 1))
    monkeypatch.setattr(time, "time", lambda: now() + 60)
    journal.heartbeat()
    assert abs(file.stat().st_mtime - now()) < 10
    owner_elsewhere(tmp_path, STALE_S + 120)
    OwnerFile(tmp_path)
    before = journal.path.read_bytes()
    monkeypatch.setattr(time, "time", lambda: now() + 600)
    with pytest.raises(SuiteError, match="silent for too long"):
        journal.append("second")
    assert journal.path.read_bytes() == before
    journal.close()


def test_a_contender_that_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who acts on what was true long ago pushes out nobody: others have come, gone and come meanwhile."""
    owner_elsewhere(tmp_path, STALE_S + 20)
    original = experiment_runner.living_owner
    owners: list[OwnerFile] = []

    def slow(path: Path, time_there: Any) -> str:
        answer = original(path, time_there)
        if path.name == ".owner-1":
            monkeypatch.setattr(experiment_runner, "living_owner", original)
            owners.append(OwnerFile(tmp_path))
            owners[0].give_up()
            owners.append(OwnerFile(tmp_path))
            assert [owner.number for owner in owners] == [2, 3]
        return answer

    monkeypatch.setattr(experiment_runner, "living_owner", slow)
    with pytest.raises(SuiteError, match="belongs to another runner"):
        OwnerFile(tmp_path)
    assert len(owners) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".owner-3"]


def test_races_for_a_run_without_owner(tmp_path: Path) -> None:
    """Of eight that take over a run at the same time, one gets it, every time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for number in range(20):
            folder = tmp_path / str(number)
            folder.mkdir()
            owner_elsewhere(folder, STALE_S + 20)
            barrier = threading.Barrier(8)

            def contend(folder: Path = folder, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                try:
                    return OwnerFile(folder).number
                except SuiteError as error:
                    return 0 if error.exit_code == EXIT_LOCKED else -1

            with ThreadPoolExecutor(8) as pool:
                taken = [pool.submit(contend) for _ in range(8)]
            assert sorted(future.result() for future in taken) == [0] * 7 + [2]
            assert [path.name for path in folder.iterdir()] == [".owner-2"]
    finally:
        sys.setswitchinterval(interval)


def test_a_journal_that_was_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a file that is no longer the run's journal is none."""
    path = written(tmp_path, ["a", "b"])
    original = experiment_runner.lock

    def replacing(*given: Any) -> bool:
        path.with_name("new").write_bytes(path.read_bytes())
        path.with_name("new").rename(path)
        return original(*given)

    known = read_journal(path)
    monkeypatch.setattr(experiment_runner, "lock", replacing)
    with pytest.raises(SuiteError, match="was replaced just now"):
        Journal(path, known)


def test_a_journal_that_grew_meanwhile(tmp_path: Path) -> None:
    """What was planned for a journal is not done to a longer one."""
    path = written(tmp_path, ["a", "b"])
    known = read_journal(path)
    other = Journal(path, known)
    other.append("said", text="c")
    other.close()
    with pytest.raises(SuiteError, match="changed by another runner"):
        Journal(path, known)


def test_a_look_does_not_turn_a_runner_away(tmp_path: Path) -> None:
    """Somebody who looks holds the lock for a moment; a runner waits that long."""
    path = written(tmp_path, ["a", "b"])
    look = subprocess.Popen(["flock", "-s", str(path), "-c", "echo; sleep 0.1"], stdout=subprocess.PIPE)
    assert look.stdout is not None
    look.stdout.readline()
    Journal(path, read_journal(path)).close()
    look.communicate(timeout=DEADLINE_S)
