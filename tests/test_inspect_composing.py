"""What passes through models that stand before others: settings, tools, cancellation, limits, a retry by Inspect."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from conftest import HERE
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo
from test_inspect_mode import Lab

import suitecase.inspect_bridge.registry  # noqa: F401  # pyright: ignore[reportUnusedImport]
from suitecase.errors import SuitecaseError

# As in test_inspect_providers.py.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")

COMPOSING: dict[str, dict[str, Any]] = {
    "fallback/probe/a,probe/b": {},
    "hedged/probe/a": {"delay_s": 30.0},
    "ensemble/probe/a,probe/b": {},
    "cascade/probe/a,probe/b": {"agreement": 1.0},
}
"""Each kind of model that asks others, with its arguments."""


class Probe(ModelAPI):
    """Keeps what it is asked with, and answers with all that an output can have; to `hang` it never does.

    `probe/mute` gives nothing, and `probe/stubborn` ignores its cancellation until it is released.
    """

    asked: list[tuple[list[ChatMessage], list[ToolInfo], ToolChoice, GenerateConfig]] = []
    cancelled = 0
    released: asyncio.Event

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        self.asked.append((input, tools, tool_choice, config))
        if self.model_name == "mute":
            return ModelOutput(model="mute-1", choices=[])
        while self.model_name == "stubborn" and not self.released.is_set():
            with suppress(asyncio.CancelledError):
                await self.released.wait()
        if input[-1].text == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                Probe.cancelled += 1
                raise
        call = ToolCall(id="1", function="look", arguments={"where": "here"})
        message = ChatMessageAssistant(content="42", tool_calls=[call] if tools else None)
        sure = Logprobs(content=[Logprob(token="42", logprob=-0.1)])
        choice = ChatCompletionChoice(message=message, stop_reason="stop", logprobs=sure if config.logprobs else None)
        usage = ModelUsage(input_tokens=3, output_tokens=4, total_tokens=7)
        return ModelOutput(model="probe-1", choices=[choice] * (config.num_choices or 1), usage=usage)

    async def count_text_tokens(self, text: str) -> int:
        return len(text.split())


@modelapi(name="probe")
def probe() -> type[ModelAPI]:
    """`probe/<name>`."""
    return Probe


ONCE = GenerateConfig(max_retries=0)


@pytest.fixture(autouse=True)
def _unasked() -> None:
    Probe.asked, Probe.cancelled = [], 0


@pytest.mark.parametrize(("name", "arguments"), COMPOSING.items())
def test_settings_tools_and_choices_pass_through(name: str, arguments: dict[str, Any]) -> None:
    """Members are asked with all that was asked of the whole, and the whole answers with all that a member gave."""
    config = GenerateConfig(
        temperature=0.25, top_p=0.5, seed=7, max_tokens=77, stop_seqs=["."], logprobs=True, top_logprobs=2,
        num_choices=2, system_message="Be brief.", stream_idle_timeout=9, reasoning_effort="low", max_retries=0,
        extra_body={"a": 1}, parallel_tool_calls=False,
    )  # fmt: skip
    tool = ToolInfo(name="look", description="Looks.")
    model = get_model(name, memoize=False, **arguments)
    output = asyncio.run(model.generate("6 × 7?", tools=[tool], tool_choice="any", config=config))
    assert Probe.asked
    for messages, tools, choice, asked in Probe.asked:
        assert [(each.role, each.text) for each in messages] == [("system", "Be brief."), ("user", "6 × 7?")]
        assert ([each.name for each in tools], choice) == (["look"], "any")
        given = config.model_dump(exclude_none=True, exclude={"system_message"})
        assert asked.model_dump(exclude_none=True) == given
    assert len(output.choices) == 2
    assert output.choices[0].logprobs is not None
    assert output.choices[0].logprobs.content[0].logprob == -0.1
    calls = [(call.function, call.arguments) for call in output.message.tool_calls or ()]
    assert calls == [("look", {"where": "here"})]
    assert (output.model, output.usage) == ("probe-1", None)


@pytest.mark.parametrize(("name", "arguments"), COMPOSING.items())
def test_cancellation_reaches_members_and_leaves_nothing(name: str, arguments: dict[str, Any]) -> None:
    """Whoever is being asked hears of it, and no task goes on."""

    async def cancelled() -> bool:
        asking = asyncio.ensure_future(get_model(name, memoize=False, **arguments).generate("hang"))
        async with asyncio.timeout(60):
            while not Probe.asked:
                await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return await no_tasks_left()

    assert asyncio.run(cancelled())
    assert Probe.cancelled == len(Probe.asked) >= 1


async def no_tasks_left() -> bool:
    """Whether all that was started ends once the loop has turned a few times."""
    for _ in range(50):
        await asyncio.sleep(0)
    return asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fallback/probe/stubborn,probe/a", {"timeout_s": 0.02}),
        ("hedged/probe/stubborn,probe/a", {"delay_s": 0.02}),
        ("ensemble/probe/stubborn,probe/a", {"timeout_s": 0.02, "quorum": 1}),
        ("cascade/probe/stubborn,probe/a,probe/b", {"timeout_s": 0.02, "agreement": 1.0}),
    ],
)
def test_member_that_ignores_its_cancellation_holds_nobody_up(name: str, arguments: dict[str, Any]) -> None:
    """The answer comes, and the member is gone once it ends."""

    async def asked() -> str:
        Probe.released = asyncio.Event()
        try:
            async with asyncio.timeout(30):
                output = await get_model(name, memoize=False, **arguments).generate("q", config=ONCE)
        finally:
            Probe.released.set()
        assert await no_tasks_left()
        return output.completion

    assert asyncio.run(asked()) == "42"


@pytest.mark.parametrize(("name", "arguments"), COMPOSING.items())
def test_many_at_a_time_share_few_connections(name: str, arguments: dict[str, Any]) -> None:
    """Neither a deadlock between the places of the whole and of its members, nor a task that is left."""

    async def asked() -> list[str]:
        model = get_model(name, memoize=False, **arguments)
        config = GenerateConfig(max_retries=0, max_connections=2)
        async with asyncio.timeout(120):
            outputs = await asyncio.gather(*(model.generate(f"q{number}", config=config) for number in range(20)))
        assert await no_tasks_left()
        return [output.completion for output in outputs]

    assert asyncio.run(asked()) == ["42"] * 20


def test_member_that_gives_nothing_is_passed_over() -> None:
    """By a fallback as by a vote; if all give nothing, that is the answer."""
    asked = get_model("fallback/probe/mute,probe/a", memoize=False).generate("q", config=ONCE)
    output = asyncio.run(asked)
    told = (output.metadata or {})["fallback"]
    assert (output.completion, told["answered"]) == ("42", "probe/a")
    assert told["passed_over"] == [{"model": "probe/mute", "reason": "gave nothing"}]
    output = asyncio.run(get_model("ensemble/probe/mute,probe/a", memoize=False).generate("q", config=ONCE))
    assert [vote["status"] for vote in (output.metadata or {})["ensemble"]["votes"]] == ["empty", "answered"]
    output = asyncio.run(get_model("fallback/probe/mute,scripted/mute", memoize=False).generate("", config=ONCE))
    assert output.choices == []


def test_all_that_is_wrong_with_members_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that nobody knows, a key or a package that is missing, a name without a provider."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SuitecaseError) as error:
        get_model("ensemble/openai/gpt-4o,nobody/b,c,probe/a", quorum=9)
    assert [problem.split(": ")[1] for problem in error.value.problems] == [
        "c is no provider/model.", "openai/gpt-4o", "nobody/b",
    ]  # fmt: skip


# --- Evaluations -----------------------------------------------------------------------------------------------------

RETRIED: dict[str, dict[str, Any]] = {
    "scripted/a.json": {},
    "fallback/scripted/a.json+scripted/b.json": {"timeout_s": 20.0, "on_refusal": False},
    "hedged/scripted/a.json+scripted/b.json": {"delay_s": 30.0},
    "ensemble/scripted/a.json+scripted/b.json+scripted/c.json": {"normaliser": "number", "quorum": 2},
    "cascade/scripted/a.json+scripted/b.json": {"agreement": 1.0, "normaliser": "number"},
}

# One question fails as long as there is a file `fail`.
TASK = """\
from pathlib import Path
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate, solver

