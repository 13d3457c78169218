"""Models asked by name, and what every call of a model goes through: shared limits, money, cassettes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from conftest import Project, wait_for
from inspect_ai.model import get_model
from test_command import answer
from test_inspect_mode import Lab, commit, run_dir

from suitecase.cassettes import Cassette, NotRecordedError
from suitecase.ensembles import EnsembleError, EnsembleResult, NoConsensusError, Status
from suitecase.inspect_bridge import predict
from suitecase.limits import Budget, BudgetSpentError, Limits, Prices, Rates
from suitecase.policies import CostBudget

# Inspect makes its own wait with a name that tenacity has given up.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter:DeprecationWarning")


class Bench:
    """A folder with scripted models, their prices, and the calls that they got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prices: list[str] = []

    def model(self, name: str, *rules: Mapping[str, Any], usd: tuple[float, float] | None = (100, 200)) -> str:
        """The name of a model that answers by these rules, at a price per million tokens."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"rules": rules, "calls": "calls.jsonl", "retry_wait_s": 0}))
        if usd:
            rows = ("[[price]]", f"model = 'scripted/{path}'", "since = 2026-01-01")
            self.prices += [*rows, f"input_usd_per_million = {usd[0]}", f"output_usd_per_million = {usd[1]}"]
        return f"scripted/{path}"

    def limits(self, *rates: Rates, **budget: float) -> Limits:
        """Limits of these models, in a file of their own."""
        path = self.folder / "prices.toml"
        path.write_text("\n".join(self.prices))
        wanted = Budget(**budget) if budget else None
        return Limits(*rates, budget=wanted, prices=Prices.read(path), path=self.folder / "limits.bin")

    def calls(self) -> Counter[str]:
        """How often each model was called."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(Path(json.loads(line)["model"]).stem for line in lines)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def predicted(prompt: str, *models: Any, **options: Any) -> EnsembleResult:
    """What `predict` gives."""
    return asyncio.run(predict(prompt, models, **options))


def test_models_are_asked_by_name_in_one_line(bench: Bench) -> None:
    """Answer, agreement, cost by the price table, and latency; the raw texts stay."""
    names = [
        bench.model("a", {"answer": "It is 42.", "input_tokens": 10, "output_tokens": 5}),
        bench.model("b", {"answer": "41", "input_tokens": 10, "output_tokens": 1}),
        bench.model("c", {"answer": "so: 42", "input_tokens": 10, "output_tokens": 2}),
    ]
    limits = bench.limits()
    result = predicted("What is 6 × 7?", *names, normaliser="number", limits=limits)
    assert (result.answer, result.text, result.agreement) == (42, "It is 42.", pytest.approx(2 / 3))
    assert result.cost_usd == pytest.approx((30 * 100 + 8 * 200) / 1e6)
    assert limits.spent_usd()["run"] == pytest.approx(result.cost_usd)
    assert result.latency_s > 0
    assert [vote.raw for vote in result.votes] == ["It is 42.", "41", "so: 42"]


def test_one_that_fails_is_a_vote_less_and_costs_nothing(bench: Bench) -> None:
    """The quorum decides whether that is enough; what is worth another try is tried again, within the limits."""
    names = [bench.model("a", {"answer": "yes"}), bench.model("b", {"error": "bad_request"})]
    late = bench.model("c", {"error": "rate_limit", "first": 1, "answer": "yes"})
    limits = bench.limits(Rates(requests_per_min=60_000))
    result = predicted("Really?", *names, late, limits=limits)
    assert [vote.status for vote in result.votes] == [Status.ANSWERED, Status.FAILED, Status.ANSWERED]
    assert bench.calls() == {"a": 1, "b": 1, "c": 2}
    usage = limits.usage()
    assert (usage.in_use, usage.granted) == (0, 4)
    assert usage.scale < 1, "the 429 has lowered the limits of all processes"


