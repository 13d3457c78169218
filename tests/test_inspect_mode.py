"""Inspect mode: real evaluations by a model of the test's own, published, read by Inspect, resumed."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Project, clean_environment, wait_for
from test_command import answer

from experiment_runner import read_log_header

# An evaluation takes seconds of a core, and others may be using it.
DEADLINE_S = 300.0
CASE_FACTS = {"experiment", "variant", "run", "commit", "dirty", "config"}
LOG_NAME = re.compile(r"(?P<hash>[0-9a-f]{7,})_(?P<variant>.+)_(?P<id>[0-9A-Za-z]{22})\.eval")

# A model that answers, breaks, or waits in its second sample, without any network.
LOCAL = """\
import asyncio, os, signal
from pathlib import Path
from inspect_ai import Task, eval, eval_retry, eval_set, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi
from inspect_ai.scorer import match
from inspect_ai.solver import generate

VERSION = 1

@modelapi(name="local")
class Local(ModelAPI):
    def __init__(self, model_name, base_url=None, api_key=None, config=GenerateConfig()):
        super().__init__(model_name, base_url, api_key, [], config)

    async def generate(self, input, tools, tool_choice, config):
        if self.model_name == "broken" and "MODEL_WORKS" not in os.environ:
            raise RuntimeError("no model today")
        if VERSION == 1 and input[-1].text == "second":
            if self.model_name == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.model_name == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(600)
            if self.model_name == "waiting":
                Path(os.environ["INSPECT_LOG_DIR"], "evaluating").touch()
                await asyncio.sleep(600)
        output = ModelOutput.from_content(self.model_name, f"by code {VERSION}")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    async def count_text_tokens(self, text):
        return 1

@task
def addition(name="addition"):
    samples = [Sample(id=word, input=word, target="x") for word in ("first", "second")]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match(), name=name)

def run(model="good", tasks=1, **options):
    chosen = [addition(f"addition{number}") for number in range(tasks)]
    return eval(chosen, model=f"local/{model}", display="none", max_samples=1, ctl_server=False, **options)

def run_set(model, log_dir):
    options = {"display": "none", "max_samples": 1, "ctl_server": False, "log_buffer": 1, "log_dir": log_dir}
    return eval_set(addition(), model=f"local/{model}", **options)
"""

NO_HEADERS = (
    *("[]", "{}", "null", "ä", "[" * 100_000),
    *('{"status": "success"}', '{"status": "success", "eval": []}', '{"status": "started", "eval": {"task_id": "x"}}'),
    '{"status": "success", "eval": {"task_id": "x", "metadata": 5}}',
)

# Retries a log, and lists a folder as the command `inspect` does: one process, for Inspect takes seconds to import.
RETRY_AND_LIST = """\
import json, runpy, sys
import local
from inspect_ai import eval_retry
log = eval_retry(sys.argv[1], log_dir=sys.argv[2], display="none", ctl_server=False)[0]
print(json.dumps({"status": log.status, "task_id": log.eval.task_id}), flush=True)
sys.argv = ["inspect", "log", "list", "--json", "--log-dir", sys.argv[3]]
runpy.run_module("inspect_ai", run_name="__main__", alter_sys=True)
"""

# One process leaves a log of every kind; the last one unfinished, since it is killed.
MAKE_LOGS = """\
import os, shutil, sys
import local
names = ("experiment", "variant", "run", "commit", "dirty", "config")
known = {"metadata": dict.fromkeys(names, "from the entry point")}
for name, options in {
    "success": known, "other": known, "bare": {}, "error": {"model": "broken", **known},
    "several": {"tasks": 2, **known}, "failed": {"model": "broken", "metadata": {"variant": "mine", "extra": 1}},
    "cancelled": {"model": "interrupted", **known},
}.items():
    local.run(log_dir=name, **options)
os.environ["MODEL_WORKS"] = "yes"
retried = os.path.join("error", os.listdir("error")[0])
local.eval_retry(retried, log_dir="retried", display="none", ctl_server=False)
local.run(log_dir="unfinished", model="killed")
"""


@dataclass(frozen=True)
class Lab:
    """Where Inspect may write its own files."""

    env: dict[str, str]

    def run(self, project: Project, *arguments: str, **env: str) -> Finished:
        """Run a project's suite to its end."""
        return self.finish(self.start(project, *arguments, **env))

    def start(self, project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a project's suite."""
        return project.start(*arguments, env={**self.env, **env})

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Wait for a suite to end."""
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        return Finished(process.returncode, stdout, stderr)

    def python(self, *arguments: str, folder: Path, **env: str) -> str:
        """What a Python process of its own prints; it can import what lies in its folder."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env={**clean_environment(), **self.env, **env},
            stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True, text=True,
        )  # fmt: skip
        return done.stdout


