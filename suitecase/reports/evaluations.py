"""What items of evaluations tell beyond comparisons: which ranks are known, and whether confidence is deserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from suitecase.compare.model import MetricFacts, Study
from suitecase.errors import SuitecaseError
from suitecase.reports.document import Block, FigureBlock, Prose, Section, TableBlock
from suitecase.reports.words import file_name, listed
from suitecase.rundir import Run
from suitecase.stats.wording import level_text, number_text

if TYPE_CHECKING:
    from suitecase.compare.observations import Metric
    from suitecase.compare.survey import Survey
    from suitecase.stats.calibration import Calibration
    from suitecase.stats.evaluations import RankBands

__all__ = ["evaluations"]

CONFIDENCE: Final = "confidence"
"""The metric of items that says how sure an answer was, in [0, 1]."""
LEAST_RANKED: Final = 3
LEAST_ITEMS: Final = 20
MOST_VALUES: Final = 300_000
"""Of items: ranks take a bootstrap of all of them."""
MOST_FIGURES: Final = 4


def evaluations(study: Study, runs: Sequence[Run]) -> list[Section]:
    """Ranks of three conditions or more with the same items, and calibration where items have a confidence."""
    metrics = [each for each in study.metrics if items_of(study, each)]
    values = sum(each.n for each in study.descriptions if each.unit == "item")
    if not runs or not metrics or values > MOST_VALUES:
        return []
    from suitecase.compare.survey import Question, survey

    try:
        found = survey(runs, Question(metrics=tuple(each.name for each in metrics)))
    except SuitecaseError:
        return []
    if {each.name for each in found.conditions} != {each.name for each in study.conditions} or found.by:
        return []  # the study was asked for otherwise than by default
    blocks = [*(block for each in metrics for block in ranks(found, each, study.alpha)), *calibrations(found)]
    return [Section("evaluations", "Ranks and calibration", tuple(blocks), level=3)] if blocks else []


def items_of(study: Study, metric: MetricFacts) -> bool:
    """Whether items are the units of a metric's mean, in every condition."""
    units = [each.unit for each in study.descriptions if each.metric == metric.name]
    return bool(units) and set(units) == {"item"} and "@" not in metric.name


# --- Ranks -----------------------------------------------------------------------------------------------------------


def ranks(found: Survey, facts: MetricFacts, alpha: float) -> list[Block]:
    """The ranks in one metric, if somebody said which values are wanted."""
    from suitecase.stats.evaluations import rank_bands

    metric = next(each for each in found.metrics if each.name == facts.name)
    names = [each.name for each in found.conditions]
    observed = [found.observe(name, metric, "", "item").values for name in names]
    common = [
        key for key in observed[0] if all(key in each and each[key] == each[key] for each in observed)
    ] if observed else []  # fmt: skip
    if not facts.better or len(names) < LEAST_RANKED or len(common) < LEAST_ITEMS:
        return []
    matrix = [[each[key] for each in observed] for key in common]
    bands = rank_bands(matrix, names, higher_is_better=facts.better == "higher", level=1 - alpha)
    return [Prose(rank_words(bands, facts.name)), rank_table(bands, facts.name), rank_figure(bands, facts.name)]


def rank_words(bands: RankBands, metric: str) -> str:
    """Which conditions may be the best."""
    best = [each.name for each in bands.ranks if each.best == 1]
    words = listed(best) if len(best) <= 6 else f"any of {len(best)} conditions"
    may = "is the best" if len(best) == 1 else "may be the best"
    how = f"max-T bootstrap of {number_text(bands.items)} items that all conditions worked on"
    return (
        f"In {metric}, {words} {may}: all rank bands hold at once with {level_text(bands.level)} confidence ({how}, "
        f"{number_text(bands.draws)} draws, seed {bands.seed})."
    )


def rank_table(bands: RankBands, metric: str) -> TableBlock:
    """A row per condition, the best first."""
    rows = [
        (
            each.name, number_text(each.mean), number_text(each.rank), f"{each.best} to {each.worst}",
            ", ".join(each.tied_with[:6]) + ", …" * (len(each.tied_with) > 6) or "–",
        )
        for each in bands.ranks
    ]  # fmt: skip
    columns = ("condition", "mean", "rank", "rank band", "can't be told apart from")
    return TableBlock(f"{metric}: ranks.", columns, tuple(rows), columns[1:4])


def rank_figure(bands: RankBands, metric: str) -> FigureBlock:
    from suitecase.reports import figures

    return FigureBlock(
        file_name("ranks", metric),
        f"{metric}: rank of each condition, and the ranks that it might have. All bands hold at once.",
        "; ".join(f"{each.name}: {each.best} to {each.worst}" for each in bands.ranks[:20]) + ".",
        partial(figures.rank_bands, bands),
    )


# --- Calibration -----------------------------------------------------------------------------------------------------


def calibrations(found: Survey) -> list[Block]:
    """How confidence and correctness go together, of each condition whose items have both."""
    rates = [each for each in found.metrics if each.is_rate]
    if not rates:
        return []
    made = {each.name: one for each in found.conditions if (one := calibration(found, each.name, rates[0])) is not None}
    if not made:
        return []
    blocks: list[Block] = [calibration_table(made, rates[0].name)]
    return [*blocks, *(calibration_figure(name, one) for name, one in list(made.items())[:MOST_FIGURES])]


def calibration(found: Survey, condition: str, rate: Metric) -> Calibration | None:
    """The calibration of one condition; nothing where items have no confidence in [0, 1]."""
    from suitecase.stats.calibration import calibration_of

    if not any(CONFIDENCE in reading.items.values for reading in found.readings[condition]):
        return None
    stated = found.observe(
        condition, replace(rate, name=CONFIDENCE, column=CONFIDENCE, is_rate=False), "", "item"
    ).values
    true = found.observe(condition, rate, "", "item").values
    both = [key for key, value in stated.items() if 0 <= value <= 1 and true.get(key) in (0, 1)]
    if len(both) < LEAST_ITEMS:
        return None
    return calibration_of([stated[key] for key in both], [true[key] for key in both])


def calibration_table(made: dict[str, Calibration], metric: str) -> TableBlock:
    """A row per condition."""
    rows = [
        (name, *map(number_text, (each.n, each.ece, each.ece_by_chance, each.brier, each.reliability, each.resolution)))
        for name, each in made.items()
    ]
    columns = ("condition", "n", "calibration error", "by chance", "Brier score", "reliability", "resolution")
    note = "The calibration error is above 0 even where every confidence is right: “by chance” says by how much."
    return TableBlock(f"Confidence held against {metric}.", columns, tuple(rows), columns[1:], note)


def calibration_figure(name: str, one: Calibration) -> FigureBlock:
    from suitecase.reports import figures

    return FigureBlock(
        file_name("calibration", name),
        f"{name}: how often items of which confidence were right, with 95 % Wilson intervals; below the line is "
        "overconfidence.",
        "; ".join(f"{number_text(each.stated)} stated, {number_text(each.observed)} right" for each in one.bins) + ".",
        partial(figures.calibration, one),
    )
