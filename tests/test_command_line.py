"""The command line of an entry point: how it reads, and which processes read one at all.

A program under test prints `seed=7` and the like: the values that its config got. It runs in a fork of a Python that
has imported pydantic; each way to start one in a new Python as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEADLINE_S, clean_environment
from forking import Forked

import experiment_config
from experiment_config import BaseExperimentConfig

REPOSITORY = Path(str(experiment_config.__file__)).parent

CONFIG = '''
from typing import Any, Literal
from pydantic import BaseModel, Field, StrictInt
from experiment_config import BaseExperimentConfig

class Optimiser(BaseModel):
    name: str = "adam"
    rate: float = Field(default=0.1, alias="learningRate")

class Config(BaseExperimentConfig):
    """Trains a model on 100 % of the data."""

    model: str = Field(default="gpt-4", description="Name of the model (100 % local).")
    num_samples: int = Field(default=10, ge=1, description="How many.")
    shuffle: bool = True
    verbose: bool | None = None
    layers: list[int] = [1, 2]
    tags: list[str] = []
    version: Literal["gpt-4.1", "b"] = "b"
    strict_count: StrictInt = 3
    limit: float | None = 0.5
    optimiser: Optimiser = Optimiser()
    options: dict[str, Any] = {}
    flags: list[bool] = []
    note: str | None = None
'''

SHOW = 'print(f"seed={Config().seed}")\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, the current folder, with a module that stands for the runner and one for a config."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write("experiment_runner.py", "def run_experiments_cli(*_: object) -> None: pass\n\nrun = run_experiments_cli\n")
    write("configs.py", CONFIG)
    return folder


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    # IPython keeps a history and settings for all of a user's sessions; these get their own.
    own = {"IPYTHONDIR": os.path.join(os.getcwd(), ".ipython"), "COLUMNS": "100"}
    # A plugin that is installed here tells nothing of configs, and takes as long to import as they do.
    own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return {**clean_environment(), "PYTHONPATH": os.pathsep.join([os.getcwd(), str(REPOSITORY)]), **own}


def python(*arguments: str, code: int = 0) -> str:
    """What `python ARGUMENT …` prints; its stderr, where an exit code other than 0 is expected."""
    process = Forked(arguments, Path.cwd(), environment())
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    return checked(process.wait(), stdout, stderr, code)


def command(*arguments: str, stdin: str = "", code: int = 0) -> str:
    """The same of any command, in a new process."""
    done = subprocess.run(arguments, input=stdin, env=environment(), capture_output=True, text=True, timeout=DEADLINE_S)
    return checked(done.returncode, done.stdout, done.stderr, code)


def new_python(*arguments: str, stdin: str = "", code: int = 0) -> str:
    """The same of a Python that has imported nothing yet."""
    return command(sys.executable, *arguments, stdin=stdin, code=code)


def checked(code: int, stdout: str, stderr: str, expected: int) -> str:
    assert code == expected, stdout + stderr
    assert "Traceback" not in stderr
    return stderr if expected else stdout


def entry_point(shown: str = "seed", path: str = "train.py") -> str:
    return write(path, f"from configs import Config\nconfig = Config()\nprint(repr(config.{shown}))\n")


# --- An entry point run by hand --------------------------------------------------------------------------------------


def test_help_lists_every_field(project: Path) -> None:
    """--help shows type, default and description of every field, and exits 0."""
    shown = " ".join(python(entry_point(), "--help").split())
    assert shown.startswith("usage: train.py [--FIELD VALUE ...] Trains a model on 100 % of the data. options:")
    for line in (
        "--output_dir str Folder for this case's results; the runner sets it. (default: '')",
        "--seed int Seed of every random choice that this case makes. (default: 42)",
        "--model str Name of the model (100 % local). (default: 'gpt-4')",
        "--num_samples int How many. (default: 10)",
        "--layers list[int] (default: [1, 2])",
        "--version Literal['gpt-4.1', 'b'] (default: 'b')",
        "--limit float | None (default: 0.5)",
        "--optimiser Optimiser (default: Optimiser(name='adam', rate=0.1))",
        "--options dict[str, Any] (default: {})",
    ):
        assert line in shown
    assert python("train.py", "-h") == python("train.py", "--seed", "wrong", "--help")


def test_a_misspelt_flag_names_the_nearest_field(project: Path) -> None:
    """Unknown flags end the program with 2; each is named with the field that may have been meant."""
    said = python(entry_point(), "--modle", "x", "--output-dir=o", "--zzzz", "stray", code=2).splitlines()
    assert said == [
        "train.py: --modle: not a field of any config class. Did you mean --model?",
        "train.py: --output-dir: not a field of any config class. Did you mean --output_dir?",
        "train.py: --zzzz: not a field of any config class.",
        "train.py: --help lists every field.",
    ]


def test_a_stray_argument_is_refused(project: Path) -> None:
    """Values need a flag, and flags a value."""
    said = python(entry_point(), "stray", "--seed", "--model", "x", "-n", "5", code=2)
    assert "unexpected argument 'stray': every value needs a flag, as in --seed 7." in said
    assert "--seed needs a value" in said
    assert "unexpected argument '-n'" in said


def test_wrong_values_say_field_value_and_expectation(project: Path) -> None:
    """All wrong values are named in one message, without a traceback."""
    said = python(entry_point(), "--num_samples", "many", "--version", "c", "--layers=[1,", "--limit", "x", code=2)
    lines = said.splitlines()
    assert lines[0] == (
        "train.py: --num_samples: Input should be a valid integer, unable to parse string as an integer, not 'many'."
    )
    assert lines[1].startswith("train.py: --layers: Input should be a valid list")
    assert lines[2] == "train.py: --version: Input should be 'gpt-4.1' or 'b', not 'c'."
    assert lines[3].startswith("train.py: --limit: Input should be a valid number")
    assert lines[4:] == ["train.py: --help lists every field."]


def test_a_scalar_given_twice_is_refused(project: Path) -> None:
    """Only lists may be repeated: which of two values was meant can't be known."""
    assert "--seed: Input should be a valid integer" in python(entry_point(), "--seed", "1", "--seed", "2", code=2)


