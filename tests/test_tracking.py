"""What an entry point tells is there, whole, in its own case's file, and telling it never ends the experiment."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, HERE, Finished, Project, clean_environment, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from test_suite_command import ESCAPE, Terminal, plain

import experiment_runner
from suitecase import tracking

Events = list[dict[str, Any]]


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def read(folder: Path) -> Events:
    """All events, each of which must be whole: strict JSON, with event, time and attempt."""
    content = (folder / "tracking.jsonl").read_bytes()
    assert content.endswith(b"\n")
    events: Events = [json.loads(line, parse_constant=refuse) for line in content.decode().splitlines()]
    for event in events:
        assert datetime.fromisoformat(event["time"]).utcoffset() is not None
        assert (event["time"][-1], len(event["time"])) == ("Z", len("2026-01-31T12:00:00.000Z"))
        assert type(event["attempt"]) is int
    return events


def told(folder: Path) -> Events:
    """All events, without what each of them has."""
    return [{key: value for key, value in event.items() if key not in ("time", "attempt")} for event in read(folder)]


def script(code: str, folder: Path | None = None, check: bool = True, before: str = "", **env: str) -> Finished:
    """Run a script to its end, as an entry point of the case whose folder is given."""
    process = start(code, folder, env, before)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    assert not check or process.returncode == 0, stderr
    return Finished(process.returncode, stdout, stderr)


def start(
    code: str, folder: Path | None = None, env: Mapping[str, str] | None = None, before: str = "", **options: Any
) -> subprocess.Popen[str]:
    """Start a script; `before` is what it does before it imports tracking."""
    head = f"import os, signal, sys, threading, time\n{before}\nfrom suitecase import tracking\n"
    case = {} if folder is None else {"SUITECASE_OUTPUT_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", head + code],
        env={**clean_environment(), "PYTHONPATH": str(HERE), **case, **(env or {})},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def readable(file: Path) -> Events:
    """The events of a file that may have torn lines, as every reader should take it."""
    events: Events = []
    for line in file.read_bytes().split(b"\n"):
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[tracking.Tracker]:
    made = tracking.Tracker(tmp_path)
    yield made
    made.close()


# --- What is told is there ------------------------------------------------------------------------------------------


def test_what_was_told_survives_kill_9(tmp_path: Path) -> None:
    """When a call has returned, its line is in the file, whatever happens to the process."""
    code = """
with tracking.track():
    tracking.log("info", "begun", rows=3)
    tracking.result("rows", [1, 2, 3])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert script(code, tmp_path, check=False).code == -signal.SIGKILL
    assert told(tmp_path) == [
        {"event": "log", "level": "info", "message": "begun", "data": {"rows": 3}},
        {"event": "result", "key": "rows", "value": [1, 2, 3]},
    ]


MANY = """
def tell(name, count):
    for number in range(count):
        tracking.result(name, [number, "x" * (7 ** (number % 7))])

def work(name):
    threads = [threading.Thread(target=tell, args=(f"{name}-{n}", 20)) for n in range(3)]
    for thread in threads:
        thread.start()
    children = [child(lambda: tell(f"{name}-fork-{n}", 10)) for n in range(2)]  # while the threads write
    for thread in threads:
        thread.join()
    for each in children:
        assert os.waitpid(each, 0)[1] == 0

def child(do):
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        finally:
            os._exit(1)
    return pid

with tracking.track():
    tracking.log("info", "first")
    for each in [child(lambda: work(f"process-{n}")) for n in range(6)]:
        assert os.waitpid(each, 0)[1] == 0
"""


def test_lines_of_processes_threads_and_forks_stay_whole(tmp_path: Path) -> None:
    """18 threads and 12 of their forks write lines of up to 100 KB at once: none is torn, lost or there twice."""
    # Python 3.12 and newer warn of forks beside threads, which is what this is about.
    assert script(MANY, tmp_path, PYTHONWARNINGS="ignore::DeprecationWarning").stderr == ""
    found = collections.Counter((event["key"], event["value"][0]) for event in told(tmp_path)[1:-1])
    names = [(f"process-{n}-{m}", 20) for n in range(6) for m in range(3)]
    names += [(f"process-{n}-fork-{m}", 10) for n in range(6) for m in range(2)]
    assert found == {(name, number): 1 for name, count in names for number in range(count)}


