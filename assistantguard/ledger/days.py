"""Adds up entries by group and day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal

from assistantguard.errors import ConfigurationError
from assistantguard.ledger.base import GROUPINGS, REPLY_CACHE, Entry, Grouping, UsageRow

__all__ = ["add_up", "check_grouping", "day_of", "row_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIELDS = {"model": "model", "purpose": "purpose", "run": "run_id", "tenant": "tenant", "thread": "thread_id"}


def check_grouping(group_by: Sequence[Grouping]) -> tuple[Grouping, ...]:
    """What to group by.

    Raises:
        ConfigurationError: A name is unknown or given twice.
    """
    if isinstance(group_by, str):
        raise ConfigurationError(f"usage is grouped by {group_by!r}, give a tuple or list of names: ({group_by!r},)")
    names = tuple(group_by)
    for name in names:
        if name not in GROUPINGS:
            raise ConfigurationError(f"usage cannot be grouped by {name!r}, it can be by {', '.join(GROUPINGS)}")
        if names.count(name) > 1:
            raise ConfigurationError(f"usage is grouped by {name!r} twice, once is enough")
    return names


def day_of(time: float, zone: tzinfo | None) -> str:
    """The day of a Unix time, such as ``2026-11-22``."""
    moment = _EPOCH + timedelta(seconds=time)
    return moment.astimezone(zone or timezone.utc).date().isoformat()


def row_of(entry: Entry, group_by: Sequence[Grouping], zone: tzinfo | None) -> UsageRow:
    """An entry as a row of its own."""
    group = tuple(
        day_of(entry.time, zone) if name == "day" else getattr(entry, _FIELDS.get(name, name)) for name in group_by
    )
    return UsageRow(
        group,
        entry.usage,
        entry.cost or Decimal(0),
        int(entry.cost is None),
        1,
        int(entry.purpose == REPLY_CACHE),
        entry.saved_tokens,
        entry.saved_cost or Decimal(0),
    )


def add_up(rows: Iterable[UsageRow]) -> list[UsageRow]:
    """Rows of the same group as one, in the order of the groups."""
    totals: dict[tuple[str | None, ...], UsageRow] = {}
    for row in rows:
        total = totals.get(row.group)
        totals[row.group] = row if total is None else _sum(total, row)
    return [totals[group] for group in sorted(totals, key=_order)]


def _sum(one: UsageRow, other: UsageRow) -> UsageRow:
    return replace(
        one,
        usage=one.usage + other.usage,
        cost=one.cost + other.cost,
        unpriced=one.unpriced + other.unpriced,
        entries=one.entries + other.entries,
        cached=one.cached + other.cached,
        saved_tokens=one.saved_tokens + other.saved_tokens,
        saved_cost=one.saved_cost + other.saved_cost,
    )


def _order(group: tuple[str | None, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((value is not None, value or "") for value in group)
