"""The log of a case as lines that are safe to show, whatever was printed, however long it is, and while it grows."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from suitecase.errors import NotFoundError, SuitecaseError
from suitecase.rundir import CaseRun, layout
from suitecase.rundir.files import folder_problem, parse_object
from suitecase.rundir.runs import RunReader

__all__ = [
    "LEVELS",
    "Line",
    "compile_pattern",
    "find_attempt",
    "follow_case",
    "read_attempt",
    "shown_text",
    "told_events",
]

LINE_LIMIT_BYTES = 16 << 20
"""A longer line is shown in parts, or a file without line breaks would have to be held at once."""

BLOCK_BYTES = 1 << 16
POLL_S = 0.2

ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*(?P<final>[@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""What a terminal obeys (ECMA-48): control sequences, strings such as a title, short escapes."""

ERASE = re.compile(r"\x1b\[[0-2]?K")
HARMFUL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, and those that turn the direction of text so that it reads as what it is not."""

LEVELS: Final = ("debug", "info", "warning", "error")

LEVEL_OF_EVENT = {"failed": "error", "cancelled": "warning", "dropped": "warning"}
"""What else a case tells counts as this."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        text: Safe to print, without its line break.
        level, time, data: Of what was told through `suitecase.tracking`; printed lines have none.
    """

    attempt: int
    text: str
    level: str | None = None
    time: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


def shown_text(line: bytes) -> str:
    """A line as a terminal would leave it, without what a terminal obeys.

    Progress bars that return to the start of the line leave their last state, colours and titles are left out; control
    characters that are left, and bytes that are no UTF-8, are shown as `\\x1b`.
    """
    text = line.decode("utf-8", "backslashreplace").removesuffix("\n")
    if "\r" in text or "\b" in text or "\x1b" in text:
        text = overwritten(text)
    return HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def overwritten(text: str) -> str:
    """What is left of a line once all its returns, backspaces and erasures were obeyed.

    From the last return backwards: earlier text shows only where later text is shorter, and not beyond an erasure.
    """
    left = ""
    for part in reversed(text.split("\r")):
        before, erasure, after = part, None, ""
        for erasure in ERASE.finditer(part):
            before, after = part[: erasure.start()], part[erasure.end() :]
        shown = backspaced(ESCAPE.sub("", before))
        if erasure is not None:
            to_the_left = erasure[0] in ("\x1b[1K", "\x1b[2K")
            shown = (" " * len(shown) if to_the_left else shown) + backspaced(ESCAPE.sub("", after))
        left += shown[len(left) :]
        if erasure is not None:
            break
    return left.rstrip(" ") if "\r" in text else left


def backspaced(text: str) -> str:
    """Text after its backspaces were obeyed: what follows one overwrites."""
    if "\b" not in text:
        return text
    cells: list[str] = []
    at = 0
    for character in text:
        if character == "\b":
            at = max(0, at - 1)
            continue
        cells[at : at + 1] = [character]
        at += 1
    return "".join(cells)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression that a person typed.

    Raises:
        SuitecaseError: It is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SuitecaseError(f"{pattern!r} is no regular expression: {error}.") from None


def find_attempt(case: CaseRun, number: int | None) -> int:
    """The number of the attempt that is meant, by default of the latest that has a log.

    Raises:
        NotFoundError: It has no log.
    """
    path = case.log_path(number)
    if problem := folder_problem(case.path):
        raise NotFoundError(problem)
    if path is not None and path.is_file():
        return int(path.stem.rpartition("-")[2])
    there = attempts_with_log(case.path)
    if number is None or not there:
        raise NotFoundError(f"{case.variant} has no log; its status is {case.status}.")
    raise NotFoundError(f"{case.variant} has no log of attempt {number}: there are {', '.join(map(str, there))}.")


def attempts_with_log(folder: Path) -> list[int]:
    """Numbers of the attempts whose log is there."""
    try:
        names = (layout.ATTEMPT_LOG.fullmatch(name) for name in os.listdir(folder))
    except OSError:
        return []
    return sorted(int(name["number"]) for name in names if name)


def read_attempt(
    case: CaseRun, number: int, last: int | None = None, pattern: re.Pattern[str] | None = None
) -> Iterator[Line]:
    """The lines of an attempt's log, one at a time.

    Args:
        last: Only so many, the last of those that fit.
        pattern: Only lines in which it is found, as they are shown.
    """
    with (case.path / layout.attempt_log(number)).open("rb") as file:
        if last is not None and pattern is None:
            file.seek(start_of_last(file, last))
        texts = (shown_text(line) for line in iter(lambda: file.readline(LINE_LIMIT_BYTES), b""))
        fitting = (text for text in texts if pattern is None or pattern.search(text))
        chosen = fitting if last is None else deque(fitting, maxlen=last)
        for text in chosen:
            yield Line(number, text)


def start_of_last(file: IO[bytes], count: int) -> int:
    """Where the last lines of a file begin, read from its end."""
    end = file.seek(0, os.SEEK_END)
    if count == 0:
        return end
    position, wanted = end, count
    while position > 0:
        start = max(0, position - BLOCK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        if position == end and block.endswith(b"\n"):
            wanted += 1
        found = block.count(b"\n")
        if found >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rindex(b"\n", 0, at)
            return start + at + 1
        wanted -= found
        position = start
    return 0


class GrowingFile:
    """Lines of a file as they come."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def lines(self, *, unfinished: bool) -> Iterator[bytes]:
        """What has come since the last call.

        Args:
            unfinished: Also a last line that has no end yet.
        """
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset = 0  # somebody cut it
                file.seek(self.offset)
                while line := file.readline(LINE_LIMIT_BYTES):
                    if not (line.endswith(b"\n") or len(line) == LINE_LIMIT_BYTES or unfinished):
                        return
                    self.offset += len(line)
                    yield line
        except FileNotFoundError:
            return