def listed(folder: Path) -> list[dict[str, Any]]:
    """What Inspect's own functions make of the logs in a folder and below, sorted by path."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    found: list[dict[str, Any]] = []
    for info in list_eval_logs(str(folder)):
        header, whole = read_eval_log(info, header_only=True), read_eval_log(info)
        found.append({
            "path": info.name.removeprefix("file://"), "status": header.status, "task_id": header.eval.task_id,
            "metadata": whole.metadata, "error": header.error and header.error.message,
            "answers": [sample.output.completion for sample in whole.samples or ()],
        })  # fmt: skip
    return sorted(found, key=lambda log: log["path"])


def name_of(log: dict[str, Any]) -> str:
    return Path(log["path"]).name


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A place for Inspect's traces, buffers and caches, away from the user's."""
    folder = tmp_path_factory.mktemp("inspect")
    return Lab({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})


@pytest.fixture(scope="module")
def new_project(new_project: Callable[[str], Project]) -> Callable[[str], Project]:
    """Makes projects with a committed `local.py` that live as long as this file's tests."""

    def make(name: str) -> Project:
        project = new_project(name)
        project.write("local.py", LOCAL)
        commit(project, "Add a model")
        return project

    return make


def commit(project: Project, message: str) -> str:
    """Commit all that there is; the short commit."""
    project.git("add", ".")
    project.git("commit", "-q", "-m", message)
    return project.git("rev-parse", "--short", "HEAD")


def experiment_dir(project: Project) -> Path:
    return project.root / "results" / "exp"


def run_dir(project: Project) -> Path:
    """The only run of a project."""
    (found,) = (path for path in (experiment_dir(project) / ".runs").iterdir() if not path.name.startswith("."))
    return found


def published(project: Project) -> dict[str, list[Path]]:
    """The flat logs of every variant."""
    found: dict[str, list[Path]] = {}
    for path in sorted(experiment_dir(project).glob("*.eval")):
        match = LOG_NAME.fullmatch(path.name)
        assert match, path.name
        found.setdefault(match["variant"], []).append(path)
    return found


def listable(project: Project) -> list[Path]:
    """Every file that a recursive listing of logs finds, as Inspect's do."""
    return sorted((project.root / "results").rglob("*.eval"))


# --- A run with every kind of case, in a dirty tree ------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A finished run, and what Inspect finds in its experiment's folder."""

    project: Project
    finished: Finished
    short: str
    logs: list[dict[str, Any]]

    def logs_of(self, variant: str) -> list[dict[str, Any]]:
        """The logs whose names say that they are a variant's."""
        return [log for log in self.logs if f"_{variant}_" in Path(log["path"]).name]


WRITES = """(folder / 'results.json').write_text('{"accuracy": 0.5}')
(folder / 'items.jsonl').write_text('{"key": "first", "status": "succeeded", "metrics": {"accuracy": 0.5}}\\n')"""
COPY = "import shutil; shutil.copytree(os.environ['LOGS'] + '/{}', folder, dirs_exist_ok=True)"
# What logs are worth doesn't hang on who wrote them: cases that evaluate come further down. The log of `broken` alone
# lacks facts, so that one helper stamps what there is to stamp.
CASES = {
    "plain": COPY.format("success"),
    "several": COPY.format("several"),
    "silent": "pass",
    "broken": COPY.format("failed"),
    "liar": COPY.format("other") + "; sys.exit(3)",
}


@pytest.fixture(scope="module")
def made(lab: Lab, logs: dict[str, Path], new_project: Callable[[str], Project]) -> Made:
    """A run of all `CASES` with changes that are not committed."""
    project = new_project("made")
    short = project.git("rev-parse", "--short", "HEAD")
    record = "Path('imported.txt').write_text(str('inspect_ai' in sys.modules))"
    before = f"import atexit, sys\nfrom pathlib import Path\natexit.register(lambda: {record})"
    project.suite(CASES, more="mode='inspect'", before=before)
    finished = lab.run(project, LOGS=str(logs["success"].parents[1]))
    return Made(project, finished, short, listed(experiment_dir(project)))


def test_experiment_folder_holds_flat_logs_and_dot_names_only(made: Made, logs: dict[str, Path]) -> None:
    """Logs are named {git_hash}_{variant}_{task_id}.eval, without -dirty in a dirty tree; beside them lies .runs."""
    assert run_dir(made.project).name.endswith(f"{made.short}-dirty")
    kinds = {"plain": "success", "several": "several", "broken": "failed", "liar": "other"}
    folder = logs["success"].parents[1]
    left = [(variant, path) for variant, kind in kinds.items() for path in (folder / kind).glob("*.eval")]
    headers = [(variant, read_log_header(path)) for variant, path in left]
    expected = {f"{made.short}_{variant}_{header.task_id}.eval" for variant, header in headers if header}
    names = {path.name for path in experiment_dir(made.project).iterdir()}
    assert names == expected | {".runs"}
    counts = Counter({variant: len(paths) for variant, paths in published(made.project).items()})
    assert counts == {"plain": 1, "several": 2, "broken": 1, "liar": 1}


