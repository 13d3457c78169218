"""From replies to what is voted on: tables of what models write, and laws."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.ensembles import choice, code, number
from suitecase.ensembles.normalisers import NORMALISERS, boolean, json_value, lower_trim
from suitecase.ensembles.records import key_of, plain

LAWS = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("42", 42),
        ("Step 1: 3 boxes of 14. Together 42", 42),
        ("The answer is 42.", 42),
        ("The answer to 3 + 4 is 7, since 4 + 3 is 7 and 2 < 7, too: 2", 7),
        ("So the answer (see step 2) is 9", 9),
        ("Answer: 3 + 4 = 7 apples", 7),
        ("First answer: 5. No; final answer: 6", 6),
        ("#### 1,234", 1234),
        ("I get 12, so \\boxed{\\frac{3}{4}} it is, not 5", 0.75),
        ("answer:\n\n**17**\n\nof 20", 17),
        ("Is the answer 5? No, it is 6.", 6),
        ("50%", 0.5),
        ("50 percent", 0.5),
        ("12.5\\%", 0.125),
        ("3/4", 0.75),
        ("1 1/2 cups", 1.5),
        ("½", 0.5),
        ("2½ hours", 2.5),
        ("1/3", 1 / 3),
        ("-3", -3),
        ("−0.5", -0.5),
        ("x = -3.5e2", -350),
        ("3 × 10^5", 300_000),
        ("3 x 10⁵", 300_000),
        ("$3 \\times 10^{-2}$", 0.03),
        ("2^10", 1024),
        ("2.1 million", 2_100_000),
        ("$1,200.50", 1200.5),
        ("1,234,567.89 km", 1234567.89),
        (".5", 0.5),
        ("3 to 4 hours", 4),
        ("5–7", 7),
        ("GPT4 says 7", 7),
        ("7 is what GPT4 says", 7),
        ("no number", None),
        ("forty-two", None),
        ("1,5", None),  # one number or two?
        ("v1.2.3", None),
        ("3/0", None),
        ("1e400", None),
        (42.0, 42),
        (True, None),
        (["42"], None),
    ],
)
def test_number(reply: object, value: object) -> None:
    """The final number, not the first."""
    assert plain(number()(reply)) == value


@pytest.mark.parametrize(
    ("options", "reply", "value"),
    [
        ({"units": {"g": 1, "kg": 1000}}, "2 kg", 2000),
        ({"units": {"g": 1, "kg": 1000}}, "It weighs 2.5kg.", 2500),
        ({"units": {"g": 1, "kg": 1000}}, "2", 2),
        ({"units": {"g": 1, "kg": 1000}}, "2 lb", None),
        ({"units": {"km/h": 1, "m/s": 3.6}}, "10 m/s", 36),
        ({"decimal": ","}, "1.234,5 €", 1234.5),
        ({"decimal": ","}, "3,14", 3.14),
    ],
)
def test_number_with_options(options: dict[str, Any], reply: str, value: object) -> None:
    """Units become one; the comma may be the decimal point."""
    assert number(**options)(reply) == value


@LAWS
@given(st.integers(-(10**12), 10**12), st.integers(0, 6), st.sampled_from(["", "The answer is ", "7 of 9, so "]))
def test_number_reads_what_is_written(digits: int, places: int, before: str) -> None:
    """With thousands separators and decimals, whatever stands before."""
    value = Fraction(digits, 10**places)
    text = f"{before}{float(value):,.{places}f}."
    expected = Fraction(f"{float(value):.{places}f}")
    assert number()(text) == (int(expected) if expected.denominator == 1 else float(expected))


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("b) Paris", "B"),
        ("B. Paris", "B"),
        ("**B**", "B"),
        ("C is correct", "C"),
        ("Option B is right", "B"),
        ("The answer is (C).", "C"),
        ("Answer: **D**", "D"),
        ("The correct answer is option C because A is wrong", "C"),
        ("Both A and B look right; final answer: B", "B"),
        ("\\boxed{A}", "A"),
        ("\\boxed{\\text{A}}", None),
        ("either (A) or (B)", None),
        ("A dog barks", None),
        ("the answer is a dog", None),
        ("I'd say so", None),
        ("E", None),
        ("", None),
    ],
)
def test_choice(reply: str, letter: str | None) -> None:
    """A letter that is a choice, not a word."""
    assert choice("ABCD")(reply) == letter


@pytest.mark.parametrize(
    ("reply", "truth"),
    [
        ("Yes", True),
        ("yes, it is.", True),
        ("**No**", False),
        ("TRUE", True),
        ("The answer is: false", False),
        ("No, that is not true", False),
        ("It is not true", False),
        ("Not correct", False),
        ("that isn't wrong", True),
        ("I think this is definitely correct", True),
        ("yesterday", None),
        ("know", None),
        ("maybe", None),
        ("Yes and no", None),
        ("true or false?", None),
        (True, True),
    ],
)
def test_boolean(reply: object, truth: bool | None) -> None:
    """Whole words; what contradicts itself is no answer."""
    if reply == "true or false?":
        reply = "Is it true or false?"
    assert boolean(reply) is truth


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('Here: ```json\n{"b": 1.0, "a": [2]}\n``` done', {"a": [2], "b": 1}),
        ('{"a": 1}', {"a": 1}),
        ("The {x} is [1, 2] I think", [1, 2]),
        ('first {"a": 1}, then {"a": 2}', {"a": 2}),
        ("3", 3),
        ("no json", None),
        ({"a": 1}, {"a": 1}),
    ],
)
def test_json(reply: object, value: object) -> None:
    """The last JSON of a reply."""
    assert json_value(reply) == value


@LAWS
@given(st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.booleans(), max_size=2), max_size=4))
def test_json_is_the_same_however_it_is_written(value: dict[str, Any]) -> None:
    """Order of keys, blanks and fences don't matter."""
    turned = dict(reversed(value.items()))
    written = [json.dumps(value), json.dumps(turned, indent=2), f"So:\n```json\n{json.dumps(turned)}\n```\n"]
    assert len({key_of(plain(json_value(each))) for each in written}) == 1


def test_code() -> None:
    """Layout, quotes and comments of Python don't count; of other languages, blanks at ends and blank lines."""
    one = 'Sure:\n```python\nx = "a"  # why\n\nprint( x )\n```\nHope it helps.'
    other = "```py\nx='a'\nprint(x)\n```"
    assert code()(one) == code()(other) == "x = 'a'\nprint(x)"
    assert code("python")("def f(:") is None
    assert code()("```sql\n  SELECT 1  \n\n  FROM t\n```") == "SELECT 1\nFROM t"
    assert code()("```\n```") is None


def test_lower_trim() -> None:
    """Case, outer blanks, quotes, emphasis, a full stop; blanks within as one."""
    assert lower_trim(' **"New  York".**\n') == "new york"
    assert lower_trim("STRASSE") == lower_trim("Straße")
    assert lower_trim(' "" ') is None
    assert lower_trim(3) == 3


@LAWS
@given(st.sampled_from(sorted(NORMALISERS)), st.text(max_size=40))
def test_no_text_breaks_a_normaliser(name: str, text: str) -> None:
    """Each gives a JSON value or None, and the same again for what it gave as a text."""
    value = plain(NORMALISERS[name](text))
    key_of(value)
    if name == "lower_trim" and value is not None:
        assert NORMALISERS[name](value) == value
