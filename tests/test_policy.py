"""Execution policies, end to end: when a case is ended, run again or not started, and what it may use."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from conftest import Project, alive, clean_environment, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_runner import ExecutionPolicy

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")

IMPORTS = "from experiment_runner import ExecutionPolicy, Resources"
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Fails as often as a file of the project says, then succeeds. Counts its attempts itself.
FLAKY = """\
number = len(list(folder.glob('attempt-*.log')))
print('attempt', number, flush=True)
sys.exit({code} if number <= {failures} else 0)
"""
FLAKY_SHELL = '#!/bin/sh\n[ "$(ls "$2" | grep -c attempt)" -gt 2 ] || exit 7\n'


def flaky(failures: int, code: int = 7) -> str:
    return FLAKY.format(failures=failures, code=code)


def policy(**values: object) -> str:
    """Further arguments of `run_experiments_cli`."""
    return f"policy=ExecutionPolicy({', '.join(f'{name}={value!r}' for name, value in values.items())})"


def names_of(events: Iterable[Mapping[str, Any]], variant: str) -> list[str]:
    return [event["event"] for event in events if event.get("variant") == variant]


# --- Checking --------------------------------------------------------------------------------------------------------


def test_all_problems_at_once(project: Project) -> None:
    """Whatever is wrong with a policy is told in one go, and nothing is created."""
    wrong: dict[str, object] = {
        "timeout_s": 0, "grace_s": -1, "max_attempts": 0, "retry_on": ("SIGSEV",), "never_retry_on": (0, 256),
        "backoff": "expo", "backoff_s": -0.5, "backoff_factor": "2", "backoff_cap_s": -1, "max_failure_rate": 1.5,
        "failure_window": 0, "cpus_per_case": -2, "gpus_per_case": -1, "memory_gb_per_case": 0,
        "continue_exit_code": 0, "nice": 20, "hook_timeout_s": True,
    }  # fmt: skip
    cases = "[ExperimentCase('a/b', Config(), resources=Resources(cpus=-1))]"
    project.suite(cases, before=IMPORTS, more=policy(**wrong))
    before = project.listing()
    done = project.run_forked()
    assert (done.code, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert all(sum(f"policy: {name}" in line for line in lines) >= 1 for name in wrong), done.stderr
    assert len(lines) == len(wrong) + 1 + 2  # two wrong codes; and what is wrong with the case
    assert "'a-b'" in done.stderr
    assert "case 'a/b': cpus is -1: it must be more than 0." in lines[-1]
    assert "SIGSEGV" in done.stderr, "no suggestion"
    assert "Traceback" not in done.stderr
    assert project.listing() == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none(project: Project, value: float) -> None:
    """NaN and infinity are refused, or recorded in JSON that everybody reads."""
    names = ("timeout_s", "grace_s", "backoff_s", "backoff_factor", "backoff_cap_s", "cpus_per_case", "hook_timeout_s")
    values = ", ".join(f"{name}=float('{value}')" for name in names)
    project.suite({"a": ""}, before=IMPORTS, more=f"policy=ExecutionPolicy({values})")
    done = project.run_forked()
    assert done.code == 2
    assert all(f"policy: {name}" in done.stderr for name in names), done.stderr


def test_what_cases_need_is_checked(project: Project) -> None:
    """Resources of single cases too; equal problems are told once."""
    project.suite(
        "[ExperimentCase('a', Config(x=1), resources=Resources(cpus=10_000)),"
        " ExperimentCase('b', Config(x=2), resources=Resources(cpus=10_000)),"
        " ExperimentCase('c', Config(x=3), resources=Resources(memory_gb=1e9)),"
        " ExperimentCase('d', Config(x=4), resources=Resources(timeout_s=-1)),"
        " ExperimentCase('e', Config(x=5), resources={'cpus': 1}),"
        " ExperimentCase('f', Config(x=6), resources=Resources(gpus=1.5))]",
        before=IMPORTS,
    )  # fmt: skip
    done = project.run_forked(env={"CUDA_VISIBLE_DEVICES": "0,1"})
    assert done.code == 2
    assert f"case 'a' and 1 more: it needs 10000 CPUs, and {CPUS} are there." in done.stderr
    assert "case 'c': it needs 1e+09 GB of memory, and " in done.stderr
    assert "case 'd': timeout_s is -1: it must be more than 0." in done.stderr
    assert "case 'e': resources is {'cpus': 1}: give Resources(…)." in done.stderr
    assert "case 'f': gpus is 1.5: it must be whole, or below 1." in done.stderr
    assert not (project.root / "results").exists()


def test_flags_are_the_policy_and_it_is_recorded(project: Project) -> None:
    """Flags go before what the suite says; run.json has every field as it held."""
    project.suite({"a": ""}, before=IMPORTS, more=policy(timeout_s=50, max_attempts=4, backoff="linear"))
    flags = (
        *("--timeout", "90", "--grace", "3", "--retry-on", "7", "--retry-on", "SIGSEGV", "--backoff", "0.5"),
        *("--max-failure-rate", "0.25", "--cpus-per-case", "1", "--memory-per-case", "0.5"),
        *("--continue-exit-code", "99", "--nice", "1", "--fail-fast"),
    )
    assert project.run_forked(*flags).code == 0
    saved = json.loads((project.run_dir / "run.json").read_text())["policy"]
    expected = ExecutionPolicy(
        timeout_s=90, grace_s=3, max_attempts=4, retry_on=(7, "SIGSEGV"), backoff="linear", backoff_s=0.5,
        max_failure_rate=0.25, cpus_per_case=1, memory_gb_per_case=0.5, continue_exit_code=99, nice=1, fail_fast=True,
    )  # fmt: skip
    assert saved == json.loads(json.dumps(vars(expected)))
    project.suite({"a": "", "b": ""})
    assert project.run_forked("--resume", "latest", "--timeout", "70").code == 0
    assert project.events("run_resumed")[0]["policy"]["timeout_s"] == 70


# --- Timeouts --------------------------------------------------------------------------------------------------------

STUBBORN_TREE = """\
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(['setsid', 'sh', '-c', 'trap "" TERM; sleep 600; sleep 600'])
(folder / 'pids').write_text(f'{os.getpid()} {child.pid}')
time.sleep(600)
"""


@linux
def test_timeout(project: Project) -> None:
    """A tree that ignores TERM is gone a grace period after its timeout; the case is `timed_out`, the others go on."""
    project.suite({"a": STUBBORN_TREE, "b": ""})
    done = project.run_forked("--timeout", "2", "--grace", "0.5")
    assert done.code == 1
    assert project.statuses() == {"b": "succeeded", "a": "timed_out"}
    ended = project.events("attempt_ended")[-1]
    assert (ended["status"], ended["signal"]) == ("timed_out", signal.SIGKILL)
    assert 2.4 < ended["duration_s"] < 2 + 0.5 + 1 + 3  # 3: for machines with much else to do
    pids = (project.run_dir / "a" / "pids").read_text().split()
    assert not any(alive(int(pid)) for pid in pids)
    assert "[TIMED OUT] a: took longer than 2 s (" in done.stdout
    assert "Completed: 1/2 succeeded (1 timed_out)" in done.lines


def test_timeout_of_one_case(project: Project) -> None:
    """A case's own timeout stands before that of all."""
    project.suite(
        "[ExperimentCase('a', Config(do='time.sleep(600)'), resources=Resources(timeout_s=0.2)),"
        " ExperimentCase('b', Config(do='time.sleep(0.5)'))]",
        before=IMPORTS, more=policy(timeout_s=300),
    )  # fmt: skip
    assert project.run_forked().code == 1
    assert project.statuses() == {"a": "timed_out", "b": "succeeded"}


