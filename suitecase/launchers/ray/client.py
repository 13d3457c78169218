"""What is asked of a Ray cluster, with an end to each question, and answers in our own words."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
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

FIRST_ANSWER_S = 15.0
"""The same for the first question, which a person waits for."""

CONNECT_S = 5.0

OVER = ("SUCCEEDED", "FAILED", "STOPPED")
"""States of a job that don't change any more: ray.job_submission.JobStatus."""

PASSING = (
    "No available agent", "Cannot connect to host", "try again later", "status code 502", "status code 503",
    "status code 504",
)  # fmt: skip
"""In answers of a head that has just begun, or has lost its agent, or of what stands before it."""

SDK = "ray.dashboard.modules.dashboard_sdk"

NEVER_BEGAN = ("", "PENDING")

START_TIMEOUT = "failed to start within"
"""In Ray's message of a job that waited for longer than RAY_JOB_START_TIMEOUT_SECONDS of the head, 900 by default."""

ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray's client puts above the address it is given."""


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

    @property
    def waited_too_long(self) -> bool:
        """Whether Ray ended it because there was no room for it for some time; that says nothing against it."""
        return self.status == "FAILED" and START_TIMEOUT in self.message


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
        RayClient(url, FIRST_ANSWER_S)
    except ImportError as error:
        return [f"launcher 'ray' needs Ray with its dashboard ({error}): pip install 'suitecase[ray]'."]
    except (UnreachableError, RefusedByRayError) as error:
        if "token" in str(error).lower():
            set_these = "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
            return [f"launcher 'ray': {url} lets nobody in: {error}. Set {set_these}."]
        return [f"launcher 'ray': what answers at {url} is no Ray dashboard ({error}): {advice}."]
    return []


class RayClient:
    """The Jobs API of a cluster.

    Args:
        answer_s: How long an answer may take.

    Raises:
        UnreachableError, RefusedByRayError: What is there is no Ray, or doesn't let us in.
        ImportError: Ray isn't installed, or not with its dashboard.
    """

    def __init__(self, url: str, answer_s: float = ANSWER_S) -> None:
        import requests

        jobs: Any = importlib.import_module("ray.job_submission")  # by name, for a checker of types that lacks Ray

        class Client(jobs.JobSubmissionClient):
            """Ray's client, with an end to its patience."""

            def _do_request(self, *arguments: Any, **options: Any) -> Any:
                parent: Any = super()
                return parent._do_request(*arguments, **{"timeout": (CONNECT_S, answer_s), **options})

        self.answer_s, self.late = answer_s, requests.exceptions.ReadTimeout
        self.failures = (requests.exceptions.RequestException, ConnectionError, OSError)
        try:
            with hidden(ADDRESSES):
                self.client: Any = Client(url)
        except Exception as error:
            raise self.told(error) from None
        for name in ("ray", SDK):
            logging.getLogger(name).setLevel(logging.WARNING)  # it would tell of each upload

    def told(self, error: Exception) -> Exception:
        """An error of Ray's client as one of ours."""
        text = str(error).rstrip(". \n")
        lines = text.splitlines() or [type(error).__name__]
        if isinstance(error, self.late):
            said = f"no answer within {self.answer_s:g} s"
        elif lines[0].startswith("Authentication") or "token" in lines[0].lower():
            said = lines[0].partition(". ")[0]  # much advice follows
        else:
            said = lines[-1]  # a traceback of the server ends with what matters
        said += tls_trouble(error)
        if isinstance(error, self.failures) or any(words in text for words in PASSING):
            return UnreachableError(said)
        return RefusedByRayError(said)

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

    def nodes(self) -> list[dict[str, float]]:
        """What each living node has in all, by Ray's names of resources; empty if this Ray doesn't tell."""
        answer = self.ask("_do_request", "GET", "/api/v0/nodes")
        try:
            told = answer.json()["data"]["result"]["result"]
            return [numbers_of(node["resources_total"]) for node in told if node["state"] == "ALIVE"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return []

    def submit(self, job_id: str, entrypoint: str, **options: Any) -> None:
        """Submit a job; again, if the answer to the first time was lost."""
        try:
            self.ask("submit_job", submission_id=job_id, entrypoint=entrypoint, **options)
        except RefusedByRayError as error:
            if "already exists" not in str(error):
                raise

    def submit_again(self, job_id: str, before: str, changed: Mapping[str, Any], **options: Any) -> None:
        """Submit what another job was to run.

        Args:
            before: Its id.
            changed: What is different in the runtime environment; of `env_vars`, those that are named.
        """
        info = self.ask("get_job_info", before)
        kept = cast(dict[str, Any], info.runtime_env or {})
        runtime_env = {**kept, **changed, "env_vars": {**kept.get("env_vars", {}), **changed.get("env_vars", {})}}
        self.submit(job_id, info.entrypoint, runtime_env=runtime_env, metadata=info.metadata, **options)

    def stop(self, job_id: str) -> None:
        self.ask("stop_job", job_id)

    def log(self, job_id: str) -> str:
        return str(self.ask("get_job_logs", job_id) or "")


@contextmanager
def hidden(names: Sequence[str]) -> Generator[None]:
    """Without these variables of the environment."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def tls_trouble(error: BaseException | None) -> str:
    """What OpenSSL says of a connection that failed, which Ray's client leaves out."""
    while error is not None:
        if found := re.search(r"\[SSL: (\w+)\]", str(error)):
            return f" (TLS: {found[1]})"
        error = error.__context__
    return ""


def numbers_of(resources: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(amount) for name, amount in resources.items() if isinstance(amount, int | float)}


def state_of(job: Any) -> JobState:
    status = str(getattr(job.status, "value", job.status))
    return JobState(status, str(job.message or ""), urlsplit(job.driver_agent_http_address or "").hostname or "")
