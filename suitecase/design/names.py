"""Names of variants that the runner accepts: readable, unique, and the same in every process.

A name is made of parts `field-value`, joined by `_`: `model-gpt-4_lr-0.001`. Values that look alike as text, or are
too long to show, get the first digits of their SHA-256 as a suffix. Which value gets which name depends on the values
alone, never on the clock, on memory addresses or on the order in which a set was filled.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import cast

__all__ = ["canonical", "cleaned", "distinct", "folded", "joined", "level_texts", "value_text"]

MOST_BYTES = 200
"""The runner's limit for a name."""

MOST_OF_A_VALUE = 40
"""Characters of a value that a name shows whole; longer ones are cut."""

OUR_FILES = re.compile(r"attempt-\d+\..*|uncommitted.*\.patch|.*\.eval")
"""Names of the runner's own files that a field and a value could make together; without the dots they are none."""

ADDRESS = re.compile(r" at 0x[0-9a-f]+", re.IGNORECASE)


def value_text(value: object) -> str:
    """A value as a part of a name: numbers in their shortest form, anything else without what a folder can't have."""
    if isinstance(value, Enum):
        return value_text(value.value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, int):
        return int.__repr__(value)
    return cleaned("-".join(leaves(value)), canonical(value))


def leaves(value: object) -> Iterable[str]:
    """The texts of what a value holds, in an order that doesn't change."""
    if isinstance(value, set | frozenset):
        return sorted(map(value_text, cast(Iterable[object], value)))
    if isinstance(value, list | tuple):
        return map(value_text, cast(Iterable[object], value))
    if isinstance(value, Mapping):
        pairs = cast(Mapping[object, object], value).items()
        return (value_text(part) for pair in pairs for part in pair)
    if name := getattr(value, "__qualname__", ""):  # classes and functions
        return [str(name)]
    if attributes := getattr(value, "__dict__", None):  # models and dataclasses
        return leaves(attributes)
    return [ADDRESS.sub("", str(value))]


def cleaned(text: str, identity: str = "") -> str:
    """A text without what a folder's name can't have, cut where it is long.

    Args:
        text: What a person would like to read.
        identity: What the suffix of a text that was cut is made of; by default the text.
    """
    text = unicodedata.normalize("NFC", text)
    kept = "".join(character if shows(character) else "-" for character in text)
    kept = re.sub(r"--+", "-", kept) if kept != text else kept
    kept = kept.strip("-. ")
    if not text:
        return "empty"
    return kept if kept and len(kept) <= MOST_OF_A_VALUE else with_digest(kept[: MOST_OF_A_VALUE - 8], identity or text)


def shows(character: str) -> bool:
    """Letters, digits, marks and harmless punctuation. Hangul fillers are letters that nobody sees."""
    return character in "._-+=,@~" or (unicodedata.category(character)[0] in "LNM" and character not in "\u3164\u115f")


def with_digest(text: str, identity: str) -> str:
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{text.rstrip('-. ')}-{digest}".lstrip("-")


def level_texts(values: Sequence[object]) -> list[str]:
    """The texts of a factor's levels; those that one folder could not tell apart get a suffix, all of them."""
    texts = [value_text(value) for value in values]
    counts = Counter(map(folded, texts))
    return [
        with_digest(text, canonical(value)) if counts[folded(text)] > 1 else text
        for text, value in zip(texts, values, strict=True)
    ]


def joined(parts: Mapping[str, str]) -> str:
    """The label of a case: `field-text`, joined by `_`."""
    return "_".join(f"{cleaned(field)}-{text}" for field, text in parts.items())


def distinct(names: Sequence[tuple[str, str]], identities: Sequence[str]) -> list[str]:
    """Whole names that the runner accepts and that no file system takes for one another.

    Args:
        names: Per case the name that it starts from, which is kept as it is unless too long, and its label.
        identities: What tells the cases apart, one text each.
    """
    whole = [within_limit(prefix, label) for prefix, label in names]
    counts = Counter(map(folded, whole))
    taken = {name for name, count in counts.items() if count == 1}
    for index, identity in enumerate(identities):
        name, turn = whole[index], 0
        if counts[folded(name)] == 1:
            continue
        while folded(name) in taken or not turn:
            turn += 1
            prefix, label = names[index]
            name = within_limit(prefix, with_digest(label, f"{identity}{turn if turn > 1 else ''}"))
        whole[index] = name
        taken.add(folded(name))
    return whole


def within_limit(prefix: str, label: str) -> str:
    name = f"{prefix}_{label}" if prefix and label else prefix or label
    if OUR_FILES.fullmatch(folded(name)):
        name = f"{prefix}_{label.replace('.', '-')}" if prefix else label.replace(".", "-")
    if len(name.encode("utf-8", "surrogatepass")) <= MOST_BYTES:
        return name
    kept = name.encode("utf-8", "surrogatepass")[: MOST_BYTES - 20].decode("utf-8", "ignore")
    return with_digest(kept, name)


def folded(name: str) -> str:
    """What case-insensitive and normalising file systems make of a name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace("\u200d", "")


def canonical(value: object) -> str:
    """Text that is equal for equal values of one type, in every process, whatever order a set was filled in."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if value is None or isinstance(value, str | bytes | int | float):
        return repr(value)
    kind = type(value).__qualname__
    if isinstance(value, set | frozenset):
        return f"{kind}{sorted(map(canonical, cast(Iterable[object], value)))}"
    if isinstance(value, list | tuple):
        return f"{kind}{list(map(canonical, cast(Iterable[object], value)))}"
    if isinstance(value, Mapping):
        pairs = cast(Mapping[object, object], value).items()
        return f"{kind}{[(canonical(key), canonical(item)) for key, item in pairs]}"
    if name := getattr(value, "__qualname__", ""):
        return str(name)
    if attributes := getattr(value, "__dict__", None):
        return f"{kind}{canonical(attributes)}"
    return f"{kind} {ADDRESS.sub('', repr(value))}"
