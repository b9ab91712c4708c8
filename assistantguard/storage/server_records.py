"""What was made at the server, in a database: conversations and vector stores."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from assistantguard.storage.database import Database, Transaction
from assistantguard.storage.threads import GenerationRecord, VectorStoreRecord

__all__ = ["ServerRecords"]


class ServerRecords:
    """The part of `ThreadStore` that knows what lives at the server.

    Args:
        database: Where it is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def generation_begun(self, thread_id: str, generation_id: str, now: float) -> None:
        """See `ThreadStore.generation_begun`."""
        self._do(
            "INSERT INTO guard_generations (id, thread_id, begun_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
            generation_id,
            thread_id,
            now,
        )

    def generation_left(self, generation_id: str, now: float) -> None:
        """See `ThreadStore.generation_left`."""
        self._do(
            "UPDATE guard_generations SET left_at = ? WHERE id = ? AND left_at IS NULL",
            now,
            generation_id,
        )

    def generation_deleted(self, generation_ids: Collection[str], now: float) -> None:
        """See `ThreadStore.generation_deleted`."""

        def work(transaction: Transaction) -> None:
            for generation_id in sorted(generation_ids):
                transaction.execute("UPDATE guard_generations SET deleted_at = ? WHERE id = ?", (now, generation_id))

        self._database.run(work, repeatable=True)

    def generations(self, thread_id: str) -> Sequence[GenerationRecord]:
        """See `ThreadStore.generations`."""
        rows = self._database.query(
            "SELECT id, thread_id, begun_at, left_at, deleted_at FROM guard_generations"
            " WHERE thread_id = ? AND deleted_at IS NULL ORDER BY begun_at DESC, id DESC",
            (thread_id,),
        )
        return [GenerationRecord(*row) for row in rows]

    def unused_generations(self, before: float, limit: int = 100) -> Sequence[GenerationRecord]:
        """See `ThreadStore.unused_generations`."""
        rows = self._database.query(
            "SELECT id, thread_id, begun_at, left_at, deleted_at FROM guard_generations g"
            " WHERE deleted_at IS NULL AND begun_at < ?"
            " AND NOT EXISTS (SELECT 1 FROM guard_threads t WHERE t.generation_id = g.id)"
            " AND (left_at IS NULL OR NOT EXISTS (SELECT 1 FROM guard_threads t WHERE t.id = g.thread_id))"
            " ORDER BY begun_at, id LIMIT ?",
            (before, limit),
        )
        return [GenerationRecord(*row) for row in rows]

    def is_unused(self, generation_id: str) -> bool:
        """Whether a generation is not deleted, and no thread is in it."""
        return bool(
            self._database.query(
                "SELECT 1 FROM guard_generations g WHERE id = ? AND deleted_at IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM guard_threads t WHERE t.generation_id = g.id)",
                (generation_id,),
            )
        )

    def vector_store(self, file_hash: str) -> VectorStoreRecord | None:
        """See `ThreadStore.vector_store`."""
        rows = self._database.query(
            "SELECT id, file_hash, expires_at, last_used_at FROM guard_vector_stores WHERE file_hash = ?"
            " ORDER BY last_used_at DESC, id DESC LIMIT 1",
            (file_hash,),
        )
        return VectorStoreRecord(*rows[0]) if rows else None

    def vector_store_used(self, store: VectorStoreRecord) -> None:
        """See `ThreadStore.vector_store_used`."""
        self._do(
            "INSERT INTO guard_vector_stores (id, file_hash, expires_at, last_used_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET file_hash = excluded.file_hash, expires_at = excluded.expires_at,"
            " last_used_at = excluded.last_used_at",
            store.id,
            store.file_hash,
            store.expires_at,
            store.last_used_at,
        )

    def vector_store_users(self, vector_store_id: str) -> Sequence[str]:
        """See `ThreadStore.vector_store_users`."""
        rows = self._database.query(
            "SELECT id FROM guard_threads WHERE vector_store_id = ? ORDER BY id", (vector_store_id,)
        )
        return [row[0] for row in rows]

    def vector_store_gone(self, vector_store_id: str) -> None:
        """See `ThreadStore.vector_store_gone`."""
        self._do("DELETE FROM guard_vector_stores WHERE id = ?", vector_store_id)

    def unused_vector_stores(self, before: float, limit: int = 100) -> Sequence[VectorStoreRecord]:
        """See `ThreadStore.unused_vector_stores`."""
        rows = self._database.query(
            "SELECT id, file_hash, expires_at, last_used_at FROM guard_vector_stores v"
            " WHERE last_used_at < ? AND NOT EXISTS (SELECT 1 FROM guard_threads t WHERE t.vector_store_id = v.id)"
            " ORDER BY last_used_at, id LIMIT ?",
            (before, limit),
        )
        return [VectorStoreRecord(*row) for row in rows]

    def _do(self, statement: str, *parameters: object) -> None:
        """Run one statement that may as well run twice."""
        self._database.run(lambda transaction: transaction.execute(statement, parameters), repeatable=True)
