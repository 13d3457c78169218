"""What a launcher whose attempts outlive the runner writes for them, and how it follows them by their files.

Such an attempt is run by `suitecase/launchers/attempt.py`. A batch is a folder in `RUN_DIR/.attempts`, an attempt is a
number in it. The runner writes `INDEX.json` and `INDEX.environment`; the attempt removes the latter,
touches `INDEX.alive` while its case runs and `INDEX.ended` when its record is written. The record in the case's
folder is the truth; these two tell where to look, so that one listing a batch finds all that has happened.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from experiment_runner import Ended, Event, Launch, Refused, Resources, Session, Started
from suitecase.launchers import attempt
from suitecase.launchers.attempt import ATTEMPTS, Spec, batch_file, record_name

__all__ = ["ATTEMPT_PROGRAM", "Followed", "left_behind", "new_batch", "read_record", "spec_of", "write_specs"]

ATTEMPT_PROGRAM = Path(attempt.__file__).resolve()
"""What to execute, with `python -I -S`, so that nothing that a user installed can break it."""


def spec_of(launch: Launch, session: Session, *, launcher: str, job_variable: str, runner: Path) -> Spec:
    """What an attempt has to know; `dataclasses.replace` adds what is a launcher's own."""
    needs = launch.needs
    return Spec(
        launcher=launcher, job_variable=job_variable, runner=str(runner), mark=launch.mark, variant=launch.variant,
        attempt=launch.attempt, command=list(launch.command), root=str(session.root),
        entry_point=str(session.entry_point), experiment=session.experiment, mode=session.mode,
        first_signal=int(session.first_signal), grace_s=session.grace_s, nice=session.nice, isolated=launch.isolated,
        cpus=needs.cpus, gpus=needs.gpus, memory_gb=needs.memory_gb, timeout_s=needs.timeout_s,
    )  # fmt: skip


def new_batch(run_dir: Path) -> Path:
    """Make a folder for attempts that are submitted together; its name says nothing."""
    parent = run_dir / ATTEMPTS
    parent.mkdir(exist_ok=True)
    folder = parent / secrets.token_hex(4)
    folder.mkdir(mode=0o700)
    return folder


def write_specs(batch: Path, specs: Sequence[Spec], environments: Sequence[Mapping[str, str]]) -> list[Path]:
    """Write down attempts 0, 1, 2 … of a batch, before any of them is submitted; where each is."""
    paths = [batch / f"{index}.json" for index in range(len(specs))]
    for path, spec, environment in zip(paths, specs, environments, strict=True):
        spec.write(path, environment)
    for folder in (batch, batch.parent):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return paths


def left_behind(run_dir: Path, launcher: str, ended: Collection[int]) -> Iterator[Followed]:
    """The attempts that earlier passes wrote down, but for those whose marks are in `ended`.

    What is left of those that ended is removed, secrets above all.
    """
    for path in sorted((run_dir / ATTEMPTS).glob("*/*.json")):
        with suppress(OSError, ValueError, TypeError):  # torn, by a crash before anything was submitted
            spec = Spec.read(path)
            if spec.mark in ended:
                batch_file(path, "environment").unlink(missing_ok=True)
            elif spec.launcher == launcher:
                yield Followed(launch_of(spec, run_dir), path)


def launch_of(spec: Spec, run_dir: Path) -> Launch:
    """An attempt as the runner knows it; without its variables, which are its own secret."""
    folder = run_dir / spec.variant
    needs = Resources(spec.cpus, spec.gpus, spec.memory_gb, spec.timeout_s)
    log = folder / f"attempt-{spec.attempt}.log"
    return Launch(
        spec.mark, spec.variant, spec.attempt, folder, tuple(spec.command), {}, log, needs, spec.isolated
    )  # fmt: skip


def read_record(folder: Path, number: int) -> dict[str, Any]:
    """The record of an attempt, `attempt-N.json`; empty if there is none, or not yet a whole one.

    Opened anew each time: a network file system then asks its server, and shows no old state from its cache.
    """
    with suppress(OSError, ValueError):
        value = json.loads((folder / record_name(number)).read_bytes())
        if isinstance(value, dict):
            return cast(dict[str, Any], value)
    return {}


@dataclass
class Followed:
    """An attempt that was submitted, or is about to be.

    Attributes:
        spec: Its file in the batch.
        started: Whether its claim was seen, and told.
    """

    launch: Launch
    spec: Path
    started: bool = False

    @property
    def index(self) -> int:
        """Its number in the batch."""
        return int(self.spec.stem)

    def news(self, facts: Mapping[str, Any]) -> list[Event]:
        """What its record tells that was not told before.

        Args:
            facts: What the journal should keep of its start.
        """
        record = read_record(self.launch.folder, self.launch.attempt)
        if record.get("mark") != self.launch.mark:
            return []
        events: list[Event] = []
        if not self.started and not record.get("refused"):
            self.started = True
            events.append(Started(self.launch.mark, record.get("pid"), str(record.get("host", "")), facts))
        if "ended_at" in record:
            events.append(self.end_of(record))
        return events

    def end_of(self, record: Mapping[str, Any]) -> Refused | Ended:
        if record.get("refused") and not self.started:
            return Refused(self.launch.mark, cause=str(record.get("cause", "")))
        cause = "could not be started: " * bool(record.get("refused")) + str(record.get("cause", ""))
        usage = {name: record[name] for name in ("user_cpu_s", "system_cpu_s", "max_rss_bytes") if name in record}
        return Ended(
            self.launch.mark, record.get("exit_code"), usage, record.get("status", ""), record.get("fault", ""),
            cause, record.get("duration_s"),
        )  # fmt: skip

    def beat(self) -> int | None:
        """When it last showed that it lives: to be compared with an earlier beat alone, for clocks differ."""
        with suppress(OSError):
            descriptor = os.open(batch_file(self.spec, "alive"), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.fstat(descriptor).st_mtime_ns
            finally:
                os.close(descriptor)
        return None
