"""The options of the launcher `ray`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from suitecase.launchers.options import Amount, Amounts, Line, Options, Seconds

__all__ = ["RayOptions"]

ADDRESS = "http://127.0.0.1:8265"
"""Where `ray start --head` and `kubectl port-forward` put the dashboard, which serves the Jobs API."""


@dataclass(eq=False)
class RayOptions(Options):
    """Where and how attempts become Ray jobs.

    Attributes:
        address: Of the dashboard; by default RAY_API_SERVER_ADDRESS, or RAY_ADDRESS if that is a URL of HTTP, else
            this machine's port 8265.
        shared: Whether the cluster sees the run directory at the same path; "auto" asks it by a small job.
        start_timeout_s: Seconds that jobs may be PENDING while none of the run's runs; 0 for no end.
        lost_after_s: Seconds without an answer from Ray, and without a sign of life, after which attempts are lost.
        cpus: What a job reserves for a case that doesn't say; above 0, or Ray would start it on the head node.
        resources: Ray's custom resources for each job, such as {"accelerator_type:H100": 0.001}.
        python: The interpreter on the nodes; by default the suite's own if the path is shared, else `python`.
        copy_limit_mb: How much of a case's folder is copied back where no path is shared, packed, in 10^6 bytes.
    """

    address: Line = ""
    shared: Literal["auto", "yes", "no"] = "auto"
    start_timeout_s: Seconds = 900.0
    lost_after_s: Amount = 300.0
    cpus: Amount = 1.0
    resources: Amounts = field(default_factory=dict[str, float])
    python: Line = ""
    copy_limit_mb: Amount = 100.0

    @property
    def url(self) -> str:
        """The address that counts."""
        bootstrap = os.environ.get("RAY_ADDRESS", "")  # `auto`, HOST:PORT and ray:// are for drivers, not for jobs
        of_jobs = bootstrap if bootstrap.startswith(("http://", "https://")) else ""
        return (self.address or os.environ.get("RAY_API_SERVER_ADDRESS") or of_jobs or ADDRESS).rstrip("/")

    def problems_of_url(self) -> list[str]:
        """What is wrong with the address that counts, a sentence each."""
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
        return [f"launcher 'ray': {problem}" for problem in problems]
