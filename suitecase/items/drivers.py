"""How calls are made: one after the other in this thread, in threads, or as tasks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from suitecase.items.racing import Racing, book
from suitecase.items.records import ItemContext
from suitecase.items.steps import Loop, Outcome, usage_of
from suitecase.items.stops import POLL_EVERY_S
from suitecase.limits import BudgetSpentError, Limits
from suitecase.limits import Call as LimitsCall

__all__ = ["Call", "Pace", "SharedLimits", "drive_asyncio", "drive_here", "run_loop"]

T = TypeVar("T")
Call = Callable[[ItemContext], Any]
"""A function of the context; an async one gives something to await."""


def drive_here(loop: Loop, call: Call) -> None:
    """One call after the other, in this thread."""
    for slot in loop.slots():
        steps = loop.steps(slot)
        step = next(steps)
        try:
            while True:
                if isinstance(step, ItemContext):
                    outcome = timed(call, step)
                    if isinstance(outcome.error, BudgetSpentError):  # of limits within the function
                        loop.stop.now("cost_budget", str(outcome.error))
                        return
                    step = steps.send(outcome)
                else:
                    loop.stop.pause(step)
                    step = steps.send(None)
        except StopIteration:
            pass


def timed(call: Call, context: ItemContext) -> Outcome:
    """Make a call and take its time."""
    started_s = time.perf_counter()
    try:
        value = call(context)
    except Exception as error:
        return Outcome(None, error, time.perf_counter() - started_s)
    return Outcome(value, None, time.perf_counter() - started_s)


class Pace:
    """Requests a second and tokens a minute of this process, by aiolimiter's leaky bucket.

    Requests are spread evenly. What a call uses is known only at its end: its tokens are charged then, and its place
    is free once they fit; so the calls that are in flight when the limit is reached go beyond it, once.
    """

    def __init__(self, requests_per_s: float | None, tokens_per_min: float | None) -> None:
        from aiolimiter import AsyncLimiter

        self.requests = AsyncLimiter(1, 1 / requests_per_s) if requests_per_s else None
        self.tokens = AsyncLimiter(tokens_per_min, 60) if tokens_per_min else None

    async def before(self) -> None:
        if self.requests:
            await self.requests.acquire()

    async def after(self, tokens: float) -> None:
        while self.tokens and tokens > 0:
            part = min(tokens, self.tokens.max_rate)
            await self.tokens.acquire(part)
            tokens -= part


Pause = Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]
"""Waits for something that a stop cuts short."""


@dataclass(frozen=True)
class SharedLimits:
    """What the processes of a run share, as this loop's calls feel it."""

    limits: Limits
    model: str

    async def call(
        self, caller: Caller, context: ItemContext, pause: Pause, cut_off: list[LimitsCall] | None = None
    ) -> Outcome:
        """Make a call when it may begin, and charge it.

        Args:
            cut_off: Is given the call if it is cancelled in flight: somebody else then says what it cost.

        Raises:
            BudgetSpentError: It may not begin any more.
            LimitsError: There is a budget, and the call succeeded without a word on what it cost.
        """
        call = self.limits.acquire(self.model)
        await pause(call.begin_async())
        error: BaseException | None = None
        try:
            outcome = await caller(context)
            error = outcome.error
            usage = usage_of(outcome)
            if error is not None and not usage:
                return outcome
            usd = book(call, outcome)
            return outcome if "cost_usd" in usage else replace(outcome, priced_usd=usd)
        except asyncio.CancelledError as cancelled:
            error = cancelled
            if cut_off is not None:
                cut_off.append(call)
            raise
        finally:
            call.end(error)


class Caller(Protocol):
    """Makes a call without holding up the event loop."""

    @property
    def abandoned(self) -> int:
        """How many calls that were given up still go on."""
        ...

    async def __call__(self, context: ItemContext) -> Outcome: ...


