"""The final number of a text.

A model reasons first ("Step 1: 3 boxes of 14 make 42"), so the first number of a reply is seldom its answer. What
counts is, in this order: the last `\\boxed{}`; what follows the last `####` (the form of GSM8K: Cobbe & al. 2021); what
follows the last "answer" or "result" in its line; the last number of all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

__all__ = ["final_segments", "number"]

# "The answer to 3 + 4 is", "Answer:", "answer"
MARKER = re.compile(r"\b(?:answer|result)\b(?:[^\n.]{0,60}?(?:\b(?:is|are|be|equals)\b|[:=]))?", re.IGNORECASE)
BOXED = re.compile(r"\\boxed\s*\{")
LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
BLANK = "[ \u00a0\u2009\u202f]"


def final_segments(text: str) -> Iterator[str]:
    """The places of a text where its final answer would stand, the most telling first."""
    boxes = list(BOXED.finditer(text))
    if boxes:
        yield braced(text, boxes[-1].end())
    _, hashes, after = text.rpartition("####")
    if hashes:
        yield after.strip().split("\n", 1)[0]
    for found in reversed(list(MARKER.finditer(text))):
        yield text[found.end() :].lstrip(" \t:*_=\n").split("\n", 1)[0]


def braced(text: str, start: int) -> str:
    """What stands up to the brace that closes."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


def number(units: Mapping[str, float] | None = None, *, decimal: str = ".") -> Callable[[object], object]:
    """A normaliser that reads the final number of a reply: an int where it is whole, else a float.

    Signs, thousands separators, decimals, powers (1e6, 3 × 10^4, 2^10), fractions (3/4, 1 1/2, ¾, \\frac{3}{4}),
    percent (50 % is 0.5) and "million" and the like are read. In an equation it is the number after the last "=".
    Numbers in words are not read.

    Args:
        units: How much each unit is, such as {"g": 1, "kg": 1000}: "2 kg" is then 2000, "2 lb" no answer, and "2" is 2.
            Without it, units are dropped.
        decimal: "." for 1,234.5, "," for 1.234,5.

    >>> number()("Step 1: 3 boxes of 14. So the answer is 42 apples.")
    42
    """
    if decimal not in (".", ","):
        raise ValueError(f"decimal is {decimal!r}: give '.' or ','.")
    pattern = pattern_of(decimal)

    def normalise(raw: object) -> object:
        if isinstance(raw, bool):
            return None
        if not isinstance(raw, str):
            return raw if isinstance(raw, int | float) or hasattr(raw, "item") else None
        text = plain_text(raw)
        for segment in final_segments(text):
            # "= 3 + 4 = 7 apples": the last equation's right side; else the first number after the marker.
            _, equals, right = segment.rpartition("=")
            if found := pattern.search(right if equals and pattern.search(right) else segment):
                return value_of(found, units, decimal)
        every = list(pattern.finditer(text))
        return value_of(every[-1], units, decimal) if every else None

    return normalise


def plain_text(text: str) -> str:
    """A text in which minus signs are "-", LaTeX's and Unicode's fractions a/b, and powers 10^n."""
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = re.sub(r"10([⁻⁺]?[⁰¹²³⁴-⁹]+)", lambda found: "10^" + unicodedata.normalize("NFKC", found[1]), text)
    text = "".join(
        unicodedata.normalize("NFKC", each) if each in "¼½¾" or "⅐" <= each <= "⅞" else each for each in text
    )
    text = text.translate({0x2212: "-", 0x2013: "-", 0x2044: "/"})
    text = LATEX_FRACTION.sub(r" \1/\2", text).replace("\\%", "%").replace("\\times", "×").replace("\\,", "")
    return re.sub(r"10\^\{(-?\d+)\}", r"10^\1", text)


def pattern_of(decimal: str) -> re.Pattern[str]:
    point, comma = (re.escape(each) for each in ((".", ",") if decimal == "." else (",", ".")))
    whole = rf"(?:\d{{1,3}}(?:{comma}\d{{3}})+(?!\d)|\d{{1,3}}(?:[\u00a0\u2009\u202f]\d{{3}})+(?!\d)|\d+)"
    # "1,5" may be one number or two: it is none.
    plain = rf"(?:{whole}(?:{point}\d+)?|{point}\d+)(?![.,]?\d)"
    return re.compile(
        # A digit that is part of a word (GPT4) or of a date (2024-01) begins no number, and its sign is none.
        rf"(?<![\w.,])(?P<sign>(?<![\w)\]])[-+]{BLANK}?)?(?:[$€£¥]{BLANK}?)?"
        rf"(?:(?P<mixed>\d+){BLANK}(?P<top>\d+)/(?P<under>\d+)(?![\d/])"
        rf"|(?P<over>{plain}){BLANK}?/{BLANK}?(?P<below>{plain})(?![\d/])"
        rf"|(?P<plain>{plain})(?:[eE](?P<power>[-+]?\d+)\b|{BLANK}?[×x*·]{BLANK}?10(?:\^|\*\*)(?P<ten>[-+]?\d+)"
        r"|(?:\^|\*\*)(?P<raised>\d{1,3})\b)?)"
        rf"(?:{BLANK}?(?P<percent>%|percent\b|per\s+cent\b)|{BLANK}?-?(?P<scale>{'|'.join(SCALES)})\b)?"
        rf"(?:{BLANK}?(?P<unit>[^\W\d_][^\W\d_]*(?:/[^\W\d_]+)?[²³]?|°[CF]?))?",
        re.IGNORECASE,
    )


def value_of(found: re.Match[str], units: Mapping[str, float] | None, decimal: str) -> object:
    """The value of a match; None for a unit that isn't known, or a fraction of 0."""

    def read(text: str) -> Fraction:
        text = re.sub(r"[\s\u00a0\u2009\u202f]", "", text)
        return Fraction(text.replace(",", "") if decimal == "." else text.replace(".", "").replace(",", "."))

    if found["mixed"]:
        if not int(found["under"]):
            return None
        value = int(found["mixed"]) + Fraction(int(found["top"]), int(found["under"]))
    elif found["over"]:
        if not (below := read(found["below"])):
            return None
        value = read(found["over"]) / below
    else:
        power = int(found["power"] or found["ten"] or 0)
        if abs(power) > 308:
            return None
        value = read(found["plain"]) ** int(found["raised"] or 1) * Fraction(10) ** power
    value *= SCALES[found["scale"].lower()] if found["scale"] else 1
    value /= 100 if found["percent"] else 1
    value *= -1 if found["sign"] and "-" in found["sign"] else 1
    if units is not None and (unit := found["unit"]):
        if unit not in units:
            return None
        value *= Fraction(units[unit])
    if value.denominator == 1:
        return int(value)
    number = float(value) if abs(value) < 2**1000 else math.inf
    return number if math.isfinite(number) else None
