"""Claims and entries that tests write."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from assistantguard import Usage
from assistantguard.ledger import Claim, Entry, Ledger

__all__ = ["claim", "entry", "estimate", "tokens"]


def claim(
    amount: Any = 10, account: str = "session:1", metric: Any = "tokens", limit: Any = None, **more: Any
) -> Claim:
    return Claim(account, metric, Decimal(amount), None if limit is None else Decimal(limit), **more)


def entry(tokens: int = 7, cost: Any = "0.5", **values: Any) -> Entry:
    return Entry(
        **{
            "time": 1.0,
            "thread_id": "t",
            "run_id": "r",
            "attempt": 1,
            "model": "m",
            "usage": Usage(tokens - 1, 0, 0, 1, 0, 0, 1),
            "cost": None if cost is None else Decimal(cost),
            **values,
        }
    )


def estimate(used: int, **values: Any) -> Entry:
    return entry(used, usage=Usage(input_tokens=used, estimated_tokens=used), **values)


def tokens(ledger: Ledger, account: str = "session:1") -> tuple[int, int]:
    """What is committed and held."""
    balance = ledger.balance(account, "tokens")
    return int(balance.committed), int(balance.held)
