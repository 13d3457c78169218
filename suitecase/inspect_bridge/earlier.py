"""What earlier attempts of a case left: their logs are put where Inspect goes on with them.

Inspect does the rest: `eval_set` takes the newest log of a task in its folder, keeps the task's id and all samples that
ended well, and asks the others. What is decided here is which logs it may find. A log says itself which code made it
(its metadata `tree`, by `run_inspect`), so that no log goes on with that of other code unless that was asked for.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai.log import RecoveryNotAvailable, recover_eval_log

from suitecase.inspect_bridge.case import Case
from suitecase.inspect_bridge.logs import EvalLog, read_eval_log, read_samples

__all__ = ["continue_earlier"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A log of an earlier attempt."""

    log: EvalLog
    mtime_ns: int

    @property
    def facts(self) -> dict[str, Any]:
        return dict(self.log.metadata or {})


@dataclass(frozen=True, slots=True)
class Continued:
    """What an evaluation goes on with.

    Attributes:
        logs: Where Inspect finds them, by the id of their task.
        attempts: Those that they tell of, oldest first.
        kept: How many samples will not be asked again.
    """

    logs: Mapping[str, Path]
    attempts: list[dict[str, Any]]
    kept: int

    def drop_others(self, task_ids: Collection[str]) -> None:
        """Hide the logs that Inspect did not go on with, because their task, model or settings are others."""
        for task_id, path in self.logs.items():
            if task_id not in task_ids and path.exists():
                print(f"{path.name} is of another task, model or settings: this evaluation has started afresh.")
                hide(path, path.parent)


def continue_earlier(case: Case) -> Continued:
    """Put the newest log of each task of the case's earlier attempts into its folder, a killed one recovered."""
    newest: dict[str, Earlier] = {}
    for earlier in sorted(earlier_logs(case), key=lambda each: each.mtime_ns):
        newest[earlier.log.task_id] = earlier
    attempts: dict[int, dict[str, Any]] = {}
    logs: dict[str, Path] = {}
    kept = 0
    for earlier in newest.values():
        if not case.mixed and (earlier.facts["tree"] is None or earlier.facts["tree"] != case.facts["tree"]):
            print(
                f"The evaluation starts afresh: attempt {earlier.facts['attempt']} was made by other code "
                f"({label(earlier.facts)}). --allow-mixed-code goes on with its samples."
            )
            hide(earlier.log.path, case.folder)
            continue
        path = logs[earlier.log.task_id] = brought(earlier, case.folder)
        samples = [sample for sample in read_samples(path) if is_good(sample)]
        kept += len(samples)
        attempts |= {told["attempt"]: told for told in earlier.facts.get("attempts", [])}
        print(
            f"Goes on with attempt {earlier.facts['attempt']} of {earlier.log.task}: {len(samples)} samples are kept."
        )
    return Continued(logs, [attempts[number] for number in sorted(attempts)], kept)


def earlier_logs(case: Case) -> Iterator[Earlier]:
    """The logs of this case by earlier attempts since the last that succeeded, wherever the runner put them.

    What can't be read is hidden, so that Inspect does not stumble over it.
    """
    if case.experiment_dir is None:
        return
    staged = sorted(case.folder.glob("*.eval"))
    published = sorted(case.experiment_dir.glob(f"*_{glob.escape(case.facts['variant'])}_*.eval"))
    for path in (*staged, *sorted(case.folder.glob("*.eval.superseded*")), *published):
        log, _ = read_eval_log(path)
        if log is None:
            hide(path, case.folder)
            continue
        facts = log.metadata or {}
        mine = all(facts.get(name) == case.facts[name] for name in ("experiment", "run", "variant"))
        if not mine or "tree" not in facts or (log.status == "started" and path not in staged):
            continue
        if case.after < int(facts["attempt"]) < case.attempt:
            yield Earlier(log, path.stat().st_mtime_ns)


def brought(earlier: Earlier, folder: Path) -> Path:
    """Where Inspect finds a log: one that a kill left is recovered with its buffer, a final one copied."""
    path = earlier.log.path
    if earlier.log.status == "started":
        # Its name must stay: by that Inspect finds the buffer, which is kept in case this attempt is killed, too.
        try:
            recovered = recover_eval_log(str(path), cleanup="finalized")
        except RecoveryNotAvailable:
            return path
        return Path(recovered.location.removeprefix("file://"))
    target = folder / (path.name.partition(".eval")[0] + ".eval")
    if target != path:
        partial = target.with_suffix(".partial")
        shutil.copy2(path, partial)  # with its time, by which Inspect finds the newest
        os.replace(partial, target)
    return target


def hide(path: Path, folder: Path) -> None:
    """Rename a log of this case so that Inspect does not find it."""
    if path.parent == folder and path.suffix == ".eval":
        path.rename(path.with_name(f"{path.name}.superseded"))


def is_good(sample: dict[str, Any]) -> bool:
    """Whether Inspect will not ask a sample again."""
    return not sample.get("error") and sample.get("completed", True) is not False


def label(facts: dict[str, Any]) -> str:
    return f"{str(facts.get('commit'))[:7]}{'-dirty' * bool(facts.get('dirty'))}"
