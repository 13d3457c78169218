"""F8: a wall clock that is wrong, stands still, races or jumps while a suite runs."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .framework import Campaign, Outcome, skipped
from .preloaded import clean_environment, make_project, wait_until
from .readback import run_directories

ROOT = Path(__file__).resolve().parents[2]
PROMISE = (
    "a wrong or jumping clock: durations stay within 10 %, run directories are unique, the journal keeps its order"
)
SOURCE = Path(__file__).with_name("wrong_clock.c")
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
        offset_s: By how much the clock is wrong from the start.
        rate: Its seconds per true second.
        jumps: What the offset is set to, one after another, while the case runs.
        flags: Of the suite; a set-up whose flag this runner doesn't know is left out, and said to be.
        twice: Whether a second run (`start`), a resume, or a second run and a resume of the latest follow.
    """

    name: str
    offset_s: float = 0.0
    rate: float = 1.0
    jumps: tuple[float, ...] = ()
    variant: str = "plain"
    flags: tuple[str, ...] = ()
    duration_s: float = CASE_S
    twice: str = ""


HOUR, DAY = 3_600.0, 86_400.0
SET_UPS = (
    SetUp("an hour behind", -HOUR),
    SetUp("an hour back in mid-run", jumps=(-HOUR,)),
    SetUp("a thousand times too fast", rate=1_000),
    SetUp("two runs in one second", rate=0, twice="start"),
    SetUp("a day ahead", DAY),
    SetUp("a day ahead in mid-run", jumps=(DAY,)),
    SetUp("standing still", -DAY, rate=0),
    SetUp("back and forth in mid-run", jumps=(-HOUR, DAY, 0, -DAY)),
    SetUp("a resume an hour before its run", twice="resume"),
    # As every autumn, when local time repeats an hour.
    SetUp("a run an hour before the one that it follows", twice="latest"),
    SetUp("an hour back during a timeout", 0, 1, (-HOUR,), "endless", ("--timeout", "1.0")),
    SetUp("a day ahead during a timeout", 0, 1, (DAY,), "endless", ("--timeout", "1.0")),
    SetUp("an hour back during a backoff", 0, 1, (-HOUR,), "flaky", ("--max-attempts", "2", "--backoff", "1.0"), 0.0),
)


@dataclass(frozen=True)
class Clock:
    """A clock of `wrong_clock.c`."""

    library: Path
    file: Path
    base: float

    def set(self, offset_s: float, rate: float) -> None:
        with self.file.open("r+b" if self.file.exists() else "wb") as file:  # in place: it is mapped
            file.write(struct.pack("ddd", self.base, offset_s, rate))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_FILE": str(self.file)}


def wrong_clocks(campaign: Campaign) -> Outcome:
    """F8: thirteen set-ups, one after another: their measure is time itself."""
    if shutil.which("gcc") is None:
        return skipped("F8", PROMISE, "gcc is not installed: NO WRONG CLOCK WAS TRIED")
    started = time.monotonic()
    bad: list[str] = []
    left_out: list[str] = []
    tried = fired = 0
    with TemporaryDirectory(prefix="F8-", dir=campaign.folder) as name:
        folder = Path(name)
        project = make_project(folder / "project", ROOT)
        (project / "work.sh").write_text(WORK)
        library = folder / "wrong_clock.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        known = suite(campaign, project, "--help").communicate()[0]
        for number, set_up in enumerate(SET_UPS[:4] if campaign.quick else SET_UPS):
            if missing := [flag for flag in set_up.flags if flag.startswith("--") and flag not in known]:
                left_out.append(f"{set_up.name}: this runner has no {', '.join(missing)}")
                campaign.progress(f"F8: NOT TRIED: {left_out[-1]}")
                continue
            clock = Clock(library, folder / f"clock-{number}", time.time())
            was_wrong, problems = try_clock(campaign, project, clock, set_up, folder / f"results-{number}")
            tried, fired = tried + 1, fired + was_wrong
            bad += [f"{set_up.name}: {'; '.join(problems)}"] if problems else []
    if fired != tried:
        bad.append(f"the clock was wrong in only {fired} of {tried} set-ups")
    return Outcome(
        row="F8", promise=PROMISE, tried=tried, held=tried - sum(": " in text for text in bad), survivors_or_bad=bad,
        fired=fired, seconds=time.monotonic() - started, detail={"not tried": left_out},
    )  # fmt: skip


