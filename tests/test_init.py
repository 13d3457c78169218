"""`suitecase init`: what it writes runs as it is, nothing is overwritten, and copies stay known."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from asking import suitecase
from conftest import HERE, clean_environment

import experiment_runner
from suitecase.errors import SuitecaseError
from suitecase.queries import find_run
from suitecase.queries.overview import run_overview
from suitecase.rundir import read_run
from suitecase.scaffold import Made, make_project
from suitecase.scaffold.project import problems_of

COPIES = ("experiment_config.py", "experiment_runner.py")


def git_init(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", folder], check=True, env=clean_environment())


def made_in(folder: Path, root: Path | None = None, name: str = "my-experiment", copy_files: bool = True) -> Made:
    root = root or folder
    return make_project(folder, root=root, results_dir=root / "results", name=name, copy_files=copy_files)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shell(command: str, folder: Path) -> str:
    """What a command prints that a person types in a folder; it has to succeed."""
    env = {**clean_environment(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env | {"PYTHONPATH": str(HERE)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("template", "only", "in_git"),
    [
        ("basic", "*", True),
        ("basic", "small", False),
        ("sweep", "lr0.03-m0.0-s*", True),
        ("inspect", "brief", True),  # once: an evaluation takes seconds of a core
    ],
)
def test_what_is_written_runs_by_the_commands_that_are_printed(
    template: str, only: str, in_git: bool, tmp_path: Path
) -> None:
    """In an empty folder whose name has a space, in a repository and without one."""
    folder = tmp_path / "my work"
    if in_git:
        git_init(folder)
    done = suitecase("init", "my work", "--name", "first-try", "--template", template, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert ("no git repository" in done.stdout) is not in_git
    into, look, run, show = [line.strip() for line in done.lines[done.lines.index("Next:") + 1 :]]
    assert into == "cd 'my work'"
    assert (look, show) == (f"{run} --dry-run", "suitecase show first-try")
    assert "[OK]" in shell(f"{into} && {run} --only '{only}'", tmp_path)
    shown = run_overview(read_run(find_run(folder / "results", "first-try")))
    assert shown["counts"]["succeeded"] >= 1
    assert shown["result_columns"]
    ignored = (folder / ".gitignore").read_text().splitlines()
    assert ignored == ["__pycache__/", "/results/"]
    assert all((folder / name).read_bytes() == (HERE / name).read_bytes() for name in COPIES)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Every file that is in the way is named at once, and nothing is written."""
    (tmp_path / "experiments/my-experiment").mkdir(parents=True)
    for name in ("run_my_experiment.py", "suite_my_experiment.py"):
        (tmp_path / "experiments/my-experiment" / name).write_text("mine")
    (tmp_path / "experiment_runner.py").write_text("mine too")
    before = files_in(tmp_path)
    done = suitecase("init", cwd=tmp_path)
    assert done.code == 2
    for name in before:
        assert f"{tmp_path / name} is there already" in done.stderr
    assert files_in(tmp_path) == before


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """Before anything is written."""
    (tmp_path / "experiments").touch()
    with pytest.raises(SuitecaseError, match="experiments is a file, and must be a folder"):
        made_in(tmp_path)
    assert list(files_in(tmp_path)) == ["experiments"]


@pytest.mark.parametrize("name", ["../x", "a b", "", "-a", "1st", "a__b", "x" * 101, "Con"])
def test_names_that_are_refused(name: str, tmp_path: Path) -> None:
    """A name is a folder, part of a module's name, and part of a class's."""
    with pytest.raises(SuitecaseError, match="use letters, digits, dashes and underscores"):
        made_in(tmp_path, name=name)
    assert not files_in(tmp_path)


def test_names_that_are_accepted_are_names_for_the_runner() -> None:
    """Of all the names that it keeps for something else, none passes."""
    passed = [name for name in experiment_runner.RESERVED if not problems_of(name, "basic")]
    assert passed == []
    assert not experiment_runner.name_problem("x" * 100)


def test_a_second_experiment_leaves_everything_else_alone(tmp_path: Path) -> None:
    """Copies, even edited ones, `.gitignore` and `pyproject.toml` stay; lines that are there aren't added again."""
    (tmp_path / ".gitignore").write_bytes(b"*.log\nresults")
    made_in(tmp_path)
    assert (tmp_path / ".gitignore").read_bytes() == b"*.log\nresults\n__pycache__/\n"
    with (tmp_path / "experiment_config.py").open("a") as file:
        file.write("# mine\n")
    before = files_in(tmp_path)
    made = made_in(tmp_path, name="second")
    assert [path.parts[:2] for path in made.written] == [("experiments", "second")] * 2
    (tmp_path / "experiment_runner.py").unlink()
    assert Path("experiment_runner.py") in made_in(tmp_path, name="third").written
    after = files_in(tmp_path)
    assert {name: after[name] for name in before} == before


def test_in_a_sub_folder_of_a_repository(tmp_path: Path) -> None:
    """Files go where one stands; results lie at the top, and are ignored there."""
    git_init(tmp_path)
    folder = tmp_path / "research"
    folder.mkdir()
    done = suitecase("init", cwd=folder)
    assert done.code == 0, done.stderr
    assert (folder / "experiment_runner.py").exists()
    assert (tmp_path / ".gitignore").read_text().splitlines() == ["__pycache__/", "/results/"]
    run = [line for line in done.lines if line.endswith("suite_my_experiment.py")][-1]
    shell(f"{run} --only small", folder)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "results" not in status.stdout
    assert list((tmp_path / "results/my-experiment").glob("2*/small/results.json"))


