"""Designs: laws, published tables, names that the runner takes, messages, and a suite that runs one."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from experiment_config import BaseExperimentConfig
from experiment_runner import collisions, name_problem
from suitecase import design
from suitecase.design import (
    Design,
    DesignError,
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

ROOT = Path(__file__).resolve().parent.parent


class Schedule(Enum):
    CONSTANT = "constant"
    COSINE = "cosine"


class Config(BaseExperimentConfig):
    model: str = "small"
    lr: float = 0.5
    momentum: float = 0.0
    nesterov: bool = False
    optimiser: str = "adam"
    size: int = 10
    order: list[str] = []
    schedule: Schedule = Schedule.CONSTANT
    attempt: Any = None
    uncommitted: Any = None
    value: Any = None
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0
    g: int = 0


SOME = settings(max_examples=30)
BASE = Config()


def names(pairs: Design[Config]) -> list[str]:
    return [name for name, _ in pairs]


def problems_of(make: Any) -> tuple[str, ...]:
    """What a design is refused for."""
    with pytest.raises(DesignError) as caught:
        make()
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# --- Names -----------------------------------------------------------------------------------------------------------


def test_names_are_readable() -> None:
    """Fields and values in the order given; numbers in their shortest form; labels where a mapping gives them."""
    made = grid(BASE, model=["gpt-4", "openai/o3"], lr=[0.001, 1e-05])
    assert names(made) == [
        "model-gpt-4_lr-0.001",
        "model-gpt-4_lr-1e-05",
        "model-openai-o3_lr-0.001",
        "model-openai-o3_lr-1e-05",
    ]
    labelled = grid(BASE, model={"short": "Answer.", "long": "Think " * 100}, schedule=[*Schedule])
    assert names(labelled)[:2] == ["model-short_schedule-constant", "model-short_schedule-cosine"]
    assert names(grid(BASE, value=[None, True, [64, 64], {"k": -1}, ""])) == [
        *("value-none", "value-true", "value-64-64", "value-k--1", "value-empty")
    ]


def test_names_of_long_and_colliding_values_have_a_suffix_that_stays() -> None:
    """The suffix is made of the value: the same in other processes and in another order."""
    one = grid(BASE, model=["a/b", "a-b", "A-b", "c"], lr=[1])
    other = grid(BASE, model=["c", "A-b", "a-b", "a/b"], lr=[1])
    assert {config.model: name for name, config in one} == {config.model: name for name, config in other}
    assert names(one)[3] == "model-c_lr-1"
    (name,) = names(grid(BASE, model=["Think step by step. " * 9]))
    assert name.startswith("model-Think-step-by-step.")
    assert len(name) < 60


def test_an_enum_is_the_list_of_its_members() -> None:
    """And one member is no list, though it has a value."""
    assert names(grid(BASE, schedule=Schedule)) == ["schedule-constant", "schedule-cosine"]
    member: Any = Schedule.COSINE
    for problems in (
        problems_of(lambda: grid(BASE, schedule=member)),
        problems_of(lambda: random_search(BASE, 3, schedule=member)),
    ):
        assert "give a list of values" in problems[0]


def test_drawn_numbers_that_look_alike_have_different_names() -> None:
    """Names show four digits; where these are not enough, a suffix tells them apart."""
    made = random_search(BASE, 200, momentum=uniform(0.5, 0.5001), lr=log_uniform(1, 1.0001))
    assert [problem for name in names(made) for problem in name_problem(name)] == collisions(names(made)) == []
    assert len({config.momentum for _, config in made}) == 200


def test_names_do_not_depend_on_the_hashes_of_a_process() -> None:
    """Sets are filled in another order in each process, and addresses differ."""
    script = (
        "from suitecase.design import grid\n"
        "class C:\n"
        "    value = None\n"
        "    def copy_with(self, **changes):\n"
        "        made = C(); made.__dict__ |= changes; return made\n"
        "values = [{'x', 'y', 'z', 'u'}, frozenset('xyzabc'), C(), {'m' * i for i in range(30, 36)}]\n"
        "print([name for name, _ in grid(C(), value=values)])\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(printed) == 1


NASTY = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="/\\. -_~\0\n\x85\xa0\u00ad\u115f\u200b\u200d\u202e\u3000\u3164\ud800👩🙂éıİßſK", max_size=6),
    st.sampled_from(["con", "1.5", "x.eval", "a.patch", "report.md", "x" * 300, "é" * 150, "config.json", "A", "a"]),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.binary(max_size=4),
    st.sampled_from(Schedule),
)
VALUES = st.one_of(
    NASTY,
    st.lists(NASTY, max_size=3),
    st.dictionaries(st.text(max_size=3), NASTY, max_size=2),
    st.frozensets(st.text(max_size=3), max_size=3),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(
    one=st.lists(VALUES, min_size=1, max_size=4, unique_by=repr),
    other=st.lists(VALUES, min_size=1, max_size=3, unique_by=repr),
    start=st.sampled_from(["", "p" * 195, "attempt-1", "uncommitted", "é" * 98, "a b"]),
)
@example(one=[1.5], other=["x.eval", "a.patch"], start="uncommitted")
def test_the_runner_accepts_every_generated_name(one: list[Any], other: list[Any], start: str) -> None:
    """By its own checks, whatever the values are, from a config alone and from a named one."""
    begun: Any = (start, BASE) if start else BASE
    made = grid(begun, attempt=one, uncommitted=other)
    assert [problem for name in names(made) for problem in name_problem(name)] == []
    assert collisions(names(made)) == []
    again = repeats(made, 2)
    assert [problem for name in names(again) for problem in name_problem(name)] == []
    assert collisions(names(again)) == []


# --- Spaces ----------------------------------------------------------------------------------------------------------


@SOME
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_grid_is_the_product(sizes: list[int]) -> None:
    """Every combination once, the last field fastest."""
    factors = dict(zip("abcd", map(range, sizes), strict=False))
    made = grid(BASE, **factors)
    assert [tuple(getattr(config, name) for name in factors) for _, config in made] == [
        *itertools.product(*factors.values())
    ]
    assert made.factors == {name: tuple(values) for name, values in factors.items()}


def test_a_field_that_does_not_exist_makes_no_cases() -> None:
    """Conditions chain, may name later fields, and may ask the config itself."""
    made = grid(
        BASE,
        optimiser=["sgd", "adam"],
        momentum=when([0.0, 0.9], optimiser="sgd"),
        nesterov=when([False, True], momentum=[0.9]),
    )
    assert names(made) == [
        "optimiser-sgd_momentum-0.0",
        "optimiser-sgd_momentum-0.9_nesterov-false",
        "optimiser-sgd_momentum-0.9_nesterov-true",
        "optimiser-adam",
    ]
    later = grid(BASE, momentum=when([0.0, 0.9], optimiser="sgd"), optimiser=["sgd", "adam"])
    assert names(later) == ["momentum-0.0_optimiser-sgd", "momentum-0.9_optimiser-sgd", "optimiser-adam"]
    on_top = grid(grid(BASE, optimiser=["sgd", "adam"]), momentum=when([0.1, 0.9], optimiser="sgd"))
    assert len(on_top) == 3
    drawn = random_search(
        BASE, 20, optimiser=["sgd", "adam"], momentum=when(uniform(0, 1), optimiser="sgd"), a=range(50)
    )
    assert len({*map(repr, (config for _, config in drawn))}) == 20
    assert all(("momentum" in name) == (config.optimiser == "sgd") for name, config in drawn)


@SOME
@given(st.integers(1, 30), st.integers(0, 5))
def test_random_search_keeps_what_it_drew(n: int, seed: int) -> None:
    """A larger n begins with the same cases, a further field keeps the others' values, all lie in their ranges."""
    space: dict[str, Any] = {"lr": log_uniform(1e-4, 1e-1), "size": integers(5, 9)}
    made = random_search(BASE, n, design_seed=seed, **space)
    assert random_search(BASE, n + 5, design_seed=seed, **space)[:n] == made.cases
    wider = random_search(BASE, n, design_seed=seed, momentum=uniform(0, 1), **space)
    assert [config.lr for _, config in wider] == [config.lr for _, config in made]
    assert all(1e-4 <= config.lr <= 1e-1 and 5 <= config.size <= 9 for _, config in made)
    assert random_search(BASE, n, design_seed=seed + 1, **space) != made


