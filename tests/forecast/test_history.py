from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard import ConfigurationError, Price, PriceBook, ThreadRotation, Usage
from assistantguard.forecast import (
    HistoryOptions,
    RunShape,
    ThreadTerms,
    forecast_from_history,
    history_of_entries,
    read_events,
    thread_cost,
)
from assistantguard.forecast.activity import ThreadActivity, fit_arrivals, fit_threads
from assistantguard.ledger import Entry

DAY = 86_400.0
START = 1_795_000_000.0
BOOK = PriceBook({"plain": Price(input="1", cached_input="0.1", output="4"), "dear": Price(input="10", output="40")})


def entries(
    times: Iterable[float], thread: str = "t", *, user: str | None = "u", model: str = "plain", **terms: Any
) -> list[Entry]:
    """A thread whose messages have 100 tokens and whose answers have 200, billed as they are."""
    times = list(times)
    prices = terms.pop("prices", BOOK)
    runs = thread_cost(ThreadTerms("plain", 300, prices=prices, **terms), [RunShape.of(100, 200)] * len(times)).runs
    return [
        Entry(START + time * DAY, thread, f"{thread}-{place}", 1, model, run.usage, run.cost, user=user)
        for place, (time, run) in enumerate(zip(times, runs, strict=True))
    ]


def daily(days: int, a_day: int = 4, begin: float = 0.0) -> list[float]:
    return [begin + number / a_day + 0.1 for number in range(days * a_day)]


def bill_after(rows: Sequence[Entry], day: float) -> Decimal:
    return sum((row.cost or Decimal(0) for row in rows if row.time >= START + day * DAY), Decimal(0))


def rest_of(rows: Sequence[Entry], known: int, days: int, **options: Any) -> Any:
    """The forecast of the days after those that are known."""
    past = [row for row in rows if row.time < START + known * DAY]
    history = history_of_entries(past, begins=START, ends=START + known * DAY)
    asked = HistoryOptions(months=1, period_days=Decimal(days - known), **options)
    return forecast_from_history(history, asked, prices=BOOK)


def off_by(found: Any, bill: Decimal) -> float:
    return abs(float(found.cost / bill - 1))


def test_long_threads_are_forecast_to_cost_more_with_each_message() -> None:
    rows = [
        row for user in range(6) for row in entries(daily(30, 2 + user % 3), f"t{user}", user=f"u{user}", caching=None)
    ]
    (found,) = rest_of(rows, 10, 30)
    before = sum((row.cost or Decimal(0) for row in rows), Decimal(0)) - bill_after(rows, 10)
    assert off_by(found, bill_after(rows, 10)) < 0.08
    assert found.cost > 3 * before, "the same traffic at the same cost would be twice as much"
    assert found.low < found.cost < found.high


def test_threads_that_rotate_are_forecast_to_stay_as_they_are() -> None:
    rotation = ThreadRotation(8)
    rows = [row for user in range(6) for row in entries(daily(30, 3), f"t{user}", user=f"u{user}", rotation=rotation)]
    (found,) = rest_of(rows, 10, 30)
    assert off_by(found, bill_after(rows, 10)) < 0.05
    assert any("rotations after about 8 turns" in note for note in found.notes)


def test_a_thread_that_was_left_costs_nothing_more_and_new_ones_become_like_the_old() -> None:
    rows = []
    for number in range(120):
        begin = number / 4
        rows += entries([begin + step / 500 for step in range(5)], f"t{number}", user=f"u{number % 30}")
    (found,) = rest_of(rows, 10, 30)
    assert off_by(found, bill_after(rows, 10)) < 0.05
    assert found.periods[0].interactions == pytest.approx(80 * 5, rel=0.06)


def test_growth_is_seen_where_it_is_clear_and_fades() -> None:
    starts = [(1.5 * number) ** 0.8 for number in range(60)]
    last = max(starts)
    fit = fit_arrivals(starts, 0.0, last)
    assert fit.growth > 0
    assert fit.between(0, 1) < fit.between(30, 31) < fit.between(300, 301)
    assert fit.between(3_000, 3_001) < 1.01 * fit.between(2_000, 2_001)


