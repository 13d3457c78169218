"""What recorded answers say: against definitions, real ensembles, and answers drawn with known properties."""

from __future__ import annotations

import asyncio
import math
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suitecase.ensembles import (
    Cascade,
    Ensemble,
    EnsembleError,
    Execution,
    Member,
    NoConsensusError,
    QuorumError,
    Recorded,
    Reply,
    Rule,
    Status,
    Weighted,
    ablation,
    build,
    calibration_of_agreement,
    condorcet,
    disagreement,
    effective_members,
    error_correlation,
    expected_accuracy,
    front,
    replay,
    search,
)
from suitecase.items import ItemsError, process, read_items

NAMES: tuple[str, ...] = ("a", "b", "c", "d", "e")
COSTS: dict[str, float] = dict(zip(NAMES, (0.001, 0.001, 0.002, 0.004, 0.02), strict=True))


def drawn(n: int, accuracies: dict[str, float], *, alike: float, seed: int, options: int = 4) -> Recorded:
    """Members whose errors are correlated through an item's difficulty, and who tell a confidence worth something."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, options, n)
    hard = rng.normal(size=n)
    answers: dict[str, list[int]] = {}
    confidence: dict[str, list[float]] = {}
    for name, accuracy in accuracies.items():
        reach = math.sqrt(alike) * hard + math.sqrt(1 - alike) * rng.normal(size=n)
        right = reach < np.quantile(reach, accuracy)
        answers[name] = np.where(right, truth, (truth + rng.integers(1, options, n)) % options).tolist()
        confidence[name] = np.clip(np.where(right, 0.8, 0.55) + rng.normal(size=n) * 0.15, 0, 1).tolist()
    cost = {name: COSTS[name] for name in accuracies}
    return Recorded.of(answers, truth.tolist(), cost_usd=cost, confidence=confidence)


FIVE = drawn(300, dict(zip(NAMES, (0.6, 0.65, 0.7, 0.75, 0.85), strict=True)), alike=0.5, seed=0)


def saying(name: str, said: object) -> Member:
    def call(question: object) -> object:
        return said

    return Member(name, call)


@settings(max_examples=40, deadline=None)
@example([[None, None, None, "x"]], "sequential", False, 0, Random(0))
@given(
    st.lists(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=4, max_size=4), min_size=1, max_size=6),
    st.sampled_from(["parallel", "sequential", "sure", "agreed"]),
    st.booleans(),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_a_replay_gives_what_the_ensemble_gave(
    table: list[list[str | None]], kind: str, weighted: bool, seed: int, rng: Any
) -> None:  # fmt: skip
    """The same answers, agreement, and number of members asked, ties included."""
    sure = [[rng.choice([0.2, 0.6, 0.9]) for _ in row] for row in table]
    names = NAMES[:4]
    weights = {"a": 1.0, "b": 2.5, "c": 0.5, "d": 1.0} if weighted and kind in ("parallel", "sequential") else None
    confidence, agreement = (0.8 if kind == "sure" else None), (0.6 if kind == "agreed" else None)
    execution: str | Execution = Cascade(confidence, agreement) if kind in ("sure", "agreed") else kind

    def member(place: int) -> Member:
        def call(item: str) -> Reply:
            return Reply(table[int(item)][place], sure[int(item)][place], 1.0)

        return Member(names[place], call)

    members = [member(place) for place in range(4)]
    ensemble = Ensemble(
        members, execution=execution, strategy=Weighted(weights) if weights else "majority", seed=seed
    )  # fmt: skip
    recorded = Recorded.of(
        dict(zip(names, map(list, zip(*table, strict=True)), strict=True)),
        ["x"] * len(table), seed=seed, cost_usd=dict.fromkeys(names, 1.0),
        confidence=dict(zip(names, map(list, zip(*sure, strict=True)), strict=True)),
    )  # fmt: skip
    rule = Rule(names, "cascade" if kind in ("sure", "agreed") else kind, weights, confidence, agreement)
    found = replay(recorded, rule)
    for item in range(len(table)):
        try:
            result = asyncio.run(ensemble.ask(str(item)))
        except (QuorumError, NoConsensusError) as error:
            votes, result = error.votes, None
        else:
            votes = result.votes
        assert found.asked[item] == sum(vote.status is not Status.NOT_ASKED for vote in votes)
        assert found.decided[item] == (result is not None)
        if result is None:
            continue
        assert found.right[item] == (result.answer == "x")
        assert found.agreement[item] == pytest.approx(result.agreement)
        assert found.cost_usd is not None
        assert found.cost_usd[item] == result.cost_usd


def test_disagreement_and_correlation_by_definition() -> None:
    """On a few items by hand."""
    recorded = Recorded.of(
        {"a": ["x", "x", "x", "y"], "b": ["x", "y", None, "y"], "c": ["x", "x", "x", "x"]}, ["x", "x", "x", "x"]
    )
    assert disagreement(recorded).values[0][1] == pytest.approx(1 / 3)
    assert disagreement(recorded).mean == pytest.approx((1 / 3 + 1 / 4 + 2 / 3) / 3)
    correlations = error_correlation(recorded)
    assert correlations.values[0][1] == pytest.approx(np.corrcoef([0, 0, 0, 1], [0, 1, 1, 1])[0, 1])
    assert correlations.values[0][2] is None  # c is never wrong
    assert correlations.mean == correlations.values[0][1]


def test_effective_members() -> None:
    """Copies count as one, independent ones each; the law of Kish for equal correlations."""
    truth = [0] * 200
    rng = np.random.default_rng(1)
    one = rng.integers(0, 2, 200).tolist()
    assert effective_members(Recorded.of({"a": one, "b": one, "c": one}, truth)).value == pytest.approx(1)
    apart = drawn(4000, dict.fromkeys(NAMES, 0.7), alike=0.0, seed=2)
    found = effective_members(apart)
    assert 5 in found.interval
    alike = drawn(4000, dict.fromkeys(NAMES, 0.7), alike=0.5, seed=3)
    rho = error_correlation(alike).mean
    assert rho is not None
    assert effective_members(alike).value == pytest.approx(5 / (1 + 4 * rho), rel=0.02)
    with pytest.raises(EnsembleError, match="same number of errors"):
        effective_members(Recorded.of({"a": [0, 0], "b": [1, 1]}, [0, 0]))


def test_expected_accuracy() -> None:
    """Condorcet by summation over who is right, the beta-binomial by integration over its beta."""
    for members, p in product((1, 2, 3, 5), (0.3, 0.7)):
        by_hand = 0.0
        for right in range(members + 1):
            for _ in combinations(range(members), right):
                weight = 1.0 if 2 * right > members else 0.5 if 2 * right == members else 0.0
                by_hand += weight * p**right * (1 - p) ** (members - right)
        assert expected_accuracy(members, p) == pytest.approx(by_hand)
    rng = np.random.default_rng(4)
    rates = rng.beta(0.7 * 4, 0.3 * 4, 400_000)  # correlation 1/(4 + 1)
    votes = rng.binomial(5, rates)
    assert expected_accuracy(5, 0.7, 0.2) == pytest.approx((votes >= 3).mean(), abs=0.003)
    assert expected_accuracy(5, 0.7, 1.0) == 0.7
    assert expected_accuracy(5, 0.7) > expected_accuracy(5, 0.7, 0.2) > 0.7
    with pytest.raises(EnsembleError, match="from 0 to 1"):
        expected_accuracy(5, 1.7)


def test_condorcet_measures_the_correlation() -> None:
    """With two options, where all wrong members say the same, expectation and observation agree."""
    recorded = drawn(4000, dict.fromkeys(NAMES, 0.7), alike=0.4, seed=5, options=2)
    found = condorcet(recorded)
    assert found.accuracy == pytest.approx(0.7, abs=0.001)
    assert abs(found.expected - found.observed.value) < 0.02 < found.independent - found.expected


def test_ablation_and_front() -> None:
    """Each subset against counting by hand; the front has what nobody beats."""
    for each in ablation(FIVE):
        left = tuple(name for name in NAMES if name != each.member)
        assert each.without.value == replay(FIVE, Rule(left)).right.mean()
        assert each.gain.estimate == pytest.approx(replay(FIVE, Rule(NAMES)).right.mean() - each.without.value)
        assert each.cost_usd == pytest.approx(COSTS[each.member])
    scored = front(FIVE)
    assert len(scored) == 31
    for one in scored:
        beaten = any(
            (other.cost_usd <= one.cost_usd and other.accuracy.value > one.accuracy.value)
            or (other.cost_usd < one.cost_usd and other.accuracy.value >= one.accuracy.value)
            for other in scored
        )
        if one.on_front:
            assert not beaten
    with pytest.raises(EnsembleError, match="give cost_usd"):
        front(Recorded.of({"a": [1]}, [1]))


def test_agreement_is_held_against_the_truth() -> None:
    """Of answers with agreement x, how many are right."""
    found = calibration_of_agreement(FIVE)
    done = replay(FIVE, Rule(NAMES))
    top = found.bins[-1]
    assert top.stated == 1.0
    assert (top.n, top.observed) == (
        (done.agreement == 1).sum(), pytest.approx(done.right[done.agreement == 1].mean()),
    )  # fmt: skip


def test_search_stays_within_the_budget_and_is_judged_on_other_items() -> None:
    """Held-out accuracy is below that on the items it was chosen on, and close to that on new items."""
    found = search(FIVE, 0.008, folds=3)
    assert found.cost_usd < 0.009
    assert found.accuracy.value <= found.chosen_accuracy
    assert found.gain.estimate == pytest.approx(found.accuracy.value - found.single_accuracy.value)
    fresh = drawn(4000, dict(zip(NAMES, (0.6, 0.65, 0.7, 0.75, 0.85), strict=True)), alike=0.5, seed=9)
    assert replay(fresh, found.rules[None]).right.mean() in found.accuracy.interval
    assert "Held-out accuracy" in found.sentence()


def test_search_finds_nothing_where_there_is_nothing() -> None:
    """Members that guess: chosen on their items they look good, held out they don't."""
    guessing = drawn(120, dict.fromkeys(NAMES[:3], 0.25), alike=0.0, seed=6)
    rng = np.random.default_rng(7)
    guessing = Recorded.of(
        {name: rng.integers(0, 4, 120).tolist() for name in NAMES[:3]}, rng.integers(0, 4, 120).tolist(),
        cost_usd=dict.fromkeys(NAMES[:3], 0.001),
    )  # fmt: skip
    found = search(guessing, 1.0, folds=3, options=4)
    assert 0.25 in found.accuracy.interval
    assert found.chosen_accuracy > found.accuracy.value