@solver
def breaks():
    async def solve(state, generate):
        if state.sample_id == "s1" and Path("fail").exists():
            raise RuntimeError("broken")
        return state
    return solve

@task
def three():
    samples = [Sample(id=f"s{number}", input=f"q{number}", target="42") for number in range(3)]
    return Task(dataset=MemoryDataset(samples), solver=[breaks(), generate()], scorer=match("exact"))
"""
EVALUATE = """\
import json, sys
from pathlib import Path
from inspect_ai import eval, eval_retry
from inspect_ai.log import read_eval_log
from inspect_ai.model import get_model

options = dict(display="none", log_dir="logs", ctl_server=False)

def models(kinds):
    return [get_model(name, memoize=False, **arguments) for name, arguments in kinds.items()]

def told(logs):
    found = []
    for log in (read_eval_log(log.location) for log in logs):
        samples = {
            sample.id: {
                "uuid": sample.uuid, "failed": sample.error is not None, "limit": sample.limit and sample.limit.type,
                "usage": {name: usage.total_tokens for name, usage in sample.model_usage.items()},
                "metadata": sample.output.metadata,
            }
            for sample in log.samples
        }
        about = {"model": log.eval.model, "task_id": log.eval.task_id, "model_args": log.eval.model_args}
        found.append({**about, "status": log.status, "samples": samples})
    return found

