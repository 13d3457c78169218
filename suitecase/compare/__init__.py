"""Runs held against each other: which cases are repeats of one condition, what the unit is, which values are pairs."""

from __future__ import annotations

from suitecase.compare.model import ConditionFacts, Description, MetricFacts, RunFacts, Study

__all__ = ["ConditionFacts", "Description", "MetricFacts", "RunFacts", "Study"]
