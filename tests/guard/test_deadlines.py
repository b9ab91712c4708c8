"""A deadline on every run, and a limit on every tool call."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import tenacity

from assistantguard import RetriesExhausted, RunTimedOut, TransientRetry, tool
from assistantguard.events import RunRetried, ToolSettled
from assistantguard.sandbox import Fault, FunctionCall, ToolCalls
from tests.support.checks import check_all, check_holds, check_thread
from tests.support.models import Lookups, SlowModel
from tests.support.waiting import wait_until
from tests.support.world import World


def test_a_slow_model_ends_in_a_time_out_that_is_booked(world: World) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    bot = world.bot(sandbox, [TransientRetry(50, wait=tenacity.wait_fixed(0.05))])
    began = time.perf_counter()
    with slow.released_after(), pytest.raises(RunTimedOut) as caught:
        bot.chat("Slowly: hello?", deadline=1.5)
    assert time.perf_counter() - began < SlowModel.longest
    assert caught.value.run is not None
    assert caught.value.run.status == "expired"
    summary = bot.guard.summary()
    assert summary["cancelled_runs"] == 1
    assert summary["estimated_tokens"] == summary["session_tokens_used"]["total"] > 0
    check_holds(bot)
    slow.wait_until_answered(sandbox)
    assert summary["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)


def test_a_conversation_that_is_still_locked_is_waited_for(world: World) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True, on_disconnect="complete")
    retry = TransientRetry(1_000, wait=tenacity.wait_fixed(0.02))
    bot = world.bot(sandbox, [retry])
    other = world.bot(sandbox, [retry])
    with slow.released_after():
        with pytest.raises(RunTimedOut):
            bot.chat("Slowly: hello?", deadline=1.5)
        thread = other.thread(conversation_id=bot.default.state.generation_id)

        def release_once_refused() -> None:
            wait_until(lambda: other.all(RunRetried))
            slow.release.set()

        releasing = threading.Thread(target=release_once_refused)
        releasing.start()
        reply = other.chat("Are you there?", thread)
        releasing.join()
    assert reply.text == "Done: Are you there?"
    assert reply.run.retries > 0
    check_thread(sandbox, thread)


def test_a_tool_gets_what_is_left_of_the_run(world: World) -> None:
    release = threading.Event()

    def lookup(order: str) -> str:
        """Find an order."""
        release.wait(60)
        return order

    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Never said.", "Here I am."])
    bot = world.bot(sandbox, [], tools=[lookup])
    began = time.perf_counter()
    try:
        with pytest.raises(RunTimedOut):
            bot.chat("Where is it?", deadline=1.5)
    finally:
        release.set()
    assert time.perf_counter() - began < 30
    (settled,) = bot.all(ToolSettled)
    assert settled.failed
    assert settled.error_type == "TimeoutError"
    check_all(bot, sandbox)
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)


def test_a_tool_past_its_own_limit_tells_the_model_and_the_run_goes_on(world: World) -> None:
    release = threading.Event()

    @tool(timeout=0.05)
    def slow(order: str) -> str:
        """Find an order, slowly."""
        release.wait(60)
        return order

    sandbox = world.sandbox([FunctionCall("slow", {"order": "1"}), "It takes too long."])
    bot = world.bot(sandbox, [], tools=[slow])
    try:
        reply = bot.chat("Where is it?")
    finally:
        release.set()
    assert reply.text == "It takes too long."
    assert reply.run.steps == 1
    output = sandbox.requests[-1].body["input"][0]["output"]
    assert "\n" not in output
    assert "TimeoutError" in output
    assert "0.05" in output
    check_all(bot, sandbox)


def test_the_guards_own_limit_holds_for_tools_without_one(world: World) -> None:
    release = threading.Event()
    lookups = Lookups()

    def slow(order: str) -> str:
        """Find an order, slowly."""
        release.wait(60)
        return order

    script = [ToolCalls(FunctionCall("slow", {"order": "1"}), FunctionCall("lookup", {"order": "2"})), "One of two."]
    sandbox = world.sandbox(script)
    bot = world.bot(sandbox, [], tools=[slow, lookups.lookup], tool_timeout=1.5)
    try:
        assert bot.chat("Where are they?").text == "One of two."
    finally:
        release.set()
    outputs = [item["output"] for item in sandbox.requests[-1].body["input"]]
    assert "TimeoutError" in outputs[0]
    assert outputs[1] == "order 2 was sent"
    check_all(bot, sandbox)


def test_an_async_tool_is_cancelled_at_its_limit() -> None:
    cancelled: list[bool] = []

    @tool(timeout=0.05)
    async def slow(order: str) -> str:
        """Find an order, slowly."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return order

    with World("async") as world:
        sandbox = world.sandbox([FunctionCall("slow", {"order": "1"}), "It takes too long."])
        bot = world.bot(sandbox, [], tools=[slow])
        assert bot.chat("Where is it?").text == "It takes too long."
        assert cancelled == [True]
        check_all(bot, sandbox)


def test_a_wait_that_would_pass_the_deadline_is_not_begun(world: World) -> None:
    sandbox = world.sandbox(["Hello."], faults=[Fault.rate_limit(retry_after=60, at=1)])
    bot = world.bot(sandbox, [TransientRetry(3)], run_timeout=50)
    began = time.perf_counter()
    with pytest.raises(RetriesExhausted):
        bot.chat("Hello?")
    assert time.perf_counter() - began < 40
    assert bot.chat("Again?").text == "Hello."
    check_all(bot, sandbox)


def test_a_wait_longer_than_the_policy_bears_is_not_begun(world: World) -> None:
    sandbox = world.sandbox(["Hello."], faults=[Fault.rate_limit(retry_after=60, at=1)])
    bot = world.bot(sandbox, [TransientRetry(3, max_wait=10)])
    with pytest.raises(RetriesExhausted):
        bot.chat("Hello?")
    assert bot.chat("Again?").text == "Hello."


def test_the_wait_that_the_server_asks_for_is_kept(world: World) -> None:
    sandbox = world.sandbox(["Hello."], faults=[Fault.rate_limit(retry_after=0.2, at=1)])
    bot = world.bot(sandbox, [TransientRetry(3, wait=tenacity.wait_none())])
    assert bot.chat("Hello?").run.retries == 1
    first, second = [request for request in sandbox.requests if request.endpoint == "POST /responses"]
    assert second.received_at - first.received_at >= 0.2
