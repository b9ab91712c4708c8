"""Advice as one JSON document. Sums of money are strings; null stands for what is unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.advice.values import Advice

__all__ = ["advice_document"]

_MICRO = Decimal("0.000001")


def advice_document(advice: Advice) -> dict[str, Any]:
    """Everything that the advice holds, JSON-ready."""
    return {
        "source": advice.source,
        "first_time": advice.first_time,
        "last_time": advice.last_time,
        "threads": advice.threads,
        "turns": advice.turns,
        "calls": advice.calls,
        "cost": _money(advice.cost),
        "error": advice.error,
        "suggestions": [
            {
                "kind": each.kind,
                "title": each.title,
                "setting": each.setting,
                "saving": _money(each.saving),
                "share": advice.share(each.saving),
                "low": _money(each.low),
                "high": _money(each.high),
                "sureness": each.sureness,
                "method": each.method,
                "evidence": each.evidence,
            }
            for each in advice.suggestions
        ],
        "notes": dict(advice.notes),
    }


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount.quantize(_MICRO), "f")
