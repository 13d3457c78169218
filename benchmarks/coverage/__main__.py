"""How often intervals cover, and how often tests reject what is true: the whole rule, measured.

    python -m benchmarks.coverage [--quick] [--seed N]

Rates are summed exactly, all else is simulated. A whole run takes some minutes on two cores and writes the tables of
docs/statistics.md; `--quick` takes seconds and prints a few of their rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from benchmarks.pages import STATISTICS, where, write_section

from .document import sections
from .rates import RateFound
from .simulated import Measured
from .work import Task, do, pieces, tasks

SEED = 20261121


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some designs, with few data sets; prints, writes nothing")
    parser.add_argument("--seed", type=int, default=SEED, help="of all chance; the same seed simulates the same")
    options = parser.parse_args()
    started = time.monotonic()
    work = tasks(options.quick, options.seed)
    exact: list[RateFound] = []
    measured: list[Measured] = []
    for done, found in enumerate(results(work, 1 if options.quick else os.cpu_count() or 1), 1):
        if isinstance(found, RateFound):
            exact.append(found)
        else:
            measured.append(found)
        print(f"{done}/{len(work)} after {time.monotonic() - started:.0f} s", file=sys.stderr)
    rates, simulated = pieces(options.quick)
    texts = sections(list(zip(rates, exact, strict=True)), list(zip(simulated, measured, strict=True)))
    if options.quick:
        print("\n".join(texts.values()))
        return 0
    for name, text in texts.items():
        write_section(STATISTICS, name, text)
    used = os.times()
    minutes = (used.user + used.system + used.children_user + used.children_system) / 60
    write_section(STATISTICS, "coverage run", f"{where()}, seed {options.seed}, {minutes:.1f} minutes of CPU.")
    print(f"written: {STATISTICS}", file=sys.stderr)
    return 0


def results(work: list[Task], workers: int) -> Iterator[RateFound | Measured]:
    """What each task found, in their order."""
    with ExitStack() as stack:
        at_once = stack.enter_context(ProcessPoolExecutor(workers)).map if workers > 1 else map
        yield from at_once(do, work)


if __name__ == "__main__":
    sys.exit(main())
