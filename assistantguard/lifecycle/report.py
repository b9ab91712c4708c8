"""What a sweep found, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from assistantguard.models.values import Value
from assistantguard.storage.consents import Consent

__all__ = ["PartName", "SweepPart", "SweepReport"]

PartName = Literal["runs", "holds", "archive", "delete", "conversations", "vector_stores", "old_runs", "replies"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SweepPart(Value):
    """One kind of change."""

    name: PartName
    found: int
    """How many changes there are to make."""
    done: int = 0
    """How many were made; 0 where the sweep was not applied."""
    failed: int = 0
    """How many the server did not let happen. The next sweep tries again."""
    left: Mapping[str, int] = field(default_factory=dict)
    """How many were left alone, by the reason."""
    ids: tuple[str, ...] = ()
    """What was found; for runs the ids of their threads. Runs that are only forgotten are counted and not named."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SweepReport(Value):
    """What a sweep found, and what it did."""

    applied: bool
    """Whether it changed anything, or only looked."""
    started_at: float
    """Unix time, seconds."""
    consent: Consent | None
    """The consent to deletion that was in force."""
    runs: SweepPart
    """Runs that a dead process left in flight."""
    holds: SweepPart
    """Reservations whose time is up."""
    archive: SweepPart
    """Threads that nobody used for long."""
    delete: SweepPart
    """Threads that were archived long ago."""
    conversations: SweepPart
    """Conversations at the server that nothing refers to."""
    vector_stores: SweepPart
    """Vector stores at the server that nothing refers to."""
    old_runs: SweepPart
    """Runs that ended long ago, whose records are forgotten. The books keep what they used."""
    replies: SweepPart
    """Cached replies whose time is over."""

    @property
    def parts(self) -> tuple[SweepPart, ...]:
        """All of them, in the order in which they are done."""
        return (
            self.runs,
            self.holds,
            self.archive,
            self.delete,
            self.conversations,
            self.vector_stores,
            self.old_runs,
            self.replies,
        )

    @property
    def failed(self) -> int:
        """How many changes the server did not let happen."""
        return sum(part.failed for part in self.parts)
