from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard import CarryOver, ConfigurationError, Price, PriceBook, ThreadRotation
from assistantguard.forecast import CallShape, PromptCaching, RunShape, ThreadTerms, thread_cost

BOOK = PriceBook(
    {
        "plain": Price(input="2", cached_input="0.50", output="8", tool_fees={"file_search": "2.50"}),
        "writer": Price(input="2", cached_input="0.20", cache_write="2.50", output="10"),
        "small": Price(input="1", output="4"),
    }
)


def test_every_run_reads_the_whole_thread_again() -> None:
    terms = ThreadTerms("plain", fixed_tokens=100, caching=None, prices=BOOK)
    found = thread_cost(terms, [RunShape.of(10, 20)] * 3)
    # 100+10, then 100+30+10, then 100+60+10 tokens are read; 3 times 20 are written.
    assert [run.usage.input_tokens for run in found.runs] == [110, 140, 170]
    assert found.cost == Decimal("0.00084") + Decimal("0.00048")  # 420 at $2, 60 at $8 per million
    assert (found.usage.cached_tokens, found.usage.requests, found.rotations) == (0, 3, 0)


def test_every_step_of_tools_reads_it_once_more() -> None:
    terms = ThreadTerms("plain", fixed_tokens=100, caching=None, prices=BOOK)
    (run,) = thread_cost(terms, [RunShape.of(10, 40, 3, tool_tokens=50, step_output_tokens=5)]).runs
    # 110 are read, then 110+5+50 = 165, then 165+5+50 = 220; written are 5, 5 and 40.
    assert (run.usage.input_tokens, run.usage.output_tokens, run.usage.requests) == (495, 50, 3)
    assert run.context_tokens == 260
    assert run.cost == Decimal("0.00099") + Decimal("0.0004")


def test_reasoning_is_paid_once_and_not_read_again() -> None:
    terms = ThreadTerms("plain", caching=None, prices=BOOK)
    found = thread_cost(terms, [RunShape.of(10, 120, reasoning_tokens=100)] * 2)
    assert [run.usage.input_tokens for run in found.runs] == [10, 40]
    assert found.usage.output_tokens == 240


def test_what_was_read_before_comes_from_the_cache_in_steps_of_128_from_1024_on() -> None:
    terms = ThreadTerms("plain", prices=BOOK)
    found = thread_cost(terms, [RunShape.of(1_000, 20), RunShape.of(30, 20), RunShape.of(200, 20), RunShape.of(9, 1)])
    # The prefixes that were read before are 0, 1,000, 1,050 and 1,270 tokens long.
    assert [run.usage.cached_tokens for run in found.runs] == [0, 0, 1_024, 1_152]
    assert [run.usage.input_tokens for run in found.runs] == [1_000, 1_050, 1_270, 1_299]
    third = found.runs[2]
    assert third.cost == (246 * Decimal(2) + 1_024 * Decimal("0.5") + 20 * Decimal(8)) / 1_000_000


def test_models_that_bill_cache_writes_are_billed_for_the_rest_of_the_prompt() -> None:
    terms = ThreadTerms("writer", fixed_tokens=1_100, prices=BOOK, caching=PromptCaching(shared_prefix=False))
    first, second = thread_cost(terms, [RunShape.of(100, 100), RunShape.of(300, 100)]).runs
    assert (first.usage.input_tokens, first.usage.cached_tokens, first.usage.cache_write_tokens) == (1_200, 0, 1_152)
    assert first.cost == (48 * Decimal(2) + 1_152 * Decimal("2.5") + 100 * Decimal(10)) / 1_000_000
    # 1,600 are read, of which 1,200 were read before: 1,152 from the cache, 384 more up to 1,536 written to it.
    assert (second.usage.input_tokens, second.usage.cached_tokens, second.usage.cache_write_tokens) == (
        1_600,
        1_152,
        384,
    )


def test_instructions_of_other_threads_are_in_the_cache_where_they_are_long_enough() -> None:
    for fixed, cached in ((1_000, 0), (1_100, 1_024)):
        (run,) = thread_cost(ThreadTerms("plain", fixed_tokens=fixed, prices=BOOK), [RunShape.of(500, 1)]).runs
        assert run.usage.cached_tokens == cached


def test_a_share_of_the_runs_may_come_too_late_for_the_cache() -> None:
    runs = [RunShape.of(2_000, 100), RunShape.of(100, 100)]
    for hits, cached in ((1.0, 1_920), (0.5, 960), (0.0, 0)):
        terms = ThreadTerms("plain", prices=BOOK, caching=PromptCaching(hits=hits))
        assert thread_cost(terms, runs).usage.cached_tokens == cached


def test_a_prefix_is_forgotten_after_its_lifetime() -> None:
    terms = ThreadTerms("plain", prices=BOOK, caching=PromptCaching(lifetime=300))
    runs = [RunShape.of(2_000, 100, time=0.0), RunShape.of(10, 10, time=300.0), RunShape.of(10, 10, time=601.0)]
    assert [run.usage.cached_tokens for run in thread_cost(terms, runs).runs] == [0, 1_920, 0]


def test_steps_of_one_run_read_from_the_cache_even_where_it_came_too_late() -> None:
    terms = ThreadTerms("plain", prices=BOOK, caching=PromptCaching(hits=0))
    (run,) = thread_cost(terms, [RunShape.of(1_500, 10, 2, tool_tokens=100, step_output_tokens=10)]).runs
    assert run.usage.cached_tokens == 1_408