def test_lines_told_by_a_signals_handler_amid_others(tmp_path: Path) -> None:
    """A handler may tell something while its own thread is telling something else."""
    code = """
handled = 0
def handle(*_):
    global handled
    handled += 1
    tracking.result("handled", handled)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
number = 0
while handled < 300:
    tracking.result("told", number)
    number += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(number, handled)
"""
    number, handled = map(int, script(code, tmp_path).stdout.split())
    found = collections.Counter((event["key"], event["value"]) for event in told(tmp_path))
    expected = [("told", n) for n in range(number)] + [("handled", n + 1) for n in range(handled)]
    assert found == dict.fromkeys(expected, 1)


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    """What a killed writer left unfinished damages no line that comes after it, at the start and in between."""
    file = tmp_path / "tracking.jsonl"
    file.write_bytes(b'{"event": "log", "mess')
    first, second = tracking.Tracker(tmp_path), tracking.Tracker(tmp_path)
    for number in range(2):
        first.result("first", number)
        with file.open("ab") as torn:
            torn.write(b'{"event": "result", "key": "torn", "value": ')
        second.result("second", number)
    whole = [(event["key"], event["value"]) for event in readable(file)]
    assert whole == [("first", 0), ("second", 0), ("first", 1), ("second", 1)]


def test_killed_writers_cost_nobody_a_line(tmp_path: Path) -> None:
    """While writers of long lines are killed one after the other, another writer's lines all arrive, once."""
    code = """
number = 0
for _ in sys.stdin:
    for _ in range(100):
        tracking.result("survivor", number)
        number += 1
"""
    survivor = start(code, tmp_path, stdin=subprocess.PIPE)
    assert survivor.stdin is not None
    for _ in range(3):
        victim = start("print(flush=True)\nwhile True: tracking.result('victim', 'x' * 900_000)", tmp_path)
        assert victim.stdout is not None
        victim.stdout.readline()
        survivor.stdin.write("go\n")
        survivor.stdin.flush()
        victim.kill()
        victim.communicate()
    survivor.communicate(timeout=DEADLINE_S)
    assert survivor.returncode == 0
    events = readable(tmp_path / "tracking.jsonl")
    assert [event["value"] for event in events if event["key"] == "survivor"] == list(range(300))


# --- Bad values, full disks, limits ---------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(max_examples=50)
@given(json_values)
def test_any_json_value_comes_back_equal(value: object) -> None:
    """What JSON can hold is read back as it was told, types included; and it's one line to every reader of lines."""
    with tempfile.TemporaryDirectory() as folder, tracking.track(folder):
        tracking.result("key", value)
        (event,) = told(Path(folder))
        assert repr(event["value"]) == repr(value)


@settings(max_examples=50)
@given(st.text(), st.text())
def test_any_text_can_be_told(message: str, name: str) -> None:
    """Any text at all: what isn't Unicode (lone surrogates) is there as backslash escapes."""
    with tempfile.TemporaryDirectory() as folder, tracking.track(folder):
        tracking.log(name, message, **{name: message})
        (event,) = told(Path(folder))
        expected = message.encode("utf-8", "backslashreplace").decode()
        assert (event["message"], *event["data"].values()) == (expected, expected)


@dataclasses.dataclass
class Point:
    x: float
    y: object


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError


