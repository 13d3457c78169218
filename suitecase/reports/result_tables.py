"""Tables of results. A number here and in a sentence comes from the same object, written by the same function."""

from __future__ import annotations

from collections.abc import Sequence

from suitecase.compare.model import Description
from suitecase.reports.document import TableBlock
from suitecase.reports.words import alpha_text, corrected, p_cell, sizes, verdict_words
from suitecase.stats.comparisons import Comparison
from suitecase.stats.results import TestResult
from suitecase.stats.wording import level_text, number_text, p_text

__all__ = ["comparison_rows", "description_table", "difference_table", "test_table"]


def description_table(named: str, descriptions: Sequence[Description], *, rates: bool) -> TableBlock:
    """A row per condition."""
    rows = [
        (
            each.condition, number_text(each.n), number_text(each.missing), number_text(each.mean),
            interval_ends(each), number_text(each.sd), number_text(each.median),
            f"{number_text(each.quartiles[0])} to {number_text(each.quartiles[1])}",
            f"{number_text(each.minimum)} to {number_text(each.maximum)}",
        )
        for each in descriptions
    ]  # fmt: skip
    levels = list(dict.fromkeys(level_text(each.interval.level) for each in descriptions if each.interval))
    methods = list(dict.fromkeys(each.interval.method for each in descriptions if each.interval))
    columns = (
        "condition",
        "n",
        "missing",
        "mean",
        f"{' / '.join(levels)} CI".strip(),
        "SD",
        "median",
        "quartiles",
        "range",
    )
    units = " and ".join(dict.fromkeys(f"{each.unit}s" for each in descriptions))
    note = f"n counts {units}." + f" Interval of the mean: {', '.join(methods)}." * bool(methods)
    if rates:  # quartiles of zeros and ones say nothing
        columns, rows = columns[:5], [row[:5] for row in rows]
    return TableBlock(f"{named} by condition.", columns, tuple(rows), columns[1:], note)


def interval_ends(description: Description) -> str:
    if description.interval is None:
        return "–"
    return f"[{number_text(description.interval.low)}, {number_text(description.interval.high)}]"


def difference_table(named: str, comparisons: Sequence[Comparison]) -> TableBlock:
    """What differs by how much, and how sure that is."""
    first = comparisons[0]
    columns = (
        "condition", "n", "mean", "baseline", "difference", "CI", "level", "p, adjusted" if corrected(first) else "p",
        "verdict",
    )  # fmt: skip
    rows = comparison_rows(comparisons)
    levels = {row[6] for row in rows}
    if len(levels) == 1:
        columns = (*columns[:5], f"{levels.pop()} CI", *columns[7:])
        rows = [(*row[:6], *row[7:]) for row in rows]
    note = f"Not corrected for several comparisons; α = {alpha_text(first.alpha)}."
    if corrected(first):
        note = f"Correction: {first.correction_name()} over {first.family}; α = {alpha_text(first.alpha)}."
    return TableBlock(f"{named}: differences from {first.second}.", columns, tuple(rows), columns[1:-1], note)


def comparison_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """A row per comparison, with every number that its sentence has."""
    return [
        (
            each.first, sizes(each), *map(number_text, (*each.means, each.difference)),
            f"[{number_text(each.interval.low)}, {number_text(each.interval.high)}]", level_text(each.interval.level),
            p_cell(each.p_adjusted), verdict_words(each),
        )
        for each in comparisons
    ]  # fmt: skip


def test_table(comparisons: Sequence[Comparison]) -> TableBlock:
    """How each difference was tested, how large it is, and what could have been seen.

    A name that all rows share stands in the head of its column.
    """
    tests = common([each.test.test for each in comparisons])
    effects = common([each.effect.name for each in comparisons if each.effect])
    besides = common([each.beside.test for each in comparisons if each.beside])
    rows = [
        (
            each.first, statistic_cell(each.test), tested_cell(each.test, named=not tests),
            effect_cell(each, named=not effects),
            number_text(each.detectable) if each.detectable > 0 else "–", tested_cell(each.beside, named=not besides),
        )
        for each in comparisons
    ]  # fmt: skip
    power = f"{100 * comparisons[0].power:.0f} %"
    columns = (
        "condition", "statistic", f"{tests}, p" if tests else "test", effects or "effect size",
        f"seen with {power} power",
        f"beside: {besides}, p" if besides else "beside",
    )  # fmt: skip
    note = (
        f"p-values are not adjusted here. “Seen with {power} power” is the least true difference that the comparison "
        "would have found so often; the test beside it warns and never decides."
    )
    return TableBlock("How the differences were tested.", columns, tuple(rows), (*columns[1:3], *columns[4:]), note)


def common(names: Sequence[str]) -> str:
    """The name, if all are the same."""
    return names[0] if len(set(names)) == 1 else ""


def statistic_cell(test: TestResult) -> str:
    """A test's statistic with its degrees of freedom: `t(7) = 2.08`."""
    if not test.statistic_name or test.statistic != test.statistic:
        return "–"
    df = f"({', '.join(map(number_text, test.df))})" if test.df else ""
    return f"{test.statistic_name}{df} = {number_text(test.statistic)}"


def tested_cell(test: TestResult | None, *, named: bool) -> str:
    """A test's p-value, with its name where the column has several."""
    if test is None:
        return "–"
    return f"{test.test}: {p_text(test.p)}" if named else p_cell(test.p)


def effect_cell(comparison: Comparison, *, named: bool) -> str:
    """An effect size with its interval and label."""
    if comparison.effect is None:
        return "–"
    words = str(comparison.effect)
    return words if named else words.removeprefix(f"{comparison.effect.name} = ")
