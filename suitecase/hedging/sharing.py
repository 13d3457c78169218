"""What was learned about targets, in a file that all processes of a run share.

Each process keeps what it has seen since it last looked. Every few seconds it takes the lock, reads what is there, adds
its own, and replaces the file: so nobody's observations are lost, and a reader finds a whole file at any time. The lock
is a file of its own, since the other one is replaced. A killed process costs what it had not yet added.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from suitecase.hedging.guards import Budget
from suitecase.hedging.tokens import SharedBucket, TokenFile

if TYPE_CHECKING:
    from suitecase.hedging.delays import Observation
    from suitecase.hedging.policy import Target

__all__ = ["SharedState"]

EVERY_S = 2.0
MOST_UNSAVED = 10_000


class SharedState:
    """A state file as one process sees it.

    Args:
        path: The file. What can't be read or written is left alone: a lost state costs some learning, no request.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.next_sync_s = 0.0
        self.known: list[Target] = []
        self.tokens: TokenFile | None = None

    def bucket(self, name: str, budget: Budget) -> SharedBucket | None:
        """The budget for a target, of all processes together; None where the file can't be used."""
        try:
            self.tokens = self.tokens or TokenFile(self.path.with_name(f"{self.path.name}.tokens"))
            return SharedBucket(self.tokens, name, budget)
        except OSError:
            return None

    def load(self, target: Target) -> None:
        """A target is new in this process: take up what others have learned about it."""
        self.known.append(target)
        take_up(target, self.read())

    def keep(self, target: Target, seen: Observation) -> None:
        """Remember an observation for the file; write it if it is time."""
        if len(target.unsaved) < MOST_UNSAVED:
            target.unsaved.append(seen)
        if time.monotonic() >= self.next_sync_s:
            self.sync(self.known)

    def sync(self, targets: Iterable[Target]) -> None:
        """Add what is new to the file, and take up what others have added."""
        self.next_sync_s = time.monotonic() + EVERY_S
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                learned = self.read()
                for target in targets:
                    # Where the file knows nothing, the target as it is has all that was seen, once.
                    if take_up(target, learned):
                        for seen in target.unsaved:
                            target.learn(seen)
                    target.unsaved.clear()
                    benefit = [target.benefit.wins, target.benefit.losses]
                    learned[target.name] = {"learner": target.learner.to_json(), "benefit": benefit}
                self.write({"version": 1, "targets": learned})
        except OSError:
            return

    def read(self) -> dict[str, Any]:
        """Learned state by target; nothing where there is no whole file."""
        try:
            content: Any = json.loads(self.path.read_bytes())
            return cast("dict[str, Any]", dict(content["targets"]))
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file."""
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        new.write_text(json.dumps(content), encoding="utf-8")
        os.replace(new, self.path)


def take_up(target: Target, learned: dict[str, Any]) -> bool:
    """Replace what is known of a target by what the file has, if it has something."""
    try:
        found = learned[target.name]
        target.learner.load(found["learner"])
        target.benefit.wins, target.benefit.losses = map(float, found["benefit"])
    except (KeyError, TypeError, ValueError):
        return False  # not there, of another rule, or damaged
    return True


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock; the kernel frees it if the process dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
