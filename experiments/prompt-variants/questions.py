"""Questions with known answers: sums, words and dates, made from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

WORDS = ("parrot", "banana", "lantern", "whisper", "granite", "meadow", "compass", "velvet", "thunder", "orchard")
TOPICS = ("arithmetic", "string", "date")


@dataclass(frozen=True)
class Question:
    """A question and its only right answer."""

    id: str
    topic: str
    text: str
    answer: str


def make_questions(count: int, seed: int) -> list[Question]:
    """So many questions, all different in name and a third of each topic."""
    draw = random.Random(seed)
    return [make_question(f"{TOPICS[n % 3]}-{n:04d}", TOPICS[n % 3], draw) for n in range(count)]


def make_question(name: str, topic: str, draw: random.Random) -> Question:
    if topic == "arithmetic":
        a, b, c = draw.randint(11, 99), draw.randint(3, 19), draw.randint(1, 99)
        return Question(name, topic, f"What is {a} * {b} - {c}?", str(a * b - c))
    if topic == "string":
        word = "".join(draw.sample(WORDS, 2))
        return Question(name, topic, f"Spell '{word}' backwards.", word[::-1])
    day, days = date(2026, 1, 1) + timedelta(days=draw.randint(0, 364)), draw.randint(20, 400)
    return Question(name, topic, f"Which date is {days} days after {day}?", str(day + timedelta(days=days)))
