from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from assistantguard import Assistant, BatchUnfinished, Budget, ConfigurationError, CostCap, Job, TokenCap
from assistantguard.batches import BatchResult
from assistantguard.batches.events import BatchProgressed, BatchSettled, BatchSubmitted
from assistantguard.events import RequestSettled
from assistantguard.prices import Price, PriceBook
from assistantguard.sandbox import BatchProcessing
from tests.support.world import MODEL, Bot, World

QUESTIONS = [Job(f"question {number}", user="anna" if number % 2 else "ben") for number in range(6)]
ANSWERS = [f"You said: question {number}" for number in range(6)]


def batch(world: World, bot: Bot, jobs: Any = QUESTIONS, **options: Any) -> BatchResult:
    result = world.wait(bot.guard.batch(jobs, **{"poll": 0.001, **options}))
    assert isinstance(result, BatchResult)
    return result


def spent(world: World, bot: Bot) -> Decimal:
    """What stands on the budgets of the users who ask."""
    reports = [world.wait(bot.guard.budget(user)) for user in ("anna", "ben")]
    return sum((report.committed for report in reports), Decimal(0))


def test_results_come_in_order_at_half_price_on_the_same_books(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Budget("user", tokens=1_000_000)])
    result = batch(world, bot)
    assert [each.text for each in result.results] == ANSWERS
    assert [each.id for each in result.results] == [f"job-{number}" for number in range(1, 7)]
    standard = sum((PriceBook().cost(each.usage, MODEL) or Decimal(0) for each in result.results), Decimal(0))
    assert result.cost == standard / 2 == result.saved == sandbox.billing.cost
    assert spent(world, bot) == result.usage.total_tokens
    assert not bot.ledger.open_holds()
    assert not bot.ledger.overdrafts


@pytest.mark.parametrize(("window", "share"), [("2h", "0.7"), ("8h", "0.6")])
def test_a_completion_window_costs_less_too(world: World, window: str, share: str) -> None:
    sandbox = world.sandbox(window_seconds={window: 0})
    bot = world.bot(sandbox)
    result = batch(world, bot, through=window)
    assert [each.text for each in result.results] == ANSWERS
    standard = sum((PriceBook().cost(each.usage, MODEL) or Decimal(0) for each in result.results), Decimal(0))
    assert result.cost == standard * Decimal(share) == sandbox.billing.cost
    assert not bot.ledger.open_holds()


def test_what_does_not_fit_is_refused_and_the_others_go_on(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [TokenCap(session=700)], assistant=Assistant(MODEL, max_output_tokens=200))
    result = batch(world, bot)
    assert result.counts["refused"] > 0
    assert result.counts["completed"] > 0
    assert {each.error.code for each in result.failed if each.error} <= {"BudgetBusy", "BudgetExceeded"}
    assert sandbox.billing.requests == result.counts["completed"]
    again = batch(world, bot, result.retryable)
    assert again.counts["completed"] > 0


def test_a_dollar_cap_counts_at_the_lower_price(world: World) -> None:
    price = Price(input="1000", output="1000")
    sandbox = world.sandbox()
    options: dict[str, Any] = {"assistant": Assistant(MODEL, max_output_tokens=100), "prices": {MODEL: price}}
    batched = batch(world, world.bot(sandbox, [CostCap(session="0.08")], **options), ["Hi"])
    assert batched.counts == {"completed": 1}
    standard = world.bot(sandbox, [CostCap(session="0.08")], **options).chat("Hi")
    assert standard.cost is not None
    assert batched.cost == standard.cost / 2


def test_a_dollar_cap_on_a_model_without_a_price_is_refused_before_anything_is_sent(world: World) -> None:
    sandbox = world.sandbox()
    with pytest.raises(ConfigurationError, match="cannot price the model 'gpt-unheard'"):
        batch(world, world.bot(sandbox, [CostCap(session=1)]), [Job("Hi", model="gpt-unheard")])
    assert not sandbox.billing.requests


def test_an_expired_batch_books_what_was_done_and_gives_back_the_rest(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(seconds=48 * 3600))
    bot = world.bot(sandbox, [Budget("user", tokens=1_000_000)])
    with pytest.raises(BatchUnfinished, match="goes on at the server"):
        batch(world, bot, timeout=0.0001)
    assert len(bot.ledger.open_holds()) == len(QUESTIONS)
    sandbox.advance(24 * 3600 + 1)
    result = batch(world, bot)
    assert result.counts == {"completed": 3, "expired": 3}
    assert len(result.retryable) == 3
    assert sandbox.billing.requests == 3
    assert spent(world, bot) == result.usage.total_tokens
    assert not bot.ledger.open_holds()


def test_a_batch_is_cancelled_and_what_was_done_is_booked(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(seconds=600))
    bot = world.bot(sandbox)
    with pytest.raises(BatchUnfinished):
        batch(world, bot, timeout=0.0001)
    sandbox.advance(200)
    result = batch(world, bot, cancel=True)
    assert result.counts == {"completed": 2, "cancelled": 4}
    assert result.cost == sandbox.billing.cost
    assert not bot.ledger.open_holds()


def test_a_failed_job_is_listed_and_may_be_tried_again_in_the_same_batch(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(failing=["job-2"]))
    bot = world.bot(sandbox)
    result = batch(world, bot, idempotency_key="mine")
    assert [each.status for each in result.results] == ["completed", "failed", *["completed"] * 4]
    assert [job.input for job in result.retryable] == ["question 1"]
    assert batch(world, bot, idempotency_key="mine").results == result.results
    assert sandbox.billing.requests == 5
    again = batch(world, bot, idempotency_key="mine", retry=True)
    assert [each.text for each in again.results if each.completed] == [text for text in ANSWERS if "1" not in text]
    assert sandbox.billing.requests == 5


def test_another_batch_of_the_same_key_is_refused(world: World) -> None:
    bot = world.bot(world.sandbox())
    batch(world, bot, idempotency_key="mine")
    with pytest.raises(ConfigurationError, match="the batch of this idempotency_key has other jobs"):
        batch(world, bot, ["Other"], idempotency_key="mine")


def test_events_tell_of_counts_and_cost_and_never_of_content(world: World) -> None:
    bot = world.bot(world.sandbox(batches=BatchProcessing(seconds=0.01)))
    seen: list[Any] = []
    result = batch(world, bot, on_progress=seen.append)
    (submitted,), (settled,) = bot.all(BatchSubmitted), bot.all(BatchSettled)
    assert (submitted.thread_id, submitted.jobs, submitted.through) == (result.id, 6, "batch")
    assert (settled.completed, settled.failed, settled.usage, settled.cost) == (6, 0, result.usage, result.cost)
    assert len(bot.all(RequestSettled)) == 6
    assert all(event.jobs == 6 for event in bot.all(BatchProgressed))
    assert (seen[0].stage, seen[-1].stage, seen[-1].done) == ("submitting", "settling", 6)
    assert "question" not in repr([event.record() for event in bot.events])
