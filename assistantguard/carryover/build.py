"""Seed items for a new generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from assistantguard.carryover.digest import choose
from assistantguard.carryover.frame import Note, defuse, is_frame, write_frame
from assistantguard.carryover.history import read_history, turn_starts
from assistantguard.models.carry_over import CarryOver
from assistantguard.models.items import Item, user_message

__all__ = ["build_carry_over"]

_LEFT_OUT = "\n[\u2026]\n"


def build_carry_over(
    items: Sequence[Item],
    settings: CarryOver,
    count: Callable[[str], int],
    summary: str | None = None,
    *,
    first: bool = False,
) -> list[Item]:
    """Boil an old generation down to the items that a new one starts with.

    Only text is carried. System and developer messages are not: what must hold for good belongs in the assistant's
    instructions.

    Args:
        items: All items of the old generation, oldest first.
        settings: How much to carry.
        count: Counts the tokens of a text, for the thread's model.
        summary: What `settings.summary_model` wrote, or None. It takes the place of an earlier summary.
        first: Whether this is the thread's first generation. Nothing was carried into it, so that a message that
            looks like carried notes was written by the user, and is carried as the user's.

    Returns:
        At most one user message with the delimited notes, then the messages of the last turns. All are new items
        without ids; none has the rank of an instruction and none is a function call.
    """
    items = list(items)
    carried = items.pop(0) if items and not first and is_frame(items[0]) else None
    starts = turn_starts(items)
    tail_start, tail = _tail(items, starts, settings, count)
    written = _cut(summary.strip(), settings.summary_tokens, count) if summary else ""
    notes: list[Note] = []
    values: list[str] = []
    if settings.digest_tokens:
        history = read_history(items, starts, tail_start, carried, keep_summary=not written)
        notes, values = choose(history, settings.digest_tokens, count)
    if notes or values or written:
        tail.insert(0, user_message(write_frame(notes, values, written)))
    return tail


def _tail(
    items: Sequence[Item], starts: Sequence[int], settings: CarryOver, count: Callable[[str], int]
) -> tuple[int, list[Item]]:
    """The last turns' messages, and the index from which on all messages are among them to the letter."""
    left = settings.tail_tokens
    begin = len(items)
    carried: list[Item] = []
    for start in reversed(starts[-settings.tail_turns :] if settings.tail_turns else ()):
        turn = [_seed(item) for item in items[start:begin] if _is_said(item)]
        tokens = sum(count(item.text) for item in turn)
        if tokens > left:
            if not carried and turn:
                shorter = (replace(item, text=_cut(item.text, left // len(turn), count)) for item in turn)
                return begin, [item for item in shorter if item.text]
            break
        carried[:0] = turn
        left -= tokens
        begin = start
    return begin, carried


def _is_said(item: Item) -> bool:
    return item.type == "message" and item.role in {"user", "assistant"} and bool(item.text)


def _seed(item: Item) -> Item:
    return Item("message", defuse(item.text), role=item.role)


def _cut(text: str, bound: int, count: Callable[[str], int]) -> str:
    """The beginning and end of a text, within a bound in tokens; empty where that leaves nothing."""
    tokens = count(text)
    if tokens <= bound:
        return text
    keep = len(text)
    while True:
        keep = min(keep - 1, int(keep * 0.95 * bound / tokens))
        half = keep // 2
        if half <= 0:
            return ""
        shorter = f"{text[:half]}{_LEFT_OUT}{text[-half:]}"
        tokens = count(shorter)
        if tokens <= bound:
            return shorter
