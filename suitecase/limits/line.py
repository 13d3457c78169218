"""Who comes next within one process. Processes take turns in the file; here their calls do, first come, first served.

So a process with a thousand calls waiting gets no more than one with a single call: it has one ticket in the file.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from suitecase.limits.target import Target

if TYPE_CHECKING:
    from asyncio import Future

__all__ = ["Line", "Turn"]


class Turn:
    """A call that waits until those before it have begun."""

    __slots__ = ("come", "lock", "wake")

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.come = False
        self.wake: Callable[[], object] | None = None

    def wait(self) -> None:
        """In a thread."""
        event = threading.Event()
        if not self.comes(event.set):
            event.wait()

    async def wait_async(self) -> None:
        """In a task."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        future: Future[None] = loop.create_future()
        if not self.comes(lambda: loop.call_soon_threadsafe(done, future)):
            await future

    def comes(self, wake: Callable[[], object]) -> bool:
        """Whether it's this one's turn; if not, `wake` is called when it is."""
        with self.lock:
            self.wake = wake
            return self.come


def done(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Line:
    """The calls of this process that wait for a target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lock = threading.Lock()
        self.turns: OrderedDict[Turn, None] = OrderedDict()

    def take_at_once(self, tokens: float) -> bool:
        """Begin a call if nobody waits, here or elsewhere, and nothing keeps it from it.

        Raises:
            BudgetSpentError: No call may begin any more.
        """
        return not self.turns and not self.target.take(tokens)

    def steps(self, tokens: float) -> Generator[Turn | float]:
        """What to wait for until a call has begun: one's turn, then seconds. To be closed if it's given up.

        Raises:
            BudgetSpentError: No call may begin any more.
        """
        turn = Turn(self.lock)
        with self.lock:
            self.turns[turn] = None
            turn.come = len(self.turns) == 1
        taken = False
        try:
            if not turn.come:
                yield turn
            begun_s = time.monotonic()
            while pause_s := self.target.take(tokens, time.monotonic() - begun_s):
                yield pause_s
            taken = True
        finally:
            self.leave(turn, taken)

    def leave(self, turn: Turn, taken: bool) -> None:
        """Let the next one come. If there is none, the process's ticket goes back."""
        while True:
            with self.lock:
                self.turns.pop(turn, None)
                following = next(iter(self.turns), None)
                if following is not None and not following.come:
                    following.come = True
                wake = following.wake if following else None
            if following is None:
                if not taken:
                    self.target.withdraw()
                return
            try:
                if wake:
                    wake()
                return
            except RuntimeError:  # its event loop was closed: nobody waits there any more
                turn = following
