"""Factors: the values or the range of a field, and when the field exists at all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeGuard, TypeVar, cast

from suitecase.design.cases import MOST_CASES, DesignError, Variation
from suitecase.design.names import canonical, cleaned, joined, level_texts, value_text

__all__ = [
    "Choice",
    "Factor",
    "Integers",
    "Level",
    "Levels",
    "LogUniform",
    "Range",
    "Uniform",
    "When",
    "choice",
    "combinations",
    "count_problems",
    "factors_of",
    "integers",
    "is_active",
    "log_uniform",
    "parents_first",
    "sentence_list",
    "uniform",
    "values_of",
    "variation",
    "when",
]

ValueT = TypeVar("ValueT")
ValueT_co = TypeVar("ValueT_co", covariant=True)

Levels: TypeAlias = Iterable[object] | Mapping[str, object]
"""The values of a factor: a list of them, or a mapping from how a name shows a value to the value."""


class Range(Protocol[ValueT_co]):
    """A distribution to draw from. Anything with this method is one."""

    def value(self, fraction: float, /) -> ValueT_co:
        """The value below which a fraction of all draws lie, 0 ≤ fraction < 1; it never falls as the fraction grows."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every value from `low` to `high` is as likely as any other.

    Raises:
        DesignError: A bound is no finite number, or they are not in order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds("uniform", self.low, self.high)

    def value(self, fraction: float, /) -> float:
        return min(self.low + fraction * (self.high - self.low), self.high)


@dataclass(frozen=True)
class LogUniform:
    """Every ratio is as likely as any other: 0.001 to 0.01 as likely as 0.01 to 0.1.

    Raises:
        DesignError: A bound is not above 0 and finite, or they are not in order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        check_bounds("log_uniform", self.low, self.high, above=0)

    def value(self, fraction: float, /) -> float:
        log_low, log_high = math.log(self.low), math.log(self.high)
        return min(max(math.exp(log_low + fraction * (log_high - log_low)), self.low), self.high)


@dataclass(frozen=True)
class Integers:
    """Whole numbers from `low` to `high`, both included.

    Raises:
        DesignError: A bound is no whole number, or they are not in order.
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        check_bounds("integers", self.low, self.high, whole=True)

    def value(self, fraction: float, /) -> int:
        count = self.high - self.low + 1
        return self.low + min(int(fraction * count), count - 1)


@dataclass(frozen=True)
class Choice(Generic[ValueT]):
    """One of some values, each as likely as any other.

    Raises:
        DesignError: There are none, or one twice.
    """

    values: tuple[ValueT, ...]

    def __post_init__(self) -> None:
        levels_of("choice", self.values)

    def value(self, fraction: float, /) -> ValueT:
        return self.values[int(fraction * len(self.values))]


def uniform(low: float, high: float) -> Uniform:
    """Every value from `low` to `high` is as likely as any other."""
    return Uniform(low, high)


def log_uniform(low: float, high: float) -> LogUniform:
    """Every ratio is as likely as any other; 0 < low < high."""
    return LogUniform(low, high)


def integers(low: int, high: int) -> Integers:
    """Whole numbers from `low` to `high`, both included."""
    return Integers(low, high)


def choice(values: Iterable[ValueT]) -> Choice[ValueT]:
    """One of some values; in a design, the plain list means the same."""
    return Choice(tuple(values))


@dataclass(frozen=True)
class When:
    """The values of a field that exists only when others have certain values. `when` makes it."""

    values: Levels | Range[object]
    conditions: Mapping[str, tuple[object, ...]]


def when(values: Levels | Range[object], /, **conditions: object) -> When:
    """The values of a field, used only where other fields have certain values; elsewhere it stays as it is.

        grid(base, optimiser=["sgd", "adam"], momentum=when([0.0, 0.9], optimiser="sgd"))  # three cases

    Args:
        values: As for any factor.
        conditions: Fields with the value that they must have, or a list of such values. All must hold, and a field that
            is not in use itself fulfils none.

    Raises:
        DesignError: There are no conditions.
    """
    if not conditions:
        raise DesignError(["when() has no condition: name a field and its values, when([0.9], optimiser='sgd')."])
    allowed = {
        name: tuple(cast(Iterable[object], value)) if isinstance(value, list | tuple | set | frozenset) else (value,)
        for name, value in conditions.items()
    }
    return When(values, allowed)


