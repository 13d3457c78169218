"""Identical requests that are in flight at the same time are made once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Flights"]

T = TypeVar("T")


class Flights:
    """What is in flight, by key."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[asyncio.AbstractEventLoop, str], tuple[asyncio.Task[Any], list[None]]] = {}
        self.threads: dict[str, Future[Any]] = {}
        self.lock = threading.Lock()

    async def join(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """The outcome of the request with this key: of the one in flight, or else of a new one.

        A request ends when nobody waits for it any more, not when the one who began it goes away.
        """
        loop = asyncio.get_running_loop()
        place = (loop, key)
        if place not in self.tasks:

            async def made() -> T:
                return await make()

            task = loop.create_task(made())
            self.tasks[place] = task, []
            task.add_done_callback(lambda _: self.tasks.pop(place, None))
        task, waiting = self.tasks[place]
        waiting.append(None)
        try:
            return await asyncio.shield(task)
        finally:
            waiting.pop()
            if not waiting and not task.done():
                self.tasks.pop(place, None)
                task.cancel()

    def join_sync(self, key: str, make: Callable[[], T]) -> T:
        """The same for threads; who began the request makes it in its own thread."""
        with self.lock:
            flying = self.threads.get(key)
            mine = flying is None
            if flying is None:
                flying = self.threads[key] = Future[Any]()
        if not mine:
            return flying.result()
        try:
            value = make()
        except BaseException as error:
            flying.set_exception(error)
            raise
        else:
            flying.set_result(value)
            return value
        finally:
            with self.lock:
                self.threads.pop(key, None)
