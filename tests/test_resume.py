"""A second pass runs what has not succeeded, of the same cases, in the same place, and says what differs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Kept, Project, alive, wait_for

from experiment_runner import Suite, SuiteError, find_run, read_run

# Each case counts its own starts in a file of its folder that the runner knows nothing of.
COUNT = "open(folder / 'starts', 'a').write('x'); "
UNTIL_FIXED = COUNT + "sys.exit(0 if Path('fixed').exists() else 3)"
SUITE = Suite([], "work.py", "exp")


def starts(project: Project, variant: str) -> int:
    """How often a case was started in the newest run."""
    file = project.run_dir / variant / "starts"
    return len(file.read_text()) if file.exists() else 0


def run_json(project: Project) -> dict[str, Any]:
    return json.loads((project.run_dir / "run.json").read_text())


def commit(project: Project, message: str = "Change") -> str:
    """Commit everything, with a change; the new commit's short name."""
    project.git("add", "-A")
    project.git("commit", "-q", "--allow-empty", "-m", message)
    return project.git("rev-parse", "--short", "HEAD")


@pytest.fixture(scope="module")
def half_done_once(new_project: Callable[[str], Project]) -> Kept:
    project = new_project("half_done")
    project.write(".gitignore", "__pycache__/\n/results/\n/fixed\n")
    project.suite({"good": COUNT + "print('first')", "bad": UNTIL_FIXED})
    commit(project)
    assert project.run_forked("--quiet").code == 1
    assert project.statuses() == {"good": "succeeded", "bad": "failed"}
    return Kept(project)


@pytest.fixture
def half_done(half_done_once: Kept) -> Iterator[Project]:
    """A project whose run has a succeeded case `good` and a failed one `bad`, which succeeds once `fixed` exists."""
    with half_done_once.restored() as project:
        yield project


