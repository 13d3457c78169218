"""Which models answered in a run, by what the providers said: the same name may stand for another model later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from suitecase.inspect_bridge import read_eval_log
from suitecase.rundir import Run

__all__ = ["Served", "changes_between", "served_models", "served_words", "several_served"]

Served = Mapping[str, Mapping[str, int]]
"""By the name that was asked for: the ids that answered, and how many calls each."""


def served_models(run: Run) -> dict[str, dict[str, int]]:
    """The models that answered in the logs of a run, as far as `run_inspect` wrote them down."""
    counts: dict[str, Counter[str]] = {}
    for variant in run.cases:
        for path in run.eval_logs(variant):
            log, _ = read_eval_log(path)
            for asked, ids in log.served_models.items() if log else ():
                counts.setdefault(asked, Counter()).update(ids)
    return {asked: dict(sorted(ids.items())) for asked, ids in sorted(counts.items())}


def served_words(served: Served) -> list[str]:
    """A line for each name that was asked for."""
    return [f"{asked}: {', '.join(f'{id_} ({n} calls)' for id_, n in ids.items())}" for asked, ids in served.items()]


def several_served(served: Served, where: str) -> list[str]:
    """A warning for each name for which more than one model answered."""
    return [
        f"{where}: {asked} was served by {len(ids)} models ({', '.join(ids)}): the provider changed it meanwhile, "
        "so cases may not be comparable with each other."
        for asked, ids in served.items()
        if len(ids) > 1
    ]


def changes_between(before: Served, after: Served) -> list[str]:
    """A warning for each name that both runs asked for, and that was another model in each."""
    return [
        f"{asked} was another model in each run: {', '.join(before[asked])}, then {', '.join(after[asked])}. "
        "Differences between the runs may be the provider's."
        for asked in before
        if asked in after and set(before[asked]) != set(after[asked])
    ]
