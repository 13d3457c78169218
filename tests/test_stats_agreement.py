"""Every value that docs/statistics.md says agrees with R and NIST, to the digits that it says."""

from __future__ import annotations

import pytest
from conftest import HERE

from benchmarks.agreement import NIST_FILES, Value, digits_of, values

VALUES = values()


def test_nist_is_there() -> None:
    if not NIST_FILES.is_dir():
        pytest.skip("this scipy came without its tests' data: the eleven analyses of variance of NIST weren't tried")
    assert sum(value.data[:2] in ("At", "Si", "Sm") for value in VALUES) == 11


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value.data}-{value.what}".replace("`", ""))
def test_agrees(value: Value) -> None:
    assert digits_of(value) >= (value.digits or value.printed), f"theirs {value.theirs}, ours {value.ours():.15g}"


def test_the_table_of_the_document_has_them_all() -> None:
    text = (HERE / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert [
        value for value in VALUES if f"| {value.data} | {value.what} | {value.source} | {value.theirs} |" not in text
    ] == []


def test_digits_are_counted_as_they_are_printed() -> None:
    def agreed(theirs: str, ours: float, source: str = "R") -> float:
        return digits_of(Value("", "", theirs, lambda: ours, None, source))

    assert agreed("0.0123", 0.01234) == 3
    assert agreed("0.0123", 0.0124) == pytest.approx(2.09, abs=0.01)
    assert agreed("3.5e-7", 3.5e-7) == 2
    assert agreed("969", 969) == agreed("0.1", 0.1, "NIST") == 15
    assert agreed("0.1", 0.10000001, "NIST") == pytest.approx(7)
