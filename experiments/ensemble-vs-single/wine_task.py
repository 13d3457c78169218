"""The Inspect task: from which of three cultivars is a wine? scikit-learn's measurements, in words."""

from __future__ import annotations

from typing import Any, Literal, cast

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import answer
from inspect_ai.solver import generate
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

CULTIVARS = "ABC"
EXAMPLES = 9
VALIDATION_FRACTION = 1 / 3
PROMPT = """\
Wines of three cultivars, A, B and C, were measured. Examples:

{examples}

From which cultivar is this wine?

{wine}

End with a line of the form "ANSWER: X", where X is A, B or C."""


@task
def wines(split: Literal["validation", "test"], n_items: int, seed: int) -> Task:
    """Wines of one split; the same arguments give the same wines, and no wine is in both splits or an example."""
    data: Any = load_wine()
    truth = [CULTIVARS[label] for label in data.target]

    def described(number: int) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in zip(data.feature_names, data.data[number], strict=True))

    def divide(numbers: list[int], size: float) -> list[list[int]]:
        labels = [truth[number] for number in numbers]
        return cast("list[list[int]]", train_test_split(numbers, train_size=size, stratify=labels, random_state=seed))

    examples, asked = divide(list(range(len(truth))), EXAMPLES)
    validation, test = divide(asked, VALIDATION_FRACTION)
    shown = "\n".join(f"{described(number)}: {truth[number]}" for number in examples)
    samples = [
        Sample(
            id=f"wine-{number:04d}",
            input=PROMPT.format(examples=shown, wine=described(number)),
            target=truth[number],
        )
        for number in sorted((validation if split == "validation" else test)[:n_items])
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=answer("letter"))
