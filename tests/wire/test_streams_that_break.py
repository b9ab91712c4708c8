"""What is made of streams that are longer than allowed, break off, or are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tenacity import wait_none

from assistantguard import (
    Assistant,
    Reply,
    RunStopped,
    StreamEvent,
    TextDelta,
    TokenCap,
    TransientRetry,
    tokens,
)
from tests.wire.conftest import Wire
from tests.wire.server import MODEL, answer, error, message

RETRY = TransientRetry(3, wait=wait_none())


PAID = "POST /responses"


LOOK = "GET /responses/{id}"


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


@pytest.mark.parametrize("usage", [None, {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}])
def test_an_answer_longer_than_was_allowed_is_stopped_and_booked_as_it_was(wire: Wire, usage: Any) -> None:
    text = "word " * 3_000
    wire.server.answers.append(
        sse(
            created(),
            *(delta(text[start : start + 50], start) for start in range(0, len(text), 50)),
            ended(99_999, "completed", message(text), usage=usage),
        )
    )
    wire.server.routes[LOOK] = error(404, "Not found.")
    bot = wire.bot([RETRY], assistant=Assistant(model=MODEL, instructions="", max_output_tokens=50))
    events: list[StreamEvent] = []

    def keep(event: StreamEvent) -> bool:
        events.append(event)
        return False

    with pytest.raises(RunStopped) as caught:
        bot.stream("Hi", until=keep)
    assert caught.value.policy == "max_output_tokens"
    assert "50 output tokens" in str(caught.value)
    shown = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert 0 < len(shown) < 2_000
    (entry,) = wire.ledger.entries()
    assert entry.usage.estimated
    assert entry.usage.output_tokens >= tokens.estimate(shown, MODEL).tokens
    assert bot.chat("And now?").text == "Hello."


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_cap_stops_a_server_that_does_not_heed_it(wire: Wire, pieces: int) -> None:
    text = "word " * 2_000
    size = len(text) // pieces
    deltas = [delta(text[start : start + size], start + 1) for start in range(0, len(text), size)]
    wire.server.answers.append(sse(created(), *deltas, ended(99_999, "completed", message(text), usage=None)))
    wire.server.routes[LOOK] = error(404, "Not found.")
    bot = wire.bot([RETRY, TokenCap(session=400)])
    outcome = bot.try_chat("Hi", streamed=True)
    assert isinstance(outcome, RunStopped)
    (entry,) = wire.ledger.entries()
    seen = 2_000 if pieces == 1 else 300
    assert entry.usage.output_tokens >= seen
    assert entry.usage.estimated
    # What is booked counts: there is no room for more.
    assert not isinstance(bot.try_chat("And now?", streamed=True), Reply)
    assert len(wire.server.to(PAID)) == 1


def test_a_whole_answer_longer_than_was_allowed_is_booked_as_it_was(wire: Wire) -> None:
    text = "word " * 3_000
    wire.server.answers.append(answer(message(text), usage=None))
    bot = wire.bot([RETRY], assistant=Assistant(model=MODEL, instructions="", max_output_tokens=50))
    bot.try_chat("Hi")
    (entry,) = wire.ledger.entries()
    assert entry.usage.output_tokens >= tokens.estimate(text, MODEL).tokens
