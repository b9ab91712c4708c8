from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from tenacity import wait_none

from assistantguard import (
    Assistant,
    BatchUnfinished,
    Budget,
    ConfigurationError,
    Downgrade,
    Fallback,
    Job,
    ModelRouting,
    Pacing,
    Policy,
    ReplyCache,
    Route,
    ShortMessages,
    TransientRetry,
    observe,
)
from assistantguard.batches import BatchResult
from assistantguard.events import PolicyObserved
from assistantguard.events.replies import ReplyCached, ReplyStored
from assistantguard.events.traffic import RunRouted
from assistantguard.policies import Stop, View, tiers
from assistantguard.prices import PriceBook
from assistantguard.sandbox import BatchProcessing
from tests.batches.api import Api, error_answer
from tests.support.world import MODEL, Bot, World

CHEAP = "gpt-5-nano"
LONG = "Tell me all about it, from its beginning to its end, and leave nothing out that matters to anybody."
ROUTING = ModelRouting([ShortMessages(CHEAP, max_tokens=6)])


def batch(world: World, bot: Bot, jobs: Any, **options: Any) -> BatchResult:
    result = world.wait(bot.guard.batch(jobs, **{"poll": 0.001, **options}))
    assert isinstance(result, BatchResult)
    return result


def texts(result: BatchResult) -> list[str | None]:
    return [each.text for each in result.results]


@pytest.mark.parametrize("through", ["batch", "2h"])
def test_jobs_are_routed_as_turns_are_and_priced_by_their_models(world: World, through: str) -> None:
    sandbox = world.sandbox(window_seconds={"2h": 0})
    bot = world.bot(sandbox, [ROUTING])
    result = batch(world, bot, ["Hi", LONG, Job("Hello", model=MODEL), "Yes?"], through=through)
    assert [each.model for each in result.results] == [CHEAP, MODEL, MODEL, CHEAP]
    assert texts(result) == ["You said: Hi", f"You said: {LONG}", "You said: Hello", "You said: Yes?"]
    assert Counter(call.model for call in sandbox.billing.calls) == {CHEAP: 2, MODEL: 2}
    assert result.cost == sandbox.billing.cost
    assert [(event.model, event.service_tier) for event in bot.all(RunRouted)] == [(CHEAP, None)] * 2
    assert not bot.ledger.open_holds()


def test_a_file_has_one_model_whatever_the_routing_says(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [ROUTING])
    batch(world, bot, ["Hi", LONG, "Yes?"])
    with sandbox.client() as client:
        sent = [client.files.content(each.id).content for each in client.files.list(purpose="batch").data]
    models = [{json.loads(line)["body"]["model"] for line in content.splitlines()} for content in sent]
    assert sorted(map(sorted, models)) == [[CHEAP], [MODEL]]


def test_a_budget_that_runs_low_while_jobs_are_held_leads_to_the_cheaper_model(world: World) -> None:
    assistant = Assistant(MODEL, max_output_tokens=1_000)
    policies = [Budget("application", tokens=4_300), ModelRouting([Downgrade(CHEAP, when_left=0.4)])]
    result = batch(world, world.bot(world.sandbox(), policies, assistant=assistant), ["one", "two", "three", "four"])
    assert [each.model for each in result.results] == [MODEL, MODEL, MODEL, CHEAP]


def test_the_price_is_that_of_the_batch_whatever_tier_a_rule_names(world: World) -> None:
    routing = ModelRouting([lambda _view: Route(CHEAP, service_tier="priority")])
    sandbox = world.sandbox()
    result = batch(world, world.bot(sandbox, [routing]), ["Hi"])
    assert result.cost == sandbox.billing.cost == (PriceBook().cost(result.usage, CHEAP) or Decimal(0)) / 2


def test_a_rule_that_cannot_work_refuses_the_job_with_its_reason(world: World) -> None:
    def rule(view: View) -> Any:
        return CHEAP if view.message == "bad" else None

    sandbox = world.sandbox()
    result = batch(world, world.bot(sandbox, [ModelRouting([rule])]), ["good", "bad"])
    refused = result.results[1].error
    assert refused is not None
    assert (refused.code, refused.retryable) == ("ConfigurationError", False)
    assert "it must return Route(…), or None" in refused.message
    assert result.counts == {"completed": 1, "refused": 1}


def test_a_model_that_fails_while_jobs_are_sent_is_left_for_the_fallback() -> None:
    api = Api()
    api.refuse = lambda body: error_answer(503, "busy") if body["model"] == "gpt-4.1-mini" else None
    policies = [TransientRetry(4, wait=wait_none()), ModelRouting([Fallback("gpt-4.1", after=2)])]
    bot = api.guard(policies)
    result = bot.batch(["one", "two"], through="2h", poll=0.001)
    assert [each.model for each in result.results] == ["gpt-4.1"] * 2
    assert result.counts == {"completed": 2}
    assert [request for request in api.requests if request.startswith("POST")] == ["POST /responses"] * 4
    assert not bot.ledger.open_holds()


