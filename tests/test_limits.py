"""Limits that processes share: real processes, killed ones among them, and files in any state."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from asking import ask as suitecase
from conftest import DEADLINE_S, Project, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_runner import ABORT, HookRecord, Refuse
from suitecase import items, tracking
from suitecase import limits as package
from suitecase.items import ItemContext, ItemsError, RetryPolicy
from suitecase.limits import (
    Budget,
    BudgetSpentError,
    Limits,
    LimitsError,
    Price,
    Prices,
    Rates,
    UnknownPriceError,
)
from suitecase.limits import file as layout
from suitecase.limits.file import LimitsFile
from suitecase.limits.state import State
from suitecase.policies import CostBudget
from suitecase.queries.overview import run_overview
from suitecase.rundir import read_run
from suitecase.rundir.spending import PICO

ROOT = Path(__file__).resolve().parent.parent
PRICES = Prices((Price("m", date(2026, 1, 1), 1.0, 2.0),))


class StatusError(Exception):
    """As the clients of providers raise it."""

    def __init__(self, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.retry_after = retry_after


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No case's environment."""
    for name in ("RUN_DIR", "OUTPUT_DIR", "VARIANT", "LIMITS_SHARE"):
        monkeypatch.delenv(f"SUITECASE_{name}", raising=False)


def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A process that begins with the usual imports; `say` prints a line at once, and whole."""
    head = (
        "import sys, time, os\nfrom pathlib import Path\nfrom suitecase.limits import *\n"
        "from suitecase import tracking\npath = Path(sys.argv[1])\n"
        "say = lambda *words: os.write(1, (' '.join(map(str, words)) + '\\n').encode())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


# A process for each number, all of which share one import; the first process waits for them.
FORKED = """
for number in range(int(sys.argv[2])):
    if not os.fork():
        break
else:
    while True:
        try:
            os.wait()
        except ChildProcessError:
            sys.exit()
def wait_for_go():
    os.read(0, 1)  # one of the letters that are sent, where readline() would take them all
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


# --- One process -----------------------------------------------------------------------------------------------------


def test_places_are_taken_and_given_back(tmp_path: Path) -> None:
    """Sync and async calls share the places; an error gives its place back, too."""
    limits = Limits(Rates(max_concurrent=2), path=tmp_path / "limits.bin")
    with limits.acquire():
        with pytest.raises(KeyError), limits.acquire():
            raise KeyError(limits.usage().in_use)
        with limits.acquire():
            assert limits.usage().in_use == 2
    assert limits.usage().in_use == 0

    async def many() -> int:
        most = 0

        async def one() -> None:
            nonlocal most
            async with limits.acquire():
                most = max(most, limits.usage().in_use)
                await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(50))), DEADLINE_S)
        return most

    assert asyncio.run(many()) == 2
    assert (limits.usage().in_use, limits.usage().waiting, limits.usage().granted) == (0, 0, 53)


def test_two_thousand_calls_at_a_time(tmp_path: Path) -> None:
    """All come to their turn, in order, and nothing is left behind."""
    limits = Limits(Rates(max_concurrent=200), path=tmp_path / "limits.bin")
    order: list[int] = []

    async def one(number: int) -> None:
        async with limits.acquire():
            order.append(number)
            await asyncio.sleep(0)

    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(2_000))), DEADLINE_S)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(all_of_them())
    assert order == sorted(order)
    assert (limits.usage().in_use, limits.usage().waiting) == (0, 0)


def test_who_gives_up_waiting_holds_nobody_up(tmp_path: Path) -> None:
    """Cancelled tasks leave the line, wherever they stand in it; the last one takes the ticket along."""
    limits = Limits(Rates(max_concurrent=1), path=tmp_path / "limits.bin")

    async def wait() -> None:
        async with limits.acquire():
            pass

    async def scene() -> None:
        async with limits.acquire():
            tasks = [asyncio.create_task(wait()) for _ in range(5)]
            await asyncio.sleep(0.01)
            assert limits.usage().waiting == 1
            for task in (tasks[2], tasks[0], tasks[4]):
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(tasks[1], tasks[3]), DEADLINE_S)
        async with limits.acquire():
            task = asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert limits.usage().waiting == 0

    asyncio.run(scene())