def suite(campaign: Campaign, project: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [campaign.python, "suite.py", *arguments], cwd=project, env={**clean_environment(), **env},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def try_clock(campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path) -> tuple[bool, list[str]]:
    """Whether the clock was seen to be wrong, and what it led to."""
    clock.set(set_up.offset_s, set_up.rate)
    started_at = time.time()
    arguments = ("--results-dir", str(results), *set_up.flags)
    runner = suite(campaign, project, *arguments, CASES=set_up.variant, **clock.environment)
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
        wait_until(
            lambda: any("attempt_started" in text for text in journals(results)) or runner.poll() is not None,
            "the start of the case",
        )
        for jump in set_up.jumps:
            time.sleep(CASE_S / (len(set_up.jumps) + 1) / 2)
            clock.set(jump, 1.0)
    output, _ = runner.communicate(timeout=60)
    took_s = time.time() - started_at
    wrong: list[str] = []
    expected = 0 if set_up.variant != "endless" else 1
    if runner.returncode != expected:
        wrong.append(f"ended with {runner.returncode}: {output.strip()[-300:]}")
    if set_up.twice:
        wrong += second_pass(campaign, project, clock, set_up, results, arguments)
    found = events(results)
    wrong += durations(found, set_up, took_s, campaign.slack_s) + order(found)
    seen = [seconds(event["time"]) - started_at for event in found]
    stood_still = set_up.rate == 0 and len(set(seen)) == 1
    return stood_still or any(not -5 < difference < took_s + 60 for difference in seen), wrong


def second_pass(
    campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path, arguments: Sequence[str]
) -> list[str]:
    """A second run in the same second, or a second pass by a clock that was set back."""
    if set_up.twice == "start":
        again = suite(campaign, project, *arguments, CASES=set_up.variant, **clock.environment)
        output = again.communicate(timeout=60)[0]
        count, code = len(run_directories(results)), again.returncode
        return [] if (count, code) == (2, 0) else [f"{count} run directories, exit code {code}: {output[-300:]}"]
    clock.set(-HOUR, 1.0)
    if set_up.twice == "latest":
        return not_the_latest(campaign, project, clock, set_up, results, arguments)
    more = f"{set_up.variant},another"
    again = suite(campaign, project, *arguments, "--resume", "latest", CASES=more, **clock.environment)
    output = again.communicate(timeout=60)[0]
    return [] if again.returncode == 0 else [f"the resume ended with {again.returncode}: {output[-300:]}"]


def not_the_latest(
    campaign: Campaign, project: Path, clock: Clock, set_up: SetUp, results: Path, arguments: Sequence[str]
) -> list[str]:
    """`latest` must be the run that was made last, whatever the clock said."""
    first = run_directories(results)
    environment = {"CASES": set_up.variant, **clock.environment}
    suite(campaign, project, *arguments, **environment).communicate(timeout=60)
    second = [path.name for path in run_directories(results) if path not in first]
    output = suite(campaign, project, *arguments, "--resume", "latest", **environment).communicate(timeout=60)[0]
    return [] if len(second) == 1 and second[0] in output else [f"latest is not {second}: {output.strip()[-200:]}"]


def journals(results: Path) -> list[str]:
    return [file.read_text() for file in sorted(results.glob("exp/2*/journal.jsonl"))]


def events(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for text in journals(results) for line in text.splitlines()]


def seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def durations(found: Sequence[dict[str, Any]], set_up: SetUp, took_s: float, slack_s: float) -> list[str]:
    """Each attempt lasts what it lasts: its own seconds and a process start, whatever the clock says."""
    room_s = 0.35 + slack_s  # for starting and ending a process on a busy machine
    wrong: list[str] = []
    for event in found:
        if event["event"] == "attempt_ended":
            duration_s = event["duration_s"]
            if not 0.9 * set_up.duration_s <= duration_s <= 1.1 * set_up.duration_s + room_s:
                wrong.append(f"attempt {event['attempt']} of {event['variant']} lasted {duration_s} s")
    starts = [event for event in found if event["event"] == "attempt_started"]
    if set_up.variant == "flaky" and not (len(starts) == 2 and 0.9 <= took_s <= 6 + slack_s):
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
