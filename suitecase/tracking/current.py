"""The case that this process works on, and the functions that speak for it."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import FrameType
from typing import Protocol, Unpack

from suitecase.tracking.policy import Limits, Policy
from suitecase.tracking.tracker import Cancelled, Tracker, trackers, warn_once

__all__ = [
    "artifact",
    "cancelled",
    "complete",
    "configure",
    "cost",
    "current",
    "fail",
    "log",
    "log_batch",
    "metric",
    "observe",
    "progress",
    "result",
    "track",
]


class HasOutputDir(Protocol):
    """A config, as far as `track` needs it."""

    @property
    def output_dir(self) -> str: ...


class State:
    """What the functions of this module share in a process."""

    def __init__(self) -> None:
        self.policy = Policy()
        self.entered: list[Tracker] = []
        self.from_environment: Tracker | None = None


class Forking(threading.local):
    """The signal mask of a thread before it forks, if it was changed for that."""

    mask: Iterable[int] | None = None


state = State()
forking = Forking()
tracked: ContextVar[Tracker | None] = ContextVar("tracked", default=None)


def current() -> Tracker:
    """The tracker of the innermost `track` around this code, or else that of the case that the runner started.

    A thread knows nothing of the code that started it: there it is the `track` entered last in the process. A program
    that works on several cases in one process passes on what `track` gives.
    """
    tracker = tracked.get()
    if tracker is None and state.entered:
        tracker = state.entered[-1]
    if tracker is None:
        tracker = state.from_environment
    if tracker is None:
        tracker = state.from_environment = tracker_of(None, state.policy)
    return tracker


def tracker_of(config: HasOutputDir | str | os.PathLike[str] | None, policy: Policy) -> Tracker:
    """A tracker for the folder of a config, or else for that in the environment."""
    told = os.environ.get("SUITECASE_OUTPUT_DIR") or None
    given = config if config is None or isinstance(config, str | os.PathLike) else config.output_dir
    folder = given or told
    if folder is None or told is None or os.path.realpath(folder) != os.path.realpath(told):
        return Tracker(folder, policy=policy)  # the environment, if it tells of a case, tells of another
    attempt = os.environ.get("SUITECASE_ATTEMPT", "")
    number = int(attempt) if attempt.isascii() and attempt.isdigit() else 1
    return Tracker(folder, attempt=number, run_dir=os.environ.get("SUITECASE_RUN_DIR") or None, policy=policy)


def configure(**limits: Unpack[Limits]) -> None:
    """Change limits, for this process from now on; `Policy` explains them.

    Raises:
        ValueError: With every value that is wrong.
    """
    state.policy = replace(state.policy, **limits)
    current().configure(**limits)


@contextmanager
def track(config: HasOutputDir | str | os.PathLike[str] | None = None, **limits: Unpack[Limits]) -> Generator[Tracker]:
    """Record how a block of code ends: `completed`, `failed` with the exception, or `cancelled`. It raises on.

    Cancelled is what ends after a `cancel` file was made, or by SIGTERM, Ctrl-C (`KeyboardInterrupt`), `Cancelled`
    or `asyncio.CancelledError`. What the block has told by `complete` or `fail` is not told again.

    SIGTERM, by which the runner asks a case to end, raises `Cancelled` in the block, so that its `finally` clauses
    run; a block that has called `cancelled` is told by that alone, and may end in its own way. A second SIGTERM raises
    in any case. This holds in the main thread, and if the program has no handler of its own.

    Args:
        config: A config or a folder. It goes before the environment; without it, or without an `output_dir`, the
            environment counts.
        limits: Limits for this block; `Policy` explains them.

    Returns:
        The case's tracker, with this module's functions as methods.

    Raises:
        ValueError: With every limit that is wrong.
    """
    tracker = tracker_of(config, replace(state.policy, **limits))
    if tracker.folder is not None:
        try:
            os.makedirs(tracker.folder, exist_ok=True)
        except OSError as error:
            warn_once("folder", f"{tracker.folder} can't be made: {error.strerror}.")
    process = os.getpid()
    before = tracked.set(tracker)
    state.entered.append(tracker)
    try:
        with termination_heeded(tracker):
            yield tracker
    except BaseException as error:
        if os.getpid() == process:  # not in a child that was forked in the block
            tracker.end_by(error)
        raise
    else:
        if os.getpid() == process:
            tracker.end_by(None)
    finally:
        tracked.reset(before)
        state.entered.remove(tracker)
        tracker.close()


def heed_termination(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: tell a case that asks; end one that doesn't."""
    tracker = current()
    again, tracker.stopping = tracker.stopping, True
    if again or not tracker.asked:
        raise Cancelled


