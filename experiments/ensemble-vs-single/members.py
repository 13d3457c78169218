"""Five to seven classifiers of scikit-learn, and what they say of items that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from voting_config import MemberName, Task

__all__ = ["Answer", "HeldOut", "Item", "held_out_answers", "make_member"]

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

DATA: Mapping[Task, Any] = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}

VALIDATION_FRACTION = 0.25
"""Of the items that are not held out: to choose the best members, and to calibrate them."""


@dataclass(frozen=True)
class Item:
    """An item and its class; the same id is the same item whatever the split."""

    id: str
    task: Task
    truth: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A class, and the probability that the member gives it."""

    label: int
    confidence: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the members of a fold say of an item of this fold.

    Attributes:
        ranking: The members, the most accurate on the fold's validation items first; of equals, as in the pool.
    """

    fold: int
    ranking: tuple[MemberName, ...]
    answers: Mapping[MemberName, Answer]


def make_member(name: MemberName, seed: int) -> Any:
    """A classifier with scikit-learn's defaults, on standardised features."""
    classifiers: Mapping[MemberName, Any] = {
        "logistic": LogisticRegression(max_iter=1000),
        "neighbours": KNeighborsClassifier(),
        "svm": SVC(),
        "forest": RandomForestClassifier(random_state=seed),
        # With lbfgs, the solver that scikit-learn advises for small data, it is fitted in a tenth of the time.
        "network": MLPClassifier((32,), solver="lbfgs", max_iter=2000, random_state=seed),
        "bayes": GaussianNB(),
        "discriminant": LinearDiscriminantAnalysis(),
    }
    return make_pipeline(StandardScaler(), classifiers[name])


def held_out_answers(
    task: Task, pool: Sequence[MemberName], *, seed: int, n_folds: int, calibrated: bool
) -> tuple[list[Item], dict[str, HeldOut]]:
    """All items of a data set, and what members that were fitted without them say of each.

    In each fold, three quarters of the items that are not held out fit the members; the last quarter ranks them and
    calibrates them. Nothing is chosen by an item that is asked afterwards.

    Args:
        seed: Of the folds, of the validation items, and of members that draw at random.
    """
    features, truth = cast("tuple[Floats, Integers]", DATA[task](return_X_y=True))
    items = [Item(f"{task}-{number:04d}", task, int(label)) for number, label in enumerate(truth)]
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    found: dict[str, HeldOut] = {}
    for fold, (inside, asked) in enumerate(folds.split(features, truth)):
        fitting, validating = cast(
            "list[Integers]",
            train_test_split(inside, test_size=VALIDATION_FRACTION, stratify=truth[inside], random_state=seed),
        )
        scores: dict[MemberName, float] = {}
        answers: dict[MemberName, list[Answer]] = {}
        for name in pool:
            member = make_member(name, seed).fit(features[fitting], truth[fitting])
            scores[name] = member.score(features[validating], truth[validating])
            if calibrated:
                frozen: Any = FrozenEstimator(member)
                member = CalibratedClassifierCV(frozen, method="sigmoid")
                member.fit(features[validating], truth[validating])
            answers[name] = answers_of(member, features[asked])
        ranking = tuple(sorted(pool, key=lambda name: -scores[name]))
        for place, number in enumerate(asked):
            found[items[number].id] = HeldOut(fold, ranking, {name: answers[name][place] for name in pool})
    return items, found


def answers_of(member: Any, features: Floats) -> list[Answer]:
    """The likeliest class of each item, with its probability.

    A support vector machine has none before it is calibrated: then it is the softmax of its decisions, which is what an
    uncalibrated confidence often is.
    """
    if hasattr(member, "predict_proba"):
        chances = cast(Floats, member.predict_proba(features))
    else:
        decisions = cast(Floats, member.decision_function(features))
        if decisions.ndim == 1:  # of two classes, scikit-learn gives the second one's
            decisions = np.column_stack([-decisions / 2, decisions / 2])
        powers = np.exp(decisions - decisions.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
    labels = cast(Integers, member.classes_)[chances.argmax(axis=1)]
    return [Answer(int(label), float(chance)) for label, chance in zip(labels, chances.max(axis=1), strict=True)]
