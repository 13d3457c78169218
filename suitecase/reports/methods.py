"""The methods paragraph for a paper, and the works that it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from suitecase.compare.model import Study
from suitecase.reports.document import Block, Code, Points, Prose, Section
from suitecase.reports.references import Work, works_named
from suitecase.reports.words import alpha_text, corrected, counted, grouped, listed, sizes
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import level_text

__all__ = ["methods", "references", "works_of"]

MOST_SENTENCES: Final = 12


def methods(study: Study) -> Section:
    """A paragraph that says what was done, for the paper."""
    text = " ".join([*sample_sentences(study), *test_sentences(study), software_sentence(study)])
    blocks: list[Block] = [Prose(text)]
    compared, number = study.comparisons, len(study.comparisons)
    why = grouped([(named(study, each), reason) for each in compared for reason in each.why], number)
    if why:
        blocks += [Prose("Why these tests:"), Points(shortened(why))]
    checked = grouped(
        [
            (named(study, each), f"{held.name}: {held.finding}{'' if held.finding.endswith('.') else '.'}")
            for each in compared
            for held in each.test.assumptions
        ],
        number,
    )
    if checked:
        words = "What the tests take for granted, and what was found; none of it selected a test:"
        blocks += [Prose(words), Points(shortened(checked))]
    return Section("methods", "Methods", tuple(blocks))


def named(study: Study, comparison: Comparison) -> str:
    """The first condition, and the metric where there are several."""
    return comparison.first + f" in {comparison.metric}" * (len(study.metrics) > 1)


def shortened(sentences: Sequence[str]) -> tuple[str, ...]:
    """The first of many sentences."""
    more = len(sentences) - MOST_SENTENCES
    return (*sentences[:MOST_SENTENCES], *([f"And {more} more, which analysis.json has."] if more > 0 else []))


def sample_sentences(study: Study) -> list[str]:
    """What was measured on what."""
    cases = counted(sum(each.cases for each in study.conditions), "case")
    metrics = listed([each.name for each in study.metrics])
    sentences = [f"We ran {cases} under {counted(len(study.conditions), 'condition')} and measured {metrics}."]
    known = [each.interval for each in study.descriptions if each.interval]
    levels = unique(f"{level_text(each.level)} intervals ({each.method})" for each in known)
    return [*sentences, f"Means are given with {levels}."] if levels else sentences


def test_sentences(study: Study) -> list[str]:
    """How it was compared."""
    tested = [each for each in study.comparisons if each.verdict != "not tested"]
    if not tested:
        return ["Nothing was tested."]
    first = tested[0]
    pairings = unique("paired" if each.paired else "unpaired" for each in tested)
    ns = list(dict.fromkeys(sizes(each) for each in tested))
    size = ns[0] if len(ns) == 1 else f"{ns[0]} in the first comparison, all in the tables"
    units = unique(f"{each.unit}s" for each in tested)
    methods_of_intervals = unique(each.interval.method for each in tested)
    sentences = [
        f"Each condition was compared with {unique(each.second for each in tested)}.",
        f"The unit was {units}, {pairings} (n = {size}).",
        f"Differences were tested by {unique(each.test.test for each in tested)}.",
        f"Their intervals ({methods_of_intervals}) exclude 0 exactly where the adjusted p-value is below α.",
        f"P-values are adjusted by {first.correction_name()} over {first.family}; α = {alpha_text(first.alpha)}."
        if corrected(first)
        else f"P-values are not adjusted; α = {alpha_text(first.alpha)}.",
    ]
    if effects := unique(each.effect.name for each in tested if each.effect):
        sentences.append(f"The effect size is {effects}.")
    if beside := unique(each.beside.test for each in tested if each.beside):
        sentences.append(f"Beside it, the {beside} was computed; a verdict that it contradicts is called fragile.")
    if any(each.detectable > 0 for each in tested):
        sentences.append(
            "For each comparison we give the least true difference that it would have found with "
            f"{100 * first.power:.0f} % power; power at the observed effect is not computed."
        )
    return sentences


def unique(names: Iterable[str]) -> str:
    """Names in a sentence, each once."""
    return listed(list(dict.fromkeys(names)))


def software_sentence(study: Study) -> str:
    """With what it was computed, and of which code."""
    software = [
        f"{name} {found}" for name in ("suitecase", "scipy", "statsmodels", "numpy") if (found := version_of(name))
    ]
    codes = listed(list(dict.fromkeys(code for each in study.conditions for code in each.code))[:6])
    return f"Computed with {listed(software)}" + f"; the experiment's code is at {codes}" * bool(codes) + "."


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def works_of(study: Study) -> tuple[Work, ...]:
    """Works on every method that the results name, in the order in which they do."""
    return works_named([*method_names(study), "software scipy", "software statsmodels", "software matplotlib"])


def method_names(study: Study) -> Iterable[str]:
    """Names of methods, and references, from the results themselves."""
    for each in study.comparisons:
        for test in (each.test, each.beside):
            if test is not None:
                yield from test.references
                yield test.test
        yield each.interval.method
        yield f"correction {each.correction}"
        if each.effect:
            yield from (each.effect.name, each.effect.label_source)
            if each.effect.interval:
                yield each.effect.interval.method
    for description in study.descriptions:
        if description.interval:
            yield description.interval.method


def references(study: Study) -> Section:
    """The works, as sentences and as BibTeX."""
    works: Sequence[Work] = works_of(study)
    return Section(
        "references", "References",
        (
            Points(tuple(each.sentence() for each in works)),
            Code("\n\n".join(each.bibtex() for each in works), "bibtex"),
        ),
    )  # fmt: skip