def test_all_that_is_wrong_is_told_before_anything_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers, keys, duplicates, prices, options: one error."""
    monkeypatch.delenv("AZUREAI_API_KEY", raising=False)
    known, unpriced = bench.model("a"), bench.model("b", usd=None)
    strangers = ("nobody/x", "plain", "azureai/some")
    with pytest.raises(EnsembleError) as caught:
        predicted(" ", known, known, unpriced, *strangers, limits=bench.limits(), quorum=9, strateg="majority")
    told = str(caught.value)
    parts = (
        "prompt is ' '", f"'{known}' is among the models 2 times", "Model API nobody of model 'nobody/x' not",
        "'plain' should be in the format", "azureai/some: ", f"no price for '{unpriced}'", "quorum is 9",
        "no option 'strateg', but 'strategy'",
    )  # fmt: skip
    assert [part for part in parts if part not in told] == []
    assert not bench.calls()


def test_what_is_of_another_kind_is_refused_by_name(bench: Bench) -> None:
    """A name where a list belongs, a mapping as config, votes by a confidence that nobody asks for."""
    known = bench.model("a")
    wrong: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (known, {}, "models is 'scripted/"), (None, {}, "models is None"), ([known, 3], {}, "3 is no model"),
        ([known], {"config": {"temperature": 0}}, "config is {'temperature': 0}"),
        ([known], {"strategy": "weighted"}, r"strategy is 'weighted'.*logprobs=True"),
    )  # fmt: skip
    for models, options, told in wrong:
        with pytest.raises(EnsembleError, match=told):
            asyncio.run(predict("q", models, **options))  # type: ignore[arg-type]
    assert not bench.calls()


def test_budget_without_prices_is_refused(bench: Bench) -> None:
    """Models tell tokens: a budget could never be kept."""
    with pytest.raises(EnsembleError, match="budget and no prices"):
        predicted("q", bench.model("a"), limits=Limits(budget=Budget(run_usd=1), path=bench.folder / "l.bin"))


@pytest.mark.parametrize("before", ["", "fallback/", "ensemble/"])
def test_spent_budget_is_no_members_failure(bench: Bench, before: str) -> None:
    """No answer of the members that were paid for alone: the call ends, whatever stands before the models."""
    names = [bench.model(name, {"answer": "yes", "input_tokens": 10, "output_tokens": 10}) for name in "abc"]
    models = [before + "+".join(names)] if before else names
    limits = bench.limits(Rates(max_concurrent=1), run_usd=0.004)
    if before == "fallback/":
        predicted("q", *models, limits=limits)
        predicted("q", *models, limits=limits)
    with pytest.raises(BudgetSpentError):
        predicted("q", *models, limits=limits, quorum=1)
    assert sum(bench.calls().values()) == 2
    assert limits.spent_usd()["run"] == pytest.approx(0.006)


def test_loser_of_a_race_is_booked_once_at_its_own_price(bench: Bench) -> None:
    """Nobody tells what a cancelled call used; it is booked at what the winner used, and never beside its own usage."""
    slow = bench.model("slow", {"error": "hang"}, usd=(1000, 1000))
    quick = bench.model("quick", {"answer": "42", "input_tokens": 3, "output_tokens": 4}, usd=(100, 200))
    limits = bench.limits()

    async def raced() -> EnsembleResult:
        model = get_model(f"hedged/{slow},{quick}", memoize=False, delay_s=0.02)
        result = await predict("q", [model], limits=limits)
        await asyncio.sleep(0)  # the loser hears of its end
        return result

    assert asyncio.run(raced()).text == "42"
    assert limits.spent_usd()["run"] == pytest.approx((3 * 100 + 4 * 200 + 7 * 1000) / 1e6)
    assert limits.usage().in_use == 0


def test_ties_fall_differently_from_question_to_question(bench: Bench) -> None:
    """Or one model would win all of them: the question is part of what the seed decides by."""
    names = [bench.model("a", {"answer": "1"}), bench.model("b", {"answer": "2"})]

    async def winners() -> set[str]:
        model = get_model("ensemble/" + "+".join(names), memoize=False)
        return {(await model.generate(f"question {number}")).completion for number in range(12)}

    assert asyncio.run(winners()) == {"1", "2"}


# --- In an evaluation ------------------------------------------------------------------------------------------------

N, CALL_USD, JUDGE_USD = 8, 0.01, 0.001

ENTRY_POINT = f"""\
import json, os
from dataclasses import dataclass
from pathlib import Path
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import generate
from config import Config
from suitecase import tracking
from suitecase.cassettes import Cassette, CassetteError
from suitecase.inspect_bridge import read_samples, run_inspect
from suitecase.limits import Budget, Limits, Prices, Rates

config = Config()
folder = Path(config.output_dir)
rules = [{{"latency_s": 0.02, "input_tokens": 100, "output_tokens": 0}}]
script = folder / "script.json"
script.write_text(json.dumps({{"calls": str(folder / "calls.jsonl"), "rules": rules}}))

@scorer(metrics=[mean()])
def judged(by):
    async def score(state, target):
        said = await get_model(**by).generate("good?")
        return Score(value=len(said.completion), answer=said.completion)
    return score

@task
def echo(by, n={N}, epochs=1):
    samples = [Sample(id=f"s{{number}}", input=f"q{{number}}") for number in range(n)]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=judged(by), epochs=epochs)

limits = Limits(
    Rates(max_concurrent=2), budget=Budget(condition_usd=float(os.environ["BUDGET_USD"])),
    prices=Prices.read("prices.toml"), observe=tracking.observe,
)
run_inspect(config, echo({{"model": "scripted/judge", "script": str(script)}}), max_samples=3, limits=limits,
            model=get_model("scripted/echo", script=str(script)), ctl_server=False)

