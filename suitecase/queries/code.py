"""Rebuilds the code of a run from git, in a repository of its own: the user's is only read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from suitecase.errors import SuitecaseError
from suitecase.queries.selection import project_root
from suitecase.rundir import Run
from suitecase.rundir.files import read_bytes

__all__ = ["CodeRepository", "changed_files", "code_repository", "find_repository", "left_out_files"]

GIT_TIMEOUT_S = 600.0
"""For one git command; checking out a large tree from a slow disk takes a while."""


class GitError(Exception):
    """Git is absent, refused, or took too long; the message is git's first line."""


def git(folder: Path, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
    """What a git command prints. It runs no hook, asks nobody, and fetches nothing.

    Raises:
        GitError: With git's first line.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "CONFIG" in name}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    settings = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.quotePath=false", "safe.directory=*")
    command = ["git", *(part for setting in settings for part in ("-c", setting)), *arguments]
    try:
        with subprocess.Popen(
            command, cwd=folder, env={**kept, **quiet, **(env or {})}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                output, errors = process.communicate(stdin, timeout=GIT_TIMEOUT_S)
            except BaseException:  # a filter of the user's may hang, and Ctrl-C does not reach git in its session
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except OSError as error:
        raise GitError(f"git can't be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {GIT_TIMEOUT_S:.0f} s") from None
    if process.returncode:
        words = errors.decode(errors="replace").strip().partition("\n")[0]
        raise GitError(words or f"git {arguments[0]} ended with {process.returncode}")
    return output


def find_repository(run: Run) -> Path:
    """A repository that has the commit of a run: the recorded one, the one it lies in, or the current folder's.

    Raises:
        SuitecaseError: None has it, or nobody recorded what ran.
    """
    commit, tree = run.code.commit, run.code.tree
    if not is_object_id(tree) or not (commit is None or is_object_id(commit)):
        recorded = cast(dict[str, Any], run.asked.get("code") or {})
        reason = recorded.get("problem") or "nobody recorded it"
        raise SuitecaseError(f"the code of {run.name} is not known ({reason}), so it can't be rebuilt.")
    recorded_root: object = run.asked.get("project_root")
    near = [Path(recorded_root)] if isinstance(recorded_root, str) else []
    near = list(dict.fromkeys([*near, project_root(run.path.resolve()), project_root(Path.cwd())]))
    for folder in near:
        with suppress(GitError):
            git(folder, "rev-parse", "--show-toplevel")
            if commit:
                git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
            return folder
    raise SuitecaseError(
        f"commit {(commit or 'of nothing')[:12]} of {run.name} is in none of {', '.join(map(str, near))}: "
        "fetch it, or work in a clone that has it."
    )


def is_object_id(text: object) -> bool:
    """Whether something is a whole id of git's; what a made-up record says must not become a flag of git."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def left_out_files(run: Run) -> list[str]:
    """Files that were part of the code of a run and are in no record: `NAME (reason)`."""
    code = cast(dict[str, Any], run.asked.get("code") or {})
    files = cast(list[dict[str, Any]], code.get("left_out") or [])
    return [f"{file.get('path')} ({file.get('reason')})" for file in files]


@dataclass(frozen=True)
class CodeRepository:
    """A repository that borrows the objects of others, and writes only its own.

    Attributes:
        folder: Its working folder, with `.git` in it.
    """

    folder: Path

    def tree(self, run: Run) -> str:
        """Put the code of a run into the index; git's id of that tree.

        Raises:
            SuitecaseError: The patch is damaged, or what comes out is not the tree that was recorded.
        """
        code = run.code
        try:
            git(self.folder, "read-tree", *([code.commit] if code.commit else ["--empty"]))
            if code.patch:
                patch, problem = read_bytes(run.path / Path(code.patch).name)
                if patch is None:
                    raise SuitecaseError(
                        problem or f"{run.path / code.patch} is missing: it had what the commit lacks."
                    )
                git(self.folder, "apply", "--cached", "--binary", "--whitespace=nowarn", "-", stdin=patch)
            tree = git(self.folder, "write-tree", "--missing-ok").decode().strip()
        except GitError as error:
            raise SuitecaseError(f"the code of {run.name} can't be rebuilt: {error}.") from None
        if code.tree and tree != code.tree:
            what = f"commit {str(code.commit)[:12]}" + f" with {code.patch}" * bool(code.patch)
            raise SuitecaseError(
                f"the code of {run.name} can't be rebuilt: {what} gives tree {tree[:12]}, and {code.tree[:12]} ran. "
                f"{'The patch is damaged.' if code.patch else 'run.json is damaged, or git failed when the run began.'}"
            )
        return tree

    def check_out(self, run: Run, folder: Path | None = None) -> str:
        """Write the code of a run into this repository's folder, HEAD at its commit, or plain into another one.

        Raises:
            SuitecaseError: Git can't.
        """
        tree = self.tree(run)
        try:
            if folder is not None:
                git(self.folder, "checkout-index", "--all", "--force", f"--prefix={folder}{os.sep}")
            else:
                git(self.folder, "checkout-index", "--all", "--force", "--index")
                if run.code.commit:
                    git(self.folder, "update-ref", "--no-deref", "HEAD", run.code.commit)
        except GitError as error:
            raise SuitecaseError(f"the code of {run.name} can't be written: {error}.") from None
        return tree


@contextmanager
def code_repository(repositories: Sequence[Path], folder: Path | None = None) -> Generator[CodeRepository]:
    """A new repository that can read what others have; a temporary one unless a folder is given.

    Linked by `objects/info/alternates`, as `git clone --shared` does, because a worktree would be entered in the
    user's `.git`, and left there by whoever is killed.

    Raises:
        SuitecaseError: Git can't make one.
    """
    with tempfile.TemporaryDirectory(prefix="suitecase-code-") as temporary:
        place = folder or Path(temporary)
        try:
            objects = [object_folder(repository) for repository in repositories]
            kind = git(repositories[0], "rev-parse", "--show-object-format").decode().strip()
            git(place, "init", "-q", f"--object-format={kind}", "--template=", ".")
            info = place / ".git" / "objects" / "info"
            info.mkdir(exist_ok=True)
            (info / "alternates").write_bytes(b"".join(os.fsencode(path) + b"\n" for path in dict.fromkeys(objects)))
        except GitError as error:
            raise SuitecaseError(f"no repository can be made beside {repositories[0]}: {error}.") from None
        yield CodeRepository(place)


def object_folder(repository: Path) -> Path:
    """Where a repository keeps its objects; a linked worktree has those of the repository that it belongs to."""
    return repository / os.fsdecode(git(repository, "rev-parse", "--git-path", "objects").rstrip(b"\n"))


def changed_files(before: Run, after: Run) -> tuple[list[dict[str, Any]], str]:
    """How the code of two runs differs, file by file: name, lines added, lines removed (None of a binary file).

    Returns:
        The files, and why that can't be told.
    """
    try:
        with code_repository([find_repository(before), find_repository(after)]) as repository:
            trees = [repository.tree(run) for run in (before, after)]
            listed = git(repository.folder, "diff-tree", "-r", "-z", "--numstat", "--no-renames", *trees)
    except GitError as error:
        return [], str(error)
    except SuitecaseError as error:
        return [], " ".join(error.problems)
    files: list[dict[str, Any]] = []
    for entry in listed.decode("utf-8", "backslashreplace").split("\0")[:-1]:
        added, removed, name = entry.split("\t", 2)
        counts = [int(count) if count.isdigit() else None for count in (added, removed)]
        files.append({"path": name, "added": counts[0], "removed": counts[1]})
    return files, ""