def test_what_a_case_needs_survives_set(project: Project) -> None:
    """`--set` changes a field of a config, and nothing else of its case."""
    project.suite("[ExperimentCase('a', Config(), resources=Resources(cpus=1, timeout_s=77))]", before=IMPORTS)
    assert project.run_forked("--set", "x=5").code == 0
    (case,) = json.loads((project.run_dir / "run.json").read_text())["cases"]
    assert (case["resources"]["cpus"], case["resources"]["timeout_s"]) == (1, 77)


# --- Retries ---------------------------------------------------------------------------------------------------------


def test_retries(project: Project) -> None:
    """A case is run again until it succeeds: each attempt has its log, and the journal has the history."""
    project.suite({"a": flaky(2), "b": flaky(9)})
    done = project.run("--max-attempts", "3", "--backoff", "0.05")
    assert done.code == 1
    assert project.statuses() == {"a": "succeeded", "b": "failed"}
    once = ["attempt_started", "attempt_ended", "retry_scheduled"]
    for variant in "ab":
        assert names_of(project.events(), variant) == [*once, *once, "attempt_started", "attempt_ended", "case_ended"]
        for number in (1, 2, 3):
            assert (project.run_dir / variant / f"attempt-{number}.log").read_text() == f"attempt {number}\n"
    assert [event["cause"] for event in project.events("retry_scheduled")] == ["exit code 7"] * 4
    assert "[AGAIN] a: exit code 7; attempt 2 in 0." in done.stdout
    assert [e["attempts"] for e in project.events("case_ended")] == [3, 3]


