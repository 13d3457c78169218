"""Puts all there is of a run into one folder or archive that others can check without suitecase."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suitecase.errors import SuitecaseError
from suitecase.queries.code import code_repository, find_repository, left_out_files
from suitecase.rundir import Run, layout
from suitecase.rundir.files import read_lines
from suitecase.tables import Table, case_rows, write_table
from suitecase.tables.formats import strict
from suitecase.tables.rows import case_results

__all__ = ["SUMS", "Export", "export_run"]

SUMS = "SHA256SUMS"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member, the earliest that zip has, so that the same run gives the same archive."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        files: How many, `SHA256SUMS` included.
        notes: What is not in it, a sentence each.
    """

    path: Path
    files: int
    size_bytes: int
    notes: tuple[str, ...]


def export_run(run: Run, to: Path) -> Export:
    """Write a run with its code to a folder, or to an archive if the name ends in `.zip`.

    It appears whole or not at all.

    Raises:
        SuitecaseError: The place is taken, or the run still goes on.
    """
    if run.owner and run.owner.lives:
        raise SuitecaseError(f"{run.name} goes on ({run.owner.evidence}): export it when it has ended.")
    to = to.absolute()
    if os.path.lexists(to):
        raise SuitecaseError(f"{to} is there already: nothing is overwritten. Name another place.")
    if to.resolve().is_relative_to(run.path.resolve()):
        raise SuitecaseError(f"{to} lies in the run itself: name another place.")
    to.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=".building", dir=to.parent))
    try:
        folder = building / (to.stem if to.suffix == ".zip" else to.name)
        folder.mkdir()
        notes = fill(run, folder)
        files = write_sums(folder)
        made = folder
        if to.suffix == ".zip":
            made = building / to.name
            write_zip(folder, made)
        size_bytes = sum(path.lstat().st_size for path in files_below(made)) if made.is_dir() else made.stat().st_size
        if os.path.lexists(to):
            raise SuitecaseError(f"{to} has appeared meanwhile: nothing is overwritten.")
        os.rename(made, to)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Export(to, files, size_bytes, tuple(notes))


