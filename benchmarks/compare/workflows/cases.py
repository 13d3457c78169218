"""What a workflow is asked for, in the environment: how many cases, how many at once, and what each of them is."""

import os
import shlex

CASES = int(os.environ["COMPARE_CASES"])
PARALLELISM = int(os.environ["COMPARE_PARALLELISM"])
PROGRAM = shlex.split(os.environ["COMPARE_PROGRAM"])
MODULE = os.environ["COMPARE_MODULE"]


def folder(n: int) -> str:
    """Where a case's results lie."""
    return f"results/case-{n}"


def arguments(n: int) -> list[str]:
    """The arguments of a case."""
    return ["--output_dir", folder(n), "--seed", "42", "--model", "gpt-4", "--num_samples", str(n)]