def test_the_assistants_effort_and_that_of_a_route_are_asked_for() -> None:
    api = Api()
    routing = ModelRouting([ShortMessages(Route("gpt-5-mini", reasoning_effort="high"), max_tokens=3)])
    bot = api.guard([routing], Assistant("gpt-5", reasoning_effort="low"))
    bot.batch(["Hi", LONG], poll=0.001)
    assert {body["model"]: body["reasoning"]["effort"] for body in api.bodies} == {"gpt-5": "low", "gpt-5-mini": "high"}


def test_a_policy_that_stops_answers_is_refused_since_none_arrives_early(world: World) -> None:
    class NoShouting(Policy):
        def on_progress(self, view: View) -> Stop | None:
            return Stop("it shouts")

    sandbox = world.sandbox()
    with pytest.raises(ConfigurationError, match="NoShouting looks at answers while they arrive"):
        batch(world, world.bot(sandbox, [NoShouting()]), ["Hi"])
    assert not sandbox.requests
    assert batch(world, world.bot(sandbox, [observe(NoShouting())]), ["Hi"]).counts == {"completed": 1}


def users(*names: str) -> list[Job]:
    return [Job("Where is it?", user=name) for name in names]


@pytest.mark.parametrize("through", ["batch", "2h"])
def test_what_a_chat_was_answered_a_job_is_answered_at_no_cost(world: World, through: str) -> None:
    sandbox = world.sandbox(window_seconds={"2h": 0})
    bot = world.bot(sandbox, [ReplyCache()])
    said = bot.chat("Where is it?", world.wait(bot.guard.thread(user="anna", topic="one")))
    result = batch(world, bot, users("anna", "ben"), through=through)
    assert texts(result) == [said.text] * 2
    assert [(each.cached, each.cost == 0, each.usage.requests) for each in result.results] == [
        (True, True, 0),
        (False, False, 1),
    ]
    assert sandbox.billing.requests == 2
    (saved,) = [entry for entry in bot.ledger.entries() if entry.purpose == "reply_cache"]
    assert (saved.cost, saved.saved_tokens, saved.user) == (Decimal(0), said.usage.total_tokens, "anna")
    assert len(bot.all(ReplyCached)) == 1


def test_what_a_job_was_answered_a_chat_is_answered_at_no_cost(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [ReplyCache()])
    batch(world, bot, users("anna"))
    assert bot.chat("Where is it?", world.wait(bot.guard.thread(user="anna", topic="one"))).cached
    assert not bot.chat("Where is it?", world.wait(bot.guard.thread(user="ben", topic="one"))).cached
    assert len(bot.all(ReplyStored)) == 2


@pytest.mark.parametrize("through", ["batch", "2h"])
def test_the_same_question_of_a_batch_is_sent_once_for_each_account(world: World, through: str) -> None:
    sandbox = world.sandbox(window_seconds={"2h": 0})
    bot = world.bot(sandbox, [ReplyCache(), Budget("user", messages=10)])
    result = batch(world, bot, users("anna", "anna", "ben", "anna", "ben"), through=through)
    assert [each.cached for each in result.results] == [False, True, False, True, True]
    assert texts(result) == ["You said: Where is it?"] * 5
    assert sandbox.billing.requests == 2
    assert [world.wait(bot.guard.budget(user)).committed for user in ("anna", "ben")] == [3, 2]
    assert not bot.ledger.open_holds()


def test_those_who_waited_for_a_job_that_failed_are_sent_themselves(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(failing=["job-1"]))
    bot = world.bot(sandbox, [ReplyCache()])
    result = batch(world, bot, users("anna", "anna", "anna"))
    assert [each.status for each in result.results] == ["failed", "completed", "completed"]
    assert sandbox.billing.requests == 2


def test_a_full_message_budget_refuses_a_cached_reply_too(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [ReplyCache(), Budget("user", messages=2)])
    result = batch(world, bot, users("anna", "anna", "anna"))
    assert result.counts == {"completed": 2, "refused": 1}
    assert sandbox.billing.requests == 1


def test_a_cached_reply_that_is_gone_is_asked_for_again_while_the_batch_lasts(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(seconds=600))
    cache = ReplyCache(max_entries=1)
    bot = world.bot(sandbox, [cache])
    bot.chat("Where is it?", world.wait(bot.guard.thread(user="anna", topic="one")))
    jobs = [*users("anna"), Job("And that?", user="anna")]
    with pytest.raises(BatchUnfinished):
        batch(world, bot, jobs, timeout=0.0001)
    bot.chat("Something else", world.wait(bot.guard.thread(user="ben", topic="one")))
    sandbox.advance(700)
    result = batch(world, bot, jobs, on_progress=lambda _progress: sandbox.advance(700))
    assert texts(result) == ["You said: Where is it?", "You said: And that?"]
    assert [each.cached for each in result.results] == [False, False]
    assert sandbox.billing.requests == 4


def test_a_finished_batch_keeps_what_was_cached_and_costs_nothing_again(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [ReplyCache()])
    first = batch(world, bot, users("anna", "anna"), idempotency_key="mine")
    again = batch(world, bot, users("anna", "anna"), idempotency_key="mine")
    assert again.results == first.results
    assert sandbox.billing.requests == 1


