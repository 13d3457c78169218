"""Which cases are repeats of one condition, what a condition is called, and which one a person means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from suitecase.errors import NotFoundError
from suitecase.rundir import CaseRun, Run
from suitecase.tables.formats import cell_text
from suitecase.tables.rows import flatten

__all__ = ["Case", "Condition", "find_baseline", "find_conditions", "find_named", "listed"]

BASELINES = frozenset({"baseline", "control"})
"""Names that mean the reference condition, whatever their case."""


@dataclass(frozen=True)
class Case:
    """A case of a run, with what its config says.

    Attributes:
        fields: Its config without the seed, nested fields with dotted names.
        seed: `None` where the config has none.
        code: The commit that its last attempt saw: `a1b2c3d`, with `-dirty` and the tree's id where that differed.
        stratum: Value of the field by which cases are told apart beforehand; empty without one.
    """

    run: Run
    record: CaseRun
    fields: Mapping[str, Any]
    seed: int | None
    code: str
    stratum: str = ""

    @property
    def variant(self) -> str:
        """Its name."""
        return self.record.variant

    @property
    def succeeded(self) -> bool:
        """Whether it did; a directory of the simple original doesn't tell, and counts."""
        return self.record.status in ("succeeded", "unknown")


@dataclass(frozen=True)
class Condition:
    """Cases whose configs differ only in their seed, of the same code.

    Attributes:
        name: What it is called here; no other condition has this name.
        plain_name: The same without what sets it apart from namesakes.
        cases: Each variant and seed once.
        fields: The config fields in which conditions differ, with this condition's values.
    """

    name: str
    plain_name: str
    cases: tuple[Case, ...]
    fields: Mapping[str, Any]

    @property
    def code(self) -> tuple[str, ...]:
        """The commits of its cases, each once."""
        return tuple(dict.fromkeys(case.code for case in self.cases))


def find_conditions(
    runs: Iterable[Run], *, by: str = "", pool: bool = False
) -> tuple[tuple[Condition, ...], tuple[str, ...]]:
    """The conditions of some runs, in the order of their first cases, and how they were found.

    Args:
        by: A config field that tells strata apart, and so no conditions.
        pool: Whether cases of different code are repeats of one condition.
    """
    grouped: defaultdict[str, list[Case]] = defaultdict(list)
    for case in (case_of(run, record, by) for run in runs for record in run.cases.values()):
        settings = sorted((name, repr(value)) for name, value in case.fields.items())
        grouped[repr((case.run.experiment, settings, "" if pool else case.code))].append(case)
    groups = [latest(cases) for cases in grouped.values()]
    repeated = sum(map(len, grouped.values())) - sum(map(len, groups))
    notes = [
        f"Found {len(groups)} conditions: cases whose configs differ only in their seed" + " and code" * pool + "."
    ]
    if by and any(case.stratum for cases in groups for case in cases):
        notes.append(f"Cases with different {by} are told apart beforehand, and compared among themselves.")
    if repeated:
        are = "cases of the same variant and seed are" if repeated > 1 else "case of the same variant and seed is"
        notes.append(f"{repeated} earlier {are} left out: the later success counts.")
    return named(groups), tuple(notes)


def case_of(run: Run, record: CaseRun, by: str) -> Case:
    """A case with what its config says."""
    config, _ = record.config()
    seed: object = config.pop("seed", None)
    fields = flatten(config)
    stratum = cell_text(fields.pop(by)) if by in fields else ""
    number = seed if isinstance(seed, int) and not isinstance(seed, bool) else None
    return Case(run, record, fields, number, code_of(run, record), stratum)


def code_of(run: Run, record: CaseRun) -> str:
    """The code that a case saw, or that it would have seen, in few words; equal words mean equal code."""
    last = record.last
    seen = last if last is not None and last.commit else run.code
    if not seen.commit:
        return run.code.label
    return seen.commit[:7] + (f"-dirty.{(seen.tree or '')[:7]}" if seen.dirty else "")


