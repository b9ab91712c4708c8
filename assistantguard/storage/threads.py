"""What a thread store does: it finds threads, lends each to one owner at a time, and keeps what a run needs.

A thread is *opened* by an owner (a guard of one process) for a lease. Every opening gives a new *fence* number; whoever
saves with an older one has lost the thread to another, and is told so. Times are Unix times in seconds.

A user's thread is reached by that user only: to every method that takes a `user`, a thread of another user is one that
does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from assistantguard.models.usage import Usage
from assistantguard.models.values import Record, Value

if TYPE_CHECKING:
    from assistantguard.models import RunState, RunStatus, ThreadState

__all__ = [
    "GenerationRecord",
    "Opened",
    "RunRecord",
    "Taken",
    "ThreadFilter",
    "ThreadInfo",
    "ThreadStore",
    "Unfinished",
    "VectorStoreRecord",
]


@dataclass(slots=True, eq=False, repr=False)
class Opened(Record):
    """A thread that its opener has for a lease."""

    thread: ThreadState
    run: RunState | None
    """The run that was left in flight, or None."""
    fence: int
    """To save and to close with."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Taken(Value):
    """Another owner has the thread."""

    owner: str
    until: float
    """When the lease ends, if it is not renewed."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadInfo(Value):
    """A thread as lists show it."""

    id: str
    user: str | None
    tenant: str | None
    name: str | None
    tags: tuple[str, ...]
    created_at: float
    last_used_at: float
    archived_at: float | None
    """None for a thread in use."""
    turns: int
    usage: Usage
    cost: Decimal | None
    """US dollars, or None where a price is unknown."""
    context_tokens: int
    """How many tokens the next request reads before anything new is added."""
    generation: int
    generation_id: str | None
    vector_store_id: str | None
    current: bool = False
    """Whether it is the one that its user switched to."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunRecord(Value):
    """A run as it is kept: what it was and cost, never what it said."""

    id: str
    thread_id: str
    key: str | None
    model: str
    status: RunStatus
    started_at: float
    finished_at: float | None
    """None while it is in flight."""
    usage: Usage
    cost: Decimal | None
    response_ids: tuple[str, ...]
    last_error: str | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unfinished(Value):
    """A run in flight that nobody drives."""

    thread_id: str
    user: str | None
    run_id: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GenerationRecord(Value):
    """A conversation that was begun at the server."""

    id: str
    thread_id: str
    begun_at: float
    left_at: float | None = None
    """When the thread left it for another and kept it, or was deleted."""
    deleted_at: float | None = None
    """When it was deleted at the server."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VectorStoreRecord(Value):
    """A vector store that was made for a set of files."""

    id: str
    file_hash: str
    """Stands for the set of files."""
    expires_at: float | None
    last_used_at: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadFilter(Value):
    """Which threads to list. Every part that is given must hold."""

    user: str | None = None
    """Whose; None for the application's own."""
    everyone: bool = False
    """Threads of all users; `user` then does not count."""
    tenant: str | None = None
    archived: bool | None = False
    """True for archived ones only, None for both."""
    name: str | None = None
    """Its name, to the letter."""
    text: str | None = None
    """What the name, or a tag, contains in any case; every character stands for itself."""
    tag: str | None = None
    """A tag that it has, in any case."""
    used_before: float | None = None
    """Last used before then."""
    archived_before: float | None = None
    limit: int = 100
    after: tuple[float, str] | None = None
    """``(last_used_at, id)`` of the last thread of the page before."""


