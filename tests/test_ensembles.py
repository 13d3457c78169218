"""Asking several members: votes and their laws, what each execution asks, failures, and bad input."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.ensembles import (
    Alike,
    BestConfidence,
    Cascade,
    Custom,
    Ensemble,
    EnsembleError,
    EnsembleResult,
    Hedged,
    Majority,
    Median,
    Member,
    NoConsensusError,
    Plurality,
    QuorumError,
    Ranked,
    Reply,
    Status,
    Strategy,
    Ties,
    Unanimous,
    Vote,
    Weighted,
    edit_similarity,
    predict,
)
from suitecase.ensembles import calls as calls_module
from suitecase.hedging import Budget, Fixed, HedgePolicy

FAILS = "fails"
LAWS = settings(max_examples=50, deadline=None)


def saying(name: str, said: object, *, asked: list[str] | None = None, **more: Any) -> Member:
    """A member that gives what it is told to, or fails."""

    async def call(question: object) -> object:
        if asked is not None:
            asked.append(name)
        if said == FAILS:
            raise OSError("no connection")
        return said

    return Member(name, call, **more)


def panel(said: Mapping[str, object], asked: list[str] | None = None) -> list[Member]:
    return [saying(name, each, asked=asked) for name, each in said.items()]


def ask(members: list[Member], question: object = "q", **options: Any) -> EnsembleResult:
    return asyncio.run(predict(question, members, **options))


def outcome(members: list[Member], **options: Any) -> object:
    """The answer, or the kind of error."""
    try:
        return ask(members, **options).answer
    except (QuorumError, NoConsensusError) as error:
        return type(error)


# Few answers, so that there are ties; replies with confidence of few values, for the same reason.
SAID = st.lists(st.sampled_from(["a", "b", "c", FAILS, ""]), min_size=1, max_size=7).map(
    lambda said: {f"m{i}": each for i, each in enumerate(said)}
)
CONFIDENT = st.lists(
    st.builds(Reply, st.sampled_from(["a", "b", "c"]), st.sampled_from([0.1, 0.3, 0.6, 0.9, 1.0])),
    min_size=1,
    max_size=6,
).map(lambda said: {f"m{i}": each for i, each in enumerate(said)})
WEIGHTS = {f"m{i}": weight for i, weight in enumerate([1.0, 0.7, 0.1, 2.3, 0.2, 0.5, 1.1])}
COUNTING = st.sampled_from(["majority", "unanimous", "weights", Plurality(0.5), Plurality(0.67), Plurality(1.0)])


def strategy_for(chosen: object, said: Mapping[str, object]) -> Any:
    return Weighted({name: WEIGHTS[name] for name in said}) if chosen == "weights" else chosen


@LAWS
@given(SAID, COUNTING, st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_vote_does_not_depend_on_the_order_of_members(
    said: dict[str, str], chosen: object, rng: Any, seed: int
) -> None:
    """Not even where the seed decides between equals."""
    strategy = strategy_for(chosen, said)
    members = panel(said)
    shuffled = rng.sample(members, len(members))
    assert outcome(members, strategy=strategy, seed=seed) == outcome(shuffled, strategy=strategy, seed=seed)


@LAWS
@given(CONFIDENT, st.sampled_from(["weighted", "best_confidence"]), st.randoms(use_true_random=False))
def test_votes_by_confidence_do_not_depend_on_order_either(said: dict[str, Reply], strategy: str, rng: Any) -> None:
    """Sums of floats are exactly rounded."""
    members = panel(said)
    first, second = (ask(each, strategy=strategy) for each in (members, rng.sample(members, len(members))))
    assert (first.answer, first.agreement) == (second.answer, second.agreement)


@LAWS
@given(SAID, COUNTING, st.integers(1, 7), st.integers(0, 3))
def test_sequential_gives_the_answer_of_parallel(said: dict[str, str], chosen: object, quorum: int, seed: int) -> None:
    """It stops early only where the rest can't change the answer, nor whether there is one."""
    options: dict[str, Any] = {"strategy": strategy_for(chosen, said), "quorum": min(quorum, len(said)), "seed": seed}
    asked: list[str] = []
    answer = outcome(panel(said, asked), execution="sequential", **options)
    assert answer == outcome(panel(said), **options)
    assert asked == list(said)[: len(asked)]


