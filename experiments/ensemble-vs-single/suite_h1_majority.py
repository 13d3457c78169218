"""H1: does a majority of five classifiers answer better than the best one of them?

Which one is best is decided on validation items. Three data sets, five times split anew; plans/h1.toml says beforehand
what is compared.
"""

from pathlib import Path

from voting_config import VotingConfig

from experiment_runner import ExperimentCase, run_experiments_cli
from suitecase.compare import Plan

base = VotingConfig(tasks=["digits", "breast_cancer", "wine"])

cases = [
    ExperimentCase(variant_name=f"{name}-{seed}", config=base.copy_with(size=size, seed=seed))
    for name, size in (("single", 1), ("majority", 5))
    for seed in (1, 2, 3, 4, 5)
]

if __name__ == "__main__":
    plan = Plan(Path(__file__).parent / "plans" / "h1.toml")
    run_experiments_cli(cases, entry_point="run_voting.py", experiment_name="h1-majority", hooks=[plan])
