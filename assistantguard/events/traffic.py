"""Telemetry events about where requests go. See `events`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from assistantguard.events import Event, Level

__all__ = ["PacingRefused", "PacingWaited", "RunRouted"]


@dataclass(slots=True, eq=False, repr=False)
class RunRouted(Event):
    """A policy chose what a run is asked of, or the run went back to its thread's own model."""

    name: ClassVar[str] = "run.routed"
    level: ClassVar[Level] = "info"
    run_id: str
    model: str
    """The model that is asked from now on; the same as before where a switch would have cost more than it saves."""
    from_model: str
    """The model that answered the thread before; of a run that goes on, the one that failed."""
    policy: str
    """Who chose; empty where nobody did and the thread goes back to its own model."""
    reason: str
    reasoning_effort: str | None = None
    """In place of the assistant's, or None."""
    service_tier: str | None = None
    """Likewise."""
    switch_cost: Decimal | None = None
    """What cached input is lost by the switch, in US dollars, estimated; None where a price is unknown."""
    kept: bool = False
    """Whether the thread keeps the model once it has answered."""


@dataclass(slots=True, eq=False, repr=False)
class PacingWaited(Event):
    """A request waited for its turn under a rate limit."""

    name: ClassVar[str] = "pacing.waited"
    level: ClassVar[Level] = "info"

    lane: str
    """What shares the limit."""
    seconds: float
    policy: str
    run_id: str | None = None
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class PacingRefused(Event):
    """A request could not be sent in time without passing a rate limit."""

    name: ClassVar[str] = "pacing.refused"
    level: ClassVar[Level] = "warning"

    lane: str
    policy: str
    available_at: float | None = None
    """Unix time at which it would have been possible; None where it never is."""
    run_id: str | None = None
    user: str | None = None
