"""The fork server, seen from the guardian: its process, and the messages to it and from it."""

from __future__ import annotations

import fcntl
import marshal
import os
import selectors
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["ForkServer"]

HOOK = Path(__file__).resolve().parent / "site"
"""The folder whose `sitecustomize.py` makes a Python process a fork server."""

COMMANDS, ANSWERS = 3, 4  # descriptors of the server
ABOVE = 16  # descriptors that `posix_spawn` copies onto those must not be among them


class ForkServer:
    """A fork server's process. It never keeps the guardian waiting: what can't be sent yet is kept.

    Args:
        command: The interpreter and the entry point, without arguments.
        environment: Its variables; cases get them as well.
        hear: Called with each message: its name and its details.
        lost: Called once, when the server is gone.

    Raises:
        OSError: It can't be started.
    """

    def __init__(
        self, command: list[bytes], environment: Mapping[bytes, bytes], selector: selectors.BaseSelector,
        hear: Callable[[str, list[Any]], None], lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self.selector, self.hear, self.lost = selector, hear, lost
        self.unread, self.unsent = b"", b""
        self.closed = False
        self.output = os.memfd_create("fork server")
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        theirs = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE) for descriptor in (commands, answers)]
        try:
            self.pid = os.posix_spawn(
                command[0], command, environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, self.output, 1),
                    (os.POSIX_SPAWN_DUP2, self.output, 2),
                    (os.POSIX_SPAWN_DUP2, theirs[0], COMMANDS),
                    (os.POSIX_SPAWN_DUP2, theirs[1], ANSWERS),
                ],
                setsid=True, setsigmask=(), setsigdef=tuple(map(int, signal.valid_signals())),
            )  # fmt: skip
        except OSError:
            for descriptor in (self.commands, self.answers, self.output):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (commands, answers, *theirs):
                os.close(descriptor)
        os.set_blocking(self.commands, False)
        os.set_blocking(self.answers, False)
        selector.register(self.answers, selectors.EVENT_READ, self.read)

    def send(self, *message: object) -> None:
        text = marshal.dumps(list(message))
        if not self.unsent:
            self.selector.register(self.commands, selectors.EVENT_WRITE, self.flush)
        self.unsent += len(text).to_bytes(4, "big") + text
        self.flush()

    def flush(self, _: int = 0) -> None:
        """Send what the pipe takes now."""
        if self.closed:
            return
        try:
            self.unsent = self.unsent[os.write(self.commands, self.unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unsent = b""  # it has ended; `read` tells
        if not self.unsent:
            self.selector.unregister(self.commands)

    def read(self, _: int = 0) -> None:
        """Pass on what it says."""
        if self.closed:  # by what another event of the same moment has led to
            return
        try:
            received = os.read(self.answers, 1 << 20)
        except BlockingIOError:
            return
        self.take(received)
        if not received and not self.closed:
            self.lost()

    def take(self, received: bytes) -> None:
        self.unread += received
        while len(self.unread) >= 4:
            end = 4 + int.from_bytes(self.unread[:4], "big")
            if len(self.unread) < end:
                return
            name, *details = marshal.loads(self.unread[4:end])
            self.unread = self.unread[end:]
            self.hear(name, details)

    def said(self) -> str:
        """The last line that it wrote."""
        size = os.fstat(self.output).st_size
        lines = os.pread(self.output, 2000, max(0, size - 2000)).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """End the process, and hear what it has said by then. Its cases become the guardian's children."""
        if self.closed:
            return
        self.closed = True
        self.selector.unregister(self.answers)
        if self.unsent:
            self.selector.unregister(self.commands)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        with suppress(BlockingIOError):
            while received := os.read(self.answers, 1 << 20):
                self.take(received)
        for descriptor in (self.commands, self.answers, self.output):
            os.close(descriptor)
