"""The ``usage`` command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistantguard._text import dollars, number
from assistantguard.cli.database import Column, DatabaseOption, Format, FormatOption, moment, opened, write
from assistantguard.cli.output import say
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.ledger import Grouping, UsageRow

__all__ = ["usage"]


def usage(
    *,
    database: DatabaseOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="user, tenant, thread, model, day, purpose or run; several with commas, or given again."
            " Default: model.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="From then on: 2026-11-01, 2026-11-01T08:30, or 24h, 7d, 4w ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to then, that moment not included.")] = None,
    user: Annotated[str | None, typer.Option(help="This user only.")] = None,
    tenant: Annotated[str | None, typer.Option(help="This tenant only.")] = None,
    model: Annotated[str | None, typer.Option(help="This model only.")] = None,
    timezone: Annotated[
        str, typer.Option(help="Where days begin, and what dates are meant in: an IANA name, such as Europe/Berlin.")
    ] = "UTC",
    form: FormatOption = Format.TABLE,
) -> None:
    """Print what was used and what it cost, from the guards' database.

    A cost that is not known is shown as unknown, and never counted as zero.
    """
    from assistantguard.ledger import SqlLedger
    from assistantguard.policies.windows import time_zone

    with opened(database) as books:
        ledger = SqlLedger(books)
        zone = time_zone("--timezone", timezone)
        now = time.time()
        begin, end = moment("--since", since, zone, now), moment("--until", until, zone, now)
        if begin is not None and end is not None and begin >= end:
            raise ConfigurationError(f"--since {since} is not before --until {until}: nothing lies between them")
        names = [name.strip() for each in by or ["model"] for name in each.split(",")]
        wanted = {"user": user, "tenant": tenant, "model": model}
        only = {name: value for name, value in wanted.items() if value is not None}

        def sums(names: Sequence[str], begin: float | None, end: float | None) -> list[UsageRow]:
            groups: Any = [*names, *(name for name in only if name not in names)]
            return _only(ledger.usage(groups, since=begin, until=end, timezone=zone), groups, names, only)

        rows = sums(names, begin, end)
        if not rows and only and not sums([], None, None):
            who = ", ".join(f"{name} {value[:80]!r}" for name, value in only.items())
            raise ConfigurationError(f"nothing was ever booked for the {who}: see who is known with --by user")
        if not rows:
            say("nothing is booked in that time")
        _write(form, names, rows, {"since": begin, "until": end, "timezone": timezone, **wanted})


def _only(
    rows: Sequence[UsageRow], groups: Sequence[Grouping], names: Sequence[str], only: dict[str, str]
) -> list[UsageRow]:
    """The rows of those who are asked for, by the names that are asked for."""
    from dataclasses import replace

    from assistantguard.ledger.days import add_up

    places = [groups.index(name) for name in only]
    return add_up(
        replace(row, group=row.group[: len(names)])
        for row in rows
        if all(row.group[place] == only[groups[place]] for place in places)
    )


def _write(form: Format, names: Sequence[str], rows: Sequence[UsageRow], asked: dict[str, Any]) -> None:
    def cost(row: dict[str, Any]) -> str:
        if not row["unpriced"]:
            return dollars(row["cost"])
        unknown = f"{dollars(None)} ({row['unpriced']:,})"
        return unknown if row["cost"] is None else f"{dollars(row['cost'])} + {unknown}"

    lines = [_line(dict(zip(names, row.group, strict=True)), row) for row in rows]
    total = _total(lines)
    for line in (*lines, total):
        line["shown_cost"] = cost(line)
    figures = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "estimated_tokens")
    headings = ("requests", "input", "cached", "output", "reasoning", "estimated")
    columns = [Column(name, name) for name in names]
    columns += [Column(key, heading, number, right=True) for key, heading in zip(figures, headings, strict=True)]
    if form is Format.TABLE:
        columns.append(Column("shown_cost", "cost", str, right=True))
        if names:
            total[names[0]] = "all"
    else:
        columns += [Column("cost", "cost"), Column("unpriced", "unpriced")]
    for line in (*lines, total) if form is not Format.TABLE else ():
        del line["shown_cost"]
    if total["cached_replies"]:
        columns += [Column("cached_replies", "from cache", number, right=True)]
        columns += [Column("saved_tokens", "saved", number, right=True), Column("saved_cost", "cost saved", dollars)]
    document = {"by": names, **asked, "usage": lines, "total": total}
    write(form, columns, lines, title="Tokens and cost", document=document, total=total)


def _line(group: dict[str, Any], row: UsageRow) -> dict[str, Any]:
    usage = row.usage
    return {
        **group,
        "requests": row.requests,
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated_tokens": usage.estimated_tokens,
        "cost": None if row.unpriced == row.entries else row.cost,
        "unpriced": row.unpriced,
        "cached_replies": row.cached,
        "saved_tokens": row.saved_tokens,
        "saved_cost": row.saved_cost,
    }


def _total(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keys = (
        "requests",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "estimated_tokens",
        "unpriced",
        "cached_replies",
        "saved_tokens",
        "saved_cost",
    )
    total: dict[str, Any] = {key: sum(line[key] for line in lines) for key in keys}
    known = [line["cost"] for line in lines if line["cost"] is not None]
    total["cost"] = sum(known, Decimal(0)) if known or not lines else None
    return total
