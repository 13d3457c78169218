"""Options of launchers: fields of a dataclass, given as values in Python and as texts on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

__all__ = ["Amount", "Amounts", "Count", "Line", "Options", "Seconds"]


def one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("there is a line break; write it in one line")
    return text


def amounts_of(given: object) -> object:
    """`NAME=AMOUNT,…` as a mapping; anything else as it is."""
    if not isinstance(given, str):
        return given
    pairs = [part.rpartition("=") for part in given.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError("write NAME=AMOUNT,NAME=AMOUNT")
    return {name.strip(): amount for name, _, amount in pairs}


Line = Annotated[str, AfterValidator(one_line)]
"""A text without line breaks."""

Count = Annotated[int, Field(ge=0)]
"""How many, 0 included."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""At least 0, and finite."""

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""More than 0, and finite."""

Amounts = Annotated[Mapping[str, Amount], BeforeValidator(amounts_of)]
"""How much of what; as a text `NAME=AMOUNT,NAME=AMOUNT`."""


@dataclass(kw_only=True, eq=False)
class Options:
    """The options of a launcher: a dataclass made from this one, in which each has a default.

    Attributes:
        name: Of the launcher.
    """

    name: ClassVar[str]

    def convert(self) -> list[str]:
        """Turn the texts among them into the values that the annotations ask for.

        Returns:
            What is wrong, a sentence each. If there is anything, nothing was changed.
        """
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        declared = next(cls for cls in type(self).__mro__ if "__dataclass_fields__" in vars(cls))
        try:
            settled = TypeAdapter[Any](declared).validate_python(given)
        except ValidationError as error:
            return [f"launcher {self.name!r}: {problem_of(each)}" for each in error.errors(include_url=False)]
        for option in given:
            setattr(self, option, getattr(settled, option))
        return []

    def as_text(self) -> dict[str, str]:
        """Those that differ from their defaults, as `--launcher-option` takes them."""
        plain = type(self)()
        names = [each.name for each in fields(self)]
        told = {option: text_of(getattr(self, option)) for option in names}
        return {option: text for option, text in told.items() if text != text_of(getattr(plain, option))}


def problem_of(error: Any) -> str:
    """One of pydantic's errors: the option, what it is, what it should be."""
    option, *inner = error["loc"]
    place = f"{option}[{inner[0]}]" if inner else str(option)
    said = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{place} is {error['input']!r:.80}: {said[0].lower()}{said[1:]}."


def text_of(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={amount}" for name, amount in cast(Mapping[str, object], value).items())
    return str(value)
