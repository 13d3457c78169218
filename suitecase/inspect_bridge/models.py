"""Names of models: which provider they name, and which other models."""

from __future__ import annotations

import re

__all__ = ["MEMBER_PROVIDERS", "members_of", "names_in"]

MEMBER_PROVIDERS = ("cascade", "ensemble", "fallback", "hedged")
"""Providers whose models are lists of other models."""


def names_in(model_name: str) -> list[str]:
    """The models of a list, with + or a comma between them."""
    return [name.strip() for name in re.split(r"[+,]", model_name)]


def members_of(model: str) -> tuple[str, ...]:
    """The models that are asked where this one is: itself, or those in its name.

    >>> members_of("fallback/openai/a+anthropic/b")
    ('openai/a', 'anthropic/b')
    """
    provider, _, rest = model.partition("/")
    return tuple(names_in(rest)) if provider in MEMBER_PROVIDERS else (model,)
