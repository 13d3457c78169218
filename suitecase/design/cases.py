"""What every design gives: named cases, and what is known of them when their results come in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast, overload

from suitecase.design.names import canonical, distinct, folded, value_text

__all__ = [
    "Aliasing",
    "Config",
    "Design",
    "DesignError",
    "Plan",
    "Start",
    "Variation",
    "make",
    "start_problems",
    "starts_of",
]

MOST_CASES = 10_000
"""More cases than this are a mistake more often than a plan: each is a process and a folder."""

MOST_ROWS = 12
"""Rows of a table that `repr` shows."""


class Config(Protocol):
    """What a design asks of a config; `BaseExperimentConfig` of `experiment_config.py` offers it."""

    def copy_with(self, **changes: Any) -> Self: ...


ConfigT = TypeVar("ConfigT", bound=Config)
ConfigT_co = TypeVar("ConfigT_co", bound=Config, covariant=True)

Start: TypeAlias = ConfigT | tuple[str, ConfigT] | Sequence[tuple[str, ConfigT]]
"""What a design varies: a config, a named one, or the cases of another design."""

Variation: TypeAlias = tuple[str, Mapping[str, object]]
"""The label of a case, and the fields that it changes."""


class DesignError(ValueError):
    """A design that can't be made.

    Attributes:
        problems: One sentence each: which argument, what is wrong, what to do.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Aliasing:
    """What a fraction of a factorial can't tell apart. Effects are written `model`, `model:lr`, `model:lr:depth`.

    Attributes:
        resolution: Length of the shortest word of the defining relation: 3 mixes main effects with two-factor
            interactions, 4 two-factor interactions with each other, 5 neither.
        defining_relation: The words that equal the identity, shortest first.
        aliases: Of every main effect and two-factor interaction, the others of these that it is mixed with.
    """

    resolution: int
    defining_relation: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        rows = [f"resolution {self.resolution}, I = {' = '.join(self.defining_relation)}"]
        rows += [" = ".join((effect, *others)) for effect, others in self.aliases.items()]
        return "\n".join(rows)


@dataclass(frozen=True)
class Plan:
    """What a design means, apart from its cases.

    Attributes:
        kind: The name of the function that makes it.
        analysis: The analysis that fits, in one sentence.
        factors: The fields that it varies, with their values.
        terms: Effects that can be estimated, `model` or `model:lr`.
        matched_by: Fields whose equal values make cases comparable one to one.
        baseline: Values of fields that mark the condition to compare against.
        aliasing: Of a fraction of a factorial.
    """

    kind: str
    analysis: str
    factors: Mapping[str, tuple[object, ...]]
    terms: tuple[str, ...] = ()
    matched_by: tuple[str, ...] = ()
    baseline: Mapping[str, object] = field(default_factory=dict[str, object])
    aliasing: Aliasing | None = None


