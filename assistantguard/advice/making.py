"""What all suggestions share: a saving with its range."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.advice.values import Kind, Suggestion, Sureness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.advice.bill import Reckoner

__all__ = ["LEAST_SHARE", "is_worth_it", "make"]

LEAST_SHARE = Decimal("0.01")
"""What saves less of the bill is not suggested."""


def is_worth_it(reckoner: Reckoner, saving: Decimal | None) -> bool:
    """Whether a saving is worth a suggestion."""
    return saving is not None and saving > 0 and saving >= LEAST_SHARE * reckoner.booked


def make(
    reckoner: Reckoner,
    kind: Kind,
    saving: Decimal,
    *,
    title: str,
    setting: str,
    method: str,
    evidence: str,
    sureness: Sureness = "reckoned",
    variants: Sequence[Decimal | None] = (),
    between: str = "",
) -> Suggestion:
    """Make a suggestion.

    Args:
        reckoner: What reckoned it; its own error widens the range.
        kind: What it is about.
        saving: US dollars.
        title: See `Suggestion`, as the next three.
        setting: See there.
        method: See there; what the range is of is added.
        evidence: See there.
        sureness: See there.
        variants: The saving under other assumptions.
        between: What those are.
    """
    values = [saving, *(value for value in variants if value is not None)]
    error = Decimal(repr(reckoner.error))
    ranges = f"{between}; {reckoner.range_text}" if between else reckoner.range_text
    low, high = min(values), max(values)
    return Suggestion(
        kind,
        title,
        setting,
        saving,
        low - abs(low) * error,
        high + abs(high) * error,
        sureness,
        f"{method} Range: {ranges}.",
        evidence,
    )
