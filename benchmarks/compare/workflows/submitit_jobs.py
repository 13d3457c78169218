# pyright: basic, reportMissingImports=false
"""submitit on this machine. Its local executor starts everything at once, so a pool waits for two at a time."""

import time
from concurrent.futures import ThreadPoolExecutor

import submitit
from calls import call
from cases import CASES, PARALLELISM

if __name__ == "__main__":
    executor = submitit.LocalExecutor(folder="submitit")

    def do(n: int) -> None:
        """One job; its own `result()` looks once a second only."""
        job = executor.submit(call, n)
        while not job.done():
            time.sleep(0.01)
        job.result()

    with ThreadPoolExecutor(PARALLELISM) as pool:
        for _ in pool.map(do, range(CASES)):
            pass