def fill(run: Run, folder: Path) -> list[str]:
    """Write everything but the sums; what could not be written, a sentence each."""
    notes = list(run.problems)
    configs = {variant: case.config()[0] for variant, case in run.cases.items()}
    write_json(folder / layout.CONFIG, configs)
    if (run.path / layout.ENVIRONMENT).is_file():
        shutil.copyfile(run.path / layout.ENVIRONMENT, folder / layout.ENVIRONMENT)
    else:
        notes.append("environment.json is missing: nobody recorded the environment.")
    results: dict[str, Any] = {}
    for variant, case in run.cases.items():
        results[variant], problems = case_results(run, case)
        notes += problems
    write_json(folder / layout.RESULTS, results)
    write_table(Table(case_rows([run])), "csv", folder / "results.csv")
    if (run.path / "analysis.json").is_file():
        shutil.copyfile(run.path / "analysis.json", folder / "analysis.json")
    write_items(run, folder / layout.ITEMS)
    record = folder / "results" / run_place(run)
    notes += copy_record(run, record)
    notes += write_code(run, folder / "code")
    (folder / "README.md").write_text(readme(run, folder, record, notes), encoding="utf-8")
    return notes


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(strict(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_items(run: Run, path: Path) -> None:
    """The items of all cases in one file, each with its variant; no file without items."""
    with path.open("w", encoding="utf-8") as file:
        for variant, case in run.cases.items():
            for item in read_lines(case.path / layout.ITEMS):
                file.write(json.dumps({"variant": variant, **item}, ensure_ascii=False) + "\n")
    if path.stat().st_size == 0:
        path.unlink()


def run_place(run: Run) -> Path:
    """Where a run lies in a results folder."""
    path = run.path.resolve()
    experiment = layout.experiment_folder(path)
    return Path(experiment.name) / path.relative_to(experiment)


def copy_record(run: Run, target: Path) -> list[str]:
    """The run directory as it is, and Inspect's logs where it looks for them."""
    skipped: list[str] = []

    def not_plain(folder: str, names: list[str]) -> list[str]:
        odd = [name for name in names if not is_plain(Path(folder, name))]
        skipped.extend(str(Path(folder, name).relative_to(run.path)) for name in odd)
        return odd

    try:
        shutil.copytree(run.path, target, symlinks=True, ignore=not_plain)
    except shutil.Error as error:  # a list of (source, target, why), of all that could not be copied
        raise SuitecaseError(
            [f"{source}: can't be copied: {reason(why)}." for source, _, why in error.args[0]]
        ) from None
    for log in run.eval_logs():
        shutil.copyfile(log, layout.experiment_folder(target) / log.name)
    return [f"{name} is a pipe, a socket or a device, and was left out." for name in skipped]


def reason(why: str) -> str:
    """Why something could not be copied; shutil gives an error's whole text, number and path included."""
    found = re.match(r"\[Errno \d+\] ([^:]*): ", why)
    return found[1] if found else why


def is_plain(path: Path) -> bool:
    """Whether something is a file, a folder, or a link, which stays one and is not followed."""
    return path.is_symlink() or path.is_file() or path.is_dir()


def write_code(run: Run, folder: Path) -> list[str]:
    """The code as it was when the run began; why there is none, or what it lacks."""
    try:
        with code_repository([find_repository(run)]) as repository:
            repository.check_out(run, folder)
    except SuitecaseError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return [f"There is no code/: {problem}" for problem in error.problems]
    return [f"code/ lacks {name}: it was not recorded." for name in left_out_files(run)]


def files_below(folder: Path) -> Iterator[Path]:
    """Every file, in an order that only names decide."""
    found = [Path(parent, name) for parent, folders, names in os.walk(folder) for name in (*names, *folders)]
    yield from sorted((path for path in found if path.is_symlink() or path.is_file()), key=os.fsencode)


def write_sums(folder: Path) -> int:
    """`SHA256SUMS` as `sha256sum -c` reads it; how many files there are, itself included.

    Links are not in it: `sha256sum` would follow them.
    """
    count = 1
    with (folder / SUMS).open("wb") as sums:
        for path in files_below(folder):
            if path.name == SUMS and path.parent == folder:
                continue
            count += 1
            if not path.is_symlink():
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                sums.write(sums_line(sha256, os.fsencode(path.relative_to(folder))))
    return count


def sums_line(sha256: str, name: bytes) -> bytes:
    """A line of `SHA256SUMS`; a name with a line break or backslash is escaped, which a leading backslash tells."""
    escaped = name.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    return (b"\\" if escaped != name else b"") + sha256.encode() + b"  " + escaped + b"\n"


def write_zip(folder: Path, target: Path) -> None:
    """An archive of a folder, with its name at the top; equal contents give equal bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files_below(folder):
            member = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder)}", ZIP_EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            if path.is_symlink():
                member.external_attr = 0o120777 << 16
                archive.writestr(member, os.fsencode(os.readlink(path)))
                continue
            member.external_attr = (0o100755 if os.access(path, os.X_OK) else 0o100644) << 16
            member.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(member, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


CONTENTS = {
    "config.json": "the config of every case, by variant",
    "environment.json": "Python, packages and versions, host, CPUs, GPUs",
    "results.csv": "a row per case: status, duration, config, results",
    "results.json": "the results of every case, by variant",
    "items.jsonl": "what became of every item, with its variant",
    "analysis.json": "the analysis",
    "code": "the files of the commit with the recorded patch applied: what ran",
    "results": "the run directory as suitecase wrote it: run.json, journal.jsonl, logs, every file of every case",
    SUMS: "sha256 of every file",
}


def readme(run: Run, folder: Path, record: Path, notes: list[str]) -> str:
    """What the folder holds, and how to check it."""
    place = record.relative_to(folder)
    there = {name: words for name, words in CONTENTS.items() if name == SUMS or (folder / name).exists()}
    listed = "\n".join(f"- `{name}{'/' * (folder / name).is_dir()}`: {words}." for name, words in there.items())
    lacking = "".join(f"\n- {note}" for note in dict.fromkeys(notes))
    counts = ", ".join(f"{count} {status}" for status, count in run.counts.items())
    commit = f"commit `{run.code.commit}`" if run.code.commit else "no commit known"
    tree = f", git tree `{run.code.tree}`" if run.code.tree else ""
    again = f"""
To run it again, in a clone of the repository that has the commit:

    suitecase reproduce "PATH-TO/{place}"
"""
    return f"""# {run.experiment}: {run.name}

{run.asked.get("description") or "Nobody described it."}

Begun {run.started_at or "at an unknown time"}; {len(run.cases)} cases: {counts}.
Code: `{run.code.label}`, {commit}{tree}.

{listed}

## To check it

    sha256sum -c {SUMS}
    suitecase verify "{place}"

The first tells whether a file has changed since the export, the second whether one has changed since the run wrote it.
{again * ("code" in there)}{f"{chr(10)}## What is wrong or missing{chr(10)}{lacking}{chr(10)}" if lacking else ""}"""
