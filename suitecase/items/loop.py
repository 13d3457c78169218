"""`process` and `aprocess`: a function over the items of a dataset, whatever happens."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, Unpack, cast

from suitecase.ensembles import Ensemble
from suitecase.items.dataset import Dataset, Key
from suitecase.items.drivers import Call, Pace, SharedLimits, drive_asyncio, drive_here, run_loop
from suitecase.items.ledger import FAILED, NONE, RESULTS, SKIPPED, SUCCEEDED, Ledger
from suitecase.items.metrics import Metric, Schema
from suitecase.items.progress import Observe, Progress
from suitecase.items.racing import Racing
from suitecase.items.records import Answer, ItemContext, ItemsError, Row, Summary
from suitecase.items.results import RESERVED, summarise, write_results
from suitecase.items.retries import RetryPolicy
from suitecase.items.steps import Hooks, Loop, OnInvalid
from suitecase.items.stops import Breaker, Stop, Window, stop_on_signals
from suitecase.items.voting import Score, voting
from suitecase.limits import Limits, LimitsError

if TYPE_CHECKING:
    from suitecase.hedging import HedgePolicy

__all__ = ["aprocess", "process"]


ItemT = TypeVar("ItemT")
Function: TypeAlias = Callable[[ItemT], Any] | Callable[[ItemT, ItemContext], Any]


class Options(TypedDict, total=False):
    """What `process` and `aprocess` take by name; `process` says what each means."""

    output_dir: str | os.PathLike[str] | None
    key: Key | None
    seed: int
    repeats: int
    shuffle: bool
    parameters: Mapping[str, Any] | None
    max_parallel: int
    limits: Limits | None
    model: str
    hedge: HedgePolicy | None
    rate_limit: float | None
    token_limit: float | None
    timeout_s: float | None
    max_abandoned: int
    retry: RetryPolicy
    breaker: Breaker | None
    cost_budget_usd: float | None
    failure_budget: int | None
    metrics: Mapping[str, Metric] | None
    on_invalid: OnInvalid
    score: Score | None
    failed_counts_as: Mapping[str, float] | None
    derived: Mapping[str, Callable[[Sequence[Row]], object]] | None
    before_item: Callable[[ItemContext], object] | None
    after_item: Callable[[Mapping[str, Any]], object] | None
    on_error: Callable[[ItemContext, Exception], Answer | None] | None
    observe: Observe | None
    cancelled: Callable[[], bool] | None
    only: Literal["dead_letters"] | None


def process(items: Iterable[ItemT], fn: Function[ItemT], **options: Unpack[Options]) -> Summary:
    """Call a function with every item and keep what it gives, until everything has an outcome or something says stop.

    Run again with the same folder, it goes on where it was, also after `kill -9`; the results are then those of an
    uninterrupted run. `fn` may be a plain or an async function, of an item or of an item and an `ItemContext` (a
    second parameter named `context`, or one without default). It returns a number (the metric `score`), a mapping of
    metrics that may also hold `output`, `cost_usd`, `input_tokens` and `output_tokens`, or an `ItemResult`. What it
    raises concerns that item only. An error may tell its cost by the same names as attributes.

    An `Ensemble` in place of `fn` is asked each item: the row's output is the record of its result with all votes, the
    metrics are `agreement` and what `score` says, the cost is that of all members. What the ensemble consists of
    belongs to `parameters`. A question without quorum or consensus is a failed item.

    A plain function is called in this thread, one item after the other; with `max_parallel`, `timeout_s` or a rate, in
    threads. An async one gets an event loop of its own, also where one is running already (Jupyter), while this waits.

    Args:
        output_dir: Folder for items.jsonl, dead_letters.jsonl and results.json; it is made if missing. Default:
            the environment's SUITECASE_OUTPUT_DIR.
        key: What names an item: a field, or a callable. Default: a hash of its content.
        seed: The experiment's; each item and repeat gets its own from it, whatever the order and the other items.
        repeats: How often each item is done. The dataset is done once, then again.
        shuffle: Whether the order is drawn from the seed.
        parameters: What else determines the results, plain JSON: a resume with other ones is refused.
        max_parallel: Calls at a time.
        limits: Rates, places and budgets that all processes of the run share, and prices; see `suitecase.limits`. A
            call that tells tokens and no `cost_usd` is priced by them. Where a budget is spent the loop stops.
        model: Whose limits and price these are; also the name that goes with the costs.
        hedge: When a call that is late is made again beside: the first success counts. To make it twice must do no
            harm. Each call waits for `limits` by itself; one that has lost is booked there at what the winner used. An
            ensemble hedges by `execution=Hedged(policy)`.
        rate_limit: Calls a second, retries included, evenly spread.
        token_limit: Tokens a minute, input and output; known after each call, so it may be exceeded by what is in
            flight.
        timeout_s: Seconds for one call; then it fails with TimeoutError and its place is free. An async call is
            cancelled, the thread of a plain one is left behind.
        max_abandoned: Calls that time out and go on all the same; the loop stops once there are more.
        retry: Which errors are retried, and when. A place stays taken while its item waits for a retry.
        breaker: Stops when too many of the last rows failed; None: never.
        cost_budget_usd: Stops once all calls in the folder cost as much, those of earlier passes included. What is in
            flight then is still paid.
        failure_budget: Stops once more rows than this have failed.
        metrics: What values may be; see `suitecase.items.metrics`. What isn't named here is a metric too if it is a
            number.
        on_invalid: What a value that doesn't fit means. "continue": the row is kept without it, and names it as
            `invalid`. "retry": the call failed. "abort": the row failed and the loop stops.
        score: With an ensemble: a function of an item and an `EnsembleResult`, that gives a number (the metric `score`)
            or a mapping of metrics.
        failed_counts_as: Values that failed rows count with in the means, such as {"accuracy": 0.0}. Default: they
            have none, and are counted beside the mean as `missing`.
        derived: Figures of your own for results.json, from the rows in the order of the dataset.
        before_item: Called before an item's first call.
        after_item: Called with each row just before it is written; after a crash perhaps once more.
        on_error: Called after each failed call; may answer RETRY, SKIP or ABORT.
        observe: Is told how far the loop is about once a second, as mappings with an `event`: progress, cost, log.
            Default: a line on stderr every few seconds.
        cancelled: Asked a few times a second at most; true stops the loop, as does a file `cancel` in the folder.
        only: "dead_letters" does only what has failed for good, once more. Default: the environment's
            SUITECASE_REPLAY.

    The environment's SUITECASE_MAX_ITEMS=N has only the first N rows done, for a pilot such as `suitecase estimate`'s.

    Returns:
        How it ended. SIGTERM and Ctrl-C stop between items, and it says so; a second one does what it always did.

    Raises:
        ItemsError: With everything that is wrong, before anything starts; or if the folder was begun with other items,
            seed, repeats or parameters.

    On disk: a row is one write, so `kill -9` costs what was in flight. Files are synced about once a second, so a power
    cut can also cost the rows of the last second or two.
    """
    plan = Plan.of(items, fn, options)
    with plan.opened() as loop, stop_on_signals(loop.stop):
        if plan.runs_here:
            drive_here(loop, plan.call)
        else:
            run_loop(plan.drive(loop))
        return plan.conclude(loop)


async def aprocess(items: Iterable[ItemT], fn: Function[ItemT], **options: Unpack[Options]) -> Summary:
    """The same as `process` in an event loop that runs already; a plain function is called in threads.

    Signals are the caller's. Where this is cancelled, calls in flight are too; every finished row is on disk.
    """
    plan = Plan.of(items, fn, options)
    with plan.opened() as loop:
        await plan.drive(loop)
        return plan.conclude(loop)


@dataclass(frozen=True)
class Plan:
    """A loop that may begin: everything about it has been checked."""

    dataset: Dataset
    call: Call
    is_async: bool
    folder: Path
    options: Options
    schema: Schema

    @classmethod
    def of(cls, items: Iterable[Any], fn: Callable[..., Any], options: Options) -> Plan:
        """Check what was asked for.

        Raises:
            ItemsError: With every problem.
        """
        folder, problems = folder_of(options)
        problems += problems_of(fn, options)
        dataset = None
        try:
            repeats = 1 if any(each.startswith("repeats") for each in problems) else options.get("repeats", 1)
            dataset = Dataset.of(items, options.get("key"), repeats, options.get("seed", 42))
        except ItemsError as error:
            problems.append(str(error))
        if problems or dataset is None:
            raise ItemsError("\n".join(problems))
        if isinstance(fn, Ensemble):
            options = options.copy()
            options["parameters"] = {**(options.get("parameters") or {}), "ensemble": fn.describe()}
            fn = voting(fn, options.get("score"))
        return cls(
            dataset, call_of(fn, dataset.items), is_async(fn), folder, options, Schema(options.get("metrics") or {})
        )

    @property
    def runs_here(self) -> bool:
        """Whether calls are made in this thread."""
        asked = [self.options.get(name) for name in ("timeout_s", "rate_limit", "token_limit", "limits", "hedge")]
        return not self.is_async and self.options.get("max_parallel", 1) == 1 and asked == [None] * 5

    @property
    def replay(self) -> bool:
        return (self.options.get("only") or os.environ.get("SUITECASE_REPLAY")) == "dead_letters"

    @contextmanager
    def opened(self) -> Generator[Loop]:
        """The loop's state, from what is on disk."""
        options = self.options
        self.folder.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(self.folder, self.dataset, options.get("parameters") or {})
        try:
            ledger.write_dead_letters(self.dataset)
            breaker = options.get("breaker", Breaker())
            limits = options.get("limits")
            progress = Progress(ledger, options.get("observe"), tells_cost=limits is None or limits.observe is None)
            self.schema.warn = progress.warn
            yield Loop(
                self.dataset, ledger, self.dataset.order(options.get("shuffle", False))[: most_rows()],
                replay=self.replay,
                schema=self.schema, on_invalid=options.get("on_invalid", "continue"),
                retry=options.get("retry", RetryPolicy()), window=Window(breaker) if breaker else None,
                cost_budget_usd=options.get("cost_budget_usd"), failure_budget=options.get("failure_budget"),
                hooks=Hooks(options.get("before_item"), options.get("after_item"), options.get("on_error")),
                stop=Stop(self.folder / "cancel", options.get("cancelled")),
                progress=progress, attempt=attempt_of_case(),
            )  # fmt: skip
        finally:
            ledger.close()

    async def drive(self, loop: Loop) -> None:
        options = self.options
        rates, limits = (options.get("rate_limit"), options.get("token_limit")), options.get("limits")
        hedge = options.get("hedge")
        await drive_asyncio(
            loop, self.call, is_async=self.is_async, max_parallel=options.get("max_parallel", 1),
            timeout_s=options.get("timeout_s"), pace=Pace(*rates) if any(rates) else None,
            shared=SharedLimits(limits, options.get("model", "")) if limits else None,
            racing=Racing(hedge, options.get("model", "") or "default", loop.stop.asked) if hedge else None,
            max_abandoned=options.get("max_abandoned", 32),
        )  # fmt: skip

    def conclude(self, loop: Loop) -> Summary:
        """Write what the rows say, and give it."""
        ledger, stop = loop.ledger, loop.stop
        ledger.sync()
        if ledger.sync_error:
            stop.now("disk", ledger.sync_error)
        loop.progress.tell()
        if stop.error is not None:
            raise stop.error
        results, estimates = summarise(
            ledger, self.schema, items=len(self.dataset.keys), repeats=self.dataset.repeats,
            failed_counts_as=self.options.get("failed_counts_as") or {}, derived=self.options.get("derived") or {},
            stop=stop,
        )  # fmt: skip
        dead_letters = None
        try:
            dead_letters = ledger.write_dead_letters(self.dataset)
            write_results(self.folder / RESULTS, results)
        except OSError as error:
            stop.now("disk", f"{self.folder}: results can't be written: {error.strerror}")
        if stop.by:
            loop.progress.warn(f"stopped by {stop.by}: {stop.reason}")
        counts = ledger.counts
        return Summary(
            total=len(ledger.status), succeeded=counts[SUCCEEDED], failed=counts[FAILED], skipped=counts[SKIPPED],
            remaining=counts[NONE], metrics=estimates, cost_usd=ledger.cost_usd, stopped_by=stop.by,
            reason=stop.reason, output_dir=self.folder, items_path=ledger.path,
            results_path=self.folder / RESULTS, dead_letters_path=dead_letters,
            limited=(most_rows() or len(ledger.status)) < len(ledger.status),
        )  # fmt: skip


