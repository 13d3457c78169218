"""`limits.bin`: a file of fixed layout that all processes of a run read and change under a lock.

    offset     bytes
    0          104    header: magic, version, size of the file, boot id, host, share of this host
    104        8      holders in use: records beyond this one were never written
    128        896    redo record: what the last change writes, until all of it is written
    1,024      64 × 256      targets: name, limits, state
    17,408     1,024 × 48    holders: what one process holds of one target, and its ticket while it waits
    66,560     16,384 × 24   accounts: a digest of the run, a condition or a case, and what it has spent

A process may be killed between any two writes. A change therefore goes to the redo record first, then a flag is set,
then it's applied, then the flag is cleared: whoever takes the lock next and finds the flag writes the change again.
Nothing is synced: this is durable against the death of processes, not against that of the machine.

Whether a holder lives is told by a lock on the first byte of its record, which the kernel frees however the process
ends. A pid with its start time, which the record has for people, would say nothing in the PID namespaces of
`--isolate`, and macOS has no start times to read. Mutual exclusion is a lock of the same kind, on byte 0: `flock`
would collide with it on NFS, where both are the same.

Closing any descriptor of a file drops all such locks that a process has on it (POSIX). So a process opens the file
once, and keeps it open.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import TracebackType
from weakref import WeakValueDictionary

from suitecase.limits.errors import LimitsError

__all__ = ["LimitsFile"]

MAGIC = b"suitelim"
VERSION = 1

HEADER = struct.Struct("<8sII16s64sd")
COUNT = struct.Struct("<Q")
CHANGE = struct.Struct("<II")
# Pid, start time, target + 1 (0: free), held, ticket (0: it doesn't wait), until when it asks again.
HOLDER = struct.Struct("<QQQQQd")
ACCOUNT = struct.Struct("<16sQ")
LIMITS = struct.Struct("<ddQ")  # of a target, after its name: requests and tokens a minute, calls at a time; 0: none

HOLDERS_USED = 104
REDO_FLAG, REDO, REDO_END = 128, 136, 1024
TARGET_SIZE, NAME_SIZE, MOST_TARGETS = 256, 128, 64
TARGETS = REDO_END
MOST_HOLDERS, MOST_ACCOUNTS = 1024, 16_384
NOBODY = bytes(16)
HOLDERS = TARGETS + MOST_TARGETS * TARGET_SIZE
ACCOUNTS = HOLDERS + MOST_HOLDERS * HOLDER.size
SIZE = ACCOUNTS + MOST_ACCOUNTS * ACCOUNT.size

opened: WeakValueDictionary[tuple[int, int], LimitsFile] = WeakValueDictionary()
opening = threading.Lock()


class LimitsFile:
    """The file, open; `with file:` is the critical section, and what was put with `write` in it counts at its end.

    Safe from threads and in forked children. Attributes `path` and `share` are for people.
    """

    def __init__(self, path: Path | None, share: float) -> None:
        self.path = path
        self.share = share
        # A signal's handler may raise amid a change, and what is cleaned up then enters again.
        self.lock = threading.RLock()
        self.mine: dict[int, int] = {}  # by target: the record of this process
        self.changes: list[tuple[int, bytes]] = []
        self.descriptor = open_file(path)
        self.map: mmap.mmap | None = None

    @classmethod
    def open(
        cls, path: Path | None, *, share: float = 1.0, recount: Callable[[], Mapping[bytes, int]] | None = None
    ) -> LimitsFile:
        """The file at a path, made if it isn't there; without a path one that only this process and its forks see.

        Args:
            share: Of the limits, what this host may use; recorded.
            recount: Gives what each account has spent already, for a new file.

        Raises:
            LimitsError: It is torn, of another version, of another machine that still runs, or can't be used.
        """
        with opening:
            known = opened.get(identity(path)) if path is not None else None
            if known is not None:
                return known
            file = cls(path, share)
            file.begin(recount or dict)
            facts = os.fstat(file.descriptor)
            opened[facts.st_dev, facts.st_ino] = file
        return file

    def __del__(self) -> None:
        if getattr(self, "descriptor", -1) >= 0:
            os.close(self.descriptor)

    # --- the critical section

    def __enter__(self) -> mmap.mmap:
        assert self.map is not None
        self.lock.acquire()
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, 0)
            if self.map[REDO_FLAG]:
                self.redo()
        except BaseException:
            self.release()
            raise
        return self.map

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.release()

    def release(self) -> None:
        """Leave the critical section; what was written and not committed is forgotten."""
        self.changes = []
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 0)
        finally:
            self.lock.release()

    def write(self, offset: int, content: bytes) -> None:
        """Change bytes, at the end of the critical section or at `commit`."""
        self.changes.append((offset, content))

    def commit(self) -> None:
        """Make the changes so far count, all or none."""
        if not self.changes:
            return
        assert self.map is not None
        redo = b"".join([CHANGE.pack(offset, len(content)) + content for offset, content in self.changes])
        self.map[REDO : REDO + len(redo)] = redo
        self.map[REDO_FLAG] = len(self.changes)
        for offset, content in self.changes:
            self.map[offset : offset + len(content)] = content
        self.map[REDO_FLAG] = 0
        self.changes.clear()

    def redo(self) -> None:
        """Write again what somebody was killed at."""
        assert self.map is not None
        place = REDO
        for _ in range(self.map[REDO_FLAG]):
            offset, length = CHANGE.unpack_from(self.map, place)
            place += CHANGE.size
            self.map[offset : offset + length] = self.map[place : place + length]
            place += length
        self.map[REDO_FLAG] = 0

    # --- records

    def holders(self) -> Generator[tuple[int, int, int, int, float]]:
        """Offset, target, calls held, ticket and time to ask of each record in use. In the critical section."""
        assert self.map is not None
        used: int = COUNT.unpack_from(self.map, HOLDERS_USED)[0]
        records = self.map[HOLDERS : HOLDERS + used * HOLDER.size]
        for number, (_, _, target, held, ticket, due_s) in enumerate(HOLDER.iter_unpack(records)):
            if target:
                yield HOLDERS + number * HOLDER.size, target - 1, held, ticket, due_s

    def add_holder(self, target: int) -> int:
        """A record for this process, and its offset. In the critical section.

        Raises:
            LimitsError: All records are taken by processes that live.
        """
        assert self.map is not None
        used: int = COUNT.unpack_from(self.map, HOLDERS_USED)[0]
        free = (n for n in range(used) if HOLDER.unpack_from(self.map, HOLDERS + n * HOLDER.size)[2] == 0)
        number = next(free, used)
        if number == MOST_HOLDERS:
            raise LimitsError(f"{self.path}: {MOST_HOLDERS} processes and targets are in use, and no more fit.")
        offset = HOLDERS + number * HOLDER.size
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        self.write(offset, HOLDER.pack(os.getpid(), start_time(), target + 1, 0, 0, 0.0))
        if number == used:
            self.write(HOLDERS_USED, COUNT.pack(used + 1))
        self.commit()
        return offset

    def is_locked(self, offset: int) -> bool:
        """Whether another process has a lock on a byte."""
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError:
            return True
        fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, offset)
        return False

    def account(self, key: bytes) -> tuple[int, bool]:
        """The offset of an account, and whether it's there already. In the critical section.

        Raises:
            LimitsError: No more fit.
        """
        assert self.map is not None
        first = int.from_bytes(key[:4], "little")
        for step in range(MOST_ACCOUNTS):
            offset = ACCOUNTS + (first + step) % MOST_ACCOUNTS * ACCOUNT.size
            there, _ = ACCOUNT.unpack_from(self.map, offset)
            if there in (key, NOBODY):
                return offset, there == key
        raise LimitsError(f"{self.path}: it has {MOST_ACCOUNTS} conditions and cases, and no more fit.")

    # --- the beginning

    def begin(self, recount: Callable[[], Mapping[bytes, int]]) -> None:
        """Check what is there; make what isn't."""
        lock_first(self.descriptor, self.path)
        try:
            size = os.fstat(self.descriptor).st_size
            if size == 0 or os.pread(self.descriptor, len(MAGIC), 0) == bytes(len(MAGIC)):
                # Written in full: a hole in a file is a bus error once the disk is full. The magic, which tells that
                # all the rest is there, comes last.
                os.pwrite(self.descriptor, bytes(SIZE), 0)
                self.map = mmap.mmap(self.descriptor, SIZE)
                for key, spent in recount().items():
                    self.write(self.account(key)[0], ACCOUNT.pack(key, spent))
                    self.commit()
                self.map[len(MAGIC) : HEADER.size] = self.header()[len(MAGIC) :]
                self.map[: len(MAGIC)] = MAGIC
            else:
                check(self.descriptor, size, self.path)
                self.map = mmap.mmap(self.descriptor, SIZE)
                if self.map[REDO_FLAG]:
                    self.redo()
                self.adopt()
        except OSError as error:
            raise LimitsError(f"{self.path} can't be used for limits: {error.strerror}.") from error
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 0)

    def adopt(self) -> None:
        """Take over a file of an earlier boot, or of another machine: money stays spent, nobody holds anything."""
        assert self.map is not None
        _, _, _, boot, host, share = HEADER.unpack_from(self.map)
        same_boot = boot == boot_id() and host == host_name()
        if same_boot and share == self.share:
            return
        if any(self.is_locked(offset) for offset, *_ in self.holders()):
            told = host.rstrip(b"\0").decode(errors="replace")
            raise LimitsError(
                f"{self.path} is in use on {told}, with a share of {share:g}, and this is {os.uname().nodename}, with "
                f"{self.share:g}. Limits hold on one machine: give each a file of its own (path=), and its share "
                "(SUITECASE_LIMITS_SHARE)."
            )
        self.map[: HEADER.size] = self.header()
        if same_boot:
            return
        self.map[HOLDERS:ACCOUNTS] = bytes(ACCOUNTS - HOLDERS)
        self.map[TARGETS:HOLDERS] = bytes(HOLDERS - TARGETS)
        self.map[HOLDERS_USED : HOLDERS_USED + COUNT.size] = COUNT.pack(0)

    def header(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, SIZE, boot_id(), host_name(), self.share)

    def begin_anew(self) -> None:
        """In a forked child: locks are not inherited, so it holds nothing."""
        self.lock = threading.RLock()
        self.mine = {}
        self.changes = []


