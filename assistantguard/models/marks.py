"""Telling an input item again without keeping what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

__all__ = ["mark_of", "text_of"]


def mark_of(item: Mapping[str, Any]) -> str:
    """What tells an input item again without keeping its content.

    An item that was kept without its content carries it as ``mark``.
    """
    kept = item.get("mark")
    if isinstance(kept, str):
        return kept
    call_id = item.get("call_id")
    told = f"{item.get('role', '')} {text_of(item)}" if call_id is None else f"output of {call_id}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()


def text_of(item: Mapping[str, Any]) -> str:
    """The text of an input item: a message's, or a function call output's."""
    content = item.get("content", item.get("output", ""))
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
