from __future__ import annotations

from decimal import Decimal

import pytest

from assistantguard import ConfigurationError, Price, PriceBook
from assistantguard.forecast import Assumptions, Wave, capacity, forecast_from_assumptions, scenario, scenarios

LUNA = Price(input="0.10", cached_input="0.01", cache_write="0.125", output="0.50", tool_fees={"file_search": "2.50"})
SOL = Price(input="2", cached_input="0.20", cache_write="2.50", output="10", tool_fees={"file_search": "2.50"})
PRICES = PriceBook({"gpt-6-luna": LUNA, "gpt-6-sol": SOL})
FIRST = "gpt-6-luna, no rotation, no prompt caching"


def month_of(name: str, variant: str = FIRST) -> tuple[Decimal, float, float]:
    """The first month's cost, input and output."""
    subject = scenario(name).subject
    assert isinstance(subject, Assumptions)
    (found,) = (each for each in forecast_from_assumptions(subject, prices=PRICES) if each.name == variant)
    month = found.periods[0]
    return month.cost, month.input_tokens, month.output_tokens


@pytest.mark.parametrize(
    ("name", "read", "written", "cost"),
    [
        # 100 threads of n messages read n * 650 + 450 * n * (n - 1) / 2 tokens each, and write n * 300.
        ("users-100-messages-10", 100 * 26_750, 100 * 3_000, "0.4175"),
        ("users-100-messages-50", 100 * 583_750, 100 * 15_000, "6.5875"),
        ("users-100-messages-200", 100 * 9_085_000, 100 * 60_000, "93.85"),
        ("threads-500-growing", 500 * 98_500, 500 * 6_000, "6.425"),
        # 325 threads of 12 messages; a gigabyte above the free one for 30.4375 days; 1,950 searches at $0.0025.
        ("threads-250-400", 325 * 37_500, 325 * 3_600, "9.7225"),
    ],
)
def test_the_scenarios_of_the_guides_have_the_right_results(name: str, read: int, written: int, cost: str) -> None:
    found_cost, found_read, found_written = month_of(name)
    assert (found_read, found_written) == (read, written)
    assert found_cost == Decimal(cost)


def test_the_prices_of_the_scenarios_are_those_of_the_table() -> None:
    published = PriceBook()
    for model, price in (("gpt-6-luna", LUNA), ("gpt-6-sol", SOL)):
        found = published.price(model)
        assert found is not None
        assert (found.input, found.cached_input, found.output) == (price.input, price.cached_input, price.output)


def test_fifteen_percent_a_month_is_four_and_a_half_times_as_much_after_eleven() -> None:
    subject = scenario("threads-500-growing").subject
    assert isinstance(subject, Assumptions)
    months = forecast_from_assumptions(subject, prices=PRICES)[0].periods
    assert months[11].cost / months[0].cost == pytest.approx(Decimal("4.652391"), rel=Decimal("1e-6"))
    assert sum(month.cost for month in months) == pytest.approx(
        Decimal("6.425") * Decimal("29.001667"), rel=Decimal("1e-6")
    )


@pytest.mark.parametrize(("users", "tokens", "cost"), [(50, 117_500, "0.02175"), (100, 235_000, "0.0435")])
def test_users_at_once_need_their_tokens_in_a_minute(users: int, tokens: int, cost: str) -> None:
    subject = scenario(f"at-once-{users}").subject
    assert isinstance(subject, Wave)
    found = capacity(subject, requests_per_minute=500, tokens_per_minute=200_000, prices=PRICES)
    assert (found.requests, found.tokens, found.requests_per_minute, found.tokens_per_minute) == (
        users,
        tokens,
        users,
        tokens,
    )
    # 1,850 tokens are read at $0.10 and 500 written at $0.50 per million, by each.
    assert found.cost == Decimal(cost)
    assert found.tier == "1"
    assert found.own is not None
    assert found.own.seconds == (70.5 if users == 100 else 0.0)
    assert found.own.suffices == (users == 50)


def test_a_large_wave_needs_a_higher_tier_or_time() -> None:
    found = capacity(Wave(1_000, output_tokens=500, context_tokens=1_500, input_tokens=350), prices=PRICES)
    assert found.tokens == 2_350_000
    assert [fit.suffices for fit in found.limits] == [False, False, True, True, True]
    assert found.limits[0].seconds == pytest.approx(60 * 2_350_000 / 500_000)
    assert found.tier == "3"
    patient = capacity(
        Wave(1_000, output_tokens=500, context_tokens=1_500, input_tokens=350, within=300), prices=PRICES
    )
    assert (patient.tier, patient.tokens_per_minute, patient.requests_per_minute) == ("1", 470_000, 200)


def test_steps_of_tools_are_requests_of_their_own() -> None:
    wave = Wave(10, context_tokens=1_000, input_tokens=100, output_tokens=200, tool_steps=1, tool_tokens=50)
    found = capacity(wave, prices=PRICES)
    assert found.requests == 20
    assert found.usage.input_tokens == 10 * (1_100 + 1_180)
    assert found.usage.output_tokens == 10 * 230


def test_a_request_above_the_limit_is_never_answered() -> None:
    found = capacity(Wave(1, context_tokens=600_000), prices=PRICES)
    assert found.limits[0].seconds is None
    assert not found.limits[0].suffices
    assert found.tier == "2"


def test_a_model_without_published_limits_says_so_and_invents_none() -> None:
    found = capacity(Wave(5, "my-model"), prices=PriceBook({"my-model": LUNA}))
    assert (found.limits, found.tier, found.own) == ((), None, None)


def test_a_wave_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="users is 0, it must be a whole number from 1 to"):
        Wave(0)
    with pytest.raises(ConfigurationError, match="only one limit is given"):
        capacity(Wave(1), tokens_per_minute=5, prices=PRICES)
    with pytest.raises(ConfigurationError, match="'gpt-0-none' is not known"):
        capacity(Wave(1, "gpt-0-none"))


def test_every_scenario_states_its_assumption() -> None:
    assert len({each.name for each in scenarios()}) == len(scenarios()) >= 7
    assert all(each.assumption and each.guides and each.title for each in scenarios())
    with pytest.raises(ConfigurationError, match="there is no scenario 'x': the scenarios are users-100-messages-10"):
        scenario("x")
