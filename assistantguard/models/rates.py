"""What a server tells of its rate limits."""

from __future__ import annotations

from dataclasses import dataclass

from assistantguard.models.values import Value

__all__ = ["RatesTold"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RatesTold(Value):
    """The ``x-ratelimit-*`` headers of one answer. None is what was not told."""

    requests: int | None = None
    """Requests that a minute allows."""
    tokens: int | None = None
    requests_left: int | None = None
    tokens_left: int | None = None
    requests_reset: float | None = None
    """Seconds until all requests of a minute are allowed again."""
    tokens_reset: float | None = None
    tokens_counted: int | None = None
    """How many tokens the refused request would have counted."""