class Tensor:
    """What torch has, as far as it matters here."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers
        self.shape = (len(numbers),)

    def item(self) -> float:
        if len(self.numbers) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.numbers[0]

    def tolist(self) -> list[float]:
        return list(self.numbers)


def endless() -> list[object]:
    circle: list[object] = [1]
    circle.append(circle)
    return circle


def deep() -> list[object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


ODD: dict[str, tuple[object, object]] = {
    "nan": (math.nan, "NaN"),
    "infinities": ([math.inf, -math.inf], ["Infinity", "-Infinity"]),
    "circular": (endless(), [1, "<list>"]),
    "unprintable": (Unprintable(), "<Unprintable>"),
    "dataclass": (Point(1.5, {2}), {"x": 1.5, "y": [2]}),
    "scalar tensor": (Tensor(0.5), 0.5),
    "tensor": (Tensor(0.5, math.nan), [0.5, "NaN"]),
    "keys": ({(1, 2): 3, None: 4, True: 5, 1.5: 6}, {"(1, 2)": 3, "null": 4, "true": 5, "1.5": 6}),
    "path": (Path("a/b"), "a/b"),
    "bytes": (b"\xff", "\\xff"),
    "complex": (1 + 2j, "(1+2j)"),
    "huge": (16**5000, hex(16**5000)),
    "enum": (signal.SIGTERM, 15),
    "function": (len, "<built-in function len>"),
    "class": (Point, "<class 'test_tracking.Point'>"),
}


@pytest.mark.parametrize("name", ODD)
def test_values_that_json_cannot_hold(tracker: tracking.Tracker, tmp_path: Path, name: str) -> None:
    """Each is written as well as it can be, and what stands beside it is untouched."""
    value, written = ODD[name]
    tracker.result("key", {"bad": value, "good": 1})
    (event,) = told(tmp_path)
    assert event["value"] == {"bad": written, "good": 1}


def test_a_value_nested_too_deep_is_cut(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """Its outer part is there, in a depth that every reader takes."""
    tracker.log("info", "deep", value=deep())
    (event,) = told(tmp_path)
    assert event["data"]["value"][0][0][0][0]


def test_numbers_of_numpy(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """Scalars are numbers, arrays lists; a large array is only described."""
    numpy = pytest.importorskip("numpy")
    tracker.metric("a", numpy.float32(0.5), numpy.int64(7))
    tracker.metric("b", numpy.array([[numpy.nan]]))
    tracker.result("c", {"flag": numpy.bool_(True), "list": numpy.arange(3), "large": numpy.zeros(1_000_000)})
    a, b, c = told(tmp_path)
    assert (a["value"], a["step"], b["value"]) == (0.5, 7, "NaN")
    assert (c["value"]["flag"], c["value"]["list"]) == (True, [0, 1, 2])
    assert c["value"]["large"].startswith("array([0., 0.")


@pytest.mark.parametrize(
    ("value", "written"), [(1, 1), (True, 1), (0.5, 0.5), (-math.inf, "-Infinity"), (Tensor(2.0), 2.0)]
)
def test_metrics_are_numbers(tracker: tracking.Tracker, tmp_path: Path, value: object, written: object) -> None:
    tracker.metric("loss", value, step=3)
    assert told(tmp_path) == [{"event": "metric", "name": "loss", "value": written, "step": 3}]


def test_what_is_no_number_is_counted(tmp_path: Path) -> None:
    """Metrics, progress and costs that are no numbers are left out; one warning, and a count in the file."""
    done = script(
        "tracking.metric('m', 'high')\ntracking.progress('half')\ntracking.cost(-1)\ntracking.cost('?')", tmp_path
    )
    assert [event["event"] for event in told(tmp_path)] == ["dropped"] * 2
    assert sum(event["count"] for event in told(tmp_path)) == 4
    assert done.stderr == "suitecase.tracking: the metric 'm' is a str, no number.\n"


FULL = """
import resource
for number in range(1000):
    if number == 300:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    if number == 900:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    tracking.result("number", number)
print("the experiment goes on")
"""


def test_a_full_disk_ends_no_experiment(tmp_path: Path) -> None:
    """What doesn't fit is counted, told once on stderr, and in the file as soon as it takes something again."""
    done = script(FULL, tmp_path)
    assert done.stdout == "the experiment goes on\n"
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path}/tracking.jsonl: File too large" in done.stderr
    events = readable(tmp_path / "tracking.jsonl")
    there = [event["value"] for event in events if event["event"] == "result"]
    lost = set(range(1000)) - set(there)
    assert (len(there), there) == (len(set(there)), sorted(there))
    assert lost
    assert lost <= set(range(900))
    assert [event for event in events if event["event"] == "dropped"] == [
        {"event": "dropped", "time": events[-100]["time"], "attempt": 1, "count": len(lost), "reason": "disk"}
    ]


@pytest.mark.parametrize("obstacle", ["full", "folder", "missing"])
def test_a_file_that_takes_nothing(tmp_path: Path, obstacle: str) -> None:
    """No space at all, a folder in its place, a case's folder that is gone: one warning, and the work is done."""
    folder = tmp_path / "case"
    if obstacle != "missing":
        folder.mkdir()
    if obstacle == "full":
        (folder / "tracking.jsonl").symlink_to("/dev/full")
    if obstacle == "folder":
        (folder / "tracking.jsonl").mkdir()
    done = script("for n in range(100): tracking.log('info', 'x'); tracking.metric('m', n)\nprint('done')", folder)
    assert done.stdout == "done\n"
    assert done.stderr.count("\n") == 1
    assert "tracking.jsonl: " in done.stderr


