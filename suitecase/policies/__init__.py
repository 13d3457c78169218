"""Hooks for `run_experiments(hooks=[...])`: budgets, breakers, notifications.

    CostBudget     stop spending at a limit, for the run and for each condition
    FailureRate    stop when too many of the last cases failed
    Webhook        tell an HTTP endpoint that a run began or ended
    Command        run a command of your own at such a moment
    Report         write a report on the run once it has ended

Each is an object with some of the methods `before_run`, `before_case`, `after_case` and `after_run`, and no
more than any hook can do: what they need is on disk or in the record that they are given.
"""

from suitecase.policies.command import Command
from suitecase.policies.cost_budget import CostBudget
from suitecase.policies.failure_rate import FailureRate
from suitecase.policies.report import Report
from suitecase.policies.webhook import Webhook

__all__ = ["Command", "CostBudget", "FailureRate", "Report", "Webhook"]
