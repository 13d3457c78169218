"""The launcher `ray` without a cluster: its options, what it refuses, attempts carried to a node and back."""

from __future__ import annotations

import importlib.util
import json
import os
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
    carried_variable,
    pack_project,
    print_packed,
    unpack,
)
from suitecase.launchers.ray.driver import HERE_ONLY

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


def test_a_cluster_that_is_not_there_is_told(project: Project) -> None:
    """Before anything starts, with what to do."""
    before = "from suitecase.launchers.ray import Ray"
    project.suite({"a": ""}, before=before, more="launcher=Ray('http://127.0.0.1:9')")
    done = project.run_forked("--dry-run", env={"PYTHONPATH": str(HERE)})
    assert done.code == 2
    there = importlib.util.find_spec("ray") is not None
    told = "no Ray dashboard answers at http://127.0.0.1:9" if there else "pip install 'suitecase[ray]'"
    assert told in done.stderr, done.stderr
    assert not (project.root / "results").exists()


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
    pack_project(root, runner, node.with_suffix(".zip"))
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
