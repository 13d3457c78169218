"""Run the cases of a suite: every result traceable to its code, its config and its log.

    cases = [ExperimentCase("gpt-4", base.copy_with(model="gpt-4")), …]
    run_experiments_cli(cases, entry_point="run_my_experiment.py", experiment_name="my-experiment")

Everything is checked before anything starts. Each case then runs as a process of its own, and the run
directory `results/{experiment}/{timestamp}_{commit}[-dirty]/` holds what was asked, of which code, and
what happened. This file works alone, needs typer (which brings rich), and may be copied unmodified into
any repository; configs come from `experiment_config.py`. It reads from top to bottom:

    What one types            ExperimentCase, run_experiments, run_experiments_cli, RunSummary, SuiteError
    Checking                  a suite and its options -> a plan, or every problem at once
    Resuming                  a run directory -> what is left to do
    Code                      the commit, and the patch from it to the tree on disk
    The run directory         its name, and the files that describe a run
    Durable records           the journal, who owns it, and every write that must not be half done
    Launchers                 what the one loop asks of whatever turns attempts into processes
    Running                   one loop: launch, wait, record, report
    Supervision               the default launcher and its guardian, which owns the cases and outlives no run
    Hooks                     what your own code is told of a run, and may answer
    Inspect mode              finished logs, stamped and published
    Console                   what a person, a pipe or a program sees
    Command line              the flags of a suite
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit("suitecase needs Linux or macOS; on Windows, run it in WSL.")

import errno
import fcntl
import fnmatch
import gc
import hashlib
import heapq
import inspect
import io
import json
import logging
import math
import os
import random
import re
import reprlib
import resource
import secrets
import select
import selectors
import shlex
import shutil
import signal
import site
import socket
import stat
import subprocess
import sysconfig
import tempfile
import termios
import threading
import time
import tomllib
import traceback
import unicodedata
import zipfile
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from types import FrameType, UnionType
from typing import Any, Generic, Literal, NamedTuple, NoReturn, Protocol, Self, TypeVar, cast, get_args

__all__ = [
    "ABORT",
    "RETRY",
    "SKIP",
    "Answer",
    "Capacity",
    "Ended",
    "Event",
    "ExecutionPolicy",
    "ExperimentCase",
    "Hook",
    "HookRecord",
    "Launch",
    "Launcher",
    "Local",
    "Refuse",
    "Refused",
    "Resources",
    "RunSummary",
    "Session",
    "Started",
    "SuiteError",
    "run_experiments",
    "run_experiments_cli",
]
__version__ = "0.1.0"

FORMAT_VERSION = 1
PARALLELISM_LIMIT = 64
EXIT_FAILED, EXIT_WRONG_USE, EXIT_LOCKED = 1, 2, 75  # 75: EX_TEMPFAIL of sysexits.h

Mode = Literal["standard", "inspect"]
log = logging.getLogger("experiment_runner")


# --- What one types --------------------------------------------------------------------------------------------------


class Config(Protocol):
    """What the runner asks of a config; `BaseExperimentConfig` of `experiment_config.py` offers it."""

    def copy_with_arguments(self, argv: Sequence[str]) -> Self: ...
    def to_arguments(self, output_dir: str) -> tuple[list[str], str]: ...
    @classmethod
    def command_lines_read(cls) -> list[list[str]]: ...


ConfigT = TypeVar("ConfigT", bound=Config, covariant=True)


@dataclass(frozen=True)
class Resources:
    """What a case needs; what is None is said by the policy. The scheduler starts what fits.

    Attributes:
        cpus: CPUs that it keeps busy, and threads that its numeric libraries may start.
        gpus: Whole devices, its own through CUDA_VISIBLE_DEVICES; a fraction below 1 shares one device with
            others; 0 hides all of them.
        memory_gb: Memory in 10^9 bytes. Kept free for it, and the limit of each of its processes' data
            (RLIMIT_DATA of setrlimit(2), enforced on Linux).
        timeout_s: Seconds after which an attempt is ended as timed_out.
    """

    cpus: float | None = None
    gpus: float | None = None
    memory_gb: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True)
class ExecutionPolicy:
    """How the cases of a run are executed; the flags of a suite have the same names.

    A failure is named by its exit code, by a signal's name ("SIGSEGV"), or by "exit_code" (any), "signal" (any),
    "timeout", "oom" (a SIGKILL that we did not send), "lost" (its guardian or its node went away), "preempted" (by
    a cluster's scheduler), "any".

    Attributes:
        timeout_s: Seconds that an attempt may take; then its tree of processes gets TERM (Inspect: INT first).
        grace_s: Seconds between the request to end and KILL.
        max_attempts: Attempts at a case in one pass, the first one included.
        retry_on: Failures that another attempt may mend.
        never_retry_on: Failures that it can't mend; stronger than `retry_on`. 2 is wrong use, as of a config.
        backoff: How the delay grows with the number k of failures: exponential `backoff_s * factor**(k - 1)`,
            linear `backoff_s * (1 + (k - 1) * factor)`, or constant `backoff_s`; at most `backoff_cap_s`.
        jitter: Whether the delay is drawn evenly from 0 to that ("full jitter", M. Brooker, Exponential Backoff
            And Jitter, AWS Architecture Blog 2015); the draw follows from the config's seed and the variant.
        fail_fast: Whether nothing more is launched after the first failure.
        max_failure_rate: Fraction of the last `failure_window` cases; once more of them failed, nothing more is
            launched. The window counts whole from the start, so that a few early failures don't stop a run.
        cpus_per_case, gpus_per_case, memory_gb_per_case: What each case needs; see `Resources`.
        continue_exit_code: The exit code by which a case says: run me again, I have more to do.
        nice: Added niceness of all cases, 0 to 19.
        isolate: Whether each case runs in a PID namespace of its own (bwrap, Linux): nothing can escape from it.
        hook_timeout_s: Seconds that a hook may take.
    """

    timeout_s: float | None = None
    grace_s: float = 10.0
    max_attempts: int = 1
    retry_on: tuple[int | str, ...] = ("any",)
    never_retry_on: tuple[int | str, ...] = (2,)
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    backoff_s: float = 1.0
    backoff_factor: float = 2.0
    backoff_cap_s: float = 30.0
    jitter: bool = True
    fail_fast: bool = False
    max_failure_rate: float | None = None
    failure_window: int = 50
    cpus_per_case: float | None = None
    gpus_per_case: float | None = None
    memory_gb_per_case: float | None = None
    continue_exit_code: int | None = None
    nice: int = 0
    isolate: bool = False
    hook_timeout_s: float = 60.0

    def retries(self, kinds: Collection[int | str], failures: int) -> bool:
        """Whether a failure of these kinds is worth another attempt after so many failures of the case."""
        return (
            failures < self.max_attempts
            and not set(kinds).isdisjoint(self.retry_on)
            and set(kinds).isdisjoint(self.never_retry_on)
        )

    def delay_s(self, failures: int, seed: str) -> float:
        """Seconds to wait before the attempt that follows so many failures."""
        grown = self.backoff_s
        if self.backoff == "linear":
            grown *= 1 + (failures - 1) * self.backoff_factor
        elif self.backoff == "exponential" and grown:
            try:
                grown *= self.backoff_factor ** (failures - 1)
            except OverflowError:
                grown = math.inf
        longest = min(grown, self.backoff_cap_s)
        return random.Random(f"{seed}:{failures}").uniform(0, longest) if self.jitter else longest


@dataclass(frozen=True)
class ExperimentCase(Generic[ConfigT]):
    """A variant name, unique in its suite, and the config that belongs to it.

    Attributes:
        env: Environment variables for this case alone. Their names are recorded, their values are not.
        resources: What this case needs if it is not what the policy says of all.
    """

    variant_name: str
    config: ConfigT
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    resources: Resources | None = None


@dataclass(frozen=True)
class RunSummary:
    """What became of a run.

    Attributes:
        run_dir: The run directory; in a dry run, the one that would be made.
        statuses: Status of every case by variant name: succeeded, failed, timed_out, cancelled, skipped, pending, or
            interrupted if an earlier runner died over it.
        exit_code: 0 all succeeded, 1 some case failed, 128 + n stopped by signal n.
    """

    run_dir: Path
    statuses: Mapping[str, str]
    exit_code: int

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of cases by status."""
        return Counter(self.statuses.values())


class SuiteError(Exception):
    """A suite that can't run. Nothing was started and nothing was created.

    Attributes:
        problems: One sentence each: what is wrong, where, what to do.
        exit_code: 2, or 75 if another runner owns the run directory.
    """

    def __init__(self, problems: Iterable[str], exit_code: int = EXIT_WRONG_USE) -> None:
        self.problems = tuple(problems)
        self.exit_code = exit_code
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Options:
    """How to run; the flags of a suite have the same names."""

    parallelism: int | Literal["all"] | None = None
    dry_run: bool = False
    resume: str | Path | None = None
    again: bool = False
    only: Sequence[str] = ()
    set: tuple[str, ...] = ()
    note: str = ""
    results_dir: str | Path | None = None
    same_code: bool = False
    allow_mixed_code: bool = False
    env_file: str | None = None
    debug: str | None = None
    follow: bool | None = None
    quiet: bool = False
    json: bool = False
    detach: bool = False
    confirm_above: float | None = None
    launcher: str | None = None
    launcher_options: Sequence[str] = ()
    describe: bool = False
    policy: Mapping[str, object] = field(default_factory=dict[str, object])  # what differs from the suite's
    as_command: bool = False  # by `run_experiments_cli`, so that there is a command to repeat


@dataclass(frozen=True)
class Suite:
    """What a suite file declares; see `run_experiments`."""

    cases: Sequence[ExperimentCase[Config]]
    entry_point: str | Path
    experiment: str
    mode: Mode = "standard"
    description: str = ""
    tags: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    policy: ExecutionPolicy = field(default_factory=ExecutionPolicy)
    hooks: Sequence[Hook] = ()
    launcher: str | Launcher | None = None
    file: Path | None = None


def run_experiments(
    cases: Sequence[ExperimentCase[Config]],
    entry_point: str | Path,
    experiment_name: str,
    *,
    mode: Mode = "standard",
    parallelism: int | Literal["all"] | None = None,
    dry_run: bool = False,
    resume: str | Path | None = None,
    only: Sequence[str] = (),
    note: str = "",
    results_dir: str | Path | None = None,
    same_code: bool = False,
    quiet: bool = False,
    description: str | None = None,
    tags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    policy: ExecutionPolicy | None = None,
    hooks: Sequence[Hook] = (),
    launcher: str | Launcher | None = None,
) -> RunSummary:
    """Run every case as a process of its own; see `run_experiments_cli` for the same as a command.

    Args:
        entry_point: The script that a case executes: looked for in the current folder, the project root,
            the suite's folder and beside this file.
        mode: `inspect` publishes the logs of Inspect AI flat in the experiment's folder.
        parallelism: Cases at a time; by default all of them, up to 64; "all" lifts that limit.
        dry_run: Check everything, show what would run, write nothing.
        resume: A run directory, or "latest": run what has not succeeded there.
        only: Patterns of variant names, as in a shell; what they leave out stays pending.
        results_dir: By default `results` in the project root, or `[tool.suitecase] results_dir`.
        same_code: Refuse to resume with other code than the run's.
        description: By default the suite's docstring.
        env: Environment variables for every case; names are recorded, values are not.
        policy: Timeouts, retries, resources, when to stop.
        hooks: Objects with some of the methods of `Hook`.
        launcher: How cases become processes: the name of a launcher, or one; by default `local`, and for a resume
            what the run used last.

    Raises:
        SuiteError: With every problem found, before anything is created.
    """
    options = Options(
        parallelism=parallelism, dry_run=dry_run, resume=resume, only=only, note=note, results_dir=results_dir,
        same_code=same_code, quiet=quiet,
    )  # fmt: skip
    suite = Suite(
        cases,
        entry_point,
        experiment_name,
        mode,
        description or "",
        tags,
        env or {},
        policy or ExecutionPolicy(),
        hooks,
        launcher,
    )
    return run(with_its_file(suite, inspect.currentframe()), options)


def run_experiments_cli(
    cases: Sequence[ExperimentCase[Config]],
    entry_point: str | Path,
    experiment_name: str,
    mode: Mode = "standard",
    *,
    description: str | None = None,
    tags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    policy: ExecutionPolicy | None = None,
    hooks: Sequence[Hook] = (),
    launcher: str | Launcher | None = None,
) -> NoReturn:
    """Make a suite file a command: read its command line (`--help` lists the flags), run, and exit.

    Raises:
        SystemExit: 0 all cases succeeded, 1 some failed, 2 wrong use, 75 the run directory belongs to
            another runner, 128 + n stopped by signal n.
    """
    suite = Suite(
        cases,
        entry_point,
        experiment_name,
        mode,
        description or "",
        tags,
        env or {},
        policy or ExecutionPolicy(),
        hooks,
        launcher,
    )
    with problems_end_the_program():
        command_line(with_its_file(suite, inspect.currentframe()))
    sys.exit(0)


def with_its_file(suite: Suite, frame: FrameType | None) -> Suite:
    """A suite with its file: the module from which the function of `frame` was called, which may describe it too."""
    module = frame.f_back.f_globals if frame and frame.f_back else {}
    file = Path(module["__file__"]).resolve() if module.get("__file__") else None
    return replace(suite, file=file, description=suite.description or (module.get("__doc__") or "").strip())


def run(suite: Suite, options: Options) -> RunSummary:
    """The steps of a run, in the order in which they happen."""
    open_standard_streams()
    plan = make_plan(suite, options)
    with Console(plan) as console:
        if options.dry_run:
            console.show_plan()
            return RunSummary(plan.run_dir, dict.fromkeys(plan.prepared, "pending"), 0)
        if plan.resumed and not plan.to_run:
            console.say(f"Nothing left to do in {plan.run_dir}: all its cases that are asked for have succeeded.")
            return RunSummary(plan.run_dir, plan.resumed.statuses, 0)
        if options.confirm_above is not None:
            confirm_cost(plan, options.confirm_above)
        if options.detach:
            return detach(plan, console)
        with open_run(plan) as (opened, journal):
            return execute(opened, journal, console)


def confirm_cost(plan: Plan, limit_usd: float) -> None:
    """Have `suitecase estimate` ask a person whether a cost above the limit is fine.

    Raises:
        SuiteError: It is not (exit code 1), or nobody can be asked (2).
    """
    options = plan.options
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    suitecase = shutil.which("suitecase", path=path)
    if suitecase is None or plan.suite.file is None:
        raise SuiteError(["--confirm-above asks the command `suitecase`: pip install suitecase"])
    command = [suitecase, "estimate", str(plan.suite.file), "--results-dir", str(plan.results_dir)]
    command += [f"--confirm-above={limit_usd}", *(["-p", str(plan.parallelism)] if options.parallelism else [])]
    command += [f"--only={pattern}" for pattern in options.only or filter(None, [options.debug])]
    # A resume replays its `--set`.
    command += [f"--resume={plan.run_dir}"] if plan.resumed else [f"--set={text}" for text in options.set]
    sys.stdout.flush()
    done = subprocess.run(command, stdout=subprocess.DEVNULL if options.quiet else sys.stderr.fileno())
    if done.returncode:
        raise SuiteError(["--confirm-above: nothing was started."], EXIT_FAILED if done.returncode == 1 else 2)


def execute(plan: Plan, journal: Journal, console: Console) -> RunSummary:
    """Run the cases of an open run directory."""

    def hook_failed(hook: str, method: str, reason: str) -> None:
        log.warning("hook %s.%s failed: %s", hook, method, reason)
        journal.append("hook_failed", hook=hook, method=method, reason=reason)

    console.start(plan, journal)
    with Signals(bool(plan.options.debug), plan.options.as_command) as signals, terminal_kept():
        hooks = HookCalls(plan.suite.hooks, plan.suite.policy.hook_timeout_s, signals.wake, hook_failed)
        execution = Execution(plan, journal, console, hooks, signals)
        exit_code = execution.run()
        hooks.close()
    console.summarise(execution.statuses, journal.trees)
    return RunSummary(plan.run_dir, execution.statuses, exit_code)


# --- Checking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A case whose arguments are proved to arrive as its config."""

    case: ExperimentCase[Config]
    arguments: list[str]
    config_json: str

    @property
    def config(self) -> dict[str, Any]:
        """The config's fields as `config.json` holds them."""
        return json.loads(self.config_json)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before anything starts."""

    suite: Suite
    options: Options
    root: Path
    results_dir: Path
    run_dir: Path
    entry_point: Path
    code: CodeState
    prepared: Mapping[str, Prepared]
    to_run: tuple[str, ...]
    parallelism: int
    launcher: Launcher
    capacity: Capacity
    resumed: Resumed | None = None

    @property
    def experiment_dir(self) -> Path:
        """Where finished logs lie flat in Inspect mode, and run directories in standard mode."""
        return self.results_dir / self.suite.experiment


def make_plan(suite: Suite, options: Options) -> Plan:
    """Check everything, and decide. Nothing is created.

    Raises:
        SuiteError: With all problems.
    """
    suite = with_flags(suite, options)
    root = project_root(suite)
    problems = check_declaration(suite) + env_file_problems(options.env_file) + env_file_exposed(options.env_file, root)
    entry_point, entry_problems = find_entry_point(suite, root)
    results_dir, results_problems = find_results_dir(suite, options, root)
    problems += entry_problems + results_problems + check_options(suite, options)
    wrong_policy = policy_problems(suite.policy)
    sound = replace(suite, policy=ExecutionPolicy()) if wrong_policy else suite  # or each case would tell of it again
    problems += hook_problems(suite.hooks) + wrong_policy
    record = None
    if options.resume is not None and not problems:
        runs = runs_folder(results_dir / suite.experiment, suite.mode)
        record = read_run(find_run(str(options.resume), runs), suite)
    chosen: Launcher | None = None
    with gathered(problems):
        chosen = choose_launcher(sound, options, record)
    launcher = chosen or Local()
    capacity = launcher.capacity(sound)
    # A description may be for a bigger machine than this, and so may be a launcher that was refused.
    unbounded = options.describe or chosen is None
    problems += resource_problems(sound, Capacity(math.inf, math.inf, None) if unbounded else capacity)
    if problems:
        raise SuiteError(problems + problems_of_values(suite, options))
    code = read_code(root, results_dir)
    parent = runs_folder(results_dir / suite.experiment, suite.mode)
    run_dir = record.path if record else parent / f"{datetime.now():%Y%m%d_%H%M%S}_{code.label}"
    prepared = prepare(set_fields(suite, options, record), run_dir)
    resumed = plan_resume(record, prepared, code, options) if record else None
    to_run = tuple(
        variant
        for variant in prepared
        if selected(variant, options)
        and (resumed is None or options.again or resumed.statuses.get(variant) != "succeeded")
    )
    limit = PARALLELISM_LIMIT if math.isfinite(capacity.cpus) else len(to_run)
    limit = options.parallelism if isinstance(options.parallelism, int) else limit
    parallelism = max(1, len(to_run) if options.parallelism == "all" else min(len(to_run), limit))
    return Plan(
        suite, options, root, results_dir, run_dir, entry_point, code, prepared, to_run, parallelism, launcher,
        capacity, resumed,
    )  # fmt: skip


@contextmanager
def gathered(problems: list[str], prefix: str = "") -> Generator[None]:
    """Keep what a SuiteError or a config's error tells, so that all problems are told at once."""
    try:
        yield
    except (SuiteError, ValueError) as error:
        problems += [f"{prefix}{problem}" for problem in getattr(error, "problems", [str(error)])]


def with_flags(suite: Suite, options: Options) -> Suite:
    """The suite with the policy that its command line asks for.

    Raises:
        SuiteError: Arguments of types for which no other check is made.
    """
    given: list[tuple[str, object, type | UnionType, str]] = [
        ("cases", suite.cases, Iterable, "a list of ExperimentCase"),
        ("entry_point", suite.entry_point, str | Path, "a path"),
        ("policy", suite.policy, ExecutionPolicy, "an ExecutionPolicy"),
    ]
    problems = [
        f"{name} is {value!r}: give {right}." for name, value, kind, right in given if not isinstance(value, kind)
    ]
    for name, value in (("tags", suite.tags), ("only", options.only)):
        if not is_texts(value):
            problems.append(f"{name} is {value!r}: give a list of text.")
    cases = list(suite.cases) if isinstance(cast(object, suite.cases), Iterable) else []
    others = (case for case in cast(list[object], cases) if not isinstance(case, ExperimentCase))
    problems += [f"{repr(case)[:80]} is a {type(case).__name__}, not an ExperimentCase." for case in others]
    if problems:
        raise SuiteError(problems)
    policy = replace(suite.policy, **cast(dict[str, Any], options.policy))
    env = suite.env
    if options.env_file and isinstance(cast(object, env), Mapping) and not env_file_problems(options.env_file):
        env = {**read_env_file(options.env_file), **env}
    return replace(suite, cases=cases, policy=policy, env=env)


def is_texts(values: object) -> bool:
    """Whether something is a list of texts; a text alone would be taken for its letters."""
    listed = isinstance(values, Collection) and not isinstance(values, str)
    return listed and all(isinstance(item, str) for item in cast(Collection[object], values))


def project_root(suite: Suite) -> Path:
    """The git top level of the suite's folder, else the current folder."""
    try:
        current = Path.cwd()
    except FileNotFoundError:
        raise SuiteError(["the current folder doesn't exist any more: start from one that does."]) from None
    with suppress(GitError):
        return Path(git(suite.file.parent if suite.file else current, "rev-parse", "--show-toplevel").rstrip("\n"))
    return current


def check_declaration(suite: Suite) -> list[str]:
    """Problems of the suite itself: names, duplicates, configs, environment."""
    problems = [f"experiment name {p}" for p in name_problem(suite.experiment)]
    if suite.mode not in get_args(Mode):
        problems.append(f"mode is {suite.mode!r}: it must be {' or '.join(map(repr, get_args(Mode)))}.")
    if not suite.cases:
        problems.append("the suite has no cases: give run_experiments at least one ExperimentCase.")
    for case in suite.cases:
        problems += [f"variant name {problem}" for problem in name_problem(case.variant_name)]
        config: object = case.config
        if isinstance(config, type) or not callable(getattr(config, "to_arguments", None)):
            kind = f"the class {config.__name__}" if isinstance(config, type) else f"a {type(config).__name__}"
            problems.append(f"case {case.variant_name!r}: its config is {kind}, not a BaseExperimentConfig.")
        problems += env_problems(case.env, f"case {case.variant_name!r}: ")
    problems += collisions([case.variant_name for case in suite.cases]) + env_problems(suite.env, "")
    configs = [case.config for case in suite.cases if hasattr(case.config, "command_lines_read")]
    if configs and configs[0].command_lines_read() and sys.argv[1:2] != ["--output_dir"]:
        read = shlex.join(configs[0].command_lines_read()[0])
        problems.append(
            f"a config of this process has read its command line ({read}), so cases may not be what the suite says. "
            "Import experiment_runner in the suite file itself, or make configs with copy_with()."
        )
    return problems


def check_options(suite: Suite, options: Options) -> list[str]:
    """Problems of how the suite was called."""
    variants = [case.variant_name for case in suite.cases]
    problems: list[str] = []
    for pattern in options.only:
        if not any(matches(variant, pattern) for variant in variants):
            problems.append(f"no case is named {pattern!r}.{nearest(pattern, variants)}")
    if options.debug and (options.only or options.json or options.detach):
        problems.append("--debug has one case and the terminal: leave --only, --json and --detach out.")
    if options.debug and options.debug not in variants:
        problems.append(f"no case is named {options.debug!r}.{nearest(options.debug, variants)}")
    if options.again and options.resume is None:
        problems.append("--again runs cases of an earlier run once more: say of which with --resume.")
    if options.allow_mixed_code and options.same_code:
        problems.append("--same-code refuses other code, --allow-mixed-code goes on with it: leave one of them out.")
    if options.allow_mixed_code and (suite.mode != "inspect" or options.resume is None):
        problems.append("--allow-mixed-code goes on with logs of a run in Inspect mode: say of which with --resume.")
    if options.again and options.confirm_above is not None:
        problems.append("--confirm-above can't tell what --again costs: leave one of them out.")
    at_once = cast(object, options.parallelism)
    if at_once not in (None, "all") and not (type(at_once) is int and at_once >= 1):
        problems.append(f"parallelism is {at_once!r}: it must be at least 1, or 'all'.")
    problems += [f"--set {text}: write it FIELD=VALUE." for text in options.set if "=" not in text[1:]]
    return problems


@dataclass(frozen=True)
class Capacity:
    """What there is for the cases of a run at one time; endless (`math.inf`) where another scheduler sees to that.

    Attributes:
        gpus: Devices as CUDA_VISIBLE_DEVICES names them; None if the launcher gives cases their devices.
        uuids: Their UUIDs, as far as `nvidia-smi` knows them.
    """

    cpus: float
    memory_gb: float
    gpus: tuple[str, ...] | None = ()
    uuids: Mapping[str, str] = field(default_factory=dict[str, str])


def capacity_here(suite: Suite) -> Capacity:
    """This machine's usable CPUs, its memory, and its GPUs if some case needs some."""
    cpus, memory_gb = float(usable_cpus()), memory_bytes() / 1e9
    own = (getattr(case.resources, "gpus", None) for case in suite.cases)
    if not suite.policy.gpus_per_case and not any(own):
        return Capacity(cpus, memory_gb)
    known = {gpu["index"]: gpu["uuid"] for gpu in gpus()}
    known |= {uuid: uuid for uuid in known.values()}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # By UUID where we choose: CUDA's own order of devices is not nvidia-smi's.
    devices = visible.split(",") if visible is not None else [known[name] for name in known if name.isdigit()]
    devices = [device.strip() for device in devices if device.strip()]
    devices = devices[: devices.index("-1")] if "-1" in devices else devices  # as CUDA reads it
    return Capacity(cpus, memory_gb, tuple(dict.fromkeys(devices)), {d: known[d] for d in devices if d in known})


def policy_problems(policy: ExecutionPolicy) -> list[str]:
    """What is wrong with an execution policy, value by value."""
    problems: list[str] = []

    def check(name: str, low: float, **rule: Any) -> None:
        value = vars(policy)[name]
        may_be_none = ExecutionPolicy.__dataclass_fields__[name].default is None
        if (problem := number_problem(value, low, **rule)) and not (value is None and may_be_none):
            problems.append(f"policy: {name} {problem}")

    for name in ("timeout_s", "cpus_per_case", "memory_gb_per_case", "hook_timeout_s"):
        check(name, 0, above=True)
    for name in ("grace_s", "backoff_s", "backoff_factor", "backoff_cap_s", "gpus_per_case"):
        check(name, 0)
    for name in ("max_attempts", "failure_window"):
        check(name, 1, whole=True)
    check("max_failure_rate", 0, high=1)
    check("continue_exit_code", 1, high=255, whole=True)
    check("nice", 0, high=19, whole=True)
    if policy.backoff not in ("exponential", "linear", "constant"):
        problems.append(f"policy: backoff is {policy.backoff!r}: it must be 'exponential', 'linear' or 'constant'.")
    for name in ("retry_on", "never_retry_on"):
        problems += [f"policy: {name}: {problem}" for problem in failure_problems(getattr(policy, name))]
    if policy.isolate:
        problems += isolation_problems()
    return problems


def number_problem(
    value: object, low: float, high: float = math.inf, *, whole: bool = False, above: bool = False
) -> str:
    """What a value should be and is not, a number from `low` or `above` it; empty if it is."""
    number = value if isinstance(value, int if whole else int | float) and not isinstance(value, bool) else math.nan
    if low <= number <= high and number < math.inf and not (above and number == low):
        return ""
    bound = f"{low:g} to {high:g}" if high < math.inf else f"{'more than' if above else 'at least'} {low:g}"
    kind = "a whole number, " if whole else "finite, " if number == math.inf else ""
    return f"is {value!r}: it must be {kind}{bound}."


FAILURES = ("any", "exit_code", "signal", "timeout", "oom", "lost", "preempted")


def failure_problems(names: object) -> list[str]:
    """Which names of failures are none."""
    if not isinstance(names, tuple | list):
        return [f"{names!r} is no list of failures."]
    known = [*FAILURES, *(number.name for number in signal.Signals)]
    return [
        f"{name!r} is no failure: give an exit code, a signal's name, or one of {', '.join(FAILURES)}."
        f"{nearest(str(name), known)}"
        for name in cast(Sequence[object], names)
        if not (name in known or (type(name) is int and 0 < name < 256))
    ]


def isolation() -> list[str]:
    """The command before a case's own that gives it a PID namespace: all in it dies with its first process."""
    bwrap = shutil.which("bwrap") or "bwrap"
    return [bwrap, "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--proc", "/proc", "--"]


def isolation_problems() -> list[str]:
    """Why cases can't be isolated here."""
    try:
        done = subprocess.run([*isolation(), "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError:
        return ["policy: isolate needs the program bwrap (bubblewrap, Linux), which isn't installed."]
    why = done.stderr.strip().partition("\n")[0]
    return [f"policy: isolate doesn't work here: {why}"] if done.returncode else []


def resource_problems(suite: Suite, capacity: Capacity) -> list[str]:
    """Cases that need more than there is, or what can't be given; equal ones are told once."""
    problems: dict[str, list[str]] = {}
    for case in suite.cases:
        own = cast(object, case.resources)
        if own is not None and not isinstance(own, Resources):
            problems.setdefault(f"resources is {own!r}: give Resources(…).", []).append(case.variant_name)
            continue
        for problem in problems_of_needs(needs_of(case, suite.policy), capacity):
            problems.setdefault(problem, []).append(case.variant_name)
    return [
        f"case {variants[0]!r}{f' and {len(variants) - 1} more' if len(variants) > 1 else ''}: {problem}"
        for problem, variants in problems.items()
    ]


def problems_of_needs(needs: Resources, capacity: Capacity) -> list[str]:
    values = {name: value for name, value in vars(needs).items() if value is not None}
    for name, value in values.items():
        if problem := number_problem(value, 0, above=name != "gpus"):
            return [f"{name} {problem}"]
    gpus = values.get("gpus", 0)
    problems = [f"gpus is {gpus:g}: it must be whole, or below 1."] if gpus > 1 and gpus != int(gpus) else []
    for name, there, unit in (
        ("cpus", capacity.cpus, "CPUs"),
        ("memory_gb", capacity.memory_gb, "GB of memory"),
        ("gpus", math.inf if capacity.gpus is None else len(capacity.gpus), "GPUs"),
    ):
        if values.get(name, 0) > there:
            problems.append(f"it needs {values[name]:g} {unit}, and {there:.3g} are there.")
    return problems


RESERVED = {
    "config.json", "results.json", "tracking.jsonl", "items.jsonl", "run.json", "environment.json", "journal.jsonl",
    "runner.log", "limits.bin", "cancel", "results.csv", "analysis.json", "readme.md",
    "con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}  # fmt: skip
OUR_FILES = re.compile(r"report\..*|attempt-\d+\..*|uncommitted.*\.patch|.*\.eval")


def name_problem(name: object) -> list[str]:
    """Why a name can't be a folder on every system, with a suggestion; empty if it can.

    Names are refused, never altered: what a person wrote is what they find.
    """
    if not isinstance(name, str):
        return [f"{name!r} is a {type(name).__name__}: it must be text."]
    faults = name_faults(name)
    return [f"{name[:80]!a} {' and '.join(faults)}: use for example {suggested_name(name)!r}."] if faults else []


def name_faults(name: str) -> list[str]:
    """What is wrong with a name."""
    reasons = [
        (not name, "is empty"),
        ("/" in name or "\\" in name, "contains a slash"),
        (name.startswith("."), "begins with a dot"),
        (name.startswith("-"), "begins with a dash, as flags do"),
        (name != name.strip() or name.endswith("."), "begins or ends with a space or a dot, which some systems drop"),
        (any(invisible(character, name) for character in name), "contains a control or invisible character"),
        (len(name.encode("utf-8", "surrogatepass")) > 200, "is longer than 200 bytes"),
        (folded(name) in RESERVED or folded(name).split(".")[0] in RESERVED, "is a name that is used otherwise"),
        (OUR_FILES.fullmatch(folded(name)) is not None, "is a name of our own files"),
    ]
    return [reason for applies, reason in reasons if applies]


def invisible(character: str, name: str) -> bool:
    """Controls, separators, direction marks, lone surrogates; an emoji may be joined by U+200D."""
    if character == "\u200d" and any(unicodedata.category(other) == "So" for other in name):
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") or character in "\u3164\u115f"


def folded(name: str) -> str:
    """What case-insensitive and normalising file systems make of a name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace("\u200d", "")


def suggested_name(name: str) -> str:
    """A name that is allowed and looks like the one given."""
    text = "".join("-" if character in "/\\" or invisible(character, "") else character for character in name)
    outside = re.compile(r"^[\s.-]+|[\s.-]+$")
    text = outside.sub("", text)[:200].encode()[:180].decode(errors="ignore")
    text = outside.sub("", text) or "case"
    return text if not name_faults(text) else f"case-{text.replace('.', '-')}"


def collisions(names: Sequence[object]) -> list[str]:
    """Names that would share a folder on some system."""
    by_key: dict[str, list[str]] = {}
    for name in names:
        by_key.setdefault(folded(str(name)), []).append(str(name))
    problems: list[str] = []
    for same in by_key.values():
        if len(same) > 1 and len(set(same)) == 1:
            problems.append(f"variant name {same[0]!r} is given to {len(same)} cases: each needs its own.")
        elif len(same) > 1:
            listed = ", ".join(map(repr, same))
            problems.append(f"variant names {listed} are one folder where case or accents aren't told apart.")
    return problems


def env_problems(env: object, where: str) -> list[str]:
    if not isinstance(env, Mapping):
        return [f"{where}env is {env!r}: give a dict of text."]
    return [
        f"{where}env: {name!r} is no environment variable: names and values are text."
        for name, value in cast(Mapping[object, object], env).items()
        if not (isinstance(name, str) and isinstance(value, str) and name) or "=" in name or "\0" in name + value
    ]


def env_file_problems(path: str | None) -> list[str]:
    """What is wrong with `--env-file`, by line: a message must not show what may be a key."""
    if path is None:
        return []
    from dotenv.parser import parse_stream

    try:
        with open(path, encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        return [f"--env-file {path} can't be read: {reason}."]
    wrong = [line.original for line in lines if line.error or (line.key is not None and line.value is None)]
    numbers = [each.line + each.string.partition(each.string.strip())[0].count("\n") for each in wrong]
    return [f"--env-file {path}, line {number}: write it NAME=VALUE." for number in numbers]


def env_file_exposed(path: str | None, root: Path) -> list[str]:
    """Whether the file's content would be recorded, as part of the code."""
    if path is None or not Path(path).resolve().is_relative_to(root):
        return []
    with suppress(GitError):
        if git(root, "ls-files", "--cached", "--others", "--exclude-standard", "--", str(Path(path).resolve())):
            return [f"--env-file {path} is part of the repository and would be recorded: add it to .gitignore."]
    return []


def read_env_file(path: str) -> dict[str, str]:
    """The variables of `--env-file`, as they stand there. For the cases only: they never reach our own environment."""
    from dotenv import dotenv_values  # comes with pydantic-settings

    values = dotenv_values(path, interpolate=False)  # a key may have a $ in it
    return {name: value for name, value in values.items() if value is not None}


def find_entry_point(suite: Suite, root: Path) -> tuple[Path, list[str]]:
    """The one file that an entry point's name stands for."""
    given = Path(suite.entry_point)
    folders = [Path.cwd(), root, *([suite.file.parent] if suite.file else []), Path(__file__).parent]
    candidates = [folder / given for folder in folders]
    files = list(dict.fromkeys(path.resolve() for path in candidates if os.path.isfile(path)))
    if not files:
        folder = next((path for path in candidates if os.path.isdir(path)), None)
        near = nearest(given.name, [path.name for place in folders for path in place.glob("*.py")])
        places = ", ".join(map(str, dict.fromkeys(folders)))
        what = f"is a folder ({folder})" if folder else f"was not found in {places}"
        return given, [f"entry point {str(given)!r} {what}: name the script that each case executes.{near}"]
    if len(files) > 1:
        return given, [f"entry point {str(given)!r} is ambiguous: {' or '.join(map(str, files))}? Give a longer path."]
    if files[0] == suite.file:
        return given, [f"entry point {files[0]} is the suite itself: the code of a case needs a file of its own."]
    if files[0].suffix != ".py" and not os.access(files[0], os.X_OK):
        return given, [f"entry point {files[0]} is neither a .py file nor executable."]
    return files[0], []


def find_results_dir(suite: Suite, options: Options, root: Path) -> tuple[Path, list[str]]:
    """Where results go, and why they can't."""
    configured: object = "results"
    pyproject = root / "pyproject.toml"
    if pyproject.is_file():
        try:
            tools = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
            configured = tools.get("suitecase", {}).get("results_dir", configured)
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
            return root, [f"{pyproject} can't be read: {error}."]
        if not isinstance(configured, str):
            return root, [f"{pyproject}: [tool.suitecase] results_dir must be text."]
    results_dir = Path.cwd() / options.results_dir if options.results_dir else root / configured
    experiment_dir = results_dir if name_problem(suite.experiment) else results_dir / suite.experiment
    existing = next(path for path in (experiment_dir, *experiment_dir.parents) if os.path.exists(path))
    problems: list[str] = []
    if not existing.is_dir():
        problems.append(f"results folder {results_dir}: {existing} is a file.")
    elif not os.access(existing, os.W_OK | os.X_OK):
        problems.append(f"results folder {results_dir} can't be written: no permission in {existing}.")
    if results_dir.resolve() == root.resolve():
        problems.append(f"results folder {results_dir} is the project itself: give results a folder of their own.")
    if experiment_dir != results_dir and experiment_dir.is_symlink():
        problems.append(f"{experiment_dir} is a link: only the results folder itself may be one.")
    return Path(os.path.abspath(results_dir)), problems


def set_fields(suite: Suite, options: Options, record: Record | None) -> list[ExperimentCase[Config]]:
    """The cases, with `--set` applied: a resume replays what the run was started with."""
    recorded = tuple(record.run.get("set", ())) if record else ()
    if record and options.set and options.set != recorded:
        begun = f"with {shlex.join(f'--set={text}' for text in recorded)}" if recorded else "without --set"
        raise SuiteError([f"the run was started {begun}, and a resume runs the same: leave --set out."])
    argv = [f"--{text}" for text in recorded or options.set]
    if not argv:
        return list(suite.cases)
    cases: list[ExperimentCase[Config]] = []
    problems: list[str] = []
    for case in suite.cases:
        with gathered(problems, "--set: "):
            cases.append(replace(case, config=case.config.copy_with_arguments(argv)))
    if problems:
        raise SuiteError(dict.fromkeys(problems))  # most cases have the same
    return cases


def prepare(cases: Sequence[ExperimentCase[Config]], run_dir: Path) -> dict[str, Prepared]:
    """The arguments and the `config.json` of every case, proved to arrive as declared."""
    prepared: dict[str, Prepared] = {}
    problems: list[str] = []
    for case in cases:
        with gathered(problems, f"case {case.variant_name!r}, field "):
            arguments, config_json = case.config.to_arguments(str(run_dir / case.variant_name))
            prepared[case.variant_name] = Prepared(case, arguments, config_json)
            log.debug("%s: %s", case.variant_name, shlex.join(arguments)[:400])
    if problems:
        raise SuiteError(problems)
    return prepared


def problems_of_values(suite: Suite, options: Options) -> list[str]:
    """What `--set` and the transport have against a suite that has other problems too."""
    readable = replace(options, set=tuple(text for text in options.set if "=" in text[1:]))
    problems: list[str] = []
    with gathered(problems), suppress(AttributeError, TypeError):  # not even configs, which is said already
        prepare([c for c in set_fields(suite, readable, None) if not name_problem(c.variant_name)], Path("/"))
    return problems


def selected(variant: str, options: Options) -> bool:
    if options.debug:
        return variant == options.debug
    return not options.only or any(matches(variant, pattern) for pattern in options.only)


def matches(variant: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(variant, pattern) or variant == pattern


def nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


# --- Resuming --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What a run directory says of itself.

    Attributes:
        run: The contents of `run.json`; empty if the simple original of this file made the directory.
        journal: Its journal as it was read; None if there is none to go on with.
        cases: The run's cases, and what the `config.json` of each must hash to; empty where that was not recorded.
        configs: The bytes of every `config.json` that is there, and is as it was recorded.
    """

    path: Path
    run: Mapping[str, Any]
    journal: Written | None
    cases: Mapping[str, str]
    configs: Mapping[str, bytes]

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What happened so far, oldest first."""
        return self.journal.events if self.journal else ()


@dataclass(frozen=True)
class Resumed:
    """What a resume starts from.

    Attributes:
        number: 2 for the first resume of a run, 3 for the next.
        attempts: Attempts made so far, by variant.
        repaired: What `config.json` must hold, of every case whose file is damaged or gone.
        code_changed: Whether the code differs from the last pass; None if that can't be told.
    """

    record: Record
    number: int
    statuses: Mapping[str, str]
    attempts: Mapping[str, int]
    added: tuple[str, ...]
    gone: tuple[str, ...]
    repaired: Mapping[str, str]
    notes: tuple[str, ...]
    code_changed: bool | None


RUN_NAME = re.compile(r"\d{8}_\d{6}_[^/]+")


def find_run(given: str, parent: Path) -> Path:
    """The run directory that `--resume` names: a path, a name under the experiment, or `latest`."""
    try:
        names = os.listdir(parent)  # not a glob, to which a folder that can't be read is an empty one
    except (FileNotFoundError, NotADirectoryError):
        names = []
    runs = sorted(parent / name for name in names if RUN_NAME.fullmatch(name) and (parent / name).is_dir())
    if not given:
        raise SuiteError(["--resume: name a run directory, or 'latest'."])
    if given == "latest":
        for run in reversed(runs):
            file = inside(run, parent) / "run.json"
            # A run made by --debug looked into one case: not what somebody wants to go on with.
            if not file.exists() or not read_json(file).get("debug"):
                return run
        raise SuiteError([f"--resume latest: there is no run in {parent} yet."])
    for path in (Path(given), parent / given):
        if path.is_dir():
            return inside(path, parent).resolve()
    near = nearest(Path(given).name, ["latest", *(run.name for run in runs)])
    raise SuiteError([f"--resume {given}: there is no such run directory.{near or f' Runs lie in {parent}.'}"])


def inside(path: Path, parent: Path) -> Path:
    """A run directory, if it isn't a link by which an experiment's folder leads somewhere else."""
    if path.is_symlink() and path.parent.resolve() == parent.resolve() != path.resolve().parent:
        raise SuiteError([f"{path} is a link to {path.resolve()}: name that one, or put the run itself there."])
    return path


def read_run(path: Path, suite: Suite) -> Record:
    """A run directory's record, if this suite may resume it. Nothing is changed.

    Raises:
        SuiteError: Another experiment, mode or format; a damaged record; a live runner (exit code 75).
    """
    if path.name.startswith("."):
        raise SuiteError([f"{path} is unfinished: a crash left it before anything ran. The next run removes it."])
    journal_path = path / "journal.jsonl"
    if not os.path.lexists(path / "run.json"):
        return read_original(path, journal_path)
    described, _ = read_plain(path / "run.json")
    run = parsed(described, path / "run.json")
    version: object = run.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise SuiteError([f"{path} has format {version!r}, and this runner knows {FORMAT_VERSION}: update it."])
    problems = [
        f"{path} is a run of {key} {run.get(key)!r}, and this suite is {value!r}."
        for key, value in (("experiment", suite.experiment), ("mode", suite.mode))
        if run.get(key) != value
    ]
    if not os.path.lexists(journal_path):
        problems.append(f"{path} has no journal.jsonl: nothing tells which cases succeeded, so it can't be resumed.")
    if problems:
        raise SuiteError(problems)
    refuse_if_owned(journal_path)
    journal = read_journal(journal_path)
    sealed = [event["run_json_sha256"] for event in journal.events if "run_json_sha256" in event]
    if not journal.events and not run.get("adopted"):  # an adoption that died has none yet
        raise SuiteError([f"{journal_path} has lost its events: restore it from a copy, or start a new run."])
    if sealed and sha256_of(described) != sealed[0]:
        raise SuiteError(
            [f"{path / 'run.json'} is not what the run wrote: damaged or edited. Restore it, or start a new run."]
        )
    # Only the run's own cases: a resume that died may have left half a folder of a case that it was to add.
    cases = declared_cases(run, journal.events)
    if not sealed:
        cases = dict.fromkeys(cases, "")
    run.pop("cases", None)  # a hundred thousand of them are 50 MB, and nobody asks again
    return Record(path, run, journal, cases, read_configs(path, cases))


def read_original(path: Path, journal: Path) -> Record:
    """The record of a directory without `run.json`: configs alone, as the simple original of this file leaves them."""
    if os.path.lexists(journal) and read_journal(journal).events:
        raise SuiteError([f"{path} has lost its run.json: restore it from a copy, or start a new run."])
    found = sorted(file.parent.name for file in path.glob("*/config.json") if file.parent.name[0] != ".")
    if not found:
        raise SuiteError([f"{path} is no run directory: it has neither run.json nor a case with a config.json."])
    cases = dict.fromkeys(found, "")
    return Record(path, {}, None, cases, read_configs(path, cases))


def read_configs(path: Path, cases: Mapping[str, str]) -> dict[str, bytes]:
    """The `config.json` of every case that has one, those left out that are not what was recorded."""
    problems: list[str] = []
    configs: dict[str, bytes] = {}
    for variant, sha256 in cases.items():
        folder = path / variant
        if folder.is_symlink():
            problems.append(f"{folder} is a link: a case's folder must lie in its run. Put the folder itself there.")
            continue
        with gathered(problems), suppress(FileNotFoundError, NotADirectoryError):
            content, _ = read_plain(folder / "config.json")
            if sha256 in ("", sha256_of(content)):
                configs[variant] = content
    if problems:
        raise SuiteError(problems)
    return configs


def declared_cases(run: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The cases of a run, those that a resume added included, in order; each with the sha256 of its config."""
    try:
        declared = {case["variant"]: case.get("config_sha256", "") for case in run.get("cases", [])}
        for event in events:
            sha256s = event.get("cases_added_sha256", {})
            declared |= {variant: sha256s.get(variant, "") for variant in event.get("cases_added", [])}
    except (TypeError, KeyError, AttributeError) as error:
        raise SuiteError([f"run.json or journal.jsonl don't say which cases there are ({error!r}): damaged?"]) from None
    return declared


def plan_resume(record: Record, prepared: Mapping[str, Prepared], code: CodeState, options: Options) -> Resumed:
    """What a second pass over a run directory starts from, or every reason against it."""
    statuses = case_statuses(record.events, prepared)
    problems: list[str] = []
    notes: list[str] = []
    repaired: dict[str, str] = {}
    for variant in prepared:
        with gathered(problems):
            lost, told = compare_case(record, variant, prepared[variant], statuses[variant])
            notes += told
            if lost:
                repaired[variant] = lost
    code_changed = is_other_code(last_code(record), code)
    if options.same_code and code_changed is not False:
        was, now = last_code(record).get("label", "unknown"), code.label
        verdict = "they differ" if code_changed else "it can't be told whether they differ"
        problems.append(f"--same-code: the run's code is {was}, the code here is {now}, and {verdict}.")
    if problems:
        raise SuiteError(sorted(problems))
    return Resumed(
        record=record,
        number=2 + sum(event["event"] == "run_resumed" for event in record.events),
        statuses=statuses,
        attempts={event["variant"]: event["attempt"] for event in record.events if event["event"] == "attempt_started"},
        added=tuple(variant for variant in prepared if variant not in record.cases),
        gone=tuple(variant for variant in record.cases if variant not in prepared),
        repaired=repaired,
        notes=tuple(dict.fromkeys(notes)),
        code_changed=code_changed,
    )


def compare_case(record: Record, variant: str, prepared: Prepared, status: str) -> tuple[str, list[str]]:
    """A case as it is declared, and as the run recorded it.

    Returns:
        What its `config.json` must hold if that is damaged or gone, else nothing; and what a person should know.

    Raises:
        SuiteError: Why it can't be run here.
    """
    folder = record.path / variant
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise SuiteError([f"case {variant!r}: {folder} must be a folder, and is none: move it away."])
    if variant not in record.cases:
        return "", []
    if variant in record.configs:
        changed, new = config_differences(record, variant, prepared)
        if changed:
            told = f"case {variant!r} has another config than the run recorded ({'; '.join(changed)}): "
            raise SuiteError([told + "restore it, give the case another name, or start a new run."])
        return "", [f"field {name} is new since the run began, and at its default." for name in new]
    if status == "succeeded" and not folder.exists():
        told = f"case {variant!r} has succeeded, and its folder {folder} is gone: restore it, or start a new run."
        raise SuiteError([told])
    file = folder / "config.json"
    fault = "is not what the run recorded" if file.exists() else "is missing"
    lost = config_as_recorded(record, variant, prepared)
    if not lost:
        raise SuiteError([f"case {variant!r}: {file} {fault}: restore it, or start a new run."])
    return lost, [f"{file} {fault}: it is written again, as the suite declares it and the run recorded it."]


def config_as_recorded(record: Record, variant: str, prepared: Prepared) -> str:
    """The text of a lost `config.json`, if what the suite declares now is exactly that; else nothing.

    The text holds the output folder, which was another one if the run was moved since.
    """
    for folder in (record.path, Path(record.run.get("run_dir", record.path))):
        _, config_json = prepared.case.config.to_arguments(str(folder / variant))
        if sha256_of(config_json.encode()) == record.cases[variant]:
            return config_json
    return ""


def config_differences(record: Record, variant: str, prepared: Prepared) -> tuple[list[str], list[str]]:
    """Fields whose values differ from the saved ones, and fields that are new and at their default."""
    saved = parsed(record.configs[variant], record.path / variant / "config.json")
    current = prepared.config
    fields: Mapping[str, Any] = getattr(type(prepared.case.config), "model_fields", {})
    changed: list[str] = []
    new: list[str] = []
    for name in sorted((saved.keys() | current.keys()) - {"output_dir"}):
        if name not in saved and name in fields:
            default = fields[name].get_default(call_default_factory=True)
            if default == getattr(prepared.case.config, name):
                new.append(name)
                continue
        was, now = (json.dumps(values[name]) if name in values else "nothing" for values in (saved, current))
        if was != now:
            changed.append(f"{name}: {was[:60]} is now {now[:60]}")
    return changed, new


def last_code(record: Record) -> Mapping[str, Any]:
    """The code of a run's last pass."""
    passes = [event["code"] for event in record.events if event["event"] == "run_resumed"]
    return passes[-1] if passes else record.run.get("code", {})


def is_other_code(before: Mapping[str, Any], code: CodeState) -> bool | None:
    """Whether a pass ran other code than what is on disk now; None if that can't be told."""
    if not (before.get("tree") and code.tree):
        return None
    if before["tree"] != code.tree or before["left_out"] != list(code.left_out):
        return True
    return False if all("sha256" in entry for entry in code.left_out) else None


def case_statuses(events: Iterable[Mapping[str, Any]], variants: Iterable[str]) -> dict[str, str]:
    """The status of every case, derived from the journal; its runner is gone, and interrupted what it left running."""
    statuses = dict.fromkeys(variants, "pending")
    for event in events:
        if event.get("variant") in statuses and event["event"] in ("attempt_started", "case_ended"):
            statuses[event["variant"]] = event.get("status", "interrupted")
    return statuses


# --- Code ------------------------------------------------------------------------------------------------------------

GIT_TIMEOUT_S = 60.0
PATCH_FILE_LIMIT, PATCH_TOTAL_LIMIT = 10_000_000, 100_000_000  # bytes of files that the commit lacks
PATCH_NEVER = (".env*", "*.pem", "id_*")  # what looks like a secret is listed, not copied


class GitError(Exception):
    """Git is absent, refused, or took too long."""


@dataclass(frozen=True)
class CodeState:
    """The code of a run: a commit, and how the tree on disk differs from it.

    Attributes:
        label: What stands in names: the short commit with `-dirty` if the tree differs or can't be compared,
            `unborn` before the first commit, `nogit` where git gives no answer.
        tree: Git's id of the tree on disk, untracked files included; equal ids mean equal code.
        patch: Applied to the commit, it gives the exact tree, but for `left_out`.
        left_out: Files that differ and are not in the patch: path, size_bytes, sha256, reason.
        seconds: How long it took to read.
    """

    label: str
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    tree: str | None = None
    patch: bytes = b""
    left_out: tuple[Mapping[str, Any], ...] = ()
    problem: str | None = None
    seconds: float = 0.0

    @property
    def short(self) -> str:
        """The short commit, or what stands for it."""
        return self.label.removesuffix("-dirty")

    def record(self, patch_name: str) -> dict[str, Any]:
        """What run.json and the journal say of it."""
        values = {name: getattr(self, name) for name in ("label", "commit", "branch", "dirty", "tree", "problem")}
        patch = patch_name if self.patch else None
        return values | {"patch": patch, "patch_complete": not self.left_out, "left_out": list(self.left_out)}


def git(folder: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    """What a git command prints (undecodable bytes as surrogates).

    Git runs nothing of the repository's own but clean filters, without which files of LFS would look
    changed, and never touches the index.

    Raises:
        GitError: With git's first line.
    """
    # GIT_DIR and its like would make another repository's commit the label of this code.
    full = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}
    full |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    full |= env or {}
    settings = (
        *("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.quotePath=false", "safe.directory=*"),
        # Each of these would hide changes, or write beside the index.
        *("core.sparseCheckout=false", "core.ignoreStat=false", "core.splitIndex=false"),
    )
    command = ["git", *(part for setting in settings for part in ("-c", setting)), *arguments]
    log.debug("%s", shlex.join(["git", *arguments]))
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=full, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise GitError(f"git can't be run: {error.strerror}") from error
    with process:
        try:
            output, errors = process.communicate(stdin, timeout=GIT_TIMEOUT_S)
        except BaseException as error:  # Ctrl-C too: it does not reach git in its session, where a filter may hang
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise GitError(f"git {arguments[0]} took longer than {GIT_TIMEOUT_S:.0f} s") from error
            raise
    if process.returncode:
        first_line = errors.decode(errors="replace").strip().partition("\n")[0]
        raise GitError(first_line or f"git {arguments[0]} ended with {process.returncode}")
    return output.decode("utf-8", "surrogateescape")


def read_code(root: Path, results_dir: Path) -> CodeState:
    """The code that a run would execute. Whatever state git is in, the label is honest."""
    started = time.monotonic()
    return replace(code_state(root, results_dir), seconds=time.monotonic() - started)


def code_state(root: Path, results_dir: Path) -> CodeState:
    try:
        git(root, "rev-parse", "--show-toplevel")
    except GitError as error:
        return CodeState("nogit", problem=str(error))
    branch = commit = None
    with suppress(GitError):
        branch = git(root, "symbolic-ref", "--short", "-q", "HEAD").strip()
    try:
        commit = git(root, "rev-parse", "--verify", "HEAD^{commit}").strip()
        short = git(root, "rev-parse", "--short", "HEAD").strip()
    except GitError as error:
        unborn = False
        with suppress(GitError):  # a branch without commits, or a broken repository?
            unborn = branch is not None and not git(root, "for-each-ref", f"refs/heads/{branch}")
        if not unborn:
            return CodeState("nogit", problem=str(error))
        short = "unborn"
    try:
        base = commit or git(root, "hash-object", "-t", "tree", "/dev/null").strip()
        tree, patch, left_out = snapshot(root, results_dir, base)
    except (GitError, OSError) as error:
        return CodeState(f"{short}-dirty", commit, branch, problem=str(error))
    dirty = bool(patch or left_out)
    return CodeState(short + "-dirty" * dirty, commit, branch, dirty, tree, patch, tuple(left_out))


def snapshot(root: Path, results_dir: Path, base: str) -> tuple[str, bytes, list[dict[str, Any]]]:
    """The tree on disk as git would store it: its id, the patch from `base`, and what the patch lacks.

    Made with an index and an object folder of its own: the repository is only read.
    """
    everything = ("--", ":/", *(f":(exclude,top,literal){place}" for place in places_inside(root, results_dir)))
    index, objects = (git(root, "rev-parse", "--git-path", name).rstrip("\n") for name in ("index", "objects"))
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": f"{folder}/objects",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": json.dumps(str(root / objects), ensure_ascii=False),
        }
        os.mkdir(f"{folder}/objects")
        if (root / index).exists():
            # With its time: git looks into files that are as new as the index, and trusts size and time of others.
            shutil.copy2(root / index, f"{folder}/index")
        entries = git(root, "ls-files", "-z", "-s", "-v", env=env).split("\0")[:-1]  # each "H 100644 ID 0\tNAME"
        unhide(root, entries, env)
        git(root, "add", "-u", *everything, env=env)
        added = ("diff-index", "-z", "--cached", "--name-only", "--no-renames", "--diff-filter=A", base)
        staged = git(root, *added, *everything, env=env).split("\0")[:-1]
        untracked = git(root, "ls-files", "-z", "--others", "--exclude-standard", *everything, env=env).split("\0")[:-1]
        kept, left_out = sort_new_files(root, staged + untracked)
        update_index(root, "--force-remove", {*staged}.difference(kept), env)
        update_index(root, "--add", {*untracked}.intersection(kept), env)
        modules = {entry.partition("\t")[2] for entry in entries if entry[2:].startswith("160000 ")}
        if modules:
            changed = git(root, "diff-files", "-z", "--name-only", "--ignore-submodules=none", *everything, env=env)
            dirty = modules.intersection(changed.split("\0"))
            left_out += [{"path": name, "reason": "submodule with changes of its own"} for name in sorted(dirty)]
        tree = git(root, "write-tree", "--missing-ok", env=env).strip()
        diff = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-renames")
        patch = git(root, *diff, "--ignore-submodules=none", base, tree, *everything, env=env)
    return tree, patch.encode("utf-8", "surrogateescape"), left_out


def places_inside(root: Path, results_dir: Path) -> list[str]:
    """The results folder, and where it points to if it is a link, as far as they lie in the repository."""
    places = {results_dir.parent.resolve() / results_dir.name, results_dir.resolve()}
    return sorted(str(place.relative_to(root)) for place in places if place.is_relative_to(root) and place != root)


def unhide(root: Path, entries: Iterable[str], env: Mapping[str, str]) -> None:
    """Compare also what git was told to overlook: assume-unchanged; skip-worktree, but on disk."""
    tagged = [(entry[0], entry.partition("\t")[2]) for entry in entries]
    update_index(root, "--no-assume-unchanged", [name for tag, name in tagged if tag.islower()], env)
    present = [name for tag, name in tagged if tag in "Ss" and os.path.lexists(root / name)]
    update_index(root, "--no-skip-worktree", present, env)


def update_index(root: Path, change: str, names: Iterable[str], env: Mapping[str, str]) -> None:
    """Apply a change of `git update-index` to these files."""
    stdin = b"".join(os.fsencode(name) + b"\0" for name in names)
    if stdin:
        git(root, "update-index", change, "-z", "--stdin", stdin=stdin, env=env)


def sort_new_files(root: Path, names: Iterable[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Files that the commit lacks: those for the patch, and those that are too large or look like secrets."""
    kept: list[str] = []
    left_out: list[dict[str, Any]] = []
    total = 0
    for name in names:
        path = root / name
        size = path.lstat().st_size
        if name.endswith("/"):
            left_out.append({"path": name, "reason": "a repository of its own"})
        elif any(fnmatch.fnmatch(path.name, pattern) for pattern in PATCH_NEVER):
            left_out.append({"path": name, "reason": "may hold secrets", **file_facts(path)})
        elif size > PATCH_FILE_LIMIT or total + size > PATCH_TOTAL_LIMIT:
            left_out.append({"path": name, "reason": "too large", **file_facts(path)})
        else:
            kept.append(name)
            total += size
    return kept, left_out


def file_facts(path: Path | str, limit: int | None = None) -> dict[str, Any]:
    """Size and, for regular files up to `limit` bytes, sha256."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or (limit is not None and status.st_size > limit):
        return {"size_bytes": status.st_size}
    with open(path, "rb") as file, naming(path):
        return {"size_bytes": status.st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


class CodeWatch:
    """Reads the code again while cases are still to be launched: each attempt is recorded with what it could see.

    In a thread, since git may take long; at most once a second and for 2 % of the time.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.take(plan.code)
        self.reading: threading.Thread | None = None

    def look(self) -> None:
        """Begin to read if it is time."""
        busy = self.reading is not None and self.reading.is_alive()
        if busy or time.monotonic() < self.next_look or self.plan.code.tree is None:
            return
        self.reading = threading.Thread(target=self.read, daemon=True)
        with suppress(RuntimeError):  # no room for a thread: the next look may have more luck
            self.reading.start()

    def read(self) -> None:
        self.take(read_code(self.plan.root, self.plan.results_dir))

    def take(self, code: CodeState) -> None:
        self.code = code
        self.next_look = time.monotonic() + max(1.0, 50 * code.seconds)

    def facts(self) -> dict[str, Any]:
        """What an attempt's record says of its code."""
        return {"commit": self.code.commit, "dirty": self.code.dirty, "tree": self.code.tree}


# --- The run directory -----------------------------------------------------------------------------------------------


def runs_folder(experiment_dir: Path, mode: Mode) -> Path:
    """The folder of an experiment's run directories. In Inspect mode the experiment's own holds only logs."""
    folder = experiment_dir / ".runs" if mode == "inspect" else experiment_dir
    if folder.is_symlink():
        raise SuiteError([f"{folder} is a link: only the results folder itself may be one."])
    return folder


@contextmanager
def open_run(plan: Plan) -> Generator[tuple[Plan, Journal]]:
    """The run directory of a plan, made or reopened, with its journal; nobody else can write there.

    Raises:
        SuiteError: Another runner owns it, or the disk refuses.
    """
    with ExitStack() as stack:
        try:
            opened, journal = reopen_run(plan, plan.resumed, stack) if plan.resumed else create_run(plan, stack)
        except OSError as error:
            raise SuiteError([f"{error.filename or plan.run_dir} can't be written: {error.strerror}."]) from error
        yield opened, journal


def create_run(plan: Plan, stack: ExitStack) -> tuple[Plan, Journal]:
    """Build a run directory beside its final name, sync it once, and rename it: it appears whole or not at all."""
    parent = plan.run_dir.parent
    parent.mkdir(parents=True, exist_ok=True)
    sweep_unfinished(parent)
    plan, building = reserve_name(plan)
    try:
        journal = stack.enter_context(closing(Journal(building / "journal.jsonl", mode=plan.suite.mode)))
        described = to_json(run_json(plan)).encode()
        write_configs(building, {variant: prepared.config_json for variant, prepared in plan.prepared.items()})
        write_whole(building / "run.json", described, sync=False)
        write_whole(building / "environment.json", to_json(environment_json()).encode(), sync=False)
        if plan.code.patch:
            write_whole(building / "uncommitted.patch", plan.code.patch, sync=False)
        journal.append(
            "run_started", host=os.uname().nodename, pid=os.getpid(), cases=len(plan.prepared),
            run_json_sha256=sha256_of(described),
        )  # fmt: skip
        journal.commit()
        os.rename(building, plan.run_dir)
        journal.moved_to(plan.run_dir)
        sync_folder(parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return plan, journal


def reserve_name(plan: Plan) -> tuple[Plan, Path]:
    """A run directory's name that nobody has, held by a folder with a dot-name; the next free second if taken.

    It follows every earlier run, so that the last name is the latest run: local time repeats an hour in autumn.
    """
    moment = datetime.strptime(plan.run_dir.name[:15], "%Y%m%d_%H%M%S")
    for run in plan.run_dir.parent.glob("[0-9]*_*"):
        with suppress(ValueError):
            earlier = datetime.strptime(run.name[:15], "%Y%m%d_%H%M%S")
            if moment <= earlier < moment + timedelta(hours=2):  # further ahead, a clock was wrong then
                moment = earlier + timedelta(seconds=1)
    while True:
        final = plan.run_dir.with_name(f"{moment:%Y%m%d_%H%M%S}_{plan.code.label}")
        building = final.with_name(f".{final.name}.building")
        with suppress(FileExistsError):
            building.mkdir()
            if not os.path.lexists(final):
                break
            building.rmdir()  # its builder was just ready
        moment += timedelta(seconds=1)
    if final != plan.run_dir:
        cases = [prepared.case for prepared in plan.prepared.values()]
        plan = replace(plan, run_dir=final, prepared=prepare(cases, final))
    return plan, building


def sweep_unfinished(parent: Path) -> None:
    """Remove what a crash left half built; a folder whose builder is alive is locked, or just made."""
    for folder in parent.glob(".*.building"):
        with suppress(SuiteError, OSError):
            if time.time() - folder.stat().st_mtime < 10:
                continue
            if (folder / "journal.jsonl").exists():
                with (folder / "journal.jsonl").open("r+b") as journal:
                    own(journal.fileno(), folder / "journal.jsonl")
            shutil.rmtree(folder)


def reopen_run(plan: Plan, resumed: Resumed, stack: ExitStack) -> tuple[Plan, Journal]:
    """Own a run directory again: lock it, repair the journal's end, record the new pass."""
    path, number, record = plan.run_dir, resumed.number, resumed.record
    adopted = not record.run  # made by the simple original of this file
    journal = stack.enter_context(closing(Journal(path / "journal.jsonl", record.journal, plan.suite.mode)))
    if ended := end_survivors(path, resumed):
        note = f"{ended} processes that an earlier pass had left running were ended."
        plan = replace(plan, resumed=replace(resumed, notes=(*resumed.notes, note)))
    # What names other files comes after them: a crash in between must leave a run that can be resumed.
    added = {variant: plan.prepared[variant].config_json for variant in resumed.added}
    write_configs(path, {**resumed.repaired, **added})
    patch_name = "uncommitted.patch" if adopted else f"uncommitted-{number}.patch"
    if plan.code.patch:
        write_whole(path / patch_name, plan.code.patch, sync=False)
    journal.commit()
    described: dict[str, Any] = {}
    if adopted:
        run: dict[str, Any] = run_json(plan) | {"adopted": True}
        for case in run["cases"]:  # their files stay as the original wrote them
            saved = record.configs.get(case["variant"])
            case["config_sha256"] = sha256_of(saved) if saved else case["config_sha256"]
        described = {"run_json_sha256": sha256_of(to_json(run).encode())}
        write_whole(path / "environment.json", to_json(environment_json()).encode())
        write_whole(path / "run.json", to_json(run).encode())
    journal.append(
        "run_resumed", number=number, host=os.uname().nodename, pid=os.getpid(), python=sys.version.split()[0],
        code=plan.code.record(patch_name), again=plan.options.again, only=list(plan.options.only),
        note=plan.options.note, launcher=record_of(plan.launcher), policy=asdict(plan.suite.policy),
        cases_added=list(resumed.added), cases_gone=list(resumed.gone),
        cases_added_sha256={variant: sha256_of(text.encode()) for variant, text in added.items()}, **described,
    )  # fmt: skip
    journal.commit()
    return plan, journal


def end_survivors(run_dir: Path, resumed: Resumed) -> int:
    """Kill what an earlier pass left running, its guardian killed too: two processes must not share a folder."""
    here = os.uname().nodename
    started = [event for event in resumed.record.events if event["event"] == "attempt_started"]
    ours = [event for event in started if not event.get("outlives_runner")]  # others are for their launcher to adopt
    for cancel in [run_dir / "cancel", *(run_dir.glob("*/cancel"))]:
        cancel.unlink(missing_ok=True)  # it was meant for the pass that is over
    return end_marked({event["mark"] for event in ours if event.get("host") == here and "mark" in event})


def write_configs(run_dir: Path, configs: Mapping[str, str]) -> None:
    """Write `config.json` of every case given; a sync must follow."""
    for variant, config_json in configs.items():
        (run_dir / variant).mkdir(exist_ok=True)  # a resume that died may have begun it
        write_whole(run_dir / variant / "config.json", config_json.encode(), sync=False)


def run_json(plan: Plan) -> dict[str, Any]:
    """What was asked, of which code, and where."""
    suite, options = plan.suite, plan.options
    return {
        "format_version": FORMAT_VERSION,
        "experiment": suite.experiment,
        "mode": suite.mode,
        "description": suite.description,
        "tags": list(suite.tags),
        "note": options.note,
        "started_at": now(),
        "suite": {"path": str(suite.file), **file_facts(suite.file)} if suite.file else None,
        "entry_point": {"path": str(plan.entry_point), **file_facts(plan.entry_point)},
        "command": [sys.executable, *sys.argv],
        "current_folder": os.getcwd(),
        "project_root": str(plan.root),
        "run_dir": str(plan.run_dir),
        "results_dir": str(plan.results_dir),
        "results_dir_target": str(plan.results_dir.resolve()),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "runner": {"version": __version__, **file_facts(Path(__file__))},
        "code": plan.code.record("uncommitted.patch"),
        "parallelism": plan.parallelism,
        "launcher": record_of(plan.launcher),
        "policy": asdict(suite.policy),
        "only": list(options.only),
        "set": list(options.set),
        "debug": options.debug,
        "environment_set": environment_set(plan),
        "environment_names": sorted(suite.env),
        "cases": [
            {
                "variant": variant,
                "config_sha256": sha256_of(prepared.config_json.encode()),
                "config_class": type(prepared.case.config).__qualname__,
                "environment_names": sorted(prepared.case.env),
                **({"resources": asdict(prepared.case.resources)} if prepared.case.resources else {}),
            }
            for variant, prepared in plan.prepared.items()
        ],
    }


TELLING_NAMES = re.compile(
    r"^(CUDA|NVIDIA|ROCR|HIP|OMP|MKL|OPENBLAS|NUMEXPR|PYTHON|VIRTUAL_ENV|CONDA|SLURM|RAY|HF|TRANSFORMERS|TORCH|NCCL|JAX|"
    r"XLA|TF|WANDB|MLFLOW|INSPECT|OPENAI|ANTHROPIC|GOOGLE|AZURE|AWS|HTTPS?_PROXY)|_API_KEY$",
    re.IGNORECASE,
)


def environment_json() -> dict[str, Any]:
    """The machine and the packages; of the environment only names that may matter, never values."""
    uname = os.uname()
    return {
        "python": {"version": sys.version, "executable": sys.executable, "prefix": sys.prefix},
        "packages": dict(sorted(packages().items(), key=lambda item: item[0].lower())),
        "host": uname.nodename,
        "system": {"name": uname.sysname, "release": uname.release, "machine": uname.machine},
        "cpus": os.cpu_count(),
        "usable_cpus": usable_cpus(),
        "memory_bytes": memory_bytes(),
        "gpus": gpus(),
        "environment_names": sorted(name for name in os.environ if TELLING_NAMES.search(name)),
    }


def packages() -> dict[str, str]:
    """The version of every distribution that can be imported."""
    from importlib.metadata import distributions

    # Not `dist.metadata`, which parses the whole description too: a tenth of a start's time in an environment of 150.
    texts = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or "" for dist in distributions())
    headers = (dict(re.findall(r"^(Name|Version):[ \t]*(.*\S)", text.partition("\n\n")[0], re.M)) for text in texts)
    return {header["Name"]: header["Version"] for header in headers if len(header) == 2}


def gpus() -> list[dict[str, str]]:
    """What `nvidia-smi` says; nothing where there is none."""
    fields = ("index", "name", "uuid", "memory.total", "driver_version")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]  # not its messages


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- Durable records -------------------------------------------------------------------------------------------------

# The rules, which hold whatever the disk does:
#   A whole file is written beside its name and renamed: readers find the old one or the new one.
#   A journal line is one write after the last good one; half a line is cut off again, by whoever comes next if need be.
#   Nothing counts as done before a sync after it has succeeded. A sync that failed is never tried again: the kernel
#   reports lost pages once, so that a second try would succeed without them.
#   An error names its file: the calls that take a descriptor can't, and `naming` adds it.

COMPACT = json.JSONEncoder(separators=(",", ":"))
CHECKSUM = b',"crc32":'


@dataclass(frozen=True)
class Written:
    """The finished lines of a journal as they were read.

    Attributes:
        length: Bytes of the finished lines.
        checksum: That of the last line; 0 before the first, None if the journal has none.
        stamp: Changes if anybody writes.
    """

    events: list[dict[str, Any]]
    length: int
    checksum: int | None
    stamp: tuple[int, int, int]


class End(NamedTuple):
    """A place in a journal up to which it is good."""

    length: int
    checksum: int | None


KEPT = {"attempt_started": ("tree",), "case_ended": ("status", "attempts"), "logs_published": ("logs",)}
"""What a journal keeps at hand of events, by their names."""

OWNED: set[int] = set()
"""Descriptors of journals. A forked copy of this process, as multiprocessing makes it, must not keep their locks."""


def disown() -> None:
    for descriptor in OWNED:
        with suppress(OSError):
            os.close(descriptor)
    OWNED.clear()


os.register_at_fork(after_in_child=disown)


class Journal:
    """The append-only record of a run; whoever has it open owns the run.

    Each line carries the CRC-32 of its bytes, begun with that of the line before: a damaged, lost, doubled or moved
    line is noticed. A journal that was begun without goes on without.

    Attributes:
        last: The event that was written last.
        trees: The states of the code that attempts could see.
        of_case: What is asked again of each case in Inspect mode, by variant, oldest first.
        note: What a person should know about how the run is owned.

    Raises:
        SuiteError: Another runner owns the run, or has just written to it (exit code 75).
    """

    def __init__(self, path: Path, known: Written | None = None, mode: Mode = "standard") -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if known else os.O_CREAT)
        self.path, self.mode = path, mode
        self.listener: Callable[[Mapping[str, Any]], None] | None = None
        self.owner_file: OwnerFile | None = None
        self.failure: OSError | None = None
        self.shown = 0.0
        self.descriptor = os.open(path, flags, 0o666)
        OWNED.add(self.descriptor)
        try:
            self.owner_file = own(self.descriptor, path)
            written = known or read_journal(path)
            if written.events if known is None else written.stamp != stamp_of(os.fstat(self.descriptor)):
                raise SuiteError([f"{path.parent} was changed by another runner just now: try again."], EXIT_LOCKED)
            self.last: Mapping[str, Any] = {}
            self.trees: set[str] = set()
            self.of_case: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
            for event in written.events:
                self.remember(event)
            self.end = self.committed = End(written.length, written.checksum)
            with naming(path):
                # The next line must not be glued to one that a crash left unfinished.
                os.ftruncate(self.descriptor, written.length)
        except BaseException:
            self.close()
            raise

    @property
    def note(self) -> str:
        if self.owner_file is None:
            return ""
        return (
            f"this file system has no flock, or had none for an earlier runner: {self.owner_file.path.name} shows who "
            f"runs here. A runner that dies on another machine is noticed after {STALE_S:.0f} s."
        )

    def append(self, event: str, **values: Any) -> None:
        """Write one event; it is on disk after the next `commit()`."""
        self.heartbeat()
        if self.failure is not None:
            raise self.failure
        line = {"event": event, "time": now(), **values}
        text, checksum = COMPACT.encode(line).encode(), self.end.checksum
        if checksum is not None:
            checksum = zlib.crc32(text, checksum)
            text = b"%s%s%d}" % (text[:-1], CHECKSUM, checksum)
        try:
            with naming(self.path):
                write_all(self.descriptor, text + b"\n")
        except OSError as error:
            self.cut_back(self.end, error)
            raise
        self.remember(line)
        self.end = End(self.end.length + len(text) + 1, checksum)
        if self.listener is not None:
            self.listener(line)

    def remember(self, event: Mapping[str, Any]) -> None:
        """Keep what will be asked."""
        self.last = event
        if event["event"] == "attempt_started" and event.get("tree"):
            self.trees.add(event["tree"])
        if self.mode == "inspect" and (kept := KEPT.get(event["event"])):
            self.of_case[event["variant"]].append({name: event[name] for name in ("event", *kept) if name in event})

    def commit(self) -> None:
        """Bring events, and the files of the cases that they report, to the disk.

        If that fails, what was appended since the last commit is taken back, and nothing more is written.
        """
        if self.failure is not None:
            raise self.failure
        try:
            with naming(self.path):
                sync_filesystem(self.descriptor)
        except OSError as error:
            self.failure = error
            self.cut_back(self.committed, error)
            raise
        self.committed = self.end

    def cut_back(self, end: End, error: OSError) -> None:
        """Leave only what is good; if even that fails, write nothing more: it would be glued to what is not."""
        self.end = end
        try:
            os.ftruncate(self.descriptor, end.length)
        except OSError:
            self.failure = error

    def heartbeat(self) -> None:
        """Show that the owner lives to who can't see its lock: by the time of change. To be called every 10 s or so.

        Raises:
            SuiteError: Another runner took the run over, for this one was silent for too long (exit code 75).
        """
        if self.owner_file is not None:
            self.owner_file.refresh()
        elif not 0 <= time.time() - self.shown < HEARTBEAT_S:
            self.shown = time.time()
            with suppress(OSError):
                os.utime(self.descriptor)

    def moved_to(self, folder: Path) -> None:
        """Follow the run directory to its name."""
        self.path = folder / self.path.name
        if self.owner_file is not None:
            self.owner_file.folder = folder

    def close(self) -> None:
        """Give the run up. What was committed is on disk, so that nothing which goes wrong here matters."""
        if self.owner_file is not None:
            self.owner_file.give_up()
        OWNED.discard(self.descriptor)
        with suppress(OSError):
            os.close(self.descriptor)


def read_journal(path: Path) -> Written:
    """The finished events, oldest first. Nothing is changed.

    What follows the last newline was never finished: half a line, or zeros that a power cut left.

    Raises:
        SuiteError: If a finished line is no event, or not the one that was written there.
    """
    events: list[dict[str, Any]] = []
    checksum: int | None = 0
    length = 0
    with open(open_plain(path), "rb") as file, naming(path):
        status = os.fstat(file.fileno())
        for line in takewhile(lambda line: line.endswith(b"\n"), file):  # of a hundred thousand cases they are 100 MB
            event, checksum = read_event(line[:-1], checksum, path, len(events) + 1)
            events.append(event)
            length += len(line)
    return Written(events, length, checksum, stamp_of(status))


def read_event(line: bytes, checksum: int | None, path: Path, number: int) -> tuple[dict[str, Any], int | None]:
    """An event, and the checksum that the next one continues; None in a journal that has none."""
    body, _, value = line.rpartition(CHECKSUM)
    has_checksum = value[:-1].isdigit() and value.endswith(b"}")
    if number == 1 and not has_checksum:
        checksum = None
    expected = None if checksum is None else zlib.crc32(b"}", zlib.crc32(body, checksum))
    event: dict[str, Any] = {}
    fault = ""
    try:
        event = json.loads(line)
        if not all(key in event for key in EVENT_KEYS.get(event["event"], ())):
            raise KeyError
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        fault = "is no event"
    else:
        if has_checksum != (expected is not None):
            fault = "has no checksum, as others have" if expected is not None else "has a checksum, line 1 has none"
        elif expected is not None and value != b"%d}" % expected:
            fault = "does not fit its checksum: it was changed, or a line before it is lost, doubled or moved"
        needless = UNREAD_OF_CASES if "variant" in event else ("crc32",)
        # Of a hundred thousand cases. Names, hosts and trees are the same in many of them.
        items = ((name, value) for name, value in event.items() if name not in needless)
        event = {sys.intern(k): sys.intern(v) if type(v) is str else v for k, v in items}
    if fault:
        advice = "Nothing was changed. Restore the file from a copy, or start a new run."
        raise SuiteError([f"{path}, line {number} {fault}: {line[:60]!r}. {advice}"])
    return event, expected


UNREAD_OF_CASES = {
    "crc32", "files", "time", "pid", "commit", "dirty", "cause",
    "duration_s", "user_cpu_s", "system_cpu_s", "max_rss_bytes",
}  # fmt: skip
"""What a resume doesn't ask of the events of cases."""

EVENT_KEYS = {"attempt_started": ("variant", "attempt"), "case_ended": ("variant", "status"), "run_resumed": ("code",)}


def stamp_of(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


# Who owns a run

NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
GUARDIAN_PATIENCE_S = 5.0  # longer than a guardian takes for cases whose runner is gone
HEARTBEAT_S, STALE_S = 20.0, 120.0  # a network file system may show a time of change that is 60 s old


def own(descriptor: int, path: Path) -> OwnerFile | None:
    """Become the owner of a run: by a lock on its journal, which the kernel frees however the runner ends.

    Returns:
        The file that does it where the file system has no locks, or had none for an earlier runner.

    Raises:
        SuiteError: Another runner owns it (exit code 75).
    """
    locked = lock(descriptor, path, fcntl.LOCK_EX)
    if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
        raise SuiteError([f"{path} was replaced just now: try again."], EXIT_LOCKED)
    return None if locked and not newest_owner(path.parent) else OwnerFile(path.parent)


def refuse_if_owned(path: Path) -> None:
    """Look whether a runner owns the run of a journal, and create nothing.

    Raises:
        SuiteError: One does (exit code 75). Of a runner on another machine, without flock, only `own` can tell.
    """
    descriptor = open_plain(path)
    try:
        lock(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)
    number = newest_owner(path.parent)
    if number and (owner := living_owner(path.with_name(f".owner-{number}"), time_there=None)):
        raise belongs_to(owner, path.parent)


def lock(descriptor: int, path: Path, kind: int) -> bool:
    """Lock a journal until its descriptor is closed; False where the file system has no locks."""
    started = time.monotonic()
    while True:
        try:
            with naming(path):
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            waited_s = time.monotonic() - started
            if waited_s > 0.2:  # somebody who only looks is done by then
                owner, is_gone = last_owner(path)
                # The guardian of a killed runner ends its cases first; or another runner has just begun a pass.
                if not is_gone or waited_s > GUARDIAN_PATIENCE_S:
                    raise belongs_to(owner, path.parent) from None
            time.sleep(0.02)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return False
            raise


def belongs_to(owner: str, run_dir: Path) -> SuiteError:
    return SuiteError([f"{run_dir} belongs to another runner{owner}."], EXIT_LOCKED)


def last_owner(journal: Path) -> tuple[str, bool]:
    """Who started the pass that a run is in, in words, and whether that process is known to be gone."""
    with suppress(SuiteError, OSError):
        for event in reversed(read_journal(journal).events):
            if event["event"] in ("run_started", "run_resumed"):
                pid, host = event.get("pid"), event.get("host")
                is_gone = host == os.uname().nodename and isinstance(pid, int) and start_time(pid) == 0
                return f" (pid {pid} on {host}, since {event.get('time')})", is_gone
    return "", False


class OwnerFile:
    """Ownership without flock: of the files `.owner-N` in a run directory, the one with the highest N names the owner.

    Whoever finds the owner gone makes the next file, which only one of several can. Nobody removes the highest one,
    its owner only marks it as given up (changed at time 0): if all shared one name, a slow contender could push out
    the owner who came meanwhile instead of the dead one that it saw.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        while True:
            self.number = newest_owner(folder)
            if self.number and (owner := living_owner(self.path, lambda: file_system_time(folder))):
                raise belongs_to(owner, folder)
            self.number += 1
            try:
                self.create()
            except FileExistsError:
                continue  # somebody was faster
            if newest_owner(folder) == self.number:
                break
            self.path.unlink()  # others came and went meanwhile
        for number in sorted(owner_numbers(folder)):  # a silent owner must miss its file before that of the next one
            if number < self.number:
                folder.joinpath(f".owner-{number}").unlink(missing_ok=True)

    @property
    def path(self) -> Path:
        return self.folder / f".owner-{self.number}"

    def create(self) -> None:
        facts = {
            "host": os.uname().nodename, "place": process_place(), "pid": os.getpid(),
            "start_time": start_time(os.getpid()), "since": now(),
        }  # fmt: skip
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self.refreshed = time.time()
        try:
            with naming(self.path):
                write_all(descriptor, to_json(facts).encode())
        except OSError:
            self.give_up()
            raise
        finally:
            os.close(descriptor)

    def refresh(self) -> None:
        # By the wall clock: it goes on while the machine sleeps, which is when a run is taken over.
        if 0 <= time.time() - self.refreshed < HEARTBEAT_S:
            return
        following = self.folder / f".owner-{self.number + 1}"
        try:
            if following.exists():
                raise FileNotFoundError
            os.utime(self.path)
        except FileNotFoundError:
            raise belongs_to(", for this one was silent for too long", self.folder) from None
        self.refreshed = time.time()

    def give_up(self) -> None:
        with suppress(OSError):
            os.utime(self.path, (0, 0))


def owner_numbers(folder: Path) -> list[int]:
    names = (re.fullmatch(r"\.owner-([1-9]\d*)", name) for name in os.listdir(folder))
    return [int(name[1]) for name in names if name]


def newest_owner(folder: Path) -> int:
    """The number of the newest owner file; 0 if there is none."""
    return max(owner_numbers(folder), default=0)


def living_owner(path: Path, time_there: Callable[[], float] | None) -> str:
    """Who made an owner file, in words; empty if that one gave the run up or is gone.

    Args:
        time_there: Tells the file system's own time: this machine's may differ. Without it, an owner on another
            machine counts as gone.
    """
    known: dict[str, Any] = {}
    deadline = time.monotonic() + 1
    while True:
        try:
            content, status = read_plain(path)
        except FileNotFoundError:
            return ""
        refreshed = status.st_mtime
        if refreshed == 0:
            return ""
        with suppress(SuiteError):
            known = parsed(content, path)
        if known or time.monotonic() > deadline:
            break
        time.sleep(0.02)  # it is being written
    text = f" (pid {known.get('pid')} on {known.get('host')}, since {known.get('since')})"
    lives = is_alive(known.get("pid"), known.get("start_time")) if known.get("place") == process_place() else None
    if lives is None and time_there:
        lives = time_there() - refreshed < STALE_S
    return text if lives else ""


def process_place() -> str | None:
    """Within which a pid and its start time name one process: a start of a machine, and a namespace there.

    Another machine may have this one's name, and a container has pids of its own.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot_id} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def is_alive(pid: object, started: object) -> bool | None:
    """Whether the process that had a pid since a certain time still runs; None if that can't be told."""
    there = start_time(pid) if isinstance(pid, int) and started is not None else None
    return None if there is None else there == started


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; 0 if it has ended, None where nobody shows it."""
    try:
        with suppress(PermissionError):
            os.kill(pid, 0)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (ProcessLookupError, OverflowError):  # there are no pids of that size
        return 0
    except OSError:
        return None
    return 0 if fields[0] in "ZX" else int(fields[19])


def file_system_time(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".time-") as file:
        return os.fstat(file.fileno()).st_mtime


# Reading and writing whole files


def open_plain(path: Path) -> int:
    """Open a record for reading; a link, which could lead anywhere, and what is no file are refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SuiteError([f"{path} is a link: put the file itself there."]) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SuiteError([f"{path} is not a file: move it away, and restore what was there."])
    return descriptor


def read_plain(path: Path) -> tuple[bytes, os.stat_result]:
    """What a record holds, and its facts from before it was read."""
    with open(open_plain(path), "rb") as file, naming(path):
        status = os.fstat(file.fileno())
        return file.read(), status


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        SuiteError: If it doesn't.
    """
    try:
        return parsed(read_plain(path)[0], path)
    except OSError as error:
        raise SuiteError([f"{path} can't be read: {error.strerror}."]) from error


def parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SuiteError([f"{path} can't be read: {error}."]) from error
    if not isinstance(value, dict):
        raise SuiteError([f"{path} is not a JSON object."])
    return cast(dict[str, Any], value)


def to_json(value: Any) -> str:
    text = io.StringIO()
    json.dump(value, text, indent=2)  # `dumps` holds all of its pieces, five times the text
    return text.getvalue() + "\n"


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def now() -> str:
    """UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_whole(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Replace a file so that readers, and a crash at any moment, find the old or the new one whole.

    Args:
        sync: Without it a sync of the file system must follow, before anything relies on the file.
    """
    temporary = path.with_name(f".{path.name}.writing")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with naming(path):
            try:
                write_all(descriptor, content)
                if sync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if sync:
        sync_folder(path.parent)


def write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(descriptor: int) -> None:
    """Bring a file's whole file system to the disk: one call, where a sync per file costs milliseconds each."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "syncfs"):
        while library.syncfs(descriptor) != 0:
            if ctypes.get_errno() != errno.EINTR:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    else:
        os.sync()
    os.fsync(descriptor)  # only this reports a lost write on macOS and on Linux before 5.8


@contextmanager
def naming(path: Path | str) -> Generator[None]:
    """Name the file in an error of a call that took a descriptor."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


# --- Launchers -------------------------------------------------------------------------------------------------------

LAUNCHERS = "experiment_runner.launchers"
"""The group of plugins (entry points of installed packages) by whose names `--launcher` finds what is not here: each is
a callable that takes the launcher's options as keywords, all of them text, and gives a `Launcher`."""

LACKING = {
    "debug": ("--debug", "a case can't have the terminal"),
    "isolate": ("--isolate", "it can't give a case a PID namespace of its own"),
    "nice": ("--nice", "it can't lower a case's priority"),
    "gpu_fractions": ("a fraction of a GPU", "cases can't share one"),
}
"""What a launcher may not be able to do: what asks for it, and what to say. "pause" (Ctrl-Z) goes without."""


@dataclass(frozen=True)
class Launch:
    """An attempt that is to become processes somewhere.

    Attributes:
        mark: What identifies it: another one for every attempt on a machine, below 2**53.
        attempt: Its number, counted from 1.
        folder: The case's folder, `{run_dir}/{variant}`.
        command: What to execute.
        environment: Variables beside those that all attempts get.
        log: Where standard output and error go; None if it has the terminal (`--debug`).
        needs: What to give it; what is None was not said.
        isolated: Whether the command runs it in a PID namespace of its own, by `bwrap`.
    """

    mark: int
    variant: str
    attempt: int
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None
    needs: Resources
    isolated: bool = False


@dataclass(frozen=True)
class Session:
    """What all attempts of a pass over a run have in common.

    Attributes:
        root: The folder in which they start.
        environment: Their variables, complete.
        first_signal: What asks a case to end: SIGTERM, in Inspect mode SIGINT, so that logs are closed.
        grace_s: Seconds between that and SIGKILL.
        nice: Added niceness.
        foreground: Whether the one attempt has the terminal.
        parallelism: Attempts at a time.
    """

    run_dir: Path
    root: Path
    entry_point: Path
    experiment: str
    mode: Mode
    environment: Mapping[str, str]
    first_signal: int
    grace_s: float
    nice: int
    foreground: bool
    parallelism: int


@dataclass(frozen=True)
class Started:
    """An attempt runs.

    Attributes:
        pid: Its first process on `host`, if that is known.
        facts: What the journal should keep beside that, such as a cluster's number of the job.
    """

    mark: int
    pid: int | None
    host: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Refused:
    """An attempt never began, because the system (`errno`) or a scheduler (`cause`, in words) would not have it."""

    mark: int
    errno: int | None = None
    cause: str = ""


@dataclass(frozen=True)
class Ended:
    """An attempt and all its processes are gone.

    Attributes:
        exit_code: Minus the signal's number if a signal ended it; None if nobody saw its end.
        usage: `user_cpu_s`, `system_cpu_s`, `max_rss_bytes`, as far as they are known.
        status: `timed_out` or `cancelled` if the launcher's side ended it for that reason.
        fault: What befell it from outside, as `ExecutionPolicy.retry_on` names it: lost, preempted, oom.
        cause: Why it failed, in words, where the exit code doesn't say.
        duration_s: As measured where it ran; None if the runner's clock is to be read.
    """

    mark: int
    exit_code: int | None
    usage: Mapping[str, float] = field(default_factory=dict[str, float])
    status: Literal["", "timed_out", "cancelled"] = ""
    fault: Literal["", "lost", "preempted", "oom"] = ""
    cause: str = ""
    duration_s: float | None = None


Event = Started | Refused | Ended
"""What a launcher tells of an attempt."""


class Launcher(Protocol):
    """How attempts become processes somewhere. What goes wrong with one of them is its event, never an exception."""

    @property
    def name(self) -> str:
        """What `--launcher` calls it."""
        ...

    @property
    def outlives_runner(self) -> bool:
        """Whether attempts go on when the runner is gone, for `--resume` to adopt; if not, they end with it."""
        ...

    @property
    def lacks(self) -> frozenset[str]:
        """Keys of `LACKING`: what it can't do, and a suite must not ask for."""
        ...

    def problems(self) -> list[str]:
        """What keeps it from working here, a sentence each with what to do; asked before anything starts."""
        ...

    def capacity(self, suite: Suite) -> Capacity:
        """What limits the number of attempts at a time."""
        ...

    def describe(self) -> dict[str, str]:
        """Its options for the record, as `--launcher-option` takes them; no secrets."""
        ...

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        """What a dry run should show beside the cases, whose needs these are; empty for nothing."""
        ...

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        """Get ready.

        Args:
            lock: The descriptor that owns the run: for processes that must be gone before another runner may.
            wakeup: A descriptor that is readable when the runner must look; `wait` then empties it and returns.
        """
        ...

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        """Attempts of earlier passes that may still run, or ended while nobody looked; their events follow.

        Args:
            ended: Marks of those whose end the journal has.
        """
        ...

    def start(self, launches: Sequence[Launch]) -> None:
        """Start all these, which are what is ready now; `Started` or `Refused` will follow for each, later `Ended`."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What happened since the last call; waits for something to happen, but not longer than that."""
        ...

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        """Ask all processes of an attempt to end, and kill what is left of them after the grace period."""
        ...

    def stop(self) -> None:
        """Halt all attempts, as Ctrl-Z does; return when they stand still, after a second at most."""
        ...

    def go_on(self) -> None:
        """Let halted attempts go on."""
        ...

    def close(self) -> None:
        """Let go; end what still runs, unless it outlives the runner."""
        ...


def choose_launcher(suite: Suite, options: Options, record: Record | None) -> Launcher:
    """The launcher that is asked for, or that the run used last.

    Raises:
        SuiteError: There is none of that name, or it can't do what is asked of it.
    """
    used: Mapping[str, Any] = last_launcher(record) if record else {}
    declared = suite.launcher
    name: str = options.launcher or used.get("name") or (declared if isinstance(declared, str) else "") or Local.name
    if isinstance(declared, str | None) or (name != declared.name and (options.launcher or used)):
        launcher = find_launcher(name, used.get("options", {}) if used.get("name") == name else {})
    else:
        launcher = declared
    if options.launcher_options:
        launcher = find_launcher(launcher.name, {**launcher.describe(), **parse_launcher_options(options)})
    problems = launcher.problems()
    for ability in sorted(launcher.lacks & asked_of_launcher(suite, options)):
        asked, why = LACKING[ability]
        problems.append(f"launcher {launcher.name!r} has no room for {asked}: {why}. Leave it out.")
    left_open = record is not None and record.events[-1:] and record.events[-1]["event"] != "run_ended"
    if left_open and used.get("outlives_runner") and used["name"] != launcher.name:
        problems.append(
            f"attempts of launcher {used['name']!r} may still run: resume with it (--launcher {used['name']}), "
            "or cancel them so first."
        )
    if problems:
        raise SuiteError(problems)
    return launcher


def last_launcher(record: Record) -> Mapping[str, Any]:
    """What a run's last pass recorded of its launcher."""
    passes = [event.get("launcher", {}) for event in record.events if event["event"] == "run_resumed"]
    return passes[-1] if passes else record.run.get("launcher", {})


def find_launcher(name: str, options: Mapping[str, str]) -> Launcher:
    """The launcher of a name, `local` or a plugin's."""
    if name == Local.name:
        if options:
            raise SuiteError([f"launcher 'local' has no option {option!r}. It has none." for option in options])
        return Local()
    from importlib.metadata import entry_points  # only here, since it reads all installed packages

    plugins = {plugin.name: plugin for plugin in entry_points(group=LAUNCHERS)}
    if name not in plugins:
        there = ", ".join(sorted(["local", *plugins]))
        raise SuiteError([f"no launcher is named {name!r}; there are: {there}. The package suitecase brings some."])
    try:
        make = plugins[name].load()
        known = inspect.signature(make).parameters
    except Exception as error:  # whatever another's package raises
        raise SuiteError([f"launcher {name!r} can't be imported: {type(error).__name__}: {error}."]) from error
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if unknown := [option for option in options if option not in known and not takes_all]:
        there = f" It has {', '.join(known)}." if known else " It has none."
        said = {option: nearest(option, known) or there for option in unknown}
        raise SuiteError([f"launcher {name!r} has no option {option!r}.{hint}" for option, hint in said.items()])
    try:
        return make(**options)
    except SuiteError:
        raise
    except Exception as error:
        raise SuiteError([f"launcher {name!r} doesn't take these options: {error}."]) from error


def parse_launcher_options(options: Options) -> dict[str, str]:
    """The `KEY=VALUE` of every `--launcher-option`."""
    pairs = [text.partition("=") for text in options.launcher_options]
    problems = [f"--launcher-option {key}: write it KEY=VALUE." for key, equals, _ in pairs if not (key and equals)]
    problems += [f"--launcher-option {key} is given twice." for key, n in Counter(p[0] for p in pairs).items() if n > 1]
    if problems:
        raise SuiteError(problems)
    return {key: value for key, _, value in pairs}


def asked_of_launcher(suite: Suite, options: Options) -> set[str]:
    """The keys of `LACKING` that a suite needs."""
    # Of resources that are not checked yet.
    gpus = [suite.policy.gpus_per_case, *(getattr(case.resources, "gpus", None) for case in suite.cases)]
    asked = {
        "debug": bool(options.debug),
        "isolate": suite.policy.isolate,
        "nice": bool(suite.policy.nice),
        "gpu_fractions": any(isinstance(share, float) and 0 < share < 1 for share in gpus),
    }
    return {ability for ability, wanted in asked.items() if wanted}


def record_of(launcher: Launcher) -> dict[str, Any]:
    """What a run records of its launcher, and a resume finds it by."""
    return {"name": launcher.name, "outlives_runner": launcher.outlives_runner, "options": launcher.describe()}


def session_of(plan: Plan) -> Session:
    """What the launcher is told of a pass over a run."""
    suite = plan.suite
    return Session(
        run_dir=plan.run_dir, root=plan.root, entry_point=plan.entry_point, experiment=suite.experiment,
        mode=suite.mode, environment={**os.environ, **environment_set(plan), **suite.env},
        first_signal=first_signal(suite), grace_s=suite.policy.grace_s, nice=suite.policy.nice,
        foreground=bool(plan.options.debug), parallelism=plan.parallelism,
    )  # fmt: skip


def first_signal(suite: Suite) -> int:
    """What asks a case to end; Inspect closes its log on an interrupt."""
    return signal.SIGINT if suite.mode == "inspect" else signal.SIGTERM


# --- Running ---------------------------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """What the runner knows of an attempt that was handed to the launcher.

    Attributes:
        started: By the execution's clock, which stands still while a Ctrl-Z has stopped the run.
        devices: The GPUs that are its own.
        recorded: Whether the journal has its start.
        ending: The status that it will have because it was ended: timed_out or cancelled.
        earlier_logs: In Inspect mode, unfinished logs in the case's folder that other attempts left.
    """

    launch: Launch
    started: float
    devices: Sequence[str] = ()
    recorded: bool = False
    ending: str = ""
    earlier_logs: frozenset[Path] = frozenset()

    @property
    def mark(self) -> int:
        return self.launch.mark

    @property
    def variant(self) -> str:
        return self.launch.variant

    @property
    def number(self) -> int:
        return self.launch.attempt

    @property
    def folder(self) -> Path:
        return self.launch.folder

    @property
    def log(self) -> Path | None:
        return self.launch.log

    @property
    def needs(self) -> Resources:
        return self.launch.needs


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        status: succeeded, failed, timed_out, cancelled; unfinished if it asked to be run again.
        cause: Why it failed, in words; empty if it succeeded.
        exit_code: Minus the signal's number if a signal ended it; None if it never started, or nobody saw its end.
        fault: What befell it from outside: lost, preempted, oom.
    """

    attempt: Attempt
    status: str
    cause: str
    duration_s: float
    exit_code: int | None = None
    usage: Mapping[str, float] = field(default_factory=dict[str, float])
    fault: str = ""

    @property
    def failed(self) -> bool:
        """Whether it is a failure of the case's own, which a retry may mend."""
        return self.status in ("failed", "timed_out")

    @property
    def kinds(self) -> set[int | str]:
        """The words of `ExecutionPolicy.retry_on` that mean this failure."""
        if self.status == "timed_out":
            return {"any", "timeout"}
        kinds: set[int | str] = {"any", *filter(None, [self.fault])}
        if self.exit_code is None:
            return kinds
        if self.exit_code >= 0:
            return kinds | {"exit_code", self.exit_code}
        kinds |= {"signal", signal_name(-self.exit_code)}
        return kinds | {"oom"} if self.exit_code == -signal.SIGKILL and not self.fault else kinds


class Execution:
    """One pass over the cases of a run: launch, wait, record, report, until nothing is left or a signal comes."""

    def __init__(self, plan: Plan, journal: Journal, console: Console, hooks: HookCalls, signals: Signals) -> None:
        self.plan, self.journal, self.console, self.hooks, self.signals = plan, journal, console, hooks, signals
        self.policy = plan.suite.policy
        self.queue: deque[str] = deque()
        self.retries: list[tuple[float, str]] = []  # a heap: when, and which case
        self.deadlines: list[tuple[float, int]] = []  # a heap: when, and the attempt's mark
        self.last: dict[str, Outcome] = {}  # of cases that will be run again
        self.running: dict[int, Attempt] = {}
        self.asked: dict[str, list[str]] = {}  # cases whose hooks have not answered yet, with the devices kept for them
        self.statuses = dict(plan.resumed.statuses if plan.resumed else dict.fromkeys(plan.prepared, "pending"))
        self.parallelism = plan.parallelism
        self.launcher = plan.launcher
        self.ready: list[Launch] = []  # to be started together
        self.machine = Machine(plan.capacity)
        needs = {variant: needs_of(prepared.case, self.policy) for variant, prepared in plan.prepared.items()}
        shared = {each: each for each in needs.values()}  # most cases need the same
        self.needs = {variant: shared[each] for variant, each in needs.items()}
        # Not with --debug: Ctrl-C is for the case, and on the terminal it would end bwrap.
        self.isolation = isolation() if self.policy.isolate and not plan.options.debug else []
        self.watch = CodeWatch(plan)
        self.attempts = Counter(plan.resumed.attempts if plan.resumed else {})
        self.tries: Counter[str] = Counter()
        self.next_mark = FIRST_MARK + (secrets.randbits(31) << 20)  # no two runs of a machine share marks
        self.publisher = Publisher(plan, journal) if plan.suite.mode == "inspect" else None
        self.unreported: list[Outcome] = []
        self.window: deque[bool] = deque(maxlen=self.policy.failure_window)
        self.breakable = self.policy.fail_fast or self.policy.max_failure_rate is not None
        self.next_commit = self.next_look = self.paused_s = 0.0
        self.stopped = ""  # why nothing more is launched
        self.refusals = 0  # launches in a row for which the system had no room
        self.undecided = 0  # failures about which hooks are still asked
        self.full = self.cancelled = self.killed = False
        self.spared = False  # whether a case that had succeeded was to run again, and didn't

    def run(self) -> int:
        """Run to the end; the exit code."""
        self.launcher.open(session_of(self.plan), self.journal.descriptor, self.signals.wakeup)
        with closing(self.launcher):
            self.hooks.call("before_run", self.record(), self.begin)
            self.serve()
            if self.killed:
                self.hooks.give_up()
                self.fill()
            received = self.signals.received
            failed = self.spared or any(self.statuses[variant] != "succeeded" for variant in self.plan.to_run)
            exit_code = 128 + received[0] if received else EXIT_FAILED if failed else 0
            self.hooks.call("after_run", replace(self.record(), exit_code=exit_code), lambda _: None)
            self.serve()
            self.journal.append("run_ended", exit_code=exit_code)
            self.commit()
        return exit_code

    def begin(self, answers: Sequence[object]) -> None:
        """Heed what the hooks say before the first launch; from now on there are cases to launch."""
        adopted = self.adopt()
        self.queue.extend(variant for variant in self.plan.to_run if variant not in adopted)
        for answer in answers:
            if isinstance(answer, Mapping):
                self.journal.append("run_annotated", extra=dict(cast(Mapping[str, Any], answer)))
            if isinstance(answer, Refuse):
                self.stop_launching(f"a hook refused the run: {answer.reason}")
        self.fill()

    def adopt(self) -> set[str]:
        """Follow what earlier passes launched and nobody recorded the end of; the variants."""
        events = self.plan.resumed.record.events if self.plan.resumed else ()
        ended = {(event["variant"], event["attempt"]) for event in events if event["event"] == "attempt_ended"}
        started = {
            e["mark"]: (e["variant"], e["attempt"]) for e in events if e["event"] == "attempt_started" and "mark" in e
        }
        adopted: set[str] = set()
        for launch in self.launcher.adopt({mark for mark, attempt in started.items() if attempt in ended}):
            if launch.variant not in self.plan.prepared:
                self.launcher.end(launch.mark, first_signal(self.plan.suite), self.policy.grace_s)
                continue
            devices = self.machine.take(launch.needs)
            attempt = Attempt(launch, self.clock(), devices=devices, recorded=launch.mark in started)
            self.running[launch.mark] = attempt
            self.statuses[launch.variant] = "running" if attempt.recorded else "pending"
            self.attempts[launch.variant] = max(self.attempts[launch.variant], launch.attempt)
            adopted.add(launch.variant)
        if adopted:
            self.console.say(f"Taking up {len(adopted)} attempts that went on without a runner.")
        return adopted

    def serve(self) -> None:
        """Until nothing is left: hear what happened, launch what there is room for, decide about what ended."""
        while self.unfinished:
            outcomes = [outcome for event in self.launcher.wait(self.patience()) for outcome in self.heed(event)]
            if not (self.plan.suite.hooks or (self.breakable and any(outcome.failed for outcome in outcomes))):
                self.fill()  # before files are read: a free place is time lost
            if self.publisher:
                outcomes = self.publisher.published(outcomes)
            for outcome in outcomes:
                self.judge(outcome)
            self.hooks.collect()
            self.start_ready()
            self.look_around()
            self.fill()
            self.commit(only_if_due=True)
            self.console.tick(self.running, self.clock())

    @property
    def unfinished(self) -> bool:
        """Whether there is something to wait for."""
        waiting = self.queue or self.retries or self.running or (self.publisher and self.publisher.busy)
        return bool(waiting or (self.hooks.busy and not self.killed))

    def clock(self) -> float:
        """Monotonic seconds, without those that a Ctrl-Z has stopped."""
        return time.monotonic() - self.paused_s

    def patience(self) -> float:
        """Seconds to wait for an event before something else is due."""
        unsaid = self.unreported or self.console.untold
        busy = unsaid or self.console.moving or (self.publisher and self.publisher.busy)
        due = [self.clock() + (0.1 if busy else 1.0), *(heap[0][0] for heap in (self.retries, self.deadlines) if heap)]
        if self.hooks.due is not None:
            due.append(self.hooks.due - self.paused_s)
        return max(0.0, min(due) - self.clock())

    # --- launching

    def fill(self) -> None:
        """Launch as many cases as there is room for; leave out all that wait once nothing more is launched."""
        if self.halted:
            self.leave_out_waiting()
        while self.retries and self.retries[0][0] <= self.clock():
            self.queue.append(heapq.heappop(self.retries)[1])
            self.full = False
        undecided = self.breakable and self.undecided  # a failure that may stop the launching
        while self.queue and len(self.running) + len(self.asked) < self.parallelism:
            if self.halted or self.full or undecided:
                break
            variant = next((v for v in self.queue if self.machine.fits(self.needs[v])), None)
            if variant is None:
                self.full = True  # until something is given back
                break
            self.queue.remove(variant)
            self.asked[variant] = self.machine.take(self.needs[variant])
            self.hooks.call("before_case", self.record(variant), partial(self.admit, variant))
        self.start_ready()

    def start_ready(self) -> None:
        """Hand all that is ready to the launcher at once: a cluster's scheduler makes one array of it."""
        if self.ready:
            ready, self.ready = self.ready, []
            self.launcher.start(ready)

    @property
    def halted(self) -> bool:
        """Whether nothing is to be launched."""
        return bool(self.stopped or self.signals.received)

    def release(self, needs: Resources, devices: Sequence[str]) -> None:
        self.machine.give(needs, devices)
        self.full = False

    def admit(self, variant: str, answers: Sequence[object]) -> None:
        """Launch a case, if its hooks have nothing against it."""
        devices = self.asked.pop(variant)
        answer = strongest(answers)
        cancelled = (self.plan.run_dir / variant / "cancel").exists()
        if answer is None and not self.halted and not cancelled:
            self.launch(variant, devices)
            return
        self.release(self.needs[variant], devices)
        if self.halted:
            self.queue.append(variant)  # `fill` leaves it out with the others
        elif cancelled:
            self.end_unlaunched(variant, "cancelled", "its `cancel` file")
        else:
            self.end_unlaunched(variant, "skipped", f"a hook answered {answer}")
            self.heed_abort(answers)

    def launch(self, variant: str, devices: Sequence[str]) -> None:
        """Start the next attempt of a case."""
        plan, folder = self.plan, self.plan.run_dir / variant
        self.attempts[variant] += 1
        while any((folder / f"attempt-{self.attempts[variant]}{end}").exists() for end in (".log", ".json")):
            self.attempts[variant] += 1  # its runner died before it wrote that down
        number = self.attempts[variant]
        log_path = None if plan.options.debug else folder / f"attempt-{number}.log"
        log.debug("%s: starting attempt %d", variant, number)
        earlier = self.publisher.staged_before(variant, folder) if self.publisher else frozenset[Path]()
        command = [*self.isolation, *entry_command(plan.entry_point), *plan.prepared[variant].arguments]
        launch = Launch(
            self.next_mark, variant, number, folder, command, {}, log_path, self.needs[variant], bool(self.isolation)
        )
        launch = replace(launch, environment=self.case_environment(launch, devices))
        self.next_mark += 1
        self.running[launch.mark] = Attempt(launch, self.clock(), devices=devices, earlier_logs=earlier)
        self.ready.append(launch)

    def case_environment(self, attempt: Launch, devices: Sequence[str]) -> dict[str, str]:
        """What an attempt gets beside what all get: who it is, its devices and threads, its own variables."""
        plan, folder, needs = self.plan, str(attempt.folder), attempt.needs
        added = {
            "SUITECASE_RUN": plan.run_dir.name,
            "SUITECASE_RUN_DIR": str(plan.run_dir),
            "SUITECASE_CASE": f"{plan.suite.experiment}/{plan.run_dir.name}/{attempt.variant}",
            "SUITECASE_VARIANT": attempt.variant,
            "SUITECASE_ATTEMPT": str(attempt.attempt),
            "SUITECASE_OUTPUT_DIR": folder,
            "SUITECASE_MARK": str(attempt.mark),
        }
        if needs.gpus is not None and plan.capacity.gpus is not None:
            added["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        if needs.cpus is not None:
            added |= {name: value for name, value in thread_variables(needs.cpus).items() if name not in plan.suite.env}
        if self.publisher:
            added |= {"INSPECT_LOG_DIR": folder, "INSPECT_LOG_FORMAT": "eval"}
            going_on = {"mixed": plan.options.allow_mixed_code, "after": self.publisher.last_success(attempt.variant)}
            added["SUITECASE_CODE"] = json.dumps({**self.watch.facts(), **going_on})  # for suitecase.inspect_bridge
        return {**added, **plan.prepared[attempt.variant].case.env}

    # --- what happens to attempts

    def heed(self, event: Event) -> list[Outcome]:
        """Write down what the launcher tells of an attempt; how it ended, if it did."""
        attempt = self.running.get(event.mark)
        if attempt is None:  # of a case that the suite no longer has
            return []
        if isinstance(event, Started):
            self.record_start(attempt, event)
            return []
        del self.running[event.mark]
        self.release(attempt.needs, attempt.devices)
        if isinstance(event, Refused) and event.errno in NO_ROOM and self.wait_for_room(attempt, event.errno):
            return []
        self.record_start(attempt, Started(event.mark, None, os.uname().nodename))
        self.refusals = 0
        return [self.record_end(attempt, event)]

    def record_start(self, attempt: Attempt, event: Started) -> None:
        """Write down that an attempt has begun, unless that was done."""
        if attempt.recorded:
            return
        attempt.recorded, attempt.started = True, self.clock()
        self.statuses[attempt.variant] = "running"
        if attempt.needs.timeout_s is not None and not self.plan.options.debug:
            heapq.heappush(self.deadlines, (attempt.started + attempt.needs.timeout_s, attempt.mark))
        gpus = [{"device": device, "uuid": self.plan.capacity.uuids.get(device)} for device in attempt.devices]
        self.journal.append(
            "attempt_started", variant=attempt.variant, attempt=attempt.number, pid=event.pid, host=event.host,
            mark=attempt.mark, **self.watch.facts(), **({"gpus": gpus} if gpus else {}), **event.facts,
            **({"outlives_runner": True} if self.launcher.outlives_runner else {}),
        )  # fmt: skip

    def wait_for_room(self, attempt: Attempt, number: int) -> bool:
        """Go on with fewer cases at a time if the system has no room for one more; False if that doesn't help."""
        if not self.running and self.refusals >= 20:
            return False
        self.refusals += 1
        if self.refusals == 1:
            self.console.say(
                f"Note: no room for {len(self.running) + 1} cases at a time: {os.strerror(number)}.", "yellow"
            )
        self.attempts[attempt.variant] -= 1
        self.parallelism = max(1, len(self.running))
        if self.running:
            self.queue.appendleft(attempt.variant)
        else:
            heapq.heappush(self.retries, (self.clock() + 0.5, attempt.variant))
        return True

    def record_end(self, attempt: Attempt, event: Refused | Ended) -> Outcome:
        """Write down how an attempt ended; in Inspect mode the case's logs then have the last word."""
        if isinstance(event, Refused):
            why = event.cause or os.strerror(event.errno or 0) + f" ({self.plan.entry_point} or its interpreter)"
            event = Ended(event.mark, None, cause=f"could not be started: {why}")
        if not attempt.ending and any((folder / "cancel").exists() for folder in (attempt.folder, self.plan.run_dir)):
            attempt.ending = "cancelled"  # it may have seen the file before we did
        attempt.ending = attempt.ending or event.status
        exit_code = event.exit_code
        cause = event.cause
        ended: dict[str, int] = {}
        if exit_code is not None:
            ended = {"signal": -exit_code} if exit_code < 0 else {"exit_code": exit_code}
            cause = cause or cause_of(exit_code, by_us=bool(attempt.ending))
        status = "succeeded" if exit_code == 0 else "failed"
        if attempt.ending:
            status = attempt.ending  # exit code 0 after a TERM says only that it ended in good order
            limit_s = attempt.needs.timeout_s
            if status == "timed_out" and limit_s is not None:
                cause = f"took longer than {limit_s:g} s"
            cause = cause or status
        elif exit_code is not None and exit_code == self.policy.continue_exit_code:
            status, cause = "unfinished", "has more to do"
        elif event.fault:
            status = "failed"
        duration_s = self.clock() - attempt.started if event.duration_s is None else event.duration_s
        outcome = Outcome(attempt, status, cause, duration_s, exit_code, event.usage, event.fault)
        self.journal.append(
            "attempt_ended", variant=attempt.variant, attempt=attempt.number, status=status, **ended,
            duration_s=round(duration_s, 6), **event.usage,
        )  # fmt: skip
        self.console.attempt_ended(attempt)
        return outcome

    def judge(self, outcome: Outcome) -> None:
        """Decide about an ended attempt; of a failure the hooks are asked first."""
        variant = outcome.attempt.variant
        if outcome.failed:
            self.undecided += 1
            self.hooks.call("after_case", self.record(variant, outcome), partial(self.conclude, outcome))
            return
        self.conclude(outcome, [])
        if outcome.status != "unfinished":
            self.hooks.call("after_case", self.record(variant, outcome), self.heed_abort)

    def heed_abort(self, answers: Sequence[object]) -> None:
        if strongest(answers) is Answer.ABORT:
            self.stop_launching("a hook answered ABORT")

    def conclude(self, outcome: Outcome, answers: Sequence[object]) -> None:
        """End a case, or schedule its next attempt."""
        attempt, answer = outcome.attempt, strongest(answers)
        self.undecided -= outcome.failed
        self.tries[attempt.variant] += outcome.failed
        again = outcome.status == "unfinished" or answer is Answer.RETRY
        again = again or (
            answer is None and outcome.failed and self.policy.retries(outcome.kinds, self.tries[attempt.variant])
        )
        if not again or self.halted:
            self.end_case(replace(outcome, status="cancelled") if outcome.status == "unfinished" else outcome)
        else:
            delay_s = 0.0
            if outcome.failed:
                seed = getattr(self.plan.prepared[attempt.variant].case.config, "seed", 0)
                delay_s = self.policy.delay_s(self.tries[attempt.variant], f"{seed}:{attempt.variant}")
            self.journal.append(
                "retry_scheduled", variant=attempt.variant, attempt=attempt.number, cause=outcome.cause,
                delay_s=round(delay_s, 6),
            )  # fmt: skip
            self.last[attempt.variant] = outcome
            heapq.heappush(self.retries, (self.clock() + delay_s, attempt.variant))
            self.console.retrying(outcome, delay_s)
        self.heed_abort(answers)

    def end_case(self, outcome: Outcome) -> None:
        """Write down how a case ended; it is reported once that is on disk."""
        attempt = outcome.attempt
        self.journal.append(
            "case_ended", variant=attempt.variant, status=outcome.status, attempts=attempt.number,
            cause=outcome.cause, files=files_of(attempt.folder),
        )  # fmt: skip
        self.statuses[attempt.variant] = outcome.status
        self.unreported.append(outcome)
        self.window.append(outcome.failed)
        rate = self.policy.max_failure_rate
        if self.policy.fail_fast and outcome.failed:
            self.stop_launching(f"{attempt.variant} failed, and fail_fast is set")
        elif rate is not None and sum(self.window) / self.policy.failure_window > rate:
            self.stop_launching(f"{sum(self.window)} of {self.policy.failure_window} cases failed, more than {rate:g}")

    def end_unlaunched(self, variant: str, status: str, cause: str) -> None:
        """Write down that a case ends without another attempt; a resume takes it up."""
        if earlier := self.last.pop(variant, None):  # it has failed, and waited for its next attempt
            self.end_case(replace(earlier, status="cancelled") if earlier.status == "unfinished" else earlier)
            return
        if self.statuses[variant] == "succeeded":  # as it did before --again: that stays true
            self.spared = True
            return
        self.journal.append(
            "case_ended", variant=variant, status=status, attempts=self.attempts[variant], cause=cause, files={}
        )
        self.statuses[variant] = status
        self.console.done[status] += 1

    def stop_launching(self, reason: str) -> None:
        """Let what runs end, and skip the rest."""
        if not self.stopped:
            self.stopped = reason
            self.journal.append("launching_stopped", reason=reason)
            self.console.say(f"Stopping: {reason}. Running cases may end; the others are skipped.", "yellow")

    def leave_out_waiting(self) -> None:
        """End the cases that wait for their first or next attempt; after a signal, what never ran stays pending."""
        waiting = [*self.queue, *(variant for _, variant in sorted(self.retries))]
        self.queue.clear()
        self.retries.clear()
        for variant in waiting:
            if self.stopped or variant in self.last:
                self.end_unlaunched(variant, "skipped", self.stopped)

    # --- what comes from outside

    def look_around(self) -> None:
        """See to what no event tells: deadlines, `cancel` files, Ctrl-Z, signals, edits of the code."""
        while self.deadlines and self.deadlines[0][0] <= self.clock():
            attempt = self.running.get(heapq.heappop(self.deadlines)[1])
            if attempt is not None:
                self.end_attempt(attempt, "timed_out")
        if time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + 1.0
            self.heed_cancel_files()
            self.journal.heartbeat()
            if self.queue or self.retries:
                self.watch.look()
        if self.signals.pausing:
            self.pause()
        if self.signals.received:
            self.heed_signals()

    def end_attempt(self, attempt: Attempt, status: str) -> None:
        """Ask an attempt to end, and kill it after the grace period."""
        if not attempt.ending:
            attempt.ending = status
            self.launcher.end(attempt.mark, first_signal(self.plan.suite), self.policy.grace_s)

    def heed_cancel_files(self) -> None:
        """Others may create `cancel` in the run's folder, which ends the run, or in a case's."""
        if (self.plan.run_dir / "cancel").exists() and not self.signals.received:
            self.signals.received.append(signal.SIGINT)
        for attempt in self.running.values():
            if (attempt.folder / "cancel").exists():
                self.end_attempt(attempt, "cancelled")
        for entry in [entry for entry in self.retries if (self.plan.run_dir / entry[1] / "cancel").exists()]:
            self.retries.remove(entry)
            heapq.heapify(self.retries)
            self.end_unlaunched(entry[1], "cancelled", "its `cancel` file")

    def heed_signals(self) -> None:
        """First signal: start nothing more, ask every case to end. Second one: kill."""
        if not self.cancelled:
            self.cancelled = True
            number = self.signals.received[0]
            self.journal.append("run_cancelled", signal=number)
            self.console.stopping(signal.Signals(number).name, len(self.running), self.policy.grace_s)
            for attempt in self.running.values():
                self.end_attempt(attempt, "cancelled")
        if len(self.signals.received) > 1 and not self.killed:
            self.killed = True
            for mark in self.running:
                self.launcher.end(mark, signal.SIGKILL, 0)
            if self.publisher:
                self.publisher.hurry()

    def pause(self) -> None:
        """Stop the cases, then this process, as Ctrl-Z asks; go on where `fg` continues it."""
        self.signals.pausing = False
        started = time.monotonic()
        self.launcher.stop()
        with self.console.paused():
            os.kill(os.getpid(), signal.SIGSTOP)
        self.paused_s += time.monotonic() - started
        if self.hooks.due is not None:
            self.hooks.due += time.monotonic() - started
        self.launcher.go_on()

    # --- records

    def commit(self, only_if_due: bool = False) -> None:
        """Bring what happened to the disk, then say it. Cases share a sync, so that it stays a tenth of the time."""
        nothing_to_say = not (self.unreported or self.console.untold)
        if only_if_due and (nothing_to_say or time.monotonic() < self.next_commit):
            return
        started = time.monotonic()
        self.journal.commit()
        self.next_commit = time.monotonic() + max(0.2, 10 * (time.monotonic() - started))
        self.console.tell()
        for outcome in self.unreported:
            self.console.case_ended(outcome)
        self.unreported.clear()

    def record(self, variant: str = "", outcome: Outcome | None = None) -> HookRecord:
        """What hooks are told, of the run or of a case."""
        plan = self.plan
        told = HookRecord(
            run=plan.run_dir.name, run_dir=plan.run_dir, experiment=plan.suite.experiment,
            counts=dict(Counter(self.statuses.values())) if plan.suite.hooks else {},  # asdict() garbles a Counter
        )  # fmt: skip
        if not variant or not plan.suite.hooks:
            return told
        folder = plan.run_dir / variant
        config: dict[str, Any] = json.loads(plan.prepared[variant].config_json)
        told = replace(told, variant=variant, config=config, output_dir=folder, attempt=self.attempts[variant])
        if outcome is None:
            return told
        code = outcome.exit_code
        return replace(
            told, attempt=outcome.attempt.number, status=outcome.status, cause=outcome.cause,
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
            duration_s=outcome.duration_s, resources=outcome.usage, results=results_of(folder),
            log_tail="\n".join(last_lines(outcome.attempt.log, count=20)),
        )  # fmt: skip


NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # too many processes or descriptors


class Machine:
    """What running cases leave free: CPUs, memory, and GPUs, of which fractions may be shared."""

    def __init__(self, all_: Capacity) -> None:
        self.cpus, self.memory_gb = all_.cpus, all_.memory_gb
        self.gives_devices = all_.gpus is not None
        self.gpus = dict.fromkeys(all_.gpus or (), 1.0)

    def fits(self, needs: Resources) -> bool:
        enough = (needs.cpus or 0) <= self.cpus + 1e-9 and (needs.memory_gb or 0) <= self.memory_gb + 1e-9
        return enough and self.choose(needs.gpus or 0) is not None

    def choose(self, gpus: float) -> list[str] | None:
        """Whole free devices; for a fraction, the fullest device that has room. None if there is no room."""
        if not self.gives_devices:
            return []
        if gpus >= 1:
            free = [device for device, left in self.gpus.items() if left > 1 - 1e-9]
            return free[: int(gpus)] if len(free) >= gpus else None
        room = sorted((left, device) for device, left in self.gpus.items() if left >= gpus - 1e-9)
        return [room[0][1]] if gpus and room else None if gpus else []

    def take(self, needs: Resources) -> list[str]:
        """Reserve what fits; the devices."""
        devices = self.choose(needs.gpus or 0) or []
        self.reserve(needs, devices, 1)
        return devices

    def give(self, needs: Resources, devices: Sequence[str]) -> None:
        """Give back what `take` reserved."""
        self.reserve(needs, devices, -1)

    def reserve(self, needs: Resources, devices: Sequence[str], sign: int) -> None:
        self.cpus -= sign * (needs.cpus or 0)
        self.memory_gb -= sign * (needs.memory_gb or 0)
        for device in devices:
            self.gpus[device] = round(self.gpus[device] - sign * min(1.0, needs.gpus or 0), 9)


def needs_of(case: ExperimentCase[Config], policy: ExecutionPolicy) -> Resources:
    """What a case needs: its own figures, and the policy's where it gives none."""
    own = case.resources or Resources()
    return Resources(
        cpus=policy.cpus_per_case if own.cpus is None else own.cpus,
        gpus=policy.gpus_per_case if own.gpus is None else own.gpus,
        memory_gb=policy.memory_gb_per_case if own.memory_gb is None else own.memory_gb,
        timeout_s=policy.timeout_s if own.timeout_s is None else own.timeout_s,
    )


def results_of(folder: Path) -> dict[str, Any] | None:
    """The results that a case wrote by convention, if they are a JSON object."""
    with suppress(OSError, ValueError, RecursionError):
        if (value := json.loads((folder / "results.json").read_bytes())) and isinstance(value, dict):
            return cast(dict[str, Any], value)
    return None


class Signals:
    """Collects the signals that stop a run. What was ignored at the start, as under nohup, stays ignored.

    Attributes:
        received: Those that stop it, in order.
        pausing: Whether Ctrl-Z was pressed.
        wakeup: Readable when a signal came, or another thread called `wake`.
    """

    STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, foreground: bool, is_command: bool) -> None:
        self.received: list[int] = []
        self.is_command = is_command
        self.pausing = False
        self.foreground = foreground
        self.previous: dict[int, Any] = {}
        self.previous_wakeup: int | None = None

    def __enter__(self) -> Self:
        self.wakeup, self.writer = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self.writer, False)
        if threading.current_thread() is not threading.main_thread():
            return self  # Python allows handlers in the main thread only
        self.previous_wakeup = signal.set_wakeup_fd(self.writer, warn_on_full_buffer=False)
        handled = self.STOPPING if self.foreground else (*self.STOPPING, signal.SIGTSTP)
        for number in handled:
            if signal.getsignal(number) != signal.SIG_IGN:
                self.previous[number] = signal.signal(number, self.receive)
        return self

    def __exit__(self, *_: object) -> None:
        # A process that was told to stop and is about to exit must keep its exit code when it is told again.
        ending = bool(self.received) and self.is_command
        for number, handler in self.previous.items():
            signal.signal(number, signal.SIG_IGN if ending else handler)
        if self.previous_wakeup is not None:
            signal.set_wakeup_fd(self.previous_wakeup)
        os.close(self.wakeup)
        os.close(self.writer)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self.pausing = True
        elif not (self.foreground and number == signal.SIGINT):  # the case on the terminal gets its own
            self.received.append(number)

    def wake(self) -> None:
        """Make the loop look; from any thread."""
        with suppress(OSError):
            os.write(self.writer, b"\0")


def entry_command(entry_point: Path) -> list[str]:
    return [sys.executable, str(entry_point)] if entry_point.suffix == ".py" else [str(entry_point)]


def environment_set(plan: Plan) -> dict[str, str]:
    """Variables that the runner adds to every case's environment."""
    # Unbuffered, or the log of a killed case is empty. One library's threads per core, or cases fight for them.
    added = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(importable_folders())}
    share = plan.capacity.cpus // plan.parallelism
    added |= thread_variables(plan.suite.policy.cpus_per_case or (share if math.isfinite(share) else 1))
    return {name: value for name, value in added.items() if name not in plan.suite.env}


def thread_variables(cpus: float) -> dict[str, str]:
    """How many threads numeric libraries may start, unless the user has said so."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {name: str(max(1, int(cpus))) for name in names if name not in os.environ}


def importable_folders() -> list[str]:
    """The suite's own entries of `sys.path`: what the suite can import, its entry points can."""
    everyones = [sysconfig.get_path("stdlib"), *site.getsitepackages(), site.getusersitepackages()]
    version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    folders = [Path(os.path.abspath(entry)) for entry in sys.path]
    return [
        str(folder)
        for folder in dict.fromkeys(folders)
        if not any(folder.is_relative_to(other) for other in everyones)
        and folder.name != version
        and os.pathsep not in str(folder)
    ]


def cause_of(exit_code: int, by_us: bool) -> str:
    """Why a process failed, in words; empty if it did not."""
    if exit_code >= 0:
        return f"exit code {exit_code}" if exit_code else ""
    return f"killed by {signal_name(-exit_code)}" + " (out of memory?)" * (exit_code == -signal.SIGKILL and not by_us)


def signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Size of every file that a case left, by path in its folder; sha256 up to 16 MB each and 256 MB together."""
    found: dict[str, dict[str, Any]] = {}
    room = 256_000_000  # half a second of hashing: no other case is looked after meanwhile
    for parent, _, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in sorted(names)):
            with suppress(FileNotFoundError, PermissionError):
                facts = file_facts(path, limit=min(room, 16_000_000))
                room -= facts["size_bytes"] if "sha256" in facts else 0
                found[path[len(str(folder)) + 1 :]] = facts
    return found


# --- Hooks -----------------------------------------------------------------------------------------------------------


class Answer(StrEnum):
    """What a hook may have the runner do: run a failed case again, pass over a case, start nothing more."""

    RETRY = "retry"
    SKIP = "skip"
    ABORT = "abort"


RETRY, SKIP, ABORT = Answer.RETRY, Answer.SKIP, Answer.ABORT


@dataclass(frozen=True)
class Refuse:
    """Answer of `before_run`: this run must not start, and why."""

    reason: str


@dataclass(frozen=True)
class HookRecord:
    """What a hook is told. Everything from `variant` on is empty where a hook is about the whole run.

    Attributes:
        run: Name of the run directory.
        counts: Cases by status so far.
        attempt: Counted from 1, resumes included; in `before_case`, how many there were.
        status: How the attempt ended.
        exit_code: Of the attempt; in `after_run`, of the run.
        cause: Why it failed, in words.
        resources: `user_cpu_s`, `system_cpu_s`, `max_rss_bytes`.
        results: The case's `results.json`, if that is a JSON object.
        log_tail: The last lines of the attempt's log.
    """

    run: str
    run_dir: Path
    experiment: str
    counts: Mapping[str, int]
    variant: str = ""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    output_dir: Path | None = None
    attempt: int = 0
    status: str = ""
    exit_code: int | None = None
    signal: int | None = None
    cause: str = ""
    duration_s: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    results: Mapping[str, Any] | None = None
    log_tail: str = ""


class BeforeRun(Protocol):
    """Once, before anything starts. A mapping (plain JSON) is recorded with the run."""

    def before_run(self, record: HookRecord, /) -> Mapping[str, Any] | Refuse | None: ...


class BeforeCase(Protocol):
    """Before each attempt of a case: SKIP or ABORT."""

    def before_case(self, record: HookRecord, /) -> Answer | None: ...


class AfterCase(Protocol):
    """After each attempt of a case, however it ended: RETRY, SKIP or ABORT."""

    def after_case(self, record: HookRecord, /) -> Answer | None: ...


class AfterRun(Protocol):
    """Once, at the end of a run."""

    def after_run(self, record: HookRecord, /) -> None: ...


Hook = BeforeRun | BeforeCase | AfterCase | AfterRun
"""An object with at least one of these methods. A number `hook_timeout_s` on it is its own limit for a call."""

HOOK_ANSWERS = {"before_run": (), "before_case": (SKIP, ABORT), "after_case": (RETRY, SKIP, ABORT), "after_run": ()}
Question = tuple[int, str, HookRecord]  # to which hook of the list, by which method


def strongest(answers: Iterable[object]) -> Answer | None:
    """What several hooks' answers amount to: ABORT before SKIP before RETRY."""
    given = [answer for answer in answers if isinstance(answer, Answer)]
    return min(given, key=(ABORT, SKIP, RETRY).index, default=None)


def hook_problems(hooks: object) -> list[str]:
    """What is wrong with a list of hooks, one sentence each; empty if nothing is."""
    listed = cast(Sequence[object], hooks)
    if isinstance(hooks, str | bytes) or not isinstance(hooks, Sequence):
        return [f"hooks is {reprlib.repr(listed)}: give a list of hooks."]
    problems = [problem for at, hook in enumerate(listed) for problem in problems_of_hook(f"hooks[{at}]", hook)]
    repeated = [at for at, hook in enumerate(listed) if any(hook is other for other in listed[:at])]
    return problems + [f"hooks[{at}] is in the list already: give each hook once." for at in repeated]


def problems_of_hook(place: str, hook: object) -> list[str]:
    if isinstance(hook, type):
        return [f"{place} is the class {hook.__name__}: give an instance, {hook.__name__}(…)."]
    place = f"{place} ({hook_name(hook)})"
    names = [name for name in dir(hook) if name[0] != "_" and name not in HOOK_ANSWERS]
    near = {name: get_close_matches(name.lower(), HOOK_ANSWERS, n=1, cutoff=0.85) for name in names}
    # A misspelt method would never be called, and nobody would notice.
    problems = [f"{place} has {name}: did you mean {right[0]}?" for name, right in near.items() if right]
    methods = {name: getattr(hook, name) for name in HOOK_ANSWERS if hasattr(hook, name)}
    if not methods and not problems:
        problems.append(f"{place} is no hook: it has none of {', '.join(HOOK_ANSWERS)}.")
    for name, method in methods.items():
        if not callable(method):
            problems.append(f"{place}: {name} is {reprlib.repr(method)}, not a method.")
        elif any(kind(method) for kind in NOT_PLAIN):
            problems.append(f"{place}: {name} is a coroutine or generator function: make it a plain one.")
        elif not takes_one_argument(method):
            problems.append(f"{place}: {name} must take one argument, the record.")
    limit = getattr(hook, "hook_timeout_s", 1)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= threading.TIMEOUT_MAX:
        problems.append(f"{place}: hook_timeout_s is {reprlib.repr(limit)}: give a number of seconds above 0.")
    return problems


NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def takes_one_argument(method: Callable[..., object]) -> bool:
    try:
        inspect.signature(method).bind(None)
    except TypeError:
        return False
    except ValueError:  # some functions written in C don't tell
        pass
    return True


def hook_name(hook: object) -> str:
    """The name of its class, or of a module that serves as a hook."""
    return str(getattr(hook, "__name__", type(hook).__name__))


def ask_hook(hook: object, method: str, record: HookRecord) -> tuple[object, str]:
    """A hook's answer, or why there is none that counts. Raises nothing, whatever the hook does."""
    try:
        answer = getattr(hook, method)(record)
        if answer is None:
            return None, ""
        if method == "before_run" and isinstance(answer, Refuse):
            return Refuse(str(answer.reason)), ""
        if method == "before_run" and isinstance(answer, Mapping):
            # A copy: what is recorded later is what was returned.
            return json.loads(json.dumps(dict(cast(Mapping[str, Any], answer)), allow_nan=False)), ""
        # By value: a package's hook may have its Answer from another copy of this file.
        if isinstance(answer, str) and answer in HOOK_ANSWERS[method]:
            return Answer(answer), ""
        allowed = " or ".join([*map(str.upper, HOOK_ANSWERS[method]), "nothing"])
        return None, f"returned {reprlib.repr(answer)}; it may return {allowed}"
    except BaseException as error:  # not even sys.exit() in a hook ends the thread that serves all of them
        log.debug("hook %s.%s:\n%s", hook_name(hook), method, "".join(traceback.format_exception(error)))
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        return None, f"{traceback.format_exception_only(error)[-1].strip()} ({place})"


class HookCalls:
    """Asks hooks one after the other on a thread, so that none can hold up or end the run.

    A hook that overruns its limit is left behind, and not called again while it is still busy: no hook is ever called
    by two threads at once. What `then` and `failed` raise is the owner's own and goes through.

    Args:
        timeout_s: Limit of one call of one hook.
        wake: Called from the thread when an answer is there: `collect` is due. Must be quick.
        failed: Called in the owner's thread with the hook's name, the method and the reason.
    """

    def __init__(
        self, hooks: Sequence[object], timeout_s: float, wake: Callable[[], None],
        failed: Callable[[str, str, str], None],
    ) -> None:  # fmt: skip
        self.hooks, self.timeout_s, self.wake, self.failed = list(hooks), timeout_s, wake, failed
        self.having = {
            method: [at for at, hook in enumerate(hooks) if callable(getattr(hook, method, None))]
            for method in HOOK_ANSWERS
        }
        self.calls: deque[Generator[None, tuple[object, str] | None]] = deque()
        self.due: float | None = None  # on the monotonic clock: when the hook that is being asked overruns
        self.asked = 0  # which hook that is
        self.left_behind: set[int] = set()  # hooks whose answers nobody waits for
        self.giving_up = False
        self.questions: SimpleQueue[Question | None] | None = None
        self.answered: SimpleQueue[tuple[int, object, str]] = SimpleQueue()
        self.open = threading.Lock()  # held while waking, so that no thread wakes an owner that is gone
        self.closed = False

    def wants(self, method: str) -> bool:
        """Whether some hook has a method."""
        return bool(self.having[method])

    @property
    def busy(self) -> bool:
        """Whether some call has not been delivered yet."""
        return bool(self.calls)

    def call(self, method: str, record: HookRecord, then: Callable[[list[object]], None]) -> None:
        """Ask every hook that has a method; `collect` passes what they answer to `then`, in the order of hooks.

        Where no hook has it `then` is called at once, and may be where all are still busy.
        """
        if not self.wants(method):
            then([])
            return
        self.calls.append(self.ask_all(method, record, then))
        if len(self.calls) == 1:
            self.go_on(None)

    def ask_all(
        self, method: str, record: HookRecord, then: Callable[[list[object]], None]
    ) -> Generator[None, tuple[object, str] | None]:
        """One call, hook by hook; at its `yield` it waits for what the hook that is being asked answers."""
        answers: list[object] = []
        for at in self.having[method]:
            if self.giving_up:
                break
            answer, reason = None, self.ask(at, method, record)
            if not reason:
                answer, reason = (yield) or (None, "")
            if answer is not None:
                answers.append(answer)
            if reason:
                self.failed(hook_name(self.hooks[at]), method, reason)
        then(answers)

    def ask(self, at: int, method: str, record: HookRecord) -> str:
        """Put a question to the thread, which is free; or why a hook can't be asked."""
        if at in self.left_behind:
            return "is still busy with an earlier call"
        try:
            self.questions = self.questions or self.employ()
        except RuntimeError as error:
            return str(error)
        self.asked, self.due = at, time.monotonic() + self.limit(at)
        self.questions.put((at, method, record))
        return ""

    def go_on(self, said: tuple[object, str] | None) -> None:
        """Pass an answer to the first call, and go on until some call waits for the next one."""
        self.due = None
        while self.calls:
            try:
                self.calls[0].send(said)
                return
            except StopIteration:
                self.calls.popleft()
                said = None

    def collect(self) -> None:
        """Deliver what is there, and leave behind what overran its limit."""
        while not (self.closed or self.answered.empty()):
            at, answer, reason = self.answered.get()
            if at in self.left_behind:
                self.left_behind.remove(at)
            else:
                self.go_on((answer, reason))
        if self.due is not None and time.monotonic() >= self.due:
            self.leave_behind()
            self.go_on((None, f"gave no answer within {self.limit(self.asked):g} s and was left behind"))

    def limit(self, at: int) -> float:
        return getattr(self.hooks[at], "hook_timeout_s", self.timeout_s)

    def employ(self) -> SimpleQueue[Question | None]:
        """The questions of a new thread; it is a daemon: a hook that hangs must not keep the program from ending."""
        questions: SimpleQueue[Question | None] = SimpleQueue()
        threading.Thread(target=self.serve, args=(questions,), name="hooks", daemon=True).start()
        return questions

    def dismiss(self) -> None:
        """Have the thread end after the question that it is at."""
        if self.questions is not None:
            self.questions.put(None)
        self.questions = None

    def serve(self, questions: SimpleQueue[Question | None]) -> None:
        while question := questions.get():
            at, method, record = question
            self.answered.put((at, *ask_hook(self.hooks[at], method, record)))
            with self.open:
                if not self.closed:
                    self.wake()

    def leave_behind(self) -> None:
        """Wait no longer for the hook that is being asked; others get a thread of their own."""
        self.left_behind.add(self.asked)
        self.dismiss()

    def give_up(self) -> None:
        """Deliver every call with what has been answered by now."""
        if self.due is not None:
            self.leave_behind()
            self.giving_up = True
            self.go_on((None, ""))
            self.giving_up = False

    def close(self) -> None:
        """Nobody is asked, and nobody woken, any more. Waits for no hook."""
        with self.open:
            self.closed = True
        self.calls.clear()
        self.due = None
        self.dismiss()


# --- Supervision -----------------------------------------------------------------------------------------------------
#
# One guardian per run starts the cases and owns them. When the runner ends, however it ends, the guardian's
# lifeline breaks, and it ends every case's tree of processes. When the guardian is killed, the runner finds
# what it owned by its marks, ends that, and starts another guardian. docs/design/0004 has the reasons.

GUARDIAN = "import sys; sys.path.append(sys.argv[2]); __import__(sys.argv[3]).guard_cases(*map(int, sys.argv[4:]))"
"""What `python -I -S -c` runs: this file from its bytecode, and no module of the user's in place of Python's own."""

FIRST_MARK = 1 << 40  # nobody sets such a limit otherwise; all marks stay below 2**53, exact in any JSON
ALL_SIGNALS = tuple(map(int, signal.valid_signals()))
RLIMIT_LOCKS = 10  # bits/resource.h; the kernel has ignored it since 2.4.25 (getrlimit(2))
LOST_GRACE_S = 1.0
"""What cases get between TERM and KILL when their runner is gone, and nobody would write down how they ended."""


class Local:
    """The default launcher: attempts become processes of this machine, owned by a guardian.

    The guardian is one process per run; it takes launches and ends, and tells what happened. Messages are JSON
    objects, one per line, through a socket that is the guardian's lifeline as well.
    """

    name = "local"
    outlives_runner = False
    lacks = frozenset[str]()

    def problems(self) -> list[str]:
        return []

    def capacity(self, suite: Suite) -> Capacity:
        return capacity_here(suite)

    def describe(self) -> dict[str, str]:
        return {}

    def preview(self, session: Session, needs: Mapping[str, Resources]) -> str:
        return ""

    def adopt(self, ended: Collection[int]) -> Sequence[Launch]:
        return ()  # nothing outlives a guardian, which outlives no run

    def open(self, session: Session, lock: int, wakeup: int) -> None:
        self.session, self.lock, self.wakeup = session, lock, wakeup
        self.guarded: dict[int, bool] = {}  # by mark, whether it is isolated
        self.losses = 0  # in a row, without a word from the guardian
        self.selector = selectors.DefaultSelector()
        self.selector.register(wakeup, selectors.EVENT_READ)
        self.start_guardian()

    def close(self) -> None:
        with suppress(OSError):
            self.lifeline.shutdown(socket.SHUT_RDWR)  # what still runs is ended now; closing is no end if we forked
        self.lifeline.close()
        self.process.wait()
        self.selector.close()

    def start_guardian(self) -> None:
        """Start the process; it is ready when it reads what is sent meanwhile."""
        session = self.session
        self.lifeline, theirs = socket.socketpair()
        self.unread = b""
        with theirs:
            descriptors = (theirs.fileno(), self.lock)
            command = [*self.guardian_command(), *map(str, descriptors)]
            stream = None if session.foreground else subprocess.DEVNULL
            # The lock goes with it: nobody may resume the run while it still ends cases.
            self.process = subprocess.Popen(
                command, cwd=session.root, stdin=stream, stdout=stream, pass_fds=descriptors,
                start_new_session=not session.foreground,
            )  # fmt: skip
        self.selector.register(self.lifeline, selectors.EVENT_READ)
        self.send(
            do="hello", environment=portable(session.environment), foreground=session.foreground, nice=session.nice,
            signal=session.first_signal, grace_s=min(session.grace_s, LOST_GRACE_S),
        )  # fmt: skip

    def guardian_command(self) -> list[str]:
        file = Path(__file__).resolve()
        return [sys.executable, "-I", "-S", "-c", GUARDIAN, "--guardian", str(file.parent), file.stem]

    def send(self, **message: Any) -> None:
        # It may just have been killed; then `wait` tells.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.lifeline.sendall(COMPACT.encode(message).encode() + b"\n")

    def start(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            self.guarded[launch.mark] = launch.isolated
            memory_gb = launch.needs.memory_gb
            self.send(
                do="launch", mark=launch.mark, command=[portable_text(part) for part in launch.command],
                environment=portable(launch.environment), log=launch.log and portable_text(str(launch.log)),
                memory_bytes=memory_gb and int(memory_gb * 1e9), isolated=launch.isolated,
            )  # fmt: skip

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        self.send(do="end", mark=mark, signal=signal, grace_s=grace_s)

    def stop(self) -> None:
        self.send(do="stop")
        deadline = time.monotonic() + 1
        while b'"stopped"' not in self.unread and (rest := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.lifeline], [], [], rest)
            if not ready or not self.receive():
                break

    def go_on(self) -> None:
        self.send(do="go_on")

    def wait(self, timeout_s: float) -> list[Event]:
        waiting = b"\n" in self.unread
        for key, _ in self.selector.select(0 if waiting else timeout_s):
            if key.fileobj is not self.lifeline:
                drain(self.wakeup)
            elif not self.receive():
                return self.messages() + self.replace_lost()
        return self.messages()

    def receive(self) -> bool:
        """Read what was sent; False if the guardian is gone."""
        received = b""
        with suppress(ConnectionResetError):
            received = self.lifeline.recv(1 << 16)
        self.unread += received
        return bool(received)

    def messages(self) -> list[Event]:
        *lines, self.unread = self.unread.split(b"\n")
        messages: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.losses = 0 if messages else self.losses
        return [self.event_of(**message) for message in messages if message["event"] not in ("ready", "stopped")]

    def event_of(self, event: str, mark: int, **facts: Any) -> Event:
        """What a message of the guardian says."""
        if event == "started":
            return Started(mark, facts["pid"], os.uname().nodename)
        isolated = self.guarded.pop(mark)
        if event == "refused":
            return Refused(mark, facts["errno"])
        exit_code = os.waitstatus_to_exitcode(facts.pop("wait_status"))
        if isolated and exit_code - 128 in signal.valid_signals():
            exit_code = 128 - exit_code  # bwrap tells signals as a shell does
        return Ended(mark, exit_code, facts)

    def replace_lost(self) -> list[Event]:
        """Somebody killed the guardian: end what it guarded, tell, and start another one."""
        self.selector.unregister(self.lifeline)
        self.lifeline.close()
        self.process.wait()
        end_marked(self.guarded)
        self.losses += 1
        if self.losses > 3:
            raise SuiteError([f"the guardian doesn't start: {shlex.join(self.guardian_command())}"])
        cause = "its guardian was killed, and the case with it"
        lost = [Ended(mark, None, fault="lost", cause=cause) for mark in self.guarded]
        self.guarded.clear()
        self.start_guardian()
        return [*lost]


def portable_text(text: str) -> str:
    """The bytes of a path or argument as JSON can carry them to a process with other locale settings."""
    return os.fsencode(text).decode("latin-1")


def portable(environment: Mapping[str, str]) -> dict[str, str]:
    return {portable_text(name): portable_text(value) for name, value in environment.items()}


def guard_cases(lifeline: int, lock: int, kind: type[Guard] | None = None) -> None:
    """The guardian's life: serve the runner until it is gone, then end every tree."""
    for descriptor in (lifeline, lock):
        os.set_inheritable(descriptor, False)  # a case that held the lifeline would keep all others alive
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with suppress(OSError):
            signal.signal(number, signal.SIG_IGN)  # only the lifeline ends it, not Ctrl-C or a service manager
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a thread that blocks SIGCHLD may have started us
    become_subreaper()
    guard = (kind or Guard)(socket.socket(fileno=lifeline))
    try:
        guard.run()
    finally:
        end_marked(guard.trees)  # none, unless we fail


@dataclass
class Tree:
    """The processes of an attempt, in the guardian.

    Attributes:
        ended: What the first process left: its wait status and resources.
        signal: What it was last asked to end with; 0 if it wasn't.
        kill_at: When the grace period is over (monotonic).
        known: Pids seen in it. A descendant with another mark (of a suite within a case) is known by its pid.
    """

    mark: int
    pid: int
    isolated: bool
    ended: dict[str, float] | None = None
    signal: int = 0
    kill_at: float = math.inf
    known: set[int] = field(default_factory=set[int])


class Guard:
    """The loop of the guardian. It never waits for the runner: what can't be sent yet is kept."""

    def __init__(self, lifeline: socket.socket) -> None:
        self.lifeline: socket.socket | None = lifeline
        self.unread, self.unsent = b"", b""
        self.trees: dict[int, Tree] = {}
        self.by_pid: dict[int, Tree] = {}
        self.ending: dict[int, Tree] = {}
        self.selector = selectors.DefaultSelector()
        woken, writer = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self.selector.register(woken, selectors.EVENT_READ, partial(drain, woken))
        lifeline.setblocking(False)
        self.selector.register(lifeline, selectors.EVENT_READ, self.talk)
        with suppress(AttributeError, OSError):  # a forked copy of the runner may hold the lifeline's other end
            self.selector.register(os.pidfd_open(os.getppid()), selectors.EVENT_READ, self.runner_is_gone)

    def run(self) -> None:
        while self.lifeline or self.trees or children_of(os.getpid()):
            for key, mask in self.selector.select(None if self.lifeline and not self.ending else 0.05):
                key.data(mask)
            self.reap()
            self.settle()

    def talk(self, mask: int) -> None:
        """Read what the runner asks for, send what it is to know."""
        if mask & selectors.EVENT_WRITE:
            self.flush()
        if not mask & selectors.EVENT_READ or self.lifeline is None:
            return
        try:
            received = self.lifeline.recv(1 << 20)
        except ConnectionError:
            received = b""
        if not received:
            self.runner_is_gone()
        *lines, self.unread = (self.unread + received).split(b"\n")
        for line in lines:
            if not self.lifeline:
                return  # the answer to a line before this one found nobody: what is launched now would run for ever
            message = json.loads(line)
            getattr(self, message.pop("do"))(**message)

    def tell(self, **message: Any) -> None:
        self.unsent += COMPACT.encode(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        if self.lifeline is None:
            return
        try:
            self.unsent = self.unsent[self.lifeline.send(self.unsent) :]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.runner_is_gone()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.unsent else 0)
        self.selector.modify(self.lifeline, events, self.talk)

    def runner_is_gone(self, _: int = 0) -> None:
        """Nobody is left to tell, and no case may outlive its runner."""
        if self.lifeline is None:
            return
        self.selector.unregister(self.lifeline)
        self.lifeline.close()
        self.lifeline = None
        for mark in list(self.trees):
            self.end(mark, self.first_signal, self.grace_s)

    def hello(self, environment: dict[str, str], foreground: bool, nice: int, signal: int, grace_s: float) -> None:
        self.environment, self.foreground, self.first_signal, self.grace_s = environment, foreground, signal, grace_s
        if nice:
            os.nice(nice)
        self.tell(event="ready")

    def launch(
        self, mark: int, command: list[str], environment: dict[str, str], log: str | None,
        memory_bytes: int | None, isolated: bool,
    ) -> None:  # fmt: skip
        arguments = [part.encode("latin-1") for part in command]
        both = (self.environment | environment).items()
        variables = {name.encode("latin-1"): value.encode("latin-1") for name, value in both}
        path = None if log is None else log.encode("latin-1")
        try:
            # posix_spawn, since a fork copies page tables. What it can't set is inherited from here, or set after it.
            with suppress(ValueError, OSError):
                resource.setrlimit(RLIMIT_LOCKS, (mark, resource.getrlimit(RLIMIT_LOCKS)[1]))
            pid = os.posix_spawn(
                arguments[0], arguments, variables, file_actions=streams(path),
                setsid=not self.foreground, setsigmask=(), setsigdef=ALL_SIGNALS,
            )  # fmt: skip
        except OSError as error:
            if path is not None and error.errno != errno.EEXIST:
                with suppress(OSError):
                    os.unlink(path)
            self.tell(event="refused", mark=mark, errno=error.errno)
            return
        with suppress(OSError):  # out of memory, a case should go before its runner
            Path(f"/proc/{pid}/oom_score_adj").write_text("500")
        if memory_bytes is not None and hasattr(resource, "prlimit"):
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        self.trees[mark] = self.by_pid[pid] = Tree(mark, pid, isolated)
        self.tell(event="started", mark=mark, pid=pid)

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        if tree := self.trees.get(mark):
            tree.signal, tree.kill_at = signal, time.monotonic() + grace_s
            self.ending[mark] = tree
            self.signal_members(tree, signal)

    def stop(self) -> None:
        for tree in self.trees.values():
            self.signal_members(tree, signal.SIGSTOP)
        self.tell(event="stopped")

    def go_on(self) -> None:
        for tree in self.trees.values():
            self.signal_members(tree, signal.SIGCONT)

    def reap(self) -> None:
        """Take note of every child that ended: first processes, and orphans that came to us."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if tree := self.by_pid.pop(pid, None):
                self.ending[tree.mark] = tree
                unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
                tree.ended = {
                    "wait_status": status, "user_cpu_s": round(used.ru_utime, 6),
                    "system_cpu_s": round(used.ru_stime, 6), "max_rss_bytes": used.ru_maxrss * unit,
                }  # fmt: skip

    def settle(self) -> None:
        """Tell of trees that are gone, and end what is left of others whose time is over."""
        for tree in list(self.ending.values()):
            overdue = time.monotonic() >= tree.kill_at
            if tree.ended is None and not overdue:
                continue
            left = self.members(tree)
            if tree.ended is not None and not left:
                del self.trees[tree.mark], self.ending[tree.mark]
                self.tell(event="ended", mark=tree.mark, **tree.ended)
            elif overdue or not tree.signal:
                self.signal_members(tree, signal.SIGKILL)
            elif tree.signal == signal.SIGINT:  # the first process is gone, and its helpers may ignore INT
                self.end(tree.mark, signal.SIGTERM, tree.kill_at - time.monotonic())
        if not self.trees and not self.lifeline:
            for orphan in self.orphans():
                kill(orphan, signal.SIGKILL)

    def orphans(self) -> list[int]:
        """Descendants of cases that lost their parents, and came to us."""
        return [pid for pid in children_of(os.getpid()) if pid not in self.by_pid]

    def members(self, tree: Tree) -> list[int]:
        """The living processes of a tree."""
        roots = [tree.pid] if tree.ended is None else []
        roots += [pid for pid in self.orphans() if pid in tree.known or mark_of(pid) == tree.mark]
        if tree.ended is not None and not roots and not HAS_PROC:
            roots += group_of(tree.pid)
        found: dict[int, None] = {}
        while roots:
            pid = roots.pop()
            if pid not in found:
                found[pid] = None
                roots += children_of(pid)
        tree.known = set(found)
        return list(found)

    def signal_members(self, tree: Tree, number: int) -> None:
        members = self.members(tree)
        if tree.isolated and number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            # bwrap and the first process of its namespace: without them all others die at once.
            layers = [tree.pid, *children_of(tree.pid)]
            members = [pid for pid in members if pid not in layers] or [tree.pid]
        for pid in members:
            kill(pid, number)
            if number != signal.SIGSTOP:
                kill(pid, signal.SIGCONT)  # a stopped process would not see it


def streams(log: bytes | None) -> list[Any]:
    """What `posix_spawn` does with a case's descriptors 0 to 2.

    Output goes straight into the file: a pipe would fill up while we are busy.
    """
    if log is None:
        return []
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
    reading = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)
    return [reading, (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o666), (os.POSIX_SPAWN_DUP2, 1, 2)]


def end_marked(marks: Collection[int]) -> int:
    """Kill every process that carries one of these marks, until none is left; how many there were."""
    ended: set[int] = set()
    deadline = time.monotonic() + 10  # one in the kernel's hands (state D) may take longer: it can't be waited for
    while marks and time.monotonic() < deadline:
        left = [pid for pid in all_processes() if mark_of(pid) in marks]
        if not left:
            break
        ended.update(left)
        for pid in left:
            kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return len(ended)


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def drain(descriptor: int, _: int = 0) -> None:
    """Empty a pipe that only wakes."""
    with suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


def read_file(path: str) -> bytes:
    """A file of /proc; empty if its process is gone or somebody else's."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


# What a system can tell of processes. Without Linux's /proc and subreaper (macOS), `ps` tells it. What is lost there:
# a descendant that left its process group *and* whose parent has ended is found by its environment only, so
# `env -i setsid` survives its case.


HAS_PROC = os.path.exists("/proc/self/limits")


def become_subreaper() -> None:
    """Orphans among the descendants come to this process, not to init (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """Child processes, zombies aside."""
    if not HAS_PROC:
        rows = (row.split() for row in ps("pid=,ppid=,stat="))
        return [int(child) for child, parent, state in rows if int(parent) == pid and state[0] != "Z"]
    found: list[bytes] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # each has children of its own
            found += read_file(f"/proc/{pid}/task/{thread}/children").split()
    return [int(child) for child in found]


def group_of(leader: int) -> list[int]:
    return [int(pid) for pid, group in (row.split() for row in ps("pid=,pgid=")) if int(group) == leader]


def all_processes() -> list[int]:
    """Every process that lives; a zombie doesn't."""
    if not HAS_PROC:
        return [int(pid) for pid, state in (row.split() for row in ps("pid=,stat=")) if state[0] != "Z"]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] not in ([b"Z"], [])]


def mark_of(pid: int) -> int | None:
    """The attempt that a process descends from, if it is marked.

    The mark is the soft limit of file locks, which the kernel ignores and every descendant inherits, even
    through `env -i setsid`; in second place the variable SUITECASE_MARK.
    """
    limits = read_file(f"/proc/{pid}/limits")
    soft = limits.partition(b"Max file locks")[2].split()[:1]
    if soft and soft[0].isdigit() and int(soft[0]) >= FIRST_MARK:
        return int(soft[0])
    environment = read_file(f"/proc/{pid}/environ") if HAS_PROC else "\n".join(ps("command=", "-E", pid)).encode()
    found = re.search(rb"(?:^|[\0\s])SUITECASE_MARK=(\d+)", environment)
    return int(found[1]) if found else None


def ps(columns: str, *options: str | int) -> list[str]:
    shown = ["-p", str(options[-1])] if options else ["-A"]
    command = ["ps", *map(str, options[:-1]), *shown, "-ww", "-o", columns]
    return subprocess.run(command, capture_output=True, text=True, errors="replace").stdout.splitlines()


# --- Inspect mode ----------------------------------------------------------------------------------------------------

STAMP = "--stamp-logs"
"""Runs this file as the helper that writes metadata into logs; importing Inspect takes seconds and 90 MB."""


class Publisher:
    """Judges the logs of ended attempts, has them stamped, and moves them to the experiment's folder.

    A case's logs are staged in its folder until they are final. One helper at a time stamps all that wait.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self.plan, self.journal = plan, journal
        self.waiting: list[Outcome] = []
        self.stamping: list[Outcome] = []
        self.helper: subprocess.Popen[bytes] | None = None

    @property
    def busy(self) -> bool:
        """Whether an ended attempt is not published yet."""
        return bool(self.waiting or self.stamping)

    def published(self, ended: Iterable[Outcome]) -> list[Outcome]:
        """Take what ended, and give the outcomes whose logs have reached their place since the last call."""
        self.waiting.extend(ended)
        if self.helper is not None:
            if self.helper.poll() is None:
                return []
            if self.helper.returncode:
                log.warning("metadata could not be written into some logs (%s)", self.plan.run_dir / ".stamp.log")
            self.helper = None
        done, self.stamping, self.waiting = self.stamping, self.waiting, []
        requests = [request for outcome in self.stamping for request in self.stamp_requests(outcome)]
        try:
            self.helper = self.start_helper(requests) if requests else None
        except OSError as error:  # no room for a process, or on the disk
            log.warning("metadata can't be written into some logs: %s", error)
        if self.helper is None:
            done, self.stamping = done + self.stamping, []
        return [self.publish(outcome) for outcome in done]

    def hurry(self) -> None:
        """Publish what there is, with or without metadata."""
        if self.helper is not None:
            self.helper.kill()

    def stamp_requests(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Which metadata which log lacks."""
        plan, variant = self.plan, outcome.attempt.variant
        facts = {
            "experiment": plan.suite.experiment, "variant": variant, "run": plan.run_dir.name,
            "commit": plan.code.commit, "dirty": plan.code.dirty, "config": plan.prepared[variant].config,
        }  # fmt: skip
        requests: list[dict[str, Any]] = []
        for header in final_logs(outcome.attempt):
            missing = {name: value for name, value in facts.items() if name not in header.metadata}
            if missing:
                requests.append({"path": str(header.path), "metadata": missing})
        return requests

    def start_helper(self, requests: list[dict[str, Any]]) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as stdin, (self.plan.run_dir / ".stamp.log").open("ab") as output:
            stdin.write(json.dumps(requests).encode())
            stdin.seek(0)
            # -P: in a package, this file's neighbours may be named like modules of the standard library.
            command = [sys.executable, "-P", str(Path(__file__).resolve()), STAMP]
            # A session of its own: Ctrl-C must not stop it half-way through a log.
            return subprocess.Popen(command, stdin=stdin, stdout=output, stderr=output, start_new_session=True)

    def publish(self, outcome: Outcome) -> Outcome:
        """Move an attempt's final logs to their flat names; what earlier attempts left no longer counts."""
        attempt, plan = outcome.attempt, self.plan
        prefix = f"{plan.code.short}_{attempt.variant}_"
        finished = {f"{prefix}{header.task_id}.eval": header for header in final_logs(attempt)}
        logs = [{"file": name, "status": header.status, "error": header.error} for name, header in finished.items()]
        try:
            problems = self.set_aside_others(attempt, finished.values()) if finished else []
            # Before they move: a runner that dies in between has recorded what the next attempt must set aside.
            self.journal.append("logs_published", variant=attempt.variant, attempt=attempt.number, logs=logs)
            for name, header in finished.items():
                os.replace(header.path, plan.experiment_dir / name)
            if finished:
                sync_folder(plan.experiment_dir)
        except OSError as error:  # must not end the other cases
            problems = [f"a log could not be published and lies in {attempt.folder}: {error}"]
        return judged(outcome, logs, problems)

    def staged_before(self, variant: str, folder: Path) -> frozenset[Path]:
        """Unfinished logs of earlier attempts, which the next one may continue if the code is the same.

        Others are set aside: a log must not mix code, and a finished one would not be evaluated again.
        """
        staged = list(folder.rglob("*.eval"))
        if staged:
            started = [event for event in self.journal.of_case[variant] if event["event"] == "attempt_started"]
            same_code = bool(started) and started[-1].get("tree") == self.plan.code.tree is not None
            for path in staged:
                if read_log_header(path) or not (same_code or self.plan.options.allow_mixed_code):
                    set_aside(path, path.parent)
        return frozenset(folder.rglob("*.eval"))

    def last_success(self, variant: str) -> int:
        """The last attempt with which a case succeeded; with `--again`, later ones must not go on with its logs."""
        ended = [event for event in self.journal.of_case[variant] if event["event"] == "case_ended"]
        return max((e["attempts"] for e in ended if e["status"] == "succeeded"), default=0)

    def set_aside_others(self, attempt: Attempt, finished: Collection[LogHeader]) -> list[str]:
        """Leave only an attempt's own final logs for listings to find: a case counts once.

        Returns:
            What is wrong: logs that the attempt began, and no retry of its own finished.
        """
        others = set(attempt.folder.rglob("*.eval")) - {header.path for header in finished}
        for path in others:
            set_aside(path, path.parent)
        for event in self.journal.of_case[attempt.variant]:
            if event["event"] == "logs_published":
                for entry in event["logs"]:
                    set_aside(self.plan.experiment_dir / entry["file"], attempt.folder)
        task_ids = [header.task_id for header in finished]
        names = sorted(path.name for path in others - attempt.earlier_logs)
        return [f"log {name} was not finished" for name in names if not any(task_id in name for task_id in task_ids)]


def set_aside(path: Path, folder: Path) -> None:
    """Rename a log so that no listing finds it and nothing is overwritten; it may be gone."""
    target, number = folder / f"{path.name}.superseded", 1
    while target.exists():
        number += 1
        target = folder / f"{path.name}.superseded-{number}"
    with suppress(FileNotFoundError):
        path.rename(target)


def judged(outcome: Outcome, logs: Sequence[Mapping[str, Any]], problems: Sequence[str]) -> Outcome:
    """What an attempt's logs make of its outcome: Inspect exits with 0 whatever happened."""
    if outcome.status in ("cancelled", "timed_out", "unfinished"):
        return outcome
    causes = [outcome.cause] if outcome.cause else []
    causes += [f"log {entry['file']} has status {entry['status']}" for entry in logs if entry["status"] != "success"]
    causes += problems
    if not logs:
        causes.append("no finished .eval log")
    cancelled = any(entry["status"] == "cancelled" for entry in logs)
    status = "cancelled" if cancelled else "failed" if causes else "succeeded"
    return replace(outcome, status=status, cause="; ".join(causes))


@dataclass(frozen=True)
class LogHeader:
    """What decides about a finished log of Inspect; `status` is success, error or cancelled."""

    path: Path
    status: str
    task_id: str
    error: str | None
    metadata: Mapping[str, Any]


def final_logs(attempt: Attempt) -> list[LogHeader]:
    """The logs that an attempt finished; of a task that it retried, the last, if that was finished."""
    paths = sorted(attempt.folder.rglob("*.eval"), key=lambda path: path.stat().st_mtime_ns)
    last: dict[str, LogHeader] = {}
    for path in paths:
        if header := read_log_header(path):
            last[header.task_id] = header
        else:  # what it went on with is not its own; a log's name ends with the id of its task
            last = {task_id: header for task_id, header in last.items() if task_id not in path.name}
    return list(last.values())


def read_log_header(path: Path) -> LogHeader | None:
    """The header of a finished log, without importing Inspect; None while it isn't finished.

    A log is a zip file whose `header.json`, written last, holds status and metadata.
    """
    with suppress(ImportError):  # comes with Inspect: zstandard for zipfile, part of Python from 3.14
        import zipfile_zstd  # noqa: F401  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]
    try:
        with zipfile.ZipFile(path) as archive:
            header: dict[str, Any] = json.loads(archive.read("header.json"))
        evaluation: dict[str, Any] = header["eval"]
        error: dict[str, Any] = header.get("error") or {}
        metadata: dict[str, Any] = evaluation.get("metadata") or {}
        task_id, message = str(evaluation["task_id"]), error.get("message")
        found = LogHeader(path, str(header["status"]), task_id, message, dict(metadata))
    except Exception as reason:  # a damaged file can raise nearly anything, from zlib.error to RecursionError
        log.debug("%s is not final: %s", path, reason)
        return None
    return found if found.status != "started" else None


def stamp_logs(requests: Iterable[Mapping[str, Any]]) -> None:
    """Write metadata into the headers of logs, with a note of who wrote it."""
    from inspect_ai.log import MetadataEdit, ProvenanceData, edit_eval_log, read_eval_log, write_eval_log

    author = ProvenanceData(author="experiment_runner", reason="what the runner knows of the case")
    failed, runner = False, os.getppid()
    for request in requests:
        if os.getppid() != runner:  # it was killed; a resume stamps the rest
            break
        try:
            header = read_eval_log(request["path"], header_only=True)
            edited = edit_eval_log(header, [MetadataEdit(metadata_set=request["metadata"])], author)
            write_eval_log(edited, request["path"], header_only=True)
        except Exception:  # the other logs can still have theirs
            traceback.print_exc()
            failed = True
    if failed:
        sys.exit(1)


# --- Console ---------------------------------------------------------------------------------------------------------


class Console:
    """What is shown while a run goes on: plain lines, a live view on a terminal, or JSON for programs.

    A closed pipe (`| head -1`) or a lost terminal changes neither the run nor its exit code.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.options = plan, plan.options
        options = plan.options
        self.closed = False
        self.started = time.monotonic()
        self.next_tick = 0.0
        self.done: Counter[str] = Counter()
        self.failures: list[Outcome] = []
        self.offsets: dict[int, int] = {}
        self.untold: list[Mapping[str, Any]] = []
        self.encoding = sys.stdout.encoding or "utf-8"
        self.rich: Any = None
        self.live: Any = None
        terminal = sys.stdout.isatty() and not options.json
        follow = options.follow if options.follow is not None else terminal and plan.parallelism == 1
        self.follow = follow and not (options.json or options.quiet or options.debug)
        if terminal:
            from rich.console import Console as RichConsole
            from rich.live import Live

            # Names and logs are shown as they are: "[red]" is no colour in them, and ":x:" no picture.
            self.rich = RichConsole(markup=False, emoji=False, highlight=False)
            if not (self.follow or options.quiet or options.debug):
                # Refreshed by the one loop: no thread of its own.
                self.live = Live("", console=self.rich, auto_refresh=False, transient=True)

    @property
    def moving(self) -> bool:
        """Whether something changes on the screen even if nothing happens."""
        return self.follow or (self.live is not None and self.live.is_started)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.show(self.live.stop)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave the terminal to the shell for a while."""
        live = self.live if self.moving else None
        if live is not None:
            self.show(live.stop)
        yield
        if live is not None:
            self.show(live.start)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line, above the live view if there is one."""
        text = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        if self.rich is not None:
            self.show(lambda: self.rich.print(text, style=style or None, soft_wrap=True))
        else:
            self.show(lambda: print(text, flush=True))

    def show(self, write: Callable[[], object]) -> None:
        """Write to a terminal or pipe that may go away at any time."""
        if self.closed:
            return
        try:
            write()
        except OSError:
            self.closed = True
            with suppress(OSError):  # the interpreter's own flush at exit must not fail either
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def say(self, text: str = "", style: str = "") -> None:
        """A line for people."""
        if not (self.options.json or self.options.quiet):
            self.line(text, style)

    def note(self, text: str) -> None:
        """What a person should know before or after a run."""
        self.say(f"Note: {text}", "yellow")

    def tell(self) -> None:
        """The journal's new events for programs, once they are on disk."""
        for event in self.untold:
            self.line(json.dumps(event))
        self.untold.clear()

    def show_plan(self) -> None:
        """What a run would do, and how its configs differ."""
        plan, mode = self.plan, self.plan.suite.mode
        if self.options.json:
            for variant in plan.to_run:
                config = plan.prepared[variant].config
                self.line(json.dumps({"event": "planned", "variant": variant, "config": config}))
            return
        self.notes()
        self.say(f"Would run {len(plan.to_run)} experiments ({mode} mode, parallelism={plan.parallelism}):")
        self.say(f"Run directory: {plan.run_dir}")
        varying = varying_fields(prepared.config for prepared in plan.prepared.values())
        for variant in plan.to_run:
            target = plan.run_dir / variant
            if mode == "inspect":
                target = plan.experiment_dir / f"{plan.code.short}_{variant}_*.eval"
            place = os.path.relpath(target, plan.results_dir.parent)
            config = plan.prepared[variant].config
            values = " ".join(f"{name}={json.dumps(config.get(name))[:60]}" for name in varying)
            self.say(f"  {variant} -> {place}   {values}".rstrip())
        needs = {variant: needs_of(plan.prepared[variant].case, plan.suite.policy) for variant in plan.to_run}
        if preview := plan.launcher.preview(session_of(plan), needs):
            self.say(preview)

    def start(self, plan: Plan, journal: Journal) -> None:
        """The head of a run."""
        self.plan = plan
        if self.options.json:
            self.line(json.dumps({**journal.last, "run_dir": str(plan.run_dir)}))
            journal.listener = self.untold.append
        verb = "Resuming" if plan.resumed else "Running"
        self.notes()
        if journal.note:
            self.note(journal.note)
        count, mode = len(plan.to_run), plan.suite.mode
        self.say(f"{verb} {count} experiments ({mode} mode, parallelism={plan.parallelism})", "bold")
        self.say(f"Run directory: {plan.run_dir}")
        if self.live is not None:
            self.show(self.live.start)

    def notes(self) -> None:
        """What should be known before the start."""
        plan, code, resumed = self.plan, self.plan.code, self.plan.resumed
        if code.problem:
            self.note(f"the code can't be recorded fully: {code.problem}")
        if code.left_out:
            names = ", ".join(str(entry["path"]) for entry in code.left_out[:5])
            more = f" and {len(code.left_out) - 5} more" if len(code.left_out) > 5 else ""
            self.note(f"uncommitted.patch is not complete (patch_complete: false): without {names}{more}.")
        if self.options.parallelism is None and len(plan.to_run) > plan.parallelism:
            self.note(f"{PARALLELISM_LIMIT} cases at a time; -p N or -p all changes that.")
        if resumed is None:
            return
        succeeded = sum(status == "succeeded" for status in resumed.statuses.values())
        self.say(f"Resuming from: {plan.run_dir} ({succeeded} of {len(plan.prepared)} cases have succeeded)")
        if resumed.code_changed:
            before = last_code(resumed.record).get("label")
            self.note(f"other code than before: {before} then, {code.label} now. Each attempt records its own.")
        if resumed.added:
            self.note(f"new, added: {', '.join(resumed.added)}")
        if resumed.gone:
            self.note(f"no longer in the suite, left alone: {', '.join(resumed.gone)}")
        for note in resumed.notes:
            self.note(note)

    def case_ended(self, outcome: Outcome) -> None:
        """One line for a case whose end is on disk."""
        self.done[outcome.status] += 1
        variant = outcome.attempt.variant
        if outcome.status == "succeeded":
            self.say(f"[OK] {variant} ({outcome.duration_s:.1f} s)", "green")
            return
        if outcome.failed:
            self.failures.append(outcome)
        word = outcome.status.replace("_", " ").upper()
        told = f"[{word}] {variant}: {outcome.cause} ({outcome.duration_s:.1f} s)"
        self.say(told, "red")
        if self.options.quiet and self.options.as_command:
            print(told.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)

    def retrying(self, outcome: Outcome, delay_s: float) -> None:
        """One line for an attempt after which another one comes."""
        attempt = outcome.attempt
        when = f"in {delay_s:.1f} s" if delay_s else "next"
        self.say(f"[AGAIN] {attempt.variant}: {outcome.cause}; attempt {attempt.number + 1} {when}", "yellow")

    def tick(self, running: Mapping[int, Attempt], moment: float) -> None:
        """Refresh what moves, ten times a second at most: drawing costs more than a short case.

        Args:
            moment: By the execution's clock, as the start of an attempt is.
        """
        if not self.moving or time.monotonic() < self.next_tick:
            return
        self.next_tick = time.monotonic() + 0.1
        if self.live is not None:
            status = self.status(running, moment).encode(self.encoding, "replace").decode(self.encoding)
            self.show(lambda: self.live.update(status, refresh=True))
        if self.follow:
            for attempt in running.values():
                self.show_output(attempt)

    def attempt_ended(self, attempt: Attempt) -> None:
        """The rest of what a case wrote."""
        if self.follow:
            self.show_output(attempt, to_the_end=True)
            self.offsets.pop(attempt.mark, None)

    def status(self, running: Mapping[int, Attempt], moment: float) -> str:
        """The live view: counts, time, and the cases that have run longest; readable with 2 cases and with 2,000."""
        total, ended = len(self.plan.to_run), sum(self.done.values())
        elapsed = moment - self.started
        eta = f", about {clock(elapsed / ended * (total - ended))} left" if ended and ended < total else ""
        count = self.done["failed"] + self.done["timed_out"]
        failed = f", {count} failed" if count else ""
        filled = 30 * ended // max(1, total)
        bar = "━" * filled + "╌" * (30 - filled)
        longest = sorted((each for each in running.values() if each.recorded), key=lambda attempt: attempt.started)
        queued = len(running) - len(longest)  # with a cluster's scheduler
        waiting = f", {queued} waiting" if queued else ""
        lines = [f"{bar} {ended}/{total} done, {len(longest)} running{waiting}{failed}  {clock(elapsed)}{eta}"]
        lines += [
            f"  {clock(moment - attempt.started)}  {attempt.variant}{progress_of(attempt)}" for attempt in longest[:8]
        ]
        if len(longest) > 8:
            lines.append(f"  … and {len(longest) - 8} more")
        return "\n".join(lines)

    def show_output(self, attempt: Attempt, to_the_end: bool = False) -> None:
        """The lines that a case has written since the last look, each with its variant in front."""
        if attempt.log is None or not attempt.log.exists():  # not started yet, or refused
            return
        offset = self.offsets.get(attempt.mark, 0)
        with attempt.log.open("rb") as file:
            file.seek(offset)
            new = file.read(None if to_the_end else 1 << 20)
        complete = len(new) if to_the_end or len(new) == 1 << 20 else new.rfind(b"\n") + 1
        self.offsets[attempt.mark] = offset + complete
        for text in new[:complete].decode(errors="replace").removesuffix("\n").split("\n") if complete else ():
            self.say(f"[{attempt.variant}] {harmless(text)}")

    def stopping(self, name: str, running: int, grace_s: float) -> None:
        self.say(f"{name}: stopping {running} running cases ({grace_s:g} s at most; Ctrl-C again kills them)", "yellow")

    def summarise(self, statuses: Mapping[str, str], trees: Collection[str]) -> None:
        """The end of a run: counts, every failure with its cause, and how to go on."""
        plan = self.plan
        if self.live is not None:
            self.show(self.live.stop)
        counts = Counter(statuses.values())
        resume = f"{suite_command(plan)} --resume {shlex.quote(os.path.relpath(plan.run_dir))}"
        alone = resume + f" --launcher {Local.name}" * ("debug" in plan.launcher.lacks) + " --debug"
        others = ", ".join(f"{count} {status}" for status, count in counts.items() if status != "succeeded")
        self.say(f"Completed: {counts['succeeded']}/{len(statuses)} succeeded" + f" ({others})" * bool(others), "bold")
        for outcome in self.failures[:20]:
            attempt = outcome.attempt
            self.say(f"\n{attempt.variant}: {outcome.cause}", "red")
            for text in last_lines(attempt.log):
                self.say(f"    {text}")
            if attempt.log and attempt.log.exists():
                self.say(f"  log:   {attempt.log}")
            if self.options.as_command:
                self.say(f"  alone: {alone} {shlex.quote(attempt.variant)}")
        if len(self.failures) > 20:
            self.say(f"\n… and {len(self.failures) - 20} more failures")
        if len(trees) > 1 or (plan.resumed and plan.resumed.code_changed):
            self.note("this run mixes code: its attempts did not all run the same.")
        if counts["succeeded"] < len(statuses):
            self.say(f"\nTo go on: {resume if self.options.as_command else f'resume={str(plan.run_dir)!r}'}")


def suite_command(plan: Plan) -> str:
    """How a person calls the suite again, for the same results folder and with the same `--set`."""
    command = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if plan.options.results_dir:
        command += ["--results-dir", str(plan.options.results_dir)]
    chosen = plan.resumed.record.run.get("set", ()) if plan.resumed else plan.options.set
    return shlex.join([*command, *(f"--set={text}" for text in chosen)])


def varying_fields(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the fields that differ between configs, the output folder aside."""
    values: dict[str, set[str]] = {}  # two of a name are enough
    number = 0
    for number, config in enumerate(configs, 1):
        for name, value in config.items():
            seen = values.setdefault(name, set() if number == 1 else {"null"})
            if len(seen) < 2:
                seen.add(json.dumps(value))
        for name in values.keys() - config.keys():
            values[name].add("null")
    return [name for name, seen in values.items() if len(seen) > 1 and name != "output_dir"]


def last_lines(path: Path | None, count: int = 5) -> list[str]:
    """The end of a log, with control characters made harmless."""
    if path is None:
        return []
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        return [harmless(line)[:200] for line in lines[-count:]]
    return []


def progress_of(attempt: Attempt) -> str:
    """How far a case is, for the end of its line in the live view, as of a quarter of a second ago; often empty."""
    return last_progress(attempt.folder / "tracking.jsonl", attempt.number, int(time.monotonic() * 4))


@lru_cache(maxsize=16)
def last_progress(path: Path, attempt: int, _moment: int) -> str:
    """The last progress that an attempt has told at the end of its tracking.jsonl, as `  done/total message`.

    Anything may stand in that file: lines that aren't what they should be are passed over.
    """
    with suppress(OSError):
        if not path.is_file():  # to open a fifo would wait
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - (1 << 18)))
            lines = [line for line in file.read(1 << 18).split(b"\n") if b'"progress"' in line]
        for line in reversed(lines):
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                told = json.loads(line)
                if (told["event"], told["attempt"]) == ("progress", attempt):
                    whole = "" if told["total"] is None else f"/{told['total']}"
                    return "  " + harmless(f"{told['done']}{whole} {told['message']}".rstrip())[:60]
    return ""


def harmless(text: str) -> str:
    """A line of output as a terminal would leave it: after the last carriage return, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text.rstrip("\r").rpartition("\r")[2])


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed, or the next file opened would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


@contextmanager
def terminal_kept() -> Generator[None]:
    """Give the terminal back as it was: a case on it may have put it into raw mode and been killed."""
    terminal, before = -1, None
    with suppress(AttributeError, OSError, ValueError, termios.error):  # no terminal
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        with suppress(OSError, termios.error):
            if before and os.tcgetpgrp(terminal) == os.getpgrp():  # else the shell has it
                termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def detach(plan: Plan, console: Console) -> RunSummary:
    """Leave the run to a process of its own session, which no closing terminal ends; return once it has begun.

    Raises:
        SuiteError: What kept it from beginning.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        run_detached(plan, writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as told:
        answer: dict[str, Any] = json.loads(told.read() or '{"problems": ["the detached runner died at once."]}')
    if "problems" in answer:
        raise SuiteError(answer["problems"], answer.get("exit_code", EXIT_FAILED))
    run_dir = Path(answer["run_dir"])
    console.say(f"Detached: pid {pid} runs {len(plan.to_run)} experiments in {run_dir}", "bold")
    console.say(f"  watch:  tail -f {shlex.quote(str(run_dir / 'runner.log'))}")
    console.say(f"  stop:   touch {shlex.quote(str(run_dir / 'cancel'))}")
    if console.options.json:
        console.line(json.dumps({"event": "detached", "pid": pid, "run_dir": str(run_dir)}))
    return RunSummary(run_dir, dict.fromkeys(plan.prepared, "pending"), 0)


def run_detached(plan: Plan, writer: int) -> NoReturn:
    """The detached runner: its output goes to runner.log in the run directory."""
    os.setsid()
    exit_code = EXIT_FAILED

    def answer(**facts: Any) -> None:
        with suppress(OSError), open(writer, "w", encoding="utf-8") as teller:
            json.dump(facts, teller)

    try:
        with open_run(plan) as (opened, journal):
            log_file = opened.run_dir / "runner.log"
            output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
                os.dup2(descriptor, target)
            answer(run_dir=str(opened.run_dir))
            with problems_end_the_program(), Console(opened) as console:
                exit_code = execute(opened, journal, console).exit_code
    except SuiteError as error:
        answer(problems=error.problems, exit_code=error.exit_code)
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else EXIT_FAILED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(exit_code)


# --- Command line ----------------------------------------------------------------------------------------------------


PARALLELISM_HELP = f"Cases at a time, or 'all'. By default all of them, up to {PARALLELISM_LIMIT}."


def command_line(suite: Suite) -> None:
    """Read the flags of a suite, run it, exit."""
    import typer  # here, since neither the guardian nor a copy without typer that is only imported needs it
    from typer import Option as Flag

    open_standard_streams()
    markup = "rich" if sys.stdout.isatty() else None
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=markup)
    help_text = f"{suite.description or suite.experiment}\n\n{HELP}"

    @app.command(help=help_text, context_settings={"help_option_names": ["-h", "--help"]})
    def _(
        dry_run: bool = Flag(False, "--dry-run", help="Check everything, show the plan, write nothing."),
        parallelism: str = Flag("", "-p", "--parallelism", metavar="N", help=PARALLELISM_HELP),
        resume: str | None = Flag(None, metavar="RUN_DIR", help="Run what has not succeeded; or 'latest'."),
        again: bool = Flag(False, "--again", help="With --resume: cases that have succeeded too."),
        only: list[str] = Flag([], metavar="PATTERN", help="Only such variants; may be repeated."),
        set_: list[str] = Flag([], "--set", metavar="FIELD=VALUE", help="Change a field everywhere."),
        note: str = Flag("", metavar="TEXT", help="Recorded with the run."),
        results_dir: str | None = Flag(None, metavar="DIR", help="Where results go instead of results/."),
        same_code: bool = Flag(False, "--same-code", help="Refuse to resume with other code."),
        allow_mixed_code: bool = Flag(False, "--allow-mixed-code", help="Go on with logs of other code (Inspect)."),
        env_file: str | None = Flag(None, metavar="PATH", help="Variables for the cases alone, such as keys."),
        debug: str | None = Flag(None, metavar="VARIANT", help="One case on the terminal: breakpoint()."),
        follow: bool | None = Flag(None, "--follow/--no-follow", help="Show what cases print, as it comes."),
        launcher: str | None = Flag(None, metavar="NAME", help="How cases become processes: local, warm, slurm …"),
        launcher_option: list[str] = Flag([], metavar="KEY=VALUE", help="For the launcher; may be repeated."),
        detach: bool = Flag(False, "--detach", help="Return at once; the run outlives this shell."),
        confirm_above: float | None = Flag(None, min=0, metavar="USD", help="Ask first if it may cost more."),
        describe: bool = Flag(False, "--describe", help="The suite as one JSON object; runs nothing."),
        as_json: bool = Flag(False, "--json", help="One JSON object per line, for programs."),
        quiet: bool = Flag(False, "--quiet", "-q", help="Print nothing but failures."),
        verbose: bool = Flag(False, "-v", "--verbose", help="Git calls, arguments, scheduling; to stderr."),
        timeout_s: float | None = Flag(None, "--timeout", metavar="S", help="Seconds that an attempt may take."),
        grace_s: float | None = Flag(None, "--grace", metavar="S", help="Seconds between TERM and KILL (10)."),
        max_attempts: int | None = Flag(None, "--max-attempts", metavar="N", help="Attempts at a failing case (1)."),
        retry_on: list[str] = Flag([], metavar="FAILURE", help="What to retry: exit code, SIGSEGV, timeout, oom …"),
        backoff_s: float | None = Flag(None, "--backoff", metavar="S", help="Delay before the second attempt (1)."),
        fail_fast: bool | None = Flag(None, "--fail-fast", help="Launch nothing more after a failure."),
        max_failure_rate: float | None = Flag(None, metavar="FRACTION", help="Stop if more of the last 50 failed."),
        cpus_per_case: float | None = Flag(None, metavar="N", help="CPUs that each case keeps busy."),
        gpus_per_case: float | None = Flag(None, metavar="N", help="GPUs of its own; below 1 a share."),
        memory_gb_per_case: float | None = Flag(None, "--memory-per-case", metavar="GB", help="Reserve and limit."),
        continue_exit_code: int | None = Flag(None, metavar="CODE", help="A case's way to ask for another attempt."),
        nice: int | None = Flag(None, metavar="N", help="Niceness of the cases, 0 to 19."),
        isolate: bool | None = Flag(None, "--isolate", help="A PID namespace for each case (bwrap)."),
    ) -> None:
        given: dict[str, object] = dict(locals())  # a policy's flags have the names of its fields
        if verbose:
            logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(message)s")
        at_once = int(parallelism) if re.fullmatch(r"-?\d+", parallelism) else parallelism or None
        given["retry_on"] = tuple(int(name) if name.isdigit() else name for name in retry_on) or None
        policy = {name: given.get(name) for name in ExecutionPolicy.__dataclass_fields__}
        options = Options(
            parallelism=cast(int | Literal["all"] | None, at_once), dry_run=dry_run, resume=resume, again=again,
            only=tuple(only), set=tuple(set_), note=note, results_dir=results_dir, same_code=same_code, debug=debug,
            follow=follow, quiet=quiet, json=as_json, detach=detach, confirm_above=confirm_above, as_command=True,
            policy={name: value for name, value in policy.items() if value is not None},
            allow_mixed_code=allow_mixed_code, env_file=env_file, launcher=launcher,
            launcher_options=tuple(launcher_option),
        )  # fmt: skip
        if describe:
            print(json.dumps(description_of(suite, options), indent=2), flush=True)
        else:
            sys.exit(run(suite, options).exit_code)

    gc.freeze()  # what was imported stays to the end: to walk through it once more then is a fifteenth of a short run
    app()


@contextmanager
def problems_end_the_program() -> Generator[None]:
    """A user's mistake, or the disk's, is a message and an exit code; `-v` shows where an error came from."""
    try:
        yield
    except SuiteError as error:
        exit_code, problems = error.exit_code, error.problems
    except OSError as error:
        log.debug("", exc_info=True)
        exit_code, problems = EXIT_FAILED, (f"{error.filename or 'the output'}: {error.strerror}",)
    else:
        return
    for problem in problems:
        print(f"{Path(sys.argv[0]).name}: {problem}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
    sys.exit(exit_code)


HELP = """Every case runs as a process of its own. Its config is saved before it starts, its output goes to
attempt-1.log, and everything lies in results/{experiment}/{time}_{commit}/{variant}/.

Examples: --dry-run (look first), -p 4 (four at a time), --only 'gpt-4*' (some of them),
--set num_samples=5 (a quick try), --resume latest (after a crash, or a fixed bug), --debug VARIANT (step into one)."""


def description_of(suite: Suite, options: Options) -> dict[str, Any]:
    """A suite as data: what it would run, and the JSON Schema of its configs."""
    plan = make_plan(suite, replace(options, describe=True))
    suite = plan.suite
    classes = {type(case.config) for case in suite.cases}
    return {
        "experiment": suite.experiment,
        "description": suite.description,
        "tags": list(suite.tags),
        "mode": suite.mode,
        "entry_point": str(plan.entry_point),
        "policy": asdict(suite.policy),
        "parallelism": plan.parallelism,
        "launcher": record_of(plan.launcher),
        "cases": [
            {
                "variant": variant,
                "config_class": type(plan.prepared[variant].case.config).__qualname__,
                "config": {k: v for k, v in plan.prepared[variant].config.items() if k != "output_dir"},
                "resources": asdict(needs_of(plan.prepared[variant].case, suite.policy)),
            }
            for variant in plan.to_run
        ],
        "config_schemas": {cls.__qualname__: cast(Any, cls).model_json_schema() for cls in classes},
    }


if __name__ == "__main__":
    if sys.argv[1:] == [STAMP]:
        stamp_logs(json.load(sys.stdin))
    else:
        sys.exit("Suites import this file: `from experiment_runner import ExperimentCase, run_experiments_cli`.")
