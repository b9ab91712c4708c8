"""What the parts of one sweep share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from assistantguard.ledger import SqlLedger
    from assistantguard.lifecycle.deletion import ServerDeletion
    from assistantguard.lifecycle.report import PartName
    from assistantguard.storage import SqlThreads
    from assistantguard.storage.consents import Consent
    from assistantguard.telemetry import Sink

__all__ = ["Progress", "Work"]

Progress = Callable[["PartName", int, int], None]
"""Told of each change: which part, how many were looked at, and of how many."""

T = TypeVar("T")


@dataclass(slots=True, eq=False, repr=False)
class Work:
    """One sweep."""

    id: str
    owner: str
    """Who has a thread while it is changed, for others to see."""
    started_at: float
    store: SqlThreads
    ledger: SqlLedger
    server: ServerDeletion | None
    consent: Consent | None
    apply: bool
    emit: Sink
    progress: Progress | None

    def now(self) -> float:
        """Unix time, seconds."""
        return time.time()

    def each(self, name: PartName, things: Sequence[T]) -> Iterator[T]:
        """`things`, telling how far it is."""
        for number, thing in enumerate(things):
            if self.progress is not None:
                self.progress(name, number, len(things))
            yield thing
        if self.progress is not None and things:
            self.progress(name, len(things), len(things))
