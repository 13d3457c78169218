"""`--env-file`: keys reach the cases, and nothing else."""

from __future__ import annotations

import json

import pytest
from conftest import Project

SECRET = "sk-$HOME-4711"
TELL = "Path('seen.txt').write_text(' '.join(str(os.environ.get(n)) for n in ('A_KEY', 'OTHER', 'MINE')))"
BEFORE = "import os\nfrom pathlib import Path\nPath('suite.txt').write_text(str(os.environ.get('A_KEY')))"


def test_cases_get_the_variables_and_no_record_has_their_values(project: Project) -> None:
    """Only the cases see them, over the shell's and under the suite's own; of the record, names."""
    project.write("keys.env", f"# mine\nexport A_KEY='{SECRET}'\nOTHER=\"two words\"\nMINE=file\n")
    project.write(".gitignore", "keys.env\nresults\n*.txt\n")
    project.suite({"a": f"from pathlib import Path; {TELL}"}, before=BEFORE, more="env={'MINE': 'suite'}")
    done = project.run("--env-file", "keys.env", "-v", env={"A_KEY": "from the shell"})
    assert done.code == 0, done.stdout + done.stderr
    assert (project.root / "seen.txt").read_text() == f"{SECRET} two words suite"
    assert (project.root / "suite.txt").read_text() == "from the shell"
    run = json.loads((project.run_dir / "run.json").read_text())
    assert run["environment_names"] == ["A_KEY", "MINE", "OTHER"]
    told = [done.stdout, done.stderr, *(path.read_text(errors="replace") for path in project.run_dir.rglob("*.*"))]
    assert not [text for text in told if SECRET in text or "two words" in text]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "can't be read: No such file"),
        ("GOOD=1\nsk-4711-and-no-name\n", "line 2: write it NAME=VALUE."),
        ("GOOD=1\n\n=sk-4711\n", "line 3: write it NAME=VALUE."),
    ],
)
def test_bad_file_is_refused_without_showing_it(project: Project, content: str | None, told: str) -> None:
    """Its path and line are told, its content isn't: it may be a key."""
    if content is not None:
        project.write("keys.env", content)
    project.write(".gitignore", "keys.env\n")
    project.suite({"a": "pass"})
    done = project.run("--env-file", "keys.env")
    assert done.code == 2
    assert told in done.stderr
    assert "4711" not in done.stdout + done.stderr
    assert not (project.root / "results").exists()


def test_file_that_would_be_recorded_with_the_code_is_refused(project: Project) -> None:
    """An untracked file in the repository is part of the patch of a run, unless git ignores it."""
    project.write("keys.env", f"A_KEY={SECRET}\n")
    project.suite({"a": "pass"})
    done = project.run("--env-file", "keys.env")
    assert done.code == 2
    assert "add it to .gitignore" in done.stderr
    assert not (project.root / "results").exists()
