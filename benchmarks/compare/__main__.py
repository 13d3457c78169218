"""Other ways to run many cases, beside ours: time, memory, and what `kill -9` leaves.

    python3 dev.py compare [--quick] [--only NAMES] [--cases N] [--minutes N] [--environments FOLDER]

Installs each peer into an environment of its own, kept for the next time, and measures all in turn on this machine,
as ratios to xargs. A whole run writes the tables of docs/performance.md; `--quick` (200 cases), `--only` and `--cases`
print them. What can't be had here is named, and so is what doesn't fit into the time. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks.pages import ROOT, where, write_section

from .document import kill_table, memory_table, time_table
from .environments import NotThereError
from .kills import Left, kill
from .measured import become_reaper, end_all, measure
from .peers import BASELINE, PEERS, Peer, Ready, prepare
from .project import CONFIG, TRIVIAL, Template
from .timing import PARALLELISM, Cell, Clock, Column, Load, columns, time_column

PAGE = ROOT / "docs" / "performance.md"
ENVIRONMENTS = ROOT / ".cache" / "peers"
MINUTES, QUICK_MINUTES = 25.0, 6.0
FIRST_LIMIT_S = 120.0


def main() -> int:
    """Install, measure, and print or write."""
    options = arguments()
    if sys.platform != "linux":
        sys.stderr.write("dev.py compare: needs Linux, to count what orphans use.\n")
        return 2
    become_reaper()
    signal.signal(signal.SIGTERM, as_interrupt)
    wanted = [peer for peer in PEERS if not options.only or peer.name in (BASELINE, *options.only)]
    folder = Path(tempfile.mkdtemp(prefix="suitecase-compare-")).resolve()
    try:
        ready, missing = install(wanted, options.environments)
        text = measured(wanted, ready, missing, options, folder)
    except KeyboardInterrupt:
        tell("interrupted: everything that was started is being ended")
        return 130
    except NotThereError as error:
        sys.stderr.write(f"dev.py compare: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"dev.py compare: {error.filename or folder}: {error.strerror}\n")
        return 1
    finally:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)
    if options.cases or options.only:
        print(text)
    else:
        write_section(PAGE, "peers", text)
        tell(f"written: {PAGE.relative_to(ROOT)}")
    return 0


def arguments() -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        prog="dev.py compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {peer.name for peer in PEERS}
    parser.add_argument("--quick", action="store_true", help=f"200 cases only: {QUICK_MINUTES:g} minutes")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of: {', '.join(sorted(names))}")
    parser.add_argument("--cases", type=int, action="append", metavar="N", help="how many; may be given several times")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"for all measurements, {MINUTES:g} by default; a cell may take an eighth, and ten at most",
    )
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, metavar="FOLDER", help="of the peers")
    options = parser.parse_args()
    options.only = [name.strip() for name in options.only.split(",") if name.strip()]
    if unknown := [name for name in options.only if name not in names]:
        parser.error(f"no such peer: {', '.join(unknown)}. There are {', '.join(sorted(names))}")
    options.cases = options.cases or ([200] if options.quick else [])
    if not all(n > 0 for n in options.cases):
        parser.error(f"--cases {min(options.cases)}: give 1 or more")
    if options.minutes is None:
        options.minutes = QUICK_MINUTES if options.quick else MINUTES
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes:g}: give more than 0")
    options.environments = options.environments.absolute()
    return options


def install(wanted: Sequence[Peer], environments: Path) -> tuple[dict[str, Ready], dict[str, str]]:
    """The peers that can be had, and why not the others."""
    ready: dict[str, Ready] = {}
    missing: dict[str, str] = {}
    for peer in wanted:
        tell(f"{peer.name}: getting it ready")
        try:
            ready[peer.name] = prepare(peer, environments)
        except NotThereError as error:
            missing[peer.name] = str(error)
            tell(f"{peer.name}: not there: {error}")
    return ready, missing


def measured(
    wanted: Sequence[Peer], ready: dict[str, Ready], missing: dict[str, str], options: argparse.Namespace, folder: Path
) -> str:
    """Everything, as a section of the page."""
    load, started = Load(), time.monotonic()
    template = Template.make(folder / "template")
    missing |= {name: why for name in list(ready) if (why := try_once(ready[name], template, folder))}
    able = [ready[peer.name] for peer in wanted if peer.name in ready and peer.name not in missing]
    if BASELINE in missing:
        raise NotThereError(f"all is compared with {BASELINE}: {missing[BASELINE]}")
    left: dict[str, Left] = {}
    for each in able:
        left[each.peer.name] = kill(each, template, folder / "project", folder / "log")
        tell(f"kill -9, {each.peer.name}: {left[each.peer.name]}")
    clock = Clock.of(options.minutes * 60 - (time.monotonic() - started))
    found: dict[Column, dict[str, Cell]] = {}
    for column in columns(options.cases):
        found[column] = time_column(column, able, template, folder / "project", clock, tell)
    shown = {each.peer.name: each for each in able}
    trivial = {column: cells for column, cells in found.items() if column.case == TRIVIAL}
    took = f"{(time.monotonic() - started) / 60:.0f} minutes, in which other work took {load.others_share():.0%}"
    return "\n".join([
        f"{where()}, {platform.system()} {platform.release()}, {machine()}; {took} of the CPUs.\n",
        "Wall / CPU, as ratios to xargs; its own row in ms per case:\n",
        time_table(wanted, shown, found),
        "Memory of all its processes at the peak:\n",
        memory_table(wanted, shown, trivial),
        "After `kill -9` of its process, two cases having ended and two (in one process: one) being at work:\n",
        kill_table(wanted, left),
        *(f"Not there: {name}: {why}.\n" for name, why in missing.items()),
    ])  # fmt: skip


def try_once(ready: Ready, template: Template, folder: Path) -> str:
    """Why a peer can't do one case; empty if it can. What is read from the disk for the first time, is read here."""
    project = template.copy(folder / "project")
    log = folder / "log"
    log.unlink(missing_ok=True)
    env = template.environment(project, CONFIG, 1, PARALLELISM)
    used = measure(ready.command(ready.peer.command, 1, PARALLELISM), project, env, log, FIRST_LIMIT_S)
    if used.exit_code == 0:
        if ready.peer.is_ours:
            template.learn_environment(project)
        return ""
    said = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["nothing"]
    return f"it ended with {used.exit_code} and said: {said[-1][:160]}"


def machine() -> str:
    """The CPU's name, if the kernel tells it, and the memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def as_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def tell(text: str) -> None:
    """How far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
