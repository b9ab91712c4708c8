"""The items of an answer, what they cost, and how they are cut at `max_output_tokens`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from assistantguard.sandbox.counting import FRAME, text_tokens
from assistantguard.sandbox.script import NO_TOOLS_TEXT
from assistantguard.sandbox.state import Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistantguard.sandbox.script import Answer, FunctionCall
    from assistantguard.sandbox.state import Ids

__all__ = ["Output", "make_output", "searched_stores"]

Find: TypeAlias = Callable[[list[str], str, int], list[dict[str, Any]]]
"""Searches vector stores: ids, query, most results."""


@dataclass(slots=True)
class Output:
    """What the model made."""

    items: list[Item]
    status: str
    incomplete_reason: str | None
    tokens: int
    """Billed as output, reasoning included."""
    reasoning_tokens: int
    injected_tokens: int
    """Billed as input on top of the context: what file searches found."""
    file_searches: int

    def shown(self, include: Sequence[str]) -> list[dict[str, Any]]:
        """Return the items as the response shows them."""
        shown: list[dict[str, Any]] = []
        for item in self.items:
            if item.data["type"] == "file_search_call" and "file_search_call.results" not in include:
                shown.append({**item.data, "results": None})
            else:
                shown.append(item.data)
        return shown


def _message(text: str, status: str, ids: Ids) -> dict[str, Any]:
    return {
        "id": ids.make("msg_"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }


def _call(call: FunctionCall, arguments: str, status: str, ids: Ids) -> dict[str, Any]:
    return {
        "id": ids.make("fc_"),
        "type": "function_call",
        "call_id": call.call_id or ids.make("call_"),
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


def _cut(text: str, tokens: int) -> str:
    """Return the longest beginning of a text that has at most so many tokens."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text[:low]


class _Maker:
    """Puts items together until the room for output is used up."""

    def __init__(self, limit: int | None, ids: Ids) -> None:
        self._limit = limit
        self._ids = ids
        self.items: list[Item] = []
        self.tokens = 0
        self.full = False

    @property
    def _room(self) -> int | None:
        return None if self._limit is None else self._limit - self.tokens

    def reason(self, tokens: int) -> int:
        """Spend tokens on reasoning, and return how many fit."""
        room = self._room
        if room is not None and tokens > room:
            tokens = room
            self.full = True
        item = {"id": self._ids.make("rs_"), "type": "reasoning", "summary": []}
        self.items.append(Item.of(item))
        self.tokens += tokens
        return tokens

    def say(self, text: str, status: str, needs: str | None) -> None:
        """Add a message, cut to the room."""
        room = self._room
        if room is not None and FRAME + text_tokens(text) > room:
            self.full = True
            if room <= FRAME:
                self.tokens += max(0, room)
                return
            text = _cut(text, room - FRAME)
            status = "incomplete"
        self._add(_message(text, status, self._ids), needs)

    def call(self, call: FunctionCall, status: str, needs: str | None) -> None:
        """Add a function call, its arguments cut to the room."""
        room = self._room
        arguments = call.arguments_json
        frame = FRAME + text_tokens(call.name)
        if room is not None and frame + text_tokens(arguments) > room:
            self.full = True
            if room <= frame:
                self.tokens += max(0, room)
                return
            arguments = _cut(arguments, room - frame)
            status = "incomplete"
        self._add(_call(call, arguments, status, self._ids), needs)

    def _add(self, data: dict[str, Any], needs: str | None) -> None:
        item = Item.of(data, needs)
        if self.items and self.items[-1].data["type"] == "reasoning":
            self.items[-1].followed_by = data["id"]
        self.items.append(item)
        self.tokens += item.tokens


def searched_stores(body: Mapping[str, Any]) -> list[str]:
    """Return the ids of the vector stores that a request lets the model search."""
    tools = [tool for tool in body.get("tools", ()) if tool["type"] == "file_search"]
    return [store_id for tool in tools for store_id in tool["vector_store_ids"]]


def _searches(answer: Answer, body: Mapping[str, Any], ids: Ids, find: Find) -> list[Item]:
    stores = searched_stores(body)
    if not stores or body.get("tool_choice") == "none":
        return []
    items: list[Item] = []
    for search in answer.file_search[: body.get("max_tool_calls")]:
        data: dict[str, Any] = {
            "id": ids.make("fs_"),
            "type": "file_search_call",
            "status": "completed",
            "queries": [search.query],
        }
        item = Item.of(data)
        if search.results is None:
            data["results"] = find(stores, search.query, 20)
        else:
            data["results"] = [_result(text, ids) for text in search.results]
        items.append(item)
    return items


def _result(text: str, ids: Ids) -> dict[str, Any]:
    return {
        "file_id": ids.make("file-"),
        "filename": "sandbox.txt",
        "score": 0.9,
        "text": text,
        "attributes": {},
    }


def make_output(answer: Answer, body: Mapping[str, Any], ids: Ids, find: Find) -> Output:
    """Turn an answer into items, cut where `max_output_tokens` says so."""
    maker = _Maker(body.get("max_output_tokens"), ids)
    searches = _searches(answer, body, ids, find)
    maker.items.extend(searches)
    maker.tokens += sum(item.tokens for item in searches)
    found = [result["text"] for item in searches for result in item.data["results"]]
    needs: str | None = None
    reasoning = 0
    if answer.reasoning_tokens:
        reasoning = maker.reason(answer.reasoning_tokens)
        needs = maker.items[-1].data["id"]
    calls = answer.tool_calls if body.get("parallel_tool_calls", True) else answer.tool_calls[:1]
    calls_allowed = bool(body.get("tools")) and body.get("tool_choice") != "none"
    if not calls_allowed:
        calls = ()
    item_status = "completed" if answer.status == "completed" else "incomplete"
    if answer.text is not None and not maker.full:
        maker.say(answer.text, item_status, needs)
    if not calls_allowed and answer.tool_calls and answer.text is None and not maker.full:
        maker.say(NO_TOOLS_TEXT, item_status, needs)
    for call in calls:
        if maker.full:
            break
        maker.call(call, item_status, needs)
    cut = maker.full and answer.status == "completed"
    return Output(
        items=maker.items,
        status="incomplete" if cut else answer.status,
        incomplete_reason="max_output_tokens" if cut else answer.incomplete_reason,
        tokens=maker.tokens,
        reasoning_tokens=reasoning,
        injected_tokens=sum(text_tokens(text) for text in found),
        file_searches=len(searches),
    )
