"""What became of the requests of the serve benchmark: each is one of five things."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """Counts of one process, or of all."""

    requests: int = 0
    answered: int = 0
    """With 2xx, whole, or until the client left."""
    refused: Counter[int] = field(default_factory=Counter)
    """By status."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections that the server closed by its own limits where that is due, by what the client did."""
    left: Counter[str] = field(default_factory=Counter)
    """The client left before there was an answer, by what it did."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """Neither: by what the client did and how it ended."""
    unexpected: Counter[str] = field(default_factory=Counter)
    """Another status than is due, by what the client did."""
    let_in: int = 0
    """Requests without a valid key that were not refused with 401, or that were told something of a thread."""
    intruders: int = 0
    """Requests without a valid key."""
    turns: list[float] = field(default_factory=list)
    """Seconds of each turn that ended as it should."""
    turns_put_off: int = 0
    """Turns that the server had no room for, with 503."""
    turns_failed: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, outcome: int | str, due: frozenset[int | str]) -> None:
        """Count a request.

        Args:
            kind: What the client did.
            outcome: A status; ``"closed"``, by the server without an answer; ``"left"``, by the client; else how it
                went unanswered.
            due: The outcomes that are right. 503 always is.
        """
        self.requests += 1
        if outcome == "left":
            self.left[kind] += 1
        elif isinstance(outcome, int):
            if 200 <= outcome < 300:
                self.answered += 1
            else:
                self.refused[outcome] += 1
            if outcome not in due and outcome != 503:
                self.unexpected[f"{kind}: {outcome}"] += 1
        elif outcome == "closed" and outcome in due:
            self.closed[kind] += 1
        else:
            self.unanswered[f"{kind}: {outcome}"] += 1

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        for name in ("requests", "answered", "let_in", "intruders", "turns_put_off"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("refused", "closed", "left", "unanswered", "unexpected", "turns_failed"):
            getattr(self, name).update(getattr(other, name))
        self.turns.extend(other.turns)
