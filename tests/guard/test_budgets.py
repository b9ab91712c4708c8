"""Budgets: each user, tenant and the application stays within its window's limits, and is told when it renews."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    Budget,
    BudgetBusy,
    BudgetExceeded,
    CarryOver,
    ConfigurationError,
    Reply,
    RequestRejected,
    RetriesExhausted,
    ThreadRotation,
    TokenCap,
    TransientRetry,
    observe,
)
from assistantguard.events import BudgetRefusedEvent, BudgetWarned, PolicyObserved, RunSettled
from assistantguard.sandbox import Answer, Fault, FunctionCall, ModelRequest
from tests.support.budgets import budgeted, go_to_midnight, line_of, of_user
from tests.support.checks import check_all, check_books, check_holds, paths
from tests.support.clock import Clock
from tests.support.models import Lookups, SlowModel, order_desk, while_slow
from tests.support.world import Bot, Thread, World

WORDY = "The order was sent on Tuesday and will arrive soon. " * 20


def wordy(request: ModelRequest) -> str:
    return WORDY


def spend_up(bot: Bot, thread: Thread) -> BudgetExceeded:
    """Chat until the first refusal."""
    for number in range(40):
        outcome = bot.try_chat(f"Where is it ({number})?", thread)
        if not isinstance(outcome, Reply):
            assert isinstance(outcome, BudgetExceeded)
            return outcome
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize("metric", ["tokens", "cost"])
def test_a_user_spends_no_more_than_a_days_budget_and_others_go_on(world: World, clock: Clock, metric: str) -> None:
    midnight = go_to_midnight(clock, 3_600)
    limits: dict[str, Any] = {metric: 2_000 if metric == "tokens" else "0.0006"}
    budget = Budget("user", per="day", **limits)
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [budget])
    mine, another, other = of_user(bot, "u-42"), of_user(bot, "u-42", topic="another"), of_user(bot, "u-43")
    refusal = spend_up(bot, mine)
    billed = sandbox.billing.totals.total_tokens if metric == "tokens" else sandbox.billing.cost
    assert budgeted(bot, budget, "u-42", metric) == billed == refusal.committed
    assert refusal.left == refusal.limit - refusal.committed >= 0
    assert refusal.renews_at == midnight
    assert refusal.policy == "user/day"
    assert refusal.metric == metric
    assert "user:u-42@day:" in str(refusal)
    assert "it renews " in str(refusal)
    assert "00:00 UTC" in str(refusal)
    (event,) = bot.all(BudgetRefusedEvent)
    assert (event.kind, event.renews_at, event.user, event.policy) == ("exceeded", midnight, "u-42", "user/day")
    sent = paths(sandbox, "POST /responses")
    with pytest.raises(BudgetExceeded):
        bot.chat("Once more, on another thread. " * 300, another)
    assert paths(sandbox, "POST /responses") == sent
    assert bot.chat("Hello?", other).text
    clock.advance(3_600)
    assert bot.chat("It is tomorrow", mine).text
    check_all(bot, sandbox, mine, another, other)


def test_a_refusal_tells_the_moment_in_the_budgets_zone(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("application", "month", tokens=20, timezone="Europe/Berlin")])
    with pytest.raises(BudgetExceeded, match=r"Budget application/month: .* 00:00 CES?T \(Europe/Berlin\)"):
        bot.chat("Hello?")
    never = world.bot(world.sandbox(), [Budget("application", None, tokens=20)])
    with pytest.raises(BudgetExceeded, match="it never renews") as caught:
        never.chat("Hello?")
    assert caught.value.renews_at is None


def test_every_budget_that_concerns_a_turn_holds(world: World) -> None:
    budgets = [
        Budget("user", "hour", tokens=3_000),
        Budget("tenant", "day", tokens=6_000),
        Budget("application", "month", tokens=9_000),
    ]
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, budgets)
    refusals: dict[str, str | None] = {}
    for user, tenant in (("a", "acme"), ("b", "acme"), ("c", "acme"), ("d", "bolt"), ("e", "bolt")):
        refusals[user] = spend_up(bot, of_user(bot, user, tenant)).policy
    assert refusals["a"] == "user/hour"
    assert refusals["c"] == "tenant/day"
    assert refusals["e"] == "application/month"
    assert all(budgeted(bot, budgets[0], user) <= 3_000 for user in "abcde")
    assert all(budgeted(bot, budgets[1], tenant) <= 6_000 for tenant in ("acme", "bolt"))
    assert budgeted(bot, budgets[2], "") == sandbox.billing.totals.total_tokens <= 9_000
    check_holds(bot)


def test_a_function_says_whom_a_turn_is_charged_to(world: World) -> None:
    budget = Budget(lambda view: (view.thread.user or "").partition("@")[2] or None, name="company", messages=1)
    bot = world.bot(world.sandbox(), [budget])
    bot.chat("Hello?", of_user(bot, "maren@acme"))
    with pytest.raises(BudgetExceeded, match="Budget company: account:acme@day#company"):
        bot.chat("Hello?", of_user(bot, "ilse@acme"))
    bot.chat("Hello?", of_user(bot, "tomas@bolt"))
    bot.chat("Hello?", of_user(bot, "nobody's"))
    assert world.wait(bot.guard.budget(account="acme")).left == 0
    assert world.wait(bot.guard.budget(account="corp")).left == 1


@pytest.mark.parametrize("account", ["user", "tenant"])
def test_a_thread_with_nobody_to_charge_is_refused_before_anything_is_sent(world: World, account: Any) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Budget(account, tokens=10_000)])
    for streamed in (False, True):
        with pytest.raises(ConfigurationError, match=rf"bot\.thread\({account}=…\)"):
            bot.chat("Hello?", streamed=streamed)
    assert not sandbox.requests
    assert [event.status for event in bot.all(RunSettled)] == ["incomplete"] * 2
    assert bot.chat("Hello?", of_user(bot, "u-42", tenant="u-42")).text
    check_all(bot, sandbox)


def test_a_message_is_counted_once_however_many_requests_its_answer_takes(world: World) -> None:
    budget = Budget("user", messages=3)
    sandbox = world.sandbox(order_desk, faults=[Fault.server_error(at=2), Fault.rate_limit(at=4, retry_after=0.01)])
    bot = world.bot(sandbox, [budget, TransientRetry(3, wait=tenacity.wait_none())], tools=[Lookups().lookup])
    thread = of_user(bot, "u-42")
    for number in range(3):
        assert bot.chat(f"Where is order {number}?", thread).run.steps == 1
        assert budgeted(bot, budget, "u-42", "messages") == number + 1
    assert paths(sandbox, "POST /responses") == 8
    with pytest.raises(BudgetExceeded, match=r"has 0 of 3 messages left .* the request answers one more") as caught:
        bot.chat("Where is order 4?", thread)
    assert caught.value.metric == "messages"
    assert caught.value.committed == 3
    assert caught.value.left == 0
    check_all(bot, sandbox, thread)


def test_a_message_that_was_not_sent_is_given_back(world: World) -> None:
    budget = Budget("user", messages=2)
    faults = [
        Fault.rate_limit(at=1, retry_after=0.01),
        Fault.http(400, type="invalid_request_error", at=2),
        Fault.server_error(at=3),
    ]
    sandbox = world.sandbox(faults=[*faults])
    bot = world.bot(sandbox, [budget])
    thread = of_user(bot, "u-42")
    for error in (RetriesExhausted, RequestRejected, RetriesExhausted):
        assert isinstance(bot.try_chat("Hello?", thread), error)
        assert budgeted(bot, budget, "u-42", "messages") == 0
    assert line_of(bot, "u-42", "messages").left == 2
    bot.chat("Hello?", thread)
    assert line_of(bot, "u-42", "messages").left == 1
    check_holds(bot)


def test_a_message_whose_answer_is_unknown_stays_counted(world: World) -> None:
    budget = Budget("user", messages=2)
    sandbox = world.sandbox(faults=[Fault.dropped(at=1, after_work=True)])
    bot = world.bot(sandbox, [budget, TransientRetry(3, wait=tenacity.wait_none())])
    thread = of_user(bot, "u-42")
    bot.chat("Hello?", thread)
    assert budgeted(bot, budget, "u-42", "messages") == 1


def test_messages_are_never_overspent_by_many_at_once(world: World) -> None:
    budget = Budget("user", messages=5, wait=5.0)
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [budget], max_threads_per_user=None)
    threads = [of_user(bot, "u-42") for _ in range(12)]
    outcomes = bot.at_once(*(lambda thread=thread: thread.chat("Hello?") for thread in threads))
    assert sum(isinstance(outcome, Reply) for outcome in outcomes) == 5
    assert {type(outcome) for outcome in outcomes} == {Reply, BudgetExceeded}
    assert budgeted(bot, budget, "u-42", "messages") == sandbox.billing.requests == 5
    check_holds(bot)


def test_tokens_are_never_overspent_by_many_at_once(world: World) -> None:
    budgets = [Budget("user", tokens=2_500, wait=0.0), Budget("application", tokens=5_000, wait=0.0)]
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, budgets)
    threads = [of_user(bot, user, topic=topic) for user in "abc" for topic in "xyz"]
    outcomes: list[Any] = []
    for number in range(3):
        outcomes += bot.at_once(
            *(lambda thread=thread: thread.chat(f"Round {number}") for thread in threads)  # noqa: B023
        )
    assert {type(outcome) for outcome in outcomes} <= {Reply, BudgetBusy, BudgetExceeded}
    assert any(isinstance(outcome, Reply) for outcome in outcomes)
    assert all(budgeted(bot, budgets[0], user) <= 2_500 for user in "abc")
    assert budgeted(bot, budgets[1], "") == sandbox.billing.totals.total_tokens <= 5_000
    check_holds(bot)


def test_a_budget_that_requests_in_flight_hold_is_busy(world: World, clock: Clock) -> None:
    midnight = go_to_midnight(clock, 3_600)
    slow = SlowModel()
    bot = world.bot(world.sandbox(slow, model_in_thread=True), [Budget("user", messages=1, wait=0.05)])
    first, second = of_user(bot, "u-42"), of_user(bot, "u-42", topic="another")
    with slow.released_after():
        replied, refused = while_slow(bot, slow, first, second)
    assert isinstance(replied, Reply)
    assert isinstance(refused, BudgetBusy)
    assert refused.renews_at == midnight
    assert refused.held == refused.limit == 1
    assert "ask again when they have settled; it renews " in str(refused)
    assert isinstance(bot.try_chat("Quickly: three", second), BudgetExceeded)


def test_what_is_exceeded_is_told_at_once_and_not_waited_for_behind_what_is_busy(world: World) -> None:
    slow = SlowModel()
    budgets = [
        Budget("application", tokens=20_000, wait=30.0),
        Budget("user", messages=1),
        Budget("user", None, cost=0),
    ]
    bot = world.bot(world.sandbox(slow, model_in_thread=True), budgets)
    world.wait(bot.guard.set_budget("u-42", cost=1))
    with slow.released_after():
        replied, refused = while_slow(bot, slow, of_user(bot, "u-42"), of_user(bot, "u-43"))
    assert isinstance(replied, Reply)
    assert isinstance(refused, BudgetExceeded)
    assert refused.policy == "user/ever"
    assert bot.all(BudgetRefusedEvent)[0].time < bot.all(RunSettled)[-1].time


def test_a_request_that_waits_into_the_next_window_is_admitted_there(world: World, clock: Clock) -> None:
    go_to_midnight(clock, 60)
    budget = Budget("user", messages=1, wait=100.0)
    slow = SlowModel()
    bot = world.bot(world.sandbox(slow, model_in_thread=True), [budget])
    first, second = of_user(bot, "u-42"), of_user(bot, "u-42", topic="another")
    waited: list[float] = []

    def midnight_comes(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            clock.advance(60)

    with slow.released_after(), pytest.MonkeyPatch.context() as patch:
        sleep = bot.guard._engine.driver.sleep

        async def watched(seconds: float) -> None:
            midnight_comes(seconds)
            await sleep(seconds)

        patch.setattr(bot.guard._engine.driver, "sleep", watched)
        replied, waiter = while_slow(bot, slow, first, second)
    assert isinstance(replied, Reply)
    assert isinstance(waiter, Reply)
    assert len(waited) == 3
    assert budgeted(bot, budget, "u-42", "messages") == 1
    assert not bot.all(BudgetRefusedEvent)


def test_a_turn_over_midnight_is_booked_in_the_window_of_each_request(world: World, clock: Clock) -> None:
    go_to_midnight(clock, 60)
    budget = Budget("user", tokens=10_000, messages=5)

    def lookup(order: str) -> str:
        """Find an order."""
        yesterday.append(budgeted(bot, budget, "u-42"))
        clock.advance(120)
        return "sent"

    yesterday: list[Decimal] = []
    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [budget], tools=[lookup])
    bot.chat("Where is order 1?", of_user(bot, "u-42"))
    first, second = (call.input_tokens + call.output_tokens for call in sandbox.billing.calls)
    assert yesterday == [first]
    assert budgeted(bot, budget, "u-42") == second
    assert budgeted(bot, budget, "u-42", "messages") == 0
    clock.advance(-120)
    assert budgeted(bot, budget, "u-42", "messages") == 1


def test_a_summary_is_on_the_budget_and_is_no_message(world: World) -> None:
    budget = Budget("user", tokens=100_000, messages=3)
    rotation = ThreadRotation(1, carry_over=CarryOver(tail_turns=0, summary_model="gpt-6-luna"))
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [rotation, budget])
    thread = of_user(bot, "u-42")
    for number in range(3):
        bot.chat(f"Where is order {number}?", thread)
    assert sandbox.billing.requests == 5
    assert budgeted(bot, budget, "u-42", "messages") == 3
    assert budgeted(bot, budget, "u-42") == sandbox.billing.totals.total_tokens
    assert isinstance(bot.try_chat("And now?", thread), BudgetExceeded)
    assert sandbox.billing.requests == 5


def test_an_observed_budget_reports_only(world: World) -> None:
    calls: list[object] = []
    budget = Budget("user", tokens=100, messages=1, on_warning=calls.append)
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [observe(budget)])
    thread = of_user(bot, "u-42")
    for _ in range(3):
        assert bot.chat("Hello?", thread).text
    assert not bot.all(BudgetRefusedEvent)
    assert not bot.all(BudgetWarned)
    observed = [(event.policy, event.decision) for event in bot.all(PolicyObserved)]
    assert set(observed) == {("user/day", "refuse"), ("user/day", "warn")}
    assert observed.count(("user/day", "warn")) == 4, "two shares of two limits"
    assert {request.body.get("max_output_tokens") for request in sandbox.requests} == {None}
    line = line_of(bot, "u-42", "messages")
    assert line.observed
    assert line.committed == 3
    assert line.left == 0
    assert bot.chat("Hello?").text, "not even a thread without a user is refused"
    bot.close()
    assert not calls


def test_a_budget_in_dollars_on_an_unpriced_model_is_refused_at_construction(world: World) -> None:
    unpriced = Assistant(model="house-model-1")
    for policy in (Budget(cost=1), observe(Budget(cost=1))):
        with pytest.raises(ConfigurationError, match=r"Budget user/day cannot price .*house-model-1.*prices="):
            world.bot(world.sandbox(), [policy], assistant=unpriced)


def test_a_budget_alone_never_rotates_a_thread(world: World) -> None:
    sandbox = world.sandbox(lambda request: Answer("word " * 300))
    bot = world.bot(sandbox, [Budget("application", tokens=1_000_000), TokenCap(run=1_500)])
    outcomes = [bot.try_chat("A long one, please") for _ in range(8)]
    assert isinstance(outcomes[-1], BudgetExceeded)
    assert "ThreadRotation" in str(outcomes[-1])
    assert bot.guard.summary()["rotations"] == 0
    check_books(bot, sandbox)


def test_a_refused_tool_step_leaves_a_usable_thread(world: World, clock: Clock) -> None:
    go_to_midnight(clock, 60)
    sandbox = world.sandbox(
        lambda request: (
            FunctionCall("lookup", {"order": str(len(request.items))})
            if "everything" in request.last_user_text
            else "Done."
        )
    )
    bot = world.bot(sandbox, [Budget("user", tokens=1_500)], tools=[Lookups().lookup])
    thread = of_user(bot, "u-42")
    with pytest.raises(BudgetExceeded) as caught:
        bot.chat("Look up everything", thread)
    assert caught.value.run is not None
    assert caught.value.run.steps > 1
    clock.advance(60)
    assert bot.chat("Are you there?", thread).text == "Done."
    check_all(bot, sandbox, thread)


def test_the_clock_of_the_tests_is_the_guards(clock: Clock) -> None:
    midnight = go_to_midnight(clock, 10)
    assert 0 <= midnight - time.time() <= 10
