"""What Inspect finds through the entry point: the providers, and in a case the hooks that tell of its progress.

Inspect imports this module in every process that names a model, so it imports no provider before one is asked for.
"""

from __future__ import annotations

import os

from inspect_ai.hooks import hooks
from inspect_ai.model import ModelAPI, modelapi

__all__ = ["cascade", "ensemble", "fallback", "hedged", "scripted"]


@modelapi(name="scripted")
def scripted() -> type[ModelAPI]:
    """`scripted/<name>`: answers by rule, without a network."""
    from suitecase.inspect_bridge.scripted import ScriptedAPI

    return ScriptedAPI


@modelapi(name="fallback")
def fallback() -> type[ModelAPI]:
    """`fallback/<a,b,c>`: the next model if one fails."""
    from suitecase.inspect_bridge.fallback import FallbackAPI

    return FallbackAPI


@modelapi(name="hedged")
def hedged() -> type[ModelAPI]:
    """`hedged/<target>`: asked again beside if it is slow."""
    from suitecase.inspect_bridge.hedged import HedgedAPI

    return HedgedAPI


@modelapi(name="ensemble")
def ensemble() -> type[ModelAPI]:
    """`ensemble/<a,b,c>`: their votes are counted."""
    from suitecase.inspect_bridge.ensemble import EnsembleAPI

    return EnsembleAPI


@modelapi(name="cascade")
def cascade() -> type[ModelAPI]:
    """`cascade/<a,b,c>`: one after the other, until one is sure or they agree."""
    from suitecase.inspect_bridge.ensemble import CascadeAPI

    return CascadeAPI


if os.environ.get("SUITECASE_OUTPUT_DIR"):  # elsewhere Inspect would announce a hook that does nothing
    from suitecase.inspect_bridge.progress import Progress

    hooks(name="suitecase", description="tells the case's progress")(Progress)
