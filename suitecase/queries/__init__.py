"""What a researcher asks of run directories: which runs there are, how two differ, whether one is whole."""

from suitecase.queries.selection import (
    Condition,
    Filter,
    find_case,
    find_results_dir,
    find_run,
    find_runs_named,
    list_runs,
    parse_condition,
    parse_since,
    project_root,
)

__all__ = [
    "Condition",
    "Filter",
    "find_case",
    "find_results_dir",
    "find_run",
    "find_runs_named",
    "list_runs",
    "parse_condition",
    "parse_since",
    "project_root",
]
