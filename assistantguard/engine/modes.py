"""Foreground or background: which requests are worth being cancellable at the server.

A request in the foreground ends with its connection, and what it had used is seldom told. One in the background costs a
few polls, can be cancelled, and outlives a lost connection. So the background is for what may take long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.engine.ports import ModelRequest
    from assistantguard.engine.session import Session

__all__ = ["Mode", "Modes"]

_LONG_EFFORTS = frozenset({"high", "xhigh", "max"})
_LONG_TOOLS = ("code_interpreter", "web_search", "mcp", "computer", "image_generation", "shell")
_LONG_OUTPUT = 16_384
"""Output tokens that an assistant asks for from which on an answer may take minutes."""


@dataclass(slots=True, eq=False, repr=False)
class Mode:
    """How a request is sent, and why so."""

    background: bool
    reason: str


class Modes:
    """Chooses, and learns where a server has no background mode."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._refused = False

    def choose(self, request: ModelRequest) -> Mode:
        """How `request` is sent."""
        wanted = self._session.background
        if wanted is False:
            return Mode(False, "background=False")
        if request.generation_id is None:
            return Mode(False, "it is not stored")
        if self._refused:
            return Mode(False, "the server refuses background mode")
        if wanted is True:
            return Mode(True, "background=True")
        reason = self._long(request)
        return Mode(reason is not None, reason or "it is expected to be short")

    def refused(self) -> Mode:
        """Note that the server has no background mode; return how the request is sent instead."""
        self._refused = True
        return Mode(False, "the server refuses background mode")

    def _long(self, request: ModelRequest) -> str | None:
        """Why `request` may take long."""
        assistant = self._session.assistant
        if request.reasoning_effort in _LONG_EFFORTS:
            return f"reasoning_effort={request.reasoning_effort}"
        for tool in request.tools:
            kind = _kind(tool)
            if kind.startswith(_LONG_TOOLS):
                return f"the tool {kind}"
        if assistant.max_output_tokens is not None and assistant.max_output_tokens >= _LONG_OUTPUT:
            return f"max_output_tokens={assistant.max_output_tokens}"
        return None


def _kind(tool: Mapping[str, Any]) -> str:
    return str(tool.get("type", ""))
