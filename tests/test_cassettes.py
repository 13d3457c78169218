"""Cassettes of plain functions: what is recorded, what is played, what is refused, and that no key is kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment

from suitecase.cassettes import Cassette, CassetteError, NotRecordedError, RecordedError
from suitecase.items import ItemContext, classify, process, read_items

ROOT = Path(__file__).resolve().parent.parent


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_come_back_in_their_order(tmp_path: Path) -> None:
    """Asked twice, answered twice, and a third time nobody has an answer."""
    calls: list[str] = []

    def ask(question: str, *, temperature: float = 0.5) -> dict[str, object]:
        calls.append(question)
        return {"text": f"{question} {len(calls)}", "parts": (1, 2)}

    recorded = Cassette(tmp_path / "tape.jsonl", "record").wrap(ask)
    first = [recorded("q"), recorded("r"), recorded("q", temperature=0.5)]
    assert first[0] == {"text": "q 1", "parts": [1, 2]}, "as JSON has it, at once"
    played = Cassette(tmp_path / "tape.jsonl", "replay").wrap(ask)
    assert [played("q"), played("r"), played("q")] == first
    with pytest.raises(NotRecordedError, match="has 2 answers to a request, and it is asked once more"):
        played("q")
    with pytest.raises(NotRecordedError, match=r"arguments\.temperature: 1\.0, recorded 0\.5\."):
        played("r", temperature=1.0)
    assert calls == ["q", "r", "q"]


def test_answers_of_the_same_scope_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that ask the same get what each got, whatever the order in which they were recorded."""
    tape = Cassette(tmp_path / "tape.jsonl", "record")
    for number, variant in enumerate(("a", "b", "c")):
        monkeypatch.setenv("SUITECASE_VARIANT", variant)
        tape.play("q", lambda number=number: number)
    tape = Cassette(tmp_path / "tape.jsonl", "replay")
    found: list[int] = []
    for variant in ("c", "b", "other"):
        monkeypatch.setenv("SUITECASE_VARIANT", variant)
        found.append(tape.play("q", lambda: -1))
    assert found == [2, 1, 0]


def test_errors_are_played_where_no_answer_was(tmp_path: Path) -> None:
    """With their class's name, text and status, so that a loop takes them for what they were; a retry's answer wins."""
    tries: list[str] = []

    class RateLimitError(Exception):
        status_code = 429

    async def ask(question: str) -> str:
        tries.append(question)
        if question == "bad" or len(tries) == 1:
            raise RateLimitError(f"not now: {question}")
        return "yes"

    recorded = Cassette(tmp_path / "tape.jsonl", "record").wrap(ask)
    for question in ("q", "bad"):
        with pytest.raises(RateLimitError):
            asyncio.run(recorded(question))
    assert asyncio.run(recorded("q")) == "yes"
    played = Cassette(tmp_path / "tape.jsonl", "replay").wrap(ask)
    assert asyncio.run(played("q")) == "yes"
    with pytest.raises(RecordedError, match="not now: bad") as error:
        asyncio.run(played("bad"))
    assert (classify(error.value), type(error.value).__name__) == ("rate_limited", "RateLimitError")
    assert len(tries) == 3


def test_loop_is_played_without_its_function_being_called(tmp_path: Path) -> None:
    """Rows are those of the recording: seeds and repeats are part of the request."""
    calls: list[str] = []

    async def ask(item: str, context: ItemContext) -> dict[str, object]:
        calls.append(item)
        return {"score": context.random.random(), "output": f"{item} {context.repeat}"}

    tape = tmp_path / "tape.jsonl"
    for folder, mode in (("first", "record"), ("second", "replay")):
        fn = Cassette(tape, mode).wrap(ask)  # pyright: ignore[reportArgumentType]
        process("abc", fn, output_dir=tmp_path / folder, repeats=2, max_parallel=3)
    rows = [
        {(row["key"], row["repeat"]): (row["metrics"], row["output"]) for row in read_items(tmp_path / folder)}
        for folder in ("first", "second")
    ]
    assert rows[0] == rows[1]
    assert (len(rows[0]), len(calls)) == (6, 6)


