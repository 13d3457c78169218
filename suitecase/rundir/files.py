"""Reads files that somebody else may be writing, may have damaged, or may have made up."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

__all__ = ["folder_problem", "parse_object", "parse_objects", "read_bytes", "read_lines", "read_object"]


def folder_problem(folder: Path) -> str:
    """Why a folder can't be listed; nothing if it can, or if it isn't there."""
    try:
        with os.scandir(folder):
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{folder} can't be read: {error.strerror}."


def read_bytes(path: Path) -> tuple[bytes | None, str]:
    """What a regular file holds, and why that can't be told; (None, "") if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make us wait
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path} can't be read: {error.strerror}."
    try:
        with open(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None, f"{path} is not a file."
            return file.read(), ""
    except OSError as error:
        return None, f"{path} can't be read: {error.strerror}."


def read_object(path: Path) -> tuple[dict[str, Any] | None, str]:
    """The JSON object in a file, and what is wrong with it; (None, "") if there is no such file."""
    content, problem = read_bytes(path)
    if content is None:
        return None, problem
    value = parse_object(content)
    return value, "" if value is not None else f"{path} is no JSON object: torn or damaged."


def parsed(content: bytes) -> object:
    """A JSON value, by pydantic's parser: it takes half the time of Python's, to which goes what it refuses.

    Raises:
        ValueError, RecursionError: It is none.
    """
    from pydantic_core import from_json  # not at the top: who only imports this should not wait for it

    try:
        return from_json(content)
    except ValueError:  # half a surrogate pair, another encoding, or damage
        return json.loads(content)


def parse_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object, or None where there is none."""
    try:
        value = parsed(content)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def parse_objects(contents: Sequence[bytes]) -> list[dict[str, Any] | None]:
    """JSON objects, None where there is none; all at once, as to begin takes longer than to parse a line."""
    try:
        values = cast(list[object], parsed(b"[" + b",".join(contents) + b"]"))
    except (ValueError, RecursionError):
        values = []
    if len(values) != len(contents) or not all(isinstance(value, dict) for value in values):
        return [parse_object(content) for content in contents]
    return cast(list[dict[str, Any] | None], values)


def read_lines(
    path: Path, having: bytes = b"", parse: Callable[[bytes], dict[str, Any] | None] = parse_object
) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one after the other; of a file of any size only a line is held.

    What is no object is passed over, and so is a last line that was never finished.

    Args:
        having: Only lines with these bytes are looked at.
        parse: Makes an object of a line, or None.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return
            for line in file:
                if having in line and line.endswith(b"\n") and (value := parse(line)) is not None:
                    yield value
    except OSError:
        return
