"""The launcher `ray` without a cluster: its options, what it refuses, attempts carried to a node and back."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import HERE, Project, clean_environment

from suitecase.launchers.ray import Ray
from suitecase.launchers.ray.carried import (
    CARRIED,
    PROGRAM,
    DamagedError,
    TooLargeError,
    carried_variable,
    print_packed,
    unpack,
)
from suitecase.launchers.ray.client import JobState
from suitecase.launchers.ray.judging import said_of
from suitecase.launchers.ray.project import pack_project, project_files
from suitecase.launchers.ray.room import no_room
from suitecase.launchers.ray.submitting import HERE_ONLY

MARK = 1 << 41


def test_options_are_read_checked_and_told_again() -> None:
    """What `describe` tells gives the same options, so that a resume has them; all that is wrong is told at once."""
    texts: dict[str, Any] = {"address": "https://a.example", "shared": "no", "cpus": "0.5", "resources": "a:b=0.001"}
    made = Ray(**texts)
    assert made.convert() == made.problems_of_url() == []
    assert (made.url, made.cpus, made.resources) == ("https://a.example", 0.5, {"a:b": 0.001})
    assert made.describe() == texts
    assert Ray().describe() == {}
    wrong: dict[str, Any] = {"shared": "perhaps", "cpus": "many", "lost_after_s": "-1", "resources": "gpu"}
    assert Ray(**wrong, address="ray://head:10001").problems() == [
        "launcher 'ray': shared is 'perhaps': input should be 'auto', 'yes' or 'no'.",
        "launcher 'ray': lost_after_s is '-1': input should be greater than 0.",
        "launcher 'ray': cpus is 'many': input should be a valid number, unable to parse string as a number.",
        "launcher 'ray': resources is 'gpu': write NAME=AMOUNT,NAME=AMOUNT.",
        "launcher 'ray': address is 'ray://head:10001': give the dashboard's, such as http://127.0.0.1:8265.",
    ]
    assert "resources[gpu] is '0'" in Ray(resources="gpu=0").problems()[0]  # pyright: ignore[reportArgumentType]
    assert "use a token" in Ray("http://me:secret@host:8265").problems()[0]


def test_the_address_is_that_of_the_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAY_ADDRESS may be that of a driver."""
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    for told, url in {
        "auto": "http://127.0.0.1:8265",
        "10.0.0.1:6379": "http://127.0.0.1:8265",
        "http://h/": "http://h",
    }.items():
        monkeypatch.setenv("RAY_ADDRESS", told)
        assert Ray().url == url
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://jobs")
    assert Ray().url == "http://jobs"
    assert Ray("http://mine").url == "http://mine"


def test_a_cluster_that_is_not_there_is_told(project: Project) -> None:
    """Before anything starts, with what to do."""
    before = "from suitecase.launchers.ray import Ray"
    project.suite({"a": ""}, before=before, more="launcher=Ray('http://127.0.0.1:9')")
    done = project.run("--dry-run", env={"PYTHONPATH": str(HERE)})
    assert done.code == 2
    there = importlib.util.find_spec("ray") is not None
    told = "no Ray dashboard answers at http://127.0.0.1:9" if there else "pip install 'suitecase[ray]'"
    assert told in done.stderr, done.stderr
    assert not (project.root / "results").exists()


def test_what_no_node_has_is_told() -> None:
    nodes = [{"CPU": 4.0, "memory": 16e9}, {"CPU": 2.0, "GPU": 1.0, "memory": 8e9, "big": 1.0}]
    for reserved, told in (
        ({"entrypoint_num_cpus": 4}, ""),
        ({"entrypoint_num_cpus": 2, "entrypoint_num_gpus": 0.5, "entrypoint_resources": {"big": 0.01}}, ""),
        ({"entrypoint_num_cpus": 8, "entrypoint_memory": 10**9}, "8 CPU, 1 GB memory now, the most is 4 CPU"),
        ({"entrypoint_num_cpus": 1, "entrypoint_resources": {"tpu": 1}}, "1 CPU, 1 tpu now, the most is 0 tpu"),
        ({"entrypoint_num_cpus": 4, "entrypoint_num_gpus": 1}, "4 CPU, 1 GPU now at once"),
    ):
        assert no_room(reserved, nodes) == f"no node has {told}" * bool(told)
        assert no_room(reserved, []) == ""


def test_what_ray_says_of_a_job_is_told_in_a_line() -> None:
    """Its message may be a traceback, or have the end of the log."""
    traceback = "Traceback (most recent call last):\n  File x\nOSError: gone"
    assert said_of(JobState("FAILED", traceback)) == ("OSError: gone", False)
    printed = "failed with exit code 3, last available logs (…):\nRunning entrypoint for job x: y\nno such thing\n"
    assert said_of(JobState("FAILED", printed)) == ("failed with exit code 3: no such thing", True)
    assert said_of(JobState("FAILED")) == ("nothing", False)


def test_what_belongs_to_a_machine_stays_there() -> None:
    """The token above all."""
    machines = ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "CUDA_VISIBLE_DEVICES", "TMPDIR", "SSH_AUTH_SOCK", "_")
    assert all(HERE_ONLY.fullmatch(name) for name in machines)
    assert not any(HERE_ONLY.fullmatch(name) for name in ("PATH", "OPENAI_API_KEY", "PYTHONPATH", "OMP_NUM_THREADS"))


