"""What telemetry is told of batches: ids, counts, tokens and cost, never content.

Each job's booking is told as any request's is, by ``request.settled``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from assistantguard.events import Event, Level
from assistantguard.models.usage import Usage

__all__ = ["BatchProgressed", "BatchSettled", "BatchSubmitted"]


@dataclass(slots=True, eq=False, repr=False)
class BatchSubmitted(Event):
    """Jobs were handed to the server; `thread_id` is the id of the whole batch."""

    name: ClassVar[str] = "batch.submitted"
    level: ClassVar[Level] = "info"
    through: str
    """``batch``, or a completion window."""
    model: str
    jobs: int
    server_id: str | None = None
    """The server's id of its batch; None for completion windows."""


@dataclass(slots=True, eq=False, repr=False)
class BatchProgressed(Event):
    """The server has done more of it."""

    name: ClassVar[str] = "batch.progressed"
    through: str
    jobs: int
    """Of the whole batch."""
    done: int
    failed: int


@dataclass(slots=True, eq=False, repr=False)
class BatchSettled(Event):
    """Every job of a batch is on the books, whatever it ended in."""

    name: ClassVar[str] = "batch.settled"
    level: ClassVar[Level] = "info"
    through: str
    jobs: int
    completed: int
    failed: int
    """Those that were sent and not completed: failed, expired and cancelled ones."""
    refused: int
    usage: Usage
    cost: Decimal | None
    """US dollars; None where the price of a job is unknown."""
