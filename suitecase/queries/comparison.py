"""Holds two runs against each other: code, environment, configs, results, and what may explain what."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

from suitecase.queries.code import changed_files, left_out_files
from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.files import read_object
from suitecase.tables.rows import NOT_FINITE, case_results, flatten

__all__ = [
    "Difference",
    "Mean",
    "Value",
    "compare_environments",
    "compare_results",
    "compare_runs",
    "environment_of",
    "means_of",
]

MEASURES_TIME = re.compile(
    r"(^|\.)([^.]*_(s|ms|seconds|minutes|hours|duration|time|timestamp)|(started|ended|finished|created|completed)_at"
    r"|duration|time|timestamp|seconds)(\.|$)"
)
"""Names of results that hold how long something took, or when it was: they differ between any two runs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two runs do not share; None where one has no such thing."""

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Value:
    """A result of a case in two runs.

    Attributes:
        verdict: `equal` exactly, `close` within the tolerance, `differs`, `missing` from one run, or `time`: it tells
            when or how long, so no two runs have the same.
        difference: after - before; None unless both are numbers.
        relative: The difference as a fraction of |before|; None where that is 0.
        n_before, n_after: From how many items the value is a mean, where `metrics` of `results.json` says so.
    """

    variant: str
    key: str
    before: Any
    after: Any
    verdict: str
    difference: float | None = None
    relative: float | None = None
    n_before: int | None = None
    n_after: int | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """A result, averaged over the `n` cases that have it in both runs."""

    key: str
    n: int
    before: float
    after: float
    difference: float


def compare_runs(before: Run, after: Run, *, tolerance: float = 0.0) -> dict[str, Any]:
    """Two runs as one document: what differs, and in `findings`, a sentence each, what may explain what.

    Args:
        tolerance: See `compare_results`.
    """
    matched = [variant for variant in before.cases if variant in after.cases]
    configs, problems = compare_configs(before, after, matched)
    environment = compare_environments(environment_of(before), environment_of(after))
    values, wrong = compare_results(before, after, tolerance=tolerance)
    code = compare_code(before, after)
    return {
        "before": head(before),
        "after": head(after),
        "code": code,
        "environment_known": environment is not None,
        "environment": [asdict(each) for each in environment or []],
        "matched": len(matched),
        "only_before": [variant for variant in before.cases if variant not in after.cases],
        "only_after": [variant for variant in after.cases if variant not in before.cases],
        "configs": {variant: [asdict(each) for each in each_case] for variant, each_case in configs.items()},
        "statuses": [asdict(each) for each in compare_statuses(before, after, matched)],
        "equal_values": sum(value.verdict == "equal" for value in values),
        "results": [asdict(value) for value in values if value.verdict != "equal"],
        "means": [asdict(mean) for mean in means_of(values)],
        "durations": [asdict(each) for each in compare_durations(before, after, matched)],
        "findings": findings(before, after, code, environment, configs, values),
        "problems": list(dict.fromkeys([*before.problems, *after.problems, *problems, *wrong])),
    }


def head(run: Run) -> dict[str, Any]:
    return {
        "experiment": run.experiment, "run": run.name, "path": str(run.path), "status": run.status,
        "cases": len(run.cases), "duration_s": run.duration_s, "commit": run.code.commit, "label": run.code.label,
    }  # fmt: skip


def compare_code(before: Run, after: Run) -> dict[str, Any]:
    """Whether two runs began with the same code, and if not, in which files it differs.

    `equal` is None where nobody knows: a tree was not recorded, or files were left out of the record.
    """
    trees = (before.code.tree, after.code.tree)
    left_out = sorted({*left_out_files(before), *left_out_files(after)})
    equal = None if None in trees else trees[0] == trees[1]
    files, problem = changed_files(before, after) if equal is False else ([], "")
    return {
        "equal": None if equal and left_out else equal,
        "before": asdict(before.code),
        "after": asdict(after.code),
        "left_out": left_out,
        "files": files,
        "problem": problem,
    }


def case_trees(before: Run, after: Run, variant: str) -> tuple[str | None, str | None]:
    """The code of the last attempt at a case in each run."""
    trees = [(last.tree if (last := run.cases[variant].last) else None) or run.code.tree for run in (before, after)]
    return trees[0], trees[1]


def environment_of(run: Run) -> dict[str, Any] | None:
    """`environment.json` and what `run.json` adds: the runner, variables that the runner set. None if it is missing."""
    environment, _ = read_object(run.path / layout.ENVIRONMENT)
    if environment is None:
        return None
    set_: object = run.asked.get("environment_set")
    variables = dict(cast(dict[str, Any], set_)) if isinstance(set_, dict) else {}
    variables.pop("PYTHONPATH", None)  # names folders, and so differs wherever the code lies elsewhere
    runner: object = run.asked.get("runner")
    sha256 = cast(dict[str, Any], runner).get("sha256") if isinstance(runner, dict) else None
    return {**environment, "variables": variables, "runner": str(sha256)[:12] if sha256 else None}


def compare_environments(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[Difference] | None:
    """What differs between two environments; None if one of them is not known."""
    if before is None or after is None:
        return None
    packages = distributions(before), distributions(after)
    pairs: list[tuple[str, Any, Any]] = [("python", python_version(before), python_version(after))]
    pairs += [
        (f"package {name}", packages[0].get(name), packages[1].get(name))
        for name in sorted({*packages[0], *packages[1]})
    ]
    pairs += [(name, before.get(name), after.get(name)) for name in ("host", "usable_cpus", "runner")]
    system = part(before, "system"), part(after, "system")
    pairs += [(f"system {name}", system[0].get(name), system[1].get(name)) for name in ("name", "release", "machine")]
    pairs.append(("GPUs", gpu_names(before), gpu_names(after)))
    values = part(before, "variables"), part(after, "variables")
    names = [{*cast(list[str], each.get("environment_names") or [])} - {"PYTHONPATH"} for each in (before, after)]
    for name in sorted({*values[0], *values[1]} | (names[0] ^ names[1])):
        unknown = SET[name in names[0]], SET[name in names[1]]
        pairs.append((f"variable {name}", values[0].get(name, unknown[0]), values[1].get(name, unknown[1])))
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]


SET = ("not set", "set, nobody recorded to what")


def python_version(environment: Mapping[str, Any]) -> str:
    return str(part(environment, "python").get("version", "")).partition(" ")[0]


def part(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    value: object = of.get(name)
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def distributions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Versions of packages by normalised name (PEP 503)."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in part(environment, "packages").items()}


def gpu_names(environment: Mapping[str, Any]) -> str:
    gpus = cast(list[dict[str, Any]], environment.get("gpus") or [])
    return ", ".join(f"{gpu.get('name')} (driver {gpu.get('driver_version')})" for gpu in gpus) or "none"


def compare_configs(before: Run, after: Run, variants: Iterable[str]) -> tuple[dict[str, list[Difference]], list[str]]:
    """The fields in which the configs of a variant differ, and what is wrong with the files."""
    differences: dict[str, list[Difference]] = {}
    problems: list[str] = []
    for variant in variants:
        (old, wrong), (new, also_wrong) = before.cases[variant].config(), after.cases[variant].config()
        problems += filter(None, (wrong, also_wrong))
        if wrong or also_wrong:
            continue
        flat = flatten(old), flatten(new)
        names = dict.fromkeys([*flat[0], *flat[1]])
        found = [
            Difference(name, *(each.get(name) for each in flat))
            for name in names
            if name not in flat[0] or name not in flat[1] or not same(flat[0][name], flat[1][name])
        ]
        if found:
            differences[variant] = found
    return differences, problems


def compare_statuses(before: Run, after: Run, variants: Iterable[str]) -> list[Difference]:
    """Cases that ended differently, with the cause."""
    pairs = ((variant, before.cases[variant], after.cases[variant]) for variant in variants)
    return [Difference(variant, status(a), status(b)) for variant, a, b in pairs if a.status != b.status]


def status(case: CaseRun) -> str:
    return case.status + f" ({case.cause})" * bool(case.cause)


def compare_durations(before: Run, after: Run, variants: Iterable[str]) -> list[Difference]:
    """Seconds of the last attempt at each case that both ran, and of the whole runs."""
    found = [Difference("whole run", before.duration_s, after.duration_s)]
    for variant in variants:
        lasts = [run.cases[variant].last for run in (before, after)]
        found.append(Difference(variant, *(last.duration_s if last else None for last in lasts)))
    return [each for each in found if each.before is not None and each.after is not None]


def compare_results(
    before: Run,
    after: Run,
    *,
    tolerance: float = 0.0,
    ignore: Sequence[str] = (),
    variants: Sequence[str] | None = None,
) -> tuple[list[Value], list[str]]:
    """Each result of each case that both runs started, value by value, and what is wrong with the files.

    Args:
        tolerance: Numbers are close if they differ by at most this, or by this fraction of the larger one.
        ignore: Patterns of keys to pass over.
        variants: Only these cases.
    """
    values: list[Value] = []
    problems: list[str] = []
    for variant in before.cases if variants is None else variants:
        if variant not in before.cases or variant not in after.cases:
            continue
        (old, wrong), (new, also_wrong) = (case_results(run, run.cases[variant]) for run in (before, after))
        problems += [*wrong, *also_wrong]
        flat = flatten(old), flatten(new)
        if not all(flat) and "pending" in (before.cases[variant].status, after.cases[variant].status):
            continue  # of a case that never started, nothing is missing
        for key in dict.fromkeys([*flat[0], *flat[1]]):
            if not any(fnmatchcase(key, pattern) for pattern in ignore):
                values.append(compared(variant, key, flat, tolerance))
    return values, problems


def compared(variant: str, key: str, flat: tuple[Mapping[str, Any], Mapping[str, Any]], tolerance: float) -> Value:
    a, b = (each.get(key) for each in flat)
    counts = [each.get(f"metrics.{key.removeprefix('metrics.').removesuffix('.mean')}.n") for each in flat]
    n = [count if isinstance(count, int) else None for count in counts]
    numbers = number(a), number(b)
    difference = relative = None
    if numbers[0] is not None and numbers[1] is not None:
        difference = numbers[1] - numbers[0]
        relative = difference / abs(numbers[0]) if numbers[0] else None
    verdict = "differs"
    if key not in flat[0] or key not in flat[1]:
        verdict = "missing"
    elif same(a, b):
        verdict, difference, relative = "equal", 0.0 if difference is not None else None, None
    elif MEASURES_TIME.search(key):
        verdict = "time"
    elif difference is not None and is_close(cast(float, numbers[0]), cast(float, numbers[1]), tolerance):
        verdict = "close"
    return Value(variant, key, a, b, verdict, difference, relative, n[0], n[1])


def is_close(a: float, b: float, tolerance: float) -> bool:
    return tolerance > 0 and math.isclose(a, b, rel_tol=min(tolerance, 1.0), abs_tol=tolerance)


def number(value: Any) -> float | None:
    """A value as a number: integers, floats, and those that strict JSON writes as text."""
    if isinstance(value, str):
        return NOT_FINITE.get(value)
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same; NaN is the same as NaN, 1 as 1.0, and true is not 1."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        pairs = zip(cast(list[Any], a), cast(list[Any], b), strict=False)
        return len(cast(list[Any], a)) == len(cast(list[Any], b)) and all(same(x, y) for x, y in pairs)
    if isinstance(a, dict) and isinstance(b, dict):
        old, new = cast(dict[str, Any], a), cast(dict[str, Any], b)
        return old.keys() == new.keys() and all(same(old[name], new[name]) for name in old)
    return a == b


def means_of(values: Iterable[Value]) -> list[Mean]:
    """The mean of each result over the cases that have it in both runs, of those results that differ somewhere."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    differing: set[str] = set()
    for value in values:
        a, b = number(value.before), number(value.after)
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b):
            pairs.setdefault(value.key, []).append((a, b))
            if value.verdict != "equal":
                differing.add(value.key)
    means: list[Mean] = []
    for key in pairs:
        if key in differing:
            a, b = (math.fsum(column) / len(pairs[key]) for column in zip(*pairs[key], strict=True))
            means.append(Mean(key, len(pairs[key]), a, b, b - a))
    return means


