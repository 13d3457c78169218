"""What a request is: its form, its hash, what of it is secret, and how two of them differ."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import takewhile
from typing import cast

from suitecase.errors import SuitecaseError

__all__ = ["CassetteError", "differences", "hash_of", "plain", "redacted", "secrets", "text_of"]

REDACTED = "[redacted]"
SECRET_FIELD = re.compile(
    r"api[-_ ]?key|authorization|password|secret|credential|cookie|(access|auth|bearer|refresh|session)[-_ ]?token"
    r"|^token$|^x-.*-(key|token)$",
    re.IGNORECASE,
)
SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST_SECRET = 8
MOST_DIFFERENCES = 5


class CassetteError(SuitecaseError):
    """A cassette that can't be used, or what can't be recorded."""


def plain(value: object, what: str = "an argument") -> object:
    """A value as JSON has it.

    Raises:
        CassetteError: JSON doesn't know it.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name), what) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each, what) for name, each in cast("Mapping[object, object]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(each, what) for each in cast("Sequence[object]", value)]
    raise CassetteError(f"{what} is {value!r:.80}, a {type(value).__name__}, and a cassette keeps JSON values.")


def hash_of(request: object) -> str:
    text = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def secrets() -> tuple[str, ...]:
    """The keys in the environment, longest first: one may be a part of another."""
    found = {
        value for name, value in os.environ.items() if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET
    }
    return tuple(sorted(found, key=len, reverse=True))


def redacted(value: object, keys: Sequence[str]) -> object:
    """A JSON value without its secrets."""
    if isinstance(value, str):
        for key in keys:
            value = value.replace(key, REDACTED)
        return value
    if isinstance(value, dict):
        return {
            name: REDACTED if SECRET_FIELD.search(name) and isinstance(each, str) else redacted(each, keys)
            for name, each in cast("dict[str, object]", value).items()
        }
    if isinstance(value, list):
        return [redacted(each, keys) for each in cast("list[object]", value)]
    return value


def differences(request: object, recorded: Iterable[object]) -> str:
    """What differs between a request and the nearest one of those recorded."""
    wanted = dict(leaves(request))
    nearest: dict[str, object] = {}
    best: int | None = None
    for other in recorded:
        there = dict(leaves(other))
        alike = sum(wanted.get(name, ...) == value for name, value in there.items()) - abs(len(there) - len(wanted))
        if best is None or alike > best:
            nearest, best = there, alike
    names = [name for name in {**wanted, **nearest} if wanted.get(name, ...) != nearest.get(name, ...)]
    told = [f"{name}: {against(wanted.get(name, ...), nearest.get(name, ...))}" for name in names[:MOST_DIFFERENCES]]
    more = f"; and {len(names) - MOST_DIFFERENCES} more" if len(names) > MOST_DIFFERENCES else ""
    return "; ".join(told) + more


def leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """The plain values in a JSON value, with where they stand: `input.0.content`."""
    if isinstance(value, dict):
        for key, each in cast("dict[str, object]", value).items():
            yield from leaves(each, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for place, each in enumerate(cast("list[object]", value)):
            yield from leaves(each, f"{name}.{place}" if name else str(place))
    else:
        yield name, value


def against(wanted: object, there: object) -> str:
    """Two values that differ, at the place where they begin to."""
    if isinstance(wanted, str) and isinstance(there, str):
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, there, strict=False)))
        begin = max(0, same - 20)
        mark = "…" if begin else ""
        return f"{mark}{wanted[begin : same + 40]!r}, recorded {mark}{there[begin : same + 40]!r}"
    return f"{text_of(wanted)}, recorded {text_of(there)}"


def text_of(value: object) -> str:
    return "nothing" if value is ... else json.dumps(value, ensure_ascii=False)[:200]
