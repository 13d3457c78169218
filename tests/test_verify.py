"""A whole run is called whole, and every damage to one is found and named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import answer, ask
from conftest import Project, wait_for

from suitecase.queries.verification import verify_run
from suitecase.rundir.journal import Journal


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A dirty run of two cases that wrote results and a table; tests work on copies of its directory."""
    project = Project(tmp_path_factory.mktemp("verify") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    write = "(folder / 'results.json').write_text('{\"x\": 1}'); (folder / 'deep').mkdir(); (folder / 'deep/t').touch()"
    project.suite({"a": write, "b": write})
    assert project.run_forked("-q").code == 0
    return project


@pytest.fixture
def copy(made: Project, tmp_path: Path) -> Path:
    path = tmp_path / "exp" / made.run_dir.name
    shutil.copytree(made.run_dir, path)
    return path


def test_a_whole_run(made: Project) -> None:
    before = snapshot(made.root)
    found = answer(made, "verify", "exp")
    assert found["whole"] is True
    assert found["problems"] == found["notes"] == []
    lines = len(made.events())
    # A case: its config, its log, its results, and a file in a folder.
    assert found["proved"] == {"journal_lines": lines, "configs": 2, "files_by_hash": 8, "files_by_size": 0}
    assert snapshot(made.root) == before, "verify wrote something"
    assert "exp" in ask(made, "verify", "latest").stdout


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lose_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "run.json edited": ("run.json", lambda path: path.write_text(path.read_text() + "\n"), "not what the run wrote"),
    "run.json torn": ("run.json", truncate, "run.json"),
    "run.json lost": ("run.json", Path.unlink, "has lost its run.json"),
    "config.json changed": ("a/config.json", flip, "a/config.json is not what the run wrote"),
    "config.json lost": ("b/config.json", Path.unlink, "b/config.json is missing"),
    "results.json changed": ("a/results.json", flip, "a/results.json has other contents"),
    "results.json torn": ("a/results.json", truncate, "a/results.json has 7 bytes, and 8 were recorded"),
    "log lost": ("b/attempt-1.log", Path.unlink, "b/attempt-1.log is missing"),
    "file in a folder lost": ("b/deep/t", Path.unlink, "b/deep/t is missing"),
    "journal bit flipped": ("journal.jsonl", flip, "damaged"),
    "journal line lost": ("journal.jsonl", lose_line, "journal.jsonl: line 3 is damaged"),
    "journal torn": ("journal.jsonl", truncate, "its last line was never finished"),
    "journal lost": ("journal.jsonl", Path.unlink, "journal.jsonl is missing"),
    "journal emptied": ("journal.jsonl", lambda path: path.write_bytes(b""), "holds no event"),
    "environment lost": ("environment.json", Path.unlink, "environment.json is missing"),
    "patch lost": ("uncommitted.patch", Path.unlink, "uncommitted.patch is missing"),
    "patch changed": ("uncommitted.patch", flip, "the code of"),
    "folder lost": ("a", shutil.rmtree, "a/config.json is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(copy: Path, name: str) -> None:
    assert verify_run(copy).is_whole
    place, damage, words = DAMAGES[name]
    damage(copy / place)
    after = snapshot(copy)
    found = verify_run(copy)
    assert any(words in problem for problem in found.problems), found.problems
    assert not found.is_whole
    assert snapshot(copy) == after


def test_every_changed_byte_of_the_record_is_found(copy: Path) -> None:
    """Wherever the byte lies. Of environment.json nobody recorded a hash; the patch is proved by the tree it gives."""
    for name in ("run.json", "journal.jsonl", "a/config.json", "a/results.json", "a/attempt-1.log"):
        content = (copy / name).read_bytes()
        for at in range(0, len(content), max(1, len(content) // 5)):
            (copy / name).write_bytes(content[:at] + bytes([content[at] ^ 2]) + content[at + 1 :])
            assert not verify_run(copy).is_whole, (name, at)
        (copy / name).write_bytes(content)
    assert verify_run(copy).is_whole


def test_every_changed_byte_of_the_journal_is_found(copy: Path) -> None:
    """Those of the first line's checksum too, without which the journal would look like one that has none."""
    file = copy / "journal.jsonl"
    first, second, third, *_ = file.read_bytes().splitlines(keepends=True)
    content = first + second + third
    for at in [*range(len(first)), *range(len(first), len(content) - 1, 7)]:
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        journal = Journal(file)
        list(journal)
        assert journal.problems, at


def test_damaged_logs_of_inspect(tmp_path: Path) -> None:
    log = tmp_path / "exp" / "abc1234_a_i.eval"
    run = tmp_path / "exp" / ".runs" / "20260101_120000_abc1234"
    (run / "a").mkdir(parents=True)
    (run / "a" / "config.json").write_text("{}")
    (run / "environment.json").write_text("{}")
    (run / "run.json").write_text(json.dumps({"mode": "inspect", "cases": [{"variant": "a"}]}))
    published = {"event": "logs_published", "variant": "a", "logs": [{"file": log.name}]}
    events = [published, {"event": "case_ended", "variant": "a", "status": "failed"}, {"event": "run_ended"}]
    (run / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    with zipfile.ZipFile(log, "w") as archive:
        archive.writestr("header.json", "a header, stored as it is")
    assert verify_run(run).is_whole, verify_run(run).problems
    log.write_bytes(log.read_bytes().replace(b"as it is", b"as it was"[:8]))
    assert any("damaged in its part header.json" in problem for problem in verify_run(run).problems)
    log.unlink()
    assert any("abc1234_a_i.eval is missing" in problem for problem in verify_run(run).problems)


def test_other_formats_and_no_runs(made: Project, copy: Path, tmp_path: Path) -> None:
    run = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**run, "format_version": 99}))
    assert any("has format 99" in problem for problem in verify_run(copy).problems)
    assert ask(made, "verify", "nothing-like-it").code == 2
    original = tmp_path / "exp" / "20260101_120000_abc1234"
    (original / "a").mkdir(parents=True)
    (original / "a" / "config.json").write_text("{}")
    found = verify_run(original)
    assert found.is_whole
    assert any("nobody can prove its configs" in note for note in found.notes)


def test_runs_that_did_not_end(project: Project) -> None:
    """One that goes on, then the same one with its runner killed, then resumed."""
    project.suite({"a": "pass", "b": "(folder / 'up').touch()\nwhile not os.path.exists('go'): time.sleep(0.01)"})
    runner = project.start("-q")
    wait_for(lambda: project.runs() and (project.run_dir / "b" / "up").exists())
    wait_for(lambda: project.statuses() == {"a": "succeeded"})
    assert any("the run goes on" in problem for problem in verify_run(project.run_dir).problems)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    wait_for(lambda: not any("goes on" in problem for problem in verify_run(project.run_dir).problems))
    found = answer(project, "verify", "exp", code=1)
    assert any("interrupted" in problem for problem in found["problems"])
    assert any("1 of 2 cases have no final status: b (interrupted)" in problem for problem in found["problems"])
    project.write("go", "")
    assert project.run_forked("-q", "--resume", "latest").code == 0
    assert verify_run(project.run_dir).is_whole
    os.unlink(project.root / "go")


def test_what_is_no_damage(project: Project) -> None:
    """A failed case has a final status; and one that `--only` leaves out needs none."""
    project.suite({"a": "sys.exit(3)", "b": "pass"})
    assert project.run_forked("-q", "--only", "a").code == 1
    found = verify_run(project.run_dir)
    assert found.is_whole, found.problems
    assert found.notes == ("1 of 2 cases were not asked for (--only), and never started.",)
