"""The thread store in a database: SQLite or PostgreSQL, by the same statements."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from assistantguard.storage.database import Database, Row, Transaction
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
from assistantguard.storage.server_records import ServerRecords
from assistantguard.storage.states import run_from_record, run_record, thread_from_record, thread_record
from assistantguard.storage.thread_statements import (
    ALIVE,
    BY_KEY,
    COLUMNS,
    CURRENT,
    FROM,
    IN_FLIGHT,
    INSERT,
    LEAVE,
    LOCK_USER,
    NAMED,
    PRUNE_RUNS,
    SAVE,
    SAVE_AND_CLOSE,
    SAVE_RUN,
    TAKE,
    TAKEN,
    UNFINISHED,
    conditions,
    folded_tags,
)
from assistantguard.storage.threads import Opened, RunRecord, Taken, ThreadFilter, ThreadInfo, Unfinished

if TYPE_CHECKING:
    from assistantguard.models import RunState, ThreadState

__all__ = ["SqlThreads"]

_IN_COLUMNS = ("id", "user", "tenant", "name", "tags", "archived_at", "last_used_at")
"""What a thread's own columns hold, and its state does not."""
_STATE = 7
"""The place of the state among a thread's columns."""
_AT_ONCE = 1_000
"""How many rows one statement deletes."""