def test_constraints_hold_on_the_command_line(project: Path) -> None:
    """A value of the right type must keep the field's limits."""
    said = python(entry_point(), "--num_samples", "0", code=2)
    assert "--num_samples: Input should be greater than or equal to 1, not 0." in said


VALUES: list[tuple[str, list[str], str]] = [
    ("shuffle", ["--no_shuffle"], "False"),
    ("shuffle", ["--shuffle", "false"], "False"),
    ("shuffle", ["--shuffle=false"], "False"),
    ("shuffle", ["--shuffle=0"], "False"),
    ("shuffle", ["--shuffle"], "True"),
    ("shuffle", ["--shuffle", "--seed", "7"], "True"),
    ("verbose", ["--verbose"], "True"),
    ("verbose", ["--no_verbose"], "False"),
    ("layers", ["--layers", "3", "--layers", "4"], "[3, 4]"),
    ("layers", ["--layers", "[3, 4]"], "[3, 4]"),
    ("layers", ["--layers", "3"], "[3]"),
    ("layers", ["--layers", "-3"], "[-3]"),
    ("layers", ["--layers=[]"], "[]"),
    ("tags", ["--tags", "a,b"], "['a,b']"),
    ("tags", ["--tags", "a,b", "--tags", "c"], "['a,b', 'c']"),
    ("tags", ["--tags", '["a", "b"]'], "['a', 'b']"),
    ("tags", ["--tags", "[1]"], "['[1]']"),
    ("tags", ["--tags", "1"], "['1']"),
    ("flags", ["--flags", "true", "--flags", "false"], "[True, False]"),
    ("optimiser", ["--optimiser", '{"name": "sgd", "rate": 3}'], "Optimiser(name='sgd', rate=3.0)"),
    ("options", ["--options", '{"a": [1, null]}'], "{'a': [1, None]}"),
    ("limit", ["--limit", "__none__"], "None"),
    ("limit", ["--limit", "-1e-05"], "-1e-05"),
    ("limit", ["--limit", "nan"], "nan"),
    ("note", ["--note", "null"], "'null'"),
    ("note", ["--note", "7"], "'7'"),
    ("note", ["--note="], "''"),
    ("note", ["--note=--x=y"], "'--x=y'"),
    ("strict_count", ["--strict_count", "7"], "7"),
    ("version", ["--version", "gpt-4.1"], "'gpt-4.1'"),
    ("model", ["--model", "a b\nc"], "'a b\\nc'"),
    ("output_dir", ["--output_dir", "out"], "'out'"),
    ("output_dir", ["--seed", "7", "--output_dir", "out"], "'out'"),
]

