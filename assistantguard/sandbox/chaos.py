"""A random mix of all that can happen to a request, the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.effects import CANCEL, RESPONSES
from assistantguard.sandbox.http_faults import HttpFaults
from assistantguard.sandbox.response_faults import ResponseFaults
from assistantguard.sandbox.state_faults import StateFaults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.sandbox.effects import Effect, Traits
    from assistantguard.sandbox.schedule import Scheduled

__all__ = ["Chaos"]

_WRITES = {"POST /conversations", "POST /conversations/{id}/items", "POST /vector_stores", "POST /files"}


def _table() -> Sequence[tuple[float, str, Effect]]:
    """Return weights, kinds and effects. Limits by endpoint are each effect's own, and those in `_possible`."""
    http, made, kept = HttpFaults, ResponseFaults, StateFaults
    weighed: Sequence[tuple[float, Scheduled]] = (
        (6, http.rate_limit(retry_after=0.05, at=1)),
        (2, http.rate_limit(at=1)),
        (1, http.quota(at=1)),
        (4, http.server_error(500, at=1)),
        (2, http.server_error(502, at=1)),
        (4, http.server_error(503, at=1)),
        (1, http.server_error(500, should_retry=False, at=1)),
        (1, http.timeout(at=1)),
        (1, http.conflict(at=1)),
        (3, http.dropped(at=1)),
        (3, http.dropped(after_work=True, at=1)),
        (1, http.silent(at=1)),
        (1, http.silent(after_work=True, at=1)),
        (4, http.slow(0.05, at=1)),
        (2, http.cancel_refused(409, at=1)),
        (1, http.cancel_refused(400, at=1)),
        (3, made.failed_response(at=1)),
        (2, made.failed_response(text="This is as far as", usage_reported=False, at=1)),
        (1, made.failed_response(billed=False, usage_reported=False, at=1)),
        (1, made.failed_response("rate_limit_exceeded", at=1)),
        (2, made.incomplete(text="It was cut", at=1)),
        (1, made.incomplete("content_filter", usage_reported=False, at=1)),
        (1, made.cancelled_response(text="Someone else", at=1)),
        (1, made.no_usage(at=1)),
        (1, made.late_usage(reads=1, at=1)),
        (1, made.unstoppable(delay=0.1, at=1)),
        (2, made.stuck("in_progress", at=1)),
        (1, made.stuck("queued", at=1)),
        (2, made.completes_after_cancel(reads=1, at=1)),
        (1, made.endless("deltas", at=1)),
        (1, made.endless("comments", at=1)),
        (3, made.cut(5, at=1)),
        (2, made.cut(5, goes_on=True, at=1)),
        (2, made.cut(5, clean=True, at=1)),
        (1, made.malformed(5, at=1)),
        (1, made.stream_error(5, at=1)),
        (1, made.stream_error(5, nested=True, at=1)),
        (2, made.stream_failed(5, at=1)),
        (3, kept.conversation_locked(at=1)),
        (2, kept.conversation_locked(0.1, at=1)),
        (1, kept.conversation_gone(at=1)),
        (1, kept.unanswered_call(at=1)),
        (1, kept.store_expired(at=1)),
        (1, kept.store_slow(0.2, at=1)),
        (1, kept.store_failed(at=1)),
    )
    return [(weight, fault.kind, fault.effect) for weight, fault in weighed if not isinstance(fault.effect, Chaos)]


def _possible(kind: str, effect: Effect, traits: Traits) -> bool:
    if kind == "cancel_refused":
        return traits.endpoint == CANCEL
    if kind == "conversation_locked" and traits.conversation is None:
        return False
    if kind in {"conversation_gone", "unanswered_call"} and traits.endpoint != RESPONSES:
        return False
    if kind == "silent_after_work" and traits.endpoint not in {RESPONSES, *_WRITES}:
        return False
    return effect.suits(traits)


@dataclass(frozen=True, slots=True)
class Chaos:
    """Stands for one of all the faults, drawn for each request.

    Raises:
        ConfigurationError: A kind is not known, or its weight is below 0.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    """Factors by kind; 0 leaves a kind out."""
    only: frozenset[str] | None = None
    """The kinds that may happen; None is all."""

    def __post_init__(self) -> None:
        known = self.kinds()
        for kind in (*self.weights, *(self.only or ())):
            if kind not in known:
                raise ConfigurationError(f"{kind!r} is no kind of fault; choose from {', '.join(sorted(known))}")
        for kind, weight in self.weights.items():
            if weight < 0:
                raise ConfigurationError(f"weights[{kind!r}]={weight} is below 0")

    @staticmethod
    def kinds() -> frozenset[str]:
        """Return the names of all kinds that can be drawn."""
        return frozenset(kind for _, kind, _ in _TABLE)

    def suits(self, traits: Traits) -> bool:  # noqa: ARG002 - one shape for all effects
        """Whether it can happen to a request: something always can."""
        return True

    def draw(self, traits: Traits, seed: int, number: int) -> tuple[str, Effect] | None:
        """Return a kind and what it does; None where nothing that is left can happen to the request.

        Args:
            traits: The request.
            seed: The fault's seed.
            number: The request's number. The same seed and number draw the same for the same kind of request.
        """
        drawn: list[tuple[str, Effect]] = []
        weights: list[float] = []
        for weight, kind, effect in _TABLE:
            factor = self.weights.get(kind, 1.0) if self.only is None or kind in self.only else 0.0
            if factor and _possible(kind, effect, traits):
                drawn.append((kind, effect))
                weights.append(weight * factor)
        if not drawn:
            return None
        return random.Random(f"{seed}/{number}").choices(drawn, weights)[0]  # noqa: S311 - a test's dice


_TABLE = _table()
