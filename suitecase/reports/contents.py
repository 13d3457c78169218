"""From a study to a document: which sections there are, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from suitecase.compare.model import Study
from suitecase.reports import provenance
from suitecase.reports.claims import summary
from suitecase.reports.costs import costs
from suitecase.reports.curves import learning
from suitecase.reports.document import Document, Section, cleaned
from suitecase.reports.evaluations import evaluations
from suitecase.reports.limitations import limitations
from suitecase.reports.methods import methods, references
from suitecase.reports.outcomes import results
from suitecase.reports.words import counted, duration_text, listed
from suitecase.rundir import Run
from suitecase.stats.wording import number_text

__all__ = ["make_document"]


def make_document(study: Study, runs: Sequence[Run] = ()) -> Document:
    """A report on what was found.

    Args:
        runs: The runs that the study was read from, for what it doesn't hold: environment, failures, curves.
    """
    sections: list[Section] = [
        summary(study),
        provenance.conditions(study),
        provenance.design(study, runs),
        *results(study),
        *evaluations(study, runs),
        *learning(study, runs),
        costs(study),
        limitations(study, runs),
        methods(study),
        provenance.code_and_environment(study, runs),
        provenance.reproduction(study),
        provenance.checklist(study, runs),
        references(study),
    ]
    experiments = list(dict.fromkeys(each.experiment for each in study.runs))
    made = Document(listed(experiments) or "Experiment", described(runs), head(study), tuple(sections))
    return cast(Document, cleaned(made))


def described(runs: Sequence[Run]) -> str:
    """What the suites say of themselves."""
    texts = dict.fromkeys(" ".join(str(run.asked.get("description") or "").split()) for run in runs)
    return " ".join(text for text in texts if text)


def head(study: Study) -> tuple[tuple[str, str], ...]:
    """What stands at the top: who, when, how much."""
    cases = sum(sum(each.counts.values()) for each in study.runs)
    succeeded = sum(each.counts.get("succeeded", 0) for each in study.runs)
    starts = sorted(each.started_at for each in study.runs if each.started_at)
    times = [each.duration_s for each in study.runs if each.duration_s is not None]
    money = [each.cost_usd for each in study.runs if each.cost_usd is not None]
    facts = [
        ("runs", ", ".join(each.name for each in study.runs[:3]) + ", …" * (len(study.runs) > 3)),
        ("started", starts[0][:10] if starts else ""),
        ("code", listed(list(dict.fromkeys(each.code for each in study.runs))[:4])),
        ("cases", f"{number_text(succeeded)} of {number_text(cases)} succeeded"),
        (
            "conditions",
            counted(len(study.conditions), "condition") + f", baseline {study.baseline}" * bool(study.baseline),
        ),
        ("wall time", duration_text(sum(times)) if times else ""),
        ("cost", f"{number_text(sum(money))} USD" if money else ""),
    ]
    return tuple((name, value) for name, value in facts if value)
