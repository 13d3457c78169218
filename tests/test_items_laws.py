"""Laws of the parts: keys and seeds, delays, classes of errors, quantiles and means, lines of JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from scipy import stats as untyped_stats

from suitecase.items import Breaker, ErrorClass, ItemsError, RetryPolicy, classify
from suitecase.items.dataset import Dataset, content_of, seed_of
from suitecase.items.ledger import encode
from suitecase.items.results import estimate, quantile
from suitecase.items.retries import retry_after_s
from suitecase.items.stops import Window

stats: Any = untyped_stats  # scipy ships no types
SOME = settings(max_examples=50)
NUMBERS = st.integers(-(10**9), 10**9).map(lambda n: n / 1000)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


ITEMS = st.lists(
    st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3) | NUMBERS, max_size=3), max_size=6
)


@SOME
@given(ITEMS, st.randoms(), st.integers())
def test_keys_and_seeds_belong_to_an_item_wherever_it_stands(items: list[Any], random: Any, seed: int) -> None:
    """Whatever its place, whatever else there is, whatever the order of its fields."""
    distinct = {json.dumps(item, sort_keys=True): item for item in items}
    items = list(distinct.values())
    whole = Dataset.of(items, None, 1, seed)
    shuffled = [dict(reversed(item.items())) for item in items]
    random.shuffle(shuffled)
    again = Dataset.of(shuffled, None, 1, seed)
    assert sorted(again.keys) == sorted(whole.keys)
    assert again.digest == whole.digest
    part = Dataset.of(items[1:], None, 1, seed)
    assert list(part.keys) == list(whole.keys)[1:]
    assert part.digest != whole.digest or not items


@SOME
@given(st.lists(st.integers(0, 5), max_size=9))
def test_keys_that_come_twice_are_errors_that_name_them(items: list[int]) -> None:
    if len(set(items)) == len(items):
        assert Dataset.of(items, str, 1, 0).keys == [str(item) for item in items]
        return
    with pytest.raises(ItemsError, match="the same key"):
        Dataset.of(items, str, 1, 0)


@SOME
@given(st.integers(), st.text(), st.integers(0, 99))
def test_seeds_fit_every_generator_and_differ(seed: int, key: str, repeat: int) -> None:
    made = seed_of(seed, key, repeat)
    assert made == seed_of(seed, key, repeat)
    np.random.RandomState(made)  # the one that takes the fewest bits
    assert (
        len({made, seed_of(seed + 1, key, repeat), seed_of(seed, key + "x", repeat), seed_of(seed, key, repeat + 1)})
        == 4
    )


@SOME
@given(st.integers(0, 20), st.integers(1, 4), st.booleans(), st.integers())
def test_every_slot_has_its_turn_once(items: int, repeats: int, shuffle: bool, seed: int) -> None:
    dataset = Dataset.of(range(items), str, repeats, seed)
    order = dataset.order(shuffle)
    assert sorted(order) == list(range(items * repeats))
    assert order == dataset.order(shuffle)
    if not shuffle:
        assert [slot % repeats for slot in order] == sorted(slot % repeats for slot in order)


@dataclass
class Point:
    x: int
    when: date


class Model(BaseModel):
    x: int
    where: Path


def test_what_has_a_form_in_json_has_a_content() -> None:
    assert content_of(Point(1, date(2026, 1, 2))) == b'{"when":"2026-01-02","x":1}'
    assert content_of(Model(x=1, where=Path("a"))) != content_of(Model(x=2, where=Path("a")))
    assert content_of({"s": {"b", "a"}}) == content_of({"s": {"a", "b"}})
    assert content_of(object()) == b""
    with pytest.raises(ItemsError, match="give key="):
        Dataset.of([object()], None, 1, 0)


@SOME
@given(
    st.sampled_from(["exponential", "linear", "constant"]), st.floats(0, 10), st.floats(0, 4), st.floats(0, 100),
    st.integers(1, 12), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_delays_grow_as_said(kind: Any, backoff_s: float, factor: float, cap_s: float, k: int, seed: int) -> None:
    """The formulas of the docstring; full jitter stays below and follows from the seed."""
    plain = RetryPolicy(backoff=kind, backoff_s=backoff_s, backoff_factor=factor, backoff_cap_s=cap_s, jitter=False)
    grown = {
        "exponential": backoff_s * factor ** (k - 1),
        "linear": backoff_s * (1 + (k - 1) * factor),
        "constant": backoff_s,
    }[kind]
    assert plain.delay_s(k, seed) == pytest.approx(min(grown, cap_s), abs=1e-6)
    jittered = RetryPolicy(backoff=kind, backoff_s=backoff_s, backoff_factor=factor, backoff_cap_s=cap_s)
    assert 0 <= jittered.delay_s(k, seed) <= plain.delay_s(k, seed) + 1e-6
    assert jittered.delay_s(k, seed) == jittered.delay_s(k, seed)


def named(name: str, *bases: type[Exception], **attributes: object) -> Exception:
    """An error of a library that isn't installed."""
    return type(name, bases or (Exception,), attributes)("text")