def findings(
    before: Run,
    after: Run,
    code: Mapping[str, Any],
    environment: list[Difference] | None,
    configs: Mapping[str, list[Difference]],
    values: Sequence[Value],
) -> list[str]:
    """What the differences do and don't explain, a sentence each."""
    matched = [variant for variant in before.cases if variant in after.cases]
    sentences = [
        f"{run.name}: its attempts ran different code, so its cases may not be comparable with each other."
        for run in (before, after)
        if run.mixes_code
    ]
    if before.path == after.path:
        sentences.append("This is one run twice: `latest~1` is the run before the latest.")
    if before.experiment != after.experiment:
        sentences.append(f"These are runs of different experiments: {before.experiment} and {after.experiment}.")
    if not matched:
        return [*sentences, "No variant is in both runs, so there is nothing to compare."]
    sentences += ended_differently(compare_statuses(before, after, matched))
    if not values:
        return [*sentences, "No case has results in both runs, so nothing can be said of them."]
    counted = [value for value in values if value.verdict not in ("equal", "time")]
    with_results = {value.variant for value in values}  # nothing can be said of the others
    other = {value.variant for value in counted}
    groups: dict[tuple[tuple[str, ...], bool | None], list[str]] = {}
    for variant in matched:
        if variant in with_results:
            trees = case_trees(before, after, variant)
            equal = None if None in trees or (trees[0] == trees[1] and code["left_out"]) else trees[0] == trees[1]
            fields = tuple(each.what for each in configs.get(variant, []))
            groups.setdefault((fields, equal), []).append(variant)
    for (fields, same_code), variants in groups.items():
        changed = [variant for variant in variants if variant in other]
        sentences.append(explained(variants, changed, fields, same_code, code, environment, configs))
    return sentences


