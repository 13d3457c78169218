"""What the documents say is executed: shell transcripts, Python blocks, and the README's own commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEADLINE_S
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parent.parent
COMPUTED = ["docs/statistics.md", "docs/which-test.md"]
"""Their Python blocks only compute, so this process runs them; what they print is the `text` block after each."""
DOCUMENTS = [
    "README.md",
    "skills/experiment-infrastructure/SKILL.md",
    *(name for p in ROOT.glob("docs/*.md") if (name := str(p.relative_to(ROOT))) not in COMPUTED),
]


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
            env=clean_environment(PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)])),
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
    """How to execute a block: a Python block that begins with a file's name is that file, others run."""

    def evaluate(example: Example) -> None:
        language, text = example.region.lexemes["arguments"], str(example.parsed)
        if language == "console":
            run_transcript(text, folder)
            return
        name = re.match(r"# (\S+\.py)\n", text)
        if name:
            path = folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        command = [sys.executable, "-c", text]
        subprocess.run(command, cwd=folder, env=clean_environment(), check=True, timeout=DEADLINE_S)

    return evaluate


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_of_documents_run_as_written(document: str, tmp_path: Path) -> None:
    """Python and console blocks of a document, in order, in a fresh repository with the two files copied."""
    if document != FROM_NOTHING:
        make_repository(tmp_path, document)
    evaluate = in_project(tmp_path)
    parsers = [CodeBlockParser(language, evaluate) for language in ("python", "console")]
    examples = list(Sybil(parsers=parsers).parse(ROOT / document).examples())
    for example in examples:
        example.evaluate()
    assert examples or document.startswith("docs/"), f"{document} has no block to run"


FROM_NOTHING = "docs/session.md"
"""It begins in an empty folder."""


def make_repository(folder: Path, document: str) -> None:
    """The two files, committed; for the README an experiment as well."""
    for name in ("experiment_config.py", "experiment_runner.py"):
        shutil.copy(ROOT / name, folder / name)
    if document == "README.md":
        shutil.copytree(ROOT / "experiments" / "prompt-variants", folder / "experiments" / "prompt-variants")
    (folder / ".gitignore").write_text("__pycache__/\nresults/\n")
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


@pytest.mark.parametrize("document", COMPUTED)
def test_blocks_that_compute_print_what_stands_below(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block by itself, as a reader would copy it."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python")
    for code, shown in blocks:
        exec(compile(code, document, "exec"), {})
        assert (shown, code) == (capsys.readouterr().out, code)


def test_the_readmes_commands_do_all_the_set_up(tmp_path: Path) -> None:
    """The shell blocks of the README, run in this checkout; its test command collects only, or it would recurse."""
    blocks = re.findall(
        r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    commands = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    assert [c.split()[:3] for c in commands] == [["python3", "dev.py", "digits"], ["python3", "dev.py", "test"]]
    prepared = {"SUITECASE_VENV": sys.prefix} if Path(sys.prefix, "set-up.json").exists() else {}
    printed = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=clean_environment(PYTEST_ADDOPTS="--collect-only -q", **prepared),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout
        printed += done.stdout
    (made,) = map(Path, re.findall(r"^Run directory: (.*)$", printed, re.MULTILINE))
    assert made.parent == ROOT / "results" / "digits"
    assert (made / "run.json").exists()
    shutil.rmtree(made)