class ThreadStore(Protocol):
    """Blocking, atomic, and safe to call from several threads. The asyncio driver offloads those that may wait."""

    @property
    def in_process(self) -> bool:
        """Whether calls return at once (no file, no network), so that an event loop may make them itself."""
        ...

    def together(self) -> AbstractContextManager[object]:
        """Make what is done inside, on this thread of the program, one transaction.

        A ledger on the same database takes part in it. In memory it does nothing.
        """
        ...

    # Lending

    def open(
        self,
        thread_id: str,
        owner: str,
        lease_seconds: float,
        now: float,
        *,
        user: str | None = None,
        fresh: ThreadState | None = None,
    ) -> Opened | Taken:
        """Lend a thread to an owner; its own lease is simply begun anew.

        Args:
            thread_id: Which one.
            owner: Who will drive it.
            lease_seconds: How long it is lent, unless it is renewed.
            now: The time.
            user: Whose thread it must be.
            fresh: What to begin with where there is none; without it there must be one. Its id is `thread_id` and its
                user is `user`.

        Returns:
            The thread and the run that was left in flight, or who has it. In memory the thread is the very object that
            was saved, not a copy.

        Raises:
            ThreadNotFound: `user` has no such thread.
        """
        ...

    def renew(self, owner: str, now: float, lease_seconds: float) -> None:
        """Renew all leases of an owner at once. One that another has taken stays lost."""
        ...

    def save(self, thread: ThreadState, run: RunState | None, fence: int, *, close: bool = False) -> None:
        """Keep a thread's state, and its run's.

        A run that has ended (`RunState.finished_at`) is kept as a `RunRecord`, and the thread has none in flight any
        more. Who owns the thread, its name, its tags and whether it is archived are not saved: see `rename`, `tag`,
        `archive`.

        Args:
            thread: The state.
            run: The run that is in flight or has just ended; None, or one without an id, leaves what is kept of runs.
            fence: What `open` gave.
            close: Whether the lease ends with it.

        Raises:
            LeaseLost: Another has the thread, or it was deleted. Nothing was saved.
        """
        ...

    def close(self, thread_id: str, owner: str, fence: int) -> None:
        """End a lease. Without effect on one that another has taken meanwhile."""
        ...

    def unfinished(self, now: float, limit: int = 100) -> Sequence[Unfinished]:
        """Runs in flight on threads that nobody has, oldest first."""
        ...

    # Runs

    def run_by_key(self, thread_id: str, key: str) -> RunState | None:
        """The newest run with a key; one that ended comes back without its text unless content is kept."""
        ...

    def runs(self, thread_id: str, limit: int = 100) -> Sequence[RunRecord]:
        """A thread's runs, newest first."""
        ...

    def prune(self, before: float) -> int:
        """Forget runs that ended, and generations that were deleted, before then; return how many runs."""
        ...

    # Finding

    def state(self, thread_id: str, user: str | None = None) -> ThreadState:
        """A thread as it was last saved, without a lease: to read only.

        Raises:
            ThreadNotFound: `user` has no such thread.
        """
        ...

    def info(self, thread_id: str, user: str | None = None) -> ThreadInfo:
        """A thread as lists show it. Raises what `state` does."""
        ...

    def select(self, wanted: ThreadFilter) -> Sequence[ThreadInfo]:
        """Threads, the one that was used last first."""
        ...

    def get_or_create(self, fresh: ThreadState, most: int | None) -> ThreadState:
        """The thread of that user and name as it was last saved, archived or not; `fresh` where there is none.

        Args:
            fresh: The new thread, with user and name.
            most: How many named threads in use the user may have; None sets no limit.

        Raises:
            TooManyThreads: There is none, and the user has that many.
        """
        ...

    def current(self, fresh: ThreadState) -> ThreadState:
        """The thread that a user switched to; else the newest without a name; else `fresh`.

        Archived ones do not count.

        Args:
            fresh: The new thread, with a user and without a name.
        """
        ...

    # Changing

    def switch(self, thread_id: str, user: str) -> ThreadInfo:
        """Make a thread its user's current one.

        Raises:
            ThreadNotFound: `user` has no such thread.
            ThreadArchived: It is archived.
        """
        ...

    def rename(self, thread_id: str, user: str | None, name: str, most: int | None) -> ThreadInfo:
        """Give a thread another name.

        Args:
            thread_id: Which one.
            user: Whose.
            name: The new name.
            most: As for `get_or_create`, where the thread had no name.

        Raises:
            ThreadNotFound: `user` has no such thread.
            ThreadNameTaken: The user has another thread of that name.
            TooManyThreads: It had no name, and the user has that many with one.
        """
        ...

    def tag(self, thread_id: str, user: str | None, add: Collection[str], remove: Collection[str] = ()) -> ThreadInfo:
        """Add and remove tags. Raises what `state` does."""
        ...

    def archive(self, thread_id: str, user: str | None, now: float) -> ThreadInfo:
        """Put a thread away; one that is archived stays so since then. Raises what `state` does."""
        ...

    def restore(self, thread_id: str, user: str | None, most: int | None) -> ThreadInfo:
        """Take a thread into use again.

        Raises:
            ThreadNotFound: `user` has no such thread.
            TooManyThreads: The user has that many named threads in use.
        """
        ...

    def delete(self, thread_id: str, user: str | None, fence: int, now: float) -> ThreadInfo:
        """Forget a thread that is open, its runs included. Its generations are left, and stay known until deleted.

        Returns:
            What it was.

        Raises:
            LeaseLost: Another has the thread.
            ThreadNotFound: `user` has no such thread.
        """
        ...

    # What lives at the server

    def generation_begun(self, thread_id: str, generation_id: str, now: float) -> None:
        """Note a conversation that was made, before anything refers to it."""
        ...

    def generation_left(self, generation_id: str, now: float) -> None:
        """Note that a thread went on elsewhere and keeps it. Without effect on one that is not known."""
        ...

    def generation_deleted(self, generation_ids: Collection[str], now: float) -> None:
        """Note what was deleted at the server."""
        ...

    def generations(self, thread_id: str) -> Sequence[GenerationRecord]:
        """A thread's generations that are not deleted, newest first, the thread itself deleted or not."""
        ...

    def unused_generations(self, before: float, limit: int = 100) -> Sequence[GenerationRecord]:
        """Generations that are not deleted, that no thread is in or keeps, and that were begun before then.

        A thread that is deleted keeps nothing. Oldest first.
        """
        ...

    def vector_store(self, file_hash: str) -> VectorStoreRecord | None:
        """The newest vector store that is known for a set of files."""
        ...

    def vector_store_used(self, store: VectorStoreRecord) -> None:
        """Note a vector store that was made or used; what is known of it is replaced."""
        ...

    def vector_store_users(self, vector_store_id: str) -> Sequence[str]:
        """Ids of the threads whose saved state has a vector store, archived ones included."""
        ...

    def vector_store_gone(self, vector_store_id: str) -> None:
        """Forget a vector store that was deleted or has expired."""
        ...

    def unused_vector_stores(self, before: float, limit: int = 100) -> Sequence[VectorStoreRecord]:
        """Vector stores that no thread has, and that were last used before then; oldest first."""
        ...