# A second evaluation, by hand: recorded, played, and played with a judge that the task makes itself.
played = Path(os.environ["PLAYED"])
played.mkdir()
for name in ("a", "judge", "other"):
    (played / f"{{name}}.json").write_text(json.dumps({{"calls": "calls.jsonl"}}))

@dataclass(frozen=True)
class ByHand:
    output_dir: str
    seed: int = 7
    def model_dump(self, *, mode):
        return {{"seed": self.seed}}

def outcomes(mode, by):
    (log,) = run_inspect(
        ByHand(str(played)), echo(by, 3, 2), model=f"scripted/{{played}}/a.json", ctl_server=False,
        model_roles={{"judge": f"scripted/{{played}}/judge.json"}}, cassette=Cassette(played / "tape.jsonl", mode),
    )
    samples = read_samples(Path(log.location))
    return sorted([each["id"], each["epoch"], each["scores"]["judged"]] for each in samples)

def calls():
    return len((played / "calls.jsonl").read_text().splitlines())

told = {{}}
first = outcomes("record", {{"role": "judge"}})
told |= {{"samples": len(first), "calls": calls(), "same": outcomes("replay", {{"role": "judge"}}) == first}}
try:
    outcomes("replay", {{"model": f"scripted/{{played}}/other.json"}})
except CassetteError as error:
    told |= {{"said": str(error), "calls_later": calls()}}
