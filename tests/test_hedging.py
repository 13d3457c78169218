"""Races of real tasks and threads: who wins, what becomes of the others, what is refused, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import HERE, clean_environment

from suitecase import tracking
from suitecase.hedging import (
    NEVER,
    AllCallsFailedError,
    Backoff,
    Breaker,
    Budget,
    Call,
    CircuitOpenError,
    Fixed,
    HedgePolicy,
    HedgeTimeoutError,
    HedgingError,
    Outcome,
    Percentile,
    Tier,
    hedged,
    hedged_sync,
    simulate,
    tiered,
    tiered_sync,
)

DEADLINE_S = 30
AT_ONCE = Fixed(0)
LATER = Fixed(3600)


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run to the end, in time, and without a task left behind."""

    async def whole() -> Any:
        result = await asyncio.wait_for(work(), DEADLINE_S)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(whole())


def race(call: Callable[[Call], Awaitable[Any]], policy: HedgePolicy, **options: Any) -> Outcome[Any]:
    """One race, and the ends of its losers."""

    async def work() -> Outcome[Any]:
        try:
            return await hedged(call, policy=policy, idempotent=True, **options)
        finally:
            await policy.settle()

    return run(work)


async def stand_still() -> None:
    await asyncio.Event().wait()


async def slow_primary(call: Call) -> int:
    if call.number == 0:
        await stand_still()
    return call.number


def test_the_first_success_is_the_answer_and_losers_are_cancelled() -> None:
    """A primary that would never end does not hold up the answer of the backup, and is cancelled."""
    cancelled: list[int] = []

    async def ask(call: Call) -> str:
        call.charge(0.25)
        try:
            if call.number == 0:
                await stand_still()
        except asyncio.CancelledError:
            cancelled.append(call.number)
            raise
        return f"answer {call.number}"

    outcome = race(ask, HedgePolicy(AT_ONCE))
    assert (outcome.value, outcome.hedged, outcome.hedge_won, outcome.cost_usd) == ("answer 1", True, True, 0.5)
    primary, backup = outcome.calls
    assert (primary.status, primary.censored, primary.ended) == ("cancelled", True, True)
    assert (backup.status, backup.censored) == ("won", False)
    assert primary.latency_s == outcome.latency_s
    assert cancelled == [0]


def test_a_primary_in_time_has_no_backup() -> None:
    outcome = race(at_once, HedgePolicy(LATER))
    assert [call.status for call in outcome.calls] == ["won"]
    assert (outcome.value, outcome.hedged, outcome.delay_s, outcome.why) == (0, False, 3600, "fixed")


async def at_once(call: Call) -> int:
    return call.number


def test_a_primary_that_fails_starts_the_backup_at_once() -> None:
    """An hour before its time."""

    async def ask(call: Call) -> str:
        if call.number == 0:
            raise ConnectionError("refused")
        return call.target

    outcome = race(ask, HedgePolicy(LATER), targets=["here", "there"])
    assert outcome.value == "there"
    assert [call.status for call in outcome.calls] == ["failed", "won"]
    assert isinstance(outcome.calls[0].error, ConnectionError)


def test_all_failed_is_one_error_with_all() -> None:
    async def ask(call: Call) -> None:
        raise ValueError(f"call {call.number}")

    with pytest.raises(AllCallsFailedError, match=r"all calls failed \(3, to a, b\)") as caught:
        race(ask, HedgePolicy(LATER, max_backups=2), targets=["a", "b"])
    assert [str(error) for error in caught.value.exceptions] == ["call 0", "call 1", "call 2"]
    assert [call.target for call in caught.value.calls] == ["a", "b", "a"]
    matching, _ = caught.value.split(ValueError)
    assert isinstance(matching, AllCallsFailedError)


def test_a_function_that_raises_before_it_is_awaited_has_failed() -> None:
    def ask(_call: Call) -> Awaitable[int]:
        raise KeyError("no such model")

    with pytest.raises(AllCallsFailedError) as caught:
        race(ask, HedgePolicy(LATER))
    assert len(caught.value.exceptions) == 2


def test_a_call_that_cancels_itself_has_failed() -> None:
    async def ask(_call: Call) -> None:
        raise asyncio.CancelledError

    with pytest.raises(AllCallsFailedError, match="all calls failed"):
        race(ask, HedgePolicy(LATER))


def test_without_a_promise_there_is_no_backup() -> None:
    async def ask(call: Call) -> int:
        await asyncio.sleep(0.01)
        return call.number

    async def work() -> Outcome[int]:
        return await hedged(ask, policy=HedgePolicy(AT_ONCE))

    outcome = run(work)
    assert (outcome.hedged, outcome.delay_s, outcome.why) == (False, NEVER, "not declared idempotent")


