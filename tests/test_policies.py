"""Policies, called as the runner calls hooks: real files, real endpoints, real commands."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, alive, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_runner import ABORT, SKIP, HookRecord, Refuse, hook_problems
from suitecase.policies import Command, CostBudget, FailureRate, Webhook

ROOT = Path(__file__).resolve().parent.parent


def record_of(run_dir: Path, variant: str = "", **values: Any) -> HookRecord:
    """A record about a case, or about the run."""
    if variant:
        values = {"output_dir": run_dir / variant, "attempt": 1, "status": "succeeded", **values}
    return HookRecord(run_dir.name, run_dir, "digits", values.pop("counts", {}), variant, **values)


@pytest.fixture(autouse=True)
def caught(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "suitecase.policies")


def test_every_policy_is_a_hook() -> None:
    """By the runner's own rules; and it says how it is set."""
    policies = [CostBudget(1), FailureRate(), Webhook("http://h/x"), Command(["true"])]
    assert hook_problems(policies) == []
    for policy in policies:
        assert repr(policy).startswith(type(policy).__name__ + "(")


def test_policies_load_neither_a_runner_nor_anything_slow() -> None:
    """The runner that calls may be a copy in somebody's package; and `--help` of a suite must stay quick."""
    script = "import sys, suitecase.policies; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    slow = {"experiment_runner", "experiment_config", "pydantic", "typer", "rich", "asyncio", "urllib.request", "ssl"}
    assert not slow & set(done.stdout.split())


def test_answers_are_those_of_the_runner_that_calls(tmp_path: Path) -> None:
    """A copy of the runner under another name has its own `Refuse` and `ABORT`."""
    (tmp_path / "my_runner.py").write_bytes((ROOT / "experiment_runner.py").read_bytes())
    script = """if True:
        from pathlib import Path
        import my_runner
        from suitecase.policies import CostBudget
        Path("run/a").mkdir(parents=True)
        Path("run/a/config.json").write_text("{}")
        Path("run/a/results.json").write_text('{"cost_usd": 1}')
        record = my_runner.HookRecord("run", Path("run"), "exp", {}, "a")
        answers, reason = my_runner.ask_hook(CostBudget(1), "before_run", record)
        assert isinstance(answers, my_runner.Refuse), reason
        assert my_runner.ask_hook(CostBudget(1), "after_case", record) == (my_runner.ABORT, "")
    """
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True, timeout=60)


# --- CostBudget ------------------------------------------------------------------------------------------------------


