"""Hooks are asked one after the other on a thread; none can hold up, mislead or end its owner."""

from __future__ import annotations

import functools
import math
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment_runner import (
    ABORT,
    RETRY,
    SKIP,
    Answer,
    HookCalls,
    HookRecord,
    Refuse,
    hook_problems,
    strongest,
)

RECORD = HookRecord("20260128_143052_a1b2c3d", Path("runs"), "exp", {"succeeded": 1})
METHODS = ("before_run", "before_case", "after_case", "after_run")
DEADLINE_S = 30.0


def hook(**methods: Any) -> object:
    """A hook with these methods; what is not callable is what the method returns."""
    functions = {name: what if callable(what) else returning(what) for name, what in methods.items()}
    return types.SimpleNamespace(**functions)


def returning(what: Any) -> Callable[[HookRecord], Any]:
    return lambda record: what


def waiting(event: threading.Event) -> Callable[[HookRecord], None]:
    def method(record: HookRecord) -> None:
        event.wait(DEADLINE_S)

    return method


def raising(error: BaseException) -> Callable[[HookRecord], None]:
    def method(record: HookRecord) -> None:
        raise error

    return method


class Owner:
    """What the runner's loop does: sleeps until it is woken or something overruns, then collects."""

    def __init__(self, *hooks: object, timeout_s: float = DEADLINE_S) -> None:
        self.woken = threading.Event()
        self.failures: list[tuple[str, str, str]] = []
        self.threads_of_failures: set[int] = set()
        self.calls = HookCalls(hooks, timeout_s, self.woken.set, self.failed)

    def failed(self, *failure: str) -> None:
        assert len(failure) == 3
        self.failures.append(failure)
        self.threads_of_failures.add(threading.get_ident())

    def collect_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline
            due = self.calls.due
            self.woken.wait(DEADLINE_S if due is None else max(0.0, due - time.monotonic()))
            self.woken.clear()
            self.calls.collect()

    def ask(self, method: str, record: HookRecord = RECORD) -> list[object]:
        """The answers to one call."""
        delivered: list[list[object]] = []
        self.calls.call(method, record, delivered.append)
        self.collect_until(lambda: delivered)
        return delivered[0]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, _, reason in self.failures]


@pytest.fixture
def owner() -> Iterator[Callable[..., Owner]]:
    """Makes owners, and closes them."""
    made: list[Owner] = []

    def make(*hooks: object, **options: Any) -> Owner:
        made.append(Owner(*hooks, **options))
        return made[-1]

    yield make
    for each in made:
        each.calls.close()


MakeOwner = Callable[..., Owner]


def test_no_hook_means_no_thread_and_an_immediate_answer(owner: MakeOwner) -> None:
    """A run without hooks pays nothing, and its owner need not collect."""
    before = threading.active_count()
    calls = owner(hook(after_run=None)).calls
    delivered: list[list[object]] = []
    calls.call("before_case", RECORD, delivered.append)
    assert delivered == [[]]
    assert not calls.busy
    assert calls.due is None
    assert threading.active_count() == before
    assert [calls.wants(method) for method in METHODS] == [False, False, False, True]


def test_answers_come_in_the_order_of_hooks_without_those_that_say_nothing(owner: MakeOwner) -> None:
    """One list for each call, in the order of calls, delivered in the owner's thread."""
    asking = owner(hook(after_case=SKIP), hook(after_case=None), hook(before_case=ABORT), hook(after_case=RETRY))
    delivered: list[tuple[int, list[object]]] = []
    threads: set[int] = set()

    def then(number: int, answers: list[object]) -> None:
        delivered.append((number, answers))
        threads.add(threading.get_ident())

    for number in range(20):
        asking.calls.call("after_case", RECORD, functools.partial(then, number))
    assert asking.calls.busy
    assert asking.calls.due is not None
    asking.collect_until(lambda: not asking.calls.busy)
    assert delivered == [(number, [SKIP, RETRY]) for number in range(20)]
    assert threads == {threading.get_ident()}
    assert asking.calls.due is None
    assert not asking.failures