def test_delays_reproduce(project: Project) -> None:
    """The same seed and variant draw the same delays, others draw others; and they are waited for."""
    project.write("work.sh", FLAKY_SHELL).chmod(0o755)
    project.suite(
        "[ExperimentCase(name, Config(x=at, seed=seed)) for at, (name, seed) in"
        " enumerate([('a', 1), ('b', 1), ('c', 2)])]",
        entry_point="work.sh",
    )
    drawn: list[dict[str, list[float]]] = []
    for run in (project.run_forked, project.run):  # the second one in a Python whose hashes differ
        assert run("--max-attempts", "3", "--backoff", "0.1").code == 0
        events = project.events()
        drawn.append({
            v: [e["delay_s"] for e in events if e["event"] == "retry_scheduled" and e["variant"] == v] for v in "abc"
        })  # fmt: skip
        for variant in "abc":
            own = [event for event in events if event.get("variant") == variant]
            waits = [(e, later) for e, later in pairwise(own) if e["event"] == "retry_scheduled"]
            times = [seconds(later["time"]) - seconds(event["time"]) for event, later in waits]
            assert all(took >= e["delay_s"] - 0.02 for took, (e, _) in zip(times, waits, strict=True))
    assert drawn[0] == drawn[1]
    assert len({delay for delays in drawn[0].values() for delay in delays}) == 6
    assert all(0 <= delay <= 0.1 * 2**k for delays in drawn[0].values() for k, delay in enumerate(delays))


def seconds(time_of_event: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time_of_event).timestamp()


amounts = st.floats(0, 1e6)


@given(st.sampled_from(["exponential", "linear", "constant"]), amounts, amounts, amounts, st.booleans(),
       st.integers(1, 10_000), st.text(max_size=9))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_law_of_delays(
    backoff: Any, backoff_s: float, factor: float, cap_s: float, jitter: bool, failures: int, seed: str
) -> None:
    """Never below 0, never above the cap nor the growth without jitter; the draw follows from its arguments alone."""
    values: dict[str, Any] = {"backoff": backoff, "backoff_s": backoff_s, "backoff_factor": factor}
    drawn = ExecutionPolicy(**values, backoff_cap_s=cap_s, jitter=jitter).delay_s(failures, seed)
    longest = ExecutionPolicy(**values, backoff_cap_s=cap_s, jitter=False).delay_s(failures, seed)
    assert 0 <= drawn <= longest <= cap_s
    assert jitter or drawn == longest
    assert drawn == ExecutionPolicy(**values, backoff_cap_s=cap_s, jitter=jitter).delay_s(failures, seed)
    expected = {
        "constant": lambda: backoff_s, "linear": lambda: backoff_s * (1 + (failures - 1) * factor),
        "exponential": lambda: backoff_s * factor ** (failures - 1) if failures < 40 else longest,
    }[backoff]()  # fmt: skip
    assert longest == min(expected, cap_s)


