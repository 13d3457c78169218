"""What reading run directories costs: many runs, one large run, many logs of Inspect, many rows.

    python3 benchmarks/reading.py [--keep FOLDER]

One small suite is really run; its files are then copied under other names, with the checksums of the journals
chained anew. Every figure is of a whole process. `cold` means that the kernel's caches were dropped before, which only
root may; elsewhere the row is left out, and said to be.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DROP_CACHES = Path("/proc/sys/vm/drop_caches")

SUITE = '''
"""Which model reads best?"""
from experiment_config import BaseExperimentConfig
from experiment_runner import ExperimentCase, run_experiments_cli

class Config(BaseExperimentConfig):
    model: str = "gpt-4"
    temperature: float = 0.7
    num_samples: int = 10
    learning_rate: float = 0.001

if __name__ == "__main__":
    cases = [ExperimentCase(f"case-{n:05}", Config(num_samples=n, seed=n)) for n in range(20)]
    run_experiments_cli(cases, "work.py", "bench")
'''

ENTRY_POINT = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
config = json.loads((folder / "config.json").read_text())
n = config["num_samples"]
(folder / "results.json").write_text(json.dumps({"accuracy": n / 97, "loss": 1 / (n + 1), "n": n}))
print("done")
"""


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        cpu_s: Of it and its children, user and system.
        peak_mb: Its largest memory.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str], cwd: Path, repeats: int = 3, before: Iterable[str] = ()) -> Cost:
    """The least of some runs of a command, each after `before` was written to drop the caches."""
    costs: list[Cost] = []
    for _ in range(repeats):
        for what in before:
            os.sync()
            DROP_CACHES.write_text(what)
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
        )
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: {complaint.decode()}")
        costs.append(Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
    return Cost(*(min(values) for values in zip(*((c.wall_s, c.cpu_s, c.peak_mb) for c in costs), strict=True)))


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUITECASE_")}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def suitecase(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from suitecase.cli import main; main()", *arguments]


