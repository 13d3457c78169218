"""Models that answer by rule, and models that stand before other models: asked as Inspect asks them."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import GenerateConfig, ModelOutput, get_model
from tenacity import RetryError

import suitecase.inspect_bridge.registry  # noqa: F401  # pyright: ignore[reportUnusedImport]
from suitecase.errors import SuitecaseError
from suitecase.inspect_bridge.fallback import AllFailedError
from suitecase.inspect_bridge.scripted import ScriptedError

ROOT = Path(__file__).resolve().parent.parent
# Inspect makes its own wait with a name that tenacity has given up.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")
ONCE = GenerateConfig(max_retries=0)


def ask(model: str, *questions: str, config: GenerateConfig = ONCE, **arguments: Any) -> list[ModelOutput]:
    """What a model answers to questions, one after the other."""

    async def all_of_them() -> list[ModelOutput]:
        asked = get_model(model, memoize=False, **arguments)
        return [await asked.generate(question, config=config) for question in questions]

    return asyncio.run(all_of_them())


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """Writes a script; the name of its model."""

    def write(name: str, *rules: Mapping[str, Any], **script: Any) -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"rules": rules, **script}))
        return f"scripted/{path}"

    return write


def test_rules_decide_what_is_answered() -> None:
    """The first rule that matches counts, with its groups, tokens, served id; without one the question comes back."""
    script = {
        "rules": [
            {"match": r"(\d+) and (?P<b>\d+)", "answer": r"\g<b>, \1", "input_tokens": 7, "output_tokens": 9},
            {"match": "who", "answer": "me", "served": "model-2026-11"},
        ]
    }
    pair, who, echo = ask("scripted/any", "1 and 23", "who?", "so be it", script=script)
    assert pair.completion == "23, 1"
    assert pair.usage is not None
    assert (pair.usage.input_tokens, pair.usage.output_tokens, pair.usage.total_tokens) == (7, 9, 16)
    assert (who.completion, who.model) == ("me", "model-2026-11")
    assert (echo.completion, echo.model) == ("so be it", "any")
    assert echo.usage is not None
    assert echo.usage.total_tokens == 6


def test_draws_depend_on_model_seed_and_question_alone() -> None:
    """The same questions go wrong each time, about as many as the rate says; another name or seed draws others."""
    questions = [str(number) for number in range(100)]

    def wrong(name: str, seed: int) -> set[str]:
        script = {"seed": seed, "rules": [{"wrong_rate": 0.3, "wrong": "no"}]}
        answers = ask(f"scripted/{name}", *questions, script=script)
        return {question for question, output in zip(questions, answers, strict=True) if output.completion == "no"}

    first = wrong("a", 0)
    assert 20 < len(first) < 40
    assert wrong("a", 0) == first
    assert len({frozenset(first), frozenset(wrong("b", 0)), frozenset(wrong("a", 1))}) == 3


def test_calls_are_counted_across_processes(model: Any, tmp_path: Path) -> None:
    """Each call is a line of the file, with the question and how often it was asked; so is one that fails."""
    name = model("a", {"match": "bad", "error": "bad_request"}, calls="calls.jsonl")
    ask(name, "x", "x", "y")
    with pytest.raises(ScriptedError):
        ask(name, "bad")
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(call["question"], call["asked"]) for call in calls] == [("x", 1), ("x", 2), ("y", 1), ("bad", 1)]


def test_errors_that_pass_are_tried_again(model: Any) -> None:
    """What a rule lets fail at first is answered by Inspect's own retries."""
    name = model("a", {"error": "rate_limit", "first": 2, "answer": "at last"}, calls="calls.jsonl", retry_wait_s=0)
    (output,) = ask(name, "q", config=GenerateConfig(max_retries=2))
    assert output.completion == "at last"
    with pytest.raises(RetryError):
        ask(name, "q", config=GenerateConfig(max_retries=1))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"rules": [{"wrong_rate": 2, "answr": "x"}]}, ["rules.0.wrong_rate", "rules.0.answr"]),
        ({"rules": [{"match": "("}]}, ["no regular expression"]),
        ("missing.json", ["missing.json", "can't be read"]),
    ],
)
def test_wrong_script_is_one_clear_error(script: object, told: list[str]) -> None:
    """All that is wrong is told before anything is asked."""
    with pytest.raises(SuitecaseError) as error:
        get_model("scripted/a", script=script)
    assert all(part in str(error.value) for part in told)


