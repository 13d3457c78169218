"""Reads a journal: the events that are proved to be what the runner wrote, and what is wrong with the others."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from suitecase.rundir.files import parse_objects

__all__ = ["Journal"]

CHUNK_BYTES = 1 << 20
CHECKSUM = b',"crc32":'
CASE_ENDED = b'{"event":"case_ended"'
FILES = b',"files":{'
"""What the runner writes last in a `case_ended`; within a JSON string its quotes would have backslashes."""


class Journal:
    """What happened in a run, oldest first. Iterating again gives what has come since.

    Each line ends with the CRC-32 of its other bytes, begun with that of the line before; either all lines have one or
    none. A line that fails is left out, and the next is checked against what it says of itself: a damaged line costs
    itself, and the one after it at most. What follows the last newline isn't finished, and is read next time.

    Args:
        files: Whether `case_ended` has its `files`, the hashes of what a case left: half of the journal's bytes.

    Attributes:
        exists: Whether there is a journal at all; known after the first iteration.
    """

    def __init__(self, path: Path, *, files: bool = True) -> None:
        self.path = path
        self.files = files
        self.exists = False
        self.offset = self.number = self.checksum = 0
        self.has_checksums = False
        self.damaged: list[int] = []
        self.unreadable = ""

    @property
    def problems(self) -> list[str]:
        """What is damaged, one sentence each."""
        problems = [self.unreadable] if self.unreadable else []
        if self.damaged:
            listed = ", ".join(map(str, self.damaged[:5])) + ", …" * (len(self.damaged) > 5)
            are = "is" if len(self.damaged) == 1 else "are"
            problems.append(
                f"{self.path}: line{'' if are == 'is' else 's'} {listed} {are} damaged, and left out of what is shown."
            )
        return problems

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            with open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                self.exists = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
                if not self.exists:
                    self.unreadable = f"{self.path} is not a file."
                    return
                file.seek(self.offset)
                while lines := file.readlines(CHUNK_BYTES):
                    yield from self.events([line for line in lines if line.endswith(b"\n")])
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable = f"{self.path} can't be read: {error.strerror}."

    def events(self, lines: Sequence[bytes]) -> list[dict[str, Any]]:
        """The events of finished lines, which are taken note of as read."""
        if not self.has_checksums and any(CHECKSUM in line for line in lines):
            self.has_checksums = True  # all lines have one or none: those read so far have lost theirs
            self.damaged += range(1, self.number + 1)
        bodies = self.checked(lines)
        parsed = iter(parse_objects([body for body in bodies if body is not None]))
        events: list[dict[str, Any]] = []
        for line, body in zip(lines, bodies, strict=True):
            self.offset += len(line)
            self.number += 1
            event = None if body is None else next(parsed)
            if event is None or not isinstance(event.get("event"), str):
                self.damaged.append(self.number)
            else:
                events.append(event)
        return events

    def checked(self, lines: Sequence[bytes]) -> list[bytes | None]:
        """The lines without their checksums; None for one that is not what the runner wrote there."""
        bodies: list[bytes | None] = []
        checksum = self.checksum
        for line in lines:
            body = line[:-1]
            if self.has_checksums:
                rest, _, stated = body.rpartition(CHECKSUM)
                body = rest + b"}"
                expected = zlib.crc32(body, checksum)
                if stated != b"%d}" % expected:
                    number = stated[:-1]
                    checksum = int(number) if number.isdigit() else 0
                    bodies.append(None)
                    continue
                checksum = expected
            if not self.files and body.startswith(CASE_ENDED) and (cut := body.rfind(FILES)) > 0:
                body = body[:cut] + b"}"
            bodies.append(body)
        self.checksum = checksum
        return bodies
