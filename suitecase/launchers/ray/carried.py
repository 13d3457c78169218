"""Attempts on nodes that share no folder with the runner: code and config go there, and the case's folder comes back.

As a program, on the node, in the uploaded project:

    python -I -S .suitecase/carried.py

It builds a run directory of one case from the variable SUITECASE_CARRIED, has `attempt.py` run the attempt there,
passes on what the case prints as it comes, and at the end prints the case's folder, packed, in one line that `unpack`
knows by the attempt's mark. It imports nothing but what was uploaded beside it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "CARRIED",
    "FOLDER",
    "PROGRAM",
    "DamagedError",
    "TooLargeError",
    "TooMuchError",
    "carried_variable",
    "main",
    "opening",
    "print_packed",
    "unpack",
]

CARRIED = "SUITECASE_CARRIED"
FOLDER = ".suitecase"
"""Where our own files lie in the uploaded project."""

PROGRAM = f"{FOLDER}/{Path(__file__).name}"
LOG_PIECE = 1 << 16

VARIABLE_BYTES = 120_000
"""What a variable may take: Linux stops at 128 KiB (execve(2)), and Ray hands all of them on in one of its own too."""


class TooLargeError(Exception):
    """A config, or an environment, is too large for a variable."""


class DamagedError(Exception):
    """What came back is not what was sent, or nothing came back."""


class TooMuchError(DamagedError):
    """The files of a case are more than may come back."""


# --- On the runner's side --------------------------------------------------------------------------------------------


def carried_variable(spec: Mapping[str, Any], environment: Mapping[str, str], folder: Path, limit_bytes: int) -> str:
    """What an attempt needs beside the code, as one variable: its spec, its own variables, its config.

    Raises:
        TooLargeError: There is no room for it in a variable, packed.
    """
    config = (folder / "config.json").read_text(encoding="utf-8")
    carried = {
        "spec": dict(spec), "environment": dict(environment), "config": config, "run_dir": str(folder.parent),
        "python": sys.executable, "limit_bytes": limit_bytes,
    }  # fmt: skip
    variable = base64.b64encode(zlib.compress(json.dumps(carried).encode())).decode()
    if len(variable) > VARIABLE_BYTES:
        raise TooLargeError(
            f"config and variables take {len(variable)} bytes, packed, and {VARIABLE_BYTES} fit where no folder is "
            "shared: put what is large into a file of the project, and its name into the config"
        )
    return variable


def unpack(log: str, mark: int, folder: Path, keep: Sequence[str] = ("config.json",)) -> None:
    """Bring the files of a case back, out of its job's log; the record of its end comes last.

    Args:
        keep: Files of the folder that stay as they are.

    Raises:
        DamagedError: The log doesn't have them, or not whole.
        TooMuchError: They are too large.
    """
    start = log.rfind(f"\n{opening(mark)} ")
    if start < 0:
        raise DamagedError("its files did not come back")
    said, sha256, packed = [*log[start + 1 :].partition("\n")[0].split(" "), "", ""][1:4]
    if said == "refused":
        raise TooMuchError(base64.b64decode(sha256).decode("utf-8", "replace"))
    try:
        content = base64.b64decode(packed, validate=True)
    except ValueError:
        content = b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedError("its files came back damaged")
    with tempfile.TemporaryDirectory(prefix=".carried-", dir=folder) as made:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            archive.extractall(made, filter="data")
        # The attempt's record says that all else is there.
        moved = sorted(Path(made).iterdir(), key=lambda path: path.name.startswith("attempt-"))
        for path in sorted(moved, key=lambda path: path.name == f"attempt-{said}.json"):
            if path.name not in keep:
                replace(path, folder / path.name)


def replace(path: Path, target: Path) -> None:
    """Put a file or a folder in the place of an earlier attempt's."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(path, target)


def opening(mark: int) -> str:
    return f"suitecase-carried-{mark}"


