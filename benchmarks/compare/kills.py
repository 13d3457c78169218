"""What each peer leaves behind when `kill -9` meets it, and what it makes of that when it is called again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .measured import descendants, end_all, measure, wait_until
from .peers import Ready
from .project import HOLD, Template, outside

__all__ = ["Left", "kill"]

CASES, FREE, PARALLELISM = 6, 2, 2
AFTER_S = 3.0
"""How long after the kill processes are counted."""
UP_S = AGAIN_S = 90.0


@dataclass(frozen=True)
class Left:
    """What was found.

    Attributes:
        problem: Why nothing was found: the peer never came as far as the kill. Empty otherwise.
        at_work: Cases that were at work when it was killed.
        alive: Of their processes, how many were alive three seconds later.
        others_alive: Further processes of the peer, then: workers, shells, servers.
        half: Results that were left half written.
        again_failed: How the documented way to go on failed; empty if it didn't.
        ended: Cases that had ended before.
        done_again: Of these, how many were run again.
        half_kept: Of the half results, how many were there still when it said that all is done.
        whole: Of all six results, how many were whole in the end.
    """

    problem: str = ""
    at_work: int = 0
    alive: int = 0
    others_alive: int = 0
    half: int = 0
    again_failed: str = ""
    ended: int = 0
    done_again: int = 0
    half_kept: int = 0
    whole: int = 0


@dataclass(frozen=True)
class Marks:
    """What the cases of a project have written down outside."""

    folder: Path

    def began(self) -> dict[int, list[tuple[int, Path]]]:
        """Case -> pid and folder, each time."""
        found: dict[int, list[tuple[int, Path]]] = {}
        for file in self.folder.glob("began-*"):
            lines = [line.split(" ", 1) for line in file.read_text().splitlines()]
            found[int(file.name.removeprefix("began-"))] = [(int(pid), Path(folder)) for pid, folder in lines]
        return {n: times for n, times in found.items() if times}

    def ended(self) -> set[int]:
        """The cases that have come to their end."""
        return {int(file.name.removeprefix("ended-")) for file in self.folder.glob("ended-*")}


def kill(ready: Ready, template: Template, folder: Path, log: Path) -> Left:
    """Let two of six cases end and others write half a result, kill the peer's own process, and go on.

    What is alive afterwards is ended before the peer is called again, as by a machine that went down: that a second
    copy would run beside the first is no part of this.
    """
    project = template.copy(folder)
    marks = Marks(outside(project))
    env = template.environment(project, HOLD, CASES, PARALLELISM)
    expected = FREE + min(PARALLELISM, ready.peer.at_once)
    with log.open("ab") as output:
        process = subprocess.Popen(
            ready.command(ready.peer.command, CASES, PARALLELISM), cwd=project, env=env,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        up = wait_until(lambda: len(marks.began()) == expected or process.poll() is not None, UP_S)
        if not up or process.returncode is not None:
            how = f"ended with {process.returncode}" if up else f"was not up after {UP_S:.0f} s"
            return Left(f"{how}, before it was killed")
        wait_until(lambda: len(marks.ended()) == FREE, UP_S)
        process.kill()
        process.wait()
        wait_until(lambda: not descendants(), AFTER_S)
        alive = descendants()
    finally:
        end_all()
        process.returncode = process.returncode or 0  # it is reaped; else Popen complains that it never asked
    return go_on(ready, project, env, marks, alive, log)


def go_on(ready: Ready, project: Path, env: dict[str, str], marks: Marks, alive: Sequence[int], log: Path) -> Left:
    """Count what is left, then do what the peer's manual says and count again."""
    before, ended = marks.began(), marks.ended()
    held = {n: times[-1] for n, times in before.items() if n not in ended}
    half = [n for n, (_, folder) in held.items() if not is_whole(folder)]
    (marks.folder / "released").touch()
    failed: list[str] = []
    for arguments in ready.peer.again or (ready.peer.command,):
        used = measure(ready.command(arguments, CASES, PARALLELISM), project, env, log, AGAIN_S)
        if used.exit_code != 0:
            failed.append("stopped" if used.exit_code is None else f"exit code {used.exit_code}")
    after = marks.began()
    cases_alive = sum(pid in alive for pid, _ in held.values())
    return Left(
        at_work=len(held),
        alive=cases_alive,
        others_alive=len(alive) - cases_alive,
        half=len(half),
        again_failed=", ".join(failed),
        ended=len(ended),
        done_again=sum(len(after[n]) > len(before[n]) for n in ended),
        half_kept=sum(not is_whole(after[n][-1][1]) for n in half),
        whole=sum(is_whole(times[-1][1]) for times in after.values()),
    )


def is_whole(folder: Path) -> bool:
    """Whether a case's result can be read."""
    try:
        json.loads((folder / "results.json").read_bytes())
    except (OSError, ValueError):
        return False
    return True
