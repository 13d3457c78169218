"""`run_inspect`: an Inspect evaluation as a case, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import inspect_ai
from inspect_ai import Task
from inspect_ai.dataset import Dataset
from inspect_ai.log import EvalLog
from inspect_ai.model import Model

import suitecase.inspect_bridge.registry  # noqa: F401  # pyright: ignore[reportUnusedImport]
from suitecase.cassettes import Cassette
from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge.around import Around, around
from suitecase.inspect_bridge.case import Case, ConfigLike
from suitecase.inspect_bridge.earlier import continue_earlier
from suitecase.inspect_bridge.models import MEMBER_PROVIDERS, members_of, names_in
from suitecase.inspect_bridge.progress import count_kept
from suitecase.inspect_bridge.served import record_served
from suitecase.limits import Limits

__all__ = ["EvaluationError", "run_inspect"]

# The types of some arguments are of packages that Inspect does without.
evaluate = cast(Callable[..., list[EvalLog]], inspect_ai.eval)  # pyright: ignore[reportUnknownMemberType]
evaluate_set = cast(Callable[..., tuple[bool, list[EvalLog]]], inspect_ai.eval_set)  # pyright: ignore[reportUnknownMemberType]

# The runner retries; what only one of `eval` and `eval_set` takes can't be passed on to both.
OURS = (
    *("log_dir", "log_format", "log_dir_allow_dirty", "log_header_only", "task_args", "task_retry_attempts"),
    *("retry_attempts", "retry_wait", "retry_connections", "retry_cleanup", "retry_immediate", "run_samples"),
    *("incomplete_action", "incomplete_max", "eval_set_id", "eval_set_tasks", "bundle_dir", "bundle_overwrite"),
    *("embed_viewer", "scan_id"),
)


class EvaluationError(SuitecaseError):
    """An evaluation that did not end with the status `success`.

    Attributes:
        logs: All logs of the evaluation; headers, without samples.
    """

    def __init__(self, logs: Sequence[EvalLog]) -> None:
        self.logs = tuple(logs)
        failed = [log for log in logs if log.status != "success"]
        super().__init__(
            f"{log.eval.task} ended with status {log.status}{f': {log.error.message}' if log.error else ''} "
            f"({log.location})."
            for log in failed
        )


def run_inspect(
    config: ConfigLike,
    task: Task | Sequence[Task],
    *,
    limits: Limits | None = None,
    cassette: Cassette | None = None,
    **eval_args: Any,
) -> list[EvalLog]:
    """Evaluate as the case that the runner started, or that `config.output_dir` names.

    - `config.seed` is the seed of the samples' order and of the generation. The order stays the dataset's own with
      `sample_shuffle=False`, and with `sample_id=…`; other seeds can be given as `sample_shuffle=` and `seed=`.
    - The log's metadata say what made it: experiment, variant, run, attempt, commit, dirty, tree of the code, the
      config and its hash; its tags are variant, commit and hash.
    - What earlier attempts of the case did with the same code is kept: only missing and failed samples are asked.
    - With `limits`, every call of the models that are evaluated, of model roles, and of members keeps to what all
      processes of the run share. Where a budget is spent, what is in flight ends, the other samples fail at once, and
      a resume asks them. docs/limits.md says what holds for models that the task makes itself.
    - Once all is done, the log's metadata `served_models` say which models the provider served, and how often.

    Args:
        config: Its `output_dir` is where the logs go.
        task: What to evaluate; several give a log each.
        limits: Rates, places, budgets and prices, by the models' names as Inspect has them.
        cassette: Records the answers of the same models, or plays them: then nobody is asked, and no limit holds.
        eval_args: As for `inspect_ai.eval`: `model`, `epochs`, `limit`, `max_samples`, `fail_on_error`, …
            Metadata and tags are added to ours.

    Returns:
        The logs, all with the status `success`; headers, without samples.

    Raises:
        EvaluationError: Any other status.
        BudgetSpentError: A budget of the limits is spent.
        NotRecordedError: The cassette doesn't have what is asked.
        SuitecaseError: The arguments are wrong: with all that is.
        KeyboardInterrupt: It was cancelled; the log says so.
    """
    tasks = [task] if isinstance(task, Task) else list(task)
    arguments = with_seeds(eval_args, config.seed)
    everything = None if limits is None and cassette is None else Around(limits, cassette)
    check(tasks, arguments, config, everything)
    if limits is not None and limits.budget is not None:
        arguments.setdefault("continue_on_fail", True)  # or the first refusal would cut off what is being paid for
    case = Case.of(config)
    case.folder.mkdir(parents=True, exist_ok=True)
    earlier = continue_earlier(case)
    count_kept(earlier.kept)
    facts = {**case.facts, "attempts": [*earlier.attempts, case.attempt_facts(earlier.kept)]}
    arguments["metadata"] = {**cast(dict[str, Any], arguments.get("metadata") or {}), **facts}
    arguments["tags"] = [*cast(list[str], arguments.get("tags") or []), *case.tags]
    with around(everything):
        logs = evaluated(tasks, str(case.folder), arguments, going_on=bool(earlier.logs))
    earlier.drop_others({log.eval.task_id for log in logs})
    if any(log.status == "cancelled" for log in logs):
        raise KeyboardInterrupt
    if everything is not None and everything.stopped is not None:
        raise everything.stopped.with_traceback(None)
    if any(log.status != "success" for log in logs):
        raise (everything and everything.missed) or EvaluationError(logs)
    for log in logs:
        record_served(log.location)
    return logs


def evaluated(tasks: Sequence[Task], folder: str, arguments: Mapping[str, Any], going_on: bool) -> list[EvalLog]:
    """The logs, after one attempt at what is to be asked.

    `eval_set` goes on with logs in its folder, and `eval` never does: a log that nobody means to go on with can't be
    taken for this evaluation's.
    """
    if not going_on:
        return evaluate(list(tasks), log_dir=folder, log_format="eval", log_header_only=True, **arguments)
    once = {"retry_attempts": 0, "retry_immediate": False, "log_dir_allow_dirty": True}
    return evaluate_set(list(tasks), log_dir=folder, log_format="eval", **once, **arguments)[1]


def with_seeds(eval_args: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The arguments with our defaults: the config's seed, and no display."""
    arguments: dict[str, Any] = {"display": "none", "seed": seed, **eval_args}
    shuffle = arguments.get("sample_shuffle")
    if shuffle is True or (shuffle is None and arguments.get("sample_id") is None):
        arguments["sample_shuffle"] = seed
    elif shuffle is False:
        arguments["sample_shuffle"] = None
    model = arguments.get("model")
    if isinstance(model, str) and model.partition("/")[0] in MEMBER_PROVIDERS:
        arguments["model"] = [model]  # as a text, Inspect takes a,b for two evaluations
    return arguments


