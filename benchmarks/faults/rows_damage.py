"""B3: run directories that were damaged: bytes, lengths, missing files, foreign files, lines in the wrong place."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import peer
from .framework import Campaign, Outcome
from .preloaded import Ended, Launcher, launchers, make_project, spread
from .readback import read_back, run_directories
from .rows_failpoints import memory_folder

ROOT = Path(__file__).resolve().parents[2]
PROMISE = "a damaged run directory: repaired where that can be proved, or refused by name; never a failure called done"
ENVIRONMENT = {"FIXED": "/nonexistent", "CASES": "a,b,bad"}
NOTHING = "nothing was damaged"
RECORDS = ("journal.jsonl", "run.json", "a/config.json", "bad/config.json", "environment.json")
CHECKED = ("journal.jsonl", "run.json", "a/config.json", "bad/config.json")


@dataclass(frozen=True)
class Damage:
    """One damage, replayed by its number and the campaign's seed.

    Attributes:
        may_lose: Whether it takes away the last things that happened, which nothing can know of afterwards.
    """

    number: int
    kind: str
    text: str
    may_lose: bool
    do: Callable[[Path], None]

    def __str__(self) -> str:
        return f"damage {self.number} ({self.kind}: {self.text})"


def flip(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    at, bit = chance.randrange(size), chance.randrange(8)

    def do(run: Path) -> None:
        content = bytearray((run / path).read_bytes())
        content[at] ^= 1 << bit
        (run / path).write_bytes(content)

    # The last newline of a journal is all that tells its last line from an unfinished one.
    return f"{path}, bit {bit} of byte {at}", do, path == "journal.jsonl" and at == size - 1


def cut(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    length = chance.randrange(size)
    return (
        f"{path} to {length} bytes",
        lambda run: os.truncate(run / path, length),
        path == "journal.jsonl" and length > 0,
    )


def zeros(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    at = chance.randrange(size)

    def do(run: Path) -> None:
        content = (run / path).read_bytes()
        (run / path).write_bytes(content[:at] + bytes(len(content) - at))

    return f"{path} is zero from byte {at}", do, path == "journal.jsonl"


def remove(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    return f"{path} is gone", lambda run: (run / path).unlink(), False


def lines(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    """Journal lines lost, doubled, moved or swapped."""
    how, one, other = chance.choice(("lost", "doubled", "moved", "swapped")), chance.random(), chance.random()

    def do(run: Path) -> None:
        file = run / "journal.jsonl"
        all_lines = file.read_bytes().splitlines(keepends=True)
        # Not the last line: that one may be lost, and nothing can tell.
        first, second = (int(share * (len(all_lines) - 1)) for share in (one, other))
        line = all_lines[first]
        if how == "lost":
            del all_lines[first]
        elif how == "doubled":
            all_lines.insert(second, line)
        elif how == "moved":
            all_lines.insert(second, all_lines.pop(first))
        else:
            all_lines[first], all_lines[second] = all_lines[second], all_lines[first]
        file.write_bytes(b"".join(all_lines))

    return f"line at {one:.2f} {how} (to {other:.2f})", do, False


def foreign(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    """Something else where a file should be, or something that should not be there."""
    how = chance.choice(
        ("a folder", "a link elsewhere", "a pipe", "another run's file", "a stray file", "a stray folder")
    )

    def do(run: Path) -> None:
        target = run / path
        if how == "a stray file":
            (run / f"stray-{chance.random()}").write_bytes(b"\0\xff" * 50)
            return
        if how == "a stray folder":
            (run / "stray").mkdir()
            (run / "stray" / "config.json").write_bytes(b"\0")
            return
        content = target.read_bytes()
        target.unlink()
        if how == "a folder":
            target.mkdir()
        elif how == "a link elsewhere":
            target.symlink_to("/etc/hostname")
        elif how == "a pipe":
            os.mkfifo(target)
        else:
            target.write_bytes(content.replace(b"exp", b"oxp").replace(b'"x"', b'"y"'))

    return f"{how} at {path}", do, False


def glued(path: str, chance: random.Random, size: int) -> tuple[str, Callable[[Path], None], bool]:
    """What a crashed writer, or somebody with an editor, may have left at the end of a journal."""
    forged = b'{"event":"case_ended","variant":"bad","status":"succeeded"}\n'
    tail = chance.choice(
        (b'{"event":"case_en', b"{}\n", b"[]\n", b"null\n", b"\n", bytes(100), forged, b"\xff\xfe", b"  ")
    )

    def do(run: Path) -> None:
        with (run / "journal.jsonl").open("ab") as journal:
            journal.write(tail)

    return f"{tail[:20]!r} at the end of the journal", do, False


KINDS = (flip, flip, flip, cut, cut, zeros, remove, lines, lines, foreign, glued)


def damages(chance: random.Random, count: int, run: Path) -> list[Damage]:
    made: list[Damage] = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        # A journal is what most depends on, and what is longest.
        path = chance.choice(("journal.jsonl", *RECORDS) if kind in (flip, cut, zeros) else RECORDS)
        text, do, may_lose = kind(path, chance, (run / path).stat().st_size)
        made.append(Damage(number, kind.__name__, text, may_lose, do))
    return made


def damaged_runs(campaign: Campaign) -> Outcome:
    """B3: damage a run in which `bad` failed, resume it where `bad` would fail again."""
    started = time.monotonic()
    chance = campaign.random("B3")
    with memory_folder(campaign, "B3") as folder:
        project = make_project(folder / "project", ROOT)
        with launchers(campaign.workers, project, folder, campaign.python) as made:
            whole = folder / "whole"
            made[0].run("--results-dir", str(whole), "-p", "1", env=ENVIRONMENT)
            chosen = damages(chance, 44 if campaign.quick else 1_030, run_directories(whole)[0])

            def told(done: int) -> None:
                if done % 200 == 0:
                    campaign.progress(f"B3: {done} of {len(chosen)} damages")

            results = spread(made, chosen, lambda one, damage: try_damage(one, whole, folder, damage), told)
        torn = [torn_results(campaign, folder, chance) for _ in range(5 if campaign.quick else 20)]
        peers = peer.share_wrong(campaign, folder, torn)
    bad = [f"{damage}: {wrong}" for damage, (_, wrong) in zip(chosen, results, strict=True) if wrong]
    tried = sum(did != NOTHING for did, _ in results)
    return Outcome(
        row="B3", promise=PROMISE, tried=tried, held=tried - len(bad), survivors_or_bad=bad,
        fired=tried, seconds=time.monotonic() - started, peer=peers,
        detail={
            "what resume did": dict(Counter(did for did, _ in results)),
            "damages by kind": dict(Counter(damage.kind for damage in chosen)),
        },
    )  # fmt: skip


def try_damage(launcher: Launcher, whole: Path, folder: Path, damage: Damage) -> tuple[str, str]:
    """What resume did with a damage, and what is wrong with that."""
    results = folder / f"damage-{damage.number}"
    shutil.copytree(whole, results)
    run = run_directories(results)[0]
    was = {path: (run / path).read_bytes() for path in CHECKED}
    before = read_back(run)
    try:
        intact = contents(run)
        damage.do(run)
        if contents(run) == intact:
            return NOTHING, ""
        spoilt = listing(results)
        ended = launcher.run("--results-dir", str(results), "--resume", str(run), env=ENVIRONMENT)
        if ended.code == 2:
            return "refused", "; ".join(refusal(ended, results, spoilt))
        wrong = ["traceback: " + ended.stderr.strip().splitlines()[-1][:200]] if "Traceback" in ended.stderr else []
        if ended.code != 1:
            # `bad` fails again, so that 1 is the only honest end of a resume.
            return f"ended with {ended.code}", "; ".join(
                [*wrong, f"exit code {ended.code}: {ended.stderr.strip()[:300]}"]
            )
        wrong += acceptance(ended, run, was, before.starts, damage)
        return "went on", "; ".join(wrong)
    finally:
        shutil.rmtree(results, ignore_errors=True)


def contents(run: Path) -> dict[str, bytes]:
    """What is where; links and pipes by their names, which is enough to see that something was done."""
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else b"" for path in run.rglob("*")
    }


def refusal(ended: Ended, results: Path, spoilt: dict[str, tuple[int, int]]) -> list[str]:
    wrong: list[str] = []
    if "Traceback" in ended.stderr or not ended.stderr.strip():
        wrong.append(f"refused without a sentence: {ended.stderr.strip()[-200:]!r}")
    elif not any(word in ended.stderr for word in ("/", "case '", "run.json", "journal")):
        wrong.append(f"refused without a name: {ended.stderr.strip()[:200]!r}")
    if listing(results) != spoilt:
        wrong.append("refused, and changed something")
    return wrong


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def acceptance(ended: Ended, run: Path, was: dict[str, bytes], starts: dict[str, int], damage: Damage) -> list[str]:
    """What is wrong with a resume that went on: the failed case must have run, the succeeded ones not."""
    try:
        after = read_back(run)
    except (OSError, ValueError) as error:
        return [f"went on, and the run can't be read: {error}"]
    wrong = [f"left as it was: {text}" for text in after.torn if "environment" not in text and "stray" not in text]
    if "[OK] bad" in ended.stdout or after.successes["bad"]:
        wrong.append("the failed case is called done")
    if after.starts.get("bad") != starts["bad"] + 1:
        wrong.append("the failed case was not run")
    again = [name for name in ("a", "b") if after.starts.get(name) != starts[name]]
    if again and not damage.may_lose:
        wrong.append(f"succeeded, and ran again: {again}")
    for path, content in was.items():
        if path != "journal.jsonl" and (run / path).read_bytes() != content:
            wrong.append(f"{path} is still damaged, and nobody was told")
    if not damage.may_lose and after.lines[: content_lines(was)] != was["journal.jsonl"].split(b"\n")[:-1]:
        wrong.append("the journal is still damaged, and nobody was told")
    return wrong


def content_lines(was: dict[str, bytes]) -> int:
    return was["journal.jsonl"].count(b"\n")


def torn_results(campaign: Campaign, folder: Path, chance: random.Random) -> Callable[[Path], None]:
    """The seed-shaped runner's only record, cut off somewhere."""
    share: Sequence[float] = (chance.random(),)

    def attempt(run_dir: Path) -> None:
        peer.runs(peer.command(campaign, run_dir))
        file = run_dir / "a" / "results.json"
        os.truncate(file, int(share[0] * file.stat().st_size))

    return attempt
