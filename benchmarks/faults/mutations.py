"""Put named faults into a copy of the runner, one at a time, and see which test turns red.

    python3 dev.py mutations [NAME ...]      all of them, or some

A fault campaign shows that the product holds; this shows that the tests would notice if it did not. A mutation
whose text is not in the runner any more fails as loudly as one that survives: adjust its pairs of old and new text.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

from .preloaded import clean_environment

ROOT = Path(__file__).resolve().parents[2]
RUNNER = "experiment_runner.py"
WORKERS = 2
DEADLINE_S = 240.0


@dataclass(frozen=True)
class Mutation:
    """A fault of the runner.

    Attributes:
        changes: Pairs of old and new text; each old one must be there exactly once.
        tests: What should notice, in the order in which it is tried.
    """

    name: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


DURABILITY, CRASH, RESUME = "tests/test_durability.py", "tests/test_startup_crash.py", "tests/test_resume.py"
LAUNCHING, NAMES, CODE = "tests/test_launching.py", "tests/test_names.py", "tests/test_code_state.py"
SUPERVISION = "tests/test_supervision.py"

MUTATIONS = (
    Mutation(
        "whole files are written in place",
        (('    temporary = path.with_name(f".{path.name}.writing")\n', "    temporary = path\n"),),
        (DURABILITY, CRASH),
    ),
    Mutation(
        "half a run directory is left when a start fails, and never swept",
        (("            shutil.rmtree(folder)\n", "            pass\n"),),
        (CRASH,),
    ),
    Mutation(
        "what a case leaves running is not swept",
        (("            if tree.ended is not None and not left:\n", "            if tree.ended is not None:\n"),),
        (f"{SUPERVISION}::test_what_a_case_leaves_behind_is_gone_when_it_is_recorded",),
    ),
    Mutation(
        "cases outlive a runner that is killed",
        (("            self.end(mark, self.first_signal, self.grace_s)\n", "            pass\n"),),
        (f"{RESUME}::test_killed_in_mid_run", RESUME, LAUNCHING),
    ),
    Mutation(
        "a run is not locked",
        (("                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)\n", "                pass\n"),),
        (f"{RESUME}::test_two_runners_on_one_run", RESUME, DURABILITY),
    ),
    Mutation(
        "a result is said before it is synced",
        (("                sync_filesystem(self.descriptor)\n", "                pass\n"),),
        (DURABILITY,),
    ),
    Mutation(
        "a sync that fails is taken for one that succeeded",
        (("            self.failure = error\n            self.cut_back(self.committed, error)\n            raise\n",
          "            pass\n"),),
        (DURABILITY,),
    ),
    Mutation(
        "whole files are not synced",
        (("                if sync:\n                    os.fsync(descriptor)\n", ""),),
        (DURABILITY, CRASH),
    ),
    Mutation(
        "a damaged line of the journal is accepted",
        (("    if fault:\n        advice", "    if fault and not line:\n        advice"),),
        (DURABILITY, RESUME),
    ),
    Mutation(
        "an unfinished line is not cut off before the next one",
        (("                os.ftruncate(self.descriptor, written.length)\n", "                pass\n"),),
        (f"{RESUME}::test_an_unfinished_last_line_is_cut", RESUME),
    ),
    Mutation(
        "half a line that the disk refused stays in the journal",
        (("            os.ftruncate(self.descriptor, end.length)\n", "            pass\n"),),
        (DURABILITY,),
    ),
    Mutation(
        "a case that has succeeded runs again",
        (('resumed.statuses.get(variant) != "succeeded"', "True"),),
        (f"{RESUME}::test_succeeded_cases_are_not_launched_again", RESUME),
    ),
    Mutation(
        "a damaged config.json is accepted",
        (("            if sha256 in (\"\", sha256_of(content)):\n", "            if True:\n"),),
        (DURABILITY,),
    ),
    Mutation(
        "what a killed runner left running is not ended",
        (("    if ended := end_survivors(path, resumed):\n", "    if ended := 0:\n"),),
        (RESUME, LAUNCHING),
    ),
    Mutation(
        "a run with failed cases ends with exit code 0",
        (("EXIT_FAILED if failed else 0", "0"),),
        (f"{LAUNCHING}::test_exit_codes", LAUNCHING),
    ),
    Mutation(
        "a slash in a name is accepted",
        (('        ("/" in name or "\\\\" in name, "contains a slash"),\n', ""),),
        (NAMES,),
    ),
    Mutation(
        "names are told apart by case and accents alone",
        ((' unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).replace(', " name.replace("),),
        (NAMES,),
    ),
    Mutation(
        "git may execute what a repository configures",
        (('"core.fsmonitor=false", ', ""),),
        (CODE,),
    ),
    Mutation(
        "git's own variables choose the repository",
        (('if not name.startswith("GIT_") or "CONFIG" in name}', "}"),),
        (CODE,),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    mutation: Mutation
    caught_by: str
    problem: str
    seconds: float


def main() -> int:
    wanted = sys.argv[1:]
    known = [mutation.name for mutation in MUTATIONS]
    if unknown := [name for name in wanted if name not in known]:
        print(f"no such mutation: {', '.join(unknown)}. There are: {'; '.join(known)}", file=sys.stderr)
        return 2
    chosen = [mutation for mutation in MUTATIONS if not wanted or mutation.name in wanted]
    with TemporaryDirectory(prefix="mutations-") as folder:
        verdicts = try_all(chosen, Path(folder).resolve())
    width = max(len(verdict.mutation.name) for verdict in verdicts)
    print()
    for verdict in verdicts:
        print(f"{verdict.mutation.name:{width}}  {verdict.problem or verdict.caught_by}")
    survived = sum(bool(verdict.problem) for verdict in verdicts)
    print(f"\n{len(verdicts) - survived} of {len(verdicts)} mutations are caught")
    return 1 if survived else 0


def try_all(chosen: Sequence[Mutation], folder: Path) -> list[Verdict]:
    """Every mutation, each in a copy of the project; a copy is used again by the next one."""
    copies: Queue[Path] = Queue()
    for number in range(WORKERS):
        copies.put(copy_project(folder / str(number)))

    def one(mutation: Mutation) -> Verdict:
        copy = copies.get()
        try:
            verdict = try_mutation(copy, mutation)
        finally:
            copies.put(copy)
        print(f"{verdict.seconds:4.0f} s  {mutation.name}: {verdict.problem or verdict.caught_by}", flush=True)
        return verdict

    pool = ThreadPoolExecutor(WORKERS)
    try:
        return list(pool.map(one, chosen))
    finally:
        pool.shutdown(cancel_futures=True)


def copy_project(folder: Path) -> Path:
    """The files that git knows, as they are on disk now, in a repository of their own."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in (entry.decode() for entry in listed if entry):
        source, target = ROOT / name, folder / name
        if source.is_file() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return folder


