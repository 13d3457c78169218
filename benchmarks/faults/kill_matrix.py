"""F1: what is left of a run after eight ways to end it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from .framework import Campaign, Outcome, skipped
from .harness import (
    WRITE_ITSELF_DOWN,
    WRITE_ITSELF_DOWN_IN_PYTHON,
    Project,
    Recorded,
    TooLateError,
    flags_of_suites,
    guardian_of,
    in_parallel,
    kill,
    project,
    server_of,
    stat_of,
    wait_for,
)

PROMISE = "However a run ends, none of its processes outlives it by more than the grace and a second"
GRACE_S = 1.0
CASES = 2

# A case with descendants of the wanted kinds. It waits like them, and so does everything that it starts.
CASE = f"""\
#!/bin/sh
{WRITE_ITSELF_DOWN}
variant=${{2##*/}}
hold="${{0%/*}}/hold.sh"
for kind in $CAMPAIGN_DESCENDANTS; do
    set -- "$CAMPAIGN_OUTSIDE" "$variant" "$kind"
    case $kind in
        plain|ignoring) sh "$hold" "$@" & ;;
        setsid) sh -c 'setsid sh "$0" "$@" &' "$hold" "$@" ;;
        env-i) sh -c 'env -i setsid sh "$0" "$@" &' "$hold" "$@" ;;
    esac
done
[ "$CAMPAIGN_DESCENDANTS" ] || exit 0  # a resume, which only has to end
write_itself_down "$CAMPAIGN_OUTSIDE" "$variant" case
read -r _ < "$CAMPAIGN_OUTSIDE/never"
"""

CASE_IN_PYTHON = f"""\
{WRITE_ITSELF_DOWN_IN_PYTHON}
kinds = os.environ["CAMPAIGN_DESCENDANTS"].split()
for kind in kinds:
    by = {{"setsid": "setsid ", "env-i": "env -i setsid "}}.get(kind)
    command = [hold, outside, variant, kind]
    subprocess.Popen(["sh", *command] if by is None else ["sh", "-c", by + 'sh "$0" "$@" &', *command])
if kinds:  # a resume only has to end
    write_itself_down("case")
    open(f"{{outside}}/never").read()
