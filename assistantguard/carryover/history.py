"""Old items cut into fragments (a sentence, a record of a tool's output) with the values that stand in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from assistantguard.carryover.frame import SUMMARY, read_frame
from assistantguard.carryover.pieces import JOINER, record_values, records, sentences
from assistantguard.carryover.values import find_values
from assistantguard.models.items import Item

__all__ = ["Fragment", "History", "read_history", "turn_starts"]

_NOTE_AGE = 1.0
_VALUE_AGE = 0.5
"""How many turns each carried note adds to the age of the notes, and of the values, that were carried with it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of the history that can be carried by itself."""

    label: str
    text: str
    group: int
    """Fragments of one item, or of one carried note, share a group."""
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
    in_tail: set[str] = field(default_factory=set)
    """Values that stand in the messages carried word for word."""
    words: set[str] = field(default_factory=set)
    """Words that were written in lower case, and so are no names."""


def turn_starts(items: Sequence[Item]) -> list[int]:
    """Where each turn begins: the first of each run of user messages."""
    starts: list[int] = []
    previous_user = False
    for index, item in enumerate(items):
        user = item.type == "message" and item.role == "user"
        if user and not previous_user:
            starts.append(index)
        previous_user = user
    return starts


def read_history(
    items: Sequence[Item], starts: Sequence[int], tail: int, carried: Item | None = None, *, keep_summary: bool = True
) -> History:
    """Cut items into fragments.

    Args:
        items: A generation's items after `carried`, oldest first.
        starts: Where its turns begin.
        tail: Index from which on all messages are carried word for word.
        carried: The notes that were carried into the generation.
        keep_summary: Whether an earlier summary among them is kept.
    """
    history = History()
    if carried is not None:
        _read_carried(history, carried, len(starts), keep_summary=keep_summary)
    names = {item.call_id: item.name or "tool" for item in items if item.type == "function_call"}
    turn = 0
    for index, item in enumerate(items):
        while turn < len(starts) and starts[turn] <= index:
            turn += 1
        age = float(len(starts) - turn)
        if item.type == "message":
            if item.role in {"user", "assistant"} and item.text:
                _read_message(history, item, age, index, in_tail=index >= tail)
        elif item.type == "function_call":
            _read_data(history, f"called {item.name or 'tool'}", item.text, age, index, used=True)
        elif item.type == "function_call_output" and item.text:
            name = names.get(item.call_id, "tool")
            _read_data(history, f"{name} returned", item.text, age, index)
    return history


def _read_carried(history: History, item: Item, turns: int, *, keep_summary: bool) -> None:
    notes, values = read_frame(item)
    if not keep_summary:
        notes = [note for note in notes if note.label != SUMMARY]
    for number, note in enumerate(notes):
        age = turns + (len(notes) - number) * _NOTE_AGE
        called = note.label.startswith("called ")
        is_data = called or note.label.endswith(" returned")
        seen: set[str] = set()
        for piece in note.text.split(JOINER) if is_data else sentences(note.text):
            found = record_values(piece, history.words) if is_data else find_values(piece, history.words)
            distinct = tuple(dict.fromkeys(found))
            seen.update(distinct)
            history.fragments.append(Fragment(note.label, piece, -1 - number, age, distinct))
        _note(history, seen, age, used=called)
    _note(history, set(values), turns + 1 + len(notes) * _VALUE_AGE)


def _read_message(history: History, item: Item, age: float, group: int, *, in_tail: bool) -> None:
    values: set[str] = set()
    for sentence in sentences(item.text):
        found = tuple(dict.fromkeys(find_values(sentence, history.words)))
        values.update(found)
        if not in_tail:
            history.fragments.append(Fragment(str(item.role), sentence, group, age, found))
    _note(history, values, age)
    if in_tail:
        history.in_tail |= values


def _read_data(history: History, label: str, text: str, age: float, group: int, *, used: bool = False) -> None:
    values: set[str] = set()
    for piece, found in records(text, history.words):
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
