"""What the loop over items costs: CPU per item, memory, and how near it comes to a bare loop.

    python benchmarks/items.py [--quick] [--kills N]

Machines are noisy: what is compared runs in turn, and the minimum of each counts. CPU and memory are of whole
processes started here, with an empty function; a process that only makes the items is subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from suitecase.items import ItemContext, RetryPolicy, metrics, process, read_items

ROOT = Path(__file__).resolve().parent.parent

LOOP = """
import json, resource, sys
from suitecase.items import metrics, process
how, folder, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
items = [{"id": f"q{i}", "question": f"What is {i} + {i + 1}?", "answer": 2 * i + 1} for i in range(n)]
def before():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss
cpu_s, rss = before()
def plain(item): return {"accuracy": len(item["id"]) / 10, "output": "an answer", "cost_usd": 0.0001}
async def asynchronous(item): return plain(item)
options = {"output_dir": folder, "key": "id", "metrics": {"accuracy": metrics.probability()}}
options["observe"] = lambda facts: None
if how == "plain": process(items, plain, **options)
elif how == "async": process(items, asynchronous, max_parallel=100, **options)
elif how == "async timeout": process(items, asynchronous, max_parallel=100, timeout_s=60, **options)
elif how == "threads": process(items, plain, max_parallel=8, **options)
after = before()
print(json.dumps([after[0] - cpu_s, after[1], rss]))
"""

TIMES = ("time", "duration_s", "latency_s", "attempt")
IN_FLIGHT = {"plain": 1, "threads": 4, "async": 4}


def output_of(code: str, *arguments: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def per_item(how: str, items: int, rounds: int) -> dict[str, Any]:
    """CPU of ours for an item, and the process's memory at its peak beside that with the items alone."""
    cpu: list[float] = []
    memory = (0, 0)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            used_s, peak_kb, before_kb = json.loads(output_of(LOOP, how, folder, str(items)))
        cpu.append(used_s)
        memory = peak_kb, before_kb
    return {
        "how": how, "items": items, "us_per_item": round(min(cpu) / items * 1e6, 1),
        "peak_mb": round(memory[0] / 1024), "of_which_ours_mb": round((memory[0] - memory[1]) / 1024),
    }  # fmt: skip


def calls_per_s(calls: int, latency_s: float, parallel: int) -> dict[str, Any]:
    """Async calls of one length, through the loop and through a bare semaphore with gather."""

    async def call(_item: int) -> float:
        await asyncio.sleep(latency_s)
        return 1.0

    async def bare() -> None:
        places = asyncio.Semaphore(parallel)

        async def one(item: int) -> float:
            async with places:
                return await call(item)

        await asyncio.gather(*(one(item) for item in range(calls)))

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            process(range(calls), call, key=str, output_dir=folder, max_parallel=parallel, observe=lambda _facts: None)

    bare_s, ours_s = wall_s(lambda: asyncio.run(bare())), wall_s(ours)
    return {
        "calls": calls, "latency_s": latency_s, "max_parallel": parallel, "ours_per_s": round(calls / ours_s, 1),
        "bare_per_s": round(calls / bare_s, 1), "ratio": round(bare_s / ours_s, 3),
    }  # fmt: skip


def wall_s(run: Callable[[], None]) -> float:
    started_s = time.perf_counter()
    run()
    return time.perf_counter() - started_s


def some_work(case: Path, calls: Path, how: str) -> None:
    """A loop over 60 items, twice, that notes the begin and the end of each call."""
    log = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def plain(item: int, context: ItemContext) -> dict[str, Any]:
        this = f"{context.key} {context.repeat} {context.attempt}"
        os.write(log, f"{this} begins\n".encode())
        time.sleep(0.002)
        if item % 29 == 7:
            raise ValueError("poison")
        if item % 11 == 3 and context.attempt == 1:
            raise TimeoutError("slow")
        os.write(log, f"{this} ends\n".encode())
        return {"accuracy": context.random.random(), "output": "x" * (item % 300), "cost_usd": 0.001}

    async def later(item: int, context: ItemContext) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return plain(item, context)

    process(
        range(60), later if how == "async" else plain, key=str, repeats=2, output_dir=case, shuffle=True, breaker=None,
        max_parallel=IN_FLIGHT[how], retry=RetryPolicy(backoff_s=0.002), observe=lambda _facts: None,
        metrics={"accuracy": metrics.probability(better="higher")},
    )  # fmt: skip


def kills(count: int) -> dict[str, Any]:
    """Loops killed at random moments until one comes to its end: what was lost, what was done twice, what differs."""
    chance = random.Random(1)
    figures = {"kills": 0, "loops": 0, "lost": 0, "done_twice": 0, "beyond_in_flight": 0, "results_that_differ": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        some_work(folder / "whole", folder / "calls", "threads")
        expected = timeless(folder / "whole")
        while figures["kills"] < count:
            how = list(IN_FLIGHT)[figures["loops"] % len(IN_FLIGHT)]
            case, calls = folder / f"case-{figures['loops']}", folder / f"calls-{figures['loops']}"
            killed = kill_until_done(case, calls, how, chance)
            figures["loops"] += 1
            figures["kills"] += killed
            ended = [line for line in calls.read_text().splitlines() if line.endswith(" ends")]
            doubled = len(ended) - len(set(ended))
            figures["lost"] += 120 - len(read_items(case))
            figures["done_twice"] += doubled
            figures["beyond_in_flight"] += max(0, doubled - killed * IN_FLIGHT[how])
            figures["results_that_differ"] += timeless(case) != expected
    return figures


def kill_until_done(case: Path, calls: Path, how: str, chance: random.Random) -> int:
    """Start a loop in a fork and kill it after a while, again and again; how often it took."""
    killed = 0
    while True:
        child = os.fork()
        if child == 0:
            some_work(case, calls, how)
            os._exit(0)
        end_s = time.monotonic() + chance.uniform(0, 0.3)
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end_s:
            time.sleep(0.001)
        if ended[0] == 0:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
        if ended[1] == 0:
            return killed
        assert os.WIFSIGNALED(ended[1]), ended
        killed += 1


def timeless(case: Path) -> str:
    """Rows and results of a folder, without what tells of time."""
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in read_items(case)]
    results = json.loads((case / "results.json").read_text())
    results["latency_s"] = results["latency_s"]["n"]
    return json.dumps([rows, results])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and items: a look, not a measurement")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="also kill loops so many times")
    parser.add_argument("--only-kills", action="store_true", help="and measure nothing")
    arguments = parser.parse_args()
    print(f"{date.today()}, {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    if not arguments.only_kills:
        measure(arguments.quick)
    if arguments.kills:
        show(f"kill -9, {arguments.kills} times", kills(arguments.kills))


def measure(quick: bool) -> None:
    items, rounds = (10_000, 1) if quick else (100_000, 3)
    for how in ("plain", "async", "async timeout", "threads"):
        limit = " (limits 60 us, 100 MB)" if how in ("plain", "async") else ""
        show(f"CPU per item, {how}{limit}", per_item(how, items, rounds))
    show("throughput (limit 82 a second)", calls_per_s(300 if quick else 1500, 1.2, 100))


def show(what: str, figures: object) -> None:
    print(f"{what}: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
