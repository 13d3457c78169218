"""What a statistical function gives back: a frozen result that says itself in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeAlias, cast

from suitecase.stats.wording import interval_text, number_text, p_text

__all__ = ["Alternative", "Assumption", "Effect", "Interval", "Result", "TestResult"]

Alternative: TypeAlias = Literal["two-sided", "less", "greater"]
"""What is asked of the estimate (first minus second): that it isn't the null value, is below it, is above it."""


class Result:
    """A frozen dataclass that JSON can hold."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain lists, dicts, numbers and strings; numbers that aren't finite as `None`."""
        return cast(dict[str, Any], plain(self))


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [plain(inner) for inner in cast(tuple[Any, ...], value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    to_list = getattr(value, "tolist", None)  # of an array, or a scalar of numpy
    return value if to_list is None else plain(to_list())


@dataclass(frozen=True)
class Interval(Result):
    """A confidence interval.

    Attributes:
        low: The lower end; minus infinity for an interval with an upper end only.
        high: The upper end, never below `low`.
        level: The confidence level, in (0, 1).
        method: Its usual name, such as "Wilson".
    """

    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ValueError(f"the interval's ends are swapped: {self.low} above {self.high}")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return interval_text(self.low, self.high, self.level)


@dataclass(frozen=True)
class Effect(Result):
    """An effect size.

    Attributes:
        name: Its usual name, such as "Hedges g".
        value: The estimate; its sign is that of first minus second.
        interval: Its confidence interval, where one is known.
        label: "negligible", "small", "medium" or "large"; empty where nobody published bounds.
        label_source: Who did.
    """

    name: str
    value: float
    interval: Interval | None = None
    label: str = ""
    label_source: str = ""

    def __str__(self) -> str:
        ends = f" [{number_text(self.interval.low)}, {number_text(self.interval.high)}]" if self.interval else ""
        return f"{self.name} = {number_text(self.value)}{ends}" + f" ({self.label})" * bool(self.label)


@dataclass(frozen=True)
class Assumption(Result):
    """Something that a test takes for granted, and what was found about it. It never selects the test.

    Attributes:
        name: What is assumed, such as "equal variances".
        finding: What the data say, in words with figures.
        holds: Whether the data speak for it; `None` where they can't tell.
    """

    name: str
    finding: str
    holds: bool | None = None


@dataclass(frozen=True)
class TestResult(Result):
    """What a test found.

    Attributes:
        test: Its usual name, such as "Welch's t-test".
        statistic_name: The symbol of its statistic, such as "t"; empty for an exact test that has none.
        statistic: The statistic's value.
        df: Its degrees of freedom: none, one, or numerator and denominator.
        p: The p-value, in [0, 1].
        alternative: What was asked.
        n: How many values each group has, or how many pairs or blocks there are.
        estimate_name: What is estimated, such as "mean difference"; empty if nothing is.
        estimate: The estimate: the first group minus the second.
        interval: Its confidence interval; one-sided if the alternative is.
        effect: The effect size.
        assumptions: What the test takes for granted, and what was found.
        references: Where the method is published.
        warnings: What a reader must know, one sentence each.
        details: More figures of this test, by name.
    """

    __test__ = False  # for pytest, which collects classes of such a name

    test: str
    p: float
    n: tuple[int, ...]
    statistic_name: str = ""
    statistic: float = math.nan
    df: tuple[float, ...] = ()
    alternative: Alternative = "two-sided"
    estimate_name: str = ""
    estimate: float = math.nan
    interval: Interval | None = None
    effect: Effect | None = None
    assumptions: tuple[Assumption, ...] = ()
    references: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict[str, float])

    def sentence(self) -> str:
        """The result as APA style writes it, in one line."""
        parts: list[str] = []
        if self.statistic_name and not math.isnan(self.statistic):
            df = f"({', '.join(number_text(each) for each in self.df)})" if self.df else ""
            parts.append(f"{self.statistic_name}{df} = {number_text(self.statistic)}")
        parts.append(p_text(self.p) + {"two-sided": "", "less": " (less)", "greater": " (greater)"}[self.alternative])
        if self.estimate_name:
            ends = f", {self.interval}" if self.interval else ""
            parts.append(f"{self.estimate_name} = {number_text(self.estimate)}{ends}")
        if self.effect:
            parts.append(str(self.effect))
        n = " and ".join(map(str, self.n)) if len(self.n) < 4 else ", ".join(map(str, self.n))
        return f"{self.test}: {', '.join(parts)}; n = {n}."