FAILURES = {
    "wrong-use": "exit 2", "seven": "exit 7", "eight": "exit 8", "shot": "kill -9 $$", "segmentation": "kill -11 $$",
    "asked": "kill -15 $$", "hangs": "exec sleep 600",
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "retried"),
    [
        ({}, set(FAILURES) - {"wrong-use"}),
        ({"never_retry_on": (7, "timeout")}, set(FAILURES) - {"seven", "hangs"}),
        ({"retry_on": ("exit_code", "SIGSEGV")}, {"seven", "eight", "segmentation"}),
        ({"retry_on": (8, "timeout", "oom")}, {"eight", "hangs", "shot"}),
        ({"retry_on": ("signal",), "never_retry_on": ("SIGTERM",)}, {"shot", "segmentation"}),
    ],
)
def test_which_failures_are_worth_another_attempt(
    project: Project, values: dict[str, object], retried: set[str]
) -> None:
    """By exit code, signal, timeout, memory; what is permanent isn't tried again."""
    by_name = " ".join(f"*/{name}) {code} ;;" for name, code in FAILURES.items())
    project.write("work.sh", f'#!/bin/sh\ncase "$2" in {by_name} esac\n').chmod(0o755)
    cases = ", ".join(
        f"ExperimentCase({name!r}, Config(){', resources=Resources(timeout_s=0.2)' * (name == 'hangs')})"
        for name in FAILURES
    )
    more = policy(max_attempts=2, backoff_s=0, **values)
    project.suite(f"[{cases}]", entry_point="work.sh", before=IMPORTS, more=more)
    assert project.run_forked().code == 1
    assert {event["variant"] for event in project.events("retry_scheduled")} == retried
    assert len(project.events("attempt_started")) == len(FAILURES) + len(retried)


@linux
def test_the_old_tree_is_dead_before_the_next_attempt(project: Project) -> None:
    """After a timeout, no process of the attempt that ran into it sees the next one."""
    look = (
        "old = folder / 'pids'\n"
        "if old.exists():\n"
        "    print([os.path.exists(f'/proc/{pid}') for pid in old.read_text().split()]); sys.exit()\n"
    )
    project.suite({"a": look + STUBBORN_TREE})
    done = project.run_forked("--timeout", "2", "--grace", "0.2", "--max-attempts", "2", "--backoff", "0")
    assert done.code == 0, done.stdout
    assert (project.run_dir / "a" / "attempt-2.log").read_text() == "[False, False]\n"


def test_a_resume_counts_attempts_on(project: Project) -> None:
    """Each pass has all its attempts again; logs are never overwritten."""
    project.suite({"a": flaky(3)})
    assert project.run_forked("--max-attempts", "2", "--backoff", "0").code == 1
    assert project.run_forked("--resume", "latest", "--max-attempts", "2", "--backoff", "0").code == 0
    assert [event["attempt"] for event in project.events("attempt_started")] == [1, 2, 3, 4]


# --- Running on ------------------------------------------------------------------------------------------------------


