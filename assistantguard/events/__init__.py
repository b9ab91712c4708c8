"""Typed telemetry events: one per thing that happened, with ids and figures, never with content or keys.

An event's `name` is its wire name; `Event.record` is the flat JSON object that sinks write.
"""

from __future__ import annotations

from assistantguard.events.base import Event, Level
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
