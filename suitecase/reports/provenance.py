"""Where results come from: runs, code, environment, what failed, and how to get them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from suitecase.compare.model import Study
from suitecase.queries.comparison import compare_environments, environment_of
from suitecase.queries.served import served_models
from suitecase.reports.document import Block, Check, Checklist, Code, Points, Prose, Section, TableBlock
from suitecase.reports.words import counted, duration_text, listed
from suitecase.rundir import Run
from suitecase.stats.wording import number_text

__all__ = ["checklist", "code_and_environment", "conditions", "design", "reproduction"]

MOST_FAILURES: Final = 20
MOST_DIFFERENCES: Final = 20


def conditions(study: Study) -> Section:
    """What is compared with what."""
    fields = list(dict.fromkeys(name for each in study.conditions for name in each.fields))
    rows = [
        (
            each.name + " (baseline)" * (each.name == study.baseline),
            *(cell(each.fields.get(name)) for name in fields),
            seeds_words(each.seeds), f"{number_text(each.succeeded)} of {number_text(each.cases)}",
        )
        for each in study.conditions
    ]  # fmt: skip
    table = TableBlock(
        "Conditions: all cases whose configs differ only in the seed.",
        ("condition", *fields, "seeds", "succeeded"), tuple(rows), ("succeeded",),
    )  # fmt: skip
    return Section("conditions", "Question and conditions", (Prose(question(study)), table))


def question(study: Study) -> str:
    """What was asked, from conditions, metrics and baseline."""
    wanted = {"higher": ", of which more is better", "lower": ", of which less is better", "": ""}
    metrics = listed([each.name + wanted[each.better] for each in study.metrics])
    names = [each.name for each in study.conditions if each.name != study.baseline]
    shown = listed(names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"])
    if study.baseline and names:
        return f"{'Does' if len(names) == 1 else 'Do'} {shown} differ from {study.baseline} in {metrics}?"
    return f"What is {metrics} under {listed([each.name for each in study.conditions][:6])}?"


def design(study: Study, runs: Sequence[Run]) -> Section:
    """How many of what, in which runs, and what failed."""
    rows = [
        (
            f"{each.experiment}/{each.name}", each.code, each.status,
            ", ".join(f"{number_text(count)} {status}" for status, count in each.counts.items()) or "none",
            (each.started_at or "–")[:16].replace("T", " "),
            "–" if each.duration_s is None else duration_text(each.duration_s),
        )
        for each in study.runs
    ]  # fmt: skip
    blocks: list[Block] = [
        TableBlock(
            "Runs.", ("run", "code", "status", "cases", "started (UTC)", "wall time"), tuple(rows), ("wall time",)
        )
    ]
    if study.explanations:
        blocks.append(Points(study.explanations))
    if study.plan:
        blocks.append(Prose(plan_words(study.plan)))
    failed = failures(runs)
    if failed:
        blocks.append(failed_table(failed))
    return Section("design", "Design and sample", tuple(blocks))


def plan_words(plan: Mapping[str, Any]) -> str:
    """Which plan was made beforehand."""
    digest = str(plan.get("sha256", ""))
    named = f" (sha256 {digest[:12]}…)" if digest else ""
    path = plan.get("path", "a plan")
    return f"The analysis was planned beforehand in {path}{named}; what it doesn't name is exploratory."


def failures(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row for each case that did not succeed."""
    return [
        (f"{run.name}/{case.variant}", case.status, case.cause or "–")
        for run in runs
        for case in run.cases.values()
        if case.status != "succeeded"
    ]


def failed_table(failed: Sequence[tuple[str, ...]]) -> TableBlock:
    more = len(failed) - MOST_FAILURES
    note = f"And {number_text(more)} more, which results.csv has." if more > 0 else ""
    caption = f"{counted(len(failed), 'case')} did not succeed."
    return TableBlock(caption, ("case", "status", "cause"), tuple(failed[:MOST_FAILURES]), (), note)


