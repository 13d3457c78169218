"""Whom to ask when: everybody at once, one after the other, or one and then a backup.

Parallel     all at once
Sequential   one after the other, until the rest can't change the answer
Cascade      one after the other, cheapest first, until one is sure, or they agree
Hedged       one; where it is late or fails, the next; the first answer counts
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from suitecase.ensembles.records import Member, Status, Vote
from suitecase.ranges import is_within

if TYPE_CHECKING:
    from suitecase.hedging import Call, HedgePolicy

__all__ = ["EXECUTIONS", "Cascade", "Execution", "Hedged", "Parallel", "Poll", "Sequential"]


class Poll(Protocol):
    """A question on its way, as an execution sees it."""

    @property
    def members(self) -> Sequence[Member]: ...

    @property
    def quorum(self) -> int: ...

    async def ask(self, member: Member) -> Vote:
        """Ask a member, once. Whatever becomes of that is its vote."""
        ...

    def is_over(self, waiting: Sequence[Member]) -> bool:
        """Whether those who wait can't change the outcome any more."""
        ...

    def agreement(self) -> float:
        """Of the votes so far; 0 where they decide nothing."""
        ...

    def answered(self) -> int:
        """How many have answered so far."""
        ...

    def error_of(self, member: str) -> BaseException | None:
        """What a member's call raised."""
        ...


@dataclass(frozen=True)
class Execution:
    """Base of all.

    Attributes:
        decided_by: What `EnsembleResult.decided_by` says where `run` gives a vote.
    """

    decided_by: ClassVar[str] = "vote"

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    def default_quorum(self, members: int) -> int:
        """How many must answer, unless the ensemble is told: half of the members, rounded up."""
        return (members + 1) // 2

    def problems(self, members: int, quorum: int) -> list[str]:
        """What is wrong with it for so many members, a sentence each."""
        return []

    def unusable(self, vote: Vote, *, is_last: bool) -> str | None:
        """Why it can't do with a vote, if it can't."""
        return None

    async def run(self, poll: Poll) -> Vote | None:
        """Ask whom it takes; a vote if that alone is the answer, None to leave it to the strategy."""
        raise NotImplementedError


@dataclass(frozen=True)
class Parallel(Execution):
    """All at once; the answer is there when the last member has answered, failed, or timed out."""

    async def run(self, poll: Poll) -> Vote | None:
        tasks = [asyncio.ensure_future(poll.ask(member)) for member in poll.members]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return None


@dataclass(frozen=True)
class Sequential(Execution):
    """One after the other, in the order of the members, until the rest can't change the answer.

    That is arithmetic: the answer is what all members would have given. The agreement is that of those who were asked.
    It also ends as soon as the quorum is out of reach.
    """

    async def run(self, poll: Poll) -> Vote | None:
        for place, member in enumerate(poll.members, 1):
            await poll.ask(member)
            if poll.is_over(poll.members[place:]):
                break
        return None


@dataclass(frozen=True)
class Cascade(Execution):
    """One after the other, cheapest first, until one is sure of its answer, or those asked agree.

    Where nobody is sure and they never agree enough, the strategy decides among all.

    Attributes:
        confidence: The first member that is at least so sure decides alone, 0 to 1. All but the last must
            tell their confidence.
        agreement: It ends when this share of those asked agrees and there are two of them, 0 to 1.
        min_members: So many must have answered before it ends.
    """

    confidence: float | None = None
    agreement: float | None = None
    min_members: int = 1
    decided_by: ClassVar[str] = "confidence"

    def default_quorum(self, members: int) -> int:
        """As many as it must ask anyway."""
        return self.least

    @property
    def least(self) -> int:
        return max(self.min_members, 2 if self.confidence is None else 1)

    def problems(self, members: int, quorum: int) -> list[str]:
        given = {"confidence": self.confidence, "agreement": self.agreement}
        wrong = [
            f"cascade: {name} is {x!r}: from 0 to 1."
            for name, x in given.items()
            if not (x is None or is_within(x, 0, 1))
        ]
        if self.confidence is None and self.agreement is None:
            wrong.append("cascade: say when it ends: Cascade(confidence=0.9), or Cascade(agreement=0.7).")
        if not is_within(self.min_members, 1, members):
            wrong.append(f"cascade: min_members is {self.min_members!r}: from 1 to all {members} members.")
        return wrong

    def unusable(self, vote: Vote, *, is_last: bool) -> str | None:
        if self.confidence is not None and self.agreement is None and vote.confidence is None and not is_last:
            return "it tells no confidence, so the cascade can't know whether to go on: Reply(answer, confidence=…)"
        return None

    async def run(self, poll: Poll) -> Vote | None:
        for member in poll.members:
            vote = await poll.ask(member)
            heard = poll.answered()
            if vote.status is not Status.ANSWERED or heard < max(self.min_members, poll.quorum):
                continue
            if self.confidence is not None and (vote.confidence or 0.0) >= self.confidence:
                return vote
            if self.agreement is not None and heard >= 2 and poll.agreement() >= self.agreement:
                break
        return None


@dataclass(frozen=True)
class Hedged(Execution):
    """One member; where it is late or fails, the next; the first that answers decides alone.

    Backups start as `suitecase.hedging` has it, within the policy's budget, which is kept from question to question.

    Attributes:
        policy: When backups start; a `HedgePolicy`.
    """

    policy: HedgePolicy
    decided_by: ClassVar[str] = "first"

    def default_quorum(self, members: int) -> int:
        """One, since the first answer ends it."""
        return 1

    def problems(self, members: int, quorum: int) -> list[str]:
        if not isinstance(getattr(self.policy, "max_backups", None), int):
            return [f"hedged: policy is {self.policy!r:.80}: give a HedgePolicy."]
        wrong = [f"hedged: the first answer decides, so a quorum of {quorum} is never there."] * (quorum > 1)
        if self.policy.max_backups >= members:
            wrong.append(f"hedged: {members} members are too few for max_backups={self.policy.max_backups}.")
        return wrong

    async def run(self, poll: Poll) -> Vote | None:
        from suitecase.hedging import AllCallsFailedError, HedgeTimeoutError, hedged

        by_name = {member.name: member for member in poll.members}

        async def ask(call: Call) -> Vote:
            vote = await poll.ask(by_name[call.target])
            if vote.cost_usd is not None:
                call.charge(vote.cost_usd)
            if vote.status is Status.ANSWERED:
                return vote
            error = poll.error_of(vote.member)  # the policy reads what says that a target is overloaded
            raise error if isinstance(error, Exception) else ValueError(vote.error)

        try:
            return (await hedged(ask, policy=self.policy, targets=tuple(by_name), idempotent=True)).value
        except (AllCallsFailedError, HedgeTimeoutError):
            return None  # the votes say why


EXECUTIONS: Mapping[str, Execution] = {"parallel": Parallel(), "sequential": Sequential()}
"""By the names that an ensemble takes; the others need to be told when they end."""
