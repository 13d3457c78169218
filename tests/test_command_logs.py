"""`suitecase logs` and `suitecase watch` on real runs: what is shown is harmless, complete, and ends when they end."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from asking import COMMAND, ask
from conftest import DEADLINE_S, HERE, Project, clean_environment, wait_for
from forking import Forked
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.queries.logs import read_attempt, shown_text, start_of_last
from suitecase.queries.watching import last_progress
from suitecase.rundir import CaseRun


def environment(**added: str) -> dict[str, str]:
    return {**clean_environment(), "PYTHONPATH": str(HERE), **added}


def begin(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start `suitecase` in a project; the fixture ends it."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=project.root, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    project.processes.append(process)
    return process


def wait_in_view(terminal: int, text: str) -> str:
    """What a terminal has been sent since it was looked at last, once that has a text."""
    seen = b""
    while text.encode() not in seen:
        assert select.select([terminal], [], [], DEADLINE_S)[0], seen.decode()
        seen += os.read(terminal, 65536)
    return seen.decode()


def on_terminal(project: Project, *arguments: str, columns: int = 100, **added: str) -> tuple[int, str]:
    """Exit code and screen of `suitecase` on a terminal of its own."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=project.root, stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment(COLUMNS=str(columns), LINES="30", TERM="xterm-256color", **added),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        assert select.select([ours], [], [], DEADLINE_S)[0], "nothing came for too long"
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        seen += block
    os.close(ours)
    return process.wait(DEADLINE_S), seen.decode()


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"plain \xc3\xa9\n", "plain é"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07end\n", "red end"),
        (b" 10%|#   |\r 50%|##  |\r100%|####|\n", "100%|####|"),
        (b"a long line\rshort\n", "shortg line"),
        (b"a long line\r\x1b[Kshort\n", "short"),
        (b"a long line\r\x1b[2Kshort\r\n", "short"),
        (b"12/99\b\b\b\b\b13/99\n", "13/99"),
        (b"caf\xe9 \x07\x00\n", "caf\\xe9 \\x07\\x00"),
        ("a\u202eb\u2028c\x9b31m\n".encode(), "a\\u202eb\\u2028c\\x9b31m"),
        (b"\x1b]52;c;never ended", ""),
        (b"tab\tstays\n", "tab\tstays"),
    ],
)
def test_a_line_is_shown_as_a_terminal_would_leave_it(printed: bytes, shown: str) -> None:
    """Progress bars, colours, titles, control characters, bytes that are no text."""
    assert shown_text(printed) == shown