@contextmanager
def termination_heeded(tracker: Tracker) -> Generator[None]:
    """Heed SIGTERM where nobody else does."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if tracker.file is None or not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, heed_termination)
    try:
        yield
    finally:
        leave_termination_alone()


def leave_termination_alone() -> None:
    if signal.getsignal(signal.SIGTERM) is heed_termination:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def hold_termination() -> None:
    """Before a fork: a SIGTERM that the child got before it has no handler any more would be lost."""
    if signal.getsignal(signal.SIGTERM) is heed_termination:
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def let_termination_come() -> None:
    mask, forking.mask = forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def begin_anew_in_child() -> None:
    """After a fork: own descriptors and locks, and SIGTERM ends a worker, as those who start workers expect."""
    state.from_environment = None
    for tracker in list(trackers):
        tracker.begin_anew()
    leave_termination_alone()
    let_termination_come()


def close_all() -> None:
    for tracker in list(trackers):
        tracker.close()


os.register_at_fork(before=hold_termination, after_in_parent=let_termination_come, after_in_child=begin_anew_in_child)
atexit.register(close_all)


# --- what an entry point says


def log(level: str, message: object, /, **data: object) -> None:
    """Tell something in words.

    Args:
        level: debug, info, warning or error; `warn` and `critical` are understood, other words mean info.
        data: What else is worth keeping, by name.
    """
    current().log(level, message, **data)


def log_batch(entries: Iterable[Mapping[str, object] | tuple[object, ...]]) -> None:
    """Tell several things: mappings with `level`, `message` and `data`, or tuples in this order."""
    current().log_batch(entries)


def result(key: str, value: object) -> None:
    """Record a result, of any shape. The same key may come again: all are kept, the last one counts."""
    current().result(key, value)


def metric(name: str, value: object, step: object = None) -> None:
    """Record a number, at a step of the work if given; 0-dimensional arrays and tensors are numbers, too."""
    current().metric(name, value, step)


def progress(done: object, total: object = None, message: object = "") -> None:
    """Tell how far the work is. The last one counts, so calls in a tight loop are thinned to 20 a second."""
    current().progress(done, total, message)


def artifact(path: str | os.PathLike[str]) -> None:
    """Name a file or folder that belongs to the results. Relative paths: from here, or else from the case's folder."""
    current().artifact(path)


def cost(
    usd: object,
    *,
    input_tokens: object = None,
    output_tokens: object = None,
    cached_input_tokens: object = None,
    model: str | None = None,
) -> None:
    """Record what something cost, in US dollars. All lines of a case are added up, those of earlier attempts too.

    Where only model and tokens are known, `cost(None, model=…, input_tokens=…)` leaves the price to the table of
    whoever reads, such as `CostBudget(prices=…)`; `suitecase.limits` prices calls as they are made.
    `cached_input_tokens` are a part of `input_tokens` that may have a price of its own.
    """
    current().cost(
        usd,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        model=model,
    )


def observe(event: Mapping[str, object]) -> None:
    """Record what a library reports as mappings; other keys and events are left alone.

    Args:
        event: With `event`: `progress` (`done`, `total`, `message`), `cost` (`usd`, `input_tokens`, `output_tokens`,
            `model`) or `log` (`level`, `message`, `data`), as in the file. Without: `done`, `total` and `message`, and
            in `cost_usd` all that was spent so far; what was added since the event before is recorded.
    """
    current().observe(event)


def cancelled() -> bool:
    """Whether the case was asked to end: a file `cancel` in its folder or its run's, or SIGTERM within `track`.

    Cheap in a tight loop: it looks at the disk ten times a second at most.
    """
    return current().cancelled()


def complete() -> None:
    """Tell that all is done. `track` does it at its end."""
    current().complete()


def fail(reason: object, /, **data: object) -> None:
    """Tell that the case has failed. It doesn't end the process: an exit code other than 0 tells the runner."""
    current().fail(reason, **data)
