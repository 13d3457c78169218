"""What running a suite will take and cost, from its earlier runs, or from a pilot on a few items of each case."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.queries.selection import find_results_dir, project_root
from suitecase.queries.simulation import (
    CONFIDENCE,
    SEED,
    Interval,
    Observation,
    Pool,
    interval_of,
    makespan_s,
    simulate,
)
from suitecase.rundir import CaseRun, Run, find_runs, read_run
from suitecase.rundir.spending import PICO, condition_of, costs_told, is_amount
from suitecase.scaffold import project_python
from suitecase.tables.rows import case_results

__all__ = [
    "Described",
    "Estimate",
    "NoBasisError",
    "PlannedCase",
    "PlannedSuite",
    "ask_suite",
    "describe_suite",
    "estimate_from_runs",
    "recorded_cost_usd",
]

LATEST_RUNS = 20
"""Earlier runs that count: code and machines change."""

DEFAULT_PLACES = 64
"""Cases at a time that a suite runs by itself; `PARALLELISM_LIMIT` of the runner."""


class NoBasisError(SuitecaseError):
    """Nothing is known from which time or cost could be told."""


@dataclass(frozen=True)
class PlannedCase:
    """A case that a suite would run."""

    variant: str
    config: Mapping[str, Any]

    @property
    def condition(self) -> str:
        """What all repeats of it have in common: the config without its seed."""
        return condition_of(self.config)


@dataclass(frozen=True)
class Described:
    """What a suite says of itself.

    Attributes:
        root: Its project.
        command: How it is called: interpreter and file.
        document: What `--describe` prints.
    """

    root: Path
    command: tuple[str, str]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedSuite:
    """What a suite says that it would run.

    Attributes:
        command: How it is called: interpreter and file.
        places: Cases at a time.
    """

    experiment: str
    command: tuple[str, ...]
    cases: tuple[PlannedCase, ...]
    places: int
    results_dir: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A prediction for one run of a suite.

    Attributes:
        duration_s: Wall-clock seconds of the run, `overhead_s` included.
        overhead_s: Seconds that earlier runs took beyond the schedule of their cases: start, end, publishing of logs.
        case_time_s: Sum of the cases' seconds.
        cost_usd: None if no earlier case recorded what it cost.
        basis: For how many cases which kind of evidence speaks.
        runs: Names of the runs that it comes from.
    """

    experiment: str
    cases: int
    places: int
    duration_s: Interval
    case_time_s: Interval
    cost_usd: Interval | None
    basis: Mapping[str, int]
    runs: tuple[str, ...]
    simulations: int
    notes: tuple[str, ...] = ()
    overhead_s: float = 0.0
    confidence: float = CONFIDENCE
    seed: int = SEED


# --- What would run --------------------------------------------------------------------------------------------------


def describe_suite(
    suite: Path, *, places: int | None = None, flags: Sequence[str] = (), results_dir: Path | None = None
) -> PlannedSuite:
    """Ask a suite what it would run, by `--describe`; it runs nothing.

    Args:
        places: Cases at a time; by default what the suite runs by itself.
        flags: Further flags of the suite, such as `--only` and `--set`.

    Raises:
        SuitecaseError: There is no such suite, or it has problems of its own.
    """
    asked = ask_suite(suite, flags)
    described = asked.document
    declared = cast(list[dict[str, Any]], described["cases"])
    cases = tuple(PlannedCase(str(case["variant"]), cast(dict[str, Any], case["config"])) for case in declared)
    policy = cast(dict[str, Any], described.get("policy") or {})
    at_once = places or cast(int | None, described.get("parallelism")) or min(len(cases), DEFAULT_PLACES)
    notes: list[str] = []
    if policy.get("gpus_per_case") and places is None:
        notes.append("The suite gives GPUs to its cases: say with -p how many fit at a time.")
    in_git = (asked.root / ".git").exists()  # else the runner takes the current folder for the project
    folder = find_results_dir(suite.resolve().parent if in_git else None, results_dir)
    at_once = max(1, min(at_once, places_by_cpus(policy)))
    return PlannedSuite(str(described["experiment"]), asked.command, cases, at_once, folder, tuple(notes))