def test_hooks_get_the_record_itself_on_one_thread_that_is_not_the_owners(owner: MakeOwner) -> None:
    """No hook runs in the loop that looks after the cases."""
    seen: list[tuple[HookRecord, int]] = []

    def method(record: HookRecord) -> None:
        seen.append((record, threading.get_ident()))

    asking = owner(hook(before_run=method), hook(before_run=method))
    assert asking.ask("before_run") == asking.ask("before_run") == []
    assert all(record is RECORD for record, _ in seen)
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()


def test_a_call_may_be_made_while_another_is_delivered(owner: MakeOwner) -> None:
    """`then` asks for the next thing, as the runner does: a retry asks `before_case`."""
    asking = owner(hook(after_case=RETRY, before_case=SKIP))
    delivered: list[list[object]] = []

    def then(answers: list[object]) -> None:
        delivered.append(answers)
        asking.calls.call("before_case", RECORD, delivered.append)

    asking.calls.call("after_case", RECORD, then)
    asking.collect_until(lambda: len(delivered) == 2)
    assert delivered == [[RETRY], [SKIP]]


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("odd"), RecursionError()],
)
def test_a_hook_that_raises_counts_as_silent_and_the_next_one_is_asked(error: BaseException, owner: MakeOwner) -> None:
    """Whatever it raises; the reason names the error and its line."""
    asking = owner(hook(after_case=raising(error)), hook(after_case=SKIP))
    assert asking.ask("after_case") == [SKIP]
    assert asking.ask("after_case") == [SKIP]
    name, method, reason = asking.failures[0]
    assert (name, method) == ("SimpleNamespace", "after_case")
    assert reason.startswith(type(error).__name__)
    assert str(error) in reason
    assert "(test_hook_calls.py, line " in reason
    assert len(asking.failures) == 2
    assert asking.threads_of_failures == {threading.get_ident()}


def test_an_error_that_can_not_be_shown_is_still_only_a_failure(owner: MakeOwner) -> None:
    """An error whose text raises, and an answer whose representation raises."""

    class Hidden(Exception):
        def __str__(self) -> str:
            raise SystemExit(1)

        def __repr__(self) -> str:
            raise ValueError("no representation")

    asking = owner(hook(after_case=raising(Hidden())), hook(after_case=returning(Hidden())), hook(after_case=ABORT))
    assert asking.ask("after_case") == [ABORT]
    assert len(asking.failures) == 2
    assert "Hidden" in asking.reasons[0]


CIRCULAR: dict[str, Any] = {}
CIRCULAR["self"] = CIRCULAR
NOTHING: dict[str, Any] = {}

NONSENSE: dict[str, list[Any]] = {
    "before_run": [ABORT, 3, "no", [("a", 1)], {"a": object()}, {"a": math.nan}, CIRCULAR, {("a", 1): 1}, Refuse],
    "before_case": [RETRY, "retry", Refuse("no"), NOTHING, True, 0, "ABORT", Answer],
    "after_case": [Refuse("no"), NOTHING, False, 1, "", "stop", b"abort", [ABORT]],
    "after_run": [ABORT, NOTHING, 0, "done"],
}


@pytest.mark.parametrize(("method", "answer"), [(method, answer) for method in NONSENSE for answer in NONSENSE[method]])
def test_answers_that_a_method_may_not_give_count_as_silence(method: str, answer: object, owner: MakeOwner) -> None:
    """Nothing that was not meant as an answer is taken for one."""
    asking = owner(hook(**{method: returning(answer)}), hook(**{method: None}))
    assert asking.ask(method) == []
    assert len(asking.failures) == 1


def test_the_reason_says_what_may_be_returned(owner: MakeOwner) -> None:
    """A sentence that ends the search for the fault."""
    asking = owner(hook(before_case=RETRY, after_case=True, after_run=3))
    for method in METHODS[1:]:
        asking.ask(method)
    assert asking.reasons == [
        "returned <Answer.RETRY: 'retry'>; it may return SKIP or ABORT or nothing",
        "returned True; it may return RETRY or SKIP or ABORT or nothing",
        "returned 3; it may return nothing",
    ]


