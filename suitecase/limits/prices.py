"""What models cost: a table in a file that the user keeps, since nobody else knows what they pay.

[[price]]
model = "openai/gpt-5-mini"
since = 2026-08-07                     # from this day on, until the model's next `since`
input_usd_per_million = 0.25
output_usd_per_million = 2.00
cached_input_usd_per_million = 0.025   # if it is another one
source = "the provider's price list"   # where it comes from, for whoever reads it later
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from suitecase.limits.errors import LimitsError, UnknownPriceError

__all__ = ["Price", "Prices"]

NEEDED = {"model", "since", "input_usd_per_million", "output_usd_per_million"}
KNOWN = NEEDED | {"cached_input_usd_per_million", "source"}


@dataclass(frozen=True)
class Price:
    """What a model costs from a day on."""

    model: str
    since: date
    input_usd_per_million: float
    output_usd_per_million: float
    cached_input_usd_per_million: float | None = None
    source: str = ""

    def usd(self, input_tokens: float, output_tokens: float, cached_input_tokens: float = 0) -> float:
        """What a call costs; `cached_input_tokens` are a part of `input_tokens`.

        >>> Price("m", date(2026, 8, 7), 0.25, 2.0).usd(1_000_000, 100_000)
        0.45
        """
        cached = self.cached_input_usd_per_million
        cached = self.input_usd_per_million if cached is None else cached
        fresh = (input_tokens - cached_input_tokens) * self.input_usd_per_million
        return (fresh + cached_input_tokens * cached + output_tokens * self.output_usd_per_million) / 1e6


@dataclass(frozen=True)
class Prices:
    """Prices of models, each from a day on.

    Raises:
        LimitsError: Two prices of a model begin on the same day.
    """

    prices: tuple[Price, ...]
    path: str = ""
    _of_model: Mapping[str, tuple[Price, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_model: dict[str, tuple[Price, ...]] = {}
        for price in sorted(self.prices, key=lambda price: price.since):
            earlier = of_model.get(price.model, ())
            if earlier and earlier[-1].since == price.since:
                raise LimitsError(f"{self.path or 'prices'}: {price.model} has two prices since {price.since}.")
            of_model[price.model] = (*earlier, price)
        object.__setattr__(self, "_of_model", of_model)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Prices:
        """The prices in a TOML file.

        Raises:
            LimitsError: With all that is wrong with it.
        """
        try:
            told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise LimitsError(f"{path} can't be read: {error.strerror}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise LimitsError(f"{path} is no TOML: {error}.") from None
        entries: object = told.get("price")
        problems = [f"{path}: there is no key {name!r}, but 'price'." for name in told if name != "price"]
        if not isinstance(entries, list) or not entries:
            raise LimitsError([*problems, f"{path} has no prices: begin each with [[price]]."])
        made: list[Price] = []
        for number, entry in enumerate(cast("list[object]", entries), start=1):
            wrong = problems_of(entry)
            problems += [f"{path}, price {number}: {problem}" for problem in wrong]
            if not wrong:
                made.append(Price(**cast("dict[str, Any]", entry)))
        if problems:
            raise LimitsError(problems)
        return cls(tuple(made), str(path))

    def of(self, model: str, on: date | None = None) -> Price:
        """The price of a model on a day, by default today's (UTC).

        Raises:
            UnknownPriceError: The table has none.
        """
        day = on or datetime.now(UTC).date()
        dated = self._of_model.get(model, ())
        for price in reversed(dated):
            if price.since <= day:
                return price
        where = self.path or "the price table"
        if dated:
            raise UnknownPriceError(f"{where} has prices of {model!r} since {dated[0].since}, none for {day}.")
        raise UnknownPriceError(f"{where} has no price for {model!r}{nearest(model, self._of_model)}: add one.")


def problems_of(entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return ["it is no table: begin it with [[price]]."]
    given = cast("dict[str, object]", entry)
    problems = [f"there is no key {name!r}{nearest(name, KNOWN)}." for name in sorted(given.keys() - KNOWN)]
    problems += [f"{name} is missing." for name in sorted(NEEDED - given.keys())]
    for name, value in given.items():
        if name in ("model", "source") and (not isinstance(value, str) or not value):
            problems.append(f"{name} is {value!r}: give a text.")
        elif name == "since" and (not isinstance(value, date) or isinstance(value, datetime)):
            problems.append(f"since is {value!r}: give a day, as in since = 2026-08-07.")
        elif name.endswith("_usd_per_million") and name in KNOWN and not is_price(value):
            problems.append(f"{name} is {value!r}: give a number of at least 0.")
    return problems


def is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f", but {near[0]!r}" if near else ""
