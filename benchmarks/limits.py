"""What shared limits cost: processes that begin and end calls in a closed loop, as fast as they may.

    python benchmarks/limits.py                      8 processes, 10 s for each row
    python benchmarks/limits.py --seconds 2 --processes 4
    python benchmarks/limits.py --budget             how far 8 processes spend beyond a budget that they share

`acquire` is the mean time from asking to having, all waiting for other processes included; `per call` the time of all
processes together for one call, begin and end. `least/mean` is what the slowest process got of the mean. `beyond` is
what was spent beyond the budget, at most in 10 rounds: what is in flight when it is spent is still paid for, so that n
calls in flight may cost n − 1 more.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from suitecase.limits import Budget, BudgetSpentError, Limits, Price, Prices, Rates  # noqa: E402

BUDGET_US = 200.0
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        work_s: What a call takes, by sleeping.
        tasks: Tasks of each process that call at a time; 0 for a plain loop. The first process has `first_tasks`.
    """

    name: str
    rates: Rates
    budget: Budget | None = None
    work_s: float = 0.0
    tasks: int = 0
    first_tasks: int = 0


def rows() -> Sequence[Row]:
    """What is measured: limits that never bind, then ones that do."""
    return (
        Row("nothing binds", Rates(max_concurrent=1000)),
        Row("nothing binds, all kinds of limits", Rates(1e9, 1e12, 1000), Budget(1e6, 1e6, 1e6)),
        Row("the same, asyncio", Rates(1e9, 1e12, 1000), Budget(1e6, 1e6, 1e6), tasks=4),
        Row("4 places, calls of 20 ms", Rates(max_concurrent=4), work_s=0.02),
        Row("6,000 requests a minute", Rates(requests_per_min=6_000)),
        Row("4 places, one process with 50 tasks", Rates(max_concurrent=4), work_s=0.02, tasks=1, first_tasks=50),
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--budget", action="store_true", help="how far a budget is overspent, instead")
    given = parser.parse_args()
    if given.budget:
        return show_overspending(given.processes)
    print(f"Python {sys.version.split()[0]}, {given.processes} processes, {given.seconds:g} s each")
    print(f"{'':40} {'calls/s':>9} {'acquire':>11} {'per call':>10} {'CPU':>9} {'least/mean':>11}")
    for row in rows():
        found = measure(row, given.processes, given.seconds)
        calls = [count for count, _, _ in found]
        acquire_us = sum(waited for _, waited, _ in found) / sum(calls) * 1e6
        cpu_us = sum(cpu for _, _, cpu in found) / sum(calls) * 1e6
        print(
            f"{row.name:40} {sum(calls) / given.seconds:9,.0f} {acquire_us:8,.1f} µs "
            f"{given.seconds / sum(calls) * 1e6:7,.1f} µs {cpu_us:6,.1f} µs {min(calls) / fmean(calls):11.2f}"
        )
    print(f"Limits: {BUDGET_US:g} µs per acquire where nothing binds, least/mean {LEAST_SHARE:g}")
    return None


def measure(row: Row, processes: int, seconds: float) -> list[tuple[int, float, float]]:
    """Of each process: calls, seconds waited for them, seconds of CPU."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ends: list[Connection] = []
        started: list[SpawnProcess] = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(row, Path(folder, "limits.bin"), number, seconds, theirs))
            process.start()
            ends.append(ours)
            started.append(process)
        for end in ends:
            end.recv()
        for end in ends:
            end.send("go")
        found: list[tuple[int, float, float]] = [end.recv() for end in ends]
        for process in started:
            process.join()
    return found


def work(row: Row, path: Path, number: int, seconds: float, end: Connection) -> None:
    """One process."""
    from datetime import date

    prices = Prices((Price("model", date(2026, 1, 1), 0.25, 2.0),))
    limits = Limits(row.rates, budget=row.budget, prices=prices, path=path)
    with limits.acquire("model") as call:
        call.charge(0.0)
    end.send("ready")
    end.recv()
    cpu_s, stop_s = time.process_time(), time.monotonic() + seconds
    if row.tasks:
        waits = asyncio.run(loop_in_tasks(row, limits, row.first_tasks * (number == 0) or row.tasks, stop_s))
    else:
        waits = loop(row, limits, stop_s)
    end.send((len(waits), sum(waits), time.process_time() - cpu_s))


def loop(row: Row, limits: Limits, stop_s: float) -> list[float]:
    """Call after call."""
    waits: list[float] = []
    while (begun_s := time.monotonic()) < stop_s:
        with limits.acquire("model", tokens=100) as call:
            waits.append(time.monotonic() - begun_s)
            if row.work_s:
                time.sleep(row.work_s)
            if row.budget:
                call.charge(input_tokens=90, output_tokens=10)
    return waits


async def loop_in_tasks(row: Row, limits: Limits, tasks: int, stop_s: float) -> list[float]:
    """Tasks that call and call."""
    waits: list[float] = []

    async def calls() -> None:
        while (begun_s := time.monotonic()) < stop_s:
            async with limits.acquire("model", tokens=100) as call:
                waits.append(time.monotonic() - begun_s)
                await asyncio.sleep(row.work_s)
                if row.budget:
                    call.charge(input_tokens=90, output_tokens=10)

    await asyncio.gather(*(calls() for _ in range(tasks)))
    return waits


# --- Money -----------------------------------------------------------------------------------------------------------

PRICE_USD, BUDGET_USD, ROUNDS = 0.01, 2.0, 10
SPENDING = (
    Row("a call at a time in each", Rates(max_concurrent=1000), work_s=0.002),
    Row("8 at a time in each, asyncio", Rates(max_concurrent=1000), work_s=0.002, tasks=8),
    Row("8 at a time in each, 4 places", Rates(max_concurrent=4), work_s=0.002, tasks=8),
)


def show_overspending(processes: int) -> None:
    """A table: all processes begin calls of one price until their common budget is spent."""
    print(f"Python {sys.version.split()[0]}, {processes} processes, ${BUDGET_USD:g}, ${PRICE_USD:g} a call")
    print(f"{'':40} {'in flight':>9} {'may be beyond':>14} {'beyond':>9}")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ends: list[Connection] = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=spend, args=(theirs,), daemon=True).start()
            ends.append(ours)
        for place, row in enumerate(SPENDING):
            beyond = (
                max(spent_in_round(ends, row, Path(folder, f"{place}-{n}.bin")) for n in range(ROUNDS)) - BUDGET_USD
            )
            in_flight = min(int(row.rates.max_concurrent or 0), processes * max(row.tasks, 1))
            print(f"{row.name:40} {in_flight:9} {(in_flight - 1) * PRICE_USD:13.2f}$ {beyond:8.2f}$")


def spent_in_round(ends: Sequence[Connection], row: Row, path: Path) -> float:
    """What all processes together have spent, in USD, once each was refused."""
    for end in ends:
        end.send((row, path))
    for end in ends:
        end.recv()
    for end in ends:
        end.send("go")
    return sum(end.recv() for end in ends) * PRICE_USD


def spend(end: Connection) -> None:
    """One process, in all rounds."""
    with suppress(EOFError):
        while True:
            row, path = end.recv()
            limits = Limits(row.rates, budget=Budget(run_usd=BUDGET_USD), path=path)
            end.send("ready")
            end.recv()
            end.send(asyncio.run(calls_until_spent(row, limits)))


async def calls_until_spent(row: Row, limits: Limits) -> int:
    """How many calls there were before the budget was."""
    done = 0

    async def calls() -> None:
        nonlocal done
        with suppress(BudgetSpentError):
            while True:
                async with limits.acquire() as call:
                    await asyncio.sleep(row.work_s)
                    call.charge(PRICE_USD)
                    done += 1

    await asyncio.gather(*(calls() for _ in range(max(row.tasks, 1))))
    return done


if __name__ == "__main__":
    main()
