"""One target in the file: calls begin and end here, whichever process makes them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from suitecase.limits.errors import BudgetSpentError, LimitsError
from suitecase.limits.file import (
    ACCOUNT,
    HOLDER,
    LIMITS,
    MOST_TARGETS,
    NAME_SIZE,
    TARGET_SIZE,
    TARGETS,
    LimitsFile,
)
from suitecase.limits.rates import Rates
from suitecase.limits.state import State
from suitecase.rundir.spending import PICO

__all__ = ["Account", "Target"]

POLL_S, MOST_POLL_S, MOST_PAUSE_S = 0.001, 0.025, 1.0
SWEEP_EVERY_S = 0.1
LATE_S = 0.1


@dataclass(frozen=True, slots=True)
class Account:
    """Whose money is spent, and how much of it there is.

    Attributes:
        scope: `run`, `condition` or `case`.
        key: 16 bytes, not all zero.
        budget: In 1e-12 USD; None for no limit.
    """

    scope: str
    key: bytes
    budget: int | None


class Target:
    """What is limited together: a model, or all calls. All methods enter the critical section themselves.

    Raises:
        LimitsError: Other processes use other limits, or no more targets fit.
    """

    def __init__(self, file: LimitsFile, name: str, rates: Rates, accounts: Sequence[Account]) -> None:
        self.file = file
        self.name = name
        self.rates = rates.share(file.share)
        self.accounts = accounts
        self.next_sweep_s = 0.0
        with file:
            self.number = self.place()
            file.commit()
            self.places = [self.account(each) for each in accounts]

    def place(self) -> int:
        """Where the target lies in the file; it is added if it is new."""
        name, content = encoded(self.name), self.file.map
        assert content is not None
        for number in range(MOST_TARGETS):
            offset = TARGETS + number * TARGET_SIZE
            there = content[offset : offset + NAME_SIZE].rstrip(b"\0")
            if there == name:
                return number
            if not there:
                now_s = time.monotonic()
                state = State(0, 0, 0, 0, 0.0, 0.0, now_s, 1.0, now_s, now_s, 0.0)
                self.file.write(offset, name)
                self.file.write(*state.packed(number))
                return number
        raise LimitsError(f"{self.file.path} has {MOST_TARGETS} targets, and no more fit.")

    def holder(self) -> int:
        """The offset of this process's record; it's made if there is none yet. In the critical section."""
        known = self.file.mine.get(self.number)
        if known is not None:
            return known
        self.free_dead()
        self.agree()
        offset = self.file.mine[self.number] = self.file.add_holder(self.number)
        return offset

    def agree(self) -> None:
        """Check that whoever uses the target now has the same limits; they may change when nobody does."""
        content, rates = self.file.map, self.rates
        assert content is not None
        mine = (rates.requests_per_min or 0.0, rates.tokens_per_min or 0.0, rates.max_concurrent or 0)
        offset = TARGETS + self.number * TARGET_SIZE + NAME_SIZE
        there = LIMITS.unpack_from(content, offset)
        if there != mine and any(target == self.number for _, target, *_ in self.file.holders()):
            raise LimitsError(
                f"{self.name or 'limits'}: other processes of this run have {in_words(there)}, and this one has "
                f"{in_words(mine)}. Give all of them the same."
            )
        if there != mine:
            state, now_s = State.load(content, self.number), time.monotonic()
            state.requests = state.tokens = math.inf  # full buckets, as after a long silence
            state.refill(rates, now_s)
            self.file.write(*state.packed(self.number))
            self.file.write(offset, LIMITS.pack(*mine))
            self.file.commit()

    def free_dead(self) -> None:
        """Give back what ended processes held, each in one change. In the critical section, before other changes."""
        assert self.file.map is not None
        mine = set(self.file.mine.values())
        for offset, target, held, ticket, _ in list(self.file.holders()):
            if offset in mine or self.file.is_locked(offset):
                continue
            state = State.load(self.file.map, target)
            state.in_use -= held
            state.waiting -= bool(ticket)
            self.file.write(*state.packed(target))
            self.file.write(offset, bytes(HOLDER.size))
            self.file.commit()

    # --- a call

    def take(self, tokens: float, waited_s: float = 0.0) -> float:
        """Begin a call and give 0, or get in line and give the seconds after which to ask again.

        Raises:
            BudgetSpentError: No call may begin any more.
        """
        with self.file as content:
            offset = self.holder()
            pid, started, owner, held, ticket, _ = HOLDER.unpack_from(content, offset)
            self.check_budgets()
            state, now_s = State.load(content, self.number), time.monotonic()
            ahead = self.ahead(ticket, now_s) if state.waiting > bool(ticket) else 0
            state.refill(self.rates, now_s)
            pause_s = state.delay_s(self.rates, tokens, now_s, ahead)
            if not (pause_s or ahead):
                state.take(tokens)
                state.waiting -= bool(ticket)
                self.save(state, offset, (pid, started, owner, held + 1, 0, 0.0))
                return 0.0
            if not ticket:
                state.tickets += 1
                state.waiting += 1
                ticket = state.tickets
            pause_s = poll_s(pause_s, ahead, waited_s)
            self.save(state, offset, (pid, started, owner, held, ticket, now_s + pause_s))
            if now_s >= self.next_sweep_s:
                self.file.commit()
                self.free_dead()
                self.next_sweep_s = now_s + SWEEP_EVERY_S
            return pause_s

    def save(self, state: State, offset: int, holder: tuple[int, int, int, int, int, float]) -> None:
        """Change the state and this process's record together."""
        self.file.write(*state.packed(self.number))
        self.file.write(offset, HOLDER.pack(*holder))

    def ahead(self, ticket: int, now_s: float) -> int:
        """How many processes wait for longer than the one with this ticket; without one, all that do.

        Those that should have asked again and haven't are busy otherwise, or stopped: nobody waits for them.
        """
        late_s = now_s - LATE_S
        tickets = [
            theirs
            for _, target, _, theirs, due_s in self.file.holders()
            if theirs and target == self.number and due_s > late_s
        ]
        return sum(theirs < ticket for theirs in tickets) if ticket else len(tickets)

    def withdraw(self) -> None:
        """Leave the line."""
        with self.file as content:
            offset = self.holder()
            pid, started, owner, held, ticket, _ = HOLDER.unpack_from(content, offset)
            if ticket:
                state = State.load(content, self.number)
                state.waiting -= 1
                self.save(state, offset, (pid, started, owner, held, 0, 0.0))

    def give_back(self, more_tokens: float, begun_s: float, refused_for_s: float | None) -> None:
        """End a call.

        Args:
            more_tokens: That it used beyond what it began with; less is below 0.
            refused_for_s: A server said 429, and to wait so long; None if it didn't.
        """
        with self.file as content:
            offset = self.holder()
            pid, started, owner, held, ticket, due_s = HOLDER.unpack_from(content, offset)
            state = State.load(content, self.number)
            state.in_use -= 1
            state.tokens -= more_tokens if self.rates.tokens_per_min else 0.0
            if refused_for_s is not None:
                now_s = time.monotonic()
                state.refill(self.rates, now_s)
                state.cut(begun_s, now_s, refused_for_s)
            self.save(state, offset, (pid, started, owner, held - 1, ticket, due_s))

    # --- money

    def account(self, account: Account) -> int:
        """The offset of an account; it's opened if it's new. In the critical section."""
        place, there = self.file.account(account.key)
        if not there:
            self.file.write(place, ACCOUNT.pack(account.key, 0))
            self.file.commit()
        return place

    def check_budgets(self) -> None:
        """In the critical section.

        Raises:
            BudgetSpentError: One is spent.
        """
        assert self.file.map is not None
        for account, place in zip(self.accounts, self.places, strict=True):
            if account.budget is not None:
                spent: int = ACCOUNT.unpack_from(self.file.map, place)[1]
                if spent >= account.budget:
                    raise BudgetSpentError(account.scope, spent / PICO, account.budget / PICO)

    def charge(self, cost: int) -> None:
        """Add 1e-12 USD to all accounts, in one change."""
        with self.file as content:
            for place in self.places:
                key, spent = ACCOUNT.unpack_from(content, place)
                self.file.write(place, ACCOUNT.pack(key, spent + cost))

    def spent(self) -> dict[str, int]:
        """By scope, in 1e-12 USD."""
        with self.file as content:
            found = [ACCOUNT.unpack_from(content, place)[1] for place in self.places]
        return {account.scope: spent for account, spent in zip(self.accounts, found, strict=True)}

    def state(self) -> State:
        """As it is now."""
        with self.file as content:
            state = State.load(content, self.number)
            state.refill(self.rates, time.monotonic())
            return state


def poll_s(pause_s: float, ahead: int, waited_s: float) -> float:
    """When to ask again.

    A rate tells. A place may become free at any time: the first in line looks often, the less so the longer it waits;
    those behind it wait for more than one place.
    """
    if POLL_S <= pause_s < math.inf:
        return min(pause_s, MOST_PAUSE_S)
    return min(MOST_POLL_S, max(POLL_S * (1 + 4 * ahead), waited_s / 20))


def encoded(name: str) -> bytes:
    """A name as the file has it.

    Raises:
        LimitsError: It is too long.
    """
    content = name.encode() or b"*"
    if len(content) > NAME_SIZE or b"\0" in content:
        raise LimitsError(f"the target {name[:40]!r}… can't be named so: at most {NAME_SIZE} bytes, none of them 0.")
    return content


def in_words(limits: tuple[float, float, int]) -> str:
    names = ("requests_per_min", "tokens_per_min", "max_concurrent")
    return ", ".join(f"{name}={value:g}" for name, value in zip(names, limits, strict=True) if value) or "no limits"
