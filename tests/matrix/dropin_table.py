"""The same table for runs that are made through the drop-in, and polled from a process other than their own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from tests.matrix.http_rows import http_rows
from tests.matrix.response_rows import response_rows
from tests.matrix.shape import Combination, Often, Row, Transition

__all__ = ["CHOSEN", "COMBINATIONS", "statuses"]

_NO_SUCH_CALL = ("list for heal()", "answer for heal()")
"""Transitions of a call that the Assistants API does not have."""
_STATUSES = {
    "Reply": "completed",
    "Reply, incomplete": "incomplete",
    "RunIncomplete": "incomplete",
    "RunTimedOut": "expired",
    "ToolStepCeilingReached": "cancelled",
}


def statuses(combination: Combination) -> frozenset[str]:
    """What the run may end in: the official word for what a turn of the guard may end in."""
    return frozenset(_STATUSES.get(end, "failed") for end in combination.ends)


def _each(row: Row, transition: Transition, often: Often, number: int) -> Iterator[Combination]:
    """In one way of either colour, so that all come up in turn."""
    for shift, colour in enumerate(("sync", "async")):
        ways = [way for way in transition.ways if way in row.ways and way.colour == colour]
        if ways:
            yield Combination(row, transition, often, ways[(number + 2 * shift) % len(ways)])


def _combinations() -> Iterator[Combination]:
    numbers = count()
    for row in (*http_rows(), *response_rows()):
        for transition in row.transitions:
            for often in row.often:
                if often in transition.often and transition.name not in _NO_SUCH_CALL:
                    yield from _each(row, transition, often, next(numbers))


COMBINATIONS: dict[str, Combination] = {combination.id: combination for combination in _combinations()}
"""Every fault at every moment, each in two of the ways of calling, by their ids."""

CHOSEN: tuple[str, ...] = tuple(COMBINATIONS)[::71]
"""The ids of those that the test suite runs."""
