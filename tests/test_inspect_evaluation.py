"""`run_inspect` in real cases: what it writes down, and that a resume asks only what is missing, after any kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asking import suitecase
from conftest import Finished, Project, wait_for
from test_command import answer
from test_inspect_mode import Lab, commit, experiment_dir, published, run_dir

from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge import EvalLog, read_eval_log, read_samples
from suitecase.inspect_bridge.logs import header_of

N, MAX_SAMPLES = 16, 2

# Before it goes on, a case writes down which samples its unfinished logs and their buffers hold.
ENTRY_POINT = f"""\
import json, os, sys, tempfile
from contextlib import suppress
from pathlib import Path
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import RecoveryNotAvailable, recover_eval_log
from inspect_ai.model import get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate
from config import Config
from suitecase.inspect_bridge import read_eval_log, read_samples, run_inspect

config = Config()
folder = Path(config.output_dir)
calls = folder / "calls.jsonl"

def held():
    found = set()
    for path in folder.glob("*.eval"):
        if read_eval_log(path)[0].status != "started":
            continue
        found |= {{sample["id"] for sample in read_samples(path) if sample["completed"] and not sample.get("error")}}
        with tempfile.TemporaryDirectory() as aside, suppress(RecoveryNotAvailable):
            log = recover_eval_log(str(path), output=f"{{aside}}/held.eval", cleanup=False)
            found |= {{sample.id for sample in log.samples if not sample.error}}
    return sorted(found)

@task
def echo(n={N}):
    samples = [Sample(id=f"s{{number}}", input=f"q{{number}}", target=f"q{{number}}") for number in range(n)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=match("exact"))

n_calls = len(calls.read_text().splitlines()) if calls.exists() else 0
with (folder / "held.jsonl").open("a") as file:
    print(json.dumps({{"held": held(), "calls": n_calls}}), file=file)
served = os.environ.get("SERVED", "echo-1")
rules = [{{"latency_s": [0.0, 0.03], "wrong_rate": 0.3, "served": served}}]
works = os.environ["SUITECASE_VARIANT"] in os.environ.get("WORKS", "").split()
if config.do == "fail" and not works:
    rules.insert(0, {{"match": "^q[57]$", "error": "bad_request"}})
elif config.do == "fail":
    rules.insert(0, {{"match": "^q5$", "error": "server_error", "first": 1, "served": served}})
if config.do == "wait" and not works:
    rules.insert(0, {{"match": "^q5$", "error": "hang"}})
