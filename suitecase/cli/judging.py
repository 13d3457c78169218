"""`compare`, `describe`, `plan`: what runs say about the question, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suitecase.cli.common import AsJson, ResultsDir, RunNames, console, print_json, print_table

if TYPE_CHECKING:
    from suitecase.compare.model import Description, Study
    from suitecase.rundir import Run
    from suitecase.stats.comparisons import Comparison
    from suitecase.stats.results import Interval

__all__ = ["compare", "describe", "plan"]

Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "-m", "--metric", metavar="NAME",
        help="Again for more; NAME@p99 for a quantile. Default: all that the records say what is better in.",
    ),
]  # fmt: skip
Conditions = Annotated[
    list[str] | None,
    typer.Option("-c", "--condition", metavar="CONDITION", help="Only this one; again for more. Default: all."),
]
By = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="Apart for each value of this field of configs or items, and on average; 'none' for not at all. "
        "Default: task, where there are several.",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="Cases with different seeds are systems (as after training) or repeats of one. Default: systems, in "
        "Inspect mode repeats.",
    ),
]
Missing = Annotated[
    str | None,
    typer.Option(
        metavar="HOW", help="Failed items count as auto (wrong for rates, else missing), wrong, drop, or refuse."
    ),
]
Cluster = Annotated[
    str | None, typer.Option(metavar="FIELD", help="Items with the same value of this field depend on each other.")
]
Pool = Annotated[bool, typer.Option("--pool", help="Cases of different commits may be repeats of one condition.")]
Alpha = Annotated[float | None, typer.Option(metavar="RATE", help="Error rate of all comparisons. Default: 0.05.")]
Paired = Annotated[
    str | None, typer.Option(metavar="HOW", help="auto pairs items with the same id and input; yes; no.")
]
CorrectionName = Annotated[
    str | None, typer.Option(metavar="NAME", help="holm (default), hommel, bonferroni, bh, by, none.")
]
Margin = Annotated[
    float | None, typer.Option(metavar="SIZE", help="Smaller differences don't matter: allows 'equivalent'.")
]
Explain = Annotated[
    bool, typer.Option("--explain", help="How conditions, units and pairs were found; which test, why.")
]


def compare(
    runs: RunNames,
    baseline: Annotated[
        str | None,
        typer.Option(
            "-b", "--baseline", metavar="CONDITION",
            help="A condition, a variant or FIELD=VALUE. Default: the one called baseline or control.",
        ),
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
    power: Annotated[float, typer.Option(help="For the difference that could have been seen.")] = 0.8,
    test: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another test than the rule's: it answers another question. welch, student, "
                     "paired-t, mann-whitney, wilcoxon, sign."),
    ] = None,
    transform: Annotated[str | None, typer.Option(metavar="log", help="log compares geometric means.")] = None,
    seed: Annotated[int, typer.Option(help="Of permutations and bootstraps.")] = 0,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="'METRIC < -BOUND'", help="Exit 1 unless the interval excludes such a difference: "
                     "'accuracy < -1pt', 'latency_s > 5%'. Again for more."),
    ] = None,
    explain: Explain = False,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Hold the conditions of runs against a baseline: by how much do they differ, and how sure is that?

    A condition is all cases whose configs differ only in the seed, at one commit. With two cases per condition or more,
    cases are what is counted, else items, in pairs where they have the same id and input. p-values are corrected over
    all comparisons. A plan that was recorded before the run (`suitecase plan`) is followed.

    suitecase compare latest -b small-bare -m accuracy

    suitecase compare prompts -b template=bare --by model --fail-if 'accuracy < -1pt'
    """
    from suitecase.compare.gates import parse_gate
    from suitecase.compare.study import compare_runs

    gates = [parse_gate(text) for text in fail_if or []]
    study = compare_runs(
        named_runs(runs, results_dir), baseline=baseline, metrics=metric, conditions=condition, by=by,
        paired=one_of("--paired", paired, ["auto", "yes", "no"]), seeds=one_of("--seeds", seeds, SEEDS),
        missing=one_of("--missing", missing, MISSING), cluster=cluster, pool=pool, alpha=rate("--alpha", alpha),
        correction=one_of("--correction", correction, CORRECTIONS), power=rate("--power", power) or 0.8, margin=margin,
        test=one_of("--test", test, TESTS), transform=one_of("--transform", transform, ["log"]), seed=seed,
    )  # fmt: skip
    answers = [gate.answer(study) for gate in gates]
    if as_json:
        gated = [{"gate": g.text, "passed": a.passed, "why": a.sentences} for g, a in zip(gates, answers, strict=True)]
        print_json({**study.to_dict(), "sentences": [each.sentence() for each in study.comparisons], "gates": gated})
    else:
        print_study(study, explain=explain)
        for answer in answers:
            for sentence in answer.sentences:
                console().print(sentence, style="bold" if answer.passed else "bold red")
    if not all(answer.passed for answer in answers):
        raise typer.Exit(1)


