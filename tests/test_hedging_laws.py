"""What holds for whatever comes: budgets, survival curves, delays, plans; and that learning pays, in virtual time."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from asking import suitecase
from conftest import Project
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf
from test_command import answer

from suitecase.errors import SuitecaseError
from suitecase.hedging import (
    NEVER,
    Adaptive,
    Backoff,
    Breaker,
    Budget,
    Fixed,
    HedgePolicy,
    HedgingError,
    Observation,
    Percentile,
    Simulated,
    Survival,
    Workload,
    WorkloadAware,
    front,
    simulate,
    tradeoffs,
)
from suitecase.hedging.guards import Benefit, Circuit, TokenBucket
from suitecase.hedging.survival import LatencyWindow
from suitecase.queries.latencies import find_latencies
from suitecase.rundir import read_run

SOME = settings(max_examples=30, deadline=None)
# Few different times, so that some coincide: events and cut-offs at the same moment are where estimators differ.
TIMES = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 4.0, 8.0])
LATENCIES = st.lists(st.tuples(TIMES, st.booleans()), min_size=1, max_size=60)


@SOME
@given(
    fraction=st.floats(0, 1), burst=st.floats(0, 20), wanted=st.lists(st.booleans(), max_size=300), start=st.integers(0)
)
def test_no_stretch_of_races_has_more_backups_than_the_budget(
    fraction: float, burst: float, wanted: list[bool], start: int
) -> None:
    bucket, started = TokenBucket(Budget(fraction, burst)), list[bool]()
    for wants in wanted:
        bucket.pay_in()
        started.append(wants and bucket.take())
    stretch = started[start % (len(wanted) + 1) :]
    assert sum(stretch) <= fraction * len(stretch) + burst + 1e-6


@SOME
@given(LATENCIES)
def test_survival_is_that_of_kaplan_and_meier(latencies: list[tuple[float, bool]]) -> None:
    """As scipy has it."""
    whole = [time_s for time_s, censored in latencies if not censored]
    cut_off = [time_s for time_s, censored in latencies if censored]
    theirs = cast(Any, ecdf(CensoredData(uncensored=whole, right=cut_off)).sf)
    ours = Survival(latencies)
    for time_s in (0.1, 0.25, 0.75, 1.0, 1.5, 3.0, 4.0, 9.0):
        assert ours.at(time_s) == pytest.approx(float(theirs.evaluate(time_s)), abs=1e-12)


@SOME
@given(LATENCIES, st.integers(1, 40), st.floats(0.01, 0.999))
def test_a_window_has_the_quantiles_of_its_latest(
    latencies: list[tuple[float, bool]], size: int, fraction: float
) -> None:
    window = LatencyWindow(size)
    for latency in latencies:
        window.add(*latency)
    assert window.quantile(fraction) == Survival(latencies[-size:]).quantile(fraction)


def test_a_window_counts_what_was_cut_off_as_longer() -> None:
    """Half of the slow ones were cut off at 2: the 95th percentile is 10 all the same; without them it would be 1."""
    window = LatencyWindow(1000)
    for latency in [(1.0, False)] * 90 + [(2.0, True)] * 6 + [(10.0, False)] * 4:
        window.add(*latency)
    assert (window.quantile(0.9), window.quantile(0.95)) == (1.0, 10.0)
    assert np.quantile([1.0] * 90 + [10.0] * 4, 0.95, method="inverted_cdf") == 1.0


DRAWS = st.lists(st.tuples(TIMES, TIMES, TIMES), min_size=1, max_size=20)


@SOME
@given(DRAWS, TIMES, st.integers(0, 2), st.sampled_from([0.0, 1.0]))
def test_a_race_ends_with_the_first_of_its_calls(
    draws: list[tuple[float, float, float]], delay_s: float, max_backups: int, fraction: float
) -> None:
    """By brute force: call k starts at k delays if none has ended by then, and the earliest end counts."""
    policy = HedgePolicy(Fixed(delay_s), max_backups=max_backups, budget=Budget(fraction, 100 * fraction))
    done = simulate(policy, draws)
    for attempts, latency_s, backups in zip(draws, done.latencies_s, done.backups, strict=True):
        ends = [attempts[0]]
        for number in range(1, max_backups + 1 if fraction else 1):
            if min(ends) > number * delay_s:
                ends.append(number * delay_s + attempts[number])
        assert latency_s == pytest.approx(min(ends))
        assert backups == len(ends) - 1


@SOME
@given(st.lists(TIMES, min_size=1, max_size=12), TIMES)
def test_tradeoffs_are_those_of_all_pairs(latencies: list[float], delay_s: float) -> None:
    """Every latency paired with every other, as independence has it."""
    _, with_backup = tradeoffs([(each, False) for each in latencies], delays_s=[delay_s])
    raced = [x if x <= delay_s else min(x, delay_s + y) for x in latencies for y in latencies]
    assert with_backup.extra == pytest.approx(np.mean([x > delay_s for x in latencies]))
    assert with_backup.p99_s == pytest.approx(np.quantile(raced, 0.99, method="inverted_cdf"))
    assert with_backup.p50_s == pytest.approx(np.quantile(raced, 0.5, method="inverted_cdf"))


def test_the_front_has_no_option_that_another_beats() -> None:
    random_ = random.Random(0)
    found = tradeoffs([(random_.expovariate(1), False) for _ in range(300)])
    best = front(found)
    assert best[0].delay_s == NEVER
    assert all(a.extra < b.extra and a.p99_s > b.p99_s for a, b in pairwise(best))
    assert all(any(b.extra <= a.extra and b.p99_s <= a.p99_s for b in best) for a in found)
    with pytest.raises(HedgingError, match="no latencies of whole calls"):
        tradeoffs([(1.0, True)])


# --- what is learned


def mixture(calls: int, seed: int, *, of_the_request: bool = False) -> list[list[float]]:
    """The reference mix; or one in which a request that is slow is slow each time."""
    draws = np.random.default_rng(seed)
    pairs = draws.lognormal(0, 0.2, (calls, 2)) * np.where(draws.random((calls, 2)) < 0.03, 10, 1)
    if of_the_request:
        pairs[:, 1] = pairs[:, 0]
    return pairs.tolist()


def test_the_tail_is_cut_by_three_quarters_within_the_budget() -> None:
    """The goal, on a tenth of the benchmark's calls."""
    draws = mixture(12_000, seed=1)
    done = simulate(HedgePolicy(), draws)
    gain = 1 - np.quantile(done.latencies_s[2000:], 0.99) / np.quantile([pair[0] for pair in draws[2000:]], 0.99)
    assert gain >= 0.74
    assert sum(done.backups) <= 0.05 * len(draws) + 10