# --- On the node -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the attempt of SUITECASE_CARRIED; its exit code."""
    carried: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(os.environ.pop(CARRIED))))
    attempt = load(Path(__file__).with_name("attempt.py"))
    with tempfile.TemporaryDirectory(prefix="suitecase-", ignore_cleanup_errors=True) as made:
        run_dir = Path(made) / "run"
        places = {carried["run_dir"]: str(run_dir), carried["spec"]["root"]: os.getcwd()}
        spec = moved(carried, places)
        folder = run_dir / spec["variant"]
        folder.mkdir(parents=True)
        config = carried["config"].replace(json.dumps(carried["run_dir"])[1:-1], json.dumps(str(run_dir))[1:-1])
        (folder / "config.json").write_text(config, encoding="utf-8")
        path = run_dir / attempt.ATTEMPTS / "carried" / "0.json"
        path.parent.mkdir(parents=True)
        environment = {name: moved_text(value, places) for name, value in carried["environment"].items()}
        attempt.Spec(**spec).write(path, environment)
        follower = LogFollower(folder / f"attempt-{spec['attempt']}.log")
        follower.start()
        code = attempt.main([str(path)])
        follower.finish()
        print_packed(folder, spec["mark"], spec["attempt"], carried["limit_bytes"])
    return int(code)


def load(file: Path) -> Any:
    """A module that lies beside this one, wherever that is."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def moved(carried: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """The spec with the paths of this node: of the interpreter, the entry point, and what lies in the run directory.

    A config's own paths stay as they were declared.
    """
    spec: dict[str, Any] = dict(carried["spec"])
    command: list[str] = spec["command"]
    of_run = dict(list(places.items())[:1])
    at = command.index(spec["entry_point"]) + 1
    begin = [sys.executable if word == carried["python"] else moved_text(word, places) for word in command[:at]]
    spec["command"] = begin + [moved_text(word, of_run) for word in command[at:]]
    spec["root"], spec["entry_point"] = (moved_text(spec[name], places) for name in ("root", "entry_point"))
    spec["runner"] = str(Path(__file__).with_name(Path(spec["runner"]).name))
    return spec


def moved_text(text: str, places: Mapping[str, str]) -> str:
    """A path, or several as in PYTHONPATH, with the folders of the runner's machine become those of this node."""
    parts: list[str] = []
    for part in text.split(os.pathsep):
        for before, after in places.items():  # the run directory may lie in the project, and comes first
            if part == before or part.startswith(before + os.sep):
                part = after + part[len(before) :]
                break
        parts.append(part)
    return os.pathsep.join(parts)


class LogFollower(threading.Thread):
    """Passes on what a log gets, as it comes."""

    def __init__(self, log: Path) -> None:
        super().__init__(daemon=True)
        self.log, self.over = log, threading.Event()

    def run(self) -> None:
        position = 0
        while True:
            over = self.over.wait(1.0)
            try:
                with self.log.open("rb") as file:
                    file.seek(position)
                    while piece := file.read(LOG_PIECE):
                        position += len(piece)
                        sys.stdout.buffer.write(piece)
                        sys.stdout.buffer.flush()
            except FileNotFoundError:
                pass
            if over:
                return

    def finish(self) -> None:
        """Pass on the rest."""
        self.over.set()
        self.join()


def print_packed(folder: Path, mark: int, attempt: int, limit_bytes: int) -> None:
    """Print the case's folder in one line, or why it can't be."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    content = packed.getvalue()
    if len(content) > limit_bytes:
        why = f"its files take {len(content)} bytes, packed, and copy_limit_mb is {limit_bytes / 1e6:g}"
        line = f"{opening(mark)} refused {base64.b64encode(why.encode()).decode()}"
    else:
        line = f"{opening(mark)} {attempt} {hashlib.sha256(content).hexdigest()} {base64.b64encode(content).decode()}"
    sys.stdout.write(f"\n{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