SEEDS = ["auto", "systems", "repeats"]
MISSING = ["auto", "wrong", "drop", "refuse"]
CORRECTIONS = ["holm", "hommel", "bonferroni", "bh", "by", "none"]
TESTS = ["welch", "student", "paired-t", "mann-whitney", "wilcoxon", "sign"]


def describe(
    runs: RunNames,
    metric: Metrics = None,
    condition: Conditions = None,
    by: By = None,
    seeds: Seeds = None,
    missing: Missing = None,
    cluster: Cluster = None,
    pool: Pool = False,
    alpha: Alpha = None,
    explain: Explain = False,
    results_dir: ResultsDir = None,
    as_json: AsJson = False,
) -> None:
    """Describe the conditions of runs: n, mean, standard deviation, median, quartiles, interval of the mean."""
    from suitecase.compare.study import describe_runs
    from suitecase.stats.wording import level_text

    study = describe_runs(
        named_runs(runs, results_dir), metrics=metric, conditions=condition, by=by,
        seeds=one_of("--seeds", seeds, SEEDS), missing=one_of("--missing", missing, MISSING), cluster=cluster,
        pool=pool, alpha=rate("--alpha", alpha) or 0.05,
    )  # fmt: skip
    if as_json:
        print_json(study.to_dict())
        return
    for stratum, name in dict.fromkeys((each.stratum, each.metric) for each in study.descriptions):
        chosen = [each for each in study.descriptions if (each.stratum, each.metric) == (stratum, name)]
        heading(study, name, stratum, chosen)
        columns = [f"{level_text(1 - study.alpha)} CI" if name == "interval" else name for name in DESCRIBED]
        print_table(columns, [described_row(each) for each in chosen], right=columns[1:])
        print()
    print_notes(study, explain=explain)


def named_runs(names: list[str], results_dir: Path | None) -> list[Run]:
    """The runs that a person names."""
    from suitecase.queries import find_results_dir, find_runs_named
    from suitecase.rundir import read_run

    return [read_run(path) for path in dict.fromkeys(find_runs_named(find_results_dir(given=results_dir), names))]


def one_of(option: str, given: str | None, choices: list[str]) -> Any:
    """A word that must be one of some.

    Raises:
        SuitecaseError: It is none.
    """
    from suitecase.cli.tabular import check_choice

    if given is not None:
        check_choice(option, given, choices)
    return given


def rate(option: str, given: float | None) -> float | None:
    """A share between 0 and 1.

    Raises:
        SuitecaseError: It is none.
    """
    from suitecase.errors import SuitecaseError

    if given is not None and not 0 < given < 1:
        raise SuitecaseError(f"{option} {given:g}: it lies between 0 and 1, such as 0.05.")
    return given


# --- Tables ----------------------------------------------------------------------------------------------------------

COMPARED = ["condition", "n", "mean", "difference", "interval", "level", "effect", "p", "verdict"]
DESCRIBED = ["condition", "n", "missing", "mean", "interval", "sd", "median", "quartiles", "least", "most"]


