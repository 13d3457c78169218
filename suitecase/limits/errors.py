"""What limits refuse."""

from suitecase.errors import SuitecaseError

__all__ = ["BudgetSpentError", "LimitsError", "UnknownPriceError"]


class LimitsError(SuitecaseError):
    """Limits that can't be, or a file of limits that can't be used."""


class UnknownPriceError(LimitsError):
    """A model that the price table doesn't have, or not for that day."""


class BudgetSpentError(LimitsError):
    """No further call may begin: a budget is spent.

    Attributes:
        scope: Which: `run`, `condition` or `case`.
    """

    def __init__(self, scope: str, spent_usd: float, budget_usd: float) -> None:
        self.scope = scope
        super().__init__(
            f"{spent_usd:.6g} of {budget_usd:.6g} USD are spent by this {scope}: "
            f"raise Budget({scope}_usd=…) and resume to go on."
        )
