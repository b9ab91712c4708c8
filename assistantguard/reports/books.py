"""Tokens and cost: in all, by day and model, by user, by thread."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.reports.groups import Groups
from assistantguard.reports.tally import Tally

if TYPE_CHECKING:
    from assistantguard.reports.record import Record

__all__ = ["MOST_CELLS", "OTHERS", "Books", "dearness"]

OTHERS = "(others)"
MOST_CELLS = 20_000
"""Pairs of a day and a model that are told apart; what comes after goes to ``(others)``."""


class Books:
    """Sums of what calls or runs used.

    Those by user and thread are exact and take bounded memory, however many there are. A day is ``2026-11-22``, or
    empty where an event has no time; a user is empty where none was named.
    """

    def __init__(self) -> None:
        self.total = Tally()
        self.cells: dict[tuple[str, str], Tally] = {}
        """By day and model."""
        self.users: Groups[Tally] = Groups(Tally)
        self.threads: Groups[Tally] = Groups(Tally)

    def of(self, day: str, model: str, user: str, thread: str) -> tuple[Tally, Tally, Tally, Tally]:
        """Where something is to be added."""
        cell = self.cells.get((day, model))
        if cell is None:
            key = (day, model) if len(self.cells) < MOST_CELLS else (OTHERS, OTHERS)
            cell = self.cells.setdefault(key, Tally())
        return self.total, cell, self.users.at(user), self.threads.at(thread)

    def add(self, record: Record, day: str) -> None:
        """Add what one call or run used."""
        for tally in self.of(day, record.model or "", record.user or "", record.thread_id or ""):
            tally.add(record)

    def correct(self, record: Record, day: str) -> None:
        """Replace what one call was booked with by what it turned out to have used, on the day when that was told."""
        for tally in self.of(day, record.model or "", record.user or "", record.thread_id or ""):
            tally.correct(record)

    @property
    def days(self) -> dict[str, Tally]:
        """By day, the earliest first."""
        return self._joined(0)

    @property
    def models(self) -> dict[str, Tally]:
        """By model."""
        return self._joined(1)

    def close(self) -> None:
        """Give temporary files back."""
        self.users.close()
        self.threads.close()

    def _joined(self, place: int) -> dict[str, Tally]:
        joined: dict[str, Tally] = defaultdict(Tally)
        for key in sorted(self.cells):
            joined[key[place]].merge(self.cells[key])
        return dict(joined)


def dearness(tally: Tally) -> tuple[Decimal, int]:
    """What lists of the dearest go by: cost, then tokens where the price is unknown."""
    return tally.priced_cost, tally.input_tokens + tally.output_tokens
