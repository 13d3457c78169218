"""The Inspect task: sums of two numbers."""

from __future__ import annotations

import random

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate


@task
def sums(n_digits: int, n_questions: int, seed: int) -> Task:
    """Sums of two numbers with `n_digits` digits each; the same arguments give the same questions."""
    return Task(dataset=MemoryDataset(draw_sums(n_digits, n_questions, seed)), solver=generate(), scorer=match("exact"))


def draw_sums(n_digits: int, n_questions: int, seed: int) -> list[Sample]:
    """Different questions, each with an id of its own, so that the answers of two models can be paired."""
    numbers = range(10 ** (n_digits - 1), 10**n_digits)
    pairs = random.Random(seed).sample(range(len(numbers) ** 2), n_questions)
    samples: list[Sample] = []
    for pair in pairs:
        left, right = numbers[pair // len(numbers)], numbers[pair % len(numbers)]
        samples.append(Sample(id=f"{left}+{right}", input=f"What is {left} + {right} ?", target=str(left + right)))
    return samples
