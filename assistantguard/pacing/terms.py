"""What is asked of a lane, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from assistantguard.models.values import Value

__all__ = ["Ask", "Limits", "NoRoom", "Permit"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Limits(Value):
    """What is allowed in any minute. None sets no limit."""

    requests: int | None = None
    tokens: int | None = None
    burst: float = 1.0
    """The share of it that may be sent at once; the rest is spread over the minute."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ask(Value):
    """A request that wants to be sent."""

    id: str
    owner: str
    """The process that waits for it."""
    account: str
    """Whose it is: accounts share a lane fairly."""
    input_tokens: int
    output_at_most: int
    priority: int
    until: float
    """When it is of no use any more, a Unix time in seconds."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Permit(Value):
    """A request may be sent."""

    number: int
    """Where it counts in the window."""
    tokens: int
    """What is held for it."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class NoRoom(Value):
    """It cannot be sent in time."""

    available_at: float | None
    """When it could have been, a Unix time in seconds; None where it never can: it is larger than a minute allows."""
    reason: str
