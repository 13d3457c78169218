"""The launcher `warm`, seen from the runner."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import experiment_runner as runner
import suitecase
from suitecase.launchers.warm.preloads import Preloads, cache_file, installed_folders, load_preloads

__all__ = ["Warm"]

log = logging.getLogger("suitecase.warm")

GUARDIAN = (
    "import sys; sys.path += sys.argv[2:4]; "
    "__import__('suitecase.launchers.warm.guard', fromlist=['guard']).guard_cases(*map(int, sys.argv[4:]))"
)
NOTE = b'{"event":"note",'
"""How messages of the guardian begin that are for people."""

MODULE_NAMES = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Warm(runner.Local):
    """Cases as forks of one process that has imported the installed modules already.

    Args:
        preload: Names of modules, with commas between them, to preload instead of those that the first case to
            succeed had imported.
        no_preload: Names of modules that must not be preloaded, nor anything below them.

    Raises:
        SuiteError: Something that is no name of a module.
    """

    name = "warm"

    def __init__(self, preload: str = "", no_preload: str = "") -> None:
        self.options = {"preload": preload, "no_preload": no_preload}
        self.preload, self.never = names_of(preload), names_of(no_preload)
        wrong = [
            f"launcher 'warm': {option}: {name!r} is no name of a module. Give names with commas between them."
            for option, names in (("preload", self.preload), ("no_preload", self.never))
            for name in names
            if not MODULE_NAMES.fullmatch(name)
        ]
        if wrong:
            raise runner.SuiteError(wrong)

    def describe(self) -> dict[str, str]:
        return {option: value for option, value in self.options.items() if value}

    def preview(self, session: runner.Session, needs: Mapping[str, runner.Resources]) -> str:
        if reason := cold_reason(session):
            return f"warm: cases start cold: {reason}."
        try:
            known = self.known(session)[0]
        except OSError as error:
            return f"warm: nothing is preloaded: {error}"
        if known.modules is None:
            return "warm: what to preload is learned from the first case that succeeds."
        return f"warm: {len(set(known.modules) - known.left_out.keys())} modules are preloaded."

    def known(self, session: runner.Session) -> tuple[Preloads, Path | None]:
        """What to preload as far as that is known, and where it is kept.

        Raises:
            OSError: It can't be kept.
        """
        if self.preload:
            return Preloads(list(self.preload)), None
        try:
            kept = cache_file(session.entry_point, session.environment)
        except RuntimeError as error:
            raise OSError(f"{error} XDG_CACHE_HOME would name another folder.") from error
        return load_preloads(kept), kept

    def known_and_kept(self) -> tuple[Preloads, Path | None]:
        """`known`, with the folder made; nothing to preload where that is impossible."""
        try:
            known, kept = self.known(self.session)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=kept.parent):
                    pass
        except OSError as error:
            log.warning("warm: nothing is preloaded, since what a case tells can't be kept: %s", error)
            return Preloads([]), None
        return known, kept

    def open(self, session: runner.Session, lock: int, wakeup: int) -> None:
        self.cold = cold_reason(session)
        if self.cold and not session.foreground:
            log.warning("warm: cases start cold: %s.", self.cold)
        self.server_mark = runner.FIRST_MARK + (secrets.randbits(31) << 20) + (1 << 20) - 1
        self.next_tick = time.monotonic() + 1
        super().open(session, lock, wakeup)

    def guardian_command(self) -> list[str]:
        folders = [str(Path(module.__file__ or "").resolve().parent) for module in (runner, suitecase)]
        folders[1] = str(Path(folders[1]).parent)
        return [sys.executable, "-I", "-S", "-c", GUARDIAN, "--guardian", *folders]

    def start_guardian(self) -> None:
        super().start_guardian()
        if self.cold:
            return
        known, cache = self.known_and_kept()
        self.send(
            do="warm", entry_point=runner.portable_text(str(self.session.entry_point)),
            python=runner.portable_text(sys.executable),
            folders=installed_folders(), mark=self.server_mark, cache=cache and str(cache), modules=known.modules,
            left_out=known.left_out, proved=known.proved, never=self.never,
        )  # fmt: skip

    def wait(self, timeout_s: float) -> list[runner.Event]:
        if time.monotonic() >= self.next_tick and not self.cold:
            self.next_tick = time.monotonic() + 1
            self.send(do="tick")
        return super().wait(timeout_s)

    def messages(self) -> list[runner.Event]:
        *lines, rest = self.unread.split(b"\n")
        for line in [line for line in lines if line.startswith(NOTE)]:
            lines.remove(line)
            log.warning("warm: %s", json.loads(line)["text"])
        self.unread = b"\n".join([*lines, rest])
        return super().messages()

    def event_of(self, event: str, mark: int, **facts: Any) -> runner.Event:
        if event == "started":
            seed = facts.get("hash_seed")
            start = {"start": "warm", "hash_seed": seed} if seed else {"start": "cold"}
            return runner.Started(mark, facts["pid"], os.uname().nodename, start)
        if event == "refused" and "cause" in facts:
            del self.guarded[mark]
            return runner.Refused(mark, None, facts["cause"])
        if "lost" in facts:
            del self.guarded[mark]
            cause = "the fork server was killed, and the case could not be followed"
            return runner.Ended(mark, None, fault="lost", cause=cause)
        return super().event_of(event, mark, **facts)

    def replace_lost(self) -> list[runner.Event]:
        runner.end_marked({self.server_mark})  # it may be in the middle of an import, and not see that it is alone
        return super().replace_lost()


def names_of(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def cold_reason(session: runner.Session) -> str:
    """Why a run can't have a fork server; empty if it can."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return "a fork server needs Linux"
    if session.foreground:
        return "--debug gives the case the terminal"
    if session.entry_point.suffix != ".py":
        return f"{session.entry_point.name} is no Python script"
    return ""