@dataclass(frozen=True, repr=False)
class Design(Sequence[tuple[str, ConfigT_co]]):
    """Cases as `(variant_name, config)` pairs, and what to do with their results.

    Attributes:
        cases: The pairs, in the order in which they should start.
        kind: The functions that made it, the last one first: `repeats of grid`.
        analysis: The analysis that fits, one sentence for each function that made it.
        factors: The fields that vary, with their values in order.
        terms: Effects that can be estimated: `model`, and `model:lr` for an interaction. Empty where there is no
            factor to speak of, as for repeats of one condition.
        matched_by: Fields whose equal values make pairs or blocks: cases that agree in them are compared directly.
        baseline: Values of fields that mark the condition to compare against; empty where none is special.
        aliasing: Of a fraction of a factorial, what it can't tell apart.
    """

    cases: tuple[tuple[str, ConfigT_co], ...]
    kind: str
    analysis: str
    factors: Mapping[str, tuple[object, ...]]
    terms: tuple[str, ...] = ()
    matched_by: tuple[str, ...] = ()
    baseline: Mapping[str, object] = field(default_factory=dict[str, object])
    aliasing: Aliasing | None = None

    @overload
    def __getitem__(self, index: int) -> tuple[str, ConfigT_co]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[str, ConfigT_co], ...]: ...
    def __getitem__(self, index: int | slice) -> tuple[str, ConfigT_co] | tuple[tuple[str, ConfigT_co], ...]:
        """A pair; of a slice plain pairs, since a part of a design is no longer balanced."""
        return self.cases[index]

    def __len__(self) -> int:
        return len(self.cases)

    def __repr__(self) -> str:
        rows = [("variant", *self.factors)]
        for name, config in self.cases[:MOST_ROWS]:
            rows.append((name, *(value_text(getattr(config, factor, None)) for factor in self.factors)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = [f"… {len(self) - MOST_ROWS} more"] if len(self) > MOST_ROWS else []
        return "\n".join([f"{self.kind}: {len(self)} cases", *lines, *more, f"analysis: {self.analysis}"])


def make(start: Start[ConfigT], vary: Callable[[ConfigT], Iterable[Variation]], plan: Plan) -> Design[ConfigT]:
    """Every variation of every config that a design starts from.

    Raises:
        DesignError: With everything that is wrong with the cases, and `copy_with`'s own reasons.
    """
    prefixes: list[str] = []
    variations: list[tuple[ConfigT, Variation]] = []
    for name, config in starts_of(start):
        for variation in islice(vary(config), MOST_CASES + 1 - len(variations)):
            prefixes.append(name)
            variations.append((config, variation))
    if len(variations) > MOST_CASES:
        sizes = " × ".join(f"{len(values)} of {name}" for name, values in plan.factors.items())
        problem = f"{plan.kind}: more than {MOST_CASES:,} cases ({sizes}): sample them with random_search or sobol, "
        raise DesignError([problem + "or make several designs and join their lists."])
    labels = [(prefix, label) for prefix, (_, (label, _)) in zip(prefixes, variations, strict=True)]
    configs = copies(variations, plan.kind)
    names = distinct(labels, [canonical(changes) for _, (_, changes) in variations])
    check_differ(names, configs, plan.kind)
    return joined_with(start, plan, tuple(zip(names, configs, strict=True)))


def copies(variations: Sequence[tuple[ConfigT, Variation]], kind: str) -> list[ConfigT]:
    made: list[ConfigT] = []
    problems: dict[str, list[str]] = {}
    for config, (label, changes) in variations:
        try:
            made.append(config.copy_with(**changes))
        except (TypeError, ValueError) as error:
            for problem in getattr(error, "problems", [str(error)]):
                problems.setdefault(problem, []).append(label)
    if problems:
        raise DesignError(f"{kind}: {problem}{where(labels)}" for problem, labels in problems.items())
    return made


def where(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return f" ({labels[0]}{more})" if labels[0] else ""


def check_differ(names: Sequence[str], configs: Sequence[Config], kind: str) -> None:
    """Refuse cases that would do the same twice."""
    seen: dict[str, int] = {}
    problems: list[str] = []
    for index, config in enumerate(configs):
        first = seen.setdefault(canonical(config), index)
        if first != index and configs[first] == config:
            problems.append(
                f"{kind}: {names[first]!r} and {names[index]!r} have the same config: leave one of them out."
            )
    if problems:
        raise DesignError(problems)


def joined_with(start: object, plan: Plan, cases: tuple[tuple[str, ConfigT], ...]) -> Design[ConfigT]:
    """The cases with what their plan means on top of the design that they start from."""
    if not isinstance(start, Design):
        return Design(cases, **vars(plan))
    inner = cast(Design[Any], start)
    crossed = [f"{one}:{other}" for one in inner.terms for other in plan.terms if ":" not in one + other]
    return Design(
        cases,
        kind=f"{plan.kind} of {inner.kind}",
        analysis=f"{inner.analysis} {plan.analysis}",
        factors={**inner.factors, **plan.factors},
        terms=(*inner.terms, *plan.terms, *crossed),
        matched_by=(*inner.matched_by, *plan.matched_by),
        baseline={**inner.baseline, **plan.baseline},
        aliasing=plan.aliasing or inner.aliasing,
    )


def starts_of(start: Start[ConfigT]) -> list[tuple[str, ConfigT]]:
    """The named configs that a design starts from; a config alone has no name."""
    if is_config(start):
        return [("", cast(ConfigT, start))]
    if isinstance(start, tuple) and len(cast(tuple[object, ...], start)) == 2 and isinstance(start[0], str):
        return [cast(tuple[str, ConfigT], start)]
    return list(cast(Sequence[tuple[str, ConfigT]], start))


def is_config(start: Start[ConfigT]) -> Any:
    return callable(getattr(start, "copy_with", None))


def start_problems(kind: str, start: object, fields: Collection[str], asked: Collection[str] = ()) -> list[str]:
    """Why nothing can start from here, and which of the fields are none, with `copy_with`'s own hint.

    Args:
        kind: The design's name, for the messages.
        start: What the design was given to start from.
        fields: Fields that it is to vary.
        asked: Fields that it only looks at.
    """
    if isinstance(start, type):
        return [f"{kind}: {start.__name__} is a class: give a config, {start.__name__}()."]
    if not is_config(cast(Any, start)) and not isinstance(start, Sequence):
        return [f"{kind}: {start!r:.80} is a {type(start).__name__}: give a config, or (name, config) pairs."]
    pairs = cast(Sequence[object], starts_of(cast(Any, start)))
    if not pairs:
        return [f"{kind}: there are no cases to start from."]
    for pair in pairs:
        if not is_pair(pair):
            return [f"{kind}: {pair!r:.80} is a {type(pair).__name__}, not a (name, config) pair."]
    named = cast(Sequence[tuple[str, Config]], pairs)
    problems = same_names(kind, [name for name, _ in named])
    if isinstance(start, Design):
        varied = cast(Design[Any], start)
        problems += [
            f"{kind}: {name} is varied already, by the {varied.kind} that this starts from."
            for name in fields
            if name in varied.factors
        ]
    return problems + unknown_fields(kind, named[0][1], [*fields, *asked])


def is_pair(pair: object) -> bool:
    if not isinstance(pair, tuple) or len(cast(tuple[object, ...], pair)) != 2:
        return False
    name, config = cast(tuple[object, object], pair)
    return isinstance(name, str) and not isinstance(config, type) and is_config(cast(Any, config))


def same_names(kind: str, names: Sequence[str]) -> list[str]:
    first: dict[str, int] = {}
    return [
        f"{kind}: the names {names[first[folded(name)]]!r} and {name!r} are one folder: start from distinct names."
        for index, name in enumerate(names)
        if first.setdefault(folded(name), index) != index
    ]


def unknown_fields(kind: str, config: Config, fields: Iterable[str]) -> list[str]:
    """What `copy_with` says to names that the config has no attribute for."""
    unknown = {name: None for name in fields if not hasattr(config, name)}
    try:
        if unknown:
            config.copy_with(**unknown)
    except (TypeError, ValueError) as error:
        return [f"{kind}: {problem}" for problem in getattr(error, "problems", [str(error)])]
    return []
