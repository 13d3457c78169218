"""Run directories are read the same at once and bit by bit, damaged and whole, before and after a resume."""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import Any

from asking import suitecase
from conftest import Project, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.cli.listing import SHOWN_CASES
from suitecase.queries.overview import run_overview
from suitecase.rundir import Run, RunReader, read_run
from suitecase.rundir.journal import Journal

WAITS_ONCE = "time.sleep(0 if (folder / 'attempt-2.log').exists() else 600)"


def test_a_resumed_run_has_its_interrupted_attempt_and_the_next(project: Project) -> None:
    """Read anew, and by a reader that saw it before; cases that nothing happened to stay the same objects."""
    project.suite({"a": WAITS_ONCE, "b": "pass"})
    running = project.start("-q")
    project.wait_for_started("a", "b")
    reader = RunReader(project.run_dir)
    assert reader.refresh().status == "running"
    running.send_signal(signal.SIGKILL)
    running.wait()

    def interrupted() -> Run | None:
        run = reader.refresh()
        return run if run.status == "interrupted" else None

    killed: Run = wait_for(interrupted, "the guardian's end")
    assert killed.cases["a"].status == "interrupted"
    assert reader.refresh().cases["b"] is killed.cases["b"]
    assert project.run("-q", "--resume", str(project.run_dir)).code == 0
    again, anew = reader.refresh(), read_run(project.run_dir)
    assert (again.passes, again.status, dict(again.counts)) == (2, "succeeded", {"succeeded": 2})
    assert [attempt.status for attempt in again.cases["a"].attempts] == ["interrupted", "succeeded"]
    assert dict(anew.cases) == dict(again.cases)
    assert anew.counts == again.counts


def events_of(journal: Journal) -> list[dict[str, Any]]:
    return list(journal)


def test_of_a_damaged_journal_nothing_is_shown_that_was_not_written(project: Project) -> None:
    """One byte changed anywhere costs its line and the next at most; torn or in parts, nothing is read twice."""
    project.run("-q")
    content = (project.run_dir / "journal.jsonl").read_bytes()
    written = [{k: v for k, v in json.loads(line).items() if k != "crc32"} for line in content.splitlines()]

    @given(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=1), st.integers(0, len(content)))
    @settings(max_examples=80, deadline=None)
    def law(at: int, byte: bytes, torn: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            path.write_bytes(content[:at] + byte + content[at + 1 :])
            journal = Journal(path)
            read = events_of(journal)
            assert all(event in written for event in read)
            assert len(read) >= len(written) - 3  # a changed line break makes one line of two
            assert (read == written) or journal.damaged or byte != content[at : at + 1]
            path.write_bytes(content[:torn])
            growing = Journal(path)
            first = events_of(growing)
            path.write_bytes(content)
            assert first + events_of(growing) == written
            short = events_of(Journal(path, files=False))
            assert short == [{k: v for k, v in event.items() if k != "files"} for event in written]

    law()


INSTANT = """
from experiment_runner import Ended, Local, Started

class Instant(Local):
    name = "instant"

    def open(self, session, lock, wakeup):
        self.told = []

    def start(self, launches):
        for launch in launches:
            self.told += [Started(launch.mark, 1, "nowhere"), Ended(launch.mark, int(launch.variant == "c1001"))]

    def wait(self, timeout_s):
        told, self.told = self.told, []
        return told

    def close(self):
        pass
"""
"""A launcher that starts nothing: every attempt has ended at once, one of them with exit code 1."""


def test_of_very_many_cases_those_that_did_not_succeed_come_first(project: Project) -> None:
    """`show` reads no more than it prints, and says what it leaves out; `--all` leaves out nothing."""
    cases = f"[ExperimentCase(f'c{{n}}', Config(x=n)) for n in range({SHOWN_CASES + 3})]"
    project.suite(cases, before=INSTANT, more="launcher=Instant()")
    assert project.run("-q").code == 1
    overview = run_overview(read_run(project.run_dir), SHOWN_CASES)
    shown = [row["variant"] for row in overview["cases"]]
    assert (len(shown), overview["left_out"], shown[-1]) == (SHOWN_CASES, 3, "c1001")
    assert shown == sorted(shown, key=lambda variant: int(variant[1:]))
    assert len(run_overview(read_run(project.run_dir))["cases"]) == SHOWN_CASES + 3
    assert "… and 3 more: --all shows them" in suitecase("show", "exp", cwd=project.root).stdout
    assert "--all shows them" not in suitecase("show", "exp", "--all", cwd=project.root).stdout
