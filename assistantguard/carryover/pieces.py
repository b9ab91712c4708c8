"""Text cut into sentences, and data (JSON as tools return it) cut into records, each one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from assistantguard.carryover.frame import one_line
from assistantguard.carryover.values import MAX_VALUE, find_values

__all__ = ["JOINER", "record_values", "records", "sentences"]

JOINER = " \u2026 "
"""Stands between pieces of one item that did not stand side by side."""

_MAX_PIECE = 320
"""Characters. A longer sentence or record is cut."""
_MAX_DEPTH = 12
"""Data nested deeper is read as text."""
_MAX_INLINE = 4
"""A nested object with at most so many scalar members is written within its parent's record."""
_SENTENCE = re.compile(r"\s+\u2026\s+|(?<=[.!?\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f])|\s*\n\s*")
_ALPHANUMERIC = re.compile(r"[^\W_]")
_DIGIT = re.compile(r"\d")
_NOTHING = frozenset({"true", "false", "null", "none"})


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, without those that hold no letter or digit."""
    for sentence in _SENTENCE.split(text):
        yield from _cut(one_line(sentence))


def records(text: str, words: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the records of a JSON text, or the sentences of another, each with the values that stand in it.

    Args:
        text: A tool call's arguments or a tool's output.
        words: Takes up the words that stand in lower case in sentences.
    """
    try:
        # Numbers keep the spelling they have.
        data = json.loads(text, parse_int=str, parse_float=str)
        found = list(_walk(data, "", 0))
    except (ValueError, RecursionError):
        found = [(sentence, list(find_values(sentence, words))) for sentence in sentences(text)]
    yield from found


def record_values(line: str, words: set[str]) -> Iterator[str]:
    """Yield the values of a line that `records` made."""
    path, colon, rest = line.partition(": ")
    if colon and "=" in rest and "=" not in path:
        yield from _key_values(path)
        line = rest
    for part in line.split("; "):
        key, equals, value = part.partition("=")
        if equals:
            yield from _pair_values(key, value)
        else:
            yield from find_values(part, words)


def _cut(line: str) -> Iterator[str]:
    start = 0
    while len(line) - start > _MAX_PIECE:
        place = line.rfind(" ", start + _MAX_PIECE // 2, start + _MAX_PIECE)
        place = start + _MAX_PIECE if place < 0 else place
        yield line[start:place].strip()
        start = place
    rest = line[start:].strip()
    if _ALPHANUMERIC.search(rest):
        yield rest


def _walk(data: Any, path: str, depth: int) -> Iterator[tuple[str, list[str]]]:
    if depth > _MAX_DEPTH:
        raise RecursionError
    members: Iterable[tuple[str, Any]]
    if isinstance(data, Mapping):
        members = data.items()
    elif isinstance(data, list):
        members = (("", value) for value in data)
    else:
        members = (("", data),)
    own: list[tuple[str, str]] = []
    nested: list[tuple[str, Any]] = []
    for key, value in members:
        if not _is_nested(value):
            own.append((key, _scalar(value)))
        elif isinstance(value, list) and not any(map(_is_nested, value)):
            own.append((key, ", ".join(map(_scalar, value))))
        elif key and isinstance(value, Mapping) and _is_small(value):
            own += [(f"{key}.{name}", _scalar(inner)) for name, inner in value.items()]
        else:
            nested.append((key, value))
    yield from _lines(own, path)
    for key, value in nested:
        yield from _walk(value, one_line(key) or path, depth + 1)


def _lines(pairs: Sequence[tuple[str, str]], path: str) -> Iterator[tuple[str, list[str]]]:
    parts: list[str] = []
    values = list(_key_values(path))
    length = 0
    for key, value in pairs:
        for piece in _cut(value):
            part = f"{key}={piece}" if key else piece
            if parts and length + len(part) > _MAX_PIECE:
                yield _line(path, parts), values
                parts, values, length = [], list(_key_values(path)), 0
            parts.append(part)
            values += _pair_values(key, piece)
            length += len(part)
    if parts:
        yield _line(path, parts), values


def _line(path: str, parts: Sequence[str]) -> str:
    body = "; ".join(parts)
    return one_line(f"{path}: {body}" if path else body)


def _pair_values(key: str, value: str) -> Iterator[str]:
    yield from _key_values(key)
    whole = value.strip()
    if 2 <= len(whole) <= MAX_VALUE // 2 and whole.lower() not in _NOTHING:
        yield whole
    if " " in whole or "," in whole:
        yield from find_values(whole)


def _key_values(key: str) -> Iterator[str]:
    return (part for part in key.split(".") if _DIGIT.search(part)) if _DIGIT.search(key) else iter(())


def _is_nested(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and bool(value)


def _is_small(value: Mapping[str, Any]) -> bool:
    return len(value) <= _MAX_INLINE and not any(map(_is_nested, value.values()))


def _scalar(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value)
