"""A question on its way: members are called, their replies read, and the votes counted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from suitecase.ensembles.calls import Ending, call
from suitecase.ensembles.normalisers import Normaliser
from suitecase.ensembles.records import (
    EnsembleResult,
    Member,
    NoConsensusError,
    QuorumError,
    Reply,
    Status,
    UnansweredError,
    Vote,
    key_of,
    plain,
    total_tokens,
    total_usd,
)
from suitecase.ensembles.strategy import Decision, Ties

if TYPE_CHECKING:
    from suitecase.ensembles.ensemble import Ensemble

__all__ = ["Asked", "question_text"]


class Asked:
    """A question on its way: what was heard, and what follows from it. An execution's `Poll`."""

    def __init__(self, ensemble: Ensemble, question: object, context: object) -> None:
        self.ensemble, self.question, self.context = ensemble, question, context
        self.members = ensemble.members
        self.ties = Ties(ensemble.seed, question_text(question, context))
        self.votes: dict[str, Vote] = {}
        self.errors: dict[str, BaseException] = {}
        self.begun_s: dict[str, float] = {}
        self.similar: dict[tuple[str, str], bool] = {}

    @property
    def quorum(self) -> int:
        return self.ensemble.quorum

    def heard(self) -> list[Vote]:
        """Votes that count, in the order of the members."""
        found = [self.votes[m.name] for m in self.members if m.name in self.votes]
        found = [vote for vote in found if vote.status is Status.ANSWERED]
        return self.ensemble.alike.group(found, self.ties, self.similar) if self.ensemble.alike else found

    def error_of(self, member: str) -> BaseException | None:
        return self.errors.get(member)

    def answered(self) -> int:
        return sum(vote.status is Status.ANSWERED for vote in self.votes.values())

    def agreement(self) -> float:
        return self.ensemble.strategy.decide(self.heard(), self.ties).agreement

    def is_over(self, waiting: Sequence[Member]) -> bool:
        answered, quorum = self.answered(), self.ensemble.quorum
        if answered + len(waiting) < quorum:
            return True
        names, grouped = [member.name for member in waiting], self.ensemble.alike is not None
        return answered >= quorum and self.ensemble.strategy.settled(self.heard(), names, grouped=grouped)

    async def ask(self, member: Member) -> Vote:
        ensemble = self.ensemble
        arguments = (self.question, self.context) if ensemble.takes_context[member.name] else (self.question,)
        timeout_s = ensemble.timeout_s if member.timeout_s is None else member.timeout_s
        self.begun_s[member.name] = time.perf_counter()
        # What stands if it is cancelled meanwhile.
        self.votes[member.name] = booked(Vote(member.name, Status.CANCELLED), None, member)
        ending = await call(member.call, arguments, timeout_s=timeout_s, tell_stuck=lambda: ensemble.stuck(member))
        if ending.error is not None:
            self.errors[member.name] = ending.error
        is_last = member.name == self.members[-1].name
        vote = self.votes[member.name] = self.vote_of(member, ending, is_last=is_last)
        return vote

    def vote_of(self, member: Member, ending: Ending, *, is_last: bool) -> Vote:
        """What a call's end means."""
        vote = Vote(member.name, Status.ANSWERED, latency_s=ending.latency_s)
        if ending.error is not None:
            status = Status.TIMED_OUT if ending.timed_out else Status.FAILED
            text = str(ending.error) if ending.timed_out else f"{type(ending.error).__name__}: {ending.error}"
            return booked(replace(vote, status=status, error=text[:2000]), ending.error, member)
        reply = ending.value if isinstance(ending.value, Reply) else Reply(ending.value)
        vote = booked(replace(vote, raw=reply.answer), reply, member)
        try:
            return self.read(vote, reply, is_last=is_last)
        except Exception as error:  # the user's normaliser, or a value that JSON doesn't know
            return replace(vote, status=Status.UNREADABLE, error=f"{type(error).__name__}: {error}"[:2000])

    def read(self, vote: Vote, reply: Reply, *, is_last: bool) -> Vote:
        """A vote with its answer normalised."""
        ensemble, raw = self.ensemble, reply.answer
        if raw is None or (isinstance(raw, str) and not raw.strip()):
            return replace(vote, status=Status.EMPTY, error="it gave nothing")
        confidence = None if reply.confidence is None else float(reply.confidence)
        if confidence is not None and not 0 <= confidence <= 1:
            raise ValueError(f"its confidence is {confidence!r}: from 0 to 1")
        if ensemble.strategy.ranks:
            vote = with_ranking(vote, raw, ensemble.normaliser)
        else:
            answer = plain(ensemble.normaliser(raw))
            vote = replace(vote, answer=answer, key=key_of(answer), choice=key_of(answer))
        vote = replace(vote, confidence=confidence)
        why = f"the normaliser {ensemble.normaliser_name!r} finds no answer in it" if vote.answer is None else None
        why = why or ensemble.strategy.unusable(vote) or ensemble.execution.unusable(vote, is_last=is_last)
        return replace(vote, status=Status.UNREADABLE, error=why) if why else vote

    async def result(self) -> EnsembleResult:
        """The answer, once everybody was asked who is to be.

        Raises:
            UnansweredError: There is none.
        """
        try:
            return await self.decided(time.perf_counter())
        except UnansweredError:
            raise
        except Exception as error:  # from the user's own strategy or similarity, after calls that were paid for
            text = f"no answer came about: {type(error).__name__}: {error}"
            raise NoConsensusError(text, self.votes.values()) from error

    async def decided(self, started_s: float) -> EnsembleResult:
        ensemble = self.ensemble
        alone = await ensemble.execution.run(self)
        heard = self.heard()
        if len(heard) < ensemble.quorum:
            raise QuorumError(self.quorum_text(len(heard)), self.all_votes())
        if alone is not None:
            choice = next(vote.choice for vote in heard if vote.member == alone.member)
            share = sum(vote.choice == choice for vote in heard) / len(heard)
            return self.told(alone.answer, alone, Decision(choice, share), ensemble.execution.decided_by, started_s)
        decision = ensemble.strategy.decide(heard, self.ties)
        if decision.key is None:
            return await self.escalated(heard, decision, started_s)
        voters = [vote for vote in heard if vote.choice == decision.key]
        speaker = max(voters, key=lambda vote: vote.confidence or 0.0, default=None)
        return self.told(json.loads(decision.key), speaker, decision, "vote", started_s)

    async def escalated(self, heard: Sequence[Vote], decision: Decision, started_s: float) -> EnsembleResult:
        member = self.ensemble.escalate_to
        if member is None:
            raise NoConsensusError(f"the strategy decides nothing: {decision.reason}.", self.all_votes())
        vote = await self.ask(member)
        if vote.status is not Status.ANSWERED:
            said = f"{decision.reason}; then {member.name!r} was asked: {vote.error}"
            raise NoConsensusError(f"the strategy decides nothing: {said}.", self.all_votes())
        share = sum(each.choice == vote.choice for each in heard) / len(heard)
        return self.told(vote.answer, vote, Decision(vote.choice, share), "escalation", started_s)

    def told(
        self, answer: object, speaker: Vote | None, decision: Decision, decided_by: str, started_s: float
    ) -> EnsembleResult:  # fmt: skip
        votes = self.all_votes()
        return EnsembleResult(
            answer=answer, text=speaker.raw if speaker else None, agreement=decision.agreement,
            confidence=speaker.confidence if speaker else None, votes=votes, decided_by=decided_by, tied=decision.tied,
            latency_s=time.perf_counter() - started_s, cost_usd=total_usd(votes),
            input_tokens=total_tokens(vote.input_tokens for vote in votes),
            output_tokens=total_tokens(vote.output_tokens for vote in votes),
        )  # fmt: skip

    def all_votes(self) -> tuple[Vote, ...]:
        """One for each member, in their order, asked or not; then that of the escalation."""
        grouped = {vote.member: vote for vote in self.heard()}
        known = {name: self.timed(vote) for name, vote in {**self.votes, **grouped}.items()}
        names = [member.name for member in self.members]
        found = [known.get(name, Vote(name, Status.NOT_ASKED)) for name in names]
        return (*found, *(vote for name, vote in known.items() if name not in names))

    def timed(self, vote: Vote) -> Vote:
        """A vote with its latency so far, if it was cut off."""
        if vote.status is not Status.CANCELLED:
            return vote
        return replace(vote, latency_s=time.perf_counter() - self.begun_s[vote.member])

    def quorum_text(self, answered: int) -> str:
        others = [f"{vote.member}: {vote.error or vote.status.value.replace('_', ' ')}" for vote in self.all_votes()
                  if vote.status is not Status.ANSWERED]  # fmt: skip
        said = f"{answered} of {len(self.members)} members answered, and the quorum is {self.quorum}"
        return f"{said}: {'; '.join(others):.1000}." if others else f"{said}."


