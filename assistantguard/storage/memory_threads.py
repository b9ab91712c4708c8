"""A thread store that lives and ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assistantguard.models.values import Record
from assistantguard.storage.records import (
    folded,
    info_of,
    is_archived,
    lease_lost,
    name_taken,
    not_found,
    record_of,
    too_many,
)
from assistantguard.storage.threads import (
    GenerationRecord,
    Opened,
    RunRecord,
    Taken,
    ThreadFilter,
    ThreadInfo,
    Unfinished,
    VectorStoreRecord,
)

if TYPE_CHECKING:
    from assistantguard.models import RunState, ThreadState

__all__ = ["MemoryThreads"]


@dataclass(slots=True, eq=False, repr=False)
class _Row(Record):
    thread: ThreadState
    run: RunState | None = None
    """The run in flight."""
    ended: dict[str, RunState] = field(default_factory=dict)
    """Runs that ended, by id, oldest first."""
    owner: str | None = None
    lease_until: float = 0.0
    fence: int = 0


class MemoryThreads:
    """`ThreadStore` in dictionaries under one lock.

    Args:
        keep_runs: How many of a thread's newest runs are kept once they have ended.
    """

    in_process = True

    def __init__(self, keep_runs: int = 10) -> None:
        self._lock = threading.Lock()
        self._keep_runs = keep_runs
        self._rows: dict[str, _Row] = {}
        self._of_user: dict[str | None, dict[str, None]] = {}
        self._current: dict[str, str] = {}
        self._generations: dict[str, GenerationRecord] = {}
        self._vector_stores: dict[str, VectorStoreRecord] = {}

    def together(self) -> AbstractContextManager[object]:
        """See `ThreadStore.together`."""
        return nullcontext()

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
        """See `ThreadStore.open`."""
        with self._lock:
            if thread_id not in self._rows and fresh is not None:
                self._add(fresh)
            row = self._row(thread_id, user)
            if row.owner is not None and row.owner != owner and row.lease_until > now:
                return Taken(row.owner, row.lease_until)
            row.owner, row.lease_until = owner, now + lease_seconds
            row.fence += 1
            return Opened(row.thread, row.run, row.fence)

    def renew(self, owner: str, now: float, lease_seconds: float) -> None:
        """See `ThreadStore.renew`."""
        with self._lock:
            for row in self._rows.values():
                if row.owner == owner:
                    row.lease_until = now + lease_seconds

    def save(self, thread: ThreadState, run: RunState | None, fence: int, *, close: bool = False) -> None:
        """See `ThreadStore.save`."""
        with self._lock:
            row = self._rows.get(thread.id)
            if row is None or row.fence != fence:
                raise lease_lost(thread.id)
            row.thread = thread
            if run is not None and run.id and run.finished_at is None:
                row.run = run
            elif run is not None and run.id:
                if row.run is not None and row.run.id == run.id:
                    row.run = None
                row.ended[run.id] = run
                if len(row.ended) > self._keep_runs:
                    del row.ended[next(iter(row.ended))]
            if close:
                row.owner = None

    def close(self, thread_id: str, owner: str, fence: int) -> None:
        """See `ThreadStore.close`."""
        with self._lock:
            row = self._rows.get(thread_id)
            if row is not None and row.owner == owner and row.fence == fence:
                row.owner = None

    def unfinished(self, now: float, limit: int = 100) -> Sequence[Unfinished]:
        """See `ThreadStore.unfinished`."""
        with self._lock:
            found = [
                (row.run.started_at, Unfinished(row.thread.id, row.thread.user, row.run.id))
                for row in self._rows.values()
                if row.run is not None and (row.owner is None or row.lease_until <= now)
            ]
        return [one for _, one in sorted(found, key=lambda each: (each[0], each[1].run_id))][:limit]

    def run_by_key(self, thread_id: str, key: str) -> RunState | None:
        """See `ThreadStore.run_by_key`."""
        with self._lock:
            row = self._rows.get(thread_id)
            if row is None:
                return None
            if row.run is not None and row.run.key == key:
                return row.run
            return next((run for run in reversed(row.ended.values()) if run.key == key), None)

    def runs(self, thread_id: str, limit: int = 100) -> Sequence[RunRecord]:
        """See `ThreadStore.runs`."""
        with self._lock:
            row = self._rows.get(thread_id)
            found = [] if row is None else [*row.ended.values(), *([] if row.run is None else [row.run])]
        found.sort(key=lambda run: (run.started_at, run.id), reverse=True)
        return [record_of(run) for run in found[:limit]]

    def prune(self, before: float) -> int:
        """See `ThreadStore.prune`."""
        count = 0
        with self._lock:
            for row in self._rows.values():
                for run in [run for run in row.ended.values() if run.finished_at is None or run.finished_at < before]:
                    del row.ended[run.id]
                    count += 1
        return count

    def state(self, thread_id: str, user: str | None = None) -> ThreadState:
        """See `ThreadStore.state`."""
        with self._lock:
            return self._row(thread_id, user).thread

    def info(self, thread_id: str, user: str | None = None) -> ThreadInfo:
        """See `ThreadStore.info`."""
        with self._lock:
            return self._info(self._row(thread_id, user).thread)

    def select(self, wanted: ThreadFilter) -> Sequence[ThreadInfo]:
        """See `ThreadStore.select`."""
        with self._lock:
            ids: Iterable[str] = self._rows if wanted.everyone else self._of_user.get(wanted.user, ())
            fits = _fits(wanted)
            found = [thread for thread in (self._rows[each].thread for each in ids) if fits(thread)]
            found.sort(key=_place, reverse=True)
            return [self._info(thread) for thread in found[: wanted.limit]]

    def get_or_create(self, fresh: ThreadState, most: int | None) -> ThreadState:
        """See `ThreadStore.get_or_create`."""
        with self._lock:
            found = self._named(fresh.user, fresh.name)
            if found is None:
                self._check_room(fresh.user, most)
                self._add(fresh)
                found = fresh
            return found

    def current(self, fresh: ThreadState) -> ThreadState:
        """See `ThreadStore.current`."""
        with self._lock:
            chosen = self._current.get(fresh.user or "")
            if chosen is None:
                unnamed = [
                    thread for thread in self._threads(fresh.user) if thread.name is None and thread.archived_at is None
                ]
                if not unnamed:
                    self._add(fresh)
                    unnamed = [fresh]
                chosen = max(unnamed, key=_place).id
            return self._rows[chosen].thread

    def switch(self, thread_id: str, user: str) -> ThreadInfo:
        """See `ThreadStore.switch`."""
        with self._lock:
            thread = self._row(thread_id, user).thread
            if thread.archived_at is not None:
                raise is_archived(thread_id)
            self._current[user] = thread_id
            return self._info(thread)

    def rename(self, thread_id: str, user: str | None, name: str, most: int | None) -> ThreadInfo:
        """See `ThreadStore.rename`."""
        with self._lock:
            thread = self._row(thread_id, user).thread
            namesake = self._named(user, name)
            if namesake is not None and namesake is not thread:
                raise name_taken(thread_id, user, name)
            if thread.name is None and thread.archived_at is None:
                self._check_room(user, most)
            thread.name = name
            return self._info(thread)

    def tag(self, thread_id: str, user: str | None, add: Collection[str], remove: Collection[str] = ()) -> ThreadInfo:
        """See `ThreadStore.tag`."""
        with self._lock:
            thread = self._row(thread_id, user).thread
            thread.tags = tuple(sorted({*thread.tags, *add}.difference(remove)))
            return self._info(thread)

    def archive(self, thread_id: str, user: str | None, now: float) -> ThreadInfo:
        """See `ThreadStore.archive`."""
        with self._lock:
            thread = self._row(thread_id, user).thread
            if thread.archived_at is None:
                thread.archived_at = now
            self._leave(thread)
            return self._info(thread)

    def restore(self, thread_id: str, user: str | None, most: int | None) -> ThreadInfo:
        """See `ThreadStore.restore`."""
        with self._lock:
            thread = self._row(thread_id, user).thread
            if thread.archived_at is not None and thread.name is not None:
                self._check_room(user, most)
            thread.archived_at = None
            return self._info(thread)

    def delete(self, thread_id: str, user: str | None, fence: int, now: float) -> ThreadInfo:
        """See `ThreadStore.delete`."""
        with self._lock:
            row = self._row(thread_id, user)
            if row.fence != fence:
                raise lease_lost(thread_id)
            info = self._info(row.thread)
            self._leave(row.thread)
            del self._rows[thread_id]
            del self._of_user[user][thread_id]
            if not self._of_user[user]:
                del self._of_user[user]
            for generation in [each for each in self._generations.values() if each.thread_id == thread_id]:
                self._left(generation, now)
            return info

    def generation_begun(self, thread_id: str, generation_id: str, now: float) -> None:
        """See `ThreadStore.generation_begun`."""
        with self._lock:
            self._generations.setdefault(generation_id, GenerationRecord(generation_id, thread_id, now))

    def generation_left(self, generation_id: str, now: float) -> None:
        """See `ThreadStore.generation_left`."""
        with self._lock:
            if generation_id in self._generations:
                self._left(self._generations[generation_id], now)

    def generation_deleted(self, generation_ids: Collection[str], now: float) -> None:  # noqa: ARG002 - it is forgotten
        """See `ThreadStore.generation_deleted`."""
        with self._lock:
            for generation_id in generation_ids:
                self._generations.pop(generation_id, None)

    def generations(self, thread_id: str) -> Sequence[GenerationRecord]:
        """See `ThreadStore.generations`."""
        with self._lock:
            found = [each for each in self._generations.values() if each.thread_id == thread_id]
        return sorted(found, key=lambda each: (each.begun_at, each.id), reverse=True)

    def unused_generations(self, before: float, limit: int = 100) -> Sequence[GenerationRecord]:
        """See `ThreadStore.unused_generations`."""
        with self._lock:
            used = {row.thread.generation_id for row in self._rows.values()}
            found = [
                each
                for each in self._generations.values()
                if each.id not in used
                and each.begun_at < before
                and (each.left_at is None or each.thread_id not in self._rows)
            ]
        return sorted(found, key=lambda each: (each.begun_at, each.id))[:limit]

    def vector_store(self, file_hash: str) -> VectorStoreRecord | None:
        """See `ThreadStore.vector_store`."""
        with self._lock:
            found = [store for store in self._vector_stores.values() if store.file_hash == file_hash]
        return max(found, key=lambda store: (store.last_used_at, store.id), default=None)

    def vector_store_used(self, store: VectorStoreRecord) -> None:
        """See `ThreadStore.vector_store_used`."""
        with self._lock:
            self._vector_stores[store.id] = store

    def vector_store_users(self, vector_store_id: str) -> Sequence[str]:
        """See `ThreadStore.vector_store_users`."""
        with self._lock:
            return sorted(row.thread.id for row in self._rows.values() if row.thread.vector_store_id == vector_store_id)

    def vector_store_gone(self, vector_store_id: str) -> None:
        """See `ThreadStore.vector_store_gone`."""
        with self._lock:
            self._vector_stores.pop(vector_store_id, None)

    def unused_vector_stores(self, before: float, limit: int = 100) -> Sequence[VectorStoreRecord]:
        """See `ThreadStore.unused_vector_stores`."""
        with self._lock:
            used = {row.thread.vector_store_id for row in self._rows.values()}
            found = [each for each in self._vector_stores.values() if each.id not in used]
        return sorted((each for each in found if each.last_used_at < before), key=lambda each: each.last_used_at)[
            :limit
        ]

    def _add(self, thread: ThreadState) -> None:
        self._rows[thread.id] = _Row(thread)
        self._of_user.setdefault(thread.user, {})[thread.id] = None

    def _row(self, thread_id: str, user: str | None) -> _Row:
        row = self._rows.get(thread_id)
        if row is None or row.thread.user != user:
            raise not_found(thread_id, user)
        return row

    def _threads(self, user: str | None) -> Iterable[ThreadState]:
        return (self._rows[each].thread for each in self._of_user.get(user, ()))

    def _named(self, user: str | None, name: str | None) -> ThreadState | None:
        return next((thread for thread in self._threads(user) if thread.name == name), None)

    def _check_room(self, user: str | None, most: int | None) -> None:
        if most is None:
            return
        named = sum(thread.name is not None and thread.archived_at is None for thread in self._threads(user))
        if named >= most:
            raise too_many(user, most)

    def _info(self, thread: ThreadState) -> ThreadInfo:
        chosen = thread.user is not None and self._current.get(thread.user) == thread.id
        return info_of(thread, current=chosen)

    def _leave(self, thread: ThreadState) -> None:
        """An archived or deleted thread is no longer its user's current one."""
        if thread.user is not None and self._current.get(thread.user) == thread.id:
            del self._current[thread.user]

    def _left(self, generation: GenerationRecord, now: float) -> None:
        if generation.left_at is None:
            self._generations[generation.id] = replace(generation, left_at=now)


def _place(thread: ThreadState) -> tuple[float, str]:
    """Where a thread stands in a list."""
    return (thread.last_used_at, thread.id)


def _fits(wanted: ThreadFilter) -> Callable[[ThreadState], bool]:
    """Whether a thread is one that is wanted."""
    text = None if wanted.text is None else folded(wanted.text)
    tag = None if wanted.tag is None else folded(wanted.tag)

    def fits(thread: ThreadState) -> bool:
        archived = thread.archived_at
        return (
            (wanted.tenant is None or thread.tenant == wanted.tenant)
            and (wanted.archived is None or (archived is not None) == wanted.archived)
            and (wanted.name is None or thread.name == wanted.name)
            and (tag is None or tag in map(folded, thread.tags))
            and (text is None or any(text in folded(each) for each in (thread.name or "", *thread.tags)))
            and (wanted.used_before is None or thread.last_used_at < wanted.used_before)
            and (wanted.archived_before is None or (archived is not None and archived < wanted.archived_before))
            and (wanted.after is None or _place(thread) < wanted.after)
        )

    return fits
