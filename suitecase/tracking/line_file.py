"""Lines of many processes in one file, each whole, without a lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path

__all__ = ["LineFile"]

# Each further try follows a line of another process that was torn at that very moment.
TRIES = 5


class LineFile:
    """A file to which any number of processes append lines. Not safe from threads: they take a lock around it.

    What must hold: a line that `append` has returned for is in the file, whole, once, though this process is killed
    now; and no line of another process is damaged.

    The kernel puts each `write` to a file opened with O_APPEND at the end that the file has then, and keeps other
    writes out meanwhile (the inode's lock; POSIX write(2): "no intervening file modification operation"). So one
    `write` per line never mixes with others. What is left is a `write` that is cut short: by a full disk, a limit, or
    SIGKILL. The piece has no newline, and the next line of *anybody* is glued to it, and lost. A lock would help only
    if all held it, dead ones too; cutting the piece off could cut a line that came meanwhile.

    Hence each `append` looks back: after its `write`, the descriptor's own position tells where the line begins, and
    the byte before must be a newline. If it isn't, the line ends a broken one, which every reader skips (a piece of
    a JSON object followed by a JSON object is never JSON), and is written again. As long as nobody else writes, the
    line begins where the last one ended, and not even that byte has to be read.

    Network file systems that don't append atomically (NFS, from several machines) are beyond this.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.descriptor = -1
        self.identity = (0, 0)
        self.end = -1

    def size_bytes(self) -> int:
        """How large the file is, after opening or creating it.

        It's opened again if it was removed, or if the descriptor is another file now: programs that close all
        descriptors would otherwise have their own next file written into.

        Raises:
            OSError: It can't be opened.
        """
        if self.descriptor >= 0:
            try:
                there = os.fstat(self.descriptor)
            except OSError:
                self.descriptor = -1
            else:
                if (there.st_dev, there.st_ino) == self.identity and there.st_nlink:
                    return there.st_size
                self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, 0o666)
        there = os.fstat(self.descriptor)
        self.identity, self.end = (there.st_dev, there.st_ino), -1
        return there.st_size

    def append(self, line: bytes) -> None:
        """Write a line, which ends with a newline. `size_bytes` has been called before.

        Raises:
            OSError: It's not in the file, or in part and without its end.
        """
        for _ in range(TRIES):
            written = os.write(self.descriptor, line)
            end = os.lseek(self.descriptor, 0, os.SEEK_CUR)
            if written < len(line):
                self.end = -1  # if the disk is full, the next try says so
                continue
            begin, expected, self.end = end - written, self.end, end
            if begin in (expected, 0) or os.pread(self.descriptor, 1, begin - 1) == b"\n":
                return
        raise OSError(errno.EIO, "no line stays whole", str(self.path))

    def close(self) -> None:
        """Close the descriptor, unless it has become another file's."""
        descriptor, self.descriptor = self.descriptor, -1
        try:
            there = os.fstat(descriptor)
            if (there.st_dev, there.st_ino) == self.identity:
                os.close(descriptor)
        except OSError:  # closed by others, or never opened
            pass
