"""How far what was expected of a request was from what the server reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["FARTHEST", "Estimates"]

FARTHEST = 100
"""Per cent: what is farther off is counted as this far."""


@dataclass(slots=True)
class Estimates:
    """Input tokens as they were estimated before sending, and as they were reported, over all calls that were."""

    calls: int = 0
    exact: int = 0
    """Calls whose input the API counted before they were sent."""
    estimated: int = 0
    reported: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    """Calls by how far the estimate was off, in per cent of the report, rounded."""

    def add(self, estimated: int, reported: int, *, exact: bool) -> None:
        """Add one call whose input the server reported; `reported` is more than zero."""
        self.calls += 1
        self.exact += exact
        self.estimated += estimated
        self.reported += reported
        off = round(100 * (estimated - reported) / reported)
        self.errors[max(-FARTHEST, min(off, FARTHEST))] += 1

    @property
    def error(self) -> float | None:
        """How far the sum of all estimates is off, as a share of the reports; None without any."""
        return (self.estimated - self.reported) / self.reported if self.reported else None

    def within(self, percent: int) -> float | None:
        """The share of calls whose estimate is at most so far off; None without any."""
        near = sum(count for off, count in self.errors.items() if abs(off) <= percent)
        return near / self.calls if self.calls else None