def test_a_removed_file_is_made_again(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """An entry point that empties its folder loses what it removed, and nothing after."""
    tracker.result("a", 1)
    (tmp_path / "tracking.jsonl").unlink()
    tracker.result("b", 2)
    assert [event["key"] for event in told(tmp_path)] == ["b"]


def test_descriptors_closed_by_others(tmp_path: Path) -> None:
    """A program that closes all descriptors and opens a file of its own finds nothing foreign in it."""
    code = """
tracking.result("a", 1)
os.closerange(3, 100)
own = open("own.txt", "w")
tracking.result("b", 2)
own.write("own")
own.close()
"""
    script(f"os.chdir({str(tmp_path)!r})\n{code}", tmp_path)
    assert (tmp_path / "own.txt").read_text() == "own"
    assert [event["key"] for event in told(tmp_path)] == ["a", "b"]


def test_the_rate_of_logs_is_limited_and_errors_are_kept(tmp_path: Path) -> None:
    """Of more logs than may come at once the first are there, all errors are, and the rest is counted."""
    with tracking.track(tmp_path, max_logs_per_s=0, max_log_burst=10):
        for number in range(1000):
            tracking.log("info", f"info {number}")
            tracking.log("critical", f"error {number}")
    events = told(tmp_path)
    errors = [event["message"] for event in events if event.get("level") == "error"]
    assert errors == [f"error {number}" for number in range(1000)]
    assert [event["message"] for event in events if event.get("level") == "info"] == [f"info {n}" for n in range(10)]
    assert {event["reason"] for event in events if event["event"] == "dropped"} == {"rate"}
    assert sum(event["count"] for event in events if event["event"] == "dropped") == 990


def test_the_rate_allows_for_time(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """What was used up comes back with time, at the rate that is set."""
    tracker.configure(max_logs_per_s=1000, max_log_burst=1)
    tracker.log("info", "first")
    tracker.logs.filled -= 1
    tracker.log("info", "second")
    assert [event["message"] for event in told(tmp_path)] == ["first", "second"]


def test_the_size_of_lines_is_limited(tmp_path: Path) -> None:
    """Texts are cut and say so, larger values are left out and counted: the file stays readable."""
    with tracking.track(tmp_path, max_line_bytes=1000):
        tracking.log("error", "\0" * 10_000, more="y")
        tracking.result("large", "x" * 1000)
        tracking.fail("x" * 10_000)
    log, dropped, failed = told(tmp_path)
    assert (log["message"], log["cut"], "data" in log) == ("\0" * 125 + "…", True, False)
    assert dropped == {"event": "dropped", "count": 1, "reason": "size"}
    assert (failed["event"], failed["cut"]) == ("failed", True)
    assert max(map(len, (tmp_path / "tracking.jsonl").read_bytes().splitlines())) <= 1000


def test_the_size_of_the_file_is_limited(tmp_path: Path) -> None:
    """At the limit metrics end; errors, results and the end of the case are still there."""
    with tracking.track(tmp_path, max_file_bytes=10_000):
        for number in range(1000):
            tracking.metric("loss", number)
        tracking.log("error", "it went wrong")
        tracking.result("accuracy", 0.5)
    events = told(tmp_path)
    assert (tmp_path / "tracking.jsonl").stat().st_size < 12_000
    kept = [event for event in events if event["event"] in ("log", "result", "completed")]
    assert [event["event"] for event in kept] == ["log", "result", "completed"]
    lost = sum(event["count"] for event in events if event["event"] == "dropped")
    assert lost == 1000 - sum(event["event"] == "metric" for event in events) > 800


def test_wrong_limits_are_refused_all_at_once() -> None:
    """They are the program's fault, not that of a value: ValueError, with all of them."""
    with pytest.raises(ValueError, match=r"max_line_bytes is 10: .* 1,000\.\nmax_logs_per_s is nan: .* 0\."):
        tracking.Policy(max_line_bytes=10, max_logs_per_s=math.nan)


def test_configure_sets_limits(tmp_path: Path) -> None:
    done = script(
        "tracking.configure(max_log_burst=1, max_logs_per_s=0)\nfor n in range(5): tracking.log('info', str(n))",
        tmp_path,
    )
    assert [event.get("message") for event in told(tmp_path)] == ["0", None, None]
    assert "more than 0 logs per second" in done.stderr


def test_progress_in_a_tight_loop_is_thinned(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """Few lines for many calls; what is told next finds the progress up to date, and the end is there."""
    for done in range(20_000):
        tracker.progress(done, 20_001)
    tracker.metric("x", 1)
    for done in range(20_000, 20_002):
        tracker.progress(done, 20_001)
    events = told(tmp_path)
    numbers = [event["done"] for event in events if event["event"] == "progress"]
    assert len(numbers) < 2_000
    assert events[[event["event"] for event in events].index("metric") - 1]["done"] == 19_999
    assert numbers[-1] == 20_001
    assert numbers == sorted(set(numbers))


# --- What can be told -----------------------------------------------------------------------------------------------


def test_events_as_documented(tracker: tracking.Tracker, tmp_path: Path) -> None:
    """Each call makes the line that docs/tracking.md describes."""
    (tmp_path / "model.bin").write_bytes(b"12345")
    tracker.log_batch([("warn", "a", {"x": 1}), {"level": "debug", "message": "b"}, None])  # type: ignore[list-item]
    tracker.progress(1, 10, "reading")
    for total_usd in (0.25, 0.25, 0.75):
        tracker.observe({"done": 2, "total": None, "cost_usd": total_usd, "model": "m", "unknown": object()})
    tracker.observe({"event": "progress", "done": 3, "total": 4, "message": "3/4", "cost_usd": 9.0, "eta_s": None})
    tracker.observe({"event": "cost", "usd": 0.5, "input_tokens": 7, "output_tokens": 8})
    tracker.observe({"event": "log", "level": "error", "message": "no quota"})
    tracker.observe({"event": "of the future", "done": 7})
    tracker.cost(0, output_tokens=3)
    tracker.artifact(tmp_path / "model.bin")
    tracker.artifact("model.bin")
    tracker.artifact("/")
    tracker.complete()
    tracker.fail("why", item=3)
    assert told(tmp_path) == [
        {"event": "log", "level": "warning", "message": "a", "data": {"x": 1}},
        {"event": "log", "level": "debug", "message": "b"},
        {"event": "log", "level": "info", "message": ""},
        {"event": "progress", "done": 1, "total": 10, "message": "reading"},
        {"event": "progress", "done": 2, "total": None, "message": ""},
        {"event": "cost", "usd": 0.25, "model": "m"},
        {"event": "progress", "done": 2, "total": None, "message": ""},
        {"event": "progress", "done": 2, "total": None, "message": ""},
        {"event": "cost", "usd": 0.5, "model": "m"},
        {"event": "progress", "done": 3, "total": 4, "message": "3/4"},
        {"event": "cost", "usd": 0.5, "input_tokens": 7, "output_tokens": 8},
        {"event": "log", "level": "error", "message": "no quota"},
        {"event": "cost", "usd": 0, "output_tokens": 3},
        {"event": "artifact", "path": "model.bin", "size_bytes": 5},
        {"event": "artifact", "path": "model.bin", "size_bytes": 5},
        {"event": "artifact", "path": "/", "size_bytes": None},
        {"event": "completed"},
        {"event": "failed", "reason": "why", "data": {"item": 3}},
    ]


def test_pythons_logging_can_be_told(tmp_path: Path) -> None:
    """With name and level of the logger, and the traceback; wrong arguments of a logging call end nothing."""
    logger = logging.getLogger("library.part")
    logger.setLevel(1)
    logger.addHandler(handler := tracking.LoggingHandler())
    logger.propagate = False
    with tracking.track(tmp_path):
        logger.log(25, "rows: %d", 3)
        try:
            raise KeyError("missing")
        except KeyError:
            logger.critical("no row", exc_info=True)
    logger.removeHandler(handler)
    first, second = told(tmp_path)[:2]
    assert first == {
        "event": "log",
        "level": "info",
        "message": "rows: 3",
        "data": {"logger": "library.part", "logging_level": "Level 25"},
    }
    assert (second["level"], second["data"]["logging_level"]) == ("error", "CRITICAL")
    assert second["data"]["traceback"].endswith("KeyError: 'missing'")


# --- How a case ends ------------------------------------------------------------------------------------------------


ENDS: list[tuple[str, Events]] = [
    ("pass", [{"event": "completed"}]),
    ("sys.exit(0)", [{"event": "completed"}]),
    ("tracking.complete()", [{"event": "completed"}]),
    ("tracking.fail('bad data')", [{"event": "failed", "reason": "bad data"}]),
    ("raise KeyboardInterrupt", [{"event": "cancelled", "reason": "KeyboardInterrupt"}]),
    ("raise tracking.Cancelled", [{"event": "cancelled", "reason": "Cancelled: the case was asked to end"}]),
    ("import asyncio; raise asyncio.CancelledError", [{"event": "cancelled", "reason": "CancelledError"}]),
    ("(folder / 'cancel').touch()", [{"event": "cancelled", "reason": "its `cancel` file"}]),
    ("(folder / 'cancel').touch(); 1 / 0", [{"event": "cancelled", "reason": "its `cancel` file"}]),
    ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", [{"event": "cancelled", "reason": "SIGTERM"}]),
    ("tracking.cancelled(); os.kill(os.getpid(), signal.SIGTERM); tracking.cancelled() or 1 / 0",
     [{"event": "cancelled", "reason": "SIGTERM"}]),
    ("tracking.complete(); 1 / 0", [{"event": "completed"}, {"event": "failed"}]),
    ("os.fork() or sys.exit(3); os.wait()", [{"event": "completed"}]),
]  # fmt: skip
EACH_ENDS = """
from pathlib import Path
for number, body in enumerate(bodies):
    folder = Path(root, str(number))
    folder.mkdir()
    if not (child := os.fork()):
        exec(f"with tracking.track(folder): {body}")
        sys.exit()
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of the `ENDS`, whose block ran in a process of its own."""
    root = tmp_path_factory.mktemp("ends")
    script(f"root, bodies = {str(root)!r}, {[body for body, _ in ENDS]!r}\n{EACH_ENDS}")
    return root


@pytest.mark.parametrize(("number", "ends"), [*enumerate(ends for _, ends in ENDS)], ids=[body for body, _ in ENDS])
def test_ends(ended: Path, number: int, ends: Events) -> None:
    """`track` tells how its block ended: once, in this process only, and never as failed what was asked to end."""
    found = told(ended / str(number))
    assert [end["event"] for end in found] == [end["event"] for end in ends]
    assert found[0] == ends[0]


def test_an_exception_is_told_and_raised(tmp_path: Path) -> None:
    """The line has the exception and its traceback, from the block on; outside nothing is different."""
    with pytest.raises(ZeroDivisionError), tracking.track(tmp_path):
        print(1 / 0)
    (event,) = told(tmp_path)
    assert (event["event"], event["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    assert event["data"]["type"] == "ZeroDivisionError"
    trace = event["data"]["traceback"].splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert [line for line in trace if line.startswith("  File ")] == [trace[1]]
    assert "test_tracking.py" in trace[1]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_unfit_exit_is_told_as_failed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), tracking.track(tmp_path):
        sys.exit(3)
    (event,) = told(tmp_path)
    assert (event["event"], event["reason"]) == ("failed", "exit code 3")


@pytest.mark.parametrize("early", [False, True])
def test_workers_of_a_tracked_block_can_be_terminated(tmp_path: Path, early: bool) -> None:
    """SIGTERM ends a forked worker at once, though its parent asks `cancelled()`; also if it comes amid the fork."""
    before = "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))" if early else ""
    code = """
import multiprocessing
with tracking.track():
    tracking.cancelled()
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    worker.start()
    worker.terminate()
    worker.join()
    print(worker.exitcode)
"""
    assert script(code, tmp_path, before=before).stdout == f"{-signal.SIGTERM}\n"
    assert told(tmp_path) == [{"event": "completed"}]


def test_cancelled_looks_at_the_disk_now_and_then(tmp_path: Path) -> None:
    """A `cancel` file of the case or of its run is seen, and a million calls are no million looks at the disk."""
    run_dir, folder = tmp_path, tmp_path / "case"
    folder.mkdir()
    for place in (run_dir, folder):
        tracker = tracking.Tracker(folder, run_dir=run_dir)
        assert not tracker.cancelled()
        (place / "cancel").touch()
        wait_for(tracker.cancelled)
        (place / "cancel").unlink()
        wait_for(lambda tracker=tracker: not tracker.cancelled())


# --- Whose case it is -----------------------------------------------------------------------------------------------


def test_outside_any_run(tmp_path: Path) -> None:
    """By hand, without a folder, the same script runs: nothing is written, and one line says so."""
    code = f"""
os.chdir({str(tmp_path)!r})
class Config:
    output_dir = ""
with tracking.track(Config()):
    tracking.log("info", "hello")
    tracking.progress(1, 2)
    tracking.artifact("x")
    tracking.observe({{"done": 1, "cost_usd": 1}})
    print(tracking.cancelled())
"""
    done = script(code)
    assert done.stdout == "False\n"
    assert done.stderr.count("\n") == 1
    assert "nothing is recorded" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_configs_folder_goes_before_the_environment(tmp_path: Path) -> None:
    """An entry point that a case starts for another folder tells it there, in its first attempt."""
    case, other = tmp_path / "case", tmp_path / "new" / "other"
    case.mkdir()
    code = f"""
class Config:
    output_dir = {str(other)!r}
tracking.log("info", "before")
with tracking.track(Config()):
    thread = threading.Thread(target=tracking.log, args=("info", "within"))
    thread.start()
    thread.join()
tracking.log("info", "after")
"""
    script(code, case, SUITECASE_ATTEMPT="3")
    assert [(event["message"], event["attempt"]) for event in read(case)] == [("before", 3), ("after", 3)]
    assert [(event.get("message"), event["attempt"]) for event in read(other)] == [("within", 1), (None, 1)]


def test_tasks_that_track_different_folders(tmp_path: Path) -> None:
    """Cases that run in one process at the same time, as tasks of asyncio, keep theirs apart, too."""

    async def case(name: str, turns: asyncio.Barrier) -> None:
        with tracking.track(tmp_path / name):
            for number in range(3):
                await turns.wait()
                tracking.result(name, number)

    async def both() -> None:
        turns = asyncio.Barrier(2)
        await asyncio.gather(case("a", turns), case("b", turns))

    asyncio.run(both())
    for name in ("a", "b"):
        assert [event["value"] for event in told(tmp_path / name)[:-1]] == [0, 1, 2]
        assert {event["key"] for event in told(tmp_path / name)[:-1]} == {name}


TWO = """
from suitecase import tracking
mine, other = config["name"], "ba"["ab".index(config["name"])]
with tracking.track():
    for n in range(50):
        tracking.result(mine, n)
        while n == 25 and not (folder.parent / other / "tracking.jsonl").exists():
            time.sleep(0.01)
    if os.environ["SUITECASE_ATTEMPT"] == "1" and mine == "b":
        raise ValueError("once")
"""


OUTER = """
import subprocess
from suitecase import tracking
tracking.log("info", "before")
subprocess.run([sys.executable, "in.py"], check=True)
tracking.log("info", "after")
"""


@pytest.fixture(scope="module")
def ran(new_project: Callable[[str], Project]) -> Project:
    """A run of three cases at a time: two of `TWO`, and one that runs another suite."""
    project = new_project("ran")
    inner = "from suitecase import tracking; tracking.log('info', 'inner')"
    project.suite({"inner": inner}, experiment="in", path="in.py")
    cases = f"*(ExperimentCase(name, Config(name=name, do={TWO!r})) for name in 'ab')"
    project.suite(
        f"[{cases}, ExperimentCase('outer', Config(do={OUTER!r}))]",
        more="policy=ExecutionPolicy(max_attempts=2, backoff_s=0.01)",
        before="from experiment_runner import ExecutionPolicy",
    )
    done = project.run("-p", "3", env={"PYTHONPATH": str(HERE)})
    assert done.code == 0, done.stdout + done.stderr
    return project


def test_two_cases_in_parallel_have_their_own_records(ran: Project) -> None:
    """In a real run, each case's file has what that case told, attempt by attempt, and nothing else."""
    a, b = (read(ran.run_dir / name) for name in "ab")
    told_by_a = [(event["attempt"], event["event"], event.get("key"), event.get("value")) for event in a]
    assert told_by_a == [*((1, "result", "a", n) for n in range(50)), (1, "completed", None, None)]
    assert {event["key"] for event in b if event["event"] == "result"} == {"b"}
    ends = [(event["attempt"], event["event"]) for event in b if event["event"] != "result"]
    assert ends == [(1, "failed"), (2, "completed")]


def test_a_suite_within_a_case_has_its_own_records(ran: Project) -> None:
    """The cases of the inner suite tell in their own folders, the outer case in its own."""
    assert [event["message"] for event in told(ran.run_dir / "outer")] == ["before", "after"]
    assert [event["message"] for event in told(ran.runs("in")[-1] / "inner")] == ["inner"]


# --- The runner -----------------------------------------------------------------------------------------------------

ASKS = """
from suitecase import tracking
with tracking.track():
    (folder / "begun").touch()
    while not tracking.cancelled():
        time.sleep(0.01)
    while not tracking.current().stopping:  # to save takes longer than the runner takes to send SIGTERM
        time.sleep(0.01)
    (folder / "saved").touch()
"""
NEVER_ASKS = """
from suitecase import tracking
with tracking.track():
    (folder / "begun").touch()
    try:
        time.sleep(600)
    finally:
        (folder / "saved").touch()
"""


SHOWN = """
from suitecase import tracking
with tracking.track():
    tracking.progress(1, 4, "old")
    tracking.progress(3, 4, "reading \\x1b[31mfiles")
    with (folder / "tracking.jsonl").open("ab") as file:
        file.write(b'{"event": "progress"}\\n[1, "progress"]\\n{"event": "progress", "done": 4')
    while not Path("go").exists():
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def watched(new_project: Callable[[str], Project]) -> tuple[Project, str]:
    """A run on a terminal, and what was shown: two cases with progress, and two that were then cancelled."""
    project = new_project("watched")
    project.suite({"a": SHOWN, "b": SHOWN.replace("3, 4", "7, None"), "asks": ASKS, "never": NEVER_ASKS})
    terminal = Terminal(project, "-p", "4", env={"PYTHONPATH": str(HERE)})
    for line in (r"a  3/4 reading  \[31mfiles", r"b  7 reading  \[31mfiles"):
        terminal.read(lambda text, line=line: re.search(rf"^  \d:\d\d  {line}\r?$", ESCAPE.sub("", text), re.MULTILINE))
    wait_for(lambda: len([*project.run_dir.glob("*/begun")]) == 2, "the start of both")
    (project.run_dir / "asks" / "cancel").touch()
    (project.run_dir / "never" / "cancel").touch()
    project.write("go", "")
    return project, terminal.end()[1]


def test_a_cancelled_case_saves_its_work(watched: tuple[Project, str]) -> None:
    """Whether it asks or not, a case that the runner ends comes to its end, and both records say cancelled."""
    project, _ = watched
    assert project.statuses() == {"a": "succeeded", "b": "succeeded", "asks": "cancelled", "never": "cancelled"}
    for name in ("asks", "never"):
        assert (project.run_dir / name / "saved").exists()
        assert [event["event"] for event in told(project.run_dir / name)] == ["cancelled"]


def test_the_live_view_shows_progress(watched: tuple[Project, str]) -> None:
    """On a terminal, each running case's line ends with its last progress; what is no progress is passed over."""
    _, text = watched
    assert re.search(r"\d:\d\d  a  3/4 reading", plain(text))
    assert "4/4" not in plain(text)


def test_progress_that_the_runner_finds(tmp_path: Path) -> None:
    """The last one of this attempt, within the end of the file; none is an empty text, and nothing raises."""
    file = tmp_path / "tracking.jsonl"
    assert experiment_runner.last_progress(file, 1, 0) == ""
    first, second = (tracking.Tracker(tmp_path, attempt=number) for number in (1, 2))
    first.progress(5, 9, "of the first attempt")
    assert experiment_runner.last_progress(file, 1, 1) == "  5/9 of the first attempt"
    assert experiment_runner.last_progress(file, 2, 1) == ""
    second.progress(0.5)
    second.result("large", "x" * 100_000)
    assert experiment_runner.last_progress(file, 2, 2) == "  0.5"
    for _ in range(2):
        second.result("large", "x" * 100_000)
    assert experiment_runner.last_progress(file, 2, 3) == ""
    file.unlink()
    os.mkfifo(file)
    assert experiment_runner.last_progress(file, 2, 4) == ""
