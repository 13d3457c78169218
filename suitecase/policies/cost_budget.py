"""Stop spending at a limit, for a run and for each condition, also across crashes and resumes.

The files of the cases are the truth: the budget reads what each case recorded of its cost, and keeps no total of its
own. One thing they can't hold: a new attempt of a case overwrites the `results.json` of the one before, whose money is
spent all the same. So just before a case starts again, what it has cost so far goes to `.costs.jsonl` in the run
directory; a run without retries and resumes has no such file. A line holds a case's total, not a difference: reading it
twice, or writing it twice, changes nothing.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from suitecase.limits import LimitsError, Prices
from suitecase.policies.records import check, log, number_problems, runner_of
from suitecase.rundir.spending import PICO, condition_of, in_pico, is_amount

if TYPE_CHECKING:
    from experiment_runner import Answer, HookRecord, Refuse

__all__ = ["CostBudget"]

LEDGER = ".costs.jsonl"  # begins with a dot: can't be the name of a variant


@dataclass(frozen=True)
class Spent:
    """What a case has cost in all its attempts, in 1e-12 USD, as told by each of two files.

    Attributes:
        results: By the `results.json` of its attempts.
        seen: Time of change and size of the `results.json` that is counted last, to tell it from the next attempt's.
        tracking: By `tracking.jsonl`.
    """

    results: int = 0
    seen: tuple[int, int] | None = None
    tracking: int = 0

    @property
    def all(self) -> int:
        """A case that tells its cost in both files tells of the same money."""
        return max(self.results, self.tracking)


class CostBudget:
    """Starts nothing more once the cases have cost as much as they may.

    A case records its cost as `cost_usd` in its `results.json`, or line by line in its `tracking.jsonl` as
    `{"event": "cost", "usd": 0.12}`; of both, the larger sum counts. Every attempt counts, failed and cancelled ones
    included, and so do those of earlier passes, however they ended. What runs when the limit is reached may run on: the
    budget is overspent by at most the attempts in flight.

    Args:
        max_total_usd: For the run: the run is aborted at this, and may not be started or resumed again with it.
        max_per_condition_usd: For all cases whose configs differ only in `seed`: the further ones are skipped.
        prices: What models cost, for lines of `tracking.jsonl` that have model and tokens and no `usd`. A model that it
            doesn't have ends the run: what isn't known can't be within a budget.
        warn_at_fraction: Share of a limit, 0 < fraction ≤ 1, at which a warning is logged, once for each.

    Raises:
        ValueError: With every argument that is wrong.

    >>> CostBudget(25, max_per_condition_usd=5)
    CostBudget(max_total_usd=25, max_per_condition_usd=5, warn_at_fraction=0.8)
    """

    def __init__(
        self,
        max_total_usd: float | None = None,
        max_per_condition_usd: float | None = None,
        *,
        prices: Prices | None = None,
        warn_at_fraction: float = 0.8,
    ) -> None:
        limits = {"max_total_usd": max_total_usd, "max_per_condition_usd": max_per_condition_usd}
        problems = [p for name, limit in limits.items() if limit is not None for p in number_problems(name, limit)]
        if max_total_usd is None and max_per_condition_usd is None:
            problems.append("a budget needs a limit: give max_total_usd, max_per_condition_usd, or both.")
        check(problems + number_problems("warn_at_fraction", warn_at_fraction, at_most=1))
        self.max_total_usd = max_total_usd
        self.max_per_condition_usd = max_per_condition_usd
        self.prices = prices
        self.warn_at_fraction = warn_at_fraction
        self.forget(None)

    def __repr__(self) -> str:
        names = ("max_total_usd", "max_per_condition_usd", "warn_at_fraction")
        return f"CostBudget({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    @property
    def spent_usd(self) -> float:
        """What the run has cost so far, as far as cases have recorded it."""
        return self.total / PICO

    def forget(self, run_dir: Path | None) -> None:
        self.run_dir = run_dir
        self.carried: dict[str, Spent] = {}  # by variant: before the attempt that runs or ran last
        self.spent: dict[str, Spent] = {}
        self.total = 0
        self.of_condition: defaultdict[str, int] = defaultdict(int)
        self.condition_of: dict[str, str] = {}
        self.warned: set[str] = set()
        self.unpriced = ""

    def before_run(self, record: HookRecord) -> Refuse | None:
        """Add up what earlier passes have cost; refuse if nothing is left."""
        try:
            self.recount(record.run_dir)
        except ValueError as error:
            return runner_of(record).Refuse(str(error))
        if self.unpriced:
            return runner_of(record).Refuse(f"cost budget: {self.unpriced}")
        if self.exhausted(self.total, self.max_total_usd):
            return runner_of(record).Refuse(
                f"cost budget: {in_usd(self.total)} of {self.max_total_usd:.6g} USD are spent in {record.run_dir}: "
                "raise max_total_usd to go on."
            )
        return None

    def before_case(self, record: HookRecord) -> Answer | None:
        """ABORT if nothing is left for the run, SKIP if nothing is left for the condition."""
        self.make_sure_of(record)
        if self.unpriced or self.exhausted(self.total, self.max_total_usd):
            return runner_of(record).ABORT
        condition = self.condition(record.variant, record.config)
        if self.exhausted(self.of_condition[condition], self.max_per_condition_usd):
            self.warn(f"skipped {condition}", f"{record.variant}: its condition has spent its budget: skipped")
            return runner_of(record).SKIP
        self.observe(record.variant, record.config)
        self.carry(record)
        return None

    def after_case(self, record: HookRecord) -> Answer | None:
        """Add what the attempt has cost; ABORT at the limit."""
        self.make_sure_of(record)
        self.observe(record.variant, record.config)
        if self.unpriced:
            self.warn("unpriced", f"{self.unpriced} Nothing more is started.")
            return runner_of(record).ABORT
        if self.spent[record.variant].all == 0:
            self.warn("free", f"{record.variant} recorded no cost, so it counts as 0 USD (said once)")
        condition = self.condition(record.variant, record.config)
        self.warn_near(f"of the condition of {record.variant}", condition, self.of_condition[condition],
                       self.max_per_condition_usd)  # fmt: skip
        self.warn_near("of the run", "", self.total, self.max_total_usd)
        if not self.exhausted(self.total, self.max_total_usd):
            return None
        self.warn("exhausted", f"{in_usd(self.total)} of {self.max_total_usd:.6g} USD spent: nothing more is started")
        return runner_of(record).ABORT

    def exhausted(self, spent: int, limit_usd: float | None) -> bool:
        return limit_usd is not None and spent >= round(limit_usd * PICO)

    def warn_near(self, what: str, key: str, spent: int, limit_usd: float | None) -> None:
        if limit_usd is not None and spent >= self.warn_at_fraction * limit_usd * PICO:
            share = spent / PICO / limit_usd
            self.warn(f"near {key}", f"{in_usd(spent)} of {limit_usd:.6g} USD {what} are spent ({share:.0%})")

    def warn(self, key: str, message: str) -> None:
        """Log something once in a pass."""
        if key not in self.warned:
            self.warned.add(key)
            log.warning("cost budget: %s", message)

    def make_sure_of(self, record: HookRecord) -> None:
        """Count now what `before_run` had no chance to."""
        if self.run_dir != record.run_dir:
            self.recount(record.run_dir)

    def recount(self, run_dir: Path) -> None:
        """Add up what the files of a run directory say.

        Raises:
            ValueError: A finished line of the ledger is damaged.
        """
        self.forget(run_dir)
        carried = read_ledger(run_dir / LEDGER)
        folders = {path.parent.name for path in run_dir.glob("*/config.json") if path.parent.name[0] != "."}
        for variant in sorted(folders | carried.keys()):
            self.carried[variant] = carried.get(variant, Spent())
            self.observe(variant, {})

    def observe(self, variant: str, config: Mapping[str, Any]) -> None:
        """Read what a case has cost by now."""
        assert self.run_dir is not None
        before = self.spent.get(variant, Spent())
        now = self.read_case(self.run_dir / variant, self.carried.get(variant, Spent()), before)
        self.spent[variant] = now
        self.total += now.all - before.all
        self.of_condition[self.condition(variant, config)] += now.all - before.all

    def read_case(self, folder: Path, carried: Spent, before: Spent) -> Spent:
        """What a case's files say, on top of what was carried over from earlier attempts."""
        results, seen, tracking = carried.results, carried.seen, carried.tracking
        try:
            seen = identity(folder / "results.json")
            if seen is not None and seen != carried.seen:
                results += self.cost_of_results(folder / "results.json")
            told = self.cost_of_tracking(folder / "tracking.jsonl")
            # A file that tells less than before was begun anew by a later attempt.
            tracking = told if told >= carried.tracking else carried.tracking + told
        except OSError as error:
            self.warn(f"unread {folder}", f"{folder.name}: its cost can't be read: {error}")
            return before
        return Spent(results, seen, tracking)

    def cost_of_results(self, path: Path) -> int:
        try:
            value: object = json.loads(path.read_bytes())
        except FileNotFoundError:
            return 0
        except (ValueError, RecursionError):  # torn by the end of the case
            self.warn(f"torn {path}", f"{path.parent.name}: its results.json is no JSON: counts as 0 USD")
            return 0
        if not isinstance(value, dict) or "cost_usd" not in value:
            return 0
        return self.cost(cast(dict[str, Any], value)["cost_usd"], path)

    def cost_of_tracking(self, path: Path) -> int:
        total = 0
        try:
            with path.open("rb") as file:
                for line in file:
                    # Text after the last newline was never finished. Most lines are about something else.
                    if line.endswith(b"\n") and b'"cost"' in line:
                        total += self.cost_of_line(line, path)
        except FileNotFoundError:
            pass
        return total

    def cost_of_line(self, line: bytes, path: Path) -> int:
        try:
            event: object = json.loads(line)
        except (ValueError, RecursionError):
            return 0
        if not isinstance(event, dict) or cast(dict[str, Any], event).get("event") != "cost":
            return 0
        told = cast(dict[str, Any], event)
        if told.get("usd") is None and isinstance(told.get("model"), str):
            if self.prices is not None:
                return self.priced(self.prices, told, path)
            what = f"{path.parent.name}: {path.name} has tokens of {told['model']} and no price: counted as 0 USD"
            self.warn("no prices", f"{what}. Give prices=Prices.read(…) (said once)")
            return 0
        return self.cost(told.get("usd"), path)

    def priced(self, prices: Prices, told: Mapping[str, Any], path: Path) -> int:
        """What the price table says of a line's model and tokens, on the line's day."""
        names = ("input_tokens", "output_tokens", "cached_input_tokens")
        used, made, cached = (told.get(name) or 0 for name in names)
        if not (is_amount(used) and is_amount(made) and is_amount(cached)):
            return self.cost(f"{used!r} and {made!r} tokens", path)
        try:
            day = date.fromisoformat(str(told.get("time"))[:10])
        except ValueError:
            day = None
        try:
            return in_pico(prices.of(str(told["model"]), day).usd(used, made, cached)) or 0
        except LimitsError as error:
            self.unpriced = f"{path.parent.name}: {error}"
            return 0

    def cost(self, usd: object, path: Path) -> int:
        if (pico := in_pico(usd)) is not None:
            return pico
        what = f"{path.parent.name}: {path.name} has a cost of {str(usd)[:40]!r}, no number of at least 0: not counted"
        self.warn(f"wrong {path}", what)
        return 0

    def condition(self, variant: str, config: Mapping[str, Any]) -> str:
        """The config of a case without its seed and its folder, as text."""
        if self.max_per_condition_usd is None:
            return ""
        if variant not in self.condition_of:
            assert self.run_dir is not None
            try:
                config = json.loads((self.run_dir / variant / "config.json").read_bytes())
            except (OSError, ValueError):
                config = config or {"": variant}  # of a case whose folder is gone: a condition by itself
            self.condition_of[variant] = condition_of(config)
        return self.condition_of[variant]

    def carry(self, record: HookRecord) -> None:
        """Have what a case has cost outlive the files that its next attempt overwrites."""
        spent = self.spent[record.variant]
        if spent in (self.carried.get(record.variant, Spent()), Spent(seen=spent.seen)):
            self.carried[record.variant] = spent
            return
        self.carried[record.variant] = spent
        line = {
            "variant": record.variant,
            "results_usd": spent.results / PICO,
            "results_seen": spent.seen,
            "tracking_usd": spent.tracking / PICO,
        }
        append_line(record.run_dir / LEDGER, json.dumps(line).encode() + b"\n")


def in_usd(pico: int) -> str:
    return f"{pico / PICO:.6g}"


def identity(path: Path) -> tuple[int, int] | None:
    """Tells one version of a file from the next, also after the run directory was moved; None if there is no file."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_size


def read_ledger(path: Path) -> dict[str, Spent]:
    """What each case had cost before it started again; the last line of a case counts.

    Raises:
        ValueError: A finished line is damaged.
    """
    try:
        *finished, _unfinished = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    found: dict[str, Spent] = {}
    for number, text in enumerate(finished, start=1):
        try:
            line = json.loads(text)
            seen = line["results_seen"]
            results, tracking = (round(line[name] * PICO) for name in ("results_usd", "tracking_usd"))
            found[str(line["variant"])] = Spent(results, None if seen is None else (seen[0], seen[1]), tracking)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError):
            told = f"{path}, line {number} is damaged: what earlier attempts have cost can't be told. "
            raise ValueError(told + "Correct the line, or remove it to count those attempts as free.") from None
    return found


def append_line(path: Path, line: bytes) -> None:
    """Add a line and bring it to the disk; what an earlier writer left unfinished is cut off first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        file.write(line)
        os.fsync(descriptor)
