"""H2: does hedging halve the 99th percentile of latency for less than 15 % more requests?

Two services, eight recorded sessions of each, hedged as `suitecase.hedging` does by default (at most 5 % extra
requests) and with a larger budget; plans/h2.toml says beforehand what is compared.
"""

from pathlib import Path

from run_hedging import HedgingConfig

from experiment_runner import ExperimentCase, run_experiments_cli
from suitecase.compare import Plan

base = HedgingConfig()

rules = {
    "none": base.copy_with(rule="none"),
    "budget-5": base.copy_with(rule="percentile"),
    "budget-14": base.copy_with(rule="percentile", percentile=86.0, budget_fraction=0.14),
}

cases = [
    ExperimentCase(variant_name=f"{name}-{service}-{session}", config=config.copy_with(service=service, seed=session))
    for name, config in rules.items()
    for service in ("steady", "refitting")
    for session in range(1, 9)
]

if __name__ == "__main__":
    plan = Plan(Path(__file__).parent / "plans" / "h2.toml")
    run_experiments_cli(cases, entry_point="run_hedging.py", experiment_name="h2-hedging", hooks=[plan])
