# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Checked by pyright alone: what a suite's author gets to know of types."""

from typing import assert_type

from pydantic import Field

from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, RunSummary, run_experiments


class MyConfig(BaseExperimentConfig):
    model: str = "small"
    lr: float = Field(default=0.1, gt=0)


base = MyConfig(model="large")
assert_type(base.copy_with(lr=0.2), MyConfig)
assert_type(MyConfig.from_command_line([]), MyConfig)

cases = [ExperimentCase("one", base), ExperimentCase("two", base.copy_with(seed=7))]
assert_type(cases[0].config, MyConfig)
assert_type(cases[0].config.lr, float)


def summary() -> RunSummary:
    return run_experiments(cases, "run_my.py", "my", parallelism="all", dry_run=True)


ExperimentCase("three", "no config")  # pyright: ignore[reportArgumentType]
