"""Reading what a server sent, without trusting it: fields may be missing, null, or of another shape.

Servers that imitate the API leave out details, report zeros, or use statuses of their own. Nothing here raises, and
what is unknown comes back as None.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from assistantguard.engine.ports import ModelAnswer, VectorStoreInfo
from assistantguard.models import Failure, Item, RunStatus, ToolCall, Usage
from assistantguard.models.items import ItemType

if TYPE_CHECKING:
    from assistantguard.models.rates import RatesTold

__all__ = ["answer_of", "get", "item_of", "vector_store_of"]

_STATUSES = frozenset({"queued", "in_progress", "completed", "failed", "incomplete", "cancelled"})
_CALLS_OF_BUILTIN_TOOLS = ("file_search_call", "web_search_call", "code_interpreter_call")
_ITEM_TYPES: frozenset[str] = frozenset({"message", "function_call", "function_call_output", "reasoning"})


def get(value: Any, *names: str) -> Any:
    """Follow `names` through attributes or keys; None where the path ends early."""
    for name in names:
        if value is None:
            return None
        value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
    return value


def answer_of(response: Any, request_id: str | None = None, rates: RatesTold | None = None) -> ModelAnswer:
    """A Response object, reduced to what the engine must know.

    Args:
        response: The SDK's object, or the like.
        request_id: The ``x-request-id`` of the answer, where `response` does not carry it.
        rates: What its headers told of rate limits.
    """
    request_id = get(response, "_request_id") or request_id
    output = get(response, "output") or []
    texts: list[str] = []
    calls: list[ToolCall] = []
    builtin: dict[str, int] = {}
    last_id: str | None = None
    hidden = False
    for entry in output:
        kind = get(entry, "type")
        last_id = get(entry, "id") or last_id
        if kind == "message":
            texts.append(_message_text(entry))
        elif kind == "function_call":
            calls.append(_tool_call(entry))
        else:
            hidden = True
        if kind in _CALLS_OF_BUILTIN_TOOLS:
            name = str(kind).removesuffix("_call")
            builtin[name] = builtin.get(name, 0) + 1
    text = "\n\n".join(part for part in texts if part)
    status = _status(response)
    return ModelAnswer(
        str(get(response, "id") or ""),
        status,
        text,
        tuple(calls),
        _usage(get(response, "usage"), produced=bool(text or calls)),
        str(get(response, "model") or ""),
        _failure(response, status, request_id),
        get(response, "incomplete_details", "reason"),
        get(response, "service_tier"),
        request_id,
        builtin,
        len(output),
        last_id,
        hidden,
        output,
        rates,
    )


def item_of(entry: Any) -> Item:
    """A conversation item, reduced to what healing and carry-over must know."""
    kind = str(get(entry, "type") or "other")
    item_type = cast("ItemType", kind if kind in _ITEM_TYPES else "other")
    role = get(entry, "role") if kind == "message" else None
    text = ""
    if kind == "message":
        text = _message_text(entry)
    elif kind == "function_call":
        text = str(get(entry, "arguments") or "")
    elif kind == "function_call_output":
        text = _output_text(get(entry, "output"))
    return Item(
        item_type,
        text,
        role if role in {"user", "assistant", "system", "developer"} else None,
        get(entry, "id"),
        get(entry, "call_id"),
        get(entry, "name"),
        get(entry, "status"),
    )


def vector_store_of(store: Any) -> VectorStoreInfo:
    """A vector store's state."""
    expires_at = get(store, "expires_at")
    return VectorStoreInfo(
        str(get(store, "id") or ""),
        str(get(store, "status") or ""),
        _whole(get(store, "file_counts", "in_progress")) or 0,
        _whole(get(store, "file_counts", "completed")) or 0,
        (_whole(get(store, "file_counts", "failed")) or 0) + (_whole(get(store, "file_counts", "cancelled")) or 0),
        _whole(get(store, "usage_bytes")),
        float(expires_at) if isinstance(expires_at, (int, float)) else None,
    )


def _status(response: Any) -> RunStatus:
    status = get(response, "status")
    if status in _STATUSES:
        return cast("RunStatus", status)
    return "failed" if get(response, "error") is not None else "completed"


def _failure(response: Any, status: RunStatus, request_id: str | None) -> Failure | None:
    if status not in {"failed", "cancelled"}:
        return None
    from assistantguard.failures import Facts, classify  # the table is made when something first fails

    code = get(response, "error", "code") or ("server_error" if status == "failed" else status)
    message = get(response, "error", "message") or f"the response ended {status}"
    return classify(Facts("response", str(message), code=str(code), request_id=request_id))


def _usage(usage: Any, *, produced: bool) -> Usage | None:
    """What was billed; None where it was not reported, or reported as all zeros although something was produced."""
    input_tokens, output_tokens = _whole(get(usage, "input_tokens")), _whole(get(usage, "output_tokens"))
    if input_tokens is None or output_tokens is None or (produced and not input_tokens + output_tokens):
        return None
    cached = _whole(get(usage, "input_tokens_details", "cached_tokens")) or 0
    written = _whole(get(usage, "input_tokens_details", "cache_write_tokens")) or 0
    reasoning = _whole(get(usage, "output_tokens_details", "reasoning_tokens")) or 0
    return Usage(input_tokens, cached, written, output_tokens, reasoning, 0, 1)


def _tool_call(entry: Any) -> ToolCall:
    text = get(entry, "arguments")
    text = text if isinstance(text, str) else json.dumps(text if text is not None else {})
    return ToolCall.of(str(get(entry, "call_id") or get(entry, "id") or ""), str(get(entry, "name") or ""), text)


def _message_text(entry: Any) -> str:
    return _output_text(get(entry, "content"))


def _output_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(get(part, "text") or get(part, "refusal") or "") for part in parts)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
