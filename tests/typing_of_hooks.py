# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Checked by pyright alone: a hook has the methods it needs and no others; a misspelt one is no hook."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiment_runner import ABORT, RETRY, Answer, Hook, HookRecord, Refuse


class OnlyAfterCase:
    def after_case(self, ended: HookRecord) -> Answer | None:
        return RETRY if ended.signal and ended.attempt < 3 else None


class Everything:
    def before_run(self, record: HookRecord) -> Mapping[str, Any] | Refuse | None:
        return Refuse("not today") if record.counts else {"told": record.run}

    def before_case(self, record: HookRecord) -> Answer | None:
        return ABORT

    def after_case(self, record: HookRecord) -> None: ...

    def after_run(self, record: HookRecord) -> None: ...


class Misspelt:
    def after_cases(self, record: HookRecord) -> None: ...


class Asynchronous:
    async def after_run(self, record: HookRecord) -> None: ...


class WrongAnswer:
    def after_case(self, record: HookRecord) -> str:
        return "abort"


def given(hooks: Sequence[Hook]) -> None: ...


given([OnlyAfterCase(), Everything()])
made_before = [Everything()]
given(made_before)
given([Misspelt()])  # pyright: ignore[reportArgumentType]
given([Asynchronous()])  # pyright: ignore[reportArgumentType]
given([WrongAnswer()])  # pyright: ignore[reportArgumentType]
given([OnlyAfterCase])  # pyright: ignore[reportArgumentType]
