"""`process(…, hedge=…)`: calls of a loop that are made again beside, with limits, retries and stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from suitecase.ensembles import Ensemble
from suitecase.hedging import AllCallsFailedError, Breaker, Fixed, HedgePolicy
from suitecase.items import ErrorClass, ItemsError, RetryPolicy, classify, process, read_items
from suitecase.limits import Budget, Limits, Price, Prices, Rates

PRICES = Prices((Price("m", date(2026, 1, 1), 10.0, 0.0),))


def policy(**settings: Any) -> HedgePolicy:
    """Backups after 20 ms."""
    return HedgePolicy(Fixed(0.02), **settings)


class Server:
    """Answers at once, but to the first call for an item only when it is released."""

    def __init__(self, *slow: str) -> None:
        self.slow, self.calls, self.released = set(slow), Counter[str](), threading.Event()

    async def ask(self, item: str) -> dict[str, Any]:
        """As a task."""
        self.calls[item] += 1
        if item in self.slow and self.calls[item] == 1:
            await asyncio.Event().wait()
        return {"score": self.calls[item], "input_tokens": 1000, "output_tokens": 0}

    def ask_here(self, item: str) -> dict[str, Any]:
        """As a plain function."""
        self.calls[item] += 1
        if item in self.slow and self.calls[item] == 1:
            assert self.released.wait(20)
        return {"score": self.calls[item]}


def test_late_call_is_made_again_and_the_first_answer_counts(tmp_path: Path) -> None:
    """One row each; the loser has given its place back, and is booked once at what the winner used."""
    server = Server("b")
    limits = Limits(Rates(max_concurrent=4), budget=Budget(run_usd=1), prices=PRICES, path=tmp_path / "l.bin")
    summary = process("abc", server.ask, output_dir=tmp_path, hedge=policy(), limits=limits, model="m")
    assert (summary.succeeded, dict(server.calls)) == (3, {"a": 1, "b": 2, "c": 1})
    assert [row["metrics"]["score"] for row in read_items(tmp_path)] == [1, 2, 1]
    assert limits.spent_usd()["run"] == pytest.approx(4 * 0.01)
    assert (limits.usage().in_use, limits.usage().granted) == (0, 4)


def test_plain_function_is_hedged_in_threads(tmp_path: Path) -> None:
    """The thread that has lost is left behind; nobody waits for it."""
    server = Server("b")
    try:
        summary = process("ab", server.ask_here, output_dir=tmp_path, hedge=policy())
    finally:
        server.released.set()
    assert (summary.succeeded, dict(server.calls)) == (2, {"a": 1, "b": 2})


def test_retries_see_the_causes_of_a_failed_race(tmp_path: Path) -> None:
    """A time-out and a 429 are each worth another attempt, and so is their race; the row has both."""
    calls = Counter[str]()

    class TooMany(Exception):
        status_code = 429

    async def ask(item: str) -> int:
        calls[item] += 1
        if calls[item] == 1:
            await asyncio.sleep(0.04)
            raise TimeoutError("no answer")
        if calls[item] == 2:
            await asyncio.sleep(0.08)
            raise TooMany("slow down")
        return 1

    summary = process("a", ask, output_dir=tmp_path, hedge=policy(), retry=RetryPolicy(backoff_s=0))
    assert (summary.succeeded, calls["a"]) == (1, 3)
    ((error,),) = (row["errors"] for row in read_items(tmp_path))
    assert error["class"] == "timeout"
    assert error["causes"] == ["TimeoutError: no answer", "TooMany: slow down"]


@pytest.mark.parametrize(
    ("causes", "kind"),
    [
        ([TimeoutError(), ConnectionError()], ErrorClass.TIMEOUT),
        ([ConnectionError(), ConnectionError()], ErrorClass.CONNECTION),
        ([TimeoutError(), ValueError()], ErrorClass.UNKNOWN),
    ],
)
def test_failed_race_is_of_the_class_of_its_causes(causes: list[Exception], kind: ErrorClass) -> None:
    """What may pass may pass together; with a cause that nobody knows, nobody knows."""
    assert classify(AllCallsFailedError("all", causes)) is kind


def test_open_circuit_is_a_failure_that_may_pass(tmp_path: Path) -> None:
    """No call was sent; the loop tries again, and goes on."""

    async def ask(item: str) -> int:
        raise ConnectionError("refused")

    breaker = Breaker(max_failure_rate=0.5, window=2, open_s=600)
    retry = RetryPolicy(max_attempts=2, backoff_s=0)
    hedge = policy(max_backups=0, breaker=breaker)
    assert process("abc", ask, output_dir=tmp_path, hedge=hedge, retry=retry, breaker=None).failed == 3
    errors = [error["type"] for row in read_items(tmp_path) for error in row["errors"]]
    assert errors == ["ConnectionError", "ConnectionError", *["CircuitOpenError"] * 4]


def test_spent_budget_stops_and_leaves_the_item(tmp_path: Path) -> None:
    """No failure: the next pass does it."""
    server = Server()
    limits = Limits(budget=Budget(run_usd=0.015), prices=PRICES, path=tmp_path / "l.bin")
    summary = process("abc", server.ask, output_dir=tmp_path, hedge=policy(), limits=limits, model="m")
    assert (summary.stopped_by, summary.succeeded, summary.failed, summary.remaining) == ("cost_budget", 2, 0, 1)


@pytest.mark.parametrize("max_parallel", [1, 2])
def test_spent_budget_within_the_function_stops_too(tmp_path: Path, max_parallel: int) -> None:
    """A function that holds limits itself, as `predict` does, fails no items when they are spent."""
    limits = Limits(budget=Budget(run_usd=0.015), prices=PRICES, path=tmp_path / "l.bin")

    def ask(item: str) -> float:
        with limits.acquire("m") as call:
            call.charge(input_tokens=1000, output_tokens=0)
        return 1

    summary = process("abcdef", ask, output_dir=tmp_path, max_parallel=max_parallel)
    assert (summary.stopped_by, summary.failed) == ("cost_budget", 0)
    assert 2 <= summary.succeeded <= 3
    assert summary.remaining == 6 - summary.succeeded


def test_stop_leaves_a_race_that_waits(tmp_path: Path) -> None:
    """A race that only waits for a place ends with the loop, and its item is left to the next pass."""
    limits = Limits(Rates(requests_per_min=1), path=tmp_path / "l.bin")
    began_s = time.monotonic()
    summary = process(
        "ab", Server().ask, output_dir=tmp_path, hedge=policy(), limits=limits, max_parallel=2,
        cancelled=lambda: time.monotonic() > began_s + 0.3,
    )  # fmt: skip
    assert (summary.stopped_by, summary.succeeded, summary.failed, summary.remaining) == ("cancelled", 1, 0, 1)


def test_wrong_hedges_are_told_at_once(tmp_path: Path) -> None:
    """Of the wrong type, beside rates of the process, of an ensemble."""
    with pytest.raises(ItemsError, match=r"hedge is 0\.05: give a suitecase"):
        process("a", Server().ask, output_dir=tmp_path, hedge=0.05)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ItemsError, match="rate_limit"):
        process("a", Server().ask, output_dir=tmp_path, hedge=policy(), rate_limit=5)
    with pytest.raises(ItemsError, match="execution=Hedged"):
        process("a", Ensemble([Server().ask]), output_dir=tmp_path, hedge=policy())
