"""The comparison with peers measures whole trees of processes, and finds what a kill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts what orphans use, as Linux alone can")

# An orphan that works until its parent has ended, and one that never ends.
TREE = """\
import os, time
done, at_work = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        os._exit(0)
    if os.fork() == 0:
        os.close(at_work)
        time.sleep(600)
    os._exit(0)
os.close(at_work)
os.read(done, 1)
"""

MEASURE = """\
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from benchmarks.compare import measured
measured.STRAGGLERS_S = 0.2
measured.become_reaper()
used = measured.measure([sys.executable, "-S", "-c", sys.argv[1]], Path.cwd(), os.environ, Path(sys.argv[2]), 60)
print(json.dumps(asdict(used) | {"left": measured.descendants()}))
"""


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.compare", *arguments]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300)


def test_orphans_count_and_are_ended(tmp_path: Path) -> None:
    """In a process of its own, which becomes the parent of all orphans."""
    command = [sys.executable, "-c", MEASURE, TREE, str(tmp_path / "log")]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    assert used["exit_code"] == 0
    assert used["cpu_s"] >= 0.1
    assert used["peak_bytes"] > 2_000_000
    assert used["left"] == []


def test_what_a_kill_leaves_is_found(tmp_path: Path) -> None:
    """make is on every machine, goes by whether a file exists, and so takes half a result for a whole one."""
    done = compare("--quick", "--only", "make", "--minutes", "0.001", "--environments", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| make | 2/2 | 0 | 2 | that a file exists | 0/2 | 2/2 | 4/6 | the same command |" in done.stdout
    assert "| xargs | 2/2 | 0 | 2 | nothing | 2/2 | 0/2 | 6/6 | the same command |" in done.stdout
    assert "no time left" in done.stdout


def test_a_peer_that_does_not_exist_is_named() -> None:
    done = compare("--only", "snakemak")
    assert done.returncode == 2
    assert "no such peer: snakemak. There are GNU parallel" in done.stderr
