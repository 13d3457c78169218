"""The loop over items: what it calls, writes, retries, refuses and stops at."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DEADLINE_S, wait_for
from scipy import stats as untyped_stats

import suitecase.items
from suitecase.items import (
    ABORT,
    RETRY,
    SKIP,
    Answer,
    Breaker,
    ErrorClass,
    ItemContext,
    ItemResult,
    ItemsError,
    RetryPolicy,
    aprocess,
    metrics,
    process,
    read_dead_letters,
    read_items,
)

ROOT = Path(__file__).resolve().parent.parent
stats: Any = untyped_stats  # scipy ships no types
AT_ONCE = RetryPolicy(backoff_s=0)


class StatusError(Exception):
    """As the clients of providers raise it."""

    def __init__(self, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        if retry_after is not None:
            self.retry_after = retry_after


@pytest.fixture(autouse=True)
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SUITECASE_"):
            monkeypatch.delenv(name)


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def score_one(_item: object) -> float:
    return 1.0


# --- What is called, and what is written -----------------------------------------------------------------------------


def test_a_row_for_each_item_and_the_means_at_the_top_of_results(tmp_path: Path) -> None:
    """A mapping's metrics, output, cost and tokens; a metric's mean, its n and the interval of Student's t."""

    def answer(item: dict[str, Any]) -> dict[str, Any]:
        return {
            "accuracy": item["x"] / 10, "output": f"it is {item['x']}",
            "cost_usd": 0.1, "input_tokens": 7, "output_tokens": 2,
        }  # fmt: skip

    summary = process([{"id": f"q{x}", "x": x} for x in range(10)], answer, output_dir=tmp_path / "new", key="id")
    assert summary.ok
    assert (summary.total, summary.succeeded, summary.failed, summary.remaining) == (10, 10, 0, 0)
    rows = read_items(tmp_path / "new")
    assert [row["key"] for row in rows] == [f"q{x}" for x in range(10)]
    assert rows[3] | {"time": "", "duration_s": 0, "latency_s": 0} == {
        "key": "q3", "repeat": 0, "index": 3, "status": "succeeded", "final_status": "succeeded",
        "seed": rows[3]["seed"], "metrics": {"accuracy": 0.3}, "output": "it is 3", "attempts": 1, "delays_s": [],
        "errors": [], "duration_s": 0, "latency_s": 0, "cost_usd": 0.1, "input_tokens": 7, "output_tokens": 2,
        "time": "", "attempt": 1,
    }  # fmt: skip
    results = results_of(tmp_path / "new")
    assert results["accuracy"] == 0.45
    assert results["cost_usd"] == 1.0
    assert results["cost_per_item_usd"] == 0.1
    assert (results["input_tokens"], results["output_tokens"]) == (70, 20)
    assert results["items"]["total"] == results["items"]["succeeded"] == results["latency_s"]["n"] == 10
    low, high = stats.t.interval(0.95, 9, loc=0.45, scale=stats.sem([x / 10 for x in range(10)]))
    told = results["metrics"]["accuracy"]
    assert (told["ci_low"], told["ci_high"]) == pytest.approx((low, high), rel=1e-12)
    assert (told["n"], told["missing"], told["confidence"], told["better"]) == (10, 0, 0.95, None)
    assert summary.metrics["accuracy"].mean == 0.45


@pytest.mark.parametrize(
    ("returned", "expected", "output"),
    [
        (0.5, {"score": 0.5}, None),
        (True, {"score": 1.0}, None),
        (ItemResult({"f1": 0.25}, output={"a": math.nan}), {"f1": 0.25}, {"a": "NaN"}),
        ({"f1": 1, "output": "\ud800 é"}, {"f1": 1.0}, "\\ud800 é"),
        ({"output": object}, {}, "<class 'object'>"),
        (np.float32(0.5), {"score": 0.5}, None),
        ({"a": np.int64(3), "b": np.bool_(True), "output": np.arange(3)}, {"a": 3.0, "b": 1.0}, [0, 1, 2]),
        ({"a": Fraction(1, 4), "b": Decimal("0.5"), "output": b"\xff"}, {"a": 0.25, "b": 0.5}, "_w=="),
    ],
)
def test_what_a_function_may_return(
    returned: object, expected: dict[str, float], output: object, tmp_path: Path
) -> None:
    process([1], lambda _item: returned, output_dir=tmp_path, key=str)
    (row,) = read_items(tmp_path)
    assert (row["metrics"], row["output"]) == (expected, output)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("returned", [None, "text", [1], Hostile(), {"f1": Hostile()}, ItemResult(metrics=3)])  # pyright: ignore[reportArgumentType]
def test_what_a_function_may_not_return_concerns_its_item_only(returned: object, tmp_path: Path) -> None:
    summary = process([1, 2], lambda item: returned if item == 1 else 1, output_dir=tmp_path, key=str)
    first, second = read_items(tmp_path)
    assert second["status"] == "succeeded"
    assert first.get("invalid") or first["errors"][0]["class"] == "invalid_result"
    assert summary.remaining == 0


