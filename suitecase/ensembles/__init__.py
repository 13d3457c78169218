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

__all__ = [
    "Alike",
    "BestConfidence",
    "Cascade",
    "Custom",
    "Decision",
    "Ensemble",
    "EnsembleError",
    "EnsembleResult",
    "Execution",
    "Hedged",
    "Majority",
    "Mean",
    "Median",
    "Member",
    "NoConsensusError",
    "Parallel",
    "Plurality",
    "QuorumError",
    "Ranked",
    "Reply",
    "Sequential",
    "Status",
    "Strategy",
    "Ties",
    "Unanimous",
    "UnansweredError",
    "Vote",
    "Weighted",
    "choice",
    "code",
    "edit_similarity",
    "number",
    "predict",
]
