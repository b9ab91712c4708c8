from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistantguard import tokens
from assistantguard.sandbox import Answer, Conduct, FunctionCall, ModelRequest, Sandbox, Script
from tests.support.waiting import IMPATIENT

MODEL = "gpt-6-luna"
LONG = " ".join(f"word{number}" for number in range(40))
Until = Callable[[Callable[[], object]], None]


@pytest.fixture(params=["blocking", "asynchronous"])
def stream(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Read a stream with the SDK, or its beginning up to an event, and close it."""

    def blocking(sandbox: Sandbox, until: Callable[[Any], bool] | None = None, **asked: Any) -> list[Any]:
        told: list[Any] = []
        with (
            sandbox.client(max_retries=0) as client,
            client.responses.create(model=MODEL, stream=True, **{"input": "Hi", **asked}) as events,
        ):
            for event in events:
                told.append(event)
                if until is not None and until(event):
                    break
        return told

    async def asynchronous(sandbox: Sandbox, until: Callable[[Any], bool] | None = None, **asked: Any) -> list[Any]:
        told: list[Any] = []
        async with (
            sandbox.async_client(max_retries=0) as client,
            await client.responses.create(model=MODEL, stream=True, **{"input": "Hi", **asked}) as events,
        ):
            async for event in events:
                told.append(event)
                if until is not None and until(event):
                    break
        return told

    if request.param == "blocking":
        return blocking
    return lambda *args, **asked: asyncio.run(asynchronous(*args, **asked))


def _is_delta(event: Any) -> bool:
    return str(event.type).endswith(".delta")


def _text(told: list[Any]) -> str:
    return "".join(event.delta for event in told if event.type == "response.output_text.delta")


def test_a_text_is_told_in_the_order_of_the_api(stream: Any) -> None:
    with Sandbox(["Hello there, how are you?"]) as sandbox:
        told = stream(sandbox)

        assert [event.type for event in told] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in told] == list(range(len(told)))
        assert _text(told) == told[7].text == told[-1].response.output_text == "Hello there, how are you?"
        assert (told[0].response.status, told[0].response.usage, told[0].response.output) == ("in_progress", None, [])
        assert told[-1].response.usage.total_tokens == sandbox.billing.totals.total_tokens


def test_reasoning_text_and_calls_are_told_one_after_the_other(stream: Any, lookup: dict[str, Any]) -> None:
    call = FunctionCall("lookup", {"order": "W2378156"})
    with Sandbox([Answer("Let me see.", tool_calls=[call, call], reasoning_tokens=5)]) as sandbox:
        told = stream(sandbox, tools=[lookup])

        added = [event.item.type for event in told if event.type == "response.output_item.added"]
        assert added == ["reasoning", "message", "function_call", "function_call"]
        for index in (2, 3):
            own = [event for event in told if getattr(event, "output_index", None) == index]
            deltas = [event.delta for event in own if _is_delta(event)]
            assert "".join(deltas) == own[-2].arguments == own[-1].item.arguments == '{"order": "W2378156"}'
            assert len(deltas) > 1
            assert own[0].item.arguments == ""


def test_the_same_answer_is_billed_and_kept_alike_streamed_and_whole(
    stream: Any, call: Any, lookup: dict[str, Any]
) -> None:
    def ask(streamed: bool) -> tuple[Any, ...]:
        script = Script([Answer(LONG, tool_calls=[FunctionCall("lookup", call_id="call_1")], reasoning_tokens=3)])
        with Sandbox(script) as sandbox:
            conversation = call(sandbox, "conversations.create").id
            asked: dict[str, Any] = {"conversation": conversation, "tools": [lookup], "input": "Hi"}
            if streamed:
                response = stream(sandbox, **asked)[-1].response
            else:
                response = call(sandbox, "responses.create", model=MODEL, **asked)
            (row,) = sandbox.billing.calls
            kept = [{**item, "id": ""} for item in sandbox.conversation(conversation)]
            stored = call(sandbox, "responses.retrieve", response.id)
            assert stored == response
            return row.input_tokens, row.output_tokens, row.status, response.output_text, response.usage, kept

    assert ask(streamed=True) == ask(streamed=False)


def test_an_answer_that_is_cut_ends_incomplete(stream: Any) -> None:
    with Sandbox([LONG]) as sandbox:
        told = stream(sandbox, max_output_tokens=20)

        assert told[-1].type == "response.incomplete"
        assert told[-1].response.incomplete_details.reason == "max_output_tokens"
        assert LONG.startswith(_text(told))
        assert sandbox.billing.output_tokens <= 20


def test_an_answer_that_fails_ends_failed(stream: Any) -> None:
    with Sandbox([Answer("half", status="failed", error_code="rate_limit_exceeded")]) as sandbox:
        told = stream(sandbox)

        assert (told[-1].type, told[-1].response.error.code) == ("response.failed", "rate_limit_exceeded")
        assert _text(told) == "half"


def test_pace_and_delay_spread_the_answer(stream: Any) -> None:
    with Sandbox([Answer("one two three four five six", delay=0.2, pace=0.1)]) as sandbox:
        started = time.monotonic()
        stream(sandbox, _is_delta)
        assert time.monotonic() - started >= 0.2

    with Sandbox([Answer("one two three four five six", delay=0.2, pace=0.1)]) as sandbox:
        started = time.monotonic()
        assert sum(map(_is_delta, stream(sandbox))) == 3
        assert time.monotonic() - started >= 0.4


def test_a_client_that_leaves_pays_for_what_was_made(stream: Any, call: Any, until: Until) -> None:
    with Sandbox([Answer(LONG, pace=0.2, reasoning_tokens=6), "fine"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        told = stream(sandbox, lambda event: "word6" in _text([event]), conversation=conversation)
        until(lambda: sandbox.billing.calls[0].status != "in_progress")

        (row,) = sandbox.billing.calls
        response = call(sandbox, "responses.retrieve", told[0].response.id)
        made = response.output_text
        assert LONG.startswith(made)
        assert len(_text(told)) <= len(made) < len(LONG)
        assert (row.status, row.usage_reported) == ("cancelled", False)
        assert (row.input_tokens, row.output_tokens) == (8, 6 + 4 + tokens.count(made))
        assert (response.status, response.usage) == ("cancelled", None)
        assert sandbox.conversation(conversation) == []
        assert (
            call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation).output_text == "fine"
        )


def test_a_client_that_gives_up_on_a_whole_answer_pays_for_its_input(call: Any, until: Until) -> None:
    with Sandbox([Answer("never read", delay=30), "fine"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        asked: dict[str, Any] = {"model": MODEL, "input": "Hi", "conversation": conversation}
        with pytest.raises(openai.APITimeoutError):
            call(sandbox, "responses.create", timeout=IMPATIENT, **asked)
        until(lambda: sandbox.billing.calls[0].status == "cancelled")

        (row,) = sandbox.billing.calls
        assert (row.input_tokens, row.output_tokens, row.billed) == (8, 0, True)
        assert sandbox.conversation(conversation) == []
        assert call(sandbox, "responses.create", **asked).output_text == "fine"


@pytest.mark.parametrize("of_the_answer", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
def test_work_goes_on_without_its_client_where_asked(
    call: Any, stream: Any, until: Until, streamed: bool, of_the_answer: bool
) -> None:
    answer = Answer(
        "done all the same", delay=0.3 if streamed else 2, conduct=Conduct(survives_disconnect=of_the_answer or None)
    )
    with Sandbox([answer], on_disconnect="stop" if of_the_answer else "complete") as sandbox:
        conversation = call(sandbox, "conversations.create").id
        if streamed:
            stream(sandbox, lambda event: event.type == "response.in_progress", conversation=conversation)
        else:
            with pytest.raises(openai.APITimeoutError):
                call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation, timeout=IMPATIENT)
        until(lambda: sandbox.conversation(conversation))

        (row,) = sandbox.billing.calls
        assert (row.status, row.output_tokens) == ("completed", 4 + tokens.count("done all the same"))


def test_a_function_that_answers_is_left_when_the_client_leaves(call: Any, until: Until) -> None:
    async def slow(request: ModelRequest) -> str:
        if request.last_user_text == "slow":
            await asyncio.sleep(30)
        return "quick"

    with Sandbox(slow) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        asked: dict[str, Any] = {"model": MODEL, "conversation": conversation}
        with pytest.raises(openai.APITimeoutError):
            call(sandbox, "responses.create", timeout=IMPATIENT, input="slow", **asked)
        until(lambda: [(row.status, row.output_tokens) for row in sandbox.billing.calls] == [("cancelled", 0)])

        assert call(sandbox, "responses.create", input="Hi", **asked).output_text == "quick"


def test_a_conversation_is_locked_while_a_stream_is_told(call: Any, until: Until) -> None:
    with Sandbox([Answer(LONG, pace=0.3), "fine"]) as sandbox, sandbox.client(max_retries=0) as client:
        conversation = call(sandbox, "conversations.create").id
        asked: Any = {"model": MODEL, "input": "Hi", "conversation": conversation}
        with client.responses.create(stream=True, **asked) as events:
            next(iter(events))
            with pytest.raises(openai.BadRequestError) as caught:
                call(sandbox, "responses.create", **asked)
            assert caught.value.code == "conversation_locked"
        until(lambda: sandbox.billing.calls[0].status == "cancelled")

        assert call(sandbox, "responses.create", **asked).output_text == "fine"


def test_the_next_request_may_follow_the_last_event_at_once() -> None:
    with Sandbox() as sandbox, sandbox.client(max_retries=0) as client:
        conversation = client.conversations.create().id
        told = []  # a stream that is collected unread gives its connection back, be it while its pool is locked
        for _ in range(20):
            events = client.responses.create(model=MODEL, input="Hi", stream=True, conversation=conversation)
            told.append(events)
            for event in events:
                if event.type == "response.completed":
                    break
        for events in told:
            events.close()

        assert [row.status for row in sandbox.billing.calls] == ["completed"] * 20


@pytest.mark.parametrize("kind", ["deltas", "comments"])
def test_an_endless_answer_ends_when_the_client_leaves(stream: Any, call: Any, until: Until, kind: Any) -> None:
    with Sandbox([Answer("On", pace=0.005, conduct=Conduct(endless=kind)), "fine"]) as sandbox:
        if kind == "deltas":
            told = stream(sandbox, lambda event: event.sequence_number == 30)
            assert _text(told).startswith("On and on and on and on")
        else:
            stream(sandbox, lambda event: event.type == "response.in_progress")
        until(lambda: sandbox.billing.calls and sandbox.billing.calls[0].status == "cancelled")

        assert (sandbox.billing.output_tokens > 20) == (kind == "deltas")
        assert call(sandbox, "responses.create", model=MODEL, input="Hi").output_text == "fine"


def test_comments_keep_a_connection_alive() -> None:
    endless = Answer("On", pace=0.005, conduct=Conduct(endless="comments"))
    with Sandbox([endless]) as sandbox, sandbox.client(max_retries=0) as client:
        asked: Any = {"model": MODEL, "input": "Hi", "stream": True}
        with client.responses.with_streaming_response.create(**asked) as response:
            lines = response.iter_lines()
            assert [line for line in itertools.islice(lines, 12) if line.startswith(":")] == [": keep-alive"] * 3


def test_an_endless_text_ends_at_the_output_limit(stream: Any, call: Any) -> None:
    endless = Answer("On", pace=0.001, conduct=Conduct(endless="deltas"))
    with Sandbox([endless, endless]) as sandbox:
        assert stream(sandbox, max_output_tokens=50)[-1].type == "response.incomplete"
        assert call(sandbox, "responses.create", model=MODEL, input="Hi", max_output_tokens=50).status == "incomplete"
        assert all(45 <= row.output_tokens <= 50 for row in sandbox.billing.calls)


def test_a_sandbox_ends_while_it_streams() -> None:
    sandbox = Sandbox([Answer(LONG, pace=30)])
    with sandbox:
        client = sandbox.client(max_retries=0)
        events = iter(client.responses.create(model=MODEL, input="Hi", stream=True))
        next(events)
        started = time.monotonic()
    assert time.monotonic() - started < 20
    assert [row.status for row in sandbox.billing.calls] == ["cancelled"]
