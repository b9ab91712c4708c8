"""Objects as the Assistants API listed them before the sunset."""

from __future__ import annotations

from typing import Any

__all__ = ["BEGAN", "assistant", "listed", "message", "thread"]

BEGAN = 1_700_000_000


def assistant(assistant_id: str = "asst_old", **fields: Any) -> dict[str, Any]:
    return {
        "id": assistant_id,
        "object": "assistant",
        "created_at": BEGAN,
        "name": "Shop",
        "description": None,
        "model": "gpt-6-luna",
        "instructions": "Be kind.",
        "tools": [
            {
                "type": "file_search",
                "file_search": {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}},
            },
            {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}, "strict": False}},
        ],
        "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}},
        "metadata": {"team": "shop"},
        "temperature": 0.5,
        "top_p": 1.0,
        "response_format": "auto",
        "reasoning_effort": None,
        **fields,
    }


def thread(thread_id: str = "thread_old", **fields: Any) -> dict[str, Any]:
    return {
        "id": thread_id,
        "object": "thread",
        "created_at": BEGAN,
        "metadata": {"user": "ann"},
        "tool_resources": {},
        **fields,
    }


def message(name: str, after: int, text: str | None = None, **fields: Any) -> dict[str, Any]:
    """A message, so many seconds after the thread began."""
    part = {"type": "text", "text": {"value": name if text is None else text, "annotations": []}}
    return {
        "id": f"msg_{name}",
        "object": "thread.message",
        "created_at": BEGAN + after,
        "assistant_id": None,
        "thread_id": "thread_old",
        "run_id": None,
        "role": "user",
        "content": [part],
        "attachments": [],
        "metadata": {},
        **fields,
    }


def listed(*objects: dict[str, Any]) -> dict[str, Any]:
    """The answer of a list call."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": False,
    }
