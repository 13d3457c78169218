"""Designs over whole spaces: every combination, or a sample of them."""

from __future__ import annotations

import importlib
import inspect
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from suitecase.design.cases import ConfigT, Design, DesignError, Plan, Start, Variation, make, start_problems
from suitecase.design.factors import (
    Choice,
    Factor,
    Level,
    Levels,
    Range,
    When,
    combinations,
    count_problems,
    factors_of,
    is_active,
    parents_first,
    sentence_list,
    values_of,
    variation,
)
from suitecase.design.names import canonical

__all__ = ["grid", "latin_hypercube", "random_search", "sobol"]

Point: TypeAlias = Sequence[float]
"""A fraction in [0, 1) for each factor."""

Values: TypeAlias = Levels | Choice[Any] | When
Drawn: TypeAlias = Levels | Range[object] | When


def grid(start: Start[ConfigT], /, **factors: Values) -> Design[ConfigT]:
    """Every combination of values, the last field changing fastest.

        [ExperimentCase(name, config) for name, config in grid(base, model=["gpt-4", "o3"], temperature=[0.0, 1.0])]

    Args:
        start: A config, or (name, config) pairs, such as another design.
        factors: By field a list of values; a mapping where names should show something else than the value,
            `prompt={"short": "…", "long": "…"}`; `when(...)` for a field that exists only at times.

    Raises:
        DesignError: Everything that is wrong, in one message.
    """
    parsed = checked("grid", start, factors, ranges=False)
    mains = (*parsed,)
    pairs = [f"{one}:{other}" for index, one in enumerate(mains) for other in mains[index + 1 :]]
    effects = f"Main effects and interactions of {sentence_list(mains)}" if pairs else f"The effect of {mains[0]}"
    plan = Plan(
        "grid",
        f"{effects}: analysis of variance, or a mixed model with the repeats or items as the random part; without "
        "repeats or items there is no measure of the noise.",
        values_of(parsed),
        terms=(*mains, *pairs),
    )
    return make(start, lambda config: (variation(parsed, chosen) for chosen in combinations(parsed, config)), plan)


def random_search(start: Start[ConfigT], n: int, /, *, design_seed: int = 0, **factors: Drawn) -> Design[ConfigT]:
    """`n` distinct cases, drawn at random; every case that is started from gets the same ones.

    Each field has a stream of its own: a larger `n` keeps the first cases, and a further field keeps the values of the
    others (Bergstra and Bengio 2012 is why this beats a grid where few of the fields matter).

    Args:
        start: A config, or (name, config) pairs.
        n: How many cases per start.
        design_seed: Seed of the draw; the field `seed` of the config is another matter.
        factors: By field a range (`uniform`, `log_uniform`, `integers`, `choice`), a list, or `when(...)` of these.

    Raises:
        DesignError: Everything that is wrong, also fewer than `n` distinct cases.
    """
    parsed = checked("random_search", start, factors, count=n)

    def points() -> Iterator[Point]:
        streams = [random.Random(f"{design_seed}:{name}") for name in parsed]
        while True:
            yield [stream.random() for stream in streams]

    plan = sample_plan("random_search", n, parsed, "the best of many draws looks better than it is")
    return make(start, lambda config: distinct_draws(parsed, points(), config, n), plan)


def latin_hypercube(start: Start[ConfigT], n: int, /, *, design_seed: int = 0, **factors: Drawn) -> Design[ConfigT]:
    """`n` cases of which each field has exactly one in each n-th of its range (McKay, Beckman and Conover 1979).

    Needs scipy (extra `analysis`). Arguments as for `random_search`.

    Raises:
        DesignError: Everything that is wrong; also cases that would be the same, as with few discrete values.
        ImportError: Without scipy.
    """
    parsed = checked("latin_hypercube", start, factors, count=n)
    points = qmc_points("LatinHypercube", n, len(parsed), design_seed)
    plan = sample_plan("latin_hypercube", n, parsed, "each field is spread evenly over its range")
    return make(start, lambda config: (placed(parsed, point, config) for point in points), plan)