# The entry point, once for each command line: the imports are made once.
EVERY_COMMAND_LINE = """
import json, os, sys
from configs import Config

for field, arguments in json.load(open("command_lines.json")):
    pid = os.fork()
    if pid == 0:
        sys.argv[1:] = arguments
        print(repr(getattr(Config(), field)))
        sys.exit()
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def values_read(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What comes of the command lines of `VALUES`."""
    folder = tmp_path_factory.mktemp("values")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("configs.py", CONFIG)
        write("command_lines.json", json.dumps([(field, arguments) for field, arguments, _ in VALUES]))
        return python(write("train.py", EVERY_COMMAND_LINE)).splitlines()


@pytest.mark.parametrize("at", range(len(VALUES)), ids=[" ".join(arguments) for _, arguments, _ in VALUES])
def test_a_value_is_read_as_a_person_means_it(at: int, values_read: list[str]) -> None:
    """Switches, lists by repetition or as JSON, JSON for nested models, and None as __none__."""
    assert len(values_read) == len(VALUES)
    assert values_read[at] == VALUES[at][2]


def test_a_list_of_switches_is_no_switch(project: Path) -> None:
    """A list of booleans needs values, like every list."""
    assert "--flags needs a value" in python(entry_point(), "--flags", code=2)


def test_a_config_without_its_required_value_says_so(project: Path) -> None:
    """A missing required field is named by its flag, not by its alias."""
    write("train.py", CONFIG + "class Strict(Config):\n    data: str = Field(alias='dataSet')\n\nStrict()\n")
    assert "train.py: --data: Field required." in python("train.py", code=2)
    assert "--data: Input should be a valid string, not None." in python("train.py", "--data", "__none__", code=2)


def test_config_fields_needs_the_file(project: Path) -> None:
    """A missing or broken config.json is named."""
    said = python(entry_point(), "--output_dir", "nowhere", "--config-fields", "model", code=2)
    assert "--config-fields needs nowhere/config.json: " in said
    write("out/config.json", "[]")
    assert "is not a JSON object" in python("train.py", "--output_dir", "out", "--config-fields", "model", code=2)


class Small(BaseExperimentConfig):
    name: str = "a"
    switch: bool = False


class Other(BaseExperimentConfig):
    only_of_other: int = 1


