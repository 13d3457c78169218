"""Tidy rows from runs, as plain dicts, as a `Table`, or as a pandas frame.

One row is one case, attempt, metric value, item or log. Configs and results are flattened with dotted names:
`config.optimiser.lr`, `result.accuracy`. Lists stay lists.
"""

from suitecase.tables.formats import FORMATS, write_table
from suitecase.tables.rows import Row, attempt_rows, case_rows, flatten, item_rows, log_rows, metric_rows, run_rows
from suitecase.tables.table import Table

__all__ = [
    "FORMATS",
    "Row",
    "Table",
    "attempt_rows",
    "case_rows",
    "flatten",
    "item_rows",
    "log_rows",
    "metric_rows",
    "run_rows",
    "write_table",
]
