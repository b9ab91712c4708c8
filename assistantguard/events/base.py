"""What every telemetry event has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, Literal

from assistantguard.models.usage import Usage

__all__ = ["Event", "Level"]

Level = Literal["debug", "info", "warning"]

_PLAIN = frozenset({str, int, float, bool})
_values_of: dict[type[Event], Callable[[Event], tuple[Any, ...]]] = {}
"""Reads all fields of an event at once, for each kind: events are written for every sink of every turn."""


@dataclass(slots=True, eq=False, repr=False)
class Event:
    """What every event carries. Read it, never change it: every sink gets the same object.

    It is not frozen, since a frozen data class takes twice as long to import and to make.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "debug"

    time: float
    """Unix time, seconds."""
    session_id: str
    thread_id: str

    # Equality and text are written once, since generating them for each class doubles the cost of importing this.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Event) and self.record() == other.record()

    def __hash__(self) -> int:
        return hash((type(self), self.time, self.thread_id))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"

    def record(self) -> dict[str, Any]:
        """The event as one flat, JSON-ready object: ``event`` first, usage fields spread, None left out.

        Those of a usage that is not the event's `usage` are named after it: ``before_input_tokens``.

        Costs are strings, since a float cannot hold a sum of money.
        """
        out: dict[str, Any] = {"event": self.name}
        kind = type(self)
        values_of = _values_of.get(kind)
        if values_of is None:
            values_of = _values_of[kind] = attrgetter(*kind.__match_args__)
        for name, value in zip(kind.__match_args__, values_of(self), strict=True):
            if value is None:
                continue
            if value.__class__ in _PLAIN:
                out[name] = value
            elif isinstance(value, Usage):
                prefix = "" if name == "usage" else f"{name}_"
                for part in Usage.__match_args__:
                    out[prefix + part] = getattr(value, part)
            elif isinstance(value, Decimal):
                out[name] = str(value)
            else:
                out[name] = list(value) if isinstance(value, tuple) else value
        return out
