"""Items and counts that the carry-over tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from assistantguard.carryover import CarryOver, build_carry_over
from assistantguard.models.items import Item, assistant_message, user_message


def count(text: str) -> int:
    """A tokenizer that is simple to reason about: one token for four bytes, rounded up."""
    return -(-len(text.encode()) // 4)


def call(name: str, arguments: object, call_id: str = "call_1") -> Item:
    return Item("function_call", json.dumps(arguments, ensure_ascii=False), name=name, call_id=call_id)


def output(result: object, call_id: str = "call_1") -> Item:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    return Item("function_call_output", text, call_id=call_id)


def small_talk(turns: int, start: int = 0) -> list[Item]:
    items: list[Item] = []
    for number in range(start, start + turns):
        items += [user_message(f"Tell me more, please, part {number}."), assistant_message(f"Here is part {number}.")]
    return items


def texts(items: Sequence[Item]) -> str:
    return "\n".join(item.text for item in items)


def rotate_often(
    items: Sequence[Item],
    times: int,
    settings: CarryOver,
    between: Callable[[int], Sequence[Item]],
) -> list[Item]:
    """What is left after several rotations with further turns between them."""
    seeds = build_carry_over(items, settings, count, first=True)
    for number in range(times):
        seeds = build_carry_over([*seeds, *between(number)], settings, count)
    return seeds
