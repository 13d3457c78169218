"""`fallback/<a,b,c>`: the next model answers if one fails, takes too long, or refuses."""

from __future__ import annotations

import anyio
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput
from inspect_ai.tool import ToolChoice, ToolInfo
from tenacity import RetryError

from suitecase.inspect_bridge.members import ENDS_ALL, MemberModels, answered_by, is_refusal

__all__ = ["AllFailedError", "FallbackAPI"]


class AllFailedError(ExceptionGroup[Exception]):
    """No member answered; holds what each raised."""


class FallbackAPI(MemberModels):
    """Asks its members in order until one answers.

    Args:
        timeout_s: Seconds that a member may take, with its retries; None is no limit.
        on_refusal: Whether a refusal (stop reason `content_filter`) asks the next one; if all refuse, the first
            refusal is the answer.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        timeout_s: float | None = None,
        on_refusal: bool = True,
    ) -> None:
        super().__init__(model_name, base_url, api_key, config, "fallback")
        self.timeout_s, self.on_refusal = timeout_s, on_refusal

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        errors: list[Exception] = []
        passed_over: list[dict[str, str]] = []
        refusal: tuple[str, ModelOutput] | None = None
        for name, member in zip(self.names, self.members, strict=True):
            try:
                with anyio.fail_after(self.timeout_s):
                    output = await member.generate(input, tools, tool_choice, self.member_config(config))
            except ENDS_ALL:
                raise
            except Exception as error:
                why = f"no answer within {self.timeout_s:g} s" if isinstance(error, TimeoutError) else reason_of(error)
                passed_over.append({"model": name, "reason": why})
                error.add_note(name)
                errors.append(error)
                continue
            if not (self.on_refusal and is_refusal(output)):
                return answered_by(output, {"fallback": {"answered": name, "passed_over": passed_over}})
            passed_over.append({"model": name, "reason": "refused"})
            refusal = refusal or (name, output)
        if refusal:
            return answered_by(refusal[1], {"fallback": {"answered": refusal[0], "passed_over": passed_over}})
        raise AllFailedError(f"none of {', '.join(self.names)} answered", errors)


def reason_of(error: Exception) -> str:
    """What went wrong, where Inspect only says that it has tried often enough."""
    cause = error.__cause__ if isinstance(error, RetryError) else None
    return str(cause or error) or type(error).__name__
