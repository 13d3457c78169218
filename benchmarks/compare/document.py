"""The tables of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.pages import table

from .kills import Left
from .peers import BASELINE, Peer, Ready
from .timing import Cell, Column

__all__ = ["NONE", "kill_table", "memory_table", "time_table"]

NONE = "–"


def time_table(peers: Sequence[Peer], ready: Mapping[str, Ready], found: Mapping[Column, Mapping[str, Cell]]) -> str:
    """Wall and CPU of each peer as ratios to the baseline, whose own row has milliseconds per case."""
    header = ("", "a case is", *(column.title for column in found))
    rows = [
        (named(peer, ready), peer.a_case_is, *(time_text(peer, column, cells) for column, cells in found.items()))
        for peer in peers
        if peer.name in ready
    ]
    return table(header, rows)


def named(peer: Peer, ready: Mapping[str, Ready]) -> str:
    """With its version."""
    return f"{peer.name} {ready[peer.name].version}"


def time_text(peer: Peer, column: Column, cells: Mapping[str, Cell]) -> str:
    """One cell."""
    cell, baseline = cells.get(peer.name), cells[BASELINE].used
    if cell is None or cell.used is None or baseline is None:
        return cell.why_not.replace("|", "/") if cell and cell.why_not else NONE
    if peer.name == BASELINE:
        return f"{baseline.wall_s / column.cases * 1e3:.1f} ms / {baseline.cpu_s / column.cases * 1e3:.1f} ms"
    return f"{cell.used.wall_s / baseline.wall_s:.2f} / {cell.used.cpu_s / baseline.cpu_s:.2f}"


def memory_table(peers: Sequence[Peer], ready: Mapping[str, Ready], found: Mapping[Column, Mapping[str, Cell]]) -> str:
    """Megabytes of all processes of each peer at their peak."""
    rows: list[tuple[str, ...]] = []
    for peer in peers:
        if peer.name in ready:
            used = [cells[peer.name].used if peer.name in cells else None for cells in found.values()]
            rows.append((peer.name, *(f"{one.peak_bytes / 1e6:.3g}" if one else NONE for one in used)))
    return table(("MB", *(column.title for column in found)), rows)


def kill_table(peers: Sequence[Peer], found: Mapping[str, Left]) -> str:
    """What `kill -9` left, and what the next call made of it."""
    header = (
        "", "cases alive", "others alive", "half results", "what it remembers by", "ended cases done again",
        "half results kept as whole", "whole in the end", "to go on",
    )  # fmt: skip
    return table(header, (kill_row(peer, found[peer.name]) for peer in peers if peer.name in found))


def kill_row(peer: Peer, left: Left) -> tuple[str, ...]:
    if left.problem:
        return (peer.name, left.problem, *[""] * 7)
    how = f"{len(peer.again)} commands" if len(peer.again) > 1 else "its resume" if peer.again else "the same command"
    return (
        peer.name,
        f"{left.alive}/{left.at_work}",
        str(left.others_alive),
        str(left.half),
        peer.remembers,
        f"{left.done_again}/{left.ended}",
        f"{left.half_kept}/{left.half}",
        f"{left.whole}/6",
        how + (f": {left.again_failed}" if left.again_failed else ""),
    )
