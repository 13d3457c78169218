"""Small words of reports: counts, sizes, verdicts, p-values in columns, names of files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from zlib import crc32

from suitecase.stats.comparisons import Comparison
from suitecase.stats.wording import number_text, p_text

__all__ = [
    "alpha_text",
    "corrected",
    "counted",
    "duration_text",
    "file_name",
    "grouped",
    "listed",
    "p_cell",
    "sizes",
    "verdict_words",
]


def counted(count: int, what: str) -> str:
    """A count with its noun: 1 case, 2 cases."""
    return f"{number_text(count)} {what}" + "s" * (count != 1)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def grouped(said: Iterable[tuple[str, str]], of_all: int, most: int = 4) -> list[str]:
    """Sentences, each once, with the names that they are said of: not where it is said of all, or has the name itself.

    Args:
        said: Names with sentences.
        of_all: How often a sentence is said if it is said of all.
        most: Names that are listed.
    """
    found: dict[str, list[str]] = {}
    for name, sentence in said:
        found.setdefault(sentence, []).append(name)
    sentences: list[str] = []
    for sentence, names in found.items():
        more = f" and {number_text(len(names) - most)} more" * (len(names) > most)
        whose = (
            "" if len(names) == of_all or any(n in sentence for n in names) else f"{', '.join(names[:most])}{more}: "
        )
        sentences.append(whose + sentence)
    return sentences


def sizes(comparison: Comparison) -> str:
    """What was counted: pairs, or the units of each side."""
    if comparison.paired:
        return counted(comparison.n[0], "pair")
    return f"{number_text(comparison.n[0])} and {counted(comparison.n[1], comparison.unit)}"


def verdict_words(comparison: Comparison) -> str:
    """The verdict, whether that is good, and whether it may be relied on."""
    words = str(comparison.verdict)
    if comparison.wins is not None:
        words += ", better" if comparison.wins else ", worse"
    return words + ", fragile" * comparison.fragile + f" ({comparison.label})" * bool(comparison.label)


def corrected(comparison: Comparison) -> bool:
    return comparison.correction not in ("", "none")


def p_cell(p: float) -> str:
    """A p-value in a column of them: `.079`, `< .001`."""
    return p_text(p).removeprefix("p ").removeprefix("= ")


def alpha_text(alpha: float) -> str:
    """An error rate as it was chosen: 0.05."""
    return f"{alpha:g}"


def duration_text(seconds: float) -> str:
    """Seconds as people say them: 0.8 s, 37.2 s, 8 min 32 s, 2 h 13 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 0.1 else f"{number_text(seconds, 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def file_name(*parts: str) -> str:
    """A name for a figure's file, of any words: lower-case ASCII letters, digits and hyphens."""
    text = "-".join(parts)
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]
    # Two metrics may differ only in what a file's name leaves out.
    return (
        plain
        if re.fullmatch(r"[a-z0-9_\-]{1,60}", text) and "_" not in text
        else f"{plain}-{crc32(text.encode('utf-8', 'replace')):08x}"
    )
