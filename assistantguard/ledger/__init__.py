"""The durable book of holds and usage, behind one small blocking interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.ledger.base import Balance, Claim, Entry, Grouping, Hold, Ledger, LedgerRefusal, UsageRow
from assistantguard.ledger.memory import MemoryLedger

if TYPE_CHECKING:
    from assistantguard.ledger.sql import SqlLedger, open_ledger

__all__ = [
    "Balance",
    "Claim",
    "Entry",
    "Grouping",
    "Hold",
    "Ledger",
    "LedgerRefusal",
    "MemoryLedger",
    "SqlLedger",
    "UsageRow",
    "open_ledger",
]


def __getattr__(name: str) -> Any:
    """What needs a database is imported when it is first used."""
    if name in {"SqlLedger", "open_ledger"}:
        from assistantguard.ledger import sql

        return getattr(sql, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