def test_search_routes_items() -> None:
    """Two members, each good at one topic: routing finds which."""
    topics = ["law", "art"] * 60
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 4, 120)
    wrong = (truth + 1) % 4
    law = np.array(topics) == "law"
    answers = {"a": np.where(law, truth, wrong).tolist(), "b": np.where(law, wrong, truth).tolist()}
    recorded = Recorded.of(answers, truth.tolist(), cost_usd={"a": 0.001, "b": 0.001})
    found = search(recorded, 0.001, routes=topics, folds=3)
    assert {route: rule.members for route, rule in found.rules.items()} == {"law": ("a",), "art": ("b",)}
    assert (found.accuracy.value, found.stability) == (1.0, 1.0)
    ensemble = build(found.rules["law"], [saying("a", "x"), saying("b", "y")])
    assert asyncio.run(ensemble.ask("q")).answer == "x"


def test_bad_recordings_and_budgets_are_refused() -> None:
    """All that is wrong, in sentences."""
    with pytest.raises(EnsembleError) as caught:
        Recorded.of({"a": [1, 2], "b": [1]}, [1, 2], cost_usd={"a": 1, "x": 2}, items=["i", "i"], normaliser="numbr")
    assert caught.value.problems == (
        "answers of 'b': 1 for 2 items.",
        "cost_usd: 'x' is no member.",
        "cost_usd: nothing is said of 'b'.",
        "there is no normaliser 'numbr': lower_trim, number, choice, boolean, json, code, none.",
        "items: 1 different names for 2 items.",
    )
    with pytest.raises(EnsembleError, match=r"budget_usd is 0, and the cheapest member costs 0\.001 an item"):
        search(FIVE, 0)
    with pytest.raises(EnsembleError, match="folds is 1"):
        search(FIVE, 1, folds=1)
    with pytest.raises(EnsembleError, match="the rule asks a, and no such member is given"):
        build(Rule(("a",)), [])