def test_a_budget_that_is_gone_starts_no_backup() -> None:
    """Not after a delay, and not after a failure."""
    policy = HedgePolicy(AT_ONCE, budget=Budget(0, 1))

    async def ask(call: Call) -> int:
        await asyncio.sleep(0.01)
        return call.number

    assert race(slow_primary, policy).hedged
    outcome = race(ask, policy)
    assert (outcome.hedged, outcome.why) == (False, "fixed; no backup: the budget is gone")

    async def fail(_call: Call) -> int:
        raise ValueError

    with pytest.raises(AllCallsFailedError) as caught:
        race(fail, policy)
    assert len(caught.value.exceptions) == 1


def test_a_timeout_holds_for_all_calls_together() -> None:
    async def ask(call: Call) -> None:
        if call.number == 1:
            raise ValueError("no")
        await stand_still()

    with pytest.raises(HedgeTimeoutError, match=r"no answer within 0.01 s \(2 calls, to default\)") as caught:
        race(ask, HedgePolicy(AT_ONCE, timeout_s=0.01))
    assert [call.status for call in caught.value.calls] == ["cancelled", "failed"]
    assert isinstance(caught.value.__cause__, AllCallsFailedError)


def test_who_waits_may_be_cancelled() -> None:
    """All calls end with the one who waited for them."""
    policy = HedgePolicy(AT_ONCE)
    calls: list[Call] = []

    async def ask(call: Call) -> None:
        calls.append(call)
        await stand_still()

    async def work() -> None:
        waiting = asyncio.create_task(hedged(ask, policy=policy, idempotent=True))
        while len(calls) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await policy.settle()

    run(work)
    assert [(call.status, call.ended) for call in calls] == [("cancelled", True)] * 2


def test_what_ignores_its_cancellation_is_reported() -> None:
    said: list[Mapping[str, object]] = []
    policy = HedgePolicy(AT_ONCE, reap_s=0.01, observe=said.append)

    async def work() -> Outcome[int]:
        release = asyncio.Event()

        async def ask(call: Call) -> int:
            while call.number == 0 and not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return call.number

        outcome = await hedged(ask, policy=policy, idempotent=True)
        await policy.settle()
        assert outcome.calls[0].status == "stuck"
        release.set()
        while not outcome.calls[0].ended:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return outcome

    assert run(work).value == 1
    levels = [(each["level"], each["message"]) for each in said]
    warning = ("warning", "a call to default goes on 0.01 s after its cancellation")
    assert levels == [("info", "hedged call"), warning]
    assert not policy.losers.tasks


def test_backups_go_to_the_targets_in_turn() -> None:
    async def ask(call: Call) -> str:
        if call.number < 2:
            await stand_still()
        return call.target

    outcome = race(ask, HedgePolicy(AT_ONCE, max_backups=2), targets=["a", "b", "c"])
    assert [call.target for call in outcome.calls] == ["a", "b", "c"]
    assert outcome.value == "c"


def test_identical_requests_in_flight_are_one() -> None:
    """Also if the one who began it goes away; it ends when nobody waits any more."""
    policy = HedgePolicy(LATER)
    begun: list[str] = []

    async def work() -> None:
        release = asyncio.Event()

        async def ask(_call: Call) -> str:
            begun.append("call")
            await release.wait()
            return "answer"

        def ask_for(key: str) -> asyncio.Task[Outcome[str]]:
            return asyncio.create_task(hedged(ask, policy=policy, idempotent=True, key=key))

        waiting = [ask_for("same") for _ in range(100)]
        lonely = ask_for("other")
        while len(begun) < 2:
            await asyncio.sleep(0)
        waiting.pop(0).cancel()
        lonely.cancel()
        await asyncio.sleep(0)
        release.set()
        assert {(await each).value for each in waiting} == {"answer"}
        with pytest.raises(asyncio.CancelledError):
            await lonely
        await policy.settle()
        assert (await ask_for("same")).value == "answer"
        for _ in range(3):
            await asyncio.sleep(0)

    run(work)
    assert len(begun) == 3
    assert not policy.flights.tasks


def test_ten_thousand_calls_at_once_keep_the_budget() -> None:
    policy = HedgePolicy(AT_ONCE)

    async def ask(call: Call) -> int:
        await asyncio.sleep(0.05)
        return call.number

    async def work() -> int:
        done = await asyncio.gather(*(hedged(ask, policy=policy, idempotent=True) for _ in range(10_000)))
        await policy.settle()
        return sum(outcome.hedged for outcome in done)

    assert 1 <= run(work) <= 0.05 * 10_000 + 10


