"""Questions that are being answered in this process, so that the same ones wait for one answer."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.models.values import Record

if TYPE_CHECKING:
    from assistantguard.models.cached import CachedReply

__all__ = ["Flight", "Flights"]


@dataclass(slots=True, eq=False, repr=False)
class Flight(Record):
    """A question that is being answered."""

    until: float
    """Unix time at which nobody waits for it any more, seconds."""
    ended: bool = False
    reply: CachedReply | None = None
    """What came of it; None while it lasts, and where it failed."""


class Flights:
    """The questions that are being answered, by key. Safe to use from several threads."""

    def __init__(self) -> None:
        self._begin()

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: str, now: float, until: float) -> tuple[Flight, bool]:
        """The flight of that key, and whether the caller leads it, since there was none."""
        if self._forks != _forks:
            self._begin()
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and flight.until > now:
                return flight, False
            flight = self._flights[key] = Flight(until)
            return flight, True

    def end(self, key: str, flight: Flight, reply: CachedReply | None) -> None:
        """Tell those who wait what came of a flight."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.reply, flight.ended = reply, True

    def _begin(self) -> None:
        """Those of the parent of a forked process never end here, and one of its threads may have held the lock."""
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        self._forks = _forks


def _count_fork() -> None:
    global _forks  # noqa: PLW0603  asking for the process's id at each turn costs more than all else here
    _forks += 1


_forks = 0
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)
