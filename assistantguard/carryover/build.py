"""Seed items for a new generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from assistantguard.carryover.digest import choose
from assistantguard.carryover.frame import is_frame, write_frame
from assistantguard.carryover.history import read_history, turn_starts
from assistantguard.carryover.settings import CarryOver
from assistantguard.models.items import Item, user_message

__all__ = ["build_carry_over"]

_LEFT_OUT = "\n[\u2026]\n"


def build_carry_over(
    items: Sequence[Item], settings: CarryOver, count: Callable[[str], int], summary: str | None = None
) -> list[Item]:
    """Boil an old generation down to the items that a new one starts with.

    Args:
        items: All items of the old generation, oldest first.
        settings: How much to carry.
        count: Counts the tokens of a text, for the thread's model.
        summary: What `settings.summary_model` wrote, or None.

    Returns:
        At most one user message with the delimited notes, then the last turns' messages. Server ids are dropped:
        these are new items. Never an instruction of system or developer rank, never a function call.
    """
    starts = turn_starts(items)
    tail_start, tail = _tail(items, starts, settings, count)
    notes, listed = [], []
    if settings.digest_tokens:
        history = read_history(items, starts, tail_start)
        notes, listed = choose(history, settings.digest_tokens, count)
    written = _cut(summary.strip(), settings.summary_tokens, count) if summary else ""
    if not (notes or listed or written):
        return tail
    return [user_message(write_frame(notes, listed, written)), *tail]


def _tail(
    items: Sequence[Item], starts: Sequence[int], settings: CarryOver, count: Callable[[str], int]
) -> tuple[int, list[Item]]:
    left = settings.tail_tokens
    begin = len(items)
    carried: list[Item] = []
    for start in reversed(starts[-settings.tail_turns :] if settings.tail_turns else ()):
        turn = [item for item in items[start:begin] if _is_said(item)]
        tokens = sum(count(item.text) for item in turn)
        if tokens > left:
            if carried or not left:
                break
            turn = [replace(item, text=_cut(item.text, left // len(turn), count)) for item in turn]
            return len(items), [_seed(item) for item in turn if item.text]
        carried[:0] = turn
        left -= tokens
        begin = start
    return begin, [_seed(item) for item in carried]


def _is_said(item: Item) -> bool:
    return item.type == "message" and item.role in {"user", "assistant"} and bool(item.text) and not is_frame(item)


def _seed(item: Item) -> Item:
    return Item("message", item.text, role=item.role)


def _cut(text: str, bound: int, count: Callable[[str], int]) -> str:
    """The beginning and end of a text, within a bound in tokens."""
    tokens = count(text)
    if tokens <= bound:
        return text
    keep = len(text)
    while tokens > bound:
        keep = min(keep - 1, int(keep * bound / tokens * 0.95))
        if keep <= len(_LEFT_OUT):
            return ""
        half = keep // 2
        shorter = f"{text[:half]}{_LEFT_OUT}{text[-half:]}"
        tokens = count(shorter)
    return shorter