@LAWS
@given(CONFIDENT)
def test_sequential_agrees_by_confidence_too(said: dict[str, Reply]) -> None:
    """Weights that aren't known beforehand count as 1 at the most."""
    assert (
        ask(panel(said), strategy="weighted", execution="sequential").answer
        == ask(panel(said), strategy="weighted").answer
    )


@LAWS
@given(st.lists(st.sampled_from([1, 2, 5, FAILS]), min_size=1, max_size=7), st.sampled_from(["median", "mean"]))
def test_sequential_agrees_on_numbers(said: list[object], strategy: str) -> None:
    """A median is settled once one number has more than half of all votes."""
    members = panel({f"m{i}": each for i, each in enumerate(said)})
    assert outcome(members, strategy=strategy, execution="sequential") == outcome(members, strategy=strategy)


@LAWS
@given(SAID, st.integers(0, 3))
def test_sequential_agrees_where_answers_are_grouped(said: dict[str, str], seed: int) -> None:
    """Groups may still grow together, so only an answer with more than half of all votes ends it."""
    options: dict[str, Any] = {"alike": Alike(lambda a, b: abs(ord(a) - ord(b)) <= 1), "seed": seed}
    assert outcome(panel(said), execution="sequential", **options) == outcome(panel(said), **options)


@LAWS
@given(SAID, st.integers(1, 7))
def test_the_quorum_is_enforced(said: dict[str, str], quorum: int) -> None:
    """There is an answer exactly where as many members answered; by default half of them, rounded up."""
    answered = sum(each not in (FAILS, "") for each in said.values())
    for asked_for in (min(quorum, len(said)), None):
        needed = (len(said) + 1) // 2 if asked_for is None else asked_for
        assert (outcome(panel(said), quorum=asked_for) is QuorumError) == (answered < needed)


@LAWS
@given(SAID)
def test_agreement_is_the_share_of_votes(said: dict[str, str]) -> None:
    """Of those that count; and every member has one record, in order."""
    try:
        result = ask(panel(said), quorum=1)
    except QuorumError:
        return
    counted = [each for each in said.values() if each not in (FAILS, "")]
    assert result.agreement == counted.count(str(result.answer)) / len(counted)
    assert [vote.member for vote in result.votes] == list(said)
    assert result.answered == len(counted)


A, B, C = (Vote("", Status.ANSWERED, answer=each, key=f'"{each}"', choice=f'"{each}"') for each in "abc")
ONE, TWO, FIVE = (Vote("", Status.ANSWERED, answer=each, key=str(each), choice=str(each)) for each in (1, 2, 5))
SURE = [replace(vote, confidence=sure) for vote in (A, B) for sure in (0.4, 1.0)]
LISTS = [
    replace(vote, ranking=order) for vote, order in ((A, ('"a"', '"b"')), (B, ('"b"', '"c"')), (C, ('"c"', '"b"')))
]


