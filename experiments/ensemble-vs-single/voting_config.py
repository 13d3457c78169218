"""What a case about votes asks: whom, how many of them, and how their answers are counted."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from experiment_config import BaseExperimentConfig

MemberName: TypeAlias = Literal["logistic", "neighbours", "svm", "forest", "network", "bayes", "discriminant"]
Task: TypeAlias = Literal["digits", "breast_cancer", "wine"]

FIVE: list[MemberName] = ["logistic", "neighbours", "svm", "forest", "network"]
"""One of each family that textbooks treat: linear, by neighbours, by kernel, of trees, of neurons."""

SEVEN: list[MemberName] = [*FIVE, "bayes", "discriminant"]


class VotingConfig(BaseExperimentConfig):
    """An ensemble of the best members of a pool; the seed splits the data anew and fits the members anew."""

    tasks: list[Task] = Field(default=["digits"], min_length=1, description="Data sets of scikit-learn.")
    pool: list[MemberName] = Field(default=FIVE, min_length=1, description="Who could be asked.")
    size: int = Field(default=5, ge=1, description="How many are: the best of the pool on validation items.")
    voting: Literal["majority", "weighted"] = Field(
        default="majority", description="One vote each, or each with the confidence that it has."
    )
    calibrated: bool = Field(default=False, description="Confidences are calibrated on validation items first.")
    n_folds: int = Field(default=5, ge=2, description="Each item is held out once; this many times members are fitted.")
