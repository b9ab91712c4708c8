"""A response as the API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.sandbox.billing import BilledCall
    from assistantguard.sandbox.context import Context

__all__ = ["new_document", "tier_of", "usage_of"]


_SERVED_AS = {"auto": "default", "fast": "priority"}
"""The API shows ``priority`` for a request that asked for ``fast``."""


def tier_of(body: dict[str, Any]) -> str:
    """Return the service tier that a request is served on."""
    tier = str(body.get("service_tier", "auto"))
    return _SERVED_AS.get(tier, tier)


def usage_of(call: BilledCall) -> dict[str, Any]:
    """Return a row of the bill as `usage`."""
    return {
        "input_tokens": call.input_tokens,
        "input_tokens_details": {
            "cached_tokens": call.cached_tokens,
            "cache_write_tokens": call.cache_write_tokens,
        },
        "output_tokens": call.output_tokens,
        "output_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
        "total_tokens": call.input_tokens + call.output_tokens,
    }


def _shown_tools(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for tool in tools:
        if tool["type"] == "function":
            defaults = {"description": None, "parameters": None, "strict": False}
            shown.append({**defaults, **tool, "strict": bool(tool.get("strict"))})
        else:
            shown.append(tool)
    return shown


def new_document(context: Context, response_id: str, *, background: bool, started: float) -> dict[str, Any]:
    """Return a response that has just begun: no output, no usage."""
    body = context.body
    text = {"format": {"type": "text"}, "verbosity": "medium", **body.get("text", {})}
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(started),
        "status": "queued" if background else "in_progress",
        "background": background,
        "completed_at": None,
        "conversation": None if context.conversation is None else {"id": context.conversation.id},
        "error": None,
        "incomplete_details": None,
        "instructions": context.instructions,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata", {}),
        "model": context.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **body.get("reasoning", {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": tier_of(body),
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": text,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": _shown_tools(body.get("tools", ())),
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        **({"user": body["user"]} if "user" in body else {}),
    }
