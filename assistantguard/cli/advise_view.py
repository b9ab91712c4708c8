"""Advice on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from assistantguard._text import dollars, number, share, shown, when

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.console import RenderableType

    from assistantguard.advice import Advice, Suggestion

__all__ = ["advise_view"]

_LONGEST = 2_000


def advise_view(advice: Advice) -> Group:
    """Lay out suggestions, the one that saves most first."""
    parts: list[RenderableType] = [_head(advice)]
    if advice.suggestions:
        table = Table(
            show_lines=True,
            caption="Savings are over the time of the data, and do not add up: each is of the bill as it is, with"
            " nothing else changed.",
            caption_justify="left",
        )
        table.add_column("saves", justify="right")
        table.add_column("of the bill", justify="right")
        table.add_column("between", justify="right")
        table.add_column("how sure")
        table.add_column("what to change", ratio=1)
        for each in advice.suggestions:
            table.add_row(
                dollars(each.saving) if each.saving is not None else "-",
                share(advice.share(each.saving)),
                "-" if each.low is None else f"{_short(each.low)}\n{_short(each.high)}",
                each.sureness,
                _what(each),
            )
        parts.append(table)
    else:
        parts.append(Text("Nothing was found that would change the bill by a hundredth.\n"))
    parts += [Text(shown(f"note: {note}: {count:,}", _LONGEST)) for note, count in sorted(advice.notes.items())]
    return Group(*parts)


def _head(advice: Advice) -> Text:
    span = ""
    if advice.first_time is not None:
        span = f", {when(advice.first_time)} to {when(advice.last_time)} UTC"
    return Text(
        f"{number(advice.calls)} model calls, {number(advice.turns)} turns, {number(advice.threads)} threads{span}:"
        f" {dollars(advice.cost)}. Billed anew with nothing changed, that is {share(advice.error)} off.\n"
    )


def _short(amount: Decimal | None) -> str:
    return dollars(amount)


def _what(each: Suggestion) -> Text:
    text = Text(shown(each.title, _LONGEST))
    text.append("\n" + shown(each.setting, _LONGEST), style="bold")
    text.append("\n" + shown(each.evidence, _LONGEST) + ".")
    text.append("\n" + shown(each.method, _LONGEST), style="dim")
    return text