@pytest.mark.parametrize(
    ("strategy", "ballots", "exact"),
    [
        (Majority(), [A, B, C, None], True),
        (Plurality(0.5), [A, B, C, None], True),
        (Plurality(0.67), [A, B, C, None], True),
        (Unanimous(), [A, B, C, None], True),
        (Weighted({f"m{i}": WEIGHTS[f"m{i}"] for i in range(5)}), [A, B, C, None], True),
        (Weighted(), [*SURE, None], False),
        (Median(), [ONE, TWO, FIVE, None], False),
        (Ranked("runoff"), [*LISTS, None], False),
    ],
)
def test_settled_is_exact(strategy: Strategy, ballots: list[Vote | None], exact: bool) -> None:
    """In all ways in which five members can vote or fail: settled only if, and for counting just if, all ends are one.

    With everybody heard nothing is left to settle: equals are the seed's to tell apart.
    """
    names = [f"m{i}" for i in range(5)]

    def counted(said: tuple[Vote | None, ...]) -> list[Vote]:
        return [replace(vote, member=name) for name, vote in zip(names, said, strict=False) if vote is not None]

    ends: dict[tuple[Vote | None, ...], set[str | None]] = {}
    for said in product(ballots, repeat=5):
        votes = counted(said)
        if votes:
            keys = {strategy.decide(votes, Ties(seed)).key for seed in range(3)}
            for length in range(1, 6):
                ends.setdefault(said[:length], set()).update(keys)
    for said, keys in ends.items():
        votes = counted(said)
        if votes and len(said) < 5:
            settled = strategy.settled(votes, names[len(said) :], grouped=False)
            assert settled <= (len(keys) == 1)
            assert not exact or settled == (len(keys) == 1), (said, keys)


def test_settled_is_safe_where_answers_are_grouped() -> None:
    """Later answers may join groups, so that a leader's group is overtaken, or goes by another name."""
    names = [f"m{i}" for i in range(5)]
    near = Alike(lambda a, b: abs(a - b) <= 1)
    ballots = [Vote("", Status.ANSWERED, answer=n, key=str(n), choice=str(n)) for n in range(4)]
    ties = Ties(0)
    found = 0
    for strategy, said in product((Majority(), Plurality(0.67)), product(ballots, repeat=5)):
        votes = [replace(vote, member=name) for name, vote in zip(names, said, strict=True)]
        end = strategy.decide(near.group(votes, ties, {}), ties).key
        for length in (2, 3, 4):
            heard = near.group(votes[:length], ties, {})
            if strategy.settled(heard, names[length:], grouped=True):
                found += 1
                assert strategy.decide(heard, ties).key == end
    assert found


def test_sequential_asks_no_more_than_it_takes() -> None:
    """Three of five alike end it; and a quorum that is out of reach, too."""
    asked: list[str] = []
    result = ask(panel({"a": "x", "b": "x", "c": "x", "d": "y", "e": "y"}, asked), execution="sequential")
    assert asked == ["a", "b", "c"]
    assert [vote.status for vote in result.votes[3:]] == [Status.NOT_ASKED] * 2
    asked.clear()
    with pytest.raises(QuorumError, match="0 of 3 members answered, and the quorum is 2: a: OSError: no connection"):
        ask(panel({"a": FAILS, "b": FAILS, "c": "y"}, asked), execution="sequential")
    assert asked == ["a", "b"]


def test_ties_follow_from_seed_and_question() -> None:
    """The same for the same; over many questions neither answer wins much more often than the other."""
    members = panel({"a": "x", "b": "y"})
    results = [ask(members, question=n) for n in range(200)]
    assert all(result.tied for result in results)
    wins = sum(result.answer == "x" for result in results)
    assert 60 < wins < 140
    assert [ask(members, question=n).answer for n in range(20)] == [result.answer for result in results[:20]]
    assert [ask(members, question=n, seed=1).answer for n in range(20)] != [result.answer for result in results[:20]]


