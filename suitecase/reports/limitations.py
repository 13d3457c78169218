"""What limits the conclusions, found without anybody's help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from suitecase.compare.model import Study
from suitecase.queries.served import changes_between, served_models, several_served
from suitecase.reports.document import Points, Prose, Section
from suitecase.reports.words import counted, grouped
from suitecase.rundir import Run
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

__all__ = ["SMALL_N", "limitations"]

SMALL_N: Final = 20
"""Below so many units an interval of a mean leans on the shape of the distribution, which so few values don't show. Our
choice; coverage for skewed data is in docs/statistics.md."""

MOST_NAMES: Final = 4


def limitations(study: Study, runs: Sequence[Run] = ()) -> Section:
    """A sentence for each limit."""
    found = list(dict.fromkeys([*(text for check in CHECKS for text in check(study)), *other_models(runs)]))
    if not found:
        words = "none was found for size, pairing, code, missing data, failures, interim runs or fragile verdicts"
        return Section("limitations", "Limitations", (Prose(f"A program looked for limitations, and {words}."),))
    return Section(
        "limitations",
        "Limitations",
        (Prose("Found by a program, which knows nothing of the field:"), Points(tuple(found))),
    )


def uncommitted(study: Study) -> list[str]:
    """Code that was not committed."""
    dirty = [each.name for each in study.runs if "dirty" in each.code]
    return [f"The code of {names(dirty)} was not committed; its patch lies in the run directory."] if dirty else []


def small_n(study: Study) -> list[str]:
    """Few units."""
    if study.comparisons:
        tested = [each for each in study.comparisons if each.verdict != "not tested"]
        few = {f"{each.first} ({counted(min(each.n), unit_of(each))})": 0 for each in tested if min(each.n) < SMALL_N}
    else:
        few = {
            f"{each.condition} ({counted(each.n, each.unit)})": 0
            for each in study.descriptions
            if 0 < each.n < SMALL_N
        }  # fmt: skip
    if not few:
        return []
    words = f"The sample is small: {names(list(few))}."
    return [f"{words} Below {SMALL_N}, intervals lean on the shape of a distribution, which so few values don't show."]


def unit_of(comparison: Comparison) -> str:
    return "pair" if comparison.paired else comparison.unit


def unpaired(study: Study) -> list[str]:
    """Comparisons without pairs."""
    found = [f"{each.first} in {each.metric}" for each in study.comparisons if not each.paired]
    if not found:
        return []
    which = "No comparison is" if len(found) == len(study.comparisons) else f"{names(found)} are not"
    return [f"{which} paired: the units differ between conditions, which costs power and may bias."]


def fragile(study: Study) -> list[str]:
    """Verdicts that a second test contradicts."""
    return [
        f"The verdict on {each.first} in {each.metric} is fragile: {each.test.test} and {each.beside.test} disagree."
        for each in study.comparisons
        if each.fragile and each.beside
    ]


def uncorrected(study: Study) -> list[str]:
    """Many comparisons and no correction."""
    number = len(study.comparisons)
    if number < 2 or study.correction not in ("", "none"):
        return []
    by_chance = f"about {number_text(study.alpha * number)} of them would show one by chance alone"
    return [
        f"{number_text(number)} comparisons are not corrected for: if there were no difference at all, {by_chance}."
    ]


def unplanned(study: Study) -> list[str]:
    """No plan, so everything is exploratory."""
    if study.plan or not study.comparisons:
        return []
    return ["No plan was recorded before the run: metrics, baseline and exclusions may have been chosen after a look."]


def told(study: Study) -> list[str]:
    """What was found when the runs were read and compared: failures, mixed code, missing values, runs that go on."""
    said = [(each.first, warning) for each in study.comparisons for warning in each.warnings]
    return [*study.warnings, *grouped(said, len(study.comparisons))]


def other_models(runs: Sequence[Run]) -> list[str]:
    """Names of models behind which the provider has put another one meanwhile."""
    served = [(run.name, served_models(run)) for run in runs]
    within = [text for name, each in served for text in several_served(each, name)]
    between = [text for (_, before), (_, after) in pairwise(served) for text in changes_between(before, after)]
    return [*within, *between]


CHECKS: Final[tuple[Callable[[Study], list[str]], ...]] = (
    told, small_n, unpaired, fragile, uncorrected, unplanned, uncommitted,
)  # fmt: skip


def names(found: Sequence[str]) -> str:
    """The first names, and how many more."""
    more = len(found) - MOST_NAMES
    return ", ".join(found[:MOST_NAMES]) + f" and {number_text(more)} more" * (more > 0)
