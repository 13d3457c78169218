"""A report as a Jupyter notebook: it reads results.csv and analysis.json beside it by pandas, and draws by matplotlib.

No name from an experiment stands in its code: what is shown comes from the data when the cells are executed.
"""

from __future__ import annotations

from typing import Any, Final, cast

from suitecase.errors import missing_extra
from suitecase.reports.document import Document
from suitecase.reports.markdown import markdown_block, markdown_text

__all__ = ["to_notebook"]

LOAD: Final = """\
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

analysis = json.loads(Path("analysis.json").read_text(encoding="utf-8"))
cases = pd.read_csv("results.csv")
plt.rcParams["text.parse_math"] = False  # a name with two dollar signs is a name
cases.head()"""

ESTIMATES: Final = """\
described = pd.DataFrame(analysis["descriptions"])
described["low"] = [each["interval"]["low"] if each["interval"] else None for each in analysis["descriptions"]]
described["high"] = [each["interval"]["high"] if each["interval"] else None for each in analysis["descriptions"]]
described[["metric", "condition", "n", "missing", "mean", "low", "high", "sd", "median"]]"""

DRAW: Final = '''\
def draw_intervals(rows, title, line=None):
    """Estimates with their intervals; an end that is infinite is null in the JSON and not drawn."""
    figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(rows)))
    for place, (name, value, interval) in enumerate(rows):
        interval = interval or {}
        ends = [interval.get(end) if interval.get(end) is not None else value for end in ("low", "high")]
        axes.plot(ends, [place, place], color="#0072B2")
        axes.plot(value, place, "o", color="#0072B2")
    if line is not None:
        axes.axvline(line, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.invert_yaxis()
    axes.set_title(title)
    plt.show()


for metric in analysis["metrics"]:
    rows = [
        (f"{each['condition']} {each['stratum']}".strip(), each["mean"], each["interval"])
        for each in analysis["descriptions"]
        if each["metric"] == metric["name"] and each["n"]
    ]
    if rows:
        draw_intervals(rows, metric["name"])'''

COMPARISONS: Final = """\
for each in analysis["comparisons"]:
    print("-", each["sentence"])
pd.DataFrame(
    {
        "metric": each["metric"],
        "condition": each["first"],
        "difference": each["difference"],
        "low": each["interval"]["low"],
        "high": each["interval"]["high"],
        "level": each["interval"]["level"],
        "p_adjusted": each["p_adjusted"],
        "test": each["test"]["test"],
        "verdict": each["verdict"],
    }
    for each in analysis["comparisons"]
)"""

FOREST: Final = """\
for metric in analysis["metrics"]:
    rows = [
        (f"{each['first']} {each['stratum']}".strip(), each["difference"], each["interval"])
        for each in analysis["comparisons"]
        if each["metric"] == metric["name"]
    ]
    if rows:
        draw_intervals(rows, f"difference in {metric['name']} from {analysis['baseline']}", line=0)"""

VALUES: Final = """\
for metric in analysis["metrics"]:
    rows = [each for each in analysis["descriptions"] if each["metric"] == metric["name"] and each.get("values")]
    if rows:
        figure, axes = plt.subplots(figsize=(7, 0.8 + 0.45 * len(rows)))
        axes.boxplot([each["values"] for each in rows], orientation="horizontal", showfliers=len(rows) < 20)
        axes.set_yticks(range(1, len(rows) + 1), [f"{each['condition']} {each['stratum']}".strip() for each in rows])
        axes.invert_yaxis()
        axes.set_title(metric["name"])
        plt.show()"""


def to_notebook(document: Document) -> str:
    """The notebook's JSON; the same document gives the same bytes.

    Raises:
        SuitecaseError: If nbformat is not installed.
    """
    try:
        import nbformat
    except ImportError:
        raise missing_extra("a notebook", "analysis") from None
    named = {section.name: section for section in document.sections}

    def told(name: str) -> str:
        section = named[name]
        return "\n\n".join([f"## {markdown_text(section.title)}", *map(markdown_block, section.blocks)])

    title = f"# {markdown_text(document.title)}\n\n{markdown_text(document.summary)}\n\n{told('summary')}"
    sources = [
        ("markdown", title),
        ("markdown", "## The data\n\n`results.csv` has a row per case, `analysis.json` all that was computed."),
        ("code", LOAD),
        ("markdown", "## Estimates"),
        ("code", ESTIMATES),
        ("code", DRAW),
        ("markdown", "## Raw values"),
        ("code", VALUES),
        ("markdown", "## Comparisons"),
        ("code", COMPARISONS),
        ("code", FOREST),
        ("markdown", told("limitations")),
    ]
    v4 = cast(Any, nbformat.v4)
    cells = [
        (v4.new_markdown_cell if kind == "markdown" else v4.new_code_cell)(source, id=f"cell-{place:02}")
        for place, (kind, source) in enumerate(sources)
    ]
    metadata = {
        "made_by": "suitecase report",
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    made = v4.new_notebook(cells=cells, metadata=metadata)
    cast(Any, nbformat).validate(made)
    return cast(Any, nbformat).writes(made) + "\n"
