"""The campaign itself: what it must see, and what it must leave behind, which is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import HERE, clean_environment, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign reads /proc")

if sys.platform == "linux":
    from benchmarks.faults.framework import Campaign, Outcome
    from benchmarks.faults.harness import HOLD, Outside, processes, project, sweep
    from benchmarks.faults.kill_matrix import DESCENDANTS, SEED_SHAPED, STIMULI, Cell, try_cell


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    """A campaign in a folder of its own; whatever it started is ended afterwards."""
    yield Campaign(7, True, tmp_path, sys.executable, workers=1, progress=lambda _: None)
    sweep(tmp_path)


def test_a_row_whose_fault_never_fired_fails() -> None:
    held = Outcome("F0", "It holds", tried=3, held=3, survivors_or_bad=[], fired=3, seconds=1.0)
    assert held.passed
    assert not replace(held, fired=0).passed
    assert not replace(held, held=2).passed
    assert not replace(held, tried=0, held=0).passed


def test_chance_comes_from_the_seed_and_the_name_alone(campaign: Campaign) -> None:
    drawn = campaign.random("F2/17").random()
    assert drawn == replace(campaign, quick=False, workers=9).random("F2/17").random()
    assert drawn != campaign.random("F2/18").random()
    assert drawn != replace(campaign, seed=8).random("F2/17").random()


@pytest.mark.parametrize("prefix", [(), ("env", "-i", "setsid"), ("unshare", "--user", "--pid", "--fork")])
def test_a_process_is_found_that_left_session_environment_or_namespace(
    prefix: tuple[str, ...], campaign: Campaign, tmp_path: Path
) -> None:
    if subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"{prefix[0]} can't do this here")
    outside = Outside(tmp_path / "outside")
    hold = tmp_path / "hold.sh"
    hold.write_text(HOLD)
    with subprocess.Popen([*prefix, "sh", str(hold), str(outside.folder), "case-0", "plain"]) as process:
        wait_for(outside.recorded)
        assert [recorded.kind for recorded in outside.alive()] == ["plain"]
        assert sweep(tmp_path) >= 1
        process.wait()
    assert not outside.alive()


def test_what_the_seed_shaped_runner_leaves_alive_is_counted_and_then_ended(campaign: Campaign) -> None:
    killed = next(stimulus for stimulus in STIMULI if stimulus.name == "KILL")
    found = try_cell(campaign, Cell(SEED_SHAPED, killed, tuple(DESCENDANTS)), frozenset())
    assert (found.fired, found.survivors.total(), found.alive, found.held) == (True, 10, 10, False)
    assert sweep(campaign.folder) == 0


def test_a_project_is_committed_and_gone_afterwards(campaign: Campaign) -> None:
    with project(campaign, "F0/1", "/bin/true", 2, {}) as home:
        runner = home.start()
        assert runner.wait(60) == 0, home.said(runner)
        assert home.statuses() == {"case-0": "succeeded", "case-1": "succeeded"}
        assert not home.runs[-1].name.endswith("-dirty")
    assert not home.root.exists()


def test_ctrl_c_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--quick", "--only", "F1"]
    environment = {**clean_environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL) as faults:
        wait_for(lambda: list(tmp_path.glob("*/F1/*/outside/case-*")), "a case of the campaign")
        faults.send_signal(signal.SIGINT)
        assert faults.wait(30) == 130
    assert list(tmp_path.iterdir()) == []
    mark = os.fsencode(tmp_path)
    assert not [stat for stat in processes() if mark in Path(f"/proc/{stat.pid}/cmdline").read_bytes()]
