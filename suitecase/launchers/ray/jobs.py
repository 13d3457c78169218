"""An attempt and its job; and what keeps an attempt that was given up from running after all."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

import experiment_runner
from experiment_runner import Launch, Session
from suitecase.launchers.attempt import FencedError, batch_file, claim_exclusively, record_name
from suitecase.launchers.following import Followed

__all__ = ["LAUNCHER", "Job", "fence", "fence_off", "forget_variables", "job_id"]

LAUNCHER = "ray"


@dataclass
class Job:
    """An attempt, and the job that runs it.

    Attributes:
        id: Of the job that is to run it; another one when Ray has given up the first before it began.
        times: How many jobs there were.
        carried: Whether it shares no folder with us.
        over_at: When its job was first seen to be over, its record lacking (monotonic).
        asked: Whether we asked for its end.
        stop_at: When Ray is to end it, because it didn't end as it was asked.
        beat: Its last sign of life, and when we saw it first.
        read_at: When its log was last asked for, while it runs and shares no folder (monotonic).
        last_read: Whether its log was asked for after its end.
        fetched: What its log brought, once that was read: empty if all went well.
        too_much: Whether its files don't come back because they are too many: another attempt would fare no better.
    """

    followed: Followed
    id: str
    times: int = 1
    carried: bool = False
    submitted: bool = False
    over_at: float | None = None
    asked: bool = False
    stop_at: float | None = None
    beat: tuple[int | None, float] = (None, 0.0)
    read_at: float = 0.0
    last_read: bool = False
    fetched: str | None = None
    too_much: bool = False

    @property
    def launch(self) -> Launch:
        return self.followed.launch

    @property
    def mark(self) -> int:
        return self.followed.launch.mark

    def take_next_id(self) -> None:
        """Be run by another job."""
        base = self.id.removesuffix(f".{self.times}")
        self.times += 1
        self.id = f"{base}.{self.times}"

    def silent_s(self) -> float:
        """Seconds since its last sign of life, by our own clock."""
        value = self.followed.beat()
        if value != self.beat[0] or not self.beat[1]:
            self.beat = (value, time.monotonic())
        return time.monotonic() - self.beat[1]


def job_id(session: Session, mark: int) -> str:
    """The id of an attempt's job: it follows from run and mark, so that whoever resumes the run knows it."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{session.experiment}-{session.run_dir.name}")
    return f"{name[:100]}-{mark}"


def fence(job: Job, cause: str) -> bool:
    """Claim an attempt ourselves, so that no job can; False if one has."""
    launch = job.launch
    claim = {
        "attempt": launch.attempt, "mark": launch.mark, "launcher": LAUNCHER, "job": job.id,
        "host": os.uname().nodename, "pid": os.getpid(), "claimed_at": experiment_runner.now(), "fenced": True,
        "cause": cause,
    }  # fmt: skip
    forget_variables(job)
    try:
        claim_exclusively(launch.folder / record_name(launch.attempt), json.dumps(claim).encode())
    except FencedError:
        return False
    except OSError:
        pass  # a full disk: then the file `fenced` must do
    fence_off(job)
    return True


def fence_off(job: Job) -> None:
    """Have an attempt end itself that is alive after all, without a trace."""
    with suppress(OSError):  # on a full disk its claim, or its silence, must do
        batch_file(job.followed.spec, "fenced").touch()


def forget_variables(job: Job) -> None:
    """Remove the variables of an attempt that needs them no longer: they are nobody's business any more."""
    with suppress(OSError):
        batch_file(job.followed.spec, "environment").unlink(missing_ok=True)
