"""What a thread's context is made of, independent of the backend that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assistantguard.models.values import Value

__all__ = ["Item", "ItemType", "assistant_message", "user_message"]

ItemType = Literal["message", "function_call", "function_call_output", "reasoning", "other"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Item(Value):
    """One conversation item, reduced to what healing and carry-over must know."""

    type: ItemType
    text: str = ""
    """A message's text, a function call's arguments (JSON), or a function call's output."""
    role: Literal["user", "assistant", "system", "developer"] | None = None
    """Only for messages."""
    id: str | None = None
    """The server's id; None for an item that no server holds yet."""
    call_id: str | None = None
    """Ties a ``function_call_output`` to its ``function_call``."""
    name: str | None = None
    """The function's name; only for function calls."""
    status: str | None = None
    """As the server says (``completed``, ``incomplete``, …), or None."""


def user_message(text: str) -> Item:
    """A user's message that no server holds yet."""
    return Item("message", text, role="user")


def assistant_message(text: str) -> Item:
    """An assistant's message that no server holds yet."""
    return Item("message", text, role="assistant")
