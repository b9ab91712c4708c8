from __future__ import annotations

import decimal
import pickle
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard import prices
from assistantguard.errors import ConfigurationError
from assistantguard.models import Usage
from assistantguard.prices import Price, PriceBook, PriceStep

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOOK = PriceBook()
_TIERS: dict[str | None, dict[str, str] | None] = {
    None: None,
    "default": {"service_tier": "default"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
    "batch": {"processing": "batch"},
}


def _table_models() -> Iterator[Any]:
    (openai,) = (each for each in data_snapshot.get_snapshot().providers if each.id == "openai")
    for model in openai.models:
        try:
            found = genai_prices.calc_price(genai_prices.Usage(), model.id, provider_id="openai")
        except LookupError:
            continue
        assert found.model.id == model.id
        yield found


_PRICED = [found.model.id for found in _table_models() if found.model_price.input_mtok is not None]
_UNPRICED = [found.model.id for found in _table_models() if found.model_price.input_mtok is None]
_KNOWN = [(model, tier) for model in _PRICED for tier in _TIERS if _BOOK.price(model, tier) is not None]


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    read = draw(st.integers(0, 400_000) | st.sampled_from([271_999, 272_000, 272_001]))
    cached = draw(st.integers(0, read))
    written_to_cache = draw(st.integers(0, read - cached))
    return Usage(read, cached, written_to_cache, draw(st.integers(0, 200_000)))


def _calc(usage: Usage, model: str, tier: str | None, **tools: int) -> Decimal:
    return genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            **tools,
        ),
        model,
        provider_id="openai",
        price_context=_TIERS[tier],
    ).total_price


@given(st.sampled_from(_KNOWN), _usages())
@settings(max_examples=600, deadline=None)
def test_the_cost_agrees_with_genai_prices_to_the_last_digit(known: tuple[str, str | None], usage: Usage) -> None:
    model, tier = known

    assert _calc(usage, model, tier) == _BOOK.cost(usage, model, tier)


def test_every_model_that_the_table_prices_by_tokens_has_a_price() -> None:
    assert len(_PRICED) > 90
    assert all(_BOOK.price(model) is not None for model in _PRICED)


@pytest.mark.parametrize("model", _PRICED)
def test_each_models_cost_agrees_on_both_sides_of_the_long_context_step(model: str) -> None:
    for read in (0, 1, 1_024, 272_000, 272_001, 1_000_000):
        usage = Usage(read, read // 3, read // 4, 7_777)

        assert _calc(usage, model, None) == _BOOK.cost(usage, model)


def test_tool_fees_agree_with_genai_prices() -> None:
    usage = Usage(10_000, 5_000, 1_000, 300)
    expected = _calc(usage, "gpt-6-luna", None, web_searches=3, storage_searches=2)

    assert expected == _BOOK.cost(usage, "gpt-6-luna", tool_calls={"web_search": 3, "file_search": 2})
    assert _BOOK.cost(usage, "gpt-6-luna", tool_calls={"web_search": 0}) == _BOOK.cost(usage, "gpt-6-luna")


def test_a_tool_whose_fee_is_unknown_makes_the_cost_unknown() -> None:
    assert _BOOK.cost(Usage(10), "gpt-6-luna", tool_calls={"code_interpreter": 1}) is None


@pytest.mark.parametrize("model", ["nobody-knows-this", "", "ft:", "ft:nobody-knows-this:acme::x", *_UNPRICED])
def test_a_model_without_a_token_price_costs_none_and_not_zero(model: str) -> None:
    assert _BOOK.price(model) is None
    assert _BOOK.cost(Usage(1_000, output_tokens=10), model) is None
    assert _BOOK.at_most(1_000, 10, model) is None
    assert _BOOK.affordable_output(Decimal(1), 1_000, model) is None


@pytest.mark.parametrize("tier", ["scale", "ultrafast", "on_demand", "", "no-such-tier"])
def test_an_unknown_service_tier_is_not_priced_as_standard(tier: str) -> None:
    assert _BOOK.price("gpt-6-luna", tier) is None


@pytest.mark.parametrize("tier", [None, "auto", "default", "DEFAULT"])
def test_the_default_tiers_are_the_standard_rates(tier: str | None) -> None:
    assert _BOOK.price("gpt-6-luna", tier) == _BOOK.price("gpt-6-luna")


def test_flex_is_cheaper_and_priority_dearer_than_standard() -> None:
    usage = Usage(10_000, output_tokens=100)
    flex, standard, priority = (_BOOK.cost(usage, "gpt-6-luna", tier) for tier in ("flex", None, "priority"))

    assert flex is not None
    assert standard is not None
    assert priority is not None
    assert flex < standard < priority


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("ft:gpt-4.1-2025-04-14:acme::abc", "gpt-4.1"),
        ("ft:gpt-6-luna:acme::abc", "gpt-6-luna"),
        ("gpt-5.4-2031-01-01", "gpt-5.4"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        (" GPT-6-Luna ", "gpt-6-luna"),
    ],
)
def test_fine_tunes_and_snapshots_are_priced_as_their_model(model: str, same_as: str) -> None:
    assert _BOOK.price(model) is not None
    assert _BOOK.price(model) == _BOOK.price(same_as)


