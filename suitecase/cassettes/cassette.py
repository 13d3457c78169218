"""`Cassette`: the file, what is recorded into it, and what is played from it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, cast

from suitecase.cassettes.requests import CassetteError, differences, hash_of, plain, redacted, secrets, text_of
from suitecase.limits import LimitsError
from suitecase.tracking.line_file import LineFile

__all__ = ["Cassette", "NotRecordedError", "RecordedError"]

P = ParamSpec("P")
T = TypeVar("T")
VERSION = 1


class NotRecordedError(CassetteError):
    """A request that the cassette doesn't have; says what differs from the nearest one."""


class RecordedError(Exception):
    """What a call raised when it was recorded. Its class has the name of the error's.

    Attributes:
        status_code: The HTTP status that the error carried; None if it had none.
    """

    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """A recorded call: where its line lies in the file."""

    scope: str
    offset: int
    size: int
    failed: bool


class Cassette:
    """A file of requests and their answers. Safe from threads and tasks, and among processes.

    Keys are redacted: fields whose names say that they hold one, and wherever it stands the value of a variable of the
    environment whose name ends with KEY, TOKEN, SECRET, PASSWORD or CREDENTIALS.

    Args:
        path: A `.jsonl` file; recording appends to one that exists.
        mode: `record` asks and appends; `replay` asks nobody.

    Raises:
        CassetteError: There is nothing to replay, or nowhere to record.
    """

    def __init__(self, path: str | os.PathLike[str], mode: Literal["record", "replay"]) -> None:
        self.path = Path(path)
        self.mode = mode
        self.lock = threading.Lock()
        self.takes: dict[str, list[Take]] = {}
        self.played: set[Take] = set()
        if mode not in ("record", "replay"):
            raise CassetteError(f"mode is {mode!r}: give record or replay.")
        if mode == "record":
            self.lines = LineFile(self.path)
            try:
                self.lines.size_bytes()
            except OSError as error:
                raise CassetteError(f"{self.path} can't be recorded to: {error.strerror}.") from None
            return
        for line, offset, size in self.recorded():
            take = Take(str(line.get("scope", "")), offset, size, "error" in line)
            self.takes.setdefault(str(line["request_sha256"]), []).append(take)
        if not self.takes:
            raise CassetteError(f"{self.path} has nothing to replay: record it first, with mode='record'.")

    @property
    def replays(self) -> bool:
        """Whether nobody is asked."""
        return self.mode == "replay"

    def wrap(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same function, plain or async, recorded or replayed.

        Its arguments and what it returns must be JSON values or dataclasses of them, and come back as JSON has them: a
        tuple as a list. Its name is a part of the request.
        """
        name = getattr(function, "__qualname__", type(function).__qualname__)
        signature = inspect.signature(function)

        def request_of(*args: P.args, **kwargs: P.kwargs) -> object:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return {"function": name, "arguments": dict(bound.arguments)}

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def ask_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self.play_async(request_of(*args, **kwargs), lambda: function(*args, **kwargs))

            return cast("Callable[P, T]", ask_async)

        @functools.wraps(function)
        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.play(request_of(*args, **kwargs), lambda: function(*args, **kwargs))

        return ask

    def play(self, request: object, ask: Callable[[], T], *, scope: str = "") -> T:
        """The answer to a request: recorded now, or then.

        Raises:
            NotRecordedError: It is to be replayed, and was never recorded, or not so often.
            RecordedError: It is replayed, and failed then.
            CassetteError: It can't be recorded.
        """
        if self.replays:
            return cast(T, self.find(plain(request), scope))
        taking = Taking(self, plain(request), scope)
        try:
            return cast(T, taking.answered(ask()))
        except Exception as error:
            taking.failed(error)
            raise

    async def play_async(
        self,
        request: object,
        ask: Callable[[], Awaitable[T]],
        *,
        scope: str = "",
        encode: Callable[[T], object] | None = None,
    ) -> T:
        """The same for what is awaited.

        Args:
            encode: The JSON value of an answer, which is then returned as it is; a replay gives the JSON value.
        """
        if self.replays:
            return cast(T, self.find(plain(request), scope))
        taking = Taking(self, plain(request), scope)
        try:
            answer = await ask()
            if encode is None:
                return cast(T, taking.answered(answer))
            taking.answered(encode(answer))
            return answer
        except (Exception, asyncio.CancelledError) as error:
            taking.failed(error)
            raise

    # --- replay

    def find(self, request: object, scope: str) -> object:
        """The next answer to a request."""
        request = redacted(request, secrets())
        key = hash_of(request)
        scope = scope_of_case(scope)
        with self.lock:
            takes = self.takes.get(key, [])
            answers = [take for take in takes if not take.failed]
            unplayed = [take for take in answers if take not in self.played]
            chosen = next((take for take in unplayed if take.scope == scope), None) or next(iter(unplayed), None)
            if chosen is None and answers:
                n = len(answers)
                raise NotRecordedError(
                    f"{self.path} has {n} {'answer' if n == 1 else 'answers'} to a request, and it is asked once more "
                    f"in this process: {text_of(request)}. Record again with as many."
                )
            if chosen is not None:
                self.played.add(chosen)
            elif takes:
                chosen = takes[-1]
        if chosen is None:
            raise NotRecordedError(self.difference(request))
        line = self.read(chosen)
        if chosen.failed:
            raise error_of(line["error"])
        return line["answer"]

    def read(self, take: Take) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(take.offset)
            return json.loads(file.read(take.size))

    def recorded(self) -> Iterator[tuple[dict[str, Any], int, int]]:
        """Each line that is whole, with its place and size in bytes."""
        offset = 0
        try:
            with self.path.open("rb") as file:
                for number, text in enumerate(file, start=1):
                    if (line := line_of(text)) is not None:
                        if line["v"] != VERSION:
                            raise CassetteError(f"{self.path} is of version {line['v']!r}, and this reads {VERSION}.")
                        if hash_of(line["request"]) != line["request_sha256"]:
                            raise CassetteError(
                                f"{self.path}, line {number}: its request isn't the one that was recorded, by its "
                                "request_sha256: somebody edited it. Undo that, or remove the line and record again."
                            )
                        yield line, offset, len(text)
                    offset += len(text)
        except OSError as error:
            raise CassetteError(f"{self.path} can't be replayed: {error.strerror}. Record it first.") from None

    def difference(self, request: object) -> str:
        """Why a request isn't there: what differs from the nearest one that is."""
        told = differences(request, (line["request"] for line, _, _ in self.recorded()))
        return f"{self.path} has no answer to a request. From the nearest that it has, it differs in {told}."


class Taking:
    """A call that is being recorded."""

    def __init__(self, cassette: Cassette, request: object, scope: str) -> None:
        self.cassette, self.secrets = cassette, secrets()
        self.request, self.scope = redacted(request, self.secrets), scope_of_case(scope)
        self.began_s = time.perf_counter()
        self.done = False

    def answered(self, answer: object) -> object:
        """Write the answer, and give it as a replay would."""
        self.done = True
        answer = plain(answer, "the answer")
        self.write({"answer": redacted(answer, self.secrets)})
        return answer

    def failed(self, error: BaseException) -> None:
        """Write an error; of a call that was cancelled that nobody has waited for its answer."""
        if self.done or isinstance(error, CassetteError | LimitsError):  # what never asked has nothing to play
            return
        status = getattr(error, "status_code", None)
        told = {"type": type(error).__name__, "message": str(error) or "cut off when it was recorded"}
        told |= {"status_code": status} if isinstance(status, int) else {}
        self.write({"error": redacted(told, self.secrets)})

    def write(self, told: Mapping[str, object]) -> None:
        line = {
            "v": VERSION, "request_sha256": hash_of(self.request), "scope": self.scope,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "latency_s": round(time.perf_counter() - self.began_s, 6), "request": self.request, **told,
        }  # fmt: skip
        lines = self.cassette.lines
        try:
            with self.cassette.lock:
                lines.size_bytes()
                lines.append(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        except OSError as error:
            raise CassetteError(f"{self.cassette.path} can't be recorded to: {error.strerror}.") from error


def line_of(text: bytes) -> dict[str, Any] | None:
    """A line of the file; None for what a kill has left of one."""
    try:
        line: object = json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None
    told = cast("dict[str, Any]", line) if isinstance(line, dict) else {}
    whole = {"v", "request_sha256", "request"} <= told.keys() and (
        "answer" in told or isinstance(told.get("error"), dict)
    )
    return told if whole else None


def scope_of_case(scope: str) -> str:
    variant = os.environ.get("SUITECASE_VARIANT", "")
    return f"{variant}/{scope}" if variant and scope else variant or scope


def error_of(told: Mapping[str, Any]) -> RecordedError:
    """A recorded error, to be raised."""
    error = type(str(told.get("type")), (RecordedError,), {})(told.get("message"))
    error.status_code = told.get("status_code")
    return error
