"""A loop over a dataset that survives: the inside of most experiments with language models.

    from suitecase.items import metrics, process

    summary = process(questions, ask, key="id", max_parallel=20, metrics={"accuracy": metrics.probability()})

    process, aprocess             call a function with every item: keys, seeds, rates, retries, budgets, resume
    ItemContext, ItemResult       what the function may take, and may return
    metrics                       what a metric's values may be
    RetryPolicy, ErrorClass       which errors are retried, and when
    Breaker                       when too much fails to go on
    RETRY, SKIP, ABORT            what `on_error` may answer
    read_items, read_dead_letters what a folder holds
    Summary, Estimate             how it ended

It knows no model and no tracker: it takes callables, and tells `observe` how far it is.
"""

from suitecase.items import metrics
from suitecase.items.ledger import read_dead_letters, read_items
from suitecase.items.loop import aprocess, process
from suitecase.items.records import Answer, Estimate, ItemContext, ItemResult, ItemsError, Row, Summary
from suitecase.items.retries import ErrorClass, RetryPolicy, classify
from suitecase.items.stops import Breaker

__all__ = [
    "ABORT",
    "RETRY",
    "SKIP",
    "Answer",
    "Breaker",
    "ErrorClass",
    "Estimate",
    "ItemContext",
    "ItemResult",
    "ItemsError",
    "RetryPolicy",
    "Row",
    "Summary",
    "aprocess",
    "classify",
    "metrics",
    "process",
    "read_dead_letters",
    "read_items",
]

RETRY, SKIP, ABORT = Answer.RETRY, Answer.SKIP, Answer.ABORT
