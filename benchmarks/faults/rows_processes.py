"""Rows about processes: how runs end, die and meet each other."""

from __future__ import annotations

from .framework import Row
from .kill_matrix import kill_matrix

ROWS: dict[str, Row] = {"F1": kill_matrix}
