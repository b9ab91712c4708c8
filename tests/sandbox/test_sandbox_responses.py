from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import openai
import pytest

from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Sandbox, Scripted, ToolCalls

MODEL = "gpt-6-luna"


def test_a_text_is_answered_with_ids_that_say_sandbox(call: Any) -> None:
    with Sandbox(["Hello!"]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi")

        assert response.output_text == "Hello!"
        assert response.status == "completed"
        assert response.id.startswith("resp_sandbox_")
        assert response.output[0].id.startswith("msg_sandbox_")


def test_tool_calls_and_their_outputs_make_a_turn_in_the_conversation(call: Any, lookup: Any) -> None:
    script: list[Scripted] = [
        ToolCalls(FunctionCall("lookup", {"order": "W1"}), FunctionCall("lookup", {"order": "W2"}, "call_own")),
        "Both are on their way.",
    ]
    with Sandbox(script, require_consumed=True) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "conversation": conversation}
        first = call(sandbox, "responses.create", input="Where are they?", **common)
        outputs = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "shipped"} for item in first.output
        ]
        second = call(sandbox, "responses.create", input=outputs, **common)

        assert [item.arguments for item in first.output] == ['{"order": "W1"}', '{"order": "W2"}']
        assert first.output[1].call_id == "call_own"
        assert second.output_text == "Both are on their way."
        items = sandbox.conversation(conversation)
        assert [item["type"] for item in items] == [
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
            "message",
        ]
        assert [item["id"] for item in items[1:3]] == [item.id for item in first.output]


def test_conversation_is_taken_as_text_or_object_and_echoed(call: Any) -> None:
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create").id
        for given in (conversation, {"id": conversation}):
            response = call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=given)
            assert response.conversation.id == conversation


def test_previous_response_id_carries_the_context_but_not_the_instructions(call: Any) -> None:
    seen: list[ModelRequest] = []

    def model(request: ModelRequest) -> str:
        seen.append(request)
        return f"answer {len(seen)}"

    with Sandbox(model) as sandbox:
        first = call(sandbox, "responses.create", model=MODEL, input="one", instructions="Be kind.")
        call(sandbox, "responses.create", model=MODEL, input="two", previous_response_id=first.id)

        assert "answer 1" in seen[1].text
        assert "one" in seen[1].text
        assert "Be kind." not in seen[1].text
        assert seen[1].last_user_text == "two"


def test_the_model_function_sees_the_whole_context(call: Any, lookup: Any) -> None:
    seen: list[ModelRequest] = []

    async def model(request: ModelRequest) -> str:
        seen.append(request)
        await asyncio.sleep(0)
        return "ok"

    with Sandbox(model) as sandbox:
        conversation = call(sandbox, "conversations.create", items=[{"role": "user", "content": "earlier"}]).id
        call(
            sandbox,
            "responses.create",
            model=MODEL,
            input="now",
            instructions="Be kind.",
            tools=[lookup],
            max_output_tokens=99,
            conversation=conversation,
        )

        (request,) = seen
        assert request.text.split("\n") == ["Be kind.", "earlier", "now"]
        assert request.conversation == conversation
        assert request.tools[0]["name"] == "lookup"
        assert (request.model, request.max_output_tokens, request.tool_choice) == (MODEL, 99, "auto")
        assert request.input_tokens == sandbox.billing.input_tokens


