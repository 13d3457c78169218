"""Entry point: a language model, or an ensemble of some, says from which cultivar wines are. Needs API keys."""

from __future__ import annotations

import sys
from typing import Literal

from pydantic import Field

from experiment_config import BaseExperimentConfig


class ModelsConfig(BaseExperimentConfig):
    """Who is asked, by Inspect's name, and what."""

    model: str = Field(default="openai/gpt-4o-mini", description="Such as openai/gpt-4o-mini or ensemble/a/b+c/d.")
    split: Literal["validation", "test"] = Field(default="test", description="Validation chooses the best single one.")
    n_items: int = Field(default=100, ge=1, description="Wines, at most as many as there are.")


def main(config: ModelsConfig) -> None:
    # Inspect takes a second to import, and a suite imports this file for its config alone.
    from wine_task import wines

    from suitecase.inspect_bridge import run_inspect

    if not config.output_dir:
        sys.exit("run_models.py: say where the log goes: --output_dir DIR")
    arguments = {"strategy": "majority", "normaliser": "choice"} if config.model.startswith("ensemble/") else {}
    (log,) = run_inspect(
        config, wines(split=config.split, n_items=config.n_items, seed=config.seed), model=config.model,
        model_args=arguments,
    )  # fmt: skip
    assert log.results is not None  # it raises unless the evaluation succeeded
    print(f"{config.model}: accuracy {log.results.scores[0].metrics['accuracy'].value:.3f}")


if __name__ == "__main__":
    main(ModelsConfig())
