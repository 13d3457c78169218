"""Finds results folders, runs and cases by what a person types."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.rundir import STATUSES, CaseRun, Run, find_runs, layout, read_run
from suitecase.rundir.files import folder_problem
from suitecase.rundir.runs import parse_time, subfolders
from suitecase.tables.rows import case_results, flatten

__all__ = [
    "Condition",
    "Filter",
    "best_value",
    "check_fields",
    "check_statuses",
    "find_case",
    "find_results_dir",
    "find_run",
    "find_runs_named",
    "list_runs",
    "parse_condition",
    "parse_since",
    "project_root",
    "unreadable_folders",
]


def project_root(start: Path) -> Path:
    """The nearest folder from `start` upwards that is a git repository; `start` if there is none."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), start)


def find_results_dir(start: Path | None = None, given: str | Path | None = None) -> Path:
    """The results folder of a project, as its runner chooses it.

    Args:
        start: A folder in the project; by default the current one.
        given: The folder itself; by default the environment variable SUITECASE_RESULTS_DIR, else `[tool.suitecase]
            results_dir` of the project's `pyproject.toml`, else `results`.
    """
    start = start or Path.cwd()
    chosen = given or os.environ.get("SUITECASE_RESULTS_DIR")
    if chosen:
        return Path(os.path.abspath(start / chosen))
    root = project_root(start)
    configured: object = "results"
    try:
        tool = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
        configured = tool.get("suitecase", {}).get("results_dir", configured)
    except FileNotFoundError:
        pass
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise SuitecaseError(f"{root / 'pyproject.toml'} can't be read: {error}.") from None
    return root / str(configured)


def find_run(results_dir: Path, given: str) -> Path:
    """The run directory that a person means: its path, a unique prefix of its name, an experiment, or `latest`.

    An experiment, or a unique beginning of its name, means its latest run; `EXPERIMENT/PREFIX` a run within it. Where
    no name begins like that, a unique part of one will do: the time of day, the commit. `latest~1` is the run before
    the latest, `EXPERIMENT~1` that of the experiment.

    Raises:
        NotFoundError: Nothing, or more than one run, is meant; the message lists what is near.
    """
    (path,) = find_runs_named(results_dir, [given])
    return path


def find_runs_named(results_dir: Path, given: Sequence[str]) -> list[Path]:
    """The run directory of each name; see `find_run`.

    Raises:
        NotFoundError: With a sentence for each name that means none or several.
    """
    known = list(find_runs(results_dir))
    found: list[Path] = []
    problems: list[str] = []
    for name in given:
        try:
            found.append(resolve(results_dir, known, name))
        except NotFoundError as error:
            problems += error.problems
    if problems:
        raise NotFoundError(dict.fromkeys(problems))  # an empty folder is said once
    return found


