"""Choosing what of a history is worth its tokens."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from assistantguard.carryover.frame import Note, write_frame
from assistantguard.carryover.history import Fragment, History
from assistantguard.carryover.values import worth

__all__ = ["choose"]

RECENCY = 5.0
SENTENCES = 0.5
USED = 4.0
BASE = {"user": 0.4, "assistant": 0.1, "summary": 1.0}
CALLED = 0.15
RETURNED = 0.0
QUESTION = 0.4
REPEAT = 0.25
COMMON = 0.1
UNCOMMON = 0.4
POWER = 0.6
MOST = 4


def choose(history: History, bound: int, count: Callable[[str], int]) -> tuple[list[Note], list[str]]:
    """Pick the notes and further values that are worth most and fit the bound.

    Args:
        history: What there is.
        bound: The most tokens the block made of them may hold.
        count: Counts the tokens of a text.
    """
    weights = {value: _weight(history, value) for value in history.count}
    for value in history.listed:
        weights.setdefault(value, _weight(history, value))
    covered = set(history.in_tail)
    left = bound - count(write_frame()) - 8
    notes_left = int(left * SENTENCES)
    chosen: list[int] = []
    groups: set[int] = set()

    def gain(number: int) -> float:
        fragment = history.fragments[number]
        new = sum(weights[value] for value in fragment.values if value not in covered)
        return (new + _base(fragment)) / (3 + len(fragment.text) / 3.5)

    heap = [(-gain(number), -number) for number in range(len(history.fragments))]
    heapq.heapify(heap)
    misses = 0
    while heap and misses < 8:
        score, number = heapq.heappop(heap)
        now = gain(-number)
        if now <= 0:
            continue
        if now < -score * 0.999 and heap and now < -heap[0][0]:
            heapq.heappush(heap, (-now, number))
            continue
        fragment = history.fragments[-number]
        tokens = count(fragment.text) + (2 if fragment.group in groups else 3 + count(fragment.label))
        if tokens > notes_left:
            misses += 1
            continue
        notes_left -= tokens
        left -= tokens
        chosen.append(-number)
        groups.add(fragment.group)
        for value in fragment.values:
            covered.add(value)
            covered.update(value.split())
    notes = _notes([history.fragments[number] for number in sorted(chosen)])
    listed: list[str] = []
    for value in sorted((value for value in weights if value not in covered), key=lambda value: -weights[value] / (2 + len(value) / 3) ** POWER):
        if value in covered:
            continue
        tokens = count(" " + value) + (2 if " " in value else 0)
        if tokens > left:
            continue
        left -= tokens
        listed.append(value)
        covered.update(value.split())
    return notes, listed


def _shape(history: History, value: str) -> float:
    shape = worth(value)
    if shape > 0.5 or any(map(str.isdigit, value)):
        return shape
    if all(word.lower() in history.words for word in value.split()):
        return COMMON if value.lower() != value else shape
    return max(shape, UNCOMMON)


def _weight(history: History, value: str) -> float:
    recency = 1 / (1 + history.age.get(value, 0.0) / RECENCY)
    repeated = 1 + REPEAT * min(history.count.get(value, 1) - 1, MOST)
    return _shape(history, value) * recency * repeated * (USED if value in history.used else 1.0)


def _base(fragment: Fragment) -> float:
    base = BASE.get(fragment.label)
    if base is None:
        base = CALLED if fragment.label.startswith("called ") else RETURNED
    if fragment.text.endswith(("?", "\uff1f", "\u061f")):
        base += QUESTION
    return base * min(1.0, len(fragment.text) / 40) / (1 + fragment.age / RECENCY)


def _notes(fragments: Sequence[Fragment]) -> list[Note]:
    notes: list[Note] = []
    group: int | None = None
    for fragment in fragments:
        if notes and fragment.group == group:
            notes[-1] = Note(fragment.label, f"{notes[-1].text} \u2026 {fragment.text}")
        else:
            notes.append(Note(fragment.label, fragment.text))
        group = fragment.group
    return notes
