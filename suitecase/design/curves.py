"""Designs that ask how a score changes along one field: doses, and sizes of a learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

from suitecase.design.cases import ConfigT, Design, DesignError, Plan, Start, make, start_problems
from suitecase.design.factors import (
    Factor,
    Integers,
    LogUniform,
    Uniform,
    count_problems,
    levels_of,
    values_of,
    variation,
)

__all__ = ["dose_response", "learning_curve"]


def dose_response(
    start: Start[ConfigT], n: int, /, *, zero: bool = False, **dose: LogUniform | Uniform
) -> Design[ConfigT]:
    """`n` doses from the low to the high end of a range, both included: equal ratios for `log_uniform`, the usual
    choice, equal steps for `uniform`.

    Doses are rounded to as few digits as keep them within 2 % of a step, so that names and plots stay readable.

        dose_response(base, 7, lr=log_uniform(1e-4, 1e-1))

    Args:
        start: A config, or (name, config) pairs.
        n: Doses, at least 3: two can't show a bend.
        zero: Add the dose 0 before the others, as the control.
        dose: One field and its range.

    Raises:
        DesignError: Everything that is wrong.
    """
    kind = "dose_response"
    problems = one_range(kind, dose, (LogUniform, Uniform), "log_uniform(1e-4, 1e-1)")
    problems += count_problems(kind, "n", n, at_least=3) + start_problems(kind, start, [*dose])
    if problems:
        raise DesignError(problems)
    ((name, between),) = dose.items()
    doses = spaced(between, n)
    if zero and 0.0 not in doses:
        doses = [0.0, *doses]
    fit = "a log-logistic (Hill) curve" if isinstance(between, LogUniform) else "a straight line or a polynomial"
    plan = Plan(
        kind,
        f"A curve over {name}, not pairs of doses: {fit} with an interval, or a test for trend (Jonckheere-Terpstra).",
        {name: tuple(doses)},
        terms=(name,),
        baseline={name: 0.0} if zero else {},
    )
    factor = Factor(tuple(levels_of(name, doses)))
    return make(start, lambda _: (variation([name], {name: level}) for level in factor.levels), plan)


def learning_curve(start: Start[ConfigT], n: int, /, **size: Integers) -> Design[ConfigT]:
    """`n` sizes with equal ratios from the low to the high end, both included, rounded to whole numbers.

        learning_curve(base, 6, train_size=integers(100, 10_000))

    Args:
        start: A config, or (name, config) pairs.
        n: Sizes, at least 3: a curve with an asymptote has three parameters.
        size: One field and its range, from 1.

    Raises:
        DesignError: Everything that is wrong, also sizes so close that two round to one.
    """
    kind = "learning_curve"
    problems = one_range(kind, size, (Integers,), "integers(100, 10_000)")
    problems += count_problems(kind, "n", n, at_least=3) + start_problems(kind, start, [*size])
    problems += [
        f"{kind}: {name} begins at {between.low}: sizes begin at 1 or more."
        for name, between in size.items()
        if not problems and between.low < 1
    ]
    if problems:
        raise DesignError(problems)
    ((name, between),) = size.items()
    ratio = between.high / between.low
    sizes = [round(between.low * ratio ** (step / (n - 1))) for step in range(n)]
    if len({*sizes}) < n:
        raise DesignError([f"{kind}: {n} sizes from {between.low} to {between.high} are not distinct: lower n."])
    factor = Factor(tuple(levels_of(name, sizes)))
    plan = Plan(
        kind,
        f"Score against the logarithm of {name}: a power law with an asymptote, a + b·{name}^-c, and its interval; the "
        "largest size is held back to see whether the fit predicts.",
        values_of({name: factor}),
        terms=(name,),
    )
    return make(start, lambda _: (variation([name], {name: level}) for level in factor.levels), plan)


def one_range(kind: str, given: Mapping[str, object], kinds: tuple[type, ...], example: str) -> list[str]:
    if len(given) != 1:
        names = ", ".join(given) or "no field"
        return [f"{kind}: {names} varies: name one field and its range, as {example}."]
    ((name, between),) = given.items()
    return [] if isinstance(between, kinds) else [f"{kind}: {name} is {between!r:.80}: give a range, as {example}."]


def spaced(between: LogUniform | Uniform, n: int) -> list[float]:
    """Doses at equal steps or ratios, rounded to the fewest digits within 2 % of a step; the ends are exact."""
    exact = [between.value(step / (n - 1)) for step in range(n)]
    step = min(high - low for low, high in pairwise(exact))
    digits = 2
    while digits < 17 and any(abs(float(f"{dose:.{digits}g}") - dose) > 0.02 * step for dose in exact):
        digits += 1
    inner = [float(f"{dose:.{digits}g}") if math.isfinite(dose) else dose for dose in exact[1:-1]]
    return [float(between.low), *inner, float(between.high)]
