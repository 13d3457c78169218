"""What a metric's values may be, in which unit, and which direction is better.

    metrics={"accuracy": metrics.probability(better="higher"), "tokens": metrics.positive_number(required=False)}

Values are checked by pydantic: "0.85" becomes 0.85, True becomes 1.0; NaN and infinities are invalid by name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from numbers import Real
from typing import Annotated, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

__all__ = [
    "Better",
    "Metric",
    "Schema",
    "duration_s",
    "map",
    "number",
    "percentage",
    "plain_number",
    "positive_number",
    "probability",
]

Better = Literal["higher", "lower"]
log = logging.getLogger("suitecase.items")


@dataclass(frozen=True)
class Metric:
    """What a metric's values may be; made by the functions of this module.

    Attributes:
        minimum, maximum: Smallest and largest value; None for no limit.
        required: Whether a result without it is invalid.
        default: The value of a result without it; then it is never missing.
        unit: As a person writes it, "%" or "s".
        better: Which direction is better; None if neither is.
        fields: Metrics by name, where the value is a mapping.
    """

    minimum: float | None = None
    maximum: float | None = None
    required: bool = True
    default: float | None = None
    unit: str = ""
    better: Better | None = None
    fields: Mapping[str, Metric] | None = None

    @cached_property
    def adapter(self) -> TypeAdapter[float]:
        """The same as pydantic says it."""
        return TypeAdapter(Annotated[float, Field(ge=self.minimum, le=self.maximum, allow_inf_nan=False)])


def number(
    min: float | None = None,  # noqa: A002
    max: float | None = None,  # noqa: A002
    *,
    required: bool = True,
    default: float | None = None,
    unit: str = "",
    better: Better | None = None,
) -> Metric:
    """Any finite number from `min` to `max`, both included."""
    return Metric(min, max, required, default, unit, better)


def percentage(*, required: bool = True, default: float | None = None, better: Better | None = None) -> Metric:
    """A number from 0 to 100."""
    return Metric(0, 100, required, default, "%", better)


def probability(*, required: bool = True, default: float | None = None, better: Better | None = None) -> Metric:
    """A number from 0 to 1; also a truth value."""
    return Metric(0, 1, required, default, "", better)


def positive_number(
    *, required: bool = True, default: float | None = None, unit: str = "", better: Better | None = None
) -> Metric:
    """A number of at least 0."""
    return Metric(0, None, required, default, unit, better)


def duration_s(*, required: bool = True, default: float | None = None, better: Better | None = "lower") -> Metric:
    """Seconds, at least 0."""
    return Metric(0, None, required, default, "s", better)


def map(fields: Mapping[str, Metric], *, required: bool = True) -> Metric:  # noqa: A001
    """A mapping of metrics; each is known by its dotted path, `custom.confidence`."""
    return Metric(required=required, fields=dict(fields))


@dataclass
class Schema:
    """All metrics of a loop.

    Attributes:
        warn: Is told what a person should know.
    """

    fields: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    warn: Callable[[str], object] = log.warning
    announced: set[str] = field(default_factory=set[str])

    @cached_property
    def leaves(self) -> dict[str, Metric]:
        """Metrics that are numbers, by dotted path."""
        return dict(leaves_of(self.fields))

    def check(self, values: Mapping[str, object]) -> tuple[dict[str, float], list[str]]:
        """The valid numbers by dotted path, and a sentence for each value that is not one.

        What the schema doesn't name is a metric too where it is a finite number or a truth value.
        """
        found: dict[str, float] = {}
        problems: list[str] = []
        for name, given in values.items():
            if name in self.fields:
                continue
            value = plain_number(given)
            if not isinstance(value, int | float):
                problems.append(f"{name}: {value!r:.80} is no number; what is to be kept goes under output")
            elif not math.isfinite(value):
                problems.append(f"{name}: is {in_words(value)}")
            else:
                found[name] = float(value)
        if self.fields:
            self.check_declared("", self.fields, values, found, problems)
        return found, problems

    def check_declared(
        self,
        prefix: str,
        fields: Mapping[str, Metric],
        values: Mapping[str, object],
        found: dict[str, float],
        problems: list[str],
    ) -> None:
        for name, metric in fields.items():
            path = prefix + name
            value = plain_number(values.get(name))
            if metric.fields is not None:
                if value is None and metric.required:
                    value = {}
                if isinstance(value, Mapping):
                    inner = cast("Mapping[str, object]", value)
                    self.check_declared(f"{path}.", metric.fields, inner, found, problems)
                elif value is not None:
                    problems.append(f"{path}: {value!r:.80} is no mapping")
            elif value is not None:
                self.read(path, metric, value, found, problems)
            elif metric.default is not None:
                found[path] = float(metric.default)
            elif metric.required:
                problems.append(f"{path}: is missing")

    def read(self, path: str, metric: Metric, value: object, found: dict[str, float], problems: list[str]) -> None:
        try:
            found[path] = metric.adapter.validate_python(value)
        except ValidationError as error:
            if isinstance(value, float) and not math.isfinite(value):
                problems.append(f"{path}: is {in_words(value)}")
            else:
                said = error.errors(include_url=False, include_context=False)[0]["msg"]
                problems.append(f"{path}: {said[0].lower()}{said[1:]}, not {value!r:.80}")
            return
        if isinstance(value, str) and path not in self.announced:
            self.announced.add(path)
            self.warn(f"metric {path}: text is read as a number, {value!r} as {found[path]!r} (said once)")


def plain_number(value: object) -> object:
    """A number of numpy, torch or the standard library as Python's own; anything else as it is."""
    if value is None or isinstance(value, int | float | str | Mapping):
        return cast("object", value)
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (TypeError, ValueError, RuntimeError):  # of an array with several elements
            return value
    return float(value) if isinstance(value, Real | Decimal) else value


def leaves_of(fields: Mapping[str, Metric], prefix: str = "") -> Iterator[tuple[str, Metric]]:
    for name, metric in fields.items():
        if metric.fields is None:
            yield prefix + name, metric
        else:
            yield from leaves_of(metric.fields, f"{prefix}{name}.")


def in_words(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
