"""When a fault happens: what all faults share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.effects import RESPONSES, Ending

if TYPE_CHECKING:
    from assistantguard.sandbox.chaos import Chaos
    from assistantguard.sandbox.effects import Effect

__all__ = ["Schedule", "Scheduled", "When"]


class When(TypedDict, total=False):
    """Which requests of an endpoint a fault happens to. The fields are those of `Scheduled`."""

    at: int | Sequence[int] | None
    rate: float | None
    seed: int
    times: int | None


class Schedule(When, total=False):
    """Which requests a fault happens to. The fields are those of `Scheduled`."""

    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """An effect and the requests it happens to.

    Raises:
        ConfigurationError: Neither or both of `at` and `rate` are given, or a number is out of range.
    """

    effect: Effect | Chaos
    at: int | Sequence[int] | None = None
    """Number of the request, or numbers, counted from 1."""
    rate: float | None = None
    """Share of requests, 0 to 1, drawn with `seed`."""
    seed: int = 0
    times: int | None = None
    """How often it happens at most; None is without end."""
    endpoint: str = RESPONSES
    """Method and path without ``/v1``, ids as ``{id}``: ``"POST /conversations/{id}/items"``; ``"*"`` is all."""
    kind: str = ""
    """Name under which `Sandbox.faults_by_kind` counts it; left out, the effect's."""

    def __post_init__(self) -> None:
        if (self.at is None) == (self.rate is None):
            raise ConfigurationError(f"at={self.at!r}, rate={self.rate!r}: give a fault exactly one of them")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ConfigurationError(f"rate={self.rate} is not between 0 and 1")
        numbers = (self.at,) if isinstance(self.at, int) else self.at or ()
        for number in numbers:
            if number < 1:
                raise ConfigurationError(f"at={self.at!r}: requests are counted from 1")
        if self.times is not None and self.times < 1:
            raise ConfigurationError(f"times={self.times} is below 1; leave the fault out instead")
        if isinstance(self.effect, Ending) and self.endpoint != RESPONSES:
            raise ConfigurationError(f"endpoint={self.endpoint!r}: only {RESPONSES!r} makes responses")
        if not self.kind:
            object.__setattr__(self, "kind", type(self.effect).__name__.lower())