def print_study(study: Study, *, explain: bool) -> None:
    """A study for people: a table for each metric and stratum, then sentences, then what limits it."""
    out = console()
    for stratum, name in dict.fromkeys((each.stratum, each.metric) for each in study.comparisons):
        chosen = [each for each in study.comparisons if (each.stratum, each.metric) == (stratum, name)]
        heading(study, name, stratum, chosen)
        columns = [
            f"p{name.rpartition('@p')[2]}" if column == "mean" and "@p" in name else column for column in COMPARED
        ]
        print_table(columns, [baseline_row(chosen[0]), *map(compared_row, chosen)], right=columns[1:-1])
        print()
    for each in study.comparisons:
        out.print(f"{each.label.capitalize()}: {each.sentence()}" if each.label else each.sentence())
    print_notes(study, explain=explain)


def heading(study: Study, name: str, stratum: str, chosen: list[Comparison] | list[Description]) -> None:
    """Which metric a table is about, in which direction, and what is counted."""
    (facts,) = [each for each in study.metrics if each.name == name]
    words = [f"in {facts.unit}"] * bool(facts.unit) + [f"{facts.better} is better"] * bool(facts.better)
    words += list(dict.fromkeys(f"counted in {each.unit}s" for each in chosen))
    if len(study.comparisons) > 1 and study.correction != "none":
        words.append(f"{study.comparisons[0].correction_name()} over {study.comparisons[0].family}")
    console().print(f"{name}{f', {stratum}' * bool(stratum)}: {', '.join(words)}", style="bold")


def baseline_row(comparison: Comparison) -> tuple[str, ...]:
    from suitecase.stats.wording import number_text

    return (comparison.second, str(comparison.n[1]), number_text(comparison.means[1]), "", "", "", "", "", "baseline")


def compared_row(comparison: Comparison) -> tuple[str, ...]:
    """A comparison, for `COMPARED`."""
    from suitecase.stats.wording import number_text, p_text

    words = verdict_words(comparison)
    if comparison.verdict == "not tested":
        return (comparison.first, str(comparison.n[0]), number_text(comparison.means[0]), "", "", "", "", "", words)
    effect = comparison.effect
    return (
        comparison.first,
        str(comparison.n[0]),
        number_text(comparison.means[0]),
        signed(comparison.difference),
        ends_text(comparison.interval),
        f"{100 * comparison.interval.level:.3g} %",
        f"{effect.name} {number_text(effect.value)}" if effect else "",
        p_text(comparison.p_adjusted).removeprefix("p ").removeprefix("= "),
        words,
    )


def ends_text(interval: Interval | None) -> str:
    """An interval without its level."""
    from suitecase.stats.wording import number_text

    return f"[{number_text(interval.low)}, {number_text(interval.high)}]" if interval else ""


def verdict_words(comparison: Comparison) -> str:
    """The verdict, whether that is good, and whether it may be relied on."""
    words = str(comparison.verdict)
    if comparison.wins is not None:
        words += ", better" if comparison.wins else ", worse"
    return words + ", fragile" * comparison.fragile + f" ({comparison.label})" * bool(comparison.label)


def signed(value: float) -> str:
    """A difference with its sign."""
    from suitecase.stats.wording import number_text

    return "+" * (value > 0) + number_text(value)


def described_row(each: Description) -> tuple[str, ...]:
    """A description, for `DESCRIBED`."""
    from suitecase.stats.wording import number_text

    def text(value: float) -> str:
        return "" if value != value else number_text(value)

    quartiles = f"{text(each.quartiles[0])} to {text(each.quartiles[1])}" if each.n else ""
    return (
        each.condition, str(each.n), str(each.missing), text(each.mean), ends_text(each.interval), text(each.sd),
        text(each.median), quartiles, text(each.minimum), text(each.maximum),
    )  # fmt: skip