def check(
    tasks: Sequence[Task], arguments: Mapping[str, Any], config: ConfigLike, everything: Around | None = None
) -> None:
    """Raise what is wrong before anything is asked.

    Raises:
        SuitecaseError: With every problem.
    """
    problems = [f"{name} is run_inspect's own: leave it out." for name in OURS if name in arguments]
    if not tasks:
        problems.append("no task was given.")
    strangers = [each for each in tasks if not isinstance(cast(object, each), Task)]
    problems += [f"task is {each!r}: give the Task itself, such as my_task(…)." for each in strangers]
    if not config.output_dir:
        problems.append("config.output_dir is empty: say where the log goes, --output_dir DIR.")
    for each in tasks:
        if not isinstance(cast(object, each), Task):
            continue
        shuffled = arguments.get("sample_shuffle") is not None or each.dataset.shuffled
        unnamed = count_without_id(each.dataset) if shuffled else 0
        if unnamed:
            problems.append(
                f"{unnamed} of {len(each.dataset)} samples of {each.name} have no id, and their order is shuffled: "
                "Inspect would number them after that, and the same id would mean another question with another seed. "
                "Give each an id, Sample(id=…) or auto_id=True, or keep the order: "
                "run_inspect(…, sample_shuffle=False) and no shuffle of the dataset."
            )
    if everything is not None:
        problems += everything.problems(models_in(arguments))
    if problems:
        raise SuitecaseError(problems)


def models_in(arguments: Mapping[str, Any]) -> list[str | Model]:
    """The models that an evaluation's arguments name."""
    roles = cast("Mapping[str, object]", arguments.get("model_roles") or {})
    found: list[str | Model] = []
    for given in (arguments.get("model") or os.environ.get("INSPECT_EVAL_MODEL"), *roles.values()):
        if isinstance(given, Model):
            found.append(given)
        elif isinstance(given, str):
            found += [given] if members_of(given) != (given,) else names_in(given)
        elif isinstance(given, Sequence):
            found += cast("Sequence[str | Model]", given)
    return found


def count_without_id(dataset: Dataset) -> int:
    return sum(sample.id is None for sample in dataset)
