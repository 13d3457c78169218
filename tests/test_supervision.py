"""No process of a case outlives its runner, nor its case; whatever happens to the run is told and can be resumed.

Every test starts real trees of processes and keeps a ledger of its own: each process writes down its pid, and a pid
counts as that process only while its start time is the same.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, Project, alive, clean_environment, wait_for

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc; what macOS loses is documented")

# The four kinds of descendants, and the first process; each writes down its pid in the case's folder.
# With a file `quick` in the project the case ends at once: so does its second attempt, after a resume.
FAMILY = """\
#!/bin/sh
[ -e quick ] && exit 0
cd "$2"
sleep 600 &
echo $! > child.pid
setsid sh -c 'echo $$ > session.pid; exec sleep 600' &
sh -c 'trap "" TERM INT HUP; echo $$ > stubborn.pid; exec sleep 600' &
(env -i setsid sh -c 'echo $$ > "$0/escaped.pid"; exec sleep 600' "$PWD" &)
echo $$ > first.pid
wait
"""
MEMBERS = ("child", "session", "stubborn", "escaped", "first")


def start_time(pid: int) -> str:
    """When a process started, in clock ticks; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Ledger:
    """Processes by name, with their start times: a pid that was given away again is another process."""

    def __init__(self) -> None:
        self.processes: dict[str, tuple[int, str]] = {}

    def await_pid(self, path: Path) -> int:
        """Enter the process that writes its pid into a file."""
        text = wait_for(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text(), str(path))
        self.processes[str(path)] = int(text), start_time(int(text))
        return int(text)

    def await_families(self, run_dir: Path, *variants: str) -> None:
        """Enter all members of the families of these cases."""
        for variant in variants:
            for member in MEMBERS:
                self.await_pid(run_dir / variant / f"{member}.pid")

    @property
    def survivors(self) -> list[str]:
        """Who is still alive."""
        return [name for name, (pid, started) in self.processes.items() if alive(pid) and start_time(pid) == started]

    def await_end(self, deadline_s: float = DEADLINE_S) -> None:
        """Wait until nobody is left."""
        wait_for(lambda: not self.survivors, "the end of all processes", deadline_s)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """A ledger; whom a failed test leaves alive is ended."""
    made = Ledger()
    yield made
    for name in made.survivors:
        os.kill(made.processes[name][0], signal.SIGKILL)


def families(project: Project, *variants: str, more: str = "", path: str = "suite.py") -> None:
    """A suite whose cases are families."""
    project.write("work.sh", FAMILY).chmod(0o755)
    cases = ", ".join(f"ExperimentCase({variant!r}, Config(x={at}))" for at, variant in enumerate(variants))
    project.suite(f"[{cases}]", entry_point="work.sh", more=more, path=path)


def children_of(pid: int) -> list[int]:
    """The child processes of a process."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def commands_with(text: str) -> list[str]:
    """The command lines of living processes that hold a text."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if text in (command := path.read_bytes().decode(errors="replace")):
                found.append(command)
    return found


def guardian_of(pid: int) -> int:
    """The guardian of a runner."""

    def find() -> int:
        for child in children_of(pid):
            try:
                if b"--guardian" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return child
            except (FileNotFoundError, ProcessLookupError):
                pass
        return 0

    return wait_for(find, "the guardian")


def at_work(runner: int, other_than: int) -> int:
    """The guardian of a runner, once it handles SIGCHLD and sleeps: it waits for something to do."""
    pid = guardian_of(runner)
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        handled = int(status.partition("SigCgt:")[2].split()[0], 16)
        if pid != other_than and handled >> signal.SIGCHLD - 1 & 1 and "State:\tS" in status:
            return pid
    return 0


def run_dir_of(project: Project, hidden: str = "") -> Path:
    """The run directory, once it is there."""
    folder = project.root / "results" / "exp" / hidden

    def made() -> list[Path]:
        paths = folder.glob("2*") if folder.exists() else ()
        return sorted(path for path in paths if (path / "journal.jsonl").exists())

    return wait_for(made, "the run directory")[-1]


# --- The kill matrix -------------------------------------------------------------------------------------------------


def kill(number: signal.Signals) -> Callable[[subprocess.Popen[str]], None]:
    return lambda process: process.send_signal(number)


def interrupt_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def stop_and_kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    process.kill()


