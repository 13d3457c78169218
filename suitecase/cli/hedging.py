"""`hedging plan`: what backups would have gained on a run's recorded latencies, and what they would have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from suitecase.cli.common import AsJson, ResultsDir, RunName, console, open_run, print_json, print_table

if TYPE_CHECKING:
    from suitecase.hedging import Tradeoff

__all__ = ["app", "plan"]

ENOUGH = 100
"""Of so many latencies one is beyond the 99th percentile."""

app = typer.Typer(no_args_is_help=True, help="Requests that are made again when they are slow.")


@app.callback()
def whole() -> None:
    """Requests that are made again when they are slow."""


@app.command()
def plan(
    run: RunName,
    max_backups: Annotated[int, typer.Option(min=1, max=5, help="Backups of a request.")] = 1,
    budget: Annotated[float, typer.Option(min=0, max=1, help="Extra requests that may be, per request.")] = 0.05,
    target: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare delays on a run's recorded latencies: 99th percentile against extra requests.

    Attempts are taken for independent. Where a request is slow each time it is sent, backups gain less.
    """
    from suitecase.errors import NotFoundError
    from suitecase.hedging import front, tradeoffs
    from suitecase.queries.latencies import find_latencies

    found = find_latencies(open_run(run, results_dir))
    if target is not None:
        names = ", ".join(repr(each.target) for each in found)
        found = [each for each in found if each.target == target]
        if not found:
            raise NotFoundError(f"no latencies of {target!r}; there are those of {names}.")
    planned: list[dict[str, Any]] = []
    for each in found:
        best = front(tradeoffs(each.seen, max_backups=max_backups))
        affordable = [option for option in best if option.extra <= budget + 1e-9]
        planned.append(
            {
                "target": each.target, "calls": len(each.seen), "censored": sum(cut for _, cut in each.seen),
                "front": [as_dict(option) for option in best], "within_budget": as_dict(affordable[-1]),
            }
        )  # fmt: skip
    print_json({"max_backups": max_backups, "budget": budget, "targets": planned}) if as_json else show(planned, budget)


def as_dict(option: Tradeoff) -> dict[str, Any]:
    delay_s = None if option.delay_s == float("inf") else option.delay_s
    return {"delay_s": delay_s, "extra": option.extra, "p50_s": option.p50_s, "p99_s": option.p99_s}


def show(planned: list[dict[str, Any]], budget: float) -> None:
    """A table per target, and the sentence that it comes to."""
    out = console()
    columns = ["delay", "extra requests", "p50", "p99", "p99 change"]
    for each in planned:
        cut_off = f", {each['censored']} of them cut off" if each["censored"] else ""
        few = f"; of fewer than {ENOUGH} the p99 is the longest, and says little" if each["calls"] < ENOUGH else ""
        out.print(f"{each['target']}: {each['calls']} latencies{cut_off}{few}", style="bold")
        without = each["front"][0]["p99_s"]
        rows = [
            (
                "no backups" if option["delay_s"] is None else f"{option['delay_s']:.4g} s",
                f"{option['extra']:.1%}",
                f"{option['p50_s']:.4g} s",
                f"{option['p99_s']:.4g} s",
                f"{option['p99_s'] / without - 1:+.0%}" if without else "",
            )
            for option in each["front"]
        ]
        print_table(columns, rows, right=columns)
        chosen = each["within_budget"]
        if chosen["delay_s"] is None:
            out.print(f"Within {budget:.0%} of extra requests, no backups would have helped.")
        else:
            out.print(f"Within {budget:.0%} of extra requests: a delay of {chosen['delay_s']:.4g} s.")
