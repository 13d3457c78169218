"""How much do models that slip now and then lose when the numbers get longer?

Three models of known error rate, sums of two and of five digits. All models get the same questions.
"""

from run_arithmetic import ArithmeticConfig

from experiment_runner import ExperimentCase, run_experiments_cli

base = ArithmeticConfig()

cases = [
    ExperimentCase(variant_name=f"{model}-{n_digits}-digits", config=base.copy_with(model=model, n_digits=n_digits))
    for model in ("careful", "hurried", "careless")
    for n_digits in (2, 5)
]

if __name__ == "__main__":
    run_experiments_cli(cases, entry_point="run_arithmetic.py", experiment_name="arithmetic-inspect", mode="inspect")
