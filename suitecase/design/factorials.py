"""Designs that ask which factors matter: factorials and their fractions, one change at a time, ablations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations as subsets
from itertools import product

from suitecase.design.cases import (
    Aliasing,
    ConfigT,
    Design,
    DesignError,
    Plan,
    Start,
    Variation,
    make,
    start_problems,
    starts_of,
)
from suitecase.design.factors import Factor, Levels, factors_of, sentence_list, values_of, variation
from suitecase.design.names import cleaned

__all__ = ["ablation", "factorial", "one_at_a_time"]

Word = frozenset[str]
"""An effect: the factors whose columns are multiplied. A factor twice is none, so words multiply by `^`."""


def factorial(
    start: Start[ConfigT], generators: Mapping[str, Sequence[str]] | None = None, /, **factors: Levels
) -> Design[ConfigT]:
    """Two levels of each factor, low and high, in standard order: the first factor changes fastest.

    Without generators all 2^k cases. With p generators 2^(k-p): the level of a generated factor is the product of
    others', high where an even number of them is low, and what is mixed up by that stands in `aliasing` (Box, Hunter
    and Hunter, Statistics for Experimenters, 2nd edition, chapter 6).

        factorial(base, {"d": ["a", "b", "c"]}, a=[0, 1], b=[0, 1], c=[0, 1], d=[0, 1])  # 2^(4-1), D = ABC

    Args:
        start: A config, or (name, config) pairs.
        generators: By generated factor the factors whose product it is. For D = -ABC, swap the two levels of `d`.
        factors: By field its low and its high value.

    Raises:
        DesignError: Everything that is wrong, also generators that make two factors one.
    """
    parsed, problems = factors_of("factorial", factors, ranges=False)
    problems += [
        f"factorial: {name} has {len(factor.levels)} values: a factorial has two, low and high. grid takes any number."
        for name, factor in parsed.items()
        if len(factor.levels) != 2
    ]
    problems += [
        f"factorial: {name} has conditions: only grid knows them." for name, f in parsed.items() if f.conditions
    ]
    generated = generators or {}
    problems += generator_problems(generated, factors) + start_problems("factorial", start, [*factors])
    if problems:
        raise DesignError(problems)
    aliasing = aliasing_of([*factors], generated) if generated else None
    if aliasing and aliasing.resolution < 3:
        raise DesignError(
            [f"factorial: {aliasing.defining_relation[0]} never changes: generators must make resolution 3 at least."]
        )
    plan = factorial_plan(parsed, aliasing, len(generated))
    return make(start, lambda _: yates(parsed, generated), plan)


def yates(factors: Mapping[str, Factor], generators: Mapping[str, Sequence[str]]) -> Iterator[Variation]:
    basic = [name for name in factors if name not in generators]
    for highs in product((False, True), repeat=len(basic)):
        high = dict(zip(basic, reversed(highs), strict=True))
        for name, sources in generators.items():
            high[name] = sum(not high[source] for source in sources) % 2 == 0
        yield variation(factors, {name: factor.levels[high[name]] for name, factor in factors.items()})


def generator_problems(generators: Mapping[str, Sequence[str]], factors: Collection[str]) -> list[str]:
    problems: list[str] = []
    for name, sources in generators.items():
        if isinstance(sources, str):
            problems.append(f"factorial: the generator of {name} is text: give a list of factors, {[sources]!r}.")
            continue
        for source in (name, *sources):
            if source not in factors:
                problems.append(f"factorial: the generator of {name} names {source}, which is no factor.")
            elif source in generators and source != name:
                problems.append(f"factorial: the generator of {name} names {source}, which is generated itself.")
        if len({*sources}) < max(len(sources), 2) or name in sources:
            problems.append(f"factorial: the generator of {name} needs two or more other factors, each once.")
    return problems


def aliasing_of(names: Sequence[str], generators: Mapping[str, Sequence[str]]) -> Aliasing:
    """The words that equal the identity are all products of the generators' words; an effect's aliases are its own
    products with them (Box, Hunter and Hunter, 2nd edition, section 6.5)."""

    def text(word: Word) -> str:
        return ":".join(name for name in names if name in word)

    def order(word: Word) -> tuple[int, list[int]]:
        return len(word), sorted(names.index(name) for name in word)

    words: set[Word] = {frozenset()}
    for name, sources in generators.items():
        words |= {word ^ {name, *sources} for word in words}
    relation = sorted(words - {frozenset()}, key=order)
    effects = [frozenset(effect) for size in (1, 2) for effect in subsets(names, size)]
    aliases = {
        text(effect): tuple(
            text(alias) for alias in sorted((effect ^ word for word in relation), key=order) if len(alias) in (1, 2)
        )
        for effect in effects
    }
    return Aliasing(len(relation[0]), tuple(map(text, relation)), aliases)


def factorial_plan(factors: Mapping[str, Factor], aliasing: Aliasing | None, p: int) -> Plan:
    mains = [*factors]
    every = [*mains, *(f"{one}:{other}" for one, other in subsets(mains, 2))]
    terms: list[str] = []
    for effect in every:
        if aliasing is None or not any(alias in terms for alias in aliasing.aliases[effect]):
            terms.append(effect)
    analysis = (
        f"Effects of {sentence_list(mains)}, each the mean of all cases at high minus that at low, with interactions"
    )
    if aliasing is None:
        analysis += "; judge them against the noise of repeats, or by a normal plot of the effects."
    else:
        mixed = "main effects with interactions" if aliasing.resolution == 3 else "interactions with each other"
        analysis += f" as far as a 2^({len(mains)}-{p}) of resolution {aliasing.resolution} tells them apart"
        analysis += f": it mixes {mixed}; see aliasing." if aliasing.resolution < 5 else "."
    return Plan("factorial", analysis, values_of(factors), tuple(terms), aliasing=aliasing)


def one_at_a_time(start: Start[ConfigT], /, **factors: Levels) -> Design[ConfigT]:
    """The base, and each other value of each field alone: 1 + the number of values.

    Cheap and easy to read, and blind for interactions: `factorial` estimates each effect better with as many cases.

    Args:
        start: A config, or (name, config) pairs.
        factors: By field the values other than the base's own.

    Raises:
        DesignError: Everything that is wrong, also a value that the base has already.
    """
    kind = "one_at_a_time"
    parsed, problems = factors_of(kind, factors, ranges=False)
    problems += [f"{kind}: {name} has conditions: only grid knows them." for name, f in parsed.items() if f.conditions]
    problems += start_problems(kind, start, [*factors])
    if problems:
        raise DesignError(problems)

    def vary(_: object) -> Iterator[Variation]:
        yield "base", {}
        for name, factor in parsed.items():
            for level in factor.levels:
                yield variation([name], {name: level})

    plan = Plan(
        kind,
        f"Each change of {sentence_list([*parsed])} against the base, with an interval and Holm's or Dunnett's "
        "correction; interactions can't be seen.",
        values_of(parsed),
        terms=(*parsed,),
        baseline=baseline_of(start, [*parsed]),
    )
    return make(start, vary, plan)


def ablation(
    start: Start[ConfigT], components: Mapping[str, Mapping[str, object]] | None = None, /, **without: object
) -> Design[ConfigT]:
    """The full system, and the system without each component alone.

        ablation(full, {"retrieval": {"retrieve": False, "passages": 0}}, self_check=False)

    For the opposite question, what each component brings alone, use `one_at_a_time` from a bare base.

    Args:
        start: The full config, or (name, config) pairs.
        components: By name the fields that are set when the component is taken out, where it is more than one.
        without: By field the value that it has when it is taken out.

    Raises:
        DesignError: Everything that is wrong, also a component that the config doesn't have in the first place.
    """
    removed = {**(components or {}), **{name: {name: value} for name, value in without.items()}}
    fields = list(dict.fromkeys(name for changes in removed.values() for name in changes))
    problems = (
        []
        if removed
        else ["ablation: nothing is taken out: name a field and its value without, ablation(full, retrieve=False)."]
    )
    problems += [f"ablation: {name} changes no field." for name, changes in removed.items() if not changes]
    problems += [f"ablation: {name} is given twice." for name in without if name in (components or {})]
    problems += start_problems("ablation", start, fields)
    if problems:
        raise DesignError(problems)

    def vary(_: object) -> Iterator[Variation]:
        yield "full", {}
        yield from ((f"without-{cleaned(name)}", changes) for name, changes in removed.items())

    plan = Plan(
        "ablation",
        f"The full system against itself without {sentence_list([*removed])}: paired differences with intervals and "
        "Holm's correction; components that stand in for each other look useless one by one.",
        {name: tuple(changes[name] for changes in removed.values() if name in changes) for name in fields},
        terms=tuple(fields),
        baseline=baseline_of(start, fields),
    )
    return make(start, vary, plan)


def baseline_of(start: Start[ConfigT], fields: Sequence[str]) -> dict[str, object]:
    """The values that the fields have at the start, as far as all starts agree."""
    configs = [config for _, config in starts_of(start)]
    values = {name: [getattr(config, name) for config in configs] for name in fields}
    return {name: found[0] for name, found in values.items() if all(value == found[0] for value in found)}
