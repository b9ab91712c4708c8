"""Several conversations' carry-overs made one."""

from __future__ import annotations

from collections.abc import Sequence

from assistantguard.carryover.frame import Note, is_frame, read_frame, write_frame
from assistantguard.models.items import Item, user_message

__all__ = ["join_carry_overs"]


def join_carry_overs(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """Put carry-overs, each as `build_carry_over` makes it, one behind the other.

    Their notes come into one block at the front, where the next rotation finds them.
    """
    notes: list[Note] = []
    values: dict[str, None] = {}
    said: list[Item] = []
    for part in parts:
        items = list(part)
        if items and is_frame(items[0]):
            more, further = read_frame(items.pop(0))
            notes += more
            values.update(dict.fromkeys(further))
        said += items
    if notes or values:
        said.insert(0, user_message(write_frame(notes, values)))
    return said
