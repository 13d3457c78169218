"""Calls that lost their race: nobody waits for them, but nobody forgets them either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from suitecase.hedging.records import Call

__all__ = ["Losers"]


class Losers:
    """What was cancelled and has not ended yet.

    Args:
        reap_s: What has not ended so long after its cancellation is stuck.
        observe: Told of what is stuck.
    """

    def __init__(self, reap_s: float, observe: Callable[[Mapping[str, object]], object] | None) -> None:
        self.reap_s, self.observe = reap_s, observe
        self.tasks: dict[asyncio.Task[Any], Call] = {}
        self.threads: dict[Call, threading.Timer] = {}
        self.lock = threading.Lock()

    def add_task(self, task: asyncio.Task[Any], call: Call, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel a task; it is held until it ends."""
        call.cancel.set()
        task.cancel()
        self.tasks[task] = call
        timer = loop.call_later(self.reap_s, self.report, call)

        def ended(task: asyncio.Task[Any]) -> None:
            timer.cancel()
            self.tasks.pop(task, None)

        task.add_done_callback(ended)

    def add_thread(self, call: Call) -> None:
        """Ask a thread to end."""
        timer = threading.Timer(self.reap_s, self.report, [call])
        timer.daemon = True
        call.cancel.set()
        with self.lock:
            if call.ended:
                return
            self.threads[call] = timer
            timer.start()

    def end_thread(self, call: Call) -> None:
        """A thread has ended, lost or not."""
        with self.lock:
            call.ended = True
            timer = self.threads.pop(call, None)
        if timer is not None:
            timer.cancel()

    def report(self, call: Call) -> None:
        """A loser has not ended in time: say so, and leave it alone."""
        call.status = "stuck"
        if self.observe is not None:
            message = f"a call to {call.target} goes on {self.reap_s:g} s after its cancellation"
            self.observe({"event": "log", "level": "warning", "message": message, "data": {"target": call.target}})

    async def wait(self) -> None:
        """Until each loser of this event loop has ended or is stuck."""
        loop = asyncio.get_running_loop()
        mine = [task for task, call in self.tasks.items() if task.get_loop() is loop and call.status != "stuck"]
        if mine:
            await asyncio.wait(mine, timeout=self.reap_s)
            await asyncio.sleep(0)  # so that what is stuck was reported, by a timer that is due now
