"""What goes over the wire: methods, paths and bodies."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard import (
    Assistant,
    CarryOver,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    VectorStoreReuse,
)
from assistantguard.models import user_message
from tests.wire.conftest import Wire
from tests.wire.server import MODEL, answer, error, function_call, message

INSTRUCTIONS = "You answer questions about orders."
LOOKUP = {
    "type": "function",
    "name": "lookup",
    "description": "Find an order.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
        "additionalProperties": False,
    },
    "strict": True,
}


def lookup(order: str) -> str:
    """Find an order."""
    return f"{order} is on its way"


def _endpoints(wire: Wire) -> list[str]:
    return [seen.endpoint for seen in wire.server.requests]


def _user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def test_a_chat_makes_a_conversation_and_sends_the_message_in_the_request(wire: Wire) -> None:
    bot = wire.bot([])

    reply = bot.chat("Where is order W1?")

    conversation, request = wire.server.requests
    assert (conversation.method, conversation.path) == ("POST", "/v1/conversations")
    assert conversation.body == {"metadata": {"assistantguard_thread": reply.thread_id}}
    assert (request.method, request.path) == ("POST", "/v1/responses")
    assert request.body == {
        "model": MODEL,
        "instructions": INSTRUCTIONS,
        "conversation": "conv_1",
        "input": [_user("Where is order W1?")],
        "metadata": {"assistantguard_run": reply.run.id},
        "prompt_cache_key": reply.thread_id,
    }


def test_a_second_turn_goes_to_the_same_conversation_with_the_instructions_again(wire: Wire) -> None:
    bot = wire.bot([])
    bot.chat("One.")

    bot.chat("Two.")

    assert _endpoints(wire) == ["POST /conversations", "POST /responses", "POST /responses"]
    body = wire.server.bodies("POST /responses")[-1]
    assert (body["conversation"], body["instructions"], body["input"]) == ("conv_1", INSTRUCTIONS, [_user("Two.")])


def test_content_parts_are_sent_as_they_are(wire: Wire) -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "low"},
    ]

    wire.bot([]).chat(parts)

    assert wire.server.bodies("POST /responses")[0]["input"] == [{**_user(""), "content": parts}]


def test_a_tool_round_sends_every_output_and_the_schema_again(wire: Wire) -> None:
    wire.server.answers.extend(
        [answer(function_call("call_1"), function_call("call_2", arguments='{"order": "W2"}')), answer()]
    )

    wire.bot([], tools=[lookup]).chat("Where are they?")

    first, second = wire.server.bodies("POST /responses")
    assert first["tools"] == second["tools"] == [LOOKUP]
    assert second["conversation"] == first["conversation"]
    assert second["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "W1 is on its way"},
        {"type": "function_call_output", "call_id": "call_2", "output": "W2 is on its way"},
    ]


def test_the_assistants_settings_are_sent_and_nothing_that_is_not_set(wire: Wire) -> None:
    assistant = Assistant(
        model=MODEL,
        tools=[{"type": "web_search_preview"}],
        max_output_tokens=500,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        response_format={"type": "json_object"},
        tool_choice="required",
        parallel_tool_calls=False,
        service_tier="flex",
        metadata={"team": "support"},
        extra_body={"safety_identifier": "u-1"},
    )

    reply = wire.bot([], assistant=assistant).chat("Hi")

    assert wire.server.bodies("POST /responses") == [
        {
            "model": MODEL,
            "conversation": "conv_1",
            "input": [_user("Hi")],
            "tools": [{"type": "web_search_preview"}],
            "background": True,
            "tool_choice": "required",
            "max_output_tokens": 500,
            "temperature": 0.5,
            "top_p": 0.9,
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_object"}},
            "parallel_tool_calls": False,
            "service_tier": "flex",
            "metadata": {"team": "support", "assistantguard_run": reply.run.id},
            "prompt_cache_key": reply.thread_id,
            "safety_identifier": "u-1",
        }
    ]


def test_a_cap_lowers_max_output_tokens_to_what_it_leaves(wire: Wire) -> None:
    wire.bot([TokenCap(session=1_000, counting="always")]).chat("Hi")

    assert wire.server.bodies("POST /responses")[0]["max_output_tokens"] == 1_000 - 100


def test_without_a_cap_no_output_limit_is_sent(wire: Wire) -> None:
    wire.bot([ToolStepCeiling(3)]).chat("Hi")

    assert "max_output_tokens" not in wire.server.bodies("POST /responses")[0]


def test_the_input_is_counted_with_what_the_request_will_carry(wire: Wire) -> None:
    assistant = Assistant(
        model=MODEL,
        instructions="Be kind.",
        tools=[lookup],
        reasoning_effort="low",
        temperature=0.5,
        metadata={"a": "b"},
    )

    wire.bot([TokenCap(session=100_000, counting="always")], assistant=assistant).chat("Hi")

    counted = wire.server.to("POST /responses/input_tokens")[0]
    assert (counted.method, counted.path) == ("POST", "/v1/responses/input_tokens")
    assert counted.body == {
        "model": MODEL,
        "instructions": "Be kind.",
        "conversation": "conv_1",
        "input": [_user("Hi")],
        "tools": [LOOKUP],
        "reasoning": {"effort": "low"},
    }


def test_far_from_a_cap_nothing_is_counted(wire: Wire) -> None:
    wire.bot([TokenCap(session=1_000_000)]).chat("Hi")

    assert wire.server.to("POST /responses/input_tokens") == []


def test_wrapping_up_forbids_tools_and_keeps_their_schema(wire: Wire) -> None:
    wire.server.answers.extend([answer(function_call("call_1")), answer(function_call("call_2")), answer()])

    wire.bot([ToolStepCeiling(1, then="wrap_up")], tools=[lookup]).chat("Hi")

    last = wire.server.bodies("POST /responses")[-1]
    assert last["tool_choice"] == "none"
    assert last["tools"] == [LOOKUP]
    assert [item["call_id"] for item in last["input"]] == ["call_2"]


@pytest.mark.parametrize(
    ("tools", "expected"),
    [([lookup], None), ([lookup, {"type": "web_search_preview"}], 4), ([{"type": "web_search_preview"}], 4)],
)
def test_the_ceiling_bounds_built_in_tools_and_says_so_only_where_there_are_some(
    wire: Wire, tools: list[Any], expected: int | None
) -> None:
    wire.bot([ToolStepCeiling(4)], tools=tools).chat("Hi")

    assert wire.server.bodies("POST /responses")[0].get("max_tool_calls") == expected


def test_files_are_embedded_once_with_an_expiry_and_searched_by_every_request(wire: Wire) -> None:
    bot = wire.bot([VectorStoreReuse(expires_after_days=3)])

    bot.attach_files(["file-b", "file-a"])
    bot.attach_files(["file-a", "file-b"])
    bot.chat("What do they say?")

    listed, created = wire.server.requests[:2]
    assert (listed.method, listed.path, listed.query) == (
        "GET",
        "/v1/vector_stores",
        {"limit": "100", "order": "desc"},
    )
    digest = created.body["metadata"]["assistantguard_files"]
    assert created.path == "/v1/vector_stores"
    assert created.body == {
        "name": f"assistantguard {digest[:12]}",
        "file_ids": ["file-a", "file-b"],
        "expires_after": {"anchor": "last_active_at", "days": 3},
        "metadata": {"assistantguard_files": digest},
    }
    assert len(wire.server.to("POST /vector_stores")) == 1
    assert wire.server.bodies("POST /responses")[0]["tools"] == [{"type": "file_search", "vector_store_ids": ["vs_1"]}]


def test_more_than_five_hundred_files_are_sent_in_batches(wire: Wire) -> None:
    wire.bot([VectorStoreReuse()]).attach_files([f"file-{number:04}" for number in range(1_001)])

    (created,) = wire.server.bodies("POST /vector_stores")
    batches = wire.server.bodies("POST /vector_stores/{id}/file_batches")
    assert [len(body["file_ids"]) for body in [created, *batches]] == [500, 500, 1]


def test_the_assistants_own_file_search_gets_the_threads_store_too(wire: Wire) -> None:
    tools = [{"type": "file_search", "vector_store_ids": ["vs_own"], "max_num_results": 4}]
    bot = wire.bot([VectorStoreReuse()], tools=tools)

    bot.attach_files(["file-a"])
    bot.chat("Hi")

    assert wire.server.bodies("POST /responses")[0]["tools"] == [
        {"type": "file_search", "vector_store_ids": ["vs_own", "vs_1"], "max_num_results": 4}
    ]


def test_a_rotation_reads_then_makes_the_new_conversation_then_deletes_the_old(wire: Wire) -> None:
    bot = wire.bot([ThreadRotation(1)])
    bot.chat("Where is order W2378156?")
    wire.server.items = [
        message("It is on its way.", id="msg_a"),
        {
            **_user("Where is order W2378156?"),
            "id": "msg_u",
            "content": [{"type": "input_text", "text": "Where is it?"}],
        },
    ]
    wire.server.requests.clear()

    bot.chat("And now?")

    read, made, deleted, asked = wire.server.requests
    assert (read.method, read.path) == ("GET", "/v1/conversations/conv_1/items")
    assert read.query == {"order": "desc", "limit": "100"}
    assert (made.method, made.path) == ("POST", "/v1/conversations")
    assert made.body["items"][-2:] == [
        {"type": "message", "role": "user", "content": "Where is it?"},
        {"type": "message", "role": "assistant", "content": "It is on its way."},
    ]
    assert (deleted.method, deleted.path) == ("DELETE", "/v1/conversations/conv_1")
    assert asked.body["conversation"] == "conv_2"
    assert asked.body["input"] == [_user("And now?")]


@pytest.mark.parametrize(("old", "deleted"), [("keep", []), ("scrub", ["items/msg_a", ""])])
def test_the_old_conversation_is_kept_or_scrubbed_as_told(wire: Wire, old: Any, deleted: list[str]) -> None:
    bot = wire.bot([ThreadRotation(1, old=old)])
    bot.chat("One.")
    wire.server.items = [message("Hello.", id="msg_a")]

    bot.chat("Two.")

    paths = [seen.path for seen in wire.server.requests if seen.method == "DELETE"]
    assert paths == [f"/v1/conversations/conv_1/{rest}".rstrip("/") for rest in deleted]


def test_a_carry_over_is_sent_twenty_items_a_call(wire: Wire) -> None:
    carried = [user_message(f"note {number}") for number in range(45)]
    bot = wire.bot([ThreadRotation(1, carry_over=lambda items: carried)])
    bot.chat("One.")

    bot.chat("Two.")

    made = wire.server.bodies("POST /conversations")[-1]["items"]
    added = [body["items"] for body in wire.server.bodies("POST /conversations/{id}/items")]
    assert [len(items) for items in [made, *added]] == [20, 20, 5]
    assert [item["content"] for items in [made, *added] for item in items] == [item.text for item in carried]


def test_a_summary_is_a_request_of_its_own_that_stores_nothing(wire: Wire) -> None:
    carry_over = CarryOver(summary_model="gpt-4.1-nano", summary_tokens=200)
    bot = wire.bot([ThreadRotation(1, carry_over=carry_over)])
    bot.chat("One.")
    wire.server.items = [message("Hello.", id="msg_a"), {**_user("One."), "id": "msg_u"}]

    bot.chat("Two.")

    summary = wire.server.bodies("POST /responses")[1]
    assert {name: summary[name] for name in ("model", "store", "max_output_tokens")} == {
        "model": "gpt-4.1-nano",
        "store": False,
        "max_output_tokens": 200,
    }
    assert summary.keys() == {"model", "store", "max_output_tokens", "instructions", "input"}


def test_a_stopped_run_answers_its_open_calls_in_the_conversation(wire: Wire) -> None:
    wire.server.answers.append(answer(function_call("call_1"), function_call("call_2")))
    bot = wire.bot([ToolStepCeiling(5, max_calls=1)], tools=[lookup])

    bot.try_chat("Hi")

    (items,) = wire.server.bodies("POST /conversations/{id}/items")
    assert [(item["type"], item["call_id"]) for item in items["items"]] == [
        ("function_call_output", "call_1"),
        ("function_call_output", "call_2"),
    ]


def test_a_half_turn_is_deleted_item_by_item_newest_first(wire: Wire) -> None:
    bot = wire.bot([RepeatedCallBreaker()], tools=[lookup])
    bot.chat("One.")
    failed = answer(message("Half", id="msg_2"), status="failed", error={"code": "invalid_prompt", "message": "No."})
    wire.server.answers.append(failed)
    wire.server.items = [
        message("Half", id="msg_2", status="incomplete"),
        {**_user("Two."), "id": "msg_u"},
        message(id="msg_1"),
    ]

    bot.try_chat("Two.")

    deleted = [seen.path for seen in wire.server.requests if seen.method == "DELETE"]
    assert deleted == ["/v1/conversations/conv_1/items/msg_2", "/v1/conversations/conv_1/items/msg_u"]


def test_a_thread_may_take_up_a_conversation_that_exists(wire: Wire) -> None:
    bot = wire.bot([])

    bot.chat("Hi", bot.thread(conversation_id="conv_mine"))

    assert wire.server.to("POST /conversations") == []
    assert wire.server.bodies("POST /responses")[0]["conversation"] == "conv_mine"


def test_a_call_that_the_server_finds_open_is_answered_and_the_message_sent_again(wire: Wire) -> None:
    bot = wire.bot([])
    bot.chat("One.")
    wire.server.items = [{**function_call("call_9"), "id": "fc_9"}, {**_user("One."), "id": "msg_u"}]
    wire.server.answers.append(error(400, "No tool output found for function call call_9.", param="input"))

    reply = bot.chat("Two.")

    (items,) = wire.server.bodies("POST /conversations/{id}/items")
    assert [item["call_id"] for item in items["items"]] == ["call_9"]
    assert [body["input"] for body in wire.server.bodies("POST /responses")[1:]] == [[_user("Two.")]] * 2
    assert reply.complete