def test_continue_exit_code(project: Project) -> None:
    """ "Run me again, I have more to do" is no failure, takes no attempt away, and knows which attempt it is."""
    go_on = "steps = folder / 'steps'; steps.open('a').write(os.environ['SUITECASE_ATTEMPT'])\n"
    project.suite({"a": go_on + "sys.exit(0 if len(steps.read_text()) == 4 else 99)", "b": "sys.exit(99)"})
    assert project.run_forked("--continue-exit-code", "99", "--max-attempts", "1", "--only", "a").code == 0
    assert (project.run_dir / "a" / "steps").read_text() == "1234"
    assert [event["status"] for event in project.events("attempt_ended")] == ["unfinished"] * 3 + ["succeeded"]
    assert [event["delay_s"] for event in project.events("retry_scheduled")] == [0, 0, 0]
    assert project.run_forked("--only", "b").code == 1
    assert project.statuses() == {"b": "failed"}, "off by default"


@linux
def test_stopped_while_it_has_more_to_do(project: Project) -> None:
    """A case that asks to be run again while the run is stopped counts as cancelled, and a resume takes it up."""
    more = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(99)); (folder / 'here').touch()"
    project.suite({"a": f"if Path('go').exists(): sys.exit()\n{more}; time.sleep(600)"})
    process = project.fork("--continue-exit-code", "99")
    wait_for(lambda: list(project.root.glob("results/exp/2*/a/here")), "the case")
    process.terminate()
    assert project.finish(process).code == 143
    assert project.statuses() == {"a": "cancelled"}
    project.write("go", "")
    assert project.run_forked("--resume", "latest").code == 0


SAY = "print(*sorted(f'{k}={v}' for k, v in os.environ.items() if k.startswith('SUITECASE_')), sep=chr(10))"


def test_what_a_case_is_told(project: Project) -> None:
    """Run, case, variant, attempt and folder stand in the environment under documented names."""
    project.suite({"a b": SAY})
    assert project.run_forked().code == 0
    run_dir = project.run_dir
    said = dict(line.split("=", 1) for line in (run_dir / "a b" / "attempt-1.log").read_text().splitlines())
    assert said.pop("SUITECASE_MARK").isdigit()
    assert said == {
        "SUITECASE_RUN": run_dir.name, "SUITECASE_RUN_DIR": str(run_dir), "SUITECASE_ATTEMPT": "1",
        "SUITECASE_CASE": f"exp/{run_dir.name}/a b", "SUITECASE_VARIANT": "a b",
        "SUITECASE_OUTPUT_DIR": str(run_dir / "a b"),
    }  # fmt: skip


# --- When to stop ----------------------------------------------------------------------------------------------------


def test_fail_fast(project: Project) -> None:
    """After the first failure nothing is launched; what runs may end; the rest is skipped, and a resume takes it up."""
    wait = "while not Path('go').exists(): time.sleep(0.01)"
    project.suite({
        "slow": f"if not Path('fixed').exists():\n    {wait}", "bad": "sys.exit(0 if Path('fixed').exists() else 1)",
        "later": "", "last": "",
    })  # fmt: skip
    process = project.fork("-p", "2", "--fail-fast")
    wait_for(lambda: project.runs() and project.events("launching_stopped"), "the breaker")
    project.write("go", "")
    done = project.finish(process)
    assert done.code == 1
    assert project.statuses() == {"bad": "failed", "later": "skipped", "last": "skipped", "slow": "succeeded"}
    assert "Stopping: bad failed, and fail_fast is set. Running cases may end; the others are skipped." in done.lines
    assert "Completed: 1/4 succeeded (1 failed, 2 skipped)" in done.lines
    assert [event["variant"] for event in project.events("attempt_started")] == ["slow", "bad"]
    project.write("fixed", "")
    done = project.run_forked("--resume", "latest", "--fail-fast")
    assert done.code == 0
    assert [event["variant"] for event in project.events("attempt_started")[2:]] == ["bad", "later", "last"]


def test_fail_fast_waits_for_hooks(project: Project) -> None:
    """While a hook decides about a failure, nothing is launched that the failure may forbid."""
    slow = "class Slow:\n    def after_case(self, record):\n        import time; time.sleep(0.5)\n"
    project.suite({"a": "sys.exit(1)", "b": "", "c": ""}, before=slow, more="hooks=[Slow()]")
    assert project.run_forked("-p", "1", "--fail-fast").code == 1
    assert project.statuses() == {"a": "failed", "b": "skipped", "c": "skipped"}