def test_record_lies_in_the_dot_folder(made: Made) -> None:
    """A run's record is complete, outside of the flat folder, and has no log that a listing would count twice."""
    folder = run_dir(made.project)
    assert json.loads((folder / "run.json").read_text())["mode"] == "inspect"
    assert made.project.events(run_dir=folder)[-1]["event"] == "run_ended"
    for variant, code in CASES.items():
        assert json.loads((folder / variant / "config.json").read_text())["do"] == code
        assert (folder / variant / "attempt-1.log").is_file()
    assert list(folder.rglob("*.eval")) == []


def test_status_of_a_case_is_that_of_its_logs(made: Made) -> None:
    """Exit code 0 makes no success of a failed evaluation or of no log, nor a log's success one of exit code 3."""
    ends = {event["variant"]: event for event in made.project.events("case_ended", run_dir(made.project))}
    assert {variant: end["status"] for variant, end in ends.items()} == {
        "plain": "succeeded", "several": "succeeded", "silent": "failed", "broken": "failed", "liar": "failed",
    }  # fmt: skip
    assert ends["silent"]["cause"] == "no finished .eval log"
    (broken,) = published(made.project)["broken"]
    assert ends["broken"]["cause"] == f"log {broken.name} has status error"
    assert ends["liar"]["cause"] == "exit code 3"
    assert made.finished.code == 1
    assert f"[FAILED] broken: log {broken.name} has status error" in made.finished.stdout


def test_one_table_with_a_run_in_standard_mode(made: Made, project: Project) -> None:
    """A row per case of both, with configs and results in the same columns; a row per log or per sample of the one."""
    project.suite(f"[ExperimentCase('plain', Config(x=1, do={WRITES!r}))]", experiment="standard")
    assert project.run().code == 0
    both = [str(run_dir(made.project)), str(next((project.root / "results/standard").iterdir()))]
    rows = answer("table", *both, cwd=project.root)
    assert [(row["experiment"], row["variant"]) for row in rows] == [
        *(("exp", variant) for variant in CASES), ("standard", "plain")
    ]  # fmt: skip
    inspected, standard = rows[0], rows[-1]
    assert (inspected["config.x"], inspected["result.accuracy"]) == (0, 0.0)
    assert (standard["config.x"], standard["result.accuracy"]) == (1, 0.5)
    assert [row["status"] for row in rows] == [*(["succeeded"] * 2), *(["failed"] * 3), "succeeded"]
    of_several = [row["result.addition1.accuracy"] for row in rows]
    assert of_several == [0.0 if variant == "several" else None for variant in CASES] + [None]
    items = answer("table", *both, "--rows", "items", cwd=project.root)
    assert {(row["id"], row["key"]) for row in items if row["experiment"] == "exp"} == {
        ("first", None),
        ("second", None),
    }
    (item,) = (row for row in items if row["experiment"] == "standard")
    assert (item["key"], item["id"], item["metrics.accuracy"]) == ("first", None, 0.5)
    counts = Counter(row["log"] for row in answer("table", *both, "--rows", "logs", cwd=project.root))
    assert counts == {Path(log["path"]).name: 1 for log in made.logs}


def test_journal_names_published_logs(made: Made) -> None:
    """The journal tells of every published log, its status, and Inspect's own error."""
    events = made.project.events("logs_published", run_dir(made.project))
    told = {log["file"]: (log["status"], log["error"]) for event in events for log in event["logs"]}
    assert told == {Path(log["path"]).name: (log["status"], log["error"]) for log in made.logs}
    assert any(error and "no model today" in error for _, error in told.values())


def test_facts_that_a_log_lacks_are_stamped(made: Made) -> None:
    """Commit, dirty, run, experiment and config; what the entry point said stays, as the variant here."""
    code = json.loads((run_dir(made.project) / "run.json").read_text())["code"]
    (broken,) = made.logs_of("broken")
    assert broken["metadata"] == {
        "variant": "mine", "extra": 1, "commit": code["commit"], "dirty": True, "run": run_dir(made.project).name,
        "experiment": "exp", "config": config_of(made.project, "broken"),
    }  # fmt: skip
    for log in made.logs_of("several"):
        assert log["metadata"] == dict.fromkeys(CASE_FACTS, "from the entry point")


def config_of(project: Project, variant: str) -> dict[str, Any]:
    return json.loads((run_dir(project) / variant / "config.json").read_text())


def test_runner_never_imports_inspect(made: Made) -> None:
    """A suite's own process publishes logs without Inspect."""
    assert (made.project.root / "imported.txt").read_text() == "False"


def test_headers_agree_with_inspect(made: Made) -> None:
    """The runner reads of every log what Inspect reads."""
    assert len(made.logs) == 5
    for log in made.logs:
        header = read_log_header(Path(log["path"]))
        assert header is not None
        assert (header.status, header.task_id, header.error) == (log["status"], log["task_id"], log["error"])


