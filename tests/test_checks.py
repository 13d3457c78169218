"""Everything is checked before anything starts: all problems in one message, exit 2, nothing created."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Project

# Each line is an expression that must raise SuiteError; what its problems must contain.
REFUSALS: dict[str, tuple[str, list[str]]] = {
    "no cases": (
        'run_experiments([], "work.py", "exp")',
        ["the suite has no cases: give run_experiments at least one"],
    ),
    "duplicate": (
        'run_experiments([case("a"), case("a"), case("b")], "work.py", "exp")',
        ["variant name 'a' is given to 2 cases: each needs its own."],
    ),
    "colliding": (
        'run_experiments([case("Model-A"), case("model-a")], "work.py", "exp")',
        ["variant names 'Model-A', 'model-a' are one folder where case or accents aren't told apart."],
    ),
    "names": (
        'run_experiments([case("openai/gpt-4o"), case("..")], "work.py", "a/b")',
        [
            "experiment name 'a/b' contains a slash: use for example 'a-b'.",
            "variant name 'openai/gpt-4o' contains a slash: use for example 'openai-gpt-4o'.",
            "variant name '..' begins with a dot and begins or ends with a space or a dot",
        ],
    ),
    "variant name no text": (
        'run_experiments([case(3)], "work.py", "exp")',
        ["variant name 3 is a int: it must be text."],
    ),
    "experiment name no text": (
        'run_experiments([case("a")], "work.py", None)',
        ["experiment name None is a NoneType: it must be text."],
    ),
    "config a dict": (
        'run_experiments([ExperimentCase("a", {"x": 1})], "work.py", "exp")',
        ["case 'a': its config is a dict, not a BaseExperimentConfig."],
    ),
    "config a class": (
        'run_experiments([ExperimentCase("a", Config)], "work.py", "exp")',
        ["case 'a': its config is the class Config, not a BaseExperimentConfig."],
    ),
    "config of pydantic": (
        'run_experiments([ExperimentCase("a", pydantic.create_model("Other", x=(int, 1))())], "work.py", "exp")',
        ["case 'a': its config is a Other, not a BaseExperimentConfig."],
    ),
    "case no case": ('run_experiments([("a", Config())], "work.py", "exp")', ["is a tuple, not an ExperimentCase"]),
    "entry point missing": (
        'run_experiments([case("a")], "wrk.py", "exp")',
        ["entry point 'wrk.py' was not found in ", "name the script that each case executes. Did you mean 'work.py'?"],
    ),
    "entry point a folder": ('run_experiments([case("a")], "folder", "exp")', ["entry point 'folder' is a folder ("]),
    "entry point empty": ('run_experiments([case("a")], "", "exp")', ["is a folder"]),
    "entry point hostile": (
        'run_experiments([case("a")], "a\\0b.py", "exp")',
        ["entry point 'a\\x00b.py' was not found in"],
    ),
    "entry point too long": ('run_experiments([case("a")], "x" * 5000, "exp")', ["was not found in"]),
    "entry point not executable": (
        'run_experiments([case("a")], "data.txt", "exp")',
        ["data.txt is neither a .py file nor executable."],
    ),
    "parallelism 0": (
        'run_experiments([case("a")], "work.py", "exp", parallelism=0)',
        ["parallelism is 0: it must be at least 1, or 'all'."],
    ),
    "parallelism -1": (
        'run_experiments([case("a")], "work.py", "exp", parallelism=-1)',
        ["parallelism is -1: it must be"],
    ),
    "parallelism text": (
        'run_experiments([case("a")], "work.py", "exp", parallelism="many")',
        ["parallelism is 'many': it must be at least 1, or 'all'."],
    ),
    "mode": (
        'run_experiments([case("a")], "work.py", "exp", mode="inspct")',
        ["mode is 'inspct': it must be 'standard' or 'inspect'."],
    ),
    "only": (
        'run_experiments([case("gpt-4"), case("claude")], "work.py", "exp", only=["gtp-4", "cl*", "*x*"])',
        ["no case is named 'gtp-4'. Did you mean 'gpt-4'?", "no case is named '*x*'."],
    ),
    "resume": (
        'run_experiments([case("a")], "work.py", "exp", resume="latest")',
        ["--resume latest: there is no run in "],
    ),
    "environment": (
        'run_experiments([ExperimentCase("a", Config(), {"N": 1})], "work.py", "exp", env={"A=B": "x", "C": "\\0"})',
        ["case 'a': env: 'N' is no environment variable", "env: 'A=B' is no environment variable", "env: 'C' is no"],
    ),
    "environment no dict": (
        'run_experiments([ExperimentCase("a", Config(), None)], "work.py", "exp", env=["A=B"])',
        ["case 'a': env is None: give a dict of text.", "env is ['A=B']: give a dict of text."],
    ),
    "other types": (
        'run_experiments(3, None, "exp", only="gpt-4", tags=(i for i in "ab"), policy={"nice": 1})',
        [
            *("cases is 3: give a list of ExperimentCase.", "entry_point is None: give a path."),
            *("only is 'gpt-4': give a list of text.", "tags is <generator", "policy is {'nice': 1}: give an Exec"),
        ],
    ),
    "what can't travel": (
        'run_experiments([loose("a", any=object()), loose("b", text="\\ud800"), loose("c")], "work.py", "exp")',
        ["case 'a', field any: ", "case 'b', field text: "],
    ),
    "results folder a file": (
        'run_experiments([case("a")], "work.py", "exp", results_dir="data.txt")',
        ["data.txt is a file."],
    ),
    "results folder under a file": (
        'run_experiments([case("a")], "work.py", "exp", results_dir="data.txt/deep/er")',
        ["data.txt is a file."],
    ),
    "experiment folder a link": (
        'run_experiments([case("a")], "work.py", "linked")',
        ["linked is a link: only the results folder itself may be one."],
    ),
    "experiment folder a file": ('run_experiments([case("a")], "work.py", "afile")', ["afile is a file."]),
    "everything at once": (
        'run_experiments([case("-a"), of("b", 3)], "none", "con", parallelism=0, only=["z"], results_dir="data.txt")',
        [
            *("experiment name 'con' ", "variant name '-a' ", "case 'b': its config is a int", "entry point 'none'"),
            *("data.txt is a file", "parallelism is 0", "no case is named 'z'"),
        ],
    ),
}

ASKING = """\
import json, sys
import pydantic
from typing import Any
from experiment_runner import ExperimentCase, SuiteError, run_experiments
from experiment_config import BaseExperimentConfig
from config import Config


