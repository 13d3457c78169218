"""Which models the provider says it served: a name like `gpt-4o` may mean another model tomorrow."""

from __future__ import annotations

from collections import Counter

from inspect_ai.event import ModelEvent
from inspect_ai.log import (
    MetadataEdit,
    ProvenanceData,
    edit_eval_log,
    read_eval_log,
    read_eval_log_samples,
    write_eval_log,
)

__all__ = ["record_served", "served_models"]


def served_models(path: str) -> dict[str, dict[str, int]]:
    """By the name that was asked for: the ids that answered, and how many calls each.

    The log has the id of every call, in its samples' model events; this counts them.
    """
    counts: dict[str, Counter[str]] = {}
    for sample in read_eval_log_samples(path, all_samples_required=False):
        for event in sample.events:
            if isinstance(event, ModelEvent) and event.error is None and event.output.choices:
                counts.setdefault(event.model, Counter())[event.output.model] += 1
    return {asked: dict(sorted(ids.items())) for asked, ids in sorted(counts.items())}


def record_served(path: str) -> None:
    """Write `served_models` into the metadata of a log's header; its samples keep their bytes."""
    header = read_eval_log(path, header_only=True)
    author = ProvenanceData(author="suitecase", reason="which models answered, counted over all calls")
    edited = edit_eval_log(header, [MetadataEdit(metadata_set={"served_models": served_models(path)})], author)
    write_eval_log(edited, path, header_only=True)
