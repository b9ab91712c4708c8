"""Charts as SVG, drawn without axes' text: the page sets that in HTML, where it stays readable on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from assistantguard._text import shown
from assistantguard.pages.axes import INTERVALS, compact, nice_axis
from assistantguard.pages.rendering import Column, Table

__all__ = ["Chart", "Mark", "Series", "column_chart", "line_chart"]

_WIDTH = 1000.0
_HEIGHT = 300.0
_GAP = 0.2
"""The part of a column's place that is left empty."""
_LABELS = 4
"""The most that stand below the horizontal axis."""
LONGEST = 200
"""Characters of a name that are shown."""
COLOURS = 6
"""Series that the stylesheet tells apart; it colours the seventh as the first."""


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn in one colour."""

    name: str
    values: Sequence[float | None]
    """None leaves a gap: it is unknown, not zero."""
    texts: Sequence[str] | None = None
    """The values as people read them, exact where `values` are rounded; None writes `values`."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on a line chart, drawn as an upright line."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, what stands beside it, and the same figures as a table."""

    title: str
    summary: str
    """What is to be seen, in words, for those who do not see it."""
    svg: Markup
    y_labels: tuple[str, ...]
    """From the top down, evenly spaced."""
    x_labels: tuple[str, ...]
    """From left to right, evenly spaced."""
    labels_all: bool
    """Whether every column has its label, which then stands below its middle."""
    legend: tuple[tuple[int, str], ...]
    """The number of the colour, and the series' name; empty where there is one series."""
    table: Table
    mark_name: str | None = None
    """What the upright lines stand for, where there are any."""


def column_chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    heading: str = "day",
    form: Callable[[float], str] = compact,
    summary: str | None = None,
    table: Table | None = None,
) -> Chart:
    """Columns, with the series of each label on top of one another.

    Args:
        title: What is shown.
        labels: What the columns stand for, in order.
        series: Each with one value per label.
        heading: What the labels are.
        form: Writes a value below the axis.
        summary: In words; without one the greatest column is named.
        table: The figures, where they are to be told otherwise than by one row per label.
    """
    sums = [sum(each.values[place] or 0.0 for each in series) for place in range(len(labels))]
    axis = nice_axis(max(sums, default=0.0))
    room = _WIDTH / max(len(labels), 1)
    parts: list[str] = []
    for place, label in enumerate(labels):
        bottom = 0.0
        for number, each in enumerate(series):
            value = each.values[place]
            if not value:
                continue
            height = _HEIGHT * (axis.part(bottom + value) - axis.part(bottom))
            top = _HEIGHT * (1 - axis.part(bottom)) - height
            bottom += value
            name = escape(shown(f"{label}, {each.name}: {_text(each, place, form)}", LONGEST))
            parts.append(
                f'<rect class="colour-{number % COLOURS + 1}" x="{room * (place + _GAP / 2):.2f}" y="{top:.2f}"'
                f' width="{room * (1 - _GAP):.2f}" height="{height:.2f}"><title>{name}</title></rect>'
            )
    if summary is None:
        summary = f"{len(labels)} columns."
        if any(sums):
            greatest = max(range(len(labels)), key=sums.__getitem__)
            summary = f"{len(labels)} columns; the highest is {labels[greatest]} with {form(sums[greatest])}."
    return Chart(
        title,
        summary,
        _svg(title, summary, parts),
        tuple(form(tick) for tick in reversed(axis.ticks)),
        _few(labels),
        len(labels) <= _LABELS,
        tuple((number % COLOURS + 1, each.name) for number, each in enumerate(series)) if len(series) > 1 else (),
        _table(title, heading, labels, series, form) if table is None else table,
    )


def line_chart(
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    x_labels: Sequence[str],
    table: Table,
    marks: Sequence[Mark] = (),
    mark_name: str | None = None,
    form: Callable[[float], str] = compact,
    summary: str,
) -> Chart:
    """One line over time.

    Args:
        title: What is shown.
        points: Where it goes: x and y, by x.
        x_labels: Below the axis, evenly spaced from the first x to the last.
        table: The figures.
        marks: Moments on the line's way.
        mark_name: What they stand for.
        form: Writes a value beside the axis.
        summary: In words.
    """
    axis = nice_axis(max((y for _, y in points), default=0.0))
    xs = [x for x, _ in points] + [mark.x for mark in marks]
    begin, end = min(xs, default=0.0), max(xs, default=0.0)
    width = (end - begin) or 1.0

    def across(x: float) -> float:
        return _WIDTH * (x - begin) / width if end > begin else _WIDTH / 2

    parts = [
        f'<line class="mark" x1="{across(mark.x):.2f}" x2="{across(mark.x):.2f}" y1="0" y2="{_HEIGHT:g}">'
        f"<title>{escape(shown(mark.text, LONGEST))}</title></line>"
        for mark in marks
    ]
    way = " ".join(f"{across(x):.2f},{_HEIGHT * (1 - axis.part(y)):.2f}" for x, y in points)
    if len(points) == 1:
        x, y = across(points[0][0]), _HEIGHT * (1 - axis.part(points[0][1]))
        way = f"{x - 5:.2f},{y:.2f} {x + 5:.2f},{y:.2f}"
    parts.append(f'<polyline class="line-1" points="{way}"/>')
    return Chart(
        title,
        summary,
        _svg(title, summary, parts),
        tuple(form(tick) for tick in reversed(axis.ticks)),
        tuple(x_labels),
        len(x_labels) == 1,
        (),
        table,
        mark_name if marks else None,
    )


def _svg(title: str, summary: str, parts: Sequence[str]) -> Markup:
    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH:g}" y1="{_HEIGHT * place / INTERVALS:g}"'
        f' y2="{_HEIGHT * place / INTERVALS:g}"/>'
        for place in range(INTERVALS + 1)
    )
    name = escape(shown(f"{title}. {summary}", 5 * LONGEST))
    return Markup(  # noqa: S704  numbers of ours, and texts that are escaped
        f'<svg role="img" aria-label="{name}" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}"'
        f' preserveAspectRatio="none">{grid}{"".join(parts)}</svg>'
    )


def _few(labels: Sequence[str]) -> tuple[str, ...]:
    """The first, the last, and some between."""
    if len(labels) <= _LABELS:
        return tuple(labels)
    last = len(labels) - 1
    return tuple(labels[round(last * place / (_LABELS - 1))] for place in range(_LABELS))


def _text(series: Series, place: int, form: Callable[[float], str]) -> str:
    if series.texts is not None:
        return series.texts[place]
    value = series.values[place]
    return "unknown" if value is None else form(value)


def _table(
    title: str, heading: str, labels: Sequence[str], series: Sequence[Series], form: Callable[[float], str]
) -> Table:
    columns = [Column(heading), *(Column(each.name, right=True) for each in series)]
    rows = [[label, *(_text(each, place, form) for each in series)] for place, label in enumerate(labels)]
    return Table(title, columns, rows)
