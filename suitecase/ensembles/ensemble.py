"""`Ensemble` and `predict`: members are asked, their answers counted, and the result says how it came about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypedDict, TypeVar, Unpack, cast

from suitecase.ensembles.asking import Asked
from suitecase.ensembles.calls import takes_context
from suitecase.ensembles.executions import EXECUTIONS, Execution
from suitecase.ensembles.grouping import Alike
from suitecase.ensembles.normalisers import NORMALISERS, Normaliser
from suitecase.ensembles.records import EnsembleError, EnsembleResult, Member, Observe, UnansweredError, Vote
from suitecase.ensembles.strategies import STRATEGIES
from suitecase.ensembles.strategy import Strategy
from suitecase.ranges import is_above, is_within

__all__ = ["Ensemble", "Options", "predict"]

log = logging.getLogger("suitecase.ensembles")
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What `Ensemble` and `predict` take by name; `Ensemble` says what each means."""

    strategy: str | Strategy
    execution: str | Execution
    normaliser: str | Normaliser
    alike: Alike | None
    quorum: int | None
    timeout_s: float | None
    escalate_to: Member | Callable[..., Any] | None
    seed: int
    observe: Observe | None


async def predict(
    question: object, members: Iterable[Member | Callable[..., Any]], **options: Unpack[Options]
) -> EnsembleResult:
    """Ask an ensemble one question.

    Args:
        question: What each member is called with.
        members: See `Ensemble`, as for the options.

    Raises:
        EnsembleError: With everything that is wrong, before any call.
        QuorumError: Too few members answered.
        NoConsensusError: They did not agree as the strategy asks for.
    """
    return await Ensemble(members, **options).ask(question)


