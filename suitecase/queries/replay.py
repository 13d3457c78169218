"""Finds the items of a run that failed for good, and the command by which they are asked again."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.queries.steering import Resume, find_resume
from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.files import parse_object

__all__ = ["REPLAY", "CannotReplayError", "DeadLetter", "DeadLetters", "find_dead_letters", "find_replay"]

REPLAY = {"SUITECASE_REPLAY": "dead_letters"}
"""What tells `suitecase.items.process` to ask only for what has failed for good."""


class CannotReplayError(SuitecaseError):
    """There is nothing to ask again, or it can't be; nothing was started."""


@dataclass(frozen=True)
class DeadLetter:
    """An item that failed for good.

    Attributes:
        repeat: Which of its repeats, from 0.
        error: Class and message of the last error; empty if the row tells none.
    """

    key: str
    repeat: int
    error: str


@dataclass(frozen=True)
class DeadLetters:
    """What failed for good in one case, in the order in which it failed last."""

    variant: str
    letters: tuple[DeadLetter, ...]


def find_dead_letters(run: Run, variant: str | None = None) -> tuple[tuple[DeadLetters, ...], tuple[str, ...]]:
    """The cases of a run, or the one named, that have dead letters; and a sentence for each that can't be replayed.

    They are those of `items.jsonl`, as the loop sees them: `dead_letters.jsonl` is made from it anew by every pass, so
    that it may be torn, old or gone.

    Raises:
        CannotReplayError: No case can be replayed.
    """
    found: list[DeadLetters] = []
    problems: list[str] = []
    for case in run.cases.values() if variant is None else [run.cases[variant]]:
        try:
            letters = dead_letters_of(case)
        except CannotReplayError as error:
            problems += error.problems
            continue
        if letters:
            found.append(DeadLetters(case.variant, letters))
    if not found:
        where = f"{run.experiment}/{run.name}"
        where = where if variant is None else f"case {variant!r} of {where}"
        raise CannotReplayError(problems or f"{where} has no dead letters: no item of it failed for good.")
    return tuple(found), tuple(problems)


def dead_letters_of(case: CaseRun) -> tuple[DeadLetter, ...]:
    """The rows of a case's `items.jsonl` that count, and say that their item failed.

    Raises:
        CannotReplayError: The file is damaged or not the item loop's, or there are items that have no outcome yet.
    """
    done: set[tuple[str, int]] = set()
    dead: dict[tuple[str, int], DeadLetter] = {}
    total: int | None = None
    for row in rows_of(case.path / layout.ITEMS):
        if row.get("event") == "begun":
            items, repeats = row.get("items"), row.get("repeats")
            total = items * repeats if isinstance(items, int) and isinstance(repeats, int) else None
        if "key" in row:
            repeat: object = row.get("repeat")
            place = str(row["key"]), repeat if isinstance(repeat, int) else 0
            done.add(place)
            dead.pop(place, None)
            if row.get("status") == "failed":
                dead[place] = DeadLetter(*place, last_error(row))
    if dead and total is None:
        path = case.path / layout.ITEMS
        raise CannotReplayError(f"{path} is not of suitecase.items: what failed there can't be asked for alone.")
    if dead and total is not None and len(done) < total:
        left = f"{total - len(done)} of {total} items left beside its dead letters"
        raise CannotReplayError(
            f"case {case.variant!r} was cut short, with {left}: `suitecase resume` first does those."
        )
    return tuple(dead.values())


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of an `items.jsonl`; a last one that was never finished is none.

    Raises:
        CannotReplayError: A finished line is damaged: the loop would refuse it as well.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            row = parse_object(line)
            if row is None:
                raise CannotReplayError(f"{path}, line {number} is damaged: mend or remove the line.")
            yield row


def last_error(row: dict[str, Any]) -> str:
    """Class and message of the last error of a row, on one line."""
    errors: object = row.get("errors")
    last: object = cast(list[object], errors)[-1] if isinstance(errors, list) and errors else None
    if not isinstance(last, dict):
        return ""
    told = cast(dict[str, Any], last)
    return " ".join(f"{told.get('class')}: {told.get('type')}: {told.get('message')}".split())


def find_replay(run: Run, found: Sequence[DeadLetters], flags: Sequence[str] = ()) -> Resume:
    """The command that asks the dead letters of these cases again; it needs `REPLAY` in its environment.

    It is a resume with `--again` of just these cases: the loop takes every other item from `items.jsonl`.
    """
    count = sum(len(each.letters) for each in found)
    chosen = [f"--only={glob.escape(each.variant)}" for each in found]
    note = f"replay of {count} dead letter{'s' * (count != 1)}"
    return find_resume(run, ["--again", *chosen, "--note", note, *flags])
