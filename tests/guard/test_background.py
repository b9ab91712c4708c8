"""Background mode: chosen where a run may be long, cancelled at the server, and it outlives lost connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    AttemptFailed,
    CarryOver,
    ConfigurationError,
    Reply,
    RequestRejected,
    RunFailed,
    RunTimedOut,
    TextDelta,
    ThreadRotation,
    TokenCap,
    TransientRetry,
)
from assistantguard.events import RequestSettled, RunRetried, ThreadRotated
from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox
from tests.support.checks import check_all, check_holds, check_thread, paths, user_texts
from tests.support.models import Lookups, SlowModel
from tests.support.world import MODEL, Bot, World
from tests.wire.contract import check_requests

RETRY = TransientRetry(3, wait=tenacity.wait_none())
PATIENT = TransientRetry(100, wait=tenacity.wait_fixed(0.05))
PAID = "POST /responses"
LOOK = "GET /responses/{id}"
CANCEL = "POST /responses/{id}/cancel"
WORDS = "one two three four five six seven"
WAYS_TO_ASK = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


def made_how(bot: Bot) -> list[tuple[bool, str | None]]:
    return [(event.background, event.mode_reason) for event in bot.all(RequestSettled)]


def sent_in_background(sandbox: Sandbox) -> list[bool]:
    return [one.body.get("background", False) for one in sandbox.requests if one.endpoint == PAID]


def assistant(**settings: Any) -> Assistant:
    return Assistant(model=MODEL, instructions="Be brief.", **settings)


CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, str]] = {
    # The assistant's settings, the guard's, and how the request is then made and why.
    "nothing said": ({}, {}, False, "it is expected to be short"),
    "little output": ({"max_output_tokens": 16_383}, {}, False, "it is expected to be short"),
    "much output": ({"max_output_tokens": 16_384}, {}, True, "max_output_tokens=16384"),
    "medium effort": ({"reasoning_effort": "medium"}, {}, False, "it is expected to be short"),
    "high effort": ({"reasoning_effort": "high"}, {}, True, "reasoning_effort=high"),
    "file search": (
        {"tools": [{"type": "file_search", "vector_store_ids": []}]},
        {},
        False,
        "it is expected to be short",
    ),
    "wanted": ({}, {"background": True}, True, "background=True"),
    "not wanted": ({"reasoning_effort": "high"}, {"background": False}, False, "background=False"),
}


@pytest.mark.parametrize("choice", CHOICES)
@WAYS_TO_ASK
def test_the_mode_is_chosen_by_rule_and_the_reason_told(world: World, choice: str, *, streamed: bool) -> None:
    settings, options, background, reason = CHOICES[choice]
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [RETRY], assistant=assistant(**settings), **options)
    assert bot.chat("Hello", streamed=streamed).text
    assert made_how(bot) == [(background, reason)]
    assert sent_in_background(sandbox) == [background]
    check_all(bot, sandbox)


@pytest.mark.parametrize("value", ["yes", 1, 0, "auto"])
def test_a_mode_that_is_none_is_refused(world: World, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="background"):
        world.bot(world.sandbox(), background=value)


def test_a_summary_is_made_in_the_foreground(world: World) -> None:
    carry = CarryOver(summary_model=MODEL)
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [RETRY, ThreadRotation(max_turns=1, carry_over=carry)], background=True)
    bot.chat("Hello")
    bot.chat("And now?")
    assert len(bot.all(ThreadRotated)) == 1
    modes = [(event.purpose, event.background, event.mode_reason) for event in bot.all(RequestSettled)]
    assert modes[1] == ("summary", False, "it is not stored")
    assert {mode[1] for mode in modes if mode[0] == "run"} == {True}
    check_all(bot, sandbox)


@WAYS_TO_ASK
def test_a_server_without_background_mode_answers_in_the_foreground(world: World, *, streamed: bool) -> None:
    sandbox = world.sandbox(["One.", "Two.", "Three."], background="refused")
    bot = world.bot(sandbox, [RETRY], background=True)
    replies = [bot.chat(message, streamed=streamed) for message in ("one", "two")]
    replies.append(bot.chat("three", bot.thread("other"), streamed=streamed))
    assert [reply.text for reply in replies] == ["One.", "Two.", "Three."]
    assert [(reply.run.retries, reply.run.attempt) for reply in replies] == [(0, 1)] * 3
    assert bot.all(RunRetried) == []
    assert made_how(bot) == [(False, "the server refuses background mode")] * 3
    assert sent_in_background(sandbox) == [True, False, False, False]
    check_all(bot, sandbox)


@WAYS_TO_ASK
def test_another_refusal_that_speaks_of_a_background_is_no_lack_of_the_mode(world: World, *, streamed: bool) -> None:
    text = "Invalid value: 'blurred'. Supported values are: 'transparent', 'opaque', and 'auto'."
    refusal = Fault.http(
        400, message=f"{text} (tools[0].background)", type="invalid_request_error", param="tools[0].background", at=1
    )
    sandbox = world.sandbox(["One."], faults=[refusal])
    bot = world.bot(sandbox, [RETRY], background=True)
    assert isinstance(bot.try_chat("Hello", streamed=streamed), RequestRejected)
    assert sent_in_background(sandbox) == [True]
    assert bot.chat("Again", streamed=streamed).text == "One."
    assert made_how(bot)[-1] == (True, "background=True")


@WAYS_TO_ASK
def test_a_server_that_makes_background_answers_at_once_is_taken_as_it_is(world: World, *, streamed: bool) -> None:
    script = [FunctionCall("lookup", {"order": "1"}), "It was sent.", "Two."]
    sandbox = world.sandbox(script, background="foreground")
    bot = world.bot(sandbox, [RETRY], tools=[Lookups().lookup], background=True)
    assert bot.chat("Where is it?", streamed=streamed).text == "It was sent."
    assert bot.chat("And now?", streamed=streamed).text == "Two."
    assert paths(sandbox, LOOK) == 0
    check_all(bot, sandbox)


@pytest.mark.parametrize(
    "faults",
    [
        lambda: [Fault.dropped(at=[1, 3], endpoint=LOOK)],
        lambda: [Fault.server_error(at=[1, 2], endpoint=LOOK)],
        lambda: [Fault.rate_limit(retry_after=0.05, at=2, endpoint=LOOK)],
        lambda: [Fault.server_error(503, at=[1, 3], endpoint=LOOK), Fault.dropped(at=[2, 4], endpoint=LOOK)],
        lambda: [Fault.timeout(at=[1, 2], endpoint=LOOK)],
    ],
)
def test_an_answer_outlives_polls_that_fail(world: World, faults: Callable[[], list[Fault]]) -> None:
    sandbox = world.sandbox([Answer(text=WORDS, delay=1.5), "Two."], faults=faults())
    bot = world.bot(sandbox, [RETRY], background=True)
    reply = bot.chat("Hello?")
    assert reply.text == WORDS
    assert (reply.run.retries, reply.run.attempt) == (0, 1)
    assert paths(sandbox, PAID) == 1
    assert sandbox.faults_fired
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)


@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize("clean", [False, True], ids=["dropped", "ended as if whole"])
def test_a_cut_stream_is_taken_up_where_it_was_cut(world: World, after: int, *, clean: bool) -> None:
    sandbox = world.sandbox([Answer(text=WORDS, pace=0.01), "Two."], faults=[Fault.cut(after, clean=clean, at=1)])
    bot = world.bot(sandbox, [RETRY], background=True)
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == WORDS
    assert paths(sandbox, PAID) == 1
    (resumed,) = [one for one in sandbox.requests if one.endpoint == LOOK and one.query]
    assert resumed.query == {"stream": "true", "starting_after": str(after - 1)}
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)
    check_requests(sandbox.requests)


def test_a_stream_that_is_cut_again_and_again_loses_and_doubles_no_text(world: World) -> None:
    faults = [Fault.cut(3, at=1), Fault.cut(2, at=[1, 2, 3], endpoint=LOOK)]
    sandbox = world.sandbox([Answer(text=WORDS, pace=0.05), "Two."], faults=faults)
    bot = world.bot(sandbox, [RETRY], background=True)
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == WORDS
    assert paths(sandbox, PAID) == 1
    assert sandbox.faults_fired > 1
    check_all(bot, sandbox)


@pytest.mark.parametrize("status", [400, 404, 405, 500])
def test_a_stream_that_cannot_be_taken_up_is_polled(world: World, status: int) -> None:
    faults = [Fault.cut(5, at=1), Fault.http(status, type="invalid_request_error", at=1, endpoint=LOOK)]
    sandbox = world.sandbox([Answer(text=WORDS, pace=0.02), "Two."], faults=faults)
    bot = world.bot(sandbox, [RETRY], background=True)
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == WORDS
    assert paths(sandbox, PAID) == 1
    check_all(bot, sandbox)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
@WAYS_TO_ASK
def test_an_answer_that_never_ends_is_cancelled_at_the_deadline(world: World, status: Any, *, streamed: bool) -> None:
    sandbox = world.sandbox(["Never.", "Here I am."], faults=[Fault.stuck(status, at=1)])
    bot = world.bot(sandbox, [RETRY], background=True)
    began = time.perf_counter()
    outcome = bot.try_chat("Hello?", streamed=streamed, deadline=1.5)
    assert time.perf_counter() - began < 20
    assert isinstance(outcome, RunTimedOut)
    assert outcome.run is not None
    assert outcome.run.status == "expired"
    assert paths(sandbox, CANCEL) == 1
    assert [call.status for call in sandbox.billing.calls] == ["cancelled"]
    check_holds(bot)
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)
    assert user_texts(sandbox.conversation(bot.default.state.generation_id or "")) == ["Are you there?"]


@pytest.mark.parametrize("status", [400, 404, 409, 500])
@WAYS_TO_ASK
def test_a_refused_cancel_is_lived_with(world: World, status: int, *, streamed: bool) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    sandbox.inject(Fault.cancel_refused(status, at=range(1, 50)))
    bot = world.bot(sandbox, [PATIENT], background=True, cleanup_timeout=3)
    with slow.released_after():
        outcome = bot.try_chat("Slowly: hello?", streamed=streamed, deadline=1.5)
        assert isinstance(outcome, RunTimedOut)
        check_holds(bot)
        releasing = threading.Timer(0.5, slow.release.set)
        releasing.start()
        # The server goes on, has the conversation until it is done, and adds to it.
        assert bot.chat("Are you there?").text == "Done: Are you there?"
        releasing.join()
    assert bot.chat("And now?").text == "Done: And now?"
    check_thread(sandbox, bot.default)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["Are you there?", "And now?"]
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens


@WAYS_TO_ASK
def test_an_answer_whose_request_was_lost_is_found_and_not_made_twice(world: World, *, streamed: bool) -> None:
    sandbox = world.sandbox([Answer(text=WORDS, delay=0.4), "Two."], faults=[Fault.dropped(at=1, after_work=True)])
    bot = world.bot(sandbox, [PATIENT], background=True)
    reply = bot.chat("Hello?", streamed=streamed)
    assert reply.text in {WORDS, "Two."}
    bot.try_chat("And now?")
    bot.try_chat("And then?")
    check_thread(sandbox, bot.default)
    check_holds(bot)
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens


@pytest.mark.parametrize("usage_reported", [False, True])
@WAYS_TO_ASK
def test_a_failed_answer_is_made_again(world: World, *, usage_reported: bool, streamed: bool) -> None:
    fault = Fault.failed_response(at=1, text="Half an", usage_reported=usage_reported)
    sandbox = world.sandbox(["Whole.", "Two."], faults=[fault])
    bot = world.bot(sandbox, [RETRY], background=True)
    reply = bot.chat("Hello?", streamed=streamed)
    assert (reply.text, reply.run.retries) == ("Whole.", 1)
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)


def test_a_failed_answer_in_the_background_is_told_as_void(world: World) -> None:
    sandbox = world.sandbox(["Whole."], faults=[Fault.failed_response(at=1, text="Half an")])
    bot = world.bot(sandbox, [RETRY], background=True)
    events = bot.stream("Hello?")
    (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
    shown = [event.text for event in events[: events.index(failed)] if isinstance(event, TextDelta)]
    assert "".join(shown) == "Half an"
    assert failed.discarded_characters == len("Half an")


@WAYS_TO_ASK
def test_an_answer_that_is_gone_while_it_is_polled_ends_in_a_reply_or_a_named_error(
    world: World, *, streamed: bool
) -> None:
    faults = [Fault.cut(3, at=1), Fault.http(404, type="invalid_request_error", at=range(1, 20), endpoint=LOOK)]
    sandbox = world.sandbox([Answer(text=WORDS, delay=0.2), "Two.", "Three."], faults=faults)
    bot = world.bot(sandbox, [PATIENT], background=True, cleanup_timeout=3)
    outcome = bot.try_chat("Hello?", streamed=streamed, deadline=60)
    assert isinstance(outcome, (Reply, RunFailed))
    check_holds(bot)
    sandbox.faults = []
    assert isinstance(bot.try_chat("And now?"), Reply)
    check_thread(sandbox, bot.default)
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens


@WAYS_TO_ASK
def test_a_cap_bounds_an_answer_in_the_background(world: World, *, streamed: bool) -> None:
    sandbox = world.sandbox(["word " * 2_000])
    bot = world.bot(sandbox, [RETRY, TokenCap(run=300)], background=True)
    outcome = bot.chat("Hello?", streamed=streamed)
    assert outcome.run.status == "incomplete"
    assert outcome.usage.total_tokens <= 300
    check_all(bot, sandbox)


def test_runs_in_the_background_go_on_side_by_side(world: World) -> None:
    sandbox = world.sandbox(lambda request: Answer(text=f"Done: {request.last_user_text}", delay=0.2))
    bot = world.bot(sandbox, [RETRY], background=True)
    threads = [bot.thread(f"user {number}") for number in range(6)]
    calls = [lambda thread=thread: thread.chat(f"Hello from {thread.id}") for thread in threads]
    replies = bot.at_once(*calls)
    assert [reply.text for reply in replies] == [f"Done: Hello from {thread.id}" for thread in threads]
    check_all(bot, sandbox, *threads)
