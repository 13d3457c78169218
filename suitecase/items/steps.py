"""What happens to one item, and what is written about it: the loop's rules, without a word on how calls are made.

`Loop.steps` is a generator. It gives an `ItemContext` where a call is to be made and is sent the `Outcome`; it gives
a number of seconds where it wants to wait. So the same rules serve a plain loop, threads and tasks (`drivers`).
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, cast

from suitecase.items.dataset import Dataset, seed_of
from suitecase.items.ledger import FAILED, NONE, Ledger
from suitecase.items.metrics import Schema, plain_number
from suitecase.items.progress import Progress
from suitecase.items.records import Answer, ItemContext, ItemResult, ItemsError, Row, text_of
from suitecase.items.results import RESERVED
from suitecase.items.retries import ErrorClass, RetryPolicy, asked_wait_s, causes_of, status_code_of
from suitecase.items.stops import Stop, Window
from suitecase.rundir.spending import PICO

__all__ = ["Hooks", "InvalidResultError", "Loop", "OnInvalid", "Outcome", "Steps", "usage_of"]

OnInvalid = Literal["continue", "retry", "abort"]
BESIDE_METRICS = frozenset({"output", "cost_usd", "input_tokens", "output_tokens"})


class InvalidResultError(ValueError):
    """What a function returned can't be used."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended.

    Attributes:
        latency_s: From its begin to its end, without any waiting of ours.
        priced_usd: What it cost by a price table, and what calls beside it did; None if there were none, or no prices.
    """

    value: object
    error: Exception | None
    latency_s: float
    priced_usd: float | None = None


@dataclass(frozen=True)
class Hooks:
    """The user's own functions; one that raises is named in the row and changes nothing."""

    before_item: Callable[[ItemContext], object] | None = None
    after_item: Callable[[Mapping[str, Any]], object] | None = None
    on_error: Callable[[ItemContext, Exception], Answer | None] | None = None


@dataclass(slots=True)
class History:
    """What has happened to an item so far."""

    started_s: float = field(default_factory=time.perf_counter)
    attempts: int = 0
    delays_s: list[float] = field(default_factory=list[float])
    errors: list[Row] = field(default_factory=list[Row])
    hook_errors: list[str] = field(default_factory=list[str])
    invalid: list[str] = field(default_factory=list[str])
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def charge(self, told: object, priced_usd: float | None) -> list[str]:
        """Add what a result, or an error that knows, says that its call cost; a sentence for what is no cost."""
        problems: list[str] = []
        if priced_usd is not None:
            self.cost_usd = (self.cost_usd or 0) + priced_usd
        for name in ("cost_usd", "input_tokens", "output_tokens"):
            value = plain_number(getattr(told, name, None))
            if isinstance(value, int | float) and 0 <= value < math.inf:
                setattr(self, name, (getattr(self, name) or 0) + value)
            elif value is not None:
                problems.append(f"{name}: {value!r:.80} is no number of at least 0")
        return problems


Steps = Generator[ItemContext | float, Outcome | None, int]
"""What to do for an item, one thing after the other; returns the tokens that it used."""


