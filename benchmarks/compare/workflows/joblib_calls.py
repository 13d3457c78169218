# pyright: basic, reportMissingImports=false
"""joblib: calls in workers that are used again."""

from calls import call
from cases import CASES, PARALLELISM
from joblib import Parallel, delayed

if __name__ == "__main__":
    Parallel(n_jobs=PARALLELISM)(delayed(call)(n) for n in range(CASES))
