"""An ensemble as the function of a loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, cast

from suitecase.ensembles import Ensemble, EnsembleResult
from suitecase.items.records import ItemContext, ItemResult

__all__ = ["Score", "voting"]

Score: TypeAlias = Callable[[Any, EnsembleResult], Any]
"""Of an item and what the ensemble answers: a number (the metric `score`), or a mapping of metrics."""


def voting(ensemble: Ensemble, score: Score | None) -> Callable[[Any, ItemContext], Awaitable[ItemResult]]:
    """A function of an item that asks an ensemble: the result's record is the output, agreement a metric."""

    async def ask(item: Any, context: ItemContext) -> ItemResult:
        result = await ensemble(item, context)
        metrics: dict[str, object] = {"agreement": result.agreement}
        spent = {name: getattr(result, name) for name in ("cost_usd", "input_tokens", "output_tokens")}
        try:
            scored: object = {} if score is None else score(item, result)
        except Exception as error:
            for name, amount in spent.items():  # what the loop charges for a call that fails
                setattr(error, name, amount)
            raise
        metrics |= cast("Mapping[str, object]", scored) if isinstance(scored, Mapping) else {"score": scored}
        return ItemResult(metrics, output=result.record(), **spent)

    return ask
