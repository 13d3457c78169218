"""Designs against noise and order: repeats, pairs, blocks, counterbalanced orders."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, TypeVar, cast

from suitecase.design.cases import ConfigT, Design, DesignError, Plan, Start, Variation, make, start_problems, starts_of
from suitecase.design.factors import Levels, count_problems, factors_of, values_of, variation
from suitecase.design.names import level_texts

__all__ = ["counterbalanced", "latin_square", "paired", "randomised_blocks", "repeats", "williams_square"]

ValueT = TypeVar("ValueT")


def repeats(
    start: Start[ConfigT], n: int, /, *, first_seed: int = 42, seeds: Literal["same", "derived"] = "same"
) -> Design[ConfigT]:
    """Each case `n` times, with other seeds; a repeat's name ends in `seed-42`.

    Args:
        start: A config, or (name, config) pairs, such as a grid.
        n: Repeats per case.
        first_seed: The first seed; with "same" seeds, the others follow: 42, 43, 44.
        seeds: "same" gives every condition the same seeds. "derived" gives each its own, 31 bits from the SHA-256 of
            `first_seed`, the condition's name and the number of the repeat, so that no two conditions share their luck.

    Raises:
        DesignError: Everything that is wrong.
    """
    problems = repeat_problems("repeats", start, n, first_seed)
    if seeds not in ("same", "derived"):
        problems.append(f"repeats: seeds is {seeds!r}: it must be 'same' or 'derived'.")
    if problems:
        raise DesignError(problems)
    if seeds == "same":
        used: tuple[object, ...] = tuple(range(first_seed, first_seed + n))
        plan = Plan(
            "repeats",
            f"The {n} seeds of a condition estimate its noise; where conditions share them, compare seed by seed.",
            {"seed": used},
            matched_by=("seed",),
        )
        return make(start, lambda _: ((f"seed-{seed}", {"seed": seed}) for seed in used), plan)
    plan = Plan(
        "repeats",
        f"The {n} seeds of a condition estimate its noise; conditions share none, so compare them as independent "
        "groups (Welch's t-test or Mann-Whitney).",
        {"seed": ()},
    )
    parts = [
        make((name, config), lambda _, name=name: derived(name, n, first_seed), plan)
        for name, config in starts_of(start)
    ]
    whole = make(cast(Any, start), lambda _: [("", {})], plan)
    cases = tuple(chain.from_iterable(part.cases for part in parts))
    return replace(whole, cases=cases, factors={**whole.factors, "seed": tuple(c.seed for _, c in cast(Any, cases))})


def derived(name: str, n: int, first_seed: int) -> Iterator[Variation]:
    for repeat in range(n):
        digest = hashlib.sha256(f"{first_seed}:{name}:{repeat}".encode("utf-8", "surrogatepass")).digest()
        seed = int.from_bytes(digest[:4]) >> 1  # numpy and torch take 31 bits everywhere
        yield f"seed-{seed}", {"seed": seed}


def paired(start: Start[ConfigT], n: int, /, *, first_seed: int = 42) -> Design[ConfigT]:
    """Two or more conditions, each with the same `n` seeds, seed by seed: 42 of all conditions, then 43 of all.

    The cases are those of `repeats(start, n)`; a run that ends early leaves whole pairs. Items that all conditions work
    through are pairs already, so this takes the place of `repeats`, and is not put on top of it.

    Raises:
        DesignError: Everything that is wrong, also a single condition.
    """
    problems = repeat_problems("paired", start, n, first_seed)
    if not problems and len(starts_of(start)) < 2:
        problems = ["paired: there is one condition: give two or more, as paired(grid(base, model=['a', 'b']), 5)."]
    if problems:
        raise DesignError(problems)
    used = tuple(range(first_seed, first_seed + n))
    plan = Plan(
        "paired",
        "Differences between conditions seed by seed: paired t-test or Wilcoxon's signed ranks for two, a "
        "repeated-measures analysis with Holm's correction for more.",
        {"seed": used},
        matched_by=("seed",),
    )
    made = make(start, lambda _: ((f"seed-{seed}", {"seed": seed}) for seed in used), plan)
    return replace(made, cases=tuple(case for block in range(n) for case in made.cases[block::n]))


def randomised_blocks(start: Start[ConfigT], /, *, design_seed: int = 0, **block: Levels) -> Design[ConfigT]:
    """Every condition once in each block, the conditions of a block in random order, block after block.

    For what can't be held equal and is not the question: a day, a machine, a dataset, a seed. The order means something
    only if cases run one after the other (`-p 1`).

    Args:
        start: The conditions, as (name, config) pairs.
        design_seed: Seed of the orders.
        block: One field, and the value that it has in each block.

    Raises:
        DesignError: Everything that is wrong, also a single condition.
    """
    kind = "randomised_blocks"
    parsed, problems = factors_of(kind, block, ranges=False)
    if len(block) > 1:
        problems.append(f"{kind}: {', '.join(block)} are several fields: blocks differ in one.")
    problems += [f"{kind}: {name} has conditions: only grid knows them." for name, f in parsed.items() if f.conditions]
    problems += start_problems(kind, start, [*block])
    if not problems and len(starts_of(start)) < 2:
        problems.append(f"{kind}: there is one condition: give two or more, as grid(base, model=['a', 'b']).")
    if problems:
        raise DesignError(problems)
    ((name, factor),) = parsed.items()
    plan = Plan(
        kind,
        f"Differences between conditions within blocks of equal {name}: analysis of variance with {name} as block, or "
        "Friedman's test; the difference between blocks is taken out.",
        values_of(parsed),
        matched_by=(name,),
    )
    made = make(start, lambda _: (variation([name], {name: level}) for level in factor.levels), plan)
    draw = random.Random(f"{design_seed}:{name}")
    blocks = [list(made.cases[index :: len(factor.levels)]) for index in range(len(factor.levels))]
    for conditions in blocks:
        draw.shuffle(conditions)
    return replace(made, cases=tuple(chain.from_iterable(blocks)))


def counterbalanced(
    start: Start[ConfigT], /, *, square: Literal["williams", "latin"] = "williams", **order: Sequence[object]
) -> Design[ConfigT]:
    """A case for each order in which conditions are gone through, so that order and condition are not mixed up.

        counterbalanced(base, prompts=["short", "long", "none"])  # six cases, config.prompts is the order

    Args:
        start: A config, or (name, config) pairs.
        square: "williams": each condition is in each place, and directly before each other one, equally often; as many
            orders as conditions, or twice as many for an odd number. "latin": in each place only.
        order: One field that holds a list, and the conditions.

    Raises:
        DesignError: Everything that is wrong.
    """
    kind = "counterbalanced"
    parsed, problems = factors_of(kind, order, ranges=False)
    if len(order) > 1:
        problems.append(f"{kind}: {', '.join(order)} are several fields: one holds the order.")
    problems += [
        f"{kind}: {name} has one condition: give two or more." for name, f in parsed.items() if len(f.levels) == 1
    ]
    if square not in ("williams", "latin"):
        problems.append(f"{kind}: square is {square!r}: it must be 'williams' or 'latin'.")
    problems += start_problems(kind, start, [*order])
    if problems:
        raise DesignError(problems)
    ((name, factor),) = parsed.items()
    conditions = [level.value for level in factor.levels]
    rows = williams_square(conditions) if square == "williams" else latin_square(conditions)
    texts = level_texts(rows)
    carried = " and carry-over from the one before" if square == "williams" else ""
    plan = Plan(
        kind,
        f"Effects of the conditions in {name}, with place in the order{carried} as further terms of a mixed model, and "
        "the case as the random part.",
        {name: tuple(rows)},
    )
    variations: list[Variation] = [(f"{name}-{text}", {name: row}) for text, row in zip(texts, rows, strict=True)]
    return make(start, lambda _: variations, plan)


def latin_square(conditions: Sequence[ValueT]) -> list[list[ValueT]]:
    """Orders in which each condition has each place once: the cyclic square, one row per condition."""
    return [[*conditions[row:], *conditions[:row]] for row in range(len(conditions))]


def williams_square(conditions: Sequence[ValueT]) -> list[list[ValueT]]:
    """Orders in which each condition has each place, and directly precedes each other one, equally often.

    Williams 1949, Australian Journal of Scientific Research A 2, 149-168: one square for an even number of conditions,
    two for an odd number, the second one the first one mirrored. The first row goes 0, 1, k-1, 2, k-2, …, and each
    further row adds one to it, modulo k.
    """
    k = len(conditions)
    first = [(place + 1) // 2 if place % 2 else (k - place // 2) % k for place in range(k)]
    rows = [[conditions[(index + row) % k] for index in first] for row in range(k)]
    return rows if k % 2 == 0 else rows + [row[::-1] for row in rows]


def repeat_problems(kind: str, start: object, n: object, first_seed: object) -> list[str]:
    problems = count_problems(kind, "n", n)
    if isinstance(first_seed, bool) or not isinstance(first_seed, int):
        problems.append(f"{kind}: first_seed is {first_seed!r:.80}: give a whole number.")
    return problems + start_problems(kind, start, ["seed"])
