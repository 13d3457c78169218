"""H4: does a delay that is learned from every request cost less than one that was measured once, and how soon?

What is compared is the loss: waiting, and a price for each extra request. Eight recorded sessions of a service whose
replicas pause; plans/h4.toml says beforehand what is compared.
"""

from pathlib import Path

from run_hedging import HedgingConfig

from experiment_runner import ExperimentCase, run_experiments_cli
from suitecase.compare import Plan

# The price keeps extra requests few; a budget would hide what a rule costs.
base = HedgingConfig(service="refitting", budget_fraction=1.0)

rules = {
    "static": base.copy_with(rule="static", percentile=95.0),
    "adaptive": base.copy_with(rule="adaptive"),
    "percentile": base.copy_with(rule="percentile", percentile=95.0),
}

cases = [
    ExperimentCase(variant_name=f"{name}-{session}", config=config.copy_with(seed=session))
    for name, config in rules.items()
    for session in range(1, 9)
]

if __name__ == "__main__":
    plan = Plan(Path(__file__).parent / "plans" / "h4.toml")
    run_experiments_cli(cases, entry_point="run_hedging.py", experiment_name="h4-adaptive", hooks=[plan])