class Busy(Exception):
    status_code = 429


def test_an_overloaded_target_gets_no_backups() -> None:
    policy = HedgePolicy(AT_ONCE, budget=Budget(1, 100), max_backups=0)

    async def busy(_call: Call) -> int:
        raise Busy

    for _ in range(4):
        with pytest.raises(AllCallsFailedError):
            race(busy, policy)
    hedging = HedgePolicy(AT_ONCE)
    hedging.targets.update(policy.targets)

    async def ask(call: Call) -> int:
        await asyncio.sleep(0.01)
        return call.number

    assert race(ask, hedging).why == "fixed; no backup: 8% of the latest calls were throttled"


def test_an_open_circuit_sends_nothing_and_the_next_target_takes_over() -> None:
    policy = HedgePolicy(LATER, max_backups=0, breaker=Breaker(0.5, window=2, open_s=3600))

    async def ask(call: Call) -> str:
        if call.target == "down":
            raise ConnectionError
        return call.target

    for _ in range(2):
        with pytest.raises(AllCallsFailedError):
            race(ask, policy, targets=["down"])
    with pytest.raises(CircuitOpenError, match="the circuits of down are open"):
        race(ask, policy, targets=["down"])
    assert race(ask, policy, targets=["down", "up"]).value == "up"


# --- tiers


TIERS = [Tier("small", NEVER, 0.8, 0.001), Tier("large", NEVER, 0.9, 0.1), Tier("largest", NEVER, 0.9, 1.0)]


@pytest.mark.parametrize(
    ("worth", "winner", "cost_usd"),
    [
        ({"small": 0.85}, "small", 0.001),
        ({"small": 0.5, "large": 0.95}, "large", 0.101),
        ({"small": 0.5, "large": 0.85, "largest": 0.7}, "large", 1.101),
    ],
)
def test_tiers_escalate_by_quality(worth: dict[str, float], winner: str, cost_usd: float) -> None:
    """The first that is good enough; if none is, the best."""

    async def ask(call: Call) -> str:
        return call.target

    async def work() -> Outcome[str]:
        return await tiered(ask, tiers=TIERS, quality=worth.__getitem__, policy=HedgePolicy())

    for outcome in (
        run(work),
        tiered_sync(lambda call: call.target, tiers=TIERS, quality=worth.__getitem__, policy=HedgePolicy()),
    ):
        assert (outcome.value, outcome.winner.quality) == (winner, worth[winner])
        assert outcome.cost_usd == pytest.approx(cost_usd)


def test_tiers_escalate_by_time() -> None:
    async def ask(call: Call) -> str:
        if call.target == "small":
            await stand_still()
        return call.target

    async def work() -> Outcome[str]:
        policy = HedgePolicy()
        outcome = await tiered(ask, tiers=[Tier("small", 0), *TIERS[1:]], quality=lambda _: 1, policy=policy)
        await policy.settle()
        return outcome

    outcome = run(work)
    assert [(call.target, call.status) for call in outcome.calls] == [("small", "cancelled"), ("large", "won")]


def test_a_quality_that_raises_is_a_failed_call() -> None:
    async def work() -> Outcome[str]:
        async def ask(call: Call) -> str:
            return call.target

        return await tiered(ask, tiers=TIERS, quality={"large": 1.0}.__getitem__, policy=HedgePolicy())

    assert [call.status for call in run(work).calls] == ["failed", "won"]


def test_tiers_that_cannot_be_are_refused() -> None:
    with pytest.raises(HedgingError, match="no tiers"):
        tiered_sync(lambda _: 0, tiers=[], quality=float, policy=HedgePolicy())
    tiers = [Tier("a", -1), Tier("b", 1, cost_usd=-2)]
    with pytest.raises(HedgingError, match=r"(?s)'a': delay_s is -1.*'b': cost_usd is -2"):
        tiered_sync(lambda _: 0, tiers=tiers, quality=float, policy=HedgePolicy())


# --- threads


def test_threads_race_and_a_loser_is_asked_to_end() -> None:
    ended = threading.Event()

    def ask(call: Call) -> int:
        if call.number == 0:
            assert call.cancel.wait(DEADLINE_S)
            ended.set()
        return call.number

    outcome = hedged_sync(ask, policy=HedgePolicy(AT_ONCE), idempotent=True)
    assert (outcome.value, outcome.calls[0].status, outcome.calls[0].censored) == (1, "cancelled", True)
    assert ended.wait(DEADLINE_S)


