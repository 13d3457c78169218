"""What is asked of a Ray cluster, with an end to each question, and answers in our own words."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

__all__ = [
    "NEVER_BEGAN",
    "OVER",
    "JobState",
    "RayClient",
    "RefusedByRayError",
    "UnreachableError",
    "connection_problems",
]

ANSWER_S = 30.0
"""How long an answer may take; Ray's own client would wait for ever."""

CONNECT_S = 5.0

OVER = ("SUCCEEDED", "FAILED", "STOPPED")
"""States of a job that don't change any more: ray.job_submission.JobStatus."""

PASSING = ("No available agent", "try again later", "status code 502", "status code 503", "status code 504")
"""In answers of a head that has just begun, or of what stands before it."""

SDK = "ray.dashboard.modules.dashboard_sdk"

NEVER_BEGAN = ("", "PENDING")


class UnreachableError(Exception):
    """Ray didn't answer, or not to any purpose: it may do so later."""


class RefusedByRayError(Exception):
    """Ray answered, and would not have it."""


@dataclass(frozen=True)
class JobState:
    """What Ray says of a job.

    Attributes:
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: Why, in Ray's words.
        host: The address of its node; empty before it has one.
    """

    status: str
    message: str = ""
    host: str = ""


def connection_problems(url: str) -> list[str]:
    """Why nothing can be submitted there, a sentence with what to do."""
    if importlib.util.find_spec("ray") is None:
        return ["launcher 'ray' needs the extra 'ray': pip install 'suitecase[ray]'."]
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    advice = "start one (`ray start --head`), forward its port 8265, or say where it is: --launcher-option address=URL"
    try:
        socket.create_connection((str(parts.hostname), port), timeout=CONNECT_S).close()
    except OSError as error:
        return [f"launcher 'ray': no Ray dashboard answers at {url} ({error.strerror or error}): {advice}."]
    try:
        RayClient(url).version()
    except ImportError as error:
        return [f"launcher 'ray' needs Ray with its dashboard ({error}): pip install 'suitecase[ray]'."]
    except (UnreachableError, RefusedByRayError) as error:
        if "token" in str(error).lower():
            return [f"launcher 'ray': {url} lets nobody in: {error}. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH."]
        return [f"launcher 'ray': what answers at {url} is no Ray dashboard ({error}): {advice}."]
    return []


class RayClient:
    """The Jobs API of a cluster.

    Raises:
        ImportError: Ray isn't installed, or not with its dashboard.
    """

    def __init__(self, url: str) -> None:
        import requests

        jobs: Any = importlib.import_module("ray.job_submission")  # by name, for a checker of types that lacks Ray

        class Client(jobs.JobSubmissionClient):
            """Ray's client, with an end to its patience."""

            def _do_request(self, *arguments: Any, **options: Any) -> Any:
                parent: Any = super()
                return parent._do_request(*arguments, **{"timeout": (CONNECT_S, ANSWER_S), **options})

        self.failures = (requests.exceptions.RequestException, ConnectionError, OSError)
        try:
            self.client: Any = Client(url)
        except Exception as error:
            raise self.told(error) from None
        for name in ("ray", SDK):
            logging.getLogger(name).setLevel(logging.WARNING)  # it would tell of each upload

    def told(self, error: Exception) -> Exception:
        """An error of Ray's client as one of ours."""
        text = str(error).strip()
        lines = text.splitlines() or [type(error).__name__]
        # After Authentication advice follows; else a traceback of the server ends with what matters.
        last = lines[0 if lines[0].startswith("Authentication") else -1].removesuffix(".")
        if isinstance(error, self.failures) or any(words in text for words in PASSING):
            return UnreachableError(last)
        return RefusedByRayError(last)

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of Ray's client.

        Raises:
            UnreachableError, RefusedByRayError: It failed.
        """
        try:
            return getattr(self.client, method)(*arguments, **options)
        except Exception as error:
            raise self.told(error) from None

    def version(self) -> str:
        return str(self.ask("get_version"))

    def states(self) -> dict[str, JobState]:
        """All jobs of the cluster, by submission id."""
        return {job.submission_id: state_of(job) for job in self.ask("list_jobs") if job.submission_id}

    def submit(self, job_id: str, entrypoint: str, **options: Any) -> None:
        """Submit a job; again, if the answer to the first time was lost."""
        try:
            self.ask("submit_job", submission_id=job_id, entrypoint=entrypoint, **options)
        except RefusedByRayError as error:
            if "already exists" not in str(error):
                raise

    def stop(self, job_id: str) -> None:
        self.ask("stop_job", job_id)

    def log(self, job_id: str) -> str:
        return str(self.ask("get_job_logs", job_id) or "")

    def runtime_env(self, job_id: str) -> Mapping[str, Any]:
        """The runtime environment of a job, its working folder as the cluster knows it."""
        return cast(Mapping[str, Any], self.ask("get_job_info", job_id).runtime_env or {})


def state_of(job: Any) -> JobState:
    status = str(getattr(job.status, "value", job.status))
    return JobState(status, str(job.message or ""), urlsplit(job.driver_agent_http_address or "").hostname or "")
