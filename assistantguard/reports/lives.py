"""How a thread's context grew, and when it was rotated."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from typing_extensions import Self

__all__ = ["MOST_POINTS", "Life", "Point"]

MOST_POINTS = 240
"""That are kept of one thread. Where there are more, the greater of each two stays, so that no peak is lost."""


class Point(NamedTuple):
    """The context at one moment."""

    time: float
    """Unix time, seconds."""
    tokens: int
    rotated: bool
    """Whether the thread was rotated then; `tokens` is what the old generation held."""


@dataclass(slots=True)
class Life:
    """The context of one thread over its life, in memory that does not grow."""

    user: str | None = None
    """Whose thread it is, as far as was told."""
    rotations: int = 0
    """All of them, also where points were left out."""
    left_out: int = 0
    """How many points were."""
    _points: array[float] = field(default_factory=lambda: array("d"))
    """Time, tokens and mark of one point after the other."""

    def add(self, time: float, tokens: int, *, rotated: bool = False) -> None:
        """Add the context at a moment."""
        self.rotations += rotated
        self._points.extend((time, float(tokens), float(rotated)))
        if len(self._points) > 3 * MOST_POINTS:
            self._thin_out()

    def points(self) -> list[Point]:
        """What is kept, by time."""
        values = self._points
        return sorted(
            Point(values[place], int(values[place + 1]), bool(values[place + 2])) for place in range(0, len(values), 3)
        )

    def merge(self, other: Self) -> None:
        """See `Mergeable`."""
        self.user = other.user or self.user
        self.rotations += other.rotations
        self.left_out += other.left_out
        self._points.extend(other._points)
        if len(self._points) > 3 * MOST_POINTS:
            self._thin_out()

    def pack(self) -> str:
        """See `Mergeable`."""
        return json.dumps([self.user, self.rotations, self.left_out, self._points.tolist()])

    @classmethod
    def unpack(cls, text: str) -> Self:
        """See `Mergeable`."""
        user, rotations, left_out, points = json.loads(text)
        return cls(user, rotations, left_out, array("d", points))

    def _thin_out(self) -> None:
        points = self.points()
        kept = array("d")
        for place in range(0, len(points) - 1, 2):
            one, other = points[place : place + 2]
            greater = max(one, other, key=lambda point: point.tokens)
            kept.extend((greater.time, float(greater.tokens), float(one.rotated or other.rotated)))
        if len(points) % 2:
            time, tokens, rotated = points[-1]
            kept.extend((time, float(tokens), float(rotated)))
        self.left_out += len(points) - len(kept) // 3
        self._points = kept
