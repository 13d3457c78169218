"""Reads a journal: the events that are proved to be what the runner wrote, and what is wrong with the others."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from suitecase.rundir.files import parse_object

__all__ = ["Journal"]

CHECKSUM = b',"crc32":'


class Journal:
    """What happened in a run, oldest first. Iterating again gives what has come since.

    Each line ends with the CRC-32 of its other bytes, begun with that of the line before; either all lines have one or
    none. A line that fails is left out, and the next is checked against what it says of itself: a damaged line costs
    itself, and the one after it at most. What follows the last newline isn't finished, and is read next time.

    Attributes:
        exists: Whether there is a journal at all; known after the first iteration.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.exists = False
        self.offset = self.number = self.checksum = 0
        self.has_checksums: bool | None = None
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
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self.offset += len(line)
                    self.number += 1
                    event = self.checked(line[:-1])
                    if event is None:
                        self.damaged.append(self.number)
                    else:
                        yield event
        except FileNotFoundError:
            return
        except OSError as error:
            self.unreadable = f"{self.path} can't be read: {error.strerror}."

    def checked(self, line: bytes) -> dict[str, Any] | None:
        """The event of a line; None if it is not what the runner wrote there."""
        event = parse_object(line)
        if self.has_checksums is None:
            self.has_checksums = CHECKSUM in line
        elif (
            not self.has_checksums and CHECKSUM in line
        ):  # either all lines have one or none: the first has lost its own
            self.has_checksums = True
            self.damaged += range(1, self.number)
        if event is None or not isinstance(event.get("event"), str):
            return None
        if self.has_checksums:
            stated: object = event.pop("crc32", None)
            body = line.rpartition(CHECKSUM)[0]
            expected = zlib.crc32(b"}", zlib.crc32(body, self.checksum))
            self.checksum = stated if isinstance(stated, int) else 0
            if stated != expected:
                return None
        return event