class Loop:
    """The state of a loop. One thread of execution at a time uses it."""

    def __init__(
        self, dataset: Dataset, ledger: Ledger, order: Sequence[int], *, replay: bool, schema: Schema,
        on_invalid: OnInvalid, retry: RetryPolicy, window: Window | None, cost_budget_usd: float | None,
        failure_budget: int | None, hooks: Hooks, stop: Stop, progress: Progress, attempt: int,
    ) -> None:  # fmt: skip
        self.dataset, self.ledger, self.order = dataset, ledger, order
        self.wanted = FAILED if replay else NONE
        self.status_before = bytes(ledger.status)
        self.schema, self.on_invalid = schema, on_invalid
        self.retry, self.window, self.hooks = retry, window, hooks
        self.cost_budget_usd, self.failure_budget = cost_budget_usd, failure_budget
        self.stop, self.progress, self.attempt = stop, progress, attempt
        self.breaker_says: str | None = None
        self.warned: set[str] = set()

    def slots(self) -> Iterator[int]:
        """What is left to do, until something says stop."""
        for slot in self.order:
            if self.status_before[slot] == self.wanted:
                self.check_limits()
                if self.stop.asked():
                    return
                yield slot

    def check_limits(self) -> None:
        if self.breaker_says:
            self.stop.now("breaker", self.breaker_says)
        limit, cost = self.cost_budget_usd, self.ledger.cost
        if limit is not None and cost is not None and cost >= round(limit * PICO):
            spent = f"{cost / PICO:.6g} of {limit:.6g} USD are spent"
            self.stop.now("cost_budget", f"{spent}: raise cost_budget_usd to go on")
        failed = self.ledger.counts[FAILED]
        if self.failure_budget is not None and failed > self.failure_budget and self.wanted != FAILED:
            more = f"{failed} failed, more than {self.failure_budget}"
            self.stop.now("failure_budget", f"{more}: raise failure_budget to go on")
        if self.ledger.sync_error:
            self.stop.now("disk", self.ledger.sync_error)

    def steps(self, slot: int) -> Steps:
        """What to do for a slot: calls, waits, and in the end its row."""
        index, repeat = divmod(slot, self.dataset.repeats)
        key = self.dataset.keys[index]
        seed = seed_of(self.dataset.seed, key, repeat)
        history = History()
        while True:
            context = ItemContext(key, repeat, seed, index, history.attempts + 1)
            if history.attempts == 0 and self.hooks.before_item:
                self.call_hook("before_item", self.hooks.before_item, history, context)
            outcome = yield context
            assert outcome is not None
            history.attempts += 1
            metrics, output, error = self.read(outcome, history)
            if error is None:
                self.finish(slot, context, history, outcome, "succeeded", "succeeded", metrics, output)
                break
            status, final_status, delay_s = self.answer(context, history, error)
            if not status:
                history.delays_s.append(delay_s)
                yield delay_s
                if not self.stop.asked():
                    continue
                break  # in flight when the loop was stopped: taken up anew by the next pass
            self.finish(slot, context, history, outcome, status, final_status, {}, None)
            break
        return (history.input_tokens or 0) + (history.output_tokens or 0)

    def read(self, outcome: Outcome, history: History) -> tuple[dict[str, float], object, Exception | None]:
        """Metrics and output of a call, or why there are none."""
        history.invalid = []
        if outcome.error is not None:
            history.charge(outcome.error, outcome.priced_usd)
            return {}, None, outcome.error
        try:
            result = result_of(outcome.value)
            no_costs = history.charge(result, outcome.priced_usd)
            metrics, problems = self.schema.check(result.metrics)
        except ItemsError:
            raise
        except InvalidResultError as error:
            return {}, None, error
        except Exception as error:  # from the methods of what was returned
            why = f"what was returned can't be read: {type(error).__name__}: {text_of(error)}"
            return {}, None, InvalidResultError(why)
        if not RESERVED.isdisjoint(metrics):
            reserved = RESERVED & metrics.keys()
            problems += [f"{name}: a name of results.json; give the metric another one" for name in sorted(reserved)]
            metrics = {name: value for name, value in metrics.items() if name not in reserved}
        problems += no_costs
        if not problems:
            return metrics, result.output, None
        if self.on_invalid == "continue":
            history.invalid = problems
            self.warn_once("invalid metrics (said once; rows have them as `invalid`)", problems[0])
            return metrics, result.output, None
        if self.on_invalid == "abort":
            self.stop.now("invalid_metric", "; ".join(problems))
        return {}, None, InvalidResultError("; ".join(problems))

    def answer(self, context: ItemContext, history: History, error: Exception) -> tuple[str, str, float]:
        """What an error means: status and final status of the item, or neither and seconds until the next attempt."""
        kind = ErrorClass.INVALID_RESULT if isinstance(error, InvalidResultError) else self.class_of(error, history)
        asked_s = asked_wait_s(error)
        history.errors.append(told(error, kind, context.attempt, asked_s))
        self.progress.errors[kind] += 1
        says = None
        if self.hooks.on_error:
            says = self.call_hook("on_error", self.hooks.on_error, history, context, error)
        if says is Answer.SKIP:
            return "skipped", "skipped", 0
        if says is Answer.ABORT:
            self.stop.now("on_error", f"on_error says so, of item {context.key!r}: {text_of(error):.200}")
        mends = kind is ErrorClass.INVALID_RESULT and self.on_invalid == "retry"
        mends = mends or self.retry.mends(error, kind) or says is Answer.RETRY
        if not mends or says is Answer.ABORT:
            return "failed", "failed_permanent", 0
        if history.attempts >= self.retry.max_attempts or (asked_s or 0) > self.retry.retry_after_cap_s:
            return "failed", "failed_retries_exhausted", 0
        return "", "", max(self.retry.delay_s(history.attempts, context.seed), asked_s or 0.0)

    def class_of(self, error: Exception, history: History) -> ErrorClass:
        try:
            return self.retry.class_of(error)
        except Exception as raised:  # the user's own classify
            history.hook_errors.append(f"classify: {type(raised).__name__}: {text_of(raised)}")
            return ErrorClass.UNKNOWN

    def finish(
        self, slot: int, context: ItemContext, history: History, outcome: Outcome, status: str, final_status: str,
        metrics: Mapping[str, float], output: object,
    ) -> None:  # fmt: skip
        """Write a row, and what follows from it."""
        row: Row = {
            "key": context.key, "repeat": context.repeat, "index": context.index, "status": status,
            "final_status": final_status, "seed": context.seed, "metrics": metrics, "output": output,
            "attempts": history.attempts, "delays_s": history.delays_s, "errors": history.errors,
            "duration_s": round(time.perf_counter() - history.started_s, 6), "latency_s": round(outcome.latency_s, 6),
            "cost_usd": history.cost_usd, "input_tokens": history.input_tokens, "output_tokens": history.output_tokens,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "attempt": self.attempt,
        }  # fmt: skip
        if history.invalid:
            row["invalid"] = history.invalid
        if self.hooks.after_item:
            self.call_hook("after_item", self.hooks.after_item, history, MappingProxyType(row))
        if history.hook_errors:
            row["hook_errors"] = history.hook_errors
            self.warn_once("hook failures (said once; rows have them as `hook_errors`)", history.hook_errors[0])
        try:
            self.ledger.add(slot, row)
            if status == "failed":
                self.ledger.add_dead_letter(row, self.dataset.items[context.index])
        except OSError as error:
            self.stop.now("disk", f"{self.ledger.path} can't be written: {error.strerror}")
            return
        if self.window and status != "skipped" and (says := self.window.add(status == "failed")):
            self.breaker_says = self.breaker_says or says
        self.progress.tokens[0] += history.input_tokens or 0
        self.progress.tokens[1] += history.output_tokens or 0
        self.progress.tick()

    def call_hook(self, name: str, hook: Callable[..., Any], history: History, *arguments: object) -> Any:
        try:
            answer = hook(*arguments)
        except Exception as error:
            history.hook_errors.append(f"{name}: {type(error).__name__}: {text_of(error)}")
            return None
        if name == "on_error" and not isinstance(answer, Answer | None):
            history.hook_errors.append(f"on_error: answered {answer!r:.80}: give RETRY, SKIP, ABORT or None")
            return None
        return answer

    def warn_once(self, what: str, example: str) -> None:
        if what not in self.warned:
            self.warned.add(what)
            self.progress.warn(f"{what}: {example}")