def sobol(start: Start[ConfigT], n: int, /, *, design_seed: int = 0, **factors: Drawn) -> Design[ConfigT]:
    """`n` cases of a scrambled Sobol sequence (Sobol 1967, Owen 1998), which fills the space evenly.

    Take a power of two: only then is the sequence balanced; `analysis` says so of other numbers. A larger `n` keeps the
    first cases. Needs scipy (extra `analysis`). Arguments as for `random_search`.

    Raises:
        DesignError: Everything that is wrong; also cases that would be the same, as with few discrete values.
        ImportError: Without scipy.
    """
    parsed = checked("sobol", start, factors, count=n)
    # scipy warns of other numbers than powers of two; the first points of the next one are the same points.
    points = qmc_points("Sobol", 1 << (n - 1).bit_length(), len(parsed), design_seed)[:n]
    power = n & (n - 1) == 0
    balance = "the space is filled evenly" if power else f"{n} is no power of two, so the sequence is not balanced"
    plan = sample_plan("sobol", n, parsed, balance)
    return make(start, lambda config: (placed(parsed, point, config) for point in points), plan)


def checked(
    kind: str, start: object, given: Mapping[str, object], *, ranges: bool = True, count: object = 1
) -> dict[str, Factor]:
    factors, problems = factors_of(kind, given, ranges=ranges)
    asked = [parent for factor in factors.values() for parent in factor.conditions if parent not in given]
    problems = count_problems(kind, "n", count) + problems + start_problems(kind, start, [*given], asked)
    if problems:
        raise DesignError(problems)
    return factors


def sample_plan(kind: str, n: int, factors: Mapping[str, Factor], caution: str) -> Plan:
    names = (*factors,)
    return Plan(
        kind,
        f"Scores against {sentence_list(names)}: rank correlations or a fitted surface over the {n} samples, and the "
        f"best few again on fresh seeds ({caution}).",
        values_of(factors),
        terms=names,
    )


def placed(factors: Mapping[str, Factor], point: Point, config: object) -> Variation:
    """The case at a point; a field that does not exist there has none."""
    fractions = dict(zip(factors, point, strict=True))
    chosen: dict[str, Level] = {}
    for name in parents_first(factors):
        if is_active(factors[name], chosen, factors, config):
            chosen[name] = factors[name].level(fractions[name])
    return variation(factors, chosen)


def distinct_draws(
    factors: Mapping[str, Factor], points: Iterator[Point], config: object, n: int
) -> Iterator[Variation]:
    seen: set[str] = set()
    for drawn, point in enumerate(points):
        label, changes = placed(factors, point, config)
        if (identity := canonical(changes)) not in seen:
            seen.add(identity)
            yield label, changes
        if len(seen) == n:
            return
        # Of a finite space of at least n cases, all are found long before, but for odds of e^-100.
        if drawn > 100 * (n + 1):
            raise DesignError(
                [f"random_search: n is {n}, and there are only {len(seen)} distinct cases: lower n, or use grid."]
            )


def qmc_points(sampler: str, n: int, dimensions: int, design_seed: int) -> list[Point]:
    try:
        qmc: Any = importlib.import_module("scipy.stats.qmc")
        numpy: Any = importlib.import_module("numpy")
    except ImportError as error:
        raise ImportError(f"{sampler} sequences need scipy: pip install 'suitecase[analysis]'.") from error
    make_sampler: Callable[..., Any] = getattr(qmc, sampler)
    # scipy 1.15 renamed the argument.
    argument = "rng" if "rng" in inspect.signature(make_sampler).parameters else "seed"
    points: list[list[float]] = (
        make_sampler(dimensions, **{argument: numpy.random.default_rng(design_seed)}).random(n).tolist()
    )
    return [[min(fraction, math.nextafter(1, 0)) for fraction in point] for point in points]
