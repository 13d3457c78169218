"""items.jsonl: the truth about what has been done, one line a row.

The first line is the header: what the file was begun with. Every further line with a `key` is the final outcome of an
item and repeat; where one comes again, after a replay, the last one counts. A line with an `event` is no row.

**What a crash costs.** A row is one `write`, in the kernel's hands before the next item is taken: `kill -9` loses only
what was in flight. The file is synced about once a second and at the end, so a power cut can also cost the rows of the
last second or two. A torn last line, of a write that was cut short, is cut off by the next writer.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, overload

from pydantic_core import from_json, to_json

from suitecase.items.dataset import Dataset
from suitecase.items.records import ItemsError, Row
from suitecase.rundir.spending import PICO

__all__ = ["Ledger", "Rows", "encode", "read_dead_letters", "read_items", "write_whole"]

ITEMS, DEAD_LETTERS, RESULTS = "items.jsonl", "dead_letters.jsonl", "results.json"
FORMAT_VERSION = 1
SYNC_EVERY_S = 1.0
LOCK_WAIT_S = 5.0
NONE, SUCCEEDED, FAILED, SKIPPED = range(4)
STATUSES = {"succeeded": SUCCEEDED, "failed": FAILED, "skipped": SKIPPED}


class Rows(Sequence[Row]):
    """Rows in the order of the dataset and its repeats, read from disk one by one: no list in memory."""

    def __init__(self, descriptor: int, places: Sequence[tuple[int, int]]) -> None:
        self.descriptor = descriptor
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self.descriptor, self.places[index])
        offset, length = self.places[index]
        return from_json(os.pread(self.descriptor, length, offset))


class Places(Sequence[tuple[int, int]]):
    """Where the rows of these slots lie: 12 bytes a row instead of a tuple."""

    def __init__(self, slots: Sequence[int], offsets: Sequence[int], lengths: Sequence[int]) -> None:
        self.slots, self.offsets, self.lengths = slots, offsets, lengths

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> Places: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | Places:
        if isinstance(index, slice):
            return Places(self.slots[index], self.offsets, self.lengths)
        slot = self.slots[index]
        return self.offsets[slot], self.lengths[slot]


class Ledger:
    """The one writer of items.jsonl.

    Attributes:
        status: By slot: NONE, SUCCEEDED, FAILED or SKIPPED.
        counts: Slots by that status.
        cost: Of all rows, replaced ones included, in 1e-12 USD; None if none told.
        sync_error: Why the last sync failed, if it did.
    """

    def __init__(self, folder: Path, dataset: Dataset, parameters: Mapping[str, Any]) -> None:
        """Open the file, cut off a torn line, and find out what is done.

        Raises:
            ItemsError: If it was begun with something else, another process writes it, or it is damaged.
        """
        self.path = folder / ITEMS
        self.parameters = parameters
        self.status = bytearray(dataset.slots)
        self.offsets = array("q", bytes(8 * dataset.slots))
        self.lengths = array("L", bytes(array("L").itemsize * dataset.slots))
        self.counts = [dataset.slots, 0, 0, 0]
        self.cost: int | None = None
        self.size = 0
        self.dirty = False
        self.sync_error = ""
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            lock(self.descriptor, self.path)
            self.load(dataset, header(dataset, parameters))
        except BaseException:
            os.close(self.descriptor)
            raise
        self.closing = threading.Event()
        self.syncer = threading.Thread(target=self.keep_synced, name="suitecase.items sync", daemon=True)
        self.syncer.start()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def load(self, dataset: Dataset, begun: Row) -> None:
        index_of = {key: index for index, key in enumerate(dataset.keys)}
        number = 0
        with open(self.descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    number -= 1
                    break
                row = self.parse(line, number)
                if number == 1:
                    check_header(self.path, row, begun)
                elif "key" in row:
                    slot = index_of[row["key"]] * dataset.repeats + row["repeat"]
                    self.place(slot, STATUSES[row["status"]], self.size, len(line))
                    self.add_cost(row.get("cost_usd"))
                self.size += len(line)
        os.ftruncate(self.descriptor, self.size)
        if number == 0:
            self.write(encode(begun))
            sync_folder(self.path.parent)

    def parse(self, line: bytes, number: int) -> Row:
        try:
            row = from_json(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:
            raise ItemsError(
                f"{self.path}, line {number} is damaged ({error}): mend or remove the line, or move the file away to "
                "begin anew."
            ) from error
        return cast("Row", row)

    def place(self, slot: int, status: int, offset: int, length: int) -> None:
        self.counts[self.status[slot]] -= 1
        self.counts[status] += 1
        self.status[slot] = status
        self.offsets[slot], self.lengths[slot] = offset, length

    def add_cost(self, usd: float | None) -> None:
        if usd is not None:
            self.cost = (self.cost or 0) + round(usd * PICO)

    # --- Writing -----------------------------------------------------------------------------------------------------

    def add(self, slot: int, row: Row) -> None:
        """Write the outcome of a slot.

        Raises:
            OSError: If it can't be written whole; then nothing of it is in the file.
        """
        line = encode(row)
        offset = self.size
        self.write(line)
        self.place(slot, STATUSES[row["status"]], offset, len(line))
        self.add_cost(row["cost_usd"])

    def write(self, line: bytes) -> None:
        """Append a line with one write."""
        try:
            written = os.write(self.descriptor, line)
            if written != len(line):  # the disk is full, or a limit of file sizes is reached
                written += os.write(self.descriptor, line[written:])
                if written != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(line)
        self.dirty = True

    def keep_synced(self) -> None:
        while not self.closing.wait(SYNC_EVERY_S):
            self.sync()

    def sync(self) -> None:
        if self.dirty:
            self.dirty = False
            try:
                os.fsync(self.descriptor)
            except OSError as error:
                self.sync_error = f"{self.path} can't be synced: {error.strerror}"

    def stop_syncing(self) -> None:
        """Sync a last time."""
        self.closing.set()
        self.syncer.join()
        self.sync()

    def close(self) -> None:
        self.stop_syncing()
        os.close(self.descriptor)

    # --- Reading -----------------------------------------------------------------------------------------------------

    @property
    def cost_usd(self) -> float | None:
        return None if self.cost is None else self.cost / PICO

    def rows(self, *statuses: int) -> Rows:
        """The current rows, those of some statuses only if any are named."""
        wanted = statuses or (SUCCEEDED, FAILED, SKIPPED)
        slots = array("L", (slot for slot, status in enumerate(self.status) if status in wanted))
        return Rows(self.descriptor, Places(slots, self.offsets, self.lengths))

    # --- Dead letters ------------------------------------------------------------------------------------------------

    def dead_letter(self, row: Row, item: object) -> bytes:
        """The row of an item that failed for good, and what it takes to run it again."""
        return encode({**row, "item": item, "parameters": self.parameters})

    def add_dead_letter(self, row: Row, item: object) -> None:
        """Append to dead_letters.jsonl; whether or not it is whole, the next pass writes the file anew."""
        with self.path.with_name(DEAD_LETTERS).open("ab") as file:
            file.write(self.dead_letter(row, item))

    def write_dead_letters(self, dataset: Dataset) -> Path | None:
        """Write dead_letters.jsonl whole, from the rows that failed; None, and no file, if there are none."""
        path = self.path.with_name(DEAD_LETTERS)
        if not self.counts[FAILED]:
            path.unlink(missing_ok=True)
            return None
        index_of = {key: index for index, key in enumerate(dataset.keys)}
        failed = self.rows(FAILED)
        write_whole(path, (self.dead_letter(row, dataset.items[index_of[row["key"]]]) for row in failed))
        return path


def header(dataset: Dataset, parameters: Mapping[str, Any]) -> Row:
    begun: Row = {
        "event": "begun", "format_version": FORMAT_VERSION, "items": len(dataset.keys), "dataset": dataset.digest,
        "seed": dataset.seed, "repeats": dataset.repeats, "parameters": parameters,
    }  # fmt: skip
    return from_json(encode(begun))


def check_header(path: Path, begun: Row, now: Row) -> None:
    """Refuse to go on with a file that was begun with something else."""
    if begun.get("event") != "begun":
        raise ItemsError(f"{path} doesn't begin with a header of suitecase.items: give another output_dir.")
    if begun["format_version"] > FORMAT_VERSION:
        raise ItemsError(f"{path} was written by a newer suitecase: upgrade it to go on.")
    changes = [
        f"{name} was {begun[name]!r}, is {now[name]!r}" for name in ("seed", "repeats") if begun[name] != now[name]
    ]
    if begun["items"] != now["items"]:
        changes.append(f"the dataset had {begun['items']} items, has {now['items']}")
    elif begun["dataset"] != now["dataset"]:
        changes.append("the dataset's items have other keys or contents")
    before, after = begun["parameters"], now["parameters"]
    changes += [
        f"parameters[{name!r}] was {before.get(name)!r:.80}, is {after.get(name)!r:.80}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if changes:
        raise ItemsError(
            f"{path} was begun with something else: {'; '.join(changes)}. Give what it was begun with, give another "
            "output_dir, or move the file away to begin anew."
        )


def encode(value: object) -> bytes:
    """One line of strict JSON: NaN and infinities as text, and what JSON doesn't know as lists or text."""
    try:
        return to_json(value, inf_nan_mode="strings", bytes_mode="base64", fallback=lists_or_text) + b"\n"
    except Exception:  # lone surrogates, loops, a text that can't be made: slower, and forgiving
        return to_json(json.loads(json.dumps(tame(value))), inf_nan_mode="strings") + b"\n"


