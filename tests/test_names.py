"""Names of experiments and variants are folders on every system: refused with a suggestion, never altered."""

from __future__ import annotations

import ast
import os
import re
import tempfile
import unicodedata
from pathlib import Path

import pytest
from conftest import Project
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from experiment_runner import RESERVED, collisions, folded, name_problem

REFUSED = {
    "": "is empty",
    ".": "begins with a dot",
    "..": "begins with a dot",
    "../../escape": "contains a slash",
    "/etc/passwd": "contains a slash",
    "openai/gpt-4o": "contains a slash",
    "http://x/y": "contains a slash",
    "a\\b": "contains a slash",
    ".git": "begins with a dot",
    ".hidden": "begins with a dot",
    "-p": "begins with a dash",
    "--help": "begins with a dash",
    " a": "begins or ends with a space or a dot",
    "a ": "begins or ends with a space or a dot",
    "a.": "begins or ends with a space or a dot",
    "\u3000a\u3000": "begins or ends with a space or a dot",
    "a\nb": "control or invisible",
    "a\tb": "control or invisible",
    "a\0b": "control or invisible",
    "\x1b[31mred": "control or invisible",
    "a\x7f": "control or invisible",
    "a\x85b": "control or invisible",
    "abc\u202edef": "control or invisible",  # right-to-left override
    "a\u200bb": "control or invisible",  # zero width
    "a\u2028b": "control or invisible",  # line separator
    "a\ufeffb": "control or invisible",
    "a\u200db": "control or invisible",  # a joiner that joins no emoji
    "\ud800": "control or invisible",  # a lone surrogate: no bytes stand for it
    "x" * 201: "longer than 200 bytes",
    "é" * 101: "longer than 200 bytes",
    "🙂" * 51: "longer than 200 bytes",
    "x" * 1_000_000: "longer than 200 bytes",
}

WRITTEN = [
    *("config.json", "run.json", "environment.json", "journal.jsonl", "uncommitted.patch", "uncommitted-2.patch"),
    *(
        "attempt-1.log",
        "attempt-12.log",
        "attempt-1.json",
        "results.json",
        "tracking.jsonl",
        "items.jsonl",
        "limits.bin",
    ),
    *("report.html", "report.md", "results.csv", "analysis.json", "cancel", "README.md", "x.eval", "abc123_v_id.eval"),
]
DEVICES = ["CON", "con", "nul", "nul.txt", "NUL.tar.gz", "aux", "PRN", "COM1", "lpt9", "com1.x"]

ACCEPTED = [
    *("gpt-4o", "a b", "naïve café", "模型甲", "ひらがな", "Ωμέγα", "🙂", "👩\u200d🔬 run", "❤️", "x" * 200, "é" * 100),
    *(
        "a.b.c",
        "v1.0",
        "lr=0.1",
        "a,b",
        "~root",
        "*",
        "`id`",
        "$(id)",
        "%s",
        "[bold]",
        "'quoted'",
        '"',
        "a:b",
        "#1",
        "!",
    ),
    *("0", "None", "null", "true", "config", "configs.json", "console", "report", "attempt-1", "evals", "eval"),
]


def suggestion(problem: str) -> str:
    """The name between the quotes at the end of a message."""
    found = re.search(r": use for example (['\"].*['\"])\.$", problem)
    assert found is not None, problem
    return ast.literal_eval(found[1])


@pytest.mark.parametrize(("name", "reason"), REFUSED.items(), ids=lambda text: ascii(text)[:30])
def test_refused_with_reason_and_suggestion(name: str, reason: str) -> None:
    """A name that no folder should have is refused; the message says why, and suggests one that is accepted."""
    (problem,) = name_problem(name)
    assert reason in problem
    assert problem.isprintable(), "the message itself must be harmless on a terminal"
    assert len(problem) < 1500
    assert name_problem(suggestion(problem)) == []


@pytest.mark.parametrize("name", [*WRITTEN, *DEVICES])
def test_reserved(name: str) -> None:
    """A name that the runner writes, or that Windows keeps for a device, is refused in any case of letters."""
    for variation in (name, name.upper(), name.lower()):
        (problem,) = name_problem(variation)
        assert "is a name" in problem
        assert name_problem(suggestion(problem)) == []


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_every_reserved_name_has_a_suggestion(name: str) -> None:
    """The suggestion for a reserved name is accepted, and differs from it by more than case."""
    (problem,) = name_problem(name)
    assert folded(suggestion(problem)) != folded(name)
    assert name_problem(suggestion(problem)) == []


def test_every_file_the_runner_writes_is_reserved(project: Project) -> None:
    """Nothing that a run leaves in its directory could have been a variant's name."""
    project.write("work.py", project.root.joinpath("work.py").read_text() + "\n# changed\n")
    project.suite({"good": "", "bad": "raise SystemExit(1)"})
    assert project.run_forked().code == 1
    assert project.run_forked("--resume", "latest").code == 1
    names = {path.name for path in (*project.run_dir.iterdir(), *project.run_dir.glob("bad/*"))} - {"good", "bad"}
    assert names >= {"uncommitted.patch", "uncommitted-2.patch", "run.json", "attempt-1.log", "attempt-2.log"}
    assert [name for name in names if not name_problem(name)] == []


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str, tmp_path: Path) -> None:
    """Emoji, accents, spaces inside, other scripts and shell characters are names like others."""
    assert name_problem(name) == []
    (tmp_path / name).mkdir()
    assert os.listdir(tmp_path) == [name]


