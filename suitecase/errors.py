"""The errors that suitecase raises on purpose; a command shows their problems without a traceback."""

from collections.abc import Iterable

__all__ = ["NotFoundError", "SuitecaseError", "missing_extra"]


class SuitecaseError(Exception):
    """A question that can't be answered, or work that can't be done.

    Attributes:
        problems: One sentence each: what is wrong, where, what to do.
    """

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class NotFoundError(SuitecaseError):
    """A run, a case or a file that is not there."""


def missing_extra(what: str, extra: str) -> SuitecaseError:
    """The error for a library that an extra brings."""
    return SuitecaseError(f"{what} needs the extra {extra!r}: pip install 'suitecase[{extra}]'.")
