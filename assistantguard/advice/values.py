"""What advice is made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

__all__ = ["Advice", "Kind", "Suggestion", "Sureness"]

Kind = Literal[
    "step_ceiling",
    "rotation",
    "cheaper_model",
    "cache_gaps",
    "cache_prefix",
    "cache_writes",
    "cache_minimum",
    "vector_stores",
    "topics",
    "limits",
]
Sureness = Literal["reckoned", "estimated", "unknown"]
"""``reckoned``: the data's own calls were billed anew with the change, and nothing was assumed but that models and
users would have done the same. ``estimated``: something was assumed, which `Suggestion.method` names. ``unknown``:
there is nothing to reckon a saving from."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One change, and what it would have saved on the data."""

    kind: Kind
    title: str
    """What to change, in a sentence."""
    setting: str
    """The line of code that changes it."""
    saving: Decimal | None
    """US dollars over the time of the data; None where it cannot be told."""
    low: Decimal | None
    """The least that it is, by `method`."""
    high: Decimal | None
    """The most."""
    sureness: Sureness
    method: str
    """How the saving was found, and what its range is."""
    evidence: str
    """The figures that speak for it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What would change a bill.

    Savings do not add up: each is of the bill as it is, with nothing else changed.
    """

    source: Literal["events", "ledger", "recordings"]
    threads: int
    turns: int
    calls: int
    """Paid model calls."""
    cost: Decimal
    """US dollars, of the threads whose prices are known."""
    error: float
    """How far the cost that the same reckoning finds with nothing changed lies from `cost`, as a share of it."""
    first_time: float | None = None
    """Unix time, seconds; None for recordings."""
    last_time: float | None = None
    suggestions: tuple[Suggestion, ...] = ()
    """The one that saves most first."""
    notes: Counter[str] = field(default_factory=Counter)
    """What could not be looked at, and how often."""

    def share(self, amount: Decimal | None) -> float | None:
        """An amount as a share of the cost; None where either is unknown or the cost is 0."""
        return None if amount is None or not self.cost else float(amount / self.cost)