def test_threads_and_tasks_wait_in_one_line(tmp_path: Path) -> None:
    """A thread that waits doesn't keep tasks from it, nor they it."""
    limits = Limits(Rates(max_concurrent=1), path=tmp_path / "limits.bin")
    done: list[str] = []

    def in_thread() -> None:
        with limits.acquire():
            done.append("thread")

    async def in_task() -> None:
        async with limits.acquire():
            done.append("task")

    async def scene() -> None:
        async with limits.acquire():
            threads = [threading.Thread(target=in_thread) for _ in range(3)]
            for thread in threads:
                thread.start()
            tasks = [asyncio.create_task(in_task()) for _ in range(3)]
            await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)
        for thread in threads:
            await asyncio.to_thread(thread.join)

    asyncio.run(scene())
    assert sorted(done) == ["task"] * 3 + ["thread"] * 3


# --- Rates -----------------------------------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3000), st.sampled_from(["take", "end", "429"])), max_size=25)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, per_min=st.floats(1, 1e5), tokens_per_min=st.floats(1, 1e6), most=st.integers(1, 5))
def test_no_schedule_exceeds_the_limits(
    steps: list[tuple[float, float, str]], per_min: float, tokens_per_min: float, most: int
) -> None:
    """Whatever is asked when: calls in any span fit the rate and its bucket, and never too many are in flight."""
    rates = Rates(per_min, tokens_per_min, most)
    state, now = State(0, 0, 0, 0, math.inf, math.inf, 0.0, 1.0, 0.0, 0.0, 0.0), 0.0
    begun: list[float] = []
    for elapsed, tokens, what in steps:
        now += elapsed
        state.refill(rates, now)
        if what == "take":
            pause = state.delay_s(rates, tokens, now)
            if pause and pause < math.inf:  # the time that is told is enough, and the time is not over before
                if state.scale_at(now) == 1.0:  # else the limits grow meanwhile
                    early = replace(state)
                    early.refill(rates, now + 0.99 * pause)
                    assert early.delay_s(rates, tokens, now + 0.99 * pause) > 0
                now += pause * (1 + 1e-9)
                state.refill(rates, now)
                pause = state.delay_s(rates, tokens, now)
                assert pause < 1e-6 * now + 1e-6
            if pause < math.inf and pause < 1e-6 * now + 1e-6:
                state.take(tokens)
                begun.append(now)
        elif what == "end" and state.in_use:
            state.in_use -= 1
        elif what == "429":
            state.cut(now, now, 0.0)
        assert state.in_use <= most
        assert 0 < state.scale_at(now) <= 1
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            span = begun[last] - begun[first]
            assert last - first + 1 <= per_min / 60 * span + max(1, per_min / 60) + 1e-3


def test_429_slows_all_down_and_time_mends_it() -> None:
    """The limits are halved once for all calls that began before, and come back slowly; Retry-After is a silence."""
    rates = Rates(60.0, None, 8)
    state = State(0, 0, 0, 0, 1.0, 0.0, 100.0, 1.0, 100.0, 100.0, 0.0)
    state.cut(begun_s=100.0, now_s=101.0, pause_s=7.0)
    state.cut(begun_s=100.5, now_s=101.5, pause_s=0.0)  # was in flight when the limits were halved
    assert state.scale_at(101.0) == 0.5
    assert state.delay_s(rates, 0, 101.5) == 6.5
    state.in_use = 4
    assert state.delay_s(rates, 0, 110.0) == math.inf  # half of 8, and a little
    state.cut(begun_s=102.0, now_s=101.0 + 10, pause_s=0.0)
    assert state.scale_at(111.0) == pytest.approx(0.3)
    assert state.scale_at(111.0 + 70) == pytest.approx(1.0)


def test_429_is_seen_in_an_error(tmp_path: Path) -> None:
    """With the silence that the server asks for; other errors change nothing."""
    told: list[Any] = []
    limits = Limits(Rates(max_concurrent=8), path=tmp_path / "limits.bin", observe=told.append)
    with pytest.raises(StatusError), limits.acquire():
        raise StatusError(500)
    assert limits.usage().scale == 1.0
    begun = time.monotonic()
    with pytest.raises(StatusError), limits.acquire():
        raise StatusError(429, 0.2)
    assert 0.5 <= limits.usage().scale < 1
    with limits.acquire():
        assert time.monotonic() - begun >= 0.2
    assert "said 429" in told[0]["message"]


