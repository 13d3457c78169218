"""The files that a project has copies of: where the installed ones lie, and which copies nobody has edited.

`.suitecase/copied.json` in the project holds the sha256 of every copy as it was made; `docs/design/0007-copies.md`
says why.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Literal, cast

from suitecase.errors import NotFoundError, SuitecaseError

__all__ = [
    "RECORD",
    "SKILL",
    "Copy",
    "compare_copies",
    "read_record",
    "record_copies",
    "reference_files",
    "replace_copies",
    "skill_files",
]

RECORD = Path(".suitecase", "copied.json")
SKILL = Path(".claude", "skills", "experiment-infrastructure")
"""Where coding agents look for a project's skills."""

INSTALLED = Path(__file__).resolve().parent.parent.parent
"""The folder of the installed top-level modules, or of the checkout."""

VERSION = re.compile(rb'^__version__ = "(\d+)\.(\d+)\.(\d+)"', re.MULTILINE)


def reference_files() -> dict[Path, Path]:
    """The two reference files: path in a project, and the installed file.

    Raises:
        NotFoundError: They are not installed beside the package.
    """
    return found({Path(name): INSTALLED / name for name in ("experiment_config.py", "experiment_runner.py")})


def skill_files() -> dict[Path, Path]:
    """The agent skill, complete: path in a project, and the installed file.

    Raises:
        NotFoundError: As `reference_files`.
    """
    packed = Path(__file__).parent / "SKILL.md"
    text = packed if packed.exists() else INSTALLED / "skills" / SKILL.name / "SKILL.md"
    return found({SKILL / "SKILL.md": text}) | {SKILL / name: file for name, file in reference_files().items()}


def found(files: Mapping[Path, Path]) -> dict[Path, Path]:
    missing = [f"{file} is missing: install suitecase again." for file in files.values() if not file.is_file()]
    if missing:
        raise NotFoundError(missing)
    return dict(files)


@dataclass(frozen=True)
class Copy:
    """A copy in a project that differs from the installed file.

    Attributes:
        path: Relative to the project.
        state: `as copied`; `edited` since; `unrecorded`: copied by hand, so that nothing tells; `newer` than the
            installed file, by its version.
        difference: From the copy to the installed file, as a unified diff.
    """

    path: Path
    source: Path
    state: Literal["as copied", "edited", "unrecorded", "newer"]
    difference: str


def compare_copies(folder: Path) -> list[Copy]:
    """The copies in a project that differ from the installed files.

    Raises:
        NotFoundError: There is no copy at all.
        SuitecaseError: The record can't be read.
    """
    files = {path: file for path, file in (reference_files() | skill_files()).items() if (folder / path).is_file()}
    if not files:
        raise NotFoundError(f"{folder} has no copy of the two files: `suitecase init` makes them.")
    recorded = read_record(folder)
    copies: list[Copy] = []
    for path, source in files.items():
        mine, theirs = (folder / path).read_bytes(), source.read_bytes()
        if mine == theirs:
            continue
        state = "as copied" if recorded.get(str(path)) == sha256_of(mine) else "edited"
        state = state if str(path) in recorded else "unrecorded"
        state = "newer" if version_of(mine) > version_of(theirs) else state
        old, new = (content.decode(errors="replace").splitlines() for content in (mine, theirs))
        difference = unified_diff(old, new, str(folder / path), str(source), lineterm="")
        copies.append(Copy(path, source, state, "\n".join(difference)))
    return copies


def version_of(content: bytes) -> tuple[int, ...]:
    version = VERSION.search(content)
    return tuple(map(int, version.groups())) if version else ()


def replace_copies(folder: Path, copies: Iterable[Copy]) -> list[Path]:
    """Bring those copies up to date that are as they were copied; their paths, relative to the project."""
    replaced = [copy for copy in copies if copy.state == "as copied"]
    for copy in replaced:
        write_whole(folder / copy.path, copy.source.read_bytes())
    record_copies(folder, [copy.path for copy in replaced])
    return [copy.path for copy in replaced]


def record_copies(folder: Path, paths: Iterable[Path]) -> None:
    """Write down what copies hold now, so that a later edit can be told."""
    made = {str(path): sha256_of((folder / path).read_bytes()) for path in paths}
    if made:
        record = read_record(folder) | made
        (folder / RECORD).parent.mkdir(exist_ok=True)
        write_whole(folder / RECORD, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode())


def read_record(folder: Path) -> dict[str, str]:
    try:
        record: object = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise SuitecaseError(f"{folder / RECORD} is no JSON object: restore it, or remove it and compare by hand.")
    return cast(dict[str, str], record)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that nobody sees half of it."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    building.write_bytes(content)
    os.replace(building, path)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
