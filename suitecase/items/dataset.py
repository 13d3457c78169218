"""Items with names: keys, contents, seeds, and the order in which they are taken.

A slot is a whole number that names an item and a repeat: index × repeats + repeat.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from suitecase.items.records import ItemsError

__all__ = ["Dataset", "Key", "content_of", "seed_of"]

Key = str | Callable[[Any], object]
"""A field's name, or what gives an item's key."""

SHOWN = 5


@dataclass(frozen=True)
class Dataset:
    """The items and what identifies them.

    Attributes:
        keys: One a item, all different.
        digest: Of all keys and contents, whatever their order; 32 hexadecimal digits.
    """

    items: Sequence[Any]
    keys: Sequence[str]
    digest: str
    repeats: int
    seed: int

    @classmethod
    def of(cls, items: Iterable[Any], key: Key | None, repeats: int, seed: int) -> Dataset:
        """Name the items.

        Raises:
            ItemsError: With every item that has no key, and every key that several items have.
        """
        listed: Sequence[Any] = cast("Sequence[Any]", items) if isinstance(items, list | tuple) else list(items)
        problems: list[str] = []
        keys: list[str] = []
        total = 0
        for index, item in enumerate(listed):
            content = content_of(item)
            try:
                name = key_of(item, content, key)
            except (LookupError, AttributeError, ItemsError) as error:
                problems.append(f"item {index} has no key: {error!r}")
                name = ""
            keys.append(name)
            total += int.from_bytes(
                blake2b(name.encode(errors="surrogatepass") + b"\0" + content, digest_size=16).digest()
            )
        problems += duplicates(keys)
        if problems:
            more = f"\n… and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise ItemsError("\n".join(problems[:SHOWN]) + more)
        return cls(listed, keys, f"{total % 2**128:032x}", repeats, seed)

    @property
    def slots(self) -> int:
        """How many rows a complete items.jsonl has."""
        return len(self.keys) * self.repeats

    def order(self, shuffle: bool) -> Sequence[int]:
        """Slots in the order in which they are taken: the whole dataset once, then again for the next repeat."""
        order = array("l", (i * self.repeats + r for r in range(self.repeats) for i in range(len(self.keys))))
        if shuffle:
            random.Random(seed_of(self.seed, "order", 0)).shuffle(order)
        return order


def content_of(item: object) -> bytes:
    """What an item says, the same for equal items: JSON with sorted names.

    Empty for an object that has no form in JSON (it is none of dataclass, pydantic model, date, path, set, …): it is
    known by its key alone.
    """
    try:
        return json.dumps(item, sort_keys=True, separators=(",", ":"), default=plain).encode(errors="surrogatepass")
    except (TypeError, ValueError, RecursionError, PydanticSerializationError):
        return b""


def plain(value: object) -> object:
    if isinstance(value, set | frozenset):
        return sorted(map(repr, cast("set[object]", value)))
    if isinstance(value, bytes):
        return value.hex()
    if callable(lists := getattr(value, "tolist", None)):  # arrays and scalars of numpy and torch
        return lists()
    return to_jsonable_python(value)


def key_of(item: object, content: bytes, key: Key | None) -> str:
    if key is None:
        if not content:
            raise ItemsError(f"its {type(item).__name__} has no form in JSON: give key=")
        return blake2b(content, digest_size=8).hexdigest()
    if callable(key):
        value = key(item)
    elif isinstance(item, Mapping):
        value = cast("Mapping[str, object]", item)[key]
    else:
        value = getattr(item, key)
    if value is None or value == "":
        raise ItemsError(f"it is {value!r}")
    return str(value)


def duplicates(keys: Sequence[str]) -> list[str]:
    first: dict[str, int] = {}
    found: list[str] = []
    for index, key in enumerate(keys):
        if key and first.setdefault(key, index) != index:
            found.append(
                f"items {first[key]} and {index} have the same key {key!r}: keys must differ, give another key="
            )
    return found


def seed_of(seed: int, key: str, repeat: int) -> int:
    """A seed of 32 bits, as many as every random number generator takes; from its arguments and nothing else."""
    text = f"{seed}\0{repeat}\0{key}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=4).digest())