class Response:
    def __init__(self, status_code: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status_code
        self.headers = headers or {}


class Raising(Exception):
    @property
    def response(self) -> object:
        raise RuntimeError("the response has not been read")


HTTPX_TIMEOUT = type("TimeoutException", (Exception,), {})
HTTPX_NETWORK = type("NetworkError", (Exception,), {})
OPENAI_CONNECTION = type("APIConnectionError", (Exception,), {})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"), (ConnectionRefusedError(), "connection"), (BrokenPipeError(), "connection"),
        (named("ReadTimeout", HTTPX_TIMEOUT), "timeout"), (named("ConnectError", HTTPX_NETWORK), "connection"),
        (named("APITimeoutError", OPENAI_CONNECTION), "timeout"), (OPENAI_CONNECTION(), "connection"),
        (named("RateLimitError", status_code=429), "rate_limited"), (named("RateLimitError"), "rate_limited"),
        (named("HTTPError", response=Response(503)), "server_error"), (named("X", status=529), "server_error"),
        (named("X", code=408), "timeout"), (named("X", code="invalid_api_key", status_code=401), "no_access"),
        (named("X", status_code=400), "bad_request"), (named("X", status_code=422), "bad_request"),
        (named("X", status_code=403), "no_access"), (named("X", status_code=404), "not_found"),
        (named("X", status_code=409), "unknown"), (named("X", status_code=200), "unknown"),
        (named("URLError", reason=ConnectionRefusedError()), "connection"), (Raising(), "unknown"),
        (ValueError(), "unknown"), (FileNotFoundError(), "unknown"), (named("X", status_code=True), "unknown"),
        (ExceptionGroup("g", [TimeoutError(), TimeoutError()]), "timeout"),
        (ExceptionGroup("g", [TimeoutError(), ValueError()]), "unknown"),
    ],
)  # fmt: skip
def test_errors_are_known_by_what_they_look_like(error: Exception, kind: str) -> None:
    assert classify(error) == kind


@SOME
@given(st.integers(100, 999))
def test_every_status_has_a_class(status: int) -> None:
    kind = classify(named("X", status_code=status))
    permanent = {400: "bad_request", 401: "no_access", 403: "no_access", 404: "not_found", 422: "bad_request"}
    transient = {408: "timeout", 429: "rate_limited"} | dict.fromkeys(range(500, 600), "server_error")
    assert kind == (permanent | transient).get(status, "unknown")
    assert RetryPolicy().mends(named("X", status_code=status), kind) == (status in transient)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (named("X", retry_after=3), 3), (named("X", retry_after="1.5"), 1.5), (named("X", retry_after=-1), 0),
        (named("X", response=Response(429, {"retry-after": "7"})), 7),
        (named("X", response=Response(429, {"Retry-After": "0"})), 0),
        (named("X", response=Response(429, {"Retry-After": format_datetime(NEW_YEAR + timedelta(seconds=9))})), 9),
        (named("X", response=Response(429, {"Retry-After": "soon"})), None), (named("X", retry_after=math.nan), None),
        (named("X", response=Response(429)), None), (named("X", headers={"Retry-After": "2"}), 2), (Raising(), None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_all_its_forms(error: Exception, seconds: float | None) -> None:
    assert retry_after_s(error, now_s=NEW_YEAR.timestamp()) == seconds


def test_classes_are_words_of_the_record() -> None:
    assert json.loads(encode([*ErrorClass])) == [kind.value for kind in ErrorClass]


@SOME
@given(st.lists(st.booleans(), max_size=80), st.floats(0, 0.99), st.integers(1, 20))
def test_the_breaker_looks_at_a_full_window(outcomes: list[bool], rate: float, size: int) -> None:
    window = Window(Breaker(rate, size))
    for end, failed in enumerate(outcomes, start=1):
        opens = window.add(failed) is not None
        assert opens == (end >= size and sum(outcomes[end - size : end]) / size > rate)


@SOME
@given(st.lists(NUMBERS, min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], fraction: float) -> None:
    assert quantile(sorted(values), fraction) == pytest.approx(float(np.quantile(values, fraction)), rel=1e-9, abs=1e-6)


@SOME
@given(st.lists(NUMBERS, min_size=2, max_size=40), st.randoms())
def test_intervals_are_those_of_scipy_in_any_order(values: list[float], random: Any) -> None:
    made = estimate(values)
    again = list(values)
    random.shuffle(again)
    assert estimate(again).mean == made.mean or min(values) == max(values)
    if made.ci_low is None or made.ci_high is None:
        assert min(values) == max(values)
        return
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (made.ci_low, made.ci_high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@SOME
@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    line = encode(value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == value


@SOME
@given(st.recursive(st.floats() | st.binary() | st.text(st.characters()) | st.just(object), st.lists, max_leaves=6))
def test_whatever_it_is_a_line_is_strict_json(value: Any) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    json.loads(encode({"output": value}).decode("utf-8"), parse_constant=refuse)