@pytest.mark.parametrize("method", ["before_case", "after_case"])
def test_answers_are_taken_by_value(method: str, owner: MakeOwner) -> None:
    """An Answer from another copy of the runner, or its text, is as good."""
    (answer,) = owner(hook(**{method: "abort"})).ask(method)
    assert answer is ABORT


def test_before_run_may_refuse_or_have_something_recorded(owner: MakeOwner) -> None:
    """What is recorded is a copy: later changes of the hook's own object don't reach it."""
    told = {"budget": {"spent_usd": 1.5}, "é": [None, True]}
    asking = owner(hook(before_run=told), hook(before_run=Refuse("too late")), hook(before_run={}))
    answers = asking.ask("before_run")
    told["budget"] = {}
    assert answers == [{"budget": {"spent_usd": 1.5}, "é": [None, True]}, Refuse("too late"), {}]


def test_a_hook_that_hangs_is_left_behind_and_the_others_go_on(owner: MakeOwner) -> None:
    """Its limit passes, a fresh thread asks the next hook, and its late answer is nobody's."""
    release, ended = threading.Event(), threading.Event()

    def hang(record: HookRecord) -> Answer:
        release.wait(DEADLINE_S)
        ended.set()
        return ABORT

    asking = owner(hook(after_case=hang), hook(after_case=SKIP), timeout_s=0.05)
    assert asking.ask("after_case") == [SKIP]
    assert asking.reasons == ["gave no answer within 0.05 s and was left behind"]
    assert not ended.is_set()
    # While it hangs it is not asked again, and costs nothing.
    asking.calls.timeout_s = DEADLINE_S
    assert asking.ask("after_case") == [SKIP]
    assert asking.reasons[1:] == ["is still busy with an earlier call"]
    release.set()
    asking.collect_until(lambda: not asking.calls.left_behind)
    assert not asking.calls.busy
    # It has come back: it is asked, and answers in time.
    assert asking.ask("after_case") == [ABORT, SKIP]
    assert len(asking.failures) == 2


def test_a_call_that_nobody_can_take_waits_for_nobody(owner: MakeOwner) -> None:
    """Where the only hook hangs, a call ends without waiting for a limit."""
    release = threading.Event()
    asking = owner(hook(after_case=waiting(release)), timeout_s=0.05)
    assert asking.ask("after_case") == []
    asking.calls.timeout_s = DEADLINE_S
    started = time.monotonic()
    assert asking.ask("after_case") == []
    assert time.monotonic() - started < DEADLINE_S / 2
    release.set()


def test_many_hanging_hooks_leave_one_thread_each(owner: MakeOwner) -> None:
    """However often they are called."""
    release = threading.Event()
    before = threading.active_count()
    hanging = [hook(after_case=waiting(release)) for _ in range(3)]
    asking = owner(*hanging, timeout_s=0.02)
    for _ in range(10):
        assert asking.ask("after_case") == []
    assert threading.active_count() <= before + 3
    assert len(asking.failures) == 30
    release.set()


def test_an_answer_that_is_there_counts_however_late_the_owner_looks(owner: MakeOwner) -> None:
    """An owner that was busy for long does not take a quick hook for a slow one."""
    asking = owner(hook(after_case=SKIP), timeout_s=0.01)
    delivered: list[list[object]] = []
    asking.calls.call("after_case", RECORD, delivered.append)
    assert asking.woken.wait(DEADLINE_S)
    while time.monotonic() < (asking.calls.due or 0):
        pass
    asking.calls.collect()
    assert delivered == [[SKIP]]
    assert not asking.failures


def test_a_hook_may_have_its_own_limit(owner: MakeOwner) -> None:
    """`hook_timeout_s` goes before the limit of all."""
    patient = types.SimpleNamespace(after_run=returning(None), hook_timeout_s=1000)
    asking = owner(patient, timeout_s=0.01)
    asking.calls.call("after_run", RECORD, lambda _: None)
    assert asking.calls.due is not None
    assert asking.calls.due - time.monotonic() > 900