def ended_differently(statuses: Iterable[Difference]) -> list[str]:
    """A sentence for each pair of ends."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in statuses:
        groups.setdefault((each.before, each.after), []).append(each.what)
    return [f"Of {listed(variants)} the status differs: {a}, then {b}." for (a, b), variants in groups.items()]


def listed(variants: Sequence[str]) -> str:
    """Cases in words: their number, and the first of them."""
    names = ", ".join(variants[:3]) + ", …" * (len(variants) > 3)
    return f"{len(variants)} case{'s' * (len(variants) > 1)} ({names})"


def explained(
    variants: Sequence[str],
    changed: Sequence[str],
    fields: Sequence[str],
    same_code: bool | None,
    code: Mapping[str, Any],
    environment: list[Difference] | None,
    configs: Mapping[str, list[Difference]],
) -> str:
    """What may explain the results of cases that differ in the same fields, and in code or not."""
    telling = [each for each in environment or [] if each.what != "host"]
    reasons = [f"the config: {config_words(variants[0], configs)}"] if fields else []
    reasons += [f"the code: {code_words(code)}"] if same_code is False else []
    reasons += [f"the environment: {environment_words(telling)}"] if telling else []
    unknown = ["code"] * (same_code is None) + ["environment"] * (environment is None)
    unsure = f" Whether the {' and the '.join(unknown)} differed was not recorded." if unknown else ""
    cases = f"{len(variants)} case{'s' * (len(variants) > 1)}"
    if not changed:
        if not reasons:
            return f"All results of {cases} are equal.{unsure}"
        return f"All results of {cases} are equal, although something differs in {'; and in '.join(reasons)}.{unsure}"
    start = f"Results differ in {len(changed)} of {cases} ({', '.join(changed[:3])}{', …' * (len(changed) > 3)})"
    if len(reasons) > 1:
        return (
            f"{start}. Different are also {'; '.join(reasons)}. From these two runs nobody can tell which of them it "
            f"was: run again with one of them changed.{unsure}"
        )
    if reasons:
        return f"{start}, and the only recorded difference is in {reasons[0]}. That may explain it.{unsure}"
    if unknown:
        return f"{start}, with the same recorded values.{unsure}"
    return (
        f"{start} with the same code, config and environment: something is not deterministic (a seed that is not "
        "used, threads, a GPU, a remote model), or depends on what nobody records, such as data outside the repository."
    )


def config_words(variant: str, configs: Mapping[str, list[Difference]]) -> str:
    changes = configs.get(variant, [])
    told = [f"{each.what} ({short(each.before)} → {short(each.after)})" for each in changes[:4]]
    return ", ".join(told) + ", …" * (len(changes) > 4)


def code_words(code: Mapping[str, Any]) -> str:
    files: Sequence[Mapping[str, Any]] = code["files"]
    if not files:
        return "its trees are not the same"
    return ", ".join(str(file["path"]) for file in files[:4]) + f", … ({len(files)} files)" * (len(files) > 4)


def environment_words(differences: Sequence[Difference]) -> str:
    told = [f"{each.what} ({short(each.before)} → {short(each.after)})" for each in differences[:4]]
    return ", ".join(told) + f", … ({len(differences)} things)" * (len(differences) > 4)


def short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
