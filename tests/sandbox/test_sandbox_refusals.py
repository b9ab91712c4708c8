"""Bad requests get OpenAI's own status, text, param and code."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import openai
import pytest

from assistantguard.sandbox import Sandbox

GOOD: dict[str, Any] = {"model": "gpt-6-luna", "input": "Hi"}


def _function(**changes: Any) -> dict[str, Any]:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    return {**tool, **changes}


def _type(param: str, expected: str, got: str) -> tuple[str, str, str]:
    return f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type"


def _missing(param: str) -> tuple[str, str, str]:
    return f"Missing required parameter: '{param}'.", param, "missing_required_parameter"


REFUSED: list[tuple[dict[str, Any], tuple[str, str | None, str | None]]] = [
    ({"zzz": 1}, ("Unknown parameter: 'zzz'.", "zzz", "unknown_parameter")),
    ({"model": None}, _type("model", "a string", "null")),
    ({"model": 7}, _type("model", "a string", "an integer")),
    (
        {"max_output_tokens": 15},
        (
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.",
            "max_output_tokens",
            "integer_below_min_value",
        ),
    ),
    ({"max_output_tokens": "x"}, _type("max_output_tokens", "an integer", "a string")),
    ({"max_output_tokens": 20.5}, _type("max_output_tokens", "an integer", "a decimal")),
    ({"max_output_tokens": True}, _type("max_output_tokens", "an integer", "a boolean")),
    (
        {"max_tool_calls": 0},
        (
            "Invalid 'max_tool_calls': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "max_tool_calls",
            "integer_below_min_value",
        ),
    ),
    ({"input": 7}, _type("input", "one of a string or array of input items", "an integer")),
    ({"input": [7]}, _type("input[0]", "an input item", "an integer")),
    ({"input": [None]}, _type("input[0]", "an input item", "null")),
    ({"input": [{"role": "user"}]}, _missing("input[0].content")),
    (
        {"input": [{"role": "bogus", "content": "x"}]},
        (
            "Invalid value: 'bogus'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
            "input[0]",
            "invalid_value",
        ),
    ),
    (
        {"input": [{"role": "user", "content": "x", "phase": "final_answer"}]},
        ("Unknown parameter: 'input[0].phase'.", "input[0].phase", "unknown_parameter"),
    ),
    (
        {"input": [{"role": "assistant", "content": "x", "phase": "bogus"}]},
        (
            "Invalid value: 'bogus'. Supported values are: 'commentary' and 'final_answer'.",
            "input[0].phase",
            "invalid_value",
        ),
    ),
    (
        {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        (
            "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
            "input[0].content[0]",
            "invalid_value",
        ),
    ),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, _missing("input[0].content[0].text")),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
        _missing("input[0].arguments"),
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "c" * 65, "output": "x"}]},
        (
            (
                "Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64, "
                "but got a string with length 65 instead."
            ),
            "input[0].call_id",
            "string_above_max_length",
        ),
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": 7}]},
        _type("input[0].output", "one of a string or array of content parts", "an integer"),
    ),
    (
        {"conversation": "conv_x", "previous_response_id": "resp_x"},
        (
            (
                "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. "
                "Ensure you are only providing one of: 'previous_response_id' or 'conversation'."
            ),
            None,
            "mutually_exclusive_parameters",
        ),
    ),
    (
        {"previous_response_id": "resp_none"},
        (
            "Previous response with id 'resp_none' not found.",
            "previous_response_id",
            "previous_response_not_found",
        ),
    ),
    ({"previous_response_id": {"a": 1}}, _type("previous_response_id", "a string", "an object")),
    ({"conversation": 7}, _type("conversation", "one of a string or object", "an integer")),
    ({"conversation": {}}, _missing("conversation.id")),
    ({"instructions": {"a": 1}}, _type("instructions", "a string", "an object")),
    ({"store": "yes"}, _type("store", "a boolean", "a string")),
    ({"parallel_tool_calls": "yes"}, _type("parallel_tool_calls", "a boolean", "a string")),
    ({"temperature": "hot"}, _type("temperature", "a decimal", "a string")),
    (
        {"temperature": 2.5},
        (
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
            "temperature",
            "decimal_above_max_value",
        ),
    ),
    (
        {"metadata": {f"k{number}": "v" for number in range(17)}},
        (
            (
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
                "but got an object with 17 properties instead."
            ),
            "metadata",
            "object_above_max_properties",
        ),
    ),
    ({"metadata": "x"}, _type("metadata", "an object", "a string")),
    ({"metadata": {"a": 1}}, _type("metadata.a", "a string", "an integer")),
    (
        {"truncation": "bogus"},
        ("Invalid value: 'bogus'. Supported values are: 'auto' and 'disabled'.", "truncation", "invalid_value"),
    ),
    ({"truncation": {"a": 1}}, _type("truncation", "one of 'auto' or 'disabled'", "an object")),
    ({"reasoning": "low"}, _type("reasoning", "an object", "a string")),
    ({"reasoning": {"bogus": 1}}, ("Unknown parameter: 'reasoning.bogus'.", "reasoning.bogus", "unknown_parameter")),
    ({"text": {"format": {"type": "json_schema"}}}, _missing("text.format.name")),
    ({"tools": "x"}, _type("tools", "an array of tools", "a string")),
    ({"tools": [{}]}, _missing("tools[0].type")),
    ({"tools": [{"type": "function"}]}, _missing("tools[0].name")),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, _missing("tools[0].name")),
    (
        {"tools": [_function(name="a.b")]},
        (
            (
                "Invalid 'tools[0].name': string does not match pattern. "
                "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
            "tools[0].name",
            "invalid_value",
        ),
    ),
    ({"tools": [_function(), _function()]}, ("Tool names must be unique. 'f' is given more than once.", "tools", None)),
    (
        {"tools": [_function(parameters={"type": "string"})]},
        (
            (
                "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', "
                "got 'type: \"string\"'."
            ),
            "tools[0].parameters",
            "invalid_function_parameters",
        ),
    ),
    (
        {"tools": [_function(strict=True)]},
        (
            (
                "Invalid schema for function 'f': In context=(), 'additionalProperties' is required to be supplied "
                "and to be false."
            ),
            "tools[0].parameters",
            "invalid_function_parameters",
        ),
    ),
    ({"tools": [{"type": "file_search"}]}, _missing("tools[0].vector_store_ids")),
    ({"tools": [{"type": "code_interpreter"}]}, _missing("tools[0].container")),
    (
        {"tool_choice": "bogus"},
        (
            "Invalid value: 'bogus'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        ),
    ),
    (
        {"tool_choice": 7},
        _type("tool_choice", "one of an object or 'none', 'auto', or 'required'", "an integer"),
    ),
    ({"tools": [_function()], "tool_choice": {"type": "function"}}, _missing("tool_choice.name")),
    (
        {"tools": [_function()], "tool_choice": {"type": "function", "name": "g"}},
        ("Tool choice 'function' not found in 'tools' parameter: 'g'.", "tool_choice", None),
    ),
    (
        {"tool_choice": "required"},
        ("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice", None),
    ),
    (
        {"model": "gpt-4.1", "prompt_cache_options": {"mode": "explicit"}},
        (
            "Unsupported parameter: 'prompt_cache_options' is not supported with this model.",
            "prompt_cache_options",
            None,
        ),
    ),
    ({"background": True, "store": False}, ("Background mode requires 'store' to be true.", "store", None)),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED, ids=[str(changes)[:60] for changes, _ in REFUSED])
def test_a_bad_request_is_refused_in_openais_words(changes: dict[str, Any], told: tuple[str, Any, Any]) -> None:
    with Sandbox() as sandbox, pytest.raises(openai.BadRequestError) as caught:
        sandbox.client(max_retries=0).post("/responses", body={**GOOD, **changes}, cast_to=object)

    message, param, code = told
    assert caught.value.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }
    assert sandbox.billing.calls == []


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/responses", {"input": "Hi"}, "Missing required parameter: 'model'."),
        ("/responses", {"model": ""}, "Invalid 'model': empty string."),
        ("/responses", {"model": "m"}, "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation'"),
        ("/responses", [1], "it is not an object"),
        ("/responses/input_tokens", {"model": "m", "store": True}, "Unknown parameter: 'store'."),
        ("/conversations", {"items": [{"role": "user", "content": "x"}] * 21}, "maximum length 20"),
        ("/conversations", {"metadata": 7}, "Invalid type for 'metadata'"),
    ],
)
def test_other_bodies_are_checked_too(path: str, body: Any, message: str) -> None:
    with Sandbox() as sandbox, pytest.raises(openai.BadRequestError, match=message.replace("(", r"\(")):
        sandbox.client(max_retries=0).post(path, body=body, cast_to=object)


def test_an_update_of_a_conversation_needs_metadata() -> None:
    with Sandbox() as sandbox:
        client = sandbox.client(max_retries=0)
        path = f"/conversations/{client.conversations.create().id}"
        for body, told in (({}, "Missing required parameter"), ({"metadata": None}, "expected an object")):
            with pytest.raises(openai.BadRequestError, match=told):
                client.post(path, body=body, cast_to=object)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": 101}, "Expected a value <= 100, but got 101"),
        ({"limit": 0}, "Expected a value >= 1, but got 0"),
        ({"limit": "many"}, "expected an integer, but got a string"),
        ({"order": "random"}, "Supported values are: 'asc' and 'desc'"),
    ],
)
def test_a_bad_page_is_refused(query: dict[str, Any], message: str) -> None:
    with Sandbox() as sandbox:
        client = sandbox.client(max_retries=0)
        conversation = client.conversations.create().id
        with pytest.raises(openai.BadRequestError, match=message):
            client.conversations.items.list(conversation, extra_query=query)


def test_a_body_that_is_no_json_is_refused() -> None:
    with Sandbox() as sandbox:
        request = urllib.request.Request(
            f"{sandbox.base_url}/responses",
            b'{"model": ',
            {"authorization": f"Bearer {sandbox.api_key}", "content-type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as answer:
            told = json.load(answer)["error"]

    assert answer.code == 400
    assert told["message"].startswith("We could not parse the JSON body of your request.")


def test_a_request_without_a_key_is_refused() -> None:
    with Sandbox() as sandbox:
        client = sandbox.client(max_retries=0)
        with pytest.raises(openai.AuthenticationError, match="You didn't provide an API key"):
            client.conversations.create(extra_headers={"Authorization": openai.Omit()})