@pytest.fixture(scope="module")
def retried_and_listed(made: Made, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """What Inspect made of the published failed log, and what its command lists."""
    (broken,) = made.logs_of("broken")
    folders = str(tmp_path_factory.mktemp("retried")), str(experiment_dir(made.project))
    arguments = ("-c", RETRY_AND_LIST, broken["path"], *folders)
    printed = lab.python(*arguments, folder=made.project.root, MODEL_WORKS="yes")
    retried, _, entries = printed.partition("\n")
    return json.loads(retried), json.loads(entries)


def test_inspect_command_lists_published_logs(made: Made, retried_and_listed: tuple[Any, Any]) -> None:
    """`inspect log list --json` finds every published log, with the task's name and id."""
    found = {(Path(entry["name"]).name, entry["task_id"]) for entry in retried_and_listed[1]}
    assert found == {(Path(log["path"]).name, log["task_id"]) for log in made.logs}


def test_published_failed_log_can_be_retried(made: Made, retried_and_listed: tuple[Any, Any]) -> None:
    """Inspect's `eval_retry` completes a published failed log, as the same task."""
    (broken,) = made.logs_of("broken")
    assert retried_and_listed[0] == {"status": "success", "task_id": broken["task_id"]}


# --- A case killed, a case interrupted, the code changed, a resume ---------------------------------------------------


@dataclass(frozen=True)
class Interrupted:
    """A run that was stopped by Ctrl-C and resumed with other code."""

    project: Project
    stopped: Finished
    statuses_when_stopped: dict[str, str]
    logs_when_stopped: list[Path]
    headers_when_stopped: dict[str, str | None]
    resumed: Finished
    short: tuple[str, str]
    logs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def interrupted(lab: Lab, logs: dict[str, Path], new_project: Callable[[str], Project]) -> Interrupted:
    """Three cases: one done, one killed in an eval set, one that evaluates when SIGINT comes; then new code.

    Only the log of the killed one's second attempt lacks facts, so that it alone is stamped.
    """
    project = new_project("interrupted")
    known = dict.fromkeys(CASE_FACTS, "from the entry point")
    copy = f"import shutil; shutil.copy({str(logs['success'])!r}, folder)"
    cases = {
        "done": copy,
        "killed": "import local; local.run_set('waiting', config['output_dir'])",
        "waiting": "if os.environ['SUITECASE_ATTEMPT'] == '1':\n"
        f"    import local; local.run('waiting', metadata={known})\n"
        f"else:\n    {copy}",
    }
    project.suite(cases, more="mode='inspect'")
    short = commit(project, "Add a suite")
    process = lab.start(project)
    folder = wait_for(lambda: next((experiment_dir(project) / ".runs").glob("2*"), None), "a run", DEADLINE_S)
    for variant in ("killed", "waiting"):
        wait_for((folder / variant / "evaluating").exists, f"the evaluation of {variant}", DEADLINE_S)
    pids = project.wait_for_started(*cases, run_dir=folder)
    os.kill(pids["killed"], signal.SIGKILL)
    wait_for(lambda: project.statuses(folder).keys() == {"done", "killed"}, "the end of two cases", DEADLINE_S)
    process.send_signal(signal.SIGINT)
    stopped = lab.finish(process)
    statuses, left = project.statuses(folder), listable(project)
    headers = {str(path): header and header.status for path in left for header in [read_log_header(path)]}
    project.write("local.py", LOCAL.replace("VERSION = 1\n", "VERSION = 2\n"))
    newer = commit(project, "Repair the model")
    resumed = lab.run(project, "--resume", "latest")
    found = listed(project.root / "results")
    return Interrupted(project, stopped, statuses, left, headers, resumed, (short, newer), found)


def test_interrupt_lets_inspect_close_its_log(interrupted: Interrupted) -> None:
    """Ctrl-C reaches the case as SIGINT: its log is final, published, and no success; the exit code is 130."""
    assert interrupted.stopped.code == 130, interrupted.stopped.stderr
    assert interrupted.statuses_when_stopped == {"done": "succeeded", "killed": "failed", "waiting": "cancelled"}
    statuses = {
        match["variant"]: interrupted.headers_when_stopped[str(path)]
        for path in interrupted.logs_when_stopped
        if (match := LOG_NAME.fullmatch(path.name))
    }
    assert statuses == {"done": "success", "waiting": "cancelled"}


def test_killed_case_leaves_an_unfinished_log_in_staging(interrupted: Interrupted) -> None:
    """What kill -9 leaves is no result: it stays in the case's folder, and the case failed."""
    (unfinished,) = (path for path in interrupted.logs_when_stopped if ".runs" in path.parts)
    assert unfinished.parent == run_dir(interrupted.project) / "killed"
    assert interrupted.headers_when_stopped[str(unfinished)] is None
    ends = interrupted.project.events("case_ended", run_dir(interrupted.project))
    (cause,) = (end["cause"] for end in ends if end["variant"] == "killed" and end["status"] == "failed")
    assert cause.startswith("killed by SIGKILL")


def test_resume_completes_killed_and_interrupted_cases(interrupted: Interrupted) -> None:
    """A resume runs what did not succeed, and nothing else."""
    assert interrupted.resumed.code == 0, interrupted.resumed.stdout
    folder = run_dir(interrupted.project)
    assert set(interrupted.project.statuses(folder).values()) == {"succeeded"}
    started = Counter(event["variant"] for event in interrupted.project.events("attempt_started", folder))
    assert started == {"done": 1, "killed": 2, "waiting": 2}


def test_listing_finds_one_log_per_case_after_a_resume(interrupted: Interrupted) -> None:
    """Inspect's recursive listing of all results counts each case once; earlier logs still exist."""
    folder = experiment_dir(interrupted.project)
    assert {Path(log["path"]).parent for log in interrupted.logs} == {folder}
    variants = Counter(match["variant"] for log in interrupted.logs if (match := LOG_NAME.fullmatch(name_of(log))))
    assert variants == {"done": 1, "killed": 1, "waiting": 1}
    assert {log["status"] for log in interrupted.logs} == {"success"}
    superseded = Counter(path.parent.name for path in folder.rglob("*.eval.superseded"))
    assert superseded == {"killed": 1, "waiting": 1}


def test_log_of_an_attempt_carries_its_own_commit(interrupted: Interrupted, logs: dict[str, Path]) -> None:
    """After a change of code, the name and the metadata of a second attempt's log say the new commit."""
    first, second = interrupted.short
    assert first != second
    done, killed, waiting = sorted(interrupted.logs, key=lambda log: name_of(log).partition("_")[2])
    assert [name_of(log).partition("_")[0] for log in (done, killed, waiting)] == [first, second, second]
    commit = interrupted.project.git("rev-parse", "HEAD")
    assert commit.startswith(second)
    assert killed["metadata"] == {
        "variant": "killed", "commit": commit, "dirty": False, "run": run_dir(interrupted.project).name,
        "experiment": "exp", "config": config_of(interrupted.project, "killed"),
    }  # fmt: skip
    assert Path(done["path"]).read_bytes() == logs["success"].read_bytes()


def test_log_never_mixes_code(interrupted: Interrupted) -> None:
    """An eval set that would go on with the samples of older code starts afresh; its stamped log has both samples."""
    (killed,) = (log for log in interrupted.logs if "_killed_" in name_of(log))
    assert killed["answers"] == ["by code 2"] * 2


# --- Real logs, left by cheap cases ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: success, other, error, retried (the same task), cancelled, unfinished; no metadata: bare."""
    folder = tmp_path_factory.mktemp("logs")
    (folder / "local.py").write_text(LOCAL)
    with pytest.raises(subprocess.CalledProcessError) as killed:
        lab.python("-c", MAKE_LOGS, folder=folder)
    assert killed.value.returncode == -signal.SIGKILL
    kinds = ("success", "other", "bare", "error", "retried", "cancelled", "unfinished")
    return {kind: next((folder / kind).glob("*.eval")) for kind in kinds}


def leaves(*attempts: str) -> str:
    """The code of a case that leaves copies of logs in its folder: which kinds in which attempt; the last for ever.

    The last one left comes first in the order of names.
    """
    return (
        "import shutil\n"
        f"attempts = {attempts}\n"
        "attempt = min(int(os.environ['SUITECASE_ATTEMPT']), len(attempts))\n"
        "for number, kind in enumerate(attempts[attempt - 1].split()):\n"
        "    source = Path(os.environ[kind])\n"
        "    shutil.copy(source, folder / f'{9 - number}_{source.name}')\n"
    )


def run_with(lab: Lab, logs: dict[str, Path], project: Project, *arguments: str, **env: str) -> Finished:
    """Run a suite whose cases know where the logs lie."""
    return lab.run(project, *arguments, **{kind: str(path) for kind, path in logs.items()}, **env)


def header_status(path: Path) -> str | None:
    header = read_log_header(path)
    return header and header.status


def test_each_kind_of_log_is_told_apart(logs: dict[str, Path]) -> None:
    """Success, error and cancelled are final; a log whose process was killed is not."""
    assert {kind: header_status(path) for kind, path in logs.items()} == {
        "success": "success", "other": "success", "bare": "success", "error": "error",
        "retried": "success", "cancelled": "cancelled", "unfinished": None,
    }  # fmt: skip


def test_no_header_of_what_is_no_finished_log(logs: dict[str, Path], tmp_path: Path) -> None:
    """A truncated file, an empty one, a foreign zip, a folder and nothing at all are no finished logs."""
    content = logs["success"].read_bytes()
    path = tmp_path / "x.eval"
    for size in range(0, len(content), 61):
        path.write_bytes(content[:size])
        assert read_log_header(path) is None, size
    for foreign in NO_HEADERS:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.json", foreign)
        assert read_log_header(path) is None, foreign[:40]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    assert read_log_header(path) is None
    assert read_log_header(tmp_path) is None
    assert read_log_header(tmp_path / "missing.eval") is None


def test_damaged_log_is_no_accident(logs: dict[str, Path], tmp_path: Path) -> None:
    """Whatever bytes are damaged, reading a header raises nothing, and what it reads is right."""
    content, path = logs["success"].read_bytes(), tmp_path / "x.eval"
    sound = read_log_header(logs["success"])
    assert sound is not None
    sound = replace(sound, path=path)
    unreadable = 0
    for position in range(0, len(content), 13):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        header = read_log_header(path)
        assert header in (None, sound), position
        unreadable += header is None
    assert unreadable > 10


def test_failed_helper_loses_no_log(lab: Lab, logs: dict[str, Path], project: Project, tmp_path: Path) -> None:
    """If metadata can't be stamped, the log is published as it is, and a warning says so."""
    broken = "import sys\nif sys.orig_argv[-1] == '--stamp-logs':\n    sys.modules['inspect_ai'] = None\n"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(broken)
    project.suite({"a": leaves("bare")}, more="mode='inspect'")
    finished = run_with(lab, logs, project, PYTHONPATH=str(tmp_path / "site"))
    assert finished.code == 0
    assert project.statuses(run_dir(project)) == {"a": "succeeded"}
    assert published(project)["a"][0].read_bytes() == logs["bare"].read_bytes()
    assert "metadata could not be written" in finished.stderr
    assert "inspect_ai" in (run_dir(project) / ".stamp.log").read_text()


def test_helper_that_cannot_start_loses_no_log(lab: Lab, logs: dict[str, Path], project: Project) -> None:
    """Metadata is a courtesy: a helper for which there is no room ends neither the case nor the run."""
    no_room = "(folder.parent / '.stamp.log').mkdir(exist_ok=True)\n"
    project.suite({"a": no_room + leaves("bare"), "b": no_room + leaves("bare")}, more="mode='inspect'")
    finished = run_with(lab, logs, project)
    assert finished.code == 0, finished.stderr
    assert project.statuses(run_dir(project)) == {"a": "succeeded", "b": "succeeded"}
    assert published(project)["a"][0].read_bytes() == logs["bare"].read_bytes()
    assert "metadata can't be written into some logs" in finished.stderr


def test_helper_stamps_what_it_can(lab: Lab, logs: dict[str, Path], project: Project, tmp_path: Path) -> None:
    """A log that Inspect refuses, or a package's module `types` beside the runner, does not stop the stamping."""
    with zipfile.ZipFile(tmp_path / "odd.eval", "w") as archive:
        archive.writestr("header.json", json.dumps({"status": "success", "eval": {"task_id": "x" * 22}}))
    project.write("package/__init__.py", "")
    project.write("package/types.py", "raise ImportError('not the standard library')\n")
    (project.root / "experiment_runner.py").rename(project.root / "package" / "experiment_runner.py")
    suite = project.suite({"a": leaves("odd bare")}, more="mode='inspect'")
    suite.write_text(suite.read_text().replace("from experiment_runner", "from package.experiment_runner"))
    finished = run_with(lab, {**logs, "odd": tmp_path / "odd.eval"}, project)
    assert finished.code == 0, finished.stdout + finished.stderr
    assert "metadata could not be written" in finished.stderr
    odd, bare = sorted(published(project)["a"], key=lambda path: "x" * 22 not in path.name)
    assert odd.read_bytes() == (tmp_path / "odd.eval").read_bytes()
    assert stamped(bare) >= CASE_FACTS


def stamped(path: Path) -> set[str]:
    """The names of metadata that an edit added to a log."""
    importlib.import_module("zipfile_zstd")  # teaches zipfile the compression of logs
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
    return {name for update in header["log_updates"] for edit in update["edits"] for name in edit["metadata_set"]}


# --- Attempt after attempt -------------------------------------------------------------------------------------------

LEFT = {
    "complete": leaves("success"),
    "superseded": leaves("error success", "other"),
    "unfinished": leaves("error", "unfinished"),
    "same_task": leaves("error", "error", "retried"),
    "own_retry": leaves("error retried"),
    "half_lost": leaves("success unfinished", "success"),
    "cancelled": leaves("cancelled", "success"),
    "continued": "print('found', len(list(folder.glob('*.eval'))))\n"
    + leaves("unfinished", "unfinished", "unfinished", "success"),
    "cleared": "[path.unlink() for path in folder.glob('*.eval')]\n" + leaves("unfinished", "success"),
    "obstructed": leaves("success"),
}


@dataclass(frozen=True)
class Pass:
    """What there was after a pass: its exit code, and by case the journal's last word and the published logs."""

    code: int
    ends: dict[str, dict[str, Any]]
    published: dict[str, dict[str, bytes]]
    mtimes_ns: dict[str, int]

    @classmethod
    def of(cls, finished: Finished, project: Project) -> Pass:
        """What there is now."""
        ends = {event["variant"]: event for event in project.events("case_ended", run_dir(project))}
        found = published(project)
        contents = {variant: {path.name: path.read_bytes() for path in paths} for variant, paths in found.items()}
        mtimes_ns = {path.name: path.stat().st_mtime_ns for paths in found.values() for path in paths}
        return cls(finished.code, ends, contents, mtimes_ns)

    def of_case(self, variant: str) -> list[bytes]:
        """The contents of a case's published logs."""
        return [*self.published.get(variant, {}).values()]


@dataclass(frozen=True)
class Left:
    """A run of all cases of `LEFT`, resumed until each has come to its last attempt."""

    project: Project
    passes: list[Pass]
    kept: list[bytes]

    def folder(self, variant: str) -> Path:
        return run_dir(self.project) / variant

    def aside(self, variant: str) -> dict[str, bytes]:
        """What listings no longer find of a case."""
        return {path.name: path.read_bytes() for path in sorted(self.folder(variant).glob("*.superseded*"))}


@pytest.fixture(scope="module")
def left(lab: Lab, logs: dict[str, Path], new_project: Callable[[str], Project]) -> Left:
    """Four passes: the log of one case has no room in the first, and before the last one the code is changed."""
    project = new_project("left")
    project.suite(LEFT, more="mode='inspect'")
    short = commit(project, "Add a suite")
    header = read_log_header(logs["success"])
    assert header is not None
    obstacle = experiment_dir(project) / f"{short}_obstructed_{header.task_id}.eval"
    (obstacle / "full").mkdir(parents=True)
    first = run_with(lab, logs, project)
    kept = [path.read_bytes() for path in (run_dir(project) / "obstructed").glob("*.eval")]
    shutil.rmtree(obstacle)
    passes = [Pass.of(first, project)]
    for change in (False, False, True):
        if change:
            project.write("more.py", "")
        passes.append(Pass.of(run_with(lab, logs, project, "--resume", "latest"), project))
    return Left(project, passes, kept)


def test_complete_metadata_needs_no_helper(left: Left, logs: dict[str, Path]) -> None:
    """Where the entry point said everything, no helper starts, and the log keeps its bytes."""
    assert not (run_dir(left.project) / ".stamp.log").exists()
    assert left.passes[0].of_case("complete") == [logs["success"].read_bytes()]
    assert left.passes[0].ends["complete"]["status"] == "succeeded"


def test_later_attempt_supersedes_earlier_logs(left: Left, logs: dict[str, Path]) -> None:
    """Once a later attempt publishes, all logs of earlier ones exist under names that no listing finds."""
    first, second, *_ = left.passes
    earlier = first.published["superseded"]
    assert (len(earlier), first.ends["superseded"]["status"]) == (2, "failed")
    assert second.of_case("superseded") == [logs["other"].read_bytes()]
    assert left.aside("superseded") == {f"{name}.superseded": content for name, content in earlier.items()}
    assert list(left.folder("superseded").glob("*.eval")) == []


def test_log_of_a_case_that_is_done_stays_as_it_is(left: Left) -> None:
    """Whatever others do, in however many passes."""
    (name,) = left.passes[0].published["complete"]
    assert {(*each.published["complete"],) for each in left.passes} == {(name,)}
    assert len({each.mtimes_ns[name] for each in left.passes}) == 1


def test_attempt_that_publishes_nothing_supersedes_nothing(left: Left, logs: dict[str, Path]) -> None:
    """Later attempts without a finished log leave the first one's in place, and their own in the case's folder."""
    for each in left.passes:
        assert (each.ends["unfinished"]["status"], each.code) == ("failed", 1)
        assert each.of_case("unfinished") == [logs["error"].read_bytes()]
    assert len({(*each.published["unfinished"],) for each in left.passes}) == 1
    assert [path.read_bytes() for path in left.folder("unfinished").glob("*.eval")] == [logs["unfinished"].read_bytes()]


def test_retry_of_the_same_task_overwrites_nothing(left: Left, logs: dict[str, Path]) -> None:
    """A second attempt that retries a task gives its log the same name; the first log is kept aside, every time."""
    assert [each.ends["same_task"]["status"] for each in left.passes] == ["failed", "failed", *["succeeded"] * 2]
    ((name, content),) = left.passes[-1].published["same_task"].items()
    assert content == logs["retried"].read_bytes()
    aside = left.aside("same_task")
    assert [*aside] == [f"{name}.superseded", f"{name}.superseded-2"]
    assert {*aside.values()} == {logs["error"].read_bytes()}


def test_last_log_of_a_task_decides(left: Left, logs: dict[str, Path]) -> None:
    """An entry point that retries its own failed evaluation succeeds, and its case counts once."""
    assert left.passes[0].ends["own_retry"]["status"] == "succeeded"
    assert left.passes[0].of_case("own_retry") == [logs["retried"].read_bytes()]
    assert [*left.aside("own_retry").values()] == [logs["error"].read_bytes()]
    assert list(left.folder("own_retry").glob("*.eval")) == []


def test_unfinished_log_beside_a_finished_one_is_a_failure(left: Left, logs: dict[str, Path]) -> None:
    """A case that lost one of its evaluations half-way has not succeeded, whatever its exit code."""
    end = left.passes[0].ends["half_lost"]
    assert (end["status"], end["cause"]) == ("failed", f"log 8_{logs['unfinished'].name} was not finished")


def test_cancelled_log_is_never_a_success(left: Left) -> None:
    """Inspect returns normally from an evaluation that somebody cancelled: the case is cancelled all the same."""
    assert left.passes[0].ends["cancelled"]["status"] == "cancelled"


def test_unfinished_log_of_the_same_code_may_be_continued(left: Left) -> None:
    """Further attempts of the same code find what the first one left; of other code, they find nothing."""
    printed = [(left.folder("continued") / f"attempt-{number}.log").read_text() for number in (1, 2, 3, 4)]
    assert printed == ["found 0\n", "found 1\n", "found 1\n", "found 0\n"]
    assert len(left.passes[-1].of_case("continued")) == 1
    assert list(left.folder("continued").glob("*.eval")) == []


def test_entry_point_may_remove_its_earlier_logs(left: Left, logs: dict[str, Path]) -> None:
    """An eval set clears up the logs of earlier attempts itself; nothing breaks."""
    assert [each.ends["cleared"]["status"] for each in left.passes[:2]] == ["failed", "succeeded"]
    assert left.passes[1].of_case("cleared") == [logs["success"].read_bytes()]
    assert list(left.folder("cleared").glob("*.eval")) == []


def test_log_that_cannot_be_published_is_kept(left: Left, logs: dict[str, Path]) -> None:
    """If a log can't reach its place, its case fails and says where the log lies; the other cases go on."""
    first, second, *_ = left.passes
    end = first.ends["obstructed"]
    assert (end["status"], first.ends["complete"]["status"]) == ("failed", "succeeded")
    assert str(left.folder("obstructed")) in end["cause"]
    assert left.kept == [logs["success"].read_bytes()]
    assert second.ends["obstructed"]["status"] == "succeeded"
    assert second.of_case("obstructed") == [logs["success"].read_bytes()]
    assert list(left.folder("obstructed").glob("*.eval")) == []


# --- A runner that dies ----------------------------------------------------------------------------------------------

# By case: the last event that its runner wrote of it, and whether its log had moved.
CRASHES = {
    "started": ("attempt_started", False),
    "ended": ("attempt_ended", False),
    "publishing": ("logs_published", False),
    "published": ("logs_published", True),
}


@pytest.fixture(scope="module")
def crashed(lab: Lab, logs: dict[str, Path], new_project: Callable[[str], Project]) -> Project:
    """A run whose runner died with a case at each point between a log's end and the case's, resumed."""
    project = new_project("crashed")
    project.suite(dict.fromkeys(CRASHES, leaves("success", "other")), more="mode='inspect'")
    commit(project, "Add a suite")
    assert run_with(lab, logs, project).code == 0
    folder = run_dir(project)
    kept: list[bytes] = []
    over: set[str] = set()
    for line in (folder / "journal.jsonl").read_bytes().splitlines(keepends=True):
        event = json.loads(line)
        variant = event.get("variant", "")
        if event["event"] == "run_ended" or variant in over:
            continue
        kept.append(re.sub(rb',"crc32":\d+\}', b"}", line))  # they'd be those of the lines that were there before
        if variant and event["event"] == CRASHES[variant][0]:
            over.add(variant)
    assert over == CRASHES.keys()
    (folder / "journal.jsonl").write_bytes(b"".join(kept))
    for variant, (_, moved) in CRASHES.items():
        if not moved:
            os.replace(published(project)[variant][0], folder / variant / logs["success"].name)
    finished = run_with(lab, logs, project, "--resume", "latest")
    assert finished.code == 0, finished.stdout
    return project


@pytest.mark.parametrize("variant", CRASHES)
def test_crash_of_the_runner_counts_no_case_twice(crashed: Project, logs: dict[str, Path], variant: str) -> None:
    """Wherever the runner dies between a log's end and the case's, a resume leaves one log of the case."""
    (path,) = published(crashed)[variant]
    assert path.read_bytes() == logs["other"].read_bytes()
    (aside,) = (run_dir(crashed) / variant).rglob("*.superseded")
    assert aside.read_bytes() == logs["success"].read_bytes()
    assert len(listable(crashed)) == len(CRASHES)
