"""What every call of a model goes through: limits that all processes of a run share.

Inspect's hooks hear that a call begins, but not of every end: of one that fails or is cancelled they hear nothing, so
none could give a place back. What a provider's `generate` does is seen whole, once for each attempt and only where
Inspect's cache has no answer. So the instances that are called get a `generate` that goes through here; name, usage,
retries and all else stay the model's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias, cast

from inspect_ai.hooks import BeforeModelGenerate, Hooks, ModelUsageData, SampleStart, hooks
from inspect_ai.model import Model, ModelCall, ModelOutput, ModelUsage, get_model, model_roles

from suitecase.inspect_bridge.models import members_of
from suitecase.limits import Call, Limits, LimitsError

__all__ = [
    "Around",
    "AroundHooks",
    "around",
    "book_cut_off",
    "input_tokens",
    "is_told",
    "is_under_limits",
    "latest",
    "surround",
]

Answer: TypeAlias = ModelOutput | tuple[ModelOutput | Exception, ModelCall]
Generate: TypeAlias = Callable[..., Awaitable[Answer]]

latest: ContextVar[Call | None] = ContextVar("latest", default=None)
"""The call of this task that limits have let through last; None after one that they know nothing of."""


@dataclass(eq=False)
class Around:
    """What calls go through, within `around`.

    Attributes:
        limits: Of all processes of the run.
        stopped: Why no further call may begin: a budget is spent, say.
    """

    limits: Limits
    stopped: LimitsError | None = None

    def problems(self, models: Iterable[str | Model]) -> list[str]:
        """Why these models can't be called, a sentence each; nothing is opened."""
        if not isinstance(cast(object, self.limits), Limits):
            return [f"limits is {self.limits!r:.80}: give suitecase.limits.Limits."]
        found: dict[str, None] = {}
        if self.limits.budget is not None and self.limits.prices is None:
            found["limits has a budget and no prices, and models tell tokens only: give Limits(prices=…)."] = None
        for name in (name for model in models for name in members_of(str(model))):
            try:
                self.limits.check(name)
            except LimitsError as error:
                found |= dict.fromkeys(error.problems)
        return list(found)

    async def call(self, name: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Make a call when it may begin, and book what it used.

        Raises:
            LimitsError: It may not begin: a budget is spent, or nobody knows its price.
        """
        call = await self.begun(name)
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

    async def begun(self, name: str) -> Call:
        """A call that may begin; what keeps it from that holds for all that follow."""
        if self.stopped is not None:
            raise self.stopped.with_traceback(None)
        try:
            call = self.limits.acquire(name)
            await call.begin_async()
        except LimitsError as error:
            self.stopped = error
            raise
        latest.set(call)
        return call

    async def count(self, name: str, usage: ModelUsage) -> None:
        """Book a call that has ended, and had not gone through `call`; it waits now, as it should have before."""
        try:
            call = self.limits.acquire(name)
            charge(call, usage)
            await call.begin_async()
            call.end()
        except LimitsError as error:
            self.stopped = self.stopped or error
        else:
            latest.set(call)


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
    return in_force.get() is not None


def surround(model: Model) -> Model:
    """The same model, whose calls go through what is in force when they are made."""
    generate = cast(Generate, model.api.generate)
    if not isinstance(generate, Surrounded) and members_of(str(model)) == (str(model),):
        model.api.generate = cast(Any, Surrounded(str(model), generate))  # of this instance alone
    return model


@dataclass(frozen=True, slots=True)
class Surrounded:
    """A provider's `generate`, and what stands around it."""

    name: str
    generate: Generate

    async def __call__(self, **request: Any) -> Answer:
        everything = in_force.get()
        ask = partial(self.generate, **request)
        return await (ask() if everything is None else everything.call(self.name, ask))


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


def is_told() -> bool:
    """Whether limits have told their observer what the call cost that has just ended in this task."""
    call = latest.get()
    return call is not None and call.charged and call.limits.observe is not None


class AroundHooks(Hooks):
    """Finds the models of an evaluation, and counts the calls of others."""

    def enabled(self) -> bool:
        return in_force.get() is not None

    async def on_sample_start(self, data: SampleStart) -> None:
        surround(get_model())
        for role in model_roles().values():
            for model in role if isinstance(role, list) else [role]:
                surround(model)

    async def on_before_model_generate(self, data: BeforeModelGenerate) -> None:
        latest.set(None)

    async def on_model_usage(self, data: ModelUsageData) -> None:
        everything = in_force.get()
        if everything is not None and latest.get() is None:
            await everything.count(data.model_name, data.usage)


@cache
def register_hooks() -> None:
    """Make them known, once something is in force: Inspect announces whatever is registered."""
    hooks(name="suitecase-limits", description="holds all processes of a run to shared limits")(AroundHooks)
