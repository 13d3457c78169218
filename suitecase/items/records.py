"""What a function is given and gives back, and what the loop answers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Answer", "Estimate", "ItemContext", "ItemResult", "ItemsError", "Row", "Summary", "text_of"]

MESSAGE_LIMIT = 2000

Row: TypeAlias = dict[str, Any]
"""A row of items.jsonl, as JSON says it."""


class ItemsError(ValueError):
    """Something that has to be put right before the loop can begin, or go on; the text says what."""


class Answer(StrEnum):
    """What `on_error` may answer; None leaves it to the retry policy.

    RETRY asks for another attempt, within `max_attempts`. SKIP passes the item over: neither succeeded nor failed.
    ABORT records the item as failed and starts no further one.
    """

    RETRY = "retry"
    SKIP = "skip"
    ABORT = "abort"


def text_of(error: BaseException) -> str:
    """What an error says, as UTF-8 can hold it and at most 2000 characters of it."""
    try:
        return str(error)[:MESSAGE_LIMIT].encode("utf-8", "backslashreplace").decode()
    except Exception as raised:
        return f"its text can't be made: {type(raised).__name__}"


@dataclass(frozen=True, slots=True)
class ItemContext:
    """What a function may know about the call that it is in.

    Attributes:
        key: Name of the item, the same in every run.
        repeat: Which of the item's repeats, from 0.
        seed: 0 ≤ seed < 2**32; follows from the experiment's seed, the key and the repeat, and from nothing else.
        index: Place of the item in the dataset, from 0.
        attempt: Which call for this item and repeat, from 1; counts again from 1 after a resume.
    """

    key: str
    repeat: int
    seed: int
    index: int
    attempt: int = 1

    @property
    def random(self) -> random.Random:
        """A new generator, at the beginning of what the seed gives."""
        return random.Random(self.seed)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What a call has given.

    Attributes:
        metrics: Values by name; numbers, or mappings of numbers where the schema says so.
        output: Anything to keep with the row; what JSON doesn't know becomes text.
        cost_usd: What the call cost; None if nobody knows.
    """

    metrics: Mapping[str, object] = field(default_factory=dict[str, object])
    output: object = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Estimate:
    """A metric over the items.

    Attributes:
        mean: Of the items' values; with repeats, of the items' means.
        n: Items that have a value.
        ci_low, ci_high: Interval of Student's t for the mean; None for one item, or where all are equal.
    """

    mean: float
    n: int
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class Summary:
    """How the loop ended. Rows count item × repeat.

    Attributes:
        total, succeeded, failed, skipped, remaining: Rows; `remaining` have no outcome yet.
        metrics: By name.
        cost_usd: Of all calls, those of earlier passes included; None if none told.
        stopped_by: What stopped it early: breaker, cost_budget, failure_budget, invalid_metric, on_error, abandoned,
            disk, cancelled, or a signal's name. None if it came to its end.
        reason: The same as a sentence.
        output_dir, items_path, results_path, dead_letters_path: Where it is; the last is None if nothing failed.
        limited: Whether SUITECASE_MAX_ITEMS asked for some of the rows only.
    """

    total: int
    succeeded: int
    failed: int
    skipped: int
    remaining: int
    metrics: Mapping[str, Estimate]
    cost_usd: float | None
    stopped_by: str | None
    reason: str | None
    output_dir: Path
    items_path: Path
    results_path: Path
    dead_letters_path: Path | None
    limited: bool = False

    @property
    def ok(self) -> bool:
        """Whether all that was asked for has an outcome and nothing stopped the loop. Items may have failed."""
        return (self.remaining == 0 or self.limited) and self.stopped_by is None