@pytest.mark.parametrize(
    ("strategy", "said", "answer", "agreement"),
    [
        ("majority", ["x", "X ", "y"], "x", 2 / 3),
        (Weighted({"m0": 1, "m1": 1, "m2": 3}), ["x", "x", "y"], "y", 0.6),
        ("weighted", [Reply("x", 0.4), Reply("x", 0.4), Reply("y", 0.9)], "y", 0.9 / 1.7),
        (Weighted(default_confidence=0.5), ["x", "x", Reply("y", 0.9)], "x", 1.0 / 1.9),
        ("best_confidence", [Reply("x", 0.4), Reply("x", 0.4), Reply("y", 0.9)], "y", 1 / 3),
        ("unanimous", ["x", "x", "x"], "x", 1.0),
        (Plurality(0.5), ["x", "x", "y", "z"], "x", 0.5),
        ("median", ["3", "about 4", "100"], 4, 1 / 3),
        ("median", ["3", "4"], 3.5, 0.0),
        ("mean", [1, 2, 6], 3, 0.0),
        # Borda: a 2+0+0, b 1+2+1, c 0+1+2
        ("ranked", [["a", "b", "c"], ["b", "c", "a"], ["c", "b", "a"]], "b", 1 / 3),
        # d and c lead one list each, a two: nobody has more than half until c's or d's voters move on to b
        (Ranked("runoff"), [["a", "b"], ["a", "b"], ["b", "a"], ["b", "a"], ["c", "b", "a"]], "b", 0.4),
        (Custom(lambda votes: max(str(vote.answer) for vote in votes)), ["x", "z", "y"], "z", 1 / 3),
    ],
)  # fmt: skip
def test_strategies(strategy: Any, said: list[object], answer: object, agreement: float) -> None:
    """What each makes of votes."""
    result = ask(panel({f"m{i}": each for i, each in enumerate(said)}), strategy=strategy)
    assert result.answer == answer
    assert result.agreement == pytest.approx(agreement)


def test_the_raw_reply_is_kept() -> None:
    """Beside the normalised one; the surest of the voters speaks for the answer."""
    result = ask([saying("a", "PARIS."), saying("b", Reply("Paris", 0.7)), saying("c", Reply("Rome", 0.9))])
    assert (result.answer, result.text, result.confidence) == ("paris", "Paris", 0.7)
    assert [vote.raw for vote in result.votes] == ["PARIS.", "Paris", "Rome"]
    assert [vote["answer"] for vote in result.record()["votes"]] == ["paris", "paris", "rome"]  # type: ignore[index,union-attr]


def test_no_consensus_is_escalated_or_an_error_with_its_costs() -> None:
    """A larger member then decides; its vote stands last."""
    members = [saying("a", Reply("x", cost_usd=0.25)), saying("b", Reply("y", cost_usd=0.5))]
    with pytest.raises(NoConsensusError, match='100% of the votes: "x" 50%, "y" 50%') as caught:
        ask(members, strategy=Unanimous())
    assert (caught.value.cost_usd, len(caught.value.votes)) == (0.75, 2)
    result = ask(members, strategy=Unanimous(), escalate_to=saying("big", Reply("y", cost_usd=1.0)))
    assert (result.answer, result.decided_by, result.agreement, result.cost_usd) == ("y", "escalation", 0.5, 1.75)
    assert [vote.member for vote in result.votes] == ["a", "b", "big"]
    # Who decides alone needs no confidence, and no list.
    unsure = panel({"a": Reply("x", 0.0), "b": Reply("y", 0.0)})
    assert ask(unsure, strategy="weighted", escalate_to=saying("big", "z")).answer == "z"
    with pytest.raises(NoConsensusError, match="then 'big' was asked: OSError"):
        ask(members, strategy=Unanimous(), escalate_to=saying("big", FAILS))


def test_members_that_fail_are_recorded_and_costed() -> None:
    """By what the error tells, else by the member's price, as an estimate."""

    class PaidError(RuntimeError):
        cost_usd, input_tokens = 0.5, 7

    def paid(question: object) -> object:
        raise PaidError("refused")

    async def slow(question: object) -> object:
        await asyncio.Event().wait()
        return None

    result = ask(
        [Member("paid", paid), Member("slow", slow, cost_usd=0.25, timeout_s=0.01), saying("empty", " "),
         saying("odd", object()), saying("sure", Reply("x", 7.0)), saying("ok", Reply("x", cost_usd=1.0))],
        quorum=1,
    )  # fmt: skip
    told = {vote.member: (vote.status.value, vote.cost_usd, vote.cost_estimated) for vote in result.votes}
    assert told == {
        "paid": ("failed", 0.5, False), "slow": ("timed_out", 0.25, True), "empty": ("empty", None, False),
        "odd": ("unreadable", None, False), "sure": ("unreadable", None, False), "ok": ("answered", 1.0, False),
    }  # fmt: skip
    assert (result.cost_usd, result.input_tokens, result.output_tokens) == (1.75, 7, None)
    assert "from 0 to 1" in str(result.votes[4].error)