def test_random_search_finds_every_case_of_a_finite_space() -> None:
    """No case twice, to the last one; one more is refused."""
    made = random_search(BASE, 12, a=integers(1, 4), b=choice([1, 2, 3]))
    assert {(config.a, config.b) for _, config in made} == {*itertools.product(range(1, 5), range(1, 4))}
    (problem,) = problems_of(lambda: random_search(BASE, 13, a=integers(1, 4), b=choice([1, 2, 3])))
    assert "only 12 distinct cases" in problem


@SOME
@given(st.integers(1, 40), st.integers(0, 3))
def test_a_latin_hypercube_has_one_sample_in_each_stratum(n: int, seed: int) -> None:
    """McKay, Beckman and Conover 1979: of n equal parts of each range, each holds one sample."""
    made = latin_hypercube(BASE, n, design_seed=seed, lr=log_uniform(1e-4, 1), momentum=uniform(2, 4))
    fractions = [(1 + math.log10(config.lr) / 4, (config.momentum - 2) / 2) for _, config in made]
    for column in zip(*fractions, strict=True):
        # A sample on the border of two strata may round to either side.
        sides = [{int(f * n - 1e-9), int(f * n + 1e-9)} for f in column]
        assert {part for parts in sides for part in parts} >= {*range(n)}
    assert latin_hypercube(BASE, n, design_seed=seed, lr=log_uniform(1e-4, 1), momentum=uniform(2, 4)) == made


