"""Old items cut into fragments (a sentence, a record of a tool's output) with the values that stand in each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistantguard.carryover.frame import is_frame, one_line, read_frame
from assistantguard.carryover.values import MAX_VALUE, find_values
from assistantguard.models.items import Item

__all__ = ["Fragment", "History", "read_history", "turn_starts"]

MAX_FRAGMENT = 320
"""Characters. A longer sentence or record is cut in pieces."""
AGE_STEP = 1.0
LIST_STEP = 0.5
_MAX_DEPTH = 12
_SENTENCE = re.compile(r"\s+\u2026\s+|(?<=[.!?\u061f\u0964])\s+|(?<=[\u3002\uff01\uff1f])|\s*\n\s*")


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of the history that can be carried by itself."""

    label: str
    text: str
    group: int
    """Fragments of one item, or of one carried line, share a group."""
    age: float
    """How many turns ago; 0 is the last turn."""
    values: tuple[str, ...]


@dataclass(slots=True)
class History:
    """What the digest chooses from."""

    fragments: list[Fragment] = field(default_factory=list)
    """Oldest first."""
    count: dict[str, int] = field(default_factory=dict)
    """In how many items a value stands."""
    age: dict[str, float] = field(default_factory=dict)
    """How many turns ago a value last stood anywhere."""
    used: set[str] = field(default_factory=set)
    """Values that the model put into a tool call."""
    listed: list[str] = field(default_factory=list)
    """Values that an earlier digest listed without their sentence, most important first."""
    in_tail: set[str] = field(default_factory=set)
    """Values that stand in the messages carried word for word."""
    words: set[str] = field(default_factory=set)
    """Words that were written in lower case, and so are no names."""


def turn_starts(items: Sequence[Item]) -> list[int]:
    """Where each turn begins: the first of each run of user messages. Carried blocks belong to no turn."""
    starts: list[int] = []
    previous_user = False
    for index, item in enumerate(items):
        user = item.type == "message" and item.role == "user" and not is_frame(item)
        if user and not previous_user:
            starts.append(index)
        previous_user = user
    return starts


def read_history(items: Sequence[Item], starts: Sequence[int], tail: int) -> History:
    """Cut items into fragments.

    Args:
        items: A generation's items, oldest first.
        starts: Where its turns begin.
        tail: Index of the first item whose message is carried word for word.
    """
    history = History()
    names = {item.call_id: item.name or "tool" for item in items if item.type == "function_call"}
    turn = 0
    for index, item in enumerate(items):
        while turn < len(starts) and starts[turn] <= index:
            turn += 1
        age = float(len(starts) - turn)
        if is_frame(item):
            _read_carried(history, item, len(starts), index)
        elif item.type == "message":
            if item.role in {"user", "assistant"} and item.text:
                _read_message(history, item, age, index, in_tail=index >= tail)
        elif item.type == "function_call":
            _read_data(history, f"called {item.name or 'tool'}", item.text, age, index, used=True)
        elif item.type == "function_call_output" and item.text:
            name = names.get(item.call_id, "tool")
            _read_data(history, f"{name} returned", item.text, age, index)
    return history


def _read_carried(history: History, item: Item, turns: int, group: int) -> None:
    notes, listed = read_frame(item)
    for number, note in enumerate(notes):
        age = turns + (len(notes) - number) * AGE_STEP
        tool = note.label.startswith("called ") or note.label.endswith(" returned")
        pieces = note.text.split(" \u2026 ") if tool else _sentences(note.text)
        key = -(number + 1) - group * 1_000
        values: set[str] = set()
        for piece in pieces:
            found = tuple(dict.fromkeys(_record_values(piece) if tool else find_values(piece, history.words)))
            values.update(found)
            history.fragments.append(Fragment(note.label, piece, key, age, found))
        _note(history, values, age, used=note.label.startswith("called "))
    _note(history, set(listed), turns + len(notes) * LIST_STEP + 1)
    history.listed.extend(listed)


