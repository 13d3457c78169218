"""Hooks and policies of a suite file, end to end: what they are told, what they may answer, what they can't break."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest
from conftest import HERE, Project, wait_for

IMPORTS = (
    "from experiment_runner import ABORT, RETRY, SKIP, ExecutionPolicy, Refuse, Resources\nimport json, os, sys, time\n"
)
POLICIES = f"import sys; sys.path.append({str(HERE)!r})\nfrom suitecase.policies import CostBudget, FailureRate\n"

# Writes down every call, one JSON object a line.
TELLS = """
from dataclasses import asdict
class Tells:
    def tell(self, method, record):
        with open("told.jsonl", "a") as file:
            file.write(json.dumps({"method": method, **asdict(record)}, default=str) + "\\n")
    def before_run(self, record): self.tell("before_run", record)
    def before_case(self, record): self.tell("before_case", record)
    def after_case(self, record): self.tell("after_case", record)
    def after_run(self, record): self.tell("after_run", record)
"""


def hook(body: str, name: str = "Hook") -> str:
    """A class with these methods: `body` is indented by four more spaces."""
    return f"class {name}:\n" + "".join(f"    {line}\n" for line in body.splitlines())


def test_what_hooks_are_told(project: Project) -> None:
    """The four methods are called in order, each with what is known by then."""
    project.suite(
        {"good": "(folder / 'results.json').write_text('{\"score\": 0.5}')", "bad": "print('why'); sys.exit(3)",
         "shot": "os.kill(os.getpid(), 11)"},
        before=IMPORTS + TELLS, more="hooks=[Tells()]",
    )  # fmt: skip
    done = project.run("-p", "1")
    assert (done.code, done.stderr) == (1, "")
    told = [json.loads(line) for line in (project.root / "told.jsonl").read_text().splitlines()]
    cases = [(call["method"], call["variant"]) for call in told]
    assert (cases[0], cases[-1], len(cases)) == (("before_run", ""), ("after_run", ""), 8)
    for variant in ("good", "bad", "shot"):
        assert cases.index(("before_case", variant)) < cases.index(("after_case", variant))
    run_dir = project.run_dir
    assert {(c["run"], c["run_dir"], c["experiment"]) for c in told} == {(run_dir.name, str(run_dir), "exp")}
    by = {(call["method"], call["variant"]): call for call in told}
    good, bad, shot = (by["after_case", variant] for variant in ("good", "bad", "shot"))
    assert (good["status"], good["exit_code"], good["signal"], good["cause"]) == ("succeeded", 0, None, "")
    assert (good["results"], good["attempt"], good["output_dir"]) == ({"score": 0.5}, 1, str(run_dir / "good"))
    assert good["config"] == json.loads((run_dir / "good" / "config.json").read_text())
    assert set(good["resources"]) == {"user_cpu_s", "system_cpu_s", "max_rss_bytes"}
    ended = {event["variant"]: event for event in project.events("attempt_ended")}
    assert good["duration_s"] == pytest.approx(ended["good"]["duration_s"], abs=1e-5)
    assert (bad["status"], bad["exit_code"], bad["cause"], bad["log_tail"]) == ("failed", 3, "exit code 3", "why")
    assert (shot["exit_code"], shot["signal"], shot["results"]) == (None, 11, None)
    assert (told[-1]["exit_code"], told[-1]["counts"]) == (1, {"succeeded": 1, "failed": 2})
    assert by["before_case", "good"]["status"] == ""


def test_retry(project: Project) -> None:
    """RETRY runs a failed case again, whatever the policy says, and the hook sees each attempt."""
    body = """def after_case(self, record):
    print(record.variant, record.attempt, record.status)
    if record.status == "failed" and record.attempt < 3: return RETRY"""
    project.suite(
        {"a": "sys.exit(2)"}, before=IMPORTS + hook(body), more="hooks=[Hook()], policy=ExecutionPolicy(backoff_s=0)"
    )
    done = project.run_forked()
    assert done.code == 1
    assert [line for line in done.lines if line.startswith("a ")] == [f"a {number} failed" for number in (1, 2, 3)]
    assert len(project.events("retry_scheduled")) == 2
    assert project.statuses() == {"a": "failed"}


def test_skip_ends_the_retries(project: Project) -> None:
    """SKIP after a failure: no more attempts, although the policy has some left."""
    body = "def after_case(self, record): return SKIP if record.status == 'failed' else None"
    project.suite({"a": "sys.exit(1)", "b": ""}, before=IMPORTS + hook(body), more="hooks=[Hook()]")
    assert project.run_forked("--max-attempts", "5", "--backoff", "0").code == 1
    assert project.statuses() == {"a": "failed", "b": "succeeded"}
    assert len(project.events("attempt_started")) == 2


def test_skip_a_case(project: Project) -> None:
    """SKIP before a case: it isn't started, counts as skipped, and a resume asks again."""
    body = "def before_case(self, record):\n    if record.config['x'] == 1 and not os.path.exists('go'): return SKIP"
    cases = "[ExperimentCase('a', Config(x=1)), ExperimentCase('b', Config(x=2))]"
    project.suite(cases, before=IMPORTS + hook(body), more="hooks=[Hook()]")
    done = project.run_forked()
    assert done.code == 1
    assert project.statuses() == {"a": "skipped", "b": "succeeded"}
    assert not list(project.run_dir.glob("a/attempt*"))
    assert "Completed: 1/2 succeeded (1 skipped)" in done.lines
    project.write("go", "")
    assert project.run_forked("--resume", "latest").code == 0


