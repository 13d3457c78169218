"""What is found when one condition is held against another: the difference, how sure it is, and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from suitecase.stats.results import Effect, Interval, Result, TestResult
from suitecase.stats.wording import number_text, p_text

__all__ = ["Better", "Comparison", "Verdict"]

Better: TypeAlias = Literal["higher", "lower", ""]
"""Which values are wanted; empty where nobody said."""

Verdict: TypeAlias = Literal["higher", "lower", "equivalent", "no evidence of a difference", "not tested"]
"""What may be claimed of the first condition against the second, at the adjusted level."""


@dataclass(frozen=True)
class Comparison(Result):
    """One condition against another in one metric.

    The interval has the level that the correction leaves to this comparison, so that it excludes the null value exactly
    if the adjusted p-value is below `alpha`.

    Attributes:
        first: The condition that is asked about.
        second: The baseline.
        metric: What was measured; empty for bare arrays.
        unit: What was repeated, and so counted: "case", "item" or "value".
        paired: Whether each value of one condition has its partner in the other.
        n: Units of the first and of the second condition; with pairs, the number of pairs twice.
        clusters: Number of clusters of each condition; empty where there are none.
        means: Mean of each condition over the units that were compared.
        difference: Estimate of first minus second: of means, of rates, or what the test named.
        interval: Its interval at the level after correction.
        p: The p-value of `test`.
        p_adjusted: The same, adjusted for the family.
        alpha: The error rate that the family is held to.
        correction: "holm", "bh", …, or "none".
        family: What was corrected for, in words: "3 conditions × 2 metrics".
        test: The test that decides.
        beside: The permutation test, or the mid-p McNemar test, which only warns.
        effect: The effect size.
        detectable: The least true difference that this comparison would have found with `power`.
        power: That power.
        verdict: What may be claimed.
        fragile: Whether `beside` disagrees with `test` about `alpha`.
        better: Which values are wanted.
        why: Why this test: the rule's steps, one sentence each.
        warnings: What a reader must know, one sentence each.
        missing: Units without a value, of each condition, and how they counted is among the warnings.
        stratum: Where strata are told apart, which one it is: `task=gsm8k`, or `average over task`; else empty.
        label: "planned", "exploratory" or "interim" where there is a plan or the run is not at its end; else empty.
    """

    first: str
    second: str
    metric: str
    unit: str
    paired: bool
    n: tuple[int, int]
    means: tuple[float, float]
    difference: float
    interval: Interval
    p: float
    p_adjusted: float
    alpha: float
    correction: str
    family: str
    test: TestResult
    detectable: float
    power: float
    verdict: Verdict
    clusters: tuple[int, ...] = ()
    beside: TestResult | None = None
    effect: Effect | None = None
    fragile: bool = False
    better: Better = ""
    why: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    missing: tuple[int, int] = (0, 0)
    stratum: str = ""
    label: str = ""

    @property
    def wins(self) -> bool | None:
        """Whether the first condition is better; `None` where nothing may be claimed, or nobody said what is wanted."""
        if self.verdict not in ("higher", "lower") or not self.better:
            return None
        return self.verdict == self.better

    def sentence(self) -> str:
        """What was found, in words that may be read aloud."""
        if not self.stratum:
            return self.claim()
        return f"{'On' if self.stratum.startswith('average') else 'In'} {self.stratum}: {self.claim()}"

    def claim(self) -> str:
        """The sentence without the stratum."""
        what = self.metric or "the mean"
        ends = str(self.interval)
        by = f"{number_text(abs(self.difference))} ({ends}, {self.test.test}, {self.p_words()})"
        sides = f"{self.first} ({what} {number_text(self.means[0])}) and {self.second} ({number_text(self.means[1])})"
        if self.verdict in ("higher", "lower"):
            claim = f"{self.verdict} {self.metric}" if self.metric else f"a {self.verdict} mean"
            return (
                f"{self.first} has {claim} than {self.second}, by {by}."
                + " Fragile: the test beside it disagrees." * self.fragile
            )
        if self.verdict == "equivalent":
            return f"{sides} are equivalent: they differ by {number_text(self.difference)} ({ends})."
        if self.verdict == "not tested":
            return f"{sides} were not tested: {' '.join(self.warnings)}"
        seen = f"; this comparison could have seen {number_text(self.detectable)} with {100 * self.power:.0f} % power"
        return (
            f"No evidence of a difference between {sides}: difference {number_text(self.difference)}, {ends}, "
            f"{self.p_words()}{seen * (self.detectable > 0)}."
            + " Fragile: the test beside it disagrees."
            * self.fragile
        )

    def p_words(self) -> str:
        """The adjusted p-value, with the correction's name."""
        return p_text(self.p_adjusted) + f" after {self.correction_name()}" * (self.p_adjusted != self.p)

    def correction_name(self) -> str:
        """The correction as it is written: Holm, BH."""
        return self.correction.upper() if len(self.correction) == 2 else self.correction.capitalize()