(played / "told.json").write_text(json.dumps(told))
"""
PRICES = "\n".join(
    f"[[price]]\nmodel = 'scripted/{name}'\nsince = 2026-01-01\ninput_usd_per_million = {usd * 10_000}\n"
    "output_usd_per_million = 0\n"
    for name, usd in (("echo", CALL_USD), ("judge", JUDGE_USD))
)


@dataclass(frozen=True)
class Evaluated:
    """A run whose only case was stopped by its budget, and resumed with a larger one.

    Attributes:
        stopped: How the first pass ended, and the log of its case.
        begun: How many calls of the model there were by then.
        waited: Whether the second pass called nobody while this process had all places.
    """

    project: Project
    stopped: tuple[int, str]
    begun: int
    waited: bool
    played: Path

    @property
    def questions(self) -> Counter[str]:
        """What was asked, and how often."""
        return questions_of(self.project)


def questions_of(project: Project) -> Counter[str]:
    lines = (run_dir(project) / "case/calls.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["question"] for line in lines)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, new_project: Callable[[str], Project]) -> Evaluated:
    """Both passes, and beside the second one an evaluation that is recorded and played."""
    folder = tmp_path_factory.mktemp("inspect")
    lab = Lab({"XDG_DATA_HOME": str(folder / "data"), "XDG_CACHE_HOME": str(folder / "cache")})
    project = new_project("spent")
    project.write("evaluate.py", ENTRY_POINT)
    project.write("prices.toml", PRICES)
    project.suite({"case": ""}, more="mode='inspect'", entry_point="evaluate.py")
    commit(project, "Add a suite")
    stopped = lab.run(project, BUDGET_USD="0.035")
    log = (run_dir(project) / "case/attempt-1.log").read_text()
    begun = sum(n for question, n in questions_of(project).items() if question != "good?")
    before = questions_of(project)
    mine = Limits(Rates(max_concurrent=2), path=run_dir(project) / "limits.bin")
    with mine.acquire(), mine.acquire():
        process = lab.start(project, "--resume", "latest", BUDGET_USD="1", PLAYED=str(folder / "played"))
        wait_for(lambda: mine.usage().waiting, "the case waits for a place")
        waited = questions_of(project) == before
    resumed = lab.finish(process)
    assert resumed.code == 0, resumed.stdout
    return Evaluated(project, (stopped.code, log), begun, waited, folder / "played")


def test_spent_evaluation_stops_cleanly_and_is_resumed(evaluated: Evaluated) -> None:
    """No call is paid for twice, those that the task makes itself are counted, and `show` has all by model."""
    code, log = evaluated.stopped
    assert code == 1
    assert "0.035 USD are spent by this condition: raise Budget(condition_usd=…) and resume to go on." in log
    assert 3 <= evaluated.begun <= 5, "4 calls spend it, and one more may be in flight"
    assert evaluated.questions == {**{f"q{number}": 1 for number in range(N)}, "good?": N}
    project = evaluated.project
    spent = answer("show", f"exp/{run_dir(project).name}", cwd=project.root)["spending"]
    assert {row["model"]: (row["calls"], row["usd"]) for row in spent} == {
        "scripted/echo": (N, pytest.approx(N * CALL_USD)),
        "scripted/judge": (N, pytest.approx(N * JUDGE_USD)),
    }


def test_evaluation_waits_for_places_that_another_process_holds(evaluated: Evaluated) -> None:
    """The limits are those of the run, not of a process."""
    assert evaluated.waited


def test_calls_without_a_price_are_told_for_whoever_has_one(evaluated: Evaluated) -> None:
    """A line for each, with model and tokens: `CostBudget` prices them by its table."""
    path = run_dir(evaluated.project) / "case/tracking.jsonl"
    costs = [line for line in map(json.loads, path.read_text().splitlines()) if line["event"] == "cost"]
    unpriced = Counter(Path(line["model"]).name for line in costs if line["usd"] is None)
    assert unpriced == {"a.json": 6, "judge.json": 6}, "of the recording; what is played costs nobody anything"
    rows = (
        f"[[price]]\nmodel = {line['model']!r}\nsince = 2026-01-01\ninput_usd_per_million = 1e6\n"
        "output_usd_per_million = 0\n"
        for line in {line["model"]: line for line in costs}.values()
    )
    table = evaluated.played / "prices.toml"
    table.write_text("".join(rows))
    budget = CostBudget(1e6, prices=Prices.read(table))
    budget.recount(run_dir(evaluated.project))
    tokens = sum(line["input_tokens"] for line in costs if line["usd"] is None)
    assert budget.spent_usd == pytest.approx(tokens + N * CALL_USD + N * JUDGE_USD)


# --- Cassettes -------------------------------------------------------------------------------------------------------


def test_recorded_answers_are_played_without_asking(bench: Bench) -> None:
    """The same result, cost and all, and no call; another way of counting needs none either, another question does."""
    names = [
        bench.model("a", {"answer": "42", "input_tokens": 10, "output_tokens": 5}),
        bench.model("b", {"answer": "41"}),
        bench.model("c", {"error": "server_error", "first": 1, "answer": "42"}),
    ]
    limits, tape = bench.limits(), bench.folder / "tape.jsonl"
    first = predicted("What is 6 × 7?", *names, limits=limits, cassette=Cassette(tape, "record"))
    asked, spent = bench.calls(), limits.spent_usd()
    with tape.open("ab") as file:
        file.write(b'{"v": 1, "request_sha256": "torn')
    again = predicted("What is 6 × 7?", *names, limits=limits, cassette=Cassette(tape, "replay"))
    assert (again.answer, again.agreement, again.cost_usd) == (first.answer, first.agreement, first.cost_usd)
    unanimous = Cassette(tape, "replay")
    with pytest.raises(NoConsensusError):
        predicted("What is 6 × 7?", *names, strategy="unanimous", cassette=unanimous)
    with pytest.raises(NotRecordedError, match=r"content: 'What is 6 × 8\?', recorded 'What is 6 × 7\?'"):
        predicted("What is 6 × 8?", names[0], cassette=unanimous)
    assert (bench.calls(), limits.spent_usd()) == (asked, spent)


def test_race_and_fallback_are_played(bench: Bench) -> None:
    """A call that was cut off or failed is played as that; the answer is the one that there was."""
    slow, quick = bench.model("slow", {"error": "hang"}), bench.model("quick", {"answer": "42"})
    broken, tape = bench.model("broken", {"error": "bad_request"}), bench.folder / "tape.jsonl"

    def asked(mode: Literal["record", "replay"]) -> list[object]:
        models = [
            get_model(f"hedged/{slow},{quick}", memoize=False, delay_s=0.02),
            get_model(f"fallback/{broken},{slow},{quick}", memoize=False, timeout_s=0.05),
        ]

        async def both() -> list[object]:
            cassette = Cassette(tape, mode)
            found = [(await predict("q", [model], cassette=cassette)).text for model in models]
            await asyncio.sleep(0)  # the loser hears of its end
            return found

        return asyncio.run(both())

    assert asked("record") == ["42", "42"]
    before = bench.calls()
    assert asked("replay") == ["42", "42"]
    assert bench.calls() == before


def test_evaluation_is_played_sample_by_sample(evaluated: Evaluated) -> None:
    """Epochs ask the same, and each gets its own answer again; a model that the task makes itself is never paid for."""
    told = json.loads((evaluated.played / "told.json").read_text())
    assert (told["samples"], told["same"], told["calls"], told["calls_later"]) == (6, True, 12, 12)
    assert "is called by the task itself, and a replay asks nobody" in told["said"]
    lines = [json.loads(line) for line in (evaluated.played / "tape.jsonl").read_text().splitlines()]
    assert {line["scope"] for line in lines} == {f"case/s{number}/{epoch}" for number in range(3) for epoch in (1, 2)}
