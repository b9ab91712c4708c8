"""What becomes of budgets and holds."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from assistantguard.events.base import Event, Level

__all__ = ["BudgetRefusedEvent", "BudgetWarned", "HoldsExpired"]


@dataclass(slots=True, eq=False, repr=False)
class BudgetRefusedEvent(Event):
    """A request was not sent, since a cap or a budget does not allow it."""

    name: ClassVar[str] = "budget.refused"
    level: ClassVar[Level] = "warning"
    account: str
    metric: str
    kind: Literal["exceeded", "busy"]
    limit: Decimal
    committed: Decimal
    held: Decimal
    policy: str
    reason: str
    run_id: str | None = None
    renews_at: float | None = None
    """Unix time at which the budget renews, seconds; None where it never does, and for a cap."""
    user: str | None = None
    """Whose thread it was."""


@dataclass(slots=True, eq=False, repr=False)
class BudgetWarned(Event):
    """A share of a budget is spent. Once per share and window, over all processes that share the ledger."""

    name: ClassVar[str] = "budget.warned"
    level: ClassVar[Level] = "warning"
    account: str
    """Whose budget, and which window of it."""
    budget: str
    """The budget's name."""
    metric: str
    threshold: float
    """The share of `limit` that was reached."""
    limit: Decimal
    committed: Decimal
    """What is spent for good."""
    renews_at: float | None = None
    """Unix time at which the budget renews, seconds; None where it never does."""
    user: str | None = None
    """Whose request it was that reached it."""
    tenant: str | None = None
    run_id: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class HoldsExpired(Event):
    """Reservations of processes that are gone were settled: what they held is on the books, as an estimate."""

    name: ClassVar[str] = "holds.expired"
    level: ClassVar[Level] = "warning"
    holds: int