def test_backups_that_never_help_are_stopped_and_start_again_when_they_do() -> None:
    policy = HedgePolicy()
    useless = simulate(policy, mixture(8_000, seed=2, of_the_request=True))
    assert sum(useless.backups[2000:]) <= 0.005 * 6_000
    useful = simulate(policy, mixture(12_000, seed=3))
    assert sum(useful.backups[-4000:]) >= 0.03 * 4_000


def test_thompson_sampling_finds_the_arm_with_the_least_loss() -> None:
    """It is seeded: the same seed chooses the same arms, another one others."""
    rule = Adaptive((1.0, 1.6, 6.0, NEVER), backup_price_s=1.0)
    draws = mixture(4_000, seed=4)
    losses = {arm: loss(simulate(unlimited(Fixed(arm)), draws)) for arm in rule.arms_s}
    best = min(losses, key=losses.__getitem__)
    policy = unlimited(rule)
    adaptive = simulate(policy, draws)
    assert best == 1.6
    beliefs = cast("list[list[float]]", policy.targets["default"].learner.to_json())
    races = {arm: races for arm, races, *_ in beliefs}
    assert max(races, key=races.__getitem__) == best
    assert loss(adaptive) < np.mean(list(losses.values()))
    few = draws[:500]
    assert simulate(unlimited(rule), few).latencies_s == adaptive.latencies_s[:500]
    assert simulate(unlimited(rule, seed=1), few).latencies_s != adaptive.latencies_s[:500]


def unlimited(rule: Fixed | Adaptive, seed: int = 0) -> HedgePolicy:
    return HedgePolicy(rule, budget=Budget(1, 10), seed=seed)


def loss(done: Simulated) -> float:
    return float(np.mean(np.add(done.latencies_s, done.backups)))


def observation(*, backups: int = 1, won: bool = False, failed: bool = False) -> Observation:
    return Observation(1.0, False, 1.0, None, backups, won, failed, failed)


@SOME
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.booleans()), max_size=60))
def test_a_back_off_stays_within_its_bounds(races: list[tuple[int, bool, bool]]) -> None:
    learner = Backoff(0.1, 0.05, 1.0).begin(0)
    for backups, won, failed in races:
        before = learner.delay_s
        learner.learn(observation(backups=backups, won=bool(backups) and won, failed=failed))
        factor = 2.0 if failed else 1.0 if not backups else 0.9 if won else 1.5
        assert learner.delay_s == pytest.approx(min(1.0, max(0.05, before * factor)))


@pytest.mark.parametrize(
    ("workload", "delay_s"),
    [
        (Workload(), 1.0),
        (Workload(1000), 1.0),
        (Workload(1001), 1.5),
        (Workload(5000, "high"), 2.5 * 0.6),
        (Workload(0, "low", hour=9), 1.5 * 0.7),
        (Workload(0, "normal", hour=3), 1.3),
    ],
)
def test_delays_fit_the_workload(workload: Workload, delay_s: float) -> None:
    rule = WorkloadAware(Fixed(1.0), peak_hours=range(8, 18))
    assert rule.begin(0).next(workload, 1.0).delay_s == pytest.approx(delay_s)
    own = WorkloadAware(Fixed(1.0), factor=lambda workload: 0.001)
    assert own.begin(0).next(workload, 1.0).delay_s == 0.01