class Ensemble:
    """Members that are asked together. It keeps no state between questions; any number may be asked at a time."""

    def __init__(self, members: Iterable[Member | Callable[..., Any]], **options: Unpack[Options]) -> None:
        """Check everything that can be known before a call.

        Args:
            members: `Member`s, or functions that go by their name.
            strategy: How votes become an answer: a name of `STRATEGIES`, or a `Strategy`. Default: "majority".
            execution: Whom to ask when: "parallel" (default), "sequential", or an `Execution`.
            normaliser: From a reply to what is voted on: a name of `NORMALISERS`, or a function of the raw answer that
                gives a JSON value, or None for no answer. Default: "lower_trim", of votes on numbers "number".
            alike: Which different answers count as one.
            quorum: How many members must answer, of all. Default: half of them, rounded up; of a cascade as many as
                it must ask, of hedged execution 1.
            timeout_s: Seconds for each call, unless its member has its own.
            escalate_to: Is asked where the strategy decides nothing, and then decides.
            seed: Decides between equals.
            observe: Is told of each question and what it cost, as `suitecase.tracking.observe` understands it.

        Raises:
            EnsembleError: With every problem.
        """
        problems = unknown_options(options)
        if not isinstance(cast(object, members), Iterable) or isinstance(cast(object, members), str):
            raise EnsembleError([*problems, f"members is {members!r:.80}: give a list of them."])
        self.members = tuple(member_of(each) for each in members)
        escalate_to = options.get("escalate_to")
        self.escalate_to = None if escalate_to is None else member_of(escalate_to)
        self.strategy = chosen(options.get("strategy", "majority"), STRATEGIES, Strategy, "strategy", problems)
        self.execution = chosen(options.get("execution", "parallel"), EXECUTIONS, Execution, "execution", problems)
        self.normaliser, self.normaliser_name = self.normaliser_of(options.get("normaliser"), problems)
        self.alike = options.get("alike")
        self.timeout_s = options.get("timeout_s")
        self.seed = options.get("seed", 0)
        self.observe = options.get("observe")
        self.takes_context = {m.name: takes_context(m.call) for m in self.everybody}
        quorum = options.get("quorum")
        self.quorum = self.execution.default_quorum(len(self.members)) if quorum is None else quorum
        problems += self.problems()
        if problems:
            raise EnsembleError(problems)

    def normaliser_of(self, given: str | Normaliser | None, problems: list[str]) -> tuple[Normaliser, str]:
        given = self.strategy.normaliser if given is None else given
        if isinstance(given, str):
            if given not in NORMALISERS:
                problems.append(f"there is no normaliser {given!r}{nearest(given, NORMALISERS)}.")
            return NORMALISERS.get(given, NORMALISERS["none"]), given
        if not callable(cast(object, given)):
            problems.append(f"normaliser is {given!r:.80}: give a name, or a function.")
        return given, getattr(given, "__qualname__", type(given).__name__)

    def problems(self) -> list[str]:
        """What is wrong, a sentence each."""
        names = [member.name for member in self.members]
        if not names:
            return ["there are no members."]
        found = [
            f"{name!r} is a member {names.count(name)} times: give each a name of its own, Member(name, function)."
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
        found += [problem for member in self.everybody for problem in member_problems(member)]
        if not isinstance(cast(object, self.quorum), int) or not 1 <= self.quorum <= len(names):
            found.append(f"quorum is {self.quorum!r}: from 1 to {len(names)}, the number of members.")
        if self.timeout_s is not None and not is_above(self.timeout_s, 0):
            found.append(f"timeout_s is {self.timeout_s!r}: give a number above 0.")
        found += self.strategy.problems(names) + self.execution.problems(len(names), self.quorum)
        if not isinstance(cast(object, self.alike), Alike | None):
            found.append(f"alike is {self.alike!r:.80}: give Alike(similarity, threshold).")
        elif self.alike is not None:
            found += self.alike.problems()
            found += ["alike: ranked lists can't be grouped; normalise their entries."] * self.strategy.ranks
        if self.escalate_to and self.escalate_to.name in names:
            found.append(f"escalate_to is {self.escalate_to.name!r}, a member: it would be asked the same again.")
        if not isinstance(cast(object, self.seed), int):
            found.append(f"seed is {self.seed!r}: give a whole number.")
        if self.observe is not None and not callable(cast(object, self.observe)):
            found.append(f"observe is {self.observe!r:.80}: give a function of an event, such as tracking.observe.")
        return found

    @property
    def everybody(self) -> tuple[Member, ...]:
        return (*self.members, self.escalate_to) if self.escalate_to else self.members

    def describe(self) -> dict[str, object]:
        """What an answer follows from, beside the members' own doing and timeouts, as JSON has it."""
        return {
            "members": [member.name for member in self.members], "strategy": described(self.strategy),
            "execution": described(self.execution), "normaliser": self.normaliser_name,
            "alike": self.alike and self.alike.threshold, "quorum": self.quorum,
            "escalate_to": self.escalate_to and self.escalate_to.name, "seed": self.seed,
        }  # fmt: skip

    async def ask(self, question: object, context: object = None, *, tell_costs: bool = True) -> EnsembleResult:
        """Ask a question.

        Args:
            question: What each member is called with.
            context: Handed to members that have a parameter `context`, such as an `ItemContext`.
            tell_costs: Whether `observe` is told of costs; not where somebody else tells them.

        Raises:
            QuorumError: Too few members answered. The error has the votes and what they cost.
            NoConsensusError: The strategy decided nothing, and nobody was left to escalate to.
        """
        try:
            result = await Asked(self, question, context).result()
        except UnansweredError as error:
            self.tell(error.votes, tell_costs, "warning", f"no answer: {error}", {})
            raise
        if self.observe is None:
            return result
        text = f"{result.answer!r:.80} by {result.decided_by}, agreement {result.agreement:.0%}"
        told = result.record()
        facts = {name: told[name] for name in ("answer", "agreement", "decided_by", "tied", "latency_s", "cost_usd")}
        self.tell(result.votes, tell_costs, "debug", text, facts)
        return result

    async def __call__(self, question: object, context: object = None) -> EnsembleResult:
        """The same as `ask` for `suitecase.items.process`, which tells the costs itself."""
        return await self.ask(question, context, tell_costs=False)

    def tell(
        self, votes: Sequence[Vote], tell_costs: bool, level: str, message: str, facts: dict[str, object]
    ) -> None:  # fmt: skip
        if self.observe is None:
            return
        shown = ("member", "status", "answer", "latency_s", "cost_usd", "error")
        facts["votes"] = [{name: each for name, each in vote.record().items() if name in shown} for vote in votes]
        events: list[dict[str, object]] = [
            {"event": "log", "level": level, "message": f"vote: {message}", "data": facts},
            *(cost_event(vote) for vote in votes if tell_costs and vote.cost_usd is not None),
        ]
        try:
            for event in events:
                self.observe(event)
        except Exception as error:
            log.warning("observe raised %s: %s", type(error).__name__, error)

    def stuck(self, member: Member) -> None:
        """A member goes on after it was cancelled."""
        message = f"member {member.name!r} goes on although it was cancelled"
        log.warning("%s", message)
        if self.observe is not None:
            self.observe({"event": "log", "level": "warning", "message": message})


def member_of(given: Member | Callable[..., Any]) -> Member:
    """A member, or a function that is to be one."""
    if isinstance(given, Member):
        return given
    if isinstance(cast(object, given), str):  # the name of a model, often: the error says which
        return Member(str(given), given)
    return Member(getattr(given, "__name__", type(given).__name__), given)


def member_problems(member: Member) -> list[str]:
    found: list[str] = []
    if not isinstance(cast(object, member.name), str) or not member.name:
        found.append(f"a member's name is {member.name!r}: give a text.")
    if member.name == "<lambda>":
        found.append("a lambda has no name: give Member(name, function).")
    if not callable(cast(object, member.call)):
        by_name = " `predict` of suitecase.inspect_bridge takes models by their names." * ("/" in str(member.call))
        found.append(f"{member.name!r} can't be called: give a function of the question.{by_name}")
    if member.timeout_s is not None and not is_above(member.timeout_s, 0):
        found.append(f"timeout_s of {member.name!r} is {member.timeout_s!r}: give a number above 0.")
    if member.cost_usd is not None and not is_within(member.cost_usd, 0, sys.float_info.max):
        found.append(f"cost_usd of {member.name!r} is {member.cost_usd!r}: give a number of at least 0.")
    return found


def chosen(given: object, known: object, kind: type[T], what: str, problems: list[str]) -> T:
    """What a name stands for, or the thing itself; the first known one, and a problem, if it is neither."""
    table = cast("dict[str, T]", known)
    if isinstance(given, kind):
        return given
    if isinstance(given, str) and given in table:
        return table[given]
    hint = nearest(given, table) if isinstance(given, str) else ""
    hint = {"cascade": ": give Cascade(confidence=0.9) or Cascade(agreement=0.7)", "hedged": ": give Hedged(policy)",
            "plurality": ": give Plurality(threshold)"}.get(str(given), hint)  # fmt: skip
    problems.append(f"there is no {what} {given!r:.80}{hint}.")
    return next(iter(table.values()))


def unknown_options(options: Options) -> list[str]:
    known = Options.__annotations__
    return [f"there is no option {name!r}{nearest(name, known)}." for name in sorted(options.keys() - known.keys())]


def nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f", but {near[0]!r}" if near else f": there are {', '.join(known)}"


def described(part: Strategy | Execution) -> dict[str, object]:
    """A strategy or an execution by its name and its settings."""
    told: dict[str, object] = {"name": part.name}
    for each in fields(part):
        value: object = getattr(part, each.name)
        if isinstance(value, Mapping):
            value = dict(cast("Mapping[str, object]", value))
        told[each.name] = value if isinstance(value, str | int | float | dict | None) else type(value).__name__
    return told


def cost_event(vote: Vote) -> dict[str, object]:
    return {
        "event": "cost", "usd": vote.cost_usd, "model": vote.member,
        "input_tokens": vote.input_tokens, "output_tokens": vote.output_tokens,
    }  # fmt: skip
