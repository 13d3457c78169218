"""Rows that are held at once, in half the memory of dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from suitecase.errors import missing_extra
from suitecase.tables.rows import Row

if TYPE_CHECKING:
    import pandas

__all__ = ["Table", "is_numeric"]


class Table:
    """Rows with the columns of all of them, in the order in which they first came.

    Attributes:
        columns: Names of the columns.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.places: dict[str, int] = {}
        self.rows: list[tuple[Any, ...]] = []
        for row in rows:
            for name in row:
                self.places.setdefault(name, len(self.places))
            values = [None] * len(self.places)
            for name, value in row.items():
                values[self.places[name]] = value
            self.rows.append(tuple(values))

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.places)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows, each as long as there are columns; None where a row has no value."""
        width = len(self.places)
        for row in self.rows:
            yield row + (None,) * (width - len(row))

    def column(self, name: str) -> list[Any]:
        """The values of a column."""
        place = self.places[name]
        return [row[place] if place < len(row) else None for row in self.rows]

    def dicts(self) -> Iterator[Row]:
        """The rows with all columns."""
        columns = self.columns
        for row in self:
            yield dict(zip(columns, row, strict=True))

    def varying(self) -> list[str]:
        """Columns whose values differ between rows."""
        return [name for name in self.columns if len({repr(value) for value in self.column(name)}) > 1]

    def only(self, columns: Iterable[str]) -> Table:
        """The same rows with some columns."""
        chosen = {name: self.column(name) for name in columns}
        return Table(dict(zip(chosen, values, strict=True)) for values in zip(*chosen.values(), strict=True))

    def frame(self) -> pandas.DataFrame:
        """A pandas frame.

        Raises:
            SuitecaseError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise missing_extra("a data frame", "analysis") from None
        return pandas.DataFrame({name: self.column(name) for name in self.columns})


def is_numeric(values: Iterable[Any]) -> bool:
    """Whether a column holds numbers and nothing else, at least one."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
