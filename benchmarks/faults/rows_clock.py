"""F8: a wall clock that is wrong, stands still, races or jumps while a suite runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.faults.framework import Campaign, Outcome, skipped
from benchmarks.faults.preloaded import clean_environment, make_project, wait_until
from benchmarks.faults.readback import run_directories

ROOT = Path(__file__).resolve().parents[2]
PROMISE = "a wrong or jumping clock: durations stay within 10 %, run directories are unique, the journal keeps its order"
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")
CASE_S = 1.0

# The case itself lives by the true clock; `flaky` fails once, `endless` has to be stopped.
WORK = f"""\
#!/bin/sh
case "$2" in
    */flaky) [ -e "$2/again" ] || {{ touch "$2/again"; exit 1; }} ;;
    */endless) exec env -u LD_PRELOAD sleep 60 ;;
    *) exec env -u LD_PRELOAD sleep {CASE_S} ;;
esac
"""


@dataclass(frozen=True)
class SetUp:
    """A clock, and what runs meanwhile.

    Attributes:
        clock: For libfaketime; jumps are what the clock is set to, one after another, while the case runs.
        flags: Of the suite; a set-up whose flag this runner doesn't know is left out, and said to be.
    """

    name: str
    clock: str
    jumps: tuple[str, ...] = ()
    variant: str = "plain"
    flags: tuple[str, ...] = ()
    duration_s: float = CASE_S
    twice: str = ""


SET_UPS = (
    SetUp("an hour behind", "-1h"),
    SetUp("a day ahead", "+1d"),
    SetUp("a thousand times too fast", "+0 x1000"),
    SetUp("standing still", "2026-01-01 00:00:00"),
    SetUp("an hour back in mid-run", "+0", ("-1h",)),
    SetUp("a day ahead in mid-run", "+0", ("+1d",)),
    SetUp("back and forth in mid-run", "+0", ("-1h", "+1d", "+0", "-1d")),
    SetUp("two runs in one second", "2026-01-01 00:00:00", twice="start"),
    SetUp("a resume an hour before its run", "+0", twice="resume"),
    SetUp("an hour back during a timeout", "+0", ("-1h",), "endless", ("--timeout", "1.0")),
    SetUp("a day ahead during a timeout", "+0", ("+1d",), "endless", ("--timeout", "1.0")),
    SetUp("an hour back during a backoff", "+0", ("-1h",), "flaky", ("--max-attempts", "2", "--backoff", "1.0"), 0.0),
)


@dataclass(frozen=True)
class Clock:
    """libfaketime, steered through a file."""

    library: str
    file: Path

    def set(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text + "\n")
        fresh.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        # The monotonic clock of a real machine does not jump with the wall clock.
        return {
            "LD_PRELOAD": self.library, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip


def wrong_clocks(campaign: Campaign) -> Outcome:
    """F8: twelve set-ups, one after another: their measure is time itself."""
    libraries = [path for pattern in LIBRARIES for path in glob(pattern)]
    if not libraries:
        return skipped("F8", PROMISE, "libfaketime is not installed: NO WRONG CLOCK WAS TRIED")
    started = time.monotonic()
    bad: list[str] = []
    left_out: list[str] = []
    tried = fired = 0
    with TemporaryDirectory(prefix="F8-", dir=campaign.folder) as name:
        folder = Path(name)
        project = make_project(folder / "project", ROOT)
        (project / "work.sh").write_text(WORK)
        clock = Clock(libraries[0], folder / "clock")
        known = suite(campaign, project, clock, "--help").communicate()[0]
        for number, set_up in enumerate(SET_UPS[:4] if campaign.quick else SET_UPS):
            if missing := [flag for flag in set_up.flags if flag.startswith("--") and flag not in known]:
                left_out.append(f"{set_up.name}: this runner has no {', '.join(missing)}")
                campaign.progress(f"F8: NOT TRIED: {left_out[-1]}")
                continue
            was_wrong, problems = try_clock(campaign, project, clock, set_up, folder / f"results-{number}")
            tried, fired = tried + 1, fired + was_wrong
            bad += [f"{set_up.name}: {'; '.join(problems)}"] if problems else []
    if fired != tried:
        bad.append(f"the clock was wrong in only {fired} of {tried} set-ups")
    return Outcome(
        row="F8", promise=PROMISE, tried=tried, held=tried - sum(": " in text for text in bad), survivors_or_bad=bad,
        fired=fired, seconds=time.monotonic() - started, detail={"not tried": left_out},
    )  # fmt: skip


def suite(campaign: Campaign, project: Path, clock: Clock, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [campaign.python, "suite.py", *arguments], cwd=project, env={**clean_environment(), **env},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def try_clock(
    campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path
) -> tuple[bool, list[str]]:
    """Whether the clock was seen to be wrong, and what it led to."""
    clock.set(set_up.clock)
    started_at = time.time()
    arguments = ("--results-dir", str(results), *set_up.flags)
    runner = suite(campaign, project, clock, *arguments, CASES=set_up.variant, **clock.environment)
    try:
        return observe(campaign, project, clock, set_up, results, arguments, runner, started_at)
    finally:
        runner.kill()
        runner.communicate()


def observe(
    campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path, arguments: Sequence[str],
    runner: subprocess.Popen[str], started_at: float,
) -> tuple[bool, list[str]]:  # fmt: skip
    if set_up.jumps:
        wait_until(lambda: any("attempt_started" in text for text in journals(results)), "the start of the case")
        for jump in set_up.jumps:
            time.sleep(CASE_S / (len(set_up.jumps) + 1) / 2)
            clock.set(jump)
    output, _ = runner.communicate(timeout=60)
    took_s = time.time() - started_at
    wrong: list[str] = []
    expected = 0 if set_up.variant != "endless" else 1
    if runner.returncode != expected:
        wrong.append(f"ended with {runner.returncode}: {output.strip()[-300:]}")
    if set_up.twice:
        wrong += second_pass(campaign, project, clock, set_up, results, arguments)
    found = events(results)
    wrong += durations(found, set_up, took_s) + order(found)
    seen = [seconds(event["time"]) - started_at for event in found]
    return any(not -5 < difference < took_s + 60 for difference in seen), wrong


def second_pass(
    campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path, arguments: Sequence[str]
) -> list[str]:
    """A second run in the same second, or a resume by a clock that was set back."""
    if set_up.twice == "start":
        again = suite(campaign, project, clock, *arguments, CASES=set_up.variant, **clock.environment)
        output = again.communicate(timeout=60)[0]
        count, code = len(run_directories(results)), again.returncode
        return [] if (count, code) == (2, 0) else [f"{count} run directories, exit code {code}: {output[-300:]}"]
    clock.set("-1h")
    more = f"{set_up.variant},another"
    again = suite(campaign, project, clock, *arguments, "--resume", "latest", CASES=more, **clock.environment)
    output = again.communicate(timeout=60)[0]
    return [] if again.returncode == 0 else [f"the resume ended with {again.returncode}: {output[-300:]}"]


def journals(results: Path) -> list[str]:
    return [file.read_text() for file in sorted(results.glob("exp/2*/journal.jsonl"))]


def events(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for text in journals(results) for line in text.splitlines()]


def seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def durations(found: Sequence[dict[str, Any]], set_up: SetUp, took_s: float) -> list[str]:
    """Each attempt lasts what it lasts: its own seconds and a process start, whatever the clock says."""
    room_s = 0.35  # for starting and ending a process on a busy machine
    wrong: list[str] = []
    for event in found:
        if event["event"] == "attempt_ended":
            duration_s = event["duration_s"]
            if not 0.9 * set_up.duration_s <= duration_s <= 1.1 * set_up.duration_s + room_s:
                wrong.append(f"attempt {event['attempt']} of {event['variant']} lasted {duration_s} s")
    starts = [event for event in found if event["event"] == "attempt_started"]
    if set_up.variant == "flaky" and not (len(starts) == 2 and 0.9 <= took_s <= 6):
        wrong.append(f"{len(starts)} attempts in {took_s:.1f} s")
    return wrong


def order(found: Sequence[dict[str, Any]]) -> list[str]:
    """A journal tells in the order of its lines: a start before its end, the end before the case's."""
    rank: dict[tuple[Any, Any], str] = {}
    follows: dict[str, Callable[[str], bool]] = {
        "attempt_started": lambda before: before in ("", "attempt_ended", "case_ended"),
        "attempt_ended": lambda before: before == "attempt_started",
        "case_ended": lambda before: before in ("attempt_ended", ""),
    }
    wrong: list[str] = []
    for event in found:
        if event["event"] in ("run_started",):
            rank.clear()
        if event["event"] in follows:
            key = (event["variant"], 0)
            if not follows[event["event"]](rank.get(key, "")):
                wrong.append(f"{event['event']} of {event['variant']} after {rank.get(key, 'nothing')}")
            rank[key] = event["event"]
    return wrong