class Loose(BaseExperimentConfig):
    any: Any = None
    text: str = ""


def case(variant):
    return ExperimentCase(variant, Config())


def loose(variant, **values):
    return ExperimentCase(variant, Loose(**values))


def of(variant, config):
    return ExperimentCase(variant, config)


found = {}
for name, expression in json.load(open("refusals.json")).items():
    try:
        found[name] = ["accepted: " + repr(eval(expression))]
    except SuiteError as error:
        found[name] = list(error.problems)
        assert str(error) == "\\n".join(error.problems)
        assert error.exit_code == 2
    except BaseException as error:
        found[name] = ["crashed: " + repr(error)]
json.dump(found, open("found.json", "w"))
"""


@pytest.fixture(scope="module")
def refusals(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Finished]]:
    """A process that has tried every refusal of the table."""
    project = Project(tmp_path_factory.mktemp("checks") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    project.write("data.txt", "")
    (project.root / "folder").mkdir()
    project.write("results/afile", "")
    (project.root / "elsewhere").mkdir()
    (project.root / "results" / "linked").symlink_to(project.root / "elsewhere")
    project.write("refusals.json", json.dumps({name: expression for name, (expression, _) in REFUSALS.items()}))
    project.write("ask.py", ASKING)
    project.write("found.json", "")
    before = project.listing()
    done = project.run_forked(suite="ask.py")
    after = project.listing()
    assert done.code == 0, done.stderr
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {"found.json"}
    yield project, done
    project.close()


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(refusals: tuple[Project, Finished], name: str) -> None:
    """`run_experiments` raises SuiteError with exactly the problems that there are, and creates nothing."""
    project, done = refusals
    problems: list[str] = json.loads((project.root / "found.json").read_text())[name]
    expected = REFUSALS[name][1]
    for text in expected:
        assert any(text in problem for problem in problems), f"{text!r} is not in {problems}"
    for problem in problems:
        assert any(text in problem for text in expected), f"unexpected: {problem}"
        assert problem.endswith((".", "?")) or ", field " in problem, f"a problem is a sentence: {problem}"
    assert done.stdout == ""


def refused(project: Project, *arguments: str, **options: Any) -> list[str]:
    """The lines in which a suite refuses; nothing else is printed, and nothing on disk changes."""
    before = project.listing()
    started = project.run if "before" in options else project.run_forked
    done = started(*arguments, **options)
    assert (done.code, done.stdout) == (2, ""), done
    assert project.listing() == before
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def test_all_problems_in_one_message(project: Project) -> None:
    """The command line prints every problem, one per line with the suite's name in front, and exits 2."""
    project.suite({"a/b": "", "a": "", "A": ""}, entry_point="missing.py", experiment="nul")
    lines = refused(project, "-p", "0", "--only", "zzz", "--set", "x")
    assert len(lines) == 7
    assert all(line.startswith("suite.py: ") for line in lines)
    for text in ("'nul'", "'a/b'", "'A'", "missing.py", "parallelism is 0", "'zzz'", "--set x: write it FIELD=VALUE"):
        assert sum(text in line for line in lines) == 1, text