def test_fail_fast_waits_for_the_last_attempt(project: Project) -> None:
    """An attempt that is tried again is no failure yet."""
    project.suite({"a": flaky(1), "b": ""})
    assert project.run_forked("-p", "1", "--fail-fast", "--max-attempts", "2", "--backoff", "0").code == 0


@pytest.mark.parametrize(
    ("rate", "failing", "stops_after"),
    [(0.5, "0110", None), (0.25, "0110", 3), (0.0, "0100", 2), (0.25, "10001000", None)],
)
def test_failure_rate(project: Project, rate: float, failing: str, stops_after: int | None) -> None:
    """More than the rate among the last four (not as much as it) stops the launching; old failures are forgotten."""
    project.write("work.sh", '#!/bin/sh\nexit "${2##*-}"\n').chmod(0o755)
    project.suite(
        f"[ExperimentCase(f'c{{at}}-{{code}}', Config(x=at)) for at, code in enumerate({failing!r})]",
        entry_point="work.sh", before=IMPORTS, more=policy(max_failure_rate=rate, failure_window=4),
    )  # fmt: skip
    done = project.run_forked("-p", "1")
    assert done.code == 1
    counts = Counter(project.statuses().values())
    assert counts["skipped"] == (0 if stops_after is None else len(failing) - stops_after)
    assert ("cases failed, more than" in done.stdout) == (stops_after is not None)
    assert sum(counts.values()) == len(failing)


def test_skipped_cases_are_retried_ones_too(project: Project) -> None:
    """A case that waits for its next attempt when the run is stopped keeps its failure."""
    project.suite({"a": "sys.exit(1)", "b": "while not Path('go').exists(): time.sleep(0.01)\nsys.exit(2)", "c": ""})
    process = project.fork("-p", "2", "--fail-fast", "--max-attempts", "2", "--backoff", "3600")
    wait_for(lambda: project.runs() and project.events("retry_scheduled"), "the delay")
    project.write("go", "")
    assert project.finish(process).code == 1
    assert project.statuses()["a"] == "failed"
    assert project.statuses()["b"] == "failed"


# --- Resources -------------------------------------------------------------------------------------------------------


def most_at_once(events: Iterable[Mapping[str, Any]], needs: Mapping[str, float]) -> float:
    """The most that running cases needed together, by the journal."""
    now = most = 0.0
    for event in events:
        if event["event"] == "attempt_started":
            now += needs[event["variant"]]
        elif event["event"] == "attempt_ended":
            now -= needs[event["variant"]]
        most = max(most, now)
    return most


def test_what_fits_is_started(project: Project) -> None:
    """Never more CPUs are in use than there are; a small case passes by a large one that has to wait."""
    half = CPUS / 2
    needs = {"a": half, "large": float(CPUS), "b": half, "c": half, "d": half / 2, "e": half / 2}
    project.write("work.sh", "#!/bin/sh\nsleep 0.1\n").chmod(0o755)
    project.suite(
        "[ExperimentCase(name, Config(x=at), resources=Resources(cpus=cpus))"
        f" for at, (name, cpus) in enumerate({needs}.items())]",
        entry_point="work.sh", before=IMPORTS,
    )  # fmt: skip
    assert project.run_forked().code == 0
    events = project.events()
    assert most_at_once(events, needs) == CPUS
    started = [event["variant"] for event in events if event["event"] == "attempt_started"]
    assert started[:2] == ["a", "b"]


