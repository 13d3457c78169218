#!/usr/bin/env python3
"""Do what a checkout needs, set-up included.

    python3 dev.py digits [ARGUMENT ...]    run the suite of experiments/digits; try --help and --dry-run
    python3 dev.py test [ARGUMENT ...]      run the tests, several at once (-n 0: one); arguments go to pytest
    python3 dev.py clusters [--install] [ARGUMENT ...]
                                            the tests that start clusters of their own; --install: Slurm, by apt-get
    python3 dev.py check                    ruff and pyright
    python3 dev.py docs [ARGUMENT ...]      execute the pages of docs/; arguments go to pytest (-k items: one page)
    python3 dev.py bench [ARGUMENT ...]     what the runner costs, against peers in the same run
    python3 dev.py compare [ARGUMENT ...]   other ways to run many cases, beside ours; try --quick
    python3 dev.py faults [ARGUMENT ...]    break runs on purpose and count what held; try --quick
    python3 dev.py mutations [NAME ...]     faults put into the runner, and the test that notices each

Each command installs what it needs into .venv, or into the folder that SUITECASE_VENV names: the first
time, and after a change of pyproject.toml. Needs Python 3.11 or newer, and looks for it on the PATH.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

OLDEST, NEWEST = (3, 11), (3, 14)


def fail(message: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"dev.py: {message}\n")
    sys.exit(code)


def restart_with_newer_python() -> NoReturn:
    """Replace this process by the newest suitable Python on the PATH."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        python = shutil.which(f"python3.{minor}")
        # A name on the PATH may be a version manager's stub for a Python that isn't active.
        if python and subprocess.call([python, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(python, [python, *sys.argv])
    fail(f"needs Python 3.11 or newer. This is {sys.version.split()[0]}, and the PATH has no newer one.")


# Before anything that an older Python can't run. What follows must still be parsed by it.
if sys.version_info < OLDEST:
    restart_with_newer_python()

from collections.abc import Generator, Sequence  # noqa: E402 - can't be subscripted before 3.9
from typing import Any, TextIO  # noqa: E402

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("SUITECASE_VENV") or ROOT / ".venv").absolute()
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.json"
LOG = VENV / "set-up.log"

EXTRAS_OF_COMMAND = {
    "digits": ["examples"],
    "test": ["dev", "examples", "inspect", "llm", "analysis", "query"],
    "clusters": ["dev", "ray"],
    "check": ["dev", "examples", "inspect", "llm", "analysis", "query"],
    "docs": ["dev", "examples", "inspect", "llm", "analysis", "query"],
    "bench": ["dev"],
    "compare": ["dev"],
    "faults": ["dev", "inspect"],
    "mutations": ["dev", "examples", "inspect"],
}


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        with contextlib.suppress(BrokenPipeError):
            print(__doc__, flush=True)
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in EXTRAS_OF_COMMAND:
        near = difflib.get_close_matches(command, EXTRAS_OF_COMMAND, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(EXTRAS_OF_COMMAND)}."
        fail(f"{command}: no such command.{hint}", 2)
    set_up(EXTRAS_OF_COMMAND[command])
    if command == "digits":  # in the caller's folder: the arguments may hold paths
        become([os.path.relpath(ROOT / "experiments" / "digits" / "suite_digits.py"), *rest])
    os.chdir(ROOT)
    if command == "test":
        # A file's tests stay together: they share fixtures that take seconds to make. Files begin in the order of
        # tests/conftest.py, the long ones first; by itself xdist would begin with those of many tests.
        become(["-m", "pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder", *rest])
    if command == "docs":
        become(["-m", "pytest", "-n", "auto", "--dist", "worksteal", "tests/check_documents.py", *rest])
    if command == "clusters":
        if rest[:1] == ["--install"]:
            rest = rest[1:]
            install_clusters()
        become(["-m", "pytest", "-n", "0", "-m", "cluster", *(rest or ["tests"])])
    if command == "bench":
        become(["benchmarks/run.py", *rest])
    if command == "compare":
        become(["-m", "benchmarks.compare", *rest])
    if command == "faults":
        become(["-m", "benchmarks.faults", *rest])
    if command == "mutations":
        become(["-m", "benchmarks.faults.mutations", *rest])
    return check()


def become(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the environment's Python, so that signals and exit codes are the command's own."""
    os.execv(PYTHON, [str(PYTHON), *arguments])


CLUSTER_PACKAGES = ("slurm-wlm", "munge")
"""Debian's and Ubuntu's names. Their services aren't started: the tests start daemons of their own."""


def install_clusters() -> None:
    """Install what the tests of clusters need; asked for by name only, since it changes the system."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        fail(f"--install needs root, and apt-get. By hand: apt-get install {' '.join(CLUSTER_PACKAGES)}")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *CLUSTER_PACKAGES]
    if subprocess.call(command) != 0:
        fail(f"failed: {' '.join(command)}")


def check() -> int:
    """Run every check, also after one has failed."""
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyright", "--pythonpath", str(PYTHON)],
    ]
    failed: list[str] = []
    for arguments in checks:
        print(f"-- {' '.join(part for part in arguments[:2] if part[:1] != '-')}", flush=True)
        if subprocess.call([PYTHON, "-m", *arguments]) != 0:
            failed.append(arguments[0])
    return 1 if failed else 0


# --- Set-up ----------------------------------------------------------------------------------------------------------


def set_up(extras: Sequence[str]) -> None:
    """Make sure that the environment holds the project and these extras, as pyproject.toml asks for them now."""
    if is_set_up(extras):
        return
    for module in ("venv", "ensurepip", "fcntl"):
        if importlib.util.find_spec(module) is None:
            version = f"python3.{sys.version_info[1]}"
            hint = f"Install it (Debian and Ubuntu: apt install {version}-venv)"
            fail(f"{sys.executable} comes without the module {module}. {hint} and start again.")
    try:
        with only_one_at_a_time() as journal:
            if not is_set_up(extras):  # another dev.py may have done it meanwhile
                install(extras, journal)
    except KeyboardInterrupt:
        fail("interrupted. The next call starts the set-up again.", 130)
    except OSError as error:
        fail(f"set-up failed: {error.filename or VENV}: {error.strerror}.")


def is_set_up(extras: Sequence[str]) -> bool:
    stamp = read_stamp()
    return stamp.get("fingerprint") == fingerprint() and set(extras) <= set(stamp["extras"]) and PYTHON.exists()


def fingerprint() -> str:
    """Changes whenever the environment has to be brought up to date."""
    version = ".".join(map(str, sys.version_info[:2]))
    parts = [(ROOT / "pyproject.toml").read_bytes(), version.encode(), os.fsencode(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp() -> dict[str, Any]:
    """What is known to be installed; empty if nothing is."""
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(stamp: dict[str, Any]) -> None:
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(stamp), encoding="utf-8")
    unfinished.replace(STAMP)


@contextlib.contextmanager
def only_one_at_a_time() -> Generator[TextIO]:
    """Hold the lock beside the environment. The file's text tells whether a set-up was cut short."""
    import fcntl

    VENV.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{VENV}.lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"waiting for another dev.py that sets up {shown(VENV)} …")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def install(extras: Sequence[str], journal: TextIO) -> None:
    """Bring the environment up to date; a folder that dev.py didn't make is left alone."""
    stamp = read_stamp()
    was_cut_short = bool(journal.read())
    if VENV.exists() and any(VENV.iterdir()) and not stamp and not was_cut_short:
        fail(f"{shown(VENV)} was not made by dev.py. Remove it, or name another folder in SUITECASE_VENV.")
    wanted = sorted({*extras, *stamp.get("extras", [])})
    tell(f"setting up {shown(VENV)} with {', '.join(wanted)}: takes a minute or two, once …")
    journal.write("unfinished\n")
    journal.flush()
    if was_cut_short or stamp.get("python") != list(sys.version_info[:2]) or not PYTHON.exists():
        # Half an installation can look whole to pip.
        shutil.rmtree(VENV, ignore_errors=True)
        VENV.mkdir()
        stamp = {}
        if run([sys.executable, "-m", "venv", str(VENV)]) != 0:
            fail_to_set_up()
    STAMP.unlink(missing_ok=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    code = run([*pip, "-e", f"{ROOT}[{','.join(wanted)}]"])
    if code == 0:
        stamp = {"fingerprint": fingerprint(), "python": sys.version_info[:2], "extras": wanted}
    if stamp and code >= 0:  # a pip that gives up, without a network say, leaves things as they were
        write_stamp(stamp)
        journal.truncate(0)
    if code != 0:
        fail_to_set_up()


def run(command: Sequence[str]) -> int:
    """Run a step of the set-up, its output in the log, and return its exit code (negative: killed by a signal)."""
    with LOG.open("w", encoding="utf-8") as log:
        return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def fail_to_set_up() -> NoReturn:
    """End with the line of the log that tells why."""
    lines = [line.strip() for line in LOG.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    cause = [*errors, *lines[-1:], "it was killed."][0].removeprefix("ERROR: ")
    fail(f"set-up failed: {cause}\n        Everything it said: {LOG}")


def tell(message: str) -> None:
    print(f"dev.py: {message}", file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """A path as short as it can be said from the current folder."""
    return min(str(path), os.path.relpath(path), key=len)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