def test_a_vote_by_confidence_wants_confidence() -> None:
    """Without one it would silently be equal voting, or the first member's answer."""
    for strategy in ("weighted", "best_confidence"):
        with pytest.raises(QuorumError, match=r"tells no confidence: return Reply\(answer, confidence=…\)"):
            ask(panel({"a": "x", "b": "y"}), strategy=strategy)


def test_a_cascade_ends_with_a_sure_member() -> None:
    """Cheapest first; with nobody sure the strategy decides among all."""
    said = {"small": Reply("x", 0.5), "middle": Reply("y", 0.9), "large": Reply("x", 0.99)}
    asked: list[str] = []
    result = ask(panel(said, asked), execution=Cascade(confidence=0.8))
    assert (result.answer, result.decided_by, asked) == ("y", "confidence", ["small", "middle"])
    result = ask(panel(said), execution=Cascade(confidence=1.0))
    assert (result.answer, result.decided_by) == ("x", "vote")
    asked.clear()
    assert ask(panel(said, asked), execution=Cascade(confidence=0.8, min_members=3)).answer == "x"
    assert len(asked) == 3
    result = ask([saying("a", "x"), saying("b", "y")], execution=Cascade(confidence=0.8))
    assert (result.answer, result.votes[0].status) == ("y", Status.UNREADABLE)


def test_a_cascade_ends_with_agreement() -> None:
    """Two of two agree, or two of three; one alone agrees with nobody."""
    asked: list[str] = []
    options: dict[str, Any] = {"execution": Cascade(agreement=0.6)}
    assert ask(panel({"a": "x", "b": "x", "c": "y"}, asked), **options).answer == "x"
    assert asked == ["a", "b"]
    asked.clear()
    assert ask(panel({"a": "x", "b": FAILS, "c": "y", "d": "y", "e": "x"}, asked), **options).answer == "y"
    assert asked == ["a", "b", "c", "d"]


def test_hedged_takes_the_first_answer() -> None:
    """A primary that hangs is passed by its backup; one that fails, at once."""

    async def hangs(question: object) -> str:
        await asyncio.Event().wait()
        return "never"

    policy = HedgePolicy(delay=Fixed(0.01), budget=Budget(1.0, 10))
    result = ask([Member("primary", hangs, cost_usd=0.5), saying("backup", "x")], execution=Hedged(policy))
    assert (result.answer, result.decided_by, result.cost_usd) == ("x", "first", 0.5)
    assert [vote.status for vote in result.votes] == [Status.CANCELLED, Status.ANSWERED]
    waits = HedgePolicy(delay=Fixed(3600), budget=Budget(1.0, 10))
    assert ask([saying("primary", FAILS), saying("backup", "x")], execution=Hedged(waits)).answer == "x"
    with pytest.raises(QuorumError, match="primary: OSError: no connection; backup: it gave nothing"):
        ask([saying("primary", FAILS), saying("backup", "")], execution=Hedged(waits))


def test_an_ensemble_may_be_a_member() -> None:
    """Its agreement is its confidence, its costs are the member's."""
    inner = Ensemble([saying("a", Reply("X", cost_usd=0.25)), saying("b", "x"), saying("c", "y")])
    split = Ensemble(panel({"a": "x", "b": "y"}), strategy="unanimous")
    members = [Member("inner", inner), Member("split", split), saying("d", Reply("x", 0.2))]
    result = ask(members, strategy="weighted")
    assert (result.answer, result.text, result.cost_usd) == ("x", "X", 0.25)
    assert result.confidence == pytest.approx(2 / 3)
    assert result.votes[1].status is Status.FAILED


