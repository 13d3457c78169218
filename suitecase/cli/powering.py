"""`power`: how many units a comparison will need, and what so many can see."""

from __future__ import annotations

from typing import Annotated

import typer

from suitecase.cli.common import RUN_HELP, AsJson, ResultsDir, complete_run, console, print_json, print_table

__all__ = ["power"]


def power(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PILOT…]", help=f"Runs to take the spread from. {RUN_HELP}", autocompletion=complete_run
        ),
    ] = None,
    effect: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The true difference to be seen: 0.02, 2pt (hundredths).")
    ] = None,
    n: Annotated[int | None, typer.Option("-n", min=2, metavar="N", help="Units of each condition, or pairs.")] = None,
    baseline: Annotated[str | None, typer.Option("-b", "--baseline", metavar="CONDITION", help="Of the pilot.")] = None,
    metric: Annotated[str | None, typer.Option("-m", "--metric", metavar="NAME", help="Of the pilot.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="RATE", help="Without a pilot: the baseline's rate.")] = None,
    sd: Annotated[
        float | None, typer.Option(metavar="SD", help="Without a pilot: standard deviation of values.")
    ] = None,
    paired: Annotated[bool, typer.Option("--paired", help="Without a pilot: the same items for both.")] = False,
    discordant: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of pairs in which just one is right.")
    ] = None,
    correlation: Annotated[
        float, typer.Option(metavar="R", help="Between the two sides of pairs, with --sd and --paired.")
    ] = 0.5,
    comparisons: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Over how many alpha is shared. Default: the pilot's, else 1."),
    ] = None,
    alpha: Annotated[float, typer.Option(metavar="RATE", help="Error rate of all comparisons.")] = 0.05,
    wanted: Annotated[float, typer.Option("--power", metavar="SHARE", help="That is wanted.")] = 0.8,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Plan a comparison: how many items, pairs or seeds it takes to see an effect, or what so many can see.

    From a pilot only its spread is taken, never its difference, which chance has made too large or too small.

    suitecase power --rate 0.8 --effect 2pt --paired --discordant 0.1

    suitecase power pilot -b small-bare -m accuracy --effect 2pt
    """
    from suitecase.cli.judging import named_runs
    from suitecase.cli.judging import rate as share
    from suitecase.compare.powering import Assumed, power_of_pilot, power_of_values
    from suitecase.compare.study import compare_runs

    size = None if effect is None else size_of(effect)
    share("--alpha", alpha)
    share("--power", wanted)
    if runs:
        study = compare_runs(
            named_runs(runs, results_dir), baseline=baseline, metrics=[metric] if metric else None, alpha=alpha
        )
        answers = power_of_pilot(study, effect=size, n=n, comparisons=comparisons, power=wanted)
    else:
        assumed = Assumed(
            paired or discordant is not None, rate=rate, discordant=discordant, sd=sd, correlation=correlation
        )
        answers = [power_of_values(assumed, effect=size, n=n, alpha=alpha, comparisons=comparisons or 1, power=wanted)]
    if as_json:
        print_json([each.to_dict() for each in answers])
        return
    out = console()
    for each in answers:
        if each.about:
            out.print(each.about, style="bold")
        for sentence in each.sentences():
            out.print(sentence)
        out.print(f"Assumed: {each.basis}.", style="dim")
        if len(answers) == 1 and each.curve:
            print_table([each.unit, "power"], [(str(at), f"{found:.0%}") for at, found in each.curve], right=["power"])


def size_of(text: str) -> float:
    """A difference as it is typed.

    Raises:
        SuitecaseError: It is none.
    """
    from suitecase.errors import SuitecaseError

    try:
        return float(text.removesuffix("pt")) / (100 if text.endswith("pt") else 1)
    except ValueError:
        raise SuitecaseError(f"--effect {text}: write a number, or points as 2pt.") from None
