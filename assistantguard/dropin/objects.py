"""The Assistants API's objects, as it sends them.

All functions are pure: they return new dictionaries, which may share what is in them with those they were given.
Times are seconds since 1970 and are cut to whole ones. Parameters are those that `parameters` has accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistantguard.dropin.run_objects import (
    RUN_SECONDS,
    Body,
    function_call,
    message_step,
    new_run,
    run_ended,
    run_goes_on,
    run_requires,
    step_ended,
    tool_calls_step,
    usage_object,
    without_found,
)

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
    "without_found",
]

_DELETED = {"assistant": "assistant.deleted", "thread": "thread.deleted", "message": "thread.message.deleted"}
_DEFAULTS: Body = {
    "name": None,
    "description": None,
    "instructions": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
}
"""What an assistant's fields are where they are cleared."""


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
    if changed.get("metadata") is None:
        changed["metadata"] = {}
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


def changed_run(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body:
    """A run with other metadata; null empties it."""
    return _with_metadata(body, changes)


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
