"""Whether the nodes of a cluster, as they are now, have what a job reserves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["in_words", "no_room"]

NAMES = {"entrypoint_num_cpus": "CPU", "entrypoint_num_gpus": "GPU", "entrypoint_memory": "memory"}
"""What Ray calls on a node what it calls otherwise of a job."""


def amounts(reserved: Mapping[str, Any]) -> dict[str, float]:
    """What a job reserves, by the names that its nodes have for it."""
    named = {name: float(reserved[key]) for key, name in NAMES.items() if reserved.get(key)}
    return {**named, **reserved.get("entrypoint_resources", {})}


def in_words(amounts: Mapping[str, float]) -> str:
    """Amounts of resources, as `4 CPU, 8 GB memory`."""
    return ", ".join(
        f"{round(amount / 1e9, 1):g} GB memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in amounts.items()
    )


def no_room(reserved: Mapping[str, Any], nodes: Sequence[Mapping[str, float]]) -> str:
    """Why a job has to wait for another node than these; empty if it hasn't, or no node is known."""
    wanted = amounts(reserved)
    if not nodes or any(all(node.get(name, 0) >= wanted[name] for name in wanted) for node in nodes):
        return ""
    most = {name: max(node.get(name, 0) for node in nodes) for name in wanted}
    scarce = {name: amount for name, amount in most.items() if amount < wanted[name]}
    return f"no node has {in_words(wanted)} now" + (f", the most is {in_words(scarce)}" if scarce else " at once")