class Cases:
    """Case folders as entry points leave them, with clocks that always move on."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.clock_ns = 10**18

    def add(self, variant: str, **config: Any) -> Path:
        folder = self.run_dir / variant
        folder.mkdir(parents=True, exist_ok=True)
        content = {"output_dir": str(folder), "seed": 42, **config}
        (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    def results(self, variant: str, cost_usd: object) -> None:
        self.raw(variant, json.dumps({"cost_usd": cost_usd, "score": 1}))

    def raw(self, variant: str, text: str) -> None:
        path = self.add(variant) / "results.json" if not (self.run_dir / variant).exists() else self.run_dir / variant
        path = path if path.name == "results.json" else path / "results.json"
        path.write_text(text, encoding="utf-8")
        # Two attempts within a tick of the file system's clock happen in tests only.
        self.clock_ns += 1_000_000
        os.utime(path, ns=(self.clock_ns, self.clock_ns))

    def track(self, variant: str, *usd: object, torn: str = "") -> None:
        with (self.add(variant) / "tracking.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"event": "cost", "usd": each, "model": "m"}) + "\n" for each in usd)
            file.write(torn)

    def record(self, variant: str = "", **values: Any) -> HookRecord:
        return record_of(self.run_dir, variant, **values)


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return Cases(tmp_path / "20260128_143052_a1b2c3d")


def spent(cases: Cases) -> float:
    """What a budget that begins now finds on disk."""
    budget = CostBudget(1e9)
    assert budget.before_run(cases.record()) is None
    return budget.spent_usd


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({}, ["needs a limit"]),
        ({"max_total_usd": 0}, ["max_total_usd is 0: give a number above 0."]),
        ({"max_total_usd": "5"}, ["max_total_usd is '5'"]),
        ({"max_total_usd": True}, ["max_total_usd is True"]),
        ({"max_total_usd": math.nan}, ["max_total_usd is nan"]),
        ({"max_total_usd": math.inf}, ["max_total_usd is inf"]),
        (
            {"max_total_usd": -1, "max_per_condition_usd": -2, "warn_at_fraction": 1.1},
            [
                "max_total_usd is -1",
                "max_per_condition_usd is -2",
                "warn_at_fraction is 1.1: give a number above 0 and",
            ],
        ),
    ],
)
def test_a_wrong_budget_is_refused_with_all_its_faults(arguments: dict[str, Any], problems: list[str]) -> None:
    """When it is made, so before anything starts."""
    with pytest.raises(ValueError) as caught:
        CostBudget(**arguments)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(problems)
    assert all(problem in line for problem, line in zip(problems, lines, strict=True))


def test_the_run_is_aborted_at_the_limit_and_not_before(cases: Cases, caplog: pytest.LogCaptureFixture) -> None:
    """Ten times ten cents are a dollar, exactly; warned once at 80 %."""
    budget = CostBudget(1.0)
    assert budget.before_run(cases.record()) is None
    for number in range(10):
        name = f"case-{number}"
        cases.add(name, number=number)
        assert budget.before_case(cases.record(name)) is None
        cases.results(name, 0.1)
        assert budget.after_case(cases.record(name)) is (ABORT if number == 9 else None)
    assert budget.spent_usd == 1.0
    assert budget.before_case(cases.record("case-0", attempt=2)) is ABORT
    assert [record.message for record in caplog.records] == [
        "cost budget: 0.8 of 1 USD of the run are spent (80%)",
        "cost budget: 1 of 1 USD spent: nothing more is started",
    ]
    assert not (cases.run_dir / ".costs.jsonl").exists()


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "timed_out"])
def test_every_attempt_counts_however_it_ended(cases: Cases, status: str) -> None:
    """Money is spent by failures too."""
    budget = CostBudget(1.0)
    budget.before_run(cases.record())
    cases.results("a", 2)
    assert budget.after_case(cases.record("a", status=status)) is ABORT


def test_a_spent_budget_refuses_to_start(cases: Cases) -> None:
    """A resume begins with what was spent before; a higher limit lets it go on."""
    cases.results("a", 7)
    refused = CostBudget(5).before_run(cases.record())
    assert isinstance(refused, Refuse)
    assert refused.reason == (f"cost budget: 7 of 5 USD are spent in {cases.run_dir}: raise max_total_usd to go on.")
    assert CostBudget(8).before_run(cases.record()) is None


def test_a_condition_is_skipped_once_its_budget_is_spent(cases: Cases, caplog: pytest.LogCaptureFixture) -> None:
    """A condition: configs that differ in `seed` and `output_dir` alone. Others go on."""
    budget = CostBudget(max_per_condition_usd=1)
    for seed in range(4):
        cases.add(f"large-{seed}", seed=seed, model="large")
        cases.add(f"small-{seed}", seed=seed, model="small")
    budget.before_run(cases.record())
    answers: list[object] = []
    for seed in range(4):
        answers.append(budget.before_case(cases.record(f"large-{seed}")))
        cases.results(f"large-{seed}", 0.5)
        if answers[-1] is None:
            assert budget.after_case(cases.record(f"large-{seed}")) is None
    assert answers == [None, None, SKIP, SKIP]
    assert budget.before_case(cases.record("small-0")) is None
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "cost budget: 1 of 1 USD of the condition of large-1 are spent",
        "cost budget: large-2: its condition has spent its budget: skipped",
    ]


def test_costs_told_in_both_files_are_the_same_money(cases: Cases) -> None:
    """The larger sum counts; either file alone is enough."""
    cases.track("both", 0.25, 0.5)
    cases.results("both", 0.5)
    cases.track("tracked", 1, 2)
    cases.results("written", 4)
    assert spent(cases) == 0.75 + 3 + 4


def test_a_torn_tracking_file_counts_its_finished_lines(cases: Cases) -> None:
    """Killed while it wrote; other events, other fields and lines that are no JSON are passed over."""
    cases.track("a", 0.5, torn='{"event": "metric", "name": "cost", "usd": 9}\n"cost"\n{"cost"\n[1, "cost"]\n')
    cases.track("a", 0.25, torn='{"event": "cost", "usd": 100}')
    assert spent(cases) == 0.75


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, "0.5", True, None, [1]])
def test_a_cost_that_is_none_is_reported_and_not_counted(
    cases: Cases, wrong: object, caplog: pytest.LogCaptureFixture
) -> None:
    """In either file."""
    cases.results("a", wrong)
    cases.track("a", wrong, 0.5)
    assert spent(cases) == 0.5
    assert [record.message.split(":")[1] for record in caplog.records] == [" a", " a"]


@pytest.mark.parametrize("content", ["", '{"cost_usd": 1', "[1]", '{"score": 1}', "\x00", "[" * 100_000])
def test_results_without_a_cost_count_as_free_and_are_said_so_once(
    cases: Cases, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A budget that nobody feeds would otherwise be silently without effect."""
    budget = CostBudget(1)
    budget.before_run(cases.record())
    for name in ("a", "b"):
        cases.raw(name, content)
        assert budget.after_case(cases.record(name)) is None
    assert sum("recorded no cost" in record.message for record in caplog.records) == 1


