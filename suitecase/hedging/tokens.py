"""A budget of extra requests that several processes share.

What a race pays in stays with its process until it wants a token: so a race costs what it did, and only the few that
start a backup change the file. Each share of a token is paid in once and each token taken once, under a lock, so that
all processes together start at most `fraction`·n + `burst` backups for n races. A killed process takes what it had not
paid in with it.

The file has 256 slots of 24 bytes: a digest of a target's name and budget, and its level. It is mapped, so to look at
a level costs no lock.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from suitecase.hedging.guards import Budget, TokenBucket

__all__ = ["SharedBucket", "TokenFile"]

SLOT = struct.Struct("<16sd")
SLOTS = 256
NOBODY = bytes(16)


class TokenFile:
    """The file, open in one process.

    Raises:
        OSError: It can't be opened, or holds too many targets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        """Open the file; a forked child does so anew, since its parent's lock would let it in."""
        self.process = os.getpid()
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with self.locked():
                if os.fstat(self.descriptor).st_size < SLOTS * SLOT.size:
                    os.ftruncate(self.descriptor, SLOTS * SLOT.size)
            self.map = mmap.mmap(self.descriptor, SLOTS * SLOT.size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def __del__(self) -> None:
        if hasattr(self, "map"):
            self.map.close()
            os.close(self.descriptor)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock; the kernel frees it if the process dies."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def here(self) -> TokenFile:
        """The file as this process may use it."""
        if self.process != os.getpid():
            os.close(self.descriptor)
            self.map.close()
            self.open()
        return self

    def slot(self, name: str, budget: Budget) -> int:
        """Where a target's level stands; a new one begins with a full bucket."""
        text = f"{name}\0{budget.fraction!r}\0{budget.burst!r}"
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self.locked():
            for place in range(0, SLOTS * SLOT.size, SLOT.size):
                there = self.map[place : place + 16]
                if there == NOBODY:
                    SLOT.pack_into(self.map, place, key, budget.burst)
                if there in (key, NOBODY):
                    return place
        raise OSError(f"{self.path} has no room for a further target")


class SharedBucket(TokenBucket):
    """A bucket of all processes that name the same file.

    Attributes:
        unpaid: What races of this process have paid, and the file does not have yet.
    """

    def __init__(self, file: TokenFile, name: str, budget: Budget) -> None:
        super().__init__(budget)
        self.file, self.place, self.unpaid = file, file.here().slot(name, budget), 0.0

    @property
    def level(self) -> float:
        """What is in it, as far as is known here."""
        there: float = SLOT.unpack_from(self.file.here().map, self.place)[1]
        return min(self.budget.burst, there + self.unpaid)

    def pay_in(self) -> None:
        self.unpaid = min(self.budget.burst, self.unpaid + self.budget.fraction)

    def take(self) -> bool:
        file = self.file.here()
        with file.locked():
            key, there = SLOT.unpack_from(file.map, self.place)
            level = min(self.budget.burst, there + self.unpaid)
            taken = level >= 1 - 1e-9
            # The level last, and at once: what a kill leaves is one or the other.
            SLOT.pack_into(file.map, self.place, key, level - taken)
            self.unpaid = 0.0
        return taken
