"""What came out, metric by metric: estimates, differences, tests, and their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from suitecase.compare.model import Description, MetricFacts, Study
from suitecase.reports.document import Block, FigureBlock, Prose, Section
from suitecase.reports.result_tables import description_table, difference_table, test_table
from suitecase.reports.words import alpha_text, file_name
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import level_text, number_text

__all__ = ["results"]


@dataclass(frozen=True)
class Part:
    """What a section of results is about: a metric, in a stratum if there are some."""

    metric: MetricFacts
    stratum: str = ""

    @property
    def title(self) -> str:
        """The metric and the stratum."""
        return self.metric.name + f", {self.stratum}" * bool(self.stratum)

    @property
    def words(self) -> str:
        """The metric with its unit, and the stratum."""
        unit = f" ({self.metric.unit})" * bool(self.metric.unit)
        return self.metric.name + unit + f", {self.stratum}" * bool(self.stratum)

    def file_name(self, kind: str) -> str:
        """A name for a figure of it."""
        return file_name(kind, self.metric.name, *([self.stratum] if self.stratum else []))


def results(study: Study) -> list[Section]:
    """A section for each metric, and for each stratum where strata are told apart."""
    sections = [Section("results", "Results", (Prose(how_to_read(study)),))]
    facts = {each.name: each for each in study.metrics}
    parts = dict.fromkeys((each.metric, each.stratum) for each in (*study.descriptions, *study.comparisons))
    places = {name: place for place, name in enumerate(facts)}
    for metric, stratum in sorted(parts, key=lambda part: places.get(part[0], len(places))):
        part = Part(facts.get(metric, MetricFacts(metric, "number")), stratum)
        descriptions = [each for each in study.descriptions if (each.metric, each.stratum) == (metric, stratum)]
        comparisons = [each for each in study.comparisons if (each.metric, each.stratum) == (metric, stratum)]
        blocks = estimate_blocks(part, descriptions, study.baseline) if descriptions else []
        if comparisons:
            blocks += difference_blocks(study, part, comparisons)
        sections.append(Section(f"results-{len(sections)}", part.title, tuple(blocks), level=3))
    return sections


def how_to_read(study: Study) -> str:
    """What the tables hold."""
    if not study.comparisons:
        return "Each condition is described by itself; an interval is that of its mean."
    return (
        "A difference is the condition's mean minus the baseline's. Its interval has the level that the correction for "
        f"several comparisons leaves to it, so it excludes 0 exactly where the adjusted p-value is below "
        f"α = {alpha_text(study.alpha)}."
    )


def estimate_blocks(part: Part, descriptions: Sequence[Description], baseline: str) -> list[Block]:
    """Every condition by itself: a table, the means, the raw values."""
    if not descriptions:
        return [Prose(f"No case has a value of {part.metric.name}.")]
    from suitecase.reports import figures

    named = part.words
    known = [each for each in descriptions if each.n]
    blocks: list[Block] = [description_table(named, descriptions, rates=part.metric.kind == "rate")]
    if len(known) > 1:
        levels = ", ".join(dict.fromkeys(level_text(each.interval.level) for each in known if each.interval))
        line = f" The dashed line is the mean of {baseline}." if any(d.condition == baseline for d in known) else ""
        blocks.append(
            FigureBlock(
                part.file_name("estimates"), f"{named}: mean of each condition, with its {levels} interval.{line}",
                "; ".join(f"{each.condition} {number_text(each.mean)}" for each in known[:20]) + ".",
                partial(figures.estimates, known, named, baseline),
            )
        )  # fmt: skip
    raw = [each for each in known if len(each.values) > 2]
    if part.metric.kind != "rate" and raw:
        blocks.append(
            FigureBlock(
                part.file_name("distributions"),
                f"{named}: the value of each {raw[0].unit}, with median (diamond) and quartiles (bar). Of more than "
                f"{figures.MOST_POINTS} values so many are drawn, evenly spaced by rank.",
                "; ".join(
                    f"{each.condition}: {number_text(each.minimum)} to {number_text(each.maximum)}, median "
                    f"{number_text(each.median)}" for each in raw[:20]
                ) + ".",
                partial(figures.distributions, raw, named),
            )
        )  # fmt: skip
    return blocks


def difference_blocks(study: Study, part: Part, comparisons: Sequence[Comparison]) -> list[Block]:
    """The comparisons: differences, how they were tested, and their figures."""
    from suitecase.reports import figures

    named = part.words
    blocks: list[Block] = [difference_table(named, comparisons)]
    tested = [each for each in comparisons if each.verdict != "not tested"]
    if tested:
        blocks.append(
            FigureBlock(
                part.file_name("differences"),
                f"{named}: difference of each condition from the baseline, with the interval at its corrected level. "
                "Green is better, orange worse, blue undecided; a hollow square means no evidence of a difference.",
                "; ".join(f"{e.first}: {number_text(e.difference)}, {e.interval}" for e in tested[:20]) + ".",
                partial(figures.forest, tested, named),
            )
        )  # fmt: skip
        blocks.append(test_table(tested))
    found = [(each, study.differences.get((each.first, each.metric), ())) for each in tested if each.paired]
    # Of several strata the differences lie one after the other: they are not those of one.
    pairs = [(each, differences) for each, differences in found if len(differences) == each.n[0]]
    if pairs:
        blocks.append(paired_figure(part, pairs))
    undecided = [each for each in tested if each.verdict == "no evidence of a difference" and each.detectable > 0]
    if undecided:
        blocks.append(power_figure(part, undecided[0]))
    return blocks


def paired_figure(part: Part, pairs: Sequence[tuple[Comparison, Sequence[float]]]) -> FigureBlock:
    """The pairs behind the comparisons."""
    from suitecase.reports import figures

    def told(each: Comparison, differences: Sequence[float]) -> str:
        ups, downs = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        return f"{each.first}: {number_text(ups)} up, {number_text(downs)} down of {number_text(len(differences))}"

    seconds = " and ".join(dict.fromkeys(each.second for each, _ in pairs))
    return FigureBlock(
        part.file_name("pairs"),
        f"{part.words}: the difference of each pair, condition minus {seconds}. Green is better, orange is worse; "
        "where every pair is a point, the bar is the interval of their mean.",
        "; ".join(told(*each) for each in pairs[:20]) + ".",
        partial(figures.paired_differences, pairs, part.words),
    )


def power_figure(part: Part, comparison: Comparison) -> FigureBlock:
    """What a comparison without evidence could have seen."""
    from suitecase.reports import figures

    return FigureBlock(
        part.file_name("power"),
        f"What the comparison of {comparison.first} with {comparison.second} could have seen: its power against the "
        f"true difference in {comparison.metric}, by the normal approximation, at the corrected level.",
        f"A true difference of {number_text(comparison.detectable)} would be found with "
        f"{100 * comparison.power:.0f} % power.",
        partial(figures.power_curve, comparison),
    )
