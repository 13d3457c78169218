"""A report as LaTeX, for pdfLaTeX and LuaLaTeX: booktabs, figures as PDF beside it, references in a .bib file."""

from __future__ import annotations

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
from suitecase.reports.latex_text import UNICODE_MACRO, latex_text

__all__ = ["to_latex"]

ROWS_OF_A_PAGE: Final = 40
"""A table with more of them is broken over pages."""

PREAMBLE: Final = rf"""% Made by suitecase report. Figures lie in report.figures, references as BibTeX in report.bib.
\documentclass[11pt,a4paper]{{article}}
\usepackage[margin=25mm]{{geometry}}
\usepackage{{iftex}}
\ifPDFTeX \usepackage[T1]{{fontenc}}\usepackage[utf8]{{inputenc}}\usepackage{{lmodern}}\else \usepackage{{fontspec}}\fi
\usepackage{{textcomp,amssymb,booktabs,longtable,graphicx,float}}
\usepackage[hidelinks]{{hyperref}}
\setlength{{\parindent}}{{0pt}}\setlength{{\parskip}}{{6pt plus 2pt}}
\setlength{{\emergencystretch}}{{3em}}
\usepackage{{caption}}\captionsetup{{font=small,labelfont=bf,justification=raggedright,singlelinecheck=false}}
{UNICODE_MACRO}
\providecommand{{\textquotedbl}}{{\char"22 }}
\newsavebox{{\reporttable}}
\newcommand{{\shrunk}}[1]{{\sbox{{\reporttable}}{{#1}}\ifdim\wd\reporttable>\linewidth
  \resizebox{{\linewidth}}{{!}}{{\usebox{{\reporttable}}}}\else\usebox{{\reporttable}}\fi}}
"""


def to_latex(document: Document, figures_folder: str = "report.figures") -> str:
    """The whole report.

    Args:
        figures_folder: Where `{figure.name}.pdf` lie, from the report's own folder.
    """
    facts = r" \\ ".join(rf"{latex_text(name)} & {latex_text(value)}" for name, value in document.facts)
    head = "\\begin{document}\n" + rf"{{\LARGE\bfseries\raggedright {latex_text(document.title)}\par}}"
    parts = [PREAMBLE + head, latex_text(document.summary)]
    parts.append(rf"\begin{{tabular}}{{@{{}}lp{{0.72\linewidth}}@{{}}}}{facts}\end{{tabular}}" if facts else "")
    parts += [latex_section(section, figures_folder) for section in document.sections]
    return "\n\n".join([part for part in parts if part] + [r"\end{document}"]) + "\n"


def latex_section(section: Section, figures_folder: str) -> str:
    """A section with its title."""
    command = "section" if section.level == 2 else "subsection"
    title = latex_text(section.title)
    # A bookmark is plain text; what TeX prints by commands would be lost there with a warning.
    plain = "".join(c for c in section.title if c.isascii() and (c.isalnum() or c in " .,:-"))
    made = rf"\{command}{{\texorpdfstring{{{title}}}{{{plain}}}}}"
    return "\n\n".join([made, *(latex_block(block, figures_folder) for block in section.blocks)])


def latex_block(block: Block, figures_folder: str) -> str:
    """A block of a section."""
    match block:
        case Prose(text):
            return latex_text(text)
        case Points(items):
            return items_of([latex_text(item) for item in items])
        case Code(text, language):
            if language == "bibtex":
                return r"The same as Bib\TeX{} is in \texttt{report.bib}."
            lines = [latex_text(line).replace("  ", r"\ \ ") for line in text.split("\n")]
            return r"{\small\ttfamily\raggedright " + "\\\\\n".join(lines) + r"\par}"
        case Claim():
            notes = items_of([latex_text(note) for note in block.notes]) if block.notes else ""
            return (
                rf"\begin{{quote}}\textbf{{{latex_text(block.verdict)}.}} {latex_text(block.text)}{notes}\end{{quote}}"
            )
        case Checklist(checks):
            signs = {True: r"\checkmark", False: r"\texttimes", None: "?"}
            lines = [
                rf"\item[{signs[check.holds]}] {latex_text(check.question)} {latex_text(check.finding)}"
                for check in checks
            ]
            return "\\begin{itemize}\n" + "\n".join(lines) + "\n\\end{itemize}"
        case TableBlock():
            return latex_table(block)
        case FigureBlock():
            return (
                "\\begin{figure}[H]\\centering\n"
                rf"\includegraphics[width=\linewidth,height=0.85\textheight,keepaspectratio]{{{figures_folder}/{block.name}.pdf}}"
                f"\n\\caption{{{latex_text(block.caption)}}}\\end{{figure}}"
            )  # fmt: skip


def items_of(items: Sequence[str]) -> str:
    """A list. An item may begin with a bracket, which would be the item's mark."""
    if not items:
        return ""
    return "\\begin{itemize}\n" + "\n".join(rf"\item {{}}{item}" for item in items) + "\n\\end{itemize}"


def latex_table(block: TableBlock) -> str:
    """A table: shrunk if it is wide, over pages if it is long."""
    places = "".join("r" if name in block.right else "l" for name in block.columns)
    head = line(block.columns)
    body = "".join(map(line, block.rows))
    caption = rf"\caption{{{latex_text(block.caption)}}}"
    note = rf"\par\smallskip{{\footnotesize\raggedright {latex_text(block.note)}\par}}" if block.note else ""
    if len(block.rows) > ROWS_OF_A_PAGE:
        return (
            rf"{{\footnotesize\setlength{{\tabcolsep}}{{3pt}}\begin{{longtable}}{{{places}}}{caption}\\\toprule" + "\n"
            + head + "\\midrule\\endhead\n" + body + r"\bottomrule\end{longtable}" + note + "}"
        )  # fmt: skip
    return (
        "\\begin{table}[H]" + caption + "\n" + rf"\small\shrunk{{\begin{{tabular}}{{{places}}}\toprule" + "\n"
        + head + "\\midrule\n" + body + r"\bottomrule\end{tabular}}" + note + r"\end{table}"
    )  # fmt: skip


def line(cells: Sequence[str]) -> str:
    r"""A row. After `\\` a bracket would be a length, and a cell may begin with one."""
    return (
        " & ".join(f"{{}}{cell}" if (cell := latex_text(text)).startswith(("[", "*")) else cell for text in cells)
        + " \\\\\n"
    )
