"""What the demo prints, at 80 columns and without a terminal too."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from assistantguard.models import Usage

__all__ = ["Stage", "dollars"]

_WIDEST = 100
_FIGURES = 33
"""Columns of a turn's line that hold figures."""


def dollars(amount: Decimal | None) -> str:
    """An amount for people; an unknown one is not zero."""
    return "unknown" if amount is None else f"${amount:.4f}"


class Stage:
    """Prints the demo.

    Args:
        console: Where to; None is standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._width = min(self._console.width, _WIDEST)

    def title(self, text: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.rule(Text(self._plain(text), style="bold"), characters="=", align="left")

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._console.print(Text(self._plain(text)), width=self._width)

    def turn(self, number: int, user: str, usage: Usage, cost: Decimal | None) -> None:
        """Print a turn as one line: what was asked, model calls, input tokens, cost."""
        room = self._width - _FIGURES - 4
        line = Text(f"{number:3} ", style="dim")
        line.append(_cut(self._plain(user), room).ljust(room), style="default")
        calls = f"{usage.requests:3} call{'s' if usage.requests != 1 else ' '}"
        line.append(f"{calls}{usage.input_tokens:9,} in {dollars(cost):>9}", style="dim")
        self._console.print(line, width=self._width, no_wrap=True, overflow="crop")

    def moment(self, title: str, *lines: str, style: str = "cyan") -> None:
        """Print something special as a panel."""
        panel = Panel(
            Text(self._plain("\n".join(lines))),
            title=Text(self._plain(title)),
            title_align="left",
            border_style=style,
            box=box.ROUNDED,
            width=self._width,
        )
        self._console.print(panel)

    def bills(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print the bills side by side."""
        table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def _plain(self, text: str) -> str:
        """The text in characters that the output's encoding has."""
        encoding = self._console.encoding
        return text.encode(encoding, "replace").decode(encoding)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."