def resolve(results_dir: Path, known: Sequence[Path], given: str) -> Path:
    """The run that a name means, of those known."""
    base, tilde, back = given.rpartition("~")
    if tilde and back.isdigit():
        return run_before(resolve(results_dir, known, base), known, int(back), everywhere=base in ("", "latest"))
    path = Path(given)
    if given not in ("", ".", "latest") and path.is_dir() and is_run_dir(path):
        return path.resolve()
    if "/" in given and path.is_dir() and path.is_absolute():
        raise NotFoundError(f"{path} is no run directory: it has no {layout.RUN}.")
    if not known:
        unreadable = unreadable_folders(results_dir)
        raise NotFoundError(
            unreadable or f"there is no run in {results_dir}: run a suite first, or name the folder (--results-dir)."
        )
    if given in ("", "latest"):
        return max(known, key=lambda run: run.name)
    experiment, _, prefix = given.rstrip("/").rpartition("/")
    runs = [run for run in known if not experiment or layout.experiment_folder(run).name == experiment]
    if of_experiment := [run for run in runs if not experiment and layout.experiment_folder(run).name == prefix]:
        return max(of_experiment, key=lambda run: run.name)
    begun = {
        layout.experiment_folder(run).name for run in runs if layout.experiment_folder(run).name.startswith(prefix)
    }
    if not experiment and len(begun) == 1 and not any(run.name.startswith(prefix) for run in runs):
        return resolve(results_dir, known, begun.pop())
    for fits in (starts_with, contains):
        fitting = [run for run in runs if fits(run.name, prefix)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = ", ".join(shown(run) for run in fitting[:5]) + ", …" * (len(fitting) > 5)
            raise NotFoundError(f"{given!r} means {len(fitting)} runs: {listed}. Give more of the name.")
    names = [name for run in known for name in (run.name, layout.experiment_folder(run).name)]
    near = list(dict.fromkeys(get_close_matches(given, names, n=3, cutoff=0.5)))
    hint = f"did you mean {' or '.join(near)}?" if near else f"`suitecase ls` lists those of {results_dir}."
    raise NotFoundError(f"no run is named {given!r}: {hint}")


def run_before(run: Path, known: Sequence[Path], back: int, *, everywhere: bool) -> Path:
    """The run so many before one, of the same experiment or of all.

    Raises:
        NotFoundError: There are not so many.
    """
    folder = layout.experiment_folder(run)
    earlier = [each for each in known if everywhere or layout.experiment_folder(each) == folder]
    earlier = sorted((each for each in earlier if each.name < run.name), key=lambda each: each.name)
    if not back:
        return run
    if back > len(earlier):
        raise NotFoundError(f"before {shown(run)} there are {len(earlier)} runs, not {back}.")
    return earlier[-back]


def unreadable_folders(results_dir: Path, experiment: str | None = None) -> list[str]:
    """A sentence for each folder that may hold runs and can't be listed."""
    folders = [results_dir, *([results_dir / experiment] if experiment else subfolders(results_dir))]
    return [problem for folder in folders if (problem := folder_problem(folder))]


def starts_with(name: str, prefix: str) -> bool:
    return name.startswith(prefix)


def contains(name: str, part: str) -> bool:
    return part in name


def is_run_dir(path: Path) -> bool:
    """Whether a folder is a run directory: by its record, or by its name and a case's config."""
    if os.path.exists(path / layout.RUN) or os.path.exists(path / layout.JOURNAL):
        return True
    named = layout.RUN_NAME.fullmatch(path.resolve().name)
    return named is not None and any(path.glob(f"*/{layout.CONFIG}"))


def shown(run: Path) -> str:
    return f"{layout.experiment_folder(run).name}/{run.name}"


def find_case(run: Run, given: str) -> CaseRun:
    """The case that a person means: its variant, or a unique beginning of it.

    Raises:
        NotFoundError: None or several.
    """
    if given in run.cases:
        return run.cases[given]
    fitting = [variant for variant in run.cases if variant.startswith(given)]
    if len(fitting) == 1:
        return run.cases[fitting[0]]
    if fitting:
        listed = ", ".join(fitting[:5]) + ", …" * (len(fitting) > 5)
        raise NotFoundError(f"{given!r} means {len(fitting)} cases of {run.name}: {listed}.")
    near = get_close_matches(given, run.cases, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(list(run.cases)[:8]) or 'none'}."
    raise NotFoundError(f"{run.name} has no case {given!r}: {hint}")


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    "!=": lambda value, bound: value != bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
    "=": lambda value, bound: value == bound,
}
CONDITION = re.compile(r"(?P<field>[^<>=!]+?)\s*(?P<comparison>>=|<=|!=|=|>|<)\s*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """What a case must fulfil: `model=svm`, `accuracy>0.9`. A field of its config or, failing that, of its results."""

    field: str
    comparison: str
    value: str

    def holds(self, run: Run, case: CaseRun) -> bool:
        """Whether a case fulfils it. A value that can't be compared does not."""
        config, _ = case.config()
        values = flatten(config)
        if self.field not in values:
            values = flatten(case_results(run, case)[0])
        if self.field not in values:
            return False
        value, bound = values[self.field], self.value
        compare = COMPARISONS[self.comparison]
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return compare(float(value), float(bound))
            except ValueError:
                return self.comparison == "!="
        if self.comparison in ("=", "!="):
            text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
            return compare(text, bound.lower() if isinstance(value, bool) else bound)
        return False


def parse_condition(text: str) -> Condition:
    """`FIELD=VALUE`, with any of = != < <= > >=.

    Raises:
        SuitecaseError: If it is none.
    """
    found = CONDITION.fullmatch(text.strip())
    if found is None:
        raise SuitecaseError(f"{text!r} is no condition: write FIELD=VALUE, or 'accuracy>0.9' in quotes.")
    return Condition(found["field"], found["comparison"], found["value"])


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """A moment: `2h`, `3d`, `1w` ago, or a date or time as ISO 8601 (local time unless it has a zone).

    Raises:
        SuitecaseError: If it is none.
    """
    now = now or datetime.now(UTC)
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip()):
        return now - timedelta(seconds=float(found[1]) * UNITS[found[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SuitecaseError(f"{text!r} is no time: write 30m, 2h, 3d, 1w, or a date such as 2026-01-31.") from None
    return moment.astimezone(UTC)


@dataclass(frozen=True)
class Filter:
    """Which runs to list.

    Attributes:
        statuses: Any of these; all if empty.
        since: Begun after that.
        conditions: All hold for some case of the run.
    """

    experiment: str | None = None
    statuses: tuple[str, ...] = ()
    since: datetime | None = None
    conditions: tuple[Condition, ...] = ()

    def fits(self, run: Run) -> bool:
        """Whether a run is to be listed."""
        if self.statuses and run.status not in self.statuses:
            return False
        if self.since and not (run.started_at and parse_time(run.started_at) >= self.since):
            return False
        if not self.conditions:
            return True
        return any(all(each.holds(run, case) for each in self.conditions) for case in run.cases.values())


def list_runs(results_dir: Path, chosen: Filter | None = None) -> Iterable[Run]:
    """The runs of a results folder that a filter lets through, one at a time; experiments in order, oldest first.

    Raises:
        NotFoundError: The experiment has no folder.
    """
    chosen = chosen or Filter()
    if chosen.experiment is not None and not (results_dir / chosen.experiment).is_dir():
        known = sorted({layout.experiment_folder(run).name for run in find_runs(results_dir)})
        near = get_close_matches(chosen.experiment, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known[:8]) or 'none yet'}."
        raise NotFoundError(f"no experiment is named {chosen.experiment!r} in {results_dir}: {hint}")
    return (run for path in find_runs(results_dir, chosen.experiment) if chosen.fits(run := read_run(path)))


def check_fields(runs: Sequence[Run], fields: Iterable[str]) -> None:
    """See that each field is one that a config or a result has, before nothing is found by a misspelt one.

    Raises:
        NotFoundError: A sentence for each that no case has, with what is near. Where there are no cases, none is wrong.
    """
    cases = [(run, case) for run in runs for case in run.cases.values()]
    known: dict[str, None] = {}
    for run, case in cases:
        known.update(dict.fromkeys((*flatten(case.config()[0]), *flatten(case_results(run, case)[0]))))
        if known.keys() >= set(fields):
            return
    problems: list[str] = []
    for field in fields if cases else ():
        if field not in known:
            near = get_close_matches(field, known, n=3, cutoff=0.5)
            hint = (
                f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list(known)[:8]) or 'none'}."
            )
            problems.append(f"no case has a config field or a result {field!r}: {hint}")
    if problems:
        raise NotFoundError(problems)


def check_statuses(given: Iterable[str]) -> tuple[str, ...]:
    """Statuses as a person types them.

    Raises:
        SuitecaseError: Some are none.
    """
    chosen = tuple(text.replace("-", "_") for text in given)
    wrong = [text for text in chosen if text not in STATUSES]
    if wrong:
        near = get_close_matches(wrong[0], STATUSES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(STATUSES)}."
        raise SuitecaseError(f"--status {wrong[0]}: {hint}")
    return chosen


def best_value(run: Run, metric: str, sign: int) -> float:
    """The highest value of a result among a run's cases, the lowest if `sign` is -1; without any, the worst of all."""
    found: list[float] = []
    for case in run.cases.values():
        value = flatten(case_results(run, case)[0]).get(metric)
        if isinstance(value, int | float) and value == value:
            found.append(sign * float(value))
    return sign * max(found, default=-math.inf)
