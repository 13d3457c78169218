"""What it cost: time and money by condition, the front of cost and quality, and the price of an improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from suitecase.compare.model import ConditionFacts, MetricFacts, Study
from suitecase.reports.document import Block, FigureBlock, Points, Prose, Section, TableBlock
from suitecase.reports.words import duration_text, file_name
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

__all__ = ["costs", "improvement_prices"]


def costs(study: Study) -> Section:
    """Cost and time, where any is known."""
    money, time = per_case(study, lambda each: each.cost_usd), per_case(study, lambda each: each.duration_s)
    if not money and not time:
        return Section("cost", "Cost and time", (Prose("No case recorded what it took or cost."),))
    blocks: list[Block] = [cost_table(study.conditions)]
    blocks += front_figures(study, money, "USD per case") or front_figures(study, time, "seconds per case")
    prices = improvement_prices(study, money, "USD") or improvement_prices(study, time, "s")
    if prices:
        blocks.append(Points(tuple(prices)))
    return Section("cost", "Cost and time", tuple(blocks))


def per_case(study: Study, value_of: Callable[[ConditionFacts], float | None]) -> dict[str, float]:
    """By condition what one of its cases took on average; conditions of which it isn't known are left out."""
    values = {each.name: (value_of(each), each.cases) for each in study.conditions}
    return {name: value / cases for name, (value, cases) in values.items() if value is not None and cases}


def cost_table(conditions: Sequence[ConditionFacts]) -> TableBlock:
    """A row per condition: sums, and what one case took."""

    def money(value: float | None, share: int = 1) -> str:
        return "–" if value is None or not share else f"{number_text(value / share)} USD"

    def time(value: float | None, share: int = 1) -> str:
        return "–" if value is None or not share else duration_text(value / share)

    columns = ("condition", "cases", "time", "per case", "cost", "cost per case")
    rows = [
        (
            each.name, number_text(each.cases), time(each.duration_s), time(each.duration_s, each.cases),
            money(each.cost_usd), money(each.cost_usd, each.cases),
        )
        for each in conditions
    ]  # fmt: skip
    if all(each.cost_usd is None for each in conditions):
        columns, rows = columns[:4], [row[:4] for row in rows]
    note = "Times are wall-clock times of the cases, summed: cases that ran at the same time count each."
    return TableBlock("Cost and time by condition.", columns, tuple(rows), columns[1:], note)


def front_figures(study: Study, price: Mapping[str, float], words: str) -> list[Block]:
    """Cost against the first metric of which somebody said what is wanted."""
    from suitecase.reports import figures

    for metric in study.metrics:
        points = [
            figures.CostPoint(each.condition, price[each.condition], each.mean, each.interval)
            for each in study.descriptions
            if each.metric == metric.name and each.condition in price and each.n and not each.stratum
        ]
        if metric.better and metric.name not in ("cost_usd", "duration_s") and len(points) > 1:
            best = figures.front(points, metric.better)
            return [
                FigureBlock(
                    file_name("cost", metric.name),
                    f"{metric.name} against cost. On the line lies what no other condition beats in both; whether that "
                    "is more than chance, the comparisons say.",
                    "On the front, the cheapest first: " + ", ".join(each.condition for each in best) + ".",
                    partial(figures.cost_quality, points, metric.name, words, metric.better),
                )
            ]
    return []


def improvement_prices(study: Study, price: Mapping[str, float], unit: str) -> list[str]:
    """What a point of improvement costs, for each condition that is better than the baseline.

    Extra cost per case over the difference, and over the ends of the difference's interval; they are all of one sign,
    as the interval excludes 0.
    """
    metrics = {each.name: each for each in study.metrics}
    found: list[str] = []
    for each in study.comparisons:
        if each.wins and each.first in price and each.second in price and each.metric != "cost_usd":
            extra = price[each.first] - price[each.second]
            found.append(price_sentence(each, metrics.get(each.metric), extra, unit))
    return found


def price_sentence(comparison: Comparison, metric: MetricFacts | None, extra: float, unit: str) -> str:
    """A sentence on one improvement."""
    what = f"{comparison.first} is better than {comparison.second} in {comparison.metric}"
    if extra <= 0:
        return f"{what} and takes no more: {number_text(-extra)} {unit} less per case."
    points = 100 if metric is not None and metric.kind == "rate" else 1
    name = "percentage point" if points == 100 else f"unit of {comparison.metric}"
    ends = sorted(abs(end) for end in (comparison.interval.low, comparison.interval.high))
    between = f", {number_text(extra / ends[1] / points)} to {number_text(extra / ends[0] / points)} over its interval"
    return (
        f"{what} for {number_text(extra)} {unit} more per case: "
        f"{number_text(extra / abs(comparison.difference) / points)} {unit} per {name}{between * (ends[0] > 0)}."
    )
