"""The coverage benchmark runs, and its vectorised forms are the public functions'."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from conftest import HERE

from benchmarks.coverage.designs import designs
from benchmarks.coverage.simulated import measure
from benchmarks.coverage.vectorised import gated_p, gated_paired_p
from benchmarks.pages import write_section
from suitecase.stats import t_test
from suitecase.stats.samples import Array

stats = cast(Any, scipy.stats)  # scipy ships no types


def test_a_quick_run_prints_all_tables() -> None:
    command = [sys.executable, "-m", "benchmarks.coverage", "--quick"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for part in ("one rate, Wilson | 10 |", "pairs, normal differences | 10 |", "| gated rule's error |", "clusters"):
        assert part in done.stdout


def test_a_form_that_differs_from_the_public_function_is_refused() -> None:
    design = next(each for each in designs() if each.name == "groups, normal" and each.n == "10, 10")

    def student(x: Array, y: Array) -> tuple[float, float, bool]:
        interval = t_test(x, y, equal_variances=True).interval
        assert interval is not None
        return interval.low, interval.high, True

    with pytest.raises(ValueError, match="vectorised"):
        measure(replace(design, public=student), 1, 10)


def test_chance_comes_from_the_seed_and_the_design_alone() -> None:
    design = next(each for each in designs() if each.name == "pairs, normal differences")
    assert measure(design, 1, 500, 0) == measure(design, 1, 500, 0)
    assert measure(design, 1, 500, 0) != measure(design, 2, 500, 0)


def test_the_gated_rule_takes_what_scipy_gives() -> None:
    """Normal enough: a t-test; else ranks."""
    rng = np.random.default_rng(1)
    x, y = rng.lognormal(0, 1.5, (40, 30)), rng.normal(1, 1, (40, 20))
    ours = gated_p(x, y)
    ranked = [stats.mannwhitneyu(a, b, method="asymptotic").pvalue for a, b in zip(x, y, strict=True)]
    welch = [stats.ttest_ind(a, b, equal_var=False).pvalue for a, b in zip(x, y, strict=True)]
    taken = np.isclose(ours, ranked)
    assert (taken | np.isclose(ours, welch)).all()
    assert 5 < taken.sum() < 40
    paired = gated_paired_p(x - x.mean())
    signed = [stats.wilcoxon(a, method="asymptotic", correction=True).pvalue for a in x - x.mean()]
    assert np.isclose(paired, signed).sum() == taken.sum()


def test_a_section_is_replaced_whole(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin it -->\nold\n<!-- end it -->\nafter\n")
    write_section(page, "it", "new\n")
    assert page.read_text() == "before\n<!-- begin it -->\n\nnew\n\n<!-- end it -->\nafter\n"
    with pytest.raises(ValueError, match="no place for 'other'"):
        write_section(page, "other", "new")
