"""The two files work wherever they are put: installed from the wheel, or copied into somebody's repository."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from conftest import clean_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SKILL = (ROOT / "skills/experiment-infrastructure/SKILL.md").read_text(encoding="utf-8")
REFERENCE_FILES = ("experiment_config.py", "experiment_runner.py")
CORE = ["pydantic", "pydantic-settings", "typer"]


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def build_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what builds the user's project."""
    folder = tmp_path_factory.mktemp("tools")
    run(*PIP, "install", "-q", "--no-compile", "--target", folder, "hatchling", "editables", folder=folder)
    return folder


@pytest.fixture
def bare_python(build_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the three core packages, and what builds the user's project."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in {*build_tools.iterdir(), *installed_files(*CORE)}:
        if path.name not in ("bin", "__pycache__") and not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    return folder / "bin/python"


def installed_files(*names: str) -> Iterator[Path]:
    """The files and folders of distributions of this environment and of what they need: links to them are enough."""
    wanted, seen = [*names], set[str]()
    while wanted:
        requirement = Requirement(wanted.pop())
        if requirement.name.lower() in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name.lower())
        found = distribution(requirement.name)
        wanted += found.requires or []
        tops = {file.parts[0] for file in found.files or () if ".." not in file.parts}
        yield from (Path(str(found.locate_file(top))) for top in tops)


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def pip(python: Path) -> tuple[str | Path, ...]:
    """The pip of this environment, at work in another one: to unpack one for each takes seconds."""
    return (*PIP, "--python", python)


def install(python: Path, *what: str | Path) -> None:
    """Install into the bare environment, with what is there; Python compiles what is imported, a small part of it."""
    options = ("-q", "--no-compile", "--no-deps", "--no-build-isolation")
    run(*pip(python), "install", *options, *what, folder=python.parent)


def example_of_the_skill(root: Path, package: str = "") -> Path:
    """The skill's suite and entry point, word for word but for the package that they import from; the suite's path."""
    for block in re.findall(r"```python\n# (experiments/\S+)\n(.*?)```", SKILL, re.DOTALL):
        path = root / block[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"from (experiment_\w+)", rf"from {package}\1", block[1]), encoding="utf-8")
    run("git", "init", "-q", folder=root)
    return root / "experiments/my-experiment/suite_my_experiment.py"


def test_wheel_holds_the_two_modules_and_the_package_and_runs_a_suite(tmp_path: Path, bare_python: Path) -> None:
    """The wheel, in an environment with nothing else, gives top-level modules that run a suite from its own folder."""
    build = "import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])"  # what pip and uv call (PEP 517)
    run(bare_python, "-c", build, tmp_path, folder=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "suitecase").rglob("*.py")}
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "suitecase").glob("*/templates/**/*.*")}
    assert names == {*REFERENCE_FILES, *modules, *templates, "suitecase/py.typed", "suitecase/scaffold/SKILL.md"}
    suite = example_of_the_skill(tmp_path)
    install(bare_python, wheel)
    command = "from suitecase.cli import main; main()"
    run(bare_python, "-c", command, "init", "made", "--skill", "--template", "sweep", folder=tmp_path)
    skill = tmp_path / "made/.claude/skills/experiment-infrastructure"
    assert (skill / "SKILL.md").read_text(encoding="utf-8") == SKILL
    assert all((skill / name).read_bytes() == (ROOT / name).read_bytes() for name in REFERENCE_FILES)
    printed = run(bare_python, suite.name, "-p", "2", "--only", "*-n10", folder=suite.parent)
    assert "Completed: 2/4 succeeded (2 pending)" in printed
    assert len(list(tmp_path.glob("results/my-experiment/2*/*-n10/results.json"))) == 2


@pytest.mark.parametrize("package", ["", "my_project."])
def test_copies_work_after_the_documented_step(tmp_path: Path, package: str, bare_python: Path) -> None:
    """Copied to the top level or into a package, with the skill's `pyproject.toml` installed, and nothing else."""
    pyproject = re.findall(r"```toml\n(.*?)```", SKILL, re.DOTALL)[0]
    target = tmp_path / package.rstrip(".")
    target.mkdir(exist_ok=True)
    for name in REFERENCE_FILES:
        shutil.copy(ROOT / name, target / name)
        assert f'"{name}"' in pyproject
    if package:
        (target / "__init__.py").touch()
        pyproject = re.sub(r"only-include = .*", f'packages = ["{package.rstrip(".")}"]', pyproject)
    (tmp_path / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    suite = example_of_the_skill(tmp_path, package)
    install(bare_python, "-e", tmp_path)
    assert "Completed: 1/4 succeeded (3 pending)" in run(
        bare_python, suite.name, "--only", "small-n10", folder=suite.parent
    )


@pytest.mark.parametrize("name", REFERENCE_FILES)
def test_reference_files_stand_alone(name: str) -> None:
    """They import neither each other nor suitecase, and of third parties only the core packages; Inspect lazily."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    third_party = imported - set(sys.stdlib_module_names)
    brought = {"rich", "dotenv"}  # by typer, by pydantic-settings
    allowed = {package.replace("-", "_") for package in CORE} | brought | {"inspect_ai", "zipfile_zstd"}
    assert third_party <= allowed
    loaded = run(sys.executable, "-c", f"import sys, {name[:-3]}; print(*sys.modules)", folder=ROOT).split()
    assert not {"inspect_ai", "zipfile_zstd", "suitecase", "rich.console"}.intersection(loaded)


@pytest.mark.parametrize(
    ("module", "surface"),
    [
        ("experiment_config", {"BaseExperimentConfig", "ConfigError"}),
        (
            "experiment_runner",
            {"ExperimentCase", "RunSummary", "SuiteError", "run_experiments", "run_experiments_cli"}
            | {"ExecutionPolicy", "Resources"}
            | {"Launcher", "Launch", "Session", "Capacity", "Local", "Event", "Started", "Refused", "Ended"}
            | {"ABORT", "RETRY", "SKIP", "Answer", "Hook", "HookRecord", "Refuse"},
        ),
        ("suitecase", {"__version__"}),
    ],
)
def test_public_surface(module: str, surface: set[str]) -> None:
    """What is public is a list, every name on it exists and says what it is for."""
    found = importlib.import_module(module)
    assert set(found.__all__) == surface
    assert found.__version__
    assert all(getattr(found, name).__doc__ for name in surface if not name.startswith("__"))