@pytest.mark.parametrize("method", ["before_case", "after_case"])
def test_abort(project: Project, method: str) -> None:
    """ABORT: nothing more is launched, the rest is skipped."""
    body = f"def {method}(self, record):\n    if record.variant == 'b': return ABORT"
    project.suite(dict.fromkeys("abcd", ""), before=IMPORTS + hook(body), more="hooks=[Hook()]")
    done = project.run_forked("-p", "1")
    assert done.code == 1
    statuses = project.statuses()
    # Of a case that succeeded the hook is told while the next one starts.
    assert statuses["a"] == "succeeded"
    assert statuses["b"] == ("skipped" if method == "before_case" else "succeeded")
    assert statuses["d"] == "skipped"
    assert [event["reason"] for event in project.events("launching_stopped")] == ["a hook answered ABORT"]
    assert "Stopping: a hook answered ABORT." in done.stdout


def test_refuse(project: Project) -> None:
    """A run that a hook refuses starts nothing and says why; another pass may go on."""
    body = "def before_run(self, record):\n    if not os.path.exists('go'): return Refuse('the cluster is closed')"
    project.suite({"a": "", "b": ""}, before=IMPORTS + hook(body), more="hooks=[Hook()]")
    done = project.run_forked()
    assert done.code == 1
    assert "Stopping: a hook refused the run: the cluster is closed." in done.stdout
    assert project.events("attempt_started") == []
    assert project.statuses() == {"a": "skipped", "b": "skipped"}
    project.write("go", "")
    assert project.run_forked("--resume", "latest").code == 0


def test_extra_facts_are_journalled(project: Project) -> None:
    """What `before_run` returns stands in the journal before the first attempt."""
    first = hook("def before_run(self, record): return {'cluster': 'é', 'nodes': [1, 2]}", "First")
    second = hook("def before_run(self, record): return {'more': None}", "Second")
    project.suite({"a": ""}, before=IMPORTS + first + second, more="hooks=[First(), Second()]")
    assert project.run_forked().code == 0
    extra = [event["extra"] for event in project.events("run_annotated")]
    assert extra == [{"cluster": "é", "nodes": [1, 2]}, {"more": None}]
    names = [event["event"] for event in project.events()]
    assert names.index("run_annotated") < names.index("attempt_started")


FAILING = {
    "Raises": ("raise ValueError('no key')", "ValueError: no key (suite.py, line "),
    "Exits": ("sys.exit(9)", "SystemExit: 9 ("),
    "Interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt ("),
    "Nonsense": ("return 'nonsense'", "returned 'nonsense'; it may return "),
    "NoJson": ("return {'x': object()}", ""),
}