def test_next_model_answers_if_one_fails_hangs_or_refuses(model: Any) -> None:
    """The answer is that of the first member that gives one; the metadata say who was passed over, and why."""
    names = [
        model("broken", {"error": "bad_request"}),
        model("hanging", {"error": "hang"}),
        model("prudish", {"error": "refusal"}),
        model("good", {"answer": "42", "served": "good-1"}),
        model("spare", {"answer": "43"}, calls="spare.jsonl"),
    ]
    (output,) = ask(f"fallback/{','.join(names)}", "q", timeout_s=0.05)
    assert (output.completion, output.model) == ("42", "good-1")
    told = (output.metadata or {})["fallback"]
    assert told["answered"] == names[3]
    assert [(each["model"], each["reason"]) for each in told["passed_over"]] == [
        (names[0], "scripted bad_request"),
        (names[1], "no answer within 0.05 s"),
        (names[2], "refused"),
    ]
    assert output.usage is None, "the members book their own, and it would count twice"
    assert not Path(names[4].removeprefix("scripted/")).with_name("spare.jsonl").exists()


def test_refusal_of_all_is_the_answer(model: Any) -> None:
    """If everyone refuses, the evaluation sees a refusal, not an error; with `on_refusal` off the first one counts."""
    names = [model("a", {"error": "refusal"}), model("b", {"error": "refusal"})]
    (output,) = ask(f"fallback/{','.join(names)}", "q")
    assert output.stop_reason == "content_filter"
    assert (output.metadata or {})["fallback"]["answered"] == names[0]
    names[1] = model("c", {"answer": "yes"})
    (output,) = ask(f"fallback/{','.join(names)}", "q", on_refusal=False)
    assert output.stop_reason == "content_filter"


def test_failure_of_all_holds_every_error(model: Any) -> None:
    """Nobody answered: one error with what each raised, and of whom it is."""
    names = [model("a", {"error": "bad_request"}), model("b", {"error": "hang"})]
    with pytest.raises(AllFailedError) as error:
        ask(f"fallback/{','.join(names)}", "q", timeout_s=0.05)
    assert [each.__notes__ for each in error.value.exceptions] == [[name] for name in names]
    assert isinstance(error.value.exceptions[1], TimeoutError)


def test_hedge_answers_if_the_primary_is_slow(model: Any, tmp_path: Path) -> None:
    """The backup's answer comes, the primary is cancelled; the metadata have both, and what the loser may have cost."""
    slow = model("slow", {"error": "hang"}, calls="calls.jsonl")
    quick = model("quick", {"answer": "42", "input_tokens": 3, "output_tokens": 4}, calls="calls.jsonl")
    (output,) = ask(f"hedged/{slow},{quick}", "q", delay_s=0.02)
    told = (output.metadata or {})["hedged"]
    assert (output.completion, output.usage) == ("42", None)
    assert (told["winner"], told["hedge_won"]) == (quick, True)
    assert [call["target"] for call in told["calls"]] == [slow, quick]
    assert told["losers_at_most"] == {"input_tokens": 3, "output_tokens": 4}
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 2


def test_quick_primary_is_not_hedged(model: Any) -> None:
    """Without a reason, no second request."""
    (output,) = ask(f"hedged/{model('quick', {'answer': '42'})}", "q", delay_s=30)
    told = (output.metadata or {})["hedged"]
    assert (told["hedge_won"], len(told["calls"])) == (False, 1)


def test_race_that_failed_is_tried_again_by_inspect(model: Any) -> None:
    """What Inspect would try again of a member, it tries again of the race."""
    name = model("a", {"error": "rate_limit", "first": 1, "answer": "at last"})
    (output,) = ask(f"hedged/{name}", "q", delay_s=30, max_backups=0, config=GenerateConfig(max_retries=3))
    assert output.completion == "at last"


