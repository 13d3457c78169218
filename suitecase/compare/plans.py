"""Pre-registration: what will be compared and how, written down before there are results, and held to afterwards.

    run_experiments_cli(cases, ..., hooks=[Plan("plan.toml")])

The hook records the plan's path, sha256 and text before anything starts; a journal's lines are chained by checksums, so
that a plan can't be put in later unnoticed.
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from suitecase.errors import SuitecaseError
from suitecase.policies.records import runner_of
from suitecase.rundir import Run, layout
from suitecase.rundir.journal import Journal

if TYPE_CHECKING:
    from experiment_runner import HookRecord, Refuse

__all__ = ["Plan", "PlanContents", "PlannedMetric", "Registered", "new_plan", "parse_plan", "registered_plan"]

log = logging.getLogger("suitecase.compare")
LARGEST_BYTES = 1 << 16


class Strict(BaseModel):
    """A table of the plan: no key that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedMetric(Strict):
    """A metric that the hypothesis is about.

    Attributes:
        margin: Differences smaller than this don't matter; it allows the verdict "equivalent".
    """

    name: str = Field(min_length=1)
    better: Literal["higher", "lower"] | None = None
    margin: float | None = Field(default=None, gt=0)


class Sample(Strict):
    """How much there will be.

    Attributes:
        n: Units for each condition.
        justification: Why so many: a power analysis, a budget.
    """

    n: int | None = Field(default=None, ge=2)
    unit: Literal["case", "item"] | None = None
    justification: str = ""


class Stopping(Strict):
    """When one may look, and what may be claimed then.

    Attributes:
        looks: Shares of `sample.n` at which the results are looked at; the last is 1.
        rule: How the error rate is spent over them; "none" allows no claim before the end.
    """

    looks: tuple[float, ...] = (1.0,)
    rule: Literal["none", "obrien-fleming", "pocock"] = "none"

    @model_validator(mode="after")
    def ordered(self) -> Stopping:
        """Looks come one after the other."""
        if list(self.looks) != sorted(set(self.looks)) or not self.looks or self.looks[0] <= 0 or self.looks[-1] != 1:
            raise ValueError("looks are rising shares above 0, of which the last is 1.0, such as [0.5, 1.0]")
        if len(self.looks) > 1 and self.rule == "none":
            raise ValueError('several looks need a rule: "obrien-fleming" or "pocock"')
        return self


class PlanContents(Strict):
    """What a plan says; what it leaves out is as `suitecase compare` does by itself."""

    hypothesis: str = Field(min_length=1)
    metrics: tuple[PlannedMetric, ...] = Field(min_length=1)
    baseline: str = Field(min_length=1)
    conditions: tuple[str, ...] = ()
    alpha: float = Field(default=0.05, gt=0, lt=1)
    correction: Literal["holm", "bh", "by", "bonferroni", "hommel", "none"] = "holm"
    paired: Literal["auto", "yes", "no"] = "auto"
    seeds: Literal["auto", "systems", "repeats"] = "auto"
    missing: Literal["auto", "wrong", "drop", "refuse"] = "auto"
    by: str = ""
    cluster: str = ""
    exclusions: tuple[str, ...] = ()
    sample: Sample = Sample()
    stopping: Stopping = Stopping()

    @model_validator(mode="after")
    def sized(self) -> PlanContents:
        """Looks are shares of something."""
        if len(self.stopping.looks) > 1 and self.sample.n is None:
            raise ValueError("looks are shares of sample.n, which is missing")
        return self

    def alpha_at(self, share: float) -> float:
        """The level at which a claim may be made at this share of the sample; 0 before the first look.

        It is that of the last planned look which the share has reached: for an unplanned look in between, a little
        strict. See `suitecase.stats.stopping_bounds`.
        """
        reached = [look for look in self.stopping.looks if look <= share + 1e-9]
        if not reached:
            return 0.0
        if self.stopping.rule == "none":
            return self.alpha
        from suitecase.stats.sequential import stopping_bounds

        return stopping_bounds(reached, alpha=self.alpha, spending=self.stopping.rule).nominal_alpha[-1]


def parse_plan(text: str, where: str) -> PlanContents:
    """A plan from its TOML.

    Raises:
        SuitecaseError: With a sentence for everything that is wrong.
    """
    try:
        return PlanContents.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SuitecaseError(f"{where} is no TOML: {error}.") from None
    except ValidationError as error:
        raise SuitecaseError([f"{where}: {problem_of(each)}" for each in error.errors()]) from None