# --- Money -----------------------------------------------------------------------------------------------------------


def test_a_call_is_priced_and_told(tmp_path: Path) -> None:
    """By the table or as given; tracking gets a line with model and tokens."""
    told: list[Any] = []
    limits = Limits(budget=Budget(case_usd=1), prices=PRICES, observe=told.append, path=tmp_path / "limits.bin")
    with limits.acquire("m") as call:
        assert call.charge(input_tokens=1_000, output_tokens=100) == 0.0012
        assert call.charge(0.5) == 0.5
    assert told[0] == {"event": "cost", "usd": 0.0012, "input_tokens": 1000, "output_tokens": 100, "model": "m"}
    assert limits.spent_usd() == {"run": 0.5012, "condition": 0.5012, "case": 0.5012}
    with limits.acquire("m") as call:
        call.charge(0.5)
    with pytest.raises(BudgetSpentError, match=r"1\.0012 of 1 USD are spent by this case: raise Budget\(case_usd="):
        limits.acquire("m").__enter__()
    assert limits.usage().in_use == limits.usage().waiting == 0


def test_an_unknown_price_is_an_error_before_the_call(tmp_path: Path) -> None:
    """Never a guess."""
    limits = Limits(prices=PRICES, path=tmp_path / "limits.bin")
    with pytest.raises(UnknownPriceError, match="no price for 'mm', but 'm': add one"):
        limits.acquire("mm")
    with pytest.raises(LimitsError, match="no price for 'mm'"):
        Limits({"mm": Rates()}, prices=PRICES)
    with pytest.raises(UnknownPriceError, match="since 2026-01-01, none for 2025-12-31"):
        PRICES.of("m", date(2025, 12, 31))
    unpriced = Limits(budget=Budget(1), path=tmp_path / "limits.bin")
    with unpriced.acquire("m") as call, pytest.raises(LimitsError, match="has no cost: give charge"):
        call.charge(input_tokens=5, output_tokens=5)


def test_prices_come_from_a_dated_file(tmp_path: Path) -> None:
    """The price of the day counts, a cached token has its own; all that is wrong is said at once."""
    path = tmp_path / "prices.toml"
    path.write_text(
        '[[price]]\nmodel = "a"\nsince = 2026-08-07\ninput_usd_per_million = 1\noutput_usd_per_million = 2\n'
        'cached_input_usd_per_million = 0.1\nsource = "list"\n'
        '[[price]]\nmodel = "a"\nsince = 2026-01-01\ninput_usd_per_million = 3\noutput_usd_per_million = 6\n'
    )
    prices = Prices.read(path)
    assert prices.of("a", date(2026, 8, 6)).usd(1_000_000, 0) == 3
    assert prices.of("a", date(2026, 8, 7)).usd(1_000_000, 1_000_000, 1_000_000) == pytest.approx(2.1)
    path.write_text('[[price]]\nmodel = 5\nsince = "x"\ninput_usd_per_milion = -1\noutput_usd_per_million = -2\n')
    with pytest.raises(LimitsError) as error:
        Prices.read(path)
    text = str(error.value)
    for wrong in (
        "but 'input_usd_per_million'",
        "input_usd_per_million is missing",
        "model is 5",
        "since is 'x'",
        "-2",
    ):
        assert wrong in text


def test_what_is_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(LimitsError) as error:
        Limits(3, budget=25, prices="prices.toml", observe=3)  # type: ignore[arg-type]
    assert [problem.split()[0] for problem in error.value.problems] == ["rates", "budget", "prices", "observe"]
    with pytest.raises(LimitsError, match="model is None"):
        Limits(prices=Prices(())).acquire(None)  # type: ignore[arg-type]


OVERSPEND = (
    FORKED
    + """
os.environ["SUITECASE_VARIANT"] = f"case-{number}"
os.environ["SUITECASE_OUTPUT_DIR"] = f"{path}/case-{number}"
limits = Limits(Rates(max_concurrent=4), budget=Budget(run_usd=0.5), observe=tracking.observe)
say("ready"); wait_for_go()
with tracking.track():
    try:
        while True:
            with limits.acquire() as call:
                call.charge(0.01)
    except BudgetSpentError as error:
        say(error)
"""
)


