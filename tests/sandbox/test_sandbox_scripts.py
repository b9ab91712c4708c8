from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Answer, Embedding, Fault, FunctionCall, Sandbox, Script, ToolCalls, replay

MODEL = "gpt-6-luna"


def test_a_script_that_is_used_up_says_so(call: Any) -> None:
    with Sandbox(["only"]) as sandbox:
        call(sandbox, "responses.create", model=MODEL, input="Hi")

        with pytest.raises(openai.InternalServerError, match="the script is used up") as caught:
            call(sandbox, "responses.create", model=MODEL, input="Hi")
        assert caught.value.code == "script_exhausted"
        assert caught.value.type == "sandbox_error"


def test_a_script_is_played_over_all_conversations_or_in_each(call: Any) -> None:
    said: dict[bool, list[str]] = {}
    for each in (False, True):
        with Sandbox(Script(["one", "two"], per_conversation=each)) as sandbox:
            said[each] = []
            for _ in range(2):
                conversation = call(sandbox, "conversations.create").id
                reply = call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation)
                said[each].append(reply.output_text)

    assert said == {False: ["one", "two"], True: ["one", "one"]}


def test_answers_that_nothing_asked_for_are_reported_on_exit() -> None:
    with (
        pytest.raises(AssertionError, match="still holds 2 answers"),
        Sandbox(["a", "b"], require_consumed=True) as sandbox,
    ):
        assert sandbox.unconsumed == 2


def test_an_error_in_the_test_is_not_hidden_by_the_report() -> None:
    with pytest.raises(KeyError), Sandbox(["a"], require_consumed=True):
        raise KeyError("the test's own")


def test_a_refused_request_consumes_no_answer(call: Any) -> None:
    with Sandbox(["one"], faults=[Fault.server_error(at=1)]) as sandbox:
        with pytest.raises(openai.InternalServerError):
            call(sandbox, "responses.create", model=MODEL, input="Hi")
        with pytest.raises(openai.BadRequestError):
            call(sandbox, "responses.create", model=MODEL, input=[{"role": "nobody", "content": "x"}])

        assert call(sandbox, "responses.create", model=MODEL, input="Hi").output_text == "one"


def test_the_echo_is_deterministic(call: Any) -> None:
    with Sandbox() as sandbox:
        said = [call(sandbox, "responses.create", model=MODEL, input="Hi").output_text for _ in range(2)]

    assert said == ["You said: Hi"] * 2


def test_a_recorded_conversation_is_replayed_with_its_ids(call: Any, lookup: Any) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Where is W1?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_7", "type": "function", "function": {"name": "lookup", "arguments": '{"order":"W1"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_7", "content": "shipped"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "shipped."}]},
    ]
    with Sandbox(replay(messages), require_consumed=True) as sandbox:
        first = call(sandbox, "responses.create", model=MODEL, input="Where is W1?", tools=[lookup])
        second = call(
            sandbox,
            "responses.create",
            model=MODEL,
            tools=[lookup],
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": "call_7", "output": "shipped"}],
        )

        assert (first.output[0].call_id, first.output[0].arguments) == ("call_7", '{"order":"W1"}')
        assert second.output_text == "It is shipped."


def test_arguments_that_are_no_json_are_sent_as_they_are(call: Any, lookup: Any) -> None:
    with Sandbox([FunctionCall("lookup", '{"order": ')]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi", tools=[lookup])

        assert response.output[0].arguments == '{"order": '


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Sandbox("Hello"), "model='Hello' is no model"),
        (lambda: Sandbox([7]), "a scripted answer is a int"),  # type: ignore[list-item]
        (ToolCalls, "holds no call"),
        (lambda: Answer(status="done"), "status='done' is not one of"),  # type: ignore[arg-type]
        (lambda: Answer("x", delay=-1), "delay=-1 is below 0"),
        (lambda: Answer("x", reasoning_tokens=-1), "reasoning_tokens=-1 is below 0"),
        (Fault.rate_limit, "give a fault exactly one of them"),
        (lambda: Fault.rate_limit(at=1, rate=0.5), "give a fault exactly one of them"),
        (lambda: Fault.rate_limit(at=0), "counted from 1"),
        (lambda: Fault.rate_limit(rate=1.5), "rate=1.5 is not between 0 and 1"),
        (lambda: Fault.quota(at=1, times=0), "times=0 is below 1"),
        (lambda: Fault.server_error(400, at=1), "status=400 is not between 500 and 599"),
        (lambda: Embedding(seconds=-1), "seconds=-1 is below 0"),
        (lambda: Embedding(error_code="bad"), "error_code='bad' is not one of"),
        (lambda: Sandbox().base_url, "does not run"),
        (lambda: replay([{"role": "assistant", "content": None}]), "says nothing and calls nothing"),
        (
            lambda: replay([{"role": "assistant", "tool_calls": [{"id": "x", "function": {}}]}]),
            "message 1: a tool call has no function name",
        ),
    ],
)
def test_wrong_values_fail_at_construction(make: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told.replace("(", r"\(")):
        make()
