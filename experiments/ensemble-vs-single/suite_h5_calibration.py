"""H5: do weights by confidence beat one vote each, and does that depend on whether confidences are calibrated?

2 × 2, five members, on handwritten digits, three times split anew; plans/h5.toml says beforehand what is compared.
"""

from pathlib import Path

from voting_config import VotingConfig

from experiment_runner import ExperimentCase, run_experiments_cli
from suitecase.compare import Plan

base = VotingConfig()

cases = [
    ExperimentCase(
        variant_name=f"{voting}_{'calibrated' if calibrated else 'raw'}-{seed}",
        config=base.copy_with(voting=voting, calibrated=calibrated, seed=seed),
    )
    for voting in ("majority", "weighted")
    for calibrated in (False, True)
    for seed in (1, 2, 3)
]

if __name__ == "__main__":
    plan = Plan(Path(__file__).parent / "plans" / "h5.toml")
    run_experiments_cli(cases, entry_point="run_voting.py", experiment_name="h5-calibration", hooks=[plan])