def print_notes(study: Study, *, explain: bool) -> None:
    """What limits a study; and how it was made, where that is asked for."""
    out = console()
    warnings = [*study.warnings, *gathered_warnings(study)]
    if warnings:
        out.print("\nMind:" if study.comparisons else "Mind:", style="bold")
    for warning in dict.fromkeys(warnings):
        out.print(f"  - {warning}", style="yellow")
    if not explain:
        return
    out.print("\nHow this was made:", style="bold")
    for each in study.explanations:
        out.print(f"  - {each}", style="dim")
    for comparison in study.comparisons:
        about = f"{comparison.metric}{f' ({comparison.stratum})' * bool(comparison.stratum)}"
        out.print(f"  - {comparison.first}, {about}: {' '.join(comparison.why)}", style="dim")


def gathered_warnings(study: Study) -> list[str]:
    """The warnings of comparisons, each once, with the conditions that it is about unless that is all of them."""
    about: dict[str, dict[str, None]] = {}
    for comparison in study.comparisons:
        for warning in comparison.warnings if comparison.verdict != "not tested" else ():
            about.setdefault(warning, {})[comparison.first] = None
    conditions = {comparison.first for comparison in study.comparisons}
    return [
        warning
        if len(names) == len(conditions) or warning.startswith((*names, f"{study.baseline}:"))
        else f"{', '.join(names)}: {warning}"
        for warning, names in about.items()
    ]


# --- Plans -----------------------------------------------------------------------------------------------------------

plan = typer.Typer(
    help="Write down what will be compared before a run, and look at what was.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@plan.command("new")
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where; nothing is overwritten.")] = Path("plan.toml"),
    hypothesis: Annotated[str, typer.Option(help="One sentence that the results can contradict.")] = "",
    baseline: Annotated[str, typer.Option("-b", "--baseline", metavar="CONDITION")] = "",
    metric: Annotated[list[str] | None, typer.Option("-m", "--metric", metavar="NAME", help="Again for more.")] = None,
    alpha: Annotated[float, typer.Option(metavar="RATE")] = 0.05,
    correction: Annotated[str, typer.Option(metavar="NAME")] = "holm",
    n: Annotated[int | None, typer.Option("-n", min=2, metavar="N", help="Units of each condition.")] = None,
    justification: Annotated[str, typer.Option(help="Why so many.")] = "",
) -> None:
    """Write a plan to be filled in; give it to the suite as hooks=[Plan("plan.toml")], from suitecase.compare."""
    from suitecase.compare.plans import new_plan

    one_of("--correction", correction, CORRECTIONS)
    new_plan(
        file, hypothesis=hypothesis, baseline=baseline, metrics=metric or [], alpha=rate("--alpha", alpha) or 0.05,
        correction=correction, n=n, justification=justification,
    )  # fmt: skip
    console().print(f"wrote {file}\n\nNext: fill it in, then\n  suitecase plan check {file}")


@plan.command("check")
def check(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: AsJson = False) -> None:
    """Say what is wrong with a plan, or what it says."""
    from suitecase.compare.plans import parse_plan, read_plan

    text, digest = read_plan(file)
    contents = parse_plan(text, str(file))
    if as_json:
        print_json({"path": str(file), "sha256": digest, "contents": contents.model_dump()})
        return
    console().print(f"{file} can be held to (sha256 {digest[:12]}): {contents.hypothesis}")


@plan.command("show")
def show(runs: RunNames, results_dir: ResultsDir = None, as_json: AsJson = False) -> None:
    """Show the plan that was recorded before a run; exit 1 if there is none, or if it was changed later."""
    from suitecase.compare.plans import registered_plan

    found = {run.name: registered_plan(run) for run in named_runs(runs, results_dir)}
    if as_json:
        print_json({
            name: each and {"path": each.path, "sha256": each.sha256, "changed": each.changed,
                            "contents": each.contents.model_dump()}
            for name, each in found.items()
        })  # fmt: skip
    else:
        for name, each in found.items():
            if each is None:
                console().print(f"{name}: no plan was recorded before it.")
                continue
            console().print(f"{name}: {each.path}, sha256 {each.sha256}")
            console().print(each.contents.model_dump_json(indent=2, exclude_defaults=True))
            for sentence in each.changed:
                console().print(sentence, style="yellow")
    if any(each is None or each.changed for each in found.values()):
        raise typer.Exit(1)