class Level(NamedTuple):
    """A value and how a name shows it."""

    value: object
    text: str


@dataclass(frozen=True)
class Factor:
    """A field that a design varies.

    Attributes:
        levels: Its values; empty where it has a range.
        range: Where its values are drawn from; None where it has levels.
        conditions: Other fields with the values at which this one exists.
    """

    levels: tuple[Level, ...] = ()
    range: Range[object] | None = None
    conditions: Mapping[str, tuple[object, ...]] = field(default_factory=dict[str, tuple[object, ...]])

    def level(self, fraction: float) -> Level:
        """The level below which a fraction of all draws lie. Names show four digits of a drawn number."""
        if self.range is None:
            return self.levels[int(fraction * len(self.levels))]
        value = self.range.value(fraction)
        return Level(value, f"{value:.4g}" if isinstance(value, float) else value_text(value))


def factors_of(kind: str, given: Mapping[str, object], *, ranges: bool) -> tuple[dict[str, Factor], list[str]]:
    """The factors that a design was given, and everything that is wrong with them.

    Args:
        kind: The design's name, for the messages.
        given: By field.
        ranges: Whether the design can draw from a range.
    """
    factors: dict[str, Factor] = {}
    problems = (
        [] if given else [f"{kind}: nothing varies: name a field and its values, {kind}(base, …, lr=[0.1, 0.01])."]
    )
    for name, values in given.items():
        conditions: Mapping[str, tuple[object, ...]] = {}
        if isinstance(values, When):
            values, conditions = values.values, values.conditions
        try:
            if is_range(values):
                if not ranges:
                    raise DesignError([f"{name} is the range {values!r}: {kind} needs a list of values."])
                factors[name] = Factor(range=values, conditions=conditions)
            else:
                listed = cast(Choice[object], values).values if isinstance(values, Choice) else values
                factors[name] = Factor(tuple(levels_of(name, listed)), conditions=conditions)
        except DesignError as error:
            problems += [f"{kind}: {problem}" for problem in error.problems]
    return factors, problems + condition_problems(kind, factors)


def is_range(values: object) -> TypeGuard[Range[object]]:
    """Whether there is something to draw from but no list; the `value` of an enum's member is no method."""
    drawable = not isinstance(values, type | Choice) and callable(getattr(values, "value", None))
    return drawable and not isinstance(values, Iterable)


