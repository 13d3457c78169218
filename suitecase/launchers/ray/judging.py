"""What Ray's word and an attempt's silence mean together, where its record tells of no end.

What an attempt wrote of its end is its end, whatever Ray says. Where it wrote none, Ray's word counts; where Ray has
none, the attempt's silence, measured by the runner's own clock.
"""

from __future__ import annotations

import time

from experiment_runner import Ended, Refused
from suitecase.launchers.attempt import BEAT_S
from suitecase.launchers.ray.client import NEVER_BEGAN, JobState
from suitecase.launchers.ray.jobs import Job
from suitecase.launchers.ray.options import RayOptions

__all__ = ["of_the_over", "of_the_unfinished", "of_the_unknown", "of_the_waiting", "said_of"]

SETTLE_S = 10.0
"""How long after a job's end its record may take to be seen here: network file systems cache attributes for 3 to 60 s
(nfs(5), acregmin and acdirmax), but a file is read anew when it is opened."""

SILENT_S = 4 * BEAT_S
"""Without a beat for so long, and without Ray's word for it, an attempt is gone."""


def lost(job: Job, cause: str) -> Ended:
    return Ended(job.mark, None, fault="lost", cause=cause)


def of_the_over(job: Job, state: JobState) -> Ended | Refused | None:
    """Its job is over, and no record says how it ended; None as long as one may still come.

    Its log was read before, if it has to be: `Job.fetched`.
    """
    job.over_at = job.over_at or time.monotonic()
    if not job.carried and time.monotonic() - job.over_at < SETTLE_S:
        return None
    said, was_ours = said_of(state)
    if job.followed.started:
        missing = (job.fetched if job.carried else "") or "nobody saw its end"
        says = "" if state.status == "SUCCEEDED" else f"; Ray says: {said}"
        cause = f"its job is over ({state.status}), and {missing}{says}"
        return Ended(job.mark, None, cause=cause) if job.too_much else lost(job, cause)
    printed = [line for line in (job.fetched or "").splitlines() if line.startswith("suitecase: ")]
    if printed or was_ours:
        return Refused(job.mark, cause=f"its job is over ({state.status}): {(printed or [said])[-1]}")
    return lost(job, f"its job is over ({state.status}) and never began; Ray says: {said}")


def of_the_unknown(job: Job, unreachable_s: float) -> Ended | None:
    """Ray answers, and has no such job: its head was replaced, or it was never submitted."""
    if unreachable_s or job.silent_s() < SILENT_S:
        return None
    return lost(job, "Ray knows nothing of its job any more, and it gives no sign of life")


def of_the_unfinished(job: Job, options: RayOptions, unreachable_s: float) -> Ended | None:
    """It waits, or runs, as far as is known: lost, if Ray is silent for too long, and it too."""
    silent = not job.followed.started or job.silent_s() > SILENT_S
    if unreachable_s <= options.lost_after_s or not silent:
        return None
    nor = ", and it gave no sign of life" * job.followed.started
    return lost(job, f"Ray at {options.url} has not answered for {unreachable_s:.0f} s{nor}")


def of_the_waiting(job: Job, state: JobState | None, limit_s: float, missing: str) -> Refused | None:
    """None of the run's jobs has run for the limit of time; given up, if it waits.

    Args:
        missing: What no node has that it needs, or why Ray doesn't take jobs, in words.
    """
    if job.followed.started or (state is not None and state.status not in NEVER_BEGAN):
        return None
    if not job.submitted:
        why = "the job had not run that looks whether the run directory is shared; say it by the option `shared`"
        return Refused(job.mark, cause=f"it waited for {limit_s:g} s: {missing or why}")
    why = missing or (state.message if state else "nothing is known of it")
    return Refused(job.mark, cause=f"its job was PENDING for {limit_s:g} s, and none of the run's ran: {why}")


def said_of(state: JobState) -> tuple[str, bool]:
    """Ray's words for the end of a job, and whether they are that its command failed: no loss then."""
    first, exited, printed = state.message.strip().partition(", last available logs")
    lines = [line for line in printed.splitlines()[1:] if line.strip() and not line.startswith("Running entrypoint")]
    all_lines = first.splitlines() or ["nothing"]
    first = all_lines[-1 if all_lines[0].startswith("Traceback") else 0]
    return f"{first}: {lines[-1]}" if exited and lines else first, bool(exited and lines)
