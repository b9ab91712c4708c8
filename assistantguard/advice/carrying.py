"""What a rotation would carry over: from the texts where they are at hand, else estimated from their sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from assistantguard.models.carry_over import CarryOver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assistantguard.advice.history import Turn
    from assistantguard.models.items import Item

__all__ = ["DENSITIES", "Carried", "Carrier", "SizeCarrier", "TextCarrier"]

DENSITIES = (14.0, 21.0, 27.0)
"""Tokens of digest for each square root of a token of older history, up to the digest's bound: least, usual, most.

Measured on recorded conversations: a digest says once what is said often, and grows more slowly than what it is of.
They stand in where no rotation of the user's own was seen."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a generation begins with."""

    tokens: int
    """Of the context, frames included."""
    seeds: Any = None
    """What the carrier must know of it at the next rotation."""


class Carrier(Protocol):
    """Tells what a rotation carries over."""

    def carry(self, since: int, until: int, history: int, before: Carried | None, settings: CarryOver) -> Carried:
        """What a rotation before turn `until` carries.

        Args:
            since: The first turn of the generation that is left.
            until: The turn that begins the new one.
            history: Tokens of that generation's context without instructions and tools.
            before: What that generation began with; None for a thread's first.
            settings: How much to carry.
        """
        ...


@dataclass(slots=True)
class SizeCarrier:
    """Estimates from sizes: the tail is the last messages and answers, the digest goes by the size of what is older."""

    turns: Sequence[Turn]
    density: float = DENSITIES[1]
    """See `DENSITIES`."""
    exponent: float = 0.5
    """The power of older history that digests grow with: one half, unless rotations of the user's own tell better."""

    def tail(self, since: int, until: int, settings: CarryOver) -> int:
        """Tokens of the turns that are carried word for word."""
        carried = 0
        for number in range(until - 1, max(since, until - settings.tail_turns) - 1, -1):
            turn = self.turns[number]
            said = turn.message_tokens + turn.answer_tokens
            if carried + said > settings.tail_tokens:
                return carried or min(said, settings.tail_tokens)
            carried += said
        return carried

    def carry(self, since: int, until: int, history: int, before: Carried | None, settings: CarryOver) -> Carried:  # noqa: ARG002
        """See `Carrier.carry`."""
        tail = self.tail(since, until, settings)
        older = max(0, history - tail)
        return Carried(tail + min(settings.digest_tokens, round(self.density * older**self.exponent)))


@dataclass(slots=True)
class TextCarrier:
    """Builds the carry-over itself, from the texts.

    Args:
        items: The conversation items of each turn.
        count: Counts the tokens of a text.
        frame: Tokens that a message takes beside its text.
    """

    items: Sequence[Sequence[Item]]
    count: Callable[[str], int]
    frame: int
    _known: dict[tuple[int, int, CarryOver, int], Carried] = field(default_factory=dict)

    def carry(self, since: int, until: int, history: int, before: Carried | None, settings: CarryOver) -> Carried:  # noqa: ARG002
        """See `Carrier.carry`."""
        from assistantguard.carryover import build_carry_over

        key = (since, until, settings, id(before))
        if key not in self._known:
            items = [*(() if before is None else before.seeds)]
            items += [item for number in range(since, until) for item in self.items[number]]
            seeds = build_carry_over(items, settings, self.count, first=before is None)
            tokens = sum(self.count(item.text) + self.frame for item in seeds)
            self._known[key] = Carried(tokens, seeds)
        return self._known[key]
