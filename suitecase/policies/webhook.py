"""Tell an HTTP endpoint how a run goes."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, urlsplit

from suitecase.policies.records import as_json, check, event_problems, log, number_problems, told

if TYPE_CHECKING:
    from experiment_runner import HookRecord

__all__ = ["Webhook"]

EVENTS = ("run_started", "run_ended")
SENT = ("event", "time", "host", "experiment", "run", "run_dir", "counts", "exit_code", "duration_s")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2


class Webhook:
    """POSTs the start or the end of a run as JSON; an endpoint that is dead or slow costs a log line.

    The body is one object: `event`, `time` (UTC, ISO 8601), `host`, `experiment`, `run`, `run_dir`, `counts` (cases by
    status), `exit_code` and `duration_s` (null at the start), and `text`, a sentence for endpoints of chat programs.
    Any 2xx is success. Redirects are not followed: they would carry the headers to another host.

    No secret is ever shown: of the URL, `repr` and logs have scheme and host alone, for some carry a token in the path.

    Args:
        url: Where to, http or https; or leave it out and give `url_from_env`.
        url_from_env: The environment variable that holds the URL, where that is a secret.
        on: Events: `run_started`, `run_ended`.
        headers_from_env: The environment variable with the value of each header: `{"Authorization": "MY_HOOK_TOKEN"}`.
        timeout_s: Seconds for one POST, looking up the host included.

    Raises:
        ValueError: With every argument that is wrong.

    >>> Webhook("https://hooks.example.org/services/T0/secret")
    Webhook('https://hooks.example.org/…', on=('run_ended',))
    """

    def __init__(
        self,
        url: str = "",
        *,
        url_from_env: str = "",
        on: Collection[str] = ("run_ended",),
        headers_from_env: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        problems = event_problems(on, EVENTS) + number_problems("timeout_s", timeout_s)
        if bool(url) == bool(url_from_env):
            problems.append("give either url or url_from_env.")
        elif url:
            problems += [f"url {problem}" for problem in url_problems(url)]
        variables = dict(headers_from_env or {})
        wrong = [name for name in variables if not HEADER_NAME.fullmatch(name)]
        problems += [f"headers_from_env has {name!r}, which can't be the name of a header." for name in wrong]
        names = [*variables.values(), *([url_from_env] if url_from_env else [])]
        # Whoever pasted the secret itself must not see it again in a log.
        problems += ["a secret is given by the name of an environment variable, not by its value."] * any(
            re.fullmatch(r"[A-Za-z_]\w*", cast(Any, name), re.ASCII) is None for name in names
        )
        check(problems)
        self.on = tuple(on)
        self.timeout_s = timeout_s
        self.hook_timeout_s = timeout_s + 5  # we give up first, and say why
        self._url = url
        self._url_from_env = url_from_env
        self._headers_from_env = variables

    def __repr__(self) -> str:
        return f"Webhook({self.name!r}, on={self.on!r})"

    @property
    def name(self) -> str:
        """Where it goes, without what may be secret."""
        return f"${self._url_from_env}" if self._url_from_env else shown(urlsplit(self._url))

    def before_run(self, record: HookRecord) -> None:
        """Warn of missing variables while somebody looks; tell `run_started`."""
        missing = [name for name in self.variables if not os.environ.get(name, "").strip()]
        if missing:
            log.warning("webhook %s: %s not set: nothing will be sent", self.name, " and ".join(missing))
        self.tell("run_started", record)

    def after_run(self, record: HookRecord) -> None:
        """Tell `run_ended`."""
        self.tell("run_ended", record)

    @property
    def variables(self) -> list[str]:
        """The environment variables that it needs."""
        return [*self._headers_from_env.values(), *([self._url_from_env] if self._url_from_env else [])]

    def tell(self, event: str, record: HookRecord) -> None:
        """POST, if it is for this event; at most `timeout_s` seconds, whatever the endpoint does."""
        if event not in self.on:
            return
        values = {name: value for name, value in told(event, record).items() if name in SENT}
        body = as_json({**values, "text": sentence(event, record)})
        outcome: list[str] = []
        # urllib's own limit is for one step of many: an endpoint that sends a byte a second would never reach it.
        sending = threading.Thread(target=self.send, args=(body, outcome), name="webhook", daemon=True)
        sending.start()
        sending.join(self.timeout_s)
        problem = outcome[0] if outcome else f"no answer within {self.timeout_s:g} s"
        if problem:
            log.warning("webhook %s: %s", self.name, problem)

    def send(self, body: bytes, outcome: list[str]) -> None:
        """Send, and say what went wrong in words that hold no secret; empty if nothing did."""
        try:
            outcome.append(self.post(body))
        except BaseException as error:  # its text may hold the URL or a header
            reason = getattr(error, "reason", None)
            cause = reason if isinstance(reason, OSError) else error
            outcome.append(f"could not be sent: {getattr(cause, 'strerror', None) or type(cause).__name__}")

    def post(self, body: bytes) -> str:
        # Here, because it takes longer to import than all the policies.
        from urllib.error import HTTPError
        from urllib.request import HTTPRedirectHandler, Request, build_opener

        class Unredirected(HTTPRedirectHandler):
            def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
                return None

        values = {name: os.environ.get(name, "").strip() for name in self.variables}
        if not all(values.values()):
            return "not sent: " + " and ".join(name for name, value in values.items() if not value) + " not set"
        url = self._url or values[self._url_from_env]
        problems = url_problems(url)
        if problems:
            return f"not sent: the URL {problems[0]}"
        headers = {name: values[variable] for name, variable in self._headers_from_env.items()}
        headers = {"Content-Type": "application/json", "User-Agent": "suitecase", **headers}
        try:
            with build_opener(Unredirected).open(Request(url, body, headers, method="POST"), timeout=self.timeout_s):
                return ""
        except HTTPError as error:
            error.close()
            return f"HTTP status {error.code}"


def url_problems(url: str) -> list[str]:
    """Why something is no URL to post to, without repeating it."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, AttributeError, TypeError):
        return ["is not a URL."]
    if not valid or re.search(r"[^\x21-\x7e]", url):
        return ["must be http:// or https://, a host, and nothing but visible ASCII."]
    if parts.username is not None or parts.password is not None:
        return ["must not hold a user or password: use headers_from_env, or url_from_env with a token."]
    return []


def shown(parts: SplitResult) -> str:
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}" + ("/…" if parts.path.strip("/") or parts.query else "")


def sentence(event: str, record: HookRecord) -> str:
    """What happened, for a person."""
    if event == "run_started":
        return f"{record.experiment}: run {record.run} started on {os.uname().nodename}"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(record.counts.items())) or "no cases"
    return f"{record.experiment}: {counts} (run {record.run} on {os.uname().nodename}, exit code {record.exit_code})"