def ask_suite(suite: Path, flags: Sequence[str] = ()) -> Described:
    """Have a suite describe itself, by `--describe`; it runs nothing.

    Raises:
        SuitecaseError: There is no such suite, or it has problems of its own.
    """
    if not suite.is_file():
        raise SuitecaseError(f"{suite} is no suite file: there is no such file.")
    suite = suite.resolve()
    root = project_root(suite.parent)
    command = (str(project_python(root)), str(suite))
    done = subprocess.run([*command, "--describe", *flags], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    described = described_in(done.stdout)
    if done.returncode != 0 or described is None:
        lines = [line for line in done.stderr.splitlines() if line.strip()][-5:]
        raise SuitecaseError([f"{suite} --describe: {line}" for line in lines] or [f"{suite} described nothing."])
    return Described(root, command, described)


def described_in(output: str) -> dict[str, Any] | None:
    """The description in what a suite printed; others may have printed something before it."""
    for start in (0, output.find("\n{\n") + 1):
        try:
            described: object = json.loads(output[start:])
        except ValueError:
            continue
        if isinstance(described, dict) and "cases" in described:
            return cast(dict[str, Any], described)
    return None


def places_by_cpus(policy: Mapping[str, Any]) -> int:
    """How many cases fit on this machine's CPUs and memory, if the policy says what each needs."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    needs = ((policy.get("cpus_per_case"), cpus), (policy.get("memory_gb_per_case"), memory_gb))
    return min((max(1, int(there / need)) for need, there in needs if need), default=2**31)


# --- From earlier runs -----------------------------------------------------------------------------------------------


@dataclass
class History:
    """What cases took or cost before, by what they may be matched by."""

    by_condition: dict[str, list[Observation]] = field(default_factory=lambda: defaultdict(list))
    by_variant: dict[str, list[Observation]] = field(default_factory=lambda: defaultdict(list))
    all_cases: list[Observation] = field(default_factory=list[Observation])

    def add(self, case: CaseRun, config: Mapping[str, Any], observation: Observation) -> None:
        """Take note of a case that ran."""
        self.by_condition[condition_of(config)].append(observation)
        self.by_variant[case.variant].append(observation)
        self.all_cases.append(observation)

    def pools(self, cases: Iterable[PlannedCase]) -> list[Pool]:
        """For each case what tells about it: the same config but for the seed, else its name, else all cases."""
        everything = Pool(tuple(self.all_cases), "experiment")
        pools: list[Pool] = []
        for case in cases:
            if same := self.by_condition.get(case.condition):
                pools.append(Pool(tuple(same), "config"))
            elif named := self.by_variant.get(case.variant):
                pools.append(Pool(tuple(named), "variant"))
            else:
                pools.append(everything)
        return pools


def estimate_from_runs(suite: PlannedSuite) -> Estimate:
    """What the latest runs of the same experiment tell; of their cases, those that succeeded.

    A case's seconds are those of the attempt that succeeded. Failures and retries to come are not in the estimate.

    Raises:
        NoBasisError: No case of the experiment has succeeded yet.
    """
    runs = [read_run(path) for path in find_runs(suite.results_dir, suite.experiment)]
    runs = [run for run in sorted(runs, key=lambda run: run.name) if not run.asked.get("debug")][-LATEST_RUNS:]
    durations, costs, used = gathered(runs)
    if not used:
        raise NoBasisError(
            f"nothing tells what {suite.experiment} takes: no case of it has succeeded in {suite.results_dir}. "
            "Run it once, or let `--pilot 5` try five items of each case, if it is built on suitecase.items."
        )
    pools = durations.pools(suite.cases)
    simulated = simulate(pools)
    beyond_s = overhead_s(used.values())
    cost_pools = costs.pools(suite.cases) if costs.all_cases else None
    return Estimate(
        suite.experiment,
        len(suite.cases),
        suite.places,
        *predictions(simulated, [pool.mean for pool in pools], suite.places, beyond_s),
        None if cost_pools is None else predict(simulate(cost_pools), [pool.mean for pool in cost_pools], sum),
        Counter(pool.basis for pool in pools),
        tuple(used),
        len(simulated),
        (*suite.notes, *caveats(suite, used.values(), durations, costs, bool(simulated))),
        overhead_s=beyond_s,
    )


def gathered(runs: Iterable[Run]) -> tuple[History, History, dict[str, Run]]:
    """What the cases of runs that succeeded took, what they cost, and the runs that have such cases."""
    durations, costs, used = History(), History(), dict[str, Run]()
    for run in runs:
        for case in run.cases.values():
            if case.status != "succeeded" or case.last is None or case.last.duration_s is None:
                continue
            config, _ = case.config()
            used[run.name] = run
            durations.add(case, config, Observation(run.name, case.last.duration_s))
            if (cost_usd := recorded_cost_usd(run, case)) is not None:
                costs.add(case, config, Observation(run.name, cost_usd))
    return durations, costs, used


def overhead_s(runs: Iterable[Run]) -> float:
    """Median seconds by which runs took longer than their cases, scheduled; of runs without failures or resumes."""
    beyond: list[float] = []
    for run in runs:
        places: object = run.asked.get("parallelism")
        attempts = [case.attempts for case in run.cases.values()]
        whole = run.passes == 1 and run.status == "succeeded" and all(len(each) == 1 for each in attempts)
        if whole and run.duration_s is not None and isinstance(places, int):
            durations_s = [each[0].duration_s or 0.0 for each in attempts]
            beyond.append(max(0.0, run.duration_s - makespan_s(durations_s, places)))
    return median(beyond) if beyond else 0.0


def caveats(
    suite: PlannedSuite, runs: Iterable[Run], durations: History, costs: History, has_spread: bool
) -> list[str]:
    """What a reader of the estimate should know of it, a sentence each."""
    notes: list[str] = []
    if not has_spread:
        notes.append("No interval: no condition has run twice, so nothing tells how much durations vary.")
    elif len({each.run for each in durations.all_cases}) == 1:
        notes.append("All evidence is from one run: how much runs differ from each other is not in the interval.")
    before = sorted({run.asked["parallelism"] for run in runs if isinstance(run.asked.get("parallelism"), int)})
    if before and suite.places not in before:
        notes.append(f"Earlier runs had {' or '.join(map(str, before))} cases at a time, this one {suite.places}.")
    lacking = len(durations.all_cases) - len(costs.all_cases)
    if costs.all_cases and lacking:
        notes.append(
            f"{lacking} of {len(durations.all_cases)} earlier cases recorded no cost; the others speak for them."
        )
    return notes


def recorded_cost_usd(run: Run, case: CaseRun) -> float | None:
    """What a case cost: `cost_usd` of its results, or the sum of what it told on the way, if that is more."""
    told = [cost.pico for cost in costs_told(case.path)]
    in_results: object = case_results(run, case)[0].get("cost_usd")
    amounts = [*([in_results] if is_amount(in_results) else []), *([sum(told) / PICO] if told else [])]
    return max(map(float, amounts), default=None)


# --- Intervals -------------------------------------------------------------------------------------------------------


def predictions(
    simulated: Sequence[Sequence[float]], means: Sequence[float], places: int, beyond_s: float = 0.0
) -> tuple[Interval, Interval]:
    """Of the run's seconds, and of its cases' seconds together."""
    of_run = predict(simulated, means, lambda values: makespan_s(values, places) + beyond_s)
    return of_run, predict(simulated, means, sum)


def predict(
    simulated: Sequence[Sequence[float]], means: Sequence[float], figure: Callable[[Sequence[float]], float]
) -> Interval:
    return interval_of([figure(values) for values in simulated], figure(means))
