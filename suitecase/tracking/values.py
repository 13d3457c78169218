"""Any Python value as strict JSON: what JSON can't hold is written as well as it can be, and never raises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import cast
from uuid import UUID

__all__ = ["as_line", "as_number", "as_text"]

# Readers, and `json` itself, give up near 1,000.
MAX_DEPTH = 100
# An array is a value to look at; a larger one is data, and belongs in a file.
MAX_ARRAY = 100_000
MAX_REPR = 500

SHOWN_AS_TEXT = (PurePath, UUID, Decimal, Fraction, complex, date, time, timedelta)
# JSON allows these in a string, and many readers split lines at them.
LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def as_line(record: Mapping[str, object]) -> tuple[bytes, list[str]]:
    """A record as one line of strict JSON in UTF-8, and the names of the types of which only a text could be written.

    A value that JSON holds comes back equal from the line. Of the rest: NaN and infinities become "NaN", "Infinity",
    "-Infinity"; numbers and arrays of numpy, torch and the like become numbers and lists; dataclasses and pydantic
    models objects; sets lists; enums their values; paths, dates and decimals text; undecodable characters of a text
    (lone surrogates) backslash escapes; all else its `repr`, cut.
    """
    odd: list[str] = []
    try:
        return one_line(record), odd
    # Anything may come from the methods of a user's class.
    except Exception:
        return one_line({key: plain(value, odd) for key, value in record.items()}), odd


def one_line(record: Mapping[str, object]) -> bytes:
    text = encode(record)
    return (text if text.isascii() else text.translate(LINE_BREAKS)).encode() + b"\n"


def as_number(value: object) -> int | float | str | None:
    """A number as JSON holds it ("NaN", "Infinity" and "-Infinity" are text there); None for what is no number."""
    if not isinstance(value, int | float):
        if isinstance(value, str | bytes):
            return None
        try:
            value = scalar(value)
            value = value if isinstance(value, int | float) else float(cast(float, value))
        except Exception:
            return None
    if isinstance(value, int):
        return int(value)
    return float(value) if math.isfinite(value) else name_of_float(value)


def as_text(value: object) -> str:
    """A text for what should be one."""
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except Exception:
        return nothing_but_type(value)


def plain(value: object, odd: list[str], above: tuple[int, ...] = ()) -> object:
    """A value in JSON's own types.

    Args:
        odd: Gets the name of the type of each value of which only a text is left.
        above: The identities of the containers around it.
    """
    if value is None or isinstance(value, bool):
        return value
    try:
        if isinstance(value, Enum):
            return plain(value.value, odd, above)
        if isinstance(value, str):
            return readable(value)
        if isinstance(value, int):
            return whole_number(int(value), odd)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else name_of_float(value)
        if isinstance(value, SHOWN_AS_TEXT):
            return readable(str(value))
        if isinstance(value, bytes | bytearray):
            return value.decode("utf-8", "backslashreplace")
        if id(value) not in above and len(above) < MAX_DEPTH:
            return contents(value, odd, (*above, id(value)))
    except Exception:
        odd.append(type(value).__name__)
        return nothing_but_type(value)
    odd.append(f"{type(value).__name__} within itself" if id(value) in above else "value nested too deep")
    return nothing_but_type(value)


def contents(value: object, odd: list[str], above: tuple[int, ...]) -> object:
    """What a container holds, or else the text for an object."""
    if isinstance(value, Mapping):
        return {key_of(key): plain(each, odd, above) for key, each in cast(Mapping[object, object], value).items()}
    if isinstance(value, Sequence | AbstractSet):
        return [plain(each, odd, above) for each in cast(Sequence[object], value)]
    if isinstance(value, type):
        odd.append("type")
        return repr(value)[:MAX_REPR]
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name), odd, above) for each in fields(value)}
    for method in (model_values, scalar, elements):
        made = method(value)
        if made is not value:
            return plain(made, odd, above)
    odd.append(type(value).__name__)
    return readable(repr(value)[:MAX_REPR])


def model_values(value: object) -> object:
    """The fields of a pydantic model; the value itself if it is none."""
    dump = method_of(value, "model_dump")
    return dump() if dump else value


def scalar(value: object) -> object:
    """The one number of a numpy or torch scalar, or of an array of one; the value itself if there isn't one."""
    item = method_of(value, "item")
    try:
        made = item() if item else value
    except Exception:  # numpy's is a ValueError, torch's a RuntimeError
        return value
    return made if isinstance(made, int | float | str | bytes | complex | date | timedelta) else value


def elements(value: object) -> object:
    """The elements of an array that isn't too large, as lists; the value itself if it is none."""
    to_list = method_of(value, "tolist")
    if to_list is None or math.prod(cast(Sequence[int], getattr(value, "shape", ()))) > MAX_ARRAY:
        return value
    return to_list()


def method_of(value: object, name: str) -> Callable[[], object] | None:
    found: object = getattr(value, name, None)
    return cast(Callable[[], object], found) if callable(found) else None


def key_of(key: object) -> str:
    """A key as `json` writes it, and of other types as text."""
    if isinstance(key, str):
        return readable(key)
    return encode(key) if key is None or isinstance(key, bool) else readable(as_text(key))


def readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def whole_number(value: int, odd: list[str]) -> int | str:
    """An integer, or in base 16 one that has too many digits for Python to write in base 10 (`int_max_str_digits`)."""
    try:
        str(value)
    except ValueError:
        odd.append("int of thousands of digits")
        return hex(value)
    return value


def name_of_float(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def nothing_but_type(value: object) -> str:
    return f"<{type(value).__name__}>"