def test_collect_does_not_wait(owner: MakeOwner) -> None:
    """While a hook is being asked, the owner looks after its cases."""
    release = threading.Event()
    asking = owner(hook(after_case=waiting(release)))
    delivered: list[list[object]] = []
    asking.calls.call("after_case", RECORD, delivered.append)
    for _ in range(1000):
        asking.calls.collect()
    assert not delivered
    release.set()
    asking.collect_until(lambda: delivered)


def test_a_closed_owner_is_neither_woken_nor_told(owner: MakeOwner) -> None:
    """After `close` its pipe may be somebody else's descriptor."""
    entered, release = threading.Event(), threading.Event()

    def slow(record: HookRecord) -> None:
        entered.set()
        release.wait(DEADLINE_S)

    asking = owner(hook(after_case=slow))
    others = set(threading.enumerate())  # one of an earlier test may not have ended yet
    asking.calls.call("after_case", RECORD, lambda _: pytest.fail("delivered after close"))
    asking.calls.call("after_case", RECORD, lambda _: pytest.fail("delivered after close"))
    assert entered.wait(DEADLINE_S)
    (thread,) = set(threading.enumerate()) - others
    asking.calls.close()
    asking.calls.close()
    release.set()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert not asking.woken.is_set()
    asking.calls.collect()
    assert not asking.calls.busy
    assert asking.calls.due is None
    assert not asking.failures


def test_giving_up_leaves_the_hook_that_hangs_behind(owner: MakeOwner) -> None:
    """Every call is delivered with what is there; a late answer is not taken for that to a later call."""
    entered, release = threading.Event(), threading.Event()

    def hang(record: HookRecord) -> Answer:
        entered.set()
        asking.woken.set()
        release.wait(DEADLINE_S)
        return ABORT

    asking = owner(hook(before_case=RETRY, after_case=SKIP), hook(after_case=hang), hook(after_case=RETRY))
    delivered: list[list[object]] = []
    asking.calls.call("after_case", RECORD, delivered.append)
    asking.calls.call("before_case", RECORD, delivered.append)
    asking.collect_until(entered.is_set)
    asking.calls.give_up()
    assert delivered == [[SKIP], []]
    assert not asking.calls.busy
    assert asking.ask("after_case") == [SKIP, RETRY]
    release.set()
    asking.collect_until(lambda: not asking.calls.left_behind)
    assert asking.ask("after_case") == [SKIP, ABORT, RETRY]


