"""Tables that a benchmark writes into a page of the documentation, between two markers that name it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

__all__ = ["ROOT", "STATISTICS", "table", "where", "write_section"]

ROOT = Path(__file__).resolve().parent.parent
STATISTICS = ROOT / "docs" / "statistics.md"


def write_section(page: Path, name: str, text: str) -> None:
    """Put the text between `<!-- begin NAME -->` and `<!-- end NAME -->`, whole or not at all.

    Raises:
        ValueError: If the page doesn't have the two markers once each.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = page.read_text(encoding="utf-8")
    after, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n\n{text.strip()}\n\n{end}",
        before,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{page.name} has no place for {name!r}: {begin} … {end}")
    unfinished = page.with_suffix(".new")
    unfinished.write_text(after, encoding="utf-8")
    unfinished.replace(page)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def where() -> str:
    """When, on which commit and on what a benchmark ran."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    return (
        f"{date.today()}, commit `{git('rev-parse', '--short', 'HEAD')}`, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPUs"
    )
