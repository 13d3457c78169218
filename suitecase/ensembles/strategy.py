"""What a strategy is: it is given only votes that count, and says what they decide.

None depends on the order of the votes: sums are exactly rounded (`math.fsum`), and equals are told apart by a number
drawn from the seed, the question and the answer (`Ties`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from suitecase.ensembles.records import Vote

__all__ = ["Decision", "Strategy", "Ties"]


@dataclass(frozen=True, slots=True)
class Ties:
    """Tells equals apart: the lowest number wins, which follows from the seed, the question and the answer alone.

    The question is part of it, so that over many questions no answer wins ties more often than another.
    """

    seed: int
    question: str = ""

    def rank(self, key: str) -> int:
        """The number of an answer, 64 bits, as good as random."""
        text = f"{self.seed}\0{self.question}\0{key}"
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")

    def first(self, keys: Iterable[str]) -> str:
        """Who wins among equals."""
        return min(keys, key=self.rank)


@dataclass(frozen=True, slots=True)
class Decision:
    """What votes decide.

    Attributes:
        key: The answer's, as canonical JSON; None where they decide nothing.
        agreement: Share of votes, by weight, for the answer; of the leading one where nothing is decided. In [0, 1].
        tied: Whether the seed decided between equals.
        reason: Why nothing is decided.
    """

    key: str | None
    agreement: float
    tied: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Strategy:
    """Base of all; a strategy of your own overrides `decide`, and what else it needs.

    Attributes:
        ranks: Whether members give lists, best first.
        normaliser: What it votes on, unless the ensemble is told.
    """

    ranks: ClassVar[bool] = False
    normaliser: ClassVar[str] = "lower_trim"

    @property
    def name(self) -> str:
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def problems(self, members: Sequence[str]) -> list[str]:
        """What is wrong with it for these members, a sentence each."""
        return []

    def unusable(self, vote: Vote) -> str | None:
        """Why a vote can't count, if it can't."""
        return None

    def decide(self, votes: Sequence[Vote], ties: Ties) -> Decision:
        """What votes decide, one or more."""
        raise NotImplementedError

    def settled(self, votes: Sequence[Vote], waiting: Sequence[str], *, grouped: bool) -> bool:
        """Whether `decide` is certain to give the same answer whatever those who wait say, or if they fail.

        Args:
            votes: Those so far.
            waiting: Members not heard yet.
            grouped: Whether like answers are counted as one; new answers may then join groups.
        """
        return False
