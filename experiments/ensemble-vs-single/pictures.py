"""The two pictures of the README."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot, which asks for a display's backend

from suitecase.compare.model import Study
from suitecase.rundir import Run
from suitecase.tables.rows import case_results, metric_rows

__all__ = ["draw_hedging", "draw_votes"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#6b6b76")
"""Okabe and Ito's, which colour-blind readers tell apart."""


def draw_votes(majority: Study, sizes: Study, path: Path) -> None:
    """H1's differences with their intervals, and what H3's sizes gain and take."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axvline(0, color="black", linewidth=1)
    for place, each in enumerate(majority.comparisons):
        low, high = 100 * each.interval.low, 100 * each.interval.high
        left.plot([low, high], [place, place], color=COLOURS[0])
        left.plot(100 * each.difference, place, "s", color=COLOURS[0])
    left.set_yticks(range(len(majority.comparisons)), [each.stratum for each in majority.comparisons])
    left.invert_yaxis()
    left.set(title="H1: majority of five − best single", xlabel="accuracy, points of a hundred")
    first = next(each for each in sizes.comparisons if each.metric == "accuracy")
    told = {(each.metric, each.first): each.means[0] for each in sizes.comparisons}
    told |= {(each.metric, each.second): each.means[1] for each in sizes.comparisons}
    names = [first.second, *(each.first for each in sizes.comparisons if each.metric == "accuracy")]
    waits = [1000 * told["waited_s@p99", name] for name in names]
    accuracies = [100 * told["accuracy", name] for name in names]
    right.plot(waits, accuracies, "o-", color=COLOURS[1])
    for name, wait, accuracy in zip(names, waits, accuracies, strict=True):
        right.annotate(name.removeprefix("size_"), (wait, accuracy), textcoords="offset points", xytext=(5, 5))
    right.margins(0.12)
    right.set(title="H3: members, and what they take", xlabel="99th percentile of waiting, ms", ylabel="accuracy, %")
    figure.savefig(path, dpi=110)


def draw_hedging(hedging: Run, adaptive: Run, path: Path) -> None:
    """H2's sessions, a line each, and H4's losses as they develop."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    p99s: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    rules: dict[str, None] = {}
    for case in hedging.cases.values():
        results: dict[str, Any] = dict(case_results(hedging, case)[0])
        rule, service, session = case.variant.rsplit("-", 2)
        if "p99_s" in results:
            p99s[service, session][rule] = 1000 * results["p99_s"]
            rules[rule] = None
    services = list(dict.fromkeys(service for service, _ in p99s))
    for (service, _), of_rule in p99s.items():
        colour = COLOURS[services.index(service)]
        left.plot([list(rules).index(rule) for rule in of_rule], list(of_rule.values()), "o-", color=colour, alpha=0.7)
    for number, service in enumerate(services):
        left.plot([], [], "o-", color=COLOURS[number], label=service)
    left.set_xticks(range(len(rules)), list(rules))
    left.set(title="H2: a line for each session", ylabel="99th percentile, ms", ylim=(0, 1150))
    left.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    curves: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in metric_rows([adaptive]):
        curves[str(row["variant"]).rpartition("-")[0]][int(row["step"])].append(1000 * float(row["value"]))
    for number, (rule, steps) in enumerate(curves.items()):
        means = [np.mean(values) for values in steps.values()]
        right.plot(list(steps), means, color=COLOURS[number], label=rule)
    right.set(title="H4: mean of the sessions", xlabel="requests so far", ylabel="loss per request so far, ms")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