STIMULI: dict[str, tuple[Callable[[subprocess.Popen[str]], None], int]] = {
    "TERM": (kill(signal.SIGTERM), 143),
    "INT": (interrupt_group, 130),
    "HUP": (kill(signal.SIGHUP), 129),
    "KILL": (kill(signal.SIGKILL), -9),
    "STOP+KILL": (stop_and_kill, -9),
}


@linux
@pytest.mark.parametrize("stimulus", STIMULI)
def test_nothing_outlives_the_runner(project: Project, ledger: Ledger, stimulus: str) -> None:
    """Whatever ends the runner, of two cases with five kinds of processes each none is left soon after."""
    families(project, "a", "b")
    process = project.fork("--grace", "0.5", start_new_session=True)
    ledger.await_families(run_dir_of(project), "a", "b")
    act, code = STIMULI[stimulus]
    act(process)
    assert process.wait(timeout=DEADLINE_S) == code
    if code > 0:
        assert ledger.survivors == [], "the runner returned before they were gone"
        assert project.statuses() == {"a": "cancelled", "b": "cancelled"}
    else:
        ledger.await_end(10)
    assert project.events()[0]["event"] == "run_started"


@linux
def test_the_second_ctrl_c_kills_at_once(project: Project, ledger: Ledger) -> None:
    """A second Ctrl-C doesn't wait for the grace period; the journal is whole and says what became of each case."""
    families(project, "a", "b")
    process = project.fork("--grace", "300", start_new_session=True)
    ledger.await_families(run_dir_of(project), "a", "b")
    interrupt_group(process)
    wait_for(lambda: project.events("run_cancelled"), "the effect of the first")
    assert any(name.endswith("stubborn.pid") for name in ledger.survivors)
    started = time.monotonic()
    interrupt_group(process)
    assert process.wait(timeout=DEADLINE_S) == 130
    assert time.monotonic() - started < 5  # a second, on a machine with nothing else to do
    assert ledger.survivors == []
    assert project.statuses() == {"a": "cancelled", "b": "cancelled"}
    assert project.events()[-1]["event"] == "run_ended"


@linux
def test_the_guardian_is_killed(project: Project, ledger: Ledger) -> None:
    """Its cases are ended and told as lost, and the run goes on with another guardian."""
    families(project, "a", "b")
    process = project.fork("-p", "1")
    run_dir = run_dir_of(project)
    ledger.await_families(run_dir, "a")
    project.write("quick", "")
    first = guardian_of(process.pid)
    os.kill(first, signal.SIGKILL)
    done = project.finish(process)
    assert done.code == 1, done.stderr
    assert ledger.survivors == []
    assert project.statuses() == {"a": "failed", "b": "succeeded"}
    assert "its guardian was killed" in project.events("case_ended")[0]["cause"]
    assert done.stderr == ""


@linux
def test_a_lost_attempt_may_be_made_again(project: Project) -> None:
    """`lost` in `retry_on` means an attempt whose guardian was killed, and no other failure."""
    project.suite({"a": "time.sleep(600 if os.environ['SUITECASE_ATTEMPT'] == '1' else 0)", "b": "sys.exit(1)"})
    process = project.fork("-p", "1", "--retry-on", "lost", "--max-attempts", "2", "--backoff", "0")
    wait_for(lambda: run_dir_of(project) and project.events("attempt_started"), "the first attempt")
    os.kill(guardian_of(process.pid), signal.SIGKILL)
    assert project.finish(process).code == 1
    assert project.statuses() == {"a": "succeeded", "b": "failed"}
    attempts = sorted((event["variant"], event["attempt"]) for event in project.events("attempt_started"))
    assert attempts == [("a", 1), ("a", 2), ("b", 1)]


@linux
def test_the_guardian_is_killed_before_it_had_anything_to_do(project: Project) -> None:
    """Also while the run waits for a retry: another one takes its place each time."""
    project.suite({"a": "sys.exit(1)"})
    process = project.fork("--max-attempts", "2", "--backoff", "3600")
    wait_for(lambda: run_dir_of(project) and project.events("retry_scheduled"), "the delay")
    guardian = 0
    for _ in range(2):
        gone, guardian = guardian, wait_for(lambda old=guardian: at_work(process.pid, old), "a guardian at work")
        assert guardian != gone
        os.kill(guardian, signal.SIGKILL)
    wait_for(lambda old=guardian: at_work(process.pid, old), "the last guardian")
    process.terminate()
    done = project.finish(process)
    assert done.code == 143, done.stderr
    assert done.stderr == ""


