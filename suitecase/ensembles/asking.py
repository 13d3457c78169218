"""A question on its way: members are called, and their votes counted."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suitecase.ensembles.calls import call
from suitecase.ensembles.reading import spent, vote_of
from suitecase.ensembles.records import (
    EnsembleResult,
    Member,
    NoConsensusError,
    QuorumError,
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
        self.votes[member.name] = Vote(member.name, Status.CANCELLED, **spent(None, member))
        ending = await call(member.call, arguments, timeout_s=timeout_s, tell_stuck=lambda: ensemble.stuck(member))
        if ending.error is not None:
            self.errors[member.name] = ending.error
        vote = self.votes[member.name] = vote_of(ensemble, member, ending)
        return vote

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


def question_text(question: object, context: object) -> str:
    """What tells questions apart in `Ties`: an item's key, else the question as JSON; "" if it has no such form."""
    key = getattr(context, "key", None)
    if isinstance(key, str):
        return key
    try:
        return question if isinstance(question, str) else key_of(plain(question))
    except ValueError:
        return ""