def test_suggestions_look_like_the_name() -> None:
    """What is refused for a slash is suggested with a dash."""
    assert suggestion(name_problem("openai/gpt-4o")[0]) == "openai-gpt-4o"
    assert suggestion(name_problem("../../escape")[0]) == "escape"
    assert suggestion(name_problem("con")[0]) == "case-con"


@pytest.mark.parametrize("name", [None, 3, b"a", Path("a"), ("a",)])
def test_not_text(name: object) -> None:
    """A name that is not text is refused with its type."""
    (problem,) = name_problem(name)
    assert f"is a {type(name).__name__}: it must be text" in problem


COLLIDING = [
    ("Model-A", "model-a"),
    ("café", "cafe\u0301"),
    ("CAFÉ", "cafe\u0301"),
    ("straße", "STRASSE"),
    ("İ", "i\u0307"),
    ("\u1e9e", "ss"),
    ("Σ", "ς"),
    ("👩\u200d🔬", "👩🔬"),
]


@pytest.mark.parametrize(("one", "other"), COLLIDING)
def test_collisions(one: str, other: str) -> None:
    """Names that are one folder on some system are refused together, and both are named."""
    (problem,) = collisions([one, "else", other])
    assert repr(one) in problem
    assert repr(other) in problem
    assert collisions([one, "else"]) == []


def test_duplicates() -> None:
    """A name given twice is said once, with how often."""
    (problem,) = collisions(["a", "b", "a", "a"])
    assert problem == "variant name 'a' is given to 3 cases: each needs its own."


NASTY = (
    '/\\.-_ ~:*?"<>|\0\n\r\t\x1b\x7f\x85\xa0\u00ad\u034f'
    "\u115f\u200b\u200d\u200e\u202e\u2028\u3000\u3164\ufe0f\ufeff\ud800👩🔬🙂éıİßſ"
)
WORDS = [
    "con",
    "NUL",
    "aux",
    "com1",
    ".eval",
    "attempt-1",
    ".log",
    "report.",
    "config.json",
    "uncommitted-2.patch",
    "..",
    "x" * 80,
]
PIECES = st.one_of(st.sampled_from(NASTY), st.sampled_from(WORDS), st.characters(), st.sampled_from("abcABC"))
NAMES = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=70), st.text(alphabet=NASTY, max_size=8))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(name=NAMES)
@example(name="foo.eval")
@example(name="a\u3000")
@example(name="a" * 199 + "\u200d🙂")
def test_generated_names(name: str) -> None:
    """A name is refused with a suggestion that is accepted, or makes exactly one folder, inside the run directory."""
    problems = name_problem(name)
    if problems:
        (problem,) = problems
        assert problem.isprintable()
        assert name_problem(suggestion(problem)) == []
        return
    assert len(os.fsencode(name)) <= 200
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:
        run_dir = Path(base, "run")
        run_dir.mkdir()
        (run_dir / name).mkdir()
        assert os.path.realpath(run_dir / name) == os.path.join(os.path.realpath(run_dir), name)
        assert os.listdir(run_dir) == [name]
        assert os.listdir(base) == ["run"]


def same_folder(one: str, other: str) -> bool:
    """Whether a file system that ignores case and normal forms takes two names for one; written without `folded`."""

    def key(name: str) -> str:
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

    return key(one) == key(other)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """A name, and a variation of it or another one."""
    name = draw(
        st.text(alphabet="aAbBsSßſıiIİéÉe\u0301\u0300Kk\u212aÅ\u212b가ᄀ\u1161ΣσςǅDŽ-_ ", min_size=1, max_size=6)
    )
    change = draw(st.sampled_from([str.upper, str.lower, str.casefold, str.title, nfd, nfc, str.strip]))
    return name, change(name)


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(names=pairs())
def test_generated_collisions(names: tuple[str, str]) -> None:
    """Two names that share a folder under NFC and casefold are never both accepted."""
    if same_folder(*names):
        assert collisions(names)
    elif not collisions(names):
        assert folded(names[0]) != folded(names[1])


@pytest.mark.parametrize("place", ["variant", "experiment"])
def test_refused_by_a_suite(project: Project, place: str) -> None:
    """A suite with such names exits 2 with every one of them, and creates nothing."""
    names = ["openai/gpt-4o", "..", "a\nb", "x" * 300, "\ud800"]
    if place == "variant":
        project.suite(dict.fromkeys(names, ""))
    else:
        project.suite({"a": ""}, experiment=names[0])
    before = project.listing()
    done = project.run_forked()
    assert done.code == 2
    assert project.listing() == before
    assert "'openai-gpt-4o'" in done.stderr
    assert len(done.stderr.splitlines()) == (len(names) if place == "variant" else 1)
    assert all(f"{place} name" in line for line in done.stderr.splitlines())


@pytest.mark.parametrize("experiment", ["x" * 5000, "a\0b", "\ud800", "..", "/tmp", ""])
def test_hostile_experiment_names_have_no_traceback(project: Project, experiment: str) -> None:
    """Checks that look at the disk survive a name that no disk can hold."""
    project.suite({"a": ""}, experiment=experiment)
    done = project.run_forked()
    assert (done.code, done.stdout) == (2, "")
    assert "experiment name" in done.stderr
    assert "Traceback" not in done.stderr


def test_names_arrive(project: Project) -> None:
    """Accepted names are folders as written, and the case sees them."""
    names = ["naïve café", "模型甲", "👩\u200d🔬", "a b", "$(id)", "[bold]"]
    project.suite(dict.fromkeys(names, "print(folder.name)"))
    done = project.run_forked()
    assert done.code == 0, done.stderr
    for name in names:
        assert (project.run_dir / name / "attempt-1.log").read_text() == f"{name}\n"
