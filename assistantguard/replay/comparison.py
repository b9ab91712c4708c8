"""The rows of a replay beside the one without a guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from assistantguard.replay.play import Row

__all__ = ["ComparedRow", "compare", "replay_document"]

BASELINE = "none"


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """A row, and what it saves."""

    row: Row
    saving: float | None
    """The share of the baseline's input cost that is not spent, from 0 to 1; below 0 where more is spent.
    None where the baseline's is 0, or a price is unknown. Input cost is that of all tokens read: uncached,
    cached and written to the cache, each at its price."""
    total_saving: float | None
    """The same with output counted too."""


def compare(rows: Sequence[Row]) -> list[ComparedRow]:
    """Set every row beside the one named ``none``, which must be among them."""
    base = next(row for row in rows if row.name == BASELINE)
    return [ComparedRow(row, _saving(row.input_cost, base.input_cost), _saving(row.cost, base.cost)) for row in rows]


def _saving(spent: Decimal | None, base: Decimal | None) -> float | None:
    return float(1 - spent / base) if base and spent is not None else None


def _dollars(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def replay_document(rows: Sequence[ComparedRow]) -> dict[str, Any]:
    """All rows as one JSON-ready document. Costs are numbers of US dollars; null is unknown."""
    return {
        "rows": [
            {
                "name": one.row.name,
                "model_calls": one.row.model_calls,
                "input_tokens": one.row.input_tokens,
                "cached_tokens": one.row.cached_tokens,
                "output_tokens": one.row.output_tokens,
                "cost": _dollars(one.row.cost),
                "saving": one.saving,
                "largest_context": one.row.largest_context,
                "argument_recall": one.row.argument_recall,
                "input_cost": _dollars(one.row.input_cost),
                "total_saving": one.total_saving,
                "turns": one.row.turns,
                "rotations": one.row.rotations,
                "stops": one.row.stops,
                "argument_values": one.row.argument_values,
            }
            for one in rows
        ]
    }