def with_ranking(vote: Vote, raw: object, normaliser: Normaliser) -> Vote:
    """A vote that is a list, best first, each entry normalised.

    Raises:
        ValueError: If it is no list, or names an option twice.
    """
    if isinstance(raw, str) or not isinstance(raw, Sequence):
        raise ValueError("a ranked vote is a list, best first")
    answers = [plain(normaliser(each)) for each in cast("Sequence[object]", raw)]
    keys = tuple(key_of(each) for each in answers)
    if len(set(keys)) < len(keys) or None in answers:
        raise ValueError("a ranked vote names each option once")
    if not keys:
        return vote
    return replace(vote, answer=answers[0], key=keys[0], choice=keys[0], ranking=keys)


def booked(vote: Vote, told: object, member: Member) -> Vote:
    """A vote with what a reply or an error says that the call cost; else with the member's price, as an estimate."""
    cost_usd = amount_of(told, "cost_usd")
    tokens = [None if (n := amount_of(told, f"{way}_tokens")) is None else int(n) for way in ("input", "output")]
    estimated = cost_usd is None and member.cost_usd is not None
    return replace(
        vote, cost_usd=member.cost_usd if estimated else cost_usd, cost_estimated=estimated,
        input_tokens=tokens[0], output_tokens=tokens[1],
    )  # fmt: skip


def amount_of(told: object, name: str) -> float | None:
    """An amount that a reply or an error tells; None if it is no number of at least 0."""
    try:
        value = float(getattr(told, name, None))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return value if 0 <= value < math.inf else None


def question_text(question: object, context: object) -> str:
    """What tells questions apart in `Ties`: an item's key, else the question as JSON; "" if it has no such form."""
    key = getattr(context, "key", None)
    if isinstance(key, str):
        return key
    try:
        return question if isinstance(question, str) else key_of(plain(question))
    except ValueError:
        return ""
