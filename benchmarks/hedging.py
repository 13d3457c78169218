"""What hedging gains, and what it costs: races in virtual time, and against a real server.

    python benchmarks/hedging.py [--quick] [--only PART] [--seeds N] [--json FILE]

Parts: overhead, reference, adaptive, distributions, queue, server. Everything but overhead and server follows from
seeds alone. Gains are of the 99th percentile, with the same draws with and without backups; the first 2,000 of 100,000
calls are left out.

Each distribution's *best* is the fixed delay with the lowest 99th percentile among those that start backups for 5 % of
the calls at most, found with all draws at hand. The *reference* is the algorithm of crucible_hedging: the nearest-rank
95th percentile of the latest 1,000 primaries, no budget, and it waits for both calls once the second one has begun.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import multiprocessing
import tempfile
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from suitecase.hedging import Adaptive, Budget, Call, Fixed, HedgePolicy, Percentile, hedged, hedged_sync, simulate
from suitecase.hedging.delays import NEVER
from suitecase.hedging.race import Race, Stage
from suitecase.hedging.tokens import SharedBucket, TokenFile

Draws = npt.NDArray[np.float64]
CALLS, LEFT_OUT = 100_000, 2_000
SERVERS, LOAD = 4, 0.7


# --- distributions: latencies of two attempts for each of n requests


def mix(random: np.random.Generator, n: int, chance: float | Draws = 0.03) -> Draws:
    """Lognormal (median 1, sigma 0.2), ten times as long with some chance."""
    return random.lognormal(0, 0.2, (n, 2)) * np.where(random.random((n, 2)) < chance, 10, 1)


def of_the_request(random: np.random.Generator, n: int) -> Draws:
    """Three in a hundred requests are slow, however often they are sent."""
    draws = random.lognormal(0, 0.2, (n, 2))
    slow = random.random(n) < 0.03
    draws[slow] = 10 * draws[slow][:, :1]
    return draws


def in_bursts(random: np.random.Generator, n: int) -> Draws:
    """In one of ten stretches of 100 calls, three in ten attempts are slow."""
    burst = np.repeat(random.random(-(-n // 100)) < 0.1, 100)[:n]
    return mix(random, n, np.where(burst, 0.3, 0.0)[:, None])


def shifted(random: np.random.Generator, n: int) -> Draws:
    """Three times as slow from half time on."""
    draws = mix(random, n)
    draws[n // 2 :] *= 3
    return draws


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Draws]] = {
    "constant": lambda random, n: np.ones((n, 2)),
    "normal(1, 0.05)": lambda random, n: random.normal(1, 0.05, (n, 2)),
    "uniform(0.5, 1.5)": lambda random, n: random.uniform(0.5, 1.5, (n, 2)),
    "exponential": lambda random, n: random.exponential(1, (n, 2)),
    "lognormal 0.5": lambda random, n: random.lognormal(0, 0.5, (n, 2)),
    "lognormal 1": lambda random, n: random.lognormal(0, 1, (n, 2)),
    "Pareto 1.5": lambda random, n: 1 + random.pareto(1.5, (n, 2)),
    "reference mix": mix,
    "8 % stragglers": lambda random, n: mix(random, n, 0.08),
    "stragglers of the request": of_the_request,
    "stragglers in bursts": in_bursts,
    "× 3 at half time": shifted,
}


# --- the reference's algorithm


class ReferenceRace(Race[Any]):
    """Waits for all calls that it has started."""

    def end_call(self, call: Call, now_s: float, value: Any | None, error: Exception | None) -> Call | None:
        call.latency_s = now_s - self.began_s - call.started_s
        self.hedge_at_s = NEVER
        if all(each.latency_s is not None for each in self.calls):
            self.settle(now_s, self.calls[0])
        return None


class Reference:
    """The latest 1,000 latencies of primaries, and their nearest-rank 95th percentile."""

    def __init__(self) -> None:
        self.latest: deque[float] = deque()
        self.ordered: list[float] = []

    def race(self, targets: Sequence[str], **_: object) -> ReferenceRace:
        n = len(self.ordered)
        delay_s = self.ordered[-(-95 * n // 100) - 1] if n >= 10 else 0.1
        stages = [Stage(targets[0]), Stage(targets[0], delay_s)]
        return ReferenceRace(stages, permit=lambda _stage, _now_s: "")

    def settled(self, race: Race[Any]) -> None:
        latency_s = race.calls[0].latency_s or 0.0
        self.latest.append(latency_s)
        insort(self.ordered, latency_s)
        if len(self.latest) > 1000:
            del self.ordered[bisect_left(self.ordered, self.latest.popleft())]


# --- what is measured


def p99(latencies: Any) -> float:
    return float(np.quantile(latencies, 0.99))


def row(name: str, latencies: Sequence[float], backups: Sequence[int], plain: Draws) -> dict[str, Any]:
    """Gains against the latencies without backups, of what was not left out."""
    kept, before = np.asarray(latencies)[LEFT_OUT:], plain[LEFT_OUT:]
    whole = sum(backups) - 0.05 * len(backups)
    return {
        "policy": name,
        "p99": p99(kept),
        "p99_gain": 1 - p99(kept) / p99(before),
        "p50_change": float(np.median(kept) / np.median(before)) - 1,
        "extra": float(np.mean(np.asarray(backups)[LEFT_OUT:])),
        "over_5_percent": whole,
    }


def best_delay(draws: Draws) -> dict[str, Any]:
    """The fixed delay with the lowest 99th percentile, of those for at most 5 % of the calls."""
    primary, backup = draws[LEFT_OUT:, 0], draws[LEFT_OUT:, 1]
    shortest = np.sort(primary)[int(np.ceil(0.95 * len(primary))) - 1]
    grid = np.quantile(primary[primary >= shortest], np.linspace(0, 1, 200), method="lower")
    delays = cast("list[float]", np.unique(grid).tolist())
    raced = [p99(np.where(primary > delay, np.minimum(primary, delay + backup), primary)) for delay in delays]
    least = int(np.argmin(raced))
    extra = float(np.mean(primary > delays[least]))
    return {
        "policy": "best",
        "delay": delays[least],
        "p99_gain": 1 - raced[least] / p99(primary),
        "extra": extra,
    }


def best_within_budget(draws: Draws) -> dict[str, Any]:
    """The best of some fixed delays that must keep the budget at all times, not on average alone."""
    pairs = draws.tolist()
    delays = [*np.quantile(draws[:, 0], [0.93, 0.95, 0.96]), 1.6, 2.0, 2.5, 3.0, 4.0]
    policies = [HedgePolicy(Fixed(float(delay))) for delay in delays]
    played = [simulate(policy, pairs) for policy in policies]
    rows = [row("in budget", done.latencies_s, done.backups, draws[:, 0]) for done in played]
    return max(rows, key=lambda each: each["p99_gain"])


def measured(draws: Draws) -> Iterator[dict[str, Any]]:
    """Ours, and the others, with the same draws."""
    pairs, plain = draws.tolist(), draws[:, 0]
    policies = {"percentile": HedgePolicy(), "reference": Reference()}
    for name, policy in policies.items():
        done = simulate(cast(HedgePolicy, policy), pairs)
        yield row(name, done.latencies_s, done.backups, plain)
    yield best_delay(draws)


def mean_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Over seeds: means, and the worst of what must hold for each."""
    names = list(dict.fromkeys(each["policy"] for each in rows))
    found: list[dict[str, Any]] = []
    for name in names:
        mine = [each for each in rows if each["policy"] == name]
        means = {key: float(np.mean([each[key] for each in mine])) for key in mine[0] if key != "policy"}
        worst = {
            "least_gain": min(each["p99_gain"] for each in mine),
            "most_extra": max(each["extra"] for each in mine),
        }
        if "over_5_percent" in means:
            worst["over_5_percent"] = max(each["over_5_percent"] for each in mine)
        found.append({"policy": name, **means, **worst})
    return found


