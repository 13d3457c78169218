"""Entry point: ask one model all questions with one template.

Everything about the loop is left to `suitecase.items`: calls in parallel, retries, a timeout, what to do about the
question that is always refused, and to go on where it was after a crash. It writes items.jsonl, dead_letters.jsonl and
results.json.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from models import ask
from prompt_config import TEMPLATES, PromptConfig
from questions import Question, make_questions

from suitecase.items import ItemContext, RetryPolicy, Row, metrics, process


def main(config: PromptConfig) -> None:
    async def answer(question: Question, context: ItemContext) -> dict[str, Any]:
        prompt = TEMPLATES[config.template].format(question=question.text)
        reply = await ask(
            config.model, prompt, name=question.id, chance=context.random, attempt=context.attempt,
            delay_s=config.call_delay_s,
        )  # fmt: skip
        given = reply.text.rpartition("Answer: ")[2].strip()
        return {
            "accuracy": given == question.answer,
            "output": reply.text,
            "cost_usd": reply.cost_usd,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
        }

    summary = process(
        make_questions(config.n_questions, config.seed),
        answer,
        output_dir=config.output_dir or None,
        key="id",
        seed=config.seed,
        parameters=config.model_dump(include={"template", "model"}),
        max_parallel=config.max_parallel,
        timeout_s=0.25 + config.call_delay_s,
        retry=RetryPolicy(backoff_s=0.01),
        metrics={"accuracy": metrics.probability(better="higher")},
        failed_counts_as={"accuracy": 0.0},
        derived={"accuracy_by_topic": accuracy_by_topic},
    )
    print(f"accuracy {summary.metrics['accuracy'].mean:.3f}, {summary.failed} failed, {summary.cost_usd:.4f} USD")
    sys.exit(0 if summary.ok else 1)


def accuracy_by_topic(rows: Sequence[Row]) -> dict[str, float]:
    """Share of right answers; an item that failed has none."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row["key"].partition("-")[0]].append(row["metrics"].get("accuracy", 0.0))
    return {topic: round(sum(of_topic) / len(of_topic), 4) for topic, of_topic in sorted(values.items())}


if __name__ == "__main__":
    main(PromptConfig())