# By its file: another script as an argument would be another model, and so another evaluation.
script = folder / "script.json"
script.write_text(json.dumps({{"calls": str(calls), "rules": rules}}))
logs = run_inspect(
    config, echo(), model=get_model("scripted/echo", script=str(script)),
    max_samples={MAX_SAMPLES}, log_buffer=4, continue_on_fail=True, ctl_server=False,
    tags=["mine"], metadata={{"extra": 1}},
)
print("accuracy", logs[0].results.scores[0].metrics["accuracy"].value)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A place for Inspect's traces, buffers and caches, away from the user's."""
    folder = tmp_path_factory.mktemp("inspect")
    return Lab({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})


def calls_of(project: Project, variant: str) -> list[str]:
    """The questions that a case has asked, in their order."""
    path = run_dir(project) / variant / "calls.jsonl"
    return [json.loads(line)["question"] for line in path.read_text().splitlines()] if path.exists() else []


def starts_of(project: Project) -> list[dict[str, Any]]:
    """For each attempt of the killed case: which samples were held, and how many calls there had been."""
    path = run_dir(project) / "killed" / "held.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_of(project: Project, variant: str) -> EvalLog:
    """The only published log of a variant."""
    (path,) = published(project)[variant]
    log, problem = read_eval_log(path)
    assert log is not None, problem
    return log


def outcomes(log: EvalLog) -> dict[tuple[str, int], Any]:
    """What came out for each sample."""
    samples = list(read_samples(log.path))
    found = {(each["id"], each["epoch"]): (each["target"], each["scores"]["match"]["value"]) for each in samples}
    assert len(found) == len(samples)
    return found


def kill(project: Project, variant: str, attempt: int, calls: int) -> None:
    """Kill the given attempt of a case with SIGKILL, once the case has asked so many questions, or all there are.

    It hasn't ended by then: the answer to q5 never comes.
    """

    def asked() -> bool:
        questions = calls_of(project, variant)
        return len(questions) >= calls or (len({*questions}) == N and questions.count("q5") == attempt)

    wait_for(asked, f"{calls} calls of {variant}")

    def pids() -> list[int]:
        started = project.events("attempt_started", run_dir(project))
        return [event["pid"] for event in started if event["variant"] == variant]

    os.kill(wait_for(lambda: pids()[attempt - 1 :], f"the record of attempt {attempt}")[0], signal.SIGKILL)


# --- Killed at random times ------------------------------------------------------------------------------------------

KILLS = 2
CASES = {"killed": "wait", "failing": "fail", "stopped": "wait", "whole": "", "afresh": "wait"}
# The cases of a pass share one import of Inspect, and of what it imports late.
WARM = ("--launcher", "warm", "--launcher-option", "preload=inspect_ai,acp,numpy,IPython")


@dataclass(frozen=True)
class Resumed:
    """A run of the `CASES`: one was killed twice, one failed in two samples, one was stopped by Ctrl-C while it waited
    for its last sample, one went undisturbed, and one was killed once.
    """

    project: Project
    task_ids: list[str]
    failed: EvalLog
    cancelled: EvalLog
    stopped: Finished


@pytest.fixture(scope="module")
def resumed(lab: Lab, new_project: Callable[[str], Project]) -> Resumed:
    """Three passes, after which all cases have succeeded; after the first one the code is changed.

    The second pass goes on all the same, since that is asked for, but leaves out `afresh`.
    """
    project = new_project("resumed")
    project.write("evaluate.py", ENTRY_POINT)
    project.suite(CASES, more="mode='inspect'", entry_point="evaluate.py")
    commit(project, "Add a suite")
    rng = random.Random()
    process = lab.start(project, *WARM)
    wait_for(lambda: next((experiment_dir(project) / ".runs").glob("2*"), None), "a run")
    kill(project, "killed", 1, rng.randint(2 * MAX_SAMPLES, N // KILLS))
    kill(project, "afresh", 1, N)
    ended = {"killed": "failed", "failing": "failed", "whole": "succeeded", "afresh": "failed"}
    wait_for(lambda: len(calls_of(project, "stopped")) == N and project.statuses(run_dir(project)) == ended, "the end")
    process.send_signal(signal.SIGINT)
    stopped = lab.finish(process)
    failed, cancelled = (copied(log_of(project, variant)) for variant in ("failing", "stopped"))
    task_ids = staged_task_ids(project)

    project.write("more.py", "")
    commit(project, "Change the code")
    again, asked = ("--resume", "latest", *WARM), len(calls_of(project, "killed"))
    only = ("--only", "[!a]*", "--allow-mixed-code")
    process = lab.start(project, *again, *only, WORKS="failing stopped", SERVED="echo-2")
    kill(project, "killed", 2, asked + rng.randint(1, N // KILLS - MAX_SAMPLES))
    second = lab.finish(process)
    assert second.code == 1, second
    task_ids += staged_task_ids(project)
    last = lab.run(project, *again, WORKS="killed afresh")
    assert last.code == 0, last
    return Resumed(project, task_ids, failed, cancelled, stopped)


def staged_task_ids(project: Project) -> list[str]:
    """Of the logs that the killed case has not finished."""
    staged = (run_dir(project) / "killed").glob("*.eval")
    return [log.task_id for path in staged if (log := read_eval_log(path)[0])]


def copied(log: EvalLog) -> EvalLog:
    """A log as it is now, beside the project."""
    name = f"{log.task_id}.eval"
    path = Path(shutil.copy(log.path, log.path.parents[3] / name))
    found, problem = read_eval_log(path)
    assert found is not None, problem
    return found


def test_killed_case_comes_out_as_an_undisturbed_one(resumed: Resumed) -> None:
    """Sample by sample, after kills -9 at random times."""
    killed, whole = (outcomes(log_of(resumed.project, variant)) for variant in ("killed", "whole"))
    assert killed == whole
    assert len(killed) == N


def test_nothing_is_asked_again_that_a_log_or_its_buffer_held(resumed: Resumed) -> None:
    """Each resume asks what was missing, and again only what was in flight at the kill."""
    asked = calls_of(resumed.project, "killed")
    starts = starts_of(resumed.project)
    assert len(starts) == KILLS + 1
    for start in starts:
        again = {question.replace("q", "s") for question in asked[start["calls"] :]} & set(start["held"])
        assert not again
    assert len(set(asked)) == N
    assert len(asked) <= N + KILLS * MAX_SAMPLES
    assert max(len(start["held"]) for start in starts) > 0, "no kill came after a sample had ended"
    assert Counter(calls_of(resumed.project, "whole")).most_common(1)[0][1] == 1


def test_resumed_task_keeps_its_id_and_lists_its_attempts(resumed: Resumed) -> None:
    """One log, of the same task, that says which attempts it is made of and what each took over."""
    log = log_of(resumed.project, "killed")
    assert set(resumed.task_ids) == {log.task_id}
    attempts = (log.metadata or {})["attempts"]
    assert [each["attempt"] for each in attempts] == list(range(1, KILLS + 2))
    assert attempts[1]["tree"] == attempts[2]["tree"]
    kept = [each["samples_kept"] for each in attempts]
    assert kept == sorted(kept)
    starts = starts_of(resumed.project)
    assert all(n >= len(start["held"]) for n, start in zip(kept, starts, strict=True))


def test_failed_samples_alone_are_asked_again(resumed: Resumed) -> None:
    """A log with the status error keeps what succeeded; the next attempt asks the rest, under the same task id."""
    log = log_of(resumed.project, "failing")
    assert (resumed.failed.status, log.status) == ("error", "success")
    assert resumed.failed.task_id == log.task_id
    counts = Counter(calls_of(resumed.project, "failing"))
    assert {question: n for question, n in counts.items() if n > 1} == {"q5": 3, "q7": 2}  # q5 once by Inspect's retry
    assert len(outcomes(log)) == N
    assert (log.metadata or {})["attempts"][-1]["samples_kept"] == N - 2


def test_ctrl_c_closes_the_log_and_a_resume_asks_the_rest(resumed: Resumed) -> None:
    """Inspect ends it as cancelled with all that is done; the next attempt asks the one sample that is missing."""
    assert resumed.stopped.code == 130, resumed.stopped
    assert resumed.cancelled.status == "cancelled"
    held = [sample for sample in read_samples(resumed.cancelled.path) if sample.get("scores")]
    assert len(held) == N - 1
    log = log_of(resumed.project, "stopped")
    assert (log.status, log.task_id) == ("success", resumed.cancelled.task_id)
    assert [each["samples_kept"] for each in (log.metadata or {})["attempts"]] == [0, N - 1]
    counts = Counter(calls_of(resumed.project, "stopped"))
    assert {question: n for question, n in counts.items() if n > 1} == {"q5": 2}
    assert outcomes(log) == outcomes(log_of(resumed.project, "whole"))


def test_log_says_what_made_it(resumed: Resumed) -> None:
    """Metadata and tags: the runner's facts, the config and its hash, and what the entry point adds."""
    folder, log = run_dir(resumed.project), log_of(resumed.project, "whole")
    metadata = dict(log.metadata or {})
    run = json.loads((folder / "run.json").read_text())
    (case,) = (case for case in run["cases"] if case["variant"] == "whole")
    assert metadata["config"] == json.loads((folder / "whole/config.json").read_text())
    assert metadata["config_sha256"] == case["config_sha256"]
    assert metadata["extra"] == 1
    said = {name: metadata[name] for name in ("experiment", "variant", "run", "commit", "dirty", "tree")}
    code = {name: run["code"][name] for name in ("commit", "dirty", "tree")}
    assert said == {"experiment": "exp", "variant": "whole", "run": folder.name, **code}
    tags = header_of(log.path)["eval"]["tags"]
    assert set(tags) == {"mine", "whole", f"commit:{code['commit']}", f"config:{case['config_sha256'][:12]}"}
    assert not (folder / ".stamp.log").exists(), "nothing was left to write into the logs"


