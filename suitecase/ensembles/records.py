"""What members are, what they reply, and what becomes of a question: the words of this package."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, cast

from suitecase.errors import SuitecaseError

__all__ = [
    "EnsembleError",
    "EnsembleResult",
    "Member",
    "NoConsensusError",
    "Observe",
    "QuorumError",
    "Reply",
    "Status",
    "UnansweredError",
    "Vote",
    "key_of",
    "plain",
    "total_tokens",
    "total_usd",
]

Observe: TypeAlias = Callable[[Mapping[str, object]], object]
"""Is told plain mappings with an `event`, as `suitecase.tracking.observe` takes them."""


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who can be asked.

    Attributes:
        name: Unique within its ensemble.
        call: A plain or an async function of the question, or of the question and a `context`. It returns an answer
            (text, a number, any JSON value; for ranked votes a list, best first) or a `Reply`. An error that it raises
            may tell its cost as `cost_usd`, `input_tokens`, `output_tokens`. Plain functions are called in threads. An
            `Ensemble` may be a member of another; its agreement is then its confidence.
        cost_usd: Of a call whose cost nobody tells, such as one that timed out; booked as an estimate.
        timeout_s: Seconds for a call; None takes the ensemble's.
    """

    name: str
    call: Callable[..., Any]
    cost_usd: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a member says, with what it knows beside the answer.

    Attributes:
        answer: Text, a number, any JSON value; None or blank text is no answer.
        confidence: That the answer is right, from 0 to 1; None if the member doesn't say.
        cost_usd: What the call cost; None if nobody knows.
    """

    answer: object
    confidence: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Status(StrEnum):
    """What became of a member; only ANSWERED counts for the quorum and votes."""

    ANSWERED = "answered"
    EMPTY = "empty"  # it gave nothing
    UNREADABLE = "unreadable"  # what it gave isn't what is voted on; `error` says why
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"  # begun, and no longer needed
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True)
class Vote:
    """A member's part in a question.

    Attributes:
        raw: What the member gave, untouched.
        answer: The same, normalised.
        key: The answer as canonical JSON: two answers are the same if their keys are.
        choice: The key that it counts for: its own, or that of the group of like answers it belongs to.
        ranking: Keys, best first; of ranked votes only.
        cost_estimated: Whether the cost is `Member.cost_usd`, for want of a better figure.
        latency_s: From begin to end, None if it was not asked.
    """

    member: str
    status: Status
    raw: object = None
    answer: object = None
    key: str = ""
    choice: str = ""
    ranking: tuple[str, ...] = ()
    confidence: float | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    cost_estimated: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None

    def record(self) -> dict[str, object]:
        """What is worth keeping, as JSON has it; what isn't there is left out."""
        told: dict[str, object] = {
            "member": self.member, "status": self.status.value, "raw": self.raw, "answer": self.answer,
            "confidence": self.confidence, "latency_s": None if self.latency_s is None else round(self.latency_s, 6),
            "cost_usd": self.cost_usd, "cost_estimated": self.cost_estimated or None,
            "input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "error": self.error,
        }  # fmt: skip
        if self.choice != self.key:
            told["choice"] = json.loads(self.choice)
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """What an ensemble answers.

    Attributes:
        answer: The normalised answer that won.
        text: The raw reply that speaks for it: of its voters, the most confident one's; of equals, the first member's.
        agreement: The share of votes for the answer, by weight where votes have weights, in (0, 1]. 1 says that
            nobody who was asked said otherwise: see how many were, in `votes`.
        confidence: What the member of `text` says of its answer, if it does.
        votes: One for each member, in the order of the members, asked or not; after escalation one more.
        decided_by: "vote", "confidence" (a cascade that ended with a sure member), "first" (a race), "escalation".
        tied: Whether the seed decided between equals.
        latency_s: Of the whole question.
        cost_usd: Of all calls, failed and superseded ones too; None if no cost is known.
    """

    answer: object
    text: object
    agreement: float
    confidence: float | None
    votes: tuple[Vote, ...]
    decided_by: str
    tied: bool
    latency_s: float
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None

    @property
    def answered(self) -> int:
        """How many members answered."""
        return sum(vote.status is Status.ANSWERED for vote in self.votes)

    def record(self) -> dict[str, object]:
        """As JSON has it, for a results file; `Recorded` reads it back for analysis."""
        return {
            "answer": self.answer, "text": self.text, "agreement": self.agreement, "confidence": self.confidence,
            "decided_by": self.decided_by, "tied": self.tied, "latency_s": round(self.latency_s, 6),
            "cost_usd": self.cost_usd, "votes": [vote.record() for vote in self.votes],
        }  # fmt: skip


class EnsembleError(SuitecaseError, ValueError):
    """An ensemble that can't be asked as it stands: all its problems, before any call."""


class UnansweredError(SuitecaseError):
    """A question that was asked and has no answer.

    Attributes:
        votes: What became of each member.
        cost_usd, input_tokens, output_tokens: What was spent all the same; None if unknown.
    """

    def __init__(self, problem: str, votes: Iterable[Vote]) -> None:
        self.votes = tuple(votes)
        self.cost_usd = total_usd(self.votes)
        self.input_tokens = total_tokens(vote.input_tokens for vote in self.votes)
        self.output_tokens = total_tokens(vote.output_tokens for vote in self.votes)
        super().__init__(problem)


class QuorumError(UnansweredError):
    """Too few members answered."""


class NoConsensusError(UnansweredError):
    """Enough members answered, but not as the strategy asks for."""


def total_usd(votes: Iterable[Vote]) -> float | None:
    """What votes cost together; None if no cost is known."""
    told = [vote.cost_usd for vote in votes if vote.cost_usd is not None]
    return math.fsum(told) if told else None


def total_tokens(counts: Iterable[int | None]) -> int | None:
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def plain(value: object) -> object:
    """A JSON value as plain Python has it; numpy's scalars become numbers, and 2.0 becomes 2.

    Raises:
        ValueError: If JSON doesn't know it.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} is no number that JSON knows")
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(each) for each in cast("Sequence[object]", value)]
    item = getattr(value, "item", None)  # numpy's and torch's scalars
    if callable(item) and getattr(value, "ndim", 0) == 0:
        return plain(item())
    if isinstance(value, int):
        return int(value)
    raise ValueError(f"{value!r:.80}, of type {type(value).__name__}, is no JSON value")


def key_of(value: object) -> str:
    """Canonical JSON of a plain value: the same text for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