def print_rows(title: str, rows: Sequence[dict[str, Any]]) -> None:
    for each in rows:
        extra = f"{each['extra']:7.2%} (most {each['most_extra']:.2%})"
        over = f"  beyond 5 %: {each['over_5_percent']:+.1f}" if each["policy"] == "percentile" else ""
        p50 = f"  p50 {each['p50_change']:+.2%}" if "p50_change" in each else ""
        gain = f"{each['p99_gain']:7.2%} (least {each['least_gain']:.2%})"
        print(f"{title:<28}{each['policy']:<12} p99 gain {gain}  extra {extra}{p50}{over}", flush=True)


def distributions(names: Sequence[str], seeds: int, calls: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        rows: list[dict[str, Any]] = []
        for seed in range(seeds):
            draws = DISTRIBUTIONS[name](np.random.default_rng(seed), calls)
            rows += measured(draws)
            if name == "stragglers in bursts":
                rows.append(best_within_budget(draws))
        found[name] = mean_rows(rows)
        print_rows(name, found[name])
    return found


def adaptive(seeds: int, calls: int) -> list[dict[str, Any]]:
    """Thompson sampling on the reference mix: means of the loss that it is given, and of what fixed arms would have."""
    rows: list[dict[str, Any]] = []
    arms = (1.0, 1.25, 1.5, 2.0, 3.0, 6.0, NEVER)
    for seed in range(seeds):
        draws = mix(np.random.default_rng(seed), calls)
        for name, rule in {
            "adaptive": Adaptive(arms, backup_price_s=1.0),
            **{f"fixed {a}": Fixed(a) for a in arms},
        }.items():
            done = simulate(HedgePolicy(rule), draws.tolist())
            made = row(name, done.latencies_s, done.backups, draws[:, 0])
            loss = np.asarray(done.latencies_s)[LEFT_OUT:] + np.asarray(done.backups)[LEFT_OUT:]
            rows.append({**made, "loss": float(np.mean(loss))})
    found = mean_rows(rows)
    for each in found:
        print(
            f"{'loss: latency + extra':<28}{each['policy']:<12} {each['loss']:.4f}  p99 gain {each['p99_gain']:.2%}",
            flush=True,
        )
    return found


# --- a queue


def queue(policy: HedgePolicy | Reference, arrivals: Draws, draws: Draws) -> tuple[list[float], list[int]]:
    """M/G/4, first come, first served: backups stand in the same queue; what lost leaves it, or its server, at once."""
    events: list[tuple[float, int, str, Any]] = []
    waiting: deque[tuple[Race[Any], Call, float]] = deque()
    serving: set[Call] = set()
    latencies, backups = [0.0] * len(arrivals), [0] * len(arrivals)
    numbers: dict[int, int] = {}
    ticket = 0

    def later(at: float, what: str, about: Any) -> None:
        nonlocal ticket
        ticket += 1
        heapq.heappush(events, (at, ticket, what, about))

    def send(race: Race[Any], call: Call, now: float) -> None:
        waiting.append((race, call, draws[numbers[id(race)], call.number]))
        if race.next_at_s < NEVER:
            later(race.next_at_s, "delay", race)

    def serve(now: float) -> None:
        while waiting and len(serving) < SERVERS:
            race, call, service = waiting.popleft()
            if not race.settled:
                serving.add(call)
                later(now + service, "served", (race, call))

    for number, at in enumerate(arrivals):
        later(float(at), "arrival", number)
    while events:
        now, _, what, about = heapq.heappop(events)
        if what == "arrival":
            race = policy.race(("default",), idempotent=True, workload=None, now_s=now)
            numbers[id(race)] = about
            send(race, race.begin(now), now)
        elif what == "delay":
            race, following = about, None if about.settled else about.pass_time(now)
            if following is not None:
                send(race, following, now)
        else:
            race, call = about
            if call not in serving:
                continue  # it lost, and its server was freed
            serving.discard(call)
            race.end_call(call, now, None, None)
            if race.settled:
                serving.difference_update(race.calls)
                policy.settled(race)
                number = numbers.pop(id(race))
                latencies[number], backups[number] = race.ended_s - race.began_s, len(race.calls) - 1
        serve(now)
    return latencies, backups


def queues(seeds: int, calls: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        draws = mix(random, calls)
        between = random.exponential(draws[:, 0].mean() / SERVERS / LOAD, calls)
        arrivals = np.cumsum(between)
        plain, _ = queue(HedgePolicy(Fixed(NEVER)), arrivals, draws)
        whole = np.asarray(plain)
        for name, policy in (("percentile", HedgePolicy()), ("reference", Reference())):
            rows.append(row(name, *queue(policy, arrivals, draws), whole))
        fixed = [
            row("best", *queue(HedgePolicy(Fixed(float(delay))), arrivals, draws), whole)
            for delay in np.quantile(whole, np.linspace(0.94, 0.99, 6))
        ]
        rows.append(max((each for each in fixed if each["extra"] <= 0.05), key=lambda each: each["p99_gain"]))
    found = mean_rows(rows)
    print_rows("M/G/4 at 70 %", found)
    return found


# --- a real server


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, draws: Draws, unit_s: float) -> None:
    """Answers /request/attempt after as long as the draws say."""
    try:
        request = await reader.readuntil(b"\r\n\r\n")
        _, number, attempt = request.split(b" ")[1].split(b"/")
        await asyncio.sleep(draws[int(number), int(attempt)] * unit_s)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def serve_until_killed(draws: Draws, unit_s: float, ports: Any) -> None:
    async def whole() -> None:
        server = await asyncio.start_server(lambda r, w: serve(r, w, draws, unit_s), "127.0.0.1", 0, backlog=1000)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(whole())


async def requested(port: int, policy: HedgePolicy, calls: int, parallel: int) -> tuple[list[float], list[int]]:
    latencies, backups = [0.0] * calls, [0] * calls
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:

            async def ask(call: Call, number: int = number) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(f"GET /{number}/{call.number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    return await reader.read()
                finally:
                    writer.close()

            outcome = await hedged(ask, policy=policy, idempotent=True)
            latencies[number], backups[number] = outcome.latency_s, len(outcome.calls) - 1

    await asyncio.gather(*(worker() for _ in range(parallel)))
    await policy.settle()
    return latencies, backups


def real_server(calls: int, parallel: int = 20, unit_s: float = 0.1) -> dict[str, Any]:
    """The reference mix, median 100 ms, twenty requests at a time."""
    draws = mix(np.random.default_rng(0), calls)
    ports = cast(Any, multiprocessing).Queue()
    server = multiprocessing.Process(target=serve_until_killed, args=(draws, unit_s, ports), daemon=True)
    server.start()
    try:
        port = ports.get(timeout=30)
        plain, _ = asyncio.run(requested(port, HedgePolicy(Fixed(NEVER)), calls, parallel))
        ours, backups = asyncio.run(requested(port, HedgePolicy(), calls, parallel))
    finally:
        server.kill()
    found = {
        "p50": float(np.median(ours)), "p50_without": float(np.median(plain)),
        "p99": p99(ours), "p99_without": p99(plain), "p99_gain": 1 - p99(ours) / p99(plain),
        "extra": float(np.mean(backups)),
    }  # fmt: skip
    print(f"server: {json.dumps(found)}", flush=True)
    return found


# --- overhead


def overhead(calls: int = 2_000, rounds: int = 20) -> dict[str, float]:
    """CPU of a hedged call whose function returns at once, beside a task that is awaited; the least of many rounds."""

    async def nothing(_call: Call | None) -> int:
        return 1

    async def bare() -> None:
        for _ in range(calls):
            await asyncio.create_task(nothing(None))

    def ours(policy: HedgePolicy) -> Callable[[], Any]:
        async def work() -> None:
            for _ in range(calls):
                await hedged(nothing, policy=policy, idempotent=True)

        return work

    async def least(work: Callable[[], Any]) -> float:
        found: list[float] = []
        for _ in range(rounds):
            began = time.process_time()
            await work()
            found.append((time.process_time() - began) / calls)
        return min(found) * 1e6

    policy = HedgePolicy(Percentile(initial_delay_s=10))
    found = {"task_us": asyncio.run(least(bare)), "hedged_us": asyncio.run(least(ours(policy)))}
    with tempfile.TemporaryDirectory() as folder:
        shared = HedgePolicy(Percentile(initial_delay_s=10), state_file=Path(folder, "hedging.json"))
        found["hedged_shared_us"] = asyncio.run(least(ours(shared)))
        bucket = SharedBucket(TokenFile(Path(folder, "tokens")), "target", Budget(1.0))
        began = time.process_time()
        for _ in range(calls):
            bucket.pay_in()
            bucket.take()
        found["shared_token_us"] = (time.process_time() - began) / calls * 1e6
    threaded: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(200):
            hedged_sync(lambda _: 1, policy=policy, idempotent=True)
        threaded.append((time.perf_counter() - began) / 200)
    found["hedged_sync_us"] = min(threaded) * 1e6
    print(f"overhead: {json.dumps(found)}", flush=True)
    return found


def main() -> None:
    """Measure, print, and write JSON on demand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 calls, one seed")
    parser.add_argument("--only", choices=["reference", "adaptive", "distributions", "queue", "server", "overhead"])
    parser.add_argument("--seeds", type=int, default=3, help="of the distributions; the reference mix has 10")
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    calls, seeds = (10_000, 1) if given.quick else (CALLS, given.seeds)
    parts: dict[str, Callable[[], Any]] = {
        "overhead": overhead,
        "reference": lambda: distributions(["reference mix"], 1 if given.quick else 10, calls),
        "adaptive": lambda: adaptive(seeds, calls),
        "distributions": lambda: distributions(list(DISTRIBUTIONS), seeds, calls),
        "queue": lambda: queues(seeds, calls),
        "server": lambda: real_server(1_000 if given.quick else 5_000),
    }
    found = {name: part() for name, part in parts.items() if given.only in (None, name)}
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
