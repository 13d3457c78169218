"""The summary: what may be claimed, or what was seen where nothing may."""

from __future__ import annotations

from typing import Final

from suitecase.compare.model import Study
from suitecase.reports.document import Block, Claim, Mood, Points, Prose, Section
from suitecase.reports.words import counted, verdict_words
from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text

__all__ = ["MOST_CLAIMS", "claim_of", "summary"]

MOST_CLAIMS: Final = 8
"""In the summary; the tables have all."""
MOST_WITH_NOTES: Final = 3
"""Claims beside which their warnings stand; of more, the limitations tell them."""


def summary(study: Study) -> Section:
    """What may be claimed, before everything else."""
    if not study.comparisons:
        return Section("summary", "In short", (Prose(undecided(study)), Points(tuple(described(study)))))
    order = {"higher": 0, "lower": 0, "equivalent": 1, "no evidence of a difference": 2, "not tested": 3}
    ranked = sorted(study.comparisons, key=lambda each: (order[each.verdict], each.p_adjusted))
    told = [each for each in study.comparisons if each in ranked[:MOST_CLAIMS]]
    blocks: list[Block] = [claim_of(each, notes=len(told) <= MOST_WITH_NOTES) for each in told]
    if len(ranked) > len(told):
        sure = sum(each.verdict in ("higher", "lower") for each in ranked)
        blocks.append(
            Prose(
                f"These are {len(told)} of {len(ranked)} comparisons, those with the clearest evidence; {sure} of all "
                "show a difference. The tables below have every one of them, and the correction counts them all."
            )
        )
    return Section("summary", "In short", tuple(blocks))


def undecided(study: Study) -> str:
    """Why nothing is claimed."""
    if len(study.conditions) < 2:
        return "There is one condition, so this report describes it and tests nothing."
    return (
        "No condition was named as the baseline, so this report describes the conditions and tests nothing: "
        "differences between them may be chance."
    )


def described(study: Study) -> list[str]:
    """A sentence for each metric of which anything is known."""
    found: list[str] = []
    parts = dict.fromkeys(each.stratum for each in study.descriptions)
    for metric, stratum in ((metric, stratum) for metric in study.metrics for stratum in parts):
        known = [e for e in study.descriptions if (e.metric, e.stratum) == (metric.name, stratum) and e.n]
        if known:
            where = f", {stratum}" * bool(stratum)
            sign = -1 if metric.better == "lower" else 1
            top = max(known, key=lambda each: sign * each.mean)
            among = f"{'lowest' if sign < 0 else 'highest'} of {len(known)}: " if len(known) > 1 else ""
            ends = f" ({top.interval})" if top.interval else ""
            found.append(
                f"{metric.name}{where}, {among}{top.condition} with a mean of {number_text(top.mean)}{ends}, "
                f"n = {counted(top.n, top.unit)}."
            )
    return found


def claim_of(comparison: Comparison, *, notes: bool = True) -> Claim:
    """What may be said of a comparison, with what a reader must know of it unless the limitations alone say it."""
    moods: dict[bool | None, Mood] = {True: "better", False: "worse", None: "differs"}
    mood = moods[comparison.wins]
    if comparison.verdict == "equivalent":
        mood = "equivalent"
    elif comparison.verdict not in ("higher", "lower"):
        mood = "open"
    return Claim(comparison.sentence(), verdict_words(comparison), mood, comparison.warnings if notes else ())
