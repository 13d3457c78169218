"""A report before it has a format: sections, and in them prose, tables, figures and claims. Each writer reads this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Block",
    "Check",
    "Checklist",
    "Claim",
    "Code",
    "Document",
    "FigureBlock",
    "Mood",
    "Points",
    "Prose",
    "Section",
    "TableBlock",
    "cleaned",
    "shown",
]


Mood: TypeAlias = Literal["better", "worse", "differs", "equivalent", "open"]


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text to copy as it is: commands, BibTeX."""

    text: str
    language: Literal["console", "bibtex"] = "console"


@dataclass(frozen=True)
class TableBlock:
    """A table of texts.

    Attributes:
        rows: Each as long as `columns`; the first cell names the row.
        right: Columns of numbers, which are set flush right.
        note: What a reader needs to read it, below it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class FigureBlock:
    """A figure, drawn when a writer needs it.

    Attributes:
        name: Of its file, without an ending: lower-case ASCII letters, digits and hyphens.
        caption: What is shown, and how it is to be read.
        description: What is seen, for who can't see it.
        draw: Draws it.
    """

    name: str
    caption: str
    description: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Claim:
    """What may be said of one comparison.

    Attributes:
        text: The sentence, with its figures.
        verdict: In a word or some, to stand before it.
        mood: Whether the first condition is better or worse, differs where nobody said what is wanted, is equivalent,
            or nothing may be claimed.
        notes: What a reader must know with it.
    """

    text: str
    verdict: str
    mood: Mood
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A line of a checklist: what is asked, what was found, and whether that is a yes; `None` if nobody can tell."""

    question: str
    finding: str
    holds: bool | None


@dataclass(frozen=True)
class Checklist:
    """Questions with their answers."""

    checks: tuple[Check, ...]


Block: TypeAlias = Prose | Points | Code | TableBlock | FigureBlock | Claim | Checklist


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: Its anchor: lower-case ASCII letters, digits and hyphens.
        level: 2, or 3 for a part of the section before it.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    level: Literal[2, 3] = 2


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        summary: What it is about, in a paragraph.
        facts: What stands at its head: names and values.
    """

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]

    @property
    def figures(self) -> tuple[FigureBlock, ...]:
        """All figures, in their order."""
        return tuple(block for section in self.sections for block in section.blocks if isinstance(block, FigureBlock))


def shown(text: str) -> str:
    """A text without what steers a terminal, turns the direction of writing, or is no character in XML or UTF-8.

    Names come from files that anybody wrote: a lone surrogate, a NUL or a line break in one must not end a document.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else " " if c.isspace() else "\ufffd" for c in text)


def cleaned(value: Any) -> Any:
    """A document, or part of one, with all its texts as `shown` has them; line breaks of code stay."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Code):
        return replace(value, text="\n".join(map(shown, value.text.split("\n"))))
    if isinstance(value, tuple):
        return tuple(cleaned(each) for each in cast(tuple[Any, ...], value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: cleaned(getattr(value, each.name)) for each in fields(value)})
    return value