def test_threads_fail_as_tasks_do() -> None:
    def ask(call: Call) -> int:
        if call.number == 1:
            raise SystemExit(3)
        raise ValueError(call.number)

    with pytest.raises(AllCallsFailedError) as caught:
        hedged_sync(ask, policy=HedgePolicy(LATER), idempotent=True)
    assert [type(error) for error in caught.value.exceptions] == [ValueError, RuntimeError]

    def wait(call: Call) -> bool:
        return call.cancel.wait(DEADLINE_S)

    with pytest.raises(HedgeTimeoutError):
        hedged_sync(wait, policy=HedgePolicy(LATER, timeout_s=0.01))


def test_a_thread_that_ignores_its_cancellation_keeps_its_slot_and_is_reported() -> None:
    release, reported = threading.Event(), threading.Event()

    def observe(event: Mapping[str, object]) -> None:
        if event["level"] == "warning":
            reported.set()

    policy = HedgePolicy(AT_ONCE, reap_s=0.01, max_threads=2, observe=observe)

    def ask(call: Call) -> int:
        if call.number == 0:
            assert release.wait(DEADLINE_S)
        return call.number

    stuck = hedged_sync(ask, policy=policy, idempotent=True).calls[0]
    assert reported.wait(DEADLINE_S)
    assert (stuck.status, stuck.ended) == ("stuck", False)
    threading.Timer(0.05, release.set).start()
    outcome = hedged_sync(ask, policy=policy, idempotent=True)
    assert (outcome.value, outcome.why) == (0, "fixed; no backup: no thread is free")


def test_many_threads_share_a_budget() -> None:
    policy, results = HedgePolicy(AT_ONCE, max_threads=16), list[Outcome[int]]()

    def ask(call: Call) -> int:
        call.cancel.wait(0.001)
        return call.number

    def work() -> None:
        for _ in range(25):
            results.append(hedged_sync(ask, policy=policy, idempotent=True))

    join([threading.Thread(target=work) for _ in range(8)])
    assert len(results) == 200
    assert 1 <= sum(outcome.hedged for outcome in results) <= 0.05 * 200 + 10


def test_threads_with_one_key_make_one_request() -> None:
    policy, made, values = HedgePolicy(LATER), list[Call](), list[str]()

    def ask(call: Call) -> str:
        made.append(call)
        in_flight = cast(Any, policy.flights.threads["same"])
        while len(in_flight._condition._waiters) < 7:
            time.sleep(0.001)
        return "answer"

    def work() -> None:
        values.append(hedged_sync(ask, policy=policy, key="same").value)

    join([threading.Thread(target=work) for _ in range(8)])
    assert (len(made), values) == (1, ["answer"] * 8)
    assert not policy.flights.threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


# --- settings, state, records


def test_settings_that_cannot_be_are_refused_all_at_once() -> None:
    with pytest.raises(HedgingError) as caught:
        HedgePolicy(max_backups=-1, timeout_s=0, budget=Budget(1.5, -1), breaker=Breaker(2), max_threads=0)
    named = [problem.split()[1] for problem in caught.value.problems]
    assert named == [
        "max_backups", "max_threads", "budget.fraction", "breaker.max_failure_rate", "budget.burst", "timeout_s",
    ]  # fmt: skip
    with pytest.raises(HedgingError, match="Percentile: percentile is 100"):
        Percentile(100)
    with pytest.raises(HedgingError, match=r"targets is \[\]"):
        race(at_once, HedgePolicy(), targets=[])


SHARE = """
import sys
from pathlib import Path
from suitecase.hedging import HedgePolicy, Percentile, simulate
policy = HedgePolicy(Percentile(50, window=2000), state_file=Path(sys.argv[1]))
simulate(policy, [(float(sys.argv[2]), 100.0)] * 100, target="model")
policy.save()
"""


