"""H3: what do one, three, five and seven members give, and what do they take?

The best of seven on validation items, on handwritten digits, three times split anew; plans/h3.toml says beforehand
what is compared.
"""

from pathlib import Path

from voting_config import SEVEN, VotingConfig

from experiment_runner import ExperimentCase, run_experiments_cli
from suitecase.compare import Plan

base = VotingConfig(pool=SEVEN)

cases = [
    ExperimentCase(variant_name=f"size_{size}-{seed}", config=base.copy_with(size=size, seed=seed))
    for size in (1, 3, 5, 7)
    for seed in (1, 2, 3)
]

if __name__ == "__main__":
    plan = Plan(Path(__file__).parent / "plans" / "h3.toml")
    run_experiments_cli(cases, entry_point="run_voting.py", experiment_name="h3-sizes", hooks=[plan])
