"""The command line of a suite, and what a person, a pipe, a program and a terminal see."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import DEADLINE_S, Project, clean_environment

FLAGS = [
    *("--dry-run", "--parallelism", "-p", "--resume", "--again", "--only", "--set", "--note", "--results-dir"),
    *("--same-code", "--debug", "--follow", "--confirm-above", "--describe", "--json", "--quiet", "--verbose"),
    "--help",
]
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def colours(text: str) -> list[str]:
    """The escape sequences of a text that choose a colour."""
    chosen = [found for found, letter in ESCAPE.findall(text) if letter == "m"]
    return [found for found in chosen if any(re.fullmatch(r"[349]\d|10\d|38|48", part) for part in found.split(";"))]


def plain(text: str) -> str:
    """A text without its escape sequences."""
    return ESCAPE.sub("", text).replace("\r", "")


class Terminal:
    """A suite that runs on a terminal of its own."""

    def __init__(
        self,
        project: Project,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (24, 100),
        **options: Any,
    ) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(self.master, size)
        streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave, **options}
        env = {"TERM": "xterm-256color", "COLORTERM": "", **(env or {})}
        self.process = project.start(*arguments, env=env, start_new_session=True, **streams)
        os.close(slave)
        self.output = b""

    def read(self, until: Callable[[str], object] | None = None, deadline_s: float = DEADLINE_S) -> str:
        """What has been shown until something holds, or until the terminal is given up."""
        end = time.monotonic() + deadline_s
        while until is None or not until(self.text):
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    new = os.read(self.master, 1 << 16)
                except OSError:  # EIO: nobody has it open any more
                    new = b""
                if not new:
                    assert until is None, self.text
                    break
                self.output += new
        return self.text

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> tuple[int, str]:
        """Exit code and everything shown."""
        text = self.read()
        code = self.process.wait(timeout=DEADLINE_S)
        os.close(self.master)
        return code, text


# --- Help and description --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_teaches(project: Project, flag: str) -> None:
    """--help begins with what the suite is about, explains every flag, gives examples, and runs nothing."""
    before = project.listing()
    done = project.run_forked(flag, env={"COLUMNS": "200"})
    assert (done.code, done.stderr) == (0, "")
    assert "What the suite is about." in done.stdout
    assert all(name in done.stdout for name in FLAGS)
    assert all(example in done.stdout for example in ("--only 'gpt-4*'", "--set num_samples=5", "--resume latest"))
    assert colours(done.stdout) == []
    assert project.listing() == before


def test_help_on_a_terminal(project: Project) -> None:
    """On a terminal the help has the same flags."""
    code, text = Terminal(project, "--help").end()
    assert code == 0
    assert all(name in plain(text) for name in FLAGS)


def test_describe(project: Project) -> None:
    """--describe is one JSON object: the suite, its cases, the JSON Schema of their configs; nothing runs."""
    project.suite(
        "[ExperimentCase('a', Config(x=1)), ExperimentCase('b', Config(x=2))]", more="tags=['t'], description='D'"
    )
    before = project.listing()
    done = project.run_forked("--describe")
    assert (done.code, done.stderr) == (0, "")
    described = json.loads(done.stdout)
    assert project.listing() == before
    assert (described["experiment"], described["mode"], described["tags"]) == ("exp", "standard", ["t"])
    assert described["description"] == "D"
    assert described["entry_point"] == str(project.root / "work.py")
    assert [case["variant"] for case in described["cases"]] == ["a", "b"]
    assert described["cases"][1]["config"] == {"seed": 42, "do": "", "x": 2, "name": "n"}
    schema = described["config_schemas"][described["cases"][0]["config_class"]]
    assert schema["properties"]["x"] == {"default": 0, "title": "X", "type": "integer"}


def test_describe_refuses_what_cannot_run(project: Project) -> None:
    """A suite that could not run is not described."""
    project.suite({"a/b": ""})
    done = project.run_forked("--describe")
    assert (done.code, done.stdout) == (2, "")
    assert "'a-b'" in done.stderr


# --- Flags -----------------------------------------------------------------------------------------------------------


def test_only(project: Project) -> None:
    """--only runs the cases that match one of its patterns; the others stay pending, with their configs saved.

    The description that the suite gives replaces its docstring.
    """
    cases = dict.fromkeys(["gpt-4", "gpt-5", "claude", "llama", "a[1]"], "")
    project.suite(cases, more="description='Another text.'")
    done = project.run_forked("--only", "gpt-*", "--only", "claude", "--only", "a[1]")
    assert done.code == 0
    assert project.statuses() == dict.fromkeys(["gpt-4", "gpt-5", "claude", "a[1]"], "succeeded")
    assert "Completed: 4/5 succeeded (1 pending)" in done.lines
    assert (project.run_dir / "llama" / "config.json").exists()
    run = json.loads((project.run_dir / "run.json").read_text())
    assert run["only"] == ["gpt-*", "claude", "a[1]"]
    assert run["description"] == "Another text."


def test_set_and_note(project: Project) -> None:
    """--set changes a field in every case and --note is a remark; both are recorded."""
    project.suite({"a": "print(config['x'], config['name'])", "b": "print(config['x'], config['name'])"})
    assert project.run_forked("--set", "x=-7", "--set", "name=a=b", "--note", "a try").code == 0
    for variant in ("a", "b"):
        assert (project.run_dir / variant / "attempt-1.log").read_text() == "-7 a=b\n"
    run = json.loads((project.run_dir / "run.json").read_text())
    assert (run["set"], run["note"]) == (["x=-7", "name=a=b"], "a try")
    assert run["description"] == "What the suite is about."


def test_quiet(project: Project) -> None:
    """--quiet prints nothing but failures, to stderr."""
    project.suite({"a": "print('hello')", "b": "sys.exit(1)"})
    done = project.run_forked("--quiet")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("[FAILED] b: exit code 1 (")
    project.suite({"a/b": ""})
    assert project.run_forked("-q").stderr != ""


def test_verbose(project: Project) -> None:
    """-v shows git calls and each case's arguments on stderr, and leaves stdout as it was."""
    done = project.run_forked("-v", "--json")
    assert done.code == 0
    assert "git rev-parse --show-toplevel" in done.stderr
    assert "a: --output_dir " in done.stderr
    assert all(json.loads(line) for line in done.lines)


