"""Entry point: train one classifier on scikit-learn's handwritten digits and measure it on the rest of them.

Writes into the output folder `predictions.csv` (one row per item), `confusion_matrix.png`, and, last,
`results.json`. Everything but the time is the same whenever the same config runs.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from pydantic import Field

from experiment_config import BaseExperimentConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]

LARGEST_PIXEL = 16.0
"""The images have 17 grey levels, 0 to 16."""


class DigitsConfig(BaseExperimentConfig):
    """What to train, and on how much."""

    family: Literal["logistic", "svm", "mlp"] = Field(default="logistic", description="Kind of classifier.")
    l2_penalty: float = Field(default=1.0, gt=0, description="Strength of the L2 penalty, the same scale for all.")
    train_fraction: float = Field(default=0.5, gt=0, lt=1, description="Share of the items to train on.")


class Classifier(Protocol):
    """What is used of a scikit-learn classifier."""

    def fit(self, X: Floats, y: Integers) -> object: ...  # noqa: N803 - scikit-learn's name

    def predict(self, X: Floats) -> Integers: ...  # noqa: N803


@dataclass(frozen=True)
class Items:
    """Items of the dataset; an id names the same image whatever the split."""

    ids: Integers
    images: Floats
    targets: Integers


# scikit-learn is imported where it is used: a suite imports this file for its config alone.


def main(config: DigitsConfig) -> None:
    if not config.output_dir:
        sys.exit("run_digits.py: say where the results go: --output_dir DIR")
    output_dir = Path(config.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    train, test = split_digits(config)
    classifier = make_classifier(config)
    start_s = time.perf_counter()
    classifier.fit(train.images, train.targets)
    fit_duration_s = time.perf_counter() - start_s
    predictions = classifier.predict(test.images)

    write_predictions(output_dir / "predictions.csv", test, predictions)
    draw_confusion_matrix(output_dir / "confusion_matrix.png", test.targets, predictions, title=config.family)
    results = {
        **measure(test.targets, predictions),
        "n_train": len(train.ids),
        "n_test": len(test.ids),
        "fit_duration_s": fit_duration_s,
    }
    (output_dir / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {results['accuracy']:.4f} on {len(test.ids)} items, fitted in {fit_duration_s:.2f} s")


def split_digits(config: DigitsConfig) -> tuple[Items, Items]:
    """Items to train and to test on. Configs with the same seed and fraction get the same ones and can be paired."""
    import numpy as np
    from sklearn.datasets import load_digits

    images, targets = cast("tuple[Floats, Integers]", load_digits(return_X_y=True))
    order = np.random.default_rng(config.seed).permutation(len(targets))
    n_train = round(config.train_fraction * len(targets))

    def select(ids: Integers) -> Items:
        return Items(ids, images[ids] / LARGEST_PIXEL, targets[ids])

    return select(order[:n_train]), select(np.sort(order[n_train:]))


def make_classifier(config: DigitsConfig) -> Classifier:
    """A classifier whose loss is the sum over the items plus `l2_penalty` times half the squared weights."""
    classifier: Any
    if config.family == "logistic":
        from sklearn.linear_model import LogisticRegression

        classifier = LogisticRegression(C=1 / config.l2_penalty, max_iter=1000)
    elif config.family == "svm":
        from sklearn.svm import SVC

        classifier = SVC(C=1 / config.l2_penalty)
    else:
        from sklearn.neural_network import MLPClassifier

        classifier = MLPClassifier(
            hidden_layer_sizes=(32,),
            solver="lbfgs",
            alpha=config.l2_penalty,
            tol=1e-3,
            max_iter=1000,
            random_state=config.seed,
        )
    return classifier


def measure(targets: Integers, predictions: Integers) -> dict[str, float]:
    """Accuracy, and the mean over the ten digits of F1."""
    f1_of_digits: list[float] = []
    for digit in range(10):
        hits = int(((targets == digit) & (predictions == digit)).sum())
        occurrences = int((targets == digit).sum()) + int((predictions == digit).sum())
        f1_of_digits.append(2 * hits / occurrences if occurrences else 0.0)
    return {"accuracy": float((targets == predictions).mean()), "macro_f1": sum(f1_of_digits) / len(f1_of_digits)}


def write_predictions(path: Path, test: Items, predictions: Integers) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item_id", "target", "prediction", "correct"])
        for item_id, target, prediction in zip(test.ids, test.targets, predictions, strict=True):
            writer.writerow([f"digit-{item_id:04d}", target, prediction, int(target == prediction)])


def draw_confusion_matrix(path: Path, targets: Integers, predictions: Integers, title: str) -> None:
    import numpy as np
    from matplotlib.figure import Figure  # not pyplot, which asks for a display's backend

    counts = np.zeros((10, 10), dtype=np.int64)
    np.add.at(counts, (targets, predictions), 1)
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.log1p(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", color="white" if row == column else "black")
    axes.set(title=title, xlabel="prediction", ylabel="target", xticks=range(10), yticks=range(10))
    figure.savefig(path)


if __name__ == "__main__":
    main(DigitsConfig())
