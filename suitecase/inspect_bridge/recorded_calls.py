"""A model's call as a cassette keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from inspect_ai.model import GenerateConfig, ModelCall, ModelOutput
from pydantic import BaseModel

__all__ = ["Answer", "encoded", "recorded_form"]

Answer: TypeAlias = ModelOutput | tuple[ModelOutput | Exception, ModelCall]
"""What a provider's `generate` gives."""

NOT_OF_THE_REQUEST = {
    *("max_connections", "adaptive_connections", "max_retries", "timeout", "attempt_timeout", "stream_idle_timeout"),
    *("cache", "cache_prompt", "batch", "fail_on_refusal"),
}
"""Settings that say how to ask, not what: as for Inspect's own cache."""


def recorded_form(name: str, request: Mapping[str, Any]) -> dict[str, object]:
    """A request as a cassette knows it: without what is drawn anew each time, or says only how to ask."""
    config = cast(GenerateConfig, request["config"]).model_dump(
        mode="json", exclude=NOT_OF_THE_REQUEST, exclude_none=True
    )
    choice: object = request["tool_choice"]
    return {
        "model": name,
        "input": [dumped(each, exclude={"id"}) for each in request["input"]],
        "tools": [dumped(each) for each in request["tools"]],
        "tool_choice": choice if isinstance(choice, str) else dumped(cast(BaseModel, choice)),
        "config": config,
    }


def dumped(value: BaseModel, exclude: set[str] | None = None) -> dict[str, Any]:
    return value.model_dump(mode="json", exclude=exclude, exclude_none=True)


def encoded(answer: Answer) -> object:
    """The output in an answer, as a cassette keeps it; an error that was returned is raised there."""
    output = answer[0] if isinstance(answer, tuple) else answer
    if isinstance(output, Exception):
        raise output
    return dumped(output)
