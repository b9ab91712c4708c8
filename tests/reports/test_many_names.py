"""Sums by name in flat memory are exact, and the life of a thread keeps its peaks."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.reports import Groups, Life, Tally, dearness
from assistantguard.reports.lives import MOST_POINTS

NAMES = st.sampled_from(["a", "b", "c", "", "\x00", "ü", "\ud800", "a\n"])
ADDED = st.lists(st.tuples(NAMES, st.integers(0, 10**15), st.decimals(0, 1000, places=7)), max_size=60)


@given(ADDED, st.integers(1, 4))
def test_however_little_is_held_in_memory_the_sums_are_the_same(
    added: list[tuple[str, int, Decimal]], most: int
) -> None:
    small, large = Groups(Tally, most), Groups(Tally, 10**6)
    for name, tokens, cost in added:
        for groups in (small, large):
            groups.at(name).merge(Tally(1, tokens, priced_cost=cost, unpriced=tokens % 2))
    assert dict(small.items()) == dict(large.items())
    assert len(small) == len(large)
    assert [dearness(tally) for _, tally in small.greatest(3, dearness)] == [
        dearness(tally) for _, tally in large.greatest(3, dearness)
    ]
    for name, _, _ in added:
        assert small[name] == large[name]
    small.close()


def test_names_can_be_added_to_after_they_were_read() -> None:
    groups = Groups(Tally, 1)
    for name in ("a", "b", "a"):
        groups.at(name).count += 1
    assert groups["a"].count == 2
    groups.at("a").count += 1
    assert {name: tally.count for name, tally in groups.items()} == {"a": 3, "b": 1}
    with pytest.raises(KeyError):
        groups["c"]
    groups.close()


def test_a_long_life_keeps_its_peak_every_part_and_every_rotation() -> None:
    life = Life()
    for number in range(10_000):
        life.add(float(number), 50_000 if number == 4321 else number % 100, rotated=number % 1000 == 999)
    points = life.points()
    assert len(points) <= MOST_POINTS
    assert max(point.tokens for point in points) == 50_000
    assert points[-1].time >= 9800
    assert points[len(points) // 2].time == pytest.approx(5000, abs=1500)
    assert life.rotations == 10
    assert sum(point.rotated for point in points) == 10
    assert life.left_out + len(points) == 10_000


def test_pieces_of_a_life_make_the_whole_in_the_order_of_time() -> None:
    whole, later = Life(), Life("ann")
    later.add(2.0, 20)
    whole.add(1.0, 10, rotated=True)
    whole.merge(Life.unpack(later.pack()))
    assert [(point.time, point.tokens, point.rotated) for point in whole.points()] == [(1, 10, True), (2, 20, False)]
    assert (whole.user, whole.rotations) == ("ann", 1)
