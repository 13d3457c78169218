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

from suitecase.items import process, read_items

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

KILLED = """
import sys, time
from suitecase.items import RetryPolicy, metrics, process
folder, calls, how = sys.argv[1:]
log = open(calls, "ab", buffering=0)
def work(item, context):
    log.write(f"{context.key} {context.repeat} {context.attempt} b\\n".encode())
    time.sleep(0.002)
    if item % 29 == 7: raise ValueError("poison")
    if item % 11 == 3 and context.attempt == 1: raise TimeoutError("slow")
    log.write(f"{context.key} {context.repeat} {context.attempt} e\\n".encode())
    return {"accuracy": context.random.random(), "output": "x" * (item % 300), "cost_usd": 0.001}
async def later(item, context): return work(item, context)
if how == "plain": fn, parallel = work, 1
elif how == "threads": fn, parallel = work, 4
else: fn, parallel = later, 4
process(range(60), fn, key=str, repeats=2, output_dir=folder, max_parallel=parallel, shuffle=True, breaker=None,
        retry=RetryPolicy(backoff_s=0.002), metrics={"accuracy": metrics.probability(better="higher")})
"""
TIMES = ("time", "duration_s", "latency_s", "attempt")
IN_FLIGHT = {"plain": 1, "threads": 4, "async": 4}


def child(code: str, *arguments: str) -> str:
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
            used_s, peak_kb, before_kb = json.loads(child(LOOP, how, folder, str(items)))
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


def kills(count: int) -> dict[str, Any]:
    """Loops killed at random moments until one comes to its end: what was lost, what was done twice, what differs."""
    chance = random.Random(1)
    figures = {"kills": 0, "loops": 0, "lost": 0, "doubled_beyond_in_flight": 0, "results_that_differ": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected: dict[str, Any] = {}
        for how in IN_FLIGHT:
            child(KILLED, str(folder / how), str(folder / "calls"), how)
            expected[how] = timeless(folder / how)
        while figures["kills"] < count:
            how = list(IN_FLIGHT)[figures["loops"] % len(IN_FLIGHT)]
            case, calls = folder / f"case-{figures['loops']}", folder / f"calls-{figures['loops']}"
            killed = kill_until_done(case, calls, how, chance)
            figures["loops"] += 1
            figures["kills"] += killed
            ended = [line for line in calls.read_text().splitlines() if line.endswith(" e")]
            doubled = len(ended) - len(set(ended))
            figures["lost"] += 120 - len(read_items(case))
            figures["doubled_beyond_in_flight"] += max(0, doubled - killed * IN_FLIGHT[how])
            figures["results_that_differ"] += timeless(case) != expected[how]
    return figures


def kill_until_done(case: Path, calls: Path, how: str, chance: random.Random) -> int:
    killed = 0
    while True:
        command = [sys.executable, "-c", KILLED, str(case), str(calls), how]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            size = calls.stat().st_size if calls.exists() else 0
            while process.poll() is None and (calls.stat().st_size if calls.exists() else 0) == size:
                time.sleep(0.005)
            try:
                process.wait(chance.uniform(0, 0.12))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        if process.returncode == 0:
            return killed
        assert process.returncode == -signal.SIGKILL, process.returncode
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
    arguments = parser.parse_args()
    print(f"{date.today()}, {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    items, rounds = (10_000, 1) if arguments.quick else (100_000, 3)
    for how in ("plain", "async", "async timeout", "threads"):
        limit = " (limits 60 us, 100 MB)" if how in ("plain", "async") else ""
        show(f"CPU per item, {how}{limit}", per_item(how, items, rounds))
    show("throughput (limit 82 a second)", calls_per_s(300 if arguments.quick else 1500, 1.2, 100))
    if arguments.kills:
        show(f"kill -9, {arguments.kills} times", kills(arguments.kills))


def show(what: str, figures: object) -> None:
    print(f"{what}: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
