"""What cases have cost, from the files in which they told it: the one ledger that every budget and report reads.

A case tells its costs line by line in its `tracking.jsonl` (`{"event": "cost", "usd": …, "model": …}`), or as a sum, as
`cost_usd` in its `results.json`. One that does both tells of the same money, so the larger sum counts. Money is added
as whole 1e-12 USD: ten times 0.1 is 1, in any order, and one token of the cheapest model counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from suitecase.rundir import layout
from suitecase.rundir.files import read_lines, read_object

__all__ = [
    "PICO",
    "Cost",
    "Spent",
    "condition_of",
    "costs_told",
    "in_pico",
    "is_amount",
    "spent_by_case",
    "spent_by_run",
]

PICO = 10**12


@dataclass(frozen=True, slots=True)
class Cost:
    """What a line tells.

    Attributes:
        pico: In 1e-12 USD.
        model: Empty if it doesn't say.
    """

    pico: int
    model: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of a model have cost in a case.

    Attributes:
        calls: Lines that told of it; 0 for what only a sum tells.
        usd: In US dollars.
    """

    variant: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: float


def is_amount(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def in_pico(usd: object) -> int | None:
    """An amount of US dollars in 1e-12 of them; None if it is none."""
    return round(usd * PICO) if is_amount(usd) else None


def condition_of(config: Mapping[str, Any]) -> str:
    """What all repeats of a case have in common: its config without seed and folder, as text."""
    kept = {name: value for name, value in config.items() if name not in ("seed", "output_dir")}
    return json.dumps(kept, sort_keys=True, default=str)


def costs_told(folder: Path) -> Iterator[Cost]:
    """The costs that a case told line by line; a line without an amount is left out."""
    for line in read_lines(folder / layout.TRACKING, having=b'"cost"'):
        pico = in_pico(line.get("usd")) if line.get("event") == "cost" else None
        if pico is not None:
            model, used, made = line.get("model"), line.get("input_tokens"), line.get("output_tokens")
            yield Cost(
                pico,
                model if isinstance(model, str) else "",
                int(used) if is_amount(used) else 0,
                int(made) if is_amount(made) else 0,
            )


def spent_by_case(folder: Path) -> list[Spent]:
    """What a case has cost, by model; `model` is empty for what no line tells of."""
    sums: dict[str, list[int]] = {}
    for cost in costs_told(folder):
        of_model = sums.setdefault(cost.model, [0, 0, 0, 0])
        for place, more in enumerate((1, cost.input_tokens, cost.output_tokens, cost.pico)):
            of_model[place] += more
    results, _ = read_object(folder / layout.RESULTS)
    beyond = (in_pico((results or {}).get("cost_usd")) or 0) - sum(pico for *_, pico in sums.values())
    # A sum in floating point may differ from ours in its last digits.
    if beyond > PICO // 10**9:
        sums.setdefault("", [0, 0, 0, 0])[3] += beyond
    return [
        Spent(folder.name, model, calls, used, made, pico / PICO) for model, (calls, used, made, pico) in sums.items()
    ]


def spent_by_run(run_dir: Path) -> Iterator[tuple[str, str, int]]:
    """Of each case that has cost something: variant, condition, and 1e-12 USD."""
    for path in sorted(run_dir.glob(f"*/{layout.CONFIG}")):
        spent = sum(round(each.usd * PICO) for each in spent_by_case(path.parent))
        if spent and path.parent.name[0] != ".":
            yield path.parent.name, condition_of(read_object(path)[0] or {}), spent