def test_from_command_line_reads_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads its argument, or sys.argv where there is none, in any program."""
    monkeypatch.setattr("sys.argv", ["pytest", "--name", "b"])
    assert Small.from_command_line().name == "b"
    assert Small.from_command_line([]).name == "a"
    assert Small.from_command_line(("--switch", "--seed=7")).seed == 7


def test_from_command_line_knows_the_flags_of_its_own_class(capsys: pytest.CaptureFixture[str]) -> None:
    """A flag of another class is unknown to it; the error ends the program with 2, help with 0."""
    with pytest.raises(SystemExit) as caught:
        Small.from_command_line(["--only_of_other", "1"])
    assert caught.value.code == 2
    assert "--only_of_other: not a field of Small." in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        Small.from_command_line(["--help"])
    assert caught.value.code == 0
    assert "--switch" in capsys.readouterr().out


# --- Who reads one ---------------------------------------------------------------------------------------------------

SCRIPT = CONFIG + SHOW


def seven(*arguments: str, by: Callable[..., str] = python) -> None:
    """The program read `--seed 7`."""
    assert "seed=7" in by(*arguments, "--seed", "7").splitlines()


def test_a_script_reads(project: Path) -> None:
    """By hand, whatever the folder and its name, with a relative or an absolute path."""
    seven(write("train.py", SCRIPT), by=new_python)
    seven(write("my test folder/conftest/test.py", SCRIPT))
    seven(str(project / "train.py"))


def test_a_module_reads(project: Path) -> None:
    """python -m package.module, and a folder or package with __main__.py."""
    write("package/train.py", SCRIPT)
    write("package/__main__.py", SCRIPT)
    seven("-m", "package.train", by=new_python)
    seven("-m", "package")
    seven("package", by=new_python)
    seven("package/")


def test_a_script_under_a_tool_reads(project: Path) -> None:
    """The profiler and the tracer of the standard library leave the script its command line."""
    write("train.py", SCRIPT)
    seven("-m", "cProfile", "train.py")
    seven("-m", "trace", "--count", "-C", "counts", "train.py")


def test_a_script_under_coverage_reads(project: Path) -> None:
    """coverage run, of a file and of a module."""
    pytest.importorskip("coverage")
    write("train.py", SCRIPT)
    write("package/train.py", SCRIPT)
    seven("-m", "coverage", "run", "train.py")
    seven("-m", "coverage", "run", "-m", "package.train")


def test_a_script_in_the_debugger_reads(project: Path) -> None:
    """python -m pdb, told to continue."""
    write("train.py", SCRIPT)
    said = new_python("-m", "pdb", "-c", "continue", "train.py", "--seed", "7", stdin="quit\n")
    assert "seed=7" in said.splitlines()


def test_the_run_command_of_ipython_reads(project: Path) -> None:
    """%run train.py --seed 7 reads, and so does ipython train.py, though IPython itself reads nothing."""
    pytest.importorskip("IPython")
    write("train.py", SCRIPT)
    read = python("-m", "IPython", "-c", f"%run train.py --seed 7\n{SCRIPT}", "--no-banner")
    assert read.splitlines()[-2:] == ["seed=7", "seed=42"]
    seven("-m", "IPython", "train.py", "--")


def test_a_script_that_changes_the_folder_reads(project: Path) -> None:
    """A relative path in sys.argv is understood after chdir, before or after the import."""
    moved = "import os\nos.mkdir('elsewhere')\nos.chdir('elsewhere')\n"
    seven(write("after.py", CONFIG + moved + SHOW))
    Path("elsewhere").rmdir()
    seven(write("before.py", moved + SCRIPT))


def test_two_classes_share_a_command_line(project: Path) -> None:
    """Each takes its own flags; a flag of the other is no mistake, a flag of neither is one."""
    two = (
        "from experiment_config import BaseExperimentConfig\n"
        "class Data(BaseExperimentConfig):\n    rows: int = 1\n"
        "class Model(BaseExperimentConfig):\n    depth: int = 1\n    wide: bool = False\n"
        "print(Data().rows, Model().depth, Model().wide, Model().seed)\n"
    )
    write("train.py", two)
    assert python("train.py", "--rows", "5", "--depth", "6", "--wide", "--seed", "7") == "5 6 True 7\n"
    assert "--width: not a field of any config class." in python("train.py", "--width", "5", code=2)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_workers_of_a_script_read(method: str, project: Path) -> None:
    """A worker process gets the values of the program that started it."""
    work = (
        "def work(_: int) -> int:\n    return Config().seed\n\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        f"    with multiprocessing.get_context('{method}').Pool(1) as pool:\n"
        "        print(f'seed={pool.map(work, [1])[0]}')\n"
    )
    seven(write("train.py", CONFIG + work))


def test_a_script_run_by_a_test_reads(project: Path) -> None:
    """runpy in a test, with the command line that the test puts in place."""
    write("train.py", SCRIPT)
    write(
        "test_train.py",
        "import runpy, sys\n"
        "def test_train(monkeypatch, capsys):\n"
        "    monkeypatch.setattr(sys, 'argv', ['train.py', '--seed', '7'])\n"
        "    runpy.run_path('train.py', run_name='__main__')\n"
        "    assert capsys.readouterr().out == 'seed=7\\n'\n",
    )
    assert "1 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_train.py")


def test_a_case_of_the_runner_reads(project: Path) -> None:
    """`--output_dir` as the first argument is the runner's sign, whatever the program imports."""
    program = write("train.py", "import experiment_runner\n" + SCRIPT)
    assert python(program, "--output_dir", "out", "--seed", "7") == "seed=7\n"
    assert python(program, "--seed", "7") == "seed=42\n"


