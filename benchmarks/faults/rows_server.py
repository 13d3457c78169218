"""The rows about the fork server of `--launcher warm`, and the rows that this launcher leaves out."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from .framework import Campaign, Outcome, Row, skipped
from .harness import Project, TooLateError, guardian_of, in_parallel, kill, project, server_of, stat_of, wait_for
from .rows_processes import WORK_IN_PYTHON, is_whole, overlapping, recorded_as_succeeded

PROMISE = (
    "The fork server dies at any moment: running cases go on, at most the one being forked is lost, and none twice"
)
CASES = 8
LATEST_S = 1.5  # a kill after the first case began: about as long as all cases take

RUNNER = "breaks the runner's own code, which is the same with every launcher"
BEFORE = "is over before anything is launched"
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("F3", "F4", "F5", "F6", "F7", "F8"), RUNNER),
    **dict.fromkeys(("B1", "B3", "B4"), BEFORE),
    "B2": f"{BEFORE}; tests/test_warm.py compares what warm and cold cases are given",
}
"""Rows that make no sense with `--launcher warm`, and why."""


@dataclass(frozen=True)
class Round:
    """What the deaths of servers led to.

    Attributes:
        killed: How many servers were killed.
        lost: How many attempts were recorded as lost.
    """

    name: str
    killed: int
    lost: int
    bad: list[str]


def killed_server(campaign: Campaign) -> Outcome:
    """Eight cases at `-p 2` write each step of their work to a ledger outside of the run. `kill -9` hits the server
    once or twice, each time up to 1.5 seconds after there is one: while it preloads, forks or waits, and in half of the
    rounds it has modules to preload. The run must end by itself with a record of every case: at most one per kill may
    have failed, as `lost`; none may have worked twice; no process is left, and `--resume` finishes the rest."""
    started = time.monotonic()
    rounds = 8 if campaign.quick else 60
    names = [f"F10/{number}" for number in range(rounds)]
    found = in_parallel(campaign, names, lambda name: one_round(campaign, name), "F10")
    return Outcome(
        "F10", PROMISE, tried=rounds, held=sum(not one.bad for one in found),
        survivors_or_bad=[f"{one.name}, seed {campaign.seed}: {'; '.join(one.bad)}" for one in found if one.bad],
        fired=sum(one.killed > 0 for one in found), seconds=time.monotonic() - started,
        detail={
            "servers_killed": sum(one.killed for one in found),
            "attempts_lost": sum(one.lost for one in found),
            "kills_per_round": {str(kills): n for kills, n in Counter(one.killed for one in found).items()},
        },
    )  # fmt: skip


def one_round(campaign: Campaign, name: str) -> Round:
    random = campaign.random(name)
    preload = ["--launcher-option", "preload=json,pydantic_settings"] if random.random() < 0.5 else []
    moments = [random.uniform(0, LATEST_S) for _ in range(random.randint(1, 2))]
    killed = 0
    try:
        with project(campaign, name, "work.py", CASES, {"work.py": WORK_IN_PYTHON}, CAMPAIGN_LINGERING="") as home:
            runner = home.start("-p", "2", *preload)
            for moment in moments:
                killed += kill_a_server(runner.pid, moment)
            wait_for(lambda: runner.poll() is not None, "the run ended by itself")
            return Round(name, killed, *look_and_resume(home, killed, home.last_words(runner)))
    except (TooLateError, ValueError) as error:
        return Round(name, killed, 0, [str(error)])


def kill_a_server(runner: int, after_s: float) -> bool:
    """Kill the server that there is so long after one has been seen; false if the run has ended by then."""

    def server() -> int | None:
        guardian = guardian_of(runner)
        return server_of(guardian) if guardian else None

    wait_for(lambda: server() or stat_of(runner) is None, "a fork server")
    time.sleep(after_s)
    found = server()
    if found is None:
        return False
    kill(found)
    wait_for(lambda: stat_of(found) is None, "the server is dead", 5)
    return True


def look_and_resume(home: Project, killed: int, words: str) -> tuple[int, list[str]]:
    """How many attempts are recorded as lost, and what is wrong."""
    failed = [event for event in home.events("case_ended") if event["status"] != "succeeded"]
    lost = [event for event in failed if "fork server" in event["cause"]]
    bad = [f"{event['variant']}: {event['cause']}" for event in failed if event not in lost]
    if len(lost) > killed:
        bad.append(f"{len(lost)} attempts lost by {killed} kills")
    if len(home.events("case_ended")) != CASES:
        bad.append(f"{len(home.events('case_ended'))} of {CASES} cases have a record: {words}")
    return len(lost), bad + resume(home)


def resume(home: Project) -> list[str]:
    """What is wrong with what a run left, and with the resume that finishes it."""
    bad: list[str] = []
    succeeded = recorded_as_succeeded(home, seed_shaped=False)
    length = len(home.outside.ledger)
    if alive := home.outside.alive():
        bad.append(f"{len(alive)} processes outlived the run")
    if succeeded != {f"case-{number}" for number in range(CASES)}:
        resumed = home.start("--resume", "latest", "-p", "2")
        wait_for(lambda: resumed.poll() is not None, "the resume ended")
        if resumed.returncode != 0:
            bad.append(f"the resume: {home.last_words(resumed)}")
    again = {variant for variant, _, what in home.outside.ledger[length:] if what == "start"}
    doubled = (succeeded & again) | overlapping(home.outside.ledger)
    unfinished = [n for n in range(CASES) if not is_whole(home, f"case-{n}", seed_shaped=False)]
    bad += [f"{what}: {found}" for what, found in (("doubled", doubled), ("not whole", unfinished)) if found]
    return bad


# --- F11: calls of a launch are refused -------------------------------------------------------------------------------

REFUSED = "A call of a launch is refused: recorded on the case or tried again, the run goes on, and --resume completes"
REFUSALS = (
    ("server", "clone", "EAGAIN"),
    ("server", "clone", "ENOMEM"),
    ("server", "openat", "ENOSPC"),
    ("server", "openat", "EMFILE"),
    ("server", "openat", "EACCES"),
    ("guardian", "pidfd_open", "EMFILE"),
    ("guardian", "pidfd_open", "ENOMEM"),
)
"""Whose call, and its error: the fork, the open of a case's log, and what the guardian follows a case with."""