def test_live_view_is_told_samples_tokens_and_retries(resumed: Resumed) -> None:
    """The case's tracking.jsonl has them, which the runner shows without importing Inspect."""
    path = run_dir(resumed.project) / "failing/tracking.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = [line for line in lines if line["event"] == "progress" and line["attempt"] == lines[-1]["attempt"]]
    assert (told[0]["done"], told[-1]["done"], told[-1]["total"]) == (N - 2, N, N)
    assert told[-1]["message"].startswith("samples, ")
    assert told[-1]["message"].endswith("tokens, 1 retries")


def test_show_and_diff_tell_which_models_answered(resumed: Resumed) -> None:
    """A name behind which the provider has put another model is a warning, within a run and between two."""
    project = resumed.project
    served = log_of(project, "whole").served_models["scripted/echo"]
    assert served == {"echo-1": N}
    both = log_of(project, "failing").served_models["scripted/echo"]
    assert both == {"echo-1": N - 2, "echo-2": 2}
    name = f"exp/{run_dir(project).name}"
    shown = suitecase("show", name, cwd=project.root)
    assert "echo-1" in shown.stdout
    assert "was served by 2 models (echo-1, echo-2)" in shown.stderr
    findings = answer("diff", name, name, cwd=project.root)["findings"]
    assert sum("was served by 2 models" in finding for finding in findings) == 2


