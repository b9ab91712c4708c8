"""The events of a stream between its first and its last, and how much was made when it is stopped.

The order and the fields are the API's. A delta holds a few words; joined, the deltas of an item are its text. Events
carry no `obfuscation`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from assistantguard.sandbox.output import Output
from assistantguard.sandbox.state import Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Emission"]

_WORDS_A_DELTA = 2
_PIECES = re.compile(r"\s*\S{1,16}|\s+")
ON_AND_ON = " and on"


def _deltas(text: str, words: int) -> Iterator[str]:
    """Cut a text into deltas of so many words."""
    delta = ""
    for number, found in enumerate(_PIECES.finditer(text), start=1):
        delta += found[0]
        if number % words == 0:
            yield delta
            delta = ""
    if delta:
        yield delta


def _empty_part() -> dict[str, Any]:
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


class Emission:
    """Tells an output bit by bit.

    Args:
        output: The whole of it.
        include: The request's `include`.
        endless: Go on after the last text without end.
    """

    def __init__(self, output: Output, include: Sequence[str], *, endless: bool = False) -> None:
        self.output = output
        self._shown = output.shown(include)
        self._endless = endless
        self._done = 0
        self._begun = False
        self._told: list[str] = []

    def events(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield each event without its sequence number, and whether it is a delta."""
        for index, item in enumerate(self._shown):
            kind = item["type"]
            told: Iterator[tuple[dict[str, Any], bool]]
            self._told = []
            if kind == "message":
                told = self._message(index, item)
            elif kind == "function_call":
                told = self._call(index, item)
            elif kind == "file_search_call":
                told = self._search(index, item)
            else:
                told = iter([(_added(index, item), False)])
            for event in told:
                self._begun = kind in {"message", "function_call"}
                yield event
            self._begun = False
            self._done = index + 1
            yield {"type": "response.output_item.done", "output_index": index, "item": item}, False

    def _message(self, index: int, item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        yield _added(index, {**item, "status": "in_progress", "content": []}), False
        for number, part in enumerate(item["content"]):
            place = {"item_id": item["id"], "output_index": index, "content_index": number}
            yield {"type": "response.content_part.added", **place, "part": _empty_part()}, False
            for delta in self._text(part["text"], last=index == len(self._shown) - 1):
                yield {"type": "response.output_text.delta", **place, "delta": delta, "logprobs": []}, True
            yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}, False
            yield {"type": "response.content_part.done", **place, "part": part}, False

    def _text(self, text: str, *, last: bool) -> Iterator[str]:
        for delta in _deltas(text, _WORDS_A_DELTA):
            self._told.append(delta)
            yield delta
        while self._endless and last:
            self._told.append(ON_AND_ON)
            yield ON_AND_ON

    def _call(self, index: int, item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        place = {"item_id": item["id"], "output_index": index}
        yield _added(index, {**item, "status": "in_progress", "arguments": ""}), False
        for delta in _deltas(item["arguments"], 1):
            self._told.append(delta)
            yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}, True
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **place, **done}, False

    def _search(self, index: int, item: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
        place = {"item_id": item["id"], "output_index": index}
        yield _added(index, {**item, "status": "in_progress", "results": None}), False
        for phase in ("in_progress", "searching", "completed"):
            yield {"type": f"response.file_search_call.{phase}", **place}, False

    def so_far(self) -> Output:
        """Return what was told, as a cancelled output: whole items, and the beginning of the one that was being told.

        A reasoning item that nothing follows yet is billed and not among the items.
        """
        items = list(self.output.items[: self._done])
        searches = [item for item in items if item.data["type"] == "file_search_call"]
        reasoned = any(item.data["type"] == "reasoning" for item in items)
        reasoning = self.output.reasoning_tokens if reasoned else 0
        if self._begun:
            items.append(self._partial(self.output.items[self._done]))
        made = sum(item.tokens for item in items) + reasoning
        while items and items[-1].data["type"] == "reasoning":
            items.pop()
        return Output(
            items=items,
            status="cancelled",
            incomplete_reason=None,
            tokens=made,
            reasoning_tokens=reasoning,
            injected_tokens=self.output.injected_tokens if searches else 0,
            file_searches=len(searches),
        )

    def _partial(self, item: Item) -> Item:
        told = "".join(self._told)
        data = {**item.data, "status": "incomplete"}
        if data["type"] == "message":
            data["content"] = [{**_empty_part(), "text": told}]
        else:
            data["arguments"] = told
        return Item.of(data, item.needs)


def _added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}