@pytest.mark.parametrize(
    "rule", [Percentile(min_samples=2), Adaptive(), Backoff(), WorkloadAware(Percentile(min_samples=2)), Fixed(1)]
)
def test_what_was_learned_comes_back_from_json(rule: Percentile) -> None:
    policy = HedgePolicy(rule)
    simulate(policy, mixture(100, seed=5))
    learned = policy.targets["default"].learner
    again = rule.begin(0)
    again.load(json.loads(json.dumps(learned.to_json())))
    assert again.to_json() == learned.to_json()


def test_rules_that_cannot_be_are_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(HedgingError, match=r"(?s)percentile is 0.*window is 0.*initial_delay_s is -1"):
        Percentile(0, window=0, initial_delay_s=-1)
    with pytest.raises(HedgingError, match="delays that differ"):
        Adaptive((1.0, 1.0))
    with pytest.raises(HedgingError, match="between min_s and max_s"):
        Backoff(10.0)
    with pytest.raises(HedgingError, match="in the order of their lengths"):
        WorkloadAware(longer=((2000, 2.0), (1000, 1.5)))


def states(circuit: Circuit, events: Sequence[tuple[float, str]]) -> list[str]:
    found: list[str] = []
    for now_s, event in events:
        if event == "ask":
            found.append(f"{circuit.admits(now_s)} {circuit.state}")
        else:
            circuit.add(event == "fail", now_s)
    return found


def test_a_circuit_opens_lets_one_through_and_closes() -> None:
    events = [
        (0, "fail"), (0, "ask"), (0, "ok"), (0, "fail"), (1, "ask"), (1, "ok"), (29.9, "ask"), (30, "ask"), (30, "ask"),
        (31, "fail"), (60.9, "ask"), (61, "ask"), (62, "ok"), (62, "ask"),
    ]  # fmt: skip
    assert states(Circuit(Breaker(0.5, window=3, open_s=30)), events) == [
        "True closed", "False open", "False open", "True half-open", "False half-open", "False open", "True half-open",
        "True closed",
    ]  # fmt: skip


def test_a_benefit_that_was_seen_once_is_not_forgotten_at_once() -> None:
    benefit = Benefit()
    for _ in range(20):
        benefit.add(True)
    for _ in range(30):
        benefit.add(False)
    assert not benefit.stopped
    for _ in range(200):
        benefit.add(False)
    assert benefit.stopped


# --- the command


def recorded(project: Project, latencies: Sequence[float]) -> Path:
    """A run whose only case has worked through items."""
    project.suite("[ExperimentCase('case', Config(x=1))]")
    assert project.run().code == 0
    rows = [{"key": str(n), "status": "succeeded", "latency_s": latency} for n, latency in enumerate(latencies)]
    case = project.runs()[-1] / "case"
    (case / "items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [{"format": 1}, *rows]))
    return case


def test_hedging_plan(project: Project) -> None:
    """Latencies of items, or of calls where those were recorded, which then count instead."""
    case = recorded(project, [1.0] * 96 + [10.0] * 4)
    (items,) = answer("hedging", "plan", "latest", cwd=project.root)["targets"]
    assert (items["target"], items["calls"], items["censored"]) == ("items", 100, 0)
    assert items["front"][0] == {"delay_s": None, "extra": 0, "p50_s": 1, "p99_s": 10}
    assert items["within_budget"] == {"delay_s": 1, "extra": pytest.approx(0.04), "p50_s": 1, "p99_s": 2}
    text = suitecase("hedging", "plan", "latest", cwd=project.root)
    assert text.lines[-1] == "Within 5% of extra requests: a delay of 1 s."
    cut_off = [{"target": "model", "latency_s": 2.0, "censored": True}, {"target": "other", "latency_s": 1.0}]
    lines = [{"message": "hedged call", "data": {"calls": calls}} for calls in (cut_off, [{**cut_off[1]}], [], None)]
    (case / "tracking.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = find_latencies(read_run(case.parent))
    assert [(each.target, each.seen) for each in found] == [("model", [(2.0, True)]), ("other", [(1.0, False)])]
    refused = suitecase("hedging", "plan", "latest", "--target", "items", cwd=project.root)
    expected = "suitecase: no latencies of 'items'; there are those of 'model', 'other'.\n"
    assert (refused.code, refused.stderr) == (2, expected)
    for name in ("items.jsonl", "tracking.jsonl"):
        (case / name).unlink()
    with pytest.raises(SuitecaseError, match="has recorded no latencies"):
        find_latencies(read_run(case.parent))
