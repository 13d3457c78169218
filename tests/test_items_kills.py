"""What a killed loop, a torn line and a full disk leave, and that the next run makes it whole."""

from __future__ import annotations

import inspect
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suitecase.items import RetryPolicy, process, read_items

ROOT = Path(__file__).resolve().parent.parent


def test_killed_at_random_moments_and_run_again(tmp_path: Path) -> None:
    """A little of what `benchmarks/items.py --kills 200` does."""
    command = [sys.executable, str(ROOT / "benchmarks/items.py"), "--quick", "--kills", "4", "--only-kills"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = done.stdout.rpartition("kill -9, 4 times: ")[2]
    found = json.loads(figures)
    assert found["kills"] >= 4
    assert (found["lost"], found["beyond_in_flight"], found["results_that_differ"]) == (0, 0, 0)


def environment() -> dict[str, str]:
    from conftest import clean_environment

    return {**clean_environment(), "PYTHONPATH": str(ROOT)}


def work(item: int) -> dict[str, Any]:
    if item == 7:
        raise ValueError("poison")
    return {"score": item / 3, "output": "é" * item, "cost_usd": 0.001}


def run(folder: Path) -> Any:
    return process(range(12), work, output_dir=folder, key=str, retry=RetryPolicy(max_attempts=1), repeats=2)


def timeless(folder: Path) -> Any:
    times = ("time", "duration_s", "latency_s", "attempt")
    return [{name: value for name, value in row.items() if name not in times} for row in read_items(folder)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_torn_anywhere_is_made_whole(data: st.DataObject, whole: Path, tmp_path: Path) -> None:
    """Whatever byte the last write ended at: what is finished is kept, the rest is cut off and done again."""
    content = (whole / "items.jsonl").read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    folder = tmp_path / "torn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "items.jsonl").write_bytes(content[:cut])
    finished = content[:cut].count(b"\n")
    assert len(read_items(folder)) == max(0, finished - 1)
    run(folder)
    assert timeless(folder) == timeless(whole)
    kept = content[: content[:cut].rfind(b"\n") + 1]
    assert (folder / "items.jsonl").read_bytes()[: len(kept)] == kept
    assert (folder / "dead_letters.jsonl").read_bytes().count(b"\n") == 2


# The functions alone, since this file's imports take longer than what they do.
LIMITED = f"""
from __future__ import annotations
import resource, sys
from pathlib import Path
from suitecase.items import RetryPolicy, process
{inspect.getsource(work)}
{inspect.getsource(run)}
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
summary = run(Path(sys.argv[1]))
print(summary.stopped_by, summary.succeeded + summary.failed)
"""


@pytest.mark.parametrize("size", [1000, 3333])
def test_a_full_disk_stops_the_loop_and_the_next_run_goes_on(size: int, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(size)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stopped_by, rows = done.stdout.split()
    assert stopped_by == "disk"
    assert "can't be written: File too large" in done.stderr
    content = (tmp_path / "items.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert len(content) <= size
    assert content.count(b"\n") - 1 == int(rows)
    assert run(tmp_path).ok
    assert timeless(tmp_path) == timeless(whole)


def test_the_limit_of_file_sizes_is_not_ours() -> None:
    """The test above needs one that can be lowered."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
