"""The project's files, packed for nodes that don't see them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from suitecase.launchers.following import ATTEMPT_PROGRAM
from suitecase.launchers.ray import carried
from suitecase.launchers.ray.carried import FOLDER

__all__ = ["pack_project", "project_files", "project_stamp"]

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def pack_project(root: Path, names: Sequence[str], runner: Path, target: Path) -> None:
    """Write files of the project to an archive. Equal files give equal bytes, so that Ray stores them once."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            add(archive, root / name, name)
        for path in (Path(carried.__file__), ATTEMPT_PROGRAM, runner):
            add(archive, path, f"{FOLDER}/{path.name}")


def project_stamp(root: Path, names: Sequence[str]) -> str:
    """Another one whenever one of these files has changed."""
    files = [(name, (status := (root / name).stat()).st_mtime_ns, status.st_size) for name in names]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def project_files(root: Path, without: Path) -> list[str]:
    """Names of the project's files: those that git tracks, and new ones that it doesn't ignore.

    Outside of a repository, all files but hidden ones and Python's caches.

    Args:
        without: A folder that is left out, of results.
    """
    names: set[str] = set()
    for which in (["--cached", "--recurse-submodules"], ["--others", "--exclude-standard"]):
        listing = ["git", "-C", str(root), "ls-files", "-z", *which]
        done = subprocess.run(listing, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            found = (path.relative_to(root) for path in root.rglob("*"))
            names = {str(path) for path in found if not any(is_left_out(part) for part in path.parts)}
            break
        names |= {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
    places = {place for place in (without, without.resolve()) if place != root}
    there = (name for name in names if not any((root / name).is_relative_to(place) for place in places))
    return sorted(name for name in there if (root / name).is_file())


def is_left_out(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__"


def add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    member = zipfile.ZipInfo(name, ZIP_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
    archive.writestr(member, path.read_bytes())
