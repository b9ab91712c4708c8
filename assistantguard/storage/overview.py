"""What a database holds over all threads, for people to look at: runs in flight, and who has threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.models.usage import Usage
from assistantguard.models.values import Value
from assistantguard.storage.states import run_from_record

if TYPE_CHECKING:
    from assistantguard.models import RunStatus
    from assistantguard.storage.database import Database

__all__ = ["RunInFlight", "UserThreadCount", "count_runs_in_flight", "runs_in_flight", "thread_counts"]

_DRIVEN = (
    "CASE WHEN t.owner IS NULL OR (t.lease_until <= ? AND NOT EXISTS"
    " (SELECT 1 FROM guard_owners o WHERE o.owner = t.owner AND o.alive_until > ?)) THEN 0 ELSE 1 END"
)
_IN_FLIGHT = (
    f"SELECT t.user_name, t.name, {_DRIVEN}, r.state FROM guard_runs r JOIN guard_threads t ON t.id = r.thread_id"  # noqa: S608
    " WHERE r.finished_at IS NULL ORDER BY r.started_at, r.id LIMIT ?"
)
_COUNT = "SELECT COUNT(*) FROM guard_runs WHERE finished_at IS NULL"
_BY_USER = (
    "SELECT user_name, COUNT(*), SUM(CASE WHEN archived_at IS NULL THEN 0 ELSE 1 END), MAX(last_used_at)"
    " FROM guard_threads WHERE user_name <> '' GROUP BY user_name ORDER BY user_name"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunInFlight(Value):
    """A run that has not ended."""

    id: str
    thread_id: str
    thread_name: str | None
    user: str | None
    model: str
    status: RunStatus
    started_at: float
    """Unix time, seconds."""
    steps: int
    """Answers so far that asked for tools."""
    retries: int
    usage: Usage
    """So far; what is being asked now is not in it."""
    cost: Decimal | None
    """US dollars; None where a price is unknown."""
    driven: bool
    """Whether a program has its thread now. Else it is left for `recover` or a sweep."""


def runs_in_flight(database: Database, now: float, limit: int = 100) -> Sequence[RunInFlight]:
    """Runs that have not ended, the one that began first first.

    Args:
        database: Where the threads are.
        now: Unix time, seconds.
        limit: How many at most.
    """
    found = []
    for user, name, driven, state in database.query(_IN_FLIGHT, (now, now, limit)):
        run = run_from_record(json.loads(state))
        found.append(
            RunInFlight(
                run.id,
                run.thread_id,
                name,
                user or None,
                run.model,
                run.status,
                run.started_at,
                run.steps,
                run.retries,
                run.usage,
                run.cost,
                bool(driven),
            )
        )
    return found


def count_runs_in_flight(database: Database) -> int:
    """How many runs have not ended."""
    return int(database.query(_COUNT)[0][0])


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UserThreadCount(Value):
    """How many threads a user has."""

    user: str
    threads: int
    """Archived ones included."""
    archived: int
    last_used_at: float
    """Unix time, seconds."""


def thread_counts(database: Database) -> Sequence[UserThreadCount]:
    """Everybody who has threads, in the order of their names."""
    return [
        UserThreadCount(user, int(threads), int(archived), float(last_used_at))
        for user, threads, archived, last_used_at in database.query(_BY_USER)
    ]
