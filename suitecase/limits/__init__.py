"""Rates, places and money that all processes of a run share.

    from suitecase import tracking
    from suitecase.limits import Budget, Limits, Prices, Rates

    limits = Limits(
        Rates(requests_per_min=600, tokens_per_min=200_000, max_concurrent=20),
        budget=Budget(run_usd=25, condition_usd=5),
        prices=Prices.read("prices.toml"),
        observe=tracking.observe,
    )
    with limits.acquire("openai/gpt-5-mini") as call:      or: async with
        reply = ask(question)
        call.charge(input_tokens=reply.input_tokens, output_tokens=reply.output_tokens)

What is shared lies in `limits.bin` in the run directory: no daemon, and a process that is killed gives its places back.
It knows no model and no client. docs/limits.md says what holds and what doesn't.
"""

from suitecase.limits.errors import BudgetSpentError, LimitsError, UnknownPriceError
from suitecase.limits.prices import Price, Prices
from suitecase.limits.rates import Budget, Rates
from suitecase.limits.shared import Call, Limits, Observe, Usage

__all__ = [
    "Budget",
    "BudgetSpentError",
    "Call",
    "Limits",
    "LimitsError",
    "Observe",
    "Price",
    "Prices",
    "Rates",
    "UnknownPriceError",
    "Usage",
]