def test_a_cost_that_is_none_is_named(tmp_path: Path) -> None:
    process([1], lambda _item: {"score": 1, "cost_usd": "0.1", "input_tokens": -3}, output_dir=tmp_path, key=str)
    (row,) = read_items(tmp_path)
    assert row["invalid"] == [
        "cost_usd: '0.1' is no number of at least 0",
        "input_tokens: -3 is no number of at least 0",
    ]


def test_the_context_says_which_call_this_is(tmp_path: Path) -> None:
    """For a second parameter named context, or one without default; a default of the user's is left alone."""
    seen: list[ItemContext] = []

    def wants(_item: int, context: ItemContext) -> float:
        seen.append(context)
        if context.attempt == 1 and context.repeat == 1:
            raise TimeoutError
        return context.random.random()

    process([5, 6], wants, output_dir=tmp_path / "a", key=str, repeats=2, retry=AT_ONCE)
    assert [(c.key, c.index, c.repeat, c.attempt) for c in seen] == [
        ("5", 0, 0, 1), ("6", 1, 0, 1), ("5", 0, 1, 1), ("5", 0, 1, 2), ("6", 1, 1, 1), ("6", 1, 1, 2),
    ]  # fmt: skip
    rows = read_items(tmp_path / "a")
    assert len({row["seed"] for row in rows}) == 4
    assert {row["metrics"]["score"] for row in rows} == {context.random.random() for context in seen}

    def leaves(item: int, model: str = "m") -> float:
        assert model == "m"
        return item

    assert process([5], leaves, output_dir=tmp_path / "b", key=str).failed == 0


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("shape", ["plain", "async", "inside a running loop", "aprocess", "aprocess plain"])
def test_every_way_of_calling_gives_the_same_results(shape: str, parallel: int, tmp_path: Path) -> None:
    def plain(item: int, context: ItemContext) -> dict[str, Any]:
        if item % 7 == 3 and context.attempt < 3:
            raise StatusError(503)
        if item == 9:
            raise ValueError("poison")
        return {"accuracy": context.random.random(), "cost_usd": 0.01}

    async def later(item: int, context: ItemContext) -> dict[str, Any]:
        await asyncio.sleep(0)
        return plain(item, context)

    def run(folder: Path, fn: Callable[..., Any]) -> Any:
        return process(range(30), fn, output_dir=folder, key=str, max_parallel=parallel, retry=AT_ONCE, repeats=2)

    async def inside(folder: Path) -> None:
        if shape == "inside a running loop":
            run(folder, later)
        else:
            fn = later if shape == "aprocess" else plain
            options: Any = {"max_parallel": parallel, "retry": AT_ONCE, "repeats": 2}
            await aprocess(range(30), fn, output_dir=folder, key=str, **options)

    process(range(30), plain, output_dir=tmp_path / "expected", key=str, retry=AT_ONCE, repeats=2)
    if shape in ("plain", "async"):
        run(tmp_path / "made", plain if shape == "plain" else later)
    else:
        asyncio.run(inside(tmp_path / "made"))
    assert timeless(tmp_path / "made") == timeless(tmp_path / "expected")


