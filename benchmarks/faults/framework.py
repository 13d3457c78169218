"""The protocol of a row of the campaign: what it is given, and what it says afterwards.

A row tries one promise many times against one fault. It is a function `Campaign -> Outcome`, and each
`rows_*.py` has a dictionary `ROWS` from the row's name to it. Rules that every row keeps:

- All chance comes from `campaign.random(name)`, so that a round can be replayed from the seed.
- It counts how often its fault was seen to fire: a fault that never fired proves nothing, and fails the row.
- It waits by polling with a deadline, never by a sleep long enough to be lucky.
- It ends every process that it started, also when it is interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What one row found.

    Attributes:
        row: Its name, such as `F1`.
        promise: The promise that was tried, in one sentence.
        tried: How many rounds, cells or points were tried.
        held: In how many of them the promise held.
        survivors_or_bad: A short text for each that did not hold, naming the seed or the point to replay.
        fired: How often the fault was seen to fire.
        seconds: Wall time of the row.
        skipped: Why the row could not run here; empty when it ran.
        detail: Figures for the document: numbers, texts, lists of texts, or dictionaries of these.
        peer: What the seed-shaped runner did under the same fault, such as `8/8 alive`.
    """

    row: str
    promise: str
    tried: int
    held: int
    survivors_or_bad: list[str]
    fired: int
    seconds: float
    skipped: str = ""
    detail: dict[str, object] = field(default_factory=dict[str, object])
    peer: str = ""

    @property
    def passed(self) -> bool:
        """Whether the promise held every time and the fault fired."""
        return self.tried > 0 and self.held == self.tried and self.fired > 0 and not self.survivors_or_bad


@dataclass(frozen=True)
class Campaign:
    """What every row is given.

    Attributes:
        seed: All chance of the campaign derives from it.
        quick: Whether to try a few rounds only, so that the whole campaign ends within three minutes.
        folder: An empty folder on a disk (not on tmpfs) for the row's projects; removed afterwards.
        python: The interpreter that runs suites and entry points.
        workers: How many rounds may run at the same time; about the number of cores.
        progress: Says in one line how far the row is.
        isolate: Whether suites run with `--isolate`, each case in a PID namespace of its own. F1 tries both ways, or
            with this the sandbox alone.
        launcher: What suites are started with, `--launcher NAME`; empty for the default.
    """

    seed: int
    quick: bool
    folder: Path
    python: str
    workers: int
    progress: Callable[[str], None]
    isolate: bool = False
    launcher: str = ""

    @property
    def slack_s(self) -> float:
        """What `--quick` grants beyond each limit of time: it runs where machines stand still for seconds."""
        return 5.0 if self.quick else 0.0

    def random(self, row_name: str) -> random.Random:
        """A generator of its own for a row, or for a round of it: `random("F2/17")`."""
        return random.Random(f"{self.seed}/{row_name}")


Row = Callable[[Campaign], Outcome]


def skipped(row: str, promise: str, reason: str) -> Outcome:
    """The outcome of a row that can't run here."""
    return Outcome(row, promise, tried=0, held=0, survivors_or_bad=[], fired=0, seconds=0.0, skipped=reason)