class SqlThreads(ServerRecords):
    """`ThreadStore` in a database.

    The application's own threads, which have no user, are those of the user ``""``, whom nobody else can be.

    Args:
        database: Where threads are kept.
        content: Whether the text of messages, tool calls and tool outputs that a run in flight needs is kept too.
    """

    in_process = False

    def __init__(self, database: Database, *, content: bool = False) -> None:
        super().__init__(database)
        self.content = content
        self._save_run = SAVE_RUN.format(locked=database.locked)
        self._opened: dict[str, tuple[int, str]] = {}
        """The fence and the state, as it is kept, of each thread that is open here and was not saved since."""

    def together(self) -> AbstractContextManager[object]:
        """See `ThreadStore.together`."""
        return self._database.transaction()

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

        def take(transaction: Transaction) -> Opened | Taken | None:
            rows = transaction.execute(TAKE, (owner, now + lease_seconds, thread_id, user or "", owner, now, now))
            if rows:
                fence, *columns = rows[0]
                runs = transaction.execute(IN_FLIGHT, (thread_id,))
                self._opened[thread_id] = (fence, columns[_STATE])
                return Opened(_thread_of(columns), _run_of(runs[0]) if runs else None, fence)
            rows = transaction.execute(TAKEN, (thread_id, user or ""))
            if rows and rows[0][0] is None:  # given back in between
                return take(transaction)
            return Taken(*rows[0]) if rows else None

        def work(transaction: Transaction) -> Opened | Taken:
            got = take(transaction)
            if got is None and fresh is not None:
                self._insert(transaction, fresh)
                got = take(transaction)
            if got is None:
                raise not_found(thread_id, user)
            return got

        return self._database.run(work, repeatable=True)

    def renew(self, owner: str, now: float, lease_seconds: float) -> None:
        """See `ThreadStore.renew`. One row, however many threads there are."""
        self._do(ALIVE, owner, now + lease_seconds)

    def save(self, thread: ThreadState, run: RunState | None, fence: int, *, close: bool = False) -> None:
        """See `ThreadStore.save`. The run alone is written where the thread is as it was when it was opened."""
        state, kept = self._state(thread), run is not None and run.id
        write = None
        if close or not kept or self._opened.get(thread.id) != (fence, state):
            self._opened.pop(thread.id, None)
            write = (state, thread.last_used_at, thread.generation_id, thread.vector_store_id, thread.id, fence)
        row = self._run_row(run) if run is not None and kept else None

        def work(transaction: Transaction) -> None:
            if write is not None and not transaction.execute(SAVE_AND_CLOSE if close else SAVE, write):
                raise lease_lost(thread.id)
            if row is not None and not transaction.execute(self._save_run, (*row, thread.id, fence)):
                raise lease_lost(thread.id)

        self._database.run(work, repeatable=True)

    def _state(self, thread: ThreadState) -> str:
        """What is kept of a thread besides its own columns."""
        record = thread_record(thread, content=self.content)
        for name in _IN_COLUMNS:
            record.pop(name, None)
        return _json(record)

    def _run_row(self, run: RunState) -> Sequence[object]:
        state = _json(run_record(run, content=self.content))
        return (run.id, run.thread_id, run.key, run.status, run.started_at, run.finished_at, state)

    def close(self, thread_id: str, owner: str, fence: int) -> None:
        """See `ThreadStore.close`."""
        self._do(
            "UPDATE guard_threads SET owner = NULL WHERE id = ? AND owner = ? AND fence = ?", thread_id, owner, fence
        )

    def unfinished(self, now: float, limit: int = 100) -> Sequence[Unfinished]:
        """See `ThreadStore.unfinished`."""
        rows = self._database.query(UNFINISHED, (now, now, limit))
        return [Unfinished(thread_id, user or None, run_id) for thread_id, user, run_id in rows]

    def run_by_key(self, thread_id: str, key: str) -> RunState | None:
        """See `ThreadStore.run_by_key`."""
        rows = self._database.query(BY_KEY, (thread_id, key))
        return _run_of(rows[0]) if rows else None

    def runs(self, thread_id: str, limit: int = 100) -> Sequence[RunRecord]:
        """See `ThreadStore.runs`."""
        rows = self._database.query(
            "SELECT state FROM guard_runs WHERE thread_id = ? ORDER BY started_at DESC, id DESC LIMIT ?",
            (thread_id, limit),
        )
        return [record_of(_run_of(row)) for row in rows]

    def finished_runs(self, before: float) -> int:
        """How many runs `prune` would forget."""
        return int(self._database.query("SELECT COUNT(*) FROM guard_runs WHERE finished_at < ?", (before,))[0][0])

    def prune(self, before: float) -> int:
        """See `ThreadStore.prune`."""
        count = 0
        while rows := self._database.run(
            lambda transaction: transaction.execute(PRUNE_RUNS, (before, _AT_ONCE)), repeatable=True
        ):
            count += len(rows)
        self._do("DELETE FROM guard_generations WHERE deleted_at < ?", before)
        self._do("DELETE FROM guard_owners WHERE alive_until < ?", before)
        return count

    def state(self, thread_id: str, user: str | None = None) -> ThreadState:
        """See `ThreadStore.state`."""
        return _thread_of(self._row(thread_id, user))

    def info(self, thread_id: str, user: str | None = None) -> ThreadInfo:
        """See `ThreadStore.info`."""
        return _info_of(self._row(thread_id, user))

    def select(self, wanted: ThreadFilter) -> Sequence[ThreadInfo]:
        """See `ThreadStore.select`."""
        parts, parameters = conditions(wanted)
        where = " AND ".join(parts) or "1 = 1"
        order = "ORDER BY t.last_used_at DESC, t.id DESC LIMIT ?"
        rows = self._database.query(f"SELECT {COLUMNS} {FROM} WHERE {where} {order}", (*parameters, wanted.limit))
        return [_info_of(row) for row in rows]

    def get_or_create(self, fresh: ThreadState, most: int | None) -> ThreadState:
        """See `ThreadStore.get_or_create`."""
        named = f"SELECT {COLUMNS} {FROM} WHERE t.user_name = ? AND t.name = ?"
        rows = self._database.query(named, (fresh.user or "", fresh.name))
        if rows:
            return _thread_of(rows[0])

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, fresh.user)
            found = transaction.execute(named, (fresh.user or "", fresh.name))
            if not found:
                self._check_room(transaction, fresh.user, most)
                self._insert(transaction, fresh)
                found = transaction.execute(named, (fresh.user or "", fresh.name))
            return found[0]

        return _thread_of(self._database.run(work, repeatable=True))

    def current(self, fresh: ThreadState) -> ThreadState:
        """See `ThreadStore.current`."""
        user = fresh.user or ""
        rows = self._database.query(CURRENT, (user,))
        if rows:
            return _thread_of(rows[0])

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, fresh.user)
            found = transaction.execute(CURRENT, (user,))
            if not found:
                self._insert(transaction, fresh)
                found = transaction.execute(CURRENT, (user,))
            return found[0]

        return _thread_of(self._database.run(work, repeatable=True))

    def switch(self, thread_id: str, user: str) -> ThreadInfo:
        """See `ThreadStore.switch`."""

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, user)
            if _info_of(self._row(thread_id, user)).archived_at is not None:
                raise is_archived(thread_id)
            transaction.execute("UPDATE guard_users SET current_thread = ? WHERE user_name = ?", (thread_id, user))
            return self._row(thread_id, user)

        return _info_of(self._database.run(work, repeatable=True))

    def rename(self, thread_id: str, user: str | None, name: str, most: int | None) -> ThreadInfo:
        """See `ThreadStore.rename`."""

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, user)
            info = _info_of(self._row(thread_id, user))
            namesakes = transaction.execute(
                "SELECT id FROM guard_threads WHERE user_name = ? AND name = ?", (user or "", name)
            )
            if any(namesake != thread_id for (namesake,) in namesakes):
                raise name_taken(thread_id, user, name)
            if info.name is None and info.archived_at is None:
                self._check_room(transaction, user, most)
            transaction.execute(
                "UPDATE guard_threads SET name = ?, folded_name = ? WHERE id = ?", (name, folded(name), thread_id)
            )
            return self._row(thread_id, user)

        return _info_of(self._database.run(work, repeatable=True))

    def tag(self, thread_id: str, user: str | None, add: Collection[str], remove: Collection[str] = ()) -> ThreadInfo:
        """See `ThreadStore.tag`."""

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, user)
            tags = sorted({*_info_of(self._row(thread_id, user)).tags, *add}.difference(remove))
            transaction.execute(
                "UPDATE guard_threads SET tags = ?, folded_tags = ? WHERE id = ?",
                (_json(tags), folded_tags(tags), thread_id),
            )
            return self._row(thread_id, user)

        return _info_of(self._database.run(work, repeatable=True))

    def archive(self, thread_id: str, user: str | None, now: float) -> ThreadInfo:
        """See `ThreadStore.archive`."""

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, user)
            transaction.execute(
                "UPDATE guard_threads SET archived_at = ? WHERE id = ? AND user_name = ? AND archived_at IS NULL",
                (now, thread_id, user or ""),
            )
            transaction.execute(LEAVE, (user or "", thread_id))
            return self._row(thread_id, user)

        return _info_of(self._database.run(work, repeatable=True))

    def restore(self, thread_id: str, user: str | None, most: int | None) -> ThreadInfo:
        """See `ThreadStore.restore`."""

        def work(transaction: Transaction) -> Row:
            self._lock_user(transaction, user)
            info = _info_of(self._row(thread_id, user))
            if info.archived_at is not None and info.name is not None:
                self._check_room(transaction, user, most)
            transaction.execute("UPDATE guard_threads SET archived_at = NULL WHERE id = ?", (thread_id,))
            return self._row(thread_id, user)

        return _info_of(self._database.run(work, repeatable=True))

    def delete(self, thread_id: str, user: str | None, fence: int, now: float) -> ThreadInfo:
        """See `ThreadStore.delete`."""

        def work(transaction: Transaction) -> ThreadInfo:
            self._lock_user(transaction, user)
            info = _info_of(self._row(thread_id, user))
            if not transaction.execute(
                "DELETE FROM guard_threads WHERE id = ? AND user_name = ? AND fence = ? RETURNING id",
                (thread_id, user or "", fence),
            ):
                raise lease_lost(thread_id)
            transaction.execute(LEAVE, (user or "", thread_id))
            transaction.execute("DELETE FROM guard_runs WHERE thread_id = ?", (thread_id,))
            transaction.execute("DELETE FROM guard_replies WHERE thread_id = ?", (thread_id,))
            transaction.execute(
                "UPDATE guard_generations SET left_at = ? WHERE thread_id = ? AND left_at IS NULL", (now, thread_id)
            )
            return info

        return self._database.run(work)

    def _row(self, thread_id: str, user: str | None) -> Row:
        """A thread's columns; inside a transaction of this thread of the program, as that one sees it."""
        rows = self._database.query(
            f"SELECT {COLUMNS} {FROM} WHERE t.id = ? AND t.user_name = ?", (thread_id, user or "")
        )
        if not rows:
            raise not_found(thread_id, user)
        return rows[0]

    def _insert(self, transaction: Transaction, thread: ThreadState) -> None:
        """Add a thread, unless there is one with its id."""
        transaction.execute(
            INSERT,
            (
                thread.id,
                thread.user or "",
                thread.tenant,
                thread.name,
                None if thread.name is None else folded(thread.name),
                _json(thread.tags),
                folded_tags(thread.tags),
                thread.archived_at,
                thread.last_used_at,
                thread.generation_id,
                thread.vector_store_id,
                self._state(thread),
            ),
        )

    def _lock_user(self, transaction: Transaction, user: str | None) -> None:
        """Hold off everyone else who changes which threads a user has."""
        transaction.execute(LOCK_USER, (user or "",))

    def _check_room(self, transaction: Transaction, user: str | None, most: int | None) -> None:
        if most is not None and transaction.execute(NAMED, (user or "",))[0][0] >= most:
            raise too_many(user, most)


def _thread_of(columns: Sequence[object]) -> ThreadState:
    thread_id, user, tenant, name, tags, archived_at, last_used_at, state = columns[: _STATE + 1]
    own = {
        "id": thread_id,
        "user": user or None,
        "tenant": tenant,
        "name": name,
        "archived_at": archived_at,
        "last_used_at": last_used_at,
    }
    return thread_from_record({**json.loads(str(state)), **own, "tags": json.loads(str(tags))})


def _info_of(row: Row) -> ThreadInfo:
    return info_of(_thread_of(row), current=bool(row[_STATE + 1]))


def _run_of(row: Row) -> RunState:
    return run_from_record(json.loads(row[0]))


_json = json.JSONEncoder(separators=(",", ":")).encode
