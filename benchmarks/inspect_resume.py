"""What `kill -9` costs an evaluation that goes on by samples: a case is killed at random times until it has survived.

    python benchmarks/inspect_resume.py                       20 kills of one case, beside one that is left alone
    python benchmarks/inspect_resume.py --kills 5 --seed 7

The model is scripted: no network, and a file counts its calls. A kill comes once the attempt has made a random number
of calls, each fourth one at a random time of its start. Held are the samples that the logs or Inspect's buffer had at
the kill, as the next attempt finds them: none of them may be asked again. Of what was in flight at the kill, at most
`max_samples` are asked twice. In the end the case is held against the undisturbed one, sample by sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from suitecase.inspect_bridge import EvalLog, read_eval_log, read_samples  # noqa: E402

T = TypeVar("T")
MAX_SAMPLES = 5
LONGEST_WAIT_S = 600.0

CONFIG = """\
from experiment_config import BaseExperimentConfig

class Config(BaseExperimentConfig):
    n: int = 0
"""
SUITE = """\
from config import Config
from experiment_runner import ExperimentCase, run_experiments_cli

cases = [ExperimentCase(name, Config(n={n})) for name in ("killed", "whole")]
run_experiments_cli(cases, "evaluate.py", "resume", mode="inspect")
"""
ENTRY_POINT = f"""\
import json, tempfile
from contextlib import suppress
from pathlib import Path
from config import Config

config = Config()
folder = Path(config.output_dir)
(folder / "begun.jsonl").open("a").write("{{}}\\n")

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import RecoveryNotAvailable, recover_eval_log
from inspect_ai.model import get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate
from suitecase.inspect_bridge import read_eval_log, read_samples, run_inspect

calls = folder / "calls.jsonl"

def held():
    found = set()
    for path in folder.glob("*.eval"):
        found |= {{sample["id"] for sample in read_samples(path) if sample["completed"] and not sample.get("error")}}
        if (log := read_eval_log(path)[0]) is None or log.status != "started":
            continue
        with tempfile.TemporaryDirectory() as aside, suppress(RecoveryNotAvailable):
            recovered = recover_eval_log(str(path), output=f"{{aside}}/held.eval", cleanup=False)
            found |= {{sample.id for sample in recovered.samples if not sample.error}}
    return sorted(found)

@task
def echo(n):
    samples = [Sample(id=f"s{{i}}", input=f"q{{i}}", target=f"q{{i}}") for i in range(n)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match("exact"))

asked = len(calls.read_text().splitlines()) if calls.exists() else 0
with (folder / "held.jsonl").open("a") as file:
    print(json.dumps({{"held": held(), "calls": asked}}), file=file)
