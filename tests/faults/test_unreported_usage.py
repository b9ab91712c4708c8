"""A server that does not say what was used: booked as an estimate, never below, and caps hold all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assistantguard import Assistant, BudgetExceeded, CostCap, Reply, ThreadRotation, TokenCap
from assistantguard.events import RequestSettled
from assistantguard.sandbox import Answer, FunctionCall, ModelRequest
from assistantguard.sandbox.script import as_answer
from tests.support.checks import check_all, check_holds
from tests.support.models import Lookups, order_desk
from tests.support.world import MODEL, World


def silent(request: ModelRequest) -> Answer:
    """The order desk, on a server that never reports usage."""
    return replace(as_answer(order_desk(request)), usage_reported=False)


def half_silent(request: ModelRequest) -> Answer:
    """The order desk, on a server that reports usage every other time."""
    return replace(as_answer(order_desk(request)), usage_reported=len(request.items) % 4 < 2)


@pytest.mark.parametrize("model", [silent, half_silent])
def test_what_is_not_reported_is_estimated_and_marked(world: World, model: object) -> None:
    sandbox = world.sandbox(model)
    bot = world.bot(sandbox, [ThreadRotation(max_turns=3)], tools=[Lookups().lookup])
    for number in range(5):
        reply = bot.chat(f"Where is order {number}? Please tell me in detail: {'when, ' * 20}")
        assert reply.cost is not None
    summary = bot.guard.summary()
    assert summary["estimated_tokens"] > 0
    assert summary["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    # A bound, but no wild one: the vocabulary is there, so text is counted and not guessed.
    assert summary["session_tokens_used"]["total"] < 4 * sandbox.billing.totals.total_tokens
    check_all(bot, sandbox)


@pytest.mark.parametrize("policy", [TokenCap(session=2_500), CostCap(session="0.0004")], ids=["tokens", "cost"])
def test_caps_hold_without_usage(world: World, policy: TokenCap | CostCap) -> None:
    sandbox = world.sandbox(silent)
    bot = world.bot(sandbox, [policy], tools=[Lookups().lookup])
    outcomes: list[object] = []
    while not outcomes or isinstance(outcomes[-1], Reply):
        outcomes.append(bot.try_chat("Where is order 7?"))
    assert isinstance(outcomes[-1], BudgetExceeded)
    assert len(outcomes) > 2
    billed = sandbox.billing.totals
    if isinstance(policy, TokenCap):
        assert billed.total_tokens <= 2_500
    else:
        assert (billed.cost or 0) <= (policy.session or 0)
    assert bot.ledger.balance(bot.session_account, "tokens").committed >= billed.total_tokens
    check_holds(bot)


def test_reasoning_that_nobody_sees_is_not_booked_as_nothing(world: World) -> None:
    thinking = Answer("Yes.", reasoning_tokens=900, usage_reported=False)
    sandbox = world.sandbox([thinking, thinking])
    bot = world.bot(sandbox, [], assistant=Assistant(model=MODEL, max_output_tokens=2_000))
    bot.chat("Is it so?")
    bot.chat("Really?")
    check_all(bot, sandbox)


def test_a_call_without_usage_is_estimated_with_its_arguments(world: World) -> None:
    call = FunctionCall("lookup", {"order": "a long order number " * 40})
    sandbox = world.sandbox([Answer(tool_calls=[call], usage_reported=False), "Done."])
    bot = world.bot(sandbox, [], tools=[Lookups().lookup])
    bot.chat("Go")
    first = bot.all(RequestSettled)[0]
    assert first.usage.output_tokens > 160
    check_all(bot, sandbox)


def test_after_a_report_the_context_is_known_exactly_again(world: World) -> None:
    silence = Answer("Hm.", usage_reported=False)
    sandbox = world.sandbox([silence, silence, "Yes.", "No."])
    bot = world.bot(sandbox, [])
    for number in range(4):
        bot.chat(f"Hello {number}")
    billed = sandbox.billing.calls[-1]
    assert bot.default.state.context_tokens == billed.input_tokens + billed.output_tokens
    check_all(bot, sandbox)
