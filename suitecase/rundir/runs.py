"""Runs, cases and attempts as frozen records, read from a run directory."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from sys import intern
from typing import Any, cast

from suitecase.rundir import layout
from suitecase.rundir.files import folder_problem, parse_object, read_bytes, read_lines, read_object
from suitecase.rundir.journal import Journal
from suitecase.rundir.layout import STATUSES, Status
from suitecase.rundir.ownership import Owner, find_owner

__all__ = ["Attempt", "CaseRun", "Code", "Run", "RunReader", "find_runs", "read_run"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One child process that was started for a case.

    Attributes:
        number: Counted from 1, over all passes of the run.
        status: `running`, how it ended, or `interrupted` if its runner died with it.
        started_at, ended_at: UTC, ISO 8601.
        max_rss_bytes: Largest memory of one of its processes.
        commit, tree, dirty: The code that it could see at its start.
        gpus: Devices that were its own, by UUID where known.
    """

    number: int
    status: str
    started_at: str | None = None
    ended_at: str | None = None
    duration_s: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    user_cpu_s: float | None = None
    system_cpu_s: float | None = None
    max_rss_bytes: int | None = None
    host: str | None = None
    pid: int | None = None
    commit: str | None = None
    tree: str | None = None
    dirty: bool | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaseRun:
    """What happened to one case within a run.

    Attributes:
        path: Its folder.
        cause: Why it did not succeed, in words.
        config_sha256: What `config.json` must hash to; empty where nobody recorded it.
        config_class: Name of the config's class.
    """

    variant: str
    path: Path
    status: Status
    cause: str = ""
    attempts: tuple[Attempt, ...] = ()
    config_sha256: str = ""
    config_class: str = ""

    @property
    def last(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    def log_path(self, number: int | None = None) -> Path | None:
        """The log of an attempt, by default of the latest that has one."""
        if number is not None:
            return self.path / layout.attempt_log(number)
        try:
            found = [
                int(name["number"]) for entry in os.listdir(self.path) if (name := layout.ATTEMPT_LOG.fullmatch(entry))
            ]
        except OSError:
            return None
        return self.path / layout.attempt_log(max(found)) if found else None

    def config(self) -> tuple[dict[str, Any], str]:
        """The config as saved, `output_dir` left out, and what is wrong with it."""
        config, problem = read_object(self.path / layout.CONFIG)
        if config is None:
            return {}, problem or f"{self.path / layout.CONFIG} is missing."
        config.pop("output_dir", None)
        return config, problem

    def results(self) -> tuple[dict[str, Any], str]:
        """Results that the case told through `tracking.jsonl` or wrote to `results.json`, and what is wrong with them.

        Of a key that was told more than once the last value counts, and what `results.json` says before all others.
        """
        told = read_lines(self.path / layout.TRACKING, having=b'"result"')
        results = {
            str(line["key"]): line.get("value") for line in told if line.get("event") == "result" and "key" in line
        }
        content, problem = read_bytes(self.path / layout.RESULTS)
        if content is None:
            return results, problem
        written = parse_object(content)
        if written is not None:
            return {**results, **written}, ""
        try:  # a list or a number is no damage
            return {**results, "value": json.loads(content)}, ""
        except (ValueError, RecursionError):
            return results, f"{self.path / layout.RESULTS} is no JSON: torn or damaged."


@dataclass(frozen=True, slots=True)
class Code:
    """The code of a run, as it was at its start.

    Attributes:
        label: What stands in the run's name: the short commit, `-dirty` if the tree differed.
        tree: Git's id of the tree on disk; equal ids mean equal code.
        patch: Name of the file in the run directory that turns the commit into the exact tree.
    """

    label: str
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    tree: str | None = None
    patch: str | None = None


@dataclass(frozen=True)
class Run:
    """One execution of a suite.

    Attributes:
        format_version: 0 for a directory of the simple original of the two files: configs alone.
        status: `running`, `interrupted` if its runner died, else what became of its cases, the worst first.
        started_at, ended_at: UTC, ISO 8601.
        passes: 1, and one more for each resume.
        idle_s: Seconds between the passes, when no runner was there.
        mixes_code: Whether its attempts ran different code.
        asked: `run.json` as it is.
        launcher: What the last pass recorded of its launcher: `name`, `options`, `outlives_runner`. Empty if nothing.
        owner: The runner of the last pass; None if the run has ended.
        problems: What is damaged or missing, one sentence each.
    """

    path: Path
    experiment: str
    mode: str
    format_version: int
    status: Status
    code: Code
    cases: Mapping[str, CaseRun]
    started_at: str | None = None
    ended_at: str | None = None
    exit_code: int | None = None
    passes: int = 1
    idle_s: float = 0.0
    mixes_code: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])
    launcher: Mapping[str, Any] = field(default_factory=dict[str, Any])
    owner: Owner | None = None
    stopped: str = ""
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.path.name

    @property
    def is_owned(self) -> bool:
        """Whether its runner lives. Attempts of some launchers go on without one: the run is running then, too."""
        return self.owner is not None and self.owner.lives

    @property
    def statuses(self) -> Mapping[str, Status]:
        """The status of each case, by variant."""
        if isinstance(self.cases, LazyCases):
            return self.cases.statuses
        return {variant: case.status for variant, case in self.cases.items()}

    @property
    def counts(self) -> Mapping[Status, int]:
        """Cases by status, in the order of `STATUSES`; they add up to the number of cases."""
        found = Counter(self.statuses.values())
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def duration_s(self) -> float | None:
        """Wall-clock seconds of the passes of a run that has ended: what lay between them does not count."""
        whole_s = seconds_between(self.started_at, self.ended_at)
        return None if whole_s is None else round(whole_s - self.idle_s, 3)

    def eval_logs(self, variant: str | None = None) -> list[Path]:
        """The published logs of a run in Inspect mode that are still there, of one case or of all."""
        return [path for of, path in self.published if variant in (None, of) and os.path.exists(path)]

    published: tuple[tuple[str, Path], ...] = ()


