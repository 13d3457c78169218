"""What the latest runs of the five suites say, beside their reports: prints Markdown, draws pictures/.

    python experiments/ensemble-vs-single/summarise.py

Tables hold the planned comparisons, as `suitecase compare` makes them. Below H1 and H5 stands what no plan was made
for, and is exploratory: how alike members err, a check of H1 that counts what splits of one data set share, whether
calibration moderates the effect of weights.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import draw_hedging, draw_votes
from scipy import stats

from suitecase.compare import compare_runs
from suitecase.compare.model import Study
from suitecase.ensembles import Recorded, condorcet, effective_members, error_correlation
from suitecase.errors import SuitecaseError
from suitecase.items import read_items
from suitecase.queries import find_results_dir, find_run
from suitecase.rundir import Run, read_run
from suitecase.stats import mean_interval

QUESTIONS = {
    "h1-majority": "H1: a majority of five against the best single member",
    "h2-hedging": "H2: hedging against none",
    "h3-sizes": "H3: more members against one",
    "h4-adaptive": "H4: delays that are learned against one that was measured",
    "h5-calibration": "H5: weights and calibration against plain majority",
}
PICTURES = Path(__file__).with_name("pictures")


def main() -> None:
    try:
        runs = {name: read_run(find_run(find_results_dir(), name)) for name in QUESTIONS}
        studies = {name: compare_runs([run]) for name, run in runs.items()}
    except SuitecaseError as error:
        sys.exit(f"summarise.py: {error}")
    for name, title in QUESTIONS.items():
        print(f"\n**{title}**\n")
        print_table(studies[name])
        if name == "h1-majority":
            print_members(runs[name])
            print_check(runs[name])
        if name == "h3-sizes":
            print_sizes(runs[name])
        if name == "h5-calibration":
            print_moderation(runs[name])
    PICTURES.mkdir(exist_ok=True)
    draw_votes(studies["h1-majority"], studies["h3-sizes"], PICTURES / "votes.png")
    draw_hedging(runs["h2-hedging"], runs["h4-adaptive"], PICTURES / "hedging.png")


def print_table(study: Study) -> None:
    """The planned comparisons; intervals have the level that the correction leaves."""
    print("| | metric | n | baseline | condition | difference | interval | p, adjusted | verdict |")
    print("|---|---|--:|--:|--:|--:|---|--:|---|")
    for each in study.comparisons:
        name = f"{each.first} ({each.stratum})" if each.stratum else each.first
        interval = f"[{each.interval.low:+.4f}, {each.interval.high:+.4f}]"
        figures = f"{each.means[1]:.4f} | {each.means[0]:.4f} | {each.difference:+.4f} | {interval}"
        print(f"| {name} | {each.metric} | {each.n[0]:,} | {figures} | {p_text(each.p_adjusted)} | {each.verdict} |")


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def rows_of(run: Run, condition: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of each case of a condition, seed by seed."""
    for variant, case in sorted(run.cases.items()):
        if variant.rpartition("-")[0] == condition and case.status == "succeeded":
            yield read_items(case.path)


def print_members(run: Run) -> None:
    """How good each member is alone, and how alike they err: means over the seeds."""
    found: defaultdict[str, list[list[float]]] = defaultdict(list)
    names: tuple[str, ...] = ()
    for rows in rows_of(run, "majority"):
        for task in dict.fromkeys(row["output"]["task"] for row in rows):
            told = [row["output"] for row in rows if row["output"]["task"] == task]
            names = tuple(sorted(told[0]["votes"]))
            recorded = Recorded.of({name: [each["votes"][name] for each in told] for name in names},
                                   [each["truth"] for each in told])  # fmt: skip
            theory = condorcet(recorded)
            alone = [float(share) for share in recorded.right.mean(axis=0)]
            effective = effective_members(recorded, draws=100).value
            correlation = error_correlation(recorded).mean
            found[task].append([*alone, math.nan if correlation is None else correlation, effective,
                                theory.independent, theory.observed.value])  # fmt: skip
    print(f"\n| task | {' | '.join(names)} | error correlation | effective members "
          "| majority, if errors were independent | majority |")  # fmt: skip
    print("|---|" + "--:|" * (len(names) + 4))
    for task, figures in found.items():
        print(f"| {task} | " + " | ".join(f"{each:.3f}" for each in np.mean(figures, axis=0)) + " |")


