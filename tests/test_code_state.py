"""The label of a run's code is honest in every state of git, and the patch gives back the exact tree."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, Project, alive, clean_environment, wait_for

import experiment_runner
from experiment_runner import CodeState, read_code

MB = 1_000_000


@dataclass
class Repo:
    """A repository on disk, and git as its user would type it."""

    root: Path

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
        command = ["git", *identity, "-c", "maintenance.auto=false", *arguments]
        env = clean_environment()
        done = subprocess.run(command, cwd=folder or self.root, env=env, capture_output=True, timeout=DEADLINE_S)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    def write(self, path: str | bytes, content: bytes, executable: bool = False) -> Path:
        file = self.root / os.fsdecode(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if executable:
            file.chmod(0o755)
        return file

    def commit_all(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "x")

    def code(self, results: Path | str = "results") -> CodeState:
        return read_code(self.root, self.root / results)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add what `git config` would write, all at once."""
        lines: list[str] = []
        for setting, value in settings.items():
            section, *part, name = setting.split(".")
            heading = " ".join([section, *(f'"{each}"' for each in part)])
            lines += [f"[{heading}]", f'\t{name} = "{value}"']
        with (self.root / ".git" / "config").open("a") as file:
            file.write("\n".join([*lines, ""]))

    @property
    def short(self) -> str:
        return self.git("rev-parse", "--short", "HEAD")


@pytest.fixture(autouse=True)
def no_personal_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git of this machine's user and system is left out of the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every `repo` is a copy of."""
    made = new_repo(tmp_path_factory.mktemp("committed") / "repo")
    made.write("a.txt", b"one\ntwo\n")
    made.write("b.bin", bytes(range(256)) * 4)
    made.write("run.sh", b"#!/bin/sh\n", executable=True)
    made.write("dir/c.txt", b"three")
    made.write("dir/d.txt", b"four\n")
    made.write(".gitignore", b"ignored/\n*.log\n")
    (made.root / "link").symlink_to("a.txt")
    made.commit_all()
    return made.root


@pytest.fixture
def repo(committed: Path, tmp_path: Path) -> Repo:
    """A clean repository with a few kinds of files."""
    return copied(committed, tmp_path / "repo")


def copied(repository: Path, root: Path) -> Repo:
    shutil.copytree(repository, root, symlinks=True)
    made = Repo(root)
    made.git("update-index", "-q", "--refresh")  # to git, the copies would all look touched
    return made


def new_repo(root: Path, *options: str) -> Repo:
    root.mkdir(parents=True)
    made = Repo(root)
    made.git("init", "-q", "-b", "main", "--template=", *options)
    return made


# --- What is checked in every state ----------------------------------------------------------------------------------