def test_a_cache_that_is_observed_answers_nothing_and_reports(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [observe(ReplyCache())])
    batch(world, bot, users("anna"))
    assert batch(world, bot, users("anna")).results[0].cached is False
    assert sandbox.billing.requests == 2
    assert [event.reason for event in bot.all(PolicyObserved)] == ["the reply is in the cache"]


def test_a_job_with_a_request_of_its_own_is_neither_routed_nor_cached(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [ReplyCache(), ROUTING])
    jobs = [Job(body={"model": MODEL, "input": "Hi"}, id=name) for name in "ab"]
    result = batch(world, bot, jobs)
    assert [(each.model, each.cached) for each in result.results] == [(MODEL, False)] * 2
    assert sandbox.billing.requests == 2


def test_windows_keep_to_the_pace_and_who_cannot_be_sent_in_time_is_refused(world: World) -> None:
    sandbox = world.sandbox(window_seconds={"2h": 0})
    bot = world.bot(sandbox, [Pacing(2, burst=1.0, max_wait=0)])
    result = batch(world, bot, ["one", "two", "three"], through="2h")
    assert result.counts == {"completed": 2, "refused": 1}
    error = result.results[2].error
    assert error is not None
    assert (error.code, error.retryable) == ("TooManyRequests", True)
    assert sandbox.billing.requests == 2
    assert batch(world, bot, ["four"]).counts == {"completed": 1}, "the Batch API has limits of its own"


def test_a_job_that_waits_for_its_turn_waits_no_longer_than_the_caller(world: World) -> None:
    bot = world.bot(world.sandbox(window_seconds={"2h": 0}), [Pacing(1, burst=1.0)])
    with pytest.raises(BatchUnfinished):
        batch(world, bot, ["one", "two"], through="2h", timeout=0.2)
    assert len(bot.ledger.open_holds()) == 1
    result = batch(world, bot, ["one", "two"], through="2h", cancel=True)
    assert result.results[1].status == "cancelled"
    assert not bot.ledger.open_holds()


def test_a_window_that_the_server_refuses_for_its_rate_is_sent_again_and_slows_the_lane() -> None:
    api = Api()
    refusals = [error_answer(429, "slow down", "rate_limit_exceeded")]
    api.refuse = lambda _body: refusals.pop() if refusals else None
    bot = api.guard([Pacing(1_000, burst=1.0), TransientRetry(3, wait=wait_none())])
    result = bot.batch(["one", "two"], through="2h", poll=0.001)
    assert result.counts == {"completed": 2}
    assert set(api.done.values()) == {1}
    assert not bot.ledger.open_holds()


def test_without_pacing_a_queue_that_is_full_fails_the_jobs_and_they_may_be_retried(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(enqueued_tokens=60))
    result = batch(world, world.bot(sandbox), [f"question {number}" for number in range(6)])
    assert {each.error.code for each in result.results if each.error} == {"token_limit_exceeded"}
    assert len(result.retryable) == 6


def test_with_pacing_the_queue_is_kept_to_as_the_server_tells_its_limit(world: World) -> None:
    sandbox = world.sandbox(batches=BatchProcessing(enqueued_tokens=60, seconds=0.002))
    bot = world.bot(sandbox, [Pacing()])
    jobs = [f"question {number}" for number in range(6)]
    result = batch(world, bot, jobs)
    assert texts(result) == [f"You said: {job}" for job in jobs]
    assert sandbox.billing.requests == 6
    assert result.cost == sandbox.billing.cost
    assert not bot.ledger.open_holds()
    with sandbox.client() as client:
        assert len(client.batches.list().data) > 3


def test_a_tier_names_the_queue_and_no_batch_is_refused_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    table: Any = ((500, 500_000, 70),) * 5
    monkeypatch.setitem(tiers._PUBLISHED, MODEL, table)
    sandbox = world.sandbox(batches=BatchProcessing(enqueued_tokens=70, seconds=0.002))
    bot = world.bot(sandbox, [Pacing(tier="1")])
    jobs = [*(f"question {number}" for number in range(6)), "very " * 70]
    result = batch(world, bot, jobs)
    assert texts(result)[:6] == [f"You said: {job}" for job in jobs[:6]]
    too_long = result.results[6].error
    assert too_long is not None
    assert "the Batch API queues at most 70 for gpt-6-luna: shorten it" in too_long.message
    assert too_long.retryable is False
    with sandbox.client() as client:
        assert {each.status for each in client.batches.list().data} == {"completed"}


def test_the_published_queues_are_known_by_tier_and_model() -> None:
    known = [tiers.published_queue(tier, "gpt-4o-2024-08-06") for tier in tiers.TIERS]
    assert known == [90_000, 1_350_000, 50_000_000, 200_000_000, 5_000_000_000]
    with pytest.raises(ConfigurationError, match="no rate limits of the model 'gpt-unheard' are known"):
        tiers.published_queue("1", "gpt-unheard")
