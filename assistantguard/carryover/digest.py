"""Choosing what of a history is worth its tokens.

A value weighs more the likelier its shape is to be needed to the letter, the more recently it was used, the more
items it stands in, and if the model put it into a tool call. Fragments are taken greedily by the weight that they
add for each token they cost; what weight is left goes into a plain list of values.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from assistantguard.carryover.frame import SUMMARY, Note, write_frame
from assistantguard.carryover.history import Fragment, History
from assistantguard.carryover.pieces import JOINER
from assistantguard.carryover.values import worth

__all__ = ["choose"]

_SENTENCES = 0.5
"""The share of the bound that fragments may take; the rest is for the list."""
_RECENCY = 5.0
"""After so many turns a value or fragment weighs half of what it weighed in the last turn."""
_REPEATED = 0.25
"""How much each further item that holds a value adds to its weight, for the first few."""
_REPEATS = 4
_USED = 4.0
"""How much more a value weighs that the model put into a tool call."""
_COMMON = 0.1
"""The worth of a capitalised word that also stands in lower case: no name."""
_UNCOMMON = 0.4
"""The worth of a word that stands in data and never in a sentence: an identifier, more often than not."""
_BASE = {"user": 0.4, "assistant": 0.1, SUMMARY: 1.0}
"""What a fragment is worth beside its values, by who said it."""
_CALLED = 0.15
_QUESTION = 0.4
_QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e")
_BASE_LENGTH = 40
_LIST_POWER = 0.6
"""How strongly the list prefers short values: 0 not at all, 1 by weight for each token."""
_MISSES = 8
"""Fragments that did not fit before the rest is let go."""
_SLACK = 16
"""Tokens kept back, since a text's tokens are not quite the sum of its pieces'."""

_Count = Callable[[str], int]


def choose(history: History, bound: int, count: _Count) -> tuple[list[Note], list[str]]:
    """Pick the notes and further values that weigh most and fit the bound.

    Args:
        history: What there is.
        bound: The most tokens the block made of them may hold.
        count: Counts the tokens of a text.
    """
    weights = {value: _weight(history, value) for value in history.count}
    covered = set(history.in_tail)
    left = bound - count(write_frame()) - _SLACK
    chosen, used = _choose_fragments(history, weights, covered, int(left * _SENTENCES), count)
    notes = _notes(chosen)
    listed = _choose_values(weights, covered, left - used, count)
    while listed and count(write_frame(notes, listed)) > bound:
        del listed[-max(1, len(listed) // 8) :]
    while notes and count(write_frame(notes, listed)) > bound:
        del notes[: max(1, len(notes) // 8)]
    return notes, listed


def _choose_fragments(
    history: History, weights: dict[str, float], covered: set[str], bound: int, count: _Count
) -> tuple[list[Fragment], int]:
    fragments = history.fragments

    def gain(number: int) -> float:
        fragment = fragments[number]
        new = sum(weights[value] for value in fragment.values if value not in covered)
        return (new + _base(fragment)) / (3 + len(fragment.text) / 3.5)

    # A gain only shrinks as values get covered, so one that is still ahead of the next when looked at again is
    # the largest. Among equals the newest goes first.
    heap = [(-gain(number), -number) for number in range(len(fragments))]
    heapq.heapify(heap)
    chosen: list[int] = []
    groups: set[int] = set()
    left = bound
    misses = 0
    while heap and misses < _MISSES:
        number = -heapq.heappop(heap)[1]
        now = gain(number)
        if now <= 0:
            continue
        if heap and now < -heap[0][0]:
            heapq.heappush(heap, (-now, -number))
            continue
        fragment = fragments[number]
        tokens = count(fragment.text) + (2 if fragment.group in groups else 3 + count(fragment.label))
        if tokens > left:
            misses += 1
            continue
        left -= tokens
        chosen.append(number)
        groups.add(fragment.group)
        for value in fragment.values:
            _cover(covered, value)
    return [fragments[number] for number in sorted(chosen)], bound - left


def _choose_values(weights: dict[str, float], covered: set[str], bound: int, count: _Count) -> list[str]:
    listed: list[str] = []
    left = bound
    misses = 0
    order = sorted(weights, key=lambda value: -weights[value] / (2 + len(value) / 3) ** _LIST_POWER)
    for value in order:
        if value in covered:
            continue
        tokens = count(f" {value}") + (2 if " " in value else 0)
        if tokens > left:
            misses += 1
            if misses > _MISSES:
                break
            continue
        left -= tokens
        listed.append(value)
        _cover(covered, value)
    return listed


def _cover(covered: set[str], value: str) -> None:
    covered.add(value)
    if " " in value:
        covered.update(value.split())


def _weight(history: History, value: str) -> float:
    recency = 1 / (1 + history.age[value] / _RECENCY)
    repeated = 1 + _REPEATED * min(history.count[value] - 1, _REPEATS)
    return _worth_here(history, value) * recency * repeated * (_USED if value in history.used else 1.0)


def _worth_here(history: History, value: str) -> float:
    by_shape = worth(value)
    if by_shape > 0.5 or any(map(str.isdigit, value)):
        return by_shape
    if all(word.lower() in history.words for word in value.split()):
        return _COMMON if value.lower() != value else by_shape
    return max(by_shape, _UNCOMMON)


def _base(fragment: Fragment) -> float:
    base = _BASE.get(fragment.label, _CALLED if fragment.label.startswith("called ") else 0.0)
    if fragment.text.endswith(_QUESTION_MARKS):
        base += _QUESTION
    return base * min(1.0, len(fragment.text) / _BASE_LENGTH) / (1 + fragment.age / _RECENCY)


def _notes(fragments: Sequence[Fragment]) -> list[Note]:
    notes: list[Note] = []
    group: int | None = None
    for fragment in fragments:
        if notes and fragment.group == group:
            notes[-1] = Note(fragment.label, f"{notes[-1].text}{JOINER}{fragment.text}")
        else:
            notes.append(Note(fragment.label, fragment.text))
        group = fragment.group
    return notes
