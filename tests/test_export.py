"""What is exported can be checked by others, and holds what ran."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from asking import answer, ask
from conftest import Project, wait_for

from suitecase.errors import SuitecaseError
from suitecase.queries.export import export_run
from suitecase.queries.verification import verify_run
from suitecase.rundir import read_run

ODD = "odd\\name\nof a file"


def sums_hold(folder: Path) -> bool:
    command = ["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A dirty run with an untracked file, results, items, a link, and a file with an odd name."""
    project = Project(tmp_path_factory.mktemp("export") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    project.write("untracked.py", "VALUE = 1\n")
    project.write("tool.sh", "#!/bin/sh\n").chmod(0o755)
    code = (
        "(folder / 'results.json').write_text('{\"x\": 1.5}'); (folder / config['name']).touch(); "
        '(folder / \'items.jsonl\').write_text(\'{"key": "k", "repeat": 0}\\n\'); '
        "(folder / 'link').symlink_to('config.json'); os.mkfifo(folder / 'pipe')"
    )
    project.suite(f"[ExperimentCase(v, Config(do={code!r}, name={ODD!r})) for v in 'ab']")
    done = project.run_forked("-q")
    assert done.code == 0, done
    return project


def test_folder(made: Project, tmp_path: Path) -> None:
    target = tmp_path / "artefact"
    listing = made.listing()
    done = answer(made, "export", "exp", "--to", target)
    assert made.listing() == listing
    assert done["path"] == str(target)
    assert done["files"] == len(contents(target))
    assert any("a/pipe is a pipe" in note for note in done["notes"])
    assert sums_hold(target)
    assert len((target / "SHA256SUMS").read_bytes().splitlines()) == done["files"] - 3, "itself and two links"
    assert (target / "code" / "untracked.py").read_text() == "VALUE = 1\n"
    assert (target / "code" / "suite.py").read_text() == (made.root / "suite.py").read_text()
    assert os.access(target / "code" / "tool.sh", os.X_OK)
    assert {path.name for path in (target / "code").iterdir()} == {
        path.name for path in made.root.iterdir() if path.name not in (".git", "results", "__pycache__")
    }
    rows = list(csv.DictReader((target / "results.csv").read_text().splitlines()))
    assert [(row["variant"], row["result.x"]) for row in rows] == [("a", "1.5"), ("b", "1.5")]
    assert json.loads((target / "results.json").read_text())["b"] == {"x": 1.5}
    assert json.loads((target / "config.json").read_text())["a"]["name"] == ODD
    items = [json.loads(line) for line in (target / "items.jsonl").read_text().splitlines()]
    assert [item["variant"] for item in items] == ["a", "b"]
    readme = (target / "README.md").read_text()
    assert "sha256sum -c SHA256SUMS" in readme
    place = readme.partition('suitecase verify "')[2].partition('"')[0]
    found = verify_run(target / place)
    assert [problem.rpartition("/")[2] for problem in found.problems] == ["pipe is missing."] * 2
    (target / "results.csv").write_text("other")
    assert not sums_hold(target)


def test_nothing_is_overwritten(made: Project, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.zip").touch()
    (tmp_path / "dangling.zip").symlink_to("nowhere")
    for name in ("folder", "file.zip", "dangling.zip"):
        with pytest.raises(SuitecaseError, match="is there already"):
            export_run(read_run(made.run_dir), tmp_path / name)
    assert ask(made, "export", "exp", "--to", tmp_path / "folder").code == 2
    with pytest.raises(SuitecaseError, match="in the run itself"):
        export_run(read_run(made.run_dir), made.run_dir / "x")
    assert sorted(os.listdir(tmp_path)) == ["dangling.zip", "file.zip", "folder"]


def test_archives_are_equal_byte_by_byte(made: Project, tmp_path: Path) -> None:
    """Of one run, whenever it is exported, and with the contents of the folder."""
    run = read_run(made.run_dir)
    first, second = (export_run(run, tmp_path / place / "artefact.zip").path for place in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    folder = export_run(run, tmp_path / "artefact").path
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        plain = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/link")}
        links = [archive.read(name) for name in archive.namelist() if name.endswith("/link")]
    expected = {f"artefact/{name}": content for name, content in contents(folder).items() if not name.endswith("/link")}
    assert plain == expected
    assert links == [b"config.json"] * 2
    assert sorted(os.listdir(tmp_path)) == ["artefact", "one", "two"]


def test_what_is_missing_is_said(project: Project, tmp_path: Path) -> None:
    """Without git there is no code; of a damaged run, what can be read."""
    shutil.rmtree(project.root / ".git")
    project.suite({"a": "(folder / 'results.json').write_text('{\"x\": 1')", "b": "pass"})
    assert project.run_forked("-q").code == 0
    (project.run_dir / "environment.json").unlink()
    made = export_run(read_run(project.run_dir), tmp_path / "artefact")
    assert not (made.path / "code").exists()
    readme = (made.path / "README.md").read_text()
    for words in ("There is no code/", "environment.json is missing", "torn or damaged"):
        assert any(words in note for note in made.notes), made.notes
        assert words in readme
    assert sums_hold(made.path)


def test_a_run_that_goes_on_is_refused(project: Project, tmp_path: Path) -> None:
    project.suite({"a": "while not os.path.exists('go'): time.sleep(0.01)"})
    runner = project.start("-q")
    wait_for(lambda: project.runs())
    with pytest.raises(SuitecaseError, match="goes on"):
        export_run(read_run(project.run_dir), tmp_path / "artefact")
    project.write("go", "")
    assert project.finish(runner).code == 0
    assert not (tmp_path / "artefact").exists()
