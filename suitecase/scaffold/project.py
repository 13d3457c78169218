"""Makes a project in which an experiment runs at once."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from suitecase.errors import SuitecaseError
from suitecase.scaffold.copies import SKILL, read_record, record_copies, reference_files, skill_files

__all__ = ["TEMPLATES", "Made", "make_project", "project_python"]

TEMPLATES = ("basic", "inspect", "sweep")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_][A-Za-z0-9]+)*")
TAKEN = re.compile(r"cancel|con|prn|aux|nul|(com|lpt)[1-9]", re.IGNORECASE)
"""Names that the runner refuses: of a file of its own, and of Windows devices."""
CORE = ["pydantic>=2.13", "pydantic-settings>=2.12", "typer>=0.20"]

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [{dependencies}]

[tool.hatch.build.targets.wheel]
only-include = ["experiment_config.py", "experiment_runner.py"]
"""


@dataclass(frozen=True)
class Made:
    """What was made of a project.

    Attributes:
        written: Files, relative to the project.
        ignored: Lines that `.gitignore` got.
        notes: What to know, a sentence or two each.
        commands: What to type next, in order.
    """

    folder: Path
    written: tuple[Path, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def make_project(
    folder: Path,
    *,
    root: Path,
    results_dir: Path,
    name: str = "my-experiment",
    template: str = "basic",
    copy_files: bool = True,
    with_experiment: bool = True,
    with_skill: bool = False,
) -> Made:
    """Write an experiment that runs as it is, and what it needs. Nothing is overwritten, and copies that
    were made before are left alone.

    Args:
        folder: Where the files go; made if missing.
        root: The project's root: the top level of its git repository, else the folder.
        results_dir: Where its results will lie, to be ignored by git.
        copy_files: Whether the two reference files are copied, and a `pyproject.toml` written if there is none.
        with_experiment: Whether an experiment is written at all, or the skill alone.

    Raises:
        SuitecaseError: With all that is wrong; every file that is there already is named, and nothing was written.
    """
    copies = (reference_files() if copy_files and with_experiment else {}) | (skill_files() if with_skill else {})
    problems = problems_of(name, template)
    texts = experiment_files(name, template) if with_experiment and not problems else {}
    if with_experiment and copy_files and nearest_pyproject(folder, root) is None:
        texts[Path("pyproject.toml")] = pyproject(folder, template)
    recorded = read_record(folder)
    new = {path: file for path, file in copies.items() if not is_copied(folder, path, file, recorded)}
    problems += taken(folder, texts, "--name gives the experiment another name")
    problems += taken(folder, new, "it is not the installed version, and --use-package leaves it alone")
    problems += blocked(folder, (*texts, *new))
    if problems:
        raise SuitecaseError(problems)
    write_new(folder, {path: file.read_text("utf-8") for path, file in new.items()} | texts)
    record_copies(folder, new)
    written = (*new, *texts)
    if not with_experiment:
        return Made(folder, written, (), (f"Coding agents find the skill in {folder / SKILL}.",), ())
    ignored = ignore(root, ["__pycache__/", *ignored_results(root, results_dir)])
    notes, commands = what_next(folder, root, name)
    return Made(folder, written, tuple(ignored), tuple(notes), tuple(commands))


def is_copied(folder: Path, path: Path, file: Path, recorded: Mapping[str, str]) -> bool:
    """Whether a project has a copy already: one that was made by us, or that is the installed file."""
    copy = folder / path
    return copy.is_file() and (str(path) in recorded or copy.read_bytes() == file.read_bytes())


def write_new(folder: Path, texts: Mapping[Path, str]) -> None:
    """Write files that aren't there."""
    for path, content in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x", encoding="utf-8", newline="") as file:
            file.write(content)


def what_next(folder: Path, root: Path, name: str) -> tuple[list[str], list[str]]:
    """What to know of a project, and what to type."""
    python = project_python(folder, root)
    notes, install = importing(python, folder / "experiments" / name, folder, root)
    if not (root / ".git").exists():
        notes.append(
            "This is no git repository: nothing will tell which code made a result. `git init` and a commit mend that."
        )
    suite = shlex.quote(str(Path("experiments", name, f"suite_{module_name(name)}.py")))
    into = [] if folder == Path.cwd() else [f"cd {shlex.quote(os.path.relpath(folder))}"]
    words = python_words(python, folder)
    return notes, [*into, *install, f"{words} {suite} --dry-run", f"{words} {suite}", f"suitecase show {name}"]


def problems_of(name: str, template: str) -> list[str]:
    problems: list[str] = []
    if not NAME.fullmatch(name) or len(name) > 100 or TAKEN.fullmatch(name):
        problems.append(
            f"--name {name!r}: use letters, digits, dashes and underscores, as in my-experiment; no name of a device."
        )
    if template not in TEMPLATES:
        problems.append(f"--template {template!r}: there are {', '.join(TEMPLATES)}.")
    return problems


def taken(folder: Path, paths: Iterable[Path], way_on: str) -> list[str]:
    """Files that are there already, and would have to be overwritten."""
    return [f"{folder / path} is there already: {way_on}." for path in paths if os.path.lexists(folder / path)]


def blocked(folder: Path, paths: Iterable[Path]) -> list[str]:
    """Files that lie where a folder must be."""
    parents = {folder, *folder.parents, *((folder / above) for path in paths for above in path.parents)}
    return [
        f"{path} is a file, and must be a folder." for path in sorted(parents) if path.exists() and not path.is_dir()
    ]


def module_name(name: str) -> str:
    return name.replace("-", "_")


def experiment_files(name: str, template: str) -> dict[Path, str]:
    """The entry point, with its config, and the suite."""
    config = "".join(word[:1].upper() + word[1:] for word in re.split("[-_]", name)) + "Config"
    values = {"name": name, "module": module_name(name), "Config": config}
    templates = Path(__file__).parent / "templates" / template
    return {
        Path("experiments", name, f"{kind}_{module_name(name)}.py"): Template(
            (templates / f"{kind}.py.txt").read_text("utf-8")
        ).substitute(values)
        for kind in ("run", "suite")
    }


def nearest_pyproject(folder: Path, root: Path) -> Path | None:
    """The `pyproject.toml` that a folder belongs to, within its project."""
    places = [place for place in (folder, *folder.parents) if place == root or place.is_relative_to(root)]
    return next((place / "pyproject.toml" for place in places or [folder] if (place / "pyproject.toml").exists()), None)


def pyproject(folder: Path, template: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "experiments"
    dependencies = [*CORE, *(["inspect-ai"] if template == "inspect" else [])]
    return PYPROJECT.format(name=name, dependencies=", ".join(f'"{each}"' for each in dependencies))


def ignored_results(root: Path, results_dir: Path) -> list[str]:
    return [f"/{results_dir.relative_to(root)}/"] if results_dir.is_relative_to(root) and results_dir != root else []


def ignore(root: Path, lines: Iterable[str]) -> list[str]:
    """Append to the project's `.gitignore` what it lacks; the lines that it got."""
    path = root / ".gitignore"
    content = path.read_bytes() if path.exists() else b""
    there = {line.strip().strip(b"/") for line in content.splitlines()}
    lacking = [line for line in lines if line.encode().strip(b"/") not in there]
    if lacking:
        start = b"\n" if content and not content.endswith(b"\n") else b""
        with path.open("ab") as file:
            file.write(start + "".join(f"{line}\n" for line in lacking).encode())
    return lacking


def project_python(*folders: Path) -> Path:
    """The interpreter of a project: that of a `.venv` in one of the folders, else this one."""
    own = (folder / ".venv" / "bin" / "python" for folder in folders)
    return next((python for python in own if os.access(python, os.X_OK)), Path(sys.executable))


def python_words(python: Path, folder: Path) -> str:
    """How a person in a folder calls an interpreter."""
    for word in ("python", "python3"):
        on_path = shutil.which(word)
        if on_path and os.path.dirname(on_path) == str(python.parent) and same_file(Path(on_path), python):
            return word
    return shlex.quote(str(python.relative_to(folder) if python.is_relative_to(folder) else python))


PROBE = "import experiment_config, experiment_runner; print(experiment_runner.__file__)"


def importing(python: Path, suite_folder: Path, folder: Path, root: Path) -> tuple[list[str], list[str]]:
    """Whether a suite can import the two files: what to know about it, and what to type so that it can."""
    copied = (folder / "experiment_runner.py").exists()
    found, error = probe(python, suite_folder, {})
    words = python_words(python, folder)
    if found:
        elsewhere = copied and not same_file(found, folder / "experiment_runner.py")
        note = f"Here suites import the two files from {found.parent}, not the copies: both are the same now."
        return [note] if elsewhere else [], []
    if not copied:
        return [f"Suites can't import the two files ({error})."], [f"{words} -m pip install suitecase"]
    with_path, error = probe(python, suite_folder, {"PYTHONPATH": str(folder)})
    own = (folder / "pyproject.toml").exists() and "experiment_runner.py" in (folder / "pyproject.toml").read_text(
        "utf-8"
    )
    if own:
        return [], [f"{words} -m pip install -e ."]
    given = nearest_pyproject(folder, root)
    note = (
        f"{given} does not make the two files importable. `export PYTHONPATH` does, for one shell; for good, list them "
        "in its build settings (hatchling: only-include; setuptools: py-modules), and `pip install -e .`."
    )
    packages = [] if with_path else [f"{words} -m pip install pydantic pydantic-settings typer"]
    return [note], [*packages, f"export PYTHONPATH={shlex.quote(str(folder))}"]


def probe(python: Path, suite_folder: Path, env: Mapping[str, str]) -> tuple[Path | None, str]:
    """Where a suite in a folder would import the runner from, and why it can't."""
    command: Sequence[str] = [str(python), "-B", "-c", PROBE]
    done = subprocess.run(
        command, cwd=suite_folder, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode == 0:
        return Path(done.stdout.strip()), ""
    return None, (done.stderr.strip().splitlines() or ["no message"])[-1]


def same_file(one: Path, other: Path) -> bool:
    return other.exists() and one.resolve() == other.resolve()
