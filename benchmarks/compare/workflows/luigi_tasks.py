# pyright: basic, reportMissingImports=false
"""Luigi: a task for each case, which it forks from the process that has read this file."""

import sys
from pathlib import Path

import luigi
from calls import call
from cases import CASES, MODULE, PARALLELISM, folder


class Case(luigi.Task):
    """A case; its target is the result that its code writes."""

    n = luigi.IntParameter()

    def output(self) -> luigi.LocalTarget:
        """What says that it is done."""
        return luigi.LocalTarget(f"{folder(self.n)}/results.json")

    def run(self) -> None:
        """Do it."""
        call(self.n)
        if not MODULE:
            Path(self.output().path).parent.mkdir(parents=True, exist_ok=True)
            Path(self.output().path).touch()


if __name__ == "__main__":
    tasks = [Case(n=n) for n in range(CASES)]
    sys.exit(not luigi.build(tasks, workers=PARALLELISM, local_scheduler=True, log_level="WARNING"))