QUESTIONS = [{"id": f"q{n}", "text": f"{n} + {n}?", "truth": str(2 * n)} for n in range(12)]


async def careful(question: dict[str, str]) -> Reply:
    return Reply(f"The answer is {question['truth']}.", 0.9, cost_usd=0.002)


def hasty(question: dict[str, str]) -> Reply:
    if question["id"] == "q3":
        raise TimeoutError("busy")
    return Reply(question["truth"] if question["id"] != "q5" else "1", 0.6, cost_usd=0.001)


def absent(question: dict[str, str]) -> None:
    return None


def is_right(question: dict[str, str], result: Any) -> dict[str, bool]:
    return {"accuracy": str(result.answer) == question["truth"]}


def test_the_item_loop_takes_an_ensemble(tmp_path: Path) -> None:
    """Its votes are kept, its costs counted, and they can be read back for analysis."""
    ensemble = Ensemble([careful, hasty], strategy="weighted", normaliser="number", quorum=1)
    summary = process(QUESTIONS, ensemble, key="id", output_dir=tmp_path, max_parallel=4, score=is_right)
    assert summary.metrics["accuracy"].mean == 1.0
    assert summary.cost_usd == pytest.approx(12 * 0.002 + 11 * 0.001)
    rows = read_items(tmp_path)
    assert rows[5]["output"]["votes"][1] == {
        "member": "hasty", "status": "answered", "raw": "1", "answer": 1, "confidence": 0.6, "cost_usd": 0.001,
        "latency_s": rows[5]["output"]["votes"][1]["latency_s"],
    }  # fmt: skip
    recorded = Recorded.of_results(
        [row["output"] for row in rows], [each["truth"] for each in QUESTIONS],
        items=[row["key"] for row in rows], normaliser="number",
    )  # fmt: skip
    assert recorded.right.mean(axis=0).tolist() == [1.0, 10 / 12]
    with pytest.raises(ItemsError, match="was begun with something else"):
        process(QUESTIONS, Ensemble([careful]), key="id", output_dir=tmp_path)


