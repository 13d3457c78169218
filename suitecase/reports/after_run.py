"""What `suitecase.policies.Report` starts: waits for the run's end to be recorded, then writes the report."""

from __future__ import annotations

import faulthandler
import json
import sys
import time
from pathlib import Path
from typing import Any

from suitecase.errors import SuitecaseError
from suitecase.reports.making import report_runs
from suitecase.rundir import Run
from suitecase.rundir.runs import RunReader

__all__ = ["main"]

POLL_S = 0.1


def main() -> int:
    """Do what the first argument asks for, one JSON object; the exit code is 0 if the report is there."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    run = ended_run(Path(asked["run_dir"]))
    # From here on nothing waits for anybody. A watchdog of the interpreter's own also ends what hangs in a library.
    faulthandler.dump_traceback_later(asked["timeout_s"], exit=True)
    try:
        report_runs(
            [run], run.path, formats=asked["formats"], baseline=asked["baseline"], metrics=asked["metrics"]
        )  # fmt: skip
    except SuitecaseError as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 1
    return 0


def ended_run(path: Path) -> Run:
    """The run once its end is recorded, or its runner gone."""
    reader = RunReader(path)
    while (run := reader.refresh()).is_owned:
        time.sleep(POLL_S)
    return run


if __name__ == "__main__":
    sys.exit(main())
