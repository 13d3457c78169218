"""Which modules an entry point needs: learned from a case, kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import site
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Preloads", "cache_file", "installed_folders", "load_preloads", "read_report", "save_preloads"]

MOST_FILES = 200
"""Files of the cache; the oldest go. Every edit of an entry point makes another one, of 5 to 50 kB."""


@dataclass
class Preloads:
    """What to preload.

    Attributes:
        modules: In the order in which a case imported them; None if no case has told yet.
        left_out: Why some of them, and others, must not be imported before a fork.
        proved: Whether a server has preloaded them, and found nothing more to leave out.
    """

    modules: list[str] | None = None
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    proved: bool = False


def installed_folders() -> list[str]:
    """Where Python's own modules and installed ones lie; what lies elsewhere is never preloaded."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), site.getusersitepackages()]
    paths += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*paths, *map(os.path.realpath, paths)]))


def cache_file(entry_point: Path, environment: Mapping[str, str]) -> Path:
    """Where the modules of an entry point are kept, as it is now, for this Python and what is installed for it.

    Raises:
        OSError: The entry point can't be read.
        RuntimeError: There is no home.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    folder = Path(named if os.path.isabs(named) else Path.home() / ".cache", "suitecase", "warm")  # as XDG demands
    known = hashlib.sha256(entry_point.read_bytes())
    python = {name: value for name, value in environment.items() if name.startswith("PYTHON")}
    facts = [str(entry_point), sys.executable, sys.version, sorted(python.items()), packages()]
    known.update(json.dumps(facts).encode(errors="surrogateescape"))
    return folder / f"{known.hexdigest()[:32]}.json"


def packages() -> list[str]:
    """What is installed, with versions, as the names in the folders of packages tell it."""
    found: set[str] = set()
    for folder in installed_folders():
        with suppress(OSError):
            found.update(os.listdir(folder))
    return sorted(found - {"__pycache__"})


def load_preloads(path: Path) -> Preloads:
    """What is kept; nothing if that can't be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Preloads([str(name) for name in kept["modules"]], dict(kept["left_out"].items()), bool(kept["proved"]))
    return Preloads()


def save_preloads(path: Path, preloads: Preloads) -> None:
    """Keep them; a cache that can't be written is done without."""
    text = json.dumps(asdict(preloads), indent=0)
    unfinished = path.with_suffix(f".{os.getpid()}.new")
    with suppress(OSError):
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
        files = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        stale = [file for file in files if file.suffix != ".json" and file.stat().st_mtime < time.time() - 86400]
        for file in [*files[:-MOST_FILES], *stale]:
            file.unlink(missing_ok=True)


def read_report(path: Path) -> Sequence[str] | None:
    """The modules that a case had at its end, which it wrote; None if it didn't get there. The file is gone then."""
    try:
        found = marshal.loads(path.read_bytes())
    except (OSError, ValueError, EOFError, TypeError):
        return None
    finally:
        path.unlink(missing_ok=True)
    return [name for name in found if isinstance(name, str)]
