"""A forecast as a picture: an SVG, or a page of HTML with it and its figures. Nothing is loaded from anywhere.

The lines are what is likely, the bands are the ranges. Colours follow the reader's choice of light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from pathlib import Path

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.document import month_name
from assistantguard.forecast.result import Forecast

__all__ = ["forecast_html", "forecast_svg", "write_plot"]

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 20, 24, 46
_LIGHT = ("#0b63ce", "#b3450b", "#2d7d32", "#8a3ffc", "#a8123e", "#00695c")
_DARK = ("#7ab8ff", "#ffb07a", "#8fd694", "#c9a6ff", "#ff8fab", "#6fd3c3")
_DASHES = ("", "7 4", "2 4", "10 4 2 4", "4 2", "1 3")


def forecast_svg(forecasts: Sequence[Forecast], title: str = "Cost by month") -> str:
    """Draw forecasts as one SVG document.

    Args:
        forecasts: Side by side; all with the same periods.
        title: Of the picture.
    """
    top = _nice(max((float(period.high) for each in forecasts for period in each.periods), default=1.0))
    count = max((len(each.periods) for each in forecasts), default=1)
    plot_height = _HEIGHT - _TOP - _BOTTOM
    legend = _HEIGHT + 8
    height = legend + 22 * len(forecasts) + 8

    def x(place: int) -> str:
        inner = _WIDTH - _LEFT - _RIGHT
        return f"{_LEFT + inner * ((place + 0.5) / count):.1f}"

    def y(amount: Decimal) -> str:
        return f"{_TOP + plot_height * (1 - float(amount) / top):.1f}"

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
            ' aria-labelledby="plot-title plot-text" font-family="system-ui, sans-serif" font-size="13">'
        ),
        f'<title id="plot-title">{escape(title)}</title>',
        f'<desc id="plot-text">{escape(_in_words(forecasts))}</desc>',
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
    ]
    for step in range(5):
        amount = Decimal(top) * step / 4
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(amount)}" y2="{y(amount)}"/>',
            f'<text class="ink" x="{_LEFT - 8}" y="{y(amount)}" dy="4" text-anchor="end">{_dollars(amount)}</text>',
        ]
    labels = forecasts[0].periods if forecasts else ()
    every = math.ceil(count / 12)
    parts += [
        f'<text class="ink" x="{x(place)}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
        f"{escape(month_name(period)[:7])}</text>"
        for place, period in enumerate(labels)
        if place % every == 0
    ]
    for number, each in enumerate(forecasts):
        way = number % len(_LIGHT)
        places = list(enumerate(each.periods))
        above = [f"{x(place)},{y(period.high)}" for place, period in places]
        below = [f"{x(place)},{y(period.low)}" for place, period in reversed(places)]
        line = " ".join(f"{x(place)},{y(period.cost)}" for place, period in places)
        parts += [
            f'<polygon class="band way{way}" points="{" ".join(above + below)}"/>',
            f'<polyline class="line way{way}" points="{line}"/>',
        ]
        parts += [
            f'<circle class="dot way{way}" cx="{x(place)}" cy="{y(period.cost)}" r="3">'
            f"<title>{escape(month_name(period))}: {_dollars(period.cost)}"
            f" ({_dollars(period.low)} to {_dollars(period.high)})</title></circle>"
            for place, period in places
        ]
        at = legend + 22 * number + 10
        parts += [
            f'<line class="line way{way}" x1="{_LEFT}" x2="{_LEFT + 34}" y1="{at}" y2="{at}"/>',
            (
                f'<text class="ink" x="{_LEFT + 44}" y="{at + 4}">{escape(each.name)}: {_dollars(each.cost)}'
                f" ({_dollars(each.low)} to {_dollars(each.high)})</text>"
            ),
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def forecast_html(forecasts: Sequence[Forecast], title: str = "Cost by month") -> str:
    """Lay out forecasts as one HTML page: the picture, the figures, and how they were made."""
    names = "".join(f'<th scope="col">{escape(each.name)}</th>' for each in forecasts)
    rows = []
    for place, period in enumerate(forecasts[0].periods if forecasts else ()):
        cells = "".join(f"<td>{_with_range(each, place)}</td>" for each in forecasts)
        rows.append(f'<tr><th scope="row">{escape(month_name(period))}</th>{cells}</tr>')
    sums = "".join(
        f"<td>{_dollars(each.cost)}<br><small>{_dollars(each.low)} to {_dollars(each.high)}</small></td>"
        for each in forecasts
    )
    said = dict.fromkeys(
        note for each in forecasts for note in (*each.notes, *_unknown(each), f"Range: {each.method}.")
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in said)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  background: light-dark(#fff, #14171c); color: light-dark(#1c2024, #e8eaed); }}
svg {{ width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8886; vertical-align: top; }}
small {{ opacity: .85; }}
</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{forecast_svg(forecasts, title)}
<div class="wide" role="region" aria-label="Figures" tabindex="0">
<table>
<thead><tr><th scope="col">month</th>{names}</tr></thead>
<tbody>{"".join(rows)}</tbody>
<tfoot><tr><th scope="row">all</th>{sums}</tr></tfoot>
</table>
</div>
<ul>{notes}</ul>
</main>
</body>
</html>
"""