@linux
@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.06, 0.12])
def test_the_runner_is_killed_while_its_guardian_begins(project: Project, delay_s: float) -> None:
    """What the guardian was told to launch before it could look at its runner ends, or never starts."""
    project.suite({f"c{number}": "time.sleep(600)" for number in range(4)})
    process = project.fork()
    guardian = guardian_of(process.pid)
    time.sleep(delay_s)  # the moments differ; each must do
    process.kill()
    process.wait()
    wait_for(lambda: not alive(guardian), "the end of the guardian")
    assert not commands_with(str(project.root))


def test_guardian_and_runner_are_killed_together(project: Project, ledger: Ledger) -> None:
    """What then survives carries a mark, and a resume ends all of it before it starts anything."""
    families(project, "a", "b")
    process = project.fork()
    run_dir = run_dir_of(project)
    ledger.await_families(run_dir, "a", "b")
    guardian = guardian_of(process.pid)
    process.send_signal(signal.SIGSTOP)  # or it would start another guardian in between
    os.kill(guardian, signal.SIGKILL)
    process.kill()
    process.wait()
    assert len(ledger.survivors) == 2 * len(MEMBERS), "the fault did not fire"
    project.write("quick", "")
    done = project.run_forked("--resume", "latest")
    assert done.code == 0, done.stderr
    assert ledger.survivors == []
    assert "Note: 10 processes that an earlier pass had left running were ended." in done.lines
    assert project.statuses() == {"a": "succeeded", "b": "succeeded"}
    assert [event["attempt"] for event in project.events("attempt_started")] == [1, 1, 2, 2]


@linux
@pytest.mark.parametrize("stimulus", ["INT", "KILL"])
def test_nothing_outlives_the_runner_in_inspect_mode(project: Project, ledger: Ledger, stimulus: str) -> None:
    """The same where cases get SIGINT first, which half of the processes ignore."""
    families(project, "a", more="mode='inspect'")
    process = project.fork("--grace", "0.5", start_new_session=True)
    run_dir = run_dir_of(project, ".runs")
    ledger.await_families(run_dir, "a")
    act, code = STIMULI[stimulus]
    act(process)
    assert process.wait(timeout=DEADLINE_S) == code
    ledger.await_end(10 if code < 0 else 0.1)
    if code > 0:
        assert project.statuses(run_dir) == {"a": "cancelled"}


# --- Trees of processes ----------------------------------------------------------------------------------------------

DAEMONS = """\
import subprocess
for name, command in (("session", ["setsid"]), ("escaped", ["env", "-i", "setsid"])):
    script = f"echo $$ > {folder}/{name}.pid; exec sleep 600"
    subprocess.run(["sh", "-c", '"$@" &', "sh", *command, "sh", "-c", script])
while not all((folder / f"{name}.pid").exists() for name in ("session", "escaped")): time.sleep(0.01)
"""


@linux
def test_what_a_case_leaves_behind_is_gone_when_it_is_recorded(project: Project, ledger: Ledger) -> None:
    """A daemon ends with its own case, `env -i setsid` or not, and with no other."""
    project.suite({"a": DAEMONS, "b": DAEMONS + "\nwhile not Path('go').exists(): time.sleep(0.02)"})
    process = project.fork("-p", "2")
    run_dir = run_dir_of(project)
    of = {variant: Ledger() for variant in "ab"}
    for variant in "ba":  # those of `a` may be gone before they are read
        for name in ("session", "escaped"):
            path = run_dir / variant / f"{name}.pid"
            of[variant].await_pid(path)
            ledger.await_pid(path)
    wait_for(lambda: project.events("case_ended"), "the end of a")
    assert of["a"].survivors == []
    assert len(of["b"].survivors) == 2
    project.write("go", "")
    wait_for(lambda: len(project.events("case_ended")) == 2, "the end of b")
    assert of["b"].survivors == []
    assert project.finish(process).code == 0