class LazyCases(Mapping[str, CaseRun]):
    """The cases of a run, each made when somebody asks for it: a list of a thousand runs never does."""

    def __init__(self, statuses: Mapping[str, Status], make: Callable[[str, Status], CaseRun]) -> None:
        self.statuses = statuses
        self.make = make

    def __getitem__(self, variant: str) -> CaseRun:
        return self.make(variant, self.statuses[variant])

    def __iter__(self) -> Iterator[str]:
        return iter(self.statuses)

    def __len__(self) -> int:
        return len(self.statuses)

    def __contains__(self, variant: object) -> bool:
        return variant in self.statuses


def parse_time(text: str) -> datetime:
    """A time of a record, with its zone.

    Raises:
        ValueError: If it is none.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one recorded time to another; None where one is missing or is no time."""
    if start is None or end is None:
        return None
    try:
        return (parse_time(end) - parse_time(start)).total_seconds()
    except ValueError:
        return None


def read_run(path: Path) -> Run:
    """What a run directory tells now. Raises nothing, whatever state it is in: `problems` has what is wrong."""
    return RunReader(path).read()


def find_runs(results_dir: Path, experiment: str | None = None) -> Iterator[Path]:
    """The run directories below a results folder, Inspect mode included; of each experiment the oldest first."""
    for folder in [results_dir / experiment] if experiment else subfolders(results_dir):
        runs = [*subfolders(folder), *subfolders(folder / layout.INSPECT_RUNS)]
        yield from sorted(run for run in runs if layout.RUN_NAME.fullmatch(run.name))


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, those with a dot-name aside; none if it can't be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_dir())
    except OSError:
        return []