def test_hooks_that_fail(project: Project) -> None:
    """All methods of five hooks fail: each time that is journalled, the next is asked, and the run goes on."""
    methods = ("before_run", "before_case", "after_case", "after_run")
    classes = "".join(
        hook("\n".join(f"def {method}(self, record):\n    {statement}" for method in methods), name)
        for name, (statement, _) in FAILING.items()
    )
    given = ", ".join(f"{name}()" for name in [*FAILING, "Tells"])
    project.suite({"a": "", "b": "sys.exit(1)"}, before=IMPORTS + classes + TELLS, more=f"hooks=[{given}]")
    done = project.run_forked("-p", "1")
    assert done.code == 1
    assert project.statuses() == {"a": "succeeded", "b": "failed"}
    for name, (_, reason) in FAILING.items():
        failed = [event for event in project.events("hook_failed") if event["hook"] == name]
        counts = Counter(event["method"] for event in failed)
        assert counts == {"before_run": 1, "before_case": 2, "after_case": 2, "after_run": 1}
        assert all(reason in event["reason"] for event in failed)
    assert len((project.root / "told.jsonl").read_text().splitlines()) == 6
    assert "Traceback" not in done.stderr


def test_cases_that_hooks_skip_cost_no_time(project: Project) -> None:
    """A budget that is spent skips the rest of a large suite at once: the next case is asked about without a pause."""
    body = "def before_case(self, record): return SKIP"
    project.suite(
        "[ExperimentCase(f'c{n}', Config(x=n)) for n in range(100)]", before=IMPORTS + hook(body), more="hooks=[Hook()]"
    )
    started = time.monotonic()
    assert project.run_forked("-p", "1").code == 1
    assert set(project.statuses().values()) == {"skipped"}
    assert time.monotonic() - started < 50


def test_a_hook_that_hangs_holds_up_no_case(project: Project) -> None:
    """While a hook hangs, the cases that run are supervised: one runs into its timeout, another one ends."""
    body = (
        "def after_case(self, record):\n    if record.variant == 'first': open('hanging', 'w').close(); time.sleep(600)"
    )
    wait = "while not Path('hanging').exists(): time.sleep(0.01)\n"
    codes = {"first": "", "ends": wait, "times-out": wait + "time.sleep(600)", "last": wait}
    project.suite(
        "[ExperimentCase(name, Config(do=code), resources=Resources(timeout_s=1.5 if name == 'times-out' else None))"
        f" for name, code in {codes}.items()]",
        before=IMPORTS + hook(body), more="hooks=[Hook()], policy=ExecutionPolicy(hook_timeout_s=3600)",
    )  # fmt: skip
    process = project.fork("-p", "4", "--grace", "0.2")
    wait_for(lambda: project.runs() and len(project.events("attempt_ended")) == 4, "the ends of all")
    ended = {event["variant"]: event["status"] for event in project.events("attempt_ended")}
    assert ended == {"first": "succeeded", "ends": "succeeded", "last": "succeeded", "times-out": "timed_out"}
    process.send_signal(signal.SIGINT)
    wait_for(lambda: project.events("run_cancelled"), "the first Ctrl-C")
    process.send_signal(signal.SIGINT)
    assert project.finish(process).code == 130
    assert project.statuses()["times-out"] == "timed_out", "every case has a final state"
    assert set(project.statuses()) == {"first", "ends", "times-out", "last"}


def test_a_hook_that_hangs_is_left_behind(project: Project) -> None:
    """Past its limit a hook is abandoned and that is journalled; the others are asked by a fresh thread."""
    body = "hook_timeout_s = 0.3\ndef before_case(self, record):\n    if record.variant == 'a': time.sleep(600)"
    project.suite({"a": "", "b": ""}, before=IMPORTS + hook(body) + TELLS, more="hooks=[Hook(), Tells()]")
    done = project.run_forked("-p", "1")
    assert done.code == 0, done.stderr
    reasons = [event["reason"] for event in project.events("hook_failed")]
    assert reasons == ["gave no answer within 0.3 s and was left behind", "is still busy with an earlier call"]
    assert len((project.root / "told.jsonl").read_text().splitlines()) == 6