def test_plain_functions_run_beside_each_other() -> None:
    """In threads: two that wait for each other both answer."""
    together = threading.Barrier(2, timeout=20)

    def meets(question: object, context: object) -> str:
        together.wait()
        return f"{question} {context}"

    ensemble = Ensemble([Member("a", meets), Member("b", functools.partial(meets))])
    assert asyncio.run(ensemble.ask("q", "c")).answer == "q c"


def test_nothing_is_left_behind() -> None:
    """Not after a timeout, not after the question itself is cancelled, whatever execution."""

    async def hangs(question: object) -> str:
        await asyncio.Event().wait()
        return "never"

    async def run(options: dict[str, Any]) -> None:
        members = [Member("a", hangs), Member("b", hangs), saying("c", "x")]
        result = await predict("q", members, timeout_s=0.01, quorum=1, **options)
        assert result.answer == "x"
        task = asyncio.ensure_future(predict("q", members, quorum=1, **options))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for options in ({}, {"execution": "sequential"}, {"execution": Cascade(agreement=1.0), "quorum": 1}):
        options.pop("quorum", None)
        asyncio.run(run(options))


def test_a_member_that_ignores_its_cancellation_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of, and gone once it ends."""
    monkeypatch.setattr(calls_module, "STUCK_AFTER_S", 0.01)
    told: list[Mapping[str, object]] = []

    async def run() -> None:
        release = asyncio.Event()

        async def stubborn(question: object) -> str:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    pass
            return "late"

        members = [Member("stubborn", stubborn, timeout_s=0.01), saying("c", "x")]
        result = await predict("q", members, observe=told.append)
        assert (result.answer, result.votes[0].status) == ("x", Status.TIMED_OUT)
        async with asyncio.timeout(20):
            while not any("goes on although it was cancelled" in str(each.get("message")) for each in told):
                await asyncio.sleep(0.005)
        release.set()
        async with asyncio.timeout(20):
            while calls_module.left_behind:
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_many_questions_at_a_time() -> None:
    """Ten thousand members' calls, plain and async, with no more threads than there may be."""
    most = 0
    lock = threading.Lock()

    def plain(question: int) -> int:
        nonlocal most
        with lock:
            most = max(most, threading.active_count())
        return question

    async def other(question: int) -> int:
        await asyncio.sleep(0)
        return question

    async def run() -> None:
        few = Ensemble([Member("plain", plain), Member("a", other), Member("b", other)])
        many = Ensemble([Member("a", other), Member("b", other)])
        answers = await asyncio.gather(*(few.ask(n) for n in range(200)), *(many.ask(n) for n in range(4700)))
        assert [each.answer for each in answers] == [*range(200), *range(4700)]

    asyncio.run(asyncio.wait_for(run(), 60))
    assert most <= calls_module.MAX_THREADS + threading.active_count()


