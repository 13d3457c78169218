"""What models that stand before other models have in common."""

from __future__ import annotations

from collections import Counter
from typing import Any

from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, get_model
from inspect_ai.util import LimitExceededError

from suitecase.cassettes import CassetteError
from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge.around import surround
from suitecase.inspect_bridge.models import names_in
from suitecase.limits import LimitsError

__all__ = ["ENDS_ALL", "MEMBER_RETRIES", "MemberModels", "answered_by", "is_refusal"]

ENDS_ALL = (LimitExceededError, LimitsError, CassetteError)
"""What a member's call may raise that is of the sample, or of the run, and not of this member."""

MEMBER_RETRIES = 2
"""How often Inspect tries a member again if nobody says so; its own default, without end, would never leave it."""


class MemberModels(ModelAPI):
    """A model whose name lists other models, so that Inspect's cache and `eval_retry` know which they are.

    Their usage is booked by themselves; the outer output has none, or it would count twice.

    Args:
        model_name: The models, with + or a comma between them.
        provider: What stands before the names.
        least: How many there must be.

    Raises:
        SuitecaseError: With all that is wrong with the names.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None,
        api_key: str | None,
        config: GenerateConfig | None,
        provider: str,
        least: int = 2,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        names = names_in(model_name)
        where = f"{provider}/{model_name}"
        problems = [f"{where}: a model's name is missing between two others."] * (not all(names))
        if len(names) < least:
            problems.append(
                f"{where} has {len(names)} model, and needs {least}. Write them a+b: where a text is a model's name, "
                "Inspect takes a,b for two evaluations."
            )
        problems += [f"{where}: {name} is in it {n} times." for name, n in Counter(names).items() if name and n > 1]
        problems += [f"{where}: {name} is no provider/model." for name in names if name and "/" not in name]
        if problems:
            raise SuitecaseError(problems)
        self.names = tuple(names)
        self.members: tuple[Model, ...] = tuple(surround(get_model(name)) for name in names)

    def member_config(self, config: GenerateConfig) -> GenerateConfig:
        """What a member is asked with: all that was asked of the whole, and a bounded number of tries."""
        return config if config.max_retries is not None else config.model_copy(update={"max_retries": MEMBER_RETRIES})

    def max_connections(self) -> int:
        return sum(member.api.max_connections() for member in self.members)

    async def count_text_tokens(self, text: str) -> int:
        return await self.members[0].api.count_text_tokens(text)


def answered_by(output: ModelOutput, metadata: dict[str, Any]) -> ModelOutput:
    """A member's output as that of the whole."""
    return output.model_copy(update={"usage": None, "metadata": {**(output.metadata or {}), **metadata}})


def is_refusal(output: ModelOutput) -> bool:
    """Whether a model declined to answer."""
    return not output.choices or output.stop_reason == "content_filter"