def refused(project: Project, *arguments: str, code: int = 2, run_dir: Path | None = None) -> str:
    """What a refused resume says; it must have changed nothing."""
    before = project.listing()
    done = project.run_forked("--resume", str(run_dir or "latest"), *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    changed = {name for name in before.items() ^ project.listing().items() if "__pycache__" not in name[0]}
    assert changed == set()
    return done.stderr


# --- What runs again -------------------------------------------------------------------------------------------------


def test_succeeded_cases_are_not_launched_again(half_done: Project) -> None:
    """Only the failed case runs; its second log lies beside the untouched first one."""
    first = half_done.run_dir / "bad" / "attempt-1.log"
    before = (first.read_bytes(), first.stat().st_mtime_ns)
    half_done.write("fixed", "")
    done = half_done.run("--resume", "latest")
    assert done.code == 0
    assert "(1 of 2 cases have succeeded)" in done.stdout
    assert "Completed: 2/2 succeeded" in done.stdout
    assert (starts(half_done, "good"), starts(half_done, "bad")) == (1, 2)
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before
    assert (half_done.run_dir / "bad" / "attempt-2.log").exists()
    assert not (half_done.run_dir / "good" / "attempt-2.log").exists()
    attempts = [(event["variant"], event["attempt"]) for event in half_done.events("attempt_started")]
    assert attempts == [("good", 1), ("bad", 1), ("bad", 2)]
    assert len(half_done.runs()) == 1


def test_a_complete_run_has_nothing_left_to_do(half_done: Project) -> None:
    """Resuming a run whose cases have all succeeded launches nothing and exits 0, with whatever code."""
    half_done.write("fixed", "")
    half_done.run_forked("--quiet", "--resume", "latest")
    half_done.write("work.py", (half_done.root / "work.py").read_text() + "# changed\n")
    done = half_done.run_forked("--resume", "latest")
    assert done.code == 0
    assert "Nothing left to do" in done.stdout
    assert "mixes code" not in done.stdout
    assert (starts(half_done, "good"), starts(half_done, "bad")) == (1, 2)


def test_a_torn_result_of_a_killed_case_is_no_success(project: Project) -> None:
    """A results.json that a killed case left half written does not count; the case runs again."""
    torn = "(folder / 'results.json').write_text('{\"accu'); " + COUNT
    project.suite({"a": torn + "Path('fixed').exists() or os.kill(os.getpid(), 9)"})
    assert project.run_forked("--quiet").code == 1
    assert (project.run_dir / "a" / "results.json").read_text() == '{"accu'
    project.write("fixed", "")
    assert project.run_forked("--quiet", "--resume", "latest").code == 0
    assert starts(project, "a") == 2
    assert project.statuses() == {"a": "succeeded"}


def test_what_only_left_out_is_pending_and_runs_on_resume(project: Project) -> None:
    """--only leaves cases pending, in a resume as well; a resume without it runs them."""
    project.suite(dict.fromkeys(("a1", "a2", "b"), COUNT))
    done = project.run_forked("--only", "a*")
    assert done.code == 0
    assert "(1 pending)" in done.stdout
    assert (project.run_dir / "b" / "config.json").exists()
    project.run_forked("--quiet", "--resume", "latest", "--only", "a1")
    assert [starts(project, name) for name in ("a1", "a2", "b")] == [1, 1, 0]
    assert project.run_forked("--quiet", "--resume", "latest").code == 0
    assert [starts(project, name) for name in ("a1", "a2", "b")] == [1, 1, 1]


def test_a_log_that_the_journal_does_not_know_is_kept(half_done: Project) -> None:
    """An attempt whose runner died before it could write its start down keeps its log; the next number is used."""
    unknown = half_done.run_dir / "bad" / "attempt-2.log"
    unknown.write_text("of a lost attempt\n")
    half_done.write("fixed", "")
    assert half_done.run_forked("--resume", "latest").code == 0
    assert unknown.read_text() == "of a lost attempt\n"
    assert (half_done.run_dir / "bad" / "attempt-3.log").exists()
    assert half_done.events("attempt_started")[-1]["attempt"] == 3


def test_killed_in_mid_run(project: Project) -> None:
    """After kill -9 of the runner a resume completes the run, each succeeded case exactly once."""
    waiting = COUNT + "time.sleep(0 if Path('go').exists() else 600)"
    project.suite({"done": COUNT, "a": waiting, "b": waiting, "last": COUNT})
    runner = project.start("--quiet", "-p", "3")
    wait_for(lambda: project.runs() and project.statuses() == {"done": "succeeded", "last": "succeeded"})
    wait_for(lambda: [starts(project, name) for name in "ab"] == [1, 1])
    runner.kill()
    project.finish(runner)
    end_orphans(project)
    project.write("go", "")
    planned = [json.loads(line)["variant"] for line in project.run("--dry-run", "--json", "--resume", "latest").lines]
    assert planned == ["a", "b"]
    assert project.run("--quiet", "--resume", "latest").code == 0
    assert project.statuses() == dict.fromkeys(("done", "a", "b", "last"), "succeeded")
    assert [starts(project, name) for name in ("done", "a", "b", "last")] == [1, 2, 2, 1]
    assert (project.run_dir / "a" / "attempt-2.log").exists()


def end_orphans(project: Project) -> None:
    """End the processes of cases that a killed runner left."""
    ended = {(event["variant"], event["attempt"]) for event in project.events("attempt_ended")}
    for event in project.events("attempt_started"):
        if (event["variant"], event["attempt"]) not in ended:
            if alive(event["pid"]):
                os.kill(event["pid"], signal.SIGKILL)
            wait_for(lambda pid=event["pid"]: not alive(pid))


# --- Which run -------------------------------------------------------------------------------------------------------


def test_the_ways_to_name_a_run(half_done: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is named by its path, absolute or relative, by its name alone, or as the latest."""
    run_dir = half_done.run_dir
    monkeypatch.chdir(half_done.root)
    relative = os.path.relpath(run_dir, half_done.root)
    for way in (str(run_dir), relative, f"{relative}/", run_dir.name, "latest"):
        assert find_run(way, run_dir.parent).resolve() == run_dir, way
    (tmp_path / "elsewhere").mkdir()
    for way, cwd in ((f"{relative}/", half_done.root), (run_dir.name, tmp_path / "elsewhere")):
        assert f"Run directory: {run_dir}" in half_done.run_forked("--resume", way, "--dry-run", cwd=cwd).lines, way


def test_latest_is_the_newest_whole_run(half_done: Project) -> None:
    """`latest` passes over what a crash left and over folders with other names."""
    folder = half_done.root / "results" / "exp"
    for name in (".29991231_235959_abcdefg.building", "zzz", "29991231_235959"):
        (folder / name).mkdir()
    (folder / "29991231_235958_file").write_text("no folder")
    half_done.run_forked("--quiet", "--resume", "latest", "--only", "bad")
    assert len(half_done.events("run_resumed", folder / half_done.runs()[0].name)) == 1


def test_latest_without_any_run(project: Project) -> None:
    """There is nothing to resume before the first run; nothing is created."""
    assert "there is no run in" in refused(project)
    assert not (project.root / "results").exists()


def test_an_unknown_run_names_the_near_one(half_done: Project) -> None:
    """A mistyped run directory is answered with the nearest."""
    name = half_done.run_dir.name
    mistyped = name[:-1] + ("0" if name[-1] != "0" else "1")
    assert f"Did you mean {name!r}?" in refused(half_done, run_dir=half_done.run_dir.with_name(mistyped))


def test_a_folder_that_is_no_run(half_done: Project, tmp_path: Path) -> None:
    """A folder without record and configs is refused, as is one that a crash left unfinished."""
    assert "is no run directory" in refused(half_done, run_dir=tmp_path)
    unfinished = half_done.run_dir.with_name(f".{half_done.run_dir.name}.building")
    half_done.run_dir.rename(unfinished)
    assert "unfinished" in refused(half_done, run_dir=unfinished)


def test_a_moved_run_directory(half_done: Project, tmp_path: Path) -> None:
    """A run that was moved goes on where it is now, and nothing appears in the old place."""
    moved = tmp_path / "archive" / half_done.run_dir.name
    moved.parent.mkdir()
    half_done.run_dir.rename(moved)
    half_done.write("fixed", "")
    done = half_done.run_forked("--resume", str(moved))
    assert done.code == 0
    assert (moved / "bad" / "starts").read_text() == "xx"
    assert (moved / "bad" / "attempt-2.log").exists()
    assert half_done.runs() == []


def test_another_experiment_or_mode(half_done: Project) -> None:
    """A run of another experiment or mode is refused with both names."""
    run_dir = half_done.run_dir
    half_done.suite({"good": COUNT}, experiment="other")
    assert "run of experiment 'exp', and this suite is 'other'" in refused(half_done, run_dir=run_dir)
    half_done.suite({"good": COUNT}, more="mode='inspect'")
    assert "run of mode 'standard', and this suite is 'inspect'" in refused(half_done, run_dir=run_dir)


def test_a_newer_format(half_done: Project) -> None:
    """A run written by a newer runner is refused, with the advice to update."""
    changed = run_json(half_done) | {"format_version": 99}
    (half_done.run_dir / "run.json").write_text(json.dumps(changed))
    message = refused(half_done)
    assert "format 99" in message
    assert "update" in message


# --- The same cases --------------------------------------------------------------------------------------------------


def test_another_config_is_refused(half_done: Project) -> None:
    """A case with another config than the run recorded is refused with the differing fields, succeeded or not."""
    half_done.suite("[ExperimentCase('good', Config(x=7, name='m')), ExperimentCase('bad', Config(do='pass', seed=1))]")
    message = refused(half_done)
    assert "case 'good' has another config" in message
    assert "x: 0 is now 7" in message
    assert 'name: "n" is now "m"' in message
    assert "case 'bad' has another config" in message
    assert "seed: 42 is now 1" in message
    assert "output_dir" not in message


def test_values_are_compared_with_their_types(project: Project) -> None:
    """1, 1.0 and true are different values of a field."""
    config = project.root / "config.py"
    config.write_text("from typing import Any\n" + config.read_text() + "    v: Any = None\n")
    project.suite("[ExperimentCase('a', Config(v=1))]")
    assert project.run_forked("--quiet").code == 0
    project.suite("[ExperimentCase('a', Config(v=1.0))]")
    assert "v: 1 is now 1.0" in refused(project)
    project.suite("[ExperimentCase('a', Config(v=True))]")
    assert "v: 1 is now true" in refused(project)


def test_a_new_field_at_its_default_is_reported(half_done: Project) -> None:
    """A field that the saved config lacks is no other config while it is at its default; else it is."""
    config = half_done.root / "config.py"
    config.write_text(config.read_text() + "    warmup: int = 5\n    tags: list[str] = []\n")
    half_done.write("fixed", "")
    done = half_done.run_forked("--resume", "latest", "--dry-run")
    assert done.code == 0
    assert "field warmup is new since the run began, and at its default" in done.stdout
    assert "field tags is new" in done.stdout
    half_done.suite(f"[ExperimentCase('good', Config(do={COUNT!r}, warmup=6))]")
    assert "warmup: nothing is now 6" in refused(half_done)
    half_done.suite({"good": COUNT + "print('first')", "bad": UNTIL_FIXED})
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0


def test_a_field_that_is_gone_is_refused(half_done: Project) -> None:
    """A field that the run recorded and the class has no more is a difference."""
    config = half_done.root / "config.py"
    config.write_text(config.read_text().replace('    name: str = "n"\n', ""))
    assert 'name: "n" is now nothing' in refused(half_done)


def test_new_and_vanished_cases_are_reported(half_done: Project) -> None:
    """New cases are added and run; those that left the suite stay as they are."""
    half_done.suite({"good": COUNT + "print('first')", "new1": COUNT, "new2": COUNT})
    done = half_done.run_forked("--resume", "latest")
    assert done.code == 0
    assert "new, added: new1, new2" in done.stdout
    assert "no longer in the suite, left alone: bad" in done.stdout
    resumed = half_done.events("run_resumed")[-1]
    assert (resumed["cases_added"], resumed["cases_gone"]) == (["new1", "new2"], ["bad"])
    assert [starts(half_done, name) for name in ("good", "bad", "new1", "new2")] == [1, 1, 1, 1]
    assert (half_done.run_dir / "new1" / "config.json").exists()
    # A third pass knows the added ones as cases of the run, and the vanished one may come back.
    half_done.suite({"good": COUNT + "print('first')", "bad": UNTIL_FIXED, "new1": COUNT, "new2": COUNT})
    half_done.write("fixed", "")
    done = half_done.run_forked("--resume", "latest")
    assert done.code == 0
    assert "new, added" not in done.stdout
    assert [starts(half_done, name) for name in ("good", "bad", "new1", "new2")] == [1, 2, 1, 1]


def test_an_added_case_whose_folder_is_there_already(half_done: Project) -> None:
    """A resume that was killed after it had made a new case's folder does not block the next one."""
    half_done.suite({"good": COUNT + "print('first')", "new": COUNT})
    (half_done.run_dir / "new").mkdir()
    (half_done.run_dir / "new" / ".config.json.writing").write_text('{"tor')
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0
    assert json.loads((half_done.run_dir / "new" / "config.json").read_text())["do"] == COUNT
    assert starts(half_done, "new") == 1


def test_set_is_replayed(half_done: Project) -> None:
    """What --set changed in the run holds in its resume; giving something else is refused."""
    assert half_done.run_forked("--quiet", "--set", "x=5", "--set", "name=five").code == 1
    half_done.write("fixed", "")
    assert "was started with --set=x=5 --set=name=five" in refused(half_done, "--set", "x=6")
    assert (
        half_done.run_forked("--quiet", "--resume", "latest", "--set", "x=5", "--set", "name=five", "--dry-run").code
        == 0
    )
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0
    assert json.loads((half_done.run_dir / "bad" / "config.json").read_text())["x"] == 5
    assert half_done.statuses() == {"good": "succeeded", "bad": "succeeded"}


def test_set_cannot_be_added(half_done: Project) -> None:
    """A run without --set is not resumed with one."""
    assert "was started without --set, and a resume runs the same: leave --set out" in refused(
        half_done, "--set", "x=6"
    )


@pytest.mark.parametrize("damages", [(None, b""), (b'{"seed": 42, "do": "pass"}', b"\0\0")])
def test_a_lost_config_is_written_again(half_done: Project, damages: tuple[bytes | None, bytes | None]) -> None:
    """A missing or changed config.json is repaired if the suite declares exactly what the run recorded; it is said."""
    files = [half_done.run_dir / variant / "config.json" for variant in ("good", "bad")]
    saved = [file.read_bytes() for file in files]
    for file, damage in zip(files, damages, strict=True):
        file.unlink() if damage is None else file.write_bytes(damage)
    done = half_done.run_forked("--resume", "latest")
    for file, damage in zip(files, damages, strict=True):
        fault = "is missing" if damage is None else "is not what the run recorded"
        assert f"Note: {file} {fault}: it is written again" in done.stdout
    assert (done.code, [file.read_bytes() for file in files]) == (1, saved)


@pytest.mark.parametrize("damage", [None, b"{}"])
def test_a_lost_config_that_nobody_knows(half_done: Project, damage: bytes | None) -> None:
    """If the suite declares something else, nobody knows what the run recorded: refused by name of the file."""
    file = half_done.run_dir / "good" / "config.json"
    file.unlink() if damage is None else file.write_bytes(damage)
    half_done.suite({"good": "pass", "bad": UNTIL_FIXED})
    assert f"{file} is {'missing' if damage is None else 'not what'}" in refused(half_done)


def test_a_lost_config_of_a_moved_run(half_done: Project, tmp_path: Path) -> None:
    """The output folder in a config.json is where the run was made; a repair writes that one again."""
    moved = tmp_path / "archive" / half_done.run_dir.name
    moved.parent.mkdir()
    saved = (half_done.run_dir / "bad" / "config.json").read_bytes()
    half_done.run_dir.rename(moved)
    (moved / "bad" / "config.json").unlink()
    assert "is written again" in half_done.run_forked("--resume", str(moved)).stdout
    assert (moved / "bad" / "config.json").read_bytes() == saved


def test_a_lost_config_of_an_added_case(half_done: Project) -> None:
    """A case that a resume added has its config's hash in the journal."""
    half_done.suite({"good": COUNT + "print('first')", "new": "sys.exit(1)"})
    half_done.run_forked("--quiet", "--resume", "latest")
    file = half_done.run_dir / "new" / "config.json"
    saved = file.read_bytes()
    file.write_bytes(saved.replace(b"exit(1)", b"exit(0)"))
    half_done.run_forked("--quiet", "--resume", "latest")
    assert file.read_bytes() == saved
    assert half_done.statuses()["new"] == "failed"


def test_a_lost_folder(half_done: Project) -> None:
    """A case's folder is made again if nothing had succeeded there; that of a success is missed by name."""
    shutil.rmtree(half_done.run_dir / "bad")
    half_done.write("fixed", "")
    assert half_done.run_forked("--resume", "latest", "--dry-run").code == 0
    shutil.copytree(half_done.run_dir / "good", half_done.root / "results" / "kept")
    shutil.rmtree(half_done.run_dir / "good")
    assert f"its folder {half_done.run_dir / 'good'} is gone" in refused(half_done)
    (half_done.root / "results" / "kept").rename(half_done.run_dir / "good")
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0
    assert (half_done.run_dir / "bad" / "config.json").exists()
    assert half_done.statuses() == {"good": "succeeded", "bad": "succeeded"}


def test_only_works_as_the_note_does(half_done: Project) -> None:
    """Each pass records its own note and choice."""
    half_done.run_forked("--quiet", "--resume", "latest", "--note", "second try", "--only", "b*")
    resumed = half_done.events("run_resumed")[-1]
    assert (resumed["number"], resumed["note"], resumed["only"]) == (2, "second try", ["b*"])


# --- Other code ------------------------------------------------------------------------------------------------------


def test_other_code_is_the_normal_case(half_done: Project) -> None:
    """A fixed bug needs no flag: it is said, attempts name their code, the patch is stored, the end says it mixes."""
    before = half_done.git("rev-parse", "--short", "HEAD")
    work = half_done.root / "work.py"
    work.write_text(work.read_text().replace('exec(config["do"])', 'exec(config["do"].replace("sys.exit", "print"))'))
    done = half_done.run_forked("--resume", "latest")
    assert done.code == 0
    said = [number for number, line in enumerate(done.lines) if "other code than before" in line]
    assert len(said) == 1
    assert f"{before} then, {before}-dirty now" in done.lines[said[0]]
    assert said[0] < next(number for number, line in enumerate(done.lines) if line.startswith("[OK]"))
    assert sum("this run mixes code" in line for line in done.lines) == 1
    first, second = [event for event in half_done.events("attempt_started") if event["variant"] == "bad"]
    assert (first["commit"], first["dirty"]) == (half_done.git("rev-parse", "HEAD"), False)
    assert (second["commit"], second["dirty"]) == (first["commit"], True)
    assert first["tree"] != second["tree"]
    resumed = half_done.events("run_resumed")[-1]
    assert (resumed["code"]["patch"], resumed["code"]["label"]) == ("uncommitted-2.patch", f"{before}-dirty")
    assert b'"print"' in (half_done.run_dir / "uncommitted-2.patch").read_bytes()
    assert not (half_done.run_dir / "uncommitted.patch").exists()


def test_the_same_code_is_not_remarked_on(half_done: Project) -> None:
    """Without a change of the tree nothing is said of code, whatever was committed meanwhile."""
    commit(half_done, "Empty")
    done = half_done.run_forked("--resume", "latest", "--same-code")
    assert done.code == 1
    assert "other code" not in done.stdout
    assert "mixes code" not in done.stdout


def test_same_code_makes_it_an_error(half_done: Project) -> None:
    """--same-code refuses other code with both labels, and passes once the code is back."""
    short = half_done.git("rev-parse", "--short", "HEAD")
    work = half_done.root / "work.py"
    original = work.read_text()
    work.write_text(original + "# changed\n")
    message = refused(half_done, "--same-code")
    assert f"{short}, the code here is {short}-dirty" in message
    work.write_text(original)
    half_done.write("fixed", "")
    assert half_done.run_forked("--quiet", "--resume", "latest", "--same-code").code == 0


def test_same_code_sees_what_a_patch_leaves_out(project: Project) -> None:
    """A changed file that is only listed by its hash is other code too."""
    project.write(".env", "A=1\n")
    project.suite({"a": "sys.exit(1)"})
    project.run_forked("--quiet")
    assert project.run_forked("--quiet", "--resume", "latest", "--same-code").code == 1
    project.write(".env", "A=2\n")
    assert "--same-code" in refused(project, "--same-code")
    assert "other code than before" in project.run_forked("--resume", "latest").stdout


def test_same_code_needs_to_know_the_code(half_done: Project) -> None:
    """Where the code can't be told, --same-code does not pass."""
    (half_done.root / ".git").rename(half_done.root / "git-gone")
    assert "--same-code" in refused(half_done, "--same-code")


# --- The record is damaged or in use ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b'{"event":"case_ended","variant":"bad","status":"succee', b"\0" * 4096])
def test_an_unfinished_last_line_is_cut(half_done: Project, tail: bytes) -> None:
    """The next event is not glued to what a crash left, half a line or zeros; the journal stays readable."""
    journal = half_done.run_dir / "journal.jsonl"
    complete = journal.read_bytes()
    journal.write_bytes(complete + tail)
    half_done.write("fixed", "")
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0
    assert journal.read_bytes().startswith(complete + b'{"event":"run_resumed"')
    assert half_done.statuses() == {"good": "succeeded", "bad": "succeeded"}
    assert starts(half_done, "bad") == 2


def test_a_damaged_line_is_refused(half_done: Project) -> None:
    """A line in the middle that is no event is refused by file and number, and nothing is changed."""
    journal = half_done.run_dir / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")
    for damage in (b"[]", b"{}", b'{"event":"case_ended","vari', b"\0\0\0", b"", b"garbage"):
        lines[2] = damage
        journal.write_bytes(b"\n".join(lines))
        with pytest.raises(SuiteError, match=f"{re.escape(str(journal))}, line 3.*Nothing was changed"):
            read_run(half_done.run_dir, SUITE)
    message = refused(half_done)
    assert f"{journal}, line 3" in message
    assert "Nothing was changed" in message


def test_a_damaged_run_json_is_refused(half_done: Project) -> None:
    """A run.json that can't be read is refused by name."""
    file = half_done.run_dir / "run.json"
    for content in (b"", b'{"experiment', b"[]", b"\xff\xfe", b"[" * 100_000):
        file.write_bytes(content)
        with pytest.raises(SuiteError, match=re.escape(str(file))):
            read_run(half_done.run_dir, SUITE)
    assert str(file) in refused(half_done)


def test_an_edited_run_json_is_refused(half_done: Project) -> None:
    """The journal holds the hash of run.json: what somebody else wrote there is not what was asked."""
    file = half_done.run_dir / "run.json"
    file.write_bytes(file.read_bytes().replace(b'"note": ""', b'"note": "x"'))
    assert f"{file} is not what the run wrote" in refused(half_done)


def test_a_lost_run_json_is_refused(half_done: Project) -> None:
    """A run with a journal was not made by the simple original: it has lost its run.json."""
    (half_done.run_dir / "run.json").unlink()
    assert "has lost its run.json" in refused(half_done)


def test_another_damaged_run_does_not_matter(half_done: Project) -> None:
    """`latest` looks at runs from the newest on, and no further than it must."""
    old = half_done.run_dir.with_name("20200101_000000_abc1234")
    old.mkdir()
    (old / "run.json").write_text("garbage")
    assert half_done.run_forked("--resume", "latest", "--dry-run").code == 0


def test_a_lost_journal_is_refused(half_done: Project) -> None:
    """Without its journal nothing tells what succeeded."""
    journal = half_done.run_dir / "journal.jsonl"
    journal.write_bytes(b"")
    assert "has lost its events" in refused(half_done)
    journal.unlink()
    assert "has no journal.jsonl" in refused(half_done)


def test_a_journal_without_checksums(half_done: Project) -> None:
    """A run that an earlier runner began goes on, and its journal stays as it was begun."""
    journal = half_done.run_dir / "journal.jsonl"
    journal.write_bytes(re.sub(rb',"crc32":\d+\}', b"}", journal.read_bytes()))
    half_done.write("fixed", "")
    assert half_done.run_forked("--quiet", "--resume", "latest").code == 0
    assert half_done.statuses() == {"good": "succeeded", "bad": "succeeded"}
    assert b"crc32" not in journal.read_bytes()


@pytest.mark.parametrize("what", ["", "run.json", "journal.jsonl", "bad", "bad/config.json", "new"])
def test_links_that_lead_elsewhere(half_done: Project, tmp_path: Path, what: str) -> None:
    """What the runner would write to, or believe, must lie in the run itself; else it is refused by name."""
    run_dir = half_done.run_dir
    half_done.suite({"good": COUNT + "print('first')", "bad": UNTIL_FIXED, "new": COUNT})
    elsewhere = tmp_path / "elsewhere"
    if (run_dir / what).exists():
        (run_dir / what).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (run_dir / what).symlink_to(elsewhere)
    before = [(path, path.lstat().st_mtime_ns) for path in sorted(tmp_path.rglob("elsewhere/**"))]
    assert str(run_dir / what) in refused(half_done)
    assert before == [(path, path.lstat().st_mtime_ns) for path in sorted(tmp_path.rglob("elsewhere/**"))]


def test_a_file_in_place_of_a_folder(half_done: Project) -> None:
    """A case's folder that is a file is refused by name."""
    shutil.rmtree(half_done.run_dir / "bad")
    (half_done.run_dir / "bad").write_text("no folder")
    assert f"{half_done.run_dir / 'bad'} must be a folder" in refused(half_done)


def test_a_dry_run_of_a_resume_writes_nothing(half_done: Project) -> None:
    """It shows what would run and changes not a byte, not even the unfinished line."""
    journal = half_done.run_dir / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"event":"torn')
    half_done.suite({"good": COUNT + "print('first')", "bad": UNTIL_FIXED, "new": COUNT})
    before = half_done.listing()
    done = half_done.run_forked("--resume", "latest", "--dry-run")
    assert done.code == 0
    assert [line.split()[0] for line in done.lines if line.startswith("  ")] == ["bad", "new"]
    assert half_done.listing() == before


def test_two_runners_on_one_run(project: Project) -> None:
    """The second exits 75 and names the first's pid and host; after kill -9 of the first nothing has to be unlocked."""
    project.suite({"a": COUNT + "time.sleep(0 if Path('go').exists() else 600)"})
    first = project.fork("--quiet")
    project.wait_for_started("a")
    wait_for(lambda: starts(project, "a") == 1)
    for arguments in ((), ("--dry-run",)):
        second = project.run_forked("--resume", "latest", *arguments)
        assert second.code == 75
        assert f"pid {first.pid} on {socket.gethostname()}" in second.stderr
    assert first.poll() is None
    first.kill()
    project.finish(first)
    end_orphans(project)
    project.write("go", "")
    assert project.run_forked("--quiet", "--resume", "latest").code == 0
    assert starts(project, "a") == 2


def test_many_resumes_at_once(half_done: Project) -> None:
    """Of several resumes started together one runs the case, the others are turned away or find it done."""
    half_done.write("fixed", "")
    resumes = [half_done.fork("--quiet", "--resume", "latest") for _ in range(3)]
    codes = [half_done.finish(resume).code for resume in resumes]
    assert set(codes) <= {0, 75}
    assert 0 in codes
    assert starts(half_done, "bad") == 2
    assert half_done.statuses() == {"good": "succeeded", "bad": "succeeded"}


# --- Runs of the simple original -------------------------------------------------------------------------------------


@pytest.fixture
def original(project: Project) -> Project:
    """A run directory as the simple original of the two files leaves it: configs, and results of one case."""
    work = (project.root / "work.py").read_text()
    project.write("work.py", work.replace("exec(", "if not (folder / 'results.json').exists(): exec("))
    project.suite({"a": COUNT + "print('a')", "b": COUNT})
    commit(project)
    folder = project.root / "results" / "exp" / "20250101_120000_abc1234"
    for variant, code in (("a", COUNT + "print('a')"), ("b", COUNT)):
        config = {"output_dir": str(folder / variant), "seed": 42, "do": code, "x": 0, "name": "n"}
        project.write(f"results/exp/{folder.name}/{variant}/config.json", json.dumps(config, indent=2))
    project.write(f"results/exp/{folder.name}/a/results.json", '{"accuracy": 0.5}')
    return project


def test_a_run_of_the_original_can_be_resumed(original: Project) -> None:
    """Configs alone are enough; results that an entry point finds are its own business, and are kept."""
    results = original.run_dir / "a" / "results.json"
    saved = (original.run_dir / "a" / "config.json").read_bytes()
    done = original.run_forked("--resume", "latest")
    assert done.code == 0
    assert original.run_dir.name == "20250101_120000_abc1234"
    assert results.read_text() == '{"accuracy": 0.5}'
    assert (original.run_dir / "a" / "config.json").read_bytes() == saved
    assert (starts(original, "a"), starts(original, "b")) == (0, 1)
    assert original.statuses() == {"a": "succeeded", "b": "succeeded"}
    assert run_json(original)["adopted"] is True
    assert (original.run_dir / "environment.json").exists()
    done = original.run_forked("--resume", "latest")
    assert "Nothing left to do" in done.stdout


def test_a_run_of_the_original_with_another_config(original: Project) -> None:
    """Its configs are compared as those of any run."""
    file = original.run_dir / "b" / "config.json"
    file.write_text(file.read_text().replace('"x": 0', '"x": 1'))
    assert "x: 1 is now 0" in refused(original)


def test_a_dry_run_adopts_nothing(original: Project) -> None:
    """Looking at a run of the original leaves it as it is."""
    before = original.listing()
    assert original.run_forked("--resume", "latest", "--dry-run").code == 0
    assert original.listing() == before


def test_a_dirty_run_of_the_original(original: Project) -> None:
    """The code that adopts a run is stored with it."""
    original.write("new.py", "x = 1\n")
    assert original.run_forked("--quiet", "--resume", "latest").code == 0
    assert run_json(original)["code"]["patch"] == "uncommitted.patch"
    assert b"new.py" in (original.run_dir / "uncommitted.patch").read_bytes()


def test_latest_is_never_a_run_that_debugged_one_case(half_done: Project) -> None:
    """A run that --debug made on its own doesn't stand between the user and the run to go on with."""
    whole = half_done.run_dir
    half_done.run_forked("--debug", "bad")
    assert len(half_done.runs()) == 2
    done = half_done.run_forked("--resume", "latest", "--dry-run")
    assert f"Run directory: {whole}" in done.stdout


def test_what_a_killed_runner_left_running_ends_before_its_case_runs_again(project: Project) -> None:
    """After kill -9 of the runner and its guardian, a resume never lets two processes share a case's folder."""
    wait = "(folder / f'pid-{os.getpid()}').touch(); Path('fixed').exists() or time.sleep(600)"
    project.suite({"slow": wait})
    runner = project.fork()
    wait_for(lambda: list(project.root.glob("results/exp/2*/slow/pid-*")), "the case to start")
    pid = project.wait_for_started("slow")["slow"]
    guardian = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert guardian not in (1, runner.pid)
    os.kill(guardian, signal.SIGSTOP)  # or it would end the case, or the runner would start another guardian
    runner.kill()
    runner.wait()
    os.kill(guardian, signal.SIGKILL)
    assert alive(pid), "the fault did not fire"
    project.write("fixed", "")
    done = project.run_forked("--resume", "latest")
    assert done.code == 0, done
    wait_for(lambda: not alive(pid), "the end of the first attempt")
