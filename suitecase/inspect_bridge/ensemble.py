"""`ensemble/<members>` and `cascade/<members>`: several models answer, and their answers are counted."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput
from inspect_ai.tool import ToolChoice, ToolInfo

from suitecase.ensembles import Cascade, Ensemble, EnsembleResult, Execution, Member, Reply, Status
from suitecase.inspect_bridge.around import input_tokens
from suitecase.inspect_bridge.members import ENDS_ALL, MemberModels, answered_by

__all__ = ["CascadeAPI", "EnsembleAPI", "Request", "ask"]


class Normalised(TypedDict, total=False):
    """Left out, the strategy has its own."""

    normaliser: str


@dataclass
class Request:
    """One question to all members.

    Attributes:
        outputs: What members gave, by name.
        limit: What a member's call ran into that ends the sample, or the run.
    """

    input: list[ChatMessage]
    tools: list[ToolInfo]
    tool_choice: ToolChoice
    config: GenerateConfig
    outputs: dict[str, ModelOutput] = field(default_factory=dict[str, ModelOutput])
    limit: Exception | None = None

    @property
    def key(self) -> str:
        """What tells questions apart where votes tie."""
        return self.input[-1].text if self.input else ""


class EnsembleAPI(MemberModels):
    """Asks its members and counts their votes. Its answer is the whole output of a member that speaks for the winner.

    A vote is a member's text; where it calls tools, the calls and their arguments. The metadata have all votes with
    their raw texts. `docs/ensembles.md` explains the arguments.

    Args:
        strategy: How votes are counted: majority, weighted, best_confidence, unanimous, plurality, ranked, mean, …
        normaliser: From a text to what is voted on: lower_trim, number, choice, boolean, json, none, …
        execution: parallel, or sequential: until the rest can't change the answer.
        quorum: How many must answer; None is half of them, rounded up.
        timeout_s: Seconds for each member.
        seed: Decides between equals.
    """

    provider = "ensemble"

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        strategy: str = "majority",
        normaliser: str | None = None,
        execution: str = "parallel",
        quorum: int | None = None,
        timeout_s: float | None = None,
        seed: int = 0,
        **unknown: object,
    ) -> None:
        super().__init__(model_name, base_url, api_key, config, self.provider, unknown=unknown)
        self.set_up(execution, strategy, normaliser, quorum, timeout_s, seed)

    def set_up(
        self,
        execution: str | Execution,
        strategy: str,
        normaliser: str | None,
        quorum: int | None,
        timeout_s: float | None,
        seed: int,
    ) -> None:
        """Check everything before the first question."""
        named: Normalised = {} if normaliser is None else {"normaliser": normaliser}
        self.ensemble = Ensemble(
            [Member(name, partial(ask, name, model)) for name, model in zip(self.names, self.members, strict=True)],
            execution=execution,
            strategy=strategy,
            quorum=quorum,
            timeout_s=timeout_s,
            seed=seed,
            **named,
        )

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        request = Request(input, tools, tool_choice, self.member_config(config))
        try:
            result = await self.ensemble.ask(request, request)
        finally:
            if request.limit is not None:  # of the sample, not of a member
                raise request.limit
        return answered_by(self.spoken_by(result, request), {self.provider: result.record()})

    def spoken_by(self, result: EnsembleResult, request: Request) -> ModelOutput:
        """The output of the member whose text speaks for the answer; a mean is nobody's own."""
        for vote in result.votes:
            if vote.status is Status.ANSWERED and vote.raw == result.text and vote.member in request.outputs:
                return request.outputs[vote.member]
        return ModelOutput.from_content(model=self.model_name, content=str(result.answer))


class CascadeAPI(EnsembleAPI):
    """Asks its members one after the other, cheapest first, until one is sure, or those asked agree.

    Args:
        confidence: A member at least so sure decides alone, 0 to 1: the geometric mean of its tokens' probabilities.
            Needs `logprobs`, and a provider that gives them.
        agreement: It ends when this share of at least two members agrees, 0 to 1.
        min_members: So many must have answered before it ends.
    """

    provider = "cascade"

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        confidence: float | None = None,
        agreement: float | None = None,
        min_members: int = 1,
        strategy: str = "majority",
        normaliser: str | None = None,
        timeout_s: float | None = None,
        seed: int = 0,
        **unknown: object,
    ) -> None:
        MemberModels.__init__(self, model_name, base_url, api_key, config, self.provider, unknown=unknown)
        if confidence is None and agreement is None:
            agreement = 1.0
        self.set_up(Cascade(confidence, agreement, min_members), strategy, normaliser, None, timeout_s, seed)


async def ask(name: str, model: Model, request: Request) -> Reply:
    """A member's vote."""
    try:
        output = await model.generate(request.input, request.tools, request.tool_choice, request.config)
    except ENDS_ALL as limit:
        request.limit = limit
        raise
    request.outputs[name] = output
    usage = output.usage
    return Reply(
        vote_of(output),
        confidence_of(output),
        usage and usage.total_cost,
        usage and input_tokens(usage),
        usage and usage.output_tokens,
    )


def vote_of(output: ModelOutput) -> str | None:
    """What is voted on: the text, or the calls of tools in a fixed form."""
    if not output.choices or output.stop_reason == "content_filter":
        return None
    if calls := output.message.tool_calls:
        return json.dumps([[call.function, call.arguments] for call in calls], sort_keys=True)
    return output.completion


def confidence_of(output: ModelOutput) -> float | None:
    """The geometric mean of the tokens' probabilities, where the provider gives them; in (0, 1]."""
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content:
        return None
    return min(1.0, math.exp(math.fsum(each.logprob for each in logprobs.content) / len(logprobs.content)))