def test_a_snapshot_with_its_own_price_keeps_it() -> None:
    assert _BOOK.price("gpt-4o-2024-05-13") != _BOOK.price("gpt-4o")


def test_a_price_says_where_it_comes_from() -> None:
    found = _BOOK.price("gpt-6-luna")

    assert found is not None
    assert (found.source, found.version) == ("genai-prices", genai_prices.__version__)
    assert found.origin == f"genai-prices {genai_prices.__version__}"
    assert Price(input=1, output=2).origin == "user"
    assert Price(input=1, output=2, source="contract", version="2026-11").origin == "contract 2026-11"


def test_a_long_context_step_bills_the_whole_request() -> None:
    price = Price(
        input=1, output=10, steps=[PriceStep(200, input=2, output=15), PriceStep(100, input="1.5", output=12)]
    )

    assert price.cost(Usage(100_000_000, output_tokens=0)) == Decimal(200)
    assert [price.cost(Usage(read)) for read in (100, 101, 200, 201)] == [
        Decimal(100) / 1_000_000,
        Decimal("151.5") / 1_000_000,
        Decimal(300) / 1_000_000,
        Decimal(402) / 1_000_000,
    ]


def test_what_is_left_out_of_a_price_costs_as_much_as_input() -> None:
    price = Price(input="0.10", output="0.50")

    assert price.cost(Usage(1_000_000, 300_000, 200_000, 0)) == Decimal("0.10")


def test_a_users_price_goes_before_the_table_and_covers_fine_tunes_and_snapshots() -> None:
    mine = Price(input="0.01", output="0.02")
    book = PriceBook({"gpt-6-luna": mine, "ft:gpt-4.1:acme::abc": mine})

    assert book.price("gpt-6-luna") is mine
    assert book.price("gpt-6-luna-2026-09-01") is mine
    assert book.price("ft:gpt-6-luna-2026-09-01:acme::abc") is mine
    assert book.price("ft:gpt-4.1:acme::abc") is mine
    assert book.price("gpt-4.1") == _BOOK.price("gpt-4.1")


def test_a_users_price_holds_for_other_tiers_only_where_it_names_them() -> None:
    flex = Price(input="0.005", output="0.01")
    book = PriceBook({"mine": Price(input="0.01", output="0.02", service_tiers={"Flex": flex})})

    assert book.price("mine", "flex") is flex
    assert book.price("mine", "priority") is None
    assert book.price("mine", "auto") is not None


