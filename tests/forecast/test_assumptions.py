from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from assistantguard import ConfigurationError, Price, PriceBook
from assistantguard.forecast import Assumptions, Forecast, forecast_from_assumptions, read_assumptions

PRICES = PriceBook({"plain": Price(input="1", output="4", tool_fees={"file_search": "2.50"})})


def forecast(**given: Any) -> Forecast:
    given = {"models": ("plain",), "caching": (False,), "months": 1, "uncertainty": 0.0, "cache_hits": 1.0, **given}
    (found,) = forecast_from_assumptions(Assumptions(**given), prices=PRICES)
    return found


def by_hand(messages: int, fixed: int, said: int, answered: int, before: int = 0) -> int:
    """What a thread's requests read: instructions and message each time, and each time all that was said so far."""
    earlier = sum(before + number for number in range(messages))
    return messages * (fixed + said) + (said + answered) * earlier


def test_a_month_reads_each_thread_again_with_every_message() -> None:
    found = forecast(users=100, messages=50, input_tokens=150, output_tokens=300, fixed_tokens=500)
    (month,) = found.periods
    assert month.input_tokens == 100 * by_hand(50, 500, 150, 300) == 58_375_000
    assert month.output_tokens == 1_500_000
    assert month.cost == Decimal("58.375") + 6
    assert found.cost_per_user == month.cost / 100
    assert found.cost_per_interaction == month.cost / 5_000
    assert (month.interactions, month.users, month.threads, month.requests) == (5_000, 100, 100, 5_000)
    assert month.reread_tokens == 58_375_000 - 5_000 * 150


def test_messages_are_divided_among_a_users_threads() -> None:
    found = forecast(users=10, threads_per_user=5, messages=20, input_tokens=100, output_tokens=100, fixed_tokens=0)
    assert found.periods[0].input_tokens == 50 * by_hand(4, 0, 100, 100)
    assert found.periods[0].threads == 50


def test_threads_that_live_on_cost_more_each_month() -> None:
    found = forecast(
        users=1, messages=10, input_tokens=100, output_tokens=100, fixed_tokens=0, thread_months=3, months=4
    )
    read = [month.input_tokens for month in found.periods]
    assert read[:3] == [by_hand(10, 0, 100, 100, before) for before in (0, 10, 20)]
    assert read[3] == read[0]


def test_growth_compounds_and_newcomers_begin_new_threads() -> None:
    found = forecast(
        users=100, messages=1, input_tokens=100, output_tokens=0, fixed_tokens=0, growth=0.5, thread_months=12, months=3
    )
    # 100 old threads read 200 in the second month; in the third, 100 read 300 and 50 read 200; the new ones 100.
    assert [month.users for month in found.periods] == [100, 150, 225]
    assert [month.input_tokens for month in found.periods] == [
        100 * 100,
        100 * 200 + 50 * 100,
        100 * 300 + 50 * 200 + 75 * 100,
    ]


def test_users_who_leave_take_their_threads_with_them() -> None:
    found = forecast(
        users=100,
        messages=1,
        input_tokens=100,
        output_tokens=0,
        fixed_tokens=0,
        growth=-0.5,
        thread_months=12,
        months=2,
    )
    assert found.periods[1].input_tokens == 50 * 200


def test_steps_of_tools_read_the_thread_again() -> None:
    found = forecast(
        users=1,
        messages=2,
        input_tokens=100,
        output_tokens=50,
        fixed_tokens=10,
        tool_steps=0.5,
        tool_tokens=40,
        step_output_tokens=20,
    )
    # One of the two messages takes a step: 110; then 10+150+100 = 260, and with the step's 20 and 40 tokens 320.
    assert found.periods[0].input_tokens == 110 + 260 + 320
    assert found.periods[0].requests == 3