ONLY_AA = ["--only", "aa"]
WRONG_OPTIONS: list[tuple[list[str], list[str]]] = [
    (ONLY_AA, ["no case is named 'aa'. Did you mean 'a'?"]),
    (["--debug", "bb"], ["no case is named 'bb'. Did you mean 'b'?"]),
    (["--debug", "*"], ["no case is named '*'."]),
    (["-p", "0"], ["parallelism is 0: it must be at least 1, or 'all'."]),
    (["-p", "-3"], ["parallelism is -3: it must be at least 1, or 'all'."]),
    (["-p", "two"], ["parallelism is 'two': it must be at least 1, or 'all'."]),
    (["--set", "x"], ["--set x: write it FIELD=VALUE."]),
    (["--set", "nmae=a"], ["--set: ", "nmae", "name"]),
    (["--set", "x=many"], ["--set: ", "x: ", "'many'"]),
    (["--set", "x=many", "--set", "seed=lots"], ["--set: ", "x: ", "seed: "]),
    (["--set", "output_dir=/tmp/x"], ["--set: ", "output_dir"]),
    (["--set", "=1"], ["--set =1: write it FIELD=VALUE."]),
    (["--resume", ""], ["--resume: name a run directory, or 'latest'."]),
    (["--debug", "a", "--json"], ["--debug has one case and the terminal"]),
    (["--results-dir", "."], ["is the project itself"]),
    (["--set", "config-fields=seed"], ["config-fields: not a field"]),
    (["--resume", "latest"], ["--resume latest: there is no run in "]),
    (["--resume", "results/exp/none"], ["--resume results/exp/none: there is no such run directory."]),
    (["--results-dir", "work.py"], ["work.py is a file."]),
]
MISUSES = [["--nonsense"], ["--parallelism"], ["stray"]]

# Within a suite: it goes on once for each command line, with the imports of one process.
IN_TURN = """
import json, os, sys
codes = []
for number, arguments in enumerate(json.loads(os.environ["COMMAND_LINES"])):
    pid = os.fork()
    if pid == 0:
        sys.argv[1:] = arguments
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(os.path.join(os.environ["PRINTED"], f"{number}.{name}"), os.O_CREAT | os.O_WRONLY), stream)
        break
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    print(json.dumps(codes))
    sys.exit()
"""


def refused_in_turn(project: Project, command_lines: list[list[str]], **options: Any) -> dict[str, list[str]]:
    """The lines in which a suite refuses each command line; nothing else is printed, and nothing on disk changes."""
    printed = project.root.parent / "printed"
    printed.mkdir()
    project.suite({"a": "", "b": ""}, before=IN_TURN)
    listing = project.listing()
    done = project.run(env={"COMMAND_LINES": json.dumps(command_lines), "PRINTED": str(printed)}, **options)
    assert (json.loads(done.stdout), done.stderr) == ([2] * len(command_lines), "")
    assert project.listing() == listing
    found: dict[str, list[str]] = {}
    for number, arguments in enumerate(command_lines):
        assert (printed / f"{number}.stdout").read_text() == ""
        text = (printed / f"{number}.stderr").read_text()
        assert "Traceback" not in text
        found[" ".join(arguments)] = text.splitlines()
    return found


