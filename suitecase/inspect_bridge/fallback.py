"""`fallback/<a,b,c>`: the next model answers if one fails, takes too long, refuses, or gives nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import cast

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput
from inspect_ai.tool import ToolChoice, ToolInfo
from tenacity import RetryError

from suitecase.ensembles.calls import STUCK_AFTER_S, Ending, call
from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge.members import ENDS_ALL, MemberModels, answered_by, is_refusal, says_nothing
from suitecase.ranges import is_above

__all__ = ["AllFailedError", "FallbackAPI"]

log = logging.getLogger(__name__)


class AllFailedError(ExceptionGroup[Exception]):
    """No member answered; holds what each raised."""


class FallbackAPI(MemberModels):
    """Asks its members in order until one answers.

    If none has anything to say, the first that refused or gave nothing is the answer.

    Args:
        timeout_s: Seconds that a member may take, with its retries; None is no limit.
        on_refusal: Whether a refusal (stop reason `content_filter`) asks the next one.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        timeout_s: float | None = None,
        on_refusal: bool = True,
        **unknown: object,
    ) -> None:
        super().__init__(model_name, base_url, api_key, config, "fallback", unknown=unknown)
        if timeout_s is not None and not is_above(timeout_s, 0):
            raise SuitecaseError(f"{self.where}: timeout_s is {timeout_s!r}: give a number above 0.")
        self.timeout_s, self.on_refusal = timeout_s, on_refusal

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        asked = self.member_config(config)
        errors: list[Exception] = []
        passed_over: list[dict[str, str]] = []
        last_resort: tuple[str, ModelOutput] | None = None

        def told(answered: str) -> dict[str, object]:
            return {"fallback": {"answered": answered, "passed_over": passed_over}}

        for name, member in zip(self.names, self.members, strict=True):
            ending = await self.ask(name, member, input, tools, tool_choice, asked)
            if isinstance(error := ending.error, Exception):
                passed_over.append({"model": name, "reason": str(error) if ending.timed_out else reason_of(error)})
                error.add_note(name)
                errors.append(error)
                continue
            output = cast(ModelOutput, ending.value)
            refused = self.on_refusal and is_refusal(output)
            if not refused and not says_nothing(output):
                return answered_by(output, told(name))
            passed_over.append({"model": name, "reason": "refused" if refused else "gave nothing"})
            last_resort = last_resort or (name, output)
        if last_resort:
            return answered_by(last_resort[1], told(last_resort[0]))
        raise AllFailedError(f"none of {', '.join(self.names)} answered", errors)

    async def ask(self, name: str, member: Model, *request: object) -> Ending:
        """How a member's call ended. One that ignores its cancellation is left behind, and nobody waits for it."""

        async def generate() -> ModelOutput:
            return await cast("Callable[..., Awaitable[ModelOutput]]", member.generate)(*request)

        def tell_stuck() -> None:
            log.warning("%s goes on %g s after its cancellation.", name, STUCK_AFTER_S)

        ending = await call(generate, (), timeout_s=self.timeout_s, tell_stuck=tell_stuck)
        if isinstance(ending.error, ENDS_ALL) or not isinstance(ending.error, Exception | None):
            raise ending.error  # of the sample, of the run, or of the process: not of this member
        return ending


def reason_of(error: Exception) -> str:
    """What went wrong, where Inspect only says that it has tried often enough."""
    cause = error.__cause__ if isinstance(error, RetryError) else None
    return str(cause or error) or type(error).__name__
