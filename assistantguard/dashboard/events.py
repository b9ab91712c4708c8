"""Telemetry events of changes that are made in the dashboard; see `assistantguard.events`.

They tell who changed what. Names of threads are their users' words and are not told.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from assistantguard.events import Event, Level

__all__ = ["BudgetLimitChanged", "ThreadChange", "ThreadChanged"]

ThreadChange = Literal["renamed", "archived", "restored"]


@dataclass(slots=True, eq=False, repr=False)
class BudgetLimitChanged(Event):
    """The limit of an account was set, or cleared, so that the budget's own is in force again.

    It is about no thread: `thread_id` is empty.
    """

    name: ClassVar[str] = "budget.limit_changed"
    level: ClassVar[Level] = "warning"

    actor: str
    """Who did it: the account of this machine's system that the dashboard runs under."""
    account: str
    metric: str
    limit: Decimal | None
    """What was set; None where it was cleared."""
    before: Decimal | None
    """What was set before; None where the budget's own was in force."""


@dataclass(slots=True, eq=False, repr=False)
class ThreadChanged(Event):
    """A thread was renamed, archived or restored by hand."""

    name: ClassVar[str] = "thread.changed"
    level: ClassVar[Level] = "warning"

    actor: str
    """As for `BudgetLimitChanged`."""
    change: ThreadChange
    user: str | None = None
    """Whose thread it is; None for the application's own."""
