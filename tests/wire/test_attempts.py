"""How often a request is sent, and what is on the books when it arrives."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from tenacity import wait_none

from assistantguard import (
    CarryOver,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
    RetriesExhausted,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
)
from tests.wire.conftest import Wire
from tests.wire.server import USAGE, answer, error, function_call, message, transport_error

RETRY = TransientRetry(3, wait=wait_none())


def lookup(order: str) -> str:
    """Find an order."""
    return order


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: error(429, "Rate limit reached.", code="rate_limit_exceeded", type="requests"),
        lambda: error(500, "The server had an error.", type="server_error"),
        lambda: error(503, "Overloaded."),
        lambda: error(409, "Conflict."),
        lambda: error(400, "Another process is currently operating on this conversation.", code="conversation_locked"),
        lambda: httpx.Response(502, html="<html><body>Bad gateway</body></html>"),
        lambda: httpx.Response(500, content=b""),
        lambda: transport_error("ConnectError"),
        lambda: transport_error("ConnectTimeout"),
        lambda: transport_error("PoolTimeout"),
    ],
)
def test_what_is_transient_is_sent_as_often_as_the_policy_says(
    wire: Wire, refusal: Callable[[], httpx.Response | Exception]
) -> None:
    wire.server.answers.extend(refusal() for _ in range(3))
    bot = wire.bot([RETRY])

    outcome = bot.try_chat("Hi")

    assert isinstance(outcome, RetriesExhausted)
    assert len(wire.server.to("POST /responses")) == 3
    assert wire.ledger.entries() == ()
    assert bot.chat("And now?").text == "Hello."


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (error(429, "You exceeded your current quota.", code="insufficient_quota"), QuotaExhausted),
        (error(429, "Request too large for gpt-6-luna.", code="rate_limit_exceeded"), QuotaExhausted),
        (error(400, "Invalid value."), RequestRejected),
        (error(401, "Incorrect API key provided."), RequestRejected),
        (error(403, "Not allowed."), RequestRejected),
        (error(429, "Slow down.", headers={"x-should-retry": "false"}), RetriesExhausted),
    ],
)
def test_what_trying_again_cannot_mend_is_sent_once(wire: Wire, refusal: httpx.Response, kind: type[Exception]) -> None:
    wire.server.answers.append(refusal)
    bot = wire.bot([RETRY])

    outcome = bot.try_chat("Hi")

    assert type(outcome) is kind
    assert len(wire.server.to("POST /responses")) == 1
    assert bot.chat("And now?").text == "Hello."


def test_an_unknown_429_without_a_wait_is_tried_once_more(wire: Wire) -> None:
    wire.server.answers.extend([error(429, "Slow down."), error(429, "Slow down.")])

    outcome = wire.bot([TransientRetry(9, wait=wait_none())]).try_chat("Hi")

    assert isinstance(outcome, RetriesExhausted)
    assert len(wire.server.to("POST /responses")) == 2


@pytest.mark.parametrize("name", ["ReadTimeout", "WriteTimeout", "ReadError", "RemoteProtocolError"])
def test_a_lost_request_is_looked_for_before_it_is_sent_again_and_booked_as_an_estimate(wire: Wire, name: str) -> None:
    wire.server.answers.append(transport_error(name))
    bot = wire.bot([RETRY, TokenCap(session=50_000)])

    assert bot.chat("Hi").text == "Hello."

    endpoints = [seen.endpoint for seen in wire.server.requests]
    lost = endpoints.index("POST /responses")
    again = endpoints.index("POST /responses", lost + 1)
    assert "GET /conversations/{id}/items" in endpoints[lost:again]
    assert endpoints.count("POST /responses") == 2
    estimate, entry = wire.ledger.entries()
    assert estimate.usage.estimated_tokens == estimate.usage.total_tokens > 0
    assert estimate.usage.output_tokens == wire.server.bodies("POST /responses")[0]["max_output_tokens"]
    assert not entry.usage.estimated
    assert wire.ledger.open_holds() == ()


@pytest.mark.parametrize("name", ["ReadTimeout", "RemoteProtocolError"])
def test_a_lost_answer_that_stands_in_the_conversation_is_taken_from_there(wire: Wire, name: str) -> None:
    def lose(_seen: object) -> Exception:
        wire.server.items = [
            {**message("It is on its way."), "id": "msg_2"},
            {**message("Hi", role="user", content=[{"type": "input_text", "text": "Hi"}]), "id": "msg_1"},
        ]
        return transport_error(name)

    wire.server.routes["POST /responses"] = lose
    bot = wire.bot([RETRY, TokenCap(session=50_000)])

    reply = bot.chat("Hi")

    assert reply.text == "It is on its way."
    assert len(wire.server.to("POST /responses")) == 1
    (entry,) = wire.ledger.entries()
    assert 0 < entry.usage.estimated_tokens == entry.usage.total_tokens < 1_000
    assert wire.ledger.open_holds() == ()


def test_a_lost_request_that_no_policy_repeats_is_an_unknown_outcome(wire: Wire) -> None:
    wire.server.answers.append(transport_error("ReadTimeout"))
    bot = wire.bot([])

    assert isinstance(bot.try_chat("Hi"), OutcomeUnknown)

    assert bot.chat("And now?").text == "Hello."
    endpoints = [seen.endpoint for seen in wire.server.requests]
    assert "GET /conversations/{id}/items" in endpoints
    assert endpoints.count("POST /responses") == 2


@pytest.mark.parametrize("name", ["ConnectError", "ReadTimeout", "RemoteProtocolError"])
def test_an_unpaid_call_is_repeated_whatever_became_of_it(wire: Wire, name: str) -> None:
    failing: list[httpx.Response | Exception] = [transport_error(name), error(500)]

    def create(_seen: object) -> httpx.Response | Exception:
        if failing:
            return failing.pop(0)
        return httpx.Response(200, json={"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}})

    wire.server.routes["POST /conversations"] = create

    assert wire.bot([RETRY]).chat("Hi").text == "Hello."
    assert len(wire.server.to("POST /conversations")) == 3


def test_no_paid_request_arrives_without_an_open_hold(wire: Wire) -> None:
    summary = CarryOver(summary_model="gpt-4.1-nano")
    policies = [RETRY, ThreadRotation(1, carry_over=summary), ToolStepCeiling(2, then="wrap_up")]
    bot = wire.bot(policies, tools=[lookup])
    bot.chat("One.")
    wire.server.items = [message(id="msg_a")]
    wire.server.answers.extend(
        [
            answer(),
            error(500),
            answer(function_call("call_1")),
            answer(function_call("call_2")),
            error(429),
            answer(function_call("call_3")),
            answer(),
        ]
    )

    bot.chat("Two.")

    paid = wire.server.to("POST /responses")
    assert len(paid) == 8
    assert {seen.open_holds for seen in paid} == {1}
    assert wire.ledger.open_holds() == ()


def test_a_refused_request_is_not_sent(wire: Wire) -> None:
    usage = {**USAGE, "input_tokens": 900, "output_tokens": 90, "total_tokens": 990}
    wire.server.answers.append(answer(usage=usage))
    bot = wire.bot([TokenCap(session=1_000, counting="always")])
    bot.chat("Hi")
    wire.server.requests.clear()

    for _ in range(2):
        bot.try_chat("More?")

    assert wire.server.to("POST /responses") == []