def test_six_processes_overspend_by_calls_in_flight_at_most(tmp_path: Path) -> None:
    """Six cases of a run spend from one budget; what their files tell is what was spent; a larger budget goes on."""
    cases = [f"case-{number}" for number in range(6)]
    for case in cases:
        (tmp_path / case).mkdir()
        (tmp_path / case / "config.json").write_text(json.dumps({"seed": int(case[-1]), "output_dir": case}))

    def run(code: str, count: int) -> list[str]:
        process = start(code, tmp_path, count, SUITECASE_RUN_DIR=str(tmp_path))
        assert [line(process) for _ in range(count)] == ["ready"] * count
        return process.communicate("g" * count, DEADLINE_S)[0].splitlines()

    said = run(OVERSPEND, len(cases))
    assert len(said) == len(cases)
    assert all("are spent by this run: raise Budget(run_usd=…) and resume" in text for text in said)
    spent = told_usd(tmp_path)
    assert 0.5 <= spent <= 0.5 + 3 * 0.01 + 1e-9  # when the last call began there were at most three others
    run(OVERSPEND.replace("0.5", "0.7"), 2)
    assert 0.7 <= told_usd(tmp_path) <= 0.71 + 1e-9
    (tmp_path / "limits.bin").unlink()  # it's made anew from what the cases' files tell
    run(OVERSPEND.replace("0.5", "0.7"), 2)
    assert told_usd(tmp_path) <= 0.71 + 1e-9


def told_usd(run_dir: Path) -> float:
    lines = [json.loads(text) for path in run_dir.glob("*/tracking.jsonl") for text in path.read_text().splitlines()]
    return sum(each["usd"] for each in lines if each["event"] == "cost")


def test_conditions_and_cases_have_budgets_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases whose configs differ only in the seed spend together; a case that spent its own hinders no other."""
    monkeypatch.setenv("SUITECASE_RUN_DIR", str(tmp_path))

    def of(variant: str, **config: object) -> Limits:
        (tmp_path / variant).mkdir(exist_ok=True)
        (tmp_path / variant / "config.json").write_text(json.dumps({**config, "output_dir": variant}))
        monkeypatch.setenv("SUITECASE_VARIANT", variant)
        monkeypatch.setenv("SUITECASE_OUTPUT_DIR", str(tmp_path / variant))
        limits = Limits(budget=Budget(condition_usd=3, case_usd=2))
        limits.line_of("")
        return limits

    first, second, other = of("a", x=1, seed=1), of("b", x=1, seed=2), of("c", x=2, seed=1)
    with first.acquire() as call:
        call.charge(2)
    with pytest.raises(BudgetSpentError, match="by this case"):
        first.acquire().__enter__()
    with second.acquire() as call:
        call.charge(1)
    with pytest.raises(BudgetSpentError, match="by this condition") as error:
        second.acquire().__enter__()
    assert error.value.scope == "condition"
    with other.acquire() as call:
        call.charge(0.5)
    assert other.spent_usd() == {"run": 3.5, "condition": 0.5, "case": 0.5}


# --- Several processes -----------------------------------------------------------------------------------------------

HOLD = """
limits = Limits(Rates(max_concurrent=2), path=path)
with limits.acquire():
    say("held"); sys.stdin.readline()
"""
WAIT = """
limits = Limits(Rates(max_concurrent=2), path=path)
say("waits")
with limits.acquire():
    say("held"); sys.stdin.readline()
"""


def test_a_killed_process_gives_its_places_back(tmp_path: Path) -> None:
    """Those that hold and those that wait; who lives keeps its place."""
    path = tmp_path / "limits.bin"
    holders = [start(HOLD, path) for _ in range(2)]
    assert [line(holder) for holder in holders] == ["held"] * 2
    limits = Limits(Rates(max_concurrent=2), path=path)
    waiter = start(WAIT, path)
    assert line(waiter) == "waits"
    wait_for(lambda: limits.usage().waiting == 1, "the waiter")
    for process in (waiter, holders[0]):
        process.kill()
        process.communicate()
    begun = time.monotonic()
    with limits.acquire():
        assert limits.usage().in_use == 2  # one of them is the other holder's
        assert limits.usage().waiting == 0
    assert time.monotonic() - begun < DEADLINE_S
    holders[1].communicate("end\n")
    assert limits.usage().in_use == 0


FORK = """
limits = Limits(Rates(max_concurrent=2), path=path)
with limits.acquire():
    child = os.fork()
    if not child:
        with limits.acquire():
            say("held"); time.sleep(600)
    say("held", child); time.sleep(600)
