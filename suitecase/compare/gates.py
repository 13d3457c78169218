"""Gates for continuous integration: "accuracy < -1pt" fails unless it is shown that accuracy fell by less than that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from suitecase.compare.model import Study
from suitecase.errors import SuitecaseError
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

__all__ = ["Gate", "GateAnswer", "parse_gate"]

GATE = re.compile(
    r"(?P<metric>.+?)\s*(?P<sign>[<>])\s*(?P<bound>[-+−]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?P<unit>pt|pp|%)?", re.I
)


@dataclass(frozen=True)
class GateAnswer:
    """Whether a gate is passed, and why, one sentence for each comparison."""

    passed: bool
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """What must not be: a difference from the baseline beyond a bound.

    It is passed only if the interval of the difference excludes everything beyond the bound: `accuracy < -1pt` asks
    that its lower end lies above −1 point. A wide interval fails, however good the estimate: non-inferiority must be
    shown.

    Attributes:
        sign: "<" if differences below the bound are bad, ">" if those above are.
        bound: In the metric's unit; of percent, a fraction of the baseline's mean.
        relative: Whether the bound is such a fraction.
    """

    text: str
    metric: str
    sign: Literal["<", ">"]
    bound: float
    relative: bool

    def answer(self, study: Study) -> GateAnswer:
        """Ask a study.

        Raises:
            SuitecaseError: It doesn't compare this metric.
        """
        found = [each for each in study.comparisons if each.metric == self.metric]
        if not found:
            names = ", ".join(dict.fromkeys(each.metric for each in study.comparisons))
            raise SuitecaseError(f"--fail-if {self.text!r}: {self.metric} is not compared; {names} is.")
        answers = [self.judge(each) for each in found]
        return GateAnswer(all(passed for passed, _ in answers), tuple(sentence for _, sentence in answers))

    def judge(self, comparison: Comparison) -> tuple[bool, str]:
        """Whether one comparison passes, and why."""
        bound = self.bound * abs(comparison.means[1]) if self.relative else self.bound
        low, high = comparison.interval.low, comparison.interval.high
        shown = comparison.verdict != "not tested" and (low > bound if self.sign == "<" else high < bound)
        end = f"{'lower' if self.sign == '<' else 'upper'} end {number_text(low if self.sign == '<' else high)}"
        where = f" ({comparison.stratum})" * bool(comparison.stratum)
        sides = f"{comparison.first} against {comparison.second}{where}"
        words = f"{sides}: {self.metric}, {end} of {comparison.interval}"
        side = "above" if self.sign == "<" else "below"
        return shown, f"{'passed' if shown else 'FAILED'}: {words}, must lie {side} {number_text(bound)}."


def parse_gate(text: str) -> Gate:
    """`accuracy < -1pt` (points, hundredths), `latency_s > 5%` (of the baseline's mean), `loss > 0.01`.

    Raises:
        SuitecaseError: It says nothing of the kind.
    """
    found = GATE.fullmatch(text.strip())
    if found is None:
        raise SuitecaseError(
            f"--fail-if {text!r}: write METRIC < -BOUND or METRIC > BOUND, such as 'accuracy < -1pt' (points), "
            "'latency_s > 5%' (of the baseline's mean) or 'loss > 0.01'."
        )
    bound = float(found["bound"].replace("−", "-"))
    sign: Literal["<", ">"] = "<" if found["sign"] == "<" else ">"
    if (bound > 0 and sign == "<") or (bound < 0 and sign == ">"):
        meant = f"{found['metric']} {sign} {-bound:g}{found['unit'] or ''}"
        raise SuitecaseError(
            f"--fail-if {text!r} would fail for equal conditions: the bound is on the difference from the baseline. "
            f"Did you mean {meant!r}?"
        )
    return Gate(text, found["metric"], sign, bound / 100 if found["unit"] else bound, found["unit"] == "%")
