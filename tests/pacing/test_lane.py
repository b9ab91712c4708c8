"""The rule of pacing, on a scripted clock."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.models.rates import RatesTold
from assistantguard.pacing import Ask, Lane, Limits, NoRoom, Permit
from assistantguard.pacing.window import Window

START = 1_700_000_000.0
FAR = START + 1e6
numbers = itertools.count()


def ask(tokens: int = 100, account: str = "a", *, priority: int = 0, until: float = FAR, owner: str = "p") -> Ask:
    return Ask(f"ticket_{next(numbers)}", owner, account, tokens, 0, priority, until)


class Clocked:
    """A lane, its clock, and what was sent when."""

    def __init__(self, limits: Limits) -> None:
        self.lane = Lane()
        self.limits = limits
        self.now = START
        self.sent: list[tuple[float, Ask, Permit]] = []
        self.waiting: dict[str, Ask] = {}

    def ask(self, asked: Ask, most: int | None = None) -> Permit | float | NoRoom:
        outcome = self.lane.ask(asked, self.limits, most, self.now)
        if isinstance(outcome, Permit):
            self.sent.append((self.now, asked, outcome))
        elif isinstance(outcome, float):
            self.waiting[asked.id] = asked
        return outcome

    def look(self) -> list[str]:
        permits, _ = self.lane.collect("p", self.now)
        for id_, permit in permits.items():
            self.sent.append((self.now, self.waiting.pop(id_), permit))
        return list(permits)

    def drain(self, most: float = 3_600.0) -> None:
        until = self.now + most
        while self.waiting and self.now < until:
            self.now += 0.25
            self.look()

    def most_in_a_minute(self) -> tuple[int, int]:
        """Requests and tokens of the fullest minute."""
        requests = tokens = 0
        for begin, _, _ in self.sent:
            within = [permit for at, _, permit in self.sent if begin <= at < begin + 60]
            requests, tokens = max(requests, len(within)), max(tokens, sum(permit.tokens for permit in within))
        return requests, tokens


@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from("abc"), st.floats(0, 20), st.integers(-2, 2)), max_size=60),
    st.integers(1, 12),
    st.integers(1_000, 3_000),
)
def test_no_minute_has_more_than_the_limit_and_nobody_starves(
    asked: list[tuple[int, str, float, int]], requests: int, tokens: int
) -> None:
    clocked = Clocked(Limits(requests, tokens))
    for size, account, pause, priority in asked:
        clocked.now += pause
        clocked.look()
        assert not isinstance(clocked.ask(ask(size, account, priority=priority)), NoRoom)
        clocked.lane = Lane(json.loads(json.dumps(clocked.lane.document())))  # as another process would find it
    clocked.drain()
    assert len(clocked.sent) == len(asked)
    most_requests, most_tokens = clocked.most_in_a_minute()
    assert most_requests <= requests
    assert most_tokens <= tokens


@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(1, 900), st.floats(0, 3)), min_size=1, max_size=60),
    st.booleans(),
)
def test_what_was_really_used_passes_the_limit_by_no_more_than_the_estimates_of_those_in_flight_were_wrong(
    asked: list[tuple[int, int, float]], one_at_a_time: bool
) -> None:
    clocked = Clocked(Limits(None, 2_000))
    real: dict[str, int] = {}
    settled = most_in_flight = 0

    def settle() -> None:
        nonlocal settled, most_in_flight
        most_in_flight = max(most_in_flight, len(clocked.sent) - settled)
        for _, one, permit in clocked.sent[settled:]:
            clocked.lane.settle(permit, real[one.id], None, None, clocked.now)
        settled = len(clocked.sent)

    for expected, used, pause in asked:
        one = ask(expected)
        real[one.id] = used
        clocked.ask(one)
        clocked.now += pause
        if one_at_a_time:
            clocked.drain()
        clocked.look()
        settle()
    wrong = max(max(0, used - expected) for expected, used, _ in asked)
    assert most_in_flight <= 1 or not one_at_a_time
    for begin, _, _ in clocked.sent:
        within = [real[one.id] for at, one, _ in clocked.sent if begin <= at < begin + 60]
        assert sum(within) <= 2_000 + wrong * most_in_flight


def test_a_burst_takes_no_longer_than_its_tokens_need() -> None:
    clocked = Clocked(Limits(None, 10_000))
    for _ in range(250):
        clocked.ask(ask(100))
    clocked.drain()
    assert len(clocked.sent) == 250
    assert clocked.now - START <= 1.1 * 60 * 25_000 / 10_000


def test_a_light_accounts_request_passes_the_queue_of_a_heavy_one() -> None:
    clocked = Clocked(Limits(None, 1_000))
    for _ in range(100):
        clocked.ask(ask(100, "heavy"))
    light = ask(100, "light")
    clocked.ask(light)
    clocked.drain()
    order = [one.account for _, one, _ in clocked.sent]
    assert order.index("light") == 10  # the first ten were sent at once


def test_who_comes_later_with_a_single_request_waits_less_than_a_tenth_as_long_as_the_heavy_ones() -> None:
    clocked, asked_at, light = Clocked(Limits(None, 8_500, 0.5)), {}, 0
    for number in range(90):
        clocked.ask(ask(100, f"heavy {number % 10}"))
    while clocked.waiting:
        clocked.now += 0.25
        clocked.look()
        if light < 10 and clocked.now - START >= 4.5 * light:
            late = ask(100, f"light {light}")
            asked_at[late.id], light = clocked.now, light + 1
            clocked.ask(late)
    waits = {one.id: at - asked_at.get(one.id, START) for at, one, _ in clocked.sent}
    longest = max(wait for id_, wait in waits.items() if id_ in asked_at)
    assert len(waits) == 100
    assert longest < max(waits.values()) / 10


@given(st.floats(0.2, 8), st.integers(1, 20), st.integers(20, 200))
def test_a_stream_of_accounts_that_ask_once_each_keeps_nobody_waiting_for_ever(
    pause: float, most: int, size: int
) -> None:
    clocked = Clocked(Limits(None, 1_000))
    mine = [ask(100, "heavy") for _ in range(12)]
    for one in mine:
        assert not isinstance(clocked.ask(one), NoRoom)
    longest = most + len(mine)
    while mine[-1].id in clocked.waiting:
        clocked.now += pause
        clocked.look()
        if clocked.lane.waiting < longest:
            clocked.ask(ask(size, f"once {next(numbers)}"))
        assert sum(permit.tokens for _, _, permit in clocked.sent) <= 100 * len(mine) * (longest + 1)


def test_priority_is_a_head_start() -> None:
    clocked = Clocked(Limits(None, 6_000))
    for _ in range(80):
        clocked.ask(ask(100))
    urgent = ask(100, priority=1)
    clocked.ask(urgent)
    clocked.drain()
    order = [one.id for _, one, _ in clocked.sent]
    assert (
        order.index(urgent.id) == 71
    )  # sixty were sent at once, and of the twenty others it passes those of the last ten seconds


def test_what_is_given_back_lets_the_next_one_in_at_once() -> None:
    clocked = Clocked(Limits(None, 1_000))
    first = clocked.ask(ask(800))
    assert isinstance(first, Permit)
    clocked.ask(ask(800))
    assert clocked.look() == []
    clocked.lane.settle(first, 100, None, None, clocked.now)
    assert len(clocked.look()) == 1


def test_a_request_that_was_not_sent_counts_for_nothing() -> None:
    clocked = Clocked(Limits(1, None))
    first = clocked.ask(ask())
    assert isinstance(first, Permit)
    clocked.lane.give_back(first)
    assert isinstance(clocked.ask(ask()), Permit)


def test_who_cannot_be_served_in_time_is_refused_at_once_with_the_time() -> None:
    clocked = Clocked(Limits(None, 1_000))
    clocked.ask(ask(950))
    refused = clocked.ask(ask(500, until=START + 30))
    assert isinstance(refused, NoRoom)
    assert refused.available_at == pytest.approx(START + 60, abs=1)
    assert clocked.lane.waiting == 0


def test_a_request_larger_than_a_minute_is_never_possible() -> None:
    refused = Clocked(Limits(None, 1_000)).ask(ask(1_000))
    assert isinstance(refused, NoRoom)
    assert refused.available_at is None


def test_the_queue_has_a_bound() -> None:
    clocked = Clocked(Limits(1, None))
    clocked.ask(ask())
    assert isinstance(clocked.ask(ask(), 1), float)
    assert isinstance(clocked.ask(ask(), 1), NoRoom)


def test_who_leaves_makes_room() -> None:
    clocked = Clocked(Limits(None, 1_000))
    clocked.ask(ask(950))
    first, second = ask(900), ask(900)
    clocked.ask(first)
    clocked.ask(second)
    assert clocked.lane.leave(first.id, clocked.now) is not None
    assert not clocked.lane.holds(first.id)
    del clocked.waiting[first.id]
    clocked.now += 61
    assert clocked.look() == [second.id]


def test_those_of_a_dead_process_are_passed() -> None:
    clocked = Clocked(Limits(1, None))
    clocked.ask(ask())
    clocked.lane.ask(ask(owner="dead"), clocked.limits, None, clocked.now)
    living = ask()
    clocked.ask(living)
    clocked.now += 61
    assert clocked.look() == [living.id]


def told(**values: Any) -> RatesTold:
    return RatesTold(**values)


def test_limits_are_learned_from_the_server() -> None:
    clocked = Clocked(Limits())
    first = clocked.ask(ask(100))
    assert isinstance(first, Permit)
    clocked.lane.settle(first, 100, None, told(requests=500, tokens=1_000, requests_left=499, tokens_left=900), START)
    assert clocked.lane.limits(START) == Limits(500, 1_000)
    outcomes = [clocked.ask(ask(300)) for _ in range(4)]
    assert [type(outcome) for outcome in outcomes] == [Permit, Permit, Permit, float]


def test_what_others_use_of_the_same_limit_counts_and_comes_back() -> None:
    clocked = Clocked(Limits(None, 1_000))
    first = clocked.ask(ask(100))
    assert isinstance(first, Permit)
    others = told(tokens=1_000, tokens_left=100, tokens_reset=30.0)
    clocked.lane.settle(first, 100, None, others, START)
    assert isinstance(clocked.ask(ask(200)), float)
    clocked.now += 15
    assert len(clocked.look()) == 1


def test_few_are_sent_until_something_is_known_of_the_limits() -> None:
    clocked = Clocked(Limits())
    outcomes = [clocked.ask(ask()) for _ in range(20)]
    assert [isinstance(outcome, Permit) for outcome in outcomes].count(True) == 8
    permit = clocked.sent[0][2]
    clocked.lane.settle(permit, 100, None, None, START)  # a server that tells nothing
    assert len(clocked.look()) == 12


@pytest.mark.parametrize(("overloaded", "recovery"), [(False, 61), (True, 900)])
def test_after_a_refusal_it_goes_slower_and_recovers(recovery: float, *, overloaded: bool) -> None:
    clocked = Clocked(Limits(None, 1_000))
    permit = clocked.ask(ask(100))
    assert isinstance(permit, Permit)
    clocked.lane.refused(permit, 2.0, None, START, overloaded=overloaded)
    assert isinstance(clocked.ask(ask(100)), float)
    slow = clocked.lane.limits(START).tokens
    assert slow is not None
    assert slow < 1_000
    clocked.now += 2.0
    assert len(clocked.look()) == 1
    later = clocked.lane.limits(START + recovery / 2).tokens
    assert later is not None
    assert later > slow
    assert clocked.lane.limits(START + max(recovery, 130)).tokens == 1_000


def test_a_server_that_counts_what_an_answer_may_have_is_believed() -> None:
    lane = Lane()
    asked = Ask("1", "p", "a", 100, 5_000, 0, FAR)
    permit = lane.ask(asked, Limits(None, 10_000), None, START)
    assert isinstance(permit, Permit)
    assert permit.tokens < 5_100
    counted = told(tokens=10_000, tokens_left=9_000, tokens_counted=5_100)
    lane.refused(permit, 0.0, counted, START, overloaded=False)
    again = lane.ask(Ask("2", "p", "a", 100, 5_000, 0, FAR), Limits(None, 10_000), None, START + 1)
    assert isinstance(again, Permit)
    assert again.tokens == 5_100


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 1_000), st.integers(0, 3)), max_size=40))
def test_a_window_never_counts_less_than_the_last_minute(sent: list[tuple[float, int, int]]) -> None:
    window, now = Window(), START
    log: list[tuple[float, int, int]] = []
    for pause, tokens, requests in sent:
        now += pause
        window.roll(now)
        window.add(now, tokens, requests)
        log.append((now, tokens, requests))
        since = [one for one in log if one[0] > now - 60]
        assert window.tokens >= sum(one[1] for one in since)
        assert window.requests >= sum(one[2] for one in since)
        at_most = [one for one in log if one[0] > now - 61]
        assert window.tokens <= sum(one[1] for one in at_most)


@pytest.mark.parametrize("size", [100, 300, 900])
@pytest.mark.parametrize("burst", [0.1, 0.5, 1.0])
def test_however_it_is_spread_a_burst_takes_no_longer_than_its_tokens_need(size: int, burst: float) -> None:
    clocked = Clocked(Limits(None, 2_000, burst))
    count = 6_000 // size
    for _ in range(count):
        clocked.ask(ask(size))
    clocked.drain()
    assert len(clocked.sent) == count
    assert clocked.now - START <= 1.1 * 60 * count * size / 2_000
    assert clocked.most_in_a_minute()[1] <= 2_000


def test_who_comes_later_finds_a_turn_soon_where_the_rest_is_spread() -> None:
    clocked = Clocked(Limits(None, 10_000, 0.5))
    for _ in range(200):
        clocked.ask(ask(100, "heavy"))
    waits = []
    for number in range(20):
        light = ask(100, f"light {number}")
        outcome, begun = clocked.ask(light), clocked.now
        while isinstance(outcome, float) and light.id in clocked.waiting:
            clocked.now += 0.25
            clocked.look()
        waits.append(clocked.now - begun)
        clocked.now += 3
    assert max(waits) < 0.1 * 60
