"""Telemetry events of the cache of replies; see `assistantguard.events`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from assistantguard.events import Event, Level
from assistantguard.models.usage import Usage

__all__ = ["ReplyCacheFailed", "ReplyCached", "ReplyStored"]


@dataclass(slots=True, eq=False, repr=False)
class ReplyCached(Event):
    """A turn was answered out of the cache of replies: no model was asked."""

    name: ClassVar[str] = "reply.cached"
    run_id: str
    model: str
    found: Literal["exact", "similar", "shared"]
    """Whether the question was known, one like it, or one that was just being answered."""
    age: float
    """Of the reply, seconds."""
    saved: Usage
    """What its turn had used."""
    saved_cost: Decimal | None
    """US dollars."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class ReplyStored(Event):
    """A reply was put into the cache of replies."""

    name: ClassVar[str] = "reply.stored"
    run_id: str
    model: str
    characters: int
    expires_at: float
    """Unix time, seconds."""


@dataclass(slots=True, eq=False, repr=False)
class ReplyCacheFailed(Event):
    """The cache of replies is out of order: turns go on without it."""

    name: ClassVar[str] = "reply_cache.failed"
    level: ClassVar[Level] = "warning"
    operation: str
    """What was wanted of it: ``get``, ``put``, ``claim``, …; ``ask`` is making the key, ``similar`` the function."""
    error: str
    """The class name of what it raised."""