def test_an_answer_longer_than_max_output_tokens_is_cut_and_billed(call: Any) -> None:
    with Sandbox(["word " * 200]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = call(
            sandbox, "responses.create", model=MODEL, input="Hi", max_output_tokens=40, conversation=conversation
        )

        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.usage.output_tokens == sandbox.billing.output_tokens == 40
        assert response.output_text == ("word " * 36).strip()
        assert response.output[0].status == "incomplete"
        assert len(sandbox.conversation(conversation)) == 2


def test_a_call_cut_at_max_output_tokens_is_incomplete_and_stays_open(call: Any, lookup: Any) -> None:
    with Sandbox([FunctionCall("lookup", {"order": "W" * 400}), "never"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "conversation": conversation}
        response = call(sandbox, "responses.create", input="Hi", max_output_tokens=16, **common)

        assert response.status == "incomplete"
        assert response.output[0].status == "incomplete"
        with pytest.raises(openai.BadRequestError, match="No tool output found for function call"):
            call(sandbox, "responses.create", input="And?", **common)


def test_reasoning_is_billed_as_output_and_stands_before_the_answer(call: Any) -> None:
    with Sandbox([Answer("Yes.", reasoning_tokens=77)]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi")

        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert response.usage.output_tokens_details.reasoning_tokens == 77
        assert response.usage.output_tokens > 77


def test_a_model_that_may_not_call_tools_says_the_next_text_of_the_script(call: Any, lookup: Any) -> None:
    for options in ({"tools": [lookup], "tool_choice": "none"}, {}):
        with Sandbox([FunctionCall("lookup"), FunctionCall("lookup"), "This is what I know."]) as sandbox:
            response = call(sandbox, "responses.create", model=MODEL, input="Hi", **options)

            assert response.output_text == "This is what I know."
            assert sandbox.unconsumed == 0


def test_without_parallel_tool_calls_one_call_is_made(call: Any, lookup: Any) -> None:
    with Sandbox([ToolCalls(FunctionCall("lookup"), FunctionCall("lookup"))]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi", tools=[lookup], parallel_tool_calls=False)

        assert len(response.output) == 1


def test_a_required_tool_choice_makes_the_echo_call_a_tool(call: Any, lookup: Any) -> None:
    with Sandbox() as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi", tools=[lookup], tool_choice="required")

        assert response.output[0].name == "lookup"


def test_responses_are_kept_unless_store_is_false(call: Any) -> None:
    with Sandbox() as sandbox:
        kept = call(sandbox, "responses.create", model=MODEL, input="Hi", metadata={"turn": "1"})
        gone = call(sandbox, "responses.create", model=MODEL, input="Hi", store=False)

        assert call(sandbox, "responses.retrieve", kept.id).metadata == {"turn": "1"}
        assert call(sandbox, "responses.input_items.list", kept.id).data[0].content[0].text == "Hi"
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{gone.id}' not found"):
            call(sandbox, "responses.retrieve", gone.id)
        call(sandbox, "responses.delete", kept.id)
        with pytest.raises(openai.NotFoundError):
            call(sandbox, "responses.retrieve", kept.id)


def test_a_conversation_takes_one_request_at_a_time() -> None:
    reached, released = threading.Event(), threading.Event()

    def model(request: ModelRequest) -> str:
        reached.set()
        assert released.wait(60)
        return f"answer to {request.last_user_text}"

    with Sandbox(model) as sandbox:
        client = sandbox.client(max_retries=0)
        conversation = client.conversations.create().id
        replies: list[str] = []
        slow = threading.Thread(
            target=lambda: replies.append(
                client.responses.create(model=MODEL, input="one", conversation=conversation).output_text
            )
        )
        slow.start()
        assert reached.wait(60)

        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=MODEL, input="two", conversation=conversation)
        for method in ("post", "delete"):
            path = f"/conversations/{conversation}/items" + ("/msg_x" if method == "delete" else "")
            with pytest.raises(openai.BadRequestError) as locked:
                getattr(client, method)(path, body={"items": []}, cast_to=object)
            assert locked.value.code == "conversation_locked"
        released.set()
        slow.join()

        assert caught.value.body == {
            "message": "Another process is currently operating on this conversation. Please retry in a few seconds.",
            "type": "invalid_request_error",
            "param": "conversation",
            "code": "conversation_locked",
        }
        assert replies == ["answer to one"]
        last = client.responses.create(model=MODEL, input="two", conversation=conversation)
        assert last.output_text == "answer to two"


def test_different_conversations_are_answered_side_by_side_by_functions_that_block() -> None:
    together = threading.Barrier(40, timeout=60)

    def model(_: ModelRequest) -> str:
        together.wait()
        return "ok"

    async def run(sandbox: Sandbox) -> None:
        async with sandbox.async_client(max_retries=0) as client:

            async def turn() -> None:
                conversation = (await client.conversations.create()).id
                await client.responses.create(model=MODEL, input="Hi", conversation=conversation)

            await asyncio.gather(*(turn() for _ in range(40)))

    with Sandbox(model) as sandbox:
        asyncio.run(run(sandbox))
        assert len(sandbox.billing.by_conversation) == 40


def test_an_answer_takes_its_delay(call: Any) -> None:
    with Sandbox([Answer("slow", delay=0.2)]) as sandbox:
        started = time.monotonic()
        assert call(sandbox, "responses.create", model=MODEL, input="Hi").output_text == "slow"
        assert time.monotonic() - started >= 0.2


def test_what_the_model_function_raises_is_told_and_not_to_be_tried_again(call: Any) -> None:
    def model(_: ModelRequest) -> str:
        raise ValueError("boom")

    with Sandbox(model) as sandbox:
        with pytest.raises(openai.InternalServerError, match="the scripted model raised ValueError: boom") as caught:
            call(sandbox, "responses.create", model=MODEL, input="Hi")

        assert caught.value.response.headers["x-should-retry"] == "false"
        assert caught.value.code == "script_raised"


def test_a_function_that_answers_nonsense_is_told_what_to_answer(call: Any) -> None:
    with (
        Sandbox(lambda _: 7) as sandbox,  # type: ignore[arg-type,return-value]
        pytest.raises(openai.InternalServerError, match="give a str, a FunctionCall, ToolCalls or an Answer"),
    ):
        call(sandbox, "responses.create", model=MODEL, input="Hi")
