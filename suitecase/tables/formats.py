"""Tables as text or files: csv, json, jsonl, markdown, latex, parquet."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from suitecase.errors import SuitecaseError
from suitecase.tables.table import Table, is_numeric

__all__ = ["FORMATS", "cell_text", "strict", "to_csv", "to_json", "to_jsonl", "to_latex", "to_markdown", "write_table"]

FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection); some cut off spaces before it."""

LATEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
    }
)  # fmt: skip


def cell_text(value: Any) -> str:
    """A value as people read it: nothing for None, floats with six significant digits, JSON for what is nested."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)


class Lines:
    """Rows of CSV that end with a newline.

    The writer is told of CRLF all the same: it puts quotes around what its line break has in it, and readers take a
    bare carriage return for one.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, row: str) -> None:
        """Take a row."""
        self.lines.append(row.removesuffix("\r\n") + "\n")


def to_csv(table: Table) -> str:
    """RFC 4180 with floats in full; text that a spreadsheet would execute begins with an apostrophe."""
    text = Lines()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([harmless(name) for name in table.columns])
    for row in table:
        writer.writerow([harmless(csv_value(value)) for value in row])
    return "".join(text.lines)


def csv_value(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet executes. Numbers stay numbers: -1 is none of its business."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def to_json(table: Table) -> str:
    """One array of objects; NaN and infinities are the strings "NaN", "Infinity", "-Infinity"."""
    return json.dumps([strict(row) for row in table.dicts()], indent=1, ensure_ascii=False, default=str) + "\n"


def to_jsonl(table: Table) -> str:
    """An object per line, of the values that are there."""
    rows = ({name: value for name, value in row.items() if value is not None} for row in table.dicts())
    return "".join(json.dumps(strict(row), ensure_ascii=False, default=str) + "\n" for row in rows)


def strict(value: Any) -> Any:
    """A value that strict JSON can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): strict(each) for name, each in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in cast(Sequence[Any], value)]
    return value


def to_markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""

    def line(cells: Iterable[str]) -> str:
        return (
            "| "
            + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells)
            + " |\n"
        )

    numeric = [is_numeric(table.column(name)) for name in table.columns]
    rule = "|" + "|".join(" ---: " if right else " --- " for right in numeric) + "|\n"
    return line(table.columns) + rule + "".join(line(map(cell_text, row)) for row in table)


def to_latex(table: Table) -> str:
    """A tabular with the rules of booktabs; everything in it is escaped."""

    def line(cells: Iterable[str]) -> str:
        return " & ".join(cell.translate(LATEX) for cell in cells) + r" \\" + "\n"

    places = "".join("r" if is_numeric(table.column(name)) else "l" for name in table.columns)
    body = "".join(line(map(cell_text, row)) for row in table)
    head = "% \\usepackage{booktabs}\n\\begin{tabular}{" + places + "}\n\\toprule\n"
    return head + line(table.columns) + "\\midrule\n" + body + "\\bottomrule\n\\end{tabular}\n"


TEXT_FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv, "json": to_json, "jsonl": to_jsonl, "markdown": to_markdown, "latex": to_latex,
}  # fmt: skip
FORMATS = (*TEXT_FORMATS, "parquet")


def write_table(table: Table, format_name: str, path: Path | None = None) -> str:
    """The text of a table in one of `FORMATS`; with a path it is written there, which `parquet` needs.

    Raises:
        SuitecaseError: An unknown format, or Parquet without a path.
    """
    if format_name == "parquet":
        if path is None:
            raise SuitecaseError("parquet is no text: give a file to write it to.")
        from suitecase.tables.duck import write_parquet

        write_parquet(table.dicts(), path)
        return ""
    if format_name not in TEXT_FORMATS:
        raise SuitecaseError(f"format {format_name!r} is none of {', '.join(FORMATS)}.")
    text = TEXT_FORMATS[format_name](table)
    if path is not None:
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return text
