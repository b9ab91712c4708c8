"""Usage that the server tells late: estimated at once, corrected exactly once, and never asked for without end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import openai
import pytest
import tenacity

from assistantguard import Reply, RunTimedOut, TextDelta, TokenCap, TransientRetry, Usage
from assistantguard.events import RequestSettled, RunSettled, UsageCorrected
from assistantguard.sandbox import After, Answer, Conduct, Fault, Sandbox
from tests.support.checks import check_all, check_holds, check_thread, paths, user_texts
from tests.support.world import Bot, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
PATIENT = TransientRetry(100, wait=tenacity.wait_fixed(0.05))
LOOK = "GET /responses/{id}"
CANCEL = "POST /responses/{id}/cancel"
ITEMS = "/conversations/{id}/items"
WORDS = "one two three four five six seven eight"
WAYS_TO_ASK = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


def check_corrected(bot: Bot, sandbox: Sandbox, *, corrections: int = 1) -> None:
    """The books are what was billed, and every way to ask for them agrees on the way there."""
    corrected = bot.all(UsageCorrected)
    assert len(corrected) == corrections
    for event in corrected:
        assert not event.usage.estimated
        assert event.before.estimated_tokens == event.before.total_tokens > event.usage.total_tokens
        assert event.cost is not None
        assert event.before_cost is not None
        assert event.before_cost > event.cost
    check_all(bot, sandbox)
    billed = sandbox.billing.totals
    summary = bot.guard.summary()
    assert summary["session_tokens_used"]["total"] == billed.total_tokens
    assert summary["estimated_tokens"] == 0
    assert summary["cost"] == sandbox.billing.totals.cost
    assert bot.default.state.usage.total_tokens == billed.total_tokens
    settled = sum((event.usage for event in bot.all(RequestSettled)), Usage())
    for event in corrected:
        settled += event.usage - event.before
    assert settled.total_tokens == billed.total_tokens


def interrupted(bot: Bot, *, streamed: bool) -> None:
    """A turn that its deadline ends while the server is at work."""
    outcome = bot.try_chat("Slowly", streamed=streamed, deadline=1.5)
    assert isinstance(outcome, RunTimedOut)
    check_holds(bot)


@WAYS_TO_ASK
def test_usage_that_comes_after_a_good_answer_is_corrected(world: World, *, streamed: bool) -> None:
    sandbox = world.sandbox(["One.", "Two.", "Three."], faults=[Fault.late_usage(at=1, reads=1)])
    bot = world.bot(sandbox, [RETRY])
    first = bot.chat("one", streamed=streamed)
    assert first.usage.estimated
    assert bot.guard.summary()["estimated_tokens"] > 0
    for message in ("two", "three", "four?"):
        bot.try_chat(message, streamed=streamed)
    check_corrected(bot, sandbox)
    assert user_texts(sandbox.conversation(bot.default.state.generation_id or ""))[:3] == ["one", "two", "three"]


@WAYS_TO_ASK
@pytest.mark.parametrize("reads", [1, 2, 3])
def test_usage_that_comes_after_a_cancel_is_corrected(world: World, reads: int, *, streamed: bool) -> None:
    sandbox = world.sandbox(
        [Answer(text=WORDS, delay=30), "Two.", "Three.", "Four.", "Five."],
        faults=[Fault.late_usage(at=1, reads=reads, on_cancel=True)],
    )
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=streamed)
    estimated = bot.guard.summary()["session_tokens_used"]["total"]
    assert bot.guard.summary()["estimated_tokens"] == estimated > sandbox.billing.totals.total_tokens
    for message in ("two", "three", "four", "five"):
        assert isinstance(bot.try_chat(message), Reply)
    check_corrected(bot, sandbox)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["two", "three", "four", "five"]


@WAYS_TO_ASK
@pytest.mark.parametrize("turned", ["at once", "before the next turn", "after the next turn"])
def test_a_cancelled_answer_that_turned_completed_is_booked_and_removed(
    world: World, turned: str, *, streamed: bool
) -> None:
    conduct = Conduct(completes_after_cancel=After(seconds=0.0 if turned == "at once" else 1_000))
    script = [Answer(text=WORDS, delay=30, conduct=conduct), "Two.", "Three.", "Four."]
    sandbox = world.sandbox(script)
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=streamed)
    if turned == "before the next turn":
        sandbox.advance(2_000)
    assert bot.chat("two").text == "Two."
    if turned == "after the next turn":
        sandbox.advance(2_000)
    assert bot.chat("three").text == "Three."
    assert bot.chat("four").text == "Four."
    if turned == "at once":
        check_all(bot, sandbox)
    else:
        check_corrected(bot, sandbox)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["two", "three", "four"]
    (first, *_) = sandbox.billing.calls
    assert first.status == "completed"


@WAYS_TO_ASK
def test_usage_told_at_the_cancel_is_looked_at_again(world: World, *, streamed: bool) -> None:
    # Cancelled with what was made so far, and completed all the same.
    conduct = Conduct(stopped_usage=True, completes_after_cancel=After(seconds=1_000))
    sandbox = world.sandbox([Answer(text=WORDS * 20, pace=0.2, conduct=conduct), "Two.", "Three.", "Four."])
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=streamed)
    sandbox.advance(2_000)
    for message in ("two", "three", "four"):
        assert isinstance(bot.try_chat(message), Reply)
    assert bot.guard.summary()["session_tokens_used"]["total"] == sandbox.billing.totals.total_tokens
    assert bot.ledger.balance(bot.session_account, "tokens").committed == sandbox.billing.totals.total_tokens
    check_thread(sandbox, bot.default)
    check_holds(bot)


@WAYS_TO_ASK
def test_usage_told_at_the_cancel_needs_no_correction(world: World, *, streamed: bool) -> None:
    conduct = Conduct(stopped_usage=True)
    sandbox = world.sandbox([Answer(text=WORDS, delay=30, conduct=conduct), "Two.", "Three."])
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=streamed)
    for message in ("two", "three"):
        assert isinstance(bot.try_chat(message), Reply)
    assert bot.all(UsageCorrected) == []
    assert bot.guard.summary()["estimated_tokens"] == 0
    assert bot.guard.summary()["session_tokens_used"]["total"] == sandbox.billing.totals.total_tokens
    check_all(bot, sandbox)


def test_usage_that_is_not_told_for_long_stays_an_estimate(world: World) -> None:
    fault = Fault.late_usage(at=1, reads=50, on_cancel=True)
    sandbox = world.sandbox(
        [Answer(text=WORDS, delay=30), *(f"Answer {number}" for number in range(8))], faults=[fault]
    )
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=True)
    for number in range(8):
        assert bot.chat(f"Hello {number}").text == f"Answer {number}"
    asked = [one for one in sandbox.requests if one.endpoint == LOOK and one.path.endswith(first_id(sandbox))]
    assert 1 < len(asked) < 8
    assert bot.default.state.late == []
    assert bot.all(UsageCorrected) == []
    check_all(bot, sandbox)


def first_id(sandbox: Sandbox) -> str:
    return sandbox.billing.calls[0].response_id


def test_an_answer_that_completed_while_it_was_cancelled_is_booked_as_it_was(world: World) -> None:
    sandbox = world.sandbox([Answer(text=WORDS, delay=1.55), "Two."])
    bot = world.bot(sandbox, [RETRY], background=True)
    sandbox.inject(Fault.slow(0.3, at=1, endpoint=CANCEL))
    outcome = bot.try_chat("Slowly", deadline=1.5)
    assert bot.chat("two").text == "Two."
    check_all(bot, sandbox)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == (["Slowly", "two"] if isinstance(outcome, Reply) else ["two"])


def test_a_correction_gives_its_room_on_a_cap_back(world: World) -> None:
    fault = Fault.late_usage(at=1, seconds=1_000, on_cancel=True)
    sandbox = world.sandbox([Answer(text=WORDS, delay=30), "Two.", "Three."], faults=[fault])
    bot = world.bot(sandbox, [RETRY, TokenCap(session=2_000)], background=True)
    interrupted(bot, streamed=False)
    full = bot.ledger.balance(bot.session_account, "tokens").committed
    assert full > 1_900
    assert not isinstance(bot.try_chat("two"), Reply)
    sandbox.advance(2_000)
    assert isinstance(bot.try_chat("two"), Reply)
    assert bot.ledger.balance(bot.session_account, "tokens").committed < 500
    assert bot.guard.summary()["session_tokens_used"]["total"] == sandbox.billing.totals.total_tokens


def test_heal_learns_late_usage_too(world: World) -> None:
    fault = Fault.late_usage(at=1, seconds=1_000, on_cancel=True)
    sandbox = world.sandbox([Answer(text=WORDS, delay=30), "Two."], faults=[fault])
    bot = world.bot(sandbox, [RETRY], background=True)
    interrupted(bot, streamed=False)
    sandbox.advance(2_000)
    bot.heal()
    assert len(bot.all(UsageCorrected)) == 1
    bot.heal()
    assert bot.chat("two").text == "Two."
    check_corrected(bot, sandbox)


def test_a_server_that_never_tells_is_not_asked_for_ever(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.no_usage(at=range(1, 100))])
    bot = world.bot(sandbox, [RETRY])
    looks: list[int] = []
    for number in range(14):
        bot.chat(f"Hello {number}")
        looks.append(paths(sandbox, LOOK))
    assert 0 < looks[-1] <= 10
    assert looks[-1] == looks[-4]
    # Nor on other threads of the guard.
    other = bot.thread("other")
    for number in range(3):
        bot.chat(f"Hello {number}", other)
    assert paths(sandbox, LOOK) == looks[-1]
    assert bot.guard.summary()["estimated_tokens"] == bot.guard.summary()["session_tokens_used"]["total"]
    check_all(bot, sandbox, bot.default, other)


@pytest.mark.parametrize("status", [400, 404, 405, 500])
def test_a_server_that_cannot_be_asked_costs_a_few_looks_and_no_turn(world: World, status: int) -> None:
    faults = [
        Fault.no_usage(at=range(1, 100)),
        Fault.http(status, type="invalid_request_error", at=range(1, 500), endpoint=LOOK),
    ]
    sandbox = world.sandbox(faults=faults)
    bot = world.bot(sandbox, [RETRY])
    replies = [bot.chat(f"Hello {number}") for number in range(12)]
    assert {reply.run.retries for reply in replies} == {0}
    assert paths(sandbox, LOOK) <= 36
    check_all(bot, sandbox)


def test_an_abandoned_answer_that_goes_on_is_corrected_when_it_is_done(world: World) -> None:
    sandbox = world.sandbox([Answer(text=WORDS * 4, pace=0.2), "Two.", "Three."], on_disconnect="complete")
    bot = world.bot(sandbox, [PATIENT])
    bot.stream("Slowly", until=lambda event: isinstance(event, TextDelta))
    until = time.monotonic() + 60
    while not sandbox.billing.calls or sandbox.billing.calls[0].status != "completed":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert isinstance(bot.try_chat("two"), Reply)
    assert isinstance(bot.try_chat("three"), Reply)
    check_corrected(bot, sandbox)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["two", "three"]


class Held:
    """Holds the client between the answer to one request and whatever it sends next."""

    def __init__(self, world: World, number: int, seconds: float) -> None:
        self._number, self._seconds, self._seen = number, seconds, 0
        hook: Any = self._wait_async if world.is_async else self._wait
        options: Any = {"trust_env": False, "verify": False, "event_hooks": {"response": [hook]}}
        self.http_client: Any = (
            openai.DefaultAsyncHttpxClient(**options) if world.is_async else openai.DefaultHttpxClient(**options)
        )

    def _hit(self, response: Any) -> bool:
        request = response.request
        self._seen += request.method == "GET" and request.url.path.endswith("/items")
        return bool(self._seen == self._number and request.url.path.endswith("/items"))

    def _wait(self, response: Any) -> None:
        if self._hit(response):
            time.sleep(self._seconds)

    async def _wait_async(self, response: Any) -> None:
        if self._hit(response):
            await asyncio.sleep(self._seconds)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3])
@WAYS_TO_ASK
def test_an_answer_that_lands_between_the_look_and_the_next_attempt_does_not_stand_twice(
    world: World, number: int, *, background: bool, streamed: bool
) -> None:
    fault = Fault.dropped(at=1, after_work=True)
    sandbox = world.sandbox([Answer(text=WORDS, delay=0.4), "Two.", "Three.", "Four."], faults=[fault])
    held = Held(world, number, 0.6)
    bot = world.bot(
        sandbox, [PATIENT], background=background, client=world.client(sandbox, http_client=held.http_client)
    )
    first = bot.chat("Hello?", streamed=streamed)
    assert first.text in {WORDS, "Two."}
    bot.chat("And now?")
    bot.chat("And then?")
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["Hello?", "And now?", "And then?"]
    check_thread(sandbox, bot.default)
    check_holds(bot)
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    assert [event.status for event in bot.all(RunSettled)] == ["completed"] * 3
