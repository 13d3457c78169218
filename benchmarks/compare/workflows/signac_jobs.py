# pyright: basic, reportMissingImports=false
"""signac: a job for each case, done in a pool as its documentation shows; its document says which are done."""

from multiprocessing import Pool

import signac
from calls import call
from cases import CASES, PARALLELISM


def do(job: signac.job.Job) -> None:
    """Run a case and write down that it is done."""
    # Asked here: a document that its parent has opened can't be written in a worker (KeyError in signac 2.4.1).
    if not job.document.get("done"):
        call(job.statepoint()["n"])
        job.document["done"] = True


if __name__ == "__main__":
    project = signac.init_project()
    jobs = [project.open_job({"n": n}).init() for n in range(CASES)]
    with Pool(PARALLELISM) as pool:
        pool.map(do, jobs)
