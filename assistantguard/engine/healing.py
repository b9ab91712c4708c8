"""Making a conversation usable again after an attempt that did not end well.

What a server appends to a conversation when a response fails, is cut or is cancelled is nowhere promised. So the tail
is read, what the attempt left behind is deleted (it is sent again, or the turn has failed), and every function call
without an output is answered, since the API refuses all further input until it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from assistantguard.engine.ports import ModelAnswer
from assistantguard.models import Item, ToolCall, ToolOutput
from assistantguard.models.marks import mark_of
from assistantguard.models.values import Record

__all__ = ["UNANSWERED", "Repair", "answer_in_tail", "mark_of", "plan_repair", "strays_in_tail"]

UNANSWERED = "Not run: the run was ended before this call was answered."


@dataclass(slots=True, eq=False, repr=False)
class Repair(Record):
    """What to do to a conversation."""

    delete: tuple[str, ...] = ()
    """Item ids, newest first."""
    answer: tuple[ToolOutput, ...] = ()
    """Outputs for function calls that have none."""
    newest_kept: str | None = None
    """The id of the newest item that stays."""
    left_behind: int = 0
    """How many of the newest items stem from the attempt."""

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.delete or self.answer)


def plan_repair(
    newest_first: Sequence[Item],
    unsettled: Sequence[str],
    last_item_id: str | None,
    *,
    seed_items: int | None = None,
    expected_outputs: Iterable[str] = (),
) -> Repair:
    """Plan what makes the conversation usable.

    Args:
        newest_first: The conversation's newest items.
        unsettled: Marks of the input items of the attempt that did not end well; see `mark_of`.
        last_item_id: The newest settled item, where known.
        seed_items: Where no item is known to be settled but those that the conversation began with, and all its
            items are in `newest_first`: how many those are.
        expected_outputs: Call ids whose outputs are about to be sent, so that they need no other answer.
    """
    left_behind = _left_behind(newest_first, unsettled, last_item_id, seed_items)
    kept = newest_first[left_behind:]
    answered = {item.call_id for item in kept if item.type == "function_call_output"}
    answered.update(expected_outputs)
    open_calls = [
        item.call_id
        for item in reversed(kept)
        if item.type == "function_call" and item.call_id is not None and item.call_id not in answered
    ]
    return Repair(
        tuple(item.id for item in newest_first[:left_behind] if item.id is not None),
        tuple(ToolOutput(call_id, UNANSWERED, failed=True) for call_id in open_calls),
        kept[0].id if kept else None,
        left_behind,
    )


def strays_in_tail(
    newest_first: Sequence[Item],
    settled: str | None,
    marks: Iterable[str],
    *,
    own: int = 0,
    seed_items: int | None = None,
) -> tuple[str, ...]:
    """Ids, newest first, of what attempts that were given up added behind the newest settled item.

    Only where what stands there begins with an input item that has one of `marks`: all else is somebody else's.

    Args:
        newest_first: The conversation's newest items.
        settled: The id of the newest item that was settled before the attempts.
        marks: See `mark_of`.
        own: How many of the newest items stem from the attempt that was settled after them.
        seed_items: Where there is no settled item and all items are given: with how many the conversation began.
    """
    known = set(marks)
    end = next((index for index, item in enumerate(newest_first) if item.id == settled), None)
    if settled is None and seed_items is not None:
        end = len(newest_first) - seed_items
    if end is None or end <= own:
        return ()
    behind = newest_first[own:end]
    if mark_of(_as_input(behind[-1])) not in known:
        return ()
    return tuple(one.id for one in behind if one.id is not None)


def _as_input(item: Item) -> dict[str, Any]:
    """An item of a conversation as the input item that it was."""
    if item.type == "function_call_output":
        return {"call_id": item.call_id, "output": item.text}
    return {"role": item.role or "", "content": item.text}


def answer_in_tail(
    newest_first: Sequence[Item],
    unsettled: Sequence[str],
    last_item_id: str | None,
    *,
    seed_items: int | None = None,
) -> ModelAnswer | None:
    """The whole answer to `unsettled`, where a conversation holds one: an attempt whose own answer was lost was done.

    Args:
        newest_first: The conversation's newest items.
        unsettled: Marks of the attempt's input items; see `mark_of`.
        last_item_id: See `plan_repair`.
        seed_items: See `plan_repair`.
    """
    own = newest_first[: _left_behind(newest_first, unsettled, last_item_id, seed_items)][::-1]
    produced = own[len(unsettled) :]
    asked = [item for item in own[: len(unsettled)] if item.type != "function_call" and item.role != "assistant"]
    if not produced or len(asked) != len(unsettled):
        return None
    if any(item.status in {"in_progress", "incomplete"} for item in produced):
        return None
    texts = [item.text for item in produced if item.type == "message" and item.role == "assistant" and item.text]
    calls = [
        ToolCall.of(item.call_id, item.name or "", item.text)
        for item in produced
        if item.type == "function_call" and item.call_id is not None
    ]
    if not texts and not calls:
        return None
    plain = sum(item.type in {"message", "function_call"} for item in produced)
    return ModelAnswer(
        "",
        "completed",
        "\n\n".join(texts),
        tuple(calls),
        None,
        "",
        output_items=len(produced),
        last_item_id=produced[-1].id,
        hidden_output=plain < len(produced),
    )


def _left_behind(
    newest_first: Sequence[Item],
    unsettled: Sequence[str],
    last_item_id: str | None,
    seed_items: int | None,
) -> int:
    """How many of the newest items stem from the attempt, what the model said to it included."""
    if not unsettled:
        return 0
    if last_item_id is not None:
        for index, item in enumerate(newest_first):
            if item.id == last_item_id:
                return index
    elif seed_items is not None:
        return max(0, len(newest_first) - seed_items)
    # A server whose answers and conversations number their items differently: go by what was sent.
    marks = set(unsettled)

    def is_ours(item: Item) -> bool:
        by_us = item.type == "function_call_output" or (item.type == "message" and item.role == "user")
        return by_us and mark_of(_as_input(item)) in marks

    for index, item in enumerate(newest_first):
        if item.type == "function_call_output" or (item.type == "message" and item.role != "assistant"):
            end = index
            while end < min(len(newest_first), index + len(unsettled)) and is_ours(newest_first[end]):
                end += 1
            return end if end > index else 0
    return 0
