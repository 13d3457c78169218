"""An attempt and its job, and what can be told of them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from experiment_runner import Ended, Launch
from suitecase.launchers.attempt import batch_file
from suitecase.launchers.following import Followed
from suitecase.launchers.ray.client import JobState

__all__ = ["Job", "given_up", "said_of", "write_printed"]


@dataclass
class Job:
    """An attempt, and the job that runs it.

    Attributes:
        carried: Whether it shares no folder with us.
        over_at: When its job was first seen to be over, its record lacking (monotonic).
        stop_at: When Ray is to end it, because it didn't end as it was asked.
        beat: Its last sign of life, and when we saw it first.
        read_at: When its log was last asked for, while it runs and shares no folder (monotonic).
        last_read: Whether its log was asked for after its end.
        fetched: What its log brought, once that was read: empty if all went well.
    """

    followed: Followed
    id: str
    carried: bool = False
    submitted: bool = False
    over_at: float | None = None
    stop_at: float | None = None
    beat: tuple[int | None, float] = (None, 0.0)
    read_at: float = 0.0
    last_read: bool = False
    fetched: str | None = None

    @property
    def launch(self) -> Launch:
        return self.followed.launch

    @property
    def mark(self) -> int:
        return self.followed.launch.mark

    def silent_s(self) -> float:
        """Seconds since its last sign of life, by our own clock."""
        value = self.followed.beat()
        if value != self.beat[0] or not self.beat[1]:
            self.beat = (value, time.monotonic())
        return time.monotonic() - self.beat[1]


def write_printed(launch: Launch, text: str) -> None:
    """Make what a job's log has of the case's own output its log here; nothing, if it has none."""
    _, begun, printed = text.partition("Running entrypoint for job ")
    printed = printed.partition("\n")[2].partition("\nsuitecase-carried-")[0]
    if begun and printed and launch.log is not None:
        launch.log.write_text(printed, encoding="utf-8", errors="surrogateescape")


def said_of(state: JobState) -> tuple[str, bool]:
    """Ray's words for the end of a job, and whether they are that its command failed: no loss then."""
    first, exited, printed = state.message.strip().partition(", last available logs")
    lines = [line for line in printed.splitlines()[1:] if line.strip() and not line.startswith("Running entrypoint")]
    first = (first.splitlines() or ["nothing"])[0]
    return f"{first}: {lines[-1]}" if exited and lines else first, bool(exited and lines)


def given_up(job: Job, cause: str) -> Ended:
    """Fence an attempt off, so that it ends itself if it is alive after all, and count it as lost."""
    with suppress(OSError):  # on a full disk its claim, or its silence, must do
        batch_file(job.followed.spec, "fenced").touch()
    return Ended(job.mark, None, fault="lost", cause=cause)
