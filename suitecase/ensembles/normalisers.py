"""From a reply to what is voted on. A normaliser takes the raw answer and gives a JSON value, or None for no answer.

    lower_trim    text without case, outer blanks, quotes and full stop; runs of blanks as one
    number        the final number of a text (`numbers`)
    choice        the letter of the chosen option
    boolean       true or false, by whole words
    json_value    the JSON in a text, canonical
    code          the code in a text, without its layout
    none          what the member gave

They are made for replies of language models: reasoning first, the answer at the end, perhaps after "answer:" or in
`\\boxed{}`. What they can't be sure of is no answer, rather than a wrong one.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from suitecase.ensembles.numbers import final_segments, number

__all__ = ["NORMALISERS", "Normaliser", "boolean", "choice", "code", "json_value", "lower_trim", "none"]

Normaliser: TypeAlias = Callable[[object], object]

FENCE = re.compile(r"```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def none(raw: object) -> object:
    """What the member gave, as it is."""
    return raw


def lower_trim(raw: object) -> object:
    """Text without case, outer blanks, quotes, emphasis and one full stop; other values as they are.

    >>> lower_trim(' **"Paris".**  ')
    'paris'
    """
    if not isinstance(raw, str):
        return raw
    text = " ".join(raw.split()).casefold().strip("\"'`*_“”‘’«» ")
    text = text.removesuffix(".").strip("\"'`*_“”‘’«» ")
    return text or None


def choice(letters: str = "ABCDEFGHIJ") -> Normaliser:
    """A normaliser for multiple choice: gives one of the letters, in upper case.

    It looks, in this order, at `\\boxed{}`, at what follows the last "answer", at a reply that is or begins with a
    letter ("B", "(b) Paris", "B. Paris"), at "option B", and at letters in brackets or emphasis. If the last two name
    several, that is no answer. "A dog" is no choice of A.
    """
    one = f"[{re.escape(letters.upper() + letters.lower())}]"
    upper = f"[{re.escape(letters.upper())}]"
    marked = re.compile(rf"^\W*(?:is|was|would be|:|=)?\W*(?:option|choice|letter)?\W*({one})(?![\w'’])", re.IGNORECASE)
    alone = re.compile(rf"^\W*({one})\W*$|^\W*({one})\s*[).:\]]|^\(({one})\)|^({upper})\s+is\b")
    bracketed = re.compile(rf"[(\[]({one})[)\]]|\*\*({upper})[).:]?\*\*")
    option = re.compile(rf"\b(?i:option|choice)\s+\(?({upper})\b")

    def normalise(raw: object) -> object:
        text = raw if isinstance(raw, str) else str(raw)
        for segment in final_segments(text):
            if (found := marked.match(segment)) and not article(segment, found.end(1)):
                return found[1].upper()
        if found := alone.match(text.strip()):
            return next(each for each in found.groups() if each).upper()
        for pattern in (option, bracketed):
            named = {next(each for each in m.groups() if each).upper() for m in pattern.finditer(text)}
            if named:
                return named.pop() if len(named) == 1 else None
        return None

    return normalise


def article(segment: str, end: int) -> bool:
    """Whether the letter that ends there is the word "a", as in "the answer is a dog"."""
    return segment[end - 1] in "aA" and re.match(r"\s+[a-z]", segment[end:]) is not None


TRUE, FALSE = ("yes", "true", "correct", "right"), ("no", "false", "incorrect", "wrong")
BOOLEAN = re.compile(rf"\b(?:(not|isn't|isn’t|aren't|n't)\s+(?:\w+ly\s+)?)?({'|'.join(TRUE + FALSE)})\b", re.IGNORECASE)


def boolean(raw: object) -> object:
    """True or False by whole words: yes, no, true, false, correct, incorrect, right, wrong; "not" before one turns it.

    What follows the last "answer" counts first, then the word that a reply begins with; else all such words must agree.
    "Yesterday" and "maybe" are no answers.
    """
    if isinstance(raw, bool):
        return raw
    text = raw if isinstance(raw, str) else str(raw)
    for segment in final_segments(text):
        if found := BOOLEAN.search(segment):
            return truth_of(found)
    if (found := BOOLEAN.match(text.lstrip(" \t\n\"'`*_("))) and not re.match(
        r"\W*yes\s+(and|or)\s+no\b", text, re.IGNORECASE
    ):
        return truth_of(found)
    said = {truth_of(found) for found in BOOLEAN.finditer(text)}
    return said.pop() if len(said) == 1 else None


def truth_of(found: re.Match[str]) -> bool:
    return (found[2].lower() in TRUE) != bool(found[1])


def json_value(raw: object) -> object:
    """The JSON of a reply: of the last fenced block that has any, of the whole text, or its last object or array.

    Keys are sorted and 1.0 is 1 when answers are compared. Text without JSON is no answer.
    """
    if not isinstance(raw, str):
        return raw
    for text in [*(found[2] for found in reversed(list(FENCE.finditer(raw)))), raw]:
        try:
            return json.loads(text)
        except ValueError:
            continue
    return last_json(raw)


def last_json(text: str) -> object:
    """The last object or array that lies anywhere in a text."""
    decoder, found, at = json.JSONDecoder(), None, 0
    while opening := re.compile(r"[{\[]").search(text, at):
        try:
            found, at = decoder.raw_decode(text, opening.start())
        except ValueError:
            at = opening.end()
    return found


def code(language: str = "") -> Normaliser:
    """A normaliser for programs: the last fenced block, or the whole text without one.

    Blanks at line ends, blank lines and common indentation don't count. Python (by `language`, or as the block
    says) is parsed and written anew, so layout, quotes and comments don't count; what doesn't parse is no answer.
    """

    def normalise(raw: object) -> object:
        text = raw if isinstance(raw, str) else str(raw)
        blocks = [(found[1].lower(), found[2]) for found in FENCE.finditer(text)]
        told, body = blocks[-1] if blocks else ("", text)
        if (language.lower() or told) in ("python", "py", "python3"):
            try:
                return ast.unparse(ast.parse(textwrap.dedent(body))) or None
            except (SyntaxError, ValueError):
                return None
        lines = (line.rstrip() for line in textwrap.dedent(body).splitlines())
        return "\n".join(line for line in lines if line) or None

    return normalise


NORMALISERS: Mapping[str, Normaliser] = MappingProxyType(
    {
        "lower_trim": lower_trim,
        "number": number(),
        "choice": choice(),
        "boolean": boolean,
        "json": json_value,
        "code": code(),
        "none": none,
    }
)
"""By the names that an ensemble takes."""
