"""The parameters of `POST /responses` and `POST /responses/input_tokens`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from assistantguard._parameters import (
    array,
    boolean,
    enumeration,
    integer,
    mapping,
    metadata,
    number,
    string,
    text_matching,
)
from assistantguard._refusals import invalid, missing, unsupported, wrong_type
from assistantguard.sandbox.billing import knows_cache_options
from assistantguard.sandbox.counting import TOOL, compact, text_tokens
from assistantguard.sandbox.validation import check_body, check_fields, obj

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard._parameters import Check

__all__ = ["check_create", "check_input_tokens", "completion_window", "conversation_id", "tools_segment"]

_TOOL_TYPES = (
    "function",
    "file_search",
    "computer",
    "computer_use_preview",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "mcp",
    "code_interpreter",
    "programmatic_tool_calling",
    "image_generation",
    "local_shell",
    "shell",
    "custom",
    "namespace",
    "tool_search",
    "apply_patch",
)
_INCLUDE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_NAME = text_matching("[a-zA-Z0-9_-]+", maximum=128)

_FUNCTION: dict[str, Check] = {
    "type": string(),
    "name": _NAME,
    "description": string(),
    "parameters": mapping,
    "strict": boolean,
    "output_schema": mapping,
    "defer_loading": boolean,
    "allowed_callers": array(string(), of="strings"),
    "async": boolean,
}
_FILE_SEARCH: dict[str, Check] = {
    "type": string(),
    "vector_store_ids": array(string(), of="strings"),
    "max_num_results": integer(minimum=1, maximum=50),
    "filters": mapping,
    "ranking_options": mapping,
}


def _schema(schema: dict[str, Any], name: str, param: str) -> None:
    if schema and schema.get("type") != "object":
        raise invalid(
            f"{param}.parameters",
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', "
            f"got 'type: \"{schema.get('type')}\"'.",
            "invalid_function_parameters",
        )
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise invalid(
            f"{param}.parameters",
            f"Invalid schema for function '{name}': {properties!r} is not of type 'object'.",
            "invalid_function_parameters",
        )
    absent = [key for key in schema.get("required", ()) if key not in properties]
    if absent:
        raise invalid(
            f"{param}.parameters",
            f"Invalid schema for function '{name}': In context=(), 'required' names '{absent[0]}', "
            "which is not in 'properties'.",
            "invalid_function_parameters",
        )


def _strict_schema(schema: dict[str, Any], name: str, param: str) -> None:
    problem = None
    if schema.get("additionalProperties") is not False:
        problem = "'additionalProperties' is required to be supplied and to be false."
    elif set(schema.get("required", ())) != set(schema.get("properties", {})):
        problem = "'required' is required to be supplied and to be an array including every key in properties."
    if problem:
        raise invalid(
            f"{param}.parameters",
            f"Invalid schema for function '{name}': In context=(), {problem}",
            "invalid_function_parameters",
        )


def _tool(value: Any, param: str) -> None:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    kind = value.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind not in _TOOL_TYPES:
        raise unsupported(f"{param}.type", str(kind), _TOOL_TYPES)
    if kind == "function":
        nullable = ("description", "parameters", "strict", "output_schema", "allowed_callers")
        check_fields(value, _FUNCTION, required=("name",), nullable=nullable, prefix=f"{param}.")
        schema = value.get("parameters") or {}
        _schema(schema, value["name"], param)
        if value.get("strict"):
            _strict_schema(schema, value["name"], param)
    elif kind == "file_search":
        check_fields(value, _FILE_SEARCH, required=("vector_store_ids",), nullable=("filters",), prefix=f"{param}.")
    elif kind == "code_interpreter" and "container" not in value:
        raise missing(f"{param}.container")


def _tools(value: Any, param: str) -> None:
    array(_tool, of="tools", maximum=128)(value, param)
    names: set[str] = set()
    for tool in value:
        name = tool.get("name") if tool["type"] == "function" else None
        if name in names:
            raise invalid(param, f"Tool names must be unique. '{name}' is given more than once.")
        if name is not None:
            names.add(name)


def _tool_choice(value: Any, param: str) -> None:
    if isinstance(value, str):
        enumeration("none", "auto", "required")(value, param)
        return
    if not isinstance(value, dict):
        raise wrong_type(param, "one of an object or 'none', 'auto', or 'required'", value)
    if "type" not in value:
        raise missing(f"{param}.type")
    if value["type"] in {"function", "custom"} and "name" not in value:
        raise missing(f"{param}.name")


def _conversation(value: Any, param: str) -> None:
    if isinstance(value, str):
        string(minimum=1)(value, param)
        return
    if not isinstance(value, dict):
        raise wrong_type(param, "one of a string or object", value)
    check_fields(value, {"id": string(minimum=1)}, required=("id",), prefix=f"{param}.")


def _input(value: Any, param: str) -> None:
    if not isinstance(value, (str, list)):
        raise wrong_type(param, "one of a string or array of input items", value)


def _format(value: Any, param: str) -> None:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    enumeration("json_object", "text", "json_schema")(value.get("type", ""), f"{param}.type")
    if value["type"] == "json_schema":
        for name in ("name", "schema"):
            if name not in value:
                raise missing(f"{param}.{name}")


_REASONING = obj(
    {
        "effort": enumeration("none", "minimal", "low", "medium", "high", "xhigh", "max"),
        "summary": enumeration("concise", "detailed", "auto"),
        "generate_summary": enumeration("concise", "detailed", "auto"),
        "context": string(),
        "mode": string(),
    },
    nullable=("effort", "summary", "generate_summary", "context", "mode"),
)
_TEXT = obj({"format": _format, "verbosity": enumeration("low", "medium", "high")}, nullable=("verbosity",))
_TRUNCATION = enumeration("auto", "disabled")

_CREATE: dict[str, Check] = {
    "model": string(minimum=1),
    "input": _input,
    "conversation": _conversation,
    "previous_response_id": string(minimum=1),
    "prompt": mapping,
    "moderation": mapping,
    "include": array(enumeration(*_INCLUDE), of="strings"),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "metadata": metadata,
    "text": _TEXT,
    "temperature": number(minimum=0, maximum=2),
    "top_p": number(minimum=0, maximum=1),
    "parallel_tool_calls": boolean,
    "stream": boolean,
    "stream_options": obj({"include_obfuscation": boolean}),
    "background": boolean,
    "background_options": obj(
        {"completion_window": enumeration("soonest", "2h", "8h"), "continuation_id": string(minimum=1)},
        nullable=("completion_window", "continuation_id"),
    ),
    "max_output_tokens": integer(minimum=16),
    "max_tool_calls": integer(minimum=1),
    "reasoning": _REASONING,
    "user": string(),
    "safety_identifier": string(maximum=64),
    "prompt_cache_options": obj(
        {
            "mode": enumeration("implicit", "explicit"),
            "ttl": enumeration("30m", "12h"),
            "prewarm": boolean,
            "comparison_response_id": string(),
        },
        nullable=("comparison_response_id",),
    ),
    "prompt_cache_key": string(),
    "prompt_cache_retention": enumeration("in_memory", "24h"),
    "truncation": _TRUNCATION,
    "instructions": string(maximum=10_485_760),
    "store": boolean,
    "service_tier": enumeration("auto", "default", "flex", "scale", "priority", "fast", "ultrafast"),
    "top_logprobs": integer(minimum=0, maximum=20),
    "context_management": array(mapping),
    "access_programs": mapping,
    "image": mapping,
}
_COUNT: dict[str, Check] = {
    "model": string(minimum=1),
    "input": _input,
    "conversation": _conversation,
    "previous_response_id": string(minimum=1),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "text": _TEXT,
    "parallel_tool_calls": boolean,
    "reasoning": _REASONING,
    "truncation": _TRUNCATION,
    "instructions": string(maximum=10_485_760),
    "personality": string(),
}


def _exclusive(body: dict[str, Any]) -> None:
    if "conversation" in body and "previous_response_id" in body:
        raise invalid(
            None,
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. "
            "Ensure you are only providing one of: 'previous_response_id' or 'conversation'.",
            "mutually_exclusive_parameters",
        )


def completion_window(body: dict[str, Any]) -> str | None:
    """Return the window that a background response is to be done within, at a lower price; None for the soonest."""
    window = body.get("background_options", {}).get("completion_window")
    return None if window == "soonest" else window


def _window(body: dict[str, Any]) -> None:
    window = completion_window(body)
    if window is None:
        return
    param = "background_options.completion_window"
    if not body.get("background"):
        raise invalid(param, f"The completion window '{window}' requires 'background' to be true.")
    if body.get("stream"):
        raise invalid(param, f"The completion window '{window}' is not supported with 'stream'.")
    tier = body.get("service_tier", "auto")
    if tier not in {"auto", "default"}:
        raise invalid(param, f"The completion window '{window}' is not supported with '{tier}' processing.")


def check_create(body: Any) -> dict[str, Any]:
    """Check the body of `POST /responses`, and return it without the parameters that are null.

    Raises:
        ApiProblem: 400, naming the parameter.
    """
    checked = check_body(body, _CREATE, required=("model",), not_nullable=("model", "tools"))
    _exclusive(checked)
    if not any(name in checked for name in ("input", "conversation", "previous_response_id", "prompt")):
        raise invalid(
            "input",
            "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be provided.",
            "missing_required_parameter",
        )
    _window(checked)
    if checked.get("store") is False and checked.get("background"):
        raise invalid("store", "Background mode requires 'store' to be true.")
    if "prompt_cache_options" in checked and not knows_cache_options(checked["model"]):
        raise invalid(
            "prompt_cache_options",
            "Unsupported parameter: 'prompt_cache_options' is not supported with this model.",
        )
    choice = checked.get("tool_choice")
    if choice == "required" and not checked.get("tools"):
        raise invalid("tool_choice", "Tool choice 'required' must be specified with 'tools' parameter.")
    if isinstance(choice, dict) and choice["type"] == "function":
        names = [tool.get("name") for tool in checked.get("tools", ())]
        if choice["name"] not in names:
            raise invalid("tool_choice", f"Tool choice 'function' not found in 'tools' parameter: '{choice['name']}'.")
    return checked


def check_input_tokens(body: Any) -> dict[str, Any]:
    """Check the body of `POST /responses/input_tokens`, and return it without the parameters that are null.

    Raises:
        ApiProblem: 400, naming the parameter.
    """
    checked = check_body(body, _COUNT)
    _exclusive(checked)
    return checked


def conversation_id(body: dict[str, Any]) -> str | None:
    """Return the id of the request's conversation, given as text or as an object."""
    value = body.get("conversation")
    return value["id"] if isinstance(value, dict) else value


def tools_segment(tools: Sequence[dict[str, Any]]) -> tuple[str, int]:
    """Return the text of the tools in the prompt, and its tokens. The model is not shown which stores it searches."""
    if not tools:
        return "", 0
    texts = [compact({key: value for key, value in tool.items() if key != "vector_store_ids"}) for tool in tools]
    return "tools\x00" + "\x00".join(texts), _tools_tokens(tuple(texts))


@lru_cache(maxsize=256)
def _tools_tokens(texts: tuple[str, ...]) -> int:
    return sum(TOOL + text_tokens(text) for text in texts)
