"""Writes reports: the files of each format, whole or not at all, and never over what is somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from suitecase.compare.model import Study
from suitecase.errors import SuitecaseError
from suitecase.reports.contents import make_document
from suitecase.reports.document import Code, Document
from suitecase.reports.figures.style import as_pdf, as_svg, on_white
from suitecase.rundir import Run

__all__ = ["DEFAULT_FORMATS", "FORMATS", "check_formats", "report_files", "write_report"]

FORMATS: Final = ("md", "html", "tex", "ipynb", "csv", "json")
DEFAULT_FORMATS: Final = ("md", "html", "csv", "json")

FIGURES: Final = "report.figures"
MARK: Final = b"suitecase report"
"""In every file that a report consists of, but for CSV, which has no place for it."""
CSV_HEAD: Final = b"experiment,run,"


def check_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The formats, each once.

    Raises:
        SuitecaseError: One is unknown; or there is none.
    """
    from difflib import get_close_matches

    wanted = tuple(dict.fromkeys(each.strip().lower() for each in formats if each.strip()))
    problems: list[str] = []
    for each in wanted:
        if each not in FORMATS:
            near = get_close_matches(each, FORMATS, n=1)
            problems.append(
                f"format {each!r}: " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(FORMATS)}.")
            )
    if not wanted:
        problems.append(f"no format is named: there are {', '.join(FORMATS)}.")
    if problems:
        raise SuitecaseError(problems)
    return wanted


def write_report(
    study: Study,
    folder: Path,
    *,
    formats: Sequence[str] = DEFAULT_FORMATS,
    runs: Sequence[Run] = (),
    force: bool = False,
) -> list[Path]:
    """Write a report into a folder; files of an earlier report are replaced.

    Args:
        runs: The runs that the study was read from, for what it doesn't hold.
        force: Replace also files of the same names that no report wrote.

    Returns:
        The files that a person opens, in the order of `formats`; figures are not among them.

    Raises:
        SuitecaseError: A format is unknown or needs an extra, or a file is somebody else's; then nothing was written.
    """
    wanted = check_formats(formats)
    files = report_files(study, runs, wanted)
    if not force:
        refuse_foreign(folder, files)
    # Documents last: none is ever there without what it shows.
    for name in sorted(files, key=lambda each: (not each.startswith(FIGURES), each.startswith("report."), each)):
        write_whole(folder / name, files[name])
    mains = {each: {"csv": "results.csv", "json": "analysis.json"}.get(each, f"report.{each}") for each in wanted}
    return [folder / mains[each] for each in wanted]


def report_files(study: Study, runs: Sequence[Run], formats: Sequence[str]) -> dict[str, bytes]:
    """What each file has, by its path in the folder. A notebook comes with the data that it reads."""
    document = make_document(study, runs)
    made: dict[str, str | bytes] = {}
    svg = {each.name: as_svg(each.draw) for each in document.figures} if {"md", "html"} & {*formats} else {}
    if "md" in formats:
        from suitecase.reports.markdown import to_markdown

        made |= {f"{FIGURES}/{name}.svg": on_white(drawn) for name, drawn in svg.items()}
        made["report.md"] = to_markdown(document, FIGURES)
    if "html" in formats:
        from suitecase.reports.html import to_html

        made["report.html"] = to_html(document, svg)
    if "tex" in formats:
        from suitecase.reports.latex import to_latex

        made |= {f"{FIGURES}/{each.name}.pdf": as_pdf(each.draw) for each in document.figures}
        made |= {"report.bib": bibliography(document), "report.tex": to_latex(document, FIGURES)}
    if "ipynb" in formats:
        from suitecase.reports.notebook import to_notebook

        made["report.ipynb"] = to_notebook(document)
    if {"csv", "ipynb"} & {*formats}:
        from suitecase.reports.data import to_results_csv

        made["results.csv"] = to_results_csv(study, runs)
    if {"json", "ipynb"} & {*formats}:
        from suitecase.reports.data import to_analysis_json

        made["analysis.json"] = to_analysis_json(study, document)
    return {
        name: each if isinstance(each, bytes) else each.encode("utf-8", "backslashreplace")
        for name, each in made.items()
    }


def bibliography(document: Document) -> str:
    """The works as a .bib file."""
    blocks = (block for section in document.sections for block in section.blocks)
    entries = [block.text for block in blocks if isinstance(block, Code) and block.language == "bibtex"]
    return "\n\n".join(["% Made by suitecase report.", *entries]) + "\n"


def refuse_foreign(folder: Path, files: Mapping[str, bytes]) -> None:
    """Refuse to replace what no report wrote.

    Raises:
        SuitecaseError: With every such file.
    """
    foreign = [name for name in files if not is_ours(folder / name)]
    if foreign:
        raise SuitecaseError(
            f"{folder / name} is there and no report wrote it: give another folder (--to), or --force to replace it."
            for name in foreign
        )


def is_ours(path: Path) -> bool:
    """Whether a file may be replaced: it isn't there, or a report wrote it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return content.startswith(CSV_HEAD) if path.suffix == ".csv" else MARK in content


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
