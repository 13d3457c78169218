"""Which kind of classifier reads handwritten digits best, and does the answer depend on its penalty?

Three families at two strengths of the L2 penalty: six conditions. Each is repeated with four seeds,
that is on four splits of the data, which are the same for all conditions.
"""

from run_digits import DigitsConfig

from experiment_runner import ExperimentCase, run_experiments_cli

base = DigitsConfig()

cases = [
    ExperimentCase(
        variant_name=f"{family}-l2-{l2_penalty}-seed-{seed}",
        config=base.copy_with(family=family, l2_penalty=l2_penalty, seed=seed),
    )
    for family in ("logistic", "svm", "mlp")
    for l2_penalty in (0.1, 10.0)
    for seed in (1, 2, 3, 4)
]

if __name__ == "__main__":
    run_experiments_cli(cases, entry_point="run_digits.py", experiment_name="digits")