def _read_message(history: History, item: Item, age: float, group: int, *, in_tail: bool) -> None:
    values: set[str] = set()
    for sentence in _sentences(item.text):
        found = tuple(dict.fromkeys(find_values(sentence, history.words)))
        values.update(found)
        if not in_tail:
            history.fragments.append(Fragment(str(item.role), sentence, group, age, found))
    _note(history, values, age)
    if in_tail:
        history.in_tail |= values


def _read_data(history: History, label: str, text: str, age: float, group: int, *, used: bool = False) -> None:
    values: set[str] = set()
    for piece, found in _records(text, history):
        distinct = tuple(dict.fromkeys(found))
        values.update(distinct)
        history.fragments.append(Fragment(label, piece, group, age, distinct))
    _note(history, values, age, used=used)


def _note(history: History, values: set[str], age: float, *, used: bool = False) -> None:
    for value in values:
        history.count[value] = history.count.get(value, 0) + 1
        history.age[value] = min(age, history.age.get(value, age))
    if used:
        history.used |= values


def _sentences(text: str) -> Iterator[str]:
    for sentence in _SENTENCE.split(text):
        yield from _pieces(one_line(sentence))


def _pieces(line: str) -> Iterator[str]:
    while len(line) > MAX_FRAGMENT:
        cut = line.rfind(" ", MAX_FRAGMENT // 2, MAX_FRAGMENT)
        cut = MAX_FRAGMENT if cut < 0 else cut
        yield line[:cut]
        line = line[cut:].lstrip()
    if any(map(str.isalnum, line)):
        yield line


def _records(text: str, history: History) -> Iterator[tuple[str, list[str]]]:
    try:
        data = json.loads(text)
        records = list(_walk(data, "", 0))
    except (ValueError, RecursionError):
        for sentence in _sentences(text):
            yield sentence, list(find_values(sentence, history.words))
        return
    yield from records


def _walk(data: Any, path: str, depth: int) -> Iterator[tuple[str, list[str]]]:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(data, Mapping):
        pairs = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list):
        pairs = [("", value) for value in data]
    else:
        pairs = [("", data)]
    own: list[tuple[str, str]] = []
    nested: list[tuple[str, Any]] = []
    listed = isinstance(data, list)
    for key, value in pairs:
        if not listed and isinstance(value, Mapping) and 0 < len(value) <= 4 and not any(map(_is_nested, value.values())):
            own += [(f"{key}.{name}", _scalar(inner)) for name, inner in value.items()]
        elif isinstance(value, list) and value and not any(map(_is_nested, value)):
            own.append((key, ", ".join(_scalar(inner) for inner in value)))
        elif _is_nested(value):
            nested.append((key, value))
        else:
            own.append((key, _scalar(value)))
    yield from _lines(own, path)
    for key, value in nested:
        yield from _walk(value, path if listed else key, depth + 1)


def _lines(pairs: Sequence[tuple[str, str]], path: str) -> Iterator[tuple[str, list[str]]]:
    parts: list[str] = []
    values: list[str] = []
    length = 0
    for key, value in pairs:
        for piece in _pieces(value):
            part = f"{key}={piece}" if key else piece
            if parts and length + len(part) > MAX_FRAGMENT:
                yield _line(path, parts), values
                parts, values, length = [], [], 0
            parts.append(part)
            values += _pair_values(key, piece)
            length += len(part)
    if parts:
        yield _line(path, parts), values


def _line(path: str, parts: Sequence[str]) -> str:
    body = "; ".join(parts)
    return one_line(f"{path}: {body}" if path else body)


def _pair_values(key: str, value: str) -> Iterator[str]:
    yield from (part for part in key.split(".") if any(map(str.isdigit, part)))
    whole = value.strip()
    if 2 <= len(whole) <= MAX_VALUE // 2 and whole.lower() not in {"true", "false", "null", "none"}:
        yield whole
    if " " in whole or "," in whole:
        yield from find_values(whole)


def _record_values(line: str) -> Iterator[str]:
    for part in line.split("; "):
        key, equals, value = part.partition("=")
        if equals:
            yield from _pair_values(key, value)
        else:
            yield from find_values(part)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and bool(value)


def _scalar(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
