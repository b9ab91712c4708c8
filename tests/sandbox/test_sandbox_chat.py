"""The sandbox's `/chat/completions` and `/completions`, through the official client."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox, ToolCalls
from tests.support.world import MODEL

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("lookup", "send")
]


def say(text: str = "Where is it?") -> list[Any]:
    return [{"role": "user", "content": text}]


def test_an_answer_bills_what_its_usage_says() -> None:
    with Sandbox(["On its way."]) as sandbox:
        answer = sandbox.client().chat.completions.create(model=MODEL, messages=say())
        (choice,) = answer.choices
        assert (choice.message.content, choice.finish_reason) == ("On its way.", "stop")
        assert answer.usage is not None
        assert answer.usage.total_tokens == sandbox.billing.totals.total_tokens
        assert answer.usage.completion_tokens == sandbox.billing.output_tokens


@pytest.mark.parametrize("with_usage", [True, False])
def test_a_stream_tells_the_same_and_its_usage_only_where_it_is_asked(with_usage: bool) -> None:
    with Sandbox(["On its way to you now."]) as sandbox:
        options: Any = {"stream_options": {"include_usage": True}} if with_usage else {}
        chunks = [*sandbox.client().chat.completions.create(model=MODEL, messages=say(), stream=True, **options)]
        told = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert "".join(choice.delta.content or "" for choice in told) == "On its way to you now."
        assert told[-1].finish_reason == "stop"
        usage = [chunk.usage.total_tokens for chunk in chunks if chunk.usage is not None]
        assert usage == ([sandbox.billing.totals.total_tokens] if with_usage else [])


def test_calls_of_tools_and_their_outputs_go_round() -> None:
    calls = ToolCalls(FunctionCall("lookup", {"order": "W1"}), FunctionCall("send", {}))
    with Sandbox([calls, calls, "Sent."]) as sandbox:
        create = sandbox.client().chat.completions.create
        first = create(model=MODEL, messages=say(), tools=TOOLS).choices[0]
        assert first.finish_reason == "tool_calls"
        streamed = [*create(model=MODEL, messages=say(), tools=TOOLS, stream=True)]
        pieces = [call for chunk in streamed for call in chunk.choices[0].delta.tool_calls or ()]
        assert "".join(p.function.arguments or "" for p in pieces if p.index == 0 and p.function) == '{"order": "W1"}'
        assert {piece.index for piece in pieces} == {0, 1}
        assert first.message.tool_calls is not None
        outputs: Any = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in first.message.tool_calls]
        history: Any = [*say(), first.message.model_dump(exclude_none=True), *outputs]
        assert create(model=MODEL, messages=history, tools=TOOLS).choices[0].message.content == "Sent."


def test_the_output_is_cut_where_the_request_says() -> None:
    with Sandbox(lambda _: Answer(text="on and " * 100)) as sandbox:
        client = sandbox.client()
        for name in ("max_tokens", "max_completion_tokens"):
            limit: Any = {name: 20}
            answer = client.chat.completions.create(model=MODEL, messages=say(), **limit)
            assert answer.choices[0].finish_reason == "length"
            assert answer.usage is not None
            assert answer.usage.completion_tokens <= 20
        completion = client.completions.create(model=MODEL, prompt="Where is it?")
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.completion_tokens <= 16


def test_what_fails_is_a_server_error_and_costs_nothing() -> None:
    with Sandbox(lambda _: Answer(text="On its", status="failed")) as sandbox:
        client = sandbox.client(max_retries=0)
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=MODEL, messages=say())
        with pytest.raises(openai.APIError, match="failed to generate"):
            list(client.chat.completions.create(model=MODEL, messages=say(), stream=True))
        assert sandbox.billing.totals.total_tokens == 0


def test_streams_of_it_can_be_cut() -> None:
    with Sandbox(faults=[Fault.cut(after=6, clean=True, at=1, endpoint="POST /chat/completions")]) as sandbox:
        stream = sandbox.client().chat.completions.create(model=MODEL, messages=say(), stream=True)
        assert not any(chunk.choices[0].finish_reason for chunk in stream)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time"),
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled"),
        ({"max_output_tokens": 5}, "Unknown parameter: 'max_output_tokens'"),
        ({"n": 2}, "only one answer"),
    ],
    ids=str,
)
def test_wrong_requests_are_refused_and_say_why(wrong: dict[str, Any], message: str) -> None:
    with Sandbox() as sandbox, pytest.raises(openai.BadRequestError, match=message):
        sandbox.client().chat.completions.create(model=MODEL, messages=say(), extra_body=wrong)
