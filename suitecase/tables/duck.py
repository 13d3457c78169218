"""Tidy rows as tables of DuckDB: for SQL, and for Parquet."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from suitecase.errors import SuitecaseError, missing_extra
from suitecase.tables.formats import strict
from suitecase.tables.rows import Row

if TYPE_CHECKING:
    import duckdb

__all__ = ["connect", "load", "quoted", "write_parquet"]

OBJECT_LIMIT_BYTES = 256 << 20
"""Of one row; DuckDB's own limit is 16 MB, which the output of an item may exceed."""

EMPTY_LIST = "[]"
"""The kind of a list without values, which fits each list."""


def connect(what: str) -> duckdb.DuckDBPyConnection:
    """A database in memory.

    Raises:
        SuitecaseError: DuckDB is not installed; the message says that `what` needs it.
    """
    try:
        import duckdb
    except ImportError:
        raise missing_extra(what, "query") from None
    return duckdb.connect()


def load(
    connection: duckdb.DuckDBPyConnection, name: str, rows: Iterable[Row], known: Mapping[str, str] | None = None
) -> None:
    """Make a table of rows, which are never held at once.

    A column is BOOLEAN, BIGINT, DOUBLE, VARCHAR or a list of one of them, as its values are; a column of different
    kinds, and one with objects, is text. NaN and infinities stay what they are. SQL ignores the case of names: a column
    that differs from another in nothing else gets `_2` at its end.

    Args:
        known: Types of columns that are there even if no row has them.
    """
    places = {column: place for place, column in enumerate(known or {})}
    kinds = [{kind} for kind in (known or {}).values()]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8", errors="replace") as lines:
        for row in rows:
            line: Row = {}
            for column, value in row.items():
                if value is None:
                    continue
                place = places.setdefault(column, len(places))
                if place == len(kinds):
                    kinds.append(set())
                kinds[place].add(kind_of(value))
                line[f"c{place}"] = strict(value)
            lines.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        lines.flush()
        if not places:
            raise SuitecaseError("there is nothing to write: no row has a value.")
        types = {f"c{place}": column_type(found) for place, found in enumerate(kinds)}
        named = ", ".join(f"c{place} AS {quoted(column)}" for place, column in enumerate(distinct_names(list(places))))
        connection.execute(
            f"CREATE TABLE {quoted(name)} AS SELECT {named} FROM read_json($file, format = 'newline_delimited', "
            f"columns = $types, maximum_object_size = {OBJECT_LIMIT_BYTES})",
            {"file": lines.name, "types": types},
        )


def kind_of(value: Any) -> str:
    """The type of SQL for a value."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "BIGINT" if -(2**63) <= value < 2**63 else "DOUBLE"
    if isinstance(value, float):
        return "DOUBLE"
    if isinstance(value, list | tuple):
        inner = {kind_of(each) for each in cast(Sequence[Any], value) if each is not None}
        return f"{column_type(inner)}[]" if inner else EMPTY_LIST
    return "VARCHAR"


def column_type(kinds: set[str]) -> str:
    """The type that holds values of all these kinds."""
    if EMPTY_LIST in kinds:
        kinds = {kind for kind in kinds if kind != EMPTY_LIST} or {"VARCHAR[]"}
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds and all(kind.endswith("[]") for kind in kinds):
        return f"{column_type({kind.removesuffix('[]') for kind in kinds})}[]"
    return "DOUBLE" if kinds == {"BIGINT", "DOUBLE"} else "VARCHAR"


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names that differ even if case does not count."""
    taken: set[str] = set()
    distinct: list[str] = []
    for name in names:
        given, number = name, 1
        while given.lower() in taken:
            number += 1
            given = f"{name}_{number}"
        taken.add(given.lower())
        distinct.append(given)
    return distinct


def quoted(name: str) -> str:
    """A name as SQL takes any."""
    return '"' + name.replace('"', '""') + '"'


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """A Parquet file; types as `load` gives them.

    Raises:
        SuitecaseError: DuckDB is not installed, or there is no column.
    """
    with connect("Parquet") as connection:
        load(connection, "rows", rows)
        connection.table("rows").write_parquet(str(path))
