"""What comes back through a job's log where no folder is shared: what the case prints, and its files at the end."""

from __future__ import annotations

import time
from contextlib import suppress

from experiment_runner import Launch
from suitecase.launchers.ray.carried import DamagedError, TooMuchError, opening, unpack
from suitecase.launchers.ray.jobs import Job
from suitecase.launchers.ray.talk import Talk

__all__ = ["bring_back", "final_log", "follow_output"]

FOLLOW_S = 10.0
"""How often the output of a case that shares no folder is read anew, whole."""


def follow_output(job: Job, talk: Talk) -> None:
    """Show what a case has printed that runs far away; at its end its own log takes the place of that."""
    if (text := talk.take_log(job.id)) is not None:
        with suppress(OSError):
            write_printed(job.launch, text)
    if time.monotonic() - job.read_at >= FOLLOW_S and not talk.asked(job.id):
        job.read_at = time.monotonic()
        talk.fetch(job.id)


def write_printed(launch: Launch, text: str) -> None:
    """Make what a job's log has of the case's own output its log here; nothing, if it has none."""
    _, begun, printed = text.partition("Running entrypoint for job ")
    printed = printed.partition("\n")[2].partition("\nsuitecase-carried-")[0]
    if begun and printed and launch.log is not None:
        launch.log.write_text(printed, encoding="utf-8", errors="surrogateescape")


def final_log(job: Job, talk: Talk) -> str | None:
    """The log of a job that is over; None until it is here. What was read before may lack its end."""
    if job.last_read:
        return talk.take_log(job.id)
    if not talk.asked(job.id):
        talk.take_log(job.id)
        talk.fetch(job.id)
        job.last_read = True
    return None


def bring_back(job: Job, text: str) -> str:
    """Put the files of a case where they belong; why they aren't there, or the empty text."""
    try:
        try:
            unpack(text, job.mark, job.launch.folder)
        except DamagedError as error:
            job.followed.started |= opening(job.mark) in text  # it may have ended before we saw it run
            job.too_much = isinstance(error, TooMuchError)
            write_printed(job.launch, text)
            return str(error)
    except OSError as error:
        return f"its files could not be written here: {error.filename or job.launch.folder}: {error.strerror}"
    return ""
