"""Threads for calls that block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Slots"]


class Slots:
    """Threads that are kept for the next call, and at most so many.

    They are daemons: a call that never ends keeps its slot, but does not keep the program from ending.
    """

    def __init__(self, limit: int) -> None:
        self.free = threading.Semaphore(limit)
        self.idle: list[SimpleQueue[Callable[[], None]]] = []

    def run(self, job: Callable[[], None]) -> None:
        """Run a job, which must not raise, in a thread of a slot that was taken from `free`."""
        try:
            inbox = self.idle.pop()
        except IndexError:
            inbox = SimpleQueue[Callable[[], None]]()
            threading.Thread(target=self.work, args=[inbox], name="hedged call", daemon=True).start()
        inbox.put(job)

    def work(self, inbox: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            inbox.get()()
            self.idle.append(inbox)
            self.free.release()