def test_a_failed_case_whose_next_attempt_a_hook_decides_about(project: Project) -> None:
    """When the run is stopped meanwhile, the case keeps its failure: no case is left running in the journal."""
    body = (
        "def before_case(self, record):\n    while record.attempt and not os.path.exists('go'):\n"
        "        open('asked', 'w').close(); time.sleep(0.01)"
    )
    project.suite({"a": "sys.exit(1)"}, before=IMPORTS + hook(body), more="hooks=[Hook()]")
    process = project.fork("--max-attempts", "2", "--backoff", "0")
    wait_for((project.root / "asked").exists, "the question")
    process.send_signal(signal.SIGINT)
    wait_for(lambda: project.events("run_cancelled"), "the effect of Ctrl-C")
    project.write("go", "")
    done = project.finish(process)
    assert done.code == 130
    assert project.statuses() == {"a": "failed"}
    assert "Completed: 0/1 succeeded (1 failed)" in done.lines


def test_wrong_hooks_are_refused(project: Project) -> None:
    """What could never be called is told before anything starts, together with other problems."""
    body = "def after_cases(self, record): pass"
    project.suite({"a/b": ""}, before=IMPORTS + hook(body), more="hooks=[Hook(), Hook, 5]")
    done = project.run_forked()
    assert done.code == 2
    assert "did you mean after_case?" in done.stderr
    assert "give an instance" in done.stderr
    assert "is no hook" in done.stderr
    assert "'a-b'" in done.stderr
    assert not (project.root / "results").exists()


# --- Policies --------------------------------------------------------------------------------------------------------

COSTS = "(folder / 'results.json').write_text(json.dumps({'cost_usd': 0.1}))\n"


def spent(project: Project) -> int:
    """How many cases have paid."""
    return len(list(project.run_dir.glob("*/results.json")))


def test_a_budget_overspends_by_the_cases_in_flight(project: Project) -> None:
    """0.35 of 0.1 each: four must end before it is reached, and two more may run by then."""
    project.suite(
        {f"c{n:02}": COSTS + "time.sleep(0.05)" for n in range(16)}, before=POLICIES, more="hooks=[CostBudget(0.35)]"
    )
    done = project.run_forked("-p", "3")
    assert done.code == 1
    assert 4 <= spent(project) <= 4 + 3
    assert list(project.statuses().values()).count("skipped") == 16 - spent(project)
    assert "Stopping: a hook answered ABORT." in done.stdout
    refused = project.run_forked("--resume", "latest")
    assert refused.code == 1
    assert "Stopping: a hook refused the run: cost budget: 0." in refused.stdout


def test_spending_survives_a_kill(project: Project) -> None:
    """After `kill -9` and a resume the same cases have been paid for, in-flight ones included, and no more is spent."""
    wait = "while not Path('go').exists(): time.sleep(0.01)"
    project.suite(
        {"a": COSTS, "b": COSTS + "(folder / 'paid').touch()\n" + wait, **{f"c{n}": COSTS for n in range(6)}},
        before=POLICIES, more="hooks=[CostBudget(0.45)]",
    )  # fmt: skip
    process = project.start("-p", "1")
    wait_for(lambda: list(project.root.glob("results/exp/2*/b/paid")), "the second case")
    process.kill()
    process.wait()
    project.write("go", "")
    assert project.run("--resume", "latest", "-p", "1").code == 1
    # a: 0.1, b: 0.1 and once more 0.1, then c0 and c1: 0.5; one may be in flight by then.
    statuses = project.statuses()
    assert statuses["b"] == "succeeded"
    assert [statuses[f"c{n}"] for n in (0, 1)] == ["succeeded"] * 2
    assert [statuses[f"c{n}"] for n in (3, 4, 5)] == ["skipped"] * 3


def test_failure_rate(project: Project) -> None:
    """Two of the last four are as many as allowed; the third one stops the run."""
    project.suite(
        {f"c{n}": f"sys.exit({code})" for n, code in enumerate("010110000")},
        before=POLICIES, more="hooks=[FailureRate(0.5, window=4)]",
    )  # fmt: skip
    done = project.run_forked("-p", "1")
    assert done.code == 1
    statuses = project.statuses()
    assert [statuses[f"c{n}"] for n in (1, 3, 4)] == ["failed"] * 3
    assert statuses["c5"] in ("succeeded", "skipped")
    assert [statuses[f"c{n}"] for n in (6, 7, 8)] == ["skipped"] * 3
    assert "failure rate: 3 of the last 4 cases failed" in done.stderr
