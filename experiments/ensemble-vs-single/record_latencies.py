"""Record how long real requests to a loaded server of this machine take: writes latencies.json.

    python experiments/ensemble-vs-single/record_latencies.py

Two replicas, each a process of its own, serve a random forest over HTTP. Several users send a request, wait for its
answer, think for a while, and send the next, so that requests queue but no queue grows without end. Each request goes
to one replica and, as a copy, to the other at the same moment: what a backup would meet. There are two services:
`steady` only answers; of `refitting`, a replica fits its forest anew from time to time, as services that learn do, and
answers nothing meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import random
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from recording import PATH

REPLICAS = 2
TREES = 20
REFIT_EVERY = 300
"""Answers of a replica between two fits, on average."""
UNIT_S = 0.0001
WARM_UP = 20
"""Requests before a session, one after the other, that are not recorded."""


class Replica:
    """A forest behind HTTP: `GET /<number>` answers with the class of that digit."""

    def __init__(self, refits: bool, seed: int) -> None:
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier

        self.features, self.truth = cast("tuple[Any, Any]", load_digits(return_X_y=True))
        self.forest: Any = RandomForestClassifier(TREES, random_state=seed)
        self.forest.fit(self.features, self.truth)
        self.refits, self.chance = refits, random.Random(seed)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; whatever it takes, everybody else waits, as behind any single worker."""
        try:
            number = int((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1][1:]) % len(self.truth)
            body = str(self.forest.predict(self.features[number : number + 1])[0]).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            writer.close()
            await writer.wait_closed()  # so that whoever asked has the answer before the replica pauses
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        if self.refits and self.chance.random() < 1 / REFIT_EVERY:
            self.forest.fit(self.features, self.truth)


def serve(refits: bool, seed: int, ports: Any) -> None:
    """A replica, until it or its parent is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    async def forever() -> None:
        asyncio.get_running_loop().add_reader(parent.sentinel, os._exit, 0)
        server = await asyncio.start_server(Replica(refits, seed).answer, "127.0.0.1", 0, backlog=1000)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


@contextmanager
def replicas(refits: bool) -> Generator[list[int]]:
    """Start a service; gives the ports of its replicas."""
    context = multiprocessing.get_context("spawn")
    ports: Any = context.Queue()
    started = [context.Process(target=serve, args=(refits, n, ports), daemon=True) for n in range(REPLICAS)]
    for process in started:
        process.start()
    try:
        yield [ports.get(timeout=60) for _ in started]
    finally:
        for process in started:
            process.kill()
            process.join()


async def request(port: int, number: int) -> float:
    """Seconds from opening a connection to the whole answer."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.perf_counter() - began


async def session(ports: list[int], count: int, users: int, think_s: float, seed: int) -> list[tuple[float, float]]:
    """The latencies of requests and of their copies, in the order in which they were sent."""
    for number in range(WARM_UP):
        await request(ports[number % REPLICAS], number)
    chance, numbers = random.Random(seed), iter(range(count))
    pairs: dict[int, tuple[float, float]] = {}

    async def use() -> None:
        for number in numbers:
            await asyncio.sleep(chance.expovariate(1 / think_s))
            first, copy = (request(ports[(number + n) % REPLICAS], number) for n in range(2))
            pairs[number] = await asyncio.gather(first, copy)

    await asyncio.gather(*(use() for _ in range(users)))
    return [pairs[number] for number in range(count)]


def main(
    sessions: Annotated[int, typer.Option(min=2, help="Of each service; the first is the pilot.")] = 9,
    requests: Annotated[int, typer.Option(min=100, help="Of each session.")] = 1000,
    users: Annotated[int, typer.Option(min=1, help="Who send requests at the same time.")] = 8,
    think_s: Annotated[float, typer.Option(min=0, help="Seconds between an answer and the next request.")] = 0.15,
    to: Annotated[Path, typer.Option(help="The file to write.")] = PATH,
) -> None:
    """Record latencies of a loaded local server."""
    found: dict[str, list[list[list[int]]]] = {"steady": [], "refitting": []}
    with replicas(refits=False) as steady, replicas(refits=True) as refitting:
        # In turn, so that a busy hour of the machine is in both.
        for number, service in product(range(sessions), found):
            pairs = asyncio.run(session(steady if service == "steady" else refitting, requests, users, think_s, number))
            recorded = found[service]
            recorded.append([[round(each / UNIT_S) for each in column] for column in zip(*pairs, strict=True)])
            print(f"{service} {number}: median {statistics.median(recorded[-1][0]) * UNIT_S:.4f} s", flush=True)
    size = f"--sessions {sessions} --requests {requests} --users {users} --think-s {think_s}"
    about = {
        "command": f"record_latencies.py {size}",
        "recorded": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}",
    }
    to.write_text(as_lines(about, found), encoding="utf-8")


def as_lines(about: dict[str, str], found: dict[str, list[list[list[int]]]]) -> str:
    """JSON with a line for each session."""
    services = ",\n".join(
        f'"{service}": [\n' + ",\n".join(json.dumps(each, separators=(",", ":")) for each in recorded) + "\n]"
        for service, recorded in found.items()
    )
    return f'{{"about": {json.dumps(about)},\n"unit_s": {UNIT_S},\n"sessions": {{\n{services}\n}}}}\n'


if __name__ == "__main__":
    typer.run(main)
