"""Runners that start in milliseconds: forks of a process that has imported what runners import.

A fork executes a suite's file as `python suite.py` does. What is settled as Python starts (its flags, the seed of its
hashes, encodings, streams that are closed, signals that are ignored) is for a new interpreter to show.

    python forking.py       a fork for each request that comes through the socket which is its standard input
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0
# Variables that Python, or a library as it is imported, reads once. PYTHONPATH can be heeded later.
READ_ONCE = ("PYTHON", "COVERAGE_", "LC_", "LANG", "LD_", "TZ", "TERM", "FORCE_COLOR", "NO_COLOR")
# What runners import; the two files themselves are each project's own.
IMPORTED = ("experiment_config", "experiment_runner", "typer", "typer.main", "typer.rich_utils")
IMPORTED_LATE = ("typer._adapters", "typer._click.decorators", "_strptime")  # where the version that is here has them
PR_SET_PTRACER = 0x59616D61


def read_once(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that a fork can't heed."""
    return {name: value for name, value in env.items() if name.startswith(READ_ONCE) and name != "PYTHONPATH"}


class Forked(subprocess.Popen[str]):
    """A runner that was forked. It has no standard input, and its output can be read once it has ended.

    Args:
        argv: The arguments of Python: the suite's file, and its own arguments.
        env: All its variables.
        stdout: A descriptor in place of the file.
        stopped: Whether it waits for SIGCONT before its first step, so that a tracer can attach.
    """

    def __init__(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], start_new_session: bool = False,
        stopped: bool = False, stdout: int | None = None,
    ) -> None:  # fmt: skip
        assert read_once(env) == read_once(server().env), "for these variables start a new interpreter"
        self.args, self.stdin, self.stdout, self.stderr = argv, None, None, None
        self.returncode: int | None = None
        self.texts = "", ""
        self.files = [tempfile.TemporaryFile() for _ in ("stdout", "stderr")]  # noqa: SIM115 - `wait` closes them
        self.told, writer = os.pipe()
        request = {"argv": argv, "cwd": str(cwd), "env": env, "session": start_new_session, "stopped": stopped}
        try:
            with Server.asking:
                out, err = (file.fileno() for file in self.files)
                server().send(request, [out if stdout is None else stdout, err, writer])
                self.pid = self.answer(PATIENCE_S)
        finally:
            os.close(writer)

    def answer(self, timeout_s: float | None) -> int:
        """The next number that the server tells."""
        if not select.select([self.told], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout_s or 0.0)
        if not (text := os.read(self.told, 8)):
            raise RuntimeError("the process that forks runners is gone; its standard error is that of the tests")
        return int(text)

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = self.answer(timeout)
            os.close(self.told)
            self.texts = text_of(self.files[0]), text_of(self.files[1])
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002
        self.wait(timeout)
        return self.texts


def text_of(file: Any) -> str:
    """What was written to a file, as `Popen` would read it from a pipe; the file is closed."""
    content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    file.close()
    return io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape").read()


class Server:
    """The process that forks, as this one sees it. It ends with the tests, and what it has forked with it."""

    asking = threading.Lock()

    def __init__(self) -> None:
        from conftest import clean_environment

        self.env = clean_environment()
        self.socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, str(Path(__file__).resolve())]
            self.process = subprocess.Popen(command, env=self.env, stdin=theirs.fileno(), start_new_session=True)
        atexit.register(self.end)

    def send(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        message = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self.socket, [message], descriptors)
        self.socket.sendall(message[sent:])

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.socket.close()


@functools.cache
def server() -> Server:
    """This process's server, started when it is needed."""
    return Server()


# --- The process that forks ------------------------------------------------------------------------------------------


def serve() -> dict[str, Any]:
    """For each request fork a runner, and tell its pid and how it ended. Forks return from here, with their request."""
    requests = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, heed)
    tellers: dict[int, int] = {}
    while True:
        ready = select.select([requests, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            tell_ends(tellers)
        if requests not in ready:
            continue
        request, descriptors = receive(requests)
        if not (pid := os.fork()):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            for descriptor in (woken, wake, *tellers.values(), descriptors.pop()):
                os.close(descriptor)
            for number, descriptor in enumerate(descriptors, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return request
        tellers[pid] = descriptors.pop()
        os.write(tellers[pid], b"%8d" % pid)
        for descriptor in descriptors:
            os.close(descriptor)


def heed(_number: int, _frame: object) -> None:
    """A signal's handler: one that is ignored would wake nobody."""


def receive(requests: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, and the descriptors that came with it: two streams, and where to tell what becomes of the runner."""
    message, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 3)
    while message and not message.endswith(b"\n"):
        message += requests.recv(1 << 16)
    if not message:
        sys.exit()
    return json.loads(message), descriptors


def tell_ends(tellers: dict[int, int]) -> None:
    """Tell of every runner that has ended how it did."""
    while tellers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        teller = tellers.pop(pid)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(teller, b"%8d" % os.waitstatus_to_exitcode(status))
        os.close(teller)


def preload() -> None:
    sys.path.insert(0, str(HERE))
    for name in IMPORTED:
        importlib.import_module(name)
    for name in IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    for name in ("experiment_config", "experiment_runner"):
        del sys.modules[name]
    del sys.path[0]
    gc.collect()
    gc.freeze()


def become_runner(argv: list[str], cwd: str, env: dict[str, str], session: bool, stopped: bool) -> NoReturn:
    """Be `python ARGUMENT …`."""
    if session:
        os.setsid()
    for number, name in enumerate(("stdout", "stderr"), start=1):  # made anew, as only files can be sought in
        old = getattr(sys, name)
        stream = open(number, "w", 1 if number == 2 else -1, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[:] = argv
    sys.orig_argv[:] = [sys.executable, *argv]
    added = [os.path.abspath(entry) for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[1:1] = added
    if stopped:
        if sys.platform == "linux":  # where only a parent may trace, unless it is told otherwise
            ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    run_to_its_end(argv)


def run_to_its_end(argv: list[str]) -> NoReturn:
    """Execute a program, and end as Python does, but leave the modules as they are: to clear those that are shared with
    the server takes longer than all else. Whoever is not ended by an exit code gets Python's own end.
    """
    code: object = 0
    try:
        execute(argv)
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int):
            raise
    vars(threading)["_shutdown"]()  # neither has a public name
    vars(atexit)["_run_exitfuncs"]()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def execute(argv: list[str]) -> None:
    """Run a file, a folder, `-m MODULE` or `-c CODE`, as Python does, in a module `__main__` of its own."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    if argv[0] == "-m":
        sys.argv[:], sys.path[0] = ["-m", *argv[2:]], os.getcwd()
        vars(runpy)["_run_module_as_main"](argv[1])  # what Python itself calls; it has no public name
    elif argv[0] == "-c":
        sys.argv[:], sys.path[0] = ["-c", *argv[2:]], ""
        exec(compile(argv[1], "<string>", "exec", dont_inherit=True), vars(main))
    elif os.path.isdir(argv[0]):
        sys.path[0] = argv[0]
        vars(runpy)["_run_module_as_main"]("__main__", False)
    else:
        main.__file__ = os.path.abspath(argv[0])
        sys.path[0] = os.path.dirname(os.path.realpath(argv[0]))
        exec(compile(Path(argv[0]).read_bytes(), main.__file__, "exec", dont_inherit=True), vars(main))


if __name__ == "__main__":
    preload()
    become_runner(**serve())