def levels_of(name: str, given: object) -> list[Level]:
    """The levels that a list or a mapping of values gives.

    Raises:
        DesignError: It is neither, it is empty, or it has a value twice.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise DesignError([f"{name} is {given!r:.80}: give a list of values, [{given!r:.80}]."])
    if isinstance(given, set | frozenset):
        raise DesignError([f"{name} is a set, which has no order: give a list."])
    if isinstance(given, Mapping):
        labelled = cast(Mapping[object, object], given)
        values, texts = [*labelled.values()], [cleaned(str(label)) for label in labelled]
    else:
        values = list(islice(cast(Iterable[object], given), MOST_CASES + 1))
        texts = level_texts(values)
    problems = [] if values else [f"{name} has no values: give at least one."]
    counts = Counter(map(canonical, values))
    problems += [
        f"{name} has {value!r:.80} twice: each value makes its own case."
        for value in values
        if counts[canonical(value)] > 1
    ]
    if problems:
        raise DesignError(dict.fromkeys(problems))
    return [Level(value, text) for value, text in zip(values, texts, strict=True)]


def values_of(factors: Mapping[str, Factor]) -> dict[str, tuple[object, ...]]:
    """By field its values; a range stands for itself."""
    return {
        name: (factor.range,) if factor.range is not None else tuple(level.value for level in factor.levels)
        for name, factor in factors.items()
    }


def condition_problems(kind: str, factors: Mapping[str, Factor]) -> list[str]:
    problems: list[str] = []
    for name, factor in factors.items():
        for parent, allowed in factor.conditions.items():
            levels = [level.value for level in factors[parent].levels] if parent in factors else []
            for value in allowed if levels else ():
                if value not in levels:
                    near = get_close_matches(str(value), map(str, levels), n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(map(repr, levels))}."
                    problems.append(f"{kind}: {name} exists when {parent} is {value!r}, which it never is: {hint}")
    try:
        parents_first(factors)
    except DesignError as error:
        problems += [f"{kind}: {problem}" for problem in error.problems]
    return problems


def parents_first(factors: Mapping[str, Factor]) -> list[str]:
    """The factors in their order, but each after those that its existence depends on.

    Raises:
        DesignError: They depend on each other in a circle.
    """
    ordered: list[str] = []
    waiting = [*factors]
    while waiting:
        ready = [n for n in waiting if not any(parent in waiting for parent in factors[n].conditions)]
        if not ready:
            raise DesignError([f"{', '.join(waiting)} exist only when each other do: leave one condition out."])
        ordered.append(ready[0])
        waiting.remove(ready[0])
    return ordered


def is_active(factor: Factor, chosen: Mapping[str, Level], factors: Mapping[str, Factor], config: object) -> bool:
    """Whether a field exists, after its parents have been chosen."""
    for parent, allowed in factor.conditions.items():
        if parent in factors:
            if parent not in chosen or chosen[parent].value not in allowed:
                return False
        elif getattr(config, parent, None) not in allowed:
            return False
    return True


def combinations(factors: Mapping[str, Factor], config: object) -> Iterator[dict[str, Level]]:
    """Every combination of levels, the last factor changing fastest; each once, whatever does not exist in it."""
    order = parents_first(factors)

    def extended(chosen: dict[str, Level], depth: int) -> Iterator[dict[str, Level]]:
        if depth == len(order):
            yield chosen
            return
        factor = factors[order[depth]]
        if not is_active(factor, chosen, factors, config):
            yield from extended(chosen, depth + 1)
            return
        for level in factor.levels:
            yield from extended({**chosen, order[depth]: level}, depth + 1)

    return extended({}, 0)


def variation(factors: Iterable[str], chosen: Mapping[str, Level]) -> Variation:
    """The label and the changes of a case, its fields in the order of the factors."""
    present = [name for name in factors if name in chosen]
    return joined({name: chosen[name].text for name in present}), {name: chosen[name].value for name in present}


def count_problems(kind: str, name: str, given: object, *, at_least: int = 1) -> list[str]:
    """Why a value is no number of things."""
    if isinstance(given, bool) or not isinstance(given, int) or given < at_least:
        return [f"{kind}: {name} is {given!r:.80}: give a whole number, at least {at_least}."]
    if given > MOST_CASES:
        return [f"{kind}: {name} is {given:,}: a design has at most {MOST_CASES:,} cases."]
    return []


def check_bounds(kind: str, low: object, high: object, *, above: float = -math.inf, whole: bool = False) -> None:
    kinds = int if whole else int | float
    wanted = "a whole number" if whole else "a number" if above == -math.inf else f"a number above {above:g}"
    problems: list[str] = []
    for name, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, kinds) or not above < bound < math.inf:
            problems.append(f"{kind}: {name} is {bound!r:.80}: give {wanted}.")
    if not problems and not cast(float, low) < cast(float, high):
        problems.append(f"{kind}: low is {low!r} and high is {high!r}: low must be below high.")
    elif not problems and not whole and math.isinf(cast(float, high) - cast(float, low)):
        problems.append(f"{kind}: {low!r} to {high!r} is too wide for a float.")
    if problems:
        raise DesignError(problems)


def sentence_list(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""
