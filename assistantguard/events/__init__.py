"""Typed telemetry events: one per thing that happened, with ids and figures, never with content or keys.

An event's `name` is its wire name; `Event.record` is the flat JSON object that sinks write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.events.base import Event, Level
from assistantguard.events.turns import (
    PolicyObserved,
    RequestSettled,
    RunCancelled,
    RunRetried,
    RunSettled,
    RunStarted,
    RunStep,
    ToolSettled,
    TurnStarted,
    UsageCorrected,
)

if TYPE_CHECKING:
    from assistantguard.events.budgets import BudgetRefusedEvent, BudgetWarned, HoldsExpired
    from assistantguard.events.threads import (
        ConversationDeleted,
        RunsPruned,
        ThreadArchivedEvent,
        ThreadDeleted,
        ThreadHealed,
        ThreadRotated,
        ThreadSuggested,
        VectorStoreCreated,
        VectorStoreDeleted,
        VectorStoreReused,
    )

__all__ = [
    "BudgetRefusedEvent",
    "BudgetWarned",
    "ConversationDeleted",
    "Event",
    "HoldsExpired",
    "Level",
    "PolicyObserved",
    "RequestSettled",
    "RunCancelled",
    "RunRetried",
    "RunSettled",
    "RunStarted",
    "RunStep",
    "RunsPruned",
    "ThreadArchivedEvent",
    "ThreadDeleted",
    "ThreadHealed",
    "ThreadRotated",
    "ThreadSuggested",
    "ToolSettled",
    "TurnStarted",
    "UsageCorrected",
    "VectorStoreCreated",
    "VectorStoreDeleted",
    "VectorStoreReused",
]


def __getattr__(name: str) -> Any:
    """What not every application needs is imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assistantguard.events import budgets, threads

    found = globals()[name] = getattr(budgets if name in budgets.__all__ else threads, name)
    return found
