"""What all policies need: answers in the runner's own terms, records as JSON, arguments checked all at once."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeGuard, cast

if TYPE_CHECKING:
    from experiment_runner import HookRecord

__all__ = ["as_json", "check", "event_problems", "is_number", "log", "number_problems", "runner_of", "told"]

log = logging.getLogger("suitecase.policies")


def runner_of(record: HookRecord) -> Any:
    """The runner's module, for `ABORT`, `SKIP` and `Refuse`.

    Never imported by name: the one that calls may be a copy in the user's own package.
    """
    return sys.modules[type(record).__module__]


def told(event: str, record: HookRecord) -> dict[str, Any]:
    """A record with the event that it is about, where and when."""
    return {
        "event": event,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "host": os.uname().nodename,
        **{each.name: getattr(record, each.name) for each in fields(record)},
    }


def as_json(values: Mapping[str, Any]) -> bytes:
    """One line of JSON; what JSON doesn't know becomes text."""
    return json.dumps(values, default=plain).encode() + b"\n"


def plain(value: object) -> object:
    return dict(cast(Mapping[Any, Any], value)) if isinstance(value, Mapping) else str(value)


def check(problems: Collection[str]) -> None:
    """Refuse wrong arguments, all of them at once.

    Raises:
        ValueError: If there is a problem.
    """
    if problems:
        raise ValueError("\n".join(problems))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number; True and False are not meant as one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_problems(name: str, value: object, *, at_most: float = math.inf) -> list[str]:
    """Why a value is no finite number above 0."""
    if is_number(value) and 0 < value <= at_most and value < math.inf:
        return []
    upper = "" if at_most == math.inf else f" and at most {at_most:g}"
    return [f"{name} is {value!r}: give a number above 0{upper}."]


def event_problems(on: object, known: Collection[str]) -> list[str]:
    """Why these are no events."""
    if isinstance(on, str) or not isinstance(on, Collection) or not on:
        return [f"on is {on!r}: give a list of events, of {', '.join(known)}."]
    problems: list[str] = []
    for event in cast(Collection[object], on):
        if event not in known:
            near = get_close_matches(str(event), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            problems.append(f"on has {event!r}: {hint}")
    return problems
