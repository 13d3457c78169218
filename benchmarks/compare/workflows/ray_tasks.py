# pyright: basic, reportMissingImports=false
"""Ray: tasks in workers that are used again."""

import ray
from calls import call
from cases import CASES, PARALLELISM

if __name__ == "__main__":
    ray.init(num_cpus=PARALLELISM, include_dashboard=False, log_to_driver=False)
    task = ray.remote(call)
    ray.get([task.remote(n) for n in range(CASES)])