def make_template(folder: Path) -> Path:
    """A real run of 20 cases."""
    folder.mkdir()
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "suite.py").write_text(SUITE)
    (folder / "work.py").write_text(ENTRY_POINT)
    (folder / ".gitignore").write_text("results\n__pycache__\n")
    identity = ("-c", "user.name=b", "-c", "user.email=b@example.org")
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "Bench"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    subprocess.run([sys.executable, "suite.py", "-q"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (run_dir,) = (folder / "results" / "bench").glob("2*")
    return run_dir


def copy_runs(template: Path, experiment: Path, count: int) -> None:
    """The same run under other names."""
    start = datetime(2026, 1, 1)
    for number in range(count):
        copy = experiment / f"{start + timedelta(minutes=number):%Y%m%d_%H%M%S}_{number:07x}"
        shutil.copytree(template, copy)


def grow_run(template: Path, run_dir: Path, count: int) -> None:
    """The run with many more cases: each a copy of one of the real ones under its own name."""
    asked = json.loads((template / "run.json").read_text())
    real: list[dict[str, Any]] = asked["cases"]
    copies = {f"case-{n:05}": real[n % len(real)] for n in range(count)}
    run_dir.mkdir(parents=True)
    for variant, case in copies.items():
        shutil.copytree(template / case["variant"], run_dir / variant)
    cases = [{**case, "variant": variant} for variant, case in copies.items()]
    (run_dir / "run.json").write_text(json.dumps({**asked, "cases": cases}, indent=2))
    lines = (template / "journal.jsonl").read_text().splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    of_case = {case["variant"]: [e for e in events if e.get("variant") == case["variant"]] for case in real}
    grown = [{**event, "variant": variant} for variant, case in copies.items() for event in of_case[case["variant"]]]
    (run_dir / "journal.jsonl").write_bytes(chained([events[0], *grown, events[-1]]))


def chained(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Journal lines, each with the checksum that goes on from the line before."""
    lines: list[bytes] = []
    checksum = 0
    for event in events:
        body = json.dumps({name: value for name, value in event.items() if name != "crc32"}, separators=(",", ":"))
        checksum = zlib.crc32(body.encode(), checksum)
        lines.append(f'{body[:-1]},"crc32":{checksum}}}\n'.encode())
    return b"".join(lines)


def make_logs(folder: Path, count: int) -> list[Path]:
    """Logs of the Inspect example, which is run once, in a copy of this repository's experiments."""
    folder.mkdir()
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "experiments", folder / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("results\n__pycache__\n")
    identity = ("-c", "user.name=b", "-c", "user.email=b@example.org")
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "Bench"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    command = [sys.executable, "experiments/arithmetic-inspect/suite_arithmetic.py", "-q", "-p", "2"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    real = sorted((folder / "results" / "arithmetic-inspect").glob("*.eval"))
    copies = folder / "copies"
    copies.mkdir()
    made = [copies / f"{n:03}.eval" for n in range(count)]
    for n, path in enumerate(made):
        shutil.copy(real[n % len(real)], path)
    return made


HEADERS = """
import sys
from pathlib import Path
from suitecase.inspect_bridge import read_eval_log
logs = [read_eval_log(path)[0] for path in sorted(Path(sys.argv[1]).glob("*.eval"))]
assert len(logs) == 200 and all(log and log.status == "success" and log.scores for log in logs)
"""
EVALS_DF = "import sys; from inspect_ai.analysis import evals_df; assert len(evals_df(sys.argv[1])) == 200"
ROWS = """
import sys
from pathlib import Path
from suitecase.rundir import read_run
from suitecase.tables import Table, case_rows
table = Table(row for _ in range(10) for row in case_rows([read_run(Path(sys.argv[1]))]))
assert len(table) == 100_000 and "result.accuracy" in table.columns
"""


def report(what: str, figure: float, unit: str, limit: float | None, cost: Cost) -> None:
    """A row; CPU time stands beside, as the wall clock of a busy machine tells about the machine."""
    verdict = "" if limit is None else "ok" if figure <= limit else "missed"
    bound = "" if limit is None else f"{limit:g} {unit}"
    print(f"| {what} | {bound} | {figure:.2f} {unit} | {verdict} | {cost.cpu_s:.2f} s |", flush=True)


def measure_runs(folder: Path) -> None:
    """Rows for `--help`, `ls` and `show`."""
    cost = measure(suitecase("--help"), folder, 5)
    report("`suitecase --help`", cost.wall_s, "s", 0.6, cost)
    if os.access(DROP_CACHES, os.W_OK):
        cost = measure(suitecase("ls", "--results-dir", "many"), folder, 2, before=["3"])
        report("`ls` of 1,000 runs of 20 cases, caches dropped", cost.wall_s, "s", 2.0, cost)
    else:
        print("`ls` cold is not measured: only root may drop the caches.", file=sys.stderr)
    cost = measure(suitecase("ls", "--results-dir", "many"), folder, 5)
    report("the same, warm", cost.wall_s, "s", 0.5, cost)
    large = next((folder / "large" / "bench").glob("2*"))
    cost = measure(suitecase("show", str(large)), folder)
    report("`show` of a run of 10,000 cases", cost.wall_s, "s", 1.5, cost)
    cost = measure([sys.executable, "-c", ROWS, str(large)], folder, 1)
    report("memory of a process with a `Table` of 100,000 cases", cost.peak_mb, "MB", 150, cost)


def measure_logs(folder: Path) -> None:
    """Rows for logs of Inspect, ours and, for comparison, Inspect's own frame."""
    copies = str(folder / "inspect" / "copies")
    cost = measure([sys.executable, "-c", HEADERS, copies], folder)
    report("200 headers of `.eval` logs, CPU", cost.cpu_s, "s", 0.2, cost)
    if importlib.util.find_spec("pyarrow") is None:
        print("Inspect's `evals_df` needs pyarrow, which is not here: not measured.", file=sys.stderr)
        return
    cost = measure([sys.executable, "-c", EVALS_DF, copies], folder, 1)
    report("… by Inspect's `evals_df`, CPU", cost.cpu_s, "s", None, cost)


def prepare(folder: Path, inspect: bool) -> None:
    """Make what is read, where it isn't there from an earlier call."""
    if not (folder / "template").exists():
        template = make_template(folder / "template")
        copy_runs(template, folder / "many" / "bench", 1000)
        grow_run(template, folder / "large" / "bench" / template.name, 10_000)
    if inspect and not (folder / "inspect").exists():
        make_logs(folder / "inspect", 200)


def main() -> None:
    """Make the runs, and print a row per figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where the runs are made, and stay for the next time"
    )
    kept: Path | None = parser.parse_args().keep
    inspect = importlib.util.find_spec("inspect_ai") is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = (kept or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, inspect)
        print("| what | limit | measured | | CPU |\n|---|---|---|---|---|")
        measure_runs(folder)
        measure_logs(folder) if inspect else print("No inspect_ai here: its logs are left out.", file=sys.stderr)


if __name__ == "__main__":
    main()
