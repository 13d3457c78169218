"""The tables of docs/statistics.md: what the whole run found."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.pages import table

from .designs import MEANS, OTHERS
from .rates import RateDesign, RateFound
from .simulated import Design, Measured

__all__ = ["sections"]

Simulated = Sequence[tuple[Design, Measured]]
Exact = Sequence[tuple[RateDesign, RateFound]]


def sections(exact: Exact, simulated: Simulated) -> dict[str, str]:
    """The text of each marked place of the page."""
    return {
        "coverage of rates": rates_table(exact),
        "coverage of means": means_table([each for each in simulated if each[0].table == MEANS]),
        "coverage of others": others_table([each for each in simulated if each[0].table == OTHERS]),
    }


def rates_table(exact: Exact) -> str:
    header = ("interval", "n", "mean coverage", "least, at rates", "mean type I error", "largest")
    rows = [
        (
            design.name,
            design.n,
            percent(found.mean),
            f"{percent(found.least)} at {found.at}",
            "" if found.error_mean is None else percent(found.error_mean),
            "" if found.error_most is None else percent(found.error_most),
        )
        for design, found in exact
    ]
    return table(header, rows)


def means_table(simulated: Simulated) -> str:
    header = ("design", "n", "covers", "type I error", "warned", "promised", "", "gated rule's error")
    rows = [
        (
            design.name, design.n, percent(found.covered),
            f"{percent(1 - found.covered)} ± {100 * found.error(found.covered):.2f}", percent(found.warned),
            design.promise.name, verdict(design, found), percent(found.gated_rejects),
        )
        for design, found in simulated
    ]  # fmt: skip
    return table(header, rows)


def others_table(simulated: Simulated) -> str:
    header = ("design", "n", "covers", "warned", "promised", "")
    rows = [
        (
            design.name, design.n, f"{percent(found.covered)} ± {100 * found.error(found.covered):.2f}",
            percent(found.warned), design.promise.name, verdict(design, found),
        )
        for design, found in simulated
    ]  # fmt: skip
    return table(header, rows)


def verdict(design: Design, found: Measured) -> str:
    return "held" if found.keeps(design.promise) else "**missed**"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
