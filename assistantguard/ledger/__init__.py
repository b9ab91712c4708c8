"""The durable book of holds and usage, behind one small blocking interface."""

from __future__ import annotations

from assistantguard.ledger.base import Balance, Claim, Entry, Hold, Ledger, LedgerRefusal
from assistantguard.ledger.memory import MemoryLedger

__all__ = ["Balance", "Claim", "Entry", "Hold", "Ledger", "LedgerRefusal", "MemoryLedger"]
