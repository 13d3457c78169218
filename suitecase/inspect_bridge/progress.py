"""How far a running evaluation is, as lines of the case's `tracking.jsonl`, which the runner's live view shows.

A hook of Inspect's own, so that entry points that call `eval` themselves are seen, too.
"""

from __future__ import annotations

from inspect_ai.hooks import Hooks, ModelRetry, ModelUsageData, SampleEnd, TaskStart

from suitecase import tracking
from suitecase.inspect_bridge.around import input_tokens, is_told

__all__ = ["Progress", "count_kept"]


class Told:
    """What was counted in this process."""

    done = total = tokens = retries = 0
    usd = 0.0


told = Told()


def count_kept(samples: int) -> None:
    """Samples of earlier attempts that this one takes over."""
    told.done += samples


class Progress(Hooks):
    """Counts, and tells. The registry makes it known to Inspect in the processes of a case."""

    async def on_task_start(self, data: TaskStart) -> None:
        samples = data.spec.dataset.sample_ids or []
        told.total += len(samples) * (data.spec.config.epochs or 1)
        tell()

    async def on_sample_end(self, data: SampleEnd) -> None:
        told.done += data.sample.error is None
        tell()

    async def on_model_usage(self, data: ModelUsageData) -> None:
        told.tokens += data.usage.total_tokens
        if data.usage.total_cost is not None:
            told.usd += data.usage.total_cost
        if not is_told(data.usage):  # without a price, whoever reads may have one
            tracking.cost(
                data.usage.total_cost,
                input_tokens=input_tokens(data.usage),
                output_tokens=data.usage.output_tokens,
                cached_input_tokens=data.usage.input_tokens_cache_read,
                model=data.model_name,
            )
        tell()

    async def on_model_retry(self, data: ModelRetry) -> None:
        told.retries += 1
        tell()


def tell() -> None:
    parts = [f"samples, {told.tokens:,} tokens"]
    parts += [f"${told.usd:.2f}"] if told.usd else []
    parts += [f"{told.retries} retries"] if told.retries else []
    tracking.progress(told.done, told.total, ", ".join(parts))
