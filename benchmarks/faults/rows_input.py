"""The rows about what is put in: names, values, damaged run directories, states of git."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .framework import Campaign, Outcome, Row, skipped
from .preloaded import Launcher, clean_environment, launchers, make_project, spread
from .rows_damage import damaged_runs
from .rows_failpoints import memory_folder

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


def needs_the_tests(row: str, promise: str) -> Outcome | None:
    """The generators are those of the tests; without them a row can't run."""
    try:
        importlib.import_module("hypothesis")
        importlib.import_module("pytest")
    except ImportError as error:
        return skipped(row, promise, f"needs the extra dev ({error}): NOT TRIED")
    return None if TESTS.is_dir() else skipped(row, promise, f"{TESTS} is not there: NOT TRIED")


def work(campaign: Campaign, what: str, count: int, folder: Path) -> list[dict[str, Any]]:
    """What the workers of `generated.py` found, each with its share and a seed of its own."""
    started = [
        subprocess.Popen(
            [campaign.python, "-m", "benchmarks.faults.generated", what, str(campaign.seed * 1_000 + number),
             str(count // campaign.workers), str(folder / f"{what}-{number}")],
            cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(campaign.workers)
    ]  # fmt: skip
    try:
        found: list[dict[str, Any]] = []
        for process in started:
            output, errors = process.communicate(timeout=500)
            if process.returncode != 0:
                raise RuntimeError(f"a worker failed: {errors[-1500:]}")
            found.append(json.loads(output.splitlines()[-1]))
        return found
    finally:
        for process in started:
            process.kill()
            process.communicate()


# --- B1: names -------------------------------------------------------------------------------------------------------

NAMES = (
    "names: refused with a reason, or used exactly; none escapes, none shares a folder, none has more than 255 bytes"
)
NAMES_SUITE = """\
import json, os
from experiment_runner import ExperimentCase, run_experiments_cli
from config import Config

cases = [ExperimentCase(name, Config()) for name in json.load(open(os.environ["NAMES"]))]
run_experiments_cli(cases, "work.sh", os.environ.get("EXPERIMENT", "exp"))
"""


def hostile_names(campaign: Campaign) -> Outcome:
    """B1: the names of the tests and generated ones; what is accepted is then run."""
    if (reason := needs_the_tests("B1", NAMES)) is not None:
        return reason
    started = time.monotonic()
    with memory_folder(campaign, "B1") as folder:
        found = work(campaign, "names", 200 if campaign.quick else 5_000, folder)
        bad = [text for one in found for text in one["bad"]]
        batches = [names for file in folder.glob("names-*/accepted.json") for names in json.loads(file.read_text())]
        batches = batches[:3] if campaign.quick else batches
        project = make_project(folder / "project", ROOT)
        (project / "names.py").write_text(NAMES_SUITE)
        (project / "work.sh").write_text('#!/bin/sh\nprintf \'%s\' "$2" > "$2/seen"\n')
        with launchers(campaign.workers, project, folder, campaign.python) as made:
            tasks = list(enumerate(batches))
            ran = spread(
                made, tasks, lambda one, task: run_names(one, folder / f"run-{task[0]}", task[1]), lambda _: None
            )
            bad += [text for wrong in ran for text in wrong]
            bad += refused_names(made[0], campaign.python, folder, project)
    fixed = found[0]["fixed"]
    tried = fixed + sum(one["tried"] - fixed for one in found)
    return Outcome(
        row="B1", promise=NAMES, tried=tried, held=tried - len(bad), survivors_or_bad=bad[:50],
        fired=sum(one["refused"] for one in found), seconds=time.monotonic() - started,
        detail={
            "fixed": fixed, "generated": tried - fixed, "pairs tried for a collision": sum(o["pairs"] for o in found),
            "names that were run as cases": sum(map(len, batches)),
        },
    )  # fmt: skip


def run_names(launcher: Launcher, results: Path, names: Sequence[str]) -> list[str]:
    """Cases of accepted names: each has a folder of exactly that name, which it sees as its own."""
    listed = results.with_suffix(".json")
    listed.write_text(json.dumps(names))
    ended = launcher.run("--results-dir", str(results), "--quiet", suite="names.py", env={"NAMES": str(listed)})
    if ended.code != 0:
        return [f"accepted names did not run: {ended.stderr.strip()[:300]}"]
    runs = list((results / "exp").iterdir())
    if len(runs) != 1 or os.listdir(results) != ["exp"]:
        return [f"{runs} were made"]
    own = {"run.json", "environment.json", "journal.jsonl"}
    folders = {entry.name for entry in os.scandir(runs[0]) if entry.is_dir(follow_symlinks=False)}
    others = set(os.listdir(runs[0])) - folders - own
    wrong = [f"{name!a} is not what was made" for name in folders ^ set(names)]
    wrong += [f"{name!a} was written beside the cases" for name in others if not name.startswith(("uncommitted", "."))]
    return wrong + [
        f"{n!a} saw another folder" for n in names if (runs[0] / n / "seen").read_text() != str(runs[0] / n)
    ]


def refused_names(launcher: Launcher, python: str, folder: Path, project: Path) -> list[str]:
    """A suite of every refused name is refused with each of them named, and leaves nothing behind."""
    script = "import json; from benchmarks.faults import generated as g; print(json.dumps(list(g.test_names.REFUSED)))"
    listed = subprocess.run([python, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, check=True)
    names: list[str] = json.loads(listed.stdout)
    (folder / "refused.json").write_text(json.dumps(names))
    before = sorted(os.listdir(folder)), sorted(os.listdir(project))
    environment = {"NAMES": str(folder / "refused.json")}
    ended = launcher.run("--results-dir", str(folder / "never"), suite="names.py", env=environment)
    wrong: list[str] = []
    if ended.code != 2 or len(ended.stderr.splitlines()) < len(names) or "Traceback" in ended.stderr:
        wrong.append(f"{len(names)} bad names: exit code {ended.code}, {len(ended.stderr.splitlines())} lines")
    for name in ("..", "../../escape", "/tmp/escape", "a\0b", "x" * 5_000):
        environment = {"NAMES": str(folder / "refused.json"), "EXPERIMENT": name.replace("\0", "\x01")}
        ended = launcher.run("--results-dir", str(folder / "never"), suite="names.py", env=environment)
        if ended.code != 2 or "Traceback" in ended.stderr:
            wrong.append(f"experiment {name[:20]!a}: exit code {ended.code}")
    if (sorted(os.listdir(folder)), sorted(os.listdir(project))) != before:
        wrong.append("something was made for names that are refused")
    return wrong


# --- B2: values ------------------------------------------------------------------------------------------------------

VALUES = "typed configs through the transport: none changes silently, and what can't travel is refused by its field"
UNSUPPORTED_SUITE = """\
import sys
sys.path[:0] = [{root!r}, {tests!r}]
import test_transport
from experiment_runner import ExperimentCase, run_experiments_cli

cases = [ExperimentCase(f"case_{{name}}", make()) for name, (make, _) in test_transport.REFUSED.items()]
run_experiments_cli(cases, "work.sh", "exp")
"""


def typed_values(campaign: Campaign) -> Outcome:
    """B2: the values of the tests through a real child, generated configs through the files, and what can't travel."""
    if (reason := needs_the_tests("B2", VALUES)) is not None:
        return reason
    started = time.monotonic()
    with memory_folder(campaign, "B2") as folder:
        found = work(campaign, "values", 200 if campaign.quick else 20_000, folder)
        bad = [text for one in found for text in one["bad"]]
        fixed, wrong = fixed_values(campaign, folder)
        bad += wrong + unsupported(campaign, folder)
    tried = sum(one["tried"] for one in found) + fixed
    return Outcome(
        row="B2", promise=VALUES, tried=tried, held=tried - len(bad), survivors_or_bad=bad[:50], fired=tried,
        seconds=time.monotonic() - started, detail={"fixed": fixed, "generated configs of 20 fields": tried - fixed},
    )  # fmt: skip


def fixed_values(campaign: Campaign, folder: Path) -> tuple[int, list[str]]:
    """The tests of the fixed values, real children included; how many there are, and which fail."""
    chosen = "arrives or no_value_of_the_list or cannot_travel or that_cannot"
    return run_tests(campaign, folder, "test_transport.py", "-k", f"({chosen}) and not generated")


def run_tests(campaign: Campaign, folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """How many tests ran, and the names of those that failed."""
    report = folder / "tests.xml"
    subprocess.run(
        [campaign.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
         f"--basetemp={folder / 'tests'}", *arguments],
        cwd=TESTS, env=clean_environment(), capture_output=True, timeout=400,
    )  # fmt: skip
    cases = list(ElementTree.parse(report).iter("testcase"))
    skips = [case for case in cases if case.find("skipped") is not None]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return len(cases) - len(skips), [f"{case.get('name')} fails: {message(case)}" for case in failed]


def message(case: ElementTree.Element) -> str:
    failure = case.find("failure")
    return ((failure.get("message") or "") if failure is not None else "")[:200]


def unsupported(campaign: Campaign, folder: Path) -> list[str]:
    """A suite of configs that can't travel starts nothing, makes nothing, and names every case and field."""
    project = make_project(folder / "project", ROOT)
    suite = project / "unsupported.py"
    suite.write_text(UNSUPPORTED_SUITE.format(root=str(project), tests=str(TESTS)))
    done = subprocess.run(
        [campaign.python, str(suite), "--results-dir", str(folder / "never")], cwd=project, env=clean_environment(),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    script = (
        "import json; from benchmarks.faults import generated as g; "
        "print(json.dumps({n: f for n, (_, f) in g.test_transport.REFUSED.items()}))"
    )
    listed = subprocess.run([campaign.python, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True)
    wrong = [
        f"{name} is not refused by its field {field}"
        for name, field in json.loads(listed.stdout).items()
        if not any(f"'case_{name}'" in line and f"field {field}" in line for line in done.stderr.splitlines())
    ]
    if done.returncode != 2 or (folder / "never").exists() or "Traceback" in done.stderr:
        wrong.append(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    return wrong


# --- B4: git ---------------------------------------------------------------------------------------------------------

STATES = "states of git: an honest label, a patch that gives the exact tree, an untouched index, nothing of it executed"


def states_of_git(campaign: Campaign) -> Outcome:
    """B4: the states of the tests, each of which checks bookkeeping and traps before and after."""
    if (reason := needs_the_tests("B4", STATES)) is not None:
        return reason
    started = time.monotonic()
    with memory_folder(campaign, "B4") as folder:
        chosen = ("-k", "honest or traps or repository or absent or corrupt") if campaign.quick else ()
        tried, bad = run_tests(campaign, folder, "test_code_state.py", *chosen)
    return Outcome(
        row="B4", promise=STATES, tried=tried, held=tried - len(bad), survivors_or_bad=bad, fired=tried,
        seconds=time.monotonic() - started, detail={"traps proved live by": "test_the_traps_are_live"},
    )  # fmt: skip


ROWS: Mapping[str, Row] = {
    "B1": hostile_names,
    "B2": typed_values,
    "B3": damaged_runs,
    "B4": states_of_git,
}
