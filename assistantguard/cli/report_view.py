"""A report on the terminal."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from assistantguard._text import cost_text, dollars, number, share, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from assistantguard.reports import Groups, Report, RunLine, Tally

__all__ = ["report_view"]


def report_view(report: Report, *, most: int = 20) -> Group:
    """Lay out a report.

    Args:
        report: The figures.
        most: Threads and models to list, the dearest first; the rest is summed in one line.
    """
    from assistantguard.reports.books import dearness

    parts: list[RenderableType] = [_head(report), _happenings(report)]
    books = report.books
    if books.total.count:
        unit = "call" if report.source == "requests" else "run"
        parts.append(_tallies("Tokens and cost by model", "model", unit, books.models, books.total, most))
        if len(books.users) > 1 or "" not in dict(books.users.greatest(1, dearness)):
            parts.append(_greatest("Tokens and cost by user", "user", unit, books.users, most))
        parts.append(_greatest("Tokens and cost by thread", "thread", unit, books.threads, most))
    if report.tools:
        parts.append(_tools(report, most))
    if report.runs:
        parts.append(_runs("Slowest runs", report.slowest.items()))
        parts.append(_runs("Dearest runs", report.dearest.items()))
        parts.append(_steps(report))
    return Group(*parts)


def _head(report: Report) -> Text:
    span = ""
    if report.first_time is not None and report.last_time is not None:
        span = f", {_when(report.first_time)} to {_when(report.last_time)}"
    return Text(f"{number(report.events)} events{span}\n")


def _when(time: float) -> str:
    try:
        moment = dt.datetime.fromtimestamp(time, dt.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return f"time {time:g}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _happenings(report: Report) -> Table:
    from assistantguard.reports.happenings import happenings

    table = Table("what", "which", "count", title="What happened", title_justify="left")
    table.columns[2].justify = "right"
    for line in happenings(report):
        table.add_row(line.what, Text(shown(line.which)), line.count)
    if not table.row_count:
        table.add_row("-", "nothing to count", "0")
    return table


def _tallies(
    title: str,
    key: str,
    unit: str,
    tallies: Mapping[str, Tally],
    total: Tally | None,
    most: int,
    in_all: int | None = None,
) -> Table:
    from assistantguard.reports.books import dearness

    table = Table(title=title, title_justify="left")
    table.add_column(key, overflow="fold")
    for heading in (f"{unit}s", "input", "cached", "output", "reasoning", "estimated", "cost"):
        table.add_column(heading, justify="right")
    ordered = sorted(tallies.items(), key=lambda item: dearness(item[1]), reverse=True)
    in_all = len(ordered) if in_all is None else in_all
    for name, tally in ordered[:most]:
        table.add_row(Text(shown(name) or "-"), *_figures(tally, unit))
    if in_all > most:
        table.add_row(f"and {in_all - most:,} more", *[""] * 7)
    if total is not None:
        table.add_section()
        table.add_row("all", *_figures(total, unit))
    return table


def _greatest(title: str, key: str, unit: str, groups: Groups[Tally], most: int) -> Table:
    from assistantguard.reports.books import dearness

    return _tallies(title, key, unit, dict(groups.greatest(most, dearness)), None, most, len(groups))


def _figures(tally: Tally, unit: str) -> list[str]:
    cached = share(tally.cached_tokens / tally.input_tokens, 0) if tally.input_tokens else "-"
    return [
        number(tally.count),
        number(tally.input_tokens),
        cached,
        number(tally.output_tokens),
        number(tally.reasoning_tokens),
        number(tally.estimated_tokens),
        cost_text(tally.priced_cost, tally.unpriced, tally.count, unit),
    ]


def _tools(report: Report, most: int) -> Table:
    table = Table("tool", "calls", "failed", "seconds each", title="Tools", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, tool in sorted(report.tools.items(), key=lambda item: -item[1].calls)[:most]:
        table.add_row(Text(shown(name)), number(tool.calls), number(tool.failed), f"{tool.seconds / tool.calls:.2f}")
    return table


def _runs(title: str, runs: Sequence[RunLine]) -> Table:
    table = Table("run", "thread", "model", "status", title=title, title_justify="left")
    for heading in ("seconds", "tokens", "steps", "cost"):
        table.add_column(heading, justify="right")
    for run in runs:
        table.add_row(
            *(Text(shown(text)) for text in (run.run_id, run.thread_id, run.model, run.status)),
            f"{run.seconds:,.2f}",
            number(run.total_tokens),
            number(run.steps),
            dollars(run.cost),
        )
    return table


def _steps(report: Report) -> Text:
    steps = report.steps
    return Text(
        f"Tool steps per run: p50 {steps.percentile(50)}, p90 {steps.percentile(90)},"
        f" p99 {steps.percentile(99)}."
        f" Suggested: ToolStepCeiling({steps.suggested_ceiling})"
    )
