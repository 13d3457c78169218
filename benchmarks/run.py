"""What the runner costs, as ratios against peers in the same run.

    python3 dev.py bench [--quick]

Machines are noisy: commands that are compared run in turn, and the minimum of each counts. Every figure
is of whole processes started here, in a fresh git repository.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SUITE = '''
"""A suite of cases that do nothing."""
import atexit, os, resource, sys
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, run_experiments_cli

class Config(BaseExperimentConfig):
    model: str = "gpt-4"
    num_samples: int = 10

def report():
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open(os.environ["BENCH_REPORT"], "w") as file:
        file.write(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss}")

atexit.register(report)
base = Config()
cases = [ExperimentCase(f"case-{n}", base.copy_with(num_samples=n)) for n in range(int(os.environ["BENCH_CASES"]))]
run_experiments_cli(cases, os.environ["BENCH_ENTRY"], "bench")
'''

SPAWN = """
import os, resource, sys
command = sys.argv[2:]
for _ in range(int(sys.argv[1])):
    os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


@dataclass(frozen=True)
class Used:
    """What one command took: wall and own CPU in seconds, peak memory in bytes (children not counted)."""

    wall_s: float
    cpu_s: float
    max_rss_bytes: int


class Bench:
    """A fresh repository with a suite of any number of empty cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.child_environment: dict[str, str] = {}
        for name in ("experiment_config.py", "experiment_runner.py"):
            shutil.copy(ROOT / name, folder / name)
        (folder / "suite_bench.py").write_text(SUITE)
        (folder / "run_empty.py").write_text("")
        (folder / ".gitignore").write_text("results/\n__pycache__/\nreport\n")
        for arguments in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "b"],
        ):
            subprocess.run(["git", *arguments], cwd=folder, check=True)

    def suite(self, cases: int, entry_point: str, *flags: str) -> Used:
        """Run the suite; CPU is the runner's and its guardian's, memory the runner's own."""
        report = self.folder / "report"
        env = {**os.environ, "BENCH_CASES": str(cases), "BENCH_ENTRY": entry_point, "BENCH_REPORT": str(report)}
        started = time.perf_counter()
        command = [sys.executable, "suite_bench.py", *flags]
        with subprocess.Popen(command, cwd=self.folder, env=env, stdout=subprocess.DEVNULL) as process:
            guardian_s = 0.0
            while process.poll() is None:
                guardian_s = max(guardian_s, guardian_cpu_s(process.pid))
                time.sleep(0.02)
        wall_s = time.perf_counter() - started
        assert process.returncode == 0, command
        for record in self.folder.glob("results/bench/*/run.json"):
            self.child_environment = json.loads(record.read_text())["environment_set"]
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        cpu_s, max_rss = report.read_text().split()
        return Used(wall_s, float(cpu_s) + guardian_s, int(max_rss) * 1024)

    def xargs(self, cases: int, parallelism: int) -> float:
        """Wall seconds of `xargs -P` on the command lines that the runner would start."""
        lines = "".join(
            shlex.join(["run_empty.py", "--output_dir", str(self.folder / f"results/case-{n}"),
                        "--seed", "42", "--model", "gpt-4", "--num_samples", str(n)]) + "\n"
            for n in range(cases)
        )  # fmt: skip
        started = time.perf_counter()
        subprocess.run(
            ["xargs", "-P", str(parallelism), "-L", "1", sys.executable],
            cwd=self.folder,
            # The environment of our children: each entry of PYTHONPATH makes an interpreter slower to start.
            env={**os.environ, **self.child_environment},
            input=lines.encode(),
            check=True,
        )
        return time.perf_counter() - started

    def bare_spawn_cpu_s(self, cases: int, command: Sequence[str]) -> float:
        """Own CPU seconds of a loop of `posix_spawn` and `waitpid`, interpreter aside."""
        totals = [
            float(
                subprocess.run([sys.executable, "-c", SPAWN, str(n), *command], check=True, capture_output=True).stdout
            )
            for n in (cases, 0)
        ]
        return totals[0] - totals[1]


def guardian_cpu_s(runner: int) -> float:
    """CPU seconds that a runner's guardian has used itself, without what it started; 0 while there is none."""
    try:
        for child in Path(f"/proc/{runner}/task/{runner}/children").read_text().split():
            if b"--guardian" in Path(f"/proc/{child}/cmdline").read_bytes():
                user, system = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
                return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except OSError:  # it has just ended, or this is no Linux
        pass
    return 0.0


def throughput(bench: Bench, cases: int, pairs: int) -> dict[str, float]:
    """Wall of many empty Python cases at -p 2 against `xargs -P 2`, the start-up of the suite aside."""
    ours: list[float] = []
    start_up: list[float] = []
    theirs: list[float] = []
    for _ in range(pairs):
        ours.append(bench.suite(cases, "run_empty.py", "-p", "2").wall_s)
        theirs.append(bench.xargs(cases, 2))
        start_up.append(bench.suite(1, "run_empty.py", "-p", "2").wall_s)
    marginal = min(ours) - min(start_up)
    return {
        "cases": cases,
        "ours_s": round(min(ours), 3),
        "of_which_start_up_s": round(min(start_up), 3),
        "xargs_s": round(min(theirs), 3),
        "ratio": round(marginal / min(theirs), 3),
    }


def cpu_per_case(bench: Bench, cases: int, entry_point: str, command: Sequence[str], rounds: int) -> dict[str, object]:
    """CPU of the runner per case, in milliseconds, over a bare `posix_spawn` of the same program."""
    ours = min(bench.suite(cases, entry_point, "-p", "2").cpu_s for _ in range(rounds))
    start_up = min(bench.suite(1, entry_point, "-p", "2").cpu_s for _ in range(rounds))
    bare = min(bench.bare_spawn_cpu_s(min(cases, 1000), command) for _ in range(rounds)) / min(cases, 1000)
    per_case = (ours - start_up) / (cases - 1)
    return {
        "entry_point": entry_point,
        "cases": cases,
        "runner_ms": round(per_case * 1e3, 3),
        "bare_spawn_ms": round(bare * 1e3, 3),
        "over_bare_ms": round((per_case - bare) * 1e3, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and cases: a look, not a measurement")
    quick = parser.parse_args().quick
    rounds, many = (1, 1_000) if quick else (3, 10_000)
    print(f"{date.today()}, {platform.platform()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder).resolve())
        show(
            "throughput of 300 empty Python cases, -p 2 (limit 1.10 x xargs -P 2)",
            throughput(bench, 300, 1 if quick else 7),
        )
        python = [sys.executable, str(bench.folder / "run_empty.py")]
        for cases in (300, many):
            show("CPU per case, /bin/true (limit 1 ms)", cpu_per_case(bench, cases, "/bin/true", ["/bin/true"], rounds))
        show("CPU per case, Python (limit 2 ms)", cpu_per_case(bench, 300, "run_empty.py", python, rounds))
        dry = min(
            (bench.suite(10_000, "run_empty.py", "--dry-run") for _ in range(rounds)), key=lambda used: used.wall_s
        )
        show(
            "dry run of 10,000 cases (limits 6 s, 250 MB)",
            {"wall_s": round(dry.wall_s, 2), "mb": dry.max_rss_bytes // 10**6},
        )
        help_s = min(bench.suite(1, "run_empty.py", "--help").wall_s for _ in range(rounds + 2))
        show("--help (limit 0.6 s)", {"wall_s": round(help_s, 3)})
    print(f"peak memory of this benchmark: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


def show(what: str, figures: object) -> None:
    print(f"{what}: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
