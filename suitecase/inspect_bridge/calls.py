"""The single calls of models that a log of Inspect holds, with the time that each took.

Of calls that failed or were cancelled Inspect does not record the time.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from suitecase.inspect_bridge.logs import allow_zstandard
from suitecase.inspect_bridge.models import members_of

__all__ = ["ModelCall", "read_calls"]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One attempt at a model that was answered.

    Attributes:
        model: As it was asked for.
        latency_s: From the request to the answer, without waiting for a place.
    """

    model: str
    latency_s: float


def read_calls(path: Path) -> Iterator[ModelCall]:
    """The calls of all samples that were answered, but not by the cache; none of models that only ask others.

    Nothing if the log can't be read.
    """
    for sample in whole_samples(path):
        for event in cast(list[dict[str, Any]], sample.get("events") or []):
            if event.get("event") != "model" or event.get("cache") == "read" or event.get("error"):
                continue
            model = str(event.get("model"))
            latency_s = latency_of(event)
            if latency_s is not None and members_of(model) == (model,):
                yield ModelCall(model, latency_s)


def whole_samples(path: Path) -> Iterator[Mapping[str, Any]]:
    """The samples of a log one by one, for together they may be larger than the memory."""
    with suppress(Exception):  # as in `read_eval_log`
        allow_zstandard()
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith("samples/")]
            for name in names:
                yield json.loads(archive.read(name))
        return
    with suppress(Exception):
        from inspect_ai.log import read_eval_log_samples

        for sample in read_eval_log_samples(str(path), all_samples_required=False):
            yield sample.model_dump(mode="json")


def latency_of(event: Mapping[str, Any]) -> float | None:
    """Seconds, as Inspect took them."""
    with suppress(KeyError, TypeError, ValueError):
        return max(0.0, float(event["output"]["time"]))
    return None
