"""A streamed turn is the same turn: the same reply, books, telemetry and requests, told as it happens."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    AttemptFailed,
    BudgetExceeded,
    ConfigurationError,
    QuotaExhausted,
    Reply,
    ReplyReady,
    RunStream,
    StreamEvent,
    TextDelta,
    TokenCap,
    ToolCallRequested,
    ToolCallSettled,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
)
from assistantguard.events import RequestSettled, RunCancelled, RunSettled
from assistantguard.sandbox import Answer, Fault, FunctionCall, ModelRequest, ToolCalls
from tests.support.checks import check_all, paths, user_texts
from tests.support.models import Lookups
from tests.support.world import World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
TOOLS = [
    FunctionCall("lookup", {"order": "1"}),
    ToolCalls(FunctionCall("lookup", {"order": "2"}), FunctionCall("lookup", {"order": "3"})),
    "Both were sent.",
    "Two.",
]
PLAIN = ["One.", "Two.", "Three."]
SPOKEN_TOOLS = [Answer(text="Let me see.", tool_calls=[FunctionCall("lookup", {"order": "1"})]), "It was sent.", "Two."]


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_tells_text_tools_and_the_reply_in_their_order(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(TOOLS)
    bot = world.bot(sandbox, [RETRY], tools=[Lookups().lookup], background=background)
    events = bot.stream("Where are they?")
    kinds = [type(event) for event in events]
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert kinds == [
        ToolCallRequested,
        ToolCallSettled,
        ToolCallRequested,
        ToolCallRequested,
        ToolCallSettled,
        ToolCallSettled,
        *[TextDelta] * len(texts),
        ReplyReady,
    ]
    asked = [event.call for event in events if isinstance(event, ToolCallRequested)]
    answered = [event.output for event in events if isinstance(event, ToolCallSettled)]
    assert [call.arguments["order"] for call in asked] == ["1", "2", "3"]
    assert [output.output for output in answered] == [f"order {number} was sent" for number in (1, 2, 3)]
    assert [output.call_id for output in answered] == [call.id for call in asked]
    assert {event.step for event in texts} == {2}
    last = events[-1]
    assert isinstance(last, ReplyReady)
    assert "".join(event.text for event in texts) == last.reply.text == "Both were sent."
    assert len(texts) > 1
    check_all(bot, sandbox)


def test_texts_of_different_steps_are_set_apart(world: World) -> None:
    bot = world.bot(world.sandbox(SPOKEN_TOOLS), [RETRY], tools=[Lookups().lookup])
    stream = bot.guard.stream("Where is it?")
    assert "".join(bot.texts(stream)) == "Let me see.\n\nIt was sent."
    assert stream.reply.text == "It was sent."
    bot = world.bot(world.sandbox(SPOKEN_TOOLS), [RETRY], tools=[Lookups().lookup])
    assert "".join(bot.texts(bot.guard.stream("Where is it?"), separator=" | ")) == "Let me see. | It was sent."


def test_text_of_an_attempt_that_failed_is_set_apart_and_told_to_be_void(world: World) -> None:
    for separator in ("\n\n", "--"):
        sandbox = world.sandbox(["Here I am."], faults=[Fault.failed_response(at=[1, 2], text="Half an")])
        bot = world.bot(sandbox, [RETRY])
        stream = bot.guard.stream("Hello?")
        text = "".join(bot.texts(stream, separator=separator))
        assert text == f"Half an{separator}Half an{separator}Here I am."
        assert stream.reply.text == "Here I am."
        check_all(bot, sandbox)


def test_a_failed_attempt_tells_what_failed_and_how_much_was_shown(world: World) -> None:
    fault = Fault.failed_response("rate_limit_exceeded", at=1, text="Half an answer")
    sandbox = world.sandbox(["Here I am."], faults=[fault, Fault.rate_limit(retry_after=0.03, at=2)])
    bot = world.bot(sandbox, [RETRY])
    events = bot.stream("Hello?")
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert [(event.attempt, event.kind, event.code) for event in failed] == [
        (1, "transient", "rate_limit_exceeded"),
        (2, "transient", "rate_limit_exceeded"),
    ]
    assert [event.discarded_characters for event in failed] == [len("Half an answer"), 0]
    assert 0 < failed[1].wait <= 0.03
    shown = "".join(event.text for event in events[: events.index(failed[0])] if isinstance(event, TextDelta))
    assert shown == "Half an answer"
    check_all(bot, sandbox)


def test_an_answer_found_in_the_conversation_is_told_as_text(world: World) -> None:
    # The connection was lost before the first event, and the work was done.
    sandbox = world.sandbox(["Here I am."], faults=[Fault.dropped(at=1, after_work=True)])
    bot = world.bot(sandbox, [RETRY])
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Here I am."
    assert paths(sandbox, "POST /responses") == 1


@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize("clean", [False, True], ids=["dropped", "ended as if whole"])
def test_an_answer_that_goes_on_behind_a_cut_is_told_whole_and_once(world: World, after: int, *, clean: bool) -> None:
    answer = Answer(text="one two three four five six seven", pace=0.002)
    sandbox = world.sandbox([answer, "Two."], faults=[Fault.cut(after, clean=clean, goes_on=True, at=1)])
    bot = world.bot(sandbox, [TransientRetry(50, wait=tenacity.wait_fixed(0.02))])
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == answer.text
    assert paths(sandbox, "POST /responses") == 1
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)


@pytest.mark.parametrize("after", range(1, 9))
@pytest.mark.parametrize("clean", [False, True], ids=["dropped", "ended as if whole"])
def test_an_answer_that_ended_with_its_cut_is_made_again(world: World, after: int, *, clean: bool) -> None:
    answer = Answer(text="one two three four five six seven", pace=0.002)
    sandbox = world.sandbox([answer, "Here I am.", "Two."], faults=[Fault.cut(after, clean=clean, at=1)])
    bot = world.bot(sandbox, [RETRY])
    events = bot.stream("Hello?")
    (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
    before = "".join(event.text for event in events[: events.index(failed)] if isinstance(event, TextDelta))
    behind = "".join(event.text for event in events[events.index(failed) :] if isinstance(event, TextDelta))
    assert len(before) == failed.discarded_characters
    assert answer.text is not None
    assert answer.text.startswith(before)
    assert behind == "Here I am."
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)
    assert user_texts(sandbox.conversation(bot.default.state.generation_id or "")) == ["Hello?", "And now?"]


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("background", [False, True])
def test_an_error_event_of_an_answer_that_goes_on_doubles_nothing(
    world: World, *, nested: bool, background: bool
) -> None:
    answer = Answer(text="one two three four five six", pace=0.02)
    sandbox = world.sandbox([answer, "Two.", "Three."], faults=[Fault.stream_error(nested=nested, goes_on=True, at=1)])
    bot = world.bot(sandbox, [TransientRetry(50, wait=tenacity.wait_fixed(0.05))], background=background)
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == stream.reply.text == answer.text
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)
    assert user_texts(sandbox.conversation(bot.default.state.generation_id or "")) == ["Hello?", "And now?"]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_chunk_that_is_no_json_loses_no_books_and_no_thread(world: World, *, goes_on: bool) -> None:
    answer = Answer(text="one two three four five six", pace=0.002)
    on_disconnect = "complete" if goes_on else "stop"
    fault = Fault.malformed(goes_on=goes_on, at=1)
    sandbox = world.sandbox([answer, "Two.", "Three."], faults=[fault], on_disconnect=on_disconnect)
    bot = world.bot(sandbox, [RETRY])
    outcome = bot.try_chat("Hello?", streamed=True)
    if goes_on:
        assert isinstance(outcome, Reply)
        assert outcome.text == answer.text
    assert isinstance(bot.try_chat("And now?"), Reply)
    check_all(bot, sandbox)


def test_the_reply_is_there_at_the_end_and_not_before(world: World) -> None:
    bot = world.bot(world.sandbox(PLAIN), [RETRY])
    stream = bot.guard.stream("Hello?")
    with pytest.raises(ConfigurationError, match="until_done"):
        _ = stream.reply
    reply = world.wait(stream.until_done())
    assert reply is stream.reply
    assert reply.text == "One."
    assert world.wait(stream.until_done()) is reply


def test_a_stream_that_failed_has_no_reply(world: World) -> None:
    bot = world.bot(world.sandbox(PLAIN, faults=[Fault.quota(at=1)]), [RETRY])
    stream = bot.guard.stream("Hello?")
    with pytest.raises(QuotaExhausted):
        world.wait(stream.until_done())
    with pytest.raises(ConfigurationError):
        _ = stream.reply
    world.wait(stream.close())
    assert bot.chat("Again?").text == "One."


def test_a_stream_that_was_read_tells_nothing_more(world: World) -> None:
    bot = world.bot(world.sandbox(PLAIN), [RETRY])
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == "One."
    assert bot.texts(stream) == []
    world.wait(stream.close())
    assert stream.reply.text == "One."
    assert len(bot.all(RunSettled)) == 1


def test_until_done_reads_what_is_left(world: World) -> None:
    bot = world.bot(world.sandbox(PLAIN), [RETRY])
    stream = bot.guard.stream("Hello?")
    first = next(stream) if isinstance(stream, RunStream) else world.wait(anext_of(stream))
    assert isinstance(first, TextDelta)
    assert world.wait(stream.until_done()).text == "One."


async def anext_of(stream: Any) -> StreamEvent:
    event = await stream.__anext__()
    assert isinstance(event, StreamEvent)
    return event


def test_nothing_is_sent_before_the_first_event_is_asked_for(world: World) -> None:
    sandbox = world.sandbox(PLAIN)
    bot = world.bot(sandbox, [RETRY])
    stream = bot.guard.stream("Hello?")
    assert sandbox.requests == []
    assert bot.events == []
    world.wait(stream.close())
    assert sandbox.requests == []
    assert bot.events == []
    # It holds up nobody either.
    assert bot.chat("And now?").text == "One."
    check_all(bot, sandbox)


def test_a_stream_that_is_entered_and_never_read_costs_nothing(world: World) -> None:
    sandbox = world.sandbox(PLAIN)
    bot = world.bot(sandbox, [RETRY])
    stream = bot.guard.stream("Hello?")
    if isinstance(stream, RunStream):
        with stream:
            pass
    else:

        async def enter() -> None:
            async with stream:
                pass

        world.wait(enter())
    assert sandbox.requests == []
    assert bot.ledger.entries() == ()


@pytest.mark.parametrize("message", ["", [], None, 7])
def test_a_message_that_cannot_be_sent_is_refused_at_the_call(world: World, message: Any) -> None:
    bot = world.bot(world.sandbox(PLAIN), [RETRY])
    with pytest.raises(ConfigurationError):
        bot.guard.stream(message)


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), True, "1"])
def test_a_deadline_that_is_no_number_of_seconds_is_refused_at_the_call(world: World, deadline: Any) -> None:
    bot = world.bot(world.sandbox(PLAIN), [RETRY])
    with pytest.raises(ConfigurationError, match="deadline"):
        bot.guard.stream("Hello?", deadline=deadline)


WORDS = " ".join(["one two three four five six seven eight"] * 3)


def slow_words(request: ModelRequest) -> Answer | str:
    if request.last_user_text.startswith("Slowly"):
        return Answer(text=WORDS, pace=0.3)
    return f"Done: {request.last_user_text}"


@pytest.mark.parametrize("background", [False, True])
def test_a_stream_that_is_left_early_is_settled_and_healed(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY], background=background)
    bot.chat("Hello")
    events = bot.stream("Slowly", until=lambda event: isinstance(event, TextDelta))
    assert len(events) == 1
    assert not bot.ledger.open_holds()
    assert [event.status for event in bot.all(RunSettled)] == ["completed", "cancelled"]
    (cancelled,) = bot.all(RunCancelled)
    assert cancelled.policy == "caller"
    assert paths(sandbox, "POST /responses/{id}/cancel") == int(background)
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox)
    assert user_texts(sandbox.conversation(bot.default.state.generation_id or "")) == ["Hello", "Are you there?"]


@pytest.mark.parametrize("background", [False, True])
def test_what_is_raised_in_the_body_comes_out_unchanged(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY], background=background)
    mine = LookupError("mine")

    def leave(event: StreamEvent) -> bool:
        raise mine

    with pytest.raises(LookupError) as caught:
        bot.stream("Slowly", until=leave)
    assert caught.value is mine
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox)


def test_closing_again_does_nothing(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY])
    stream = bot.guard.stream("Slowly")
    first = next(stream) if isinstance(stream, RunStream) else world.wait(anext_of(stream))
    assert isinstance(first, TextDelta)
    world.wait(stream.close())
    events, requests = len(bot.events), len(sandbox.requests)
    world.wait(stream.close())
    assert (len(bot.events), len(sandbox.requests)) == (events, requests)
    assert bot.texts(stream) == []
    assert bot.chat("Are you there?").text == "Done: Are you there?"


@pytest.mark.parametrize("kind", [ToolCallRequested, ToolCallSettled])
def test_a_stream_left_between_its_tools_leaves_no_call_open(world: World, kind: type[StreamEvent]) -> None:
    lookups = Lookups()
    step = ToolCalls(FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}))
    sandbox = world.sandbox([step, "Here I am.", "Two."])
    bot = world.bot(sandbox, [RETRY], tools=[lookups.lookup])
    bot.stream("Where are they?", until=lambda event: isinstance(event, kind))
    assert sum(lookups.counts.values()) == (0 if kind is ToolCallRequested else 2)
    check_all(bot, sandbox)
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)
    assert set(lookups.counts.values()) <= {1}


def test_an_abandoned_turn_that_the_server_still_works_on_leaves_nothing_behind(world: World) -> None:
    sandbox = world.sandbox([Answer(text="one two three four five six " * 4, pace=0.3), "Two.", "Three."])
    sandbox.inject(Fault.unstoppable(at=1))
    bot = world.bot(sandbox, [TransientRetry(200, wait=tenacity.wait_fixed(0.05))])
    bot.stream("Hello?", until=lambda event: isinstance(event, TextDelta))
    assert bot.chat("And now?").text
    assert bot.chat("And then?").text
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["And now?", "And then?"]


def test_a_stream_holds_its_thread_until_it_ends_and_no_other(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY])
    other = bot.thread("other")
    stream = bot.guard.stream("Slowly")
    first = next(stream) if isinstance(stream, RunStream) else world.wait(anext_of(stream))
    assert isinstance(first, TextDelta)
    assert bot.chat("Hello", other).text == "Done: Hello"
    refused = bot.try_chat("Are you there?", deadline=0.1)
    assert "waited for earlier turns" in str(refused)
    assert world.wait(stream.until_done()).text == WORDS
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox, bot.default, other)


def test_a_blocking_stream_may_be_read_in_another_thread(warm: None) -> None:
    with World("sync") as world:
        sandbox = world.sandbox(PLAIN)
        bot = world.bot(sandbox, [RETRY])
        stream = bot.guard.stream("Hello?")
        next(stream)
        replies: list[Reply] = []
        reader = threading.Thread(target=lambda: replies.append(stream.until_done()))
        reader.start()
        reader.join()
        assert replies[0].text == "One."
        assert bot.chat("And now?").text == "Two."
        check_all(bot, sandbox)


def test_a_cap_bounds_a_streamed_answer(world: World) -> None:
    sandbox = world.sandbox(["word " * 2_000, "Two."])
    bot = world.bot(sandbox, [RETRY, TokenCap(run=300)])
    reply = bot.chat("Hello?", streamed=True)
    assert reply.run.status == "incomplete"
    assert reply.usage.total_tokens <= 300
    assert 0 < len(reply.text) < 10_000
    check_all(bot, sandbox)


def test_an_answer_without_end_is_ended_by_its_bound(world: World) -> None:
    sandbox = world.sandbox(PLAIN, faults=[Fault.endless("deltas", pace=0.0, at=1)])
    bot = world.bot(sandbox, [RETRY, TokenCap(run=400)])
    outcome = bot.try_chat("Hello?", streamed=True)
    assert isinstance(outcome, Reply)
    assert outcome.run.status == "incomplete"
    assert outcome.usage.total_tokens <= 400
    check_all(bot, sandbox)


def test_a_streamed_run_is_stopped_by_a_ceiling_with_its_named_error(world: World) -> None:
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}), "Two."])
    bot = world.bot(sandbox, [RETRY, ToolStepCeiling(1)], tools=[Lookups().lookup])
    outcome = bot.try_chat("Hello?", streamed=True)
    assert isinstance(outcome, ToolStepCeilingReached)
    assert bot.chat("And now?").text == "Two."
    check_all(bot, sandbox)


def test_a_refused_stream_sends_nothing(world: World) -> None:
    sandbox = world.sandbox(PLAIN)
    bot = world.bot(sandbox, [RETRY, TokenCap(session=32)])
    outcome = bot.try_chat("Hello? " * 20, streamed=True)
    assert isinstance(outcome, BudgetExceeded)
    assert paths(sandbox, "POST /responses") == 0
    assert bot.ledger.entries() == ()


def test_reasoning_is_on_the_books_and_not_in_the_text(world: World) -> None:
    sandbox = world.sandbox([Answer(text="Here I am.", reasoning_tokens=40)])
    bot = world.bot(sandbox, [RETRY])
    stream = bot.guard.stream("Hello?")
    assert "".join(bot.texts(stream)) == "Here I am."
    assert stream.reply.usage.reasoning_tokens == 40
    check_all(bot, sandbox)


def test_many_streams_of_one_guard_go_on_side_by_side(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY])
    threads = [bot.thread(f"user {number}") for number in range(8)]
    streams = [thread.stream(f"Slowly {index}") for index, thread in enumerate(threads)]
    replies = bot.at_once(*(stream.until_done for stream in streams))
    assert [reply.text for reply in replies] == [WORDS] * 8
    check_all(bot, sandbox, *threads)


def test_a_request_of_a_streamed_turn_says_how_it_was_made(world: World) -> None:
    sandbox = world.sandbox(PLAIN)
    bot = world.bot(sandbox, [RETRY], assistant=Assistant(model="gpt-6-luna", instructions="Be brief."))
    bot.chat("Hello?", streamed=True)
    (settled,) = bot.all(RequestSettled)
    assert (settled.background, settled.mode_reason) == (False, "it is expected to be short")
    assert settled.request_id is not None
    assert settled.response_id is not None
