"""Where lanes are: in memory, or in the ledger's database, for all processes that share it."""

from __future__ import annotations

import abc
import json
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from assistantguard.pacing.lane import Lane
from assistantguard.pacing.terms import Permit
from assistantguard.storage.leases import process_name

if TYPE_CHECKING:
    from assistantguard.ledger import Ledger
    from assistantguard.storage.database import Database, Transaction

__all__ = ["Lanes", "MemoryLanes", "SqlLanes", "lanes_beside"]

T = TypeVar("T")
_SELECT = "SELECT document FROM guard_lanes WHERE name = ?"
_ADD = "INSERT INTO guard_lanes (name, document) VALUES (?, '{}') ON CONFLICT (name) DO NOTHING"
_KEEP = "UPDATE guard_lanes SET document = ? WHERE name = ?"


class Lanes(abc.ABC):
    """Lanes by name. Safe to use from several threads.

    Whoever waits looks at a lane through `arrived`, so that a process looks at it once for all its waiting requests.
    """

    in_process: bool
    """Whether calls return at once, so that an event loop may make them itself."""

    def __init__(self) -> None:
        self._process = (0, "")
        self._arrivals: dict[str, _Arrivals] = {}
        self._lock = threading.Lock()

    @abc.abstractmethod
    def change(self, name: str, work: Callable[[Lane], T]) -> T:
        """Let `work` look at a lane and change it, while nobody else does; it may be called again from the start.

        Raises:
            DatabaseUnavailable: The database of the lanes cannot be reached, or was busy for too long.
        """

    @property
    def owner(self) -> str:
        """This process."""
        if self._process[0] != os.getpid():
            self._process = (os.getpid(), process_name())
            self._arrivals = {}
        return self._process[1]

    def arrived(self, name: str, ticket_id: str, now: float) -> Permit | float:
        """The permit of a request that waits; else the seconds after which to ask again.

        Raises:
            LookupError: It has no place in the lane any more: it was taken for dead. It may ask anew.
            DatabaseUnavailable: As for `change`.
        """
        owner = self.owner
        with self._lock:
            arrivals = self._arrivals.setdefault(name, _Arrivals())
            permit = arrivals.permits.pop(ticket_id, None)
            if permit is not None:
                return permit
            if now < arrivals.next_look:
                return arrivals.next_look - now
            arrivals.next_look = now + arrivals.pause

        def look(lane: Lane) -> tuple[dict[str, Permit], float, bool]:
            permits, pause = lane.collect(owner, now)
            return permits, pause, ticket_id in permits or lane.holds(ticket_id)

        permits, seconds, is_known = self.change(name, look)
        with self._lock:
            arrivals.permits.update(permits)
            arrivals.pause, arrivals.next_look = seconds, now + seconds
            permit = arrivals.permits.pop(ticket_id, None)
        if permit is not None:
            return permit
        if not is_known:
            raise LookupError(ticket_id)
        return seconds

    def left(self, name: str, ticket_id: str) -> Permit | None:
        """Forget that a request waits here; return its permit, where it has arrived meanwhile."""
        with self._lock:
            arrivals = self._arrivals.get(name)
            return None if arrivals is None else arrivals.permits.pop(ticket_id, None)


class _Arrivals:
    """What has come for a lane's requests of this process."""

    def __init__(self) -> None:
        self.permits: dict[str, Permit] = {}
        self.next_look = 0.0
        self.pause = 0.01


class MemoryLanes(Lanes):
    """Lanes of one process."""

    in_process = True

    def __init__(self) -> None:
        super().__init__()
        self._lanes: dict[str, Lane] = {}
        self._changing = threading.Lock()

    def change(self, name: str, work: Callable[[Lane], T]) -> T:
        """See `Lanes.change`."""
        with self._changing:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane()
            return work(lane)


class SqlLanes(Lanes):
    """Lanes in a database: a row each, which whoever changes it has to himself.

    Args:
        database: From `assistantguard.storage.open_database`.
    """

    in_process = False

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def change(self, name: str, work: Callable[[Lane], T]) -> T:
        """See `Lanes.change`. A change that may have been written is not made twice."""
        database = self._database
        select = f"{_SELECT} {database.locked}"

        def change(transaction: Transaction) -> T:
            rows = transaction.execute(select, (name,))
            if not rows:
                transaction.execute(_ADD, (name,))
                rows = transaction.execute(select, (name,))
            document: dict[str, Any] = json.loads(rows[0][0])
            lane = Lane(document)
            result = work(lane)
            text = json.dumps(lane.document(), separators=(",", ":"))
            transaction.execute(_KEEP, (text, name))
            return result

        return database.run(change)


_beside: weakref.WeakKeyDictionary[Any, Lanes] = weakref.WeakKeyDictionary()
_beside_lock = threading.Lock()


def lanes_beside(ledger: Ledger) -> Lanes:
    """The lanes of those who share a ledger: in its database where it has one, else in memory."""
    with _beside_lock:
        lanes = _beside.get(ledger)
        if lanes is None:
            database: Database | None = getattr(ledger, "database", None)
            lanes = _beside[ledger] = MemoryLanes() if database is None else SqlLanes(database)
        return lanes