def test_a_retry_that_overwrites_its_results_is_paid_for_twice(cases: Cases) -> None:
    """What an attempt overwrites is in the ledger before the attempt starts."""
    budget = CostBudget(1e9)
    budget.before_run(cases.record())
    for attempt in (1, 2, 3):
        budget.before_case(cases.record("a", attempt=attempt))
        cases.results("a", 0.5)  # the same text and size each time
        budget.after_case(cases.record("a", attempt=attempt, status="failed"))
        assert budget.spent_usd == spent(cases) == 0.5 * attempt
    lines = [json.loads(line) for line in (cases.run_dir / ".costs.jsonl").read_text().splitlines()]
    assert [line["results_usd"] for line in lines] == [0.5, 1.0]


def test_an_attempt_that_writes_nothing_costs_nothing(cases: Cases) -> None:
    """The results of the attempt before are not taken for its own, also after the run directory was moved."""
    budget = CostBudget(1e9)
    cases.results("a", 0.5)
    budget.before_run(cases.record())
    budget.before_case(cases.record("a", attempt=2))
    budget.after_case(cases.record("a", attempt=2, status="failed"))
    assert budget.spent_usd == spent(cases) == 0.5
    cases.run_dir = cases.run_dir.rename(cases.run_dir.with_name("moved"))
    assert spent(cases) == 0.5


def test_a_tracking_file_that_is_begun_anew_is_paid_for_twice(cases: Cases) -> None:
    """Most append to it; who doesn't is noticed."""
    budget = CostBudget(1e9)
    cases.track("a", 0.5, 0.5)
    budget.before_run(cases.record())
    budget.before_case(cases.record("a", attempt=2))
    (cases.run_dir / "a/tracking.jsonl").unlink()
    cases.track("a", 0.25)
    budget.after_case(cases.record("a", attempt=2))
    assert budget.spent_usd == spent(cases) == 1.25


def test_a_ledger_that_was_cut_short_is_repaired(cases: Cases) -> None:
    """The unfinished line goes before the next one comes."""
    cases.results("a", 0.5)
    ledger = cases.run_dir / ".costs.jsonl"
    ledger.write_bytes(b'{"variant": "b", "results_usd": 1, "results_seen": null, "tracking_usd": 0}\n{"vari')
    budget = CostBudget(1e9)
    budget.before_run(cases.record())
    assert budget.spent_usd == 1.5
    budget.before_case(cases.record("a", attempt=2))
    assert [json.loads(line)["variant"] for line in ledger.read_text().splitlines()] == ["b", "a"]


@pytest.mark.parametrize("damage", ["nonsense", "{}", "[]", '{"variant": "a", "results_usd": "x"}', "null", ""])
def test_a_damaged_ledger_refuses_the_run(cases: Cases, damage: str) -> None:
    """Nobody can tell what was spent."""
    cases.run_dir.mkdir()
    (cases.run_dir / ".costs.jsonl").write_text(damage + "\n")
    refused = CostBudget(1).before_run(cases.record())
    assert isinstance(refused, Refuse)
    assert "line 1 is damaged" in refused.reason


def test_a_run_directory_that_is_not_there_yet_has_cost_nothing(cases: Cases) -> None:
    """Before a new run."""
    assert spent(cases) == 0


def test_a_budget_works_without_its_before_run_and_for_run_after_run(cases: Cases, tmp_path: Path) -> None:
    """One that was not called, since it overran say, makes up for it; another run directory is another budget."""
    cases.results("a", 3)
    budget = CostBudget(3)
    assert budget.before_case(cases.record("b")) is ABORT
    other = Cases(tmp_path / "other")
    assert budget.before_case(other.record("a")) is None
    assert budget.spent_usd == 0


