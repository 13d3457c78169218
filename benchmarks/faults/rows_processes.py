"""Rows about processes: how runs end, die at any moment, and meet each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from .framework import Campaign, Outcome, Row
from .harness import (
    WRITE_ITSELF_DOWN,
    WRITE_ITSELF_DOWN_IN_PYTHON,
    Project,
    TooLateError,
    flags_of_suites,
    in_parallel,
    kill,
    project,
    wait_for,
)
from .kill_matrix import kill_matrix

# --- F2: kill -9 at any moment, then resume ---------------------------------------------------------------------------

KILLED = "After a kill -9 of the runner at any moment, a resume finishes everything: no orphan, nothing lost or doubled"
ORPHAN_DEADLINE_S = 2.0
WORKING_S = 1.0
CASES = 4

# Works in steps, each of them a line of the ledger outside, with a helper in another session. A case that lingers works
# much longer than one waits for orphans.
WORK = f"""\
#!/bin/sh
{WRITE_ITSELF_DOWN}
folder=$2
variant=${{folder##*/}}
read -r facts < /proc/self/stat
set -- $facts
me=$1.${{22}}
say() {{ printf '%s %s %s\\n' "$variant" "$me" "$1" >> "$CAMPAIGN_OUTSIDE/ledger"; }}
say start
setsid sh "${{0%/*}}/hold.sh" "$CAMPAIGN_OUTSIDE" "$variant" helper &
helper=$!
write_itself_down "$CAMPAIGN_OUTSIDE" "$variant" case
steps=3
case " $CAMPAIGN_LINGERING " in *" $variant "*) steps=300 ;; esac
while [ "$steps" -gt 0 ]; do
    sleep 0.1
    say "$steps"
    steps=$((steps - 1))
done
kill "$helper"
printf '{{"score": 1}}' > "$folder/results.json"
say done
"""


WORK_IN_PYTHON = f"""\
{WRITE_ITSELF_DOWN_IN_PYTHON}
def say(what):
    with open(f"{{outside}}/ledger", "a") as ledger:
        ledger.write(f"{{variant}} {{me}} {{what}}\\n")

me = write_itself_down("case")
say("start")
helper = subprocess.Popen(["sh", hold, outside, variant, "helper"], start_new_session=True)
for step in range(300 if variant in os.environ["CAMPAIGN_LINGERING"].split() else 3, 0, -1):
    time.sleep(0.1)
    say(step)
helper.kill()
helper.wait()
with open(f"{{folder}}/results.json", "w") as file:
    file.write('{{"score": 1}}')
say("done")
"""


@dataclass(frozen=True)
class Round:
    """What one kill led to.

    Attributes:
        orphans: How many processes of cases were alive two seconds after the kill.
        lost: Cases recorded as succeeded, or whose resume claims so, without their work or their results.
        doubled: Cases that ran again after they were recorded as succeeded, or twice at the same time.
        unfinished: Cases that had not succeeded after the resume.
        gone_s: Seconds from the kill to the end of the last process; None if some survived.
        moment: What the killed run had reached.
    """

    name: str
    orphans: int
    lost: list[str]
    doubled: list[str]
    unfinished: list[str]
    gone_s: float | None
    moment: str
    error: str = ""

    @property
    def bad(self) -> list[str]:
        parts = {
            "orphans": self.orphans, "lost": self.lost, "doubled": self.doubled, "unfinished": self.unfinished,
            "error": self.error,
        }  # fmt: skip
        return [f"{what} {found}" for what, found in parts.items() if found]


def killed_at_any_moment(campaign: Campaign) -> Outcome:
    """Four cases at `-p 2` write each step of their work to a ledger outside of the run, each with a helper in another
    session; one or two of them, drawn by chance, would work for half a minute. `kill -9` hits the runner while
    it starts (a quarter of the rounds) or up to a second after its first case has begun; two seconds later none of its
    processes may be alive. After `--resume` all cases have succeeded; no case that was recorded as
    succeeded has run again, none has run twice at the same time, and each has its results."""
    started = time.monotonic()
    rounds, peer_rounds = (12, 4) if campaign.quick else (150, 30)
    if campaign.launcher:
        rounds, peer_rounds = min(rounds, 60), 0
    with fresh(campaign, "undisturbed") as home:
        start_s = undisturbed(home)
    names = [f"F2/{number}" for number in range(rounds)]
    found = in_parallel(campaign, names, lambda name: one_kill(campaign, name, start_s, False), "F2")
    names = [f"F2/seed-shaped/{number}" for number in range(peer_rounds)]
    theirs = in_parallel(campaign, names, lambda name: one_kill(campaign, name, start_s, True), "F2, seed-shaped")
    gone = [one.gone_s for one in found if one.gone_s is not None]
    return Outcome(
        "F2",
        KILLED,
        tried=rounds,
        held=sum(not one.bad for one in found),
        survivors_or_bad=[f"{one.name}, seed {campaign.seed}: {', '.join(one.bad)}" for one in found if one.bad],
        fired=sum(one.moment != "" for one in found),
        seconds=time.monotonic() - started,
        detail={
            "first_case_begins_after_s": round(start_s, 2),
            "rounds_with_orphans": sum(one.orphans > 0 for one in found),
            "cases_lost": sum(len(one.lost) for one in found),
            "cases_doubled": sum(len(one.doubled) for one in found),
            "cases_unfinished": sum(len(one.unfinished) for one in found),
            "slowest_end_s": round(max(gone, default=0.0), 2),
            "killed_when": dict(Counter(one.moment for one in found).most_common()),
        },
        peer=f"orphans in {sum(r.orphans > 0 for r in theirs)}, lost in {sum(bool(r.lost) for r in theirs)}, "
        f"doubled in {sum(bool(r.doubled) for r in theirs)}, unfinished in {sum(bool(r.unfinished) for r in theirs)} "
        f"of {peer_rounds} rounds"
        if theirs
        else "",
    )


def fresh(campaign: Campaign, name: str) -> AbstractContextManager[Project]:
    entry_point, code = ("work.py", WORK_IN_PYTHON) if campaign.launcher else ("work.sh", WORK)
    return project(campaign, name, entry_point, CASES, {entry_point: code}, CAMPAIGN_LINGERING="")


def undisturbed(home: Project) -> float:
    """Seconds until the first case of a run has begun; proves that nothing fails when nobody disturbs it."""
    started = time.monotonic()
    runner = home.start("-p", "2")
    wait_for(lambda: home.outside.recorded() or runner.poll() is not None, "the first case begins")
    start_s = time.monotonic() - started
    wait_for(lambda: runner.poll() is not None, "an undisturbed run ended")
    if runner.returncode != 0:
        raise TooLateError(f"an undisturbed run failed: {home.last_words(runner)}")
    return start_s


def one_kill(campaign: Campaign, name: str, start_s: float, seed_shaped: bool) -> Round:
    """Run, kill, look, resume, look."""
    random = campaign.random(name)
    lingering = random.sample([f"case-{number}" for number in range(CASES)], random.randint(1, 2))
    is_early, fraction = random.random() < 0.25, random.random()
    try:
        with fresh(campaign, name) as home:
            home.variables["CAMPAIGN_LINGERING"] = " ".join(lingering)
            moment = run_and_kill(home, is_early, fraction * (start_s if is_early else WORKING_S), seed_shaped)
            home.variables["CAMPAIGN_LINGERING"] = ""
            return look_and_resume(home, name, moment, seed_shaped)
    except (TooLateError, ValueError) as error:
        return Round(name, 0, [], [], [], None, "", str(error))


def begin(home: Project, seed_shaped: bool, *flags: str) -> subprocess.Popen[bytes]:
    if seed_shaped:
        return home.start_seed_shaped(2)
    grace = ["--grace", "1"] if "--grace" in flags_of_suites(home.campaign.python) else []
    return home.start("-p", "2", *grace, *flags)


def run_and_kill(home: Project, is_early: bool, after_s: float, seed_shaped: bool) -> str:
    """Kill the runner so long after its start, or after its first case has begun; what had happened by then.

    Raises:
        TooLateError: It had ended before.
    """
    runner = begin(home, seed_shaped)
    if not is_early:
        wait_for(lambda: home.outside.recorded() or runner.poll() is not None, "the first case begins", every_s=0.01)
    try:
        runner.wait(after_s)
    except subprocess.TimeoutExpired:
        runner.kill()
    runner.wait()
    if runner.returncode != -signal.SIGKILL:
        raise TooLateError(f"ended before the kill: {home.last_words(runner)}")
    if seed_shaped:
        return "killed"
    if not home.runs:
        return "before the run directory"
    started, ended = len(home.events("attempt_started")), len(home.events("case_ended"))
    return "after the last case" if ended == CASES else f"{started} started, {ended} ended"


def look_and_resume(home: Project, name: str, moment: str, seed_shaped: bool) -> Round:
    killed = time.monotonic()
    gone_s: float | None = None
    try:
        wait_for(lambda: not home.outside.alive(), "all gone", ORPHAN_DEADLINE_S, 0.05)
        gone_s = time.monotonic() - killed
    except TooLateError:
        pass
    orphans = len(home.outside.alive())
    recorded = recorded_as_succeeded(home, seed_shaped)
    lost = [variant for variant in sorted(recorded) if not is_whole(home, variant, seed_shaped)]
    length = len(home.outside.ledger)
    resume = ["--resume", str(home.runs[-1])] if home.runs else []
    runner = begin(home, seed_shaped, *resume)
    wait_for(lambda: runner.poll() is not None, "the resume ended")
    try:  # orphans that a resume does not end go on working; their lines belong to the verdict too
        wait_for(lambda: overlapping(home.outside.ledger) or not home.outside.alive(), "every case ended", 1)
    except TooLateError:
        pass
    again = {variant for variant, _, what in home.outside.ledger[length:] if what == "start"}
    doubled = (recorded & again) | overlapping(home.outside.ledger)
    finished = recorded_as_succeeded(home, seed_shaped)
    lost += [variant for variant in sorted(finished) if not is_whole(home, variant, seed_shaped)]
    unfinished = sorted({f"case-{number}" for number in range(CASES)} - finished)
    error = home.last_words(runner) if runner.returncode != 0 else ""
    return Round(name, orphans, sorted(set(lost)), sorted(doubled), unfinished, gone_s, moment, error)


def recorded_as_succeeded(home: Project, seed_shaped: bool) -> set[str]:
    """The cases that a resume takes for done: by the journal; or, seed-shaped, because there are results."""
    if seed_shaped:
        return {path.parent.name for path in (home.root / "seed-shaped").glob("*/results.json")}
    return {variant for variant, status in home.statuses().items() if status == "succeeded"}


def is_whole(home: Project, variant: str, seed_shaped: bool) -> bool:
    """Whether the work of a case that counts as done has been done, and its results can be read."""
    folder = home.root / "seed-shaped" if seed_shaped else home.runs[-1]
    try:
        json.loads((folder / variant / "results.json").read_text())
    except (OSError, ValueError):
        return False
    return any(line[0] == variant and line[2] == "done" for line in home.outside.ledger)


def overlapping(ledger: list[list[str]]) -> set[str]:
    """The variants of which an attempt still worked after the next one had started."""
    latest: dict[str, str] = {}
    found: set[str] = set()
    for variant, process, what in ledger:
        if what == "start":
            latest[variant] = process
        elif latest[variant] != process:
            found.add(variant)
    return found


# --- F9: many runners, one run directory ------------------------------------------------------------------------------

RACES = "Of all runners that resume one run at the same moment exactly one owns it; the others exit 75 and name it"

# Stays until it is let go, and fails, so that there is something to resume in the next race.
STAY = f"""\
#!/bin/sh
{WRITE_ITSELF_DOWN}
write_itself_down "$CAMPAIGN_OUTSIDE" "${{2##*/}}" "$CAMPAIGN_RACE"
while [ "$CAMPAIGN_RACE" != 0 ] && [ ! -e "$CAMPAIGN_OUTSIDE/let-go.$CAMPAIGN_RACE" ]; do sleep 0.02; done
exit 1
"""


STAY_IN_PYTHON = f"""\
{WRITE_ITSELF_DOWN_IN_PYTHON}
race = os.environ["CAMPAIGN_RACE"]
write_itself_down(race)
while race != "0" and not os.path.exists(f"{{outside}}/let-go.{{race}}"):
    time.sleep(0.02)
sys.exit(1)
"""


def races(campaign: Campaign) -> Outcome:
    """Two to eight runners wait at a barrier after their imports and then `--resume` the same run directory, whose one
    case stays until the race is decided. Exactly one of them may start it; every other exits 75, and its message names
    the owner's host and pid. By a coin of the seed's the owner then ends by itself or is killed with `kill -9`: the
    next race must need no unlocking. A fifth of the races is run without `flock`: `strace` answers it with ENOSYS, as
    some network file systems do."""
    started = time.monotonic()
    whole = Races(campaign)
    number = 6 if campaign.quick else 50
    without = number // 5 if shutil.which("strace") else 0
    whole.run(number - without, "")
    if without:
        whole.run(without, "ENOSYS")
    return Outcome(
        "F9",
        RACES,
        tried=whole.tried,
        held=whole.tried - len({text.partition(",")[0] for text in whole.bad}),
        survivors_or_bad=whole.bad,
        fired=whole.fired,
        seconds=time.monotonic() - started,
        detail={
            "runners": whole.runners,
            "owners_killed": whole.killed,
            "races_without_flock": without,
            "slowest_loser_s": round(whole.slowest_s, 2),
            "notes": [] if without else ["F9: no race without flock was run: there is no strace on the PATH"],
        },
        peer="" if campaign.launcher else seed_shaped_race(campaign),
    )


def seed_shaped_race(campaign: Campaign) -> str:
    with project(campaign, "F9-seed-shaped", "stay.sh", 1, {"stay.sh": STAY}, CAMPAIGN_RACE="1") as home:
        peers = [home.start_seed_shaped(1) for _ in range(4)]
        wait_for(lambda: len(home.outside.recorded()) == len(peers), "all seed-shaped runners started the case")
        return f"{len(home.outside.recorded())} of {len(peers)} runners ran the case at the same time"


@dataclass
class Races:
    """Race after race for a run directory, and what came of them."""

    campaign: Campaign
    tried: int = 0
    fired: int = 0
    runners: int = 0
    killed: int = 0
    slowest_s: float = 0.0
    bad: list[str] = field(default_factory=list[str])

    def run(self, number: int, no_flock: str) -> None:
        """Run so many races; `no_flock` is the error with which every flock fails."""
        name = f"F9{'-' if no_flock else ''}{no_flock}"
        random = self.campaign.random(name)
        entry_point, code = ("stay.py", STAY_IN_PYTHON) if self.campaign.launcher else ("stay.sh", STAY)
        with project(self.campaign, name, entry_point, 1, {entry_point: code}, CAMPAIGN_RACE="0") as home:
            traces = home.outside.folder / "trace"
            inject = ["-e", "trace=flock", "-e", f"inject=flock:error={no_flock}"]
            # As a detached grandchild (-D), so that the process that we start is the runner.
            by = ["strace", "-D", "-f", "-qq", "-o", str(traces), "-A", *inject] if no_flock else []
            first = home.start(by=by)
            wait_for(lambda: first.poll() is not None, "the first run ended")
            if len(home.runs) != 1:
                raise TooLateError(f"the first run made no run directory: {home.last_words(first)}")
            for race in range(1, number + 1):
                size, is_killed = random.randint(2, 8), random.random() < 0.5
                injected = count_injected(traces)
                problems, loser_s = one_race(home, race, size, is_killed, by)
                self.bad += [
                    f"{name} race {race}, seed {self.campaign.seed}, {size} runners: {problem}" for problem in problems
                ]
                self.tried += 1
                self.fired += not no_flock or count_injected(traces) >= injected + size
                self.runners, self.killed = self.runners + size, self.killed + is_killed
                self.slowest_s = max(self.slowest_s, loser_s)
                self.campaign.progress(f"{name} {race}/{number}")


def count_injected(traces: Path) -> int:
    return traces.read_bytes().count(b"(INJECTED)") if traces.exists() else 0


def one_race(home: Project, race: int, size: int, is_killed: bool, by: list[str]) -> tuple[list[str], float]:
    """Let runners race for the run directory; what was wrong, and after how long the last loser gave up."""
    barrier = home.outside.folder / f"race-{race}"
    runners = [
        home.start("--resume", str(home.runs[0]), by=by, CAMPAIGN_BARRIER=str(barrier), CAMPAIGN_RACE=str(race))
        for _ in range(size)
    ]
    wait_for(lambda: len(list(barrier.parent.glob(f"{barrier.name}.ready.*"))) == size, "all runners at the barrier")
    barrier.touch()
    gone = time.monotonic()
    problems: list[str] = []
    try:
        wait_for(lambda: sum(runner.poll() is not None for runner in runners) >= size - 1, "all but one gave up", 20)
    except TooLateError as error:
        problems.append(str(error))
    loser_s = time.monotonic() - gone
    owners = [runner for runner in runners if runner.poll() is None]
    if len(owners) == 1:
        try:
            wait_for(lambda: any(r.kind == str(race) for r in home.outside.recorded()), "the owner's case began", 20)
        except TooLateError as error:
            problems.append(str(error))
    cases = sum(recorded.kind == str(race) for recorded in home.outside.recorded())
    if len(owners) != 1 or cases != 1:
        problems.append(f"{len(owners)} owners, {cases} cases started")
    holder = f"pid {owners[0].pid} on {os.uname().nodename}" if owners else "nobody"
    wrong = Counter(
        home.last_words(runner)
        for runner in runners
        if runner not in owners and (runner.returncode != 75 or f"({holder}," not in home.said(runner))
    )
    problems += [f"{count} losers to {holder} ended with {words}" for words, count in wrong.items()]
    for owner in owners:
        if is_killed:
            owner.kill()
    (home.outside.folder / f"let-go.{race}").touch()
    for owner in owners:
        wait_for(lambda owner=owner: owner.poll() is not None, "the owner ended", 30)
    for recorded, pid in home.outside.alive().items():  # of an owner that was killed, without a guardian
        if is_killed and recorded.kind == str(race):
            kill(pid)
    return problems, loser_s


ROWS: dict[str, Row] = {"F1": kill_matrix, "F2": killed_at_any_moment, "F9": races}
