from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox

MODEL = "gpt-6-luna"


def _types(sandbox: Sandbox, conversation: str) -> list[str]:
    return [item["type"] for item in sandbox.conversation(conversation)]


def test_a_conversation_is_created_updated_and_deleted(call: Any) -> None:
    with Sandbox() as sandbox:
        created = call(sandbox, "conversations.create", metadata={"user": "u-1"})
        updated = call(sandbox, "conversations.update", created.id, metadata={"user": "u-2"})
        deleted = call(sandbox, "conversations.delete", created.id)

        assert created.id.startswith("conv_sandbox_")
        assert (created.metadata, updated.metadata) == ({"user": "u-1"}, {"user": "u-2"})
        assert deleted.deleted
        for method in ("conversations.retrieve", "conversations.delete", "conversations.items.list"):
            with pytest.raises(openai.NotFoundError) as caught:
                call(sandbox, method, created.id)
            assert caught.value.body == {
                "message": f"Conversation with id '{created.id}' not found.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }


def test_items_are_listed_newest_first_and_page_through(call: Any) -> None:
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create").id
        for start in (0, 20, 40):
            items = [{"role": "user", "content": str(number)} for number in range(start, start + 20)]
            added = call(sandbox, "conversations.items.create", conversation, items=items)
            assert len(added.data) == 20

        client: Any = sandbox.client()
        with client:
            page = client.conversations.items.list(conversation)
            everything = [item.content[0].text for item in client.conversations.items.list(conversation, order="asc")]
            rest = client.conversations.items.list(conversation, after=page.last_id, limit=100)

        assert [item.content[0].text for item in page.data] == [str(number) for number in range(59, 39, -1)]
        assert page.has_more
        assert everything == [str(number) for number in range(60)]
        assert len(rest.data) == 40
        assert not rest.has_more


def test_an_item_is_read_and_deleted(call: Any) -> None:
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create", items=[{"role": "user", "content": "Hi"}]).id
        item_id = sandbox.conversation(conversation)[0]["id"]

        read = call(sandbox, "conversations.items.retrieve", item_id, conversation_id=conversation)
        left = call(sandbox, "conversations.items.delete", item_id, conversation_id=conversation)

        assert read.content[0].text == "Hi"
        assert left.id == conversation
        assert sandbox.conversation(conversation) == []
        with pytest.raises(openai.NotFoundError, match=f"Item with id '{item_id}' not found in conversation"):
            call(sandbox, "conversations.items.retrieve", item_id, conversation_id=conversation)


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (Answer("Hi"), ["message", "message"]),
        (Answer("Hi", status="failed"), []),
        (Answer("Hi", status="failed", appended=True), ["message", "message"]),
        (Answer("Hi", status="incomplete"), ["message", "message"]),
        (Answer("Hi", status="incomplete", appended=False), []),
        (Answer("Hi", appended=False), []),
    ],
)
def test_what_a_response_leaves_in_the_conversation(call: Any, answer: Answer, left: list[str]) -> None:
    with Sandbox([answer]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = call(sandbox, "responses.create", model=MODEL, input="Hello", conversation=conversation)

        assert response.status == answer.status
        assert _types(sandbox, conversation) == left


def test_an_unanswered_call_poisons_the_conversation_until_it_is_healed(call: Any, lookup: Any) -> None:
    with Sandbox([FunctionCall("lookup"), "healed"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "conversation": conversation}
        first = call(sandbox, "responses.create", input="Hi", **common)
        call_id = first.output[0].call_id
        for _ in range(2):
            with pytest.raises(openai.BadRequestError) as caught:
                call(sandbox, "responses.create", input="And?", **common)
            assert caught.value.body == {
                "message": f"No tool output found for function call {call_id}.",
                "type": "invalid_request_error",
                "param": "input",
                "code": None,
            }

        output = {"type": "function_call_output", "call_id": call_id, "output": "none"}
        call(sandbox, "conversations.items.create", conversation, items=[output])
        assert call(sandbox, "responses.create", input="And?", **common).output_text == "healed"


def test_deleting_the_open_call_heals_the_conversation(call: Any, lookup: Any) -> None:
    with Sandbox([Answer(tool_calls=[FunctionCall("lookup")], reasoning_tokens=9), "healed"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "conversation": conversation}
        first = call(sandbox, "responses.create", input="Hi", **common)
        reasoning, made = first.output

        call(sandbox, "conversations.items.delete", made.id, conversation_id=conversation)
        with pytest.raises(openai.BadRequestError, match=f"'{reasoning.id}' of type 'reasoning' was provided without"):
            call(sandbox, "responses.create", input="And?", **common)
        call(sandbox, "conversations.items.delete", reasoning.id, conversation_id=conversation)
        assert call(sandbox, "responses.create", input="And?", **common).output_text == "healed"


def test_a_call_whose_reasoning_is_gone_is_refused(call: Any, lookup: Any) -> None:
    with Sandbox([Answer("Hm.", reasoning_tokens=9), "never"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        first = call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation)
        call(sandbox, "conversations.items.delete", first.output[0].id, conversation_id=conversation)

        with pytest.raises(openai.BadRequestError, match="without its required 'reasoning' item"):
            call(sandbox, "responses.create", model=MODEL, input="And?", conversation=conversation)


def test_an_output_without_its_call_is_refused(call: Any) -> None:
    orphan = {"type": "function_call_output", "call_id": "call_x", "output": "?"}
    told = "No tool call found for function call output with call_id call_x."
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create").id
        for options in ({}, {"conversation": conversation}):
            with pytest.raises(openai.BadRequestError, match=told):
                call(sandbox, "responses.create", model=MODEL, input=[orphan], **options)

        call(sandbox, "conversations.items.create", conversation, items=[orphan])
        with pytest.raises(openai.BadRequestError, match=told):
            call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation)


def test_an_output_is_taken_once(call: Any, lookup: Any, output_for: Any) -> None:
    with Sandbox([FunctionCall("lookup"), "done", "never"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "conversation": conversation}
        first = call(sandbox, "responses.create", input="Hi", **common)
        call(sandbox, "responses.create", input=[output_for(first)], **common)

        with pytest.raises(openai.BadRequestError, match="No tool call found"):
            call(sandbox, "responses.create", input=[output_for(first)], **common)


def test_an_item_id_stands_once_in_a_context(call: Any) -> None:
    item = {"type": "message", "role": "user", "content": "Hi", "id": "msg_own"}
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create", items=[item]).id
        with pytest.raises(openai.BadRequestError, match="Duplicate item found with id msg_own"):
            call(sandbox, "responses.create", model=MODEL, input=[item], conversation=conversation)


def test_a_reference_brings_an_item_of_another_conversation(call: Any) -> None:
    with Sandbox(lambda request: request.text) as sandbox:
        call(sandbox, "conversations.create", items=[{"role": "user", "content": "far", "id": "msg_far"}])
        reference = {"type": "item_reference", "id": "msg_far"}

        assert call(sandbox, "responses.create", model=MODEL, input=[reference]).output_text.strip() == "far"
        with pytest.raises(openai.NotFoundError, match="Item with id 'msg_no' not found"):
            call(sandbox, "responses.create", model=MODEL, input=[{"type": "item_reference", "id": "msg_no"}])


def test_faults_reach_any_endpoint(call: Any) -> None:
    faults = [Fault.server_error(503, at=2, endpoint="POST /conversations/{id}/items"), Fault.quota(at=5, endpoint="*")]
    with Sandbox(faults=faults) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        add = {"items": [{"role": "user", "content": "Hi"}]}
        call(sandbox, "conversations.items.create", conversation, **add)
        with pytest.raises(openai.InternalServerError):
            call(sandbox, "conversations.items.create", conversation, **add)
        call(sandbox, "conversations.items.create", conversation, **add)
        with pytest.raises(openai.RateLimitError):
            call(sandbox, "conversations.retrieve", conversation)

        assert len(sandbox.conversation(conversation)) == 2
        assert sandbox.faults_fired == 2
