"""Which cases to run: designs that give `(variant_name, config)` pairs.

    from suitecase.design import grid, repeats

    design = repeats(grid(base, model=["small", "large"], lr=[0.1, 0.01]), 3)
    cases = [ExperimentCase(name, config) for name, config in design]

    Spaces        grid, random_search, latin_hypercube, sobol
                  over lists, uniform, log_uniform, integers, choice, and when for fields that exist at times
    Effects       factorial (full, or a fraction with generators), one_at_a_time, ablation
    Curves        dose_response, learning_curve
    Noise, order  repeats, paired, randomised_blocks, counterbalanced (latin_square, williams_square)

A design starts from a config or from pairs, so designs build on each other. It makes configs through the config's own
`copy_with`, depends on nothing but its arguments, and says in `analysis` which analysis fits its results.
"""

from suitecase.design.cases import Aliasing, Design, DesignError
from suitecase.design.curves import dose_response, learning_curve
from suitecase.design.factorials import ablation, factorial, one_at_a_time
from suitecase.design.factors import (
    Choice,
    Integers,
    LogUniform,
    Range,
    Uniform,
    When,
    choice,
    integers,
    log_uniform,
    uniform,
    when,
)
from suitecase.design.orders import counterbalanced, latin_square, paired, randomised_blocks, repeats, williams_square
from suitecase.design.spaces import grid, latin_hypercube, random_search, sobol

__all__ = [
    "Aliasing",
    "Choice",
    "Design",
    "DesignError",
    "Integers",
    "LogUniform",
    "Range",
    "Uniform",
    "When",
    "ablation",
    "choice",
    "counterbalanced",
    "dose_response",
    "factorial",
    "grid",
    "integers",
    "latin_hypercube",
    "latin_square",
    "learning_curve",
    "log_uniform",
    "one_at_a_time",
    "paired",
    "random_search",
    "randomised_blocks",
    "repeats",
    "sobol",
    "uniform",
    "when",
    "williams_square",
]