def attempt_of_case() -> int:
    """Which attempt of the case this is; 1 where no runner says so."""
    try:
        return int(os.environ.get("SUITECASE_ATTEMPT", "1"))
    except ValueError:
        return 1


def most_rows() -> int | None:
    """How many rows a pilot asks for; None for all."""
    told = os.environ.get("SUITECASE_MAX_ITEMS", "")
    return int(told) if told.isdigit() and int(told) else None


# --- Checking --------------------------------------------------------------------------------------------------------


def folder_of(options: Options) -> tuple[Path, list[str]]:
    given = options.get("output_dir") or os.environ.get("SUITECASE_OUTPUT_DIR")
    if not given:
        return Path(), ["no folder for the results: give output_dir=, or set SUITECASE_OUTPUT_DIR (the runner does)."]
    folder = Path(given)
    return folder, [f"output_dir {folder} is no folder."] if folder.exists() and not folder.is_dir() else []


def problems_of(fn: Callable[..., Any], options: Options) -> list[str]:
    """What is wrong with a function and the options, a sentence each."""
    known = Options.__annotations__
    problems = [f"there is no option {name!r}{nearest(name, known)}." for name in sorted(options.keys() - known.keys())]
    problems += number_problems(options)
    problems += type_problems(options)
    if options.get("score") is not None and not isinstance(fn, Ensemble):
        problems.append("score is for an ensemble: a function tells its metrics itself.")
    for policy in (options.get("retry"), options.get("breaker")):
        if isinstance(policy, RetryPolicy | Breaker):
            problems += policy.problems()
    problems += limits_problems(options) + hedge_problems(fn, options)
    if options.get("on_invalid", "continue") not in ("continue", "retry", "abort"):
        problems.append(f"on_invalid is {options.get('on_invalid')!r}: give continue, retry or abort.")
    only = options.get("only") or os.environ.get("SUITECASE_REPLAY") or "dead_letters"
    if only != "dead_letters":
        problems.append(f"only (or SUITECASE_REPLAY) is {only!r}: give dead_letters.")
    if (told := os.environ.get("SUITECASE_MAX_ITEMS")) and most_rows() is None:
        problems.append(f"SUITECASE_MAX_ITEMS is {told!r}: give a whole number of at least 1.")
    names = {*(options.get("metrics") or {}), *(options.get("derived") or {}), *(options.get("failed_counts_as") or {})}
    problems += [f"{name!r} is a name of results.json: give it another one." for name in sorted(names & RESERVED)]
    problems += [
        f"{name} is no plain function." for name in ("before_item", "after_item", "on_error", "cancelled", "observe")
        if (hook := options.get(name)) is not None and (not callable(hook) or is_async(hook))
    ]  # fmt: skip
    if not callable(fn):
        problems.append(f"{fn!r:.80} can't be called: give a function of an item.")
    needed = ["scipy", "tenacity", *(["aiolimiter"] if options.get("rate_limit") or options.get("token_limit") else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        problems.append(f"{' and '.join(missing)} missing: pip install 'suitecase[llm]'.")
    return problems


def limits_problems(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with shared limits, as far as it's known before a call."""
    limits, model = options.get("limits"), options.get("model", "")
    if limits is None:
        alone = model and options.get("hedge") is None
        return ["model says whose limits and price count: give limits, too."] if alone else []
    if not isinstance(limits, Limits):
        return [f"limits is {limits!r:.80}: give suitecase.limits.Limits."]
    if not isinstance(model, str):
        return [f"model is {model!r:.80}: give its name."]
    problems = ["limits has rates: give it instead of rate_limit and token_limit, not beside them."] * any(
        options.get(name) is not None for name in ("rate_limit", "token_limit")
    )
    try:
        limits.check(model)
    except LimitsError as error:
        problems += error.problems
    return problems


def hedge_problems(fn: object, options: Mapping[str, Any]) -> list[str]:
    """Why calls can't be hedged so."""
    hedge = options.get("hedge")
    if hedge is None:
        return []
    from suitecase.hedging import HedgePolicy

    if not isinstance(hedge, HedgePolicy):
        return [f"hedge is {hedge!r:.80}: give a suitecase.hedging.HedgePolicy."]
    problems = ["hedge is for a function: an ensemble hedges by execution=Hedged(policy)."] * isinstance(fn, Ensemble)
    problems += ["hedge makes calls that rate_limit and token_limit would not see: give limits."] * any(
        options.get(name) is not None for name in ("rate_limit", "token_limit")
    )
    return problems


def type_problems(options: Mapping[str, Any]) -> list[str]:
    """What would be found out only once calls have been paid for."""
    problems: list[str] = []
    if not isinstance(options.get("retry", RetryPolicy()), RetryPolicy):
        problems.append(f"retry is {options['retry']!r:.80}: give a RetryPolicy.")
    if not isinstance(options.get("breaker"), Breaker | None):
        problems.append(f"breaker is {options['breaker']!r:.80}: give a Breaker, or None.")
    if (score := options.get("score")) is not None and (not callable(score) or is_async(score)):
        problems.append(f"score is {score!r:.80}: give a plain function of an item and an ensemble's result.")
    if not isinstance(options.get("parameters") or {}, Mapping):
        problems.append(f"parameters is {options['parameters']!r:.80}: give a mapping.")
    kinds: tuple[tuple[str, Callable[[object], bool], str], ...] = (
        ("metrics", lambda value: isinstance(value, Metric), "give one of suitecase.items.metrics, called"),
        ("derived", callable, "give a function of the rows"),
        ("failed_counts_as", lambda value: isinstance(value, int | float) and math.isfinite(value), "give a number"),
    )
    for name, fits, what in kinds:
        given = cast("Mapping[str, object]", options.get(name) or {})
        problems += [f"{name}[{key!r}] is {value!r:.80}: {what}." for key, value in given.items() if not fits(value)]
    return problems


def nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f", but {near[0]!r}" if near else ""


def number_problems(options: Options) -> list[str]:
    problems: list[str] = []
    for name, least in (("repeats", 1), ("max_parallel", 1), ("max_abandoned", 0), ("failure_budget", 0)):
        value: object = options.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            problems.append(f"{name} is {value!r}: give a whole number of at least {least}.")
    seed: object = options.get("seed", 42)
    if not isinstance(seed, int):
        problems.append(f"seed is {seed!r}: give a whole number.")
    for name in ("rate_limit", "token_limit", "timeout_s", "cost_budget_usd"):
        value = options.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
            problems.append(f"{name} is {value!r}: give a number above 0.")
    return problems


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    while isinstance(fn, functools.partial):
        fn = cast("functools.partial[Any]", fn).func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def call_of(fn: Callable[..., Any], items: Sequence[Any]) -> Callable[[ItemContext], Any | Awaitable[Any]]:
    """A function of the context alone."""
    if takes_context(fn):
        return lambda context: fn(items[context.index], context)
    return lambda context: fn(items[context.index])


def takes_context(fn: Callable[..., Any]) -> bool:
    """Whether a function wants the context: by a second parameter of that name, or by one without default."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # some builtins don't say
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (positional[1].name == "context" or positional[1].default is inspect.Parameter.empty)