script = folder / "script.json"
script.write_text(json.dumps({{"calls": str(calls), "rules": [{{"latency_s": [0.05, 0.25], "wrong_rate": 0.3}}]}}))
run_inspect(
    config, echo(config.n), model=get_model("scripted/echo", script=str(script)),
    max_samples={MAX_SAMPLES}, log_buffer=5, ctl_server=False,
)
"""


@dataclass(frozen=True)
class Attempt:
    """An attempt as the next one found it.

    Attributes:
        asked: Its questions, in their order.
        held: Samples that were not lost when it was killed; all of them, for the one that survived.
    """

    asked: list[str]
    held: set[str]


class Lab:
    """A repository of its own, with a run of two cases."""

    def __init__(self, root: Path, n: int) -> None:
        self.root = root
        for name in ("experiment_config.py", "experiment_runner.py"):
            shutil.copy(ROOT / name, root / name)
        for name, text in (("config.py", CONFIG), ("evaluate.py", ENTRY_POINT), ("suite.py", SUITE.format(n=n))):
            (root / name).write_text(text)
        (root / ".gitignore").write_text("__pycache__/\n/results/\n/inspect/\n")
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Begin"]):
            identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
            subprocess.run(["git", *identity, *arguments], cwd=root, check=True)
        own = {"XDG_DATA_HOME": str(root / "inspect"), "XDG_CACHE_HOME": str(root / "inspect")}
        self.env = {**os.environ, **own, "PYTHONPATH": str(ROOT), "INSPECT_DISPLAY": "none"}

    @property
    def run_dir(self) -> Path:
        """The only run."""
        return next((self.root / "results/resume/.runs").glob("2*"))

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the suite."""
        command = [sys.executable, "suite.py", *arguments]
        return subprocess.Popen(command, cwd=self.root, env=self.env, stdout=subprocess.DEVNULL)

    def lines(self, variant: str, name: str) -> list[dict[str, Any]]:
        """The whole lines of a file of a case."""
        path = self.run_dir / variant / name
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def kill(self, number: int, after_calls: int, after_s: float) -> bool:
        """Resume, or begin; kill the case's attempt of this number; whether it had not ended before that."""
        process = self.start("--only", "killed", *(["--resume", "latest"] if number > 1 else []))
        wait_for(lambda: any((self.root / "results/resume/.runs").glob("2*")) and self.pid_of(number))
        wait_for(lambda: process.poll() is not None or len(self.lines("killed", "begun.jsonl")) == number)
        goal = len(self.lines("killed", "calls.jsonl")) + after_calls
        wait_for(lambda: process.poll() is not None or len(self.lines("killed", "calls.jsonl")) >= goal)
        time.sleep(after_s)
        if alive := process.poll() is None:
            os.kill(self.pid_of(number), signal.SIGKILL)
        process.wait()
        return alive

    def pid_of(self, number: int) -> int:
        """Of an attempt at the case that is killed; 0 if it has not begun."""
        journal = self.run_dir / "journal.jsonl"
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        pids = [
            event["pid"]
            for event in events
            if event["event"] == "attempt_started" and (event["variant"], event["attempt"]) == ("killed", number)
        ]
        return pids[0] if pids else 0

    def log_of(self, variant: str) -> EvalLog:
        """The only log that was published of a case."""
        (path,) = (self.root / "results/resume").glob(f"*_{variant}_*.eval")
        log, problem = read_eval_log(path)
        if log is None:
            sys.exit(problem)
        return log

    def attempts(self) -> list[Attempt]:
        """Those of the killed case that asked anything, or found what others had left."""
        questions = [line["question"] for line in self.lines("killed", "calls.jsonl")]
        starts = self.lines("killed", "held.jsonl")
        ends = [*(start["calls"] for start in starts[1:]), len(questions)]
        held = [*(set(start["held"]) for start in starts[1:]), {f"s{q[1:]}" for q in questions}]
        begins = [start["calls"] for start in starts]
        return [Attempt(questions[a:b], kept) for a, b, kept in zip(begins, ends, held, strict=True)]


def main() -> None:
    """Print a table, and what came out of both cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), given.samples)
        kills = 0
        for number in range(1, given.kills + 1):
            calls = draw.randint(1, 2 * given.samples // given.kills) if number % 4 else 0
            kills += lab.kill(number, calls, draw.uniform(0, 0.2 if calls else 3.0))
        if lab.start("--resume", "latest").wait() != 0:
            sys.exit("the run did not succeed in the end.")
        show(lab, kills, given.samples)


def show(lab: Lab, kills: int, n: int) -> None:
    """The table, and the verdict."""
    print(f"{date.today()}, Inspect {version('inspect_ai')}, Python {sys.version.split()[0]}, {kills} kills", end="")
    print(f" of an evaluation with {n} samples, max_samples {MAX_SAMPLES}\n")
    print("| attempt | asked | held at its end | of those asked again | in flight, asked twice |")
    print("|--:|--:|--:|--:|--:|")
    attempts = lab.attempts()
    for number, (attempt, later) in enumerate(zip(attempts, [*attempts[1:], Attempt([], set())], strict=True), 1):
        following = {question for each in attempts[number:] for question in each.asked}
        again = {f"s{question[1:]}" for question in following} & attempt.held
        twice = set(attempt.asked) & set(later.asked)
        print(f"| {number} | {len(attempt.asked)} | {len(attempt.held)} | {len(again)} | {len(twice)} |")
    asked = sum(len(attempt.asked) for attempt in attempts)
    found = {variant: outcomes(lab.log_of(variant)) for variant in ("killed", "whole")}
    same = sum(found["killed"].get(key) == value for key, value in found["whole"].items())
    told = (lab.log_of("killed").metadata or {})["attempts"]
    print(f"\n{asked} calls for {n} samples; {same} of {n} samples as in the undisturbed case, ", end="")
    print(f"which made {len(lab.lines('whole', 'calls.jsonl'))}; {len(told)} attempts in the log.")


def outcomes(log: EvalLog) -> dict[tuple[str, int], object]:
    """What came out for each sample."""
    return {(each["id"], each["epoch"]): each["scores"]["match"]["value"] for each in read_samples(log.path)}


def wait_for(condition: Callable[[], T]) -> T:
    """Poll until a condition holds, and give its value."""
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not (value := condition()):
        if time.monotonic() > end_s:
            sys.exit(f"nothing happened for {LONGEST_WAIT_S:g} s.")
        time.sleep(0.01)
    return value


if __name__ == "__main__":
    main()
