"""A report's figures as charts for a page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assistantguard._text import number, share, when
from assistantguard.pages.axes import compact_dollars
from assistantguard.pages.charts import COLOURS, Chart, Mark, Series, column_chart, line_chart
from assistantguard.pages.rendering import Column, Table
from assistantguard.reports.books import OTHERS, dearness
from assistantguard.reports.tables import tallies_table
from assistantguard.reports.tally import Tally

if TYPE_CHECKING:
    from assistantguard.reports.lives import Life
    from assistantguard.reports.report import Report

__all__ = [
    "cost_chart",
    "estimates_chart",
    "life_chart",
    "life_charts",
    "steps_chart",
    "tokens_chart",
]

MOST_COLUMNS = 92
_MOST_STEPS = 40
_X_LABELS = 4


def cost_chart(report: Report) -> Chart:
    """Cost by day, or by week, month or year where there are many, with the dearest models apart."""
    heading, labels, place_of = _periods(report)
    models = sorted(report.books.models.items(), key=lambda item: dearness(item[1]), reverse=True)
    apart = [name for name, _ in models[: COLOURS if len(models) <= COLOURS else COLOURS - 1]]
    values = {name: [0.0] * len(labels) for name in [*apart, *([OTHERS] if len(models) > len(apart) else [])]}
    for (day, model), tally in report.books.cells.items():
        place = place_of(day)
        if place is not None:
            values[model if model in values else OTHERS][place] += float(tally.priced_cost)
    series = [Series(name or "-", each) for name, each in values.items()]
    unknown = sum(tally.unpriced for tally in report.books.cells.values())
    table = _period_table(report, f"Cost and tokens by {heading}", heading, labels, place_of)
    chart = column_chart(f"Cost by {heading}", labels, series, heading=heading, form=compact_dollars, table=table)
    if not unknown:
        return chart
    unit = "calls" if report.source == "requests" else "runs"
    return _with_note(chart, f"{unknown:,} {unit} of unknown price are not in it.")


def tokens_chart(report: Report) -> Chart:
    """Tokens by day, or by week, month or year where there are many."""
    heading, labels, place_of = _periods(report)
    names = ("input, not cached", "input, cached", "output")
    values = [[0.0] * len(labels) for _ in names]
    for (day, _), tally in report.books.cells.items():
        place = place_of(day)
        if place is not None:
            values[0][place] += tally.input_tokens - tally.cached_tokens
            values[1][place] += tally.cached_tokens
            values[2][place] += tally.output_tokens
    series = [
        Series(name, each, [number(round(value)) for value in each]) for name, each in zip(names, values, strict=True)
    ]
    return column_chart(f"Tokens by {heading}", labels, series, heading=heading)


def steps_chart(report: Report) -> Chart:
    """Runs by how many tool steps they took, and the ceiling that follows."""
    counts = report.steps.counts
    greatest = max(counts, default=0)
    last = min(greatest, _MOST_STEPS)
    values = [float(counts[steps]) for steps in range(last + 1)]
    labels = [str(steps) for steps in range(last + 1)]
    if greatest > last:
        values[-1] = float(sum(count for steps, count in counts.items() if steps >= last))
        labels[-1] = f"{last} or more"
    steps = report.steps
    summary = (
        f"p50 {steps.percentile(50)}, p90 {steps.percentile(90)}, p99 {steps.percentile(99)}."
        f" Suggested: ToolStepCeiling({steps.suggested_ceiling}), which is p99 + 2."
    )
    series = [Series("runs", values, [number(round(value)) for value in values])]
    return column_chart("Tool steps per run", labels, series, heading="steps", summary=summary)


def estimates_chart(report: Report) -> Chart:
    """Calls by how far their estimate was off."""
    estimates = report.estimates
    bins = range(-100, 101, 10)
    values = [float(sum(n for off, n in estimates.errors.items() if round(off / 10) * 10 == each)) for each in bins]
    labels = [f"{each:+d} %" if each else "0 %" for each in bins]
    while len(values) > 1 and not values[0] and not values[-1]:
        values, labels = values[1:-1], labels[1:-1]
    summary = (
        f"Before sending {number(estimates.estimated)} input tokens were expected, {number(estimates.reported)} were"
        f" reported: off by {share(estimates.error)} in sum. {share(estimates.within(5))} of {number(estimates.calls)}"
        f" calls were within 5 %, {share(estimates.within(20))} within 20 %;"
        f" {number(estimates.exact)} had been counted by the API."
    )
    series = [Series("calls", values, [number(round(value)) for value in values])]
    return column_chart("Estimated against reported tokens", labels, series, heading="estimate off by", summary=summary)


def life_charts(report: Report, most: int) -> list[Chart]:
    """The context of the dearest threads over their lives."""
    charts: list[Chart] = []
    for name, _ in report.books.threads.greatest(most, dearness):
        try:
            life = report.lives[name]
        except KeyError:
            continue
        charts.append(life_chart(name, life))
    return charts


def life_chart(name: str, life: Life) -> Chart:
    """The context of one thread over its life, with its rotations."""
    points = life.points()
    greatest = max((point.tokens for point in points), default=0)
    of_whom = f" of {life.user}" if life.user else ""
    summary = f"At most {number(greatest)} tokens, {number(life.rotations)} rotations."
    if life.left_out:
        summary += f" {number(life.left_out)} points between greater ones are left out."
    rows = [[when(point.time), number(point.tokens), "rotated" if point.rotated else ""] for point in points]
    columns = [Column("time (UTC)"), Column("context tokens", right=True), Column("event")]
    title = f"Thread {name}{of_whom}"
    return line_chart(
        title,
        [(point.time, float(point.tokens)) for point in points],
        x_labels=_times([point.time for point in points]),
        table=Table(title, columns, rows),
        marks=[
            Mark(point.time, f"rotated at {when(point.time)}, {number(point.tokens)} tokens")
            for point in points
            if point.rotated
        ],
        mark_name="rotation",
        summary=summary,
    )


def _times(times: Sequence[float]) -> list[str]:
    if not times:
        return []
    begin, end = times[0], times[-1]
    if begin == end:
        return [when(begin)]
    length = 10 if end - begin > 3 * 86_400 else 16
    moments = [begin + (end - begin) * place / (_X_LABELS - 1) for place in range(_X_LABELS)]
    return [when(moment)[:length][5:] for moment in moments]


def _with_note(chart: Chart, note: str) -> Chart:
    from dataclasses import replace

    return replace(chart, summary=f"{chart.summary} {note}")


def _period_table(
    report: Report, caption: str, heading: str, labels: Sequence[str], place_of: Callable[[str], int | None]
) -> Table:
    sums = [Tally() for _ in labels]
    elsewhere = Tally()
    for day, tally in report.books.days.items():
        place = place_of(day)
        (elsewhere if place is None else sums[place]).merge(tally)
    rows = list(zip(labels, sums, strict=True))
    if elsewhere.count:
        rows.append(("at other times, or at none", elsewhere))
    return tallies_table(caption, heading, rows, report)


def _periods(report: Report) -> tuple[str, list[str], Callable[[str], int | None]]:
    """What a column stands for, the labels, and which of them a day belongs to."""
    days = [parsed for day in report.books.days if (parsed := _parsed(day)) is not None]
    if not days:
        return "day", [], lambda _: None
    begin, end = days[0], days[-1]
    span = (end - begin).days + 1
    name: Callable[[dt.date], str]
    if span <= MOST_COLUMNS:
        heading, name = "day", dt.date.isoformat
    elif span <= 7 * MOST_COLUMNS:
        heading, name = "week", _week
    elif span <= 30 * MOST_COLUMNS:
        heading, name = "month", _month
    else:
        heading, name = "year", _year
    if heading == "year":
        labels = sorted({name(day) for day in days})[-MOST_COLUMNS:]
    else:
        labels = list(dict.fromkeys(name(begin + dt.timedelta(days=number)) for number in range(span)))
    places = {label: place for place, label in enumerate(labels)}

    def place_of(day: str) -> int | None:
        parsed = _parsed(day)
        return None if parsed is None else places.get(name(parsed))

    return heading, labels, place_of


def _parsed(day: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(day)
    except ValueError:
        return None


def _week(day: dt.date) -> str:
    return (day - dt.timedelta(days=min(day.weekday(), (day - dt.date.min).days))).isoformat()


def _month(day: dt.date) -> str:
    return day.isoformat()[:7]


def _year(day: dt.date) -> str:
    return day.isoformat()[:4]