def carry(project: Project, node: Path, code: str) -> tuple[Path, str]:
    """Carry a case to a node, which is a folder here; the case's folder, and what its job printed."""
    root, run_dir = project.root, project.root / "results" / "exp" / "run"
    folder, runner, entry_point = run_dir / "a", root / "experiment_runner.py", root / "work.py"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"output_dir": str(folder), "do": code}))
    names = project_files(root, without=root / "results")
    pack_project(root, names, runner, node.with_suffix(".zip"))
    zipfile.ZipFile(node.with_suffix(".zip")).extractall(node)
    spec = {
        "launcher": "ray", "job_variable": "JOB", "runner": str(runner), "mark": MARK, "variant": "a", "attempt": 1,
        "command": [sys.executable, str(entry_point), "--output_dir", str(folder), "--path", str(root)],
        "root": str(root), "entry_point": str(entry_point), "experiment": "exp",
    }  # fmt: skip
    environment = {"KEY": "value", "SUITECASE_RUN_DIR": str(run_dir), "PYTHONPATH": f"{root}:/x"}
    variable = carried_variable(spec, environment, folder, 10**7)
    done = subprocess.run(
        [sys.executable, "-I", "-S", PROGRAM], cwd=node, env={**clean_environment(), CARRIED: variable},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return folder, done.stdout


def test_a_carried_attempt_comes_back_whole(project: Project, tmp_path: Path) -> None:
    """Its own files, log and record; the config as it was declared, and places that are those of the node."""
    (project.root / "ignored").mkdir()
    (project.root / ".gitignore").write_text("ignored/\n__pycache__/\nresults/\n")
    (project.root / "ignored" / "secret").write_text("x")
    code = (
        "(folder / 'deep').mkdir(); (folder / 'deep' / 'x').write_bytes(bytes(range(256)) * 999); print(os.getcwd()); "
        "told = {k: os.environ[k] for k in ('KEY', 'SUITECASE_RUN_DIR', 'PYTHONPATH')}; "
        "(folder / 'results.json').write_text(json.dumps({**told, 'argv': sys.argv[3:], 'here': os.listdir()}))"
    )
    folder, printed = carry(project, tmp_path / "node", code)
    unpack(printed, MARK, folder)
    record = json.loads((folder / "attempt-1.json").read_text())
    assert (record["exit_code"], record["mark"]) == (0, MARK)
    assert (folder / "deep" / "x").read_bytes() == bytes(range(256)) * 999
    assert json.loads((folder / "config.json").read_text())["output_dir"] == str(folder)
    (node,) = (folder / "attempt-1.log").read_text().splitlines()
    told = json.loads((folder / "results.json").read_text())
    assert told["KEY"] == "value"
    assert told["PYTHONPATH"] == f"{node}:/x"
    assert not os.path.exists(told["SUITECASE_RUN_DIR"])
    assert told["argv"] == ["--path", str(project.root)]  # a config's own value
    assert "work.py" in told["here"]
    assert "ignored" not in told["here"]
    unpack(printed, MARK, folder)  # a runner may die before it writes that down


def test_the_project_is_what_git_would_take_without_results(project: Project) -> None:
    """Also if nobody told git to ignore the results: each that comes would make another package of the project."""
    (project.root / ".gitignore").write_text("ignored\n__pycache__/\n")
    for name in ("ignored", "new.py", "results/exp/run/a/results.json"):
        project.write(name, "x")
    found = project_files(project.root, without=project.root / "results")
    assert found == [
        ".gitignore",
        "config.py",
        "experiment_config.py",
        "experiment_runner.py",
        "new.py",
        "suite.py",
        "work.py",
    ]
    lone = project.root.parent / "lone"
    shutil.copytree(project.root, lone, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    assert project_files(lone, without=lone / "results") == sorted({*found, "ignored"} - {".gitignore"})


def test_files_of_a_submodule_go_along(project: Project, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    library = Project(tmp_path / "library")
    library.write("deep/module.py", "x")
    library.git("init", "-q")
    library.git("add", ".")
    library.git("commit", "-q", "-m", "Library")
    project.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.root), "library")
    assert "library/deep/module.py" in project_files(project.root, without=project.root / "results")


def test_a_config_too_large_for_a_variable_is_told(tmp_path: Path) -> None:
    """What can be packed goes."""
    (tmp_path / "config.json").write_text(json.dumps({"text": "word " * 10**6}))
    assert len(carried_variable({}, {}, tmp_path, 1)) < 10**5
    (tmp_path / "config.json").write_text(json.dumps({"text": secrets.token_hex(10**5)}))
    with pytest.raises(TooLargeError, match="into a file of the project"):
        carried_variable({}, {}, tmp_path, 1)


def test_what_does_not_come_back_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too much, damaged, or nothing: there is no record of an end then."""
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "attempt-1.json").write_bytes(os.urandom(10**5))
    print_packed(tmp_path / "node", MARK, 1, 10**4)
    with pytest.raises(DamagedError, match=r"copy_limit_mb is 0\.01"):
        unpack(capsys.readouterr().out, MARK, tmp_path)
    print_packed(tmp_path / "node", MARK, 1, 10**6)
    printed = capsys.readouterr().out
    with pytest.raises(DamagedError, match="did not come back"):
        unpack(printed, MARK + 1, tmp_path)
    with pytest.raises(DamagedError, match="came back damaged"):
        unpack(printed[:-400], MARK, tmp_path)
    assert not (tmp_path / "attempt-1.json").exists()
    unpack(printed, MARK, tmp_path)
    assert (tmp_path / "attempt-1.json").exists()