def test_chance_is_not_taken_for_a_trend() -> None:
    clear = fit_arrivals([number / 4 + 0.125 for number in range(40)], 0.0, 10.0)
    assert abs(clear.growth) < 0.005
    assert clear.rate == pytest.approx(4, rel=0.05)
    rough = fit_arrivals([0.1, 0.2, 0.3, 5.0, 5.1, 9.0, 9.5, 9.6, 9.7, 9.8], 0.0, 10.0)
    assert 0 < rough.growth < 0.03
    assert rough.growth_error > 0.05


def test_growth_that_is_given_goes_before_the_trend() -> None:
    rows = []
    for number in range(120):
        rows += entries([number / 4, number / 4 + 0.01], f"t{number}", user=f"u{number % 30}")
    known = [row for row in rows if row.time < START + 30 * DAY]
    history = history_of_entries(known, begins=START, ends=START + 30 * DAY)
    (flat,) = forecast_from_history(history, HistoryOptions(growth=0.0), prices=BOOK)
    (doubled,) = forecast_from_history(history, HistoryOptions(growth=1.0), prices=BOOK)
    assert flat.periods[11].cost == pytest.approx(flat.periods[1].cost, rel=Decimal("0.02"))
    assert doubled.periods[11].cost == pytest.approx(doubled.periods[10].cost * 2, rel=Decimal("0.02"))


def test_threads_that_were_there_before_the_history_are_no_arrivals() -> None:
    rows = [row for user in range(20) for row in entries(daily(10, 3, user / 80), f"t{user}", user=f"u{user}")]
    (found,) = rest_of(rows, 10, 30)
    assert any("0.0 new threads a day" in note for note in found.notes)
    assert found.periods[0].interactions == pytest.approx(20 * 3 * 20, rel=0.06)


def test_other_models_and_rotations_stand_beside_what_is_in_use() -> None:
    rows = [row for user in range(4) for row in entries(daily(20, 4), f"t{user}", user=f"u{user}")]
    found = rest_of(rows, 20, 40, models=("dear",), rotations=("default",))
    assert [each.name for each in found] == [
        "plain, rotation as seen, prompt caching as seen",
        "plain, rotation default, prompt caching as seen",
        "dear, rotation as seen, prompt caching as seen",
        "dear, rotation default, prompt caching as seen",
    ]
    costs = [each.cost for each in found]
    assert costs[1] < costs[0] < costs[3] < costs[2]


def test_users_are_counted_where_the_books_name_them() -> None:
    rows = [row for user in range(4) for row in entries(daily(40, 2), f"t{user}", user=f"u{user}")]
    (found,) = rest_of(rows, 40, 70)
    assert found.periods[0].users == pytest.approx(4, rel=0.1)
    assert found.periods[0].threads == pytest.approx(4, rel=0.1)
    (nameless,) = rest_of([*rows, *entries(daily(40), "x", user=None)], 40, 70)
    assert nameless.cost_per_user is None
    assert nameless.cost_per_interaction is not None


def test_a_cost_that_is_unknown_is_named_and_is_in_no_sum() -> None:
    rows = entries(daily(10), "t1")
    other = [
        Entry(row.time, "t2", f"x{row.run_id}", 1, "gpt-0-none", row.usage, None, user="u2")
        for row in entries(daily(10), "t2")
    ]
    (found,) = rest_of([*rows, *other], 10, 20)
    (alone,) = rest_of(rows, 10, 20)
    assert found.unpriced == ("gpt-0-none",)
    assert float(found.cost / alone.cost) == pytest.approx(1)
    with pytest.raises(ConfigurationError, match="no model in the history has a known price"):
        rest_of(other, 10, 20)


def test_vector_stores_are_on_top() -> None:
    rows = entries(daily(10))
    (plain,) = rest_of(rows, 10, 20)
    (stored,) = rest_of(rows, 10, 20, vector_gigabytes=3.0)
    assert stored.cost - plain.cost == Decimal(2)  # two gigabytes above the free one, for ten days at $0.10