def refused_launches(campaign: Campaign) -> Outcome:
    """Eight cases at `-p 2`. Once the first has begun, `strace` refuses one fork of the server, the open of one case's
    log, or one `pidfd_open` of the guardian. No case but one may fail, none may work on after its record, and
    `--resume` finishes the rest."""
    if shutil.which("strace") is None:
        return skipped("F11", REFUSED, "strace is not installed: NO CALL OF A LAUNCH WAS REFUSED")
    started = time.monotonic()
    times = (1,) if campaign.quick else (1, 2, 3)
    tasks = [(*refusal, when) for refusal in REFUSALS for when in times]
    found = in_parallel(campaign, tasks, lambda task: one_refusal(campaign, *task), "F11")
    return Outcome(
        "F11", REFUSED, tried=len(found), held=sum(not one.bad for one in found),
        survivors_or_bad=[f"{one.name}: {'; '.join(one.bad)}" for one in found if one.bad],
        fired=sum(one.killed for one in found), seconds=time.monotonic() - started,
        detail={"cases_failed": sum(one.lost for one in found)},
    )  # fmt: skip


def one_refusal(campaign: Campaign, who: str, call: str, error: str, when: int) -> Round:
    name = f"F11/{call}-{error}-{when}"
    try:
        with project(campaign, name, "work.py", CASES, {"work.py": WORK_IN_PYTHON}, CAMPAIGN_LINGERING="") as home:
            runner = home.start("-p", "2", "--launcher-option", "preload=json")
            wait_for(lambda: home.outside.recorded() or runner.poll() is not None, "the first case begins")
            guardian = guardian_of(runner.pid)
            target = server_of(guardian) if guardian and who == "server" else guardian
            traces = home.outside.folder / "traces"
            log = home.runs[-1] / f"case-{2 + when}" / "attempt-1.log"
            where = ["-P", str(log), "-e", f"inject={call}:error={error}:when=1"]
            where = where if call == "openat" else ["-e", f"inject={call}:error={error}:when={when}"]
            command = ["strace", "-f", "-qq", "-o", str(traces), "-p", str(target), "-e", f"trace={call}", *where]
            with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
                try:
                    wait_for(lambda: runner.poll() is not None, "the run ended by itself")
                finally:
                    tracer.terminate()
            fired = traces.read_bytes().count(b"(INJECTED)")
            failed = [event["variant"] for event in home.events("case_ended") if event["status"] != "succeeded"]
            bad = [f"failed: {failed}"] if len(failed) > fired else []
            bad += [] if fired else ["the call was not refused"]
            return Round(name, int(fired > 0), len(failed), bad + resume(home))
    except (TooLateError, ValueError) as problem:
        return Round(name, 0, 0, [str(problem)])


def left_out(name: str, reason: str) -> Row:
    """A row that says why it isn't tried with this launcher."""
    return lambda _: skipped(name, "", reason)


ROWS: Mapping[str, Row] = {
    "F10": killed_server,
    "F11": refused_launches,
    **{name: left_out(name, reason) for name, reason in LEFT_OUT.items()},
}