def test_memory_is_reserved_and_limited(project: Project) -> None:
    """Two cases that need more than half of the memory don't run together; beyond its limit a case fails alone."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    needs = dict.fromkeys("abc", 0.6 * there)
    project.write("work.sh", "#!/bin/sh\nsleep 0.1\n").chmod(0o755)
    more = policy(memory_gb_per_case=0.6 * there)
    project.suite(dict.fromkeys(needs, ""), entry_point="work.sh", before=IMPORTS, more=more)
    assert project.run_forked().code == 0
    assert most_at_once(project.events(), needs) == needs["a"]


@linux
def test_memory_limit(project: Project) -> None:
    """A case that wants more than its limit gets a MemoryError, and so do its children; another has its own limit."""
    greedy = "import subprocess; block = bytearray(300_000_000)"
    child = f"import subprocess; sys.exit(subprocess.call([sys.executable, '-c', {greedy!r}]))"
    project.suite(
        f"[ExperimentCase('a', Config(do={greedy!r})), ExperimentCase('b', Config(do={child!r})),"
        f" ExperimentCase('c', Config(do={greedy!r}), resources=Resources(memory_gb=1))]",
        before=IMPORTS, more=policy(memory_gb_per_case=0.2),
    )  # fmt: skip
    assert project.run_forked().code == 1
    assert project.statuses() == {"a": "failed", "b": "failed", "c": "succeeded"}
    for variant in "ab":
        assert "MemoryError" in (project.run_dir / variant / "attempt-1.log").read_text()


def test_niceness_and_threads(project: Project) -> None:
    """Cases are nicer than their runner, and their numeric libraries start as many threads as they have CPUs."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    say = f"print(os.nice(0), *(os.environ[name] for name in {names}))"
    project.suite(
        f"[ExperimentCase('a', Config(do={say!r})),"
        f" ExperimentCase('b', Config(do={say!r}), resources=Resources(cpus={CPUS})),"
        f" ExperimentCase('c', Config(do={say!r}), {{'OMP_NUM_THREADS': '77'}})]",
        before=IMPORTS, more=policy(nice=3, cpus_per_case=1),
    )  # fmt: skip
    assert project.run_forked().code == 0
    nice = min(os.nice(0) + 3, 19)  # there is no more
    said = {v: (project.run_dir / v / "attempt-1.log").read_text().split() for v in "abc"}
    assert said["a"] == [str(nice), "1", "1", "1", "1"]
    assert said["b"] == [str(nice), *[str(CPUS)] * 4]
    assert said["c"] == [str(nice), "77", "1", "1", "1"]


# --- GPUs ------------------------------------------------------------------------------------------------------------

SMI = """\
#!/bin/sh
case "$1" in --query-gpu=index,name,uuid,*) ;; *) exit 2 ;; esac
echo "0, Fake A100, GPU-aaaa, 40960 MiB, 555.1"
echo "1, Fake A100, GPU-bbbb, 40960 MiB, 555.1"
"""
SHOW = '#!/bin/sh\necho devices "${CUDA_VISIBLE_DEVICES-None}"\nsleep 0.15\n'


def fake_gpus(project: Project, script: str = SMI) -> dict[str, str]:
    """The environment of a machine with two devices, and an entry point `show.sh` that tells which it sees."""
    project.write("tools/nvidia-smi", script).chmod(0o755)
    project.write("show.sh", SHOW).chmod(0o755)
    path = f"{project.root / 'tools'}{os.pathsep}{clean_environment()['PATH']}"
    return {"PATH": path}


def devices_seen(project: Project) -> dict[str, str]:
    """What each case found in CUDA_VISIBLE_DEVICES."""
    logs = project.run_dir.glob("*/attempt-1.log")
    return {log.parent.name: log.read_text().removeprefix("devices ").strip() for log in logs}


def users_at_once(events: Iterable[Mapping[str, Any]]) -> int:
    """The most cases that had one device at the same time."""
    users: Counter[str] = Counter()
    most = 0
    devices: dict[str, list[str]] = {}
    for event in events:
        if event["event"] == "attempt_started":
            devices[event["variant"]] = [gpu["device"] for gpu in event.get("gpus", ())]
            users.update(devices[event["variant"]])
        elif event["event"] == "attempt_ended":
            users.subtract(devices[event["variant"]])
        most = max([most, *users.values()])
    return most


