"""A report as Markdown that code hosts render; its figures are SVG files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from suitecase.reports.document import (
    Block,
    Checklist,
    Claim,
    Code,
    Document,
    FigureBlock,
    Points,
    Prose,
    Section,
    TableBlock,
)

__all__ = ["markdown_block", "markdown_text", "to_markdown"]

SPECIAL: Final = re.compile(r"[\\`*\[\]<|~$&]|(?<![^\W_])_|_(?![^\W_])|^[#>+=-]")
"""What begins markup in GitHub's Markdown, formulas included: some anywhere, an underscore but within a word, some at
the start. Any ASCII punctuation may have a backslash before it."""

NUMBERED: Final = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
"""What begins a numbered list."""


def to_markdown(document: Document, figures_folder: str = "report.figures") -> str:
    """The whole report.

    Args:
        figures_folder: Where `{figure.name}.svg` lie, from the report's own folder.
    """
    facts = "\n".join(f"- **{name}:** {markdown_text(value)}" for name, value in document.facts)
    parts = [
        "<!-- Made by suitecase report. -->",
        f"# {markdown_text(document.title)}",
        markdown_text(document.summary),
        facts,
    ]
    parts += [markdown_section(section, figures_folder) for section in document.sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_section(section: Section, figures_folder: str) -> str:
    """A section with its title."""
    title = f"{'#' * section.level} {markdown_text(section.title)}"
    return "\n\n".join([title, *(markdown_block(block, figures_folder) for block in section.blocks)])


def markdown_block(block: Block, figures_folder: str = "report.figures") -> str:
    """A block of a section."""
    match block:
        case Prose(text):
            return markdown_text(text)
        case Points(items):
            return "\n".join(f"- {markdown_text(item)}" for item in items)
        case Code(text, language):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}{language}\n{text}\n{fence}"
        case Claim():
            notes = "".join(f"\n> - {markdown_text(note)}" for note in block.notes)
            return f"> **{markdown_text(block.verdict)}.** {markdown_text(block.text)}" + f"\n>{notes}" * bool(notes)
        case Checklist(checks):
            signs = {True: "✓", False: "✗", None: "?"}
            rows = [(signs[check.holds], check.question, check.finding) for check in checks]
            return table(("", "question", "finding"), rows, ())
        case TableBlock():
            note = f"\n\n*{markdown_text(block.note)}*" if block.note else ""
            return f"**{markdown_text(block.caption)}**\n\n{table(block.columns, block.rows, block.right)}{note}"
        case FigureBlock():
            return (
                f"![{markdown_text(block.description)}]({figures_folder}/{block.name}.svg)\n\n"
                f"*{markdown_text(block.caption)}*"
            )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> str:
    """A table of GitHub's Markdown."""
    rule = "|".join(" ---: " if name in right else " --- " for name in columns)
    lines = [line(columns), f"|{rule}|", *map(line, rows)]
    return "\n".join(lines)


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


def markdown_text(text: str) -> str:
    """A text that is no markup: no tag, link, emphasis, formula, entity, list or title."""
    return NUMBERED.sub(r"\1\\\2", SPECIAL.sub(r"\\\g<0>", text.strip()))
