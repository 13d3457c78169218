"""Warm starts beside cold ones and beside `xargs`: whole commands on the same command lines, in interleaved pairs.

    python benchmarks/warm.py [--scripts empty,settings,sklearn,inspect] [--cases 20,200] [--pairs 3] [--parallelism 2]

Prints one row per script and number of cases: seconds of wall clock and of CPU (the command's and all its
processes'), medians over the pairs, and ratios; then the private memory of a live warm case. The list of modules is
learned before anything is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HEAD = """\
import json
from pathlib import Path
from experiment_config import BaseExperimentConfig
"""
CLASS = """
class Config(BaseExperimentConfig):
    x: float = 0.0
    model: str = "small"

"""
TAIL = """
if __name__ == "__main__":
    main(Config())
"""
SCRIPTS = {
    "empty": "import sys\n",
    "settings": HEAD + CLASS + """
def main(config):
    Path(config.output_dir, "results.json").write_text(json.dumps({"score": config.x}))
""" + TAIL,
    "sklearn": HEAD + """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
""" + CLASS + """
def main(config):
    data, target = load_iris(return_X_y=True)
    model = LogisticRegression(C=1 + config.x, max_iter=500).fit(data, target)
    Path(config.output_dir, "results.json").write_text(json.dumps({"score": model.score(data, target)}))
""" + TAIL,
    "inspect": HEAD + """
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
""" + CLASS + """
def main(config):
    task = Task(dataset=[Sample(input="Say hello", target="Default output")], scorer=match(location="any"))
    output = ModelOutput.from_content("mockllm/model", "hello")
    output.usage = ModelUsage()  # or it would download an encoding to count tokens
    model = get_model("mockllm/model", custom_outputs=[output])
    logs = eval(task, model=model, display="none", log_dir=config.output_dir)
    assert logs[0].status == "success", logs[0].error and logs[0].error.message
""" + TAIL,
    "torch": HEAD + "import torch\n" + CLASS + """
def main(config):
    score = float((torch.ones(512, 512) @ torch.ones(512, 512)).sum())
    Path(config.output_dir, "results.json").write_text(json.dumps({"score": score}))
""" + TAIL,
}  # fmt: skip
SUITE = """\
import sys
sys.argv, count = sys.argv[:1] + sys.argv[2:], int(sys.argv[1])
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, run_experiments_cli

class Config(BaseExperimentConfig):
    x: float = 0.0
    model: str = "small"

cases = [ExperimentCase(f"c{n}", Config(x=float(n))) for n in range(count)]
run_experiments_cli(cases, "run.py", "exp")
"""
XARGS = "mkdir -p $0/c{} && exec $1 run.py --output_dir $0/c{} --x {}.0 --model small > $0/c{}/log 2>&1"


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scripts", default="empty,settings,sklearn,inspect")
    parser.add_argument("--cases", default="20,200")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--parallelism", type=int, default=2)
    given = parser.parse_args()
    scripts: list[str] = given.scripts.split(",")
    counts: list[str] = given.cases.split(",")
    if wrong := [script for script in scripts if script not in SCRIPTS]:
        parser.error(f"no such script: {', '.join(wrong)}. There are {', '.join(SCRIPTS)}.")
    if wrong := [count for count in counts if not count.isdecimal() or int(count) < 1]:
        parser.error(f"--cases: {', '.join(wrong)}: give whole numbers from 1, with commas between them.")
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, -p {given.parallelism}"
    )
    print("script      cases    xargs s    CPU s     warm s    CPU s    wall ×  CPU ×")
    with tempfile.TemporaryDirectory() as folder:
        for script in scripts:
            bench = Bench(Path(folder, script), script, given.parallelism)
            bench.learn()
            for count in map(int, counts):
                bench.row(count, given.pairs)
            print(f"{script:10} a live warm case has {bench.private_mb():.1f} MB of its own")


class Bench:
    """A folder with one script and its suite."""

    def __init__(self, folder: Path, script: str, parallelism: int) -> None:
        self.folder, self.script, self.parallelism = folder, script, parallelism
        folder.mkdir()
        (folder / "run.py").write_text(SCRIPTS[script])
        (folder / "suite.py").write_text(SUITE)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.environment: Mapping[str, str] = {
            **kept, **threads, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }  # fmt: skip

    def learn(self) -> None:
        """Have the modules learned, and tried by a server."""
        self.suite(1)
        self.suite(1)

    def suite(self, count: int) -> None:
        command = [sys.executable, "suite.py", str(count), "--launcher", "warm", "-q", "-p", str(self.parallelism)]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def xargs(self, count: int) -> None:
        numbers = "\n".join(map(str, range(count)))
        command = ["xargs", "-P", str(self.parallelism), "-I{}", "sh", "-c", XARGS, "out", sys.executable]
        subprocess.run(command, cwd=self.folder, env=self.environment, input=numbers, text=True, check=True)

    def row(self, count: int, pairs: int) -> None:
        """Print a row: medians over interleaved pairs."""
        taken: dict[str, list[tuple[float, float]]] = {"xargs": [], "warm": []}
        for _ in range(pairs):
            for name, run in (("xargs", self.xargs), ("warm", self.suite)):
                for left in ("out", "results"):
                    shutil.rmtree(self.folder / left, ignore_errors=True)
                taken[name].append(timed(lambda run=run: run(count)))
        (wall_0, cpu_0), (wall_1, cpu_1) = (
            tuple(statistics.median(values) for values in zip(*taken[name], strict=True)) for name in ("xargs", "warm")
        )
        print(
            f"{self.script:10} {count:6}   {wall_0:8.2f} {cpu_0:8.2f}   {wall_1:8.2f} {cpu_1:8.2f}   "
            f"{wall_0 / wall_1:7.1f} {cpu_0 / cpu_1:6.1f}", flush=True,
        )  # fmt: skip

    def private_mb(self) -> float:
        """The private memory of a warm case that has done its work and waits, in 10^6 bytes."""
        told = self.folder / "private"
        source = self.folder / "run.py"
        look = f"""
import os
memory = [line.split() for line in open("/proc/self/smaps_rollup")][1:]
private = sum(int(row[1]) for row in memory if row[0] in ("Private_Dirty:", "Private_Clean:"))
with open({str(told)!r}, "w") as file:
    file.write(str(private))
"""
        source.write_text(SCRIPTS[self.script] + look)
        self.learn()
        self.suite(1)
        return int(told.read_text()) * 1024 / 1e6


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU, of all processes that have ended."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu_s


if __name__ == "__main__":
    main()
