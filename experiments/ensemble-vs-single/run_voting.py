"""Entry point: an ensemble of classifiers answers every item of a data set, each while it is held out.

Writes `items.jsonl`, a row per item with all votes, and `results.json`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from recording import latency_of
from voting_config import MemberName, VotingConfig

if TYPE_CHECKING:
    from members import HeldOut

    from suitecase.ensembles import Ensemble

# scikit-learn is imported where it is used: a suite imports this file's config alone.


def main(config: VotingConfig) -> None:
    problems = problems_of(config)
    if problems:
        sys.exit("\n".join(f"run_voting.py: {problem}" for problem in problems))
    warnings.filterwarnings("error")  # a member that did not converge would be another than the plan's
    from members import Item, held_out_answers

    from suitecase.items import ItemResult, metrics, process

    items: list[Item] = []
    held: dict[str, HeldOut] = {}
    for task in config.tasks:
        of_task, known = held_out_answers(
            task, config.pool, seed=config.seed, n_folds=config.n_folds, calibrated=config.calibrated
        )
        items += of_task
        held |= known
    ensemble_of = ensembles(config, held)

    async def answer(item: Item) -> ItemResult:
        chosen = held[item.id].ranking[: config.size]
        result = await ensemble_of(chosen).ask(item.id)
        right = result.answer == item.truth
        measured = {
            "accuracy": right,
            "agreement": result.agreement,
            "brier": (result.agreement - right) ** 2,
            "calls": len(chosen),
            "waited_s": max(latency_of(config.seed, item.id, name) for name in chosen),
        }
        told = {"task": item.task, "fold": held[item.id].fold, "truth": item.truth, "answer": result.answer}
        return ItemResult(measured, output={**told, "votes": {vote.member: vote.answer for vote in result.votes}})

    summary = process(
        items, answer, output_dir=config.output_dir or None, key="id", seed=config.seed, max_parallel=50,
        parameters=config.model_dump(exclude={"output_dir", "seed"}),
        metrics={
            "accuracy": metrics.probability(better="higher"),
            "agreement": metrics.probability(),
            "brier": metrics.probability(better="lower"),
            "calls": metrics.positive_number(better="lower"),
            "waited_s": metrics.duration_s(),
        },
    )  # fmt: skip
    print(f"accuracy {summary.metrics['accuracy'].mean:.4f} on {len(items)} items")
    sys.exit(0 if summary.ok and not summary.failed else 1)


def ensembles(config: VotingConfig, held: Mapping[str, HeldOut]) -> Callable[[tuple[MemberName, ...]], Ensemble]:
    """The ensemble of some members, each made once; it is asked by an item's id."""
    from suitecase.ensembles import Ensemble, Member, Reply

    def member(name: MemberName) -> Member:
        async def ask(item_id: str) -> Reply:
            said = held[item_id].answers[name]
            return Reply(said.label, confidence=said.confidence)

        return Member(name, ask)

    @cache
    def of(names: tuple[MemberName, ...]) -> Ensemble:
        members = [member(name) for name in names]
        return Ensemble(members, strategy=config.voting, normaliser="none", seed=config.seed)

    return of


def problems_of(config: VotingConfig) -> list[str]:
    """What can't be, a sentence each."""
    lists: dict[str, list[str]] = {"pool": [*config.pool], "tasks": [*config.tasks]}
    problems = [
        f"{name} has {each!r} {listed.count(each)} times: name it once."
        for name, listed in lists.items()
        for each in dict.fromkeys(listed)
        if listed.count(each) > 1
    ]
    if config.size > len(config.pool):
        problems.append(f"size is {config.size}, of a pool of {len(config.pool)}: ask at most so many.")
    return problems


if __name__ == "__main__":
    main(VotingConfig())
