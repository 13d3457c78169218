"""`hedged/<target>`: a request that is slow is made again beside, and the first answer counts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, ModelUsage, RetryDecision
from inspect_ai.tool import ToolChoice, ToolInfo
from tenacity import RetryError

from suitecase import tracking
from suitecase.cassettes import NotRecordedError
from suitecase.hedging import AllCallsFailedError, Budget, Call, Fixed, HedgePolicy, Outcome, Percentile, hedged
from suitecase.inspect_bridge.around import book_cut_off, input_tokens, is_replayed, is_under_limits, latest
from suitecase.inspect_bridge.members import ENDS_ALL, MemberModels, answered_by

__all__ = ["HedgedAPI"]


class HedgedAPI(MemberModels):
    """Hedges a model with itself, or with the further ones of its list: `hedged/a` or `hedged/a+b`.

    Inspect tries a failed race again, as it would the member itself; the member's own tries would hide from the race
    that a target has too much to do.

    Args:
        delay_s: How long the primary is given; None learns the percentile.
        percentile: Of the primary's latencies.
        budget: At most this fraction of extra requests, and 10 at once.
        max_backups: Beside the primary.
        timeout_s: For all calls of a request together.
        state_file: Where what was learned is kept, and shared with other processes.
    """

    is_race = True

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        delay_s: float | None = None,
        percentile: float = 95.5,
        budget: float = 0.05,
        max_backups: int = 1,
        timeout_s: float | None = None,
        state_file: str | None = None,
        **unknown: object,
    ) -> None:
        super().__init__(model_name, base_url, api_key, config, "hedged", least=1, unknown=unknown)
        self.policy = HedgePolicy(
            delay=Percentile(percentile) if delay_s is None else Fixed(delay_s),
            budget=Budget(budget),
            max_backups=max_backups,
            timeout_s=timeout_s,
            state_file=None if state_file is None else Path(state_file),
            observe=tracking.observe if os.environ.get("SUITECASE_OUTPUT_DIR") else None,
        )

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        members = dict(zip(self.names, self.members, strict=True))
        once = self.member_config(config).model_copy(update={"max_retries": 0})
        if is_replayed():
            return await self.replayed(input, tools, tool_choice, once)
        answered: list[ModelUsage] = []

        async def ask(call: Call) -> ModelOutput:
            latest.set(None)
            try:
                output = await members[call.target].generate(input, tools, tool_choice, once)
            except asyncio.CancelledError:  # it has lost: the winner's usage is there before any loser hears of it
                if answered:
                    book_loser(call, answered[0])
                raise
            if output.usage is not None and output.usage.total_cost is not None:
                call.charge(output.usage.total_cost)
            return output

        try:
            outcome = await hedged(ask, policy=self.policy, targets=self.names, idempotent=True)
        except AllCallsFailedError as failed:
            for error in failed.exceptions:
                if isinstance(error, ENDS_ALL):
                    raise error from None
            raise
        if outcome.value.usage is not None:
            answered.append(outcome.value.usage)
        return answered_by(outcome.value, {"hedged": told(outcome)})

    async def replayed(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """The answer that the race had when it was recorded: nothing is late now."""
        errors: list[Exception] = []
        for member in self.members:
            try:
                output = await member.generate(input, tools, tool_choice, config)
            except NotRecordedError as missed:  # a backup that never started
                if member is self.members[-1] and not errors:
                    raise missed
            except ENDS_ALL:
                raise
            except Exception as error:
                errors.append(error)
            else:
                return answered_by(output, {"hedged": {"replayed": True, "winner": str(member)}})
        raise AllCallsFailedError("all calls failed when they were recorded", errors)

    def should_retry(self, ex: Exception) -> bool | RetryDecision:
        if not isinstance(ex, AllCallsFailedError):
            return False
        causes = [each.__cause__ if isinstance(each, RetryError) else each for each in ex.exceptions]
        decisions = [
            member.api.should_retry(cause)
            for member in self.members
            for cause in causes
            if isinstance(cause, Exception)
        ]
        return next((decision for decision in decisions if decision), False)


def book_loser(call: Call, usage: ModelUsage) -> None:
    """Book a call that was cut off, at what the winner used: by the limits in force, else for whoever has prices."""
    if is_under_limits():
        usd = book_cut_off(usage)
        if usd is not None:
            call.charge(usd)
    elif os.environ.get("SUITECASE_OUTPUT_DIR"):
        tracking.cost(None, model=call.target, input_tokens=input_tokens(usage), output_tokens=usage.output_tokens)


def told(outcome: Outcome[ModelOutput]) -> dict[str, object]:
    """What a race took. Of a cancelled call nobody tells the tokens, but its provider may bill them: at most about
    those of the winner, which answered the same request."""
    usage, losers = outcome.value.usage, len(outcome.calls) - 1
    estimated = (
        {"input_tokens": losers * usage.input_tokens, "output_tokens": losers * usage.output_tokens} if usage else None
    )
    return {
        "winner": outcome.winner.target,
        "hedge_won": outcome.hedge_won,
        "latency_s": round(outcome.latency_s, 6),
        "why": outcome.why,
        "calls": [
            {"target": call.target, "started_s": round(call.started_s, 6), "latency_s": call.latency_s,
             "censored": call.censored, "status": call.status}
            for call in outcome.calls
        ],
        **({"losers_at_most": estimated} if losers and estimated else {}),
    }  # fmt: skip