def write_plot(path: Path, forecasts: Sequence[Forecast], title: str = "Cost by month") -> None:
    """Write the picture to a file, as its ending says.

    Raises:
        ConfigurationError: The ending is neither ``.svg`` nor ``.html``.
        OSError: It cannot be written.
    """
    makers = {".svg": forecast_svg, ".html": forecast_html, ".htm": forecast_html}
    maker = makers.get(path.suffix.lower())
    if maker is None:
        raise ConfigurationError(f"the plot is {str(path)!r}, it must end in .svg or .html: name it so")
    path.write_text(maker(forecasts, title), encoding="utf-8")


def _with_range(forecast: Forecast, place: int) -> str:
    period = forecast.periods[place]
    return f"{_dollars(period.cost)}<br><small>{_dollars(period.low)} to {_dollars(period.high)}</small>"


def _unknown(forecast: Forecast) -> list[str]:
    return [f"The cost of {', '.join(forecast.unpriced)} is unknown and in no sum."] if forecast.unpriced else []


def _in_words(forecasts: Sequence[Forecast]) -> str:
    return " ".join(
        f"{each.name}: {_dollars(each.cost)} in all, between {_dollars(each.low)} and {_dollars(each.high)};"
        f" from {_dollars(each.periods[0].cost)} in the first month to {_dollars(each.periods[-1].cost)} in the last."
        for each in forecasts
        if each.periods
    )


def _dollars(amount: Decimal) -> str:
    if amount >= 10_000:
        return f"${amount:,.0f}"
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def _nice(highest: float) -> float:
    """The end of an axis: a round number that quarters well."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return float(next(step * power for step in (1, 2, 3, 4, 6, 8, 10) if step * power >= highest))


def _style() -> str:
    def ways(colours: Sequence[str]) -> str:
        return "".join(f".way{number}{{--way:{colour}}}" for number, colour in enumerate(colours))

    dashes = "".join(f".line.way{number}{{stroke-dasharray:{dash}}}" for number, dash in enumerate(_DASHES) if dash)
    return (
        "svg{--paper:#fff;--ink:#1c2024;--grid:#d5d9de}"
        + ways(_LIGHT)
        + "@media (prefers-color-scheme:dark){svg{--paper:#14171c;--ink:#e8eaed;--grid:#3a4048}"
        + ways(_DARK)
        + "}.paper{fill:var(--paper)}.ink{fill:var(--ink)}.grid{stroke:var(--grid)}"
        ".band{fill:var(--way);opacity:.14}.line{fill:none;stroke:var(--way);stroke-width:2.5}.dot{fill:var(--way)}"
        + dashes
    )