def test_what_is_of_another_kind_is_refused_by_name() -> None:
    """A text for a number, a rule for a policy, a fraction for a percentage: a sentence, before a request is sent."""
    with pytest.raises(HedgingError) as caught:
        HedgePolicy(0.5, max_backups="2", budget=Budget(burst="x"), breaker=3, state_file=Path(), observe=3)  # type: ignore[arg-type]
    named = {problem.split()[1] for problem in caught.value.problems}
    assert named == {"delay", "max_backups", "budget.burst", "breaker", "state_file", "observe"}
    for rule, told in (
        (lambda: Percentile(0.95), r"percentile is 0\.95: give 1 to 99\.9 percent"),
        (lambda: Percentile(window="9", min_samples="x"), r"(?s)window is '9'.*min_samples is 'x'"),  # type: ignore[arg-type]
        (lambda: Fixed("1"), "delay_s is '1'"),  # type: ignore[arg-type]
        (lambda: Backoff("1"), "initial_s is '1'"),  # type: ignore[arg-type]
        (
            lambda: asyncio.run(hedged(at_once, policy=Fixed(1))),  # type: ignore[arg-type]
            r"policy is Fixed\(delay_s=1\)\. Give HedgePolicy\(Fixed",
        ),
        (lambda: race(at_once, HedgePolicy(), targets="ab"), "targets is 'ab'"),
        (lambda: hedged_sync(at_once, policy=HedgePolicy()), "the call is async"),
        (lambda: simulate(HedgePolicy(Fixed(1)), [(2.0,)]), "has 1 latencies, and makes one call more"),
        (lambda: Call(0, "a").charge(-1), "-1 is no cost"),
    ):
        with pytest.raises(HedgingError, match=told):
            rule()


NAMES = {"hedging.json", "hedging.json.lock", "hedging.json.tokens"}


def test_processes_share_what_they_learn(tmp_path: Path) -> None:
    """Each adds its own; whoever begins later knows all of it; a file that is damaged is no reason to fail."""
    path = tmp_path / "hedging.json"
    path.write_text('{"targets": {"model"')
    env = {**clean_environment(), "PYTHONPATH": str(HERE)}
    processes = [
        subprocess.Popen([sys.executable, "-c", SHARE, str(path), str(latency)], env=env) for latency in (1, 2, 3, 4)
    ]
    assert [process.wait(DEADLINE_S) for process in processes] == [0] * 4
    learned = json.loads(path.read_text())["targets"]["model"]["learner"]
    assert sorted(latency for latency, _ in learned) == [1.0] * 100 + [2.0] * 100 + [3.0] * 100 + [4.0] * 100
    policy = HedgePolicy(Percentile(75, thrift=0), state_file=path)
    delay_s = policy.race(("model",), idempotent=True, workload=None, now_s=0).delay_s
    assert (delay_s, {each.name for each in tmp_path.iterdir()}) == (3.0, NAMES)


SPEND = """
import sys
from pathlib import Path
from suitecase.hedging import Budget, Fixed, HedgePolicy, simulate
policy = HedgePolicy(Fixed(0), budget=Budget(0.05, 10), state_file=Path(sys.argv[1]))
print(sum(simulate(policy, [(2.0, 1.0)] * 400, target="model").backups))
"""


def test_processes_share_their_budget(tmp_path: Path) -> None:
    """Every request wants a backup: all processes together start the fraction and one burst, a forked one included."""
    path = tmp_path / "hedging.json"
    env = {**clean_environment(), "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", SPEND, str(path)]
    processes = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    backups = [int(process.communicate(timeout=DEADLINE_S)[0]) for process in processes]
    assert sum(backups) <= 0.05 * 4 * 400 + 10
    assert sum(backups) >= 0.05 * 4 * 400 + 10 - 4, "each may end with a share of a token that it has not paid in"
    policy = HedgePolicy(Fixed(0), budget=Budget(0, 6), state_file=path)
    simulate(policy, [(2.0, 1.0)] * 2, target="model")
    if not (child := os.fork()):
        started = sum(simulate(policy, [(2.0, 1.0)] * 2, target="model").backups)
        os._exit(started)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert sum(simulate(policy, [(2.0, 1.0)] * 9, target="model").backups) == 2


def test_a_state_file_that_cannot_be_written_costs_no_request(tmp_path: Path) -> None:
    policy = HedgePolicy(LATER, state_file=tmp_path / "missing" / "hedging.json")
    assert race(at_once, policy).value == 0


def test_a_case_records_its_calls(tmp_path: Path) -> None:
    """With `tracking.observe`, all calls of a request are in one line, losers included."""
    with tracking.track(tmp_path):
        race(slow_primary, HedgePolicy(AT_ONCE, observe=tracking.observe), targets=["a", "b"])
        race(at_once, HedgePolicy(LATER, observe=tracking.observe))
    first, second, end = map(json.loads, (tmp_path / "tracking.jsonl").read_text().splitlines())
    assert (first["level"], second["level"], end["event"]) == ("info", "debug", "completed")
    told = first["data"]
    assert [(call["target"], call["status"], call["censored"]) for call in told["calls"]] == [
        ("a", "cancelled", True), ("b", "won", False),
    ]  # fmt: skip
    assert (told["winner"], told["delay_s"], told["why"]) == (1, 0, "fixed")