"""


def test_a_forked_child_holds_what_it_took_itself(tmp_path: Path) -> None:
    """Its parent's end gives back the parent's place, not the child's."""
    path = tmp_path / "limits.bin"
    parent = start(FORK, path)
    words = [*line(parent).split(), *line(parent).split()]
    child = next(int(word) for word in words if word.isdigit())
    limits = Limits(Rates(max_concurrent=2), path=path)
    assert limits.usage().in_use == 2
    try:
        parent.kill()
        with limits.acquire():
            assert limits.usage().in_use == 2
    finally:
        os.kill(child, 9)
        parent.communicate()
    with limits.acquire(), limits.acquire():
        pass


def stopped_outside_a_change(process: subprocess.Popen[str], limits: Limits) -> bool:
    """Stop a process, and say whether it let go of the file before."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    return not limits.line_of("").target.file.is_locked(0)


def test_a_stopped_process_holds_nobody_up(tmp_path: Path) -> None:
    """First in line, it isn't waited for while it doesn't ask; continued, it comes next."""
    path = tmp_path / "limits.bin"
    limits = Limits(Rates(max_concurrent=2), path=path)
    with limits.acquire():
        with limits.acquire():
            waiter = start(WAIT, path)
            assert line(waiter) == "waits"
            wait_for(lambda: limits.usage().waiting == 1, "the waiter")
            while not stopped_outside_a_change(waiter, limits):
                waiter.send_signal(signal.SIGCONT)
        with limits.acquire():
            assert limits.usage().waiting == 1
        waiter.send_signal(signal.SIGCONT)
        assert line(waiter) == "held"
    waiter.communicate("end\n")


def test_an_interrupted_change_leaves_the_lock(tmp_path: Path) -> None:
    """An exception out of a signal's handler, in the middle of it: nothing is changed, and the next one gets in."""
    limits = Limits(path=tmp_path / "limits.bin")
    file = limits.line_of("").target.file

    def interrupted() -> None:
        with file:
            file.write(layout.REDO_END, b"gone")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pickle.loads(pickle.dumps(limits)).acquire():
        assert limits.usage().in_use == 1


FAIR = (
    FORKED
    + """
limits = Limits(Rates(max_concurrent=1), path=path)
with limits.acquire(): pass
say("ready"); wait_for_go()
count = 0
while not Path(sys.argv[3]).exists():
    with limits.acquire():
        count += 1
        time.sleep(0.001)
say(count)
"""
)


def test_no_process_starves(tmp_path: Path) -> None:
    """Who waits gets a place in turn: over 400 calls, no process has less than half of the mean."""
    stop = tmp_path / "stop"
    started = start(FAIR, tmp_path / "limits.bin", 4, stop)
    assert [line(started) for _ in range(4)] == ["ready"] * 4
    limits = Limits(Rates(max_concurrent=1), path=tmp_path / "limits.bin")
    assert started.stdin
    started.stdin.write("gggg")
    started.stdin.flush()
    wait_for(lambda: limits.usage().granted >= 400, "400 calls")
    stop.touch()
    counts = [int(count) for count in started.communicate(timeout=DEADLINE_S)[0].split()]
    assert len(counts) == 4
    assert min(counts) >= 0.5 * sum(counts) / len(counts), counts


KILLED = (
    FORKED
    + """
limits = Limits(Rates(max_concurrent=3), budget=Budget(run_usd=1e6), path=path)
say(os.getpid())
while True:
    with limits.acquire() as call:
        call.charge(1)
"""
)