def problem_of(error: Any) -> str:
    place = ".".join(str(each) for each in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    if error["type"] == "extra_forbidden":
        message = f"there is no such key; there are {', '.join(PlanContents.model_fields)}"
    return f"{place or 'the plan'}: {message[0].lower()}{message[1:]}."


def read_plan(path: Path) -> tuple[str, str]:
    """A plan's text and the sha256 of its bytes.

    Raises:
        SuitecaseError: It can't be read.
    """
    try:
        content = path.read_bytes()
        if len(content) > LARGEST_BYTES:
            raise SuitecaseError(f"{path} has {len(content)} bytes; a plan has at most {LARGEST_BYTES}.")
        return content.decode("utf-8"), sha256(content).hexdigest()
    except OSError as error:
        raise SuitecaseError(f"the plan {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SuitecaseError(f"the plan {path} is no UTF-8.") from None


class Plan:
    """A hook: records a plan before anything starts, and lets nothing start with one that can't be held to.

    `suitecase compare` follows the plan that was recorded first, and sees where the file was changed later.

    Args:
        path: A file that `suitecase plan new` has written and you have filled in.

    >>> Plan("plan.toml")
    Plan('plan.toml')
    """

    def __init__(self, path: str | Path) -> None:
        self.given = str(path)
        self.path = Path(path).absolute()

    def __repr__(self) -> str:
        return f"Plan({self.given!r})"

    def before_run(self, record: HookRecord) -> Mapping[str, Any] | Refuse:
        """Record the plan; refuse the run if it is missing or wrong."""
        try:
            text, digest = read_plan(self.path)
            parse_plan(text, self.given)
        except SuitecaseError as error:
            return runner_of(record).Refuse(" ".join(error.problems))
        first = next(recorded_plans(record.run_dir), None)
        if first is not None and first.get("sha256") != digest:
            log.warning(
                "the plan %s was changed after the run began: the one that was recorded first holds", self.given
            )
        return {"plan": {"path": str(self.path), "sha256": digest, "text": text}}


@dataclass(frozen=True)
class Registered:
    """A plan as it was recorded before a run.

    Attributes:
        changed: How the file, or what a resume recorded, differs from it: one sentence each.
    """

    path: str
    sha256: str
    contents: PlanContents
    changed: tuple[str, ...] = ()


def registered_plan(run: Run) -> Registered | None:
    """The plan that was recorded before a run's first start; `None` if there was none.

    Raises:
        SuitecaseError: It can't be read any more.
    """
    found = list(recorded_plans(run.path))
    if not found:
        return None
    first = found[0]
    path, digest, text = (str(first.get(name, "")) for name in ("path", "sha256", "text"))
    changed: list[str] = []
    if sha256(text.encode()).hexdigest() != digest:
        changed.append(f"The plan in the journal of {run.name} is not the one whose sha256 stands beside it.")
    if any(each.get("sha256") != digest for each in found):
        changed.append(f"The plan was changed before {run.name} was resumed; the first one is followed.")
    try:
        if read_plan(Path(path))[1] != digest:
            changed.append(f"{path} was changed after {run.name} began; the plan as it was then is followed.")
    except SuitecaseError:
        pass  # a run that was moved or handed on has the plan in its journal
    return Registered(path, digest, parse_plan(text, f"the plan of {run.name}"), tuple(changed))


def recorded_plans(run_dir: Path) -> Iterator[Mapping[str, Any]]:
    """The plans that hooks recorded, in the order of the passes."""
    for event in Journal(run_dir / layout.JOURNAL, files=False):
        extra: object = event.get("extra") if event.get("event") == "run_annotated" else None
        plan: object = cast(dict[str, Any], extra).get("plan") if isinstance(extra, dict) else None
        if isinstance(plan, dict) and "sha256" in plan:
            yield cast(dict[str, Any], plan)


TEMPLATE = """\
# What will be compared, and how: written before the run, recorded by the hook Plan, followed by `suitecase compare`.
# Whatever else is compared later is labelled exploratory.

hypothesis = {hypothesis}   # one sentence that the results can contradict
baseline = {baseline}   # a condition, a variant, or field=value
conditions = []   # those held against it; empty: all
alpha = {alpha}   # the error rate of the whole family of comparisons
correction = {correction}   # holm, hommel, bonferroni; bh and by are for exploring; none
exclusions = []   # what will be left out, and why: ["runs in which the server was down"]
# paired = "auto"     # yes, no
# seeds = "auto"      # systems (each seed another trained system), repeats (of one system)
# missing = "auto"    # wrong, drop, refuse: how failed items count
# by = ""             # a field that tells strata apart
# cluster = ""        # a field of items that depend on each other

{metrics}
[sample]
{n}justification = {justification}   # a power analysis (`suitecase power`), or what can be paid for

[stopping]
looks = [1.0]   # shares of n at which you look: [0.5, 1.0]
rule = "none"   # obrien-fleming or pocock, if you look before the end
"""


def new_plan(
    path: Path,
    *,
    hypothesis: str = "",
    baseline: str = "",
    metrics: Sequence[str] = (),
    alpha: float = 0.05,
    correction: str = "holm",
    n: int | None = None,
    justification: str = "",
) -> None:
    """Write a plan to be filled in; nothing is overwritten.

    Raises:
        SuitecaseError: The file is there already, or can't be written.
    """
    tables = [
        f"[[metrics]]\nname = {quoted(name)}\n"
        '# better = "higher"\n# margin = 0.01   # smaller differences don\'t matter\n'
        for name in metrics or ("",)
    ]
    text = TEMPLATE.format(
        hypothesis=quoted(hypothesis), baseline=quoted(baseline), alpha=alpha, correction=quoted(correction),
        metrics="\n".join(tables), justification=quoted(justification),
        n=f"n = {n}\n" if n else "# n = 300   # units of each condition\n",
    )  # fmt: skip
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SuitecaseError(f"{path} is there already: nothing is overwritten.") from None
    except OSError as error:
        raise SuitecaseError(f"{path} can't be written: {error.strerror}.") from None


def quoted(text: str) -> str:
    """A text as TOML quotes it, which is as JSON does."""
    return json.dumps(text, ensure_ascii=False)