@linux
@pytest.mark.parametrize("stimulus", ["TERM", "KILL", "case"])
def test_a_suite_within_a_case(project: Project, ledger: Ledger, stimulus: str) -> None:
    """A case that runs a suite of its own is ended with that suite's runner, guardian and cases.

    `case`: the case ends by itself, and leaves the inner suite running.
    """
    families(project, "inner", path="inner.py")
    inner = [sys.executable, "inner.py", "--results-dir", "results/nested", "--grace", "0.5"]
    wait = "" if stimulus == "case" else ".wait()"
    project.suite({
        "outer": f"import subprocess; subprocess.Popen({inner!r}, start_new_session=True){wait}\n"
        "while not Path('go').exists(): time.sleep(0.02)"
    })  # fmt: skip
    process = project.fork("--grace", "2", start_new_session=True)
    run_dir = run_dir_of(project)
    nested = project.root / "results" / "nested" / "exp"
    wait_for(lambda: list(nested.glob("2*/inner/first.pid")), "the inner case")
    ledger.await_families(next(iter(nested.glob("2*"))), "inner")
    started = project.events("attempt_started", run_dir)[0]["pid"]
    (runner,) = list(children_of(started))
    guardian = guardian_of(runner)
    ledger.processes |= {"runner": (runner, start_time(runner)), "guardian": (guardian, start_time(guardian))}
    if stimulus == "case":
        project.write("go", "")
        assert process.wait(timeout=DEADLINE_S) == 0
        assert ledger.survivors == []
        return
    act, code = STIMULI[stimulus]
    act(process)
    assert process.wait(timeout=DEADLINE_S) == code
    ledger.await_end(10 if code < 0 else 0.1)