class RunReader:
    """Reads a run, and again only what has come since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / layout.JOURNAL, files=False)
        self.described = False
        self.asked: dict[str, Any] = {}
        self.problems: list[str] = []
        self.known: dict[str, Mapping[str, Any]] = {}
        self.statuses: dict[str, Status] = {}
        self.causes: dict[str, str] = {}
        self.attempts: dict[str, list[Mapping[str, Any]]] = {}
        self.made: dict[str, CaseRun] = {}
        self.published: dict[str, tuple[tuple[str, Path], ...]] = {}
        self.pass_event: dict[str, Any] = {}
        self.passes = 0
        self.started_at: str | None = None
        self.last_at: str | None = None
        self.idle_s = 0.0
        self.ended: dict[str, Any] | None = None
        self.stopped = ""
        self.trees: set[str] = set()

    def refresh(self) -> Run:
        """The run as it is now. Cases of which nothing new is known are the same objects as before."""
        run = self.read()
        return replace(run, cases=dict(run.cases))

    def read(self) -> Run:
        """The run as it is now, for a reader that is not used again: its cases are made when they are asked for."""
        if not self.described:
            self.describe()
        version: object = self.asked.get("format_version", layout.FORMAT_VERSION if self.asked else 0)
        if not isinstance(version, int) or version > layout.FORMAT_VERSION:
            problem = (
                f"{self.path} has format {version!r}, and this suitecase knows {layout.FORMAT_VERSION}: update it."
            )
            return self.snapshot(None, version if isinstance(version, int) else -1, [problem], {}, {})
        for event in self.journal:
            self.heed(event)
        problems = [*self.problems, *self.journal.problems]
        if self.asked and not self.journal.exists and not self.journal.problems:
            problems.append(f"{self.path / layout.JOURNAL} is missing: nothing tells what became of the cases.")
        owner = find_owner(self.path, self.pass_event) if self.pass_event and self.ended is None else None
        statuses = self.statuses_under(owner)
        return self.snapshot(owner, version, problems, LazyCases(statuses, self.case), statuses)

    def describe(self) -> None:
        """Read what was asked: `run.json`, or the folders that the simple original leaves."""
        asked, problem = read_object(self.path / layout.RUN)
        self.described = asked is not None
        self.asked = asked or {}
        self.problems = [problem] if problem else []
        if asked is None:
            folders = [folder for folder in subfolders(self.path) if os.path.exists(folder / layout.CONFIG)]
            self.known = {folder.name: {} for folder in folders}
            if not problem and (problem := folder_problem(self.path)):
                self.problems.append(problem)
            if not folders and not problem:
                self.problems.append(f"{self.path} is no run directory: it has neither run.json nor a case.")
            return
        declared: object = asked.get("cases")
        for case in cast(list[object], declared) if isinstance(declared, list) else []:
            facts = cast(dict[str, Any], case) if isinstance(case, dict) else {}
            self.add(str(facts.get("variant", "")), facts)
        if not self.known:
            self.problems.append(f"{self.path / layout.RUN} lists no cases: damaged?")

    def add(self, variant: str, facts: Mapping[str, Any]) -> None:
        """Take note of a case; its name must not lead out of the run directory."""
        if not variant or variant in (".", "..") or "/" in variant or "\0" in variant:
            self.problems.append(f"{self.path} lists a case named {variant!r}, which can't be: left out.")
            return
        self.known[variant] = facts

    def heed(self, event: dict[str, Any]) -> None:
        """Take note of an event."""
        kind, variant = event["event"], event.get("variant")
        before, self.last_at = self.last_at, event.get("time", self.last_at)
        if isinstance(variant, str) and variant in self.known:
            self.heed_case(kind, variant, event)
        elif kind in ("run_started", "run_resumed"):
            self.idle_s += seconds_between(before, event.get("time")) or 0.0
            self.begin_pass(event)
        elif kind == "run_ended":
            self.ended = event
        elif kind == "launching_stopped":
            self.stopped = str(event.get("reason", ""))

    def heed_case(self, kind: str, variant: str, event: dict[str, Any]) -> None:
        """Take note of what happened to a case."""
        if self.made:
            self.made.pop(variant, None)
        if kind == "attempt_started":
            self.statuses[variant] = "running"
            self.attempts.setdefault(variant, []).append(event)
            if event.get("tree"):
                self.trees.add(event["tree"])
        elif kind == "attempt_ended":
            self.attempts.setdefault(variant, []).append(event)
        elif kind == "case_ended":
            status = event.get("status")
            self.statuses[variant] = status if status in STATUSES else "unknown"
            self.causes[variant] = str(event.get("cause", ""))
        elif kind == "logs_published":
            folder = layout.experiment_folder(self.path)
            logs = cast(list[dict[str, Any]], event.get("logs", []))
            self.published[variant] = tuple((variant, folder / str(log.get("file"))) for log in logs)

    def begin_pass(self, event: dict[str, Any]) -> None:
        """A pass begins: what ran in the one before it was interrupted."""
        self.passes += 1
        self.pass_event, self.ended, self.stopped = event, None, ""
        self.started_at = self.started_at or event.get("time")
        for variant, status in self.statuses.items():
            if status == "running" and not self.attempts[variant][-1].get("outlives_runner"):
                self.statuses[variant] = "interrupted"
        for variant, events in self.attempts.items():
            if events[-1]["event"] == "attempt_started" and not events[-1].get("outlives_runner"):
                events.append({"event": "attempt_ended", "attempt": events[-1].get("attempt"), "status": "interrupted"})
                self.made.pop(variant, None)
        sha256s = event.get("cases_added_sha256", {})
        for variant in event.get("cases_added", []):
            self.add(str(variant), {"config_sha256": sha256s.get(variant, "")})

    def statuses_under(self, owner: Owner | None) -> dict[str, Status]:
        """The status of each case, given whether its runner lives."""
        untold: Status = "pending" if self.described else "unknown"
        running: Status = "running" if owner is not None and owner.lives else "interrupted"
        statuses: dict[str, Status] = {variant: self.statuses.get(variant, untold) for variant in self.known}
        for variant in [variant for variant, status in statuses.items() if status == "running"]:
            statuses[variant] = "running" if running != "running" and self.goes_on(variant) else running
        return statuses

    def goes_on(self, variant: str) -> bool:
        """Whether the last attempt needs no runner, has begun, and has not told its end."""
        start = self.attempts[variant][-1]
        if not start.get("outlives_runner"):
            return False
        record, _ = read_object(self.path / variant / layout.attempt_record(start.get("attempt", 0)))
        return record is not None and "ended_at" not in record

    def case(self, variant: str, status: Status) -> CaseRun:
        """A case as it is now."""
        made = self.made.get(variant)
        if made is None or made.status != status:
            facts = self.known[variant]
            cause = "" if status in ("succeeded", "running", "pending") else self.causes.get(variant, "")
            made = self.made[variant] = CaseRun(
                variant=variant,
                path=self.path / variant,
                status=status,
                cause=cause,
                attempts=attempts_of(self.attempts.get(variant, []), status),
                config_sha256=str(facts.get("config_sha256", "")),
                config_class=str(facts.get("config_class", "")),
            )
        return made

    def snapshot(
        self,
        owner: Owner | None,
        version: int,
        problems: list[str],
        cases: Mapping[str, CaseRun],
        statuses: Mapping[str, Status],
    ) -> Run:
        code = cast(dict[str, Any], self.asked.get("code")) if isinstance(self.asked.get("code"), dict) else {}
        named = layout.RUN_NAME.fullmatch(self.path.name)
        label = str(code.get("label") or (named["code"] if named else ""))
        known = {name: code.get(name) for name in ("commit", "branch", "dirty", "tree", "patch")}
        launcher: object = self.pass_event.get("launcher", self.asked.get("launcher"))
        return Run(
            path=self.path,
            experiment=str(self.asked.get("experiment") or layout.experiment_folder(self.path).name),
            mode=str(self.asked.get("mode") or "standard"),
            format_version=version,
            status=run_status(statuses, owner, self.ended),
            code=Code(label, **cast(dict[str, Any], known)),
            cases=cases,
            started_at=self.started_at or self.asked.get("started_at"),
            ended_at=self.ended.get("time") if self.ended else None if owner and owner.lives else self.last_at,
            exit_code=self.ended.get("exit_code") if self.ended else None,
            passes=max(1, self.passes),
            idle_s=self.idle_s,
            mixes_code=len(self.trees) > 1,
            asked=self.asked,
            launcher=cast(dict[str, Any], launcher) if isinstance(launcher, dict) else {},
            owner=owner,
            stopped=self.stopped,
            problems=tuple(problems),
            published=tuple(log for logs in self.published.values() for log in logs),
        )


def run_status(statuses: Mapping[str, Status], owner: Owner | None, ended: Mapping[str, Any] | None) -> Status:
    """`running` while its runner lives, or attempts go on without it, `interrupted` if it died; else the worst that
    became of a case."""
    found = set(statuses.values())
    if owner is not None:
        return "running" if owner.lives or "running" in found else "interrupted"
    if not found or ended is None:
        return "unknown"
    return next(status for status in WORST_FIRST if status in found)


# Cases that --only left out stay pending: they say nothing of those that ran.
WORST_FIRST: tuple[Status, ...] = (
    "failed", "timed_out", "cancelled", "interrupted", "skipped", "unknown", "running", "succeeded", "pending",
)  # fmt: skip


def attempts_of(events: Iterable[Mapping[str, Any]], status: Status) -> tuple[Attempt, ...]:
    """The attempts of a case from the events of their starts and ends; what has no end was interrupted or runs on."""
    started: dict[Any, Mapping[str, Any]] = {}
    ended: dict[Any, Mapping[str, Any]] = {}
    for event in events:
        (started if event["event"] == "attempt_started" else ended)[event.get("attempt", 0)] = event
    unended = {"status": "running" if status == "running" else "interrupted"}
    return tuple(attempt(start, ended.get(number, unended)) for number, start in started.items())


def attempt(start: Mapping[str, Any], end: Mapping[str, Any]) -> Attempt:
    """An attempt from its two events. What is the same in thousands of them is held once."""
    gpus = cast(list[dict[str, Any]], start.get("gpus", []))
    return Attempt(
        number=start.get("attempt", 0), status=intern(str(end.get("status"))), started_at=start.get("time"),
        ended_at=end.get("time"), duration_s=end.get("duration_s"), exit_code=end.get("exit_code"),
        signal=end.get("signal"), user_cpu_s=end.get("user_cpu_s"), system_cpu_s=end.get("system_cpu_s"),
        max_rss_bytes=end.get("max_rss_bytes"), host=shared(start.get("host")), pid=start.get("pid"),
        commit=shared(start.get("commit")), tree=shared(start.get("tree")), dirty=start.get("dirty"),
        gpus=tuple(str(gpu.get("uuid") or gpu.get("device")) for gpu in gpus),
    )  # fmt: skip


def shared(text: str | None) -> str | None:
    return intern(text) if isinstance(text, str) else None
