"""`report`: what runs say, as a document to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suitecase.cli.common import AsJson, ResultsDir, RunNames, console, print_json
from suitecase.cli.judging import (
    CORRECTIONS,
    MISSING,
    SEEDS,
    Alpha,
    By,
    Cluster,
    Conditions,
    CorrectionName,
    Margin,
    Metrics,
    Missing,
    Paired,
    Pool,
    Seeds,
    named_runs,
    one_of,
    rate,
)

__all__ = ["report"]


def report(
    runs: RunNames,
    formats: Annotated[
        str, typer.Option("--format", metavar="A,B", help="Of md, html, tex, ipynb, csv, json.")
    ] = "md,html,csv,json",
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Default: the run's own directory; of several runs, this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files of these names that no report wrote.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option("-b", "--baseline", metavar="CONDITION", help="A condition, a variant or FIELD=VALUE. Without "
                     "one the plan or a name tells it, or conditions are described."),
    ] = None,
    metric: Metrics = None,
    condition: Conditions = None,
    by: By = None,
    paired: Paired = None,
    seeds: Seeds = None,
    missing: Missing = None,
    cluster: Cluster = None,
    pool: Pool = False,
    alpha: Alpha = None,
    correction: CorrectionName = None,
    margin: Margin = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Write a report on runs: what was found and how sure it is, tables, figures, methods, how to reproduce it.

    It goes to report.md, .html, .tex or .ipynb, with the cases in results.csv, all that was computed in analysis.json
    and figures in report.figures/. Files of an earlier report are replaced, others never without --force.

    suitecase report latest -b control --format html,tex
    """
    from suitecase.reports.making import report_runs

    found = named_runs(runs, results_dir)
    folder = to or (found[0].path if len(found) == 1 else Path())
    study, files = report_runs(
        found, folder, formats=formats.split(","), force=force, baseline=baseline, metrics=metric,
        conditions=condition, by=by, paired=one_of("--paired", paired, ["auto", "yes", "no"]),
        seeds=one_of("--seeds", seeds, SEEDS), missing=one_of("--missing", missing, MISSING), cluster=cluster,
        pool=pool, alpha=rate("--alpha", alpha), margin=margin,
        correction=one_of("--correction", correction, CORRECTIONS),
    )  # fmt: skip
    sentences = [each.sentence() for each in study.comparisons]
    if as_json:
        print_json({"files": list(map(str, files)), "sentences": sentences, "warnings": list(study.warnings)})
        return
    out = console()
    for sentence in sentences[:8] or [each for each in study.warnings if each.startswith("Nothing was compared")]:
        out.print(sentence)
    if len(sentences) > 8:
        out.print(f"… and {len(sentences) - 8} more, in the report.")
    for file in files:
        out.print(f"wrote {file}")
