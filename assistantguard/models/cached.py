"""What a cache of replies keeps, and what keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from assistantguard.models.usage import Usage
from assistantguard.models.values import Record, Value

__all__ = ["CachedQuestion", "CachedReply", "ReplyStore"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CachedQuestion(Value):
    """A question whose reply is in a cache, for `ReplyCache(similar=…)` to choose from."""

    question: str = field(repr=False)
    """As it was normalised."""
    key: str
    stored_at: float
    """Unix time, seconds."""


@dataclass(slots=True, eq=False, repr=False)
class CachedReply(Record):
    """A reply that is kept, and what it took to get it. Those who are given it share it, and leave it as it is."""

    key: str
    """What it is found by: a digest of account, assistant, settings, context and question."""
    group: str
    """A digest of the same without the question."""
    thread_id: str
    """The thread that it was given on. It is forgotten with it."""
    text: str = field(repr=False)
    """Empty where the answer to that question is not to be kept, so that nobody waits for it."""
    model: str
    usage: Usage
    """What the model calls of that turn used."""
    cost: Decimal | None
    """US dollars; None where the price is unknown."""
    stored_at: float
    """Unix time, seconds."""
    expires_at: float
    question: str = field(default="", repr=False)
    """As it was normalised; only where a function chooses among similar ones."""


class ReplyStore(Protocol):
    """Keeps replies, and who is about to get one. Blocking, safe to call from several threads.

    A call may raise any exception: the turn then goes on without the cache.
    """

    @property
    def in_process(self) -> bool:
        """Whether calls return at once (no file, no network), so that an event loop may make them itself."""
        ...

    def get(self, key: str, now: float) -> CachedReply | None:
        """The reply of that key; None where there is none that is good at `now` (Unix time, seconds)."""
        ...

    def put(self, reply: CachedReply, most: int) -> None:
        """Keep a reply in place of another of the same key, and about `most` in all."""
        ...

    def of_group(self, group: str, now: float, limit: int) -> Sequence[CachedReply]:
        """Replies of a group that have a question and are good at `now`, at most `limit`, the newest first."""
        ...

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        """Say that `owner` is about to get the reply of that key.

        Returns:
            False where another said so before, who has not released it and whose time (`until`) is not over.
        """
        ...

    def release(self, key: str, owner: str) -> None:
        """End a claim of `owner`, where it stands."""
        ...

    def forget(self, thread_id: str) -> int:
        """Delete the replies that were given on a thread; return how many."""
        ...

    def expire(self, now: float) -> int:
        """Delete the replies and claims whose time is over; return how many replies. A store may do so by itself."""
        ...

    def close(self) -> None:
        """Close connections. The store can be used again all the same."""
        ...