def test_a_sobol_sequence_is_balanced_at_powers_of_two() -> None:
    """Each of 16 elementary intervals of every shape holds one of 16 points; a larger n keeps the first cases."""
    made = sobol(BASE, 16, momentum=uniform(0, 1), lr=uniform(0, 1))
    for columns in (1, 2, 4, 8, 16):
        rows = 16 // columns
        cells = Counter((int(config.momentum * columns), int(config.lr * rows)) for _, config in made)
        assert {*cells.values()} == {1}
        assert len(cells) == 16
    fewer = sobol(BASE, 11, momentum=uniform(0, 1), lr=uniform(0, 1))
    assert made[:11] == fewer.cases
    assert "11 is no power of two" in fewer.analysis
    assert "power" not in made.analysis


def test_scipy_is_asked_for_by_the_name_of_its_extra() -> None:
    """The package imports without scipy, and the two designs that need it say what to install."""
    script = (
        "import sys; sys.modules['scipy.stats.qmc'] = None\n"
        "from suitecase.design import sobol, uniform\n"
        "loaded = {'scipy', 'numpy', 'pydantic', 'experiment_config', 'experiment_runner'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
        "class C:\n"
        "    x = 0\n"
        "    def copy_with(self, **changes): return self\n"
        "try:\n    sobol(C(), 2, x=uniform(0, 1))\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install 'suitecase[analysis]'" in done.stdout


# --- Effects ---------------------------------------------------------------------------------------------------------

# Box, Hunter and Hunter, Statistics for Experimenters, chapter 6; with main effects and two-factor interactions.
PUBLISHED: list[tuple[str, str, int, str, str]] = [
    ("abc", "c=ab", 3, "abc", "a=bc b=ac c=ab"),
    ("abcd", "d=abc", 4, "abcd", "a b c d ab=cd ac=bd ad=bc"),
    ("abcde", "d=ab e=ac", 3, "abd ace bcde", "a=bd=ce b=ad c=ae d=ab e=ac bc=de be=cd"),
    ("abcde", "e=abcd", 5, "abcde", "a b c d e ab ac ad ae bc bd be cd ce de"),
    (
        "abcdefg",
        "d=ab e=ac f=bc g=abc",
        3,
        "abd ace afg bcf beg cdg def abcg abef acdf adeg bcde bdfg cefg abcdefg",
        "a=bd=ce=fg b=ad=cf=eg c=ae=bf=dg d=ab=cg=ef e=ac=bg=df f=ag=bc=de g=af=be=cd",
    ),
]


@pytest.mark.parametrize(
    ("letters", "generators", "resolution", "relation", "sets"), PUBLISHED, ids=lambda x: str(x)[:9]
)
def test_alias_tables_are_the_published_ones(
    letters: str, generators: str, resolution: int, relation: str, sets: str
) -> None:
    """2^(3-1), 2^(4-1), 2^(5-2), 2^(5-1), 2^(7-4): resolution, defining relation, aliases; and the columns obey."""
    sources = {text[0]: [*text[2:]] for text in generators.split()}
    made = factorial(BASE, sources, **{letter: [-1, 1] for letter in letters})
    aliasing = made.aliasing
    assert aliasing is not None
    assert len(made) == 2 ** (len(letters) - len(sources))
    assert aliasing.resolution == resolution
    assert [word.replace(":", "") for word in aliasing.defining_relation] == relation.split()
    found = {frozenset((effect, *others)) for effect, others in aliasing.aliases.items()}
    assert found == {frozenset(":".join(effect) for effect in text.split("=")) for text in sets.split()}
    # Aliased effects have equal columns, others are orthogonal.
    columns = {
        effect: [math.prod(getattr(config, name) for name in effect.split(":")) for _, config in made]
        for effect in aliasing.aliases
    }
    for one, other in itertools.combinations(columns, 2):
        product = sum(x * y for x, y in zip(columns[one], columns[other], strict=True))
        assert product == (len(made) if other in aliasing.aliases[one] else 0)
    assert len(made.terms) == len(found)


# Resolutions of Minitab's table "Design generators for 2-level designs".
@pytest.mark.parametrize(
    ("k", "generators", "resolution"),
    [(6, "e=abc f=bcd", 4), (6, "d=ab e=ac f=bc", 3), (6, "f=abcde", 6), (7, "f=abcd g=abde", 4), (7, "g=abcdef", 7)],
)
def test_resolutions_are_the_published_ones(k: int, generators: str, resolution: int) -> None:
    """Further standard fractions."""
    sources = {text[0]: [*text[2:]] for text in generators.split()}
    aliasing = factorial(BASE, sources, **{letter: [0, 1] for letter in "abcdefg"[:k]}).aliasing
    assert aliasing is not None
    assert aliasing.resolution == resolution


def test_a_full_factorial_is_in_standard_order() -> None:
    """(1), a, b, ab, c, …: the first factor changes fastest."""
    made = factorial(BASE, a=[0, 1], b=[0, 1], c=[0, 1])
    assert [f"{config.c}{config.b}{config.a}" for _, config in made] == [f"{i:03b}" for i in range(8)]
    assert made.aliasing is None
    assert made.terms == ("a", "b", "c", "a:b", "a:c", "b:c")


def test_one_change_at_a_time_and_ablations_know_their_baseline() -> None:
    """Each case but the first differs from the base in one thing."""
    made = one_at_a_time(BASE, lr=[0.1, 0.2], model=["large"])
    assert names(made) == ["base", "lr-0.1", "lr-0.2", "model-large"]
    assert made.baseline == {"lr": 0.5, "model": "small"}
    without = ablation(BASE, {"steps": {"momentum": 0.9, "a": 3}}, lr=0.0)
    assert names(without) == ["full", "without-steps", "without-lr"]
    assert [(c.momentum, c.a, c.lr) for _, c in without] == [(0.0, 0, 0.5), (0.9, 3, 0.5), (0.0, 0, 0.0)]
    assert without.baseline == {"momentum": 0.0, "a": 0, "lr": 0.5}
    assert repeats(without, 2).baseline == without.baseline


# --- Curves ----------------------------------------------------------------------------------------------------------


@SOME
@given(st.integers(3, 20), st.floats(1e-6, 1), st.floats(2, 1e6))
def test_doses_have_equal_ratios(n: int, low: float, factor: float) -> None:
    """From end to end, within the rounding that is promised."""
    made = dose_response(BASE, n, lr=log_uniform(low, low * factor))
    doses = [config.lr for _, config in made]
    assert (doses[0], doses[-1]) == (low, low * factor)
    ratio = factor ** (1 / (n - 1))
    step = low * (ratio - 1)
    assert all(abs(dose - low * ratio**i) <= 0.021 * step * ratio**i for i, dose in enumerate(doses))


def test_doses_may_begin_at_zero_and_go_in_steps() -> None:
    """The zero dose is the baseline."""
    made = dose_response(BASE, 3, zero=True, lr=uniform(1, 3))
    assert [config.lr for _, config in made] == [0, 1, 2, 3]
    assert made.baseline == {"lr": 0.0}


@SOME
@given(st.integers(3, 12), st.integers(1, 500), st.integers(4, 1000))
def test_sizes_of_a_learning_curve_are_geometric(n: int, low: int, factor: int) -> None:
    """Whole numbers from end to end, within half of one of equal ratios; refused where two would be one."""
    exact = [low * factor ** (i / (n - 1)) for i in range(n)]
    if len({round(size) for size in exact}) < n:
        assert "not distinct" in problems_of(lambda: learning_curve(BASE, n, size=integers(low, low * factor)))[0]
        return
    sizes = [config.size for _, config in learning_curve(BASE, n, size=integers(low, low * factor))]
    assert (sizes[0], sizes[-1]) == (low, low * factor)
    assert all(abs(size - one) <= 0.5 + 1e-6 for size, one in zip(sizes, exact, strict=True))


# --- Noise and order -------------------------------------------------------------------------------------------------


def test_repeats_go_on_from_42() -> None:
    """On their own, and on top of another design; the same for each condition."""
    assert [(name, config.seed) for name, config in repeats(BASE, 3)] == [
        *(("seed-42", 42), ("seed-43", 43), ("seed-44", 44))
    ]
    made = repeats(grid(BASE, model=["x", "y"]), 2, first_seed=7)
    assert names(made) == ["model-x_seed-7", "model-x_seed-8", "model-y_seed-7", "model-y_seed-8"]
    assert made.kind == "repeats of grid"
    assert made.matched_by == ("seed",)
    assert made.terms == ("model",)


def test_derived_seeds_are_shared_by_no_conditions_and_stay() -> None:
    """A seed depends on the condition's name, not on what else there is; a larger n keeps the first."""
    made = repeats(grid(BASE, model=["x", "y"]), 5, seeds="derived")
    seeds = [config.seed for _, config in made]
    assert len({*seeds}) == 10
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [c.seed for _, c in repeats(grid(BASE, model=["y"]), 3, seeds="derived")] == seeds[5:8]
    assert made.matched_by == ()
    assert made.factors["seed"] == tuple(seeds)


def test_paired_cases_are_repeats_pair_by_pair() -> None:
    """The same cases, but all conditions of a seed follow each other."""
    conditions = grid(BASE, model=["x", "y", "z"])
    made = paired(conditions, 4)
    assert {*map(repr, made)} == {*map(repr, repeats(conditions, 4))}
    assert [config.seed for _, config in made] == [42] * 3 + [43] * 3 + [44] * 3 + [45] * 3
    assert made.matched_by == ("seed",)


@SOME
@given(st.integers(2, 5), st.integers(1, 5), st.integers(0, 9))
def test_each_block_has_each_condition_once(conditions: int, blocks: int, seed: int) -> None:
    """Block after block, in an order that the seed decides."""
    made = randomised_blocks(grid(BASE, a=range(conditions)), design_seed=seed, b=range(blocks))
    for number in range(blocks):
        block = made[number * conditions : (number + 1) * conditions]
        assert {config.a for _, config in block} == {*range(conditions)}
        assert {config.b for _, config in block} == {number}
    assert made == randomised_blocks(grid(BASE, a=range(conditions)), design_seed=seed, b=range(blocks))


def test_blocks_are_in_different_orders() -> None:
    """Six conditions in eight blocks hardly ever come in one order."""
    made = randomised_blocks(grid(BASE, a=range(6)), b=range(8))
    assert len({tuple(config.a for _, config in made[i : i + 6]) for i in range(0, 48, 6)}) > 4


@SOME
@given(st.integers(2, 15))
def test_in_a_williams_square_each_precedes_each_other_equally_often(k: int) -> None:
    """Williams 1949: and each has each place equally often; one square for even numbers, two for odd ones."""
    rows = williams_square(range(k))
    times = 1 if k % 2 == 0 else 2
    assert len(rows) == k * times
    follows = Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert follows == dict.fromkeys(itertools.permutations(range(k), 2), times)
    for place in zip(*rows, strict=True):
        assert Counter(place) == dict.fromkeys(range(k), times)
    for place in zip(*latin_square(range(k)), strict=True):
        assert sorted(place) == [*range(k)]


def test_williams_squares_are_those_of_r() -> None:
    """Output of `williams(3)` and of the first two rows of `williams(10)` of R's package crossdes."""
    assert sorted(williams_square([1, 2, 3])) == sorted(
        [[1, 2, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1], [1, 3, 2], [2, 1, 3]]
    )
    assert williams_square(range(1, 11))[:2] == [[1, 2, 10, 3, 9, 4, 8, 5, 7, 6], [2, 3, 1, 4, 10, 5, 9, 6, 8, 7]]


def test_orders_are_values_of_a_field() -> None:
    """A case for each row of the square."""
    made = counterbalanced(BASE, order=["x", "y"])
    assert [(name, config.order) for name, config in made] == [("order-x-y", ["x", "y"]), ("order-y-x", ["y", "x"])]
    assert len(counterbalanced(BASE, order=["x", "y", "z"])) == 6
    assert len(counterbalanced(BASE, square="latin", order=["x", "y", "z"])) == 3


# --- Composition and messages ----------------------------------------------------------------------------------------


def test_a_grid_of_a_grid_is_the_grid_of_both() -> None:
    """In cases, in names, in factors and in terms."""
    at_once = grid(BASE, a=[1, 2], b=[3, 4], c=[5, 6])
    in_turn = grid(grid(grid(BASE, a=[1, 2]), b=[3, 4]), c=[5, 6])
    assert in_turn.cases == at_once.cases
    assert in_turn.factors == at_once.factors
    assert {*in_turn.terms} == {*at_once.terms}


def test_a_design_is_a_sequence_that_shows_a_table() -> None:
    """And of plain pairs it is made as well as of designs."""
    made = repeats([("mine", BASE), ("other", BASE.copy_with(a=1))], 20)
    assert (len(made), made[0], made[-1][0]) == (40, ("mine_seed-42", BASE), "other_seed-61")
    shown = repr(made).splitlines()
    assert shown[0] == "repeats: 40 cases"
    assert shown[1].split() == ["variant", "seed"]
    assert shown[2].split() == ["mine_seed-42", "42"]
    assert "… 28 more" in shown


@dataclass(frozen=True)
class Plain:
    """A config of somebody else's."""

    x: int = 0
    seed: int = 1

    def copy_with(self, **changes: Any) -> Plain:
        return Plain(**{**vars(self), **changes})


def test_any_config_with_copy_with_will_do() -> None:
    """Nothing of the reference file is needed, and its own words arrive."""
    assert [c for _, c in repeats(grid(Plain(), x=[1, 2]), 1)] == [Plain(1, 42), Plain(2, 42)]
    (problem,) = problems_of(lambda: grid(Plain(), y=[1]))
    assert "unexpected keyword argument 'y'" in problem


# What a type checker would have refused.
WRONG: Any = 7
NOTHING: Any = []
UNNAMED: Any = [BASE]
RANGE: Any = log_uniform(1, 2)

REFUSED: list[tuple[Any, list[str]]] = [
    (
        lambda: grid(BASE, modle=["a"], lr=[], a="x", b=[1, 1], c={3, 4}, d=WRONG),
        [
            "grid: lr has no values: give at least one.",
            "grid: a is 'x': give a list of values, ['x'].",
            "grid: b has 1 twice: each value makes its own case.",
            "grid: c is a set, which has no order: give a list.",
            "grid: d is 7: give a list of values, [7].",
            "grid: modle: not a field of Config. Did you mean model?",
        ],
    ),
    (lambda: grid(BASE), ["grid: nothing varies: name a field and its values, grid(base, …, lr=[0.1, 0.01])."]),
    (lambda: grid(Config, a=[1]), ["grid: Config is a class: give a config, Config()."]),  # type: ignore[arg-type]
    (lambda: grid(NOTHING, a=[1]), ["grid: there are no cases to start from."]),
    (lambda: grid(UNNAMED, a=[1]), ["grid: Config(", "not a (name, config) pair"]),
    (lambda: repeats([("a", BASE), ("A", BASE)], 2), ["repeats: the names 'a' and 'A' are one folder"]),
    (
        lambda: grid(BASE, lr=["many"], a=["x"]),
        ["lr: Input should be a valid number", "a: Input should be a valid integer"],
    ),
    (lambda: grid(BASE, output_dir=["x"]), ["output_dir is set by the runner alone"]),
    (lambda: grid(BASE, lr=RANGE), ["grid: lr is the range LogUniform(low=1, high=2): grid needs a list"]),
    (lambda: grid(BASE, lr=[1, 1.0]), ["grid: 'lr-1' and 'lr-1.0' have the same config"]),
    (lambda: grid(BASE, a=range(200), b=range(200)), ["more than 10,000 cases (200 of a × 200 of b)"]),
    (lambda: grid(BASE, a=itertools.count()), ["more than 10,000 cases"]),
    (lambda: grid(grid(BASE, a=[1]), a=[2]), ["grid: a is varied already, by the grid that this starts from."]),
    (lambda: repeats(repeats(BASE, 2), 2), ["repeats: seed is varied already"]),
    (lambda: repeats(BASE, 0), ["repeats: n is 0: give a whole number, at least 1."]),
    (lambda: repeats(BASE, 2.0), ["repeats: n is 2.0: give a whole number"]),  # type: ignore[arg-type]
    (lambda: repeats(BASE, True), ["repeats: n is True"]),
    (lambda: sobol(BASE, 20_000, lr=uniform(0, 1)), ["sobol: n is 20,000: a design has at most 10,000 cases."]),
    (lambda: latin_hypercube(BASE, 8, a=[1, 2], b=[1, 2]), ["have the same config"]),
    (lambda: log_uniform(0, 1), ["log_uniform: low is 0: give a number above 0."]),
    (lambda: log_uniform(-1, math.nan), ["low is -1", "high is nan"]),
    (lambda: uniform(2, 1), ["uniform: low is 2 and high is 1: low must be below high."]),
    (lambda: uniform(-1.5e308, 1.5e308), ["too wide"]),
    (lambda: integers(1, 2.5), ["integers: high is 2.5: give a whole number."]),  # type: ignore[arg-type]
    (lambda: choice(NOTHING), ["choice has no values"]),
    (lambda: when([1]), ["when() has no condition"]),
    (
        lambda: grid(BASE, optimiser=["sgd"], momentum=when([0.1], optimiser="sdg")),
        ["grid: momentum exists when optimiser is 'sdg', which it never is: did you mean 'sgd'?"],
    ),
    (lambda: grid(BASE, a=when([1], b=1), b=when([1], a=1)), ["a, b exist only when each other do"]),
    (lambda: grid(BASE, a=when([1], optimizer="x")), ["optimizer: not a field of Config. Did you mean optimiser?"]),
    (lambda: factorial(BASE, a=[1, 2, 3], b=[1, 2]), ["factorial: a has 3 values: a factorial has two"]),
    (
        lambda: factorial(
            BASE, {"c": ["a", "x"], "d": ["a"], "e": "ab"}, a=[0, 1], b=[0, 1], c=[0, 1], d=[0, 1], e=[0, 1]
        ),
        ["c names x, which is no factor", "d needs two or more", "the generator of e is text"],
    ),
    (
        lambda: factorial(BASE, {"c": ["a", "b"], "d": ["a", "b"]}, a=[0, 1], b=[0, 1], c=[0, 1], d=[0, 1]),
        ["c:d never changes: generators must make resolution 3"],
    ),
    (lambda: one_at_a_time(BASE, lr=[0.5]), ["'base' and 'lr-0.5' have the same config"]),
    (lambda: ablation(BASE), ["nothing is taken out"]),
    (lambda: ablation(BASE, lr=0.5), ["'full' and 'without-lr' have the same config"]),
    (lambda: paired(BASE, 2), ["there is one condition"]),
    (lambda: randomised_blocks(grid(BASE, a=[1, 2]), b=[1], c=[2]), ["b, c are several fields"]),
    (lambda: counterbalanced(BASE, order=["x"]), ["order has one condition"]),
    (lambda: dose_response(BASE, 2, lr=[1]), ["lr is [1]: give a range", "n is 2: give a whole number, at least 3"]),  # type: ignore[arg-type]
    (lambda: learning_curve(BASE, 5, size=integers(0, 9)), ["size begins at 0"]),
]


@pytest.mark.parametrize(("make", "expected"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_refused_with_every_reason(make: Any, expected: list[str]) -> None:
    """Wrong arguments are refused before anything is made, all at once, each in a sentence."""
    problems = problems_of(make)
    text = "\n".join(problems)
    assert [part for part in expected if part not in text] == []
    assert len(problems) <= max(len(expected), 4)


def test_every_design_says_how_to_analyse_it() -> None:
    """A sentence each, and everything public is listed."""
    conditions = grid(BASE, a=[1, 2])
    made = [
        conditions,
        random_search(BASE, 2, lr=uniform(0, 1)),
        latin_hypercube(BASE, 2, lr=uniform(0, 1)),
        sobol(BASE, 2, lr=uniform(0, 1)),
        factorial(BASE, a=[1, 2]),
        one_at_a_time(BASE, a=[1]),
        ablation(BASE, a=1),
        dose_response(BASE, 3, lr=uniform(0, 1)),
        learning_curve(BASE, 3, size=integers(1, 9)),
        repeats(BASE, 2),
        paired(conditions, 2),
        randomised_blocks(conditions, b=[1, 2]),
        counterbalanced(BASE, order=["x", "y"]),
    ]
    for each in made:
        assert each.analysis[0].isupper()
        assert each.analysis.endswith(".")
        assert each.kind.split()[0] in design.__all__
        assert f"analysis: {each.analysis}" in repr(each)


# --- In a suite ------------------------------------------------------------------------------------------------------


def test_a_suite_runs_a_design(project: Project) -> None:
    """Cases of grid and repeats, with the copied files of a project: folders by name, configs as designed."""
    project.suite(
        "[ExperimentCase(name, config) for name, config in repeats(grid(base, x=[1], name=['m/1', 'M-1']), 2)]",
        before="from suitecase.design import grid, repeats\n"
        "base = Config(do=\"(folder / 'results.json').write_text(json.dumps({'y': config['x'] + config['seed']}))\")",
    )
    done = project.run("-p", "2", env={"PYTHONPATH": str(ROOT)})
    assert done.code == 0, done.stderr
    statuses = project.statuses()
    assert len(statuses) == 4
    for name in statuses:
        config = json.loads((project.run_dir / name / "config.json").read_text())
        assert name.startswith("x-1_name-")
        assert name.endswith(f"_seed-{config['seed']}")
        assert json.loads((project.run_dir / name / "results.json").read_text()) == {"y": 1 + config["seed"]}
    # A copy of the package's files alone makes the same cases.
    project.write("vendored/suitecase/__init__.py", "")
    for file in (ROOT / "suitecase/design").glob("*.py"):
        project.write(f"vendored/suitecase/design/{file.name}", file.read_text(encoding="utf-8"))
    copied = project.run("--dry-run", env={"PYTHONPATH": str(project.root / "vendored")})
    assert copied.code == 0, copied.stderr
    assert [name for name in statuses if name not in copied.stdout] == []
