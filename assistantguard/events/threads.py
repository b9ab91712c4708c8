"""What becomes of threads, and of what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from assistantguard.events.base import Event, Level

__all__ = [
    "ConversationDeleted",
    "RunsPruned",
    "ThreadArchivedEvent",
    "ThreadDeleted",
    "ThreadHealed",
    "ThreadRotated",
    "ThreadSuggested",
    "VectorStoreCreated",
    "VectorStoreDeleted",
    "VectorStoreReused",
]


@dataclass(slots=True, eq=False, repr=False)
class ThreadSuggested(Event):
    """A message left the topic of its thread: a new thread would suit it. It was answered all the same."""

    name: ClassVar[str] = "thread.suggested"
    level: ClassVar[Level] = "info"
    compared: int
    """With how many messages and replies it was compared."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class ThreadRotated(Event):
    """A thread left its generation for a new one."""

    name: ClassVar[str] = "thread.rotated"
    level: ClassVar[Level] = "info"
    generation: int
    """The new generation's number."""
    from_generation_id: str | None
    to_generation_id: str
    turns: int
    """Turns that the old generation held."""
    context_tokens: int
    """What the old generation's next request would have read."""
    carried_tokens: int
    """What was carried over, by our own count."""
    carried_items: int
    old: Literal["deleted", "scrubbed", "kept", "gone", "undeleted"]
    """What became of the old generation; ``undeleted``: deleting it failed."""
    policy: str
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class ThreadHealed(Event):
    """A generation was made usable again."""

    name: ClassVar[str] = "thread.healed"
    level: ClassVar[Level] = "warning"
    generation_id: str
    answered_calls: int
    """Function calls that had no output and got one."""
    deleted_items: int
    """Items of a half turn that were removed."""
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreCreated(Event):
    """A set of files was embedded."""

    name: ClassVar[str] = "vector_store.created"
    level: ClassVar[Level] = "info"
    vector_store_id: str
    files: int
    seconds: float
    usage_bytes: int | None = None
    replaces: str | None = None
    """The expired store that it was built in place of, or None."""


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreReused(Event):
    """A set of files was already embedded; nothing was spent."""

    name: ClassVar[str] = "vector_store.reused"
    level: ClassVar[Level] = "info"
    vector_store_id: str
    files: int


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreDeleted(Event):
    """A vector store that nothing referred to was deleted at the server, or was gone there. Its files stay."""

    name: ClassVar[str] = "vector_store.deleted"
    level: ClassVar[Level] = "info"
    vector_store_id: str


@dataclass(slots=True, eq=False, repr=False)
class ConversationDeleted(Event):
    """A conversation that nothing referred to was deleted at the server, or was gone there."""

    name: ClassVar[str] = "conversation.deleted"
    level: ClassVar[Level] = "info"
    generation_id: str


@dataclass(slots=True, eq=False, repr=False)
class ThreadArchivedEvent(Event):
    """A thread was put away, since nobody used it for long."""

    name: ClassVar[str] = "thread.archived"
    level: ClassVar[Level] = "info"
    last_used_at: float
    """Unix time, seconds."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class ThreadDeleted(Event):
    """A thread was forgotten; its conversations at the server are deleted next."""

    name: ClassVar[str] = "thread.deleted"
    level: ClassVar[Level] = "info"
    reason: str
    archived_at: float | None = None
    """Unix time, seconds."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class RunsPruned(Event):
    """What was kept of old runs was forgotten. What they used stays in the books."""

    name: ClassVar[str] = "runs.pruned"
    level: ClassVar[Level] = "info"
    runs: int
