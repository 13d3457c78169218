"""Proves a run's record against its own checksums, and says what could not be proved."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge import log_damage
from suitecase.queries.code import code_repository, find_repository, left_out_files
from suitecase.rundir import Run, layout, read_run
from suitecase.rundir.files import read_bytes, read_object
from suitecase.rundir.journal import Journal

__all__ = ["Verification", "verify_run"]

UNHASHED = {"cancel"}
"""Files that a resume removes."""


@dataclass(frozen=True)
class Verification:
    """What became of a check.

    Attributes:
        problems: What is wrong, a sentence each; empty of a run that is whole.
        notes: What could not be proved, a sentence each.
        counts: How many things were proved: journal lines, configs, files by hash, files by size.
    """

    run: Run
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_run(path: Path) -> Verification:
    """Check a run directory against every hash, size and count that was recorded. Nothing there is written."""
    check = Check(path)
    check.journal()
    check.run_json()
    check.environment()
    check.configs()
    check.code()
    check.files()
    check.statuses()
    problems = [*check.run.problems, *check.problems]
    return Verification(check.run, tuple(dict.fromkeys(problems)), tuple(check.notes), check.counts)


class Check:
    """One pass over a run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = read_run(path)
        self.events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.counts = {"journal_lines": 0, "configs": 0, "files_by_hash": 0, "files_by_size": 0}

    @property
    def lives(self) -> bool:
        """Whether its runner still writes."""
        return self.run.is_owned

    def journal(self) -> None:
        """Each line by its checksum. What is damaged the run's own problems name already."""
        journal = Journal(self.path / layout.JOURNAL)
        self.events = list(journal)
        self.counts["journal_lines"] = len(self.events)
        if not journal.exists:
            return
        if journal.has_checksums is False:
            self.notes.append(f"{journal.path} has no checksums: its lines can't be proved.")
        content, _ = read_bytes(journal.path)
        if content and not content.endswith(b"\n") and not self.lives:
            self.problems.append(f"{journal.path}: its last line was never finished; a resume cuts it off.")
        if journal.offset == 0:
            self.problems.append(f"{journal.path} holds no event.")

    def run_json(self) -> None:
        """`run.json` by the hash in the journal, and what it says of the format."""
        if not self.run.asked:
            if self.events and not self.run.problems:
                self.problems.append(f"{self.path} has lost its run.json: its journal tells of one.")
            self.notes.append(f"{self.path} has no run.json that can be read: nobody can prove its configs.")
            return
        content, _ = read_bytes(self.path / layout.RUN)
        sealed = [event["run_json_sha256"] for event in self.events if event.get("run_json_sha256")]
        if not sealed:
            self.notes.append("the journal has no hash of run.json: it can't be proved.")
        elif content is not None and hashlib.sha256(content).hexdigest() != sealed[0]:
            self.problems.append(f"{self.path / layout.RUN} is not what the run wrote: damaged or edited.")
        if os.path.islink(self.path / layout.RUN):
            self.problems.append(f"{self.path / layout.RUN} is a link: it must be the file itself.")

    def environment(self) -> None:
        """`environment.json` has no hash; that it can be read is all there is to check."""
        if not self.run.asked:
            return
        environment, problem = read_object(self.path / layout.ENVIRONMENT)
        if environment is None:
            self.problems.append(problem or f"{self.path / layout.ENVIRONMENT} is missing.")

    def configs(self) -> None:
        """Each `config.json` by its hash."""
        unhashed = 0
        for case in self.run.cases.values():
            file = case.path / layout.CONFIG
            content, problem = read_bytes(file)
            if os.path.islink(case.path) or os.path.islink(file):
                self.problems.append(
                    f"{case.path if os.path.islink(case.path) else file} is a link: it must lie in the run."
                )
            elif content is None:
                self.problems.append(problem or f"{file} is missing.")
            elif not case.config_sha256:
                unhashed += 1
            elif hashlib.sha256(content).hexdigest() != case.config_sha256:
                self.problems.append(f"{file} is not what the run wrote: damaged or edited.")
            else:
                self.counts["configs"] += 1
        if unhashed:
            self.notes.append(
                f"nobody recorded a hash of {unhashed} config.json: of them only that they are there is checked."
            )

    def code(self) -> None:
        """That commit and patch give the recorded tree, where a repository with the commit is at hand."""
        code = self.run.code
        if code.patch and not (self.path / code.patch).is_file():
            self.problems.append(f"{self.path / code.patch} is missing: the code of this run can't be rebuilt.")
            return
        for name in left_out_files(self.run):
            self.notes.append(f"the record of the code lacks {name}.")
        if not self.run.asked:
            return
        try:
            repository = find_repository(self.run)
        except SuitecaseError as error:
            self.notes += [f"the code was not checked: {problem}" for problem in error.problems]
            return
        try:
            with code_repository([repository]) as rebuilt:
                rebuilt.tree(self.run)
        except SuitecaseError as error:
            self.problems += error.problems

    def files(self) -> None:
        """What each case left at its end, by size and hash."""
        ended: dict[str, dict[str, Any]] = {}
        for event in self.events:
            variant = event.get("variant")
            if isinstance(variant, str) and event["event"] == "attempt_started":
                ended.pop(variant, None)  # it runs again, and may change what it left
            elif isinstance(variant, str) and event["event"] == "case_ended":
                ended[variant] = cast(dict[str, Any], event.get("files") or {})
        for variant, files in ended.items():
            if variant not in self.run.cases:
                continue
            folder = self.run.cases[variant].path
            for name, facts in files.items():
                if name not in UNHASHED and not leads_out(name):
                    self.file(folder / name, facts)
        if self.run.published:
            self.notes.append(
                "nobody recorded hashes of Inspect's logs: they are checked by the checksums within them."
            )
        for _, log in self.run.published:
            problem = log_damage(log) if log.is_file() else f"{log} is missing."
            self.problems += [problem] if problem else []

    def file(self, path: Path, facts: Mapping[str, Any]) -> None:
        """One file of a case."""
        try:
            status = os.lstat(path)
            if status.st_size != facts.get("size_bytes"):
                self.problems.append(f"{path} has {status.st_size} bytes, and {facts.get('size_bytes')} were recorded.")
            elif "sha256" not in facts:
                self.counts["files_by_size"] += 1
            elif not stat.S_ISREG(status.st_mode):
                self.problems.append(f"{path} is no file any more.")
            elif sha256_of(path) != facts["sha256"]:
                self.problems.append(f"{path} has other contents than when its case ended: damaged or edited.")
            else:
                self.counts["files_by_hash"] += 1
        except (FileNotFoundError, NotADirectoryError):
            self.problems.append(f"{path} is missing.")
        except OSError as error:
            self.problems.append(f"{path} can't be read: {error.strerror}.")

    def statuses(self) -> None:
        """Every case has ended, and there are as many as were declared."""
        run = self.run
        if not run.asked or run.format_version not in range(layout.FORMAT_VERSION + 1):
            return
        if self.lives:
            assert run.owner is not None
            self.problems.append(f"the run goes on ({run.owner.evidence}): verify it again when it has ended.")
        elif run.owner is not None:
            self.problems.append("the run was interrupted: its journal has no run_ended of the last pass.")
        open_ = [case for case in run.cases.values() if case.status in UNFINISHED]
        unasked = [case for case in open_ if case.status == "pending" and not self.was_asked_for(case.variant)]
        if unasked:
            self.notes.append(
                f"{len(unasked)} of {len(run.cases)} cases were not asked for (--only), and never started."
            )
        open_ = [f"{case.variant} ({case.status})" for case in open_ if case not in unasked]
        if open_ and not self.lives:
            listed = ", ".join(open_[:5]) + ", …" * (len(open_) > 5)
            self.problems.append(f"{len(open_)} of {len(run.cases)} cases have no final status: {listed}.")
        started = next((event for event in self.events if event["event"] == "run_started"), None)
        added = sum(len(event.get("cases_added", [])) for event in self.events if event["event"] == "run_resumed")
        if started is not None and isinstance(started.get("cases"), int) and started["cases"] + added != len(run.cases):
            self.problems.append(
                f"the run began with {started['cases']} cases, {added} were added, and it lists {len(run.cases)}."
            )
        for case in run.cases.values():
            if case.status == "succeeded" and (case.last is None or case.last.status != "succeeded"):
                self.problems.append(f"{case.variant} succeeded, and the journal has no attempt that did.")

    def was_asked_for(self, variant: str) -> bool:
        """Whether some pass was to run a case: `--only` and `--debug` leave others as they are."""
        debugged: object = self.run.asked.get("debug")
        passes: list[object] = [[debugged] if debugged else self.run.asked.get("only")]
        passes += [event.get("only") for event in self.events if event["event"] == "run_resumed"]
        patterns = [cast(list[object], only) if isinstance(only, list) else [] for only in passes]
        return any(not only or any(matches(variant, str(pattern)) for pattern in only) for only in patterns)


def matches(variant: str, pattern: str) -> bool:
    return fnmatchcase(variant, pattern) or variant == pattern


UNFINISHED = ("pending", "running", "interrupted", "unknown")


def leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in Path(name).parts


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
