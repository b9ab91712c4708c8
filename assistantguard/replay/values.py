"""Which values tool arguments hold, and whether a text holds a value.

A value is a leaf of the decoded arguments: a string, or a number as it was written. True, false, null and
values of one character are left out: they say nothing, or stand in every text. A text holds a value where it
occurs on boundaries, that is, not as a part of a longer word or number; letter case counts. Letters of
scripts without case (Chinese, Arabic, …) make no word with what stands beside them, since many of these write
without spaces. Tool outputs are often JSON inside a text: a value with quotes, backslashes or letters beyond
ASCII may also stand as JSON escapes it.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["argument_values", "holds"]

_SHORTEST = 2


class _Number(str):
    """A JSON number, spelt as in the source."""

    __slots__ = ()


def argument_values(arguments: str) -> tuple[str, ...]:
    """List the values in a tool call's arguments, in order; empty where they are no JSON."""
    try:
        decoded = json.loads(arguments, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError):
        return ()
    return tuple(value for value in _leaves(decoded) if len(value) >= _SHORTEST)


def _leaves(value: object) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _leaves(inner)
        case list():
            for inner in value:
                yield from _leaves(inner)
        case str():
            yield value.strip()


def holds(text: str, value: str) -> bool:
    """Tell whether a value occurs in a text on boundaries."""
    return any(_occurs(text, spelling) for spelling in _spellings(value))


@lru_cache(maxsize=8192)
def _spellings(value: str) -> tuple[str, ...]:
    escaped = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    return tuple(dict.fromkeys((value, *escaped)))


def _occurs(text: str, value: str) -> bool:
    start = text.find(value)
    while start >= 0:
        if not _joined(text, start - 1, -1, value[0]) and not _joined(text, start + len(value), 1, value[-1]):
            return True
        start = text.find(value, start + 1)
    return False


def _joined(text: str, at: int, direction: int, edge: str) -> bool:
    """Whether the character at `at` makes one word or number with the value's edge beside it."""
    if not 0 <= at < len(text) or not _is_word(edge):
        return False
    if _is_word(text[at]):
        return True
    beyond = at + direction
    return text[at] in ".," and edge.isdigit() and 0 <= beyond < len(text) and text[beyond].isdigit()


def _is_word(character: str) -> bool:
    if character.isalpha():
        return character.islower() or character.isupper()
    return character.isalnum() or character == "_"