@pytest.fixture(scope="module")
def refused_options(new_project: Callable[[str], Project]) -> dict[str, list[str]]:
    """What a suite says to each."""
    command_lines = [arguments for arguments, _ in WRONG_OPTIONS] + [[*ONLY_AA, "--dry-run"]] + MISUSES
    return refused_in_turn(new_project("options"), command_lines)


@pytest.mark.parametrize(("arguments", "expected"), WRONG_OPTIONS, ids=" ".join)
def test_wrong_options(refused_options: dict[str, list[str]], arguments: list[str], expected: list[str]) -> None:
    """A wrong option is refused in a sentence that names what is nearest; a dry run refuses in the same words."""
    lines = refused_options[" ".join(arguments)]
    text = "\n".join(lines)
    assert all(part in text for part in expected), text
    if arguments == ONLY_AA:
        assert refused_options[" ".join([*arguments, "--dry-run"])] == lines


def test_ambiguous_entry_point(project: Project) -> None:
    """Two different files for one name are an error that names both; a longer path settles it."""
    first, second = project.write("sub/work.py", ""), project.root / "work.py"
    (line,) = refused(project, cwd=project.root / "sub")
    assert "entry point 'work.py' is ambiguous: " in line
    assert str(first) in line
    assert str(second) in line
    project.suite({"a": ""}, entry_point=str(second))
    assert project.run_forked("--dry-run", cwd=project.root / "sub").code == 0


def test_same_file_by_two_ways_is_not_ambiguous(project: Project) -> None:
    """A link to the entry point is the entry point."""
    (project.root / "sub").mkdir()
    (project.root / "sub" / "work.py").symlink_to(project.root / "work.py")
    assert project.run_forked("--dry-run", cwd=project.root / "sub").code == 0


@pytest.mark.parametrize("place", ["current folder", "project root", "suite's folder", "beside the runner"])
def test_where_an_entry_point_is_looked_for(project: Project, place: str, tmp_path: Path) -> None:
    """An entry point is found in the current folder, the project root, the suite's folder and beside the runner."""
    entry_point = (project.root / "work.py").read_text()
    (project.root / "work.py").unlink()
    elsewhere, library = tmp_path / "elsewhere", tmp_path / "library"
    elsewhere.mkdir()
    library.mkdir()
    for name in ("experiment_runner.py", "experiment_config.py", "config.py"):
        (project.root / name).rename(library / name)
    project.suite({"a": ""}, path="deep/er/suite.py", entry_point="found.py")
    folder = {
        "current folder": elsewhere,
        "project root": project.root,
        "suite's folder": project.root / "deep" / "er",
        "beside the runner": library,
    }[place]
    (folder / "found.py").write_text(entry_point)
    env = {"PYTHONPATH": str(library)}
    done = project.run_forked("--describe", suite="deep/er/suite.py", cwd=elsewhere, env=env)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["entry_point"] == str(folder / "found.py")


def test_what_cannot_travel(project: Project) -> None:
    """A value that no config.json can hold is refused by case and field, for every case, before the run begins."""
    project.suite(
        "[ExperimentCase(f'c{i}', Loose(value=value)) for i, value in enumerate([object(), 1, {1: object()}])]",
        before="from typing import Any\nfrom experiment_config import BaseExperimentConfig\n"
        "class Loose(BaseExperimentConfig):\n    value: Any = None\n",
    )
    lines = refused(project)
    assert len(lines) == 2
    assert lines[0].startswith("suite.py: case 'c0', field value: ")
    assert lines[1].startswith("suite.py: case 'c2', field value: ")


def test_config_that_read_the_suites_command_line(project: Project) -> None:
    """A config that took the suite's own flags for its fields makes the suite refuse to run."""
    project.write("helper.py", "from experiment_runner import ExperimentCase, run_experiments_cli\n")
    project.write(
        "suite.py",
        "from experiment_config import BaseExperimentConfig\nimport helper\n"
        "class Noted(BaseExperimentConfig):\n    note: str = ''\n    do: str = ''\n"
        "helper.run_experiments_cli([helper.ExperimentCase('a', Noted())], 'work.py', 'exp')\n",
    )
    (line,) = refused(project, "--note", "hello")
    assert "a config of this process has read its command line (--note hello)" in line
    assert project.run_forked().code == 0


