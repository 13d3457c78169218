"""Models that do sums with a known error rate, on this machine and without a network.

Importing this file makes `arithmetic/careful`, `arithmetic/hurried` and `arithmetic/careless` known to Inspect, also
by name.
"""

from __future__ import annotations

import hashlib
import re

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelAPI, ModelOutput, ModelUsage, get_model, modelapi
from inspect_ai.tool import ToolChoice, ToolInfo

ERROR_RATE_PER_DIGIT = {"careful": 0.01, "hurried": 0.05, "careless": 0.15}
"""The probability that a model gets one digit of a sum wrong."""


def arithmetic_model(name: str) -> Model:
    """A model of this file, for `eval(model=…)`."""
    return get_model(f"arithmetic/{name}")


@modelapi(name="arithmetic")
class ArithmeticModel(ModelAPI):
    """Adds the two numbers of a question; which answers are wrong depends on model and question alone."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if model_name not in ERROR_RATE_PER_DIGIT:
            raise ValueError(f"arithmetic/{model_name}: no such model. There are {', '.join(ERROR_RATE_PER_DIGIT)}.")

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        question = input[-1].text
        answer = answer_sum(self.model_name, question)
        output = ModelOutput.from_content(model=self.model_name, content=answer)
        n_input, n_output = await self.count_text_tokens(question), await self.count_text_tokens(answer)
        output.usage = ModelUsage(input_tokens=n_input, output_tokens=n_output, total_tokens=n_input + n_output)
        return output

    async def count_text_tokens(self, text: str) -> int:
        """Words; Inspect's own count downloads a tokeniser."""
        return len(text.split())


def answer_sum(model_name: str, question: str) -> str:
    """The sum of the numbers in a question, with some digits wrong."""
    correct = str(sum(map(int, re.findall(r"\d+", question))))
    slips = [
        chance(model_name, question, position) < ERROR_RATE_PER_DIGIT[model_name] for position in range(len(correct))
    ]
    return "".join(str((int(digit) + slip) % 10) for digit, slip in zip(correct, slips, strict=True))


def chance(*parts: object) -> float:
    """A number in [0, 1) that looks random, and is the same for the same parts on every machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
