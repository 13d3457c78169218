"""Three models that need no network: they know the answer, and slip at a known rate.

What a real provider does to a loop, they do too, as often and as reproducibly as their seed says: a rate limit with
Retry-After, an answer that never comes, and one question that they refuse for good.
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from datetime import date, timedelta

SLIP_RATES = {"small": 0.30, "medium": 0.15, "large": 0.05}
USD_PER_1000_TOKENS = {"small": 0.0002, "medium": 0.001, "large": 0.005}
RATE_LIMITED, UNANSWERED = 0.04, 0.02
REFUSED = "string-0100"


class ProviderError(Exception):
    """An HTTP error, as the clients of providers raise it."""

    def __init__(self, status_code: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after


@dataclass(frozen=True)
class Reply:
    """What came back, and what it took."""

    text: str
    input_tokens: int
    output_tokens: int
    cost_usd: float


async def ask(model: str, prompt: str, *, name: str, chance: random.Random, attempt: int, delay_s: float) -> Reply:
    """Ask a model; `chance` decides about its slips and its troubles, which befall first attempts only.

    Raises:
        ProviderError: 429 now and then, 400 for the one question that is refused.
    """
    trouble, slip = chance.random(), chance.random()
    if name == REFUSED:
        raise ProviderError(400, "refused: the question breaks the rules")
    if attempt == 1 and trouble < RATE_LIMITED:
        raise ProviderError(429, "too many requests", retry_after=0.01)
    await asyncio.sleep(3600 if attempt == 1 and trouble < RATE_LIMITED + UNANSWERED else delay_s)
    right = solve(prompt)
    text = right if slip >= SLIP_RATES[model] * help_of(prompt, right) else right[:-1] + "?"
    if "step by step" in prompt:
        text = f"First I look at what is asked, then I work it out, and I check it. Answer: {text}"
    tokens = len(prompt.split()), len(text.split())
    return Reply(text, *tokens, cost_usd=round(sum(tokens) / 1000 * USD_PER_1000_TOKENS[model], 9))


def help_of(prompt: str, right: str) -> float:
    """How much of its slips a model keeps with such a prompt: steps help with numbers, examples with words."""
    if "step by step" in prompt:
        return 0.3 if right.isdigit() else 0.8
    if prompt.startswith("Q:"):
        return 0.4 if right.isalpha() else 0.9
    return 1.0


def solve(prompt: str) -> str:
    """The right answer to the last question of a prompt."""
    question = prompt.rpartition("Q: ")[2]
    if product := re.search(r"What is (\d+) \* (\d+) - (\d+)\?", question):
        a, b, c = map(int, product.groups())
        return str(a * b - c)
    if word := re.search(r"Spell '(\w+)' backwards", question):
        return word[1][::-1]
    found = re.search(r"Which date is (\d+) days after ([\d-]+)\?", question)
    assert found, prompt
    return str(date.fromisoformat(found[2]) + timedelta(days=int(found[1])))
