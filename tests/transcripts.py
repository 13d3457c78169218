"""Documents executed: shell transcripts and Python blocks, in a repository of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import DEADLINE_S, HERE
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

FROM_NOTHING = "docs/session.md"
"""It begins in an empty folder."""


def run_blocks(document: str, folder: Path) -> None:
    """Run a document's Python and console blocks, in order, in a fresh repository with the two files copied."""
    if document != FROM_NOTHING:
        make_repository(folder, document)
    evaluate = in_project(folder)
    parsers = [CodeBlockParser(language, evaluate) for language in ("python", "toml", "console")]
    examples = list(Sybil(parsers=parsers).parse(HERE / document).examples())
    for example in examples:
        example.evaluate()
    assert examples or document.startswith("docs/"), f"{document} has no block to run"


def make_repository(folder: Path, document: str) -> None:
    """The two files, committed; for the README an experiment as well."""
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copy(HERE / name, folder / name)
    if document == "README.md":
        shutil.copytree(HERE / "experiments" / "prompt-variants", folder / "experiments" / "prompt-variants")
    (folder / ".gitignore").write_text("__pycache__/\nresults/\n")
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def clean_environment(**added: str) -> dict[str, str]:
    """This environment without what tells a child that it runs in a test."""
    dropped = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTEST_", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"} | added


def matches(expected: str, printed: str) -> bool:
    """Whether a transcript fits; `…` stands for anything, a line of its own for any number of lines."""
    pattern = re.escape(expected.strip()).replace("…", r".*")
    return re.fullmatch(pattern, printed.strip(), flags=re.DOTALL) is not None


def run_transcript(text: str, folder: Path) -> None:
    """Run the `$` lines of a block one after the other and compare what they print."""
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        while expected.startswith("> "):
            further, _, expected = expected[2:].partition("\n")
            command += f"\n{further}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=clean_environment(PYTHONPATH=os.pathsep.join([str(folder), str(HERE)])),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        assert not expected.strip() or matches(expected, done.stdout), (
            f"$ {command}\n{done.stdout}\n-- expected --\n{expected}"
        )
        if not expected.strip():
            assert done.returncode == 0, f"$ {command}\n{done.stdout}"


def in_project(folder: Path) -> Callable[[Example], None]:
    """How to execute a block: one that begins with a file's name is that file, other Python runs."""

    def evaluate(example: Example) -> None:
        language, text = example.region.lexemes["arguments"], str(example.parsed)
        if language == "console":
            run_transcript(text, folder)
            return
        name = re.match(r"# (\S+\.(?:py|toml))\n", text)
        if name:
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        if language == "toml":
            return
        command = [sys.executable, "-c", text]
        subprocess.run(command, cwd=folder, env=clean_environment(), check=True, timeout=DEADLINE_S)

    return evaluate
