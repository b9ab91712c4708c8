"""A failed model call, sorted into the kinds that the engine treats differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.models.rates import RatesTold

__all__ = ["Failure", "FailureKind", "Mend"]

FailureKind = Literal["transient", "exhausted", "structural", "ambiguous", "fatal"]
"""transient: may be tried again. exhausted: quota or spend limit, never tried again. structural: the thread
must be healed first. ambiguous: the work may have been done. fatal: the request itself is refused."""

Mend = Literal["answer_calls", "new_generation", "vector_store"]
"""What heals the thread before another attempt: answer open function calls, leave a conversation that is gone,
build an expired vector store again."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Failure(Value):
    """What is known of a failed attempt. Telemetry carries all of it but `message`."""

    kind: FailureKind
    message: str
    code: str | None = None
    """The API's error code, or the run's ``last_error`` code."""
    status_code: int | None = None
    """The HTTP status; None where no response arrived or the failure came inside a response."""
    retry_after: float | None = None
    """Seconds the server asked to wait, or None."""
    max_retries: int | None = None
    """How often this may be tried again at most, whatever the policy says; None leaves it to the policy."""
    mend: Mend | None = None
    """What must be healed before another attempt."""
    request_id: str | None = None
    """The server's ``x-request-id``, for its support."""
    replay_safe: bool = False
    """Whether the same request may be sent again without looking first at what became of it."""
    rates: RatesTold | None = None
    """What the server told of its rate limits."""
