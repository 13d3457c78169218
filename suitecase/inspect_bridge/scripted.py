"""`scripted/<name>`: a model for tests and rehearsals that answers by rule, on this machine, without a network."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    RetryDecision,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from tenacity import wait_fixed

from suitecase.errors import SuitecaseError

__all__ = ["Rule", "Script", "ScriptedAPI", "ScriptedError"]

Fraction = Annotated[float, Field(ge=0, le=1)]
ErrorKind = Literal["rate_limit", "server_error", "bad_request", "refusal", "hang"]


class Rule(BaseModel):
    """What a model does with the questions that match.

    Attributes:
        match: A regular expression, searched in the last message's text; empty matches all.
        answer: May use the groups of the match (`\\1`, `\\g<name>`); None gives the question back.
        wrong: What is answered instead in `wrong_rate` of the questions.
        wrong_rate: Which questions those are depends on the model's name, the question and `seed` alone.
        latency_s: Seconds from the question to the answer; or the bounds of a range, evenly used, by question and by
            how often it was asked.
        error: `rate_limit` and `server_error` are what Inspect tries again, `bad_request` is not; `refusal` answers
            with the stop reason `content_filter`; `hang` never answers.
        error_rate: In which fraction of the calls; by question and by how often it was asked.
        first: Only the first so many calls for each question go wrong. None: all.
        input_tokens, output_tokens: None counts words.
        served: The model id that the provider says it served; None is the model's own name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str = ""
    answer: str | None = None
    wrong: str = "I don't know."
    wrong_rate: Fraction = 0
    latency_s: Annotated[float, Field(ge=0)] | tuple[float, float] = 0
    error: ErrorKind | None = None
    error_rate: Fraction = 1
    first: int | None = Field(default=None, ge=0)
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)
    served: str | None = None


class Script(BaseModel):
    """The rules of a model; the first that matches counts, and without one the question is given back.

    Attributes:
        calls: A file to which every call appends a line of JSON: `model`, `question`, `asked` (how often by now in
            this process), `pid`. Relative to the script's file.
        seed: Other draws of everything that is drawn.
        retry_wait_s: How long Inspect waits before it tries again; its own wait begins with 3 s.
        max_connections: How many calls Inspect has in flight, if nobody says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = ()
    calls: str | None = None
    seed: int = 0
    retry_wait_s: float = Field(default=0.05, ge=0)
    max_connections: int = Field(default=10, ge=1)


@dataclass(eq=False)  # exceptions are kept in sets
class ScriptedError(Exception):
    """An error that a rule asked for."""

    kind: ErrorKind

    @property
    def status_code(self) -> int:
        """The HTTP status of such an error."""
        return {"rate_limit": 429, "server_error": 500}.get(self.kind, 400)

    def __str__(self) -> str:
        return f"scripted {self.kind}"


class ScriptedAPI(ModelAPI):
    """Answers by the rules of a script.

    The name of the model is a label (`scripted/anything`, with the rules as the model argument `script`: a mapping
    like `Script`, or the path of a JSON file), or itself that path (`scripted/models/careful.json`).
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        script: dict[str, Any] | str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if unknown:
            raise SuitecaseError(f"scripted/{model_name} takes no argument {', '.join(unknown)}; `script` holds all.")
        if script is None and model_name.endswith(".json"):
            script = model_name
        self.script = read_script(script, f"scripted/{model_name}")
        self.asked: Counter[str] = Counter()

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        question = input[-1].text
        self.asked[question] += 1
        nth = self.asked[question]
        self.count_call(question, nth)
        rule, found = self.rule_for(question)
        if delay_s := self.latency_s(rule, question, nth):
            await asyncio.sleep(delay_s)
        failing = rule.error is not None and (rule.first is None or nth <= rule.first)
        failing = failing and self.draw("error", question, nth) < rule.error_rate
        if failing and rule.error == "hang":
            await asyncio.Event().wait()
        if failing and rule.error not in (None, "refusal"):
            raise ScriptedError(rule.error)
        if failing:
            return self.output(rule, question, "I can't help with that.", "content_filter")
        answer = question if rule.answer is None else found.expand(rule.answer) if found else rule.answer
        if self.draw("wrong", question) < rule.wrong_rate:
            answer = rule.wrong
        return self.output(rule, question, answer, "stop")

    def output(
        self, rule: Rule, question: str, answer: str, stop_reason: Literal["stop", "content_filter"]
    ) -> ModelOutput:
        served = rule.served or self.model_name
        output = ModelOutput.from_content(model=served, content=answer, stop_reason=stop_reason)
        n_input = len(question.split()) if rule.input_tokens is None else rule.input_tokens
        n_output = len(answer.split()) if rule.output_tokens is None else rule.output_tokens
        output.usage = ModelUsage(input_tokens=n_input, output_tokens=n_output, total_tokens=n_input + n_output)
        return output

    def rule_for(self, question: str) -> tuple[Rule, re.Match[str] | None]:
        for rule in self.script.rules:
            if found := re.search(rule.match, question, re.DOTALL):
                return rule, found
        return Rule(), None

    def latency_s(self, rule: Rule, question: str, nth: int) -> float:
        if not isinstance(rule.latency_s, tuple):
            return rule.latency_s
        low, high = rule.latency_s
        return low + (high - low) * self.draw("latency", question, nth)

    def draw(self, *parts: object) -> float:
        """A number in [0, 1) that looks random, and is the same for the same parts on every machine."""
        text = "\0".join(map(str, (self.script.seed, self.model_name, *parts)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48

    def count_call(self, question: str, nth: int) -> None:
        if self.script.calls is None:
            return
        told = {"model": self.model_name, "question": question, "asked": nth, "pid": os.getpid()}
        descriptor = os.open(self.script.calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, json.dumps(told).encode() + b"\n")  # one write: lines of processes stay whole
        finally:
            os.close(descriptor)

    async def count_text_tokens(self, text: str) -> int:
        """Words; Inspect's own count downloads a tokeniser."""
        return len(text.split())

    def max_connections(self) -> int:
        return self.script.max_connections

    def retry_wait(self) -> wait_fixed:
        return wait_fixed(self.script.retry_wait_s)

    def should_retry(self, ex: Exception) -> bool | RetryDecision:
        kind = ex.kind if isinstance(ex, ScriptedError) else None
        if kind == "rate_limit":
            return RetryDecision.rate_limit()
        return RetryDecision.transient() if kind == "server_error" else RetryDecision.no()


def read_script(given: dict[str, Any] | str | None, where: str) -> Script:
    """A script from a mapping, a file, or nothing at all.

    Raises:
        SuitecaseError: With all that is wrong.
    """
    folder = Path()
    try:
        if isinstance(given, str):
            where, folder = given, Path(given).resolve().parent
            given = TypeAdapter(dict[str, Any]).validate_json(Path(given).read_bytes())
        script = Script.model_validate(given or {})
        for rule in script.rules:
            re.compile(rule.match)
    except OSError as error:
        raise SuitecaseError(f"the script {where} can't be read: {error.strerror}.") from None
    except re.error as error:
        raise SuitecaseError(f"{where}: {error.pattern!r} is no regular expression: {error}.") from None
    except ValidationError as error:
        found = [
            ": ".join((where, *[".".join(map(str, e["loc"]))] * bool(e["loc"]), f"{e['msg']}.")) for e in error.errors()
        ]
        raise SuitecaseError(found) from None
    return script if script.calls is None else script.model_copy(update={"calls": str(folder / script.calls)})
