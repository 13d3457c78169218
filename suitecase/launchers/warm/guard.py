"""The guardian of a warm run: it has cases forked by a server instead of starting an interpreter for each.

A case is a child of the server, which reaps it when the guardian asks for that. If the server dies, its cases go on:
they come to the guardian, which is a subreaper, as its own children. So a tree is supervised like any other.
"""

from __future__ import annotations

import os
import re
import resource
import secrets
import selectors
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import experiment_runner as runner
from suitecase.launchers.warm.preloads import Preloads, read_report, save_preloads
from suitecase.launchers.warm.server import HOOK, ForkServer

__all__ = ["WarmGuard", "guard_cases"]

READ_AT_IMPORT = re.compile(
    "PYTHON|LD_|LC_|LANG|MALLOC_|GLIBC_|OMP_|GOMP_|KMP_|MKL_|OPENBLAS_|GOTO_|BLIS_|NUMEXPR_|VECLIB_|ATEN_|NCCL_"
)
"""Variables that C code reads when it is loaded. Those that Python code reads are seen by the server's `Watch`."""

RENEWED = frozenset({"INSPECT_LOG_DIR"})
"""Variables that a library reads when it is imported, and the server gives to it again in each case."""

WITHHELD = (b"COVERAGE_PROCESS_START", b"COVERAGE_PROCESS_CONFIG")
"""Variables that only cases get: the server itself is not to be measured."""

PRELOAD_LIMIT_S, ANSWER_LIMIT_S = 300.0, 60.0
LEARN_LIMIT_S = 6.0  # others wait for the first case: one that takes longer gains little by what it imports
LAST_ANSWER_LIMIT_S = 0.5  # where a case is only waited for because the server hasn't reaped it
MOST_PASSES = 8  # servers that are started to find what must be left out
MOST_LOSSES = 2  # of servers in a row that forked nothing
MOST_NAMED = 8  # modules in one line


@dataclass(frozen=True)
class Wanted:
    """A launch that waits for the server."""

    mark: int
    command: list[str]
    environment: dict[str, str]
    log: str
    memory_bytes: int | None