def test_kills_at_any_moment_leave_the_file_whole(tmp_path: Path) -> None:
    """Processes are killed amid changes, again and again: no place is lost, and all accounts tell the same sum."""
    path = tmp_path / "limits.bin"
    limits = Limits(Rates(max_concurrent=3), budget=Budget(run_usd=1e6), path=path)
    for round_ in range(3):
        started = start(KILLED, path, 3)
        pids = [int(line(started)) for _ in range(3)]
        wanted = limits.usage().granted + 50 + 7 * round_
        wait_for(lambda wanted=wanted: limits.usage().granted >= wanted, "some calls")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        started.communicate(timeout=DEADLINE_S)
    with limits.acquire(), limits.acquire(), limits.acquire():
        assert (limits.usage().in_use, limits.usage().waiting) == (3, 0)
    spent = limits.spent_usd()
    assert spent["run"] == spent["condition"] == spent["case"]
    assert limits.usage().granted - 3 - 12 <= spent["run"] <= limits.usage().granted - 3


def test_a_change_that_was_cut_off_is_made_by_the_next(tmp_path: Path) -> None:
    """Cut off at each of its writes, it counts as a whole or not at all."""
    for stage in range(4):
        path = tmp_path / f"limits-{stage}.bin"
        Limits(path=path).line_of("")
        content = bytearray(path.read_bytes())
        a, b = layout.ACCOUNTS + 100 * 24, layout.ACCOUNTS + 200 * 24
        changes = [(a, layout.ACCOUNT.pack(b"a" * 16, 7)), (b, layout.ACCOUNT.pack(b"b" * 16, 7))]
        redo = b"".join(layout.CHANGE.pack(offset, len(data)) + data for offset, data in changes)
        content[layout.REDO : layout.REDO + len(redo)] = redo
        content[layout.REDO_FLAG] = 2 if stage else 0
        for offset, data in changes[: stage - 1] if stage else []:
            content[offset : offset + len(data)] = data
        copy = tmp_path / f"killed-{stage}.bin"
        copy.write_bytes(content)
        file = LimitsFile.open(copy)
        with file as mapped:
            found = [layout.ACCOUNT.unpack_from(mapped, place)[1] for place in (a, b)]
        assert found == ([7, 7] if stage else [0, 0])


# --- Files and arguments in any state --------------------------------------------------------------------------------


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Torn, of another version, or something else: with what to do. One that was never finished is made anew."""
    path = tmp_path / "limits.bin"
    Limits(path=path).line_of("")
    whole = path.read_bytes()
    cases = {"torn: it has 5,000 bytes": whole[:5000], "torn: it has 60 bytes": whole[:60],
             "has version 9, and this suitecase knows 1": whole[:8] + b"\x09\0\0\0" + whole[12:],
             "is no file of limits": b"something else"}  # fmt: skip
    for number, (words, content) in enumerate(cases.items()):
        broken = tmp_path / f"broken-{number}.bin"
        broken.write_bytes(content)
        with pytest.raises(LimitsError, match=words) as error:
            Limits(path=broken).acquire()
        assert "Remove it while nothing runs" in str(error.value)
        assert broken.read_bytes() == content
    unfinished = tmp_path / "unfinished.bin"
    unfinished.write_bytes(bytes(5000))
    with Limits(path=unfinished).acquire():
        pass
    with pytest.raises(LimitsError, match="can't be opened for limits"):
        Limits(path=tmp_path / "none" / "limits.bin").acquire()
    with pytest.raises(LimitsError, match="can't be opened for limits"):
        Limits(path=tmp_path).acquire()


def test_another_boot_keeps_the_money_and_frees_the_places(tmp_path: Path) -> None:
    """After a restart of the machine clocks begin anew, and nobody holds anything."""
    path, copy = tmp_path / "limits.bin", tmp_path / "copy.bin"
    limits = Limits(Rates(max_concurrent=1), budget=Budget(9), path=path)
    with limits.acquire() as call:
        call.charge(4)
        content = bytearray(path.read_bytes())
    content[16:32] = bytes(range(16))
    copy.write_bytes(content)
    after = Limits(Rates(max_concurrent=1), budget=Budget(9), path=copy)
    assert after.spent_usd()["run"] == 4
    with after.acquire():
        pass


def test_a_clock_that_jumps_back_begins_anew(tmp_path: Path) -> None:
    """Where no boot id tells, times in the future do: nobody waits for a moment of an earlier boot."""
    path = tmp_path / "limits.bin"
    limits = Limits(Rates(requests_per_min=60), path=path)
    with LimitsFile.open(path) as _:
        pass
    target = limits.line_of("").target
    with target.file as content:
        state = State.load(content, 0)
        later = time.monotonic() + 1e6
        state.refilled_s = state.scaled_s = state.cut_s = later
        state.paused_until_s = later
        state.requests = 1.0
        target.file.write(*state.packed(0))
    begun = time.monotonic()
    with limits.acquire():
        assert time.monotonic() - begun < DEADLINE_S


def test_processes_must_agree_on_the_limits(tmp_path: Path) -> None:
    """While others use them; afterwards they may change."""
    path = tmp_path / "limits.bin"
    holder = start(HOLD, path)
    assert line(holder) == "held"
    with pytest.raises(LimitsError, match=r"have max_concurrent=2, and this one has requests_per_min=5"):
        Limits(Rates(requests_per_min=5), path=path).acquire().__enter__()
    holder.communicate("end\n")
    with Limits(Rates(requests_per_min=5), path=path).acquire():
        pass


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Limits(budget=Budget(0)), ["budget.run_usd is 0: give a number above 0"]),
        (lambda: Limits(budget=Budget()), ["budget has no limit"]),
        (
            lambda: Limits(Rates(-1, math.nan, 0), budget=Budget(True, math.inf)),
            ["requests_per_min is -1", "tokens_per_min is nan", "max_concurrent is 0", "run_usd is True", "is inf"],
        ),
        (lambda: Limits({}), ["rates is empty"]),
        (lambda: Limits({"a": Rates()}).acquire("b"), ["no limits for 'b'", "there are a"]),
        (lambda: Limits(Rates()).acquire(tokens=-1), ["tokens is -1"]),
    ],
)
def test_what_is_wrong_is_said_at_once(make: Any, words: list[str]) -> None:
    with pytest.raises(LimitsError) as error:
        make()
    assert all(word in str(error.value) for word in words)


def test_a_host_has_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a launcher says; the file records it."""
    monkeypatch.setenv("SUITECASE_LIMITS_SHARE", "0.25")
    path = tmp_path / "limits.bin"
    limits = Limits(Rates(max_concurrent=8), budget=Budget(run_usd=4), path=path)
    with limits.acquire() as call, limits.acquire():
        call.charge(1)
        with pytest.raises(BudgetSpentError):
            limits.acquire().__enter__()
    assert layout.HEADER.unpack_from(path.read_bytes())[5] == 0.25
    monkeypatch.setenv("SUITECASE_LIMITS_SHARE", "2")
    with pytest.raises(LimitsError, match="SUITECASE_LIMITS_SHARE is '2'"):
        Limits()


