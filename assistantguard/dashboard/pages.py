"""The dashboard's pages: templates, and how figures are written on them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files
from typing import Any

import jinja2

from assistantguard._text import dollars, number, share, shown
from assistantguard.dashboard.figures import BudgetRow, Overview, Spending
from assistantguard.pages import (
    Chart,
    Figure,
    Series,
    column_chart,
    compact,
    compact_dollars,
    environment,
    script_text,
    style_text,
)

__all__ = ["Pages", "cost_text", "overview_charts", "overview_figures", "static_files"]

_UNKNOWN = "unknown"
_NONE = "\N{EN DASH}"
_LONGEST = 200
"""Characters of a text that are shown."""


class Pages:
    """Fills the templates.

    Args:
        zone: Where times of day are.
        **common: What every page may show.
    """

    def __init__(self, zone: dt.tzinfo, **common: Any) -> None:
        self._zone = zone
        shared = environment()
        own = jinja2.PackageLoader("assistantguard.dashboard", "templates")
        self._environment = shared.overlay(loader=jinja2.ChoiceLoader([own, *filter(None, [shared.loader])]))
        self._environment.filters = {
            **shared.filters,
            "amount": _amount,
            "at": self._at,
            "budget": _budget_text,
            "cost": cost_text,
            "text": _text,
        }
        self._environment.globals = {**shared.globals, **common}

    def whole(self, name: str, **context: Any) -> str:
        """A page."""
        return self._environment.get_template(f"{name}.html.jinja").render(name=name, **context)

    def live(self, name: str, **context: Any) -> str:
        """The part of a page that is fetched again and again."""
        return self._environment.get_template(f"{name}_live.html.jinja").render(name=name, **context)

    def _at(self, time: float | None) -> str:
        """A moment, in this dashboard's time zone."""
        if time is None:
            return _NONE
        try:
            return f"{dt.datetime.fromtimestamp(time, self._zone):%Y-%m-%d %H:%M}"
        except (OverflowError, OSError, ValueError):
            return f"time {time:g}"


def static_files() -> dict[str, tuple[str, bytes]]:
    """The files that pages load: their types and contents, by name."""
    folder = files("assistantguard.dashboard") / "static"
    style = style_text() + (folder / "dashboard.css").read_text(encoding="utf-8")
    return {
        "style.css": ("text/css; charset=utf-8", style.encode()),
        "theme.js": ("text/javascript; charset=utf-8", script_text().encode()),
        "live.js": ("text/javascript; charset=utf-8", (folder / "live.js").read_bytes()),
    }


def cost_text(row: Spending) -> str:
    """What something cost. What is not known is said, and never counted as nothing."""
    if not row.unpriced:
        return dollars(row.cost)
    unknown = f"{_UNKNOWN} ({row.unpriced:,})"
    return unknown if row.cost is None else f"{dollars(row.cost)} + {unknown}"


def overview_figures(overview: Overview) -> Sequence[Figure]:
    """The numbers that stand above all others."""
    total = overview.total
    unknown = f"and {total.unpriced:,} requests of unknown cost" if total.unpriced else ""
    found = [
        Figure("cost", dollars(total.cost), unknown),
        Figure("tokens", number(total.tokens), f"{number(total.input_tokens)} in, {number(total.output_tokens)} out"),
        Figure("requests", number(total.requests)),
        Figure("read from cache", share(total.cached_share), "of the input"),
        Figure("runs in flight", number(overview.in_flight)),
    ]
    if total.estimated_tokens:
        found.append(Figure("estimated", number(total.estimated_tokens), "tokens that the server did not report"))
    if total.cached_replies:
        found.append(Figure("cached replies", number(total.cached_replies), f"{dollars(total.saved_cost)} saved"))
    return found


def overview_charts(overview: Overview) -> Sequence[Chart]:
    """Cost and tokens by day."""
    days = overview.days
    labels = [day.name or "" for day in days]
    costs = [None if day.cost is None else float(day.cost) for day in days]
    cost = Series("cost", costs, [cost_text(day) for day in days])
    tokens = (
        _counts("uncached input", [day.input_tokens - day.cached_tokens for day in days]),
        _counts("input from cache", [day.cached_tokens for day in days]),
        _counts("output", [day.output_tokens for day in days]),
    )
    return (
        column_chart("Cost by day", labels, [cost], form=compact_dollars),
        column_chart("Tokens by day", labels, tokens, form=compact),
    )


def _counts(name: str, counts: Sequence[int]) -> Series:
    return Series(name, [float(count) for count in counts], [number(count) for count in counts])


def _text(value: str | None) -> str:
    """Other people's text: not too long, and without characters that act on what stands around them."""
    return _NONE if value is None else shown(value, _LONGEST)


def _amount(value: Decimal | None, metric: str | None) -> str:
    """An amount of a metric."""
    if value is None:
        return _UNKNOWN
    return dollars(value) if metric == "cost" else f"{number(int(value))} {metric or ''}".rstrip()


def _budget_text(row: BudgetRow) -> str:
    """What is left of a budget, in a few words."""
    if row.limit is None:
        spent = Decimal(0) if row.committed is None else row.committed
        return f"{_amount(spent, row.metric)} spent, limit {_UNKNOWN}"
    if row.left is None:
        return f"{_amount(row.limit, row.metric)} to spend, nothing booked yet"
    return f"{_amount(row.left, row.metric)} left of {_amount(row.limit, row.metric)}"