def test_attempts_that_failed_and_summaries_are_billed_but_are_no_part_of_the_conversation() -> None:
    usage = Usage(400, 0, 0, 10, 0, 0, 1)
    rows = [
        Entry(START, "t", "r1", 1, "plain", usage, Decimal("0.1"), user="u"),
        Entry(START + 60, "t", "r1", 2, "plain", usage, Decimal("0.2"), user="u"),
        Entry(START + 90, "t", "r1", 2, "plain", Usage(50, 0, 0, 1, 0, 0, 1), Decimal("0.4"), "summary", user="u"),
    ]
    (thread,) = history_of_entries(rows).threads
    (run,) = thread.runs
    assert [call.cost for call in run.calls] == [Decimal("0.2")]
    assert sorted(call.cost or Decimal(0) for call in run.extra) == [Decimal("0.1"), Decimal("0.4")]


def test_what_was_billed_beside_the_conversation_is_forecast_too() -> None:
    rows = entries(daily(20), caching=None)
    twice = [*rows, *(Entry(row.time, "t", row.run_id, 0, "plain", row.usage, row.cost, user="u") for row in rows)]
    (once,), (both,) = rest_of(rows, 10, 20), rest_of(twice, 10, 20)
    assert float(both.cost / once.cost) == pytest.approx(2, rel=0.01)


def test_a_history_comes_from_events(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = entries(daily(12), "t1", user=None)
    lines = [
        {
            "event": "request.settled",
            "time": row.time,
            "thread_id": row.thread_id,
            "run_id": row.run_id,
            "model": row.model,
            "input_tokens": row.usage.input_tokens,
            "cached_tokens": row.usage.cached_tokens,
            "output_tokens": row.usage.output_tokens,
            "cost": str(row.cost),
        }
        for row in rows
    ]
    late = {**lines[3], "event": "usage.corrected", "output_tokens": 900, "cost": "0.5"}
    late |= {"before_input_tokens": lines[3]["input_tokens"], "before_output_tokens": 200}
    path.write_text("\n".join([*map(json.dumps, [*lines, late]), "no event"]))
    history = read_events([path], begins=START)
    assert history.bad is not None
    assert history.bad.count == 1
    assert history.runs == 48
    (thread,) = history.threads
    assert thread.runs[3].calls[0].cost == Decimal("0.5")
    assert thread.runs[3].calls[0].usage.output_tokens == 900
    (found,) = forecast_from_history(read_events([path], begins=START + 5 * DAY), prices=BOOK)
    assert found.cost_per_user is None
    assert found.cost > 0


def test_a_history_that_says_nothing_is_refused() -> None:
    for rows in ([], entries([1.0]), entries([1.0, 1.1])):
        with pytest.raises(ConfigurationError, match=r"a forecast needs at least two in 0\.5 days: give a longer one"):
            forecast_from_history(history_of_entries(rows), prices=BOOK)
    with pytest.raises(ConfigurationError, match="months is 0"):
        HistoryOptions(months=0)
    with pytest.raises(ConfigurationError, match="growth is -1"):
        HistoryOptions(growth=-1.0)


times = st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=6).map(sorted), min_size=1, max_size=6)


@given(threads=times)
def test_what_is_expected_of_threads_is_never_negative_and_never_falls_with_time(threads: list[list[float]]) -> None:
    found = [ThreadActivity(tuple(each)) for each in threads]
    fit_threads(found, 10.0)
    for each in found:
        assert 0 <= each.alive <= 1
        assert each.rate >= 0
        assert 0 <= each.leaving < 1
        ages = [each.by_age(age, 10.0) for age in (0.0, 1.0, 5.0, 10.0, 50.0, 400.0)]
        assert all(later >= before for before, later in itertools.pairwise(ages))
        assert ages[0] >= 1


@given(starts=st.lists(st.floats(0, 10), max_size=30), end=st.floats(10, 40))
def test_new_threads_are_forecast_as_a_finite_number(starts: list[float], end: float) -> None:
    fit = fit_arrivals(starts, 0.0, end)
    for way in (fit, fit.moved(1.28, 1.28), fit.moved(-1.28, -1.28)):
        assert 0 <= way.between(0.0, 1.0) < 1e12