def test_suite_that_imports_the_runner_reads_no_command_line(project: Project) -> None:
    """A field that is named like a flag keeps its default in the suite."""
    project.suite(
        "[ExperimentCase('a', Noted(do='print(config[\"note\"])'))]",
        before="from experiment_config import BaseExperimentConfig\n"
        "class Noted(BaseExperimentConfig):\n    note: str = 'default'\n    do: str = ''\n",
    )
    assert project.run_forked("--note", "hello").code == 0
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "default\n"


def test_dry_run_writes_nothing(project: Project) -> None:
    """A dry run creates no folder and leaves git's index as it was."""
    index = project.root / ".git" / "index"
    os.utime(project.root / "work.py")  # a status would now refresh the index
    before, facts = project.listing(), (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_ino)
    done = project.run_forked("--dry-run")
    assert done.code == 0, done.stderr
    assert project.listing() == before
    assert (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_ino) == facts
    assert not (project.root / "results").exists()


def test_dry_run_shows_what_where_and_how_configs_differ(project: Project) -> None:
    """A dry run lists the cases with their folders, and the fields in which they differ."""
    project.suite("[ExperimentCase(f'x{i}', Config(x=i, name='same')) for i in (1, 2)]")
    done = project.run_forked("--dry-run")
    assert "Would run 2 experiments (standard mode, parallelism=2):" in done.stdout
    (directory,) = (line for line in done.lines if line.startswith("Run directory: "))
    name = Path(directory.removeprefix("Run directory: ")).name
    assert f"  x1 -> results/exp/{name}/x1   x=1" in done.lines
    assert f"  x2 -> results/exp/{name}/x2   x=2" in done.lines
    assert "same" not in done.stdout


@pytest.fixture
def without_privileges() -> list[str]:
    """A command under which even root has no more rights than the files give."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to change that")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def test_no_permission(project: Project, without_privileges: list[str]) -> None:
    """A folder that can't be written is named before anything starts, or a dry run goes on."""
    for folder in ("results", "other/exp"):
        (project.root / folder).mkdir(parents=True)
        (project.root / folder).chmod(0o555)
    both = [[], ["--dry-run"]]
    command_lines = [*both, *(["--results-dir", "other", *arguments] for arguments in both)]
    found = list(refused_in_turn(project, command_lines, before=without_privileges).values())
    assert len(found) == 4
    for lines, folder in zip(found, ("results", "results", "other/exp", "other/exp"), strict=True):
        (line,) = lines
        assert line.endswith(f"{folder.partition('/')[0]} can't be written: no permission in {project.root / folder}.")


def test_vanished_current_folder(project: Project, tmp_path: Path) -> None:
    """Started from a folder that is gone, a suite says so in one line."""
    gone = tmp_path / "gone"
    gone.mkdir()
    shell = ["sh", "-c", f'rmdir "{gone}"; exec "$@"', "sh"]
    (line,) = refused(project, cwd=gone, before=shell)
    assert "the current folder doesn't exist any more" in line


def test_unreadable_pyproject(project: Project) -> None:
    """A pyproject.toml that is no TOML, or whose results_dir is no text, is named."""
    project.write("pyproject.toml", "[tool.suitecase\n")
    (line,) = refused(project)
    assert "pyproject.toml can't be read: " in line
    project.write("pyproject.toml", "[tool]\nsuitecase = 3\n")
    (line,) = refused(project)
    assert "pyproject.toml can't be read: " in line
    project.write("pyproject.toml", "[tool.suitecase]\nresults_dir = 3\n")
    (line,) = refused(project)
    assert "pyproject.toml: [tool.suitecase] results_dir must be text." in line


@pytest.mark.parametrize("flag", [flag for (flag,) in MISUSES])
def test_argument_errors(refused_options: dict[str, list[str]], flag: str) -> None:
    """A flag that the suite doesn't know, a flag without its value and a stray word exit 2."""
    assert flag in "\n".join(refused_options[flag])


def test_syntax_error_in_the_suite(project: Project) -> None:
    """A suite that crashes while it declares its cases creates nothing."""
    project.suite("[1 / 0]")
    before = project.listing()
    done = project.run_forked()
    assert done.code == 1
    assert "ZeroDivisionError" in done.stderr
    assert project.listing() == before