def test_a_question_without_quorum_is_a_failed_item_that_was_paid(tmp_path: Path) -> None:
    """So is one whose score can't be made."""
    ensemble = Ensemble([hasty, absent], quorum=2)
    summary = process(QUESTIONS[:2], ensemble, key="id", output_dir=tmp_path / "a")
    assert (summary.failed, summary.cost_usd) == (2, 0.002)
    row = read_items(tmp_path / "a")[0]
    assert row["errors"][0]["type"] == "QuorumError"
    assert "absent: it gave nothing" in row["errors"][0]["message"]

    def no_score(question: object, result: object) -> float:
        raise KeyError("truth")

    summary = process(QUESTIONS[:2], Ensemble([hasty]), key="id", output_dir=tmp_path / "b", score=no_score)
    assert (summary.failed, summary.cost_usd) == (2, 0.002)
    with pytest.raises(ItemsError, match="score is for an ensemble"):
        process(QUESTIONS, hasty, key="id", output_dir=tmp_path / "c", score=no_score)


def test_sequential_recordings_are_refused() -> None:
    """What a member that wasn't asked would have said isn't known."""
    ensemble = Ensemble([careful, Member("again", careful), hasty], execution="sequential", normaliser="number")
    results = [asyncio.run(ensemble.ask(question)) for question in QUESTIONS[:3]]
    with pytest.raises(EnsembleError, match="'hasty' was not asked for 3 of 3 items: use parallel execution"):
        Recorded.of_results(results, ["0", "2", "4"], normaliser="number")
