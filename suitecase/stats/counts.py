"""Counts, 0/1 values and contingency tables, checked: what may go into a statistic of rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from suitecase.stats.results import Alternative
from suitecase.stats.samples import Array, DataError, Values, check_level, sample_of

__all__ = ["Table", "binary_of", "check_counts", "check_question", "table_of"]

Table: TypeAlias = Sequence[Sequence[int]] | NDArray[Any]
"""Counts, shape (rows, columns)."""


def binary_of(values: Values, name: str = "values") -> Array:
    """The values as an array of 0.0 and 1.0, shape (n,).

    Raises:
        DataError: As `sample_of`, and for any other value.
    """
    array = sample_of(values, name)
    other = np.unique(array[(array != 0) & (array != 1)])
    if len(other):
        found = ", ".join(f"{each:g}" for each in other[:3]) + ", …" * (len(other) > 3)
        raise DataError(f"{name} has values other than 0 and 1 ({found}): a rate is made of failures and successes.")
    return array


def check_counts(*counts: tuple[str, float, str, float]) -> None:
    """Refuse counts of successes that aren't whole numbers in [0, n], each given as (its name, it, n's name, n).

    Raises:
        DataError: Then, with what is wrong of all of them.
    """
    problems: list[str] = []
    for name, successes, n_name, n in counts:
        if not is_whole(n) or n < 1:
            problems.append(f"{n_name}={n!r}: a number of trials is a whole number, at least 1.")
        elif not is_whole(successes) or not 0 <= successes <= n:
            problems.append(f"{name}={successes!r}: a number of successes is a whole number from 0 to {n_name}={n}.")
    if problems:
        raise DataError(problems)


def is_whole(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and float(cast(float, value)).is_integer()


def check_question(level: float, alternative: Alternative) -> None:
    """Refuse a level outside of (0, 1), or of (0.5, 1) for one side, and an unknown alternative.

    Raises:
        DataError: Then.
    """
    check_level(level)
    if alternative not in ("two-sided", "less", "greater"):
        raise DataError(f"alternative={alternative!r}: it is 'two-sided', 'less' or 'greater'.")
    if alternative != "two-sided" and level <= 0.5:
        raise DataError(f"level={level}: a one-sided interval needs a level above 0.5.")


def table_of(table: Table, name: str = "table", shape: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """The counts as an array of whole numbers, shape (rows, columns), with at least two of each.

    Args:
        table: The counts.
        name: What an error calls it.
        shape: How many rows and columns are needed; any, from 2 × 2 on, if it isn't given.

    Raises:
        DataError: For another shape, and for what isn't a count.
    """
    try:
        array = np.asarray(table)
    except ValueError:
        raise DataError(f"{name}: its rows have different lengths; a table of counts is needed.") from None
    if array.ndim != 2 or min(array.shape) < 2 or (shape is not None and array.shape != shape):
        wanted = f"{shape[0]} × {shape[1]}" if shape else "at least 2 × 2"
        raise DataError(f"{name} has shape {array.shape}: a table of {wanted} counts is needed.")
    if (
        array.dtype.kind not in "iuf"
        or not np.all(np.isfinite(array))
        or np.any((array < 0) | (array != array.round()))
    ):
        raise DataError(f"{name} has entries that aren't counts: whole numbers from 0 on are needed, not rates.")
    return array.astype(np.int64)
