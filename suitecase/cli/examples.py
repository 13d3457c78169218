"""What `--help` of each command shows at its end: lines that people type."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": (
        "suitecase init",
        "suitecase init --name temperature --template sweep",
        "suitecase init --update",
    ),
    "estimate": (
        "suitecase estimate experiments/digits/suite_digits.py -p 8",
        "suitecase estimate experiments/digits/suite_digits.py --pilot 5 --confirm-above 20",
    ),
    "export-job": (
        "suitecase export-job suite_digits.py --to kubernetes --image IMAGE --results CLAIM -o job.yaml",
        "suitecase export-job suite_digits.py --to skypilot --setup 'pip install -e .' --results s3://x",
    ),
    "ls": (
        "suitecase ls",
        "suitecase ls digits --status failed --since 2d",
        "suitecase ls digits model=svm 'accuracy>0.9' --sort accuracy",
    ),
    "show": (
        "suitecase show latest",
        "suitecase show digits svm-seed-1",
        "suitecase show 20260128_1430 --json",
    ),
    "results": (
        "suitecase results digits",
        "suitecase results digits --key accuracy --json",
    ),
    "logs": (
        "suitecase logs latest svm-seed-1 -n 20",
        "suitecase logs latest svm-seed-1 -f --grep loss",
        "suitecase logs latest svm-seed-1 --level warning",
    ),
    "watch": (
        "suitecase watch",
        "suitecase watch digits && echo all cases have succeeded",
    ),
    "table": (
        "suitecase table digits -o digits.csv",
        "suitecase table digits --columns 'variant,result.*' --format markdown",
        "suitecase table digits --metrics --format parquet -o metrics.parquet",
    ),
    "query": (
        "suitecase query",
        """suitecase query 'SELECT run, max("result.accuracy") FROM cases GROUP BY run'""",
    ),
    "diff": (
        "suitecase diff latest~1 latest",
        "suitecase diff digits digits-large --tolerance 1e-6",
    ),
    "cancel": (
        "suitecase cancel latest",
        "suitecase cancel latest svm-seed-1",
    ),
    "resume": (
        "suitecase resume latest",
        "suitecase resume digits -- --only 'svm*' -p 2",
    ),
    "replay": (
        "suitecase replay latest --dry-run",
        "suitecase replay latest small-bare",
    ),
    "gc": (
        "suitecase gc --older-than 30d --status failed",
        "suitecase gc --keep 5 --yes",
    ),
    "verify": ("suitecase verify latest",),
    "reproduce": (
        "suitecase reproduce latest",
        "suitecase reproduce digits --case svm-seed-1 --tolerance 1e-6",
    ),
    "export": (
        "suitecase export latest --to artefact",
        "suitecase export digits --to digits.zip",
    ),
}
"""By command."""
