"""Deadlines of turns, streamed or not: the call ends within the deadline and the clean-up, whatever the server does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
import tenacity

from assistantguard import (
    AssistantGuardError,
    Reply,
    RunTimedOut,
    TransientRetry,
)
from assistantguard.events import RunCancelled, RunStarted
from assistantguard.sandbox import Fault, FunctionCall
from tests.support.checks import check_all, check_holds, check_thread, paths
from tests.support.dripping import Drip, DrippingServer
from tests.support.slow import slow_words, until
from tests.support.waiting import wait_until
from tests.support.world import World

RETRY = TransientRetry(3, wait=tenacity.wait_none())


DEADLINE = 1.5
"""Seconds in which a turn gets to where it is stuck, also where the machine stands still for a second."""


HICCUPS = 15
"""Seconds for which the machine may stand still, all in all."""


PATIENT = TransientRetry(200, wait=tenacity.wait_fixed(0.05))
"""Waits for what could not be cancelled."""


CANCEL = "POST /responses/{id}/cancel"


GET_RESPONSE = "GET /responses/{id}"


ITEMS = "GET /conversations/{id}/items"


EVERY = range(1, 1_000)


MODES = pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])


WAYS_TO_ASK = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


SILENCES: dict[str, tuple[list[str], bool]] = {
    # Where nothing is answered, and whether the first request of all is among it.
    "everything": (["*"], True),
    "the request": (["POST /responses"], True),
    "looking and cancelling": ([GET_RESPONSE, CANCEL], False),
    "cancelling": ([CANCEL], False),
    "reading the conversation": (["POST /responses", ITEMS], True),
}


@pytest.mark.parametrize("silence", SILENCES)
@MODES
@WAYS_TO_ASK
def test_a_server_that_goes_silent_costs_no_more_than_the_deadline_and_the_clean_up(
    world: World, silence: str, *, background: bool, streamed: bool
) -> None:
    endpoints, at_once = SILENCES[silence]
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [PATIENT], background=background, cleanup_timeout=0.8)
    bot.chat("Hello")
    sandbox.faults = [Fault.silent(at=EVERY, endpoint=endpoint) for endpoint in endpoints]
    began = time.perf_counter()
    outcome = bot.try_chat("Slowly", streamed=streamed, deadline=DEADLINE)
    assert time.perf_counter() - began < DEADLINE + 0.8 + HICCUPS
    assert isinstance(outcome, RunTimedOut)
    check_holds(bot)
    assert (silence == "everything" and at_once) or paths(sandbox, "POST /responses") == 2
    sandbox.faults = []
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)
    booked = bot.guard.summary()["session_tokens_used"]["total"]
    assert booked >= sandbox.billing.totals.total_tokens


@MODES
def test_a_stream_of_comments_without_end_stops_at_the_deadline(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(slow_words, faults=[Fault.endless("comments", at=1)])
    bot = world.bot(sandbox, [RETRY], background=background, cleanup_timeout=5)
    began = time.perf_counter()
    outcome = bot.try_chat("Hello", streamed=True, deadline=DEADLINE)
    assert time.perf_counter() - began < DEADLINE + 5 + HICCUPS
    assert isinstance(outcome, RunTimedOut)
    assert paths(sandbox, CANCEL) == int(background)
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox)


@pytest.mark.parametrize("also_reads", [False, True], ids=["the request", "the clean-up, too"])
@pytest.mark.parametrize("drip", ["headers", "body", "comments", "silent body"])
@WAYS_TO_ASK
def test_a_server_that_drips_costs_no_more_than_the_deadline_and_the_clean_up(
    world: World, drip: Drip, *, also_reads: bool, streamed: bool
) -> None:
    if drip == "headers" and not world.is_async:
        pytest.skip("a known limit, told in the README: a blocking client cannot be kept from headers that drip")
    with DrippingServer(drip, also_reads=also_reads) as server:
        kind: Any = openai.AsyncOpenAI if world.is_async else openai.OpenAI
        client = kind(base_url=server.base_url, api_key="sk-test")
        nowhere: Any = None
        bot = world.bot(nowhere, [RETRY], client=client, cleanup_timeout=0.5)
        began = time.perf_counter()
        outcome = bot.try_chat("Hello", streamed=streamed, deadline=0.5)
        assert time.perf_counter() - began < 0.5 + 0.5 + HICCUPS
        world.wait(client.close())
    assert isinstance(outcome, RunTimedOut)
    assert not bot.ledger.open_holds()


@WAYS_TO_ASK
def test_the_shorter_of_deadline_and_run_timeout_ends_a_turn_and_is_named(world: World, *, streamed: bool) -> None:
    for run_timeout, deadline, named in (
        (DEADLINE, 180.0, "run_timeout"),
        (180.0, DEADLINE, "deadline"),
        (DEADLINE, None, "run_timeout"),
    ):
        sandbox = world.sandbox(slow_words)
        bot = world.bot(sandbox, [RETRY], run_timeout=run_timeout)
        outcome = bot.try_chat("Slowly", streamed=streamed, deadline=deadline)
        assert isinstance(outcome, RunTimedOut)
        assert outcome.policy == named
        assert named in str(outcome)
        assert "1.5" in str(outcome) or "1.49" in str(outcome)
        (cancelled,) = bot.all(RunCancelled)
        assert cancelled.policy == named
        assert bot.chat("Are you there?", streamed=streamed).text == "Done: Are you there?"
        check_all(bot, sandbox, nameless=int(not streamed))


@WAYS_TO_ASK
def test_a_deadline_covers_tools_and_the_waits_between_attempts(world: World, *, streamed: bool) -> None:
    release = threading.Event()

    def wait_long(order: str) -> str:
        """Find an order."""
        release.wait(60)
        return order

    sandbox = world.sandbox([FunctionCall("wait_long", {"order": "1"}), "Never said.", "Here I am."])
    bot = world.bot(sandbox, [RETRY], tools=[wait_long])
    began = time.perf_counter()
    try:
        outcome = bot.try_chat("Where is it?", streamed=streamed, deadline=DEADLINE)
    finally:
        release.set()
    assert time.perf_counter() - began < DEADLINE + HICCUPS
    assert isinstance(outcome, RunTimedOut)
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)
    sandbox = world.sandbox(slow_words, faults=[Fault.rate_limit(at=EVERY)])
    bot = world.bot(sandbox, [TransientRetry(500, wait=tenacity.wait_fixed(0.05))])
    began = time.perf_counter()
    outcome = bot.try_chat("Hello", streamed=streamed, deadline=DEADLINE)
    assert time.perf_counter() - began < DEADLINE + HICCUPS
    assert isinstance(outcome, AssistantGuardError)
    assert paths(sandbox, "POST /responses") > 1


def test_a_turn_waits_for_its_thread_no_longer_than_its_deadline(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY])
    bot.chat("Hello")

    def is_taken() -> bool:
        return len(bot.all(RunStarted)) == 2

    def waiting(**how: Any) -> Callable[[], Any]:
        if world.is_async:

            async def later() -> Any:
                await until(is_taken)
                return await asking(**how)

            return later

        def later_in_a_thread() -> Any:
            wait_until(is_taken)
            return asking(**how)

        return later_in_a_thread

    def asking(*, streamed: bool) -> Any:
        if streamed:
            return bot.guard.stream("Are you there?", deadline=0.2).until_done()
        return bot.guard.chat("Are you there?", deadline=0.2)

    outcomes = bot.at_once(lambda: bot.guard.chat("Slowly"), waiting(streamed=False), waiting(streamed=True))
    assert isinstance(outcomes[0], Reply)
    for outcome in outcomes[1:]:
        assert isinstance(outcome, RunTimedOut)
        assert outcome.policy == "deadline"
        assert outcome.thread_id == bot.default.id
        assert "nothing was sent" in str(outcome)
    assert bot.chat("And now?").text == "Done: And now?"
    check_all(bot, sandbox)
    assert len(bot.all(RunStarted)) == 3


def test_asking_for_late_usage_does_not_use_a_turns_time_up(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY], cleanup_timeout=1)
    for number in range(4):
        sandbox.faults = [Fault.no_usage(at=1), Fault.server_error(at=EVERY, endpoint=GET_RESPONSE)]
        bot.chat(f"Hello {number}")
    sandbox.faults = [Fault.silent(at=EVERY, endpoint=GET_RESPONSE)]
    assert bot.chat("Are you there?", deadline=HICCUPS).text == "Done: Are you there?"
