"""What every call of a model goes through: limits that all processes of a run share, and cassettes.

Inspect's hooks hear that a call begins, but not of every end: of one that fails or is cancelled they hear nothing, so
none could give a place back. What a provider's `generate` does is seen whole, once for each attempt and only where
Inspect's cache has no answer. So the instances that are called get a `generate` that goes through here; name, usage,
retries and all else stay the model's own.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import Any, Literal, TypeAlias, cast

from inspect_ai.hooks import BeforeModelGenerate, Hooks, ModelUsageData, SampleStart, hooks
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput, ModelUsage, get_model, model_roles
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import LimitExceededError

from suitecase.cassettes import Cassette, CassetteError, NotRecordedError
from suitecase.inspect_bridge.models import members_of
from suitecase.inspect_bridge.recorded_calls import Answer, encoded, recorded_form
from suitecase.limits import Call, Limits, LimitsError

__all__ = [
    "Around",
    "AroundHooks",
    "around",
    "book_cut_off",
    "input_tokens",
    "is_replayed",
    "is_told",
    "is_under_limits",
    "latest",
    "surround",
]

Generate: TypeAlias = Callable[..., Awaitable[Answer]]

latest: ContextVar[Call | None] = ContextVar("latest", default=None)
"""The call of this task that limits have let through last; None after one that they know nothing of."""
way: ContextVar[Literal["", "asked", "played"]] = ContextVar("way", default="")
"""What became of the last call of this task; empty for one that went its own way."""
of_sample: ContextVar[str] = ContextVar("of_sample", default="")
"""The sample and epoch of this task, by which a cassette tells equal requests apart."""


@dataclass(eq=False)
class Around:
    """What calls go through, within `around`.

    Attributes:
        limits: Of all processes of the run. What is replayed doesn't go through them.
        cassette: Where answers are recorded, or played from.
        stopped: Why no further call may begin: a budget is spent, say.
        missed: The first call that was to be played, and isn't there.
    """

    limits: Limits | None = None
    cassette: Cassette | None = None
    stopped: LimitsError | CassetteError | None = None
    missed: NotRecordedError | None = None

    @property
    def replays(self) -> bool:
        """Whether nobody is asked."""
        return self.cassette is not None and self.cassette.replays

    def problems(self, models: Iterable[str | Model]) -> list[str]:
        """Why these models can't be called, a sentence each; nothing is opened."""
        found: dict[str, None] = {}
        if not isinstance(cast(object, self.cassette), Cassette | None):
            found[f"cassette is {self.cassette!r:.80}: give suitecase.cassettes.Cassette."] = None
        if not isinstance(cast(object, self.limits), Limits | None):
            found[f"limits is {self.limits!r:.80}: give suitecase.limits.Limits."] = None
        elif self.limits is not None and not self.replays:
            if self.limits.budget is not None and self.limits.prices is None:
                found["limits has a budget and no prices, and models tell tokens only: give Limits(prices=…)."] = None
            for name in (name for model in models for name in members_of(str(model))):
                try:
                    self.limits.check(name)
                except LimitsError as error:
                    found |= dict.fromkeys(error.problems)
        return list(found)

    async def call(self, name: str, request: Mapping[str, Any], ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call, or play it.

        Raises:
            LimitsError: It may not begin: a budget is spent, or nobody knows its price.
            CassetteError: It is to be played, and was not recorded.
        """
        if self.stopped is not None:
            raise self.stopped.with_traceback(None)
        way.set("played" if self.replays else "asked")
        asking = ask if self.limits is None else partial(self.limited, self.limits, name, ask)
        if self.cassette is None:
            return await asking()
        try:
            answer = await self.cassette.play_async(
                recorded_form(name, request), asking, scope=of_sample.get(), encode=encoded
            )
        except NotRecordedError as error:
            self.missed = self.missed or error
            raise
        except CassetteError as error:
            self.stopped = error
            raise
        if not self.cassette.replays:
            return answer
        return ModelOutput.model_validate(answer)

    async def limited(self, limits: Limits, name: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call when it may begin, and book what it used."""
        call = await self.begun(limits, name)
        error: BaseException | None = None
        try:
            answer = await ask()
            output = answer[0] if isinstance(answer, tuple) else answer
            if isinstance(output, Exception):
                error = output
            elif output.usage is not None:
                output.usage.total_cost = charge(call, output.usage)
            return answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            call.end(error)

    async def begun(self, limits: Limits, name: str) -> Call:
        """A call that may begin; what keeps it from that holds for all that follow."""
        try:
            call = limits.acquire(name)
            await call.begin_async()
        except LimitsError as error:
            self.stopped = error
            raise
        latest.set(call)
        return call

    async def count(self, name: str, usage: ModelUsage) -> None:
        """Book a call that has ended, and had not gone through `call`; it waits now, as it should have before."""
        if self.cassette is not None:
            say_once(
                f"{name} is called by the task itself, so the cassette does not have it: give model_roles={{…}}, and "
                "get_model(role=…) in the task."
            )
        if self.limits is None or self.replays:
            return
        try:
            call = self.limits.acquire(name)
            charge(call, usage)
            await call.begin_async()
            call.end()
        except LimitsError as error:
            self.stopped = self.stopped or error
        else:
            latest.set(call)


surrounded: set[str] = set()
in_force: ContextVar[Around | None] = ContextVar("in_force", default=None)


@contextmanager
def around(everything: Around | None) -> Generator[None]:
    """Within, all calls of models that `surround` knows go through it, in all tasks begun here."""
    if everything is not None:
        register_hooks()
    token = in_force.set(everything)
    try:
        yield
    finally:
        in_force.reset(token)


def is_under_limits() -> bool:
    """Whether calls of this task go through limits."""
    everything = in_force.get()
    return everything is not None and everything.limits is not None


def is_replayed() -> bool:
    """Whether calls of this task are played from a cassette."""
    everything = in_force.get()
    return everything is not None and everything.replays


def surround(model: Model) -> Model:
    """The same model, whose calls go through what is in force when they are made."""
    generate = cast(Generate, model.api.generate)
    if not isinstance(generate, Surrounded) and members_of(str(model)) == (str(model),):
        model.api.generate = cast(Any, Surrounded(str(model), generate))  # of this instance alone
        surrounded.add(str(model))
    return model


@dataclass(frozen=True, slots=True)
class Surrounded:
    """A provider's `generate`, and what stands around it."""

    name: str
    generate: Generate

    async def __call__(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> Answer:
        everything = in_force.get()
        request = {"input": input, "tools": tools, "tool_choice": tool_choice, "config": config}
        ask = partial(self.generate, **request)
        return await (ask() if everything is None else everything.call(self.name, request, ask))


def charge(call: Call, usage: ModelUsage) -> float | None:
    """Book what a call used; what it cost, as far as somebody knows."""
    usd = call.charge(
        None if call.limits.prices else usage.total_cost,
        input_tokens=input_tokens(usage),
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.input_tokens_cache_read or 0,
    )
    return usage.total_cost if usd is None else usd


def input_tokens(usage: ModelUsage) -> int:
    """All that was read: Inspect's own figure leaves out what a provider's cache gave or kept."""
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)


def book_cut_off(usage: ModelUsage) -> float | None:
    """Book the call that was cut off in this task, at what another one used for the same request.

    Of a call that is cancelled nobody tells the tokens, but its provider may bill them.

    Returns:
        What it may cost; None where nobody knows, where it was booked already, or was never sent.
    """
    call = latest.get()
    if call is None or call.charged:
        return None
    return charge(call, usage.model_copy(update={"total_cost": None} if call.limits.prices else {}))


def is_told(usage: ModelUsage) -> bool:
    """Whether limits tell their observer what the call cost that has just ended in this task, or nobody paid for it."""
    everything = in_force.get()
    limits = None if everything is None else everything.limits
    priced = limits is not None and limits.observe is not None and (limits.prices or usage.total_cost is not None)
    return way.get() == "played" or bool(priced)


class AroundHooks(Hooks):
    """Finds the models of an evaluation, and counts the calls of others."""

    def enabled(self) -> bool:
        return in_force.get() is not None

    async def on_sample_start(self, data: SampleStart) -> None:
        of_sample.set(f"{data.summary.id}/{data.summary.epoch}")
        roles = [role if isinstance(role, list) else [role] for role in model_roles().values()]
        for model in (get_model(), *chain.from_iterable(roles)):
            surround(model)

    async def on_before_model_generate(self, data: BeforeModelGenerate) -> None:
        latest.set(None)
        way.set("")
        everything = in_force.get()
        if everything is not None and everything.replays and not known_here(data.model_name):
            problem = f"{data.model_name} is called by the task itself, and a replay asks nobody"
            everything.stopped = CassetteError(f"{problem}: give model_roles={{…}}, and get_model(role=…) in the task.")
            raise LimitExceededError("custom", value=1, limit=0, message=str(everything.stopped))

    async def on_model_usage(self, data: ModelUsageData) -> None:
        everything = in_force.get()
        if everything is not None and not way.get():
            await everything.count(data.model_name, data.usage)


def known_here(model: str) -> bool:
    """Whether a model's calls go through `surround`, or are those of its members."""
    return model in surrounded or members_of(model) != (model,)


@cache
def register_hooks() -> None:
    """Make them known, once something is in force: Inspect announces whatever is registered."""
    hooks(name="suitecase-calls", description="shared limits and cassettes around model calls")(AroundHooks)


@cache
def say_once(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