@pytest.mark.parametrize(("window", "percent"), [("2h", 70), ("8h", 60)])
def test_a_completion_window_lowers_every_token_rate_and_no_fee(window: str, percent: int) -> None:
    mine = Price(
        input="2",
        cached_input="0.2",
        cache_write="2.5",
        output="10",
        steps=[PriceStep(272_000, input="4", output="15")],
        tool_fees={"file_search": "2.5"},
    )
    book = PriceBook({"mine": mine})
    for usage in (Usage(1_000, 100, 200, 50), Usage(300_000, output_tokens=50)):
        standard, lower = book.cost(usage, "mine"), book.cost(usage, "mine", window)
        assert standard is not None
        assert lower == standard * percent / 100

    usage = Usage(1_000_000)
    fee = Decimal("0.0025")
    assert book.cost(Usage(), "mine", window, tool_calls={"file_search": 1}) == fee
    table = _BOOK.cost(usage, "gpt-6-luna")
    assert table is not None
    assert _BOOK.cost(usage, "gpt-6-luna", window) == table * percent / 100
    assert _BOOK.price("nobody-knows-this", window) is None


def test_a_users_own_price_of_a_completion_window_goes_before_the_discount() -> None:
    own = Price(input="1", output="5")
    assert PriceBook({"mine": Price(input="2", output="10", service_tiers={"2h": own})}).price("mine", "2h") is own


def test_a_price_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    book = PriceBook()
    first = book.price("gpt-6-luna"), book.price("nobody-knows-this")
    monkeypatch.setattr(genai_prices, "calc_price", None)

    assert first == (book.price("gpt-6-luna"), book.price("nobody-knows-this"))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(100, 150, 0, 0), Decimal(100) * Decimal("0.5")),
        (Usage(100, 80, 40, 0), Decimal(40) * 2 + Decimal(60) * Decimal("0.5")),
        (Usage(100, 0, 150, 0), Decimal(100) * 2),
        (Usage(-5, -5, -5, -5), Decimal(0)),
    ],
)
def test_usage_that_contradicts_itself_still_has_a_cost(usage: Usage, expected: Decimal) -> None:
    price = Price(input=1, output=8, cached_input="0.5", cache_write=2)

    assert expected / 1_000_000 == price.cost(usage)


@given(st.sampled_from(_KNOWN), _usages(), st.integers(0, 100_000), st.integers(0, 100_000))
@settings(deadline=None)
def test_no_call_costs_more_than_at_most(
    known: tuple[str, str | None], usage: Usage, more_input: int, more_output: int
) -> None:
    model, tier = known
    cost = _BOOK.cost(usage, model, tier)
    bound = _BOOK.at_most(usage.input_tokens + more_input, usage.output_tokens + more_output, model, tier)

    assert cost is not None
    assert bound is not None
    assert cost <= bound


def test_at_most_is_what_an_uncached_call_that_writes_all_to_the_cache_costs() -> None:
    for read in (1_000, 272_000, 272_001):
        worst = Usage(read, 0, read, 500)

        assert _BOOK.at_most(read, 500, "gpt-6-luna") == _BOOK.cost(worst, "gpt-6-luna")


def test_at_most_holds_where_a_step_makes_the_call_cheaper() -> None:
    price = Price(input=10, output=10, steps=[PriceStep(1_000, input=1, output=1)])
    cost = price.cost(Usage(1_000, output_tokens=50))

    assert cost is not None
    assert cost <= price.at_most(1_001, 50)


@given(
    st.sampled_from(_KNOWN),
    st.integers(0, 400_000),
    st.decimals("0.000001", 5, places=6, allow_nan=False),
)
@settings(deadline=None)
def test_the_affordable_output_is_the_largest_that_stays_within_the_amount(
    known: tuple[str, str | None], read: int, dollars: Decimal
) -> None:
    model, tier = known
    output = _BOOK.affordable_output(dollars, read, model, tier)
    alone = _BOOK.at_most(read, 0, model, tier)
    assert output is not None
    assert alone is not None

    if alone > dollars:
        assert output == 0
    elif output == sys.maxsize:
        assert _BOOK.at_most(read, 10**9, model, tier) == alone
    else:
        within, above = (_BOOK.at_most(read, output + more, model, tier) for more in (0, 1))
        assert within is not None
        assert above is not None
        assert within <= dollars < above


