"""Servers that imitate the API: nothing of what they do may hang, overspend, or lose the books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest
from tenacity import wait_none

from assistantguard import (
    AssistantGuardError,
    BudgetExceeded,
    OutcomeUnknown,
    RetriesExhausted,
    ThreadRotation,
    TokenCap,
    TransientRetry,
    VectorStoreReuse,
)
from tests.wire.conftest import Wire
from tests.wire.server import USAGE, SeenRequest, answer, error, function_call, message

RETRY = TransientRetry(2, wait=wait_none())
ZEROS = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("usage", [None, ..., {}, ZEROS, {"input_tokens": 5}, {"total_tokens": 9}, "none"])
def test_usage_that_is_not_told_is_booked_as_an_estimate(wire: Wire, usage: Any) -> None:
    wire.server.answers.append(answer(message("It is on its way to you."), usage=usage))

    reply = wire.bot([]).chat("Where is it?")

    assert reply.usage.estimated_tokens == reply.usage.total_tokens > 0
    assert reply.usage.input_tokens > 0
    assert reply.usage.output_tokens > 0
    assert reply.cost is not None
    assert reply.cost > Decimal(0)
    (entry,) = wire.ledger.entries()
    assert entry.usage == reply.usage


def test_a_server_that_never_tells_usage_still_fills_a_cap_and_rotates_by_context(wire: Wire) -> None:
    wire.server.routes["POST /responses/input_tokens"] = error(404)

    def answer_in_bounds(seen: SeenRequest) -> dict[str, Any]:
        return answer(message("word " * min(300, seen.body["max_output_tokens"] - 1)), usage=None)

    wire.server.routes["POST /responses"] = answer_in_bounds
    bot = wire.bot([TokenCap(session=20_000, counting="always"), ThreadRotation(None, max_context_tokens=2_000)])

    outcomes = [bot.try_chat(f"Message {number}.") for number in range(60)]

    assert isinstance(outcomes[-1], BudgetExceeded)
    assert wire.ledger.balance(bot.session_account, "tokens").committed <= 20_000
    assert len(wire.server.to("POST /conversations")) > 1


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110},
        {**USAGE, "input_tokens_details": None, "output_tokens_details": None},
        {**USAGE, "input_tokens_details": {"cached_tokens": 0}},
        {**USAGE, "extra": {"deep": 1}},
        {"input_tokens": 100.0, "output_tokens": 10.0, "total_tokens": 110.0},
    ],
)
def test_usage_without_its_details_is_taken_as_it_is(wire: Wire, usage: dict[str, Any]) -> None:
    wire.server.answers.append(answer(usage=usage))

    reply = wire.bot([]).chat("Hi")

    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated_tokens) == (100, 10, 0)


def test_more_usage_than_was_held_is_booked_in_full_and_the_next_request_knows(wire: Wire) -> None:
    usage = {**USAGE, "input_tokens": 16_017, "total_tokens": 16_027}
    wire.server.answers.append(answer(usage=usage))
    bot = wire.bot([TokenCap(session=10_000)])

    reply = bot.chat("Search for it.")

    assert reply.usage.total_tokens == 16_027
    assert wire.ledger.balance(bot.session_account, "tokens").committed == 16_027
    assert isinstance(bot.try_chat("Again."), BudgetExceeded)


@pytest.mark.parametrize(
    "overrides",
    [
        {"shiny": [1], "moderation": {"x": 1}},
        {"object": ..., "created_at": ..., "parallel_tool_calls": ..., "tool_choice": ..., "tools": ...},
        {"created_at": 1.5, "id": "7"},
        {"id": ""},
        {"error": ..., "incomplete_details": ..., "metadata": ...},
        {"conversation": None},
        {"status": ...},
        {"status": "done"},
        {"model": "llama-3-70b", "service_tier": "bronze"},
    ],
)
def test_fields_of_its_own_and_fields_left_out_do_no_harm(wire: Wire, overrides: dict[str, Any]) -> None:
    wire.server.answers.append(answer(**overrides))

    reply = wire.bot([]).chat("Hi")

    assert reply.text == "Hello."
    assert reply.complete
    assert len(wire.ledger.entries()) == 1
    assert wire.ledger.open_holds() == ()


def test_items_of_unknown_types_and_ids_without_prefixes_are_passed_over(wire: Wire) -> None:
    called = {"type": "function_call", "call_id": "17", "name": "lookup", "arguments": "", "id": None}
    wire.server.answers.append(answer({"type": "thinking", "blob": 1}, {"type": "message", "content": "Hm."}, called))

    def lookup() -> str:
        """Find."""
        return "found"

    reply = wire.bot([], tools=[lookup]).chat("Hi")

    assert wire.server.bodies("POST /responses")[1]["input"] == [
        {"type": "function_call_output", "call_id": "17", "output": "found"}
    ]
    assert reply.text == "Hello."


def test_an_answer_that_someone_cancelled_is_asked_for_again_and_its_hold_booked(wire: Wire) -> None:
    wire.server.answers.append(answer(status="cancelled", output=[], usage=None))
    bot = wire.bot([RETRY])

    assert bot.chat("Hi").text == "Hello."

    assert wire.ledger.open_holds() == ()
    assert [entry.usage.estimated for entry in wire.ledger.entries()] == [True, False]


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_an_answer_that_is_not_done_is_followed_to_its_end(wire: Wire, status: str) -> None:
    wire.server.answers.append(answer(status=status, output=[], usage=None))
    later = [answer(status=status, output=[], usage=None), answer(message("Done."))]
    wire.server.routes["GET /responses/{id}"] = lambda _: later.pop(0)
    bot = wire.bot([RETRY])

    assert bot.chat("Hi").text == "Done."

    assert later == []
    (entry,) = wire.ledger.entries()
    assert not entry.usage.estimated
    assert wire.ledger.open_holds() == ()


def test_an_unknown_reason_for_an_incomplete_answer_is_handed_on(wire: Wire) -> None:
    wire.server.answers.append(answer(message("It is"), status="incomplete", incomplete_details={"reason": "moon"}))

    reply = wire.bot([]).chat("Hi")

    assert (reply.text, reply.complete, reply.run.incomplete_reason) == ("It is", False, "moon")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_cannot_count_is_asked_once_and_the_cap_holds_all_the_same(wire: Wire, status: int) -> None:
    wire.server.routes["POST /responses/input_tokens"] = error(status, "Not Found")
    bot = wire.bot([TokenCap(session=4_000, counting="always")])

    bot.chat("One.")
    bot.chat("Two.")

    assert len(wire.server.to("POST /responses/input_tokens")) == 1
    sent = wire.server.bodies("POST /responses")
    assert all(16 <= body["max_output_tokens"] < 4_000 for body in sent)


@pytest.mark.parametrize(
    "counted", [{"object": "response.input_tokens"}, {"input_tokens": "many"}, {"input_tokens": None}]
)
def test_a_count_that_is_none_is_no_count(wire: Wire, counted: dict[str, Any]) -> None:
    wire.server.routes["POST /responses/input_tokens"] = counted

    reply = wire.bot([TokenCap(session=4_000, counting="always")]).chat("Hi")

    assert reply.text == "Hello."


@pytest.mark.parametrize("has_more", [True, None, "yes"])
def test_a_list_that_never_ends_is_left(wire: Wire, has_more: Any) -> None:
    page = [message(f"text {number}", id=f"msg_{number}") for number in range(100)]
    wire.server.routes["GET /conversations/{id}/items"] = {"object": "list", "data": page, "has_more": has_more}
    bot = wire.bot([ThreadRotation(1)])
    bot.chat("One.")

    assert bot.chat("Two.").text == "Hello."
    assert len(wire.server.to("GET /conversations/{id}/items")) <= 2


def test_a_list_that_makes_up_new_items_for_ever_is_left(wire: Wire) -> None:
    made = iter(range(1_000_000))

    def page(_seen: SeenRequest) -> dict[str, Any]:
        store = {**wire.server.vector_store(), "metadata": {}, "id": f"vs_{next(made)}"}
        return {"object": "list", "data": [store], "has_more": True}

    wire.server.routes["GET /vector_stores"] = page

    wire.bot([VectorStoreReuse()]).attach_files(["file-a"])

    assert len(wire.server.to("GET /vector_stores")) <= 200
    assert len(wire.server.to("POST /vector_stores")) == 1


@pytest.mark.parametrize(
    "garbage",
    [
        lambda: httpx.Response(200, content=b"{ not json", headers={"content-type": "application/json"}),
        lambda: httpx.Response(200, content=b"", headers={"content-type": "application/json"}),
        lambda: httpx.Response(200, html="<html>Please log in</html>"),
        lambda: httpx.Response(200, content=b"[]", headers={"content-type": "application/json"}),
        lambda: httpx.Response(200, content=b"null", headers={"content-type": "application/json"}),
    ],
    ids=["not json", "empty", "a login page", "a list", "null"],
)
def test_a_body_that_is_no_response_ends_in_a_named_error_and_is_booked(wire: Wire, garbage: Any) -> None:
    wire.server.answers.append(garbage())
    bot = wire.bot([RETRY])

    outcome = bot.try_chat("Hi")

    assert isinstance(outcome, OutcomeUnknown)
    assert len(wire.server.to("POST /responses")) == 1
    (entry,) = wire.ledger.entries()
    assert entry.usage.estimated_tokens == entry.usage.total_tokens > 0
    assert wire.ledger.open_holds() == ()
    assert bot.chat("And now?").text == "Hello."


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b'{"detail": "upstream"}', b'"no"', b"\xff\xfe"])
def test_an_error_page_of_a_gateway_is_retried_as_what_its_status_says(wire: Wire, body: bytes) -> None:
    wire.server.answers.append(httpx.Response(502, content=body))

    assert wire.bot([RETRY]).chat("Hi").text == "Hello."
    assert len(wire.server.to("POST /responses")) == 2


def test_a_conversation_without_an_id_is_an_error(wire: Wire) -> None:
    wire.server.routes["POST /conversations"] = {"object": "conversation"}

    outcome = wire.bot([RETRY]).try_chat("Hi")

    assert isinstance(outcome, AssistantGuardError)
    assert wire.server.to("POST /responses") == []


def test_a_server_without_conversations_says_so_in_a_named_error(wire: Wire) -> None:
    wire.server.routes["POST /conversations"] = error(404, "Not Found")

    outcome = wire.bot([RETRY]).try_chat("Hi")

    assert isinstance(outcome, AssistantGuardError)
    assert "404" in str(outcome)


def test_an_upstream_rate_limit_that_comes_as_500_is_retried(wire: Wire) -> None:
    wire.server.answers.extend([error(500, "upstream: 429 Too Many Requests")] * 2)

    assert isinstance(wire.bot([RETRY]).try_chat("Hi"), RetriesExhausted)


def test_a_server_that_cannot_heal_a_conversation_does_not_hide_the_first_error(wire: Wire) -> None:
    wire.server.routes["GET /conversations/{id}/items"] = error(405, "Method Not Allowed")
    wire.server.routes["POST /conversations/{id}/items"] = error(405, "Method Not Allowed")
    wire.server.answers.append(answer(status="failed", error={"code": "invalid_prompt", "message": "No."}, output=[]))

    outcome = wire.bot([RETRY]).try_chat("Hi")

    assert isinstance(outcome, AssistantGuardError)
    assert wire.ledger.open_holds() == ()


@pytest.mark.parametrize("arguments", ["not json", "[1]", "null", '{"order": 7}', '{"order": "W1", "extra": 1}'])
def test_arguments_that_are_no_good_are_told_to_the_model(wire: Wire, arguments: str) -> None:
    calls: list[str] = []

    def lookup(order: str) -> str:
        """Find an order."""
        calls.append(order)
        return order

    wire.server.answers.append(answer(function_call(arguments=arguments)))

    reply = wire.bot([], tools=[lookup]).chat("Hi")

    (output,) = wire.server.bodies("POST /responses")[1]["input"]
    assert output["call_id"] == "call_1"
    assert len(output["output"].splitlines()) == 1
    assert reply.run.steps == 1
    assert len(calls) <= 1
