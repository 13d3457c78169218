"""The runner that one writes first, as the campaign's yardstick: every row that can puts it under the same fault.

    python3 seed_shape.py RUN_DIR ENTRY_POINT PARALLELISM VARIANT [VARIANT ...]

A thread pool, `subprocess.run`, `json.dump`, and a resume (the same command again) that skips a case whose
results.json exists. It is written fairly: output goes straight to a file, and a failed case leaves no results.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path


def run_case(entry_point: Path, folder: Path) -> bool:
    """Run a case unless it has results; whether it has succeeded."""
    results = folder / "results.json"
    if results.exists():
        print(f"Already complete: {folder.name}", flush=True)
        return True
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "config.json", "w") as file:
        json.dump({"variant": folder.name, "output_dir": str(folder)}, file, indent=2)
    command = [sys.executable, str(entry_point)] if entry_point.suffix == ".py" else [str(entry_point)]
    started = time.time()
    with open(folder / "output.log", "wb") as log:
        done = subprocess.run([*command, "--output_dir", str(folder)], stdout=log, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        with open(results, "w") as file:
            json.dump({"variant": folder.name, "exit_code": 0, "duration": time.time() - started}, file, indent=2)
    print(f"{folder.name}: exit code {done.returncode}", flush=True)
    return done.returncode == 0


def main() -> int:
    run_dir, entry_point, parallelism, *variants = sys.argv[1:]
    folders = [Path(run_dir) / variant for variant in variants]
    with ThreadPoolExecutor(int(parallelism)) as pool:
        succeeded = list(pool.map(partial(run_case, Path(entry_point)), folders))
    return 0 if all(succeeded) else 1


if __name__ == "__main__":
    sys.exit(main())