"""

DESCENDANTS = {
    "plain": "a plain child",
    "setsid": "a `setsid` grandchild whose parent has ended",
    "ignoring": "a child that ignores TERM, INT and HUP",
    "env-i": "an `env -i setsid` grandchild: no environment, no session in common",
}
TOGETHER = "KILL guardian+runner"


@dataclass
class Target:
    """A runner with all its cases alive.

    Attributes:
        fired: Whether the stimulus was seen to arrive.
    """

    runner: subprocess.Popen[bytes]
    guardian: int | None
    server: int | None
    random: Random
    fired: bool = False

    def stopped(self, pid: int) -> bool:
        stat = stat_of(pid)
        return stat is not None and stat.state == "T"

    def stop(self, pid: int) -> None:
        kill(pid, signal.SIGSTOP)
        wait_for(lambda: self.stopped(pid), f"pid {pid} stopped", 5)


def term(target: Target) -> None:
    target.runner.send_signal(signal.SIGTERM)


def interrupt(target: Target) -> None:
    os.killpg(target.runner.pid, signal.SIGINT)  # as the terminal does: to the whole group


def interrupt_twice(target: Target) -> None:
    interrupt(target)
    time.sleep(target.random.uniform(0.05, 0.5))
    if target.runner.poll() is None:
        interrupt(target)


def hang_up(target: Target) -> None:
    target.runner.send_signal(signal.SIGHUP)


def kill_runner(target: Target) -> None:
    target.runner.kill()


def stop_and_kill(target: Target) -> None:
    target.stop(target.runner.pid)
    time.sleep(target.random.uniform(0.0, 0.3))
    target.runner.kill()


def kill_guardian(target: Target) -> None:
    assert target.guardian
    kill(target.guardian)


def kill_both(target: Target) -> None:
    assert target.guardian
    for pid in (target.guardian, target.runner.pid):  # or the one that dies second could still act
        target.stop(pid)
    kill(target.guardian)
    target.runner.kill()


def kill_server(target: Target) -> None:
    assert target.server
    kill(target.server)
    time.sleep(target.random.uniform(0.0, 0.3))  # its cases change hands


def stop_server(target: Target) -> None:
    assert target.server
    target.stop(target.server)


@dataclass(frozen=True)
class Stimulus:
    """One way to end a run.

    Attributes:
        give: What is done, one after the other.
        exit_code: What the runner must end with; None if it may go on.
        grace_s: What the suite is told.
        allowed_s: How long after the stimulus a process may live; by default the grace and a second.
    """

    name: str
    give: tuple[Callable[[Target], None], ...]
    exit_code: int | None
    needs_guardian: bool = False
    grace_s: float = GRACE_S
    allowed_s: float = GRACE_S + 1.0


STIMULI = (
    Stimulus("TERM", (term,), 143),
    Stimulus("INT", (interrupt,), 130),
    # Kills now: the grace is too long to be what ended them.
    Stimulus("INT twice", (interrupt_twice,), 130, grace_s=5.0, allowed_s=1.0),
    Stimulus("HUP", (hang_up,), 129),
    Stimulus("KILL", (kill_runner,), -9),
    Stimulus("STOP, KILL", (stop_and_kill,), -9),
    Stimulus("KILL guardian", (kill_guardian,), None, needs_guardian=True),
    Stimulus(TOGETHER, (kill_both,), -9, needs_guardian=True),
)

STIMULI_OF_SERVER = (
    Stimulus("KILL server, TERM", (kill_server, term), 143),
    Stimulus("KILL server, KILL", (kill_server, kill_runner), -9),
    Stimulus("KILL server, KILL guardian", (kill_server, kill_guardian), None, needs_guardian=True),
    Stimulus("STOP server, TERM", (stop_server, term), 143),
    Stimulus("STOP server, INT twice", (stop_server, interrupt_twice), 130, grace_s=5.0, allowed_s=1.0),
    Stimulus("STOP server, KILL", (stop_server, kill_runner), -9),
)

SEED_SHAPED, STANDARD, ISOLATED, INSPECT = "seed-shaped", "suitecase", "suitecase --isolate", "suitecase, Inspect mode"


@dataclass(frozen=True)
class Cell:
    """One stimulus on a runner of one kind, whose cases have descendants of these kinds."""

    runner: str
    stimulus: Stimulus
    descendants: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.runner}, {self.stimulus.name}, {self.row}"

    @property
    def row(self) -> str:
        return " + ".join(self.descendants)


@dataclass(frozen=True)
class Found:
    """What became of a cell.

    Attributes:
        alive: How many of its processes were alive before the stimulus.
        survivors: Kind -> how many were alive a second after the grace.
        gone_s: Seconds from the stimulus to the end of the last process; None if some survived.
        problems: What else broke the promise.
        remark: What is worth knowing and breaks nothing.
    """

    cell: Cell
    fired: bool
    alive: int
    survivors: Counter[str]
    gone_s: float | None
    problems: tuple[str, ...] = ()
    remark: str = ""

    @property
    def held(self) -> bool:
        return self.fired and not self.problems and not self.survivors

    @property
    def text(self) -> str:
        if not self.fired:
            return "not fired"
        count = f"{self.survivors.total()}/{self.alive}"
        return f"{count} !" if self.problems else count


def kill_matrix(campaign: Campaign) -> Outcome:
    """Two cases, each with a descendant of one kind, are up; then one of eight stimuli. A second after the grace
    (`--grace 1`), and a second after the second Ctrl-C (`--grace 5`), nothing may be alive of what the cases wrote down
    about themselves in a folder that suitecase doesn't know, and the runner has ended with the exit code of the signal.
    TERM, HUP and KILL go to the runner, INT to its process group as from a terminal. A cell shows survivors / processes
    (each case itself and its descendant). A runner and its guardian that are killed in the same instant can't end
    anything any more: without `--isolate` survivors are counted there, and the next `--resume` must end all of them.
    Inspect mode is sampled: the runner's mode, all descendants at once, with an entry point that calls no Inspect.
    With `--launcher warm` cases are Python scripts, their server is killed or stopped in six stimuli more, and it
    must be gone as well."""
    started = time.monotonic()
    known = flags_of_suites(campaign.python)
    notes = [f"F1: suites of this checkout have no {flag}" for flag in ("--grace", "--isolate") if flag not in known]
    if not shutil.which("bwrap") and not campaign.launcher:
        notes.append("F1: the cells with --isolate did not run: there is no bwrap on the PATH (install bubblewrap)")
    can_isolate = "--isolate" in known and shutil.which("bwrap") is not None and not campaign.launcher
    if campaign.isolate and not can_isolate:
        return skipped("F1", PROMISE, "; ".join(notes))
    cells = wanted_cells(campaign, can_isolate)
    found = in_parallel(replace(campaign, isolate=False), cells, lambda cell: try_cell(campaign, cell, known), "F1")
    theirs = [result for result in found if result.cell.runner == SEED_SHAPED]
    ours = [result for result in found if result.cell.runner != SEED_SHAPED]
    gone = [result.gone_s for result in ours if result.gone_s is not None]
    return Outcome(
        "F1",
        PROMISE,
        tried=len(ours),
        held=sum(result.held for result in ours),
        survivors_or_bad=[bad_text(campaign, result) for result in ours if not result.held],
        fired=sum(result.fired for result in ours),
        seconds=time.monotonic() - started,
        detail={
            "matrix": matrix(found),
            "slowest_end_s": round(max(gone, default=0.0), 2),
            "remarks": [
                f"{count} × {stimulus}: {remark}"
                for (stimulus, remark), count in Counter((r.cell.stimulus.name, r.remark) for r in ours).items()
                if remark
            ],
            "notes": notes,
        },
        peer=f"{sum(r.survivors.total() for r in theirs)}/{sum(r.alive for r in theirs)} alive in {len(theirs)} cells",
    )


def wanted_cells(campaign: Campaign, can_isolate: bool) -> list[Cell]:
    """Every cell one by one; when it must be quick, one with all descendants at once for each stimulus."""
    each = [tuple(DESCENDANTS)] if campaign.quick else [(kind,) for kind in DESCENDANTS]
    runners = [] if campaign.isolate else [STANDARD] if campaign.launcher else [SEED_SHAPED, STANDARD]
    stimuli = STIMULI + (STIMULI_OF_SERVER if campaign.launcher else ())
    cells = [
        Cell(runner, stimulus, kinds)
        for runner in [*runners, *([ISOLATED] if can_isolate else [])]
        for stimulus in stimuli
        for kinds in each
        if not (runner == SEED_SHAPED and stimulus.needs_guardian)
    ]
    if not campaign.isolate:
        sampled = STIMULI[:1] + STIMULI[4:5] if campaign.quick else stimuli
        cells += [Cell(INSPECT, stimulus, tuple(DESCENDANTS)) for stimulus in sampled]
    return cells


def try_cell(campaign: Campaign, cell: Cell, known: frozenset[str]) -> Found:
    """Start two cases, give the stimulus, look who is left."""
    mode = "inspect" if cell.runner == INSPECT else "standard"
    name = "".join(character if character.isalnum() else "-" for character in cell.name)
    plain = replace(campaign, isolate=False)  # the cell says whether
    entry_point, code = ("case.py", CASE_IN_PYTHON) if campaign.launcher else ("case.sh", CASE)
    try:
        with project(
            plain, name, entry_point, CASES, {entry_point: code}, mode, CAMPAIGN_DESCENDANTS=" ".join(cell.descendants)
        ) as home:
            return end_a_run(campaign, home, cell, known)
    except (TooLateError, AssertionError) as error:
        return Found(cell, False, 0, Counter(), None, (str(error),))


def end_a_run(campaign: Campaign, home: Project, cell: Cell, known: frozenset[str]) -> Found:
    random = campaign.random(f"F1/{cell.name}")
    if cell.runner == SEED_SHAPED:  # it knows no grace, and gets as long
        runner = home.start_seed_shaped(CASES)
    else:
        grace = ["--grace", f"{cell.stimulus.grace_s:g}"] if "--grace" in known else []
        runner = home.start("-p", "2", *grace, *(["--isolate"] if cell.runner == ISOLATED else []))
    expected = CASES * (1 + len(cell.descendants))
    wait_for(lambda: len(home.outside.recorded()) == expected or runner.poll() is not None, "all descendants up")
    guardian = None if cell.runner == SEED_SHAPED else guardian_of(runner.pid)
    before = home.outside.alive()
    if runner.poll() is not None or len(before) != expected:
        return Found(cell, False, 0, Counter(), None, (f"did not come up: {home.last_words(runner)}",))
    if cell.stimulus.needs_guardian and guardian is None:
        return Found(cell, False, expected, Counter(), None, ("this suitecase has no guardian (yet)",))
    server = server_of(guardian) if guardian and campaign.launcher else None
    if campaign.launcher and server is None:
        return Found(cell, False, expected, Counter(), None, ("there is no fork server",))
    time.sleep(random.uniform(0.0, 0.3))  # at any moment, not at the one after the last start
    target = Target(runner, guardian, server, random)
    for give in cell.stimulus.give:
        give(target)
    given = time.monotonic()
    survivors, gone_s = who_is_left(before, given + cell.stimulus.allowed_s + campaign.slack_s)
    problems, remark = look_at_runner(home, cell, runner, guardian, server)
    if cell.stimulus.name == TOGETHER and survivors and cell.runner != ISOLATED:
        resumed_problems = left_after_resume(home, known)
        remark = f"{survivors.total()}/{len(before)} survived until the next --resume"
        return Found(cell, True, len(before), Counter(), None, (*problems, *resumed_problems), remark)
    return Found(cell, True, len(before), survivors, gone_s, problems, remark)


def who_is_left(before: dict[Recorded, int], deadline: float) -> tuple[Counter[str], float | None]:
    """The kinds of processes alive at the deadline, and how long the last one took to end if none is."""
    given = time.monotonic()
    while alive := [recorded for recorded, pid in before.items() if (s := stat_of(pid)) and s.start == recorded.start]:
        if time.monotonic() > deadline:
            return Counter(recorded.kind for recorded in alive), None
        time.sleep(0.02)
    return Counter(), time.monotonic() - given


def look_at_runner(
    home: Project, cell: Cell, runner: subprocess.Popen[bytes], guardian: int | None, server: int | None
) -> tuple[tuple[str, ...], str]:
    """What a runner did wrong besides its cases, and a remark on what it did."""
    if cell.runner == SEED_SHAPED:
        return (), ""
    problems: list[str] = []
    remark = ""
    try:
        wait_for(lambda: runner.poll() is not None, "the runner ended", 2.0)
        if cell.stimulus.exit_code is None:
            remark = f"the runner ended with exit code {runner.returncode}"
        elif runner.returncode != cell.stimulus.exit_code:
            problems.append(f"exit code {runner.returncode} instead of {cell.stimulus.exit_code}")
    except TooLateError as error:
        if cell.stimulus.exit_code is not None:
            problems.append(str(error))
        remark = "the runner went on"
        runner.terminate()
        wait_for(lambda: runner.poll() is not None, "a runner without guardian ended after TERM", 10)
        if late := home.outside.alive():
            problems.append(f"{len(late)} alive after the runner that went on had been ended")
    others = {"guardian": None if cell.stimulus.name == TOGETHER else guardian, "fork server": server}
    for name, pid in others.items():
        try:
            wait_for(lambda pid=pid: pid is None or stat_of(pid) is None, f"the {name} ended after its runner", 2.0)
        except TooLateError as error:
            problems.append(str(error))
    return tuple(problems), remark


def left_after_resume(home: Project, known: frozenset[str]) -> list[str]:
    """Resume where runner and guardian died together; whatever survives that is a problem."""
    survivors = home.outside.alive()
    grace = ["--grace", f"{GRACE_S:g}"] if "--grace" in known else []
    resumed = home.start("--resume", str(home.runs[-1]), "-p", "2", *grace, CAMPAIGN_DESCENDANTS="")
    try:
        wait_for(lambda: resumed.poll() is not None, "the resume ended")
    except TooLateError as error:
        return [str(error)]
    still = [recorded for recorded, pid in survivors.items() if (s := stat_of(pid)) and s.start == recorded.start]
    problems = [f"{recorded.kind} survived the --resume" for recorded in still]
    if resumed.returncode not in ((0, 1) if home.mode == "inspect" else (0,)):  # no log of Inspect is a failed case
        problems.append(f"--resume: {home.last_words(resumed)}")
    return problems


def bad_text(campaign: Campaign, found: Found) -> str:
    survived = ", ".join(f"{count} {kind}" for kind, count in found.survivors.items())
    said = [*([f"survived: {survived}"] if survived else []), *found.problems]
    return f"F1, seed {campaign.seed}, {found.cell.name}: {'; '.join(said)}"


def matrix(found: list[Found]) -> dict[str, dict[str, dict[str, str]]]:
    """Stimulus -> descendants -> runner -> the text of the cell."""
    cells: dict[str, dict[str, dict[str, str]]] = {}
    for result in found:
        row = cells.setdefault(result.cell.stimulus.name, {}).setdefault(result.cell.row, {})
        row[result.cell.runner] = f"{result.remark.split()[0]} *" if "until the next" in result.remark else result.text
    return cells
