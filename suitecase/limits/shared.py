"""`Limits`: what an entry point makes once, and asks before each call."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import NoneType, TracebackType
from typing import TypeAlias, cast

from suitecase.limits.errors import LimitsError
from suitecase.limits.file import LimitsFile
from suitecase.limits.line import Line, Turn
from suitecase.limits.prices import Prices
from suitecase.limits.rates import Budget, Rates, is_above_0
from suitecase.limits.replies import retry_after_s, status_code_of
from suitecase.limits.target import Account, Target
from suitecase.rundir import layout
from suitecase.rundir.files import read_object
from suitecase.rundir.spending import PICO, condition_of, in_pico, is_amount, spent_by_run

__all__ = ["Call", "Limits", "Observe", "Usage"]

Observe: TypeAlias = Callable[[Mapping[str, object]], object]
"""Is told plain mappings with an `event`: cost, log. `suitecase.tracking.observe` is one."""

SHARE = "SUITECASE_LIMITS_SHARE"
TOO_MANY_REQUESTS = 429
MOST_RETRY_AFTER_S = 300.0
log = logging.getLogger("suitecase.limits")
told: set[str] = set()


@dataclass(frozen=True)
class Usage:
    """How a target stands, over all processes.

    Attributes:
        in_use: Calls in flight.
        waiting: Processes that wait.
        granted: Calls begun so far.
        scale: What 429s have left of the limits, 0 < scale ≤ 1.
    """

    in_use: int
    waiting: int
    granted: int
    scale: float


class Limits:
    """Rates, places and money that all processes of a run share.

        limits = Limits(Rates(requests_per_min=600, max_concurrent=20), budget=Budget(run_usd=25), prices=PRICES,
                        observe=tracking.observe)
        with limits.acquire("openai/gpt-5-mini") as call:
            reply = ask(…)
            call.charge(input_tokens=reply.input_tokens, output_tokens=reply.output_tokens)

    In a case, `limits.bin` in the run directory holds what is shared. By hand, outside of a run, the limits hold for
    this process and those that it forks, and a line on stderr says so. Nothing is opened before the first call.

    Args:
        rates: One for all calls together; or by model, and then no other model may be called.
        budget: Money; every call must then be priced, by `prices` or by `charge(usd=…)`.
        prices: What models cost; a model that isn't there is refused before it's called.
        observe: Is told each cost, with model and tokens: give `tracking.observe`, and `suitecase show` has them.
        path: Another file than the run's, for processes that no runner started.

    Raises:
        LimitsError: With everything that is wrong.
    """

    def __init__(
        self,
        rates: Rates | Mapping[str, Rates] | None = None,
        *,
        budget: Budget | None = None,
        prices: Prices | None = None,
        observe: Observe | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        self.rates: Mapping[str, Rates] | Rates = rates if rates is not None else Rates()
        self.budget = budget
        self.prices = prices
        self.observe = observe
        self.path = None if path is None else Path(path)
        if problems := self.problems():
            raise LimitsError(problems)
        self.file: LimitsFile | None = None
        self.begin_anew()

    def __reduce__(self) -> tuple[Callable[[], Limits], tuple[()]]:
        """For processes that are started, not forked: the same limits, opened anew."""
        return partial(
            Limits, self.rates, budget=self.budget, prices=self.prices, observe=self.observe, path=self.path
        ), ()

    def problems(self) -> list[str]:
        """What is wrong with the arguments."""
        wrong = [
            f"{name} is {getattr(self, name)!r:.80}: give {wanted}."
            for name, kind, wanted in (
                ("rates", (Rates, Mapping), "Rates, or Rates by model"),
                ("budget", (Budget, NoneType), "a suitecase.limits.Budget"),
                ("prices", (Prices, NoneType), "Prices.read(path)"),
            )
            if not isinstance(getattr(self, name), kind)
        ]
        if self.observe is not None and not callable(cast(object, self.observe)):
            wrong.append(f"observe is {self.observe!r:.80}: give a function of an event, such as tracking.observe.")
        if wrong:
            return wrong
        named = {"": self.rates} if isinstance(self.rates, Rates) else self.rates
        found = [] if named else ["rates is empty: give Rates, or Rates by model."]
        for name, rates in named.items():
            where = f"{name}: " if name else ""
            known = isinstance(rates, Rates)  # pyright: ignore[reportUnnecessaryIsInstance]
            found += rates.problems(where) if known else [f"{where}{rates!r:.80} is given: give Rates."]
        if self.budget is not None:
            found += self.budget.problems()
        if self.prices is not None and not isinstance(self.rates, Rates):
            found += [problem for name in self.rates for problem in price_problems(self.prices, name)]
        try:
            share_of_host()
        except LimitsError as error:
            found += error.problems
        return found

    def begin_anew(self) -> None:
        """Nobody waits yet; or this is a forked child, whose calls and threads are others."""
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.lines: dict[str, Line] = {}

    def acquire(self, model: str = "", *, tokens: float = 0) -> Call:
        """A call, to be made within `with` or `async with`, which wait until it may begin.

        Args:
            tokens: How many it may use; what it used in fact is told by `charge`.

        Raises:
            UnknownPriceError: There are prices, and none of this model.
            LimitsError: There are rates by model, and none of this one; or the file can't be used.
        """
        self.check(model)
        if tokens and not is_amount(tokens):
            raise LimitsError(f"tokens is {tokens!r}: give a number of at least 0.")
        return Call(self, self.line_of(model), model, tokens)

    def check(self, model: str = "") -> None:
        """Refuse a model that can't be called; nothing is opened.

        Raises:
            UnknownPriceError: There are prices, and none of this model.
            LimitsError: There are rates by model, and none of this one.
        """
        if not isinstance(cast(object, model), str):
            raise LimitsError(f"model is {model!r:.80}: give its name.")
        if self.prices is not None:
            self.prices.of(model)
        if isinstance(self.rates, Mapping) and model not in self.rates:
            near = get_close_matches(model, list(self.rates), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.rates)}."
            raise LimitsError(f"there are no limits for {model!r}: {hint}")

    def spent_usd(self) -> dict[str, float]:
        """What this run, this condition and this case have spent: `run`, `condition`, `case`."""
        names = [""] if isinstance(self.rates, Rates) else list(self.rates)
        return {scope: spent / PICO for scope, spent in self.line_of(names[0]).target.spent().items()}

    def usage(self, model: str = "") -> Usage:
        """How a target stands now."""
        state = self.line_of(model).target.state()
        return Usage(state.in_use, state.waiting, state.granted, state.scale_at(time.monotonic()))

    def line_of(self, model: str) -> Line:
        """Where calls of a model wait."""
        if self.process != os.getpid():
            self.begin_anew()
        name = "" if isinstance(self.rates, Rates) else model
        line = self.lines.get(name)
        if line is None:
            with self.lock:
                line = self.lines.get(name) or Line(self.target_of(name))
                self.lines[name] = line
        return line

    def target_of(self, name: str) -> Target:
        rates = self.rates if isinstance(self.rates, Rates) else self.rates[name]
        self.file = self.file or self.opened()
        return Target(self.file, name, rates, accounts_of_case(self.budget or Budget()))

    def opened(self) -> LimitsFile:
        run_dir = os.environ.get("SUITECASE_RUN_DIR")
        path = self.path or (Path(run_dir, layout.LIMITS) if run_dir else None)
        if path is None:
            say_once("outside of a run the limits hold for this process and those that it forks, no others.")
        return LimitsFile.open(path, share=share_of_host(), recount=lambda: spent_already(path))

    def tell(self, event: Mapping[str, object]) -> None:
        """Tell the observer; one that raises is told nothing more."""
        if self.observe is None:
            return
        try:
            self.observe(event)
        except Exception as error:
            self.observe = None
            log.warning("observe raised %s: %s; it is told nothing more", type(error).__name__, error)


class Call:
    """One call. It waits at the beginning of the block; its place is free again at the end.

    An error that leaves the block with HTTP status 429 (`status_code`, or that of its `response`) lowers the limits of
    all processes, and they wait as long as its `Retry-After` says. A client that retries by itself hides such errors:
    call `refused` then.
    """

    def __init__(self, limits: Limits, line: Line, model: str, tokens: float) -> None:
        self.limits = limits
        self.line = line
        self.model = model
        self.tokens = tokens
        self.used_tokens: float | None = None
        self.charged = False
        self.refused_for_s: float | None = None
        self.begun_s = 0.0
        self.process = os.getpid()

    def __enter__(self) -> Call:
        self.begin()
        return self

    async def __aenter__(self) -> Call:
        await self.begin_async()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end(error)

    def begin(self) -> None:
        """Wait until the call may begin, as `with` does.

        Raises:
            BudgetSpentError: It may not begin any more.
        """
        if not self.line.take_at_once(self.tokens):
            with closing(self.line.steps(self.tokens)) as steps:
                for step in steps:
                    step.wait() if isinstance(step, Turn) else time.sleep(step)
        self.begun_s = time.monotonic()

    async def begin_async(self) -> None:
        """The same for `async with`."""
        if not self.line.take_at_once(self.tokens):
            from asyncio import sleep  # takes longer to import than all the rest, and whoever awaits has it

            with closing(self.line.steps(self.tokens)) as steps:
                for step in steps:
                    await (step.wait_async() if isinstance(step, Turn) else sleep(step))
        self.begun_s = time.monotonic()

    def end(self, error: BaseException | None = None) -> None:
        """Give the place back, as the end of the block does; the error is what the call raised."""
        if os.getpid() != self.process:  # forked within the block: the call is the parent's
            return
        if error is not None and status_code_of(error) == TOO_MANY_REQUESTS:
            self.refused(retry_after_s(error))
        more_tokens = 0.0 if self.used_tokens is None else self.used_tokens - self.tokens
        self.line.target.give_back(more_tokens, self.begun_s, self.refused_for_s)
        if error is None and not self.charged and self.limits.budget is not None:
            say_once(f"a call of {self.model or 'no model'} was not charged: there is a budget, so call.charge(…).")

    def charge(
        self,
        usd: float | None = None,
        *,
        input_tokens: float | None = None,
        output_tokens: float | None = None,
        cached_input_tokens: float = 0,
    ) -> float | None:
        """Book what the call has used, at once; a second time adds to it.

        Args:
            usd: What it cost, where somebody knows; else the price table says.
            input_tokens, output_tokens: What it used; `cached_input_tokens` are a part of `input_tokens`.

        Returns:
            The cost in US dollars; None if nobody knows it, which a budget doesn't allow.

        Raises:
            LimitsError: A number is none, or there is a budget and neither `usd` nor a price with tokens.
        """
        told_tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        given = {"usd": usd, **told_tokens, "cached_input_tokens": cached_input_tokens}
        wrong = [name for name, value in given.items() if value is not None and not is_amount(value)]
        if wrong:
            raise LimitsError([f"{name} is {given[name]!r}: give a number of at least 0." for name in wrong])
        tokens = {name: value for name, value in told_tokens.items() if value is not None}
        if tokens:
            self.used_tokens = (self.used_tokens or 0) + sum(tokens.values())
        if usd is None and tokens and self.limits.prices is not None:
            usd = self.limits.prices.of(self.model).usd(input_tokens or 0, output_tokens or 0, cached_input_tokens)
        if usd is None:
            if self.limits.budget is not None:
                what = f"a call of {self.model or 'no model'} has no cost"
                raise LimitsError(f"{what}: give charge(usd=…), or tokens and Limits(prices=…).")
            return None
        self.charged = True
        # First the budget, then what is told of it: killed in between, too little is told, but not too much spent.
        self.line.target.charge(in_pico(usd) or 0)
        self.limits.tell({"event": "cost", "usd": usd, **tokens, "model": self.model or None})
        return usd

    def refused(self, retry_after_s: float | None = None) -> None:
        """A server said that there are too many requests, and to wait so many seconds if it told."""
        pause_s = min(max(0.0, retry_after_s or 0.0), MOST_RETRY_AFTER_S)
        self.refused_for_s = max(self.refused_for_s or 0.0, pause_s)
        message = f"{self.model or 'a server'} said 429: all processes wait {pause_s:g} s, with half the limits"
        self.limits.tell({"event": "log", "level": "warning", "message": message})


def price_problems(prices: Prices, model: str) -> list[str]:
    try:
        prices.of(model)
    except LimitsError as error:
        return list(error.problems)
    return []


def share_of_host() -> float:
    """What this host may use of the limits, as a launcher tells it.

    Raises:
        LimitsError: It is no fraction.
    """
    text = os.environ.get(SHARE, "1")
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not is_above_0(share) or share > 1:
        raise LimitsError(f"{SHARE} is {text!r}: give a fraction above 0 and at most 1.")
    return share


def accounts_of_case(budget: Budget) -> tuple[Account, ...]:
    """The accounts that this process spends from, with this host's share of the budgets of several cases."""
    folder, share = os.environ.get("SUITECASE_OUTPUT_DIR"), share_of_host()
    config = read_object(Path(folder) / layout.CONFIG)[0] if folder else None
    condition, variant = condition_of(config or {}), os.environ.get("SUITECASE_VARIANT", "")
    return (
        Account("run", key_of("run", ""), limit_of(budget.run_usd, share)),
        Account("condition", key_of("condition", condition), limit_of(budget.condition_usd, share)),
        Account("case", key_of("case", variant), limit_of(budget.case_usd, 1.0)),
    )


def limit_of(usd: float | None, share: float) -> int | None:
    return None if usd is None else round(usd * share * PICO)


def key_of(scope: str, name: str) -> bytes:
    return blake2b(f"{scope}\0{name}".encode(errors="surrogatepass"), digest_size=16).digest()


def spent_already(path: Path | None) -> dict[bytes, int]:
    """What the cases of a run have told that they cost, for a file of limits that is made amid a run, or anew."""
    sums: dict[bytes, int] = {}
    if path is None or path.name != layout.LIMITS:
        return sums
    for variant, condition, spent in spent_by_run(path.parent):
        for key in (key_of("run", ""), key_of("condition", condition), key_of("case", variant)):
            sums[key] = sums.get(key, 0) + spent
    return sums


def say_once(text: str) -> None:
    """A line on stderr, the first time only."""
    if text not in told:
        told.add(text)
        print(f"suitecase.limits: {text}", file=sys.stderr, flush=True)
