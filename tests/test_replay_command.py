"""`suitecase replay`: what failed for good is asked again, nothing else, and no kill loses anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import COMMAND, suitecase
from conftest import HERE, Kept, Project, clean_environment, wait_for
from test_command import answer

from suitecase.items import read_dead_letters, read_items
from suitecase.rundir import read_run

WITH_PACKAGE = {"PYTHONPATH": str(HERE)}

# Each letter of the case's name fails until there is a file `mended`; a file `slow` holds the last but one of them up.
LOOP = """\
from suitecase.items import process
name = config['name']
def ask(item):
    with (folder / 'asked').open('a') as asked:
        asked.write(item)
    if item in name and not Path('mended').exists():
        raise PermissionError(f'no access to {item}')
    while item == name[-2:-1] and Path('slow').exists():
        time.sleep(0.02)
    return {'score': 1.0, 'cost_usd': 1.0}
sys.exit(0 if process('abcdef', ask, key=str, breaker=None).ok else 1)
"""


@pytest.fixture(scope="module")
def kept(new_project: Callable[[str], Project]) -> Kept:
    """A run of three cases that succeeded: of one all items, of the others all but three and one."""
    project = new_project("failed")
    names = {"whole": "", "three": "bcd", "one": "f"}
    project.suite(f"[ExperimentCase(v, Config(name=n, do={LOOP!r})) for v, n in {names!r}.items()]")
    done = project.run_forked(env=WITH_PACKAGE)
    assert done.code == 0, done
    return Kept(project)


@pytest.fixture
def failed(kept: Kept) -> Iterator[Project]:
    """The same for each test."""
    with kept.restored() as project:
        yield project


def asked(case: Path) -> dict[str, int]:
    """How often each item was asked for."""
    return dict(Counter((case / "asked").read_text()))


def replay(project: Project, *arguments: str) -> Any:
    return suitecase("replay", "latest", *arguments, cwd=project.root)


def test_killed_and_repeated_it_asks_for_nothing_twice(failed: Project) -> None:
    """A kill in the middle keeps what was answered; at the end there are no dead letters, and results are whole."""
    run_dir, three = failed.run_dir, failed.run_dir / "three"
    (failed.root / "mended").touch()
    (failed.root / "slow").touch()
    process = subprocess.Popen(
        [*COMMAND, "replay", "latest", "three"], cwd=failed.root, env=clean_environment() | WITH_PACKAGE,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: asked(three).get("c") == 2, "the second of the items")
        failed.wait_for_started("three")
        running = replay(failed)
        assert running.code == 75
        assert "is running (its runner holds the lock of the journal): wait for its end." in running.stderr
    finally:
        os.kill(process.pid, signal.SIGKILL)  # it is the runner: its guardian ends the case
        process.wait()
    wait_for(lambda: read_run(run_dir).status == "interrupted", "the end of the case")
    assert {row["key"] for row in read_items(three) if row["status"] == "failed"} == {"c", "d"}

    (failed.root / "slow").unlink()
    done = replay(failed)
    assert done.code == 0, done
    assert "suitecase: 3 items of 2 cases to ask again." in done.stderr
    assert "SUITECASE_REPLAY=dead_letters " in done.stderr
    assert asked(three) == {"a": 1, "b": 2, "c": 3, "d": 2, "e": 1, "f": 1}
    assert asked(run_dir / "one") == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 2}
    assert asked(run_dir / "whole") == dict.fromkeys("abcdef", 1)
    for case in (three, run_dir / "one"):
        results = json.loads((case / "results.json").read_text())
        assert (results["score"], results["metrics"]["score"]["n"], results["errors"]) == (1.0, 6, {})
        assert not (case / "dead_letters.jsonl").exists()
        assert results["cost_usd"] == 6.0
    run = read_run(run_dir)
    assert {variant: len(case.attempts) for variant, case in run.cases.items()} == {"whole": 1, "three": 3, "one": 2}
    assert run.status == "succeeded"
    resumes = failed.events("run_resumed")
    assert [event["note"] for event in resumes] == ["replay of 3 dead letters", "replay of 3 dead letters"]
    assert (resumes[1]["again"], resumes[1]["only"]) == (True, ["three", "one"])

    again = replay(failed)
    assert (again.code, again.stdout) == (1, "")
    assert again.stderr.endswith(" has no dead letters: no item of it failed for good.\n")


def test_what_would_be_asked_again(failed: Project) -> None:
    """--dry-run lists items and their last errors, and changes nothing; what fails again stays a dead letter."""
    before = failed.listing()
    listed = replay(failed, "--dry-run")
    assert (listed.code, listed.stderr) == (0, "")
    assert [line.split()[:3] for line in listed.lines[1:]] == [
        ["three", "b", "0"], ["three", "c", "0"], ["three", "d", "0"], ["one", "f", "0"]
    ]  # fmt: skip
    assert listed.lines[1].endswith("unknown: PermissionError: no access to b")
    told = answer("replay", "latest", "one", "--dry-run", cwd=failed.root)
    error = "unknown: PermissionError: no access to f"
    assert told["cases"] == [{"variant": "one", "letters": [{"key": "f", "repeat": 0, "error": error}]}]
    assert "--again" in told["command"]
    assert failed.listing() == before

    done = replay(failed, "one", "--json")
    assert done.code == 0, done
    assert json.loads(done.lines[-1])["event"] == "run_ended"
    assert asked(failed.run_dir / "one")["f"] == 2
    assert [letter["key"] for letter in read_dead_letters(failed.run_dir / "one")] == ["f"]


def test_what_cannot_be_replayed(failed: Project) -> None:
    """Each reason is a sentence; another case's doesn't keep the others from it."""
    assert replay(failed, "thre", "--dry-run").code == 0  # the beginning of a name
    unknown = replay(failed, "tree")
    assert (unknown.code, unknown.stdout) == (2, "")
    assert "has no case 'tree': did you mean three?" in unknown.stderr
    none = replay(failed, "whole")
    assert (none.code, none.stderr.count("\n")) == (1, 1)
    assert "case 'whole' of exp/" in none.stderr

    one, three = failed.run_dir / "one/items.jsonl", failed.run_dir / "three/items.jsonl"
    lines = three.read_bytes().splitlines(keepends=True)
    three.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # as a kill leaves it: no damage, but an item is left
    left = replay(failed, "three")
    assert left.code == 1
    assert "case 'three' was cut short, with 1 of 6 items left beside its dead letters: `suitecase res" in left.stderr
    others = replay(failed, "--dry-run")
    assert (others.code, others.lines[1].split()[0], len(others.lines)) == (0, "one", 2)
    assert "case 'three' was cut short" in others.stderr

    one.write_bytes(one.read_bytes().replace(b'{"key":"b"', b'{"key:"b"'))
    damaged = replay(failed)
    assert damaged.code == 1
    assert f"{one}, line 3 is damaged: mend or remove the line." in damaged.stderr
    one.write_text('{"key": "a", "status": "failed"}\n')
    foreign = replay(failed, "one")
    assert foreign.code == 1
    assert "is not of suitecase.items: what failed there can't be asked for alone." in foreign.stderr


def test_a_torn_dead_letters_file_changes_nothing(failed: Project) -> None:
    """It is made anew from items.jsonl, by the replay itself."""
    (failed.root / "mended").touch()
    torn = failed.run_dir / "one/dead_letters.jsonl"
    torn.write_bytes(torn.read_bytes()[:30])
    done = replay(failed, "one")
    assert done.code == 0, done
    assert asked(failed.run_dir / "one")["f"] == 2
    assert not torn.exists()


# --- The suite's flag ------------------------------------------------------------------------------------------------


def test_again_runs_what_has_succeeded_once_more(project: Project) -> None:
    """Those cases that --only chooses, or all; without --resume it means nothing."""
    assert project.run_forked().code == 0
    assert project.run_forked("--resume", "latest", "--only", "a", "--again").code == 0
    assert (project.run_dir / "a/attempt-2.log").read_text() == "hello\n"
    assert not (project.run_dir / "b/attempt-2.log").exists()
    refused = project.run_forked("--again")
    assert refused.code == 2
    assert "--again runs cases of an earlier run once more: say of which with --resume." in refused.stderr
    assert len(project.runs()) == 1


def test_what_was_to_run_again_and_did_not_has_still_succeeded(project: Project) -> None:
    """The exit code says that it didn't run; the record, that it succeeded before."""
    hook = "class Closed:\n    def before_run(self, record):\n        if Path('closed').exists(): return Refuse('no')"
    before = f"from pathlib import Path\nfrom experiment_runner import Refuse\n{hook}"
    project.suite({"a": ""}, before=before, more="hooks=[Closed()]")
    assert project.run_forked().code == 0
    (project.root / "closed").touch()
    assert project.run_forked("--resume", "latest", "--again").code == 1
    assert read_run(project.run_dir).cases["a"].status == "succeeded"
    assert project.statuses() == {"a": "succeeded"}