def lists_or_text(value: object) -> object:
    """An array of numpy or torch as lists, everything else as text."""
    made = getattr(value, "tolist", None)
    return made() if callable(made) and not isinstance(value, type) else str(value)


def tame(value: Any, depth: int = 0) -> Any:
    """The same with every leaf as plain JSON can hold it."""
    if depth > 50:
        return "…"
    if isinstance(value, Mapping):
        named = cast("Mapping[Any, Any]", value)
        return {tame_text(str(name)): tame(inner, depth + 1) for name, inner in named.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [tame(inner, depth + 1) for inner in cast("Iterable[Any]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        return tame_text(str(value))
    except Exception as error:
        return f"<{type(value).__name__} whose text can't be made: {type(error).__name__}>"


def tame_text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def write_whole(path: Path, lines: Iterator[bytes]) -> None:
    """Write a file under a temporary name, sync it, and put it in its place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, path: Path) -> None:
    """Be the only writer, or say that there is another one; the lock ends with the process."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise ItemsError(f"{path} is being written by another process: wait for it, or end it.") from None
            time.sleep(0.1)
        except OSError:  # a file system without locks
            return
        else:
            return


def read_items(output_dir: str | os.PathLike[str]) -> list[Row]:
    """The current rows of a folder, by index and repeat; safe while a loop is writing.

    Raises:
        FileNotFoundError: If there is no items.jsonl.
        ItemsError: If a finished line is damaged.
    """
    rows = read_lines(Path(output_dir) / ITEMS)
    current = {(row["key"], row["repeat"]): row for row in rows if "key" in row}
    return sorted(current.values(), key=lambda row: (row["index"], row["repeat"]))


def read_dead_letters(output_dir: str | os.PathLike[str]) -> list[Row]:
    """The items of a folder that failed for good: their rows with `item` and `parameters`; none if there is no file.

    Raises:
        ItemsError: If a finished line is damaged.
    """
    path = Path(output_dir) / DEAD_LETTERS
    return read_lines(path) if path.exists() else []


def read_lines(path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(from_json(line))
        except ValueError as error:
            raise ItemsError(f"{path}, line {number} is damaged: {error}") from error
    return rows