def bare_python(folder: Path) -> None:
    """A `.venv` in a project whose Python has no packages at all."""
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)


def test_what_to_type_where_the_copies_cant_be_imported(tmp_path: Path) -> None:
    """With a `pyproject.toml` of ours it is one command; with somebody's own, which is left alone, it is said how."""
    bare_python(tmp_path)
    made = made_in(tmp_path)
    assert made.commands[-4:-1] == (
        ".venv/bin/python -m pip install -e .",
        ".venv/bin/python experiments/my-experiment/suite_my_experiment.py --dry-run",
        ".venv/bin/python experiments/my-experiment/suite_my_experiment.py",
    )
    other = tmp_path / "other"
    bare_python(other)
    (other / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    made = made_in(other)
    assert (other / "pyproject.toml").read_text() == "[project]\nname = 'mine'\n"
    assert f"export PYTHONPATH={other}" in made.commands
    assert any("hatchling: only-include; setuptools: py-modules" in note for note in made.notes)


def test_the_installed_package_instead_of_copies(tmp_path: Path) -> None:
    """No copies, no `pyproject.toml`; what to install is said if it is not there."""
    made = made_in(tmp_path, copy_files=False)
    assert {path.parts[0] for path in made.written} == {"experiments"}
    bare_python(tmp_path)
    made = made_in(tmp_path, name="second", copy_files=False)
    assert ".venv/bin/python -m pip install suitecase" in made.commands


def test_update_replaces_what_nobody_edited(tmp_path: Path) -> None:
    """An old copy is replaced, an edited one shown and left, and so is one that was copied by hand."""
    made_in(tmp_path)
    assert suitecase("init", "--update", cwd=tmp_path).lines == ["Every copy is the installed version."]
    old = b"# an older version\n"
    (tmp_path / "experiment_config.py").write_bytes(old)
    record = tmp_path / ".suitecase/copied.json"
    recorded = json.loads(record.read_text())
    recorded["experiment_config.py"] = hashlib.sha256(old).hexdigest()
    record.write_text(json.dumps(recorded))
    edited = (tmp_path / "experiment_runner.py").read_text().replace("PARALLELISM_LIMIT = 64", "PARALLELISM_LIMIT = 6")
    (tmp_path / "experiment_runner.py").write_text(edited)
    done = suitecase("init", "--update", cwd=tmp_path)
    assert done.code == 1
    assert "-PARALLELISM_LIMIT = 6" in done.lines
    assert "+PARALLELISM_LIMIT = 64" in done.lines
    assert "experiment_config.py: replaced." in done.lines
    assert "experiment_runner.py: left alone, because it was edited since it was copied." in done.stdout
    assert (tmp_path / "experiment_config.py").read_bytes() == (HERE / "experiment_config.py").read_bytes()
    assert (tmp_path / "experiment_runner.py").read_text() == edited
    record.unlink()
    (copy,) = answer_of_update(tmp_path)
    assert (copy["state"], copy["replaced"]) == ("unrecorded", False)
    newer = re.sub(r'^__version__ = ".*"', '__version__ = "99.0.0"', edited, flags=re.MULTILINE)
    (tmp_path / "experiment_runner.py").write_text(newer)
    (copy,) = answer_of_update(tmp_path)
    assert (copy["state"], copy["replaced"]) == ("newer", False)


def answer_of_update(folder: Path) -> list[dict[str, object]]:
    done = suitecase("init", "--update", "--json", cwd=folder)
    assert done.code == 1
    return json.loads(done.stdout)


def test_update_without_copies(tmp_path: Path) -> None:
    """A sentence that says how to get some."""
    done = suitecase("init", "--update", cwd=tmp_path)
    assert done.code == 2
    assert "has no copy of the two files: `suitecase init` makes them." in done.stderr


def test_skill_alone_where_suites_are(tmp_path: Path) -> None:
    """Complete, where agents look; not overwritten once it is edited, and known to --update."""
    made_in(tmp_path)
    before = files_in(tmp_path)
    assert suitecase("init", "--skill", cwd=tmp_path).code == 0
    skill = tmp_path / ".claude/skills/experiment-infrastructure"
    assert sorted(path.name for path in skill.iterdir()) == ["SKILL.md", *COPIES]
    sources = {"SKILL.md": HERE / "skills/experiment-infrastructure/SKILL.md", **{n: HERE / n for n in COPIES}}
    for path in skill.iterdir():
        assert not path.is_symlink()
        assert path.read_bytes() == sources[path.name].read_bytes()
    assert files_in(tmp_path).keys() - before.keys() == {str(path.relative_to(tmp_path)) for path in skill.iterdir()}
    (skill / "SKILL.md").write_text("mine")
    assert suitecase("init", "--skill", cwd=tmp_path).code == 0
    assert (skill / "SKILL.md").read_text() == "mine"
    (copy,) = answer_of_update(tmp_path)
    assert (copy["path"], copy["state"]) == (".claude/skills/experiment-infrastructure/SKILL.md", "edited")