def print_check(run: Run) -> None:
    """Differences fold by fold, with the variance that splits of one data set need.

    Folds of one data set share most of the items that their members were fitted on, so the variance of their mean is
    larger than that of independent folds: Nadeau & Bengio (2003, Mach. Learn. 52:239-281) add the share of asked to
    fitted items to 1/J. Here a third: 20 % of the items are asked, 60 % fit the members.
    """
    right: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
    for sign, condition in ((1, "majority"), (-1, "single")):
        for seed, rows in enumerate(rows_of(run, condition)):
            for row in rows:
                right[row["output"]["task"], seed, row["output"]["fold"]].append(sign * row["metrics"]["accuracy"])
    print(
        "\n| task | folds | majority − single | 95 % interval, corrected for shared items | p |\n|---|--:|--:|---|--:|"
    )
    for task in dict.fromkeys(task for task, _, _ in right):
        # Each item is among them twice, once with each sign.
        folds = np.array([2 * sum(values) / len(values) for (name, _, _), values in right.items() if name == task])
        mean, low, high, p = corrected(folds, asked_to_fitted=1 / 3)
        print(f"| {task} | {len(folds)} | {mean:+.4f} | [{low:+.4f}, {high:+.4f}] | {p_text(p)} |")


def corrected(values: NDArray[np.float64], asked_to_fitted: float) -> tuple[float, float, float, float]:
    """Mean, ends of its 95 % interval, and p, by the corrected resampled t test."""
    count, mean = len(values), float(values.mean())
    error = math.sqrt((1 / count + asked_to_fitted) * float(values.var(ddof=1)))
    known: Any = stats.t(count - 1)
    half = float(known.ppf(0.975)) * error
    return mean, mean - half, mean + half, 2 * float(known.sf(abs(mean) / error)) if error else 1.0


def print_sizes(run: Run) -> None:
    """What members take: means over items and seeds, and quantiles over all."""
    print("\n| members | accuracy | agreement | calls | waiting, p50 | waiting, p99 |\n|--:|--:|--:|--:|--:|--:|")
    for size in sorted({int(variant.split("_")[1].split("-")[0]) for variant in run.cases}):
        told = [row["metrics"] for rows in rows_of(run, f"size_{size}") for row in rows]
        if not told:
            continue
        accuracy, agreement, calls = (
            np.mean([row[name] for row in told]) for name in ("accuracy", "agreement", "calls")
        )
        p50, p99 = np.quantile([row["waited_s"] for row in told], [0.5, 0.99])
        print(f"| {size} | {accuracy:.4f} | {agreement:.4f} | {calls:.0f} | {p50 * 1e3:.1f} ms | {p99 * 1e3:.1f} ms |")


def print_moderation(run: Run) -> None:
    """(weighted − majority) calibrated, less the same uncalibrated: item by item, each with the mean of its seeds."""
    signs = {"weighted_calibrated": 1, "majority_calibrated": -1, "weighted_raw": -1, "majority_raw": 1}
    for metric in ("accuracy", "brier"):
        items: defaultdict[str, float] = defaultdict(float)
        for condition, sign in signs.items():
            seeds = list(rows_of(run, condition))
            for row in (row for rows in seeds for row in rows):
                items[row["key"]] += sign * row["metrics"][metric] / len(seeds)
        values = list(items.values())
        interval = mean_interval(values)
        ends = f"95 % CI [{interval.low:+.4f}, {interval.high:+.4f}]"
        print(f"\nModeration of {metric} by calibration: {np.mean(values):+.4f}, {ends}, {len(values):,} items.")


if __name__ == "__main__":
    main()
