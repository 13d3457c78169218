"""The rows about the disk: kills and errors at every call, small disks, power cuts, clocks."""

from __future__ import annotations

from collections.abc import Mapping

from .framework import Row
from .rows_clock import wrong_clocks
from .rows_failpoints import died_at_every_change
from .rows_power import power_cuts
from .rows_small_disk import small_disks
from .rows_syscalls import killed_at_every_call, refused_at_every_call

ROWS: Mapping[str, Row] = {
    "F3": killed_at_every_call,
    "F4": died_at_every_change,
    "F5": refused_at_every_call,
    "F6": small_disks,
    "F7": power_cuts,
    "F8": wrong_clocks,
}