kinds = json.loads(sys.argv[1])
for name, answer in (("a", "42"), ("b", "42"), ("c", "It is 42.")):
    rule = {"answer": answer, "input_tokens": 10, "output_tokens": 5}
    Path(f"{name}.json").write_text(json.dumps({"rules": [rule]}))
Path("fail").touch()
failed = eval("three.py", model=models(kinds), continue_on_fail=True, **options)
Path("fail").unlink()
retried = eval_retry([log.location for log in failed], **options)
limited = eval("three.py", model=models(kinds), token_limit=12, limit=1, **options)
print(json.dumps({"failed": told(failed), "retried": told(retried), "limited": told(limited)}))
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """What three evaluations by each of the models left, by model."""
    folder = tmp_path_factory.mktemp("composing")
    (folder / "three.py").write_text(TASK)
    lab = Lab({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})
    printed = lab.python("-c", EVALUATE, json.dumps(RETRIED), folder=folder, PYTHONPATH=str(HERE))
    found = json.loads(printed.splitlines()[-1])
    return {name: {log["model"]: log for log in logs} for name, logs in found.items()}


@pytest.mark.parametrize("model", RETRIED)
def test_retry_by_inspect_rebuilds_a_model_with_its_arguments(
    model: str, evaluated: dict[str, dict[str, dict[str, Any]]]
) -> None:
    """`eval_retry` makes it again from its name and arguments, and asks the failed sample alone."""
    before, after = evaluated["failed"][model], evaluated["retried"][model]
    assert (before["status"], after["status"]) == ("error", "success")
    assert (after["task_id"], after["model_args"]) == (before["task_id"], RETRIED[model])
    failed = {name for name, sample in before["samples"].items() if sample["failed"]}
    again = {name for name, sample in after["samples"].items() if sample["uuid"] != before["samples"][name]["uuid"]}
    assert failed == again == {"s1"}
    kind, _, members = model.partition("/")
    metadata: dict[str, dict[str, Any]] = after["samples"]["s1"]["metadata"] or {}
    told = metadata.get(kind, {})
    if kind == "fallback":
        assert told == {"answered": "scripted/a.json", "passed_over": []}
    elif kind == "hedged":
        assert told["winner"] == "scripted/a.json"
    elif kind in ("ensemble", "cascade"):  # "It is 42." agrees with "42" as a number alone
        votes: list[dict[str, Any]] = told["votes"]
        assert [vote["member"] for vote in votes] == members.split("+")
        assert told["agreement"] == 1.0


@pytest.mark.parametrize("model", RETRIED)
def test_limits_of_a_sample_count_what_members_use(model: str, evaluated: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Tokens of all that answered, once each, and the sample ends as with any model."""
    (sample,) = evaluated["limited"][model]["samples"].values()
    assert sample["limit"] == "token"
    members = model.partition("/")[2].split("+")
    asked = members[:1] if model.startswith(("fallback", "hedged")) else members
    asked = [model] if model.startswith("scripted") else asked
    assert set(sample["usage"]) <= set(asked)
    assert set(sample["usage"].values()) == {15}


def test_time_of_an_attempt_is_refused_where_members_could_not_use_it() -> None:
    """Inspect would end all members with the one that hangs, and try again for ever: told before anything is asked."""
    for name in ("fallback/probe/a,probe/b", "ensemble/probe/a,probe/b", "cascade/probe/a,probe/b"):
        with pytest.raises(SuitecaseError, match=r"attempt_timeout=5 would end all members .* timeout_s"):
            get_model(name, config=GenerateConfig(attempt_timeout=5))
        with pytest.raises(SuitecaseError, match="attempt_timeout=5"):
            asyncio.run(get_model(name, memoize=False).generate("q", config=GenerateConfig(attempt_timeout=5)))
    assert not Probe.asked
    race = get_model("hedged/probe/a", memoize=False, config=GenerateConfig(attempt_timeout=5))
    assert asyncio.run(race.generate("q")).completion == "42"
