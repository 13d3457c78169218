"""How far a loop is: told to `observe`, or printed."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

from suitecase.items.ledger import FAILED, NONE, SKIPPED, Ledger
from suitecase.rundir.spending import PICO

__all__ = ["Observe", "Progress"]

Observe: TypeAlias = Callable[[Mapping[str, object]], object]
"""Is told plain mappings with an `event`: progress, cost, log."""

OBSERVE_EVERY_S, PRINT_EVERY_S = 1.0, 5.0
log = logging.getLogger("suitecase.items")


class Progress:
    """Tells how far the loop is, at most each second to `observe`, each five to stderr if nobody observes."""

    def __init__(self, ledger: Ledger, observe: Observe | None, *, tells_cost: bool = True) -> None:
        self.ledger = ledger
        self.observe = observe
        self.tells_cost = tells_cost
        self.every_s = OBSERVE_EVERY_S if observe else PRINT_EVERY_S
        self.started_s = time.monotonic()
        self.next_s = self.started_s + self.every_s
        self.done_before = self.done
        self.told_cost = ledger.cost or 0
        self.tokens = [0, 0]
        self.errors: Counter[str] = Counter()

    @property
    def done(self) -> int:
        return len(self.ledger.status) - self.ledger.counts[NONE]

    def tick(self) -> None:
        """Tell, if it is time to."""
        if time.monotonic() >= self.next_s:
            self.tell()

    def tell(self) -> None:
        """Tell now."""
        now_s = time.monotonic()
        self.next_s = now_s + self.every_s
        facts = self.facts(now_s)
        if self.observe is None:
            try:
                print(f"items: {facts['message']}", file=sys.stderr, flush=True)
            except (OSError, ValueError):  # nobody reads any more
                pass
            return
        self.say(facts)
        cost = self.ledger.cost or 0
        if self.tells_cost and (cost != self.told_cost or any(self.tokens)):
            usd = (cost - self.told_cost) / PICO
            self.say({"event": "cost", "usd": usd, "input_tokens": self.tokens[0], "output_tokens": self.tokens[1]})
            self.told_cost, self.tokens = cost, [0, 0]

    def warn(self, message: str) -> None:
        """Say something that a person should know."""
        log.warning("%s", message)
        self.say({"event": "log", "level": "warning", "message": message})

    def say(self, facts: Mapping[str, object]) -> None:
        if self.observe is None:
            return
        try:
            self.observe(facts)
        except Exception as error:
            self.observe = None
            log.warning("observe raised %s: %s; it is told nothing more", type(error).__name__, error)

    def facts(self, now_s: float) -> dict[str, object]:
        done, total, counts = self.done, len(self.ledger.status), self.ledger.counts
        per_s = (done - self.done_before) / max(now_s - self.started_s, 1e-9)
        eta_s = (total - done) / per_s if per_s > 0 else None
        parts = [f"{done}/{total}", f"{per_s:.3g}/s"]
        if eta_s is not None and done < total:
            parts.append(f"{eta_s:.0f} s left")
        if (cost_usd := self.ledger.cost_usd) is not None:
            parts.append(f"{cost_usd:.4g} USD")
        parts += [
            f"{counts[status]} {name}" for status, name in ((FAILED, "failed"), (SKIPPED, "skipped")) if counts[status]
        ]
        if self.errors:
            parts.append("errors: " + ", ".join(f"{name} {n}" for name, n in sorted(self.errors.items())))
        return {
            "event": "progress", "done": done, "total": total, "message": ", ".join(parts), "per_s": per_s,
            "eta_s": eta_s, "failed": counts[FAILED], "skipped": counts[SKIPPED], "cost_usd": cost_usd,
            "errors": dict(self.errors),
        }  # fmt: skip
