"""The check of requests itself, and everything a rich scenario sends to the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import wait_none

from assistantguard import Assistant, CarryOver, CostCap, ThreadRotation, TokenCap, ToolStepCeiling, TransientRetry
from assistantguard import VectorStoreReuse as Reuse
from assistantguard.models import user_message
from assistantguard.sandbox import Answer, Fault, FunctionCall, ToolCalls
from tests.support.world import World
from tests.wire.contract import check_against_openapi, check_request, check_requests, endpoint_of
from tests.wire.server import MODEL, SeenRequest


def _seen(method: str, path: str, body: Any = None, **query: str) -> SeenRequest:
    return SeenRequest(method, f"/v1{path}", query, {}, body, 0)


RESPONSE = {"model": MODEL, "input": [{"type": "message", "role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    "request_",
    [
        _seen("POST", "/responses", {**RESPONSE, "max_output_token": 5}),
        _seen("POST", "/responses", {**RESPONSE, "max_output_tokens": "5"}),
        _seen("POST", "/responses", {**RESPONSE, "tool_choice": "sometimes"}),
        _seen("POST", "/responses", {**RESPONSE, "input": [{"role": "user", "content": "Hi", "colour": "red"}]}),
        _seen("POST", "/responses", {**RESPONSE, "tools": [{"type": "function", "name": "f", "parameter": {}}]}),
        _seen("POST", "/conversations", {"metadata": {"a": 1}}),
        _seen("POST", "/conversations/conv_1/items", {"item": []}),
        _seen("POST", "/vector_stores", {"expires_after": {"anchor": "created_at", "days": 1}}),
        _seen("GET", "/conversations/conv_1/items", limit="many"),
        _seen("GET", "/conversations/conv_1/items", before="x"),
        _seen("GET", "/conversations/conv_1", a="b"),
        _seen("DELETE", "/conversations/conv_1", {"force": True}),
        _seen("POST", "/assistants", {}),
    ],
    ids=lambda seen: f"{seen.method} {seen.body or seen.query}",
)
def test_a_request_that_breaks_the_contract_is_caught(request_: SeenRequest) -> None:
    with pytest.raises(AssertionError):
        check_request(request_)


def test_endpoints_are_told_whatever_the_ids_look_like() -> None:
    assert endpoint_of("DELETE", "/v1/conversations/7/items/a-b") == "DELETE /conversations/{id}/items/{id}"
    assert endpoint_of("POST", "/openai/v1/responses/input_tokens") == "POST /responses/input_tokens"


def test_the_official_document_refuses_what_it_must() -> None:
    check_against_openapi("POST /responses", RESPONSE)
    for body in ({**RESPONSE, "tool_choice": 5}, {**RESPONSE, "max_output_tokens": "x"}, {"input": 7}):
        with pytest.raises(AssertionError):
            check_against_openapi("POST /responses", body)


def test_all_that_a_rich_conversation_sends_keeps_the_contract(world: World) -> None:
    def lookup(order: str, deep: bool = False, tags: list[str] | None = None) -> str:
        """Find an order.

        Args:
            order: Its number.
            deep: Whether to look in the archive too.
            tags: What to look for.
        """
        return f"{order} {deep} {tags}"

    script = [
        ToolCalls(FunctionCall("lookup", {"order": "W1"}), FunctionCall("lookup", {"order": "W2", "deep": True})),
        FunctionCall("lookup", {"order": "W3", "tags": ["late"]}),
        FunctionCall("lookup", {"order": "W4"}),
        "All of them are on their way.",
        Answer("Half", status="incomplete"),
        FunctionCall("lookup", "not json"),
        "They are here.",
        *(f"Answer {number}" for number in range(20)),
    ]
    faults = [
        Fault.rate_limit(at=2, retry_after=0.01),
        Fault.server_error(at=4),
        Fault.failed_response(at=7, text="half"),
        Fault.server_error(at=2, endpoint="GET /conversations/{id}/items"),
    ]
    sandbox = world.sandbox(script, faults=faults)
    with sandbox.client() as client:
        files = [client.files.create(file=(f"{name}.txt", b"terms"), purpose="assistants").id for name in "ab"]
    assistant = Assistant(
        model=MODEL,
        instructions="You answer questions about orders.",
        tools=[lookup, {"type": "web_search_preview"}],
        max_output_tokens=2_000,
        reasoning_effort="low",
        parallel_tool_calls=True,
        metadata={"team": "support"},
    )
    summary = CarryOver(summary_model="gpt-4.1-mini", summary_tokens=200)
    policies = [
        ThreadRotation(2, carry_over=summary, old="scrub"),
        ToolStepCeiling(2, then="wrap_up"),
        TransientRetry(3, wait=wait_none()),
        Reuse(),
        TokenCap(session=1_000_000, run=100_000, counting="always"),
        CostCap(session="5"),
    ]
    bot = world.bot(sandbox, policies, assistant=assistant)
    bot.attach_files(files)

    for number in range(8):
        bot.try_chat(
            [{"type": "input_text", "text": f"Where are they ({number})?"}] if number % 2 else f"And {number}?"
        )
    rotating = world.bot(sandbox, [ThreadRotation(1, carry_over=lambda items: [user_message("n")] * 25)])
    for number in range(2):
        rotating.try_chat(f"Hello {number}")

    endpoints = {request.endpoint for request in sandbox.requests}
    assert {
        "POST /conversations",
        "POST /conversations/{id}/items",
        "GET /conversations/{id}/items",
        "DELETE /conversations/{id}/items/{item_id}",
        "DELETE /conversations/{id}",
        "POST /responses",
        "POST /responses/input_tokens",
        "POST /vector_stores",
        "GET /vector_stores",
    } <= endpoints
    assert bot.guard.summary()["rotations"] > 1
    check_requests(sandbox.requests)
