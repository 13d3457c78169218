"""What the README and the skill say is executed, the README's own commands included; docs/ has `check_documents.py`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE
from transcripts import clean_environment, run_blocks


@pytest.mark.parametrize("document", ["README.md", "skills/experiment-infrastructure/SKILL.md"])
def test_blocks_of_documents_run_as_written(document: str, tmp_path: Path) -> None:
    """Python and console blocks of a document, in order, in a fresh repository with the two files copied."""
    run_blocks(document, tmp_path)


def test_the_readmes_commands_do_all_the_set_up(tmp_path: Path) -> None:
    """The shell blocks of the README, run in this checkout; its test command runs one file, or it would recurse."""
    blocks = re.findall(
        r"^```bash\n(.*?)^```", (HERE / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    commands = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    assert [c.split()[:3] for c in commands] == [["python3", "dev.py", "digits"], ["python3", "dev.py", "test"]]
    prepared = {"SUITECASE_VENV": sys.prefix} if Path(sys.prefix, "set-up.json").exists() else {}
    printed = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=HERE,
            env=clean_environment(PYTEST_ADDOPTS="-q -o testpaths=tests/test_hook_calls.py", **prepared),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout
        printed += done.stdout
    (made,) = map(Path, re.findall(r"^Run directory: (.*)$", printed, re.MULTILINE))
    assert made.parent == HERE / "results" / "digits"
    assert (made / "run.json").exists()
    shutil.rmtree(made)
