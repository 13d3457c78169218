"""How long it takes to hold 50 variants against each other on 10,000 items.

python -m benchmarks.variants [--variants 50] [--items 10000]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from suitecase.stats import bootstrap_means, compare_many, max_t, rank_bands


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.variants", description=__doc__)
    parser.add_argument("--variants", type=int, default=50)
    parser.add_argument("--items", type=int, default=10_000)
    options = parser.parse_args()
    rng = np.random.default_rng(20261121)
    scores = rng.normal(size=(options.items, 1)) + rng.normal(scale=0.5, size=(options.items, options.variants))
    names = [f"variant {i}" for i in range(options.variants)]
    work: dict[str, Callable[[], object]] = {
        "bootstrap_means, 10,000 draws": lambda: bootstrap_means(scores),
        "rank_bands, 10,000 draws": lambda: rank_bands(scores, names),
        "max_t, 10,000 bootstrap draws": lambda: max_t(scores[:, 1:] - scores[:, :1], resample="bootstrap"),
        "compare_many in pairs, 9,999 sign flips each": lambda: compare_many(
            dict(zip(names, scores.T, strict=True)), baseline=names[0], paired=True
        ),
    }
    for name, do in work.items():
        started, used = time.monotonic(), time.process_time()
        do()
        print(f"{name}: {time.monotonic() - started:.1f} s, {time.process_time() - used:.1f} s of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
