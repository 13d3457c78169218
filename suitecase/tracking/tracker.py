"""What one case says, as lines of its `tracking.jsonl`."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack, cast
from weakref import WeakSet

from suitecase.tracking.line_file import LineFile
from suitecase.tracking.policy import Allowance, Limits, Policy
from suitecase.tracking.values import as_line, as_number, as_text

__all__ = ["Cancelled", "Tracker", "trackers", "warn_once"]

LEVELS = ("debug", "info", "warning", "error")
OTHER_WORDS = {"warn": "warning", "critical": "error", "fatal": "error", "exception": "error"}
LOOK_EVERY_S = 0.1
REPORT_EVERY_S = 1.0
PROGRESS_PER_S, PROGRESS_BURST = 20, 1_000
TRACEBACK_CHARACTERS = 64_000
# What a line is about, in words that may be cut.
TEXTS = ("message", "reason")

trackers: WeakSet[Tracker] = WeakSet()
told: set[str] = set()


class Cancelled(SystemExit):
    """The case was asked to end: raise it to end it, or let `track` raise it. The exit code is that of SIGTERM."""

    def __init__(self) -> None:
        super().__init__(143)

    def __str__(self) -> str:
        return "the case was asked to end"


class Tracker:
    """Writes what one case says. Safe from threads, forked children, signal handlers and asyncio.

    No method raises because of a value, a disk or a limit: what can't be written is counted, told once on stderr, and
    recorded in a `dropped` line as soon as that is possible.

    Args:
        folder: The case's folder; None to record nothing and say so once.
        attempt: Stands in every line.
        run_dir: Where a file `cancel` also means this case.
        policy: Limits.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        *,
        attempt: int = 1,
        run_dir: str | os.PathLike[str] | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.folder = None if folder is None else os.path.abspath(folder)
        self.file = None if self.folder is None else LineFile(os.path.join(self.folder, "tracking.jsonl"))
        self.attempt = attempt
        self.cancel_files = [os.path.join(each, "cancel") for each in (self.folder, run_dir) if each is not None]
        self.policy = policy or Policy()
        self.logs = Allowance(self.policy.max_logs_per_s, self.policy.max_log_burst)
        self.progresses = Allowance(PROGRESS_PER_S, PROGRESS_BURST)
        self.observed_usd = 0.0
        self.end_told = ""
        self.stopping = self.asked = self.cancel_seen = False
        self.next_look = 0.0
        self.begin_anew()
        trackers.add(self)

    def begin_anew(self) -> None:
        """In a forked child: another thread may hold the lock for ever, and the parent tells of what it dropped."""
        self.lock = threading.RLock()
        self.writing = False
        self.dropped: Counter[str] = Counter()
        self.next_report = 0.0
        self.later: dict[str, object] | None = None
        if self.file is not None:
            # The position of a descriptor is shared with the parent, and `append` needs its own.
            self.file.close()

    def configure(self, **limits: Unpack[Limits]) -> None:
        """Change limits.

        Raises:
            ValueError: With every value that is wrong.
        """
        self.policy = replace(self.policy, **limits)
        self.logs = Allowance(self.policy.max_logs_per_s, self.policy.max_log_burst)

    # --- what a case says

    def log(self, level: str, message: object, /, **data: object) -> None:
        """See `tracking.log`."""
        word = as_text(level).lower()
        known = word if word in LEVELS else OTHER_WORDS.get(word, "info")
        if known != "error" and not self.logs.take():
            self.drop(
                "rate", f"more than {self.policy.max_logs_per_s:g} logs per second: some are left out, no errors."
            )
            return
        fields: dict[str, object] = {"level": known, "message": as_text(message)}
        self.tell("log", {**fields, "data": data} if data else fields, kept=known == "error")

    def log_batch(self, entries: Iterable[Mapping[str, object] | tuple[object, ...]]) -> None:
        """See `tracking.log_batch`."""
        for entry in entries:
            level, message, data = parts_of(entry)
            self.log(level, message, **data)

    def result(self, key: str, value: object) -> None:
        """See `tracking.result`."""
        self.tell("result", {"key": as_text(key), "value": value}, kept=True)

    def metric(self, name: str, value: object, step: object = None) -> None:
        """See `tracking.metric`."""
        number = as_number(value)
        if number is None:
            self.drop("value", f"the metric {as_text(name)[:80]!r} is a {type(value).__name__}, no number.")
            return
        self.tell("metric", {"name": as_text(name), "value": number, "step": step if step is None else as_number(step)})

    def progress(self, done: object, total: object = None, message: object = "") -> None:
        """See `tracking.progress`."""
        count, whole = as_number(done), None if total is None else as_number(total)
        if count is None:
            self.drop("value", f"a progress is a {type(done).__name__}, no number.")
            return
        fields: dict[str, object] = {"done": count, "total": whole, "message": as_text(message)}
        if self.progresses.take() or count == whole:
            self.later = None
            self.tell("progress", fields)
        else:
            self.later = fields

    def artifact(self, path: str | os.PathLike[str]) -> None:
        """See `tracking.artifact`."""
        if self.folder is None:
            self.tell("artifact", {})
            return
        try:
            given = os.fsdecode(path)
            place = os.path.abspath(given)
            if not os.path.exists(place):
                place = os.path.join(self.folder, given)
            size = size_of_file(place)
            if size is None and not os.path.isdir(place):
                warn_once("artifact", f"the artifact {given!r} isn't there; it's recorded without a size.")
            shown = path_within(self.folder, place)
        except (TypeError, ValueError) as error:
            self.drop("value", f"an artifact is no path: {error}.")
            return
        self.tell("artifact", {"path": shown, "size_bytes": size}, kept=True)

    def cost(
        self,
        usd: object,
        *,
        input_tokens: object = None,
        output_tokens: object = None,
        cached_input_tokens: object = None,
        model: str | None = None,
    ) -> None:
        """See `tracking.cost`."""
        amount = as_number(usd)
        unpriced = usd is None and model is not None and (input_tokens is not None or output_tokens is not None)
        if not unpriced and (amount is None or isinstance(amount, str) or amount < 0):
            self.drop("value", f"a cost is {as_text(usd)[:80]}, no number of at least 0.")
            return
        more = {"input_tokens": input_tokens, "output_tokens": output_tokens, "model": model}
        given = {name: value for name, value in more.items() if value is not None}
        given |= {"cached_input_tokens": cached_input_tokens} if cached_input_tokens else {}
        self.tell("cost", {"usd": amount, **given}, kept=True)

    def observe(self, event: Mapping[str, object]) -> None:
        """See `tracking.observe`."""
        if not hasattr(event, "get"):
            self.drop("value", f"an observed event is a {type(event).__name__}, no mapping.")
            return
        kind, model = event.get("event"), event.get("model")
        if kind == "log":
            level, message, data = parts_of(event)
            self.log(level, message, **data)
        if kind in ("progress", None) and event.get("done") is not None:
            self.progress(event["done"], event.get("total"), event.get("message") or "")
        usd = event.get("usd") if kind == "cost" else self.added_usd(event.get("cost_usd")) if kind is None else None
        if usd is not None:
            self.cost(
                usd,
                input_tokens=event.get("input_tokens"),
                output_tokens=event.get("output_tokens"),
                model=None if model is None else as_text(model),
            )

    def added_usd(self, total: object) -> object:
        """What was spent since the last observed total; a smaller total begins a new count. None for nothing."""
        amount = as_number(total)
        if amount is None or isinstance(amount, str):
            return total  # `cost` has a word to say about it
        before, self.observed_usd = self.observed_usd, amount
        return (amount - before if amount >= before else amount) or None

    def cancelled(self) -> bool:
        """See `tracking.cancelled`."""
        self.asked = True
        return self.stopping or self.cancel_wanted()

    def cancel_wanted(self) -> bool:
        """Whether a `cancel` file is there, as of a tenth of a second ago."""
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + LOOK_EVERY_S
            self.cancel_seen = any(os.path.exists(path) for path in self.cancel_files)
        return self.cancel_seen

    # --- ends

    def complete(self) -> None:
        """See `tracking.complete`."""
        self.end("completed", {})

    def fail(self, reason: object, /, **data: object) -> None:
        """See `tracking.fail`."""
        self.end("failed", {"reason": as_text(reason), "data": data} if data else {"reason": as_text(reason)})

    def end(self, event: str, fields: Mapping[str, object]) -> None:
        self.end_told = event
        self.tell(event, fields, kept=True)

    def end_by(self, error: BaseException | None) -> None:
        """Tell how the body of `track` ended, if it hasn't told so itself."""
        self.next_look = 0.0
        if is_cancellation(error) or self.stopping or self.cancel_wanted():
            if self.end_told != "failed" and (error is not None or not self.end_told):
                reason = "SIGTERM" if self.stopping else "its `cancel` file" if self.cancel_seen else named(error)
                self.end("cancelled", {"reason": reason})
        elif error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            if not self.end_told:
                self.complete()
        elif self.end_told != "failed":
            # The first frame is that of `track`.
            frames = error.__traceback__ and error.__traceback__.tb_next
            lines = "".join(traceback.format_exception(type(error), error, frames))
            self.fail(named(error), type=type(error).__qualname__, traceback=lines[-TRACEBACK_CHARACTERS:])

    def close(self) -> None:
        """Write what was held back and close the file; telling more opens it again."""
        if self.file is None:
            return
        with self.lock:
            try:
                self.catch_up()
            except Exception:  # only a progress, and close is called where nobody can be told
                pass
            self.report()
            if not self.writing:
                self.file.close()

    # --- how it is written

    def tell(self, event: str, fields: Mapping[str, object], *, kept: bool = False) -> None:
        """Write a line.

        Args:
            kept: Whether it may use the part of the file that is left for what matters most.
        """
        if self.file is None:
            warn_once(
                "nowhere",
                "nothing is recorded, for no case's folder is known: there is neither SUITECASE_OUTPUT_DIR, "
                "which the runner sets, nor track(config) with an output_dir.",
            )
            return
        try:
            line = self.line(event, fields)
            if line is None:
                return
            with self.lock:
                if self.later is not None and event != "progress":
                    self.catch_up()
                fits = self.write(line, kept)
            if not fits:
                self.drop("size", f"{self.file.path} is as large as it may be: no more of {event}.")
        except OSError as error:
            self.drop("disk", f"{self.file.path}: {error.strerror or error}. What can't be written is counted.")
        except Exception as error:
            self.drop("value", f"a line of {event} can't be written: {type(error).__name__}.")

    def line(self, event: str, fields: Mapping[str, object]) -> bytes | None:
        """A record as a line, its text cut if it is too long; None if it's too long without."""
        head = {"event": event, "time": now_as_text(), "attempt": self.attempt}
        line, odd = as_line({**head, **fields})
        if odd:
            warn_once("odd", f"a value of {event} has a {odd[0]}: written as text, for JSON has no such thing.")
        most = self.policy.max_line_bytes
        if len(line) <= most:
            return line
        texts = {name: as_text(fields[name])[: most // 8] + "…" for name in TEXTS if name in fields}
        rest = {name: value for name, value in fields.items() if name not in ("data", *TEXTS)}
        line, _ = as_line({**head, **rest, **texts, "cut": True})
        if not texts or len(line) > most:
            self.drop("size", f"a line of {event} is longer than {most:,} bytes: put large values in a file.")
            return None
        warn_once("cut", f"a line of {event} is longer than {most:,} bytes: its text is cut.")
        return line

    def write(self, line: bytes, kept: bool) -> bool:
        """Bring a line into the file, and after it what is to be told of dropped ones; False if there is no room.

        Raises:
            OSError: It isn't there.
        """
        assert self.file is not None
        if self.writing:
            # A signal's handler, in the middle of a write of this thread: a descriptor of its own has its own position.
            file = LineFile(self.file.path)
            try:
                file.size_bytes()
                file.append(line)
            finally:
                file.close()
            return True
        self.writing = True
        try:
            most = self.policy.max_file_bytes * (2 if kept else 1)
            if self.file.size_bytes() + len(line) > most:
                return False
            self.file.append(line)
        finally:
            self.writing = False
        if self.dropped and time.monotonic() >= self.next_report:
            self.report()
        return True

    def catch_up(self) -> None:
        """Write the progress that was held back."""
        fields, self.later = self.later, None
        line = self.line("progress", fields) if fields else None
        if line:
            self.write(line, kept=False)

    def drop(self, reason: str, problem: str) -> None:
        """Count what isn't written, and tell of it once."""
        if self.file is None:
            return
        with self.lock:
            self.dropped[reason] += 1
            warn_once(f"dropped {reason}", problem)
            if reason != "disk" and time.monotonic() >= self.next_report:
                self.report()

    def report(self) -> None:
        """Write how many lines were dropped since the last report; if that can't be done, it's done later."""
        if self.file is None or self.writing or not self.dropped:
            return
        self.writing = True
        try:
            self.file.size_bytes()
            for reason, count in list(self.dropped.items()):
                fields = {"event": "dropped", "time": now_as_text(), "attempt": self.attempt}
                self.file.append(as_line({**fields, "count": count, "reason": reason})[0])
                self.dropped[reason] -= count
                self.next_report = time.monotonic() + REPORT_EVERY_S
        except OSError:
            pass
        finally:
            self.dropped = +self.dropped  # without zeros
            self.writing = False


def is_cancellation(error: BaseException | None) -> bool:
    """Whether an exception stands for a wish to end. Nobody raises asyncio's before asyncio is imported; it's slow."""
    loops = sys.modules.get("asyncio")
    return isinstance(error, KeyboardInterrupt | Cancelled) or (
        loops is not None and isinstance(error, loops.CancelledError)
    )


def named(error: BaseException | None) -> str:
    """An exception in a line or more; of `sys.exit`, what was given to it."""
    if isinstance(error, SystemExit) and not isinstance(error, Cancelled):
        return f"exit code {error.code}" if isinstance(error.code, int) else as_text(error.code)
    text = as_text(error)
    return type(error).__qualname__ + f": {text}" * bool(text)


def parts_of(entry: object) -> tuple[str, object, dict[str, object]]:
    """Level, message and data of an entry of a batch; what is no entry is a message."""
    if isinstance(entry, Mapping):
        known = cast(Mapping[object, object], entry)
        given = (known.get("level"), known.get("message"), known.get("data"))
    else:
        given = (
            (*cast(tuple[object, ...], entry), None, None, None)[:3] if isinstance(entry, tuple) else ("", entry, None)
        )
    level, message, data = given
    more = cast(Mapping[object, object], data) if isinstance(data, Mapping) else dict[object, object]()
    return as_text(level or "info"), message or "", {as_text(name): value for name, value in more.items()}


def path_within(folder: str, path: str) -> str:
    """A path relative to a folder, if it lies inside, by its name or by where links lead; else absolute."""
    for resolved in (os.path.abspath, os.path.realpath):
        outer, inner = Path(resolved(folder)), Path(resolved(path))
        if inner.is_relative_to(outer):
            return str(inner.relative_to(outer))
    return path


def size_of_file(path: str) -> int | None:
    """None for a folder, and for what isn't there."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def now_as_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def warn_once(about: str, text: str) -> None:
    """A line on stderr, the first time only."""
    if about in told:
        return
    told.add(about)
    try:
        sys.stderr.write(f"suitecase.tracking: {text}\n")
        sys.stderr.flush()
    except Exception:  # closed, or something of the user's own
        pass