def usage_of(outcome: Outcome) -> dict[str, float]:
    """What a call says that it used: `cost_usd`, `input_tokens`, `output_tokens`, as far as these are numbers."""
    told = outcome.value if outcome.error is None else outcome.error
    found: dict[str, float] = {}
    for name in ("cost_usd", "input_tokens", "output_tokens"):
        value = cast("Mapping[str, object]", told).get(name) if isinstance(told, Mapping) else getattr(told, name, None)
        number = plain_number(value)
        if isinstance(number, int | float) and 0 <= number < math.inf:
            found[name] = number
    return found


def result_of(value: object) -> ItemResult:
    """What a function returned, in one form.

    Raises:
        InvalidResultError: If it is none of a number, a mapping, and an ItemResult.
    """
    if isinstance(value, ItemResult):
        return value
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        beside = {name: given[name] for name in BESIDE_METRICS if name in given}
        return ItemResult({n: v for n, v in given.items() if n not in BESIDE_METRICS}, **beside)
    if isinstance(number := plain_number(value), int | float):
        return ItemResult({"score": number})
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise ItemsError("the function returned a coroutine: declare it with `async def`, or await it inside.")
    raise InvalidResultError(f"the function returned {value!r:.80}: give a number, a mapping or an ItemResult")


def told(error: Exception, kind: ErrorClass, attempt: int, asked_s: float | None) -> Row:
    """An error as a row has it."""
    row: Row = {"attempt": attempt, "class": kind.value, "type": type(error).__name__, "message": text_of(error)}
    if isinstance(error, BaseExceptionGroup):
        row["causes"] = [f"{type(cause).__name__}: {text_of(cause)}" for cause in causes_of(error)]
    if (status := status_code_of(error)) is not None:
        row["status_code"] = status
    if asked_s is not None:
        row["retry_after_s"] = asked_s
    return row
