"""The rows about the disk: kills and errors at every call, small disks, power cuts, clocks."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.faults.framework import Row
from benchmarks.faults.rows_syscalls import killed_at_every_call, refused_at_every_call

ROWS: Mapping[str, Row] = {
    "F3": killed_at_every_call,
    "F5": refused_at_every_call,
}
