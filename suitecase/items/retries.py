"""Which errors another attempt may mend, and when to make it.

Errors are known by what they look like, so no client library is imported: by their class and its bases (builtins, and
names as httpx, requests, aiohttp, openai and anthropic use them), and by an HTTP status in `status_code`,
`response.status_code`, `status` or `code`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

from suitecase.limits.replies import attribute, retry_after_s, status_code_of

if TYPE_CHECKING:
    from tenacity.wait import wait_base

__all__ = ["ErrorClass", "RetryPolicy", "asked_wait_s", "causes_of", "classify", "retry_after_s", "status_code_of"]


class ErrorClass(StrEnum):
    """What kind of thing went wrong."""

    TIMEOUT = "timeout"  # also HTTP 408
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"  # HTTP 429
    SERVER_ERROR = "server_error"  # HTTP 500 and above
    BAD_REQUEST = "bad_request"  # HTTP 400, 422
    NO_ACCESS = "no_access"  # HTTP 401, 403
    NOT_FOUND = "not_found"  # HTTP 404
    INVALID_RESULT = "invalid_result"  # what the function returned doesn't fit the metrics' schema
    UNKNOWN = "unknown"


TRANSIENT = frozenset({ErrorClass.TIMEOUT, ErrorClass.CONNECTION, ErrorClass.RATE_LIMITED, ErrorClass.SERVER_ERROR})

OF_STATUS = {
    400: ErrorClass.BAD_REQUEST, 401: ErrorClass.NO_ACCESS, 403: ErrorClass.NO_ACCESS, 404: ErrorClass.NOT_FOUND,
    408: ErrorClass.TIMEOUT, 422: ErrorClass.BAD_REQUEST, 429: ErrorClass.RATE_LIMITED,
}  # fmt: skip

# In this order: openai's timeout is also one of its connection errors.
OF_NAME = {
    ErrorClass.TIMEOUT: {"TimeoutError", "TimeoutException", "Timeout", "APITimeoutError"},
    ErrorClass.RATE_LIMITED: {"RateLimitError"},
    ErrorClass.CONNECTION: {
        "ConnectionError", "APIConnectionError", "NetworkError", "RemoteProtocolError", "ClientConnectionError",
        "ProtocolError", "IncompleteRead", "gaierror", "CircuitOpenError",
    },
}  # fmt: skip

Kind = ErrorClass | int | str | type[BaseException]


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed call is made again. The names are those of the runner's `ExecutionPolicy`.

    Attributes:
        max_attempts: Calls for an item and repeat, the first one included.
        backoff: How the delay grows with the number k of failures: exponential `backoff_s * factor**(k - 1)`,
            linear `backoff_s * (1 + (k - 1) * factor)`, or constant `backoff_s`; at most `backoff_cap_s`.
        jitter: Whether the delay is drawn evenly from 0 to that ("full jitter", M. Brooker, Exponential Backoff
            And Jitter, AWS Architecture Blog 2015); the draw follows from the item's seed.
        retry_after_cap_s: A server that asks for a longer wait than this is not waited for: the item fails.
        retry_on: What another attempt may mend: error classes, HTTP statuses, exception classes.
        never_retry_on: What it can't mend; stronger than `retry_on`.
        classify: Gives the class of an error, or None to leave it to `suitecase.items.classify`.
    """

    max_attempts: int = 4
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    backoff_s: float = 1.0
    backoff_factor: float = 2.0
    backoff_cap_s: float = 30.0
    jitter: bool = True
    retry_after_cap_s: float = 300.0
    retry_on: Collection[Kind] = TRANSIENT
    never_retry_on: Collection[Kind] = ()
    classify: Callable[[BaseException], ErrorClass | None] | None = None

    def problems(self) -> list[str]:
        """Why these values are none."""
        found = [
            f"retry.{name} is {value!r}: give a number of at least {least}."
            for name, value, least in (
                ("max_attempts", self.max_attempts, 1), ("backoff_s", self.backoff_s, 0),
                ("backoff_factor", self.backoff_factor, 0), ("backoff_cap_s", self.backoff_cap_s, 0),
                ("retry_after_cap_s", self.retry_after_cap_s, 0),
            )
            if not value >= least
        ]  # fmt: skip
        if self.backoff not in ("exponential", "linear", "constant"):
            found.append(f"retry.backoff is {self.backoff!r}: give exponential, linear or constant.")
        known = {*ErrorClass}
        for name, kinds in (("retry_on", self.retry_on), ("never_retry_on", self.never_retry_on)):
            found += [
                f"retry.{name} has {kind!r}: give HTTP statuses, exception classes, or {', '.join(sorted(known))}."
                for kind in kinds
                if not isinstance(kind, int | type) and kind not in known
            ]
        return found

    def class_of(self, error: BaseException) -> ErrorClass:
        """The class of an error, the policy's own say first."""
        own = self.classify(error) if self.classify else None
        return classify(error) if own is None else ErrorClass(own)

    def mends(self, error: BaseException, kind: ErrorClass) -> bool:
        """Whether another attempt may mend an error of this class."""
        causes = [error, *causes_of(error)]

        def named(kinds: Collection[Kind]) -> bool:
            seen = {kind, *map(status_code_of, causes)}
            return any(any(isinstance(each, k) for each in causes) if isinstance(k, type) else k in seen for k in kinds)

        return named(self.retry_on) and not named(self.never_retry_on)

    def delay_s(self, failures: int, seed: int) -> float:
        """Seconds to wait after so many failures, before what the server asks for is looked at."""
        from tenacity import RetryCallState, Retrying

        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = failures
        grown = min(self.growth(state), self.backoff_cap_s)
        return round(grown * random.Random(f"{seed} {failures}").random() if self.jitter else grown, 6)

    @cached_property
    def growth(self) -> wait_base:
        from tenacity import wait_exponential, wait_fixed, wait_incrementing

        if self.backoff == "constant":
            return wait_fixed(self.backoff_s)
        if self.backoff == "linear":
            return wait_incrementing(self.backoff_s, self.backoff_s * self.backoff_factor)
        return wait_exponential(self.backoff_s, exp_base=self.backoff_factor)


