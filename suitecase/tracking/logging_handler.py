"""Python's `logging`, told as `log` lines."""

from __future__ import annotations

import logging

from suitecase.tracking.current import current

__all__ = ["LoggingHandler"]


class LoggingHandler(logging.Handler):
    """Tells what loggers say: `logging.getLogger().addHandler(tracking.LoggingHandler())`.

    The level becomes debug, info, warning or error (CRITICAL too). `data` has the logger's name as `logger`, the exact
    level as `logging_level`, and the traceback as `traceback` if there is an exception.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a record; one whose arguments don't fit its message is shown on stderr, as logging does."""
        try:
            data: dict[str, object] = {"logger": record.name, "logging_level": record.levelname}
            if record.exc_info:
                data["traceback"] = (self.formatter or logging.Formatter()).formatException(record.exc_info)
            current().log(level_of(record.levelno), record.getMessage(), **data)
        except Exception:
            self.handleError(record)


def level_of(number: int) -> str:
    """The nearest of our levels that is not above a level of logging; debug is the lowest."""
    if number >= logging.ERROR:
        return "error"
    return "warning" if number >= logging.WARNING else "info" if number >= logging.INFO else "debug"