def test_by_hand_it_says_that_nothing_is_shared() -> None:
    """Forked processes share it all the same."""
    code = """
limits = Limits(Rates(max_concurrent=1), budget=Budget(5))
with limits.acquire() as call:
    call.charge(1)
    if not os.fork():
        say(limits.usage().in_use, limits.spent_usd()["run"])
        os._exit(0)
    os.wait()
"""
    process = start(code, "x")
    assert process.communicate(timeout=DEADLINE_S)[0] == "1 1.0\n"


def test_it_loads_nothing_slow() -> None:
    """An entry point that only tracks and limits must start quickly."""
    script = "import sys, suitecase.limits; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"pydantic", "tenacity", "aiolimiter", "numpy", "asyncio"} & set(done.stdout.split())
    assert PICO == 10**12
    assert tracking.observe
    assert set(package.__all__) >= {"Limits", "Rates", "Budget", "Prices"}


# --- Where else money is counted -------------------------------------------------------------------------------------


def test_an_item_loop_shares_them(tmp_path: Path) -> None:
    """Calls are priced and told with their model, once; at the budget the loop stops, and a larger one goes on."""
    told: list[Any] = []
    limits = Limits(Rates(max_concurrent=3), budget=Budget(run_usd=0.005), prices=PRICES, observe=told.append,
                    path=tmp_path / "limits.bin")  # fmt: skip
    in_flight: list[int] = []

    async def ask(item: int) -> dict[str, object]:
        in_flight.append(limits.usage("m").in_use)
        await asyncio.sleep(0)
        return {"score": item, "input_tokens": 1000, "output_tokens": 0}

    def loop(limits: Limits) -> Any:
        return items.process(
            range(20), ask, key=str, output_dir=tmp_path / "items", max_parallel=8, limits=limits, model="m",
            observe=told.append,
        )  # fmt: skip

    summary = loop(limits)
    assert (summary.stopped_by, summary.ok) == ("cost_budget", False)
    assert "0.005 USD are spent by this run: raise Budget(run_usd=…)" in summary.reason
    assert 5 <= summary.succeeded <= 7
    assert max(in_flight) <= 3
    assert summary.cost_usd == pytest.approx(0.001 * summary.succeeded)
    costs = [each for each in told if each["event"] == "cost"]
    assert costs == [{"event": "cost", "usd": 0.001, "input_tokens": 1000, "output_tokens": 0, "model": "m"}] * len(
        costs
    )
    assert len(costs) == summary.succeeded
    again = loop(Limits(Rates(max_concurrent=3), budget=Budget(run_usd=1), prices=PRICES, path=tmp_path / "limits.bin"))
    assert (again.succeeded, again.ok) == (20, True)
    assert limits.spent_usd()["run"] == pytest.approx(0.02)


