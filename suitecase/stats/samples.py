"""What may go into a statistic: every function checks its arrays here, and says all that is wrong at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from suitecase.errors import SuitecaseError

__all__ = [
    "Array",
    "DataError",
    "Groups",
    "Values",
    "blocks_of",
    "check_alternative",
    "check_finite",
    "check_level",
    "codes_of",
    "groups_of",
    "is_constant",
    "pairs_of",
    "sample_of",
    "size_of",
]

Array: TypeAlias = NDArray[np.float64]
Values: TypeAlias = Sequence[float] | Sequence[int] | Sequence[bool] | NDArray[Any]
"""One-dimensional numbers, shape (n,). Booleans count as 0 and 1."""
Groups: TypeAlias = Mapping[str, Values] | Sequence[Values] | NDArray[Any]
"""Named groups, or groups in their order, each of shape (n_i,); of an array, the rows."""


LARGEST, SMALLEST = 1e100, 1e-100
"""Of the largest absolute value: beyond, its third power times 10⁷ leaves the range of float64."""


class DataError(SuitecaseError, ValueError):
    """Data that a statistic can't be computed from."""


def sample_of(values: Values, name: str = "values", least: int = 1) -> Array:
    """The values as an array of float64, shape (n,).

    Args:
        values: Numbers; booleans count as 0 and 1.
        name: What an error calls them.
        least: How many values are needed.

    Raises:
        DataError: For text, NaN, infinity, more than one dimension, or too few values.
    """
    found, problems = checked(values, name, least)
    if found is None:
        raise DataError(problems)
    return found


def pairs_of(first: Values, second: Values, names: tuple[str, str] = ("a", "b"), least: int = 1) -> tuple[Array, Array]:
    """Two arrays of the same length, shape (n,) each.

    Raises:
        DataError: As `sample_of`, and if the lengths differ.
    """
    (a, problems_a), (b, problems_b) = checked(first, names[0], least), checked(second, names[1], least)
    problems = problems_a + problems_b
    if a is not None and b is not None and len(a) != len(b):
        problems.append(f"{names[0]} has {len(a)} values and {names[1]} has {len(b)}: pairs need as many in each.")
    if a is None or b is None or problems:
        raise DataError(problems)
    return a, b


def groups_of(groups: Groups, least: int = 1, least_groups: int = 2) -> dict[str, Array]:
    """Named arrays, in their order; groups without names are "group 1", "group 2", …

    Raises:
        DataError: As `sample_of`, for all groups at once, and if there are too few groups.
    """
    named = groups if isinstance(groups, Mapping) else {f"group {i}": each for i, each in enumerate(groups, 1)}
    found: dict[str, Array] = {}
    problems: list[str] = []
    for name, values in named.items():
        array, wrong = checked(values, str(name), least)
        problems += wrong
        if array is not None:
            found[str(name)] = array
    if len(named) < least_groups:
        problems.append(
            f"{least_groups} groups are needed, and there {'is' if len(named) == 1 else 'are'} {len(named)}."
        )
    if problems:
        raise DataError(problems)
    return found


def blocks_of(conditions: Groups, least: int = 2, least_conditions: int = 2) -> tuple[list[str], Array]:
    """The conditions' names, and their values as an array of shape (blocks, conditions): a row is a block or subject.

    Args:
        conditions: Of each condition one value per block, the blocks in the same order.
        least: How many blocks are needed.
        least_conditions: How many conditions are needed.

    Raises:
        DataError: As `groups_of`, and if the conditions' lengths differ.
    """
    found = groups_of(conditions, least, least_conditions)
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise DataError(f"{counts} values: each block needs one value under each condition.")
    return list(found), np.column_stack(list(found.values()))


def codes_of(labels: Sequence[Hashable] | NDArray[Any], n: int, name: str = "clusters") -> NDArray[np.intp]:
    """For each of n values the number of its label, in [0, number of labels), by first appearance.

    Raises:
        DataError: If there isn't one label for each value, or a label is NaN.
    """
    listed: list[Hashable] = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if len(listed) != n:
        raise DataError(f"{name}: {len(listed)} labels for {n} values; each value needs one.")
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(label, len(numbers)) for label in listed], dtype=np.intp)
    missing = sum(label != label for label in numbers)  # NaN equals nothing: each would be a cluster of its own
    if missing:
        raise DataError(f"{name}: {missing} labels are NaN: name each value's cluster, or drop the values without one.")
    return codes


def check_alternative(alternative: str) -> None:
    """Refuse an alternative that isn't "two-sided", "less" or "greater".

    Raises:
        DataError: Then.
    """
    if alternative not in ("two-sided", "less", "greater"):
        raise DataError(f'alternative={alternative!r}: it is "two-sided", "less" or "greater".')


def check_finite(value: float, name: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        DataError: Then.
    """
    if not np.isfinite(value):
        raise DataError(f"{name}={value}: a finite number is needed.")


def check_level(level: float) -> None:
    """Refuse a confidence level outside of (0, 1).

    Raises:
        DataError: Then.
    """
    if not 0 < level < 1:
        raise DataError(f"level={level}: a confidence level lies between 0 and 1, such as 0.95.")


def size_of(*arrays: Array) -> float:
    """The largest absolute value in all of them."""
    return max(float(np.abs(each).max()) for each in arrays)


def is_constant(values: Array, size: float | None = None) -> bool:
    """Whether values are all the same, but for the rounding of numbers as large as `size`, or as themselves."""
    return float(np.ptp(values)) <= 10 * float(np.finfo(np.float64).eps) * (size_of(values) if size is None else size)


def checked(values: Values, name: str, least: int) -> tuple[Array | None, list[str]]:
    try:
        array = np.asarray(values)
    except ValueError:
        return None, [f"{name}: its rows have different lengths; one-dimensional numbers are needed."]
    if array.ndim != 1:
        return None, [f"{name} has {array.ndim} dimensions (shape {array.shape}); one is needed."]
    if array.dtype == object and len(array) and all(isinstance(each, (bool, int, float, np.number)) for each in array):
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf" and len(array):
        kinds = sorted({type(each).__name__ for each in array.tolist() if not isinstance(each, (bool, int, float))})
        return None, [f"{name} has values that aren't numbers ({', '.join(kinds)}): convert or drop them."]
    array = array.astype(np.float64)
    odd = np.flatnonzero(~np.isfinite(array))
    if len(odd):
        nan = int(np.isnan(array).sum())
        counts = f"{nan} NaN" * bool(nan) + " and " * bool(nan and nan < len(odd))
        counts += f"{len(odd) - nan} infinite" * bool(nan < len(odd))
        where = ", ".join(map(str, odd[:3])) + ", …" * (len(odd) > 3)
        return None, [f"{name} has {counts} values of {len(array)} (at {where}): drop them, or say how they count."]
    size = float(np.abs(array).max()) if len(array) else 0.0
    if size > LARGEST or 0 < size < SMALLEST:
        return None, [f"{name} has values up to {size:g}, whose powers are beyond floating point: rescale them."]
    if len(array) < least:
        return None, [f"{name} has {len(array)} values, and {least} are needed."]
    return array, []