def test_a_rotation_begins_anew_with_what_is_carried() -> None:
    terms = ThreadTerms(
        "plain", fixed_tokens=100, rotation=ThreadRotation(2), carried_tokens=50, caching=None, prices=BOOK
    )
    found = thread_cost(terms, [RunShape.of(40, 60)] * 5)
    assert [run.usage.input_tokens for run in found.runs] == [140, 240, 190, 290, 190]
    assert [run.rotated for run in found.runs] == [False, False, True, False, True]
    assert found.rotations == 2


def test_a_rotation_carries_the_last_turns_and_a_digest_as_its_settings_allow() -> None:
    carry = CarryOver(tail_turns=2, tail_tokens=800, digest_tokens=1_600)
    for turns, said, carried in ((10, 300, 2_200), (10, 900, 2_400), (10, 500, 2_100), (4, 100, 400)):
        terms = ThreadTerms("plain", rotation=ThreadRotation(turns, carry_over=carry), caching=None, prices=BOOK)
        *_, last = thread_cost(terms, [RunShape.of(said // 2, said // 2)] * (turns + 1)).runs
        assert last.rotated
        assert last.usage.input_tokens == carried + said // 2


def test_a_summary_is_on_the_bill_of_the_rotation() -> None:
    carry = CarryOver(tail_turns=0, digest_tokens=0, summary_model="small", summary_tokens=200)
    terms = ThreadTerms("plain", rotation=ThreadRotation(1, carry_over=carry), caching=None, prices=BOOK)
    _, second = thread_cost(terms, [RunShape.of(500, 500)] * 2).runs
    # The summary reads 1,000 and its own prompt of 150 at $1, and writes 200 at $4; then 200 + 500 are read at $2.
    assert second.cost == Decimal("0.00115") + Decimal("0.0008") + Decimal("0.0014") + Decimal("0.004")
    assert (second.usage.requests, second.usage.input_tokens, second.usage.output_tokens) == (2, 1_850, 700)


def test_no_request_reads_more_than_the_context_window() -> None:
    terms = ThreadTerms("plain", fixed_tokens=1_100, context_window=4_000, prices=BOOK)
    found = thread_cost(terms, [RunShape.of(500, 500)] * 8)
    assert [run.usage.input_tokens for run in found.runs][-3:] == [4_000] * 3
    assert [run.usage.cached_tokens for run in found.runs][-2:] == [1_024] * 2


def test_a_long_request_is_billed_at_the_long_context_step() -> None:
    from assistantguard.prices import PriceStep

    book = PriceBook({"long": Price(input="1", output="1", steps=[PriceStep(1_000, input="2", output="3")])})
    found = thread_cost(ThreadTerms("long", caching=None, prices=book), [RunShape.of(900, 100), RunShape.of(100, 100)])
    assert [run.cost for run in found.runs] == [Decimal("0.001"), Decimal("0.0025")]


def test_file_searches_have_a_fee_each() -> None:
    terms = ThreadTerms("plain", caching=None, prices=BOOK)
    (run,) = thread_cost(terms, [RunShape.of(0, 0, file_searches=4)]).runs
    assert run.cost == Decimal("0.01")
    with pytest.raises(ConfigurationError, match="file search by 'writer' is not known"):
        thread_cost(ThreadTerms("writer", prices=BOOK), [RunShape.of(1, 1, file_searches=1)])


def test_a_model_without_a_price_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="'gpt-0-none' is not known: name another model, or give its price"):
        thread_cost(ThreadTerms("gpt-0-none"), [RunShape.of(1, 1)])
    carry = CarryOver(summary_model="gpt-0-none")
    with pytest.raises(ConfigurationError, match="gpt-0-none"):
        ThreadTerms("plain", rotation=ThreadRotation(3, carry_over=carry), prices=BOOK).begin()


def test_a_carry_over_of_unknown_size_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="give carried_tokens"):
        ThreadTerms("plain", rotation=ThreadRotation(3, carry_over=list), prices=BOOK)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "9"])
def test_numbers_that_cannot_be_are_refused_with_the_value(wrong: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"added_tokens is {wrong!r}"):
        CallShape(wrong, 1)
    with pytest.raises(ConfigurationError, match=rf"fixed_tokens is {wrong!r}"):
        ThreadTerms("plain", fixed_tokens=wrong)
    with pytest.raises(ConfigurationError, match=r"hits is 1\.5, it must be a number from 0 to 1: lower it"):
        PromptCaching(hits=1.5)


shapes = st.builds(
    RunShape.of,
    st.integers(0, 3_000),
    st.integers(0, 1_000),
    st.integers(1, 4),
    tool_tokens=st.integers(0, 500),
    step_output_tokens=st.integers(0, 50),
)


@given(runs=st.lists(shapes, max_size=12), turns=st.integers(1, 6), model=st.sampled_from(["plain", "writer"]))
def test_no_token_is_read_that_was_not_said_and_caching_never_makes_older_models_dearer(
    runs: list[RunShape], turns: int, model: str
) -> None:
    cold = thread_cost(ThreadTerms(model, fixed_tokens=1_200, caching=None, prices=BOOK), runs)
    warm = thread_cost(ThreadTerms(model, fixed_tokens=1_200, prices=BOOK), runs)
    turned = thread_cost(
        ThreadTerms(model, fixed_tokens=1_200, prices=BOOK, rotation=ThreadRotation(turns), carried_tokens=0), runs
    )
    assert cold.usage.input_tokens == warm.usage.input_tokens >= turned.usage.input_tokens
    assert cold.usage.output_tokens == warm.usage.output_tokens == turned.usage.output_tokens
    for run in (*warm.runs, *turned.runs):
        assert run.usage.cached_tokens + run.usage.cache_write_tokens <= run.usage.input_tokens
    if model == "plain":
        assert warm.cost <= cold.cost