def test_an_item_loop_heeds_429(tmp_path: Path) -> None:
    """A plain function in threads, whose first call is refused: the retry succeeds, under lower limits."""
    limits = Limits(Rates(max_concurrent=4), path=tmp_path / "limits.bin")

    def ask(item: int, context: ItemContext) -> float:
        if item == 0 and context.attempt == 1:
            raise StatusError(429, 0.01)
        return item

    summary = items.process(
        range(5), ask, key=str, output_dir=tmp_path / "items", limits=limits, retry=RetryPolicy(backoff_s=0)
    )
    assert summary.succeeded == 5
    assert limits.usage().scale < 1
    assert limits.usage().granted == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": 5}, "limits is 5: give suitecase.limits.Limits"),
        ({"model": "m"}, "give limits, too"),
        ({"limits": Limits(prices=PRICES), "model": "mm"}, "no price for 'mm'"),
        ({"limits": Limits(), "rate_limit": 1}, "instead of rate_limit"),
    ],
)
def test_an_item_loop_refuses_before_it_begins(tmp_path: Path, options: Any, words: str) -> None:
    with pytest.raises(ItemsError, match=words):
        items.process([1], float, output_dir=tmp_path / "items", **options)


def test_the_runner_s_budget_reads_the_same_prices(tmp_path: Path) -> None:
    """A line with tokens alone is priced on its day; a model without a price ends the run rather than count as free."""
    case = tmp_path / "a"
    case.mkdir()
    (case / "config.json").write_text("{}")
    with tracking.track(case) as tracker:
        tracker.cost(None, model="m", input_tokens=1_000_000, output_tokens=0)
        tracker.cost(0.5, model="other")
    record = HookRecord("run", tmp_path, "e", {}, "a", output_dir=case, attempt=1, status="succeeded")
    budget = CostBudget(5, prices=PRICES)
    assert budget.after_case(record) is None
    assert budget.spent_usd == 1.5
    assert CostBudget(1.5, prices=PRICES).after_case(record) is ABORT
    with tracking.track(case) as tracker:
        tracker.cost(None, model="new", output_tokens=10)
    unpriced = CostBudget(5, prices=PRICES)
    assert unpriced.after_case(record) is ABORT
    assert isinstance(refusal := unpriced.before_run(record), Refuse)
    assert "a: the price table has no price for 'new'" in refusal.reason


def test_show_has_what_was_spent(project: Project) -> None:
    """By model and condition, seeds together; a sum in results.json counts only for what it has beyond the lines."""
    tell = (
        "from suitecase import tracking; tracking.cost(0.25, input_tokens=10, output_tokens=5, model='m');"
        "tracking.cost(0.25, input_tokens=10, output_tokens=5, model='m');"
    )
    project.suite({"a": tell, "b": "(folder / 'results.json').write_text(json.dumps({'cost_usd': 0.125}))"})
    assert project.run(env={"PYTHONPATH": str(ROOT)}).code == 0
    overview = run_overview(read_run(project.run_dir))
    rows = [(row["model"], row["calls"], row["input_tokens"], row["usd"]) for row in overview["spending"]]
    assert rows == [("m", 2, 20, 0.5), ("", 0, 0, 0.125)]
    shown = suitecase(project, "show", "exp").stdout
    assert ["in", "all", "0.625"] in [text.split() for text in shown.splitlines()]
    assert "not told" in shown
