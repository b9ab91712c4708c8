"""Forecasts as rows and as one JSON document. Sums of money are strings there; null stands for what is unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from assistantguard.forecast.result import Forecast, Period, per_unit
from assistantguard.forecast.waves import Capacity, LimitFit

__all__ = ["capacity_document", "forecast_document", "month_name", "period_rows", "rounded", "variant_row"]

_MICRO = Decimal("0.000001")


def rounded(amount: Decimal | None) -> Decimal | None:
    """An amount in whole micro-dollars."""
    return None if amount is None else amount.quantize(_MICRO, ROUND_HALF_EVEN)


def month_name(period: Period) -> str:
    """How a period is called: its number, or the day it begins with."""
    if period.begins is None:
        return str(period.number)
    return f"{dt.datetime.fromtimestamp(period.begins, dt.timezone.utc):%Y-%m-%d}"


def variant_row(forecast: Forecast) -> dict[str, Any]:
    """What tells a forecast from the others, and what it comes to."""
    read = sum(period.input_tokens for period in forecast.periods)
    again = sum(period.reread_tokens for period in forecast.periods)
    return {
        "model": forecast.model,
        "rotation": forecast.rotation,
        "caching": forecast.caching,
        "cost": rounded(forecast.cost),
        "low": rounded(forecast.low),
        "high": rounded(forecast.high),
        "cost_per_user": rounded(forecast.cost_per_user),
        "cost_per_interaction": rounded(forecast.cost_per_interaction),
        "reread_share": round(again / read, 4) if read else None,
        "unpriced_models": list(forecast.unpriced),
    }


def period_rows(forecast: Forecast) -> list[dict[str, Any]]:
    """One row for each period."""
    return [_period(period) for period in forecast.periods]


def _period(period: Period) -> dict[str, Any]:
    return {
        "month": period.number,
        "begins": None if period.begins is None else month_name(period),
        "days": float(period.days),
        "users": None if period.users is None else round(period.users, 2),
        "threads": round(period.threads, 2),
        "interactions": round(period.interactions, 2),
        "requests": round(period.requests, 2),
        "input_tokens": round(period.input_tokens),
        "cached_tokens": round(period.cached_tokens),
        "output_tokens": round(period.output_tokens),
        "reread_tokens": round(period.reread_tokens),
        "storage_cost": rounded(period.storage_cost),
        "cost": rounded(period.cost),
        "low": rounded(period.low),
        "high": rounded(period.high),
        "cost_per_user": None if period.users is None else rounded(per_unit(period.cost, period.users)),
        "cost_per_interaction": rounded(per_unit(period.cost, period.interactions)),
    }


def forecast_document(forecasts: Sequence[Forecast], about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every forecast with its periods, how it was made, and what it does not know.

    Args:
        forecasts: Side by side.
        about: What they were made from.
    """
    return {
        **(about or {}),
        "forecasts": [
            {
                **variant_row(forecast),
                "method": forecast.method,
                "notes": list(forecast.notes),
                "periods": period_rows(forecast),
            }
            for forecast in forecasts
        ],
    }


def capacity_document(found: Capacity, about: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a wave needs."""
    wave = found.wave
    return {
        **(about or {}),
        "users": wave.users,
        "model": wave.model,
        "within_seconds": wave.within,
        "requests": found.requests,
        "tokens": found.tokens,
        "requests_per_minute": found.requests_per_minute,
        "tokens_per_minute": found.tokens_per_minute,
        "input_tokens": found.usage.input_tokens,
        "cached_tokens": found.usage.cached_tokens,
        "output_tokens": found.usage.output_tokens,
        "cost": rounded(found.cost),
        "cost_per_user": rounded(found.cost_per_user),
        "tier": found.tier,
        "limits": [_limit(fit) for fit in found.limits],
        "own_limit": None if found.own is None else _limit(found.own),
    }


def _limit(fit: LimitFit) -> dict[str, Any]:
    return {
        "name": fit.name,
        "requests_per_minute": fit.requests_per_minute,
        "tokens_per_minute": fit.tokens_per_minute,
        "suffices": fit.suffices,
        "seconds": None if fit.seconds is None else round(fit.seconds, 1),
    }
