"""The table: everything that goes wrong, where it can, and what it may end in."""

from __future__ import annotations

from collections.abc import Iterator

from tests.matrix.http_rows import http_rows
from tests.matrix.response_rows import response_rows
from tests.matrix.shape import Combination, Row

__all__ = ["CHOSEN", "COMBINATIONS", "ROWS"]

ROWS: tuple[Row, ...] = (*http_rows(), *response_rows())


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

_SAMPLE = {
    ("429", "once"),
    ("429", "stays"),
    ("401", "once"),
    ("dropped after the work", "once"),
    ("silent before the work", "once"),
}
"""One fault of each kind that any request can have."""
_HTTP_NAMES = {row.name for row in http_rows()}


def _is_chosen(one: Combination) -> bool:
    sampled = one.row.name not in _HTTP_NAMES or (one.row.name, one.often) in _SAMPLE
    return sampled or one.transition.matters == "paid"


CHOSEN: tuple[str, ...] = tuple(name for name, one in COMBINATIONS.items() if _is_chosen(one))
"""The ids of those that the test suite runs: at requests that make no answer, one fault of each kind."""