def code_and_environment(study: Study, runs: Sequence[Run]) -> Section:
    """The exact code, and what it ran on."""
    if not runs:
        codes = listed(list(dict.fromkeys(each.code for each in study.runs))) or "unknown code"
        return Section("code", "Code and environment", (Prose(f"The runs ran {codes}."),))
    rows = [
        (
            run.name, (run.code.commit or "–")[:12], run.code.branch or "–",
            {True: "yes", False: "no", None: "–"}[run.code.dirty] + f", in {run.code.patch}" * bool(run.code.patch),
            (run.code.tree or "–")[:12],
        )
        for run in runs
    ]  # fmt: skip
    blocks: list[Block] = [
        TableBlock(
            "Code. Equal trees mean equal code.",
            ("run", "commit", "branch", "uncommitted changes", "tree"),
            tuple(rows),
        )
    ]
    served = [
        (run.name, asked, ", ".join(f"{name} ({counted(n, 'call')})" for name, n in ids.items()))
        for run in runs
        for asked, ids in served_models(run).items()
    ]
    if served:
        caption = "Models: the name that was asked for, and what the provider says it served."
        blocks.append(TableBlock(caption, ("run", "asked for", "served"), tuple(served)))
    found = [(run, environment) for run in runs if (environment := environment_of(run)) is not None]
    if found:
        blocks.append(TableBlock("Environment.", ("", "value"), tuple(environment_rows(found[0][1]))))
    for run, environment in found[1:]:
        differing = compare_environments(found[0][1], environment) or []
        if differing:
            words = [f"{each.what}: {cell(each.before)} before, {cell(each.after)} here" for each in differing]
            more = f"; and {len(words) - MOST_DIFFERENCES} more" if len(words) > MOST_DIFFERENCES else ""
            blocks.append(Prose(f"{run.name} ran elsewhere: {'; '.join(words[:MOST_DIFFERENCES])}{more}."))
    return Section("code", "Code and environment", tuple(blocks))


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What matters of `environment.json`; it has every package."""

    def part(name: str) -> dict[str, Any]:
        value: object = environment.get(name)
        return cast(dict[str, Any], value) if isinstance(value, dict) else {}

    packages, system = part("packages"), part("system")
    gpus: object = environment.get("gpus")
    named = [
        str(cast(dict[str, Any], gpu).get("name", "GPU")) if isinstance(gpu, dict) else str(gpu)
        for gpu in (cast(list[object], gpus) if isinstance(gpus, list) else [])
    ]
    memory: object = environment.get("memory_bytes")
    rows = [
        ("Python", str(part("python").get("version", "–")).partition(" (")[0]),
        ("system", " ".join(str(system[name]) for name in ("name", "release", "machine") if name in system) or "–"),
        ("CPUs", cell(environment.get("usable_cpus", environment.get("cpus")))),
        ("memory", f"{memory / 1e9:.1f} GB" if isinstance(memory, int) else "–"),
        ("GPUs", ", ".join(named) or "none"),
    ]
    known = [f"{name} {packages[name]}" for name in NAMED_PACKAGES if name in packages]
    counted_words = f"{counted(len(packages), 'package')}, all in environment.json"
    return [*rows, ("packages", ", ".join(known) + f"; {counted_words}" if known else counted_words)]


NAMED_PACKAGES: Final = (
    "numpy", "scipy", "pandas", "scikit-learn", "torch", "tensorflow", "jax", "transformers", "vllm", "inspect_ai",
    "openai", "anthropic", "suitecase",
)  # fmt: skip
"""Whose version readers ask for first."""


def reproduction(study: Study) -> Section:
    """What to type."""
    names = [f"{each.experiment}/{each.name}" for each in study.runs]
    quoted = [shlex.quote(name) for name in names]
    lines = [f"suitecase verify {name}      # is the record whole?" for name in quoted]
    lines += [f"suitecase reproduce {name}   # the same code again, every result compared" for name in quoted]
    lines.append(f"suitecase report {' '.join(quoted)}      # this report")
    return Section(
        "reproduce", "How to reproduce", (Prose("In the repository that has the commit:"), Code("\n".join(lines)))
    )


def checklist(study: Study, runs: Sequence[Run]) -> Section:
    """What a reader needs to believe and repeat it, as far as a program can tell."""
    return Section(
        "checklist", "Reproducibility checklist",
        (Checklist((*code_checks(runs), *sample_checks(study), *analysis_checks(study))),),
    )  # fmt: skip


def code_checks(runs: Sequence[Run]) -> list[Check]:
    """Of code and environment."""
    if not runs:
        return []
    lost = [run.name for run in runs if run.code.commit is None or (run.code.dirty and not is_patched(run))]
    mixed = [run.name for run in runs if run.mixes_code]
    trees = {run.code.tree for run in runs}
    no_environment = [run.name for run in runs if environment_of(run) is None]
    unhashed = [case.variant for run in runs for case in run.cases.values() if not case.config_sha256]
    configs = sum(len(run.cases) for run in runs)
    return [
        Check(
            "Is the exact code recorded?",
            f"Not of {listed(lost)}." if lost else "Commit, and a patch of what was not committed.", not lost,
        ),
        Check(
            "Did one code make all results?",
            f"{listed(mixed)} mixed code." if mixed
            else f"{counted(len(trees), 'tree')} in {counted(len(runs), 'run')}.",
            not mixed and len(trees) == 1,
        ),
        Check(
            "Is the environment recorded?",
            f"Not of {listed(no_environment)}." if no_environment else "Python, packages and machine.",
            not no_environment,
        ),
        Check(
            "Is every config recorded with its hash?",
            f"{number_text(configs - len(unhashed))} of {counted(configs, 'config')}.", not unhashed,
        ),
    ]  # fmt: skip


def is_patched(run: Run) -> bool:
    code: object = run.asked.get("code")
    return bool(run.code.patch) and not (
        isinstance(code, dict) and cast(dict[str, Any], code).get("patch_complete") is False
    )


def sample_checks(study: Study) -> list[Check]:
    """Of cases, seeds and values."""
    cases, succeeded = (sum(getattr(each, name) for each in study.conditions) for name in ("cases", "succeeded"))
    seedless = [each.name for each in study.conditions if None in each.seeds]
    single = [each.name for each in study.conditions if len(set(each.seeds)) < 2]
    missing = sum(each.missing for each in study.descriptions)
    return [
        Check("Did every case succeed?", f"{number_text(succeeded)} of {number_text(cases)}.", cases == succeeded),
        Check(
            "Is every seed recorded?",
            f"Not of {listed(seedless[:5])}." if seedless else "In every config.",
            not seedless,
        ),
        Check(
            "Does every condition have several seeds?",
            f"{number_text(len(single))} of {counted(len(study.conditions), 'condition')} have one."
            if single
            else "Yes.",
            not single,
        ),
        Check("Is no value missing?", f"{number_text(missing)} missing." if missing else "None is.", not missing),
    ]


def analysis_checks(study: Study) -> list[Check]:
    """Of the analysis."""
    several = len(study.comparisons) > 1
    corrected = study.correction not in ("", "none")
    checks = [
        Check(
            "Was the analysis planned beforehand?",
            f"{study.plan.get('path', 'A plan')}, recorded in the journal." if study.plan else "No plan was recorded.",
            bool(study.plan),
        )
    ]
    if study.comparisons:
        number = counted(len(study.comparisons), "comparison")
        checks.append(
            Check(
                "Are several comparisons corrected for?",
                f"{number}, {study.comparisons[0].correction_name() if corrected else 'no correction'}.",
                corrected or not several,
            )
        )  # fmt: skip
        checks.append(
            Check(
                "Does every difference have an interval and an effect size?", effects_words(study), has_effects(study)
            )
        )
    checks.append(
        Check("Are the data beside the report?", "results.csv has the cases, analysis.json every figure.", True)
    )
    return checks


def has_effects(study: Study) -> bool:
    return all(each.effect is not None for each in study.comparisons if each.verdict != "not tested")


def effects_words(study: Study) -> str:
    without = [each.first for each in study.comparisons if each.effect is None]
    return f"No effect size for {listed(without[:5])}." if without else "Yes."


def seeds_words(seeds: Sequence[int | None]) -> str:
    """Seeds, as a range where they follow each other."""
    known = sorted({seed for seed in seeds if seed is not None})
    if len(known) > 3 and known[-1] - known[0] == len(known) - 1:
        return f"{known[0]} to {known[-1]}"
    return ", ".join(map(str, known[:8])) + ", …" * (len(known) > 8) if known else "–"


def cell(value: Any) -> str:
    """A config's or an environment's value."""
    from suitecase.tables.formats import cell_text

    text = "–" if value is None else cell_text(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