@given(st.binary(max_size=60) | st.text(st.sampled_from("ab\r\b\x1b[2K]0;\x07\x9b m"), max_size=40).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_nothing_that_a_terminal_obeys_is_left(printed: bytes) -> None:
    """Whatever was printed; and to show what was shown changes nothing."""
    shown = shown_text(printed)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert shown_text(shown.encode()) == shown


@given(
    st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.booleans(),
    st.integers(0, 9),
)
def test_the_last_lines_are_found_from_the_end(lines: list[bytes], ended: bool, count: int) -> None:
    """As `tail -n` counts them, with and without a last line break."""
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    file = io.BytesIO(content)
    whole = list(io.BytesIO(content))
    assert content[start_of_last(file, count) :] == b"".join(whole[max(0, len(whole) - count) :])


def test_a_log_of_any_size_is_read_in_parts(tmp_path: Path) -> None:
    """A gigabyte that is a hole, then a line of 10 MB: its end is there without what is before it."""
    log = tmp_path / "attempt-1.log"
    with log.open("wb") as file:
        file.write(b"first\n")
        file.seek(1 << 30)
        file.write(b"\n" + b"x" * 10_000_000 + b"\nlast\n")
    case = CaseRun("a", tmp_path, "succeeded")
    long, last = read_attempt(case, 1, last=2)
    assert (len(long.text), last.text) == (10_000_000, "last")
    assert next(iter(read_attempt(case, 1))).text == "first"


RETRIED = """
n = len(list(folder.glob("attempt-*.log")))
print("begin", n, flush=True)
while not (Path(config["name"]) / f"go-{n}").exists():
    time.sleep(0.01)
print("end", n)
sys.exit(n < 2)
"""


def start_retried(project: Project) -> subprocess.Popen[str]:
    """A run whose case fails once, and waits for a file before it ends."""
    project.suite(f"[ExperimentCase('a', Config(do={RETRIED!r}, name={str(project.root)!r}))]")
    running = project.start("-q", "--max-attempts", "2", "--backoff", "0")
    project.wait_for_started("a")
    return running


def test_following_goes_on_into_the_next_attempt_and_ends_with_the_case(project: Project) -> None:
    """A line is there as soon as it was printed."""
    running = start_retried(project)
    following = begin(project, "logs", "exp", "a", "-f", "--json")
    assert following.stdout is not None
    lines = [json.loads(following.stdout.readline())]
    (project.root / "go-1").touch()
    lines += [json.loads(following.stdout.readline()) for _ in range(2)]
    assert following.poll() is None
    (project.root / "go-2").touch()
    rest, announced = following.communicate(timeout=DEADLINE_S)
    lines += map(json.loads, rest.splitlines())
    assert [(line["attempt"], line["text"]) for line in lines] == [
        (1, "begin 1"), (1, "end 1"), (2, "begin 2"), (2, "end 2"),
    ]  # fmt: skip
    assert (following.returncode, announced) == (0, "suitecase: attempt 2 of a\n")
    assert project.finish(running).code == 0
    assert ask(project, "logs", "exp", "a").lines == ["begin 2", "end 2"]
    assert ask(project, "logs", "exp", "a", "--attempt", "1", "-n", "1").lines == ["end 1"]
    assert ask(project, "logs", "exp", "a", "-f").lines == ["begin 2", "end 2"]
    missing = ask(project, "logs", "exp", "a", "--attempt", "3")
    assert (missing.code, missing.stderr) == (2, "suitecase: a has no log of attempt 3: there are 1, 2.\n")


def test_watching_tells_each_change_and_ends_with_the_run(project: Project) -> None:
    """Off a terminal, as lines of JSON; the exit code is the run's."""
    running = start_retried(project)
    watching = begin(project, "watch", "--json", "--interval", "0.05")
    assert watching.stdout is not None
    changes = [json.loads(watching.stdout.readline())]
    (project.root / "go-1").touch()
    (project.root / "go-2").touch()
    rest, _ = watching.communicate(timeout=DEADLINE_S)
    changes += map(json.loads, rest.splitlines())
    assert project.finish(running).code == 0
    assert (changes[0]["status"], changes[0]["counts"]) == ("running", {"running": 1})
    assert (changes[-1]["status"], changes[-1]["counts"]) == ("succeeded", {"succeeded": 1})
    assert [change for change in changes if change.get("variant") == "a"][-1]["attempt"] == 2
    assert watching.returncode == 0
    nothing = ask(project, "watch")
    assert (nothing.code, nothing.stderr) == (0, "suitecase: nothing runs.\n")


WAITS = "while not Path('go-' + config['name']).exists(): time.sleep(0.01)"


def suite_that_waits(project: Project, name: str, experiment: str = "exp") -> subprocess.Popen[str]:
    """Start a suite whose case waits for a file `go-NAME`."""
    path = f"suite_{name}.py"
    project.suite(f"[ExperimentCase('a', Config(name={name!r}, do={WAITS!r}))]", experiment=experiment, path=path)
    return project.start("-q", suite=path)


def test_runs_that_begin_while_their_experiment_is_watched(project: Project) -> None:
    """They are taken up, those of others are not; it ends with the last one."""
    running = [suite_that_waits(project, "first")]
    (first,) = wait_for(project.runs, "the first run")
    project.wait_for_started("a", run_dir=first)
    by_name = begin(project, "watch", "exp", "--json", "--interval", "0.05")
    by_itself = begin(project, "watch", first.name, "--json", "--interval", "0.05")
    assert by_name.stdout is not None
    assert by_itself.stdout is not None
    changes = [json.loads(by_name.stdout.readline())]
    assert json.loads(by_itself.stdout.readline())["run"] == first.name
    running += [suite_that_waits(project, "other", "elsewhere"), suite_that_waits(project, "second")]
    while changes[-1]["run"] == first.name:
        changes.append(json.loads(by_name.stdout.readline()))
    (project.root / "go-first").touch()
    assert by_itself.wait(DEADLINE_S) == 0
    assert {json.loads(line)["run"] for line in by_itself.stdout} == {first.name}
    assert by_name.poll() is None
    for name in ("second", "other"):
        (project.root / f"go-{name}").touch()
    changes += map(json.loads, by_name.communicate(timeout=DEADLINE_S)[0].splitlines())
    assert by_name.returncode == 0
    second = next(run.name for run in project.runs() if run != first)
    last = {change["run"]: change["status"] for change in changes}
    assert last == {first.name: "succeeded", second: "succeeded"}
    assert [project.finish(process).code for process in running] == [0, 0, 0]


def test_the_live_view_of_a_run_that_goes_on(project: Project) -> None:
    """How far its case is, and how long that takes, from the files alone."""
    told = {"event": "progress", "attempt": 1, "done": 3, "total": 4, "message": "epoch"}
    tell = f"(folder / 'tracking.jsonl').write_text({json.dumps(told) + chr(10)!r}); "
    project.suite({"a": f"{tell}\nwhile not Path('go').exists(): time.sleep(0.01)"})
    running = project.start("-q")
    project.wait_for_started("a")
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [*COMMAND, "watch", "latest", "--interval", "0.05"], cwd=project.root, stdin=theirs, stdout=theirs,
        stderr=theirs, env=environment(COLUMNS="100", LINES="30", TERM="xterm-256color", NO_COLOR="1"),
    )  # fmt: skip
    os.close(theirs)
    try:
        view = wait_in_view(ours, "3/4") + wait_in_view(ours, "1 running")
        assert re.search(r"about [\d.]+ s", view + wait_in_view(ours, "about "))
        assert re.search(r"a +[\d.]+ s +3/4 +epoch", view)
        (project.root / "go").touch()
        wait_in_view(ours, "1 succeeded")
        assert watching.wait(DEADLINE_S) == 0
    finally:
        watching.kill()
        os.close(ours)
    assert project.finish(running).code == 0


