"""What models that stand before other models have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from inspect_ai.model import GenerateConfig, Model, ModelAPI, ModelOutput, get_model
from inspect_ai.util import LimitExceededError

from suitecase.cassettes import CassetteError
from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge.around import surround
from suitecase.inspect_bridge.models import names_in
from suitecase.limits import LimitsError

__all__ = ["ENDS_ALL", "MEMBER_RETRIES", "MemberModels", "answered_by", "is_refusal", "says_nothing", "text_of"]

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
        unknown: Model arguments that there aren't.

    Raises:
        SuitecaseError: With all that is wrong with the names.
    """

    is_race = False
    """Whether members have the same time together, so that a limit of it ends nobody too early."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None,
        api_key: str | None,
        config: GenerateConfig | None,
        provider: str,
        least: int = 2,
        unknown: Iterable[str] = (),
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        names = names_in(model_name)
        where = f"{provider}/{model_name}"
        problems = [
            f"{where} takes no argument {name}: docs/providers.md lists those of {provider}/." for name in unknown
        ]
        problems += [f"{where}: a model's name is missing between two others."] * (not all(names))
        if len(names) < least:
            problems.append(
                f"{where} has {len(names)} model, and needs {least}. Write them a+b: where a text is a model's name, "
                "Inspect takes a,b for two evaluations."
            )
        problems += [f"{where}: {name} is in it {n} times." for name, n in Counter(names).items() if name and n > 1]
        problems += [f"{where}: {name} is no provider/model." for name in names if name and "/" not in name]
        self.where = where
        problems += self.timeout_problems(config or GenerateConfig())
        members: dict[str, Model] = {}
        for name in (name for name in dict.fromkeys(names) if "/" in name):
            try:
                members[name] = surround(get_model(name))
            except Exception as error:  # each provider has its own, for a package or a key that is missing
                problems.append(f"{where}: {name}: {text_of(error)}")
        if problems:
            raise SuitecaseError(problems)
        self.names, self.members = tuple(members), tuple(members.values())

    def timeout_problems(self, config: GenerateConfig) -> list[str]:
        """What is wrong with the time that one attempt may take.

        Inspect ends an attempt of the whole by it, and so one member that hangs would end all of them, each time.
        """
        if config.attempt_timeout is None or self.is_race:
            return []
        found = f"{self.where}: attempt_timeout={config.attempt_timeout} would end all members together"
        return [f"{found}, before another can answer. Give each its time, as the model's argument timeout_s."]

    def member_config(self, config: GenerateConfig) -> GenerateConfig:
        """What a member is asked with: all that was asked of the whole, and a bounded number of tries.

        The system message is in the input already.

        Raises:
            SuitecaseError: An attempt has a time limit, which members can't have.
        """
        if problems := self.timeout_problems(config):
            raise SuitecaseError(problems)
        tries = MEMBER_RETRIES if config.max_retries is None else config.max_retries
        return config.model_copy(update={"max_retries": tries, "system_message": None})

    def max_connections(self) -> int:
        return sum(member.api.max_connections() for member in self.members)

    async def count_text_tokens(self, text: str) -> int:
        return await self.members[0].api.count_text_tokens(text)


def answered_by(output: ModelOutput, metadata: dict[str, Any]) -> ModelOutput:
    """A member's output as that of the whole."""
    return output.model_copy(update={"usage": None, "metadata": {**(output.metadata or {}), **metadata}})


def is_refusal(output: ModelOutput) -> bool:
    """Whether a model declined to answer."""
    return bool(output.choices) and output.stop_reason == "content_filter"


def says_nothing(output: ModelOutput) -> bool:
    """Whether a model gave neither a text nor calls of tools."""
    return not output.choices or not (output.completion.strip() or output.message.tool_calls)


def text_of(error: Exception) -> str:
    """What an error says in one line; Inspect's own carry a `message` with mark-up for the terminal."""
    marked = getattr(error, "message", None)
    said = re.sub(r"\[/?[a-z ]+\]", "", marked) if isinstance(marked, str) else str(error)
    return " ".join(said.removeprefix("ERROR: ").split()) or type(error).__name__
