"""The Assistants API's objects, as it sends them.

All functions are pure: they return new dictionaries, which may share what is in them with those they were given.
Times are seconds since 1970 and are cut to whole ones. Parameters are those that `parameters` has accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from assistantguard.dropin.parameters import MOST_INSTRUCTIONS
from assistantguard.dropin.problems import invalid
from assistantguard.models.tools import ToolCall
from assistantguard.models.usage import Usage

__all__ = [
    "RUN_SECONDS",
    "Body",
    "changed_assistant",
    "changed_message",
    "changed_run",
    "changed_thread",
    "deleted",
    "function_call",
    "message_ended",
    "message_step",
    "new_assistant",
    "new_message",
    "new_run",
    "new_thread",
    "page",
    "run_ended",
    "run_goes_on",
    "run_requires",
    "step_ended",
    "tool_calls_step",
    "usage_object",
]

Body: TypeAlias = dict[str, Any]
"""A JSON object."""

RUN_SECONDS = 600
"""How long after it was created a run expires."""

_DELETED = {"assistant": "assistant.deleted", "thread": "thread.deleted", "message": "thread.message.deleted"}
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
_DEFAULTS: Body = {
    "name": None,
    "description": None,
    "instructions": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
    "metadata": {},
    "tool_resources": {},
}
"""What an assistant's fields are where they are not given, or are cleared."""


def new_assistant(id: str, now: float, parameters: Mapping[str, Any]) -> Body:  # noqa: A002  the wire's own word
    """An assistant.

    Args:
        id: Its id.
        now: When it is created.
        parameters: What was asked for. The helper ``vector_stores`` is left out: put the store that was made for it
            into ``vector_store_ids``.
    """
    body = {
        "id": id,
        "object": "assistant",
        "created_at": int(now),
        "name": parameters.get("name"),
        "description": parameters.get("description"),
        "model": parameters["model"],
        "instructions": parameters.get("instructions"),
        "tools": parameters.get("tools", []),
        "tool_resources": _resources(parameters.get("tool_resources")),
        "metadata": parameters.get("metadata", {}),
        "temperature": parameters.get("temperature", 1.0),
        "top_p": parameters.get("top_p", 1.0),
        "response_format": parameters.get("response_format", "auto"),
    }
    if "reasoning_effort" in parameters:
        body["reasoning_effort"] = parameters["reasoning_effort"]
    return body


def changed_assistant(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """An assistant with other settings; null sets a field back. Resources are replaced tool by tool."""
    changed = {**body, **changes}
    for name, value in changes.items():
        if value is None and name in _DEFAULTS:
            changed[name] = _DEFAULTS[name]
    if changed.get("reasoning_effort", "") is None:
        del changed["reasoning_effort"]
    _change_resources(changed, body, changes)
    return changed


def new_thread(id: str, now: float, parameters: Mapping[str, Any]) -> Body:  # noqa: A002  the wire's own word
    """A thread; its messages are objects of their own. See `new_assistant` for ``vector_stores``."""
    return {
        "id": id,
        "object": "thread",
        "created_at": int(now),
        "metadata": parameters.get("metadata", {}),
        "tool_resources": _resources(parameters.get("tool_resources")),
    }


def changed_thread(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """A thread with other metadata or resources; null empties them. Resources are replaced tool by tool."""
    changed = _with_metadata(body, changes)
    _change_resources(changed, body, changes)
    return changed


def new_message(
    id: str,  # noqa: A002  the wire's own word
    now: float,
    thread_id: str,
    parameters: Mapping[str, Any],
    *,
    assistant_id: str | None = None,
    run_id: str | None = None,
    status: str = "completed",
) -> Body:
    """A message.

    Args:
        id: Its id.
        now: When it is created, and completed where `status` says so.
        thread_id: Where it stands.
        parameters: Its `role` and `content`, and where given `attachments` and `metadata`. The content is what a
            request may hold, or what a message holds (``translation.text_content``).
        assistant_id: Who wrote it, where a run did.
        run_id: The run that wrote it.
        status: ``"completed"`` or ``"in_progress"``.
    """
    created_at = int(now)
    content = parameters["content"]
    return {
        "id": id,
        "object": "thread.message",
        "created_at": created_at,
        "thread_id": thread_id,
        "status": status,
        "incomplete_details": None,
        "completed_at": created_at if status == "completed" else None,
        "incomplete_at": None,
        "role": parameters["role"],
        "content": [_text(content)] if isinstance(content, str) else [_block(part) for part in content],
        "assistant_id": assistant_id,
        "run_id": run_id,
        "attachments": parameters.get("attachments", []),
        "metadata": parameters.get("metadata", {}),
    }


def changed_message(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """A message with other metadata; null empties it."""
    return _with_metadata(body, changes)


def message_ended(
    body: Mapping[str, Any], content: Sequence[Mapping[str, Any]], now: float, *, incomplete_reason: str | None = None
) -> Body:
    """A message that was in progress, with all that it came to say.

    Args:
        body: The message.
        content: As a message holds it.
        now: When it ended.
        incomplete_reason: ``"content_filter"``, ``"max_tokens"``, ``"run_cancelled"``, ``"run_expired"`` or
            ``"run_failed"``; None where it is complete.
    """
    if incomplete_reason is None:
        return {**body, "content": [*content], "status": "completed", "completed_at": int(now)}
    return {
        **body,
        "content": [*content],
        "status": "incomplete",
        "incomplete_at": int(now),
        "incomplete_details": {"reason": incomplete_reason},
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
        instructions = assistant_body["instructions"] or ""
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


def changed_run(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """A run with other metadata; null empties it."""
    return _with_metadata(body, changes)


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


def deleted(kind: str, id: str) -> Body:  # noqa: A002  the wire's own word
    """What deleting answers; `kind` is ``"assistant"``, ``"thread"`` or ``"message"``."""
    return {"id": id, "object": _DELETED[kind], "deleted": True}


def page(objects: Sequence[Mapping[str, Any]], has_more: bool) -> Body:
    """A page of a list. The ids of an empty one are empty texts, as the contract has no null there."""
    return {
        "object": "list",
        "data": [*objects],
        "first_id": objects[0]["id"] if objects else "",
        "last_id": objects[-1]["id"] if objects else "",
        "has_more": has_more,
    }


def _own_or(name: str, parameters: Mapping[str, Any], assistant: Mapping[str, Any], default: Any) -> Any:
    value = parameters.get(name)
    if value is None:
        value = assistant.get(name)
    return default if value is None else value


def _resources(resources: Mapping[str, Any] | None) -> Body:
    shown: Body = {}
    if not resources:
        return shown
    code = resources.get("code_interpreter")
    if code is not None:
        shown["code_interpreter"] = {"file_ids": code.get("file_ids", [])}
    search = resources.get("file_search")
    if search is not None:
        shown["file_search"] = {"vector_store_ids": search.get("vector_store_ids", [])}
    return shown


def _change_resources(changed: Body, body: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    if "tool_resources" in changes:
        wanted = changes["tool_resources"]
        changed["tool_resources"] = (
            {} if wanted is None else {**(body.get("tool_resources") or {}), **_resources(wanted)}
        )


def _with_metadata(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    changed = {**body}
    if "metadata" in changes:
        changed["metadata"] = changes["metadata"] or {}
    return changed


def _text(text: str) -> Body:
    return {"type": "text", "text": {"value": text, "annotations": []}}


def _block(part: Mapping[str, Any]) -> Body:
    if part["type"] == "text" and isinstance(part["text"], str):
        return _text(part["text"])
    return {**part}


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