def open_file(path: Path | None) -> int:
    """A descriptor for reading and writing, of a file without a name if there is no path."""
    try:
        if path is None:
            descriptor, name = tempfile.mkstemp(prefix="suitecase-limits-")
            os.unlink(name)
            return descriptor
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise LimitsError(f"{path or 'a temporary file'} can't be opened for limits: {error.strerror}.") from error


def lock_first(descriptor: int, path: Path | None) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX, 1, 0)
    except OSError as error:
        raise LimitsError(
            f"{path} can't be locked ({error.strerror}): give Limits(path=…) a place on a file system with locks."
        ) from error


def check(descriptor: int, size: int, path: Path | None) -> None:
    """Refuse what is no file of this version.

    Raises:
        LimitsError: With what to do.
    """
    remedy = "Remove it while nothing runs: it's made anew, and what is spent is read from the cases' files."
    head = os.pread(descriptor, HEADER.size, 0)
    if head[: len(MAGIC)] != MAGIC:
        raise LimitsError(f"{path} is no file of limits. {remedy}")
    version = int.from_bytes(head[8:12], "little")
    if version != VERSION:
        raise LimitsError(f"{path} has version {version}, and this suitecase knows {VERSION}. {remedy}")
    if size != SIZE or len(head) < HEADER.size or HEADER.unpack(head)[2] != SIZE:
        raise LimitsError(f"{path} is torn: it has {size:,} bytes instead of {SIZE:,}. {remedy}")


def identity(path: Path) -> tuple[int, int]:
    """Which file a path names; (0, 0) if there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return 0, 0
    return facts.st_dev, facts.st_ino


def boot_id() -> bytes:
    """Which start of the machine this is; zeros where nobody tells (macOS): there the clock tells, see `State.load`."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def host_name() -> bytes:
    return os.uname().nodename.encode()[:64].ljust(64, b"\0")


def start_time() -> int:
    """When this process started, in clock ticks since the machine did; 0 where nobody tells."""
    try:
        return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def begin_anew_in_child() -> None:
    global opening
    opening = threading.Lock()
    for file in list(opened.values()):
        file.begin_anew()


os.register_at_fork(after_in_child=begin_anew_in_child)
