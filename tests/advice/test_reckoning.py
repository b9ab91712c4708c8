from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard import ThreadRotation
from assistantguard.advice import History, read_events
from assistantguard.advice.bill import Change, Reckoner
from tests.advice.histories import PRICES, Log, cost_of

TURNS = st.lists(st.tuples(st.integers(1, 3_000), st.integers(1, 900), st.integers(0, 4)), min_size=1, max_size=8)


def reckoner_of(log: Log, folder: Path) -> Reckoner:
    return Reckoner(read_events(log.write(folder / "events.jsonl")), PRICES)


@settings(max_examples=25)
@given(TURNS, st.integers(0, 2_000))
def test_with_nothing_changed_the_reckoning_is_what_was_booked(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int, int]], fixed: int
) -> None:
    log = Log(fixed)
    for message, answer, steps in turns:
        log.turn(message, answer, steps=steps)
    reckoner = reckoner_of(log, tmp_path_factory.mktemp("booked"))

    assert reckoner.booked == log.cost
    if fixed:
        assert reckoner.as_it_was.cost == log.cost
        assert reckoner.error == 0.0


def test_a_ceiling_takes_out_what_came_after_it_and_what_later_calls_read_of_that(tmp_path: Path) -> None:
    log = Log(fixed=100)
    log.turn(10, 50, steps=3, tool=200)
    log.turn(10, 50)
    saved = reckoner_of(log, tmp_path).saving(Change(ceiling=1))

    # Calls read 110, 330, 550, 770; the third and fourth go. The second turn then reads what the run had come to when
    # it was stopped (330 + 20 for the refused call + 18 for what answers it) and not 820.
    gone = cost_of(550, 0, 20) + cost_of(770, 0, 50)
    assert saved == gone + cost_of(830, 0, 50) - cost_of(330 + 20 + 18 + 10, 0, 50)


def test_a_rotation_reads_what_it_carries_in_place_of_the_history(tmp_path: Path) -> None:
    log = Log(fixed=100)
    for _ in range(3):
        log.turn(2_000, 50)
    reckoner = reckoner_of(log, tmp_path)
    change = Change(rotation=ThreadRotation(2), density=20.0)

    reckoned = reckoner.reckon(change)

    # The last turn does not fit the tail of 800 tokens and is cut to it; 20 times the square root of the other 3,300
    # tokens is 1,149. The rest of the calls is as it was.
    before = cost_of(100 + 2 * 2_050 + 2_000, 4_096, 50)
    assert reckoned.rotations == 1
    assert reckoned.cost is not None
    assert log.cost - reckoned.cost == before - cost_of(100 + 800 + 1_149 + 2_000, 0, 50)


def test_a_thread_without_a_known_price_is_left_out_and_noted(tmp_path: Path) -> None:
    log = Log(model="nobody-knows-it")
    log.turn(100)
    history = read_events(log.write(tmp_path / "events.jsonl"))
    reckoner = Reckoner(history, PRICES)

    assert reckoner.booked == Decimal(0)
    assert history.notes["threads with a call of unknown price, left out of the reckoning"] == 1


def test_an_empty_history_costs_nothing() -> None:
    reckoner = Reckoner(History("events"), PRICES)

    assert (reckoner.booked, reckoner.error, reckoner.as_it_was.calls) == (Decimal(0), 0.0, 0)