@linux
def test_signals_ignored_at_the_start(project: Project) -> None:
    """They stay ignored in the runner, as `nohup` and `&` mean it; cases get the defaults, and nothing is blocked."""
    project.write(
        "work.sh",
        '#!/bin/sh\ngrep "^Sig[IB]" /proc/self/status\n: > "$2/here"\nwhile [ ! -e go ]; do sleep 0.05; done\n',
    )
    (project.root / "work.sh").chmod(0o755)
    project.suite("[ExperimentCase('a', Config())]", entry_point="work.sh")
    process = project.start(before=["sh", "-c", "trap '' HUP INT QUIT USR1; exec \"$@\"", "sh"])
    run_dir = run_dir_of(project)
    wait_for((run_dir / "a" / "here").exists, "the case")
    blocked, ignored = (int(line.split()[1], 16) for line in (run_dir / "a" / "attempt-1.log").read_text().splitlines())
    # glibc 2.36 leaves the two that it uses itself, 32 and 33, ignored after posix_spawn.
    assert (blocked, ignored & ~(3 << 31)) == (0, 0)
    status = Path(f"/proc/{process.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert all(ignored >> number - 1 & 1 for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    project.write("go", "")
    assert project.finish(process).code == 0


IN_A_THREAD = """
import signal, threading
every = [n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)]
handlers = lambda: [signal.getsignal(n) for n in every]
def work():
    signal.pthread_sigmask(signal.SIG_BLOCK, every)  # as threads of a server do
    summary = run_experiments(cases, 'work.py', 'exp', quiet=True)
    print(summary.exit_code, dict(summary.statuses), handlers() == before)
before = handlers()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(handlers() == before, signal.set_wakeup_fd(-1))
"""


def test_not_in_the_main_thread(project: Project) -> None:
    """In a thread that blocks all signals, a run works, ends what its cases leave, and touches no handler."""
    project.suite({"a": DAEMONS, "b": "sys.exit(3)"}, before="import sys")
    suite = project.root / "suite.py"
    lines = [line for line in suite.read_text().splitlines() if not line.startswith("run_experiments_cli")]
    suite.write_text("\n".join(lines) + IN_A_THREAD)
    done = project.run_forked()
    assert done.stderr == ""
    assert done.lines == ["1 {'a': 'succeeded', 'b': 'failed'} True", "True -1"]


def test_modules_of_the_user_are_not_the_guardians(project: Project) -> None:
    """`json.py` and others beside the runner's file break nothing of it."""
    for name in ("json", "socket", "selectors", "os", "re", "typing", "inspect", "sitecustomize"):
        project.write(f"{name}.py", f"raise SystemExit('the user\\'s {name}.py was imported')\n")
    project.write("work.sh", "#!/bin/sh\necho hello\n").chmod(0o755)
    project.suite(
        "[ExperimentCase('a', Config())]", entry_point="work.sh", path="suites/suite.py",
    )  # fmt: skip
    suite = project.root / "suites" / "suite.py"
    # As after an installation: what the suite imports stands behind the standard library.
    suite.write_text("import sys; sys.path.append('.')\n" + suite.read_text())
    done = project.run(suite="suites/suite.py")
    assert done.code == 0, done.stderr
    assert project.statuses() == {"a": "succeeded"}


FORKS = """
import os, signal
class Forks:
    def before_case(self, record):
        global forked
        if os.fork() == 0:
            with open("copy.pid", "w") as file:
                file.write(f"{os.getpid()}\\n")
            signal.pause()
"""


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_forked_copy_keeps_nothing_alive(project: Project, ledger: Ledger, number: signal.Signals) -> None:
    """A copy of the suite's process, as multiprocessing makes it, has the lifeline: the cases end, a resume begins."""
    families(project, "a", more="tags=[], hooks=[Forks()]")
    suite = project.root / "suite.py"
    suite.write_text(suite.read_text().replace("cases = ", f"{FORKS}\ncases = ", 1))
    process = project.fork("--grace", "0.5")
    copies = Ledger()
    copies.await_pid(project.root / "copy.pid")
    ledger.processes.update(copies.processes)
    ledger.await_families(run_dir_of(project), "a")
    process.send_signal(number)
    process.wait(timeout=DEADLINE_S)
    wait_for(lambda: ledger.survivors == copies.survivors, "the end of the case", 10)
    assert len(copies.survivors) == 1, "the fault did not fire"
    project.write("quick", "")
    suite.write_text(suite.read_text().replace(", hooks=[Forks()]", ""))
    done = wait_for(lambda: (done := project.run_forked("--resume", "latest")).code != 75 and done, "the resume", 10)
    assert done.code == 0, done.stderr


# --- Hard surroundings -----------------------------------------------------------------------------------------------


@linux
def test_few_processes(project: Project) -> None:
    """Where the system has no room for one more process, the run goes on with fewer cases at a time."""
    setpriv, prlimit = shutil.which("setpriv"), shutil.which("prlimit")
    if os.getuid() != 0 or setpriv is None or prlimit is None:
        pytest.skip("the limit counts all processes of a user: a user of our own needs root, setpriv(1), prlimit(1)")
    project.write("work.sh", "#!/bin/sh\nexec sleep 0.3\n").chmod(0o755)
    project.suite("[ExperimentCase(f'c{n}', Config(x=n)) for n in range(24)]", entry_point="work.sh")
    # In a folder that others may enter, and of a user that nobody else is, in tests that run beside this one either.
    user = 1_000_000 + os.getpid()
    root = Path(tempfile.mkdtemp())
    shutil.copytree(project.root, root / "project")
    for path in [root, *root.rglob("*")]:
        os.lchown(path, user, user)
    limited_project = Project(root / "project", project.processes)
    limited = [
        setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set=-all,+dac_override",
        "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override",
        prlimit, "--nproc=12",
    ]  # fmt: skip
    probe = subprocess.run([*limited, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no limited user can be made here: {probe.stderr.strip()}")
    try:
        done = limited_project.run("-p", "24", before=limited, env={"HOME": str(root)})
        assert done.code == 0, done.stdout + done.stderr
        assert done.stderr == ""
        assert set(limited_project.statuses().values()) == {"succeeded"}
        assert len(limited_project.statuses()) == 24
        assert "Note: no room for " in done.stdout, "the fault did not fire"
    finally:
        shutil.rmtree(root)


# --- A terminal ------------------------------------------------------------------------------------------------------


class Shell:
    """An interactive bash on a terminal of its own, as a person has it."""

    def __init__(self, project: Project) -> None:
        import pty

        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("no bash here to press Ctrl-Z in")
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(project.root)
            env = {**clean_environment(), "TERM": "dumb", "PS1": "$ ", "HISTFILE": ""}
            os.execve(bash, ["bash", "--norc", "--noprofile", "--noediting", "-i"], env)
        self.output = ""
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        while True:
            try:
                new = os.read(self.master, 1 << 16)
            except OSError:  # EIO: nobody has it open any more
                return
            if not new:
                return
            self.output += new.decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def run(self, command: str) -> str:
        """What a command prints."""
        before = len(self.output)
        self.type(f"{command}; echo do'ne' $?\n")
        wait_for(lambda: re.search(r"done \d+", self.output[before:]), command)
        return self.output[before:]

    def close(self) -> None:
        self.type("exit\nexit\n")
        os.close(self.master)
        os.waitpid(self.pid, 0)


@pytest.fixture
def shell(project: Project) -> Iterator[Shell]:
    made = Shell(project)
    yield made
    made.close()


TICKS = "while not Path('go').exists():\n    (folder / 'ticks').open('a').write('x'); time.sleep(0.02)"


@linux
def test_ctrl_z_and_fg(project: Project, shell: Shell) -> None:
    """Ctrl-Z stops the trees of all cases with the runner, `fg` goes on with both, and nothing counts that time."""
    grandchild = (
        "import subprocess\n"
        "subprocess.Popen(['setsid', 'sh', '-c', f'while :; do echo >> {folder}/more; sleep 0.02; done'])\n"
    )
    hook = (
        "class Hook:\n    hook_timeout_s = 4\n    def before_case(self, record):\n        import os, time\n"
        "        while record.variant == 'b' and not os.path.exists('go'): time.sleep(0.02)\n"
    )
    project.suite({"a": grandchild + TICKS, "b": ""}, before=hook, more="hooks=[Hook()]")
    started = time.monotonic()
    shell.type(f"TERM=xterm {shlex.quote(sys.executable)} suite.py --timeout 4 --grace 1\n")
    run_dir = run_dir_of(project)
    files = [run_dir / "a" / name for name in ("ticks", "more")]
    wait_for(lambda: all(file.exists() and file.stat().st_size > 5 for file in files), "the case")
    shell.type("\x1a")
    wait_for(lambda: "Stopped" in shell.output, "the shell's word for it")
    stopped = time.monotonic()
    sizes = [file.stat().st_size for file in files]
    wait_for(lambda: time.monotonic() > stopped + 4.5, "more time than the timeout allows")
    assert [file.stat().st_size for file in files] == sizes, "the case went on"
    shell.type("fg\n")
    wait_for(lambda: all(f.stat().st_size > size + 2 for f, size in zip(files, sizes, strict=True)), "that both go on")
    project.write("go", "")
    wait_for(lambda: "Completed: 2/2 succeeded" in shell.output, "the end")
    shown = [int(minutes) * 60 + int(seconds) for minutes, seconds in re.findall(r"(\d+):(\d\d)  a\b", shell.output)]
    assert max(shown) <= time.monotonic() - started - 4, "the live view counts the time"
    assert all(event["duration_s"] < 4 for event in project.events("attempt_ended"))
    assert project.events("hook_failed") == []


@linux
def test_the_guardian_is_killed_before_it_heeds_ctrl_z(project: Project) -> None:
    """The runner stops all the same; when it goes on, the case is told as lost."""
    project.suite({"a": "time.sleep(600)"})
    process = project.fork()
    wait_for(lambda: run_dir_of(project) and project.events("attempt_started"), "the case")
    guardian = guardian_of(process.pid)
    os.kill(guardian, signal.SIGSTOP)
    process.send_signal(signal.SIGTSTP)
    time.sleep(0.3)  # by then it waits for the guardian, for a second at most; each moment must do
    os.kill(guardian, signal.SIGKILL)
    wait_for(lambda: "State:\tT" in Path(f"/proc/{process.pid}/status").read_text(), "the stop")
    process.send_signal(signal.SIGCONT)
    done = project.finish(process)
    assert (done.code, done.stderr) == (1, "")
    assert "its guardian was killed" in project.events("case_ended")[0]["cause"]


def test_the_terminal_is_given_back_as_it_was(project: Project, shell: Shell) -> None:
    """A case on the terminal puts it into raw mode and is killed: what is typed is shown again afterwards."""
    project.suite({"a": "import tty; tty.setraw(0); os.system('stty -a'); os.kill(os.getpid(), 9)"})
    before = shell.run("stty -a").partition("speed")[2].partition("done")[0]
    assert " echo " in before
    shown = shell.run(f"{shlex.quote(sys.executable)} suite.py --debug a")
    assert "-echo " in shown, "the fault did not fire"
    assert "killed by SIGKILL" in shown
    assert shell.run("stty -a").partition("speed")[2].partition("done")[0] == before


# --- What others may do ----------------------------------------------------------------------------------------------


@linux
def test_cancel_a_case(project: Project, ledger: Ledger) -> None:
    """A file `cancel` in a case's folder ends that case's tree and no other; also of one that hasn't started."""
    families(project, "a", "b", "c")
    process = project.fork("-p", "2", "--grace", "0.5")
    run_dir = run_dir_of(project)
    other = Ledger()
    other.await_families(run_dir, "b")
    ledger.await_families(run_dir, "a")
    (run_dir / "c" / "cancel").touch()
    (run_dir / "a" / "cancel").touch()
    wait_for(lambda: project.statuses() == {"a": "cancelled", "c": "cancelled"}, "the end of both")
    assert ledger.survivors == []
    assert len(other.survivors) == len(MEMBERS)
    assert [event["variant"] for event in project.events("attempt_started")] == ["a", "b"]
    ledger.processes.update(other.processes)
    (run_dir / "b" / "cancel").touch()
    assert project.finish(process).code == 1
    assert ledger.survivors == []
    project.write("quick", "")
    assert project.run_forked("--resume", "latest").code == 0, "a resume takes up what was cancelled"


@linux
def test_a_case_that_sees_its_cancel_file_first(project: Project) -> None:
    """It ends in good order before the runner looks: cancelled all the same, and taken up by a resume."""
    project.suite({"a": "n = folder / 'cancel'; (folder / 'been').exists() or (n.touch(), (folder / 'been').touch())"})
    assert project.run_forked().code == 1
    assert project.statuses() == {"a": "cancelled"}
    assert project.run_forked("--resume", "latest").code == 0


def test_cancel_a_run(project: Project, ledger: Ledger) -> None:
    """A file `cancel` in the run's folder is like Ctrl-C."""
    families(project, "a", "b")
    process = project.fork("-p", "1", "--grace", "0.5")
    run_dir = run_dir_of(project)
    ledger.await_families(run_dir, "a")
    (run_dir / "cancel").touch()
    assert project.finish(process).code == 130
    assert ledger.survivors == []
    assert project.statuses() == {"a": "cancelled"}
    project.write("quick", "")
    assert project.run_forked("--resume", "latest").code == 0


@linux
def test_detach(project: Project, ledger: Ledger) -> None:
    """A detached run outlives its session, says where it is, is seen by a resume, and can be cancelled."""
    families(project, "a")
    # The leader of a session ends: its processes get SIGHUP.
    command = [sys.executable, "suite.py", "--detach", "--grace", "0.5", "--json"]
    done = subprocess.run(
        ["setsid", "--wait", *command], cwd=project.root, env=clean_environment(), capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    run_dir = Path(told["run_dir"])
    ledger.processes["runner"] = told["pid"], start_time(told["pid"])
    ledger.await_families(run_dir, "a")
    assert "runner" in ledger.survivors
    assert os.getsid(told["pid"]) == told["pid"]
    refused = project.run_forked("--resume", "latest")
    assert refused.code == 75
    assert str(told["pid"]) in refused.stderr
    (run_dir / "cancel").touch()
    ledger.await_end()
    assert project.statuses() == {"a": "cancelled"}
    assert [event["exit_code"] for event in project.events("run_ended")] == [130]
    assert '"event": "run_ended"' in (run_dir / "runner.log").read_text()
    project.write("quick", "")
    assert project.run_forked("--resume", "latest", "--detach").code == 0
    wait_for(lambda: project.statuses() == {"a": "succeeded"}, "the detached resume")
    wait_for(lambda: project.events("run_ended")[-1]["exit_code"] == 0, "its end")


def test_detach_tells_what_is_wrong(project: Project) -> None:
    """A run that can't begin is refused on the terminal, not in a log that nobody reads."""
    project.suite({"a": ""})
    (project.root / "results").write_text("a file")
    done = project.run_forked("--detach")
    assert done.code != 0
    assert "results" in done.stderr
    assert "Traceback" not in done.stderr


def test_detach_tells_what_went_wrong_after_the_checks(project: Project) -> None:
    """What only the detached runner can find out is told in its words, with the exit code that it has otherwise."""
    project.suite({"a": "raise SystemExit(1)"})
    assert project.run_forked().code == 1
    (project.run_dir / "cancel").mkdir()
    expected = (2, f"suite.py: {project.run_dir / 'cancel'} can't be written: Is a directory.\n")
    for arguments in ([], ["--detach"]):
        done = project.run_forked("--resume", "latest", *arguments)
        assert (done.code, done.stderr) == expected


# --- Isolation -------------------------------------------------------------------------------------------------------


def needs_bwrap() -> None:
    bwrap = shutil.which("bwrap")
    command = [bwrap or "", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc", "true"]
    if bwrap is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("bwrap (bubblewrap) isn't there or may make no PID namespaces")


# Pids in a namespace of its own are not those that we see: each process holds a file open instead.
HOLDERS = """\
#!/bin/sh
cd "$2"
exec 9>> held
echo $$ > first.pid
setsid sleep 600 &
(env -i setsid sleep 600 &)
[ -e ../../../../quick ] && exit 3
sh -c 'trap "" TERM INT HUP; exec sleep 600' &
touch ready
wait
"""


def holders(path: Path) -> list[int]:
    """The processes that have a file open."""
    found: set[int] = set()
    for link in Path("/proc").glob("[0-9]*/fd/9"):
        try:
            if os.readlink(link) == str(path):
                found.add(int(link.parent.parent.name))
        except OSError:
            pass
    return sorted(found)


@linux
@pytest.mark.parametrize("stimulus", ["TERM", "both"])
def test_isolated(project: Project, stimulus: str) -> None:
    """With --isolate nothing survives even if guardian and runner are killed together."""
    needs_bwrap()
    project.write("work.sh", HOLDERS).chmod(0o755)
    project.suite("[ExperimentCase('a', Config())]", entry_point="work.sh")
    process = project.fork("--isolate", "--grace", "0.5")
    run_dir = run_dir_of(project)
    held = run_dir / "a" / "held"
    wait_for(lambda: (run_dir / "a" / "ready").exists() and len(holders(held)) >= 4, "the case")
    assert int((run_dir / "a" / "first.pid").read_text()) < 10, "no namespace of its own"
    if stimulus == "TERM":
        process.terminate()
        assert project.finish(process).code == 143
        assert holders(held) == []
        assert project.statuses() == {"a": "cancelled"}
    else:
        guardian = guardian_of(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.kill(guardian, signal.SIGKILL)
        process.kill()
        wait_for(lambda: holders(held) == [], "the end of the case", 10)
    project.write("quick", "")
    done = project.run_forked("--resume", "latest", "--isolate")
    assert done.code == 1
    assert project.statuses() == {"a": "failed"}
    assert project.events("attempt_ended")[-1]["exit_code"] == 3
    assert holders(held) == [], "what it left behind"


@linux
def test_an_isolated_case_is_asked_first(project: Project) -> None:
    """TERM reaches the case's own process through its namespace: it can save its work in the grace period."""
    needs_bwrap()
    project.suite({
        "a": "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit('was asked'))\n"
        "(folder / 'ready').touch(); time.sleep(600)"
    })  # fmt: skip
    process = project.fork("--isolate", "--grace", "30")
    run_dir = run_dir_of(project)
    wait_for((run_dir / "a" / "ready").exists, "the case")
    process.terminate()
    assert project.finish(process).code == 143
    assert "was asked" in (run_dir / "a" / "attempt-1.log").read_text()


def test_debugging_an_isolated_case(project: Project, shell: Shell) -> None:
    """Ctrl-C reaches the case on the terminal, and nothing above it that would end it."""
    needs_bwrap()
    waits = "try: print('rea' 'dy', flush=True); time.sleep(600)\nexcept KeyboardInterrupt: sys.exit(5)"
    project.suite({"a": waits})
    shell.type(f"{shlex.quote(sys.executable)} suite.py --debug a --isolate\n")
    wait_for(lambda: "ready" in shell.output, "the case")
    shell.type("\x03")
    wait_for(lambda: "Completed:" in shell.output, "the end")
    assert project.events("attempt_ended")[0]["exit_code"] == 5


def test_how_isolated_cases_end(project: Project) -> None:
    """Signals and exit codes are told as they are without isolation, and failures are retried by the same words."""
    needs_bwrap()
    project.suite({"killed": "os.kill(os.getpid(), 9)", "crashed": "os.kill(os.getpid(), 11)", "wrong": "sys.exit(3)"})
    done = project.run_forked(
        "--isolate", "--max-attempts", "2", "--backoff", "0", "--retry-on", "oom", "--retry-on", "SIGSEGV"
    )
    assert done.code == 1
    ended = {
        event["variant"]: (event.get("signal"), event.get("exit_code")) for event in project.events("attempt_ended")
    }
    assert ended == {"killed": (9, None), "crashed": (11, None), "wrong": (None, 3)}
    assert {event["variant"] for event in project.events("retry_scheduled")} == {"killed", "crashed"}


def test_isolation_without_bwrap_is_refused(project: Project, tmp_path: Path) -> None:
    """Said before anything starts."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("git", "sh"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = project.run_forked("--isolate", env={"PATH": str(tools)})
    assert done.code == 2
    assert "isolate needs the program bwrap" in done.stderr
    assert not (project.root / "results").exists()
