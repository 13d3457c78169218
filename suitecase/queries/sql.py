"""SQL over the runs of a results folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from suitecase.errors import SuitecaseError
from suitecase.queries.selection import list_runs
from suitecase.rundir import Run
from suitecase.tables import Row, attempt_rows, case_rows, item_rows, metric_rows, run_rows
from suitecase.tables.duck import connect, load

if TYPE_CHECKING:
    import duckdb

__all__ = ["SAMPLED_RUNS", "TABLES", "columns_of_tables", "run_sql"]

IDENTITY = {"experiment": "VARCHAR", "run": "VARCHAR"}
CASE = {**IDENTITY, "variant": "VARCHAR"}

TABLES: dict[str, tuple[Callable[[Iterable[Run]], Iterator[Row]], dict[str, str]]] = {
    "runs": (run_rows, {**IDENTITY, "status": "VARCHAR"}),
    "cases": (case_rows, {**CASE, "status": "VARCHAR"}),
    "attempts": (attempt_rows, {**CASE, "attempt": "BIGINT", "status": "VARCHAR"}),
    "metrics": (metric_rows, {**CASE, "attempt": "BIGINT", "name": "VARCHAR", "step": "BIGINT", "value": "DOUBLE"}),
    "items": (item_rows, {**CASE, "key": "VARCHAR", "status": "VARCHAR"}),
}
"""The rows of each table, and columns that it has even if it is empty."""

SAMPLED_RUNS = 20
"""The latest runs whose rows tell which columns there are."""


def run_sql(results_dir: Path, sql: str) -> Iterator[Row]:
    """The rows that a question in SQL has for an answer, as dicts.

    Only tables whose name occurs in the question are made, in memory; it can change nothing, and reach no file.

    Raises:
        SuitecaseError: What is wrong with the question, or that DuckDB is not installed.
    """
    with connect("`suitecase query`") as connection:
        import duckdb

        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type.name not in ("SELECT", "EXPLAIN", "MULTI"):
                raise SuitecaseError("`suitecase query` answers one question: one statement such as SELECT …")
            connection.execute("SET TimeZone = 'UTC'")
            for name, (rows_of, known) in TABLES.items():
                if re.search(rf"\b{name}\b", sql, re.IGNORECASE):
                    load(connection, name, rows_of(list_runs(results_dir)), known)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield from answers(connection.execute(sql))
        except duckdb.Error as error:
            raise SuitecaseError(sentence(str(error))) from None


def answers(cursor: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """The rows of an answer, a few at a time."""
    names = [str(column[0]) for column in cursor.description or ()]
    while rows := cursor.fetchmany(1000):
        for row in rows:
            yield dict(zip(names, row, strict=True))


def sentence(message: str) -> str:
    """DuckDB's message without its drawing, with a hint where a dot may have been taken for a table's."""
    text = " ".join(message.partition("\n\nLINE")[0].split())
    dotted = re.search(r'[Rr]eferenced (?:table|column) "(?:config|result|metrics)', text)
    return f'{text} Names with a dot need quotes: "result.accuracy".' if dotted else text


def columns_of_tables(results_dir: Path) -> dict[str, list[str]]:
    """The columns of each table, as the latest `SAMPLED_RUNS` runs have them."""
    latest = sorted(list_runs(results_dir), key=lambda run: run.name)[-SAMPLED_RUNS:]
    return {
        name: list(dict.fromkeys([*known, *(column for row in rows_of(latest) for column in row)]))
        for name, (rows_of, known) in TABLES.items()
    }
