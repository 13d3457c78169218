"""Write a report once a run has ended."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suitecase.policies.records import check, log, number_problems

if TYPE_CHECKING:
    from experiment_runner import HookRecord

__all__ = ["Report"]

FORMATS = ("md", "html", "tex", "ipynb", "csv", "json")
"""Those of `suitecase.reports`, which would take long to import here."""
LOG = ".report.log"  # begins with a dot: can't be the name of a variant
PACKAGE_FOLDER = Path(__file__).resolve().parent.parent.parent
START_AND_END_S = 5.0
"""What the process may take beyond its limit: to start, and to see that the run has ended."""
LAST_BYTES = 2000


class Report:
    """Writes `report.*`, `results.csv` and `analysis.json` into the run directory, once the run's end is recorded.

    A process of its own does it, with a time limit; the suite waits for it before it exits, but not after a signal. If
    it fails, that is logged, `.report.log` in the run directory says why, and the run's exit code is what it was. Needs
    the extra `analysis`.

    Args:
        formats: Of md, html, tex, ipynb, csv, json; csv and json are always written.
        baseline: The condition that the others are held against: its name, a variant, or `field=value`. Without one the
            plan says it, or a condition called baseline or control is it; else the conditions are described.
        metrics: What to compare; by default all of which the records say what is better.
        timeout_s: Seconds that the report may take.

    Raises:
        ValueError: With every argument that is wrong.

    >>> Report(formats=["html"], baseline="control")
    Report(formats=('html', 'csv', 'json'), baseline='control', metrics=None, timeout_s=120.0)
    """

    def __init__(
        self,
        formats: Sequence[str] = ("md", "html"),
        *,
        baseline: str | None = None,
        metrics: Sequence[str] | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        check([*format_problems(formats), *metric_problems(metrics), *number_problems("timeout_s", timeout_s)])
        self.formats = tuple(dict.fromkeys((*formats, "csv", "json")))
        self.baseline = baseline
        self.metrics = None if metrics is None else tuple(metrics)
        self.timeout_s = timeout_s

    def __repr__(self) -> str:
        names = ("formats", "baseline", "metrics", "timeout_s")
        return f"Report({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def before_run(self, record: HookRecord) -> None:
        """Warn of a library that isn't there while somebody looks."""
        from importlib.util import find_spec

        missing = [name for name in ("matplotlib", "jinja2", "scipy", "statsmodels") if find_spec(name) is None]
        if missing:
            log.warning("report: %s is missing, so there will be none: pip install 'suitecase[analysis]'", missing[0])

    def after_run(self, record: HookRecord) -> None:
        """Start the process; it waits until the runner has recorded the end."""
        asked = {
            "run_dir": str(record.run_dir), "formats": self.formats, "baseline": self.baseline, "metrics": self.metrics,
            "timeout_s": self.timeout_s,
        }  # fmt: skip
        log_file = record.run_dir / LOG
        path = os.pathsep.join(part for part in (str(PACKAGE_FOLDER), os.environ.get("PYTHONPATH", "")) if part)
        try:
            with log_file.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "suitecase.reports.after_run", json.dumps(asked)],
                    env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            log.warning("report: could not be started: %s", error.strerror)
            return
        if record.exit_code is not None and record.exit_code < 128:
            atexit.register(wait_for, process, log_file, self.timeout_s + START_AND_END_S)


def wait_for(process: subprocess.Popen[bytes], log_file: Path, timeout_s: float) -> None:
    """Wait for the report, so that it is there when the prompt is; say why it isn't. Changes no exit code."""
    try:
        code = process.wait(timeout_s)
        if code == 0:
            log_file.unlink(missing_ok=True)
            return
        last = log_file.read_bytes()[-LAST_BYTES:].decode("utf-8", "replace").strip()
        log.warning("report: failed (%s), %s says:\n%s", code, log_file, last)
    except subprocess.TimeoutExpired:
        log.warning("report: still not there after %g s; nobody waits any longer", timeout_s)
    except (KeyboardInterrupt, OSError):  # somebody has seen enough
        pass


def format_problems(formats: object) -> list[str]:
    """Why these are no formats."""
    known = ", ".join(FORMATS)
    if isinstance(formats, str) or not isinstance(formats, Sequence):
        return [f"formats is {formats!r}: give a list, of {known}."]
    return [f"formats has {each!r}: there are {known}." for each in formats if each not in FORMATS]  # pyright: ignore[reportUnknownVariableType]


def metric_problems(metrics: object) -> list[str]:
    """Why these are no names of metrics."""
    if metrics is None or (isinstance(metrics, Sequence) and not isinstance(metrics, str) and len(metrics)):  # pyright: ignore[reportUnknownArgumentType]
        return []
    return [f"metrics is {metrics!r}: give a list of names, or None."]
