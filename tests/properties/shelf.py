"""The scripted server's conversations, and what it refuses because of them, in the API's words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assistantguard.engine import ModelRequest
from assistantguard.engine.input import text_of
from assistantguard.failures import Facts
from assistantguard.models import Item

__all__ = ["FRAMING", "TOOLS", "ServerProblem", "Shelf", "Stored", "item_of", "refuse"]

FRAMING = 5
"""Tokens that an item costs beside its text."""
TOOLS = [{"type": "function", "name": "lookup", "description": "Finds.", "parameters": {"type": "object"}}]


class ServerProblem(Exception):
    """An error that the server's answer, or its absence, raises in the client."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts.message)
        self.facts = facts


def refuse(message: str, status_code: int = 400, code: str | None = None) -> ServerProblem:
    """The refusal of a request."""
    return ServerProblem(Facts("request", message, status_code, code, "invalid_request_error"))


@dataclass(slots=True)
class Stored:
    """An item of a conversation."""

    item: Item
    tokens: int


class Shelf:
    """Conversations.

    Args:
        density: Tokens that a byte of text costs, above 0 and at most 1.
    """

    def __init__(self, density: float) -> None:
        self._density = density
        self._ids = 0
        self.conversations: dict[str, list[Stored]] = {}

    def id(self, prefix: str) -> str:
        """A new id."""
        self._ids += 1
        return f"{prefix}_{self._ids}"

    def create(self, items: Iterable[Item]) -> str:
        """Begin a conversation."""
        conversation_id = self.id("conv")
        self.conversations[conversation_id] = [self.stored(item) for item in items]
        return conversation_id

    def conversation(self, generation_id: str | None) -> list[Stored]:
        """A conversation's items, oldest first."""
        if generation_id not in self.conversations:
            raise refuse(f"Conversation with id '{generation_id}' not found.", 404)
        return self.conversations[generation_id]

    def stored(self, item: Item) -> Stored:
        """An item with its id and its tokens."""
        return Stored(replace(item, id=item.id or self.id("item")), self.tokens(item.text))

    def open_calls(self, generation_id: str) -> list[str]:
        """Function calls of a conversation that have no output."""
        items = [entry.item for entry in self.conversations[generation_id]]
        answered = {item.call_id for item in items if item.type == "function_call_output"}
        calls = [item.call_id for item in items if item.type == "function_call"]
        return [call_id for call_id in calls if call_id is not None and call_id not in answered]

    def user_texts(self, generation_id: str) -> list[str]:
        """The user's messages in a conversation, in order."""
        items = [entry.item for entry in self.conversations[generation_id]]
        return [item.text for item in items if item.type == "message" and item.role == "user"]

    def check(self, request: ModelRequest) -> None:
        """Refuse what the API refuses."""
        outputs = [str(item["call_id"]) for item in request.input if item.get("type") == "function_call_output"]
        waiting: list[str] = []
        if request.generation_id is not None:
            self.conversation(request.generation_id)
            waiting = self.open_calls(request.generation_id)
        for call_id in outputs:
            if call_id not in waiting:
                raise refuse(f"No tool call found for function call output with call_id {call_id}.")
        for call_id in waiting:
            if call_id not in outputs:
                raise refuse(f"No tool output found for function call {call_id}.")
        if request.max_output_tokens is not None and request.max_output_tokens < 16:
            raise refuse("max_output_tokens is below the minimum value of 16.")

    def input_tokens(self, request: ModelRequest) -> int:
        """What a request reads."""
        total = self.tokens(request.instructions) + sum(self.tokens(text_of(entry)) for entry in request.input)
        if request.tools:
            total += self.tokens(json.dumps(TOOLS))
        if request.generation_id is not None:
            total += sum(entry.tokens for entry in self.conversation(request.generation_id))
        return total

    def add(self, generation_id: str | None, sent: Sequence[Mapping[str, Any]], made: Sequence[Stored]) -> None:
        """Append what a request sent and what came of it, where its conversation is still there."""
        if generation_id in self.conversations:
            self.conversations[generation_id] += [self.stored(item_of(entry)) for entry in sent]
            self.conversations[generation_id] += made

    def tokens(self, text: str) -> int:
        """What a text costs as an item."""
        return math.ceil(len(text.encode()) * self._density) + FRAMING


def item_of(entry: Mapping[str, Any]) -> Item:
    """An input item as it stands in a conversation."""
    if entry.get("type") == "function_call_output":
        return Item("function_call_output", text_of(entry), call_id=str(entry["call_id"]))
    return Item("message", text_of(entry), role="user")
