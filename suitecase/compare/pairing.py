"""Which values of two conditions belong together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from suitecase.compare.observations import Observations
from suitecase.compare.readings import Unit
from suitecase.errors import SuitecaseError

__all__ = ["Aligned", "Paired", "PairingError", "align"]

Paired: TypeAlias = Literal["auto", "yes", "no"]
LEAST_OVERLAP = 0.9
"""Of the larger condition's items: fewer in common, and whoever asks must say whether they are meant as pairs."""


class PairingError(SuitecaseError):
    """It can't be told whether values are pairs."""


@dataclass(frozen=True)
class Aligned:
    """The values of two conditions as a test takes them.

    Attributes:
        first, second: Values; where paired, at the same place those of one unit.
        clusters: Of each value; empty where none were asked for.
        why: How pairs were found, or why there are none.
        unpaired: Units with a value whose partner is missing; left out.
    """

    first: tuple[float, ...]
    second: tuple[float, ...]
    clusters: tuple[tuple[str, ...], tuple[str, ...]]
    paired: bool
    why: str
    unpaired: int = 0


def align(first: Observations, second: Observations, how: Paired) -> Aligned:
    """Pair the values of two conditions, or find that they aren't pairs.

    Items are pairs by their id, where their inputs and targets are the same; seeds only if that is asked for, as two
    systems that were trained with the same seed have nothing else in common.

    Raises:
        PairingError: Too few items are the same, and nobody said what that means.
    """
    if how == "no" or (how == "auto" and first.unit == "case"):
        why = "Unpaired, as asked" if how == "no" else "Cases are compared unpaired, for a seed makes no pair"
        return unpaired(first, second, why)
    if first.unit == "case":
        return paired(
            first,
            second,
            {name: name for name in first.values if name in second.values},
            "Cases are paired by seed, as asked",
        )
    if how == "yes":
        known = {short(name): name for name in second.values}
        partners = {name: known[short(name)] for name in first.values if short(name) in known}
        return paired(first, second, partners, "Items are paired by id, as asked")
    same = first.values.keys() & second.values.keys()
    largest = max(len(first.values), len(second.values))
    if len(same) < LEAST_OVERLAP * largest:
        raise PairingError(refusal(first, second, len(same), largest))
    inputs = "id and input" if all(content_of(name) for name in same) else "id; what they are was not recorded"
    return paired(first, second, {name: name for name in same}, f"Items are paired by {inputs}")


def short(name: Hashable) -> Hashable:
    """What names an item, without what it is."""
    return name._replace(content="") if isinstance(name, Unit) else name


def content_of(name: Hashable) -> str:
    return name.content if isinstance(name, Unit) else ""


def refusal(first: Observations, second: Observations, same: int, largest: int) -> str:
    """Why two conditions are neither pairs nor none."""
    ids = len({short(name) for name in first.values} & {short(name) for name in second.values})
    sides = f"{first.condition} and {second.condition}"
    if ids > same:
        what = f"{ids} of {largest} items of {sides} have the same id, but {ids - same} of them other inputs or targets"
    else:
        what = f"{sides} have {same} of {largest} items in common, fewer than {LEAST_OVERLAP:.0%}"
    return f"{what}: say whether the same ids are pairs (--paired yes) or not (--paired no)."


def paired(first: Observations, second: Observations, partners: Mapping[Hashable, Hashable], why: str) -> Aligned:
    """The values of units that both have.

    Raises:
        PairingError: There is no pair.
    """
    pairs = [
        (name, value, other)
        for name, value in first.values.items()
        if name in partners and value == value and (other := second.values[partners[name]]) == other  # neither is NaN
    ]
    if not pairs:
        raise PairingError(f"{first.condition} and {second.condition} have no {first.unit} in common: no pairs.")
    lost = len(first.present) + len(second.present) - 2 * len(pairs)
    clusters = tuple(first.clusters[name] for name, _, _ in pairs) if first.clusters else ()
    return Aligned(
        tuple(value for _, value, _ in pairs), tuple(other for _, _, other in pairs), (clusters, clusters), True, why,
        lost,
    )  # fmt: skip


def unpaired(first: Observations, second: Observations, why: str) -> Aligned:
    """All values that there are."""
    clusters = tuple(
        tuple(each.clusters[name] for name, value in each.values.items() if value == value) if each.clusters
        else ()
        for each in (first, second)
    )  # fmt: skip
    return Aligned(tuple(first.present), tuple(second.present), (clusters[0], clusters[1]), False, why)