def gpu_suite(project: Project, more: str, count: int = 5) -> None:
    cases = f"[ExperimentCase(f'c{{n}}', Config(x=n)) for n in range({count})]"
    project.suite(cases, entry_point="show.sh", before=IMPORTS, more=more)


def test_whole_devices_are_exclusive(project: Project) -> None:
    """Two devices, five cases: never two cases on one; each attempt's record has the UUID."""
    env = fake_gpus(project)
    gpu_suite(project, policy(gpus_per_case=1))
    assert project.run_forked(env={**env, "CUDA_VISIBLE_DEVICES": "0,1"}).code == 0
    assert users_at_once(project.events()) == 1
    assert set(devices_seen(project).values()) == {"0", "1"}
    uuids = {"0": "GPU-aaaa", "1": "GPU-bbbb"}
    for event in project.events("attempt_started"):
        (gpu,) = event["gpus"]
        assert gpu["uuid"] == uuids[gpu["device"]]
        assert gpu["device"] == devices_seen(project)[event["variant"]]


def test_devices_of_nvidia_smi(project: Project) -> None:
    """Where the environment names none, devices are given by UUID: CUDA counts in another order than nvidia-smi."""
    env = fake_gpus(project)
    gpu_suite(project, policy(gpus_per_case=2), count=2)
    assert project.run_forked(env=env).code == 0
    assert users_at_once(project.events()) == 1
    assert set(devices_seen(project).values()) == {"GPU-aaaa,GPU-bbbb"}


def test_fractions_share_a_device(project: Project) -> None:
    """Half a device each: two cases on one, never three; a case that wants none sees none."""
    env = fake_gpus(project)
    project.suite(
        "[*(ExperimentCase(f'c{n}', Config(x=n)) for n in range(6)),"
        " ExperimentCase('none', Config(x=6), resources=Resources(gpus=0)),"
        " ExperimentCase('whole', Config(x=7), resources=Resources(gpus=1))]",
        entry_point="show.sh", before=IMPORTS, more=policy(gpus_per_case=0.5),
    )  # fmt: skip
    assert project.run_forked(env={**env, "CUDA_VISIBLE_DEVICES": "GPU-bbbb"}).code == 0
    events = project.events()
    assert users_at_once(events) == 2
    seen = devices_seen(project)
    assert seen.pop("none") == ""
    assert set(seen.values()) == {"GPU-bbbb"}
    needs = {**dict.fromkeys(seen, 0.5), "none": 0.0, "whole": 1.0}
    assert most_at_once(events, needs) == 1


@pytest.mark.parametrize(
    ("visible", "there"), [("", 0), ("0", 1), ("-1", 0), ("1,-1,0", 1), (None, 2), ("GPU-aaaa,GPU-bbbb", 2)]
)
def test_more_devices_than_there_are(project: Project, visible: str | None, there: int) -> None:
    """Refused before anything starts. As for CUDA, a list ends at -1."""
    env = fake_gpus(project) | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    done = project.run_forked("--gpus-per-case", str(there + 1), env=env)
    assert done.code == 2
    assert f"case 'a' and 1 more: it needs {there + 1} GPUs, and {there} are there." in done.stderr
    if there:
        assert project.run_forked("--gpus-per-case", str(there), "--dry-run", env=env).code == 0


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'No devices were found'\n"])
def test_a_driver_that_does_not_work(project: Project, script: str) -> None:
    """Devices of which nothing is known are none; those that the environment names are used all the same."""
    env = fake_gpus(project, script)
    assert project.run_forked("--gpus-per-case", "1", env=env).code == 2
    assert project.run_forked("--gpus-per-case", "1", env={**env, "CUDA_VISIBLE_DEVICES": "3"}).code == 0
    assert [event["gpus"] for event in project.events("attempt_started")] == [[{"device": "3", "uuid": None}]] * 2