def test_keys_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the names of their fields, not by their values in the environment; another key is the same request."""
    monkeypatch.setenv("SOME_API_KEY", "sk-0123456789abcdef")

    def ask(url: str, headers: dict[str, str], max_tokens: int) -> str:
        return f"you are sk-0123456789abcdef, at {url}"

    tape = tmp_path / "tape.jsonl"
    Cassette(tape, "record").wrap(ask)("http://x/?k=sk-0123456789abcdef", {"Authorization": "Bearer of-mine"}, 5)
    text = tape.read_text()
    assert "0123456789abcdef" not in text
    assert "of-mine" not in text
    assert lines_of(tape)[0]["request"]["arguments"]["max_tokens"] == 5
    monkeypatch.setenv("SOME_API_KEY", "sk-another-key")
    played = Cassette(tape, "replay").wrap(ask)
    answer = played("http://x/?k=sk-another-key", {"Authorization": "Bearer of-yours"}, 5)
    assert answer == "you are [redacted], at http://x/?k=[redacted]"


def test_processes_record_into_one_file(tmp_path: Path) -> None:
    """Each line whole, whoever writes; and what a kill has torn costs that line alone."""
    tape = tmp_path / "tape.jsonl"
    tape.write_bytes(b'{"v": 1, "request_sha256": "torn')
    code = (
        "import sys; from suitecase.cassettes import Cassette; tape = Cassette(sys.argv[1], 'record')\n"
        "for n in range(200): tape.play([sys.argv[2], n], lambda: 'x' * 5000)"
    )
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tape), str(n)], env=environment) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with tape.open("ab") as file:
        file.write(b'{"v": 1, "answer": "torn')
    played = Cassette(tape, "replay")
    for writer in range(3):
        for number in range(200):
            assert len(played.play([str(writer), number], lambda: "")) == 5000


def test_request_that_was_edited_is_refused(tmp_path: Path) -> None:
    """Nobody gave that answer to it; an error that is none is a line that isn't whole."""
    tape = tmp_path / "tape.jsonl"
    asked = Cassette(tape, "record").wrap(str.upper)
    asked("a")
    asked("b")
    text = tape.read_text()
    tape.write_text(text.replace('"a"', '"c"'))
    with pytest.raises(CassetteError, match=r"tape\.jsonl, line 1: its request isn't the one that was recorded"):
        Cassette(tape, "replay")
    tape.write_text(text.replace('"answer": "A"', '"error": "x"'))
    with pytest.raises(NotRecordedError):
        Cassette(tape, "replay").wrap(str.upper)("a")


def test_what_can_not_be_is_told_first(tmp_path: Path) -> None:
    """A tape that isn't there, is empty, of another version, of another mode, in no folder; what is no JSON."""
    empty, other = tmp_path / "empty.jsonl", tmp_path / "other.jsonl"
    empty.touch()
    other.write_text('{"v": 9, "request_sha256": "", "request": 1, "answer": 1}\n')
    for path, mode, told in (
        (tmp_path / "none.jsonl", "replay", "Record it first"), (empty, "replay", "nothing to replay"),
        (other, "replay", "version 9"),
        (tmp_path / "no/tape.jsonl", "record", "No such file"), (empty, "play", "mode is"),
    ):  # fmt: skip
        with pytest.raises(CassetteError, match=told):
            Cassette(path, mode)  # pyright: ignore[reportArgumentType]

    def ask(question: object) -> object:
        return {1, 2}

    recorded = Cassette(empty, "record").wrap(ask)
    with pytest.raises(CassetteError, match=r"the answer is \{1, 2\}, a set"):
        recorded("q")
    with pytest.raises(CassetteError, match=r"an argument is <object"):
        recorded(object())
    assert empty.read_bytes() == b""
