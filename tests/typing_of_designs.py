# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Checked by pyright alone: a design keeps the type of its configs."""

from collections.abc import Sequence
from typing import assert_type

from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase
from suitecase.design import (
    Choice,
    Design,
    ablation,
    choice,
    counterbalanced,
    dose_response,
    factorial,
    grid,
    integers,
    latin_hypercube,
    latin_square,
    learning_curve,
    log_uniform,
    one_at_a_time,
    paired,
    random_search,
    randomised_blocks,
    repeats,
    sobol,
    uniform,
    when,
    williams_square,
)


class MyConfig(BaseExperimentConfig):
    model: str = "small"
    lr: float = 0.1


base = MyConfig()
models = grid(base, model=["a", "b"], lr=when([0.1], model="a"))
assert_type(models, Design[MyConfig])
assert_type([ExperimentCase(name, config) for name, config in models], list[ExperimentCase[MyConfig]])
assert_type(models[0], tuple[str, MyConfig])
assert_type(models[:2], tuple[tuple[str, MyConfig], ...])
pairs: Sequence[tuple[str, MyConfig]] = models

assert_type(repeats(models, 3), Design[MyConfig])
assert_type(repeats(("named", base), 3), Design[MyConfig])
assert_type(repeats([("one", base), ("two", base)], 3), Design[MyConfig])
assert_type(random_search(base, 3, lr=log_uniform(1e-4, 1e-1), model=["a", "b"]), Design[MyConfig])
assert_type(latin_hypercube(models, 3, lr=uniform(0, 1)), Design[MyConfig])
assert_type(sobol(pairs, 4, seed=integers(1, 9)), Design[MyConfig])
assert_type(factorial(base, model=["a", "b"], lr=[0.1, 0.2]), Design[MyConfig])
assert_type(one_at_a_time(base, model=["a", "b"]), Design[MyConfig])
assert_type(ablation(base, {"all": {"lr": 0.0}}, model=""), Design[MyConfig])
assert_type(paired(models, 3), Design[MyConfig])
assert_type(randomised_blocks(models, seed=[1, 2]), Design[MyConfig])
assert_type(counterbalanced(base, order=["a", "b"]), Design[MyConfig])
assert_type(dose_response(base, 5, lr=log_uniform(1e-4, 1e-1)), Design[MyConfig])
assert_type(learning_curve(base, 5, seed=integers(1, 100)), Design[MyConfig])
assert_type(choice(["a", "b"]), Choice[str])
assert_type(williams_square([1, 2]), list[list[int]])
assert_type(latin_square("ab"), list[list[str]])

grid("no config", model=["a"])  # pyright: ignore[reportArgumentType]
dose_response(base, 5, lr=[0.1, 0.2])  # pyright: ignore[reportArgumentType]
repeats(models, 3, seeds="other")  # pyright: ignore[reportArgumentType]
