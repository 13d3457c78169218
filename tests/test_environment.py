"""What a run records of itself: machine, packages, files with their hashes; of the environment names, never values."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Project

import experiment_runner

SECRET = "secret-canary-4711"


def recorded(project: Project, name: str) -> dict[str, Any]:
    return json.loads((project.run_dir / name).read_text())


def facts(path: Path) -> dict[str, Any]:
    return {"size_bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


NAMES = ("FAKE_API_KEY", "OPENAI_BASE_URL", "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY")
ASKED = ("--note", "why not", "--set", "x=3", "--only", "a*", "-p", "1")


@pytest.fixture(scope="module")
def ran(new_project: Callable[[str], Project]) -> tuple[Project, Finished]:
    """A run of one of two cases, with variables of the user's, the suite's and the case's."""
    project = new_project("recorded")
    project.suite(
        "[ExperimentCase('a', Config(), env={'CASE_TOKEN': 'case-" + SECRET + "'}), ExperimentCase('b', Config())]",
        more="env={'SUITE_TOKEN': 'suite-" + SECRET + "'}",
    )
    project.git("commit", "-q", "-a", "-m", "Two tokens")
    own = {**dict.fromkeys(NAMES, SECRET), "UNRELATED": SECRET, "MKL_NUM_THREADS": "7"}
    done = project.run_forked(*ASKED, env=own)
    assert done.code == 0, done
    return project, done


def test_the_machine_and_the_packages(ran: tuple[Project, Finished]) -> None:
    """environment.json names Python, packages with versions, host, system, CPUs and memory."""
    environment = recorded(ran[0], "environment.json")
    assert environment["python"] == {"version": sys.version, "executable": sys.executable, "prefix": sys.prefix}
    assert environment["packages"] == {dist.metadata["Name"]: dist.version for dist in distributions()}
    assert list(environment["packages"]) == sorted(environment["packages"], key=str.lower)
    assert environment["host"] == platform.node()
    assert environment["system"] == dict(zip(("name", "release", "machine"), os.uname()[::2], strict=True))
    assert (environment["cpus"], environment["usable_cpus"]) == (os.cpu_count(), len(os.sched_getaffinity(0)))
    total_kb = int(Path("/proc/meminfo").read_text().split()[1])
    assert environment["memory_bytes"] == total_kb * 1024


def path_with(folder: Path, script: str | None) -> str:
    """A PATH that finds git, and `nvidia-smi` only if there is a script for it."""
    folder.mkdir()
    (folder / "git").symlink_to(subprocess.check_output(["which", "git"], text=True).strip())
    if script is not None:
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "nvidia-smi").chmod(0o755)
    return str(folder)


def test_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-smi the list of GPUs is empty."""
    monkeypatch.setenv("PATH", path_with(tmp_path / "bin", None))
    assert experiment_runner.gpus() == []


def test_gpus(project: Project, tmp_path: Path) -> None:
    """What nvidia-smi says of each GPU is recorded; asked for exactly these fields."""
    script = """echo "$@" >"$0.asked"
