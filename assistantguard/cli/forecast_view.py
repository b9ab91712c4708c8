"""Forecasts on the terminal, as CSV and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from assistantguard._text import clean, dollars, number, share
from assistantguard.cli.database import Column, Format, json_ready, write
from assistantguard.cli.output import stdout, write_json
from assistantguard.forecast import Capacity, Forecast, LimitFit, capacity_document, forecast_document, scenarios
from assistantguard.forecast.document import month_name, period_rows, variant_row

__all__ = ["write_capacity", "write_forecasts", "write_scenarios"]

_CENT = Decimal("0.01")
_MOST_COLUMNS = 6


def _money(amount: Decimal | None) -> str:
    """A sum for people: cents from ten of them on, and more decimals below."""
    return dollars(amount.quantize(_CENT) if amount is not None and abs(amount) >= _CENT * 10 else amount)


def _range(low: Decimal, high: Decimal) -> str:
    return f"{_money(low)} to {_money(high)}"


def _count(amount: float | None) -> str:
    return number(None if amount is None else round(amount))


def _say(text: str) -> None:
    stdout().print(Text(clean(text)), soft_wrap=True)


def write_forecasts(form: Format, found: Sequence[Forecast], about: Mapping[str, Any]) -> None:
    """Write forecasts to standard output.

    Args:
        form: As tables, as JSON, or as CSV: one line for each forecast and month.
        found: At least one.
        about: Of an example: what it is, what it assumes.
    """
    if form is Format.JSON:
        write_json(json_ready(forecast_document(found, about)))
        return
    if form is Format.CSV:
        names = {"model": "model", "rotation": "rotation", "caching": "caching"}
        rows = [
            {**{name: variant_row(each)[name] for name in names}, **row} for each in found for row in period_rows(each)
        ]
        write(form, [Column(name, name) for name in rows[0]], rows, title="", document={})
        return
    _say_about(about)
    if len(found) == 1:
        stdout().print(_months(found[0]))
    else:
        stdout().print(_side_by_side(found))
        if len(found) <= _MOST_COLUMNS:
            stdout().print(_months_of_all(found))
    for note in dict.fromkeys(note for each in found for note in each.notes):
        _say(f"- {note}")
    for method in dict.fromkeys(each.method for each in found):
        _say(f"- range: {method}")
    for unpriced in dict.fromkeys(each.unpriced for each in found if each.unpriced):
        _say(f"- the price of {', '.join(unpriced)} is unknown: what they cost is in no sum; give it with --price")


def _say_about(about: Mapping[str, Any]) -> None:
    if about:
        _say(f"{about['title']}\nassumed: {about['assumption']}\nguides: {about['guides']}\n")


def _months(forecast: Forecast) -> Table:
    table = Table(title=Text(clean(forecast.name)), title_justify="left")
    table.add_column("month")
    headings = ("users", "threads", "messages", "input", "read again", "cached", "output", "cost", "low", "high")
    for heading in (*headings, "a user", "a message"):
        table.add_column(heading, justify="right", no_wrap=True)
    for period, row in zip(forecast.periods, period_rows(forecast), strict=True):
        table.add_row(
            month_name(period),
            _count(period.users),
            _count(period.threads),
            _count(period.interactions),
            _count(period.input_tokens),
            _part(period.reread_tokens, period.input_tokens),
            _part(period.cached_tokens, period.input_tokens),
            _count(period.output_tokens),
            _money(period.cost),
            _money(period.low),
            _money(period.high),
            _money(row["cost_per_user"]),
            dollars(row["cost_per_interaction"]),
        )
    table.add_section()
    read = sum(period.input_tokens for period in forecast.periods)
    table.add_row(
        "all",
        "",
        "",
        _count(sum(period.interactions for period in forecast.periods)),
        _count(read),
        _part(sum(period.reread_tokens for period in forecast.periods), read),
        _part(sum(period.cached_tokens for period in forecast.periods), read),
        _count(sum(period.output_tokens for period in forecast.periods)),
        _money(forecast.cost),
        _money(forecast.low),
        _money(forecast.high),
        _money(forecast.cost_per_user),
        dollars(variant_row(forecast)["cost_per_interaction"]),
    )
    return table


def _part(part: float, whole: float) -> str:
    return share(part / whole if whole else None, 0)


def _side_by_side(found: Sequence[Forecast]) -> Table:
    table = Table(title=f"Side by side, {len(found[0].periods)} months", title_justify="left")
    for heading in ("", "model", "rotation", "prompt caching"):
        table.add_column(heading, overflow="fold")
    for heading in ("cost", "range", "a user and month", "a message", "read again"):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, each in enumerate(found, start=1):
        row = variant_row(each)
        table.add_row(
            str(place),
            Text(clean(each.model)),
            Text(each.rotation),
            Text(each.caching),
            _money(each.cost),
            _range(each.low, each.high),
            _money(row["cost_per_user"]),
            dollars(row["cost_per_interaction"]),
            share(row["reread_share"], 0),
        )
    return table


def _months_of_all(found: Sequence[Forecast]) -> Table:
    table = Table(title="Cost by month", title_justify="left")
    table.add_column("month")
    for place in range(len(found)):
        table.add_column(str(place + 1), justify="right", no_wrap=True)
    for place, period in enumerate(found[0].periods):
        table.add_row(month_name(period), *(_money(each.periods[place].cost) for each in found))
    return table


def write_capacity(form: Format, found: Capacity, about: Mapping[str, Any]) -> None:
    """Write what a wave needs to standard output.

    Args:
        form: As a table, as JSON, or as CSV: one line for each limit.
        found: What it needs.
        about: Of an example: what it is, what it assumes.
    """
    document = capacity_document(found, about)
    limits = [*found.limits, *([found.own] if found.own is not None else [])]
    if form is Format.JSON:
        write_json(json_ready(document))
        return
    if form is Format.CSV:
        rows = [*document["limits"], *([document["own_limit"]] if found.own is not None else [])]
        keys = ("name", "requests_per_minute", "tokens_per_minute", "suffices", "seconds")
        write(form, [Column(key, key) for key in keys], rows, title="", document={})
        return
    _say_about(about)
    wave = found.wave
    users = "1 user" if wave.users == 1 else f"{wave.users:,} users"
    _say(
        f"{users} at once on {wave.model}: {number(found.requests)} requests, {number(found.tokens)} tokens,"
        f" {_money(found.cost)} for all of them, {dollars(document['cost_per_user'])} each"
    )
    _say(
        f"to send them within {wave.within:g} s: {number(found.requests_per_minute)} requests and"
        f" {number(found.tokens_per_minute)} tokens a minute"
    )
    if limits:
        stdout().print(_limits(limits))
    if not found.limits:
        _say(f"the limits of {wave.model} are not published here: give --requests-per-minute and --tokens-per-minute")
    elif found.tier is None:
        _say("no published tier suffices: pace the requests, or ask for a higher limit")
    else:
        _say(f"tier {found.tier} suffices")


def _limits(limits: Sequence[LimitFit]) -> Table:
    table = Table(title="Limits", title_justify="left")
    table.add_column("tier")
    for heading in ("requests a minute", "tokens a minute", "suffices", "all sent after"):
        table.add_column(heading, justify="right")
    for fit in limits:
        time = "never: one request is more" if fit.seconds is None else f"{fit.seconds:,.1f} s"
        table.add_row(
            fit.name,
            number(fit.requests_per_minute),
            number(fit.tokens_per_minute),
            "yes" if fit.suffices else "no",
            "at once" if fit.seconds == 0 else time,
        )
    return table


def write_scenarios(form: Format) -> None:
    """Write the examples to standard output."""
    keys = ("name", "title", "assumption", "guides")
    rows = [{key: getattr(each, key) for key in keys} for each in scenarios()]
    if form is not Format.TABLE:
        write(form, [Column(key, key) for key in keys], rows, title="", document={"scenarios": rows})
        return
    for row in rows:
        _say(row["name"])
        for label, key in (("", "title"), ("assumed: ", "assumption"), ("guides: ", "guides")):
            _say(textwrap.indent(textwrap.fill(label + row[key], 100), "  "))
    _say("Run one with: assistantguard forecast --scenario NAME")
