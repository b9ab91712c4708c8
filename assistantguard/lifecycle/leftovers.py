"""The part of a sweep that concerns what is left over: holds, conversations, vector stores, records of old runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from assistantguard.events import ConversationDeleted, HoldsExpired, RunsPruned, VectorStoreDeleted
from assistantguard.lifecycle.report import PartName, SweepPart
from assistantguard.lifecycle.threads import IN_USE, NO_KEY

if TYPE_CHECKING:
    from assistantguard.lifecycle.deletion import ServerDeletion
    from assistantguard.lifecycle.work import Work
    from assistantguard.models import Failure
    from assistantguard.storage import Database, GenerationRecord, VectorStoreRecord

__all__ = ["delete_conversations", "delete_vector_stores", "expire_holds", "expire_replies", "prune_runs"]

T = TypeVar("T", "GenerationRecord", "VectorStoreRecord")
_MOST = 100_000
"""Of one kind, in one sweep."""
_MOST_FAILURES = 5
"""In a row; then the server is left alone until the next sweep."""


def expire_holds(work: Work) -> SweepPart:
    """Settle the reservations of processes that are gone."""
    due = tuple(hold.id for hold in work.ledger.open_holds() if hold.expires_at <= work.started_at)
    if not work.apply:
        return SweepPart("holds", len(due), ids=due)
    ended = len(work.ledger.expire(work.started_at))
    if ended:
        work.emit(HoldsExpired(work.now(), work.id, "", ended))
    return SweepPart("holds", len(due), ended, ids=due)


def delete_conversations(work: Work, begun_before: float) -> SweepPart:
    """Delete the conversations that nothing refers to."""

    def change(server: ServerDeletion, record: GenerationRecord) -> Failure | str | None:
        if not work.store.is_unused(record.id):
            return IN_USE
        failure = server.conversation(record.id)
        if failure is None:
            work.store.generation_deleted([record.id], work.now())
            work.emit(ConversationDeleted(work.now(), work.id, record.thread_id, record.id))
        return failure

    return _at_server(work, "conversations", work.store.unused_generations(begun_before, _MOST), change)


def delete_vector_stores(work: Work, used_before: float) -> SweepPart:
    """Delete the vector stores that nothing refers to. Their files stay."""

    def change(server: ServerDeletion, record: VectorStoreRecord) -> Failure | str | None:
        if work.store.vector_store_users(record.id):
            return IN_USE
        failure = server.vector_store(record.id)
        if failure is None:
            work.store.vector_store_gone(record.id)
            work.emit(VectorStoreDeleted(work.now(), work.id, "", record.id))
        return failure

    return _at_server(work, "vector_stores", work.store.unused_vector_stores(used_before, _MOST), change)


def prune_runs(work: Work, before: float) -> SweepPart:
    """Forget the records of runs that ended before then, and of conversations that were deleted before then."""
    found = work.store.finished_runs(before)
    if not work.apply:
        return SweepPart("old_runs", found)
    done = work.store.prune(before)
    if done:
        work.emit(RunsPruned(work.now(), work.id, "", done))
    return SweepPart("old_runs", found, done)


def expire_replies(work: Work, database: Database) -> SweepPart:
    """Delete the cached replies whose time is over."""
    from assistantguard.replies import SqlReplies

    replies = SqlReplies(database)
    found = replies.count_expired(work.started_at)
    return SweepPart("replies", found, replies.expire(work.started_at) if work.apply else 0)


def _at_server(
    work: Work,
    name: PartName,
    records: Sequence[T],
    change: Callable[[ServerDeletion, T], Failure | str | None],
) -> SweepPart:
    """Delete at the server what was found.

    Args:
        work: The sweep.
        name: The part.
        records: What was found.
        change: Deletes one; returns None where it is gone, the reason where it is left alone, or what went wrong.
    """
    ids = tuple(record.id for record in records)
    if work.server is None or not work.apply:
        left = {NO_KEY: len(ids)} if ids and work.server is None else {}
        return SweepPart(name, len(ids), left=left, ids=ids)
    done, failed, in_a_row, left = 0, 0, 0, {}
    for record in work.each(name, records):
        outcome = change(work.server, record)
        if isinstance(outcome, str):
            left[outcome] = left.get(outcome, 0) + 1
        elif outcome is None:
            done, in_a_row = done + 1, 0
        else:
            failed, in_a_row = failed + 1, in_a_row + 1
            if in_a_row == _MOST_FAILURES:
                break
    return SweepPart(name, len(ids), done, failed, left, ids)
