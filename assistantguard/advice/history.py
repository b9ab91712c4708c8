"""What happened on threads, call by call, as advice is computed from it.

A turn is kept as the context it began with and what each of its model calls read beyond that, so that the same turn can
be reckoned on another context: after a rotation that did not happen, or without one that did.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from assistantguard.advice.carrying import DENSITIES

if TYPE_CHECKING:
    from assistantguard.advice.carrying import Carrier

__all__ = ["History", "LimitState", "ModelCall", "StoreState", "ThreadHistory", "Turn"]


@dataclass(slots=True)
class ModelCall:
    """One paid model call."""

    time: float
    """Unix time at which it was settled, seconds."""
    model: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    kept_tokens: int
    """What the conversation keeps of the output: all of it but the reasoning."""
    cost: Decimal | None
    """US dollars, as booked; None where the price is unknown."""
    tier: str | None = None
    """The service tier that it was billed at."""
    request: int = 0
    """Which request of its turn it is an attempt of, from 0."""
    offset: int = 0
    """Input tokens beyond the context that the turn began with."""
    is_estimate: bool = False
    """Whether the server never told what it used: the booked bound stands for it, whatever is changed."""
    loss: Literal["gap", "prefix"] | None = None
    """Why it found little in the prompt cache; None where it did not, or the cause cannot be told."""
    gap: float = 0.0
    """Seconds since the last call of the same model on the thread, where it did."""
    found_share: float | None = None
    """Which part of what could have been read from the prompt cache was; None where nothing could."""


@dataclass(slots=True)
class Turn:
    """A message and the model's work on it."""

    run_id: str
    time: float
    """Unix time at which it began, as far as that is known; seconds."""
    calls: list[ModelCall] = field(default_factory=list)
    context: int = 0
    """Tokens that its first call read before the message, instructions and tools included."""
    growth: int = 0
    """What it added to the context."""
    rotated: bool = False
    """Whether the thread left its generation before it."""
    summaries: list[ModelCall] = field(default_factory=list)
    """Calls that wrote a summary for that."""
    leaves_topic: bool = False
    message: str | None = None
    """The user's message, where it is at hand."""
    answer_tokens: int = 0
    """What the last answer added to the context."""
    steps: int = 0
    """Answers that asked for tools and got them."""
    stopped: bool = False
    """Whether a step ceiling ended it."""

    @property
    def message_tokens(self) -> int:
        """Tokens that the message added to the context, its frame included."""
        return self.calls[0].offset if self.calls else 0


@dataclass(slots=True)
class ThreadHistory:
    """A thread from its first turn to its last."""

    id: str
    turns: list[Turn] = field(default_factory=list)
    fixed: int = 0
    """Tokens that every request carries and no rotation removes: instructions and tools."""
    fixed_known: bool = True
    """Whether that was told, and not guessed from the smallest request."""
    prefix: str = ""
    """Threads of one model with the same text here begin their requests with the same instructions and tools."""
    carrier: Carrier | None = None
    """Tells what a rotation carries over; None where nothing can tell."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """A vector store that nothing seems to use."""

    id: str
    size_bytes: int | None
    """None where nobody told."""
    idle_since: float
    """Unix time of its last known use, seconds."""
    expires_at: float | None = None
    """Unix time at which the server drops it; None where that is not known."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """How near an account is to its limit."""

    account: str
    budget: str
    metric: str
    limit: Decimal
    spent: Decimal
    refusals: int = 0
    """Requests that were refused for it."""
    user: str | None = None


@dataclass(slots=True)
class History:
    """Everything that advice is computed from."""

    source: Literal["events", "ledger", "recordings"]
    threads: list[ThreadHistory] = field(default_factory=list)
    first_time: float | None = None
    """Unix time, seconds; None for recordings, which tell no times."""
    last_time: float | None = None
    topics_judged: bool = False
    """Whether messages that leave their topic were looked for."""
    unused_stores: list[StoreState] = field(default_factory=list)
    limits: list[LimitState] = field(default_factory=list)
    densities: tuple[float, float, float] = DENSITIES
    """How dense digests are: least, usual, most."""
    rotations_seen: int = 0
    """How many rotations of the history's own they were taken from; 0 where none tells."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was left out of the reckoning, and how often."""

    @property
    def calls(self) -> int:
        """Paid model calls."""
        return sum(len(turn.calls) + len(turn.summaries) for thread in self.threads for turn in thread.turns)

    @property
    def turns(self) -> int:
        """Turns that asked a model."""
        return sum(bool(turn.calls) for thread in self.threads for turn in thread.turns)