def test_free_output_is_affordable_without_end() -> None:
    assert Price(input=0, output=0).affordable_output(Decimal(0), 1_000) == sys.maxsize
    assert Price(input=1, output=0).affordable_output(Decimal(0), 1_000) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": 0.1, "output": "0.5"}, r"input is the float 0\.1.*write it as text, '0\.1'"),
        ({"input": "0.1", "output": "-1"}, r"output is '-1': it must be US dollars from 0 up"),
        ({"input": "cheap", "output": 1}, r"input is 'cheap': it must be US dollars"),
        ({"input": "NaN", "output": 1}, r"input is 'NaN'"),
        ({"input": Decimal("Infinity"), "output": 1}, r"input is Decimal\('Infinity'\)"),
        ({"input": True, "output": 1}, r"input is True: it must be US dollars as text"),
        ({"input": 1, "output": 1, "cached_input": 0.5}, r"cached_input is the float 0\.5"),
        ({"input": 1, "output": 1, "cache_write": -1}, r"cache_write is -1"),
        ({"input": 1, "output": 1, "tool_fees": {"web_search": 0.01}}, r"tool_fees\['web_search'\] is the float"),
    ],
)
def test_an_amount_that_cannot_be_a_price_is_refused_with_its_name_and_the_mend(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Price(**arguments)


@pytest.mark.parametrize("above", [-1, True, "272000", 1.5])
def test_a_step_that_is_no_number_of_tokens_is_refused(above: Any) -> None:
    with pytest.raises(ConfigurationError, match="it must be a number of input tokens"):
        PriceStep(above, input=1, output=1)


def test_an_override_that_is_no_price_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the price of 'mine' is 0\.1: write Price\("):
        PriceBook({"mine": 0.1})  # type: ignore[dict-item]


def test_prices_are_values() -> None:
    one = Price(input="0.10", output="0.5", steps=[PriceStep(10, input=1, output=1)], tool_fees={"web_search": 10})
    same = Price(input="0.1", output="0.50", steps=[PriceStep(10, input=1, output=1)], tool_fees={"web_search": 10})

    assert one == same
    assert hash(one) == hash(same)
    assert one == pickle.loads(pickle.dumps(one))


def test_the_applications_decimal_context_does_not_round_a_cost() -> None:
    usage = Usage(123_457, 23_457, 1_234, 98_765)
    expected = _BOOK.cost(usage, "gpt-5.6-sol")
    with decimal.localcontext(decimal.Context(prec=2)):
        rounded = _BOOK.cost(usage, "gpt-5.6-sol")

    assert expected is not None
    assert str(expected) == str(rounded)


def test_a_cost_takes_under_15_microseconds() -> None:
    usage = Usage(123_457, 23_457, 1_234, 98_765)
    _BOOK.cost(usage, "gpt-6-luna")
    spent = (_seconds_of(lambda: _BOOK.cost(usage, "gpt-6-luna"), 100) for _ in range(1_000))

    assert any(seconds / 100 < 15e-6 for seconds in spent), "not once, however busy the machine is"


def _seconds_of(work: Any, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - start


def test_importing_the_module_does_not_load_the_table() -> None:
    code = (
        "import sys\n"
        "import assistantguard.prices as prices\n"
        "print('genai_prices' in sys.modules)\n"
        "prices.warm_up(); prices.warm_up()\n"
        "import threading\n"
        "[each.join() for each in threading.enumerate() if each.name == 'assistantguard-prices']\n"
        "print('genai_prices.data' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "True"]


def test_where_no_thread_can_start_prices_are_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    monkeypatch.setattr("assistantguard.prices.table._warming", False)
    prices.warm_up()

    assert PriceBook().price("gpt-6-luna") is not None
