"""suitecase: the same cases."""

from cases import CASES, MODULE, PROGRAM
from run_config import Config

from experiment_runner import ExperimentCase, run_experiments_cli

base = Config()
cases = [ExperimentCase(f"case-{n}", base.copy_with(num_samples=n)) for n in range(CASES)]

if __name__ == "__main__":
    run_experiments_cli(cases, f"{MODULE}.py" if MODULE else PROGRAM[0], "compare")