def try_mutation(copy: Path, mutation: Mutation) -> Verdict:
    started = time.monotonic()
    original = (ROOT / RUNNER).read_text(encoding="utf-8")
    text = original
    for old, new in mutation.changes:
        if text.count(old) != 1:
            problem = f"NOT APPLIED: its text is there {text.count(old)} times: {old.strip()[:60]!r}"
            return Verdict(mutation, "", problem, time.monotonic() - started)
        text = text.replace(old, new)
    try:
        compile(text, RUNNER, "exec")
    except SyntaxError as error:
        return Verdict(mutation, "", f"NOT APPLIED: it does not compile: {error}", time.monotonic() - started)
    ignored: list[str] = []
    try:
        for tests in mutation.tests:
            (copy / RUNNER).write_text(text, encoding="utf-8")
            while caught := first_red(copy, tests, ignored):
                (copy / RUNNER).write_text(original, encoding="utf-8")
                if not first_red(copy, caught, []):
                    return Verdict(mutation, caught, "", time.monotonic() - started)
                ignored.append(caught)  # red without the mutation as well, or by chance: it proves nothing
                (copy / RUNNER).write_text(text, encoding="utf-8")
        problem = f"SURVIVED {', '.join(mutation.tests)}"
        problem += f"; red without it as well: {', '.join(ignored)}" if ignored else ""
        return Verdict(mutation, "", problem, time.monotonic() - started)
    finally:
        (copy / RUNNER).write_text(original, encoding="utf-8")


def first_red(copy: Path, tests: str, ignored: Sequence[str]) -> str:
    """The first test that fails, or empty. A mutation that hangs the tests is noticed as well."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--basetemp", f"{copy}-tmp", tests]
    command += [f"--deselect={name}" for name in ignored]
    environment = {**clean_environment(), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        return tests
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, re.MULTILINE)
    if found is None or done.returncode != 1:
        raise RuntimeError(f"pytest could not run {tests}: {(done.stdout + done.stderr)[-800:]}")
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
