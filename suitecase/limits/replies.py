"""What an error says of a server's answer, whatever client library raised it: none is imported."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

__all__ = ["attribute", "retry_after_s", "status_code_of"]


def status_code_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries."""
    response = attribute(error, "response")
    for holder, names in ((error, ("status_code", "status", "code")), (response, ("status_code", "status"))):
        for name in names:
            value = attribute(holder, name)
            if isinstance(value, int) and 100 <= value < 600:
                return int(value)
    return None


def retry_after_s(error: BaseException, now_s: float | None = None) -> float | None:
    """Seconds that a server asks to wait: the attribute `retry_after`, or the header Retry-After (RFC 9110, 10.2.3).

    Args:
        now_s: Seconds since 1970, for a header that names a date; default: now.
    """
    asked = attribute(error, "retry_after")
    if asked is None:
        headers = attribute(attribute(error, "response"), "headers") or attribute(error, "headers")
        if not hasattr(headers, "get"):
            return None
        headers = cast("Mapping[str, Any]", headers)
        asked = headers.get("Retry-After", headers.get("retry-after"))
    if asked is None:
        return None
    try:
        seconds = float(asked)
    except (TypeError, ValueError):
        try:
            seconds = parsedate_to_datetime(str(asked)).timestamp() - (time.time() if now_s is None else now_s)
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def attribute(holder: object, name: str) -> Any:
    """An attribute, None where there is none or asking for it raises: errors are other people's code."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None