def test_a_file_that_can_not_be_read_leaves_what_is_known(cases: Cases) -> None:
    """What was counted stays counted."""
    cases.results("a", 3)
    budget = CostBudget(5)
    budget.before_run(cases.record())
    (cases.run_dir / "a/results.json").unlink()
    (cases.run_dir / "a/results.json").mkdir()
    budget.after_case(cases.record("a"))
    assert budget.spent_usd == 3


CENTS = st.integers(0, 200).map(lambda cents: cents / 100)


@settings(max_examples=60, deadline=None)
@given(
    attempts=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(CENTS, max_size=2),  # what the attempt writes to results.json, one after the other
            st.lists(CENTS, max_size=2),  # what it adds to tracking.jsonl
            st.sampled_from(["ends", "runner dies in it", "runner dies before it"]),
        ),
        max_size=12,
    )
)
def test_no_money_is_lost_or_counted_twice(
    attempts: list[tuple[str, list[float], list[float], str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After any sequence of attempts, retries, deaths of the runner and resumes, the budget knows the true sum."""
    cases = Cases(tmp_path_factory.mktemp("runs") / "run")
    budget = CostBudget(1e9)
    budget.before_run(cases.record())
    by_results: dict[str, Fraction] = dict.fromkeys("abc", Fraction())
    by_tracking: dict[str, Fraction] = dict.fromkeys("abc", Fraction())
    for number, (variant, results, tracked, end) in enumerate(attempts, start=1):
        cases.add(variant)
        assert budget.before_case(cases.record(variant, attempt=number)) is None
        if end != "runner dies before it":
            for usd in results:
                cases.results(variant, usd)
            cases.track(variant, *tracked)
            by_results[variant] += Fraction(str(results[-1])) if results else 0
            by_tracking[variant] += sum(Fraction(str(usd)) for usd in tracked)
        if end == "ends":
            budget.after_case(cases.record(variant, attempt=number))
        else:
            budget = CostBudget(1e9)
            budget.before_run(cases.record())
        truth = sum(max(by_results[name], by_tracking[name]) for name in "abc")
        assert round(budget.spent_usd * 100) == truth * 100
        assert spent(cases) == budget.spent_usd


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2)), min_size=1, max_size=25),
    parallelism=st.integers(1, 6),
    total_cents=st.integers(1, 2000),
    condition_cents=st.integers(1, 800),
)
def test_a_budget_is_overspent_by_at_most_the_cases_in_flight(
    plan: list[tuple[int, int]],
    parallelism: int,
    total_cents: int,
    condition_cents: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """For the run and for each condition; and nothing is held back that a limit would still allow."""
    cases = Cases(tmp_path_factory.mktemp("runs") / "run")
    budget = CostBudget(total_cents / 100, condition_cents / 100)
    budget.before_run(cases.record())
    waiting = deque((f"case-{number}", cents, condition) for number, (cents, condition) in enumerate(plan))
    running: deque[tuple[str, int, int]] = deque()
    # Of the run, then of each condition: what is paid, and what may be in the end.
    limits = [total_cents, condition_cents, condition_cents, condition_cents]
    paid, highest = [0, 0, 0, 0], [math.inf] * 4
    while waiting or running:
        while waiting and len(running) < parallelism:
            case = waiting.popleft()
            cases.add(case[0], condition=case[2])
            answer = budget.before_case(cases.record(case[0]))
            spent_of = [paid[0] >= total_cents, paid[1 + case[2]] >= condition_cents]
            assert answer is (ABORT if spent_of[0] else SKIP if spent_of[1] else None)
            if answer is None:
                running.append(case)
            if answer is ABORT:
                waiting.clear()
        if not running:
            break
        name, cents, condition = running[0]
        for place, in_flight in ((0, running), (1 + condition, [each for each in running if each[2] == condition])):
            paid[place] += cents
            if paid[place] >= limits[place] and highest[place] == math.inf:
                highest[place] = limits[place] + sum(each[1] for each in in_flight)
        running.popleft()
        cases.results(name, cents / 100)
        assert (budget.after_case(cases.record(name)) is ABORT) == (paid[0] >= total_cents)
    assert all(sum_ < bound for sum_, bound in zip(paid, highest, strict=True))
    assert round(budget.spent_usd * 100) == paid[0]


def test_a_long_run_is_counted_in_seconds(cases: Cases) -> None:
    """A thousand cases, before a resume."""
    for number in range(1000):
        cases.results(f"case-{number}", 0.001)
    started = time.monotonic()
    assert spent(cases) == pytest.approx(1.0)
    assert time.monotonic() - started < 2.5


# --- FailureRate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "count"),
    [({"max_failure_rate": 1}, 1), ({"max_failure_rate": -0.1, "window": 0}, 2), ({"window": 2.5}, 1),
     ({"max_failure_rate": "x", "window": True}, 2), ({"max_failure_rate": math.nan}, 1)],
)  # fmt: skip
def test_a_wrong_failure_rate_is_refused_with_all_its_faults(arguments: dict[str, Any], count: int) -> None:
    """When it is made."""
    with pytest.raises(ValueError) as caught:
        FailureRate(**arguments)
    assert len(str(caught.value).splitlines()) == count


def test_exactly_the_rate_is_not_above_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ten of fifty at 0.2 go on, the eleventh aborts; the log says why."""
    breaker = FailureRate(0.2, window=50)
    breaker.before_run(record_of(tmp_path))
    answers = [breaker.after_case(record_of(tmp_path, f"c{n}", status="failed")) for n in range(11)]
    assert answers == [None] * 10 + [ABORT]
    assert "11 of the last 11 cases failed (window 50, at most 0.2)" in caplog.text


@given(
    st.lists(st.sampled_from(["succeeded", "failed", "timed_out", "cancelled", "skipped"]), max_size=60),
    st.integers(1, 10),
    st.sampled_from([0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.9]),
)
def test_the_window_is_the_last_cases_that_ended(statuses: list[str], window: int, rate: float) -> None:
    """Against the plain definition, in exact arithmetic."""
    breaker = FailureRate(rate, window)
    outcomes: deque[bool] = deque(maxlen=window)
    for number, status in enumerate(statuses):
        counted = status not in ("cancelled", "skipped")
        if counted:
            outcomes.append(status != "succeeded")
        above = Fraction(sum(outcomes), window) > Fraction(str(rate))
        answer = breaker.after_case(record_of(Path("run"), f"case-{number}", status=status))
        assert (answer is ABORT) == (counted and above)


def test_a_case_counts_once(tmp_path: Path) -> None:
    """A failure is taken back when the case starts again, and replaced when it ends again; a new run begins anew."""
    breaker = FailureRate(0.5, window=4)
    for attempt in range(1, 10):
        breaker.before_case(record_of(tmp_path, "flaky", attempt=attempt))
        assert breaker.rate == 0
        assert breaker.after_case(record_of(tmp_path, "flaky", attempt=attempt, status="failed")) is None
        assert breaker.rate == 0.25
    breaker.before_run(record_of(tmp_path))
    assert breaker.rate == 0


# --- Webhook ---------------------------------------------------------------------------------------------------------


class Endpoint(ThreadingHTTPServer):
    """An HTTP server that answers as a test wants, and keeps what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = status(204)
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/T0P-S3CRET?key=S3CRET"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Endpoint)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        self.server.answer(self)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None: ...


def status(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ended_run() -> HookRecord:
    counts = {"succeeded": 3, "failed": 1}
    return HookRecord("20260128_143052_a1b2c3d", Path("/r/run"), "digits", counts, exit_code=1, duration_s=12.5)


def test_the_end_of_a_run_is_posted_in_the_documented_shape(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With headers whose values come from the environment."""
    monkeypatch.setenv("HOOK_TOKEN", "Bearer S3CRET\n")
    webhook = Webhook(endpoint.url, headers_from_env={"Authorization": "HOOK_TOKEN"})
    webhook.before_run(record_of(Path("/r/run")))
    webhook.after_run(ended_run())
    ((method, path, headers, body),) = endpoint.requests
    assert (method, path) == ("POST", "/hooks/T0P-S3CRET?key=S3CRET")
    assert headers["Authorization"] == "Bearer S3CRET"
    assert headers["Content-Type"] == "application/json"
    host = os.uname().nodename
    text = f"digits: 1 failed, 3 succeeded (run 20260128_143052_a1b2c3d on {host}, exit code 1)"
    assert body.pop("time").endswith("Z")
    assert body == {
        "event": "run_ended", "host": host, "experiment": "digits", "run": "20260128_143052_a1b2c3d",
        "run_dir": "/r/run", "counts": {"succeeded": 3, "failed": 1}, "exit_code": 1, "duration_s": 12.5, "text": text,
    }  # fmt: skip
    assert not caplog.records


def test_the_start_is_posted_where_asked_for(endpoint: Endpoint) -> None:
    """Both events, to one endpoint."""
    webhook = Webhook(endpoint.url, on=("run_started", "run_ended"))
    webhook.before_run(record_of(Path("/r/run")))
    webhook.after_run(ended_run())
    assert [body["event"] for *_, body in endpoint.requests] == ["run_started", "run_ended"]


@pytest.mark.parametrize("code", [302, 307, 308, 400, 404, 500, 503])
def test_what_is_not_2xx_is_logged_without_secrets(
    endpoint: Endpoint, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A redirect too: following it would carry the headers to another host."""
    endpoint.answer = status(code, Location=endpoint.url)
    Webhook(endpoint.url).after_run(ended_run())
    assert len(endpoint.requests) == 1
    port = endpoint.server_address[1]
    assert [record.message for record in caplog.records] == [f"webhook http://127.0.0.1:{port}/…: HTTP status {code}"]


def test_a_dead_endpoint_costs_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens; there is no such host; nobody speaks TLS there."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    Webhook(f"http://127.0.0.1:{port}/S3CRET").after_run(ended_run())
    assert [record.message for record in caplog.records] == [
        f"webhook http://127.0.0.1:{port}/…: could not be sent: Connection refused"
    ]


def test_an_answer_that_is_not_http_costs_a_log_line(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a library makes of it."""

    def babble(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"S3CRET\r\n")

    endpoint.answer = babble
    Webhook(endpoint.url).after_run(ended_run())
    assert "could not be sent: BadStatusLine" in caplog.text
    assert "S3CRET" not in caplog.text


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, each well within the library's own limit."""
    try:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 1000:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.02)
    except OSError:
        pass


@pytest.mark.parametrize("silent", [True, False])
def test_a_slow_endpoint_costs_its_limit_and_no_more(
    endpoint: Endpoint, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One that never answers, and one that never stops answering."""
    release = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        release.wait(30)

    endpoint.answer = wait if silent else drip
    webhook = Webhook(endpoint.url, timeout_s=0.3)
    started = time.monotonic()
    webhook.after_run(ended_run())
    assert time.monotonic() - started < 3
    assert len(caplog.records) == 1
    assert "no answer within 0.3 s" in caplog.text or "TimeoutError" in caplog.text
    release.set()


def test_missing_variables_are_said_at_the_start_and_nothing_is_sent(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While somebody looks, not ten hours later."""
    monkeypatch.delenv("HOOK_TOKEN", raising=False)
    monkeypatch.setenv("EMPTY", " ")
    webhook = Webhook(endpoint.url, headers_from_env={"Authorization": "HOOK_TOKEN", "X-Key": "EMPTY"})
    webhook.before_run(record_of(Path("run")))
    assert "HOOK_TOKEN and EMPTY not set: nothing will be sent" in caplog.text
    webhook.after_run(ended_run())
    assert not endpoint.requests


def test_a_url_may_be_a_secret_of_the_environment(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Chat programs put a token in the path, and a suite is committed."""
    webhook = Webhook(url_from_env="HOOK_URL")
    monkeypatch.setenv("HOOK_URL", endpoint.url)
    webhook.after_run(ended_run())
    assert len(endpoint.requests) == 1
    for bad in ("ftp://S3CRET/", "S3CRET", "http://user:S3CRET@h/", "http://[S3CRET"):
        monkeypatch.setenv("HOOK_URL", bad)
        webhook.after_run(ended_run())
    assert len(caplog.records) == 4
    assert "S3CRET" not in caplog.text
    assert repr(webhook) == "Webhook('$HOOK_URL', on=('run_ended',))"


def test_a_header_that_can_not_be_sent_is_not_shown(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's own message would quote it."""
    for value in ("S3CRET\r\nX: y", "S3CRET \N{SNOWMAN}"):
        monkeypatch.setenv("HOOK_TOKEN", value)
        Webhook(endpoint.url, headers_from_env={"X-Key": "HOOK_TOKEN"}).after_run(ended_run())
    assert len(caplog.records) == 2
    assert "could not be sent" in caplog.text
    assert "S3CRET" not in caplog.text


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ftp://S3CRET/x"},
        {"url": "file:///S3CRET"},
        {"url": "S3CRET"},
        {"url": "http:///S3CRET"},
        {"url": "https://user:S3CRET@h/"},
        {"url": "https://S3CRET@h/"},
        {"url": "http://h:S3CRET/"},
        {"url": "http://h/S3CRET \n"},
        {"url": 3},
        {},
        {"url": "http://h/", "url_from_env": "X"},
        {"url_from_env": "https://S3CRET/"},
        {"url": "http://h/", "headers_from_env": {"Authorization": "Bearer S3CRET"}},
        {"url": "http://h/", "headers_from_env": {"X: y": "TOKEN"}},
        {"url": "http://h/", "on": ("run_end",)},
        {"url": "http://h/", "on": "run_ended"},
        {"url": "http://h/", "on": ()},
        {"url": "http://h/", "timeout_s": 0},
        {"url": "http://h/", "timeout_s": None},
    ],
)
def test_a_wrong_webhook_is_refused_without_repeating_a_secret(arguments: dict[str, Any]) -> None:
    """When it is made."""
    with pytest.raises(ValueError) as caught:
        Webhook(**arguments)
    assert "S3CRET" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_faults_of_a_webhook_come_at_once() -> None:
    """With the nearest event."""
    with pytest.raises(ValueError, match="did you mean 'run_ended'") as caught:
        Webhook("ftp://h/", on=["run_end"], timeout_s=-1)
    assert len(str(caught.value).splitlines()) == 3


# --- Command ---------------------------------------------------------------------------------------------------------

SHOW = """
import json, os, sys
told = json.load(sys.stdin)
names = sorted(name for name in os.environ if name.startswith("SUITECASE_"))
with open(sys.argv[1], "a") as file:
    print(json.dumps([told, {name: os.environ[name] for name in names}]), file=file)
"""


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """What `Command([python, -c, SHOW, told])` was told so far."""
    monkeypatch.setenv("SUITECASE_VARIANT", "of an outer run")
    file = tmp_path / "told"
    return lambda: [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_command_gets_the_record_as_json_and_variables(
    tmp_path: Path, show: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """About the run: nothing about a case, also nothing inherited."""
    monkeypatch.delenv("SUITECASE_VENV", raising=False)  # of dev.py
    command = Command([sys.executable, "-c", SHOW, str(tmp_path / "told")])
    command.before_run(record_of(tmp_path))
    command.after_case(record_of(tmp_path, "a", status="failed"))
    assert show() == []
    command.after_run(ended_run())
    ((told, variables),) = show()
    assert told["event"] == "run_ended"
    assert told["counts"] == {"succeeded": 3, "failed": 1}
    assert told["run_dir"] == "/r/run"
    assert variables == {
        "SUITECASE_EVENT": "run_ended",
        "SUITECASE_EXPERIMENT": "digits",
        "SUITECASE_RUN": "20260128_143052_a1b2c3d",
        "SUITECASE_RUN_DIR": "/r/run",
        "SUITECASE_ATTEMPT": "0",
        "SUITECASE_EXIT_CODE": "1",
    }


@pytest.mark.parametrize(
    ("on", "events"),
    [
        (("run_started", "run_ended"), ["run_started", "run_ended"]),
        (("attempt_failed",), ["attempt_failed", "attempt_failed"]),
        (("attempt_ended",), ["attempt_ended"] * 4),
        (("attempt_ended", "attempt_failed"), ["attempt_ended"] * 4),
    ],
)
def test_a_command_runs_at_its_events(
    on: tuple[str, ...], events: list[str], tmp_path: Path, show: Callable[[], list[Any]]
) -> None:
    """Once for each, in order."""
    command = Command([sys.executable, "-S", "-c", SHOW, str(tmp_path / "told")], on=on)
    command.before_run(record_of(tmp_path))
    for outcome in ("succeeded", "failed", "cancelled", "timed_out"):
        command.after_case(record_of(tmp_path, "a", status=outcome, config={"x": Path("p")}, results={"score": 1}))
    command.after_run(ended_run())
    told = show()
    assert [told["event"] for told, _ in told] == events
    if "attempt" in on[0]:
        assert told[0][1]["SUITECASE_VARIANT"] == "a"
        assert told[0][1]["SUITECASE_OUTPUT_DIR"] == str(tmp_path / "a")
        assert told[0][0]["config"] == {"x": "p"}


def test_a_text_is_for_the_shell(tmp_path: Path) -> None:
    """With pipes and variables."""
    Command(f'cat | wc -l > "{tmp_path}/lines"; echo "$SUITECASE_RUN" >> "{tmp_path}/lines"').after_run(ended_run())
    assert (tmp_path / "lines").read_text().split() == ["1", "20260128_143052_a1b2c3d"]


def test_a_failing_command_is_logged_with_its_last_words(caplog: pytest.LogCaptureFixture) -> None:
    """Its name alone, not its arguments, and nothing that would steer a terminal."""
    Command("echo S3CRET > /dev/null; printf 'no such \\033[31mhost\\n' >&2; exit 3").after_run(ended_run())
    Command(["/no/such/program", "S3CRET"]).after_run(ended_run())
    Command("kill -9 $$").after_run(ended_run())
    assert [record.message for record in caplog.records] == [
        "command 'echo': exit code 3\n    no such  [31mhost",
        "command '/no/such/program': could not be started: No such file or directory",
        "command 'kill': killed by signal 9",
    ]


def test_a_program_that_is_not_there_is_said_at_the_start(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """While somebody looks."""
    Command(["no-such-program"]).before_run(record_of(tmp_path))
    assert "there is no such program" in caplog.text


def test_a_command_that_overruns_is_killed_with_all_it_started(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that ignores SIGTERM, with a child of its own."""
    pids = tmp_path / "pids"
    command = Command(f"trap '' TERM; sleep 100 & echo $$ $! > {pids}; wait", timeout_s=1)
    started = time.monotonic()
    command.after_run(ended_run())
    assert time.monotonic() - started < 20
    assert "killed after 1 s" in caplog.text
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not alive(pid))


def test_a_command_may_leave_something_running_and_its_input_unread(tmp_path: Path) -> None:
    """Neither an open output nor a megabyte that nobody reads holds up the run."""
    record = record_of(tmp_path, "a", status="failed", results={"long": "x" * 1_000_000})
    started = time.monotonic()
    Command(f"sleep 100 & echo $! > {tmp_path}/pid", on=["attempt_failed"]).after_case(record)
    assert time.monotonic() - started < 20
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("wrong", ["", " ", [], [""], ["a", 3], "a\0b", b"ls", 3, None, {"ls": 1}])
def test_a_wrong_command_is_refused(wrong: Any) -> None:
    """When it is made, with all faults."""
    with pytest.raises(ValueError, match="command is") as caught:
        Command(wrong, on=("case_end",), timeout_s=math.inf)
    assert len(str(caught.value).splitlines()) == 3


# --- With the runner -------------------------------------------------------------------------------------------------


def test_money_survives_kill_9_and_a_resume(project: Project) -> None:
    """The runner dies while a case that has spent money runs; the resume overwrites its results and both count."""
    spend = "import json; (folder / 'results.json').write_text(json.dumps({'cost_usd': 0.5}))"
    suite = {"fresh": spend, "killed": f"{spend}; time.sleep(0 if (folder / 'attempt-2.log').exists() else 1000)"}
    before = "from suitecase.policies import CostBudget\nbudget = CostBudget(1.5)"
    project.suite(suite, before=before, more="hooks=[budget]")
    runner = project.start(env={"PYTHONPATH": str(ROOT)})
    wait_for(lambda: project.runs() and (project.run_dir / "killed/results.json").exists())
    wait_for(lambda: project.statuses().get("fresh"))
    runner.kill()
    project.finish(runner)
    resumed = project.run("--resume", "latest", env={"PYTHONPATH": str(ROOT)})
    assert "cost budget: 1.5 of 1.5 USD spent: nothing more is started" in resumed.stderr
    assert len((project.run_dir / ".costs.jsonl").read_text().splitlines()) == 1
    refused = project.run("--resume", "latest", env={"PYTHONPATH": str(ROOT)}, suite=more_cases(project, suite, before))
    assert "1.5 of 1.5 USD are spent" in refused.stdout + refused.stderr
    assert not project.events("hook_failed")
    assert not (project.run_dir / "more/attempt-1.log").exists()


def more_cases(project: Project, suite: dict[str, str], before: str) -> str:
    """The same suite with a case that nobody can pay for any more."""
    project.suite({**suite, "more": "pass"}, before=before, more="hooks=[budget]")
    return "suite.py"