def test_command_lines_that_were_read_are_known(project: Path) -> None:
    """A runner can tell that a config of its process has read flags; no flags, nothing to tell."""
    write("train.py", CONFIG + "Config()\nprint(Config.command_lines_read())\n")
    assert python("train.py", "--seed", "7") == "[['--seed', '7']]\n"
    assert python("train.py") == "[]\n"


# --- Who doesn't -----------------------------------------------------------------------------------------------------


def default(*arguments: str, by: Callable[..., str] = python, **options: str) -> None:
    """The program got the class's default seed, though its command line names another."""
    shown = by(*arguments, **options)
    assert "seed=42" in shown
    assert "seed=7" not in shown


@pytest.mark.parametrize(
    "imported",
    [
        "import experiment_runner",
        "import experiment_runner as runner",
        "from experiment_runner import run_experiments_cli",
        "from package.experiment_runner import run_experiments_cli",
        "from package import experiment_runner",
        "import package.experiment_runner",
        "if True:\n    from experiment_runner import run_experiments_cli",
        "def main():\n    import experiment_runner",
        "try: from experiment_runner import run\nexcept ImportError: from package.runner import run",
    ],
)
def test_a_suite_does_not_read(imported: str, project: Path) -> None:
    """A program that imports the runner is a suite, even with a config made before that import."""
    write("package/__init__.py", "")
    write("package/experiment_runner.py", "def run_experiments_cli(*_: object) -> None: pass\n")
    default(write("anything.py", f"{SCRIPT}\n{imported}\n"), "--seed", "7", "--note", "x")


def test_a_suite_as_a_module_does_not_read(project: Path) -> None:
    """A suite stays one under -m, in a folder and under a tool."""
    write("package/__main__.py", f"{SCRIPT}\nimport experiment_runner\n")
    for start in (["-m", "package"], ["package"], ["-m", "cProfile", "package/__main__.py"]):
        default(*start, "--seed", "7")


def test_words_are_no_imports(project: Path) -> None:
    """A program that only mentions the runner in a text or a comment is an entry point."""
    seven(write("train.py", f"'import experiment_runner'\n# import experiment_runner\n{SCRIPT}"))


TEST = CONFIG + "\ndef test_seed():\n    print(f'seed={Config().seed}')\n"


@pytest.mark.parametrize(
    "main",
    [
        "import pytest; pytest.main(['-s', '-q', __file__])",
        "import pytest as pt; pt.main(['-s', '-q', __file__])",
        "from pytest import main as run; run(['-s', '-q', __file__])",
    ],
)
def test_a_test_that_starts_pytest_does_not_read(main: str, project: Path) -> None:
    """python test_x.py, where the file calls pytest's main under any name."""
    program = f"{TEST}\nif __name__ == '__main__':\n    {main}\n"
    default(write("test_x.py", program), "--seed", "7")


