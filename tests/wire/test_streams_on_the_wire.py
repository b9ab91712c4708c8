"""What is sent for streams and for work in the background, and what is made of the streams that servers really send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tenacity import wait_none

from assistantguard import (
    AssistantGuardError,
    AttemptFailed,
    ReplyReady,
    RequestRejected,
    RetriesExhausted,
    TransientRetry,
)
from assistantguard.events import RequestSettled
from tests.wire.conftest import Wire
from tests.wire.server import USAGE, SeenRequest, answer, error, function_call, message

RETRY = TransientRetry(3, wait=wait_none())
PAID = "POST /responses"
LOOK = "GET /responses/{id}"
CANCEL = "POST /responses/{id}/cancel"

Sent = Mapping[str, Any] | str
"""An event by its data, or text as it is sent."""


def sse(*events: Sent, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """A streamed answer. A body that ends early is an answer that was cut."""
    parts = [one if isinstance(one, str) else f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events]
    told = {"content-type": "text/event-stream", "x-request-id": "req_stream", **(headers or {})}
    return httpx.Response(200, content="".join(parts).encode(), headers=told)


def created(number: int = 0, **overrides: Any) -> dict[str, Any]:
    response = answer(status="in_progress", output=[], usage=None, **overrides)
    return {"type": "response.created", "sequence_number": number, "response": response}


def delta(text: str, number: int = 1, kind: str = "response.output_text.delta", **fields: Any) -> dict[str, Any]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return {"type": kind, "sequence_number": number, **place, "delta": text, "logprobs": [], **fields}


def ended(number: int = 9, kind: str = "completed", *output: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    response = answer(*output, status=kind, **overrides)
    return {"type": f"response.{kind}", "sequence_number": number, "response": response}


def whole(text: str = "Hello.", **overrides: Any) -> httpx.Response:
    """A stream as the API sends it."""
    return sse(created(), delta(text[:3], 1), delta(text[3:], 2), ended(3, "completed", message(text), **overrides))


def without_numbers(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in event.items() if name != "sequence_number"} for event in events]


def test_a_stream_is_asked_for_and_nothing_else_differs(wire: Wire) -> None:
    wire.server.answers.extend([answer(message("Hello.")), whole()])
    wire.bot([RETRY]).chat("Hi")
    wire.bot([RETRY]).stream("Hi")
    plain, streamed = wire.server.bodies(PAID)
    assert streamed.pop("stream") is True
    for body in (plain, streamed):
        for own in ("metadata", "conversation", "prompt_cache_key"):
            body.pop(own)
    assert streamed == plain


def test_a_request_in_the_background_says_so_and_nothing_else_differs(wire: Wire) -> None:
    wire.server.answers.extend([answer(), answer()])
    wire.bot([RETRY]).chat("Hi")
    wire.bot([RETRY], background=True).chat("Hi")
    plain, background = wire.server.bodies(PAID)
    assert background.pop("background") is True
    assert "stream" not in background
    for body in (plain, background):
        for own in ("metadata", "conversation", "prompt_cache_key"):
            body.pop(own)
    assert background == plain


def test_both_are_asked_for_together(wire: Wire) -> None:
    wire.server.answers.append(whole())
    wire.bot([RETRY], background=True).stream("Hi")
    (body,) = wire.server.bodies(PAID)
    assert (body["stream"], body["background"]) == (True, True)


def test_polls_cancel_and_look_carry_nothing_but_the_id(wire: Wire) -> None:
    wire.server.answers.append(answer(id="resp_7", status="queued", output=[], usage=None))
    cancelled = answer(id="resp_7", status="cancelled", output=[], usage=None)
    at_work = answer(id="resp_7", status="in_progress", output=[], usage=None)
    wire.server.routes[LOOK] = lambda seen: cancelled if wire.server.to(CANCEL) else at_work
    wire.server.routes[CANCEL] = cancelled
    bot = wire.bot([RETRY], background=True)
    outcome = bot.try_chat("Hi", deadline=2.5)
    assert isinstance(outcome, AssistantGuardError)
    polls, (cancel,) = wire.server.to(LOOK), wire.server.to(CANCEL)
    assert len(polls) > 1
    for seen in (*polls, cancel):
        assert seen.path.removesuffix("/cancel").endswith("/responses/resp_7")
        assert seen.query == {}
        assert not seen.body
        assert seen.headers.get("x-stainless-retry-count", "0") == "0"
        assert seen.open_holds == 1
    assert len(wire.server.to(PAID)) == 1
    assert wire.ledger.open_holds() == ()


def test_a_cut_stream_in_the_background_is_taken_up_behind_its_last_event(wire: Wire) -> None:
    wire.server.answers.append(sse(created(id="resp_7"), delta("Hel", 4)))
    wire.server.routes[LOOK] = lambda seen: (
        sse(delta("lo.", 5), ended(6, id="resp_7")) if seen.query else answer(id="resp_7")
    )
    bot = wire.bot([RETRY], background=True)
    stream = bot.guard.stream("Hi")
    assert bot.texts(stream) == ["Hel", "lo."]
    assert stream.reply.text == "Hello."
    (resumed,) = wire.server.to(LOOK)
    assert resumed.path.endswith("/responses/resp_7")
    assert resumed.query == {"stream": "true", "starting_after": "4"}
    assert not resumed.body
    assert len(wire.server.to(PAID)) == 1


def test_a_server_that_begins_a_resumed_stream_anew_doubles_no_text(wire: Wire) -> None:
    wire.server.answers.append(sse(created(), delta("Hel", 1)))
    wire.server.routes[LOOK] = lambda seen: whole() if seen.query else answer()
    bot = wire.bot([RETRY], background=True)
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."


def test_a_stream_without_sequence_numbers_is_polled_when_it_is_cut(wire: Wire) -> None:
    wire.server.answers.append(sse(*without_numbers(created(), delta("Hel"))))
    wire.server.routes[LOOK] = answer()
    bot = wire.bot([RETRY], background=True)
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."
    assert [seen.query for seen in wire.server.to(LOOK)] == [{}]


def test_a_cut_stream_in_the_foreground_is_looked_up_by_its_id(wire: Wire) -> None:
    wire.server.answers.append(sse(created(id="resp_7"), delta("Hel")))
    wire.server.routes[LOOK] = answer(id="resp_7")
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."
    assert [(seen.path.rpartition("/")[2], seen.query) for seen in wire.server.to(LOOK)] == [("resp_7", {})]
    assert len(wire.server.to(PAID)) == 1


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(
    "refusal",
    [
        error(429, "Rate limit reached.", code="rate_limit_exceeded", type="requests"),
        error(500, "The server had an error.", type="server_error"),
        error(409, "Conflict."),
        error(408, "Timeout."),
    ],
    ids=["429", "500", "409", "408"],
)
def test_the_sdk_retries_no_stream_on_its_own(wire: Wire, refusal: httpx.Response, *, background: bool) -> None:
    wire.server.answers.extend([refusal] * 3)
    bot = wire.bot([RETRY], background=background)
    assert isinstance(bot.try_chat("Hi", streamed=True), RetriesExhausted)
    sent = wire.server.to(PAID)
    assert len(sent) == 3
    assert {seen.headers.get("x-stainless-retry-count", "0") for seen in sent} == {"0"}
    assert len({seen.headers["x-client-request-id"] for seen in sent}) == 3
    assert wire.ledger.entries() == ()


@pytest.mark.parametrize("endpoint", [LOOK, CANCEL])
def test_the_sdk_retries_neither_looks_nor_cancels(wire: Wire, endpoint: str) -> None:
    wire.server.answers.append(answer(status="queued", output=[], usage=None))
    wire.server.routes[LOOK] = answer(status="in_progress", output=[], usage=None)
    wire.server.routes[CANCEL] = answer(status="cancelled", output=[], usage=None)
    wire.server.routes[endpoint] = error(500, "The server had an error.")
    bot = wire.bot([RETRY], background=True, cleanup_timeout=3)
    assert isinstance(bot.try_chat("Hi", deadline=1.5), AssistantGuardError)
    seen = wire.server.to(endpoint)
    assert seen
    assert {one.headers.get("x-stainless-retry-count", "0") for one in seen} == {"0"}
    assert wire.ledger.open_holds() == ()


def test_a_refused_background_request_is_sent_again_without_it(wire: Wire) -> None:
    wire.server.answers.extend([error(400, "Background mode is not supported."), whole(), whole()])
    bot = wire.bot([RETRY], background=True)
    bot.stream("Hi")
    bot.stream("And now?")
    first, second, third = wire.server.to(PAID)
    assert [seen.body.get("background") for seen in (first, second, third)] == [True, None, None]
    assert {name: value for name, value in first.body.items() if name != "background"} == second.body
    assert len({seen.headers["x-client-request-id"] for seen in (first, second, third)}) == 3
    assert [event.attempt for event in bot.all(RequestSettled)] == [1, 1]


# What servers stream.


def test_the_hold_is_open_while_a_stream_is_asked_for_and_ended_behind_it(wire: Wire) -> None:
    wire.server.answers.append(whole())
    bot = wire.bot([RETRY])
    bot.stream("Hi")
    (seen,) = wire.server.to(PAID)
    assert seen.open_holds == 1
    assert wire.ledger.open_holds() == ()
    (entry,) = wire.ledger.entries()
    assert (entry.usage.input_tokens, entry.usage.output_tokens) == (USAGE["input_tokens"], USAGE["output_tokens"])


UNKNOWN: dict[str, tuple[Sent, ...]] = {
    "comments": (": keep-alive\n\n", ":\n\n"),
    "an event of no known type": ({"type": "response.sparkle", "sequence_number": 7, "delta": None},),
    "an event without a type": ('data: {"hello": 1}\n\n',),
    "a ping": ("event: ping\ndata: {}\n\n",),
    "a number": ("data: 7\n\n",),
    "null": ("data: null\n\n",),
    "a list": ("data: []\n\n",),
    "a delta without text": ({"type": "response.output_text.delta", "sequence_number": 7},),
    "a delta that is an object": ({"type": "response.audio.delta", "sequence_number": 7, "delta": {"a": 1}},),
    "a response that is null": ({"type": "response.in_progress", "sequence_number": 7, "response": None},),
    "reasoning": (delta("I think", 7, "response.reasoning_summary_text.delta", summary_index=0),),
    "arguments of a call": (delta('{"a"', 7, "response.function_call_arguments.delta"),),
    "done at the end": ("data: [DONE]\n\n",),
}


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("place", ["before", "between"])
def test_what_is_not_known_in_a_stream_is_passed_over(wire: Wire, unknown: str, place: str) -> None:
    first, *rest = created(), delta("Hel", 1), delta("lo.", 2), ended(3)
    events = [*UNKNOWN[unknown], first, *rest] if place == "before" else [first, rest[0], *UNKNOWN[unknown], *rest[1:]]
    if unknown == "done at the end":
        events = [first, *rest, *UNKNOWN[unknown]]
    wire.server.answers.append(sse(*events))
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."
    assert len(wire.server.to(PAID)) == 1
    (entry,) = wire.ledger.entries()
    assert not entry.usage.estimated


def test_only_the_last_event_is_needed(wire: Wire) -> None:
    wire.server.answers.append(sse(*without_numbers(ended())))
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."


def test_usage_that_a_stream_does_not_tell_is_estimated_and_asked_for(wire: Wire) -> None:
    wire.server.answers.extend([whole(usage=None), whole(id="resp_2")])
    wire.server.routes[LOOK] = answer()
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == "Hello."
    (entry,) = wire.ledger.entries()
    assert entry.usage.estimated_tokens == entry.usage.total_tokens > 0
    bot.chat("And now?", streamed=True)
    assert not any(entry.usage.estimated for entry in wire.ledger.entries())
    assert len(wire.server.to(LOOK)) == 1


def test_a_last_event_without_output_keeps_the_text_that_was_shown(wire: Wire) -> None:
    wire.server.answers.append(sse(created(), delta("Hel", 1), delta("lo.", 2), {**ended(3), "response": bare()}))
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == "Hello."
    assert stream.reply.text == "Hello."


def bare() -> dict[str, Any]:
    return {**answer(), "output": []}


def test_messages_of_one_answer_are_set_apart(wire: Wire) -> None:
    second: dict[str, Any] = {"item_id": "msg_2", "output_index": 1}
    wire.server.answers.append(
        sse(
            created(),
            delta("One.", 1),
            delta("Two.", 2, **second),
            ended(3, "completed", message("One."), message("Two.", id="msg_2")),
        )
    )
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "One.\n\nTwo."


def test_a_refusal_is_text(wire: Wire) -> None:
    part = {"type": "refusal", "refusal": "I can't."}
    refusal = message(content=[part])
    wire.server.answers.append(
        sse(created(), delta("I can't.", 1, "response.refusal.delta"), ended(2, "completed", refusal))
    )
    bot = wire.bot([RETRY])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "I can't."


ERRORS: dict[str, Sent] = {
    "flat": {"type": "error", "sequence_number": 2, "code": "server_error", "message": "It failed.", "param": None},
    "flat, without a code": {"type": "error", "message": "It failed."},
    "nested": 'event: error\ndata: {"error": {"message": "It failed.", "type": "server_error", "code": null}}\n\n',
    "nested, no event name": 'data: {"error": {"message": "It failed.", "type": "server_error"}}\n\n',
    "malformed": 'event: response.output_text.delta\ndata: {"type": "response.output\n\n',
    "cut": "",
    "cut in an event": 'event: response.output_text.delta\ndata: {"ty',
}


@pytest.mark.parametrize("looked_up", ["failed", "cancelled", "gone", "completed"])
@pytest.mark.parametrize("kind", ERRORS)
def test_a_stream_that_breaks_off_is_looked_up_and_never_booked_twice(wire: Wire, kind: str, looked_up: str) -> None:
    trouble = {"code": "server_error", "message": "It failed."}
    states: dict[str, Any] = {
        "failed": answer(id="resp_7", status="failed", error=trouble, output=[]),
        "cancelled": answer(id="resp_7", status="cancelled", output=[], usage=None),
        "gone": error(404, "Response with id 'resp_7' not found."),
        "completed": answer(message("Hello to you."), id="resp_7"),
    }
    wire.server.answers.extend([sse(created(id="resp_7"), delta("Hel", 1), ERRORS[kind]), whole(id="resp_8")])
    wire.server.routes[LOOK] = lambda seen: states[looked_up] if seen.path.endswith("resp_7") else answer(id="resp_8")
    bot = wire.bot([RETRY])
    events = bot.stream("Hi")
    last = events[-1]
    assert isinstance(last, ReplyReady)
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    entries = wire.ledger.entries()
    assert len({entry.response_id for entry in entries}) == len(entries)
    assert wire.ledger.open_holds() == ()
    if looked_up == "completed":
        assert (last.reply.text, len(wire.server.to(PAID)), len(entries), failed) == ("Hello to you.", 1, 1, [])
        return
    assert last.reply.text == "Hello."
    assert len(wire.server.to(PAID)) == len(entries) == 2
    assert [event.discarded_characters for event in failed] == [3]
    assert entries[0].usage.estimated is (looked_up != "failed")
    assert not entries[1].usage.estimated


@pytest.mark.parametrize(
    ("code", "kind", "requests"),
    [
        ("rate_limit_exceeded", RetriesExhausted, 3),
        ("server_error", RetriesExhausted, 3),
        ("invalid_prompt", RequestRejected, 1),
    ],
)
def test_an_error_event_counts_by_its_own_code(wire: Wire, code: str, kind: type[Exception], requests: int) -> None:
    event = {"type": "error", "sequence_number": 1, "code": code, "message": "It failed.", "param": None}
    wire.server.answers.extend(sse(created(id=f"resp_{number}"), event) for number in range(3))
    wire.server.routes[LOOK] = lambda seen: answer(
        id=seen.path.rpartition("/")[2],
        status="failed",
        output=[],
        usage=None,
        error={"code": code, "message": "It failed."},
    )
    outcome = wire.bot([RETRY]).try_chat("Hi", streamed=True)
    assert type(outcome) is kind
    assert "It failed." in str(outcome)
    assert len(wire.server.to(PAID)) == requests


@pytest.mark.parametrize(
    "content", [b"", b"<html>Please log in</html>", b'{"id": "resp_1", "object": "response", "status": "completed"}']
)
def test_what_is_no_stream_ends_in_a_named_error(wire: Wire, content: bytes) -> None:
    kind = "application/json" if content.startswith(b"{") else "text/html"
    wire.server.answers.extend(httpx.Response(200, content=content, headers={"content-type": kind}) for _ in range(3))
    bot = wire.bot([RETRY])
    outcome = bot.try_chat("Hi", streamed=True)
    assert isinstance(outcome, AssistantGuardError)
    assert wire.ledger.open_holds() == ()
    assert all(entry.usage.estimated for entry in wire.ledger.entries())
    wire.server.answers.clear()
    wire.server.answers.append(whole())
    assert bot.chat("And now?", streamed=True).text == "Hello."


def test_a_tool_step_is_streamed_from_items_and_from_the_last_event(wire: Wire) -> None:
    runs: list[str] = []

    def lookup(order: str) -> str:
        """Find an order."""
        runs.append(order)
        return "sent"

    call = function_call()
    wire.server.answers.extend(
        [
            sse(
                created(),
                {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": call},
                delta('{"order": "W1"}', 2, "response.function_call_arguments.delta"),
                {"type": "response.output_item.done", "sequence_number": 3, "output_index": 0, "item": call},
                ended(4, "completed", call),
            ),
            whole(id="resp_2"),
        ]
    )
    bot = wire.bot([RETRY], tools=[lookup])
    stream = bot.guard.stream("Hi")
    assert "".join(bot.texts(stream)) == stream.reply.text == "Hello."
    assert runs == ["W1"]
    second: SeenRequest = wire.server.to(PAID)[1]
    assert second.body["stream"] is True
    assert second.body["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "sent"}]