def timeless(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and results without what tells of time."""
    times = ("time", "duration_s", "latency_s", "attempt")
    rows = [{name: value for name, value in row.items() if name not in times} for row in read_items(folder)]
    return rows, results_of(folder) | {"latency_s": None}


def test_a_plain_function_runs_in_this_thread_and_may_have_an_event_loop_of_its_own(tmp_path: Path) -> None:
    """Debuggers, databases and clients that call `asyncio.run` work as outside of the loop."""

    async def one() -> float:
        return 1.0

    def work(_item: int) -> float:
        assert threading.current_thread() is threading.main_thread()
        return asyncio.run(one())

    assert process([1, 2], work, output_dir=tmp_path, key=str).failed == 0


def test_a_function_that_returns_a_coroutine_is_told_so(tmp_path: Path) -> None:
    async def later(_item: int) -> float:
        return 1.0

    with pytest.raises(ItemsError, match="declare it with `async def`"):
        process([1], lambda item: later(item), output_dir=tmp_path, key=str)


# --- Keys, and what is wrong before anything starts ------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_called(tmp_path: Path) -> None:
    calls: list[object] = []
    options: Any = {
        "sede": 1, "repeats": 0, "timeout_s": -1, "cost_budget_usd": math.nan, "on_invalid": "ignore",
        "metrics": {"items": metrics.number(), "a": metrics.number},
        "retry": RetryPolicy(max_attempts=0, retry_on=["timout"]), "breaker": Breaker(1.5, 0),
        "only": "some", "max_parallel": True, "seed": "1", "parameters": [1], "derived": {"d": 3},
        "failed_counts_as": {"f": "0"},
    }  # fmt: skip
    with pytest.raises(ItemsError) as caught:
        process([{"id": 1}, {"id": 1}, {}], calls.append, key="id", **options)
    text = str(caught.value)
    for part in (
        "output_dir=", "'sede', but 'seed'", "repeats is 0", "timeout_s is -1", "cost_budget_usd is nan", "on_invalid",
        "'items' is a name of results.json", "retry.max_attempts is 0", "retry.retry_on has 'timout'",
        "breaker.max_failure_rate is 1.5",
        "breaker.window is 0", "'some'", "items 0 and 1 have the same key '1'", "item 2 has no key",
        "max_parallel is True", "seed is '1'", "parameters is [1]", "derived['d'] is 3", "failed_counts_as['f'] is '0'",
        "metrics['a'] is <function number",
    ):  # fmt: skip
        assert part in text
    assert not calls
    assert not list(tmp_path.iterdir())


def test_equal_items_without_a_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(ItemsError, match="items 0 and 2 have the same key"):
        process([{"a": 1, "b": 2}, {"a": 2}, {"b": 2, "a": 1}], score_one, output_dir=tmp_path)


def test_the_folder_comes_from_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITECASE_OUTPUT_DIR", str(tmp_path / "case"))
    monkeypatch.setenv("SUITECASE_ATTEMPT", "3")
    process([1], score_one)
    assert read_items(tmp_path / "case")[0]["attempt"] == 3


# --- Resume ----------------------------------------------------------------------------------------------------------


def test_a_second_run_does_only_what_is_missing(tmp_path: Path) -> None:
    calls: list[int] = []

    def work(item: int) -> float:
        calls.append(item)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        process(range(8), work, output_dir=tmp_path, key=str)
    assert len(read_items(tmp_path)) == 3
    assert not (tmp_path / "results.json").exists()
    assert process(reversed(range(8)), work, output_dir=tmp_path, key=str).ok
    assert Counter(calls) == Counter([*range(8), 3])
    assert results_of(tmp_path)["score"] == 3.5


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"seed": 7}, "seed was 42, is 7"),
        ({"repeats": 2}, "repeats was 1, is 2"),
        ({"parameters": {"model": "b"}}, r"parameters\['model'\] was 'a', is 'b'"),
        ({"parameters": {}}, r"parameters\['model'\] was 'a', is None"),
        ({"items": [1, 2]}, "the dataset had 3 items, has 2"),
        ({"items": [1, 2, 4]}, "other keys or contents"),
        ({"items": [1, 2, 3], "key": "k{}".format}, "other keys or contents"),
    ],
)
def test_a_folder_begun_with_something_else_is_refused(changed: dict[str, Any], why: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"items": [1, 2, 3], "key": str, "parameters": {"model": "a"}, "output_dir": tmp_path}
    process(fn=score_one, **options)
    before = (tmp_path / "items.jsonl").read_bytes()
    with pytest.raises(ItemsError, match=why) as caught:
        process(fn=score_one, **{**options, **changed})
    assert "give another output_dir" in str(caught.value)
    assert (tmp_path / "items.jsonl").read_bytes() == before


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    process(range(3), score_one, output_dir=tmp_path, key=str)
    path = tmp_path / "items.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    with pytest.raises(ItemsError, match="line 2 is damaged"):
        process(range(3), score_one, output_dir=tmp_path, key=str)


def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suitecase.items.ledger.LOCK_WAIT_S", 0.0)
    said: list[str] = []

    def nested(_item: int) -> float:
        with pytest.raises(ItemsError) as caught:
            process([1], score_one, output_dir=tmp_path, key=str)
        said.append(str(caught.value))
        return 1.0

    assert process([1], nested, output_dir=tmp_path, key=str).failed == 0
    assert "is being written by another process" in said[0]


# --- Retries, dead letters, replay -----------------------------------------------------------------------------------


@pytest.fixture
def busy_server() -> Iterator[tuple[str, list[float]]]:
    """A server that turns every second request away with 429 and Retry-After; its address, and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(time.monotonic())
            if len(asked) % 2:
                self.send_response(429)
                self.send_header("Retry-After", "0.2")
            else:
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


def test_a_server_that_asks_to_wait_is_waited_for(busy_server: tuple[str, list[float]], tmp_path: Path) -> None:
    url, asked = busy_server

    def get(_item: int) -> float:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
            return response.status == 200

    summary = process(range(3), get, output_dir=tmp_path, key=str, retry=RetryPolicy(backoff_s=0.001))
    assert (summary.succeeded, summary.metrics["score"].mean) == (3, 1.0)
    assert all(later - earlier >= 0.2 for earlier, later in zip(asked[::2], asked[1::2], strict=True))
    for row in read_items(tmp_path):
        assert (row["attempts"], row["delays_s"]) == (2, [0.2])
        (error,) = row["errors"]
        assert error == {
            "attempt": 1, "class": "rate_limited", "type": "HTTPError", "message": error["message"],
            "status_code": 429, "retry_after_s": 0.2,
        }  # fmt: skip
    assert results_of(tmp_path)["errors"] == {"rate_limited": 3}


def test_the_errors_of_a_real_client_are_understood(busy_server: tuple[str, list[float]], tmp_path: Path) -> None:
    """httpx, whose errors those of openai and anthropic are made of."""
    httpx = pytest.importorskip("httpx")
    url, _ = busy_server
    with socket.create_server(("127.0.0.1", 0)) as silent:
        closed = socket.create_server(("127.0.0.1", 0))
        addresses = [
            url,
            f"http://127.0.0.1:{silent.getsockname()[1]}/",
            f"http://127.0.0.1:{closed.getsockname()[1]}/",
        ]
        closed.close()

        async def get(address: str) -> float:
            async with httpx.AsyncClient(timeout=0.2, trust_env=False, verify=False) as client:
                return (await client.get(address)).raise_for_status().status_code

        process(addresses, get, output_dir=tmp_path, key=str, retry=RetryPolicy(max_attempts=2, backoff_s=0.001))
    rows = read_items(tmp_path)
    assert [row["status"] for row in rows] == ["succeeded", "failed", "failed"]
    assert [row["errors"][0]["class"] for row in rows] == ["rate_limited", "timeout", "connection"]
    assert rows[0]["delays_s"] == [0.2]


@pytest.mark.parametrize(
    ("error", "attempts", "final_status"),
    [
        (StatusError(500), 3, "failed_retries_exhausted"),
        (StatusError(408), 3, "failed_retries_exhausted"),
        (ConnectionResetError(), 3, "failed_retries_exhausted"),
        (StatusError(404), 1, "failed_permanent"),
        (StatusError(422), 1, "failed_permanent"),
        (ValueError("?"), 1, "failed_permanent"),
        (StatusError(429, retry_after=301), 1, "failed_retries_exhausted"),
    ],
)
def test_what_is_retried_and_what_is_not(error: Exception, attempts: int, final_status: str, tmp_path: Path) -> None:
    def fail(item: int) -> float:
        if item == 1:
            raise error
        return 1.0

    retry = RetryPolicy(max_attempts=3, backoff_s=0.001, backoff="constant", jitter=False)
    summary = process(range(3), fail, output_dir=tmp_path, key=str, retry=retry)
    assert (summary.succeeded, summary.failed, summary.ok) == (2, 1, True)
    row = read_items(tmp_path)[1]
    assert (row["status"], row["attempts"], row["final_status"]) == ("failed", attempts, final_status)
    assert row["delays_s"] == [0.001] * (attempts - 1)
    assert [each["attempt"] for each in row["errors"]] == list(range(1, attempts + 1))


def test_the_classification_can_be_overridden(tmp_path: Path) -> None:
    def fail(item: int) -> float:
        raise [StatusError(409), StatusError(500), KeyError("k"), LookupError("l")][item]

    def own(error: BaseException) -> ErrorClass | None:
        return ErrorClass.CONNECTION if type(error) is LookupError else None

    retry = RetryPolicy(max_attempts=2, backoff_s=0, classify=own, never_retry_on=(500,))
    retry = replace(retry, retry_on=(*retry.retry_on, 409, KeyError))
    process(range(4), fail, output_dir=tmp_path, key=str, retry=retry)
    assert [row["attempts"] for row in read_items(tmp_path)] == [2, 1, 2, 2]


def test_dead_letters_hold_what_it_takes_to_run_an_item_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay does only those, and the results are then those of a run without the trouble."""
    broken = True
    calls: list[int] = []

    def work(item: dict[str, int]) -> float:
        calls.append(item["x"])
        if broken and item["x"] in (2, 5):
            raise PermissionError("key expired")
        return item["x"]

    def run(**options: Any) -> Any:
        parameters = {"model": "m"}
        items = [{"x": x} for x in range(8)]
        return process(items, work, output_dir=tmp_path, key="x", parameters=parameters, **options)

    assert run().dead_letters_path == tmp_path / "dead_letters.jsonl"
    letters = read_dead_letters(tmp_path)
    assert [(letter["item"], letter["parameters"], letter["seed"]) for letter in letters] == [
        ({"x": row["index"]}, {"model": "m"}, row["seed"]) for row in read_items(tmp_path) if row["status"] == "failed"
    ]
    calls.clear()
    assert run().failed == 2
    assert not calls
    (tmp_path / "dead_letters.jsonl").unlink()  # the truth is items.jsonl
    assert run(only="dead_letters").failed == 2
    assert calls == [2, 5]
    assert read_dead_letters(tmp_path)[0]["item"] == {"x": 2}
    broken = False
    monkeypatch.setenv("SUITECASE_REPLAY", "dead_letters")
    summary = run()
    assert (summary.succeeded, summary.failed, summary.dead_letters_path) == (8, 0, None)
    assert calls == [2, 5, 2, 5]
    assert not (tmp_path / "dead_letters.jsonl").exists()
    assert results_of(tmp_path)["score"] == 3.5


# --- Timeouts, rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread", "async", "async that refuses to be cancelled"])
def test_a_call_that_hangs_frees_its_place(kind: str, tmp_path: Path) -> None:
    """One place, and a call that never ends by itself: the others are done, and the process goes on."""
    end = threading.Event()

    def hang(item: int) -> float:
        if item == 1:
            end.wait(DEADLINE_S)
        return item

    async def hang_async(item: int) -> float:
        while item == 1 and not end.is_set():
            try:
                await asyncio.sleep(0.01 if "refuses" in kind else DEADLINE_S)
            except asyncio.CancelledError:
                if "refuses" not in kind:
                    raise
        return item

    started_s = time.monotonic()
    fn = hang if kind == "thread" else hang_async
    summary = process(range(5), fn, output_dir=tmp_path, key=str, timeout_s=0.2, retry=RetryPolicy(max_attempts=1))
    end.set()
    assert (summary.succeeded, summary.failed) == (4, 1)
    assert time.monotonic() - started_s < DEADLINE_S / 2
    assert read_items(tmp_path)[1]["errors"][0]["message"] == "no answer within 0.2 s"


def test_too_many_calls_left_behind_stop_the_loop(tmp_path: Path) -> None:
    end = threading.Event()
    summary = process(
        range(50), lambda _item: end.wait(DEADLINE_S), output_dir=tmp_path, key=str, timeout_s=0.01, max_abandoned=3,
        retry=RetryPolicy(max_attempts=1),
    )  # fmt: skip
    end.set()
    assert (summary.stopped_by, summary.failed) == ("abandoned", 4)


def test_calls_are_spread_over_time(tmp_path: Path) -> None:
    """So many a second, and so many tokens a minute once they are known."""
    started_s = time.monotonic()
    process(range(6), score_one, output_dir=tmp_path / "a", key=str, rate_limit=20)
    assert time.monotonic() - started_s >= 5 / 20 * 0.98

    async def spend(item: int) -> dict[str, int]:
        return {"input_tokens": 600_000 if item == 0 else 1500, "output_tokens": 0 if item == 0 else 500}

    started_s = time.monotonic()
    process(range(2), spend, output_dir=tmp_path / "b", key=str, token_limit=600_000)
    assert time.monotonic() - started_s >= 2000 / 600_000 * 60 * 0.98


# --- Stops -----------------------------------------------------------------------------------------------------------


def test_the_breaker_opens_strictly_above_its_rate_and_only_with_a_full_window(tmp_path: Path) -> None:
    def fail(item: int) -> float:
        if item % 5 == 0 or item >= 100:
            raise ValueError("no")
        return 1.0

    summary = process(range(200), fail, output_dir=tmp_path / "a", key=str)
    assert summary.stopped_by == "breaker"
    assert summary.total - summary.remaining == 102  # with 100 and 101, 11 of 50: 20 % would be 10
    assert "11 of the last 50 failed" in str(summary.reason)
    assert results_of(tmp_path / "a")["stopped"] == {"by": "breaker", "reason": summary.reason}
    assert not summary.ok
    assert process(range(200), score_one, output_dir=tmp_path / "a", key=str).remaining == 0
    few = process(range(49), lambda _item: 1 / 0, output_dir=tmp_path / "b", key=str)
    assert (few.failed, few.stopped_by) == (49, None)


def test_budgets_stop_and_count_earlier_passes(tmp_path: Path) -> None:
    calls: list[int] = []

    def pay(item: int) -> dict[str, float]:
        calls.append(item)
        if item % 4 == 3:
            error = ValueError("wrong, and paid")
            error.cost_usd = 0.1  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        return {"score": 1, "cost_usd": 0.1}

    def run(**budgets: Any) -> Any:
        return process(range(20), pay, output_dir=tmp_path, key=str, **budgets)

    first = run(cost_budget_usd=0.5)
    assert (first.stopped_by, first.cost_usd, len(calls)) == ("cost_budget", 0.5, 5)
    assert run(cost_budget_usd=0.5).stopped_by == "cost_budget"
    assert len(calls) == 5
    second = run(failure_budget=2)
    assert (second.stopped_by, second.failed, len(calls)) == ("failure_budget", 3, 12)
    last = run(cost_budget_usd=2.0, failure_budget=5)
    assert (last.stopped_by, last.remaining, last.cost_usd) == (None, 0, 2.0)
    assert results_of(tmp_path)["cost_usd"] == 2.0


@pytest.mark.parametrize("how", ["file", "callable", "callable that raises"])
def test_cancelled_between_items(how: str, tmp_path: Path) -> None:
    done: list[int] = []

    def work(item: int) -> float:
        done.append(item)
        if item == 3 and how == "file":
            (tmp_path / "cancel").touch()
        time.sleep(0.02)  # so that the poll, a few times a second, comes round
        return item

    def cancelled() -> bool:
        if how == "callable that raises" and len(done) > 3:
            raise OSError("gone")
        return how == "callable" and len(done) > 3

    if how == "callable that raises":
        with pytest.raises(OSError, match="gone"):
            process(range(500), work, output_dir=tmp_path, key=str, cancelled=cancelled)
    else:
        summary = process(range(500), work, output_dir=tmp_path, key=str, cancelled=cancelled)
        assert summary.stopped_by == "cancelled"
        assert results_of(tmp_path)["items"]["succeeded"] == len(done)
    assert 3 < len(read_items(tmp_path)) == len(done) < 500


SIGNALLED = """
import asyncio, sys, time
from pathlib import Path
from suitecase.items import RetryPolicy, process
folder, how = Path(sys.argv[1]), sys.argv[2]
def plain(item):
    if item == 5 and how == "retry":
        raise TimeoutError
    time.sleep(0.01)
    return item
async def later(item):
    if item == 5 and how == "retry":
        raise TimeoutError
    await asyncio.sleep(0.01)
    return item
options = {"retry": RetryPolicy(backoff_s=3600, backoff_cap_s=3600, jitter=False), "key": str, "output_dir": folder}
kind = sys.argv[3]
fn, parallel = later if kind == "async" else plain, 1 if kind == "here" else 3
summary = process(range(5_000), fn, max_parallel=parallel, **options)
print(summary.stopped_by, summary.succeeded)
"""


@pytest.mark.parametrize(("kind", "how"), [("here", "retry"), ("async", "retry"), ("threads", "work")])
def test_sigterm_ends_the_loop_between_items(kind: str, how: str, tmp_path: Path) -> None:
    """Also one that waits an hour for a retry; everything done is on disk, with results."""
    command = [sys.executable, "-c", SIGNALLED, str(tmp_path), how, kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        path = tmp_path / "items.jsonl"
        wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") > 5, "some rows")
        child.send_signal(signal.SIGTERM)
        printed, _ = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0
    assert printed.split() == ["SIGTERM", str(len(read_items(tmp_path)))]
    assert results_of(tmp_path)["stopped"]["by"] == "SIGTERM"


def test_aprocess_can_be_cancelled(tmp_path: Path) -> None:
    async def slow(item: int) -> float:
        await asyncio.sleep(0 if item < 4 else DEADLINE_S)
        return item

    async def run() -> None:
        task = asyncio.create_task(aprocess(range(10), slow, output_dir=tmp_path, key=str, max_parallel=2))
        while not (tmp_path / "items.jsonl").exists() or len(read_items(tmp_path)) < 4:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert len(read_items(tmp_path)) == 4


# --- Hooks -----------------------------------------------------------------------------------------------------------


def test_on_error_decides(tmp_path: Path) -> None:
    def work(item: int, context: ItemContext) -> float:
        if item == 1 and context.attempt < 3:
            raise ValueError("worth another try")
        if item in (2, 4):
            raise ValueError("none")
        return item

    answers: Mapping[int, Answer] = {1: RETRY, 2: SKIP, 4: ABORT}
    summary = process(
        range(9), work, output_dir=tmp_path, key=str, retry=AT_ONCE,
        on_error=lambda context, _error: answers[context.index],
    )  # fmt: skip
    assert [row["status"] for row in read_items(tmp_path)] == ["succeeded"] * 2 + ["skipped", "succeeded", "failed"]
    assert read_items(tmp_path)[1]["attempts"] == 3
    assert (summary.skipped, summary.stopped_by, summary.remaining) == (1, "on_error", 4)
    assert [letter["key"] for letter in read_dead_letters(tmp_path)] == ["4"]


def test_retry_is_asked_for_within_the_limit_of_attempts(tmp_path: Path) -> None:
    process(
        [1], lambda _item: 1 / 0, output_dir=tmp_path, key=str, retry=AT_ONCE, on_error=lambda _context, _error: RETRY
    )
    assert read_items(tmp_path)[0]["attempts"] == AT_ONCE.max_attempts


def test_a_hook_that_raises_is_recorded_and_changes_nothing(tmp_path: Path) -> None:
    def fail(*_arguments: object) -> Any:
        raise RuntimeError("broken hook")

    hooks: dict[str, Any] = {"before_item": fail, "after_item": fail, "on_error": fail}
    summary = process([0, 1], lambda item: 1 / item, output_dir=tmp_path, key=str, **hooks)
    assert (summary.succeeded, summary.failed) == (1, 1)
    told = [f"{name}: RuntimeError: broken hook" for name in ("before_item", "on_error", "after_item")]
    assert [row["hook_errors"] for row in read_items(tmp_path)] == [told, [told[0], told[2]]]
    assert results_of(tmp_path)["items"]["hook_failures"] == 5
    answer: Any = "again"
    process([0], lambda item: 1 / item, output_dir=tmp_path / "b", key=str, on_error=lambda _context, _error: answer)
    assert read_items(tmp_path / "b")[0]["hook_errors"] == [
        "on_error: answered 'again': give RETRY, SKIP, ABORT or None"
    ]


def test_after_item_sees_the_row_and_can_not_change_it(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(row: Mapping[str, Any]) -> None:
        seen.append(row["metrics"]["score"])
        row["status"] = "failed"  # pyright: ignore[reportIndexIssue]

    process([3], float, output_dir=tmp_path, key=str, after_item=look)
    assert seen == [3.0]
    assert read_items(tmp_path)[0]["status"] == "succeeded"


# --- Metrics and results ---------------------------------------------------------------------------------------------

CONFIDENCE = {"custom.confidence": 0.5}
SCHEMA = {
    "accuracy": metrics.probability(better="higher"),
    "share": metrics.percentage(required=False),
    "length": metrics.number(min=1, max=9, default=5, unit="words", better="lower"),
    "custom": metrics.map({"confidence": metrics.probability(), "took_s": metrics.duration_s(required=False)}),
}
GOOD = {"accuracy": 1, "custom": {"confidence": 0.5}}


@pytest.mark.parametrize(
    ("returned", "found", "problems"),
    [
        (GOOD, {"accuracy": 1.0, "length": 5.0, **CONFIDENCE}, []),
        (GOOD | {"accuracy": "0.85"}, {"accuracy": 0.85, "length": 5.0, **CONFIDENCE}, []),
        (GOOD | {"more": 3, "accuracy": True}, {"more": 3.0, "accuracy": 1.0, "length": 5.0, **CONFIDENCE}, []),
        (
            {"accuracy": math.nan, "share": -math.inf, "length": 10, "custom": {"took_s": -1}},
            {},
            ["accuracy: is NaN", "share: is -Infinity", "length: input should be less than or equal to 9, not 10",
             "custom.confidence: is missing", "custom.took_s: input should be greater than or equal to 0, not -1"],
        ),
        ({"accuracy": "high", "custom": 3}, {"length": 5.0}, ["accuracy: ", "custom: 3 is no mapping"]),
        ({}, {"length": 5.0}, ["accuracy: is missing", "custom.confidence: is missing"]),
        (GOOD | {"stray": math.inf}, {"accuracy": 1.0, "length": 5.0, **CONFIDENCE}, ["stray: is Infinity"]),
    ],
)  # fmt: skip
def test_values_are_checked_by_the_schema(
    returned: dict[str, Any], found: dict[str, float], problems: list[str], tmp_path: Path
) -> None:
    """All problems at once, by dotted path; what is valid is kept."""
    process([1], lambda _item: returned, output_dir=tmp_path, key=str, metrics=SCHEMA)
    (row,) = read_items(tmp_path)
    assert row["metrics"] == found
    told = row.get("invalid", [])
    assert len(told) == len(problems)
    assert all(text.startswith(start) for text, start in zip(told, problems, strict=True)), told


def test_text_for_a_number_is_announced_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "suitecase.items")
    heard: list[object] = []
    process(
        range(5), lambda _item: {"a": "0.5"}, output_dir=tmp_path, key=str, metrics={"a": metrics.number()},
        observe=lambda facts: heard.append(facts.get("level") and facts["message"]),
    )  # fmt: skip
    text = "metric a: text is read as a number, '0.5' as 0.5 (said once)"
    assert [record.getMessage() for record in caplog.records] == [text]
    assert [message for message in heard if message] == [text]


def test_on_invalid(tmp_path: Path) -> None:
    def work(item: int, context: ItemContext) -> dict[str, Any]:
        return {"accuracy": 7 if item == 1 and context.attempt < 3 else 1, "cost_usd": 1}

    def run(name: str, on_invalid: Any) -> Any:
        schema = {"accuracy": metrics.probability()}
        options: Any = {"metrics": schema, "on_invalid": on_invalid, "retry": AT_ONCE}
        return process(range(4), work, output_dir=tmp_path / name, key=str, **options)

    assert run("a", "continue").succeeded == 4
    assert results_of(tmp_path / "a")["metrics"]["accuracy"]["missing"] == 1
    assert results_of(tmp_path / "a")["items"]["invalid"] == 1
    retried = run("b", "retry")
    assert (retried.succeeded, retried.cost_usd) == (4, 6)
    assert [row["attempts"] for row in read_items(tmp_path / "b")] == [1, 3, 1, 1]
    aborted = run("c", "abort")
    assert (aborted.succeeded, aborted.failed, aborted.remaining) == (1, 1, 2)
    assert (aborted.stopped_by, aborted.reason) == (
        "invalid_metric",
        "accuracy: input should be less than or equal to 1, not 7",
    )


def test_unit_and_direction_reach_the_results(tmp_path: Path) -> None:
    process([1, 2], lambda _item: GOOD, output_dir=tmp_path, key=str, metrics=SCHEMA)
    told = results_of(tmp_path)["metrics"]
    assert (told["length"]["unit"], told["length"]["better"]) == ("words", "lower")
    assert (told["accuracy"]["unit"], told["accuracy"]["better"]) == ("", "higher")


def test_with_repeats_the_item_is_what_counts(tmp_path: Path) -> None:
    """Mean of the items' means; n and the interval are of items, not of rows."""
    values = {0: [0.0, 1.0, 0.5], 1: [1.0, 1.0, 1.0], 2: [0.0, 0.0, 0.3]}
    process(range(3), lambda item, context: values[item][context.repeat], output_dir=tmp_path, key=str, repeats=3)
    means = [sum(each) / 3 for each in values.values()]
    told = results_of(tmp_path)["metrics"]["score"]
    low, high = stats.t.interval(0.95, 2, loc=sum(means) / 3, scale=stats.sem(means))
    assert told["n"] == 3
    assert (told["mean"], told["ci_low"], told["ci_high"]) == pytest.approx((sum(means) / 3, low, high), rel=1e-12)


@pytest.mark.parametrize("items", [1, 5])
def test_one_value_or_equal_ones_have_no_interval(items: int, tmp_path: Path) -> None:
    process(range(items), lambda _item: 0.1, output_dir=tmp_path, key=str)
    told = results_of(tmp_path)["metrics"]["score"]
    assert (told["mean"], told["ci_low"], told["ci_high"]) == (0.1, None, None)


def test_no_items_and_huge_values_have_results_too(tmp_path: Path) -> None:
    nothing: list[int] = []
    assert process(nothing, score_one, output_dir=tmp_path / "none", key=str).ok
    assert results_of(tmp_path / "none")["items"]["total"] == 0
    process([1, 3], lambda item: item * 5e307, output_dir=tmp_path / "huge", key=str)
    assert results_of(tmp_path / "huge")["metrics"]["score"]["mean"] == 1e308


def test_failed_items_are_counted_beside_the_mean_or_in_it(tmp_path: Path) -> None:
    def work(item: int) -> dict[str, float]:
        return {"accuracy": 1 / item}

    process(range(3), work, output_dir=tmp_path / "a", key=str)
    told = results_of(tmp_path / "a")["metrics"]["accuracy"]
    assert (told["mean"], told["n"], told["missing"]) == (0.75, 2, 1)
    process(range(3), work, output_dir=tmp_path / "b", key=str, failed_counts_as={"accuracy": 0.0})
    told = results_of(tmp_path / "b")["metrics"]["accuracy"]
    assert (told["mean"], told["n"], told["missing"], told["failed_counts_as"]) == (0.5, 3, 0, 0.0)


def test_derived_figures_come_from_the_rows_in_order(tmp_path: Path) -> None:
    def by_first(rows: Any) -> Any:
        assert [row["index"] for row in rows] == list(range(12))
        assert rows[-1]["index"] == rows[5:][6]["index"] == 11
        return {"even": sum(row["metrics"]["score"] for row in rows if row["index"] % 2 == 0)}

    def broken(_rows: Any) -> float:
        return 1 / 0

    derived = {"by_parity": by_first, "broken": broken}
    process(range(12), float, output_dir=tmp_path, key=str, shuffle=True, derived=derived)
    results = results_of(tmp_path)
    assert results["by_parity"] == {"even": 30.0}
    assert results["broken"] is None
    assert results["derived_errors"] == {"broken": "ZeroDivisionError: division by zero"}


# --- Telling ---------------------------------------------------------------------------------------------------------


def test_an_observer_hears_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suitecase.items.progress.OBSERVE_EVERY_S", 0.0)
    heard: list[dict[str, Any]] = []
    process(
        range(4), lambda item: {"score": 1 / item, "cost_usd": 0.5, "input_tokens": 3}, output_dir=tmp_path, key=str,
        observe=lambda facts: heard.append(dict(facts)),
    )  # fmt: skip
    progress = [facts for facts in heard if facts["event"] == "progress"]
    assert [facts["done"] for facts in progress] == [1, 2, 3, 4, 4]
    assert progress[-1]["errors"] == {"unknown": 1}
    assert (progress[-1]["total"], progress[-1]["failed"], progress[-1]["cost_usd"]) == (4, 1, 1.5)
    costs = [facts for facts in heard if facts["event"] == "cost"]
    assert (sum(facts["usd"] for facts in costs), sum(facts["input_tokens"] for facts in costs)) == (1.5, 9)


def test_an_observer_that_raises_is_told_nothing_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def observe(_facts: Mapping[str, object]) -> None:
        raise OSError("gone")

    assert process(range(3), score_one, output_dir=tmp_path, key=str, observe=observe).ok
    assert [record.getMessage() for record in caplog.records] == [
        "observe raised OSError: gone; it is told nothing more"
    ]


def test_without_an_observer_there_is_a_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process(range(3), score_one, output_dir=tmp_path, key=str)
    line = capsys.readouterr().err
    assert line.startswith("items: 3/3, ")
    assert line.count("\n") == 1


def test_a_pilot_does_some_rows_and_the_next_run_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITECASE_MAX_ITEMS", "4")
    pilot = process(range(10), score_one, output_dir=tmp_path, key=str)
    assert (pilot.total, pilot.succeeded, pilot.remaining, pilot.limited, pilot.ok) == (10, 4, 6, True, True)
    monkeypatch.setenv("SUITECASE_MAX_ITEMS", "none")
    with pytest.raises(ItemsError, match="SUITECASE_MAX_ITEMS is 'none': give a whole number"):
        process(range(10), score_one, output_dir=tmp_path, key=str)
    monkeypatch.delenv("SUITECASE_MAX_ITEMS")
    whole = process(range(10), score_one, output_dir=tmp_path, key=str)
    assert (whole.succeeded, whole.limited, whole.ok) == (10, False, True)


def test_the_package_is_light_and_knows_no_runner() -> None:
    script = "import sys, suitecase.items; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.startswith("suitecase.")}
    below = {"errors", "ranges", "rundir", "limits", "hedging", "ensembles", "items"}
    assert {name.split(".")[1] for name in ours} <= below
    assert not {"scipy", "numpy", "tenacity", "aiolimiter", "experiment_runner", "experiment_config"} & loaded
    assert set(suitecase.items.__all__) <= set(dir(suitecase.items))