class WarmGuard(runner.Guard):
    """The guardian's loop, with a fork server beside it.

    Attributes:
        server: The fork server that is in use or gets ready; None before the first, and where cases start cold.
        ready: Whether it has preloaded, and forks.
        waiting: Launches that it was not given yet. It has at most one that it has not answered, `asked`.
        forked: Cases that it has forked and not reaped, with their pidfds.
        reaping: Those that it was asked to reap, with the time of that (monotonic).
        ends: What is to become of `asked`: the signal, and when its grace is over (monotonic).
        due: When it must have answered (monotonic).
        learn_until: Until when (monotonic) others wait for a case that is to tell what to preload.
    """

    server: ForkServer | None = None
    preloads: Preloads

    def __init__(self, lifeline: Any) -> None:
        super().__init__(lifeline)
        self.ready = self.halted = False
        self.waiting: deque[Wanted] = deque()
        self.asked: Wanted | None = None
        self.ends: dict[int, tuple[int, float]] = {}
        self.forked: dict[int, int] = {}
        self.reaping: dict[int, float] = {}
        self.unprepared: dict[int, int] = {}
        self.reports: dict[int, Path] = {}
        self.trying = self.outdated = False
        self.variables: frozenset[str] = frozenset()
        self.importing = ""
        self.passes = self.losses = 0
        self.due = self.learn_until = float("inf")

    def warm(
        self, entry_point: str, python: str, folders: list[str], mark: int, cache: str | None,
        modules: list[str] | None, left_out: dict[str, str], proved: bool, never: list[str],
    ) -> None:  # fmt: skip
        """Use a fork server for this run.

        Args:
            folders: Where what is installed lies.
            mark: What identifies the server, as marks identify attempts.
            cache: Where the modules to preload are kept.
            modules: Those, in the order of their import; None if they are not known yet.
            proved: Whether a server has preloaded them before.
            never: Modules that the user doesn't want preloaded.
        """
        self.entry_point, self.python, self.folders, self.server_mark = entry_point, python, folders, mark
        self.cache = Path(cache) if cache else None
        self.never = tuple(never)
        self.preloads = Preloads(modules, left_out, proved)
        hash_seed = self.environment.get("PYTHONHASHSEED")
        self.hash_seed = hash_seed or str(1 + secrets.randbelow(2**32 - 1))  # 0 would turn the hashing of text plain
        # Should this Python not import `sitecustomize`, its first server has nothing to execute.
        self.trying = not proved
        self.start_server()

    # --- the server

    def server_environment(self) -> dict[bytes, bytes]:
        own = {name.encode("latin-1"): value.encode("latin-1") for name, value in self.environment.items()}
        path = [os.fsencode(HOOK), *filter(None, [own.get(b"PYTHONPATH")])]
        added = {b"PYTHONPATH": os.fsencode(os.pathsep).join(path)}
        if b"PYTHONHASHSEED" not in own:
            added |= {b"PYTHONHASHSEED": self.hash_seed.encode(), b"SUITECASE_HASH_SEED": b"1"}
        return {name: value for name, value in (own | added).items() if name not in WITHHELD}

    def start_server(self) -> None:
        self.ready = self.outdated = False
        program = os.devnull if self.trying else self.entry_point
        with suppress(ValueError, OSError):  # not the mark of the last case that started cold
            resource.setrlimit(runner.RLIMIT_LOCKS, (self.server_mark, resource.getrlimit(runner.RLIMIT_LOCKS)[1]))
        try:
            self.server = ForkServer(
                [self.python.encode("latin-1"), program.encode("latin-1")], self.server_environment(), self.selector,
                self.hear, self.server_lost,
            )  # fmt: skip
        except OSError as error:
            self.give_up(f"the fork server can't be started: {error.strerror}")
            return
        self.due = time.monotonic() + PRELOAD_LIMIT_S
        if self.trying:
            return  # until it says hello
        self.passes += 1
        wanted = [name for name in self.preloads.modules or () if not self.is_never(name)]
        blocked = [*self.never, *self.preloads.left_out]
        self.server.send("preload", wanted, self.folders, blocked, self.passes > 1 or not self.preloads.proved)

    def is_never(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") for other in self.never)

    def close_server(self) -> None:
        """End the server; the cases that it has forked are our children from now on."""
        server, self.server = self.server, None
        if server is not None:
            server.close()
        self.ready, self.due = False, float("inf")
        self.reap()
        for pid in [*self.forked, *self.reaping.keys() - self.forked.keys()]:
            self.forget(pid)
            if pid in self.by_pid and not os.path.exists(f"/proc/{pid}"):
                self.lose(self.by_pid.pop(pid))  # it was reaped, and the server ended before it said so

    def give_up(self, reason: str) -> None:
        """Start the rest of the cases cold."""
        self.close_server()
        self.note(f"{reason}. Cases start cold.")
        self.feed()

    def note(self, text: str) -> None:
        self.tell(event="note", text=text)

    def server_lost(self) -> None:
        """The server is gone: its cases are ours now, and the one that it was about to fork may be lost."""
        if self.server is None:
            return
        said, preloading = self.server.said(), not self.ready
        self.close_server()
        if self.trying:
            self.give_up("this Python doesn't import `sitecustomize` from PYTHONPATH")
            return
        if (asked := self.asked) is not None:
            self.asked = None
            tree = runner.Tree(asked.mark, 0, False)
            self.trees[asked.mark] = tree
            self.lose(tree)
        self.losses += 1
        if preloading and self.importing and self.passes < MOST_PASSES:
            self.preloads.left_out[self.importing] = "ends the process"
            self.importing = ""
        elif self.losses > MOST_LOSSES:
            self.give_up(f"the fork server ended {self.losses} times in a row{f' ({said})' if said else ''}")
            return
        else:
            self.note(f"the fork server ended{f' ({said})' if said else ''}, and is started again.")
        if self.lifeline:
            self.start_server()

    def lose(self, tree: runner.Tree) -> None:
        """Nobody saw how a tree's first process ended; `settle` ends what is left of it, and tells."""
        tree.ended = {"lost": 1}
        self.ending[tree.mark] = tree

    def wait_for_answer(self) -> None:
        """Begin to wait for the next answer, if there is one to come."""
        if self.ready:
            self.due = time.monotonic() + ANSWER_LIMIT_S if self.asked or self.reaping else float("inf")

    def tick(self) -> None:
        """Called by the runner every second: nothing is waited for too long."""
        if time.monotonic() >= self.due and self.server is not None:
            runner.kill(self.server.pid, runner.signal.SIGKILL)
        self.feed()  # the case that tells what to preload may have been waited for long enough

    def settle(self) -> None:
        """End a server as well that keeps cases from ending: they, and how they ended, come to us."""
        if self.server is not None and self.keeps_from_ending():
            runner.kill(self.server.pid, runner.signal.SIGKILL)
        super().settle()

    def keeps_from_ending(self) -> bool:
        """Whether the server has not answered, and nothing but the end of cases is waited for."""
        now = time.monotonic()
        if self.asked is not None and self.lifeline is not None:
            _, kill_at = self.ends.get(self.asked.mark, (0, float("inf")))
            return now >= kill_at + LAST_ANSWER_LIMIT_S
        late = [pid for pid, asked in self.reaping.items() if now >= asked + LAST_ANSWER_LIMIT_S]
        # If it has just ended, `reap` may have had them already.
        return any(pid in self.by_pid and now >= self.by_pid[pid].kill_at for pid in late)

    # --- what the server says

    def hear(self, name: str, details: list[Any]) -> None:
        getattr(self, f"hear_{name}")(*details)

    def hear_hello(self) -> None:
        if self.trying:
            self.trying = False
            self.close_server()
            self.start_server()

    def hear_importing(self, name: str) -> None:
        self.importing = name

    def hear_ready(self, loaded: list[str], left_out: dict[str, str], variables: list[str]) -> None:
        self.importing = ""
        if left_out and self.passes < MOST_PASSES:
            self.preloads.left_out.update(left_out)
            self.close_server()
            self.start_server()
            return
        if left_out:
            self.give_up(f"these modules can't be preloaded: {', '.join(left_out)}")
            return
        if not self.preloads.proved and self.preloads.modules is not None:
            self.preloads.proved = True
            self.tell_left_out()
            if self.cache:
                save_preloads(self.cache, self.preloads)
        self.ready, self.due, self.variables = True, float("inf"), frozenset(variables)
        self.feed()

    def tell_left_out(self) -> None:
        """Say what is not preloaded, and why; but not of what only imports such modules."""
        known = self.preloads.left_out
        left_out = {name: why for name, why in known.items() if why.removeprefix("imports ") not in known}
        if left_out:
            reasons = "; ".join(f"{name} {why}" for name, why in list(left_out.items())[:MOST_NAMED])
            more = f"; and {len(left_out) - MOST_NAMED} more" if len(left_out) > MOST_NAMED else ""
            self.note(f"not preloaded: {reasons}{more}.")

    def hear_forked(self, mark: int, pid: int) -> None:
        self.asked, self.losses = None, 0
        self.wait_for_answer()
        tree = self.trees[mark] = self.by_pid[pid] = runner.Tree(mark, pid, False)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:  # the server died, and it with it
            self.lose(self.by_pid.pop(pid))
        except OSError:  # it can't be followed, and must not work on unseen
            runner.kill(pid, runner.signal.SIGKILL)
            self.have_reaped(pid)
        else:
            self.forked[pid] = descriptor
            self.selector.register(descriptor, selectors.EVENT_READ, partial(self.case_ended, pid))
        self.tell(event="started", mark=mark, pid=pid, hash_seed=self.hash_seed)
        if mark in self.ends or self.lifeline is None:
            now = time.monotonic()
            number, kill_at = self.ends.pop(mark, (self.first_signal, now + self.grace_s))
            self.end(mark, number, kill_at - now)
        if self.halted:
            self.signal_members(tree, runner.signal.SIGSTOP)
        self.feed()

    def hear_refused(self, mark: int, errno: int) -> None:
        """The system would have no other process."""
        self.asked = None
        self.reports.pop(mark, None)
        self.wait_for_answer()
        self.tell(event="refused", mark=mark, errno=errno)
        self.feed()

    def hear_unprepared(self, mark: int, errno: int) -> None:
        """A process was forked, could not have its log, and ends."""
        self.unprepared[mark] = errno

    def hear_ended(self, pid: int, status: int, user_s: float, system_s: float, rss: int) -> None:
        self.forget(pid)
        tree = self.by_pid.pop(pid)
        self.ending[tree.mark] = tree
        tree.ended = {
            "wait_status": status, "user_cpu_s": round(user_s, 6), "system_cpu_s": round(system_s, 6),
            "max_rss_bytes": rss * 1024,
        }  # fmt: skip
        self.wait_for_answer()

    def case_ended(self, pid: int, _: int) -> None:
        """Have the server reap a case that has ended."""
        if pid in self.forked and self.server is not None:
            self.selector.unregister(self.forked[pid])
            self.have_reaped(pid)

    def have_reaped(self, pid: int) -> None:
        if self.server is not None:
            self.reaping[pid] = time.monotonic()
            self.server.send("reap", pid)
            self.wait_for_answer()

    def forget(self, pid: int) -> None:
        """Watch a case no longer."""
        self.reaping.pop(pid, None)
        descriptor = self.forked.pop(pid, None)
        if descriptor is not None:
            with suppress(KeyError):
                self.selector.unregister(descriptor)
            os.close(descriptor)

    # --- launching

    def launch(
        self, mark: int, command: list[str], environment: dict[str, str], log: str | None,
        memory_bytes: int | None, isolated: bool,
    ) -> None:  # fmt: skip
        forkable = self.server is not None and command[:2] == [self.python, self.entry_point]
        if not forkable or isolated or log is None:
            super().launch(mark, command, environment, log, memory_bytes, isolated)
            return
        self.waiting.append(Wanted(mark, command, environment, log, memory_bytes))
        self.feed()

    def feed(self) -> None:
        """Give the server the next launch, if it is free; start cold what a fork would change."""
        if self.outdated and self.asked is None:
            self.close_server()
            self.start_server()
        while self.waiting and self.can_launch():
            wanted = self.waiting.popleft()
            if self.server is None or self.differs(wanted.environment):
                super().launch(
                    wanted.mark, wanted.command, wanted.environment, wanted.log, wanted.memory_bytes, isolated=False
                )
            else:
                self.ask(self.server, wanted)

    def can_launch(self) -> bool:
        """Whether the next launch may be made: nothing has to be waited for."""
        return (
            self.asked is None and not self.halted and (self.server is None or (self.ready and not self.is_learning()))
        )

    def is_learning(self) -> bool:
        """Whether a case is waited for that is to tell what to preload."""
        return self.preloads.modules is None and bool(self.reports) and time.monotonic() < self.learn_until

    def differs(self, environment: dict[str, str]) -> bool:
        """Whether a case has another value of a variable that preloaded modules have read, or have set."""
        return any(
            self.environment.get(name) != value and (name in self.variables or READ_AT_IMPORT.match(name))
            for name, value in environment.items()
            if not name.startswith("SUITECASE_") and name not in RENEWED
        )

    def ask(self, server: ForkServer, wanted: Wanted) -> None:
        try:
            os.close(os.dup(0))  # its pidfd will need a descriptor
        except OSError as error:
            self.tell(event="refused", mark=wanted.mark, errno=error.errno)
            return
        withheld = {name: self.environment[name.decode()] for name in WITHHELD if name.decode() in self.environment}
        variables = {name: value.encode("latin-1") for name, value in withheld.items()}
        variables |= {name.encode("latin-1"): v.encode("latin-1") for name, v in wanted.environment.items()}
        report: list[Any] | None = None
        if self.preloads.modules is None and self.cache:
            self.reports[wanted.mark] = self.cache.with_suffix(f".{wanted.mark}")
            report = [os.fsencode(self.reports[wanted.mark]), self.folders]
            self.learn_until = min(self.learn_until, time.monotonic() + LEARN_LIMIT_S)
        arguments = [argument.encode("latin-1") for argument in wanted.command[2:]]
        self.asked = wanted
        self.wait_for_answer()
        server.send(
            "launch", wanted.mark, arguments, variables, wanted.log.encode("latin-1"), wanted.memory_bytes, report
        )

    def tell(self, **message: Any) -> None:
        if message["event"] != "ended":
            super().tell(**message)
            return
        mark = message["mark"]
        if (errno := self.unprepared.pop(mark, None)) is not None:
            message = {"event": "refused", "mark": mark, "errno": errno}
        super().tell(**message)
        if report := self.reports.pop(mark, None):
            self.learn(report, succeeded=message.get("wait_status") == 0)

    def learn(self, report: Path, succeeded: bool) -> None:
        """Preload, from now on, what the first case to succeed had imported at its end."""
        modules = read_report(report)
        if succeeded and modules is not None and self.preloads.modules is None and self.server is not None:
            self.preloads.modules = list(modules)
            if self.cache:
                save_preloads(self.cache, self.preloads)  # the run may be over before a server has tried them
            self.passes = 0
            self.outdated = True
        self.feed()

    # --- ending

    def end(self, mark: int, signal: int, grace_s: float) -> None:
        if self.asked is not None and self.asked.mark == mark:
            self.ends[mark] = (signal, time.monotonic() + grace_s)
        waiting = next((wanted for wanted in self.waiting if wanted.mark == mark), None)
        if waiting is not None:
            self.waiting.remove(waiting)
            self.tell(event="refused", mark=mark, errno=None, cause="it was ended before it could start")
        super().end(mark, signal, grace_s)

    def runner_is_gone(self, _: int = 0) -> None:
        self.waiting.clear()
        super().runner_is_gone()

    def stop(self) -> None:
        self.halted = True
        super().stop()

    def go_on(self) -> None:
        self.halted = False
        super().go_on()
        self.feed()


def guard_cases(lifeline: int, lock: int) -> None:
    """The life of a warm run's guardian."""
    runner.guard_cases(lifeline, lock, WarmGuard)