echo '0, NVIDIA H200, GPU-1, 143771 MiB, 550.1'
echo '1, NVIDIA H200, GPU-2, 143771 MiB, 550.1'"""
    assert project.run_forked("--quiet", env={"PATH": path_with(tmp_path / "bin", script)}).code == 0
    first, second = recorded(project, "environment.json")["gpus"]
    assert list(first.items()) == [
        *(("index", "0"), ("name", "NVIDIA H200"), ("uuid", "GPU-1")),
        *(("memory.total", "143771 MiB"), ("driver_version", "550.1")),
    ]
    assert (second["index"], second["uuid"]) == ("1", "GPU-2")
    assert "--query-gpu=index,name,uuid,memory.total,driver_version" in (tmp_path / "bin/nvidia-smi.asked").read_text()


def test_gpus_that_cannot_be_asked(project: Project, tmp_path: Path) -> None:
    """A driver that fails costs the list of GPUs, not the run."""
    script = "echo 'NVIDIA-SMI has failed because it could not communicate with the driver.'; exit 9"
    assert project.run_forked("--quiet", env={"PATH": path_with(tmp_path / "bin", script)}).code == 0
    assert recorded(project, "environment.json")["gpus"] == []


def test_names_of_the_environment_but_no_values(ran: tuple[Project, Finished]) -> None:
    """Telling variables are recorded by name; no file of the run holds a value."""
    project, done = ran
    environment = recorded(project, "environment.json")
    assert set(NAMES) <= set(environment["environment_names"])
    assert "UNRELATED" not in environment["environment_names"]
    run = recorded(project, "run.json")
    assert (run["environment_names"], run["cases"][0]["environment_names"]) == (["SUITE_TOKEN"], ["CASE_TOKEN"])
    assert SECRET not in done.stdout + done.stderr
    files = [path for path in project.run_dir.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_what_the_runner_sets_is_recorded_with_values(ran: tuple[Project, Finished]) -> None:
    """The variables that the runner adds for every case stand in run.json; those the user had set don't."""
    project = ran[0]
    added = recorded(project, "run.json")["environment_set"]
    assert added["PYTHONUNBUFFERED"] == "1"
    assert added["PYTHONPATH"].split(os.pathsep)[0] == str(project.root)
    assert added["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert "MKL_NUM_THREADS" not in added


def test_what_was_asked(ran: tuple[Project, Finished]) -> None:
    """run.json names the suite, the entry point and the runner with their hashes, and how the run was called."""
    project = ran[0]
    run = recorded(project, "run.json")
    assert run["suite"] == {"path": str(project.root / "suite.py"), **facts(project.root / "suite.py")}
    assert run["entry_point"] == {"path": str(project.root / "work.py"), **facts(project.root / "work.py")}
    version = {"version": experiment_runner.__version__}
    assert run["runner"] == version | facts(project.root / "experiment_runner.py")
    assert run["command"] == [sys.executable, str(project.root / "suite.py"), *ASKED]
    assert (run["note"], run["set"], run["only"], run["parallelism"]) == ("why not", ["x=3"], ["a*"], 1)
    assert (run["experiment"], run["mode"], run["format_version"]) == ("exp", "standard", 1)
    assert run["description"] == "What the suite is about."
    assert (run["project_root"], run["current_folder"]) == (str(project.root), str(project.root))
    assert run["results_dir"] == run["results_dir_target"] == str(project.root / "results")
    assert run["host"] == platform.node()


def test_the_cases_are_recorded(ran: tuple[Project, Finished]) -> None:
    """Every case stands in run.json with its config's class and the hash of its config.json, pending ones too."""
    project = ran[0]
    cases = recorded(project, "run.json")["cases"]
    assert [case["variant"] for case in cases] == ["a", "b"]
    for case in cases:
        saved = project.run_dir / case["variant"] / "config.json"
        assert case["config_sha256"] == facts(saved)["sha256"]
        assert case["config_class"] == "Config"


def test_a_results_folder_that_is_a_link(project: Project, tmp_path: Path) -> None:
    """Where a linked results folder points to is recorded."""
    (tmp_path / "scratch").mkdir()
    (project.root / "results").symlink_to(tmp_path / "scratch")
    assert project.run_forked("--quiet").code == 0
    run = recorded(project, "run.json")
    assert run["results_dir"] == str(project.root / "results")
    assert run["results_dir_target"] == str(tmp_path / "scratch")


def test_a_copied_runner_can_be_told_apart(project: Project) -> None:
    """A runner that somebody changed has another hash."""
    runner = project.root / "experiment_runner.py"
    before = facts(runner)["sha256"]
    runner.write_text(runner.read_text() + "# changed\n")
    assert project.run_forked("--quiet").code == 0
    assert recorded(project, "run.json")["runner"]["sha256"] not in (before, None)