def test_what_is_wrong_is_said_before_any_call() -> None:
    """All of it at once."""
    called: list[str] = []

    def twice(question: object) -> str:
        called.append("twice")
        return "x"

    with pytest.raises(EnsembleError) as caught:
        ask(
            [twice, twice, Member("n", "no function"), Member("t", twice, timeout_s=0)],  # type: ignore[list-item,arg-type]
            quorum=5, strategy=Weighted({"twice": -1, "other": 1}), execution="cascade", normaliser="nummer",
            escalate_to=twice, timeout_s=-1, quorums=1,
        )  # fmt: skip
    assert caught.value.problems == (
        "there is no option 'quorums', but 'quorum'.",
        "there is no execution 'cascade': give Cascade(confidence=0.9) or Cascade(agreement=0.7).",
        "there is no normaliser 'nummer', but 'number'.",
        "'twice' is a member 2 times: give each a name of its own, Member(name, function).",
        "'n' can't be called: give a function of the question.",
        "timeout_s of 't' is 0: give a number above 0.",
        "quorum is 5: from 1 to 4, the number of members.",
        "timeout_s is -1: give a number above 0.",
        "the weight of 'twice' is -1: give a number of at least 0.",
        "'n' has no weight.",
        "'t' has no weight.",
        "there is a weight for 'other', who is no member.",
        "escalate_to is 'twice', a member: it would be asked the same again.",
    )
    assert not called


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"execution": Cascade()}, "say when it ends"),
        ({"execution": Cascade(confidence=1.5)}, "confidence is 1.5"),
        ({"execution": Cascade(agreement=0.5, min_members=3)}, "min_members is 3: from 1 to all 2 members"),
        ({"execution": Hedged(HedgePolicy()), "quorum": 2}, "the first answer decides"),
        ({"execution": Hedged(HedgePolicy(max_backups=2))}, "2 members are too few for max_backups=2"),
        ({"execution": Hedged("soon")}, "give a HedgePolicy"),  # type: ignore[arg-type]
        ({"strategy": Plurality(1.2)}, "threshold is 1.2"),
        ({"strategy": Weighted({"a": 0, "b": 0})}, "all weights are 0"),
        ({"strategy": "ranked", "alike": Alike(edit_similarity)}, "ranked lists can't be grouped"),
        ({"alike": Alike(edit_similarity, 7)}, "threshold is 7"),
        ({"strategy": "plurality"}, r"give Plurality\(threshold\)"),
    ],
)
def test_more_that_is_wrong(options: dict[str, Any], problem: str) -> None:
    """A sentence each."""
    with pytest.raises(EnsembleError, match=problem):
        ask(panel({"a": "x", "b": "y"}), **options)
    with pytest.raises(EnsembleError, match="there are no members"):
        Ensemble([])


def test_like_answers_count_as_one() -> None:
    """A group goes by its most frequent answer; each vote keeps its own."""
    result = ask(
        panel({"a": "colour", "b": "color", "c": "color", "d": "hue", "e": "hue"}), alike=Alike(edit_similarity)
    )
    assert (result.answer, result.agreement) == ("color", 0.6)
    assert [vote.answer for vote in result.votes][:2] == ["colour", "color"]

    chain = ask(panel({"a": 1, "b": 3, "c": 2}), alike=Alike(lambda a, b: max(a, b) == 3), normaliser="none")
    assert chain.agreement == 1.0

    def broken(a: object, b: object) -> float:
        raise ZeroDivisionError("similarity")

    with pytest.raises(NoConsensusError, match="no answer came about: ZeroDivisionError: similarity") as caught:
        ask([saying("a", Reply("x", cost_usd=1.0)), saying("b", "y")], alike=Alike(broken))
    assert caught.value.cost_usd == 1.0


