"""Entry point: one model of ours answers sums under Inspect AI. Needs no network."""

from __future__ import annotations

import sys
from typing import Literal

from pydantic import Field

from experiment_config import BaseExperimentConfig


class ArithmeticConfig(BaseExperimentConfig):
    """Who is asked, and what."""

    model: Literal["careful", "hurried", "careless"] = Field(default="careful", description="Who does the sums.")
    n_digits: int = Field(default=2, ge=1, le=9, description="Digits of each number in a sum.")
    n_questions: int = Field(default=50, ge=1, description="Number of sums.")


def main(config: ArithmeticConfig) -> None:
    # Inspect takes a second to import, and a suite imports this file for its config alone.
    from arithmetic_model import arithmetic_model
    from arithmetic_task import sums

    from suitecase.inspect_bridge import run_inspect

    if not config.output_dir:
        sys.exit("run_arithmetic.py: say where the log goes: --output_dir DIR")
    task = sums(n_digits=config.n_digits, n_questions=config.n_questions, seed=config.seed)
    (log,) = run_inspect(config, task, model=arithmetic_model(config.model))
    assert log.results is not None  # it raises unless the evaluation succeeded
    accuracy = log.results.scores[0].metrics["accuracy"].value
    print(f"{config.model}: accuracy {accuracy:.2f} over {config.n_questions} sums")


if __name__ == "__main__":
    main(ArithmeticConfig())