def test_other_code_starts_afresh(resumed: Resumed) -> None:
    """No log mixes code: without `--allow-mixed-code` all is asked again."""
    log = log_of(resumed.project, "afresh")
    asked = Counter(calls_of(resumed.project, "afresh"))
    assert asked == dict.fromkeys((f"q{number}" for number in range(N)), 2)
    assert [each["attempt"] for each in (log.metadata or {})["attempts"]] == [2]


@pytest.mark.parametrize("variant", ["killed", "failing", "stopped"])
def test_mixed_code_goes_on_if_that_is_asked_for(resumed: Resumed, variant: str) -> None:
    """`--allow-mixed-code` keeps the samples, and the log lists the code of each attempt."""
    attempts = (log_of(resumed.project, variant).metadata or {})["attempts"]
    assert attempts[0]["commit"] != attempts[1]["commit"]
    assert attempts[1]["samples_kept"] > 0


# --- Refused before anything is asked --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plain:
    """A config, as far as `run_inspect` needs it."""

    output_dir: str
    seed: int = 7

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The fields."""
        return {"output_dir": self.output_dir, "seed": self.seed, "mode": mode}


def test_shuffled_samples_need_ids(tmp_path: Path) -> None:
    """Inspect numbers them after the shuffle; in the dataset's own order that does no harm."""
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample

    from suitecase.inspect_bridge.evaluation import check, with_seeds

    def task() -> Task:
        return Task(dataset=MemoryDataset([Sample(input="q"), Sample(input="r", id="r")]), name="t")

    config = Plain(str(tmp_path))
    with pytest.raises(SuitecaseError, match="1 of 2 samples of t have no id"):
        check([task()], with_seeds({}, 7), config)
    check([task()], with_seeds({"sample_shuffle": False}, 7), config)
    shuffled = task()
    shuffled.dataset.shuffle(3)
    with pytest.raises(SuitecaseError, match="no id"):
        check([shuffled], with_seeds({"sample_shuffle": False}, 7), config)


def test_all_that_is_wrong_is_told_at_once() -> None:
    """What is run_inspect's own, a task that is none, no folder: one error, before anything is asked."""
    from suitecase.inspect_bridge import run_inspect

    wrong: Any = "my_task"
    with pytest.raises(SuitecaseError) as error:
        run_inspect(Plain(""), [wrong], log_dir="x", retry_attempts=3)
    assert [problem.split(" is ")[0] for problem in error.value.problems] == [
        "log_dir", "retry_attempts", "task", "config.output_dir"
    ]  # fmt: skip


def test_members_are_one_model() -> None:
    """Inspect would take a text with commas for several evaluations."""
    from suitecase.inspect_bridge.evaluation import with_seeds

    assert with_seeds({"model": "ensemble/a/b,c/d"}, 7)["model"] == ["ensemble/a/b,c/d"]
    assert with_seeds({"model": "a/b,c/d"}, 7)["model"] == "a/b,c/d"


@pytest.mark.parametrize(
    ("given", "shuffle", "seed"),
    [
        ({}, 7, 7),
        ({"sample_shuffle": True}, 7, 7),
        ({"sample_shuffle": 3, "seed": 5}, 3, 5),
        ({"sample_shuffle": False}, None, 7),
        ({"sample_id": ["a"]}, None, 7),
    ],
)
def test_seed_of_the_config_orders_and_generates(given: dict[str, Any], shuffle: int | None, seed: int) -> None:
    """One seed for all, unless another is given; samples that are named are not shuffled."""
    from suitecase.inspect_bridge.evaluation import with_seeds

    arguments = with_seeds(given, 7)
    assert (arguments.get("sample_shuffle"), arguments["seed"]) == (shuffle, seed)