@LAWS
@given(st.text(max_size=8), st.text(max_size=8))
def test_edit_similarity_is_levenshteins(a: str, b: str) -> None:
    """By the recursive definition."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if min(i, j) == 0:
            return max(i, j)
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    longer = max(len(a), len(b))
    assert edit_similarity(a, b) == (1.0 if not longer else pytest.approx(1 - distance(len(a), len(b)) / longer))
    assert edit_similarity(a, b) == edit_similarity(b, a)


def test_learned_weights_are_shrunk() -> None:
    """One lucky question outweighs nobody; many questions speak for themselves; guessing has no weight."""
    learned = Weighted.learned({"many": (900, 1000), "few": (1, 1), "poor": (550, 1000), "bad": (300, 1000)}).weights
    assert learned is not None
    assert learned["many"] > learned["few"] > learned["poor"] > learned["bad"] == 0
    alike = Weighted.learned({"a": (70, 100), "b": (71, 100), "c": (69, 100)}).weights
    assert alike is not None
    assert len(set(alike.values())) == 1  # they differ no more than by chance
    with pytest.raises(ValueError, match="no member is better than guessing"):
        Weighted.learned({"a": (10, 100), "b": (12, 100)})
    with pytest.raises(ValueError, match=r"'a': \(3, 2\)"):
        Weighted.learned({"a": (3, 2)})


def test_what_is_of_another_kind_is_refused_by_name() -> None:
    """A text for a number, a list for weights, a model's name for a function: a sentence, not a TypeError."""

    def twice(question: str) -> str:
        return question

    text: Any = "x"
    weights: Any = [1, 2]
    for options, told in (
        ({"timeout_s": "3"}, "timeout_s is '3'"), ({"strategy": Plurality(text)}, "threshold is 'x'"),
        ({"strategy": Weighted(weights)}, r"weights is \[1, 2\]"), ({"alike": 0.8}, "alike is 0.8"),
        ({"execution": Cascade(agreement=text)}, "agreement is 'x'"), ({"observe": 3}, "observe is 3"),
    ):  # fmt: skip
        with pytest.raises(EnsembleError, match=told):
            ask([Member("twice", twice)], **options)
    with pytest.raises(EnsembleError, match=r"'openai/gpt' can't be called.*`predict` of suitecase.inspect_bridge"):
        ask(["openai/gpt"])  # type: ignore[list-item]
    with pytest.raises(EnsembleError) as caught:
        ask([])
    assert caught.value.problems == ("there are no members.",)
    with pytest.raises(EnsembleError, match="members is <function"):
        ask(twice)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'a': 0\.9"):
        Weighted.learned({"a": 0.9})  # type: ignore[dict-item]


def test_what_happened_is_told() -> None:
    """Votes as a log line, costs by member; an observer that raises ends nothing."""
    told: list[Mapping[str, Any]] = []
    members = [saying("a", Reply("x", cost_usd=0.5, input_tokens=3)), saying("b", "x")]
    ask(members, observe=told.append)
    assert [each["event"] for each in told] == ["log", "cost"]
    assert (told[0]["data"]["answer"], told[0]["data"]["votes"][1]["member"]) == ("x", "b")
    assert told[1] == {"event": "cost", "usd": 0.5, "model": "a", "input_tokens": 3, "output_tokens": None}
    told.clear()
    asyncio.run(Ensemble(members, observe=told.append)("q"))  # as the item loop asks, which tells costs itself
    assert [each["event"] for each in told] == ["log"]

    def raises(event: object) -> None:
        raise OSError("disk full")

    assert ask(members, observe=raises).answer == "x"


def test_values_of_other_libraries_vote_as_numbers() -> None:
    """numpy's scalars; 2 and 2.0 are the same answer, True and 1 are not."""
    import numpy as np

    result = ask(panel({"a": np.int64(2), "b": 2.0, "c": np.float64(3.5)}), normaliser="none")
    assert (result.answer, result.agreement) == (2, 2 / 3)
    assert ask(panel({"a": True, "b": 1, "c": 1}), normaliser="none").agreement == 2 / 3
    assert ask(panel({"a": Fraction(1, 2), "b": "x"}), quorum=1).votes[0].status is Status.UNREADABLE


def test_a_strategy_of_ones_own() -> None:
    """Subclasses decide as they like."""

    class Contrarian(Majority):
        def decide(self, votes: Any, ties: Ties) -> Any:
            fewest = min(votes, key=lambda vote: sum(each.key == vote.key for each in votes))
            return BestConfidence().decide([fewest], ties)

    assert ask(panel({"a": "x", "b": "x", "c": "y"}), strategy=Contrarian()).answer == "y"
    with pytest.raises(NoConsensusError, match="'none' gave no answer"):
        ask(panel({"a": "x"}), strategy=Custom(lambda votes: None, label="none"))


def test_importing_it_is_light() -> None:
    """What analyses is imported when it is first used."""
    script = "import sys, suitecase.ensembles; print({'numpy', 'scipy', 'pydantic', 'inspect_ai'} & {*sys.modules})"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