def latest(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Each variant and seed once: its latest success, or else the latest that there is."""
    best: dict[tuple[str, int | None], Case] = {}
    for case in cases:
        key = (case.variant, case.seed)
        if key not in best or rank(case) >= rank(best[key]):
            best[key] = case
    return tuple(best.values())


def rank(case: Case) -> tuple[bool, str, str]:
    return case.succeeded, case.run.started_at or "", case.run.name


# --- Names -----------------------------------------------------------------------------------------------------------


def named(groups: Sequence[tuple[Case, ...]]) -> tuple[Condition, ...]:
    """Conditions with a name each: what their variants have in common, else the fields in which they differ."""
    fields = [differing(cases, groups) for cases in groups]
    bare = all(without_seed(case.variant, case.seed, bare=True) != case.variant for cases in groups for case in cases)
    plain = [
        shared_name(cases, bare=bare or len(cases) > 1) or field_text(differs) or common_start(cases)
        for cases, differs in zip(groups, fields, strict=True)
    ]
    made = [Condition(name, name, cases, differs) for name, cases, differs in zip(plain, groups, fields, strict=True)]
    namesakes: defaultdict[str, list[Condition]] = defaultdict(list)
    for condition in made:
        namesakes[condition.name].append(condition)
    return tuple(told_apart(condition, namesakes[condition.name]) for condition in made)


def shared_name(cases: Sequence[Case], *, bare: bool) -> str:
    """The variants' common name without seed and stratum; empty if they have none.

    Args:
        bare: Whether a number that equals the seed is taken for it: in `size-42`, alone, it needn't be.
    """
    names = {without_seed(without(case.variant, case.stratum), case.seed, bare=bare) for case in cases}
    return names.pop() if len(names) == 1 else ""


def without(variant: str, word: str) -> str:
    """A name without one of its parts."""
    if not word:
        return variant
    found = re.sub(rf"(?:^|[-_. ,+=]){re.escape(word)}(?=$|[-_. ,+])", "", variant, count=1)
    return found.strip("-_. ,+=") or variant


def without_seed(variant: str, seed: int | None, *, bare: bool) -> str:
    """A name without its seed: `control_42`, `control-seed-42` and `control-s42` are `control`."""
    if seed is None:
        return variant
    word = r"(?:(?:seed|s)[-_=.]?)" + "?" * bare
    found = list(re.finditer(rf"(?:^|[-_. ,+]){word}0*{re.escape(str(seed))}(?=$|[-_. ,+])", variant))
    if not found:
        return variant
    rest = variant[: found[-1].start()] + variant[found[-1].end() :]
    return rest.strip("-_. ,+=") or variant


def common_start(cases: Sequence[Case]) -> str:
    """What all variants begin with; of one case its whole name."""
    first, last = min(case.variant for case in cases), max(case.variant for case in cases)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same].rstrip("-_. ,+=") or cases[0].variant


def differing(cases: Sequence[Case], groups: Iterable[Sequence[Case]]) -> dict[str, Any]:
    """The fields in which groups differ, with the values of one of them."""
    others = [group[0].fields for group in groups]
    own = cases[0].fields
    names = dict.fromkeys(name for fields in others for name in fields)
    return {name: own.get(name) for name in names if len({repr(fields.get(name)) for fields in others}) > 1}


def field_text(fields: Mapping[str, Any]) -> str:
    """`arm=control,lr=0.1`."""
    return ",".join(f"{name}={cell_text(value)}" for name, value in fields.items())


def told_apart(condition: Condition, namesakes: Sequence[Condition]) -> Condition:
    """The condition with a name of its own: with its fields, its code and its experiment, where those differ."""
    if len(namesakes) == 1:
        return condition
    groups = [other.cases for other in namesakes]
    name = condition.name
    if fields := field_text(differing(condition.cases, groups)):
        name += f"[{fields}]"
    if len({other.code for other in namesakes}) > 1:
        name += f"@{'+'.join(condition.code)}"
    if len({cases[0].run.experiment for cases in groups}) > 1:
        name += f" of {condition.cases[0].run.experiment}"
    return replace(condition, name=name)


# --- What a person means ---------------------------------------------------------------------------------------------


def find_named(conditions: Sequence[Condition], given: str) -> list[Condition]:
    """The conditions that a person names: by name, by a variant, or by `field=value` (several with commas).

    Raises:
        NotFoundError: None has it.
    """
    ways = (
        [each for each in conditions if each.name == given],
        [each for each in conditions if each.plain_name == given],
        [each for each in conditions if any(case.variant == given for case in each.cases)],
        [each for each in conditions if has_fields(each, given)],
    )
    for found in ways:
        if found:
            return found
    names = [each.name for each in conditions]
    near = get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {listed(names)}."
    raise NotFoundError(f"no condition is named {given!r}: {hint}")


def has_fields(condition: Condition, given: str) -> bool:
    """Whether a condition's config has all of `field=value,field=value`."""
    wanted = [part.partition("=") for part in given.split(",")]
    fields = condition.cases[0].fields
    return all(
        sign and name.strip() in fields and same_value(fields[name.strip()], value.strip())
        for name, sign, value in wanted
    )


def same_value(value: Any, text: str) -> bool:
    """Whether a value is what a person typed: `0.10` is 0.1, `true` is True."""
    if isinstance(value, bool) or value is None:
        return text.lower() in (str(value).lower(), "null" if value is None else "")
    if isinstance(value, int | float):
        try:
            return float(text) == float(value)
        except ValueError:
            return False
    return text == cell_text(value)


def find_baseline(conditions: Sequence[Condition], given: str) -> Condition:
    """The reference condition: the one that is named, or the only one called baseline or control.

    Raises:
        NotFoundError: It can't be told; all conditions are listed.
    """
    names = [each.name for each in conditions]
    if given:
        found = find_named(conditions, given)
        if len(found) > 1:
            raise NotFoundError(f"{given!r} means {len(found)} conditions: {listed([each.name for each in found])}.")
        return found[0]
    called = [each for each in conditions if is_baseline(each)]
    if len(called) == 1:
        return called[0]
    why = "none is called baseline or control" if not called else "several are called baseline or control"
    raise NotFoundError(f"name the baseline (--baseline CONDITION), for {why}: there are {listed(names)}.")


def is_baseline(condition: Condition) -> bool:
    values = (str(value).lower() for value in condition.fields.values() if isinstance(value, str))
    return condition.plain_name.lower() in BASELINES or any(value in BASELINES for value in values)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a row, many cut short."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
