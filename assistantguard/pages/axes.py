"""Axes of charts: round numbers from zero up, and their short names."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["INTERVALS", "Axis", "compact", "compact_dollars", "nice_axis"]

INTERVALS = 4
"""Into which an axis is divided."""
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that begins at zero."""

    end: float
    """Its greatest value; more than zero."""

    @property
    def ticks(self) -> tuple[float, ...]:
        """The values of its grid lines, the least first."""
        return tuple(self.end * place / INTERVALS for place in range(INTERVALS + 1))

    def part(self, value: float) -> float:
        """How far up the axis a value stands, from 0 to 1."""
        return min(max(value / self.end, 0.0), 1.0)


def nice_axis(greatest: float) -> Axis:
    """The shortest axis of round numbers that reaches `greatest`."""
    if not (math.isfinite(greatest) and greatest > 0):
        return Axis(float(INTERVALS))
    step = greatest / INTERVALS
    power = 10.0 ** math.floor(math.log10(step))
    factor = next(factor for factor in _ROUND if factor * power * (1 + 1e-9) >= step or factor == _ROUND[-1])
    return Axis(factor * power * INTERVALS)


def compact(amount: float) -> str:
    """A number in few characters: ``950``, ``12.5k``, ``3M``."""
    for unit, letter in _UNITS:
        if abs(amount) >= unit:
            return f"{amount / unit:.3g}{letter}"
    return f"{amount:.3g}"


def compact_dollars(amount: float) -> str:
    """A sum of US dollars in few characters."""
    return f"${compact(amount)}" if amount >= 0.001 or not amount else f"${amount:.1e}"