def test_majority_of_members_answers(model: Any) -> None:
    """The winner's whole output, without usage of its own; every vote stands in the metadata, failures too."""
    names = [
        model("a", {"answer": "It is 42.", "served": "a-1"}),
        model("b", {"answer": "41"}),
        model("c", {"answer": "so: 42"}),
        model("d", {"error": "bad_request"}),
    ]
    (output,) = ask(f"ensemble/{','.join(names)}", "q", normaliser="number")
    told = (output.metadata or {})["ensemble"]
    assert (output.completion, output.model, output.usage) == ("It is 42.", "a-1", None)
    assert told["agreement"] == pytest.approx(2 / 3)
    assert [vote["status"] for vote in told["votes"]] == ["answered", "answered", "answered", "failed"]
    assert [vote.get("raw") for vote in told["votes"]] == ["It is 42.", "41", "so: 42", None]


def test_cascade_ends_once_members_agree(model: Any, tmp_path: Path) -> None:
    """Two cheap ones that agree are enough; the third is not asked."""
    names = [model(name, {"answer": "42"}, calls="calls.jsonl") for name in ("a", "b", "c")]
    (output,) = ask(f"cascade/{','.join(names)}", "q")
    assert output.completion == "42"
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 2


def test_quorum_is_enforced(model: Any) -> None:
    """Too few answers are an error, before the questions if it can be known."""
    names = ",".join(
        [model("a", {"answer": "42"}), model("b", {"error": "bad_request"}), model("c", {"error": "refusal"})]
    )
    with pytest.raises(SuitecaseError, match="quorum"):
        ask(f"ensemble/{names}", "q")
    with pytest.raises(SuitecaseError, match="quorum is 4"):
        get_model(f"ensemble/{names}", quorum=4)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fallback/scripted/a,scripted/a", "scripted/a is in it 2 times"),
        ("fallback/scripted/a,", "missing between two others"),
        ("ensemble/scripted/a", "needs 2. Write them a+b"),
        ("fallback/a", "a is no provider/model"),
        ("fallback/scripted/a,nobody/b", "nobody"),
    ],
)
def test_wrong_members_are_told_before_anything_is_asked(name: str, told: str) -> None:
    """A model twice, none, no provider or an unknown one."""
    with pytest.raises((SuitecaseError, ValueError), match=re.escape(told)):
        get_model(name)


def test_plus_separates_members_where_a_comma_can_not() -> None:
    """`--model a,b` is two evaluations to Inspect."""
    (output,) = ask("fallback/scripted/a+scripted/b", "q")
    assert (output.metadata or {})["fallback"]["answered"] == "scripted/a"


def test_registered_providers_are_those_of_the_entry_point() -> None:
    """`inspect eval --model fallback/…` finds them in a process that imports nothing of ours itself."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["inspect_ai"]
    assert declared == {"suitecase": "suitecase.inspect_bridge.registry"}
    assert set(importlib.import_module(declared["suitecase"]).__all__) == {
        *("cascade", "ensemble", "fallback", "hedged", "scripted")
    }


@pytest.mark.parametrize("provider", ["fallback", "hedged", "ensemble", "cascade"])
def test_arguments_that_there_are_not_are_told_with_all_else(provider: str) -> None:
    with pytest.raises(SuitecaseError) as caught:
        get_model(f"{provider}/scripted/a+nobody/x", quorums=1)
    told = str(caught.value)
    assert f"{provider}/scripted/a+nobody/x takes no argument quorums" in told
    assert "nobody/x: Model API nobody" in told


def test_only_public_names_of_inspect_are_used() -> None:
    """A private name changes without notice, and there are two releases a week."""
    private = re.compile(r"^\s*(?:from|import) inspect_ai[\w.]*\._|^\s*from inspect_ai[\w.]* import .*\b_\w", re.M)
    files = [*ROOT.glob("suitecase/**/*.py"), *ROOT.glob("*.py"), *ROOT.glob("experiments/**/*.py")]
    found = [path.name for path in files if private.search(path.read_text(encoding="utf-8"))]
    assert not found
