"""Run directories: where they lie, what they hold, and what became of the runs. Nothing here ever writes."""

from suitecase.rundir.layout import STATUSES, Status
from suitecase.rundir.ownership import Owner
from suitecase.rundir.runs import Attempt, CaseRun, Code, Run, RunReader, find_runs, read_run

__all__ = ["STATUSES", "Attempt", "CaseRun", "Code", "Owner", "Run", "RunReader", "Status", "find_runs", "read_run"]