@pytest.mark.parametrize(
    ("cases", "code"), [({"a": "", "b": "sys.exit(3)", "c": "print('x')"}, 1), ({f"c{n:02}": "" for n in range(6)}, 0)]
)
def test_json(project: Project, cases: dict[str, str], code: int) -> None:
    """--json prints the journal's events, each on a line, in order; the first one says where the run lies."""
    project.suite(cases)
    done = project.run_forked("--json")
    assert (done.code, done.stderr) == (code, "")
    printed = [json.loads(line) for line in done.lines]
    assert Path(printed[0].pop("run_dir")) == project.run_dir
    assert printed == project.events()


@contextmanager
def read_by_a_program(project: Project, *arguments: str) -> Generator[tuple[subprocess.Popen[str], IO[str]]]:
    """A suite, and the other end of the pipe that it writes to."""
    reader, writer = os.pipe()
    process = project.fork(*arguments, stdout=writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as printed:
        yield process, printed


def test_json_of_a_cancelled_run(project: Project) -> None:
    """A program that reads --json sees a case start as it starts, and how the run was stopped."""
    project.suite({"a": "time.sleep(600)"})
    with read_by_a_program(project, "--json") as (process, printed):
        first = [json.loads(printed.readline()) for _ in range(2)]
        assert [event["event"] for event in first] == ["run_started", "attempt_started"]
        process.terminate()
        assert project.finish(process).code == 143
        names = [json.loads(line)["event"] for line in printed]
    assert names == ["run_cancelled", "attempt_ended", "case_ended", "run_ended"]


def test_json_of_a_dry_run(project: Project) -> None:
    """A dry run prints each planned case with its config."""
    done = project.run_forked("--json", "--dry-run")
    planned = [json.loads(line) for line in done.lines]
    assert [(event["event"], event["variant"]) for event in planned] == [("planned", "a"), ("planned", "b")]
    assert planned[0]["config"]["do"] == "print('hello')"


def test_what_is_told_is_on_disk(project: Project) -> None:
    """When a program reads that a case has ended, the journal has that line."""
    project.suite({f"c{number}": "" for number in range(3)})
    with read_by_a_program(project, "--json", "-p", "1") as (process, printed):
        ended = 0
        for event in map(json.loads, printed):
            if event["event"] == "case_ended":
                assert event in project.events("case_ended")
                ended += 1
    assert (process.wait(timeout=DEADLINE_S), ended) == (0, 3)


def test_follow(project: Project) -> None:
    """--follow shows what cases print, each line with its variant in front, while they run."""
    project.suite({"a": "print('one')\nwhile not Path('go').exists(): time.sleep(0.02)\nprint('two', end='')"})
    with read_by_a_program(project, "--follow") as (process, printed):
        seen = ""
        while "[a] one" not in seen:
            line = printed.readline()
            assert line, seen
            seen += line
        project.write("go", "")
        rest = printed.read()
    assert project.finish(process).code == 0
    assert (seen + rest).count("[a] one\n") == 1
    assert "[a] two\n" in rest


def test_follow_is_the_default_at_one_at_a_time_on_a_terminal(project: Project) -> None:
    """On a terminal with -p 1, output is shown as it comes; --no-follow changes that."""
    code, text = Terminal(project, "-p", "1").end()
    assert code == 0
    assert "[a] hello" in plain(text)
    assert "[b] hello" in plain(text)
    assert "[a] hello" not in plain(Terminal(project, "-p", "1", "--no-follow").end()[1])


# --- What one case alone needs ---------------------------------------------------------------------------------------


def test_debug_has_the_terminal(project: Project) -> None:
    """--debug runs one case in the foreground: input() and breakpoint() work, and the other case stays pending."""
    code = "answer = input('your name? ')\nprint('hello', answer)\nbreakpoint()\nprint('secret is', hidden)\n"
    project.suite({"a": "hidden = 41\n" + code, "b": ""})
    terminal = Terminal(project, "--debug", "a")
    terminal.read(lambda text: "your name? " in text)
    terminal.type("Ada\n")
    terminal.read(lambda text: "(Pdb)" in text)
    terminal.type("hidden += 1\nc\n")
    exit_code, text = terminal.end()
    assert exit_code == 0, text
    assert "hello Ada" in text
    assert "secret is 42" in text
    assert project.statuses() == {"a": "succeeded"}
    assert not list(project.run_dir.glob("a/attempt*"))


def test_debug_leaves_ctrl_c_to_the_case(project: Project) -> None:
    """Ctrl-C during --debug interrupts the case, as by hand; the runner records how it ended."""
    project.suite(
        {"a": "try: print('ready', flush=True); time.sleep(600)\nexcept KeyboardInterrupt: sys.exit(5)", "b": ""}
    )
    terminal = Terminal(project, "--debug", "a")
    terminal.read(lambda text: "ready" in text)
    os.killpg(terminal.process.pid, signal.SIGINT)
    code, text = terminal.end()
    assert code == 1, text
    (ended,) = project.events("attempt_ended")
    assert ended["exit_code"] == 5


# --- A terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 72])
def test_live_view(project: Project, count: int) -> None:
    """On a terminal the progress is drawn in place, in few lines however many cases there are."""
    gate = project.root.parent / "gate"
    os.mkfifo(gate)
    opened = os.open(gate, os.O_RDWR)
    script = project.write("work.sh", f'#!/bin/sh\nread go < "{gate}"; [ "${{2##*/}}" != c1 ]\n')
    script.chmod(0o755)
    project.suite(f"[ExperimentCase(f'c{{i}}', Config(x=i)) for i in range({count})]", entry_point="work.sh")
    terminal = Terminal(project)
    running = min(count, 64)
    lines = "".join(rf"  \d:\d\d  c{number}\b\s*" for number in range(min(running, 8)))
    frame = rf"0/{count} done, {running} running.*\s+{lines}" + r"  … and 56 more" * (count == 72)
    text = plain(terminal.read(lambda text: re.search(frame, plain(text))))
    shown = set(re.findall(r"^  \d:\d\d  (c\d+)", text, re.MULTILINE))
    assert shown == {f"c{number}" for number in range(min(running, 8))}
    assert ("more" in text) == (count == 72)
    os.write(opened, b"\n" * count)  # each case takes one line
    code, text = terminal.end()
    os.close(opened)
    assert code == 1
    assert "Traceback" not in text
    assert plain(text).count("[OK] ") == count - 1
    assert "[FAILED] c1: exit code 1" in plain(text)
    assert f"Completed: {count - 1}/{count} succeeded (1 failed)" in plain(text)
    assert colours(text) != []
    assert text.count("\x1b[?25h") >= text.count("\x1b[?25l") > 0, "the cursor must be shown again"


LATER = """
from experiment_runner import Local

class Later(Local):
    name = "later"

    def start(self, launches):
        self.queue = launches[1:]
        super().start(launches[:1])

    def wait(self, timeout_s):
        events = super().wait(timeout_s)
        if self.queue and any(type(event).__name__ == "Ended" for event in events):
            super().start(self.queue)
            self.queue = []
        return events
"""


def test_what_waits_in_a_queue_is_not_said_to_run(project: Project) -> None:
    """As with a cluster's scheduler, which has all cases and runs some."""
    wait = "while not Path('go').exists(): time.sleep(0.05)"
    project.suite({"a": wait, "b": "", "c": ""}, before=LATER, more="launcher=Later()")
    terminal = Terminal(project)
    text = plain(terminal.read(lambda text: "1 running, 2 waiting" in plain(text)))
    assert re.search(r"^  \d:\d\d  a\b", text, re.MULTILINE)
    assert not re.search(r"^  \d:\d\d  b\b", text, re.MULTILINE)
    (project.root / "go").touch()
    assert terminal.end()[0] == 0


def test_no_color(project: Project) -> None:
    """NO_COLOR is respected on a terminal."""
    project.suite({"a": "", "b": "sys.exit(1)"})
    code, text = Terminal(project, env={"NO_COLOR": "1"}).end()
    assert code == 1
    assert "[FAILED] b" in plain(text)
    assert colours(text) == []


def test_no_escapes_without_a_terminal(project: Project) -> None:
    """In a pipe there are plain lines, one per event."""
    project.suite({"a": "", "b": "sys.exit(1)"}, before="import os; os.environ['TERM'] = 'xterm-256color'")
    done = project.run_forked()
    assert "\x1b" not in done.stdout + done.stderr
    assert [line for line in done.lines if line.startswith("[OK] a (")]


def test_names_and_output_are_no_markup(project: Project) -> None:
    """What looks like rich's markup or a picture's name is shown as it is, live and in plain lines."""
    waiting = "print(':smile: [bold]hi[/bold]')\nwhile not Path('go').exists(): time.sleep(0.02)\nsys.exit(1)"
    project.suite({"[red]a": waiting, ":smile:": waiting})
    terminal = Terminal(project)
    terminal.read(lambda text: re.search(r"^  \d:\d\d  \[red\]a\r?$", ESCAPE.sub("", text), re.MULTILINE))
    terminal.read(lambda text: re.search(r"^  \d:\d\d  :smile:\r?$", ESCAPE.sub("", text), re.MULTILINE))
    project.write("go", "")
    _, text = terminal.end()
    assert "[FAILED] [red]a: exit code 1" in plain(text)
    assert plain(text).count("    :smile: [bold]hi[/bold]\n") == 2


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
def test_poor_terminals(project: Project, env: dict[str, str]) -> None:
    """A terminal without cursor movement or with few characters shows all that matters."""
    project.suite({"modèle-模型": "time.sleep(0.3)", "b": "sys.exit(1)"})
    code, text = Terminal(project, env=env).end()
    assert code == 1
    assert "Traceback" not in text
    assert "Completed: 1/2 succeeded (1 failed)" in plain(text)


def test_a_tiny_terminal(project: Project) -> None:
    """A window of 20 columns and 4 lines changes nothing but the look."""
    project.suite({f"a-rather-long-name-of-a-case-{n}": "time.sleep(0.2)" for n in range(6)})
    code, text = Terminal(project, size=(4, 20)).end()
    assert code == 0
    assert "Traceback" not in text


@pytest.mark.parametrize("arguments", [[], ["--follow"]], ids=["live", "follow"])
def test_a_terminal_that_goes_away(project: Project, arguments: list[str]) -> None:
    """Under nohup, a terminal that is closed during the run changes neither the run nor its exit code."""
    project.suite({"a": "while not Path('go').exists(): time.sleep(0.02)", "b": "print('x'); sys.exit(1)"})
    before = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]
    errors = project.root / "errors.txt"
    with errors.open("wb") as file:
        terminal = Terminal(project, *arguments, before=before, env={"TERM": "xterm"}, stderr=file)
    terminal.read(lambda text: "Run directory" in text)
    os.close(terminal.master)
    project.write("go", "")
    assert terminal.process.wait(timeout=DEADLINE_S) == 1
    assert errors.read_text() == ""
    assert project.statuses() == {"a": "succeeded", "b": "failed"}


