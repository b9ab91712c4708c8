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
    _stride: int = 1
    """How many moments one point stands for: it doubles whenever there are too many points."""
    _filled: int = 1
    """How many the last one stands for yet."""
    _points: array[float] = field(default_factory=lambda: array("d"))
    """Time, tokens and mark of one point after the other."""

    def add(self, time: float, tokens: int, *, rotated: bool = False) -> None:
        """Add the context at a moment."""
        self.rotations += rotated
        points = self._points
        if self._filled < self._stride and points:
            self._filled += 1
            self.left_out += 1
            if tokens > points[-2]:
                points[-3], points[-2] = time, tokens
            points[-1] = max(points[-1], float(rotated))
            return
        self._filled = 1
        points.extend((time, float(tokens), float(rotated)))
        if len(points) > 3 * MOST_POINTS:
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
        self._stride = max(self._stride, other._stride)
        self._filled = self._stride
        self._points.extend(other._points)
        if len(self._points) > 3 * MOST_POINTS:
            self._thin_out()

    def pack(self) -> str:
        """See `Mergeable`."""
        return json.dumps([self.user, self.rotations, self.left_out, self._stride, self._filled, self._points.tolist()])

    @classmethod
    def unpack(cls, text: str) -> Self:
        """See `Mergeable`."""
        user, rotations, left_out, stride, filled, points = json.loads(text)
        return cls(user, rotations, left_out, stride, filled, array("d", points))

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
        self._filled = self._filled if len(points) % 2 else self._stride + self._filled
        self._stride *= 2
        self.left_out += len(points) - len(kept) // 3
        self._points = kept