def follow_case(
    reader: RunReader, variant: str, first: int | None, last: int | None = None, *, only_first: bool = False
) -> Iterator[Line | None]:
    """The lines of a case as they are printed, into each further attempt, until the journal says that it has ended.

    None whenever there is nothing new: the reader may then do something else.

    Args:
        first: The attempt to begin with; None if there is none yet.
        last: Of that attempt's lines so far only so many.
        only_first: End with that attempt.
    """
    growing: GrowingFile | None = None
    number = first
    if number is not None:
        growing = GrowingFile(reader.path / variant / layout.attempt_log(number))
        if last is not None:
            with growing.path.open("rb") as file:
                growing.offset = start_of_last(file, last)
    while True:
        # Asked before the file is read: what was printed before the end is then in it.
        case = reader.refresh().cases[variant]
        ended = case.status not in ("running", "pending")
        later = [n for n in attempts_with_log(case.path) if n > (number or 0)]
        done = ended or bool(later) or (only_first and has_ended(case, number))
        if growing is not None and number is not None:
            for line in growing.lines(unfinished=done):
                yield Line(number, shown_text(line))
        if later and not (only_first and number is not None):
            number = later[0]
            growing = GrowingFile(case.path / layout.attempt_log(number))
        elif done:
            return
        else:
            yield None
            time.sleep(POLL_S)


def has_ended(case: CaseRun, number: int | None) -> bool:
    """Whether the journal has the end of an attempt."""
    return any(attempt.number == number and attempt.status != "running" for attempt in case.attempts)


def told_events(lines: Iterator[bytes], level: str, attempt: int | None = None) -> Iterator[Line]:
    """What a case told at a level or above, from the lines of its `tracking.jsonl`.

    Its failure counts as an error; its cancellation, and what could not be written down, as warnings.

    Args:
        attempt: Only what this one told.
    """
    for content in lines:
        event = parse_object(content) or {}
        kind = str(event.get("event"))
        told = str(event.get("level", "info")) if kind == "log" else LEVEL_OF_EVENT.get(kind)
        if told is None or rank(told) < rank(level) or attempt not in (None, event.get("attempt", 1)):
            continue
        message = str(event.get("message") or event.get("reason") or "")
        if kind != "log":
            message = f"{kind} {event.get('count', '')}".rstrip() + (f": {message}" if message else "")
        data = event.get("data")
        yield Line(
            int(event.get("attempt", 1)),
            shown_text(message.replace("\n", "\\n").encode("utf-8", "backslashreplace")),
            told,
            str(event.get("time", "")),
            data if isinstance(data, dict) else {},  # pyright: ignore[reportUnknownArgumentType]
        )


def rank(level: str) -> int:
    """The place of a level; what is unknown is as grave as can be, so that nobody misses it."""
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