# --- The end of a run ------------------------------------------------------------------------------------------------


def commands(lines: list[str], label: str) -> list[str]:
    """What follows a label in a summary."""
    return [line.partition(label)[2].strip() for line in lines if line.strip().startswith(label)]


def paste(command: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would who copied it from the terminal."""
    env = {**clean_environment(), **(env or {})}
    return subprocess.run(
        command, shell=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


FAIL_ONCE = "print('working', config['x']); print('\\x1b[31mwrong\\x07'); sys.exit(0 if Path('fixed').exists() else 4)"


def test_failure_summary(project: Project) -> None:
    """A failure is told by its cause, its log's last lines made harmless, the log's path, the command for it alone."""
    project.suite({"a": "", "it's bad": "for n in range(50): print('line', n)\n" + FAIL_ONCE})
    done = project.run_forked()
    assert done.code == 1
    at = done.lines.index("it's bad: exit code 4")
    log = project.run_dir / "it's bad" / "attempt-1.log"
    tail = ["line 47", "line 48", "line 49", "working 0", " [31mwrong "]
    assert done.lines[at + 1 : at + 7] == [*(f"    {text}".rstrip("\n") for text in tail), f"  log:   {log}"]
    (alone,) = commands(done.lines, "alone:")
    pasted = paste(alone, project.root)
    assert pasted.returncode == 1
    assert "line 49" in pasted.stdout
    assert len(project.runs()) == 1, "the case alone is another attempt of the same run"
    assert project.statuses() == {"a": "succeeded", "it's bad": "failed"}


@pytest.mark.parametrize("place", ["root", "module", "results-dir"])
def test_resume_command(project: Project, tmp_path: Path, place: str) -> None:
    """The last line is the command that goes on with this run; pasted, it works, wherever the suite was started."""
    project.suite({"a": "", "b": FAIL_ONCE}, path="sub dir/suite.py")
    project.write("sub dir/__init__.py", "")
    env = {"PYTHONPATH": str(project.root)}
    cwd, suite, arguments = tmp_path, "sub dir/suite.py", ["--set", "x=5", "-p", "1"]
    if place == "root":
        cwd = project.root
    if place == "results-dir":
        arguments += ["--results-dir", "my results"]
        (project.root / ".gitignore").write_text("__pycache__/\n")
    if place == "module":
        (project.root / "sub dir").rename(project.root / "sub")
        (project.root / "plain.py").write_text("import runpy; runpy.run_module('sub.suite', run_name='__main__')")
        suite = "plain.py"
    done = project.run_forked(*arguments, suite=suite, cwd=cwd, env=env)
    assert done.code == 1, done.stderr
    (command,) = commands(done.lines, "To go on:")
    run_dir = Path(next(line for line in done.lines if line.startswith("Run directory: ")).partition(": ")[2])
    assert commands(done.lines, "alone:") == [f"{command} --debug b"]
    project.write("fixed", "")
    pasted = paste(command, cwd, env)
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr
    assert f"Run directory: {run_dir}" in pasted.stdout
    assert "Completed: 2/2 succeeded" in pasted.stdout
    assert (run_dir / "b" / "attempt-2.log").read_text().startswith("working 5")
    assert not (run_dir / "a" / "attempt-2.log").exists()
    (resumed,) = project.events("run_resumed", run_dir)
    assert resumed["code"]["left_out"] == []
    if place == "results-dir":
        assert len(list((tmp_path / "my results" / "exp").iterdir())) == 1
        assert not (project.root / "results").exists()


def test_commands_repeat_how_the_suite_was_called(project: Project) -> None:
    """A suite started with -m is resumed with -m, by the same interpreter."""
    project.suite({"a": FAIL_ONCE}, path="sub/suite.py")
    project.write("sub/__init__.py", "")
    started = shlex.join([sys.executable, "-m", "sub.suite"])
    first = paste(started, project.root)
    (command,) = commands(first.stdout.splitlines(), "To go on:")
    assert command.startswith(started + " --resume ")
    project.write("fixed", "")
    pasted = paste(command, project.root)
    assert pasted.returncode == 0, pasted.stdout + pasted.stderr


def test_nothing_to_go_on_with(project: Project) -> None:
    """A run in which all succeeded ends with its counts, and without --follow shows nothing of what cases print."""
    done = project.run_forked()
    assert "[a]" not in done.stdout
    assert "hello" not in done.stdout
    assert done.lines[-1] == "Completed: 2/2 succeeded"
    assert "--resume" not in done.stdout


def test_many_failures_stay_readable(project: Project) -> None:
    """Of 22 failures twenty are told in full, and the rest are counted."""
    script = project.write("work.sh", "#!/bin/sh\nexit 9\n")
    script.chmod(0o755)
    project.suite("[ExperimentCase(f'c{i}', Config(x=i)) for i in range(22)]", entry_point="work.sh")
    done = project.run_forked()
    assert done.code == 1
    assert len(commands(done.lines, "alone:")) == 20
    assert "… and 2 more failures" in done.lines
    assert done.stdout.count("[FAILED] ") == 22