def test_pytest_does_not_leak(project: Path) -> None:
    """pytest and python -m pytest have command lines of their own."""
    write("test_x.py", TEST)
    write("conftest.py", "def pytest_addoption(parser):\n    parser.addoption('--seed')\n")
    options = ["-s", "-q", "-p", "no:cacheprovider", "test_x.py", "--seed", "7"]
    default("-m", "pytest", *options)
    default(str(Path(sys.executable).with_name("pytest")), *options, by=command)


@pytest.mark.parametrize("main", ["unittest.main", "ut.main", "main"])
def test_a_unittest_does_not_read(main: str, project: Path) -> None:
    """python test_x.py with unittest's main under any name, and python -m unittest."""
    imports = "import unittest\nimport unittest as ut\nfrom unittest import main\n"
    case = "class Seed(unittest.TestCase):\n    def test_seed(self):\n        print(f'seed={Config().seed}')\n"
    write("test_x.py", f"{CONFIG}\n{imports}{case}\nif __name__ == '__main__':\n    {main}()\n")
    default("test_x.py", "-v", "-k", "seed")
    default("-m", "unittest", "test_x", "-v")


def test_code_without_a_file_does_not_read(project: Path) -> None:
    """python -c, a program from stdin, and a console script without .py."""
    default("-c", SCRIPT, "--seed", "7", by=new_python)
    default("-", "--seed", "7", stdin=SCRIPT, by=new_python)
    default(stdin=SCRIPT, by=new_python)
    Path(write("train", f"#!{sys.executable}\n{SCRIPT}")).chmod(0o755)
    default("./train", "--seed", "7", by=command)
    default("train", "--seed", "7")


def test_an_installed_program_does_not_read(project: Path) -> None:
    """A launcher in site-packages, as that of notebook kernels, has a command line of its own."""
    default(write("site-packages/ipykernel_launcher.py", SCRIPT), "-f", "kernel.json", "--seed", "7")


def test_a_notebook_does_not_read(project: Path) -> None:
    """A cell of a notebook, executed by a real kernel, gets the defaults."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    execute = (
        "import nbformat, nbclient\n"
        f"cell = nbformat.v4.new_code_cell({SCRIPT!r})\n"
        "notebook = nbformat.v4.new_notebook(cells=[cell])\n"
        "nbclient.NotebookClient(notebook, timeout=100, startup_timeout=100, kernel_name='python3').execute()\n"
        "print(notebook.cells[0].outputs[0].text)\n"
    )
    assert python("-c", execute).strip() == "seed=42"


def test_the_parts_of_another_config_do_not_read(project: Path) -> None:
    """A config in a class body, as a default or from a factory has the class's defaults; the outer one reads."""
    write(
        "train.py",
        CONFIG + "class Outer(BaseExperimentConfig):\n"
        "    default: Config = Config()\n"
        "    made: Config = Field(default_factory=Config)\n"
        "class Plain(BaseModel):\n"
        "    made: Config = Field(default_factory=Config)\n"
        "class Holder:\n"
        "    config = Config()\n"
        "outer = Outer()\n"
        "print(outer.seed, outer.default.seed, outer.made.seed)\n"
        "print(Plain().made.seed, Holder.config.seed, Config().seed)\n",
    )
    assert python("train.py", "--seed", "7") == "7 42 42\n42 42 7\n"


def test_a_config_with_arguments_does_not_read(project: Path) -> None:
    """Only `Cfg()` asks for the command line: values from code are never mixed with it."""
    write("train.py", CONFIG + "print(Config(model='x').seed, Config().copy_with(model='x').seed)\n")
    assert python("train.py", "--seed", "7") == "42 7\n"


def test_a_folder_given_by_hand_is_made(tmp_path: Path) -> None:
    """`--output_dir DIR` need not exist: whoever types it wants results there."""
    BaseExperimentConfig.from_command_line(["--output_dir", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder").is_dir()


def test_a_folder_that_can_not_be_made_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the way is said, with exit code 2."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as end:
        BaseExperimentConfig.from_command_line(["--output_dir", str(tmp_path / "file" / "folder")])
    assert end.value.code == 2
    assert "can't be made" in capsys.readouterr().err
