"""What is left of the budgets that concern someone."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from assistantguard.models.values import Value

__all__ = ["BudgetLine", "BudgetReport"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BudgetLine(Value):
    """One limit of one budget, in the window that is now."""

    budget: str
    """The budget's name."""
    account: str
    """The account in the ledger: whose it is, and which window."""
    metric: str
    """``tokens``, ``cost`` (US dollars) or ``messages``."""
    limit: Decimal
    """What is in force now: the budget's own limit, or the one that was set at run time."""
    committed: Decimal
    """What is spent for good."""
    held: Decimal
    """What requests in flight may still spend."""
    renews_at: float | None
    """Unix time at which the window ends, seconds; None where it never does."""
    observed: bool = False
    """Whether the budget only reports, and refuses nothing."""

    @property
    def left(self) -> Decimal:
        """What is neither spent nor held."""
        return max(self.limit - self.committed - self.held, Decimal(0))

    @property
    def share_left(self) -> float:
        """`left` as a share of `limit`; 0.0 of nothing."""
        return float(self.left / self.limit) if self.limit else 0.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BudgetReport(Value):
    """All limits that concern someone; read directly, it tells the tightest of them."""

    lines: tuple[BudgetLine, ...]
    """At least one: every budget and metric, in the order of the policies."""

    @property
    def tightest(self) -> BudgetLine:
        """The line with the least share left, of those that are enforced where there are any."""
        return min(self.lines, key=lambda line: (line.observed, line.share_left))

    @property
    def budget(self) -> str:
        """See `BudgetLine.budget`."""
        return self.tightest.budget

    @property
    def metric(self) -> str:
        """See `BudgetLine.metric`."""
        return self.tightest.metric

    @property
    def limit(self) -> Decimal:
        """See `BudgetLine.limit`."""
        return self.tightest.limit

    @property
    def committed(self) -> Decimal:
        """See `BudgetLine.committed`."""
        return self.tightest.committed

    @property
    def held(self) -> Decimal:
        """See `BudgetLine.held`."""
        return self.tightest.held

    @property
    def left(self) -> Decimal:
        """See `BudgetLine.left`."""
        return self.tightest.left

    @property
    def renews_at(self) -> float | None:
        """See `BudgetLine.renews_at`."""
        return self.tightest.renews_at
