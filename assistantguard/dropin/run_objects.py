"""The Assistants API's runs and run steps; `objects` offers them with all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from assistantguard._refusals import invalid
from assistantguard.dropin.fields import MOST_INSTRUCTIONS
from assistantguard.models.tools import ToolCall
from assistantguard.models.usage import Usage

__all__ = [
    "RUN_SECONDS",
    "Body",
    "function_call",
    "message_step",
    "new_run",
    "run_ended",
    "run_goes_on",
    "run_requires",
    "step_ended",
    "tool_calls_step",
    "usage_object",
    "without_found",
]

Body: TypeAlias = dict[str, Any]
"""A JSON object."""

RUN_SECONDS = 600
"""How long after it was created a run expires."""

_TIME_OF = {
    "completed": "completed_at",
    "incomplete": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
}
_TIME_OF_A_STEP = {
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
    "expired": "expired_at",
}


def new_run(
    id: str,  # noqa: A002  the wire's own word
    now: float,
    thread_id: str,
    assistant_body: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> Body:
    """A queued run: what its request names, and of the rest what the assistant has.

    Its metadata are its own. ``reasoning_effort``, which the official object lacks, is there where it was given.

    Raises:
        ApiProblem: 400, the instructions and the additional ones are too long together.
    """
    created_at = int(now)
    instructions = parameters.get("instructions")
    if instructions is None:
        instructions = assistant_body.get("instructions") or ""
    additional = parameters.get("additional_instructions")
    if additional:
        instructions = f"{instructions}\n{additional}" if instructions else additional
        if len(instructions) > MOST_INSTRUCTIONS:
            raise invalid(
                "additional_instructions",
                f"Invalid 'additional_instructions': string too long. With the assistant's instructions they have"
                f" {len(instructions)} characters, and {MOST_INSTRUCTIONS} are the most.",
                "string_above_max_length",
            )
    strategy = parameters.get("truncation_strategy")
    body = {
        "id": id,
        "object": "thread.run",
        "created_at": created_at,
        "thread_id": thread_id,
        "assistant_id": assistant_body["id"],
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "expires_at": created_at + RUN_SECONDS,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "model": parameters.get("model") or assistant_body["model"],
        "instructions": instructions,
        "tools": parameters["tools"] if "tools" in parameters else assistant_body["tools"],
        "metadata": parameters.get("metadata", {}),
        "usage": None,
        "temperature": _own_or("temperature", parameters, assistant_body, 1.0),
        "top_p": _own_or("top_p", parameters, assistant_body, 1.0),
        "max_prompt_tokens": parameters.get("max_prompt_tokens"),
        "max_completion_tokens": parameters.get("max_completion_tokens"),
        "truncation_strategy": {"type": "auto", "last_messages": None, **(strategy or {})},
        "tool_choice": parameters.get("tool_choice", "auto"),
        "parallel_tool_calls": parameters.get("parallel_tool_calls", True),
        "response_format": _own_or("response_format", parameters, assistant_body, "auto"),
    }
    effort = parameters.get("reasoning_effort") or assistant_body.get("reasoning_effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    return body


def run_goes_on(body: Mapping[str, Any], now: float, status: str) -> Body:
    """A run that goes on.

    Args:
        body: The run.
        now: When it does; the first time it is in progress is when it started.
        status: ``"queued"``, ``"in_progress"`` or ``"cancelling"``.
    """
    changed = {**body, "status": status, "required_action": None}
    if status == "in_progress" and changed["started_at"] is None:
        changed["started_at"] = int(now)
    return changed


def run_requires(body: Mapping[str, Any], calls: Sequence[ToolCall]) -> Body:
    """A run that waits for the outputs of all these calls."""
    wanted = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
        for call in calls
    ]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": wanted}}
    return {**body, "status": "requires_action", "required_action": action}


def run_ended(
    body: Mapping[str, Any],
    status: str,
    now: float,
    *,
    usage: Usage | None = None,
    error: tuple[str, str] | None = None,
    incomplete_reason: str | None = None,
) -> Body:
    """A run that has ended. It expires no more, unless that is how it ended.

    Args:
        body: The run.
        status: ``"completed"``, ``"incomplete"``, ``"failed"``, ``"cancelled"`` or ``"expired"``.
        now: When it ended.
        usage: All that it used; None where nobody knows.
        error: A code (``"server_error"``, ``"rate_limit_exceeded"`` or ``"invalid_prompt"``) and a message.
        incomplete_reason: ``"max_completion_tokens"`` or ``"max_prompt_tokens"``.
    """
    ended = {
        **body,
        "status": status,
        "required_action": None,
        "usage": None if usage is None else usage_object(usage),
        "last_error": None if error is None else {"code": error[0], "message": error[1]},
        "incomplete_details": None if incomplete_reason is None else {"reason": incomplete_reason},
    }
    if status != "expired":
        ended["expires_at"] = None
        ended[_TIME_OF[status]] = int(now)
    return ended


def message_step(
    id: str,  # noqa: A002  the wire's own word
    now: float,
    run_body: Mapping[str, Any],
    message_id: str,
    *,
    status: str = "in_progress",
) -> Body:
    """The step in which a run writes a message."""
    details = {"type": "message_creation", "message_creation": {"message_id": message_id}}
    return _step(id, now, run_body, details, status)


def tool_calls_step(
    id: str,  # noqa: A002  the wire's own word
    now: float,
    run_body: Mapping[str, Any],
    calls: Sequence[Mapping[str, Any]],
    *,
    status: str = "in_progress",
) -> Body:
    """The step in which a run calls tools; `calls` are of the shape that `function_call` makes."""
    return _step(id, now, run_body, {"type": "tool_calls", "tool_calls": [*calls]}, status)


def step_ended(
    body: Mapping[str, Any],
    status: str,
    now: float,
    *,
    usage: Usage | None = None,
    error: tuple[str, str] | None = None,
) -> Body:
    """A step that has ended.

    Args:
        body: The step.
        status: ``"completed"``, ``"failed"``, ``"cancelled"`` or ``"expired"``.
        now: When it ended.
        usage: What it used; None where nobody knows.
        error: A code and a message. A step knows two codes: what is no ``"rate_limit_exceeded"`` is a
            ``"server_error"``.
    """
    ended = {**body, "status": status, _TIME_OF_A_STEP[status]: int(now)}
    if usage is not None:
        ended["usage"] = usage_object(usage)
    if error is not None:
        code = "rate_limit_exceeded" if error[0] == "rate_limit_exceeded" else "server_error"
        ended["last_error"] = {"code": code, "message": error[1]}
    return ended


def function_call(call: ToolCall, output: str | None = None) -> Body:
    """A function call as a step tells of it; `output` is None until it was submitted."""
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json, "output": output},
    }


def usage_object(usage: Usage) -> Body:
    """Usage in the Assistants API's words, and the details that it sent without documenting them."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_token_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _own_or(name: str, parameters: Mapping[str, Any], assistant: Mapping[str, Any], default: Any) -> Any:
    value = parameters.get(name)
    if value is None:
        value = assistant.get(name)
    return default if value is None else value


def _step(
    id: str,  # noqa: A002  the wire's own word
    now: float,
    run_body: Mapping[str, Any],
    details: Body,
    status: str,
) -> Body:
    body = {
        "id": id,
        "object": "thread.run.step",
        "created_at": int(now),
        "assistant_id": run_body["assistant_id"],
        "thread_id": run_body["thread_id"],
        "run_id": run_body["id"],
        "type": details["type"],
        "status": "in_progress",
        "step_details": details,
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "metadata": {},
        "usage": None,
    }
    return body if status == "in_progress" else step_ended(body, status, now)


def without_found(step: Mapping[str, Any]) -> Body:
    """A step without the texts that its file searches found."""
    details = step["step_details"]
    if details["type"] != "tool_calls":
        return {**step}
    return {**step, "step_details": {**details, "tool_calls": [_without_found(call) for call in details["tool_calls"]]}}


def _without_found(call: Mapping[str, Any]) -> Body:
    if call["type"] != "file_search":
        return {**call}
    search = call["file_search"]
    results = [
        {name: value for name, value in result.items() if name != "content"} for result in search.get("results") or ()
    ]
    return {**call, "file_search": {**search, "results": results}}