def tree_of(root: Path, ignored: tuple[str, ...] = ()) -> dict[str, tuple[str, bytes]]:
    """Kind and content of every file outside .git and results."""
    found: dict[str, tuple[str, bytes]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", "results", *ignored)]
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if name == ".git" or key in ("results", *ignored):
                continue
            if path.is_symlink():
                found[key] = ("link", os.fsencode(os.readlink(path)))
            else:
                found[key] = ("executable" if path.stat().st_mode & 0o100 else "file", path.read_bytes())
    return found


def bookkeeping(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Size, time of change and hash of all that git keeps of a repository, folders included."""
    git_dir = root / ".git"
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in (git_dir, *git_dir.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        # Git renews the time of an object that it would have to write again, and that of a shared index that it read.
        renewed = path.is_file() and ("objects" in path.parts or path.name.startswith("sharedindex."))
        found[str(path)] = (facts.st_size, 0 if renewed else facts.st_mtime_ns, hashlib.sha256(content).digest())
    return found


def set_traps(root: Path) -> Path:
    """Have git execute a script on every occasion that a repository may configure; the script's traces."""
    git_dir = root / ".git"
    traces = root.parent / f"{root.name}-traces"
    traces.mkdir()
    (git_dir / "hooks").mkdir(exist_ok=True)
    for name in ("post-index-change", "pre-commit", "reference-transaction", "post-checkout", "fsmonitor-watchman"):
        trap(git_dir / "hooks" / name, traces / f"hook-{name}")
    settings = {"core.hooksPath": str(git_dir / "hooks")}
    for setting in ("core.fsmonitor", "diff.external", "diff.trap.textconv", "diff.trap.command", "core.pager"):
        settings[setting] = str(trap(traces.with_name(f"{traces.name}-{setting}"), traces / setting))
    Repo(root).configure(settings)
    (git_dir / "info").mkdir(exist_ok=True)
    with (git_dir / "info" / "attributes").open("a") as attributes:
        attributes.write("*.txt diff=trap\n")
    return traces


def trap(script: Path, trace: Path) -> Path:
    script.write_text(f"#!/bin/sh\ntouch '{trace}'\ncat \"$1\" 2>/dev/null\nexit 0\n")
    script.chmod(0o755)
    return script


def rebuilt(repo: Repo, code: CodeState, *settings: str) -> Path:
    """A fresh checkout of the recorded commit with the recorded patch applied."""
    fresh = repo.root.parent / "fresh"
    made = new_repo(fresh, "--object-format=sha256" if len(code.commit or "") == 64 else "--object-format=sha1")
    made.configure({name: value for name, _, value in (setting.partition("=") for setting in settings)})
    if code.commit is not None:  # what `git clone --shared` does, by fewer processes
        (fresh / ".git/objects/info/alternates").write_text(f"{repo.root}/.git/objects\n")
        repo.git("checkout", "-q", "--detach", code.commit, folder=fresh)
    if code.patch:
        patch = repo.root.parent / "the.patch"
        patch.write_bytes(code.patch)
        repo.git("apply", str(patch), folder=fresh)
    return fresh


def observe(repo: Repo) -> CodeState:
    """What read_code says; it must have executed nothing and changed nothing."""
    traces = set_traps(repo.root)
    before, tree_before = bookkeeping(repo.root), tree_of(repo.root)
    code = repo.code()
    assert bookkeeping(repo.root) == before
    assert tree_of(repo.root) == tree_before
    assert not list(traces.iterdir())
    return code


def test_the_traps_are_live(repo: Repo) -> None:
    """Ordinary git commands execute what the traps plant, so their silence elsewhere means something."""
    traces = set_traps(repo.root)
    repo.write("a.txt", b"changed\n")
    repo.git("status")
    repo.git("diff")
    repo.git("diff", "--no-ext-diff")
    repo.git("add", "a.txt")
    expected = {"core.fsmonitor", "diff.trap.command", "diff.trap.textconv", "hook-post-index-change"}
    assert expected <= {path.name for path in traces.iterdir()}


# --- States whose tree the patch gives back --------------------------------------------------------------------------

State = Callable[[Repo], None]
STATES: list[tuple[State, bool]] = []


def state(dirty: bool) -> Callable[[State], State]:
    def register(make: State) -> State:
        STATES.append((make, dirty))
        return make

    return register


@state(dirty=False)
def clean(repo: Repo) -> None:
    pass


@state(dirty=True)
def modified(repo: Repo) -> None:
    repo.write("a.txt", b"one\nTWO")


@state(dirty=True)
def staged(repo: Repo) -> None:
    repo.write("a.txt", b"one\n2\n")
    repo.git("add", "a.txt")


@state(dirty=True)
def staged_and_modified_again(repo: Repo) -> None:
    staged(repo)
    repo.write("a.txt", b"one\n3\n")


@state(dirty=False)
def staged_and_reverted_on_disk(repo: Repo) -> None:
    staged(repo)
    repo.write("a.txt", b"one\ntwo\n")


@state(dirty=True)
def untracked(repo: Repo) -> None:
    repo.write("new/deep/file.py", b"x = 1\n")
    repo.write("empty", b"")
    repo.write("tool", b"#!/bin/sh\n", executable=True)


@state(dirty=False)
def ignored_only(repo: Repo) -> None:
    repo.write("ignored/file", b"x")
    repo.write("dir/noise.log", b"x")


@state(dirty=True)
def deleted(repo: Repo) -> None:
    (repo.root / "a.txt").unlink()
    shutil.rmtree(repo.root / "dir")


@state(dirty=True)
def deletion_staged(repo: Repo) -> None:
    repo.git("rm", "-q", "a.txt")


@state(dirty=False)
def forgotten_but_on_disk(repo: Repo) -> None:
    repo.git("rm", "-q", "--cached", "a.txt")


@state(dirty=True)
def renamed(repo: Repo) -> None:
    repo.git("mv", "a.txt", "renamed.txt")
    (repo.root / "b.bin").rename(repo.root / "c.bin")


@state(dirty=True)
def mode_changed(repo: Repo) -> None:
    (repo.root / "a.txt").chmod(0o755)
    (repo.root / "run.sh").chmod(0o644)


@state(dirty=True)
def symlinks(repo: Repo) -> None:
    (repo.root / "link").unlink()
    (repo.root / "link").symlink_to("run.sh")
    (repo.root / "dangling").symlink_to("nowhere\n at all")
    (repo.root / "to-folder").symlink_to("dir")


@state(dirty=True)
def kinds_swapped(repo: Repo) -> None:
    (repo.root / "a.txt").unlink()
    (repo.root / "a.txt").symlink_to("run.sh")
    (repo.root / "link").unlink()
    repo.write("link", b"now a file\n")
    shutil.rmtree(repo.root / "dir")
    repo.write("dir", b"now a file\n")
    (repo.root / "b.bin").unlink()
    repo.write("b.bin/inside", b"now a folder\n")


@state(dirty=True)
def binary(repo: Repo) -> None:
    repo.write("b.bin", b"\0" + bytes(range(255, -1, -1)) * 8)
    repo.write("untracked.bin", bytes(range(256)) * 8)


@state(dirty=True)
def odd_line_ends(repo: Repo) -> None:
    repo.write("a.txt", b"one\r\ntwo\r\nno newline")
    repo.write("blanks.txt", b"trailing  \n\t\n\n\n")
    repo.write("cr", b"a\rb\r")
    repo.write("form\x0cfeed", b"\x0c\n\x1b[31m\n")


ODD_NAMES = [
    *(b" lead", b"trail ", b"a b", b"-dash", b"--all", b"new\nline", b"tab\t", b'quo"te', b"back\\slash"),
    *(b"caf\xc3\xa9", b"not\xff\xfeutf8", b":(top)colon", b":!x", b"*", b"[a]", b"d\x01ir/in"),
    *("日本".encode(), b"~", b"$(x)", b"#"),
]


@state(dirty=True)
def odd_names(repo: Repo) -> None:
    for name in ODD_NAMES:
        repo.write(b"odd/" + name, b"old " + name)
        repo.write(name, b"old " + name)
    repo.commit_all()
    for name in ODD_NAMES:
        repo.write(b"odd/" + name, b"changed")
        repo.write(b"odd2/" + name, b"untracked")
        repo.write(name, b"changed")


@state(dirty=False)
def detached(repo: Repo) -> None:
    repo.git("checkout", "-q", "--detach")


@state(dirty=True)
def intent_to_add(repo: Repo) -> None:
    repo.write("later.py", b"x = 1\n")
    repo.git("add", "-N", "later.py")


@state(dirty=True)
def assume_unchanged(repo: Repo) -> None:
    repo.git("update-index", "--assume-unchanged", "a.txt", "dir/c.txt")
    repo.write("a.txt", b"hidden edit\n")
    (repo.root / "dir" / "c.txt").unlink()


@state(dirty=True)
def skip_worktree_edited(repo: Repo) -> None:
    repo.git("update-index", "--skip-worktree", "a.txt")
    repo.write("a.txt", b"hidden edit\n")


@state(dirty=True)
def both_flags_of_the_index(repo: Repo) -> None:
    repo.git("update-index", "--assume-unchanged", "a.txt")
    repo.git("update-index", "--skip-worktree", "a.txt")
    assert repo.git("ls-files", "-v", "a.txt") == "s a.txt"
    repo.write("a.txt", b"hidden edit\n")


@state(dirty=True)
def stat_ignored(repo: Repo) -> None:
    repo.git("config", "core.ignoreStat", "true")
    repo.write("a.txt", b"second\n")
    repo.commit_all()
    repo.write("a.txt", b"hidden edit\n")
    assert repo.git("status", "--porcelain") == ""


@state(dirty=True)
def same_size_in_the_same_second(repo: Repo) -> None:
    file = repo.write("a.txt", b"x = 1\n")
    repo.commit_all()
    file.write_bytes(b"x = 2\n")
    # Git compares whole seconds; it looks into a file that is not older than the index.
    changed = (repo.root / ".git" / "index").stat().st_mtime_ns
    os.utime(file, ns=(changed, changed))
    second = 10**9
    wait_for(lambda: time.time_ns() // second > changed // second)


@state(dirty=True)
def index_locked(repo: Repo) -> None:
    repo.write(".git/index.lock", b"")
    repo.write("a.txt", b"changed\n")


@state(dirty=False)
def index_lost(repo: Repo) -> None:
    (repo.root / ".git" / "index").unlink()


@state(dirty=True)
def split_index_and_caches(repo: Repo) -> None:
    repo.configure({"core.untrackedCache": "true", "core.splitIndex": "true", "splitIndex.maxPercentChange": "0"})
    repo.git("update-index", "--split-index", "--untracked-cache")
    repo.git("status")
    repo.write("a.txt", b"changed\n")
    repo.write("new.txt", b"new\n")


@state(dirty=True)
def merge_conflict(repo: Repo) -> None:
    repo.git("checkout", "-q", "-b", "other")
    repo.write("a.txt", b"theirs\n")
    repo.git("rm", "-q", "dir/c.txt")
    repo.commit_all()
    repo.git("checkout", "-q", "main")
    repo.write("a.txt", b"ours\n")
    repo.write("dir/c.txt", b"ours\n")
    repo.commit_all()
    with pytest.raises(AssertionError, match="merge"):
        repo.git("merge", "-q", "other")
    assert repo.git("ls-files", "-u")


@state(dirty=True)
def noisy_configuration(repo: Repo) -> None:
    settings = """
        diff.noprefix=true color.ui=always color.diff=always diff.mnemonicPrefix=true diff.renames=copies
        diff.submodule=log diff.context=0 diff.algorithm=patience core.abbrev=7 core.quotePath=true
        diff.suppressBlankEmpty=true core.safecrlf=true status.showUntrackedFiles=no diff.orderFile=/dev/null
        diff.wordRegex=. core.bigFileThreshold=10 apply.whitespace=error diff.relative=true add.ignoreErrors=1
        diff.indentHeuristic=false diff.ignoreSubmodules=all format.pretty=oneline log.showSignature=true
    """
    repo.configure({name: value for name, _, value in (setting.partition("=") for setting in settings.split())})
    renamed(repo)
    repo.write("dir/d.txt", b"four\n\n\nfive\n")
    untracked(repo)


@state(dirty=True)
def attributes(repo: Repo) -> None:
    repo.write(".gitattributes", b"*.txt -diff\n*.py -text\n*.u16 working-tree-encoding=UTF-16 text\nlink binary\n")
    repo.write("a.py", b"x = 1\n")
    repo.write("t.u16", "ä\n".encode("utf-16"))
    repo.commit_all()
    repo.write("a.txt", b"changed\n")
    repo.write("a.py", b"x = 2\r\n")
    repo.write("new.u16", "ö\n".encode("utf-16"))


@state(dirty=False)
def results_not_ignored(repo: Repo) -> None:
    repo.write("results/exp/run/config.json", b"{}")
    repo.write("results/.env", b"{}")


@state(dirty=False)
def results_tracked_and_changed(repo: Repo) -> None:
    repo.write("results/README.md", b"read me\n")
    repo.write("results/old", b"read me\n")
    repo.commit_all()
    repo.write("results/README.md", b"changed\n")
    repo.write("results/staged", b"changed\n")
    repo.git("add", "results/staged")
    (repo.root / "results" / "old").unlink()


@state(dirty=False)
def results_is_a_link(repo: Repo) -> None:
    (repo.root.parent / "scratch").mkdir()
    (repo.root / "results").symlink_to(repo.root.parent / "scratch")


@state(dirty=True)
def results_as_part_of_other_names(repo: Repo) -> None:
    repo.write("results.py", b"x = 1\n")
    repo.write("dir/results", b"x = 1\n")


@state(dirty=True)
def special_files(repo: Repo) -> None:
    os.mkfifo(repo.root / "pipe")
    repo.write("beside", b"x")
    (repo.root / "empty-folder").mkdir()


@pytest.mark.parametrize(("make", "dirty"), [pytest.param(*entry, id=entry[0].__name__) for entry in STATES])
def test_the_label_is_honest_and_the_patch_gives_the_exact_tree(make: State, dirty: bool, repo: Repo) -> None:
    """Commit and patch rebuild the files with their modes, and looking changed and executed nothing."""
    make(repo)
    with_pipe = (repo.root / "pipe").exists()
    if with_pipe:
        (repo.root / "pipe").unlink()
    expected = tree_of(repo.root)
    if with_pipe:  # which only reading would wait for
        os.mkfifo(repo.root / "pipe")
        code = repo.code()
        (repo.root / "pipe").unlink()
    else:
        code = observe(repo)
    assert (code.label, code.dirty, code.problem) == (repo.short + "-dirty" * dirty, dirty, None)
    assert (code.left_out, bool(code.patch)) == ((), dirty)
    assert (code.commit, code.branch) == (repo.git("rev-parse", "HEAD"), None if make is detached else "main")
    ignored = ("ignored", "dir/noise.log")
    expected = {name: facts for name, facts in expected.items() if not name.startswith(ignored)}
    assert tree_of(rebuilt(repo, code)) == expected


@pytest.mark.parametrize("kind", ["--no-cone", "--cone"])
def test_a_sparse_checkout_is_clean(repo: Repo, kind: str) -> None:
    """Files that a sparse checkout leaves out are not missing."""
    repo.write("other/e.txt", b"five\n")
    repo.commit_all()
    repo.git("sparse-checkout", "set", kind, "dir")
    assert not (repo.root / "other").exists()
    assert observe(repo).label == repo.short


def test_edits_outside_a_sparse_checkout_count(repo: Repo) -> None:
    """A file that lies outside the sparse part but on disk is code too, changed or new."""
    repo.write("other/e.txt", b"five\n")
    repo.write("other/f.txt", b"six\n")
    repo.commit_all()
    repo.git("sparse-checkout", "set", "--cone", "--sparse-index", "dir")
    repo.write("other/e.txt", b"changed\n")
    repo.write("other/new.txt", b"new\n")
    code = observe(repo)
    assert (code.label, code.problem) == (f"{repo.short}-dirty", None)
    fresh = rebuilt(repo, code)
    assert (fresh / "other/e.txt").read_bytes() == b"changed\n"
    assert (fresh / "other/new.txt").read_bytes() == b"new\n"
    assert (fresh / "other/f.txt").read_bytes() == b"six\n"


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf"])
def test_line_ends_that_git_converts_are_no_change(repo: Repo, setting: str) -> None:
    """A checkout with converted line ends is clean, and its patch applies to a checkout of the same kind."""
    if setting == "core.eol=crlf":
        repo.write(".gitattributes", b"*.txt text\n")
        repo.commit_all()
    clone = Repo(repo.root.parent / "converted")
    repo.git("clone", "-q", "-c", setting, str(repo.root), str(clone.root))
    assert ((clone.root / "a.txt").read_bytes() == b"one\r\ntwo\r\n") == (setting != "core.autocrlf=input")
    assert clone.code().label == repo.short
    end = b"\n" if setting == "core.autocrlf=input" else b"\r\n"
    clone.write("a.txt", b"one" + end + b"TWO" + end)
    code = observe(clone)
    assert code.label == f"{repo.short}-dirty"
    assert tree_of(rebuilt(clone, code, setting)) == tree_of(clone.root)


def test_the_whole_repository_counts(repo: Repo) -> None:
    """A change at the top counts wherever the results lie."""
    repo.write("a.txt", b"changed\n")
    assert repo.code("dir/results").label.endswith("-dirty")
    assert repo.code(Path("/elsewhere/results")).label.endswith("-dirty")


def test_results_count_nowhere_however_their_path_is_written(repo: Repo) -> None:
    """A path through links, or a link to another folder of the repository, is still the results folder."""
    repo.write("out/exp/x", b"x")
    other_name = repo.root.parent / "other-name"
    other_name.symlink_to(repo.root)
    assert repo.code(other_name / "out").label == repo.short
    (repo.root / "results").symlink_to("out")
    assert repo.code().label == repo.short


def test_the_whole_repository_is_no_results_folder(repo: Repo) -> None:
    """Results at the top, or above it, don't take the code out of the comparison."""
    repo.write("a.txt", b"changed\n")
    assert repo.code(".").label == f"{repo.short}-dirty"
    assert repo.code("..").label == f"{repo.short}-dirty"


def test_results_may_have_an_odd_name(repo: Repo) -> None:
    """The results folder's name is no pattern."""
    repo.write("re[s]*/x", b"x")
    assert repo.code("re[s]*").label == repo.short
    repo.write("res", b"x")
    assert repo.code("re[s]*").label == f"{repo.short}-dirty"


# --- Where there is no commit, or git refuses ------------------------------------------------------------------------


def test_no_repository(tmp_path: Path) -> None:
    """Outside a repository the label is nogit, with git's reason."""
    code = read_code(tmp_path, tmp_path / "results")
    assert (code.label, code.commit, code.dirty, code.tree) == ("nogit", None, None, None)
    assert "not a git repository" in str(code.problem)


def test_git_is_absent(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git the label is nogit, and it is said why."""
    monkeypatch.setenv("PATH", str(repo.root / "nowhere"))
    code = repo.code()
    assert (code.label, code.dirty) == ("nogit", None)
    assert "git can't be run" in str(code.problem)


@pytest.mark.parametrize("files", [(), ("a.py", "dir/b.py")], ids=["empty", "with files"])
def test_before_the_first_commit(tmp_path: Path, files: tuple[str, ...]) -> None:
    """A repository without commits is unborn; its patch holds every file."""
    repo = new_repo(tmp_path / "repo")
    for name in files:
        repo.write(name, b"x = 1\n")
    if files:
        repo.git("add", files[0])
    code = observe(repo)
    assert (code.label, code.commit, code.branch) == ("unborn" + "-dirty" * bool(files), None, "main")
    assert (code.dirty, code.problem) == (bool(files), None)
    assert tree_of(rebuilt(repo, code)) == tree_of(repo.root)


def test_an_orphan_branch_in_a_repository_with_commits(repo: Repo) -> None:
    """A new branch without commits is unborn although others have some."""
    repo.git("checkout", "-q", "--orphan", "fresh-start")
    code = repo.code()
    assert (code.label, code.branch, code.problem) == ("unborn-dirty", "fresh-start", None)


def test_a_bare_repository(tmp_path: Path) -> None:
    """A bare repository has no tree on disk: nogit, with the reason."""
    repo = new_repo(tmp_path / "repo", "--bare")
    code = repo.code()
    assert code.label == "nogit"
    assert "work tree" in str(code.problem)


def test_a_shallow_clone(repo: Repo) -> None:
    """History that was not fetched is not needed."""
    repo.write("a.txt", b"second\n")
    repo.commit_all()
    shallow = Repo(repo.root.parent / "shallow")
    repo.git("clone", "-q", "--depth=1", f"file://{repo.root}", str(shallow.root))
    assert shallow.git("rev-parse", "--is-shallow-repository") == "true"
    assert shallow.code().label == repo.short
    shallow.write("a.txt", b"third\n")
    code = observe(shallow)
    assert (code.label, code.commit) == (f"{repo.short}-dirty", repo.git("rev-parse", "HEAD"))
    assert tree_of(rebuilt(repo, code)) == tree_of(shallow.root)


def test_a_worktree(repo: Repo) -> None:
    """In a worktree `.git` is a file; its own commit and its own changes count, and neither index is touched."""
    worktree = Repo(repo.root.parent / "worktree")
    repo.git("worktree", "add", "-q", "-b", "side", str(worktree.root))
    worktree.write("w.txt", b"w\n")
    worktree.commit_all()
    repo.write("main-only.txt", b"x\n")
    assert (worktree.root / ".git").is_file()
    assert (worktree.code().label, worktree.code().branch) == (worktree.short, "side")
    worktree.write("a.txt", b"changed\n")
    before = bookkeeping(repo.root)
    code = worktree.code()
    assert bookkeeping(repo.root) == before
    assert code.label == f"{worktree.short}-dirty"
    assert tree_of(rebuilt(repo, code)) == tree_of(worktree.root)


def test_a_sha256_repository(tmp_path: Path) -> None:
    """Repositories with the longer hashes work alike."""
    repo = new_repo(tmp_path / "repo", "--object-format=sha256")
    repo.write("a.txt", b"one\n")
    assert repo.code().label == "unborn-dirty"
    repo.commit_all()
    assert (repo.code().label, len(str(repo.code().tree))) == (repo.short, 64)
    repo.write("a.txt", b"two\n")
    repo.write("b.txt", b"two\n")
    code = observe(repo)
    assert (code.label, len(str(code.commit))) == (f"{repo.short}-dirty", 64)
    assert tree_of(rebuilt(repo, code)) == tree_of(repo.root)


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_the_environment_points_git_elsewhere(repo: Repo, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a hook or `git rebase --exec` git's variables name another place; the folder on disk decides."""
    other = new_repo(repo.root.parent / "other")
    other.write("other", b"other")
    other.commit_all()
    places = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects"}
    monkeypatch.setenv(name, str(other.root / places.get(name, "")))
    assert repo.code().label == repo.short
    repo.write("a.txt", b"changed\n")
    assert observe(repo).label == f"{repo.short}-dirty"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's refusal of a dubious owner does not lose the record."""
    for path in (repo.root, *repo.root.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(AssertionError, match="dubious ownership"):
        repo.git("status")
    code = repo.code()
    assert (code.problem, code.dirty) == (None, False)


def test_objects_are_missing(repo: Repo) -> None:
    """A commit that can't be read is no label; one whose tree can't be compared is dirty, with the reason."""
    commit, tree = repo.git("rev-parse", "HEAD"), repo.git("rev-parse", "HEAD^{tree}")
    short = repo.short
    (repo.root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    (repo.root / "a.txt").write_bytes(b"changed\n")
    code = repo.code()
    assert (code.label, code.dirty, code.patch) == (f"{short}-dirty", None, b"")
    assert code.problem
    (repo.root / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    code = repo.code()
    assert (code.label, code.commit, code.dirty) == ("nogit", None, None)
    assert code.problem
    repo.write(".git/HEAD", commit.encode() + b"\n")
    assert repo.code().label == "nogit"


def test_a_file_that_nobody_changed_may_be_missing_in_git(repo: Repo) -> None:
    """Objects that a partial clone never fetched are not needed to compare the tree."""
    blob = repo.git("rev-parse", "HEAD:b.bin")
    (repo.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert (repo.code().label, repo.code().problem) == (repo.short, None)
    repo.write("a.txt", b"changed\n")
    code = repo.code()
    assert (code.label, code.problem) == (f"{repo.short}-dirty", None)
    assert b"+changed" in code.patch


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"ref: refs/heads/../../x\n", b"\0" * 41])
def test_a_corrupt_head(repo: Repo, content: bytes) -> None:
    """Whatever stands in HEAD, there is a label, and never that of a commit."""
    repo.write(".git/HEAD", content)
    code = repo.code()
    assert (code.label, code.commit) == ("nogit", None)
    assert code.problem


def test_a_corrupt_index(repo: Repo) -> None:
    """An index that can't be read makes the tree incomparable: dirty, with the reason."""
    repo.write(".git/index", b"DIRC garbage")
    code = repo.code()
    assert (code.label, code.dirty) == (f"{repo.short}-dirty", None)
    assert "index" in str(code.problem)


# --- Repositories inside a repository --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed_with_submodule(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every `with_submodule` is a copy of."""
    folder = tmp_path_factory.mktemp("submodule")
    library = new_repo(folder / "library")
    library.write("lib.py", b"x = 1\n")
    library.commit_all()
    repo = copied(committed, folder / "repo")
    repo.git("submodule", "add", "-q", str(library.root), "sub")
    repo.commit_all()
    return repo.root


@pytest.fixture
def with_submodule(committed_with_submodule: Path, tmp_path: Path) -> Repo:
    """A repository with a submodule, both clean."""
    made = copied(committed_with_submodule, tmp_path / "repo")
    made.git("update-index", "-q", "--refresh", folder=made.root / "sub")
    return made


def test_a_clean_submodule(with_submodule: Repo) -> None:
    """A submodule at its recorded commit is clean."""
    assert observe(with_submodule).label == with_submodule.short


def test_a_submodule_that_is_not_checked_out(with_submodule: Repo) -> None:
    """A clone without its submodules is clean."""
    clone = Repo(with_submodule.root.parent / "clone")
    with_submodule.git("clone", "-q", str(with_submodule.root), str(clone.root))
    assert clone.code().label == with_submodule.short


@pytest.mark.parametrize("change", ["modified", "untracked", "staged"])
@pytest.mark.parametrize("ignore", ["", "all"])
def test_a_submodule_with_changes_of_its_own(with_submodule: Repo, change: str, ignore: str) -> None:
    """What a patch of the outer repository can't hold is listed, and the label says dirty."""
    repo = with_submodule
    if ignore:
        repo.git("config", "-f", ".gitmodules", "submodule.sub.ignore", ignore)
        repo.commit_all()
    repo.write("sub/new.py" if change == "untracked" else "sub/lib.py", b"x = 2\n")
    if change == "staged":
        repo.git("add", "lib.py", folder=repo.root / "sub")
    code = observe(repo)
    assert code.label == f"{repo.short}-dirty"
    assert [entry["path"] for entry in code.left_out] == ["sub"]
    assert code.record("p")["patch_complete"] is False


@pytest.mark.parametrize("ignore", ["", "all"])
def test_a_submodule_at_another_commit(with_submodule: Repo, ignore: str) -> None:
    """The patch names the commit that the submodule is at."""
    repo = with_submodule
    if ignore:
        repo.git("config", "-f", ".gitmodules", "submodule.sub.ignore", ignore)
        repo.commit_all()
    repo.write("sub/lib.py", b"x = 2\n")
    repo.git("commit", "-q", "-a", "-m", "y", folder=repo.root / "sub")
    code = observe(repo)
    assert (code.label, code.left_out) == (f"{repo.short}-dirty", ())
    assert repo.git("rev-parse", "HEAD", folder=repo.root / "sub").encode() in code.patch


def test_a_nested_repository(repo: Repo) -> None:
    """A repository that the outer one doesn't track is listed, not copied."""
    nested = new_repo(repo.root / "nested")
    nested.write("x.py", b"x\n")
    nested.commit_all()
    code = observe(repo)
    assert code.label == f"{repo.short}-dirty"
    assert [(entry["path"], entry["reason"]) for entry in code.left_out] == [("nested/", "a repository of its own")]


def test_a_nested_repository_without_gitmodules(repo: Repo) -> None:
    """A repository added by plain `git add` is compared as submodules are."""
    nested = new_repo(repo.root / "nested")
    nested.write("x.py", b"x\n")
    nested.commit_all()
    repo.commit_all()
    assert observe(repo).label == repo.short
    nested.write("x.py", b"changed\n")
    code = repo.code()
    assert code.label == f"{repo.short}-dirty"
    assert [entry["path"] for entry in code.left_out] == ["nested"]


# --- Clean filters ---------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def add_filter(repo: Repo, script: str) -> None:
    """Have git store `*.dat` as what a script makes of it, as Git LFS does."""
    clean = repo.root.parent / "clean.sh"
    clean.write_text(f"#!/bin/sh\n{script}\n")
    clean.chmod(0o755)
    repo.configure({"filter.store.clean": str(clean), "filter.store.required": "true"})


def test_a_file_behind_a_clean_filter(repo: Repo) -> None:
    """A file that git stores as a pointer is clean while it yields that pointer, and dirty afterwards."""
    add_filter(repo, f"printf '%s\\n' '{POINTER.decode().strip()}'; sha256sum")
    repo.write(".gitattributes", b"*.dat filter=store -text\n")
    data = repo.write("model.dat", b"weights" * 100)
    repo.commit_all()
    assert repo.git("cat-file", "blob", "HEAD:model.dat").startswith(POINTER.decode())
    os.utime(data, ns=(1, 1))
    assert observe(repo).label == repo.short
    data.write_bytes(b"WEIGHTS" * 100)
    assert repo.code().label == f"{repo.short}-dirty"


def over_once_there_is(sign: Path) -> type[subprocess.Popen[bytes]]:
    """A `Popen` whose time limit is over when a file appears, so that a slow machine exceeds it at no other place."""

    class Impatient(subprocess.Popen[bytes]):
        def communicate(
            self,
            input: bytes | None = None,  # noqa: A002 - the name that it has in the parent
            timeout: float | None = None,
        ) -> tuple[bytes, bytes]:
            assert timeout == experiment_runner.GIT_TIMEOUT_S
            while True:
                try:
                    return super().communicate(input, timeout=0.02)
                except subprocess.TimeoutExpired:
                    if sign.exists():
                        raise
                    input = None  # noqa: A001 - a second try goes on with what the first one was given

    return Impatient


@pytest.mark.parametrize("setsid", ["", "setsid "], ids=["in its group", "in a session of its own"])
def test_a_clean_filter_that_hangs(repo: Repo, setsid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is stopped after the time limit, the label says dirty and why, and what git started is gone."""
    repo.write(".gitattributes", b"*.dat filter=store\n")
    repo.write("x.dat", b"x")
    repo.commit_all()
    pid_file = repo.root.parent / "pid"
    add_filter(repo, f"{setsid}sh -c 'echo $$ >{pid_file}.part; mv {pid_file}.part {pid_file}; exec sleep 100'")
    repo.write("x.dat", b"y")
    before = bookkeeping(repo.root)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", over_once_there_is(pid_file))
        code = repo.code()
    assert (code.label, code.dirty, code.tree) == (f"{repo.short}-dirty", None, None)
    assert "took longer than" in str(code.problem)
    assert bookkeeping(repo.root) == before
    pid = int(pid_file.read_text())
    if setsid:
        assert alive(pid)  # out of reach, but nothing waited for it
        os.kill(pid, signal.SIGKILL)
    else:
        wait_for(lambda: not alive(pid), "the end of the filter", 30)


def test_ctrl_c_while_a_clean_filter_hangs(project: Project, tmp_path: Path) -> None:
    """Ctrl-C before the start ends git and its filter as well, and leaves no results."""
    project.write(".gitattributes", "*.dat filter=store\n")
    project.write("x.dat", "x")
    project.git("add", ".")
    pid = tmp_path / "pid"
    add_filter(Repo(project.root), f"echo $$ >{pid}.part; mv {pid}.part {pid}; exec sleep 600")
    project.write("x.dat", "y")
    runner = project.start("--quiet")
    wait_for(pid.exists)
    runner.send_signal(signal.SIGINT)
    assert project.finish(runner).code != 0
    wait_for(lambda: not alive(int(pid.read_text())))
    assert not (project.root / "results").exists()


# --- What a patch leaves out -----------------------------------------------------------------------------------------


def sparse(repo: Repo, name: str, size: int) -> Path:
    file = repo.write(name, b"")
    os.truncate(file, size)
    return file


def test_large_untracked_files_are_listed(repo: Repo) -> None:
    """Files over 10 MB are listed with size and sha256; one of exactly 10 MB is copied."""
    large = sparse(repo, "large.dat", 10 * MB + 1)
    sparse(repo, "just.dat", 10 * MB)
    code = repo.code()
    sha256 = hashlib.sha256(large.read_bytes()).hexdigest()
    entry = {"path": "large.dat", "reason": "too large", "size_bytes": 10 * MB + 1, "sha256": sha256}
    assert code.left_out == (entry,)
    assert code.label == f"{repo.short}-dirty"
    assert code.record("uncommitted.patch")["patch_complete"] is False
    large.unlink()
    assert tree_of(rebuilt(repo, code)) == tree_of(repo.root)


def test_many_untracked_files_are_listed_above_a_total(repo: Repo) -> None:
    """Beyond 100 MB together, files are listed although each is small enough; later ones that fit are copied."""
    for number in range(11):
        sparse(repo, f"part{number:02}", 10 * MB - 1)
    repo.write("z.py", b"fits\n")
    code = repo.code()
    assert [entry["path"] for entry in code.left_out] == ["part10"]
    assert b"z.py" in code.patch


@pytest.mark.parametrize("how", ["untracked", "staged", "intended"])
def test_what_may_hold_secrets_is_listed(repo: Repo, how: str) -> None:
    """The content of files with telling names that the commit lacks is in no patch, added or not."""
    names = [".env", ".env.local", "conf/server.pem", "id_rsa", "home/id_ed25519.pub"]
    for name in names:
        repo.write(name, b"secret-canary\n")
    repo.write("env.py", b"no secret\n")
    if how != "untracked":
        repo.git("add", *(["-N"] if how == "intended" else []), ".")
    code = observe(repo)
    assert sorted(entry["path"] for entry in code.left_out) == sorted(names)
    assert all(entry["reason"] == "may hold secrets" for entry in code.left_out)
    assert all(entry["sha256"] == hashlib.sha256(b"secret-canary\n").hexdigest() for entry in code.left_out)
    assert b"secret-canary" not in code.patch
    assert b"env.py" in code.patch


def test_a_large_staged_file_is_listed(repo: Repo) -> None:
    """`git add` does not bring a large file into the patch."""
    sparse(repo, "large.dat", 10 * MB + 1)
    repo.git("add", "large.dat")
    code = repo.code()
    assert [entry["path"] for entry in code.left_out] == ["large.dat"]
    assert b"large.dat" not in code.patch


def test_equal_trees_mean_equal_code(repo: Repo) -> None:
    """The tree's id follows the content on disk, whether it is committed, staged, or neither."""
    clean = repo.code().tree
    assert clean == repo.git("rev-parse", "HEAD^{tree}")
    repo.write("a.txt", b"other\n")
    other = repo.code().tree
    assert other not in (clean, None)
    repo.git("add", "a.txt")
    assert repo.code().tree == other
    repo.git("commit", "-q", "-m", "y")
    assert repo.code().tree == other


# --- Whole runs ------------------------------------------------------------------------------------------------------


def recorded_code(project: Project) -> dict[str, Any]:
    return json.loads((project.run_dir / "run.json").read_text())["code"]


def test_a_clean_run(project: Project) -> None:
    """A clean run's name is time and commit, and it stores no patch."""
    short = project.git("rev-parse", "--short", "HEAD")
    assert project.run_forked("--quiet").code == 0
    assert project.run_dir.name.split("_", 2)[2] == short
    assert not (project.run_dir / "uncommitted.patch").exists()
    code = recorded_code(project)
    assert (code["dirty"], code["patch"], code["patch_complete"]) == (False, None, True)
    assert code["commit"] == project.git("rev-parse", "HEAD")


def test_a_second_run_is_as_clean_as_the_first(project: Project) -> None:
    """The results of a run don't make the next one dirty, even where nothing ignores them."""
    project.write(".gitignore", "__pycache__/\n")
    project.git("commit", "-q", "-a", "-m", "Ignore less")
    assert project.run_forked("--quiet", "--set", "x=1").code == 0
    planned = project.run_forked("--dry-run")
    (directory,) = (line for line in planned.lines if line.startswith("Run directory: "))
    labels = [name.split("_", 2)[2] for name in (project.run_dir.name, Path(directory).name)]
    assert labels == [project.git("rev-parse", "--short", "HEAD")] * 2


def test_a_dirty_run_stores_what_rebuilds_its_code(project: Project) -> None:
    """A fresh clone with the stored patch is the tree that ran."""
    project.write("work.py", (project.root / "work.py").read_text() + "# changed\n")
    project.write("helper/new.py", "x = 1\n")
    assert project.run_forked("--quiet").code == 0
    assert project.run_dir.name.endswith("-dirty")
    repo = Repo(project.root)
    patch = (project.run_dir / "uncommitted.patch").read_bytes()
    fresh = rebuilt(repo, CodeState("", commit=project.git("rev-parse", "HEAD"), patch=patch))
    expected = tree_of(project.root, ignored=("__pycache__",))
    assert tree_of(fresh) == expected


def test_an_incomplete_patch_is_said_at_the_start(project: Project) -> None:
    """What the patch lacks is named before the cases start, and stands in run.json."""
    project.write(".env", "SECRET=secret-canary\n")
    for arguments in (("--dry-run",), ()):
        done = project.run_forked(*arguments)
        assert done.code == 0
        noted = next(number for number, line in enumerate(done.lines) if "patch_complete: false" in line)
        assert ".env" in done.lines[noted]
        assert noted < next(number for number, line in enumerate(done.lines) if "2 experiments" in line)
    code = recorded_code(project)
    assert code["patch_complete"] is False
    assert [entry["path"] for entry in code["left_out"]] == [".env"]
    written = [path for path in project.run_dir.rglob("*") if path.is_file() and b"secret-canary" in path.read_bytes()]
    assert written == []


def test_a_run_without_git(project: Project, tmp_path: Path) -> None:
    """Without a repository the run works, is labelled nogit, and says that its code is not recorded."""
    shutil.rmtree(project.root / ".git")
    done = project.run_forked()
    assert done.code == 0
    assert project.run_dir.name.endswith("_nogit")
    assert "the code can't be recorded fully" in done.stdout


def test_a_run_before_the_first_commit(project: Project) -> None:
    """An unborn repository gives an honest name and a patch with everything."""
    shutil.rmtree(project.root / ".git")
    project.git("init", "-q", "-b", "main")
    assert project.run_forked("--quiet").code == 0
    assert project.run_dir.name.endswith("_unborn-dirty")
    assert b"work.py" in (project.run_dir / "uncommitted.patch").read_bytes()


def test_a_whole_run_executes_nothing_of_the_repository(project: Project) -> None:
    """A whole run with traps set executes none of them and leaves git's files as they were."""
    project.write("notes.txt", "one\n")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Notes")
    project.write("notes.txt", "two\n")
    traces = set_traps(project.root)
    before = bookkeeping(project.root)
    assert project.run_forked("--quiet").code == 0
    assert bookkeeping(project.root) == before
    assert not list(traces.iterdir())
    assert project.run_dir.name.endswith("-dirty")
