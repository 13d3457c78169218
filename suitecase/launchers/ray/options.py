"""The options of the launcher `ray`, as text from a command line and as values."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from experiment_runner import SuiteError

__all__ = ["RayOptions", "parse_options"]

Shared = Literal["auto", "yes", "no"]

ADDRESS = "http://127.0.0.1:8265"
"""Where `ray start --head` and `kubectl port-forward` put the dashboard, which serves the Jobs API."""


@dataclass
class RayOptions:
    """Where and how attempts become Ray jobs.

    Attributes:
        address: Of the dashboard; by default RAY_API_SERVER_ADDRESS, else this machine's port 8265.
        shared: Whether the cluster sees the run directory at the same path; "auto" asks it by a small job.
        start_timeout_s: Seconds that jobs may be PENDING while none of the run's runs; 0 for no end.
        lost_after_s: Seconds without an answer from Ray, and without a sign of life, after which attempts are lost.
        cpus: What a job reserves for a case that doesn't say; above 0, or Ray would start it on the head node.
        resources: Ray's custom resources for each job, such as {"accelerator_type:H100": 0.001}.
        python: The interpreter on the nodes; by default the suite's own if the path is shared, else `python`.
        copy_limit_mb: How much of a case's folder is copied back where no path is shared, packed, in 10^6 bytes.
    """

    address: str = ""
    shared: Shared = "auto"
    start_timeout_s: float = 900.0
    lost_after_s: float = 300.0
    cpus: float = 1.0
    resources: Mapping[str, float] = field(default_factory=dict[str, float])
    python: str = ""
    copy_limit_mb: float = 100.0

    @property
    def url(self) -> str:
        """The address that counts."""
        return (self.address or os.environ.get("RAY_API_SERVER_ADDRESS") or ADDRESS).rstrip("/")

    def wrong_values(self) -> list[str]:
        """What is wrong with the values, a sentence each."""
        problems: list[str] = []
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            parts, sound = urlsplit(""), False
        if not sound:
            problems.append(f"address is {self.url!r}: give the dashboard's, such as {ADDRESS}.")
        if parts.username or parts.password:
            problems.append("address holds a name or a password: use a token instead (RAY_AUTH_MODE=token).")
        if self.shared not in get_args(Shared):
            problems.append(f"shared is {self.shared!r}: it must be {', '.join(get_args(Shared))}.")
        for name, low in (("start_timeout_s", "at least 0"), ("lost_after_s", "more than 0"), ("cpus", "more than 0"),
                          ("copy_limit_mb", "more than 0")):  # fmt: skip
            value: float = getattr(self, name)
            if not (math.isfinite(value) and (value > 0 or (value == 0 and low == "at least 0"))):
                problems.append(f"{name} is {value:g}: it must be {low}.")
        problems += [f"resources: {name} is {n:g}." for name, n in self.resources.items() if not 0 < n < math.inf]
        return [f"launcher 'ray': {problem}" for problem in problems]

    def as_text(self) -> dict[str, str]:
        """What differs from the defaults, as `--launcher-option` takes it."""
        told: dict[str, str] = {}
        for each in fields(self):
            value: Any = getattr(self, each.name)
            if each.name == "resources":
                if value:
                    told["resources"] = ",".join(f"{name}={amount:g}" for name, amount in value.items())
            elif value != each.default:
                told[each.name] = f"{value:g}" if isinstance(value, float) else str(value)
        return told


def parse_options(given: Mapping[str, str]) -> RayOptions:
    """The options that texts say.

    Raises:
        SuiteError: With every option that is unknown or no such value.
    """
    kinds = {each.name: each.type for each in fields(RayOptions)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, text in given.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(kinds)}."
            problems.append(f"launcher 'ray' has no option {name!r}. {hint}")
            continue
        try:
            if name == "resources":
                values[name] = parse_resources(text)
            else:
                values[name] = float(text) if kinds[name] == "float" else text
        except ValueError:
            example = "NAME=AMOUNT,NAME=AMOUNT" if name == "resources" else "a number"
            problems.append(f"launcher 'ray': {name} is {text!r}: give {example}.")
    options = RayOptions(**values)
    problems += options.wrong_values()
    if problems:
        raise SuiteError(problems)
    return options


def parse_resources(text: str) -> dict[str, float]:
    """`NAME=AMOUNT,…`."""
    pairs = [part.rpartition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError(text)
    return {name.strip(): float(amount) for name, _, amount in pairs}