class TaskCaller:
    """Awaits an async function; after a timeout it is cancelled, and not waited for.

    Attributes:
        abandoned: Cancelled calls that have not ended yet.
    """

    def __init__(self, call: Call, timeout_s: float | None) -> None:
        self.call = call
        self.timeout_s = timeout_s
        self.left: set[asyncio.Task[Outcome]] = set()

    @property
    def abandoned(self) -> int:
        return len(self.left)

    async def __call__(self, context: ItemContext) -> Outcome:
        if self.timeout_s is None:
            return await self.timed(context)
        started_s = time.perf_counter()
        task = asyncio.create_task(self.timed(context))
        try:
            await asyncio.wait({task}, timeout=self.timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        task.cancel()
        self.left.add(task)
        task.add_done_callback(self.left.discard)
        return overdue(self.timeout_s, time.perf_counter() - started_s)

    async def timed(self, context: ItemContext) -> Outcome:
        started_s = time.perf_counter()
        try:
            value = await self.call(context)
        except Exception as error:
            return Outcome(None, error, time.perf_counter() - started_s)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            error = RuntimeError("the call was cancelled from inside")
            return Outcome(None, error, time.perf_counter() - started_s)
        return Outcome(value, None, time.perf_counter() - started_s)


class ThreadCaller:
    """Calls a plain function in threads of its own; after a timeout the thread is left behind.

    A thread can't be ended from outside. One that is left behind ends when its call does, or with the process.

    Attributes:
        abandoned: Threads left behind whose call still goes on.
    """

    def __init__(self, call: Call, timeout_s: float | None) -> None:
        self.call = call
        self.timeout_s = timeout_s
        self.idle: list[Worker] = []
        self.left: set[Worker] = set()

    @property
    def abandoned(self) -> int:
        self.left = {worker for worker in self.left if worker.busy}
        return len(self.left)

    async def __call__(self, context: ItemContext) -> Outcome:
        worker = self.idle.pop() if self.idle else Worker(self.call)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        worker.give(context, future)
        done = False
        try:
            await asyncio.wait({future}, timeout=self.timeout_s)
            done = future.done()
        finally:
            if done:
                self.idle.append(worker)
            else:
                self.left.add(worker)
                worker.inbox.put(None)
        if done:
            return future.result()
        assert self.timeout_s is not None
        return overdue(self.timeout_s, self.timeout_s)

    def close(self) -> None:
        for worker in self.idle:
            worker.inbox.put(None)


class Worker:
    """A thread that makes one call after the other."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.busy = False
        self.inbox: SimpleQueue[tuple[ItemContext, asyncio.Future[Outcome], contextvars.Context] | None] = SimpleQueue()
        # A daemon: the process may end while a call that was left behind still hangs.
        threading.Thread(target=self.work, name="suitecase.items call", daemon=True).start()

    def give(self, context: ItemContext, future: asyncio.Future[Outcome]) -> None:
        self.busy = True
        self.inbox.put((context, future, contextvars.copy_context()))

    def work(self) -> None:
        while job := self.inbox.get():
            context, future, variables = job
            try:
                outcome: Outcome | BaseException = variables.run(timed, self.call, context)
            except BaseException as error:
                outcome = error
            self.busy = False
            try:
                future.get_loop().call_soon_threadsafe(deliver, future, outcome)
            except RuntimeError:  # left behind, and the loop has ended since
                return
            del job, context, future, variables, outcome


def deliver(future: asyncio.Future[Outcome], outcome: Outcome | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, Outcome):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def overdue(timeout_s: float, latency_s: float) -> Outcome:
    return Outcome(None, TimeoutError(f"no answer within {timeout_s:g} s"), latency_s)


async def drive_asyncio(
    loop: Loop, call: Call, *, is_async: bool, max_parallel: int, timeout_s: float | None,
    pace: Pace | None, shared: SharedLimits | None, racing: Racing | None, max_abandoned: int,
) -> None:  # fmt: skip
    """So many calls at a time, as tasks or in threads."""
    caller = TaskCaller(call, timeout_s) if is_async else ThreadCaller(call, timeout_s)
    crew = Crew(loop, caller, pace, shared, racing, max_abandoned)
    watcher = asyncio.create_task(crew.watch())
    workers = [asyncio.create_task(crew.work()) for _ in range(max_parallel)]
    try:
        done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if not task.cancelled():  # a stop cancels those that only wait
                task.result()
    finally:
        for task in [watcher, *workers]:
            task.cancel()
        await asyncio.gather(watcher, *workers, return_exceptions=True)
        if isinstance(caller, ThreadCaller):
            caller.close()


class Crew:
    """Workers that take the items of a loop one after the other, and somebody who watches whether it is to stop."""

    def __init__(
        self, loop: Loop, caller: Caller, pace: Pace | None, shared: SharedLimits | None, racing: Racing | None,
        max_abandoned: int,
    ) -> None:  # fmt: skip
        self.loop, self.caller, self.max_abandoned = loop, caller, max_abandoned
        self.pace, self.shared, self.racing = pace, shared, racing
        self.slots = loop.slots()
        self.waiting: set[asyncio.Task[Any]] = set()

    async def work(self) -> None:
        """One worker: item after item, until none is left or the loop stops."""
        for slot in self.slots:
            try:
                tokens = await self.item(slot)
            except BudgetSpentError as error:  # before the call: the item is left to the next pass
                self.loop.stop.now("cost_budget", str(error))
                return
            if self.pace:
                await self.pause(self.pace.after(tokens))
            await asyncio.sleep(0)  # a function that never waits would hold up everybody else's tasks
            if self.caller.abandoned > self.max_abandoned:
                given_up = f"{self.caller.abandoned} calls that were given up still go on"
                self.loop.stop.now("abandoned", f"{given_up}, more than {self.max_abandoned}")

    async def item(self, slot: int) -> int:
        """One item, with its retries; the tokens that it used."""
        steps = self.loop.steps(slot)
        step = next(steps)
        try:
            while True:
                if isinstance(step, ItemContext):
                    if self.pace:
                        await self.pause(self.pace.before())
                    step = steps.send(await self.call(step))
                else:
                    await self.pause(asyncio.sleep(step))
                    step = steps.send(None)
        except StopIteration as end:
            return end.value

    async def call(self, context: ItemContext) -> Outcome:
        """Make a call, or a race of calls.

        Raises:
            BudgetSpentError: It may not begin any more, or limits within the function say so of theirs.
        """
        outcome = await (self.racing.call(context, self.begin) if self.racing else self.begin(context))
        if isinstance(outcome.error, BudgetSpentError):
            raise outcome.error
        return outcome

    async def begin(self, context: ItemContext, cut_off: list[LimitsCall] | None = None) -> Outcome:
        """Make one call, when what the run shares lets it begin."""
        if self.shared:
            return await self.shared.call(self.caller, context, self.pause, cut_off)
        return await self.caller(context)

    async def pause(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Wait for something that a stop cuts short; a call that is in flight is waited for."""
        task = asyncio.current_task()
        assert task is not None
        self.waiting.add(task)
        try:
            await coroutine
        finally:
            self.waiting.discard(task)

    async def watch(self) -> None:
        """Show progress, and when the loop is to stop, wake those who only wait."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            self.loop.progress.tick()
            if self.loop.stop.asked():
                for task in self.waiting:
                    task.cancel()


def run_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in an event loop of its own, wherever this is called.

    Unlike `asyncio.run` it doesn't wait for tasks that refuse to be cancelled, and it works where a loop runs already,
    as in Jupyter: then in a thread of its own, while this one waits.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_here(coroutine)
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(run_here(coroutine))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="suitecase.items loop")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def run_here(coroutine: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
