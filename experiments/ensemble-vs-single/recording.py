"""Latencies that `record_latencies.py` recorded, as the experiments use them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["PATH", "PILOT", "Service", "latency_of", "read_session"]

PATH = Path(__file__).with_name("latencies.json")
PILOT = 0
"""The session that nothing is tested on: delays are chosen by it."""

Service: TypeAlias = Literal["steady", "refitting"]


@cache
def recorded() -> tuple[float, dict[str, list[list[list[int]]]]]:
    told = json.loads(PATH.read_text(encoding="utf-8"))
    return told["unit_s"], told["sessions"]


def read_session(service: Service, number: int) -> list[tuple[float, float]]:
    """The requests of a session in order: seconds until the primary, and a copy sent beside it, had an answer.

    Raises:
        ValueError: There is no such session.
    """
    unit_s, sessions = recorded()
    if not 0 <= number < len(sessions[service]):
        raise ValueError(
            f"there is no session {number} of {service}: give 0 (the pilot) to {len(sessions[service]) - 1}."
        )
    return [
        (round(first * unit_s, 9), round(copy * unit_s, 9))
        for first, copy in zip(*sessions[service][number], strict=True)
    ]


@cache
def primaries(service: Service) -> Sequence[float]:
    """Of all sessions but the pilot."""
    unit_s, sessions = recorded()
    return [each * unit_s for each in chain.from_iterable(session[0] for session in sessions[service][PILOT + 1 :])]


def latency_of(seed: int, item: str, member: str) -> float:
    """How long a member of a steady service takes for an item, in seconds: a recorded latency, drawn by its names.

    Draws are independent, also between the members that are asked the same.
    """
    return random.Random(f"{seed} {item} {member}").choice(primaries("steady"))