def test_vector_stores_and_file_searches_are_on_the_bill() -> None:
    found = forecast(users=10, messages=4, input_tokens=0, output_tokens=0, fixed_tokens=0, file_searches=0.5)
    assert found.cost == Decimal("0.0025") * 20
    found = forecast(
        users=0, messages=0, vector_gigabytes=2.5, vector_growth=1, months=2, input_tokens=0, output_tokens=0
    )
    # The first gigabyte is free; the months' middles hold 3 and 4.
    assert [month.storage_cost for month in found.periods] == [Decimal("6.0875"), Decimal("9.13125")]
    assert found.cost == Decimal("15.21875")
    assert (found.cost_per_user, found.cost_per_interaction) == (None, None)


def test_the_range_is_the_root_of_the_sum_of_squares_of_what_each_quantity_moves() -> None:
    found = forecast(users=(80, 100, 130), messages=(1, 1, 2), input_tokens=100, output_tokens=0, fixed_tokens=0)
    # 10,000 tokens cost $0.01; 80 or 130 users $0.008 or $0.013; two messages 100 + 200 tokens each, so $0.03.
    assert found.cost == Decimal("0.01")
    assert found.low == Decimal("0.008")
    assert found.high == Decimal("0.01") + (Decimal("0.003") ** 2 + Decimal("0.02") ** 2).sqrt()


def test_a_single_number_may_turn_out_a_fifth_otherwise() -> None:
    found = forecast(
        users=100,
        messages=(1, 1, 1),
        input_tokens=(100, 100, 100),
        output_tokens=0,
        fixed_tokens=0,
        uncertainty=0.2,
        threads_per_user=(1, 1, 1),
    )
    assert (found.low, found.high) == (Decimal("0.008"), Decimal("0.012"))


def test_models_rotations_and_caching_stand_side_by_side() -> None:
    book = PriceBook({"plain": Price(input="1", cached_input="0.1", output="4"), "dear": Price(input="9", output="9")})
    given = Assumptions(models=("plain", "dear"), rotations=("none", "turns=5"), caching=(True, False), messages=60)
    found = forecast_from_assumptions(given, prices=book)
    assert len({each.name for each in found}) == len(found) == 8
    cost = {each.name: each.cost for each in found}
    assert cost["plain, rotation turns=5, no prompt caching"] < cost["plain, no rotation, no prompt caching"]
    assert cost["plain, no rotation, prompt caching"] < cost["plain, no rotation, no prompt caching"]
    assert cost["dear, no rotation, no prompt caching"] > cost["plain, no rotation, no prompt caching"]


def test_a_model_without_a_price_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'gpt-0-none' is not known"):
        forecast_from_assumptions(Assumptions(models=("gpt-0-none",)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": -1}, r"users is -1, it must be a number from 0 to 1e\+09: raise it"),
        ({"users": float("nan")}, "users is nan"),
        ({"users": "many"}, "users is 'many'"),
        ({"messages": (5, 4, 9)}, "does not ascend: give low, likely and high"),
        ({"messages": (5, 9)}, "messages has 2 values, a range has three"),
        ({"months": 0}, "months is 0, it must be a whole number from 1 to 120: raise it"),
        ({"thread_months": 1.5}, "thread_months is 1.5, .*: round it"),
        ({"growth": 11}, "growth is 11, .*: lower it"),
        ({"rotations": ("often",)}, "the rotation is 'often': give none, default, or settings such as turns=30"),
        ({"rotations": ("turns=0",)}, "max_turns is 0"),
        ({"models": ()}, "models is .*: give at least one"),
        ({"cache_hits": 1.1}, "cache_hits is 1.1"),
        ({"uncertainty": 1}, "uncertainty is 1"),
    ],
)
def test_bad_assumptions_are_refused_with_value_limit_and_mend(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Assumptions(**given)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'users = [80, 100, 130]\nmessages = 50\nmodels = "gpt-6-luna"\ncaching = false\n'),
        (
            "a.json",
            json.dumps({"users": [80, 100, 130], "messages": 50, "models": ["gpt-6-luna"], "caching": [False]}),
        ),
    ],
)
def test_assumptions_come_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = read_assumptions(path)
    assert found == Assumptions(users=(80, 100, 130), messages=50, models=("gpt-6-luna",), caching=(False,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("users = ", "cannot be read"),
        ("people = 4", "has 'people', which is not known: it takes users"),
        ("x", "a.toml"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_assumptions(path)
