# pyright: basic, reportMissingImports=false
"""submitit on this machine. Its local executor starts everything at once, so a pool waits for two at a time."""

from concurrent.futures import ThreadPoolExecutor

import submitit
from calls import call
from cases import CASES, PARALLELISM

if __name__ == "__main__":
    executor = submitit.LocalExecutor(folder="submitit")
    with ThreadPoolExecutor(PARALLELISM) as pool:
        for _ in pool.map(lambda n: executor.submit(call, n).result(), range(CASES)):
            pass
