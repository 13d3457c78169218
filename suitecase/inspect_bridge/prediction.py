"""`predict`: models asked by their names, and their answers counted, in one line."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Unpack, cast

from inspect_ai.model import ChatMessage, ChatMessageUser, GenerateConfig, Model, get_model

import suitecase.inspect_bridge.registry  # noqa: F401  # pyright: ignore[reportUnusedImport]
from suitecase.cassettes import Cassette
from suitecase.ensembles import Ensemble, EnsembleError, EnsembleResult, Member
from suitecase.ensembles.ensemble import Options
from suitecase.inspect_bridge.around import Around, around, surround
from suitecase.inspect_bridge.ensemble import Request, ask
from suitecase.inspect_bridge.members import MEMBER_RETRIES, text_of
from suitecase.limits import Limits

__all__ = ["predict"]


async def predict(
    prompt: str | Sequence[ChatMessage],
    models: Iterable[str | Model],
    *,
    config: GenerateConfig | None = None,
    limits: Limits | None = None,
    cassette: Cassette | None = None,
    **options: Unpack[Options],
) -> EnsembleResult:
    """Ask models one question, and count their answers.

        result = await predict("What is 6 × 7?", ["openai/gpt-5-mini", "google/gemini-2.5-flash"], normaliser="number")
        result.answer, result.agreement, result.cost_usd, result.latency_s

    What it cost is known where `limits` have prices, where Inspect has (`set_model_cost`), or a provider tells it.

    Args:
        prompt: A text, or messages.
        models: Names as Inspect has them, `openai-api/<service>/<model>` for whoever speaks OpenAI's protocol; or
            what `get_model` gives. One is enough.
        config: What they are asked with. A call is tried again at most twice, unless `max_retries` says otherwise.
        limits: Rates, places, budgets and prices that all processes of the run share.
        cassette: Records what they answer, or plays it: then nobody is asked.
        options: As for `suitecase.ensembles.Ensemble`: `strategy`, `execution`, `normaliser`, `quorum`, `timeout_s`, …

    Raises:
        EnsembleError: With everything that is wrong, before any call: unknown providers, missing keys, prices, …
        QuorumError: Too few models answered.
        NoConsensusError: They did not agree as the strategy asks for.
        BudgetSpentError: A budget of the limits is spent.
        NotRecordedError: The cassette doesn't have what is asked.
    """
    everything = None if limits is None and cassette is None else Around(limits, cassette)
    config = GenerateConfig() if config is None else config
    ensemble = checked(prompt, models, config, everything, options)
    messages: list[ChatMessage] = [ChatMessageUser(content=prompt)] if isinstance(prompt, str) else list(prompt)
    if config.max_retries is None:
        config = config.model_copy(update={"max_retries": MEMBER_RETRIES})
    request = Request(messages, [], "auto", config)
    with around(everything):
        try:
            # In a case, Inspect's hooks tell the costs.
            return await ensemble.ask(request, request, tell_costs=False)
        finally:
            if request.limit is not None:  # of the run, not of a model
                raise request.limit


def checked(
    prompt: object, given: Iterable[str | Model], config: GenerateConfig, everything: Around | None, options: Options
) -> Ensemble:
    """The ensemble that is to be asked.

    Raises:
        EnsembleError: With every problem.
    """
    problems = [] if is_prompt(prompt) else [f"prompt is {prompt!r:.80}: give a text, or messages of Inspect."]
    if not isinstance(cast(object, config), GenerateConfig):
        problems.append(f"config is {config!r:.80}: give inspect_ai.model.GenerateConfig(…).")
    models, wrong = models_in(given)
    problems += wrong
    counts = Counter(map(str, models))
    problems += [f"{name!r} is among the models {n} times." for name, n in counts.items() if n > 1]
    found: list[Model] = []
    for model in dict.fromkeys(models):
        try:
            found.append(surround(get_model(model)))
        except Exception as error:  # providers raise what they like
            problems.append(f"{model}: {text_of(error)}")
    if everything is not None:
        problems += everything.problems(counts)
    if options.get("strategy") in ("weighted", "best_confidence") and not tell_confidence(found, config):
        problems.append(
            f"strategy is {options.get('strategy')!r}, and models tell how sure they are by the probabilities of their "
            "tokens alone: give config=GenerateConfig(logprobs=True)."
        )
    # Of the options, what is wrong is told even where models are missing.
    members = [Member(name, partial(asyncio.sleep, 0)) for name in counts or ("nobody",) * bool(wrong)]
    try:
        Ensemble(members, **options)
    except EnsembleError as error:
        problems += error.problems
    if problems:
        raise EnsembleError(problems)
    return Ensemble([Member(str(model), partial(ask, str(model), model)) for model in found], **options)


def models_in(given: object) -> tuple[list[str | Model], list[str]]:
    """The models, and what is none."""
    if isinstance(given, str | Model) or not isinstance(given, Iterable):
        return [], [f"models is {given!r:.80}: give a list of names, or of what get_model gives."]
    each_given = list(cast("Iterable[object]", given))
    models = [each for each in each_given if isinstance(each, str | Model)]
    wrong = [f"{each!r:.80} is no model: give a name, or what get_model gives." for each in each_given
             if not isinstance(each, str | Model)]  # fmt: skip
    return models, wrong


def tell_confidence(models: Iterable[Model], config: GenerateConfig) -> bool:
    """Whether the probabilities of tokens are asked for."""
    return bool(getattr(config, "logprobs", None)) or all(model.config.logprobs for model in models)


def is_prompt(prompt: object) -> bool:
    if isinstance(prompt, str):
        return bool(prompt.strip())
    kinds = ("system", "user", "assistant", "tool")
    if not isinstance(prompt, Sequence) or not prompt:
        return False
    return all(getattr(message, "role", None) in kinds for message in cast("Sequence[object]", prompt))
