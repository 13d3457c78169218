"""How a member is called: as a task, or in a thread of its own; for as long as somebody waits for it.

A call that timed out, or that nobody needs any more, is cancelled and left behind: its question doesn't wait for its
end. A task that ignores its cancellation is told of after `STUCK_AFTER_S`. Nothing can end a thread from outside; it
keeps its place among `MAX_THREADS` until its call ends, and since it is a daemon, the process needn't wait for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

__all__ = ["MAX_THREADS", "STUCK_AFTER_S", "Ending", "call", "is_async", "takes_context"]

MAX_THREADS = 128
STUCK_AFTER_S = 5.0
free_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
left_behind: set[asyncio.Task[Any]] = set()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended: with a value, an error, or neither in time."""

    value: object
    error: BaseException | None
    timed_out: bool
    latency_s: float


async def call(
    function: Callable[..., Any],
    arguments: tuple[object, ...],
    *,
    timeout_s: float | None,
    tell_stuck: Callable[[], object],
) -> Ending:
    """Call a plain or async function and take its time. Raises nothing but `CancelledError`, when cancelled itself.

    Args:
        timeout_s: Seconds, waiting for a free thread included; None for no limit.
        tell_stuck: Called if the task still runs so long after its cancellation.
    """
    started_s = time.perf_counter()
    task = asyncio.ensure_future(begun(function, arguments))
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        leave(task, tell_stuck)
        raise
    latency_s = time.perf_counter() - started_s
    if not task.done():
        leave(task, tell_stuck)
        return Ending(None, TimeoutError(f"no answer within {timeout_s:g} s"), True, latency_s)
    if task.cancelled():
        return Ending(None, RuntimeError("the call was cancelled from inside"), False, latency_s)
    if (error := task.exception()) is not None:
        return Ending(None, error, False, latency_s)
    return Ending(task.result(), None, False, latency_s)


def leave(task: asyncio.Task[Any], tell_stuck: Callable[[], object]) -> None:
    """Cancel a task, and look after it without waiting."""
    task.cancel()
    left_behind.add(task)  # the event loop itself keeps tasks only weakly
    late = task.get_loop().call_later(STUCK_AFTER_S, tell_stuck)

    def ended(task: asyncio.Task[Any]) -> None:
        late.cancel()
        left_behind.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio would report that nobody looked at it

    task.add_done_callback(ended)


async def begun(function: Callable[..., Any], arguments: tuple[object, ...]) -> object:
    value = await in_thread(function, arguments) if not is_async(function) else function(*arguments)
    return await cast("Awaitable[object]", value) if inspect.isawaitable(value) else value


async def in_thread(function: Callable[..., Any], arguments: tuple[object, ...]) -> object:
    """What a plain function gives, called in a thread."""
    loop = asyncio.get_running_loop()
    free = free_threads.setdefault(loop, asyncio.Semaphore(MAX_THREADS))
    await free.acquire()
    future: asyncio.Future[object] = loop.create_future()
    variables = contextvars.copy_context()

    def deliver(value: object, error: BaseException | None) -> None:
        free.release()
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = variables.run(function, *arguments)
        except StopIteration as raised:  # which no future takes
            error = RuntimeError(f"the call raised StopIteration: {raised}")
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(deliver, value, error)
        except RuntimeError:  # left behind, and the loop has ended since
            pass

    try:
        threading.Thread(target=work, name="suitecase.ensembles call", daemon=True).start()
    except BaseException:
        free.release()
        raise
    return await future


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[Any]", function).func
    call = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `context`."""
    try:
        return "context" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins don't say
        return False