def classify(error: BaseException) -> ErrorClass:
    """The class of an error; UNKNOWN for whatever looks like none of the others.

    A group of errors, as task groups and hedged calls raise it, is of the class that all of them have; where they
    differ and each may pass, of the first one's.

    >>> classify(TimeoutError())
    <ErrorClass.TIMEOUT: 'timeout'>
    """
    if isinstance(error, BaseExceptionGroup):
        kinds = [classify(each) for each in causes_of(cast(BaseException, error))]
        return kinds[0] if len({*kinds}) == 1 or TRANSIENT.issuperset(kinds) else ErrorClass.UNKNOWN
    status = status_code_of(error)
    if status is not None and status >= 400:
        return ErrorClass.SERVER_ERROR if status >= 500 else OF_STATUS.get(status, ErrorClass.UNKNOWN)
    names = {base.__name__ for base in type(error).__mro__}
    for kind, known in OF_NAME.items():
        if names & known:
            return kind
    reason = attribute(error, "reason")  # urllib's URLError holds what happened
    return classify(reason) if isinstance(reason, OSError) and reason is not error else ErrorClass.UNKNOWN


def causes_of(error: BaseException) -> list[BaseException]:
    """What a group of errors holds, and the groups in it; of any other error nothing but itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [each for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions for each in causes_of(inner)]


def asked_wait_s(error: BaseException) -> float | None:
    """The longest wait that a server asks for, in seconds: of an error, or of all in a group."""
    return max((asked for each in causes_of(error) if (asked := retry_after_s(each)) is not None), default=None)
