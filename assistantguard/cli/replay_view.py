"""A replay on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from assistantguard._text import dollars, number, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.replay import ComparedRow

__all__ = ["replay_view"]


def replay_view(rows: Sequence[ComparedRow]) -> Table:
    """Lay out the rows side by side."""
    table = Table(
        caption="saving: share of the input cost of none that is not spent (in all: output counted too)."
        " argument recall: share of the values in tool arguments, said earlier in the thread, that still"
        " stood in the model's context. stops: runs that the guard ended before their recorded answer; what they"
        " would have cost further is in no sum.",
        caption_justify="left",
    )
    table.add_column("row", no_wrap=True)
    for heading in (
        "model calls",
        "input tokens",
        "cached",
        "output tokens",
        "cost",
        "saving",
        "in all",
        "largest context",
        "argument recall",
        "rotations",
        "stops",
    ):
        table.add_column(heading, justify="right")
    for one in rows:
        row = one.row
        recall = row.argument_recall
        table.add_row(
            Text(row.name),
            number(row.model_calls),
            number(row.input_tokens),
            number(row.cached_tokens),
            number(row.output_tokens),
            dollars(row.cost),
            share(one.saving),
            share(one.total_saving),
            number(row.largest_context),
            "-" if recall is None else f"{recall:.4f}",
            number(row.rotations),
            number(row.stops),
        )
    return table