def test_a_thread_that_can_not_start_is_a_failure_of_the_call(
    owner: MakeOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without room for one more thread goes on without hooks."""
    asking = owner(hook(after_case=ABORT))

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert asking.ask("after_case") == []
    assert asking.reasons == ["can't start new thread"]
    assert asking.ask("after_case") == [ABORT]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from([None, RETRY, SKIP, ABORT, "nonsense", ValueError("x")]), max_size=6)))
def test_every_call_is_delivered_once_in_order(plans: list[list[Any]]) -> None:
    """Whatever a number of hooks do in a number of calls."""
    answers_of = {(call, at): what for call, plan in enumerate(plans) for at, what in enumerate(plan)}

    def method(at: int, record: HookRecord) -> Any:
        what = answers_of.get((record.attempt, at))
        if isinstance(what, Exception):
            raise what
        return what

    asking = Owner(*[hook(after_case=functools.partial(method, at)) for at in range(6)])
    delivered: list[tuple[int, list[object]]] = []
    for call in range(len(plans)):
        record = HookRecord("run", Path("run"), "exp", {}, attempt=call)
        asking.calls.call("after_case", record, lambda answers, call=call: delivered.append((call, answers)))
    asking.collect_until(lambda: not asking.calls.busy)
    asking.calls.close()
    expected = [[each for each in plan if isinstance(each, Answer)] for plan in plans]
    assert delivered == list(enumerate(expected))
    nonsense = sum(1 for what in answers_of.values() if what is not None and not isinstance(what, Answer))
    assert len(asking.failures) == nonsense


def test_one_call_costs_little(owner: MakeOwner) -> None:
    """Ten thousand cases with a hook are no longer than a coffee: 2,000 calls well under two seconds."""
    asking = owner(hook(after_case=None))
    started = time.monotonic()
    for _ in range(2000):
        asking.ask("after_case")
    assert time.monotonic() - started < 2.0


@given(st.lists(st.sampled_from([RETRY, SKIP, ABORT, {}, "abort", 1])))
def test_strongest(answers: list[object]) -> None:
    """ABORT before SKIP before RETRY; what is no Answer has no say."""
    found = strongest(answers)
    given_answers = {answer for answer in answers if isinstance(answer, Answer)}
    expected = next((answer for answer in (ABORT, SKIP, RETRY) if answer in given_answers), None)
    assert found is expected


# --- Problems --------------------------------------------------------------------------------------------------------


class Good:
    def after_case(self, record: HookRecord) -> Answer | None:
        return None


class Late(Good):
    hook_timeout_s: object = 5

    def before_run(self, *arguments: HookRecord, quick: bool = True) -> None: ...


class Misspelt:
    def after_cases(self, record: HookRecord) -> None: ...


class CamelCase:
    def beforeRun(self, record: HookRecord) -> None: ...


class HalfMisspelt(Good):
    def before_cse(self, record: HookRecord) -> None: ...


class Nothing:
    def close(self) -> None: ...


class Asynchronous:
    async def after_case(self, record: HookRecord) -> None: ...


class Generating:
    def after_run(self, record: HookRecord) -> Iterator[None]:
        yield


class NoArgument:
    def after_run(self) -> None: ...


class TwoArguments:
    def after_run(self, record: HookRecord, results: dict[str, Any]) -> None: ...


def test_good_hooks_have_no_problem() -> None:
    """Instances, modules and anything else with a fitting method; also built-in functions and partial ones."""
    module = types.ModuleType("my_hooks")
    vars(module)["after_run"] = print
    told: list[object] = []
    built_in = types.SimpleNamespace(after_case=told.append, before_run=functools.partial(print, "run"))
    assert hook_problems([Good(), Late(), Good(), module, built_in]) == []
    assert hook_problems(()) == []


@pytest.mark.parametrize(
    ("hooks", "problem"),
    [
        (Good(), "hooks is <"),
        ("after_case", "hooks is 'after_case': give a list of hooks."),
        (None, "hooks is None: give a list of hooks."),
        ({"a": Good()}, "hooks is {'a': "),
        ([Good], "hooks[0] is the class Good: give an instance, Good(…)."),
        ([Good(), Misspelt()], "hooks[1] (Misspelt) has after_cases: did you mean after_case?"),
        ([CamelCase()], "hooks[0] (CamelCase) has beforeRun: did you mean before_run?"),
        ([HalfMisspelt()], "hooks[0] (HalfMisspelt) has before_cse: did you mean before_case?"),
        ([Nothing()], "(Nothing) is no hook: it has none of before_run, before_case, after_case, after_run."),
        ([print], "hooks[0] (print) is no hook"),
        ([None], "hooks[0] (NoneType) is no hook"),
        ([Asynchronous()], "after_case is a coroutine or generator function: make it a plain one."),
        ([Generating()], "after_run is a coroutine or generator function: make it a plain one."),
        ([NoArgument()], "hooks[0] (NoArgument): after_run must take one argument, the record."),
        ([TwoArguments()], "after_run must take one argument, the record."),
        ([types.SimpleNamespace(after_case=3)], "hooks[0] (SimpleNamespace): after_case is 3, not a method."),
        ([GOOD := Good(), GOOD], "hooks[1] is in the list already: give each hook once."),
    ],
)
def test_each_problem_is_one_sentence(hooks: object, problem: str) -> None:
    """Where, what, and what to do about it."""
    (found,) = hook_problems(hooks)
    assert problem in found


@pytest.mark.parametrize("limit", [0, -1, "5", None, True, math.nan, math.inf])
def test_a_hooks_own_limit_is_a_number_of_seconds(limit: object) -> None:
    """As any limit."""
    late = Late()
    late.hook_timeout_s = limit
    assert "hook_timeout_s is" in hook_problems([late])[0]


def test_all_problems_come_at_once() -> None:
    """A list with several faults is corrected once."""
    assert len(hook_problems([Good, Misspelt(), NoArgument()])) == 3
