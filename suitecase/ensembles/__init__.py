"""Several members asked the same question, and their answers counted.

    from suitecase.ensembles import predict

    result = await predict("What is 6 × 7?", [ask_small, ask_other, ask_large], normaliser="number")
    result.answer, result.agreement, result.cost_usd

    predict, Ensemble             ask; check everything beforehand, then ask often
    Member, Reply                 who is asked, and what may be said
    Majority, Plurality, Unanimous, Weighted, BestConfidence, Ranked, Median, Mean, Custom      how votes are counted
    Parallel, Sequential, Cascade, Hedged                                                      whom to ask when
    number, choice, code          from a reply to what is voted on; other normalisers go by name
    Alike                         different answers that mean the same
    EnsembleResult, Vote, Status  what came of it
    Recorded                      answers of the past, for what follows
    disagreement, error_correlation, effective_members, ablation, expected_accuracy, calibration_of_agreement,
    front, search                 what they say about members, and which of them to ask

It knows no model: members are functions. What analyses recorded answers needs the extra `analysis`, and is imported
when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from suitecase.ensembles.counting import Majority, Plurality, Unanimous, Weighted
from suitecase.ensembles.ensemble import Ensemble, predict
from suitecase.ensembles.executions import Cascade, Execution, Hedged, Parallel, Sequential
from suitecase.ensembles.grouping import Alike, edit_similarity
from suitecase.ensembles.normalisers import choice, code
from suitecase.ensembles.numbers import number
from suitecase.ensembles.records import (
    EnsembleError,
    EnsembleResult,
    Member,
    NoConsensusError,
    QuorumError,
    Reply,
    Status,
    UnansweredError,
    Vote,
)
from suitecase.ensembles.strategies import BestConfidence, Custom, Mean, Median, Ranked
from suitecase.ensembles.strategy import Decision, Strategy, Ties
from suitecase.errors import missing_extra

if TYPE_CHECKING:
    from suitecase.ensembles.analysis import (
        Ablation,
        Condorcet,
        Pairs,
        Scored,
        ablation,
        calibration_of_agreement,
        condorcet,
        disagreement,
        effective_members,
        error_correlation,
        expected_accuracy,
        front,
    )
    from suitecase.ensembles.recorded import Recorded, Replayed, Rule, replay
    from suitecase.ensembles.searching import Found, build, search

__all__ = [
    "Ablation",
    "Alike",
    "BestConfidence",
    "Cascade",
    "Condorcet",
    "Custom",
    "Decision",
    "Ensemble",
    "EnsembleError",
    "EnsembleResult",
    "Execution",
    "Found",
    "Hedged",
    "Majority",
    "Mean",
    "Median",
    "Member",
    "NoConsensusError",
    "Pairs",
    "Parallel",
    "Plurality",
    "QuorumError",
    "Ranked",
    "Recorded",
    "Replayed",
    "Reply",
    "Rule",
    "Scored",
    "Sequential",
    "Status",
    "Strategy",
    "Ties",
    "Unanimous",
    "UnansweredError",
    "Vote",
    "Weighted",
    "ablation",
    "build",
    "calibration_of_agreement",
    "choice",
    "code",
    "condorcet",
    "disagreement",
    "edit_similarity",
    "effective_members",
    "error_correlation",
    "expected_accuracy",
    "front",
    "number",
    "predict",
    "replay",
    "search",
]

MODULES = {
    "analysis": [
        "Ablation",
        "Condorcet",
        "Pairs",
        "Scored",
        "ablation",
        "calibration_of_agreement",
        "condorcet",
        "disagreement",
        "effective_members",
        "error_correlation",
        "expected_accuracy",
        "front",
    ],
    "recorded": ["Recorded", "Replayed", "Rule", "replay"],
    "searching": ["Found", "build", "search"],
}
"""Where the names live that need the extra `analysis`."""

HOME = {name: module for module, names in MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("numpy", "scipy", "statsmodels", "pandas"):
            raise missing_extra(f"suitecase.ensembles.{name}", "analysis") from error
        raise
    return getattr(module, name)
