"""What thread stores have in common: how a state is shown, how names are compared, what is refused and why."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from assistantguard.errors import LeaseLost, ThreadArchived, ThreadNameTaken, ThreadNotFound, TooManyThreads
from assistantguard.storage.threads import RunRecord, ThreadInfo

if TYPE_CHECKING:
    from assistantguard.models import RunState, ThreadState

__all__ = ["folded", "info_of", "is_archived", "lease_lost", "name_taken", "not_found", "record_of", "too_many"]


def info_of(thread: ThreadState, *, current: bool) -> ThreadInfo:
    """A thread as lists show it."""
    return ThreadInfo(
        thread.id,
        thread.user,
        thread.tenant,
        thread.name,
        tuple(sorted(thread.tags)),
        thread.created_at,
        thread.last_used_at,
        thread.archived_at,
        thread.turns,
        thread.usage,
        thread.cost,
        thread.context_tokens,
        thread.generation,
        thread.generation_id,
        thread.vector_store_id,
        current,
    )


def record_of(run: RunState) -> RunRecord:
    """A run as it is kept."""
    return RunRecord(
        run.id,
        run.thread_id,
        run.key,
        run.model,
        run.status,
        run.started_at,
        run.finished_at,
        run.usage,
        run.cost,
        tuple(run.response_ids),
        run.last_error,
    )


def folded(text: str) -> str:
    """A text as it is searched: upper and lower case are the same, and so are the ways to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def not_found(thread_id: str, user: str | None) -> ThreadNotFound:
    """The error where a user has no such thread, be it somebody else's or nobody's."""
    whose = "without a user" if user is None else f"of the user {user!r}"
    error = ThreadNotFound(
        f"there is no thread {thread_id!r} {whose}: give the user whose thread it is, or look the thread up in"
        " threads.list()"
    )
    error.thread_id = thread_id
    return error


def too_many(user: str | None, most: int) -> TooManyThreads:
    """The error where a user has as many named threads as are allowed."""
    return TooManyThreads(
        f"the user {user!r} has {most} named threads in use, which is the limit: archive or delete one, or raise"
        " max_threads_per_user"
    )


def name_taken(thread_id: str, user: str | None, name: str) -> ThreadNameTaken:
    """The error where a user has another thread of that name."""
    error = ThreadNameTaken(
        f"the user {user!r} has another thread named {name!r}: give another name, or rename or delete that one"
    )
    error.thread_id = thread_id
    return error


def is_archived(thread_id: str) -> ThreadArchived:
    """The error where a thread is archived."""
    error = ThreadArchived(f"the thread {thread_id!r} is archived: restore it first, with threads.restore()")
    error.thread_id = thread_id
    return error


def lease_lost(thread_id: str) -> LeaseLost:
    """The error where a thread was taken over."""
    error = LeaseLost(
        f"the thread {thread_id!r} was taken over by another process, or deleted, since its lease had ended: what"
        " was not saved is not saved; ask again, and see that the process is not held up for longer than a lease"
    )
    error.thread_id = thread_id
    return error
