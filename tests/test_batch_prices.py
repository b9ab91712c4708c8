from __future__ import annotations

from decimal import Decimal

import pytest

from assistantguard import Price, PriceBook, Usage
from assistantguard.prices import PriceStep
from assistantguard.prices.discounts import BATCH_SHARE, BatchPrices

USAGE = Usage(input_tokens=1_000_000, cached_tokens=400_000, cache_write_tokens=100_000, output_tokens=200_000)
OWN = Price(input="4", cached_input="1", cache_write="5", output="8", tool_fees={"web_search": "10"})


def test_a_price_of_the_batch_api_that_is_known_goes_before_the_share() -> None:
    own = Price(input="4", output="8", service_tiers={"batch": Price(input="3", output="6")})
    assert BatchPrices(PriceBook({"own": own})).price("own", "batch") == own.for_tier("batch")
    listed = PriceBook().price("gpt-4o", "batch")
    assert listed is not None
    assert BatchPrices(PriceBook()).price("gpt-4o", "batch") == listed


@pytest.mark.parametrize("usage", [USAGE, Usage(), Usage(output_tokens=1)])
def test_where_none_is_known_every_token_rate_is_halved_and_no_fee(usage: Usage) -> None:
    book = PriceBook({"own": OWN})
    calls = {"web_search": 3}
    standard, fees = book.cost(usage, "own", tool_calls=calls), Decimal("0.03")
    assert standard is not None
    assert BatchPrices(book).cost(usage, "own", "batch", tool_calls=calls) == (standard - fees) * BATCH_SHARE + fees


def test_long_contexts_are_halved_too() -> None:
    step = PriceStep(1_000, input="6", output="12")
    prices = BatchPrices(PriceBook({"own": Price(input="3", output="6", steps=[step])}))
    usage = Usage(input_tokens=2_000_000, output_tokens=1_000_000)
    assert prices.cost(usage, "own") == 24
    assert prices.cost(usage, "own", "batch") == 12


def test_what_is_affordable_is_so_at_the_lower_price() -> None:
    prices = BatchPrices(PriceBook({"own": Price(input="1000", output="1000")}))
    assert prices.affordable_output(Decimal("0.1"), 50, "own") == 50
    assert prices.affordable_output(Decimal("0.1"), 50, "own", "batch") == 150
    assert prices.at_most(50, 150, "own", "batch") == Decimal("0.1")


def test_other_tiers_are_as_in_the_book() -> None:
    book = PriceBook({"own": OWN})
    prices = BatchPrices(book)
    for tier in (None, "default", "2h", "8h", "flex"):
        assert prices.price("own", tier) == book.price("own", tier)


def test_a_model_without_a_price_has_none_in_a_batch() -> None:
    prices = BatchPrices(PriceBook())
    assert prices.price("gpt-unheard", "batch") is None
    assert prices.cost(USAGE, "gpt-unheard", "batch") is None
