"""The table: everything that goes wrong, where it can, and what it may end in."""

from __future__ import annotations

from collections.abc import Iterator

from tests.matrix.http_rows import http_rows
from tests.matrix.interrupt_rows import interrupt_rows
from tests.matrix.response_rows import response_rows
from tests.matrix.shape import Combination, Row, Way

__all__ = ["CHOSEN", "COMBINATIONS", "ROWS"]

ROWS: tuple[Row, ...] = (*http_rows(), *response_rows(), *interrupt_rows())


def _combinations() -> Iterator[Combination]:
    for row in ROWS:
        for transition in row.transitions:
            for often in row.often:
                if often not in transition.often:
                    continue
                for way in transition.ways:
                    if way in row.ways:
                        yield Combination(row, transition, often, way)


COMBINATIONS: dict[str, Combination] = {combination.id: combination for combination in _combinations()}
"""All combinations that can occur, by their ids."""

_HTTP_NAMES = {row.name for row in http_rows()}
_SAMPLE = {("429", "stays"), ("401", "once"), ("dropped after the work", "once")}
"""One fault of each kind that any request can have."""
_SILENT = ("silent before the work", {str(Way("sync")), str(Way("async", streamed=True, background=True))})
"""One that takes its time, and the ways in which it is tried where no answer is made."""


def _is_chosen(one: Combination) -> bool:
    name, often = one.row.name, one.often
    if name.startswith(("cut", "ended")):
        return often == "once"
    if name not in _HTTP_NAMES or (name, often) in _SAMPLE:
        return True
    if one.transition.matters == "paid":
        return often == "once" or name == "dropped before the work"
    return name == _SILENT[0] and str(one.way) in _SILENT[1]


CHOSEN: tuple[str, ...] = tuple(name for name, one in COMBINATIONS.items() if _is_chosen(one))[::11]
"""The ids of those that the test suite runs: at requests that make no answer one fault of each kind, and of the ways of
calling every eleventh, so that all ways come up in turn."""
