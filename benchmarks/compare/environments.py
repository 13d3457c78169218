"""An environment of its own for each peer, made once and kept in a cache folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["NotThereError", "debian_program", "python_environment"]

INSTALL_LIMIT_S = 600
CONFIG_REQUIREMENTS = ("pydantic", "pydantic-settings")


class NotThereError(Exception):
    """A peer can't be had on this machine; the text says why."""


def python_environment(folder: Path, requirements: Sequence[str], *, with_config: bool) -> Path:
    """The interpreter of a virtual environment that holds these packages, installed now unless they are there.

    Args:
        folder: The environment's own. What is there is kept if its stamp says the same, else made again.
        requirements: As pip takes them.
        with_config: Whether to add what `experiment_config` needs, in the versions of this process.

    Raises:
        NotThereError: If pip can't install them.
    """
    wanted = [*requirements, *(f"{name}=={version(name)}" for name in CONFIG_REQUIREMENTS if with_config)]
    stamp = folder / "requirements.txt"
    text = "\n".join([f"# Python {sys.version.split()[0]}", *wanted]) + "\n"
    python = folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == text and python.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        run_or_refuse([sys.executable, "-m", "venv", str(folder)])
        run_or_refuse([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted])
        stamp.write_text(text)
    return python


def debian_program(folder: Path, package: str, program: str, says: str) -> Path:
    """A program of the PATH, or else of Debian's package, unpacked into the folder without being installed.

    Args:
        says: What its `--version` begins with: other programs may have its name.

    Raises:
        NotThereError: If it is neither.
    """
    if (found := shutil.which(program)) and first_line([found, "--version"]).startswith(says):
        return Path(found)
    unpacked = folder / "usr" / "bin" / program
    if not unpacked.exists():
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise NotThereError(f"no {says} on the PATH, and no apt-get to fetch it with")
        folder.mkdir(parents=True, exist_ok=True)
        run_or_refuse(["apt-get", "download", "-q", package], folder)
        (archive,) = folder.glob("*.deb")
        run_or_refuse(["dpkg-deb", "-x", str(archive), str(folder)])
    return unpacked


def first_line(command: Sequence[str]) -> str:
    """The first line that a command prints; empty if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


def run_or_refuse(command: Sequence[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise NotThereError(f"{Path(command[0]).name} took longer than {INSTALL_LIMIT_S} s") from None
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if re.match("E(RROR)?: ", line)), lines[-1] if lines else "")
        raise NotThereError(f"{Path(command[0]).name} ended with {done.returncode}: {said}")