TELLING = """
lines = [
    {"event": "log", "level": "debug", "message": "small"},
    {"event": "log", "level": "warning", "message": "slow\\x1b[2J", "data": {"took_s": 3}},
    {"event": "progress", "done": 3, "total": 10, "message": "epoch"},
    {"event": "failed", "reason": "no luck"},
]
base = {"time": "2026-01-01T00:00:00.000Z", "attempt": 1}
with open(folder / "tracking.jsonl", "w") as file:
    file.write("".join(json.dumps({**base, **line}) + "\\n" for line in lines) + '{"event": "lo')
print("one\\ntwo\\nthree")
"""


@pytest.fixture(scope="module")
def told(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run that has ended: a case that told things, and one that failed."""
    project = Project(tmp_path_factory.mktemp("logs") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    project.suite({"alpha": TELLING, "beta": "sys.exit(3)"})
    project.run_forked("-q")
    return project


def test_what_a_case_told_is_shown_by_level(told: Project) -> None:
    """With data, without escapes; its failure is an error; a torn line is none."""
    lines = ask(told, "logs", "latest", "alpha", "--level", "warning").lines
    assert [re.sub(r"^\S+ \S+ +", "", line) for line in lines] == [
        "warning  slow  took_s=3",
        "error    failed: no luck",
    ]
    assert len(ask(told, "logs", "latest", "alpha", "--level", "debug", "--json").lines) == 3
    assert ask(told, "logs", "latest", "alpha", "--level", "loud").code == 2


def test_progress_is_read_from_the_end(told: Project, tmp_path: Path) -> None:
    """The last that is whole, also of a file that is longer than what is looked at."""
    content = (told.run_dir / "alpha" / "tracking.jsonl").read_bytes()
    long = tmp_path / "tracking.jsonl"
    long.write_bytes(b'{"event": "log"}\n' * 100_000 + content)
    assert last_progress(long)["done"] == 3
    assert last_progress(tmp_path / "none") == {}


def test_lines_are_chosen_by_pattern(told: Project) -> None:
    """A wrong pattern is told in a sentence."""
    assert ask(told, "logs", "latest", "al", "--grep", "^t").lines == ["two", "three"]
    assert ask(told, "logs", "latest", "al", "--grep", "^t", "-n", "1").lines == ["three"]
    wrong = ask(told, "logs", "latest", "al", "--grep", "(")
    assert (wrong.code, wrong.stderr.startswith("suitecase: '(' is no regular expression: ")) == (2, True)
    assert "Traceback" not in wrong.stderr


def test_watching_what_has_ended_says_so_at_once(told: Project) -> None:
    """Exit code 1, as a case failed."""
    done = ask(told, "watch", "latest")
    assert (done.code, len(done.lines)) == (1, 1)
    assert done.lines[0].endswith(" failed: 1 succeeded, 1 failed")


def test_a_run_whose_runner_was_killed_is_said_to_be_interrupted(project: Project) -> None:
    """While it is watched, and afterwards; following its case ends as well."""
    project.suite({"a": "print('hello', flush=True); time.sleep(600)"})
    running = project.start("-q")
    project.wait_for_started("a")
    watching = begin(project, "watch", "exp", "--interval", "0.05")
    following = begin(project, "logs", "exp", "a", "-f")
    assert watching.stdout is not None
    assert following.stdout is not None
    assert "running: 1 running" in watching.stdout.readline()
    assert following.stdout.readline() == "hello\n"
    running.send_signal(signal.SIGKILL)
    running.wait(DEADLINE_S)
    rest, _ = watching.communicate(timeout=DEADLINE_S)
    assert "interrupted: 1 interrupted; its runner is gone: nobody holds" in rest.splitlines()[-1]
    assert watching.returncode == 1
    assert following.communicate(timeout=DEADLINE_S)[0] == ""


def test_terminals_wide_and_narrow_coloured_and_not(told: Project) -> None:
    """A readable table, the live view's last state, and no colour where none is wanted."""
    code, screen = on_terminal(told, "watch", "latest")
    assert (code, "1 succeeded, 1 failed" in screen, "beta: " in screen) == (1, True, True)
    code, screen = on_terminal(told, "table", "latest")
    assert code == 0
    assert "all 2 rows: experiment=exp" in screen
    # Names stay in one piece, since people copy them: other cells are broken into lines, and columns are left out.
    name, plain = told.run_dir.name, on_terminal(told, "ls", columns=40, NO_COLOR="1")[1]
    assert name in plain
    assert "\x1b[" not in plain.replace("\x1b[1m", "").replace("\x1b[0m", "")
    for command, columns in (("ls", 90), ("table", 50)):
        code, narrow = on_terminal(told, command, *["latest"] * (command == "table"), columns=columns)
        shown = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in narrow.split("\r\n\r\n")[0].splitlines()]
        assert (code, max(map(len, shown)) <= columns) == (0, True), narrow
        assert (name if command == "ls" else "alpha") in narrow
    assert "To see as well, by --columns or in a file (-o): " in narrow


def complete(project: Project, words: str) -> list[str]:
    """What bash would offer."""
    asked = environment(_SUITECASE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    code = "import sys; sys.argv[0] = 'suitecase'; " + COMMAND[2]
    offered, errors = Forked(["-c", code], project.root, asked).communicate(timeout=DEADLINE_S)
    assert errors == ""
    return offered.split()


def test_a_shell_completes_runs_and_cases(told: Project, tmp_path: Path) -> None:
    """And stays silent where there is nothing."""
    assert complete(told, "suitecase show la") == ["latest"]
    assert complete(told, "suitecase logs exp/2") == [f"exp/{told.run_dir.name}"]
    assert complete(told, "suitecase logs latest be") == ["beta"]
    assert complete(told, "suitecase logs nothing be") == []
    assert complete(Project(tmp_path), "suitecase watch x") == []
