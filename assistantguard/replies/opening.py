"""Opens what replies are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.ledger import Ledger
    from assistantguard.models.cached import ReplyStore
    from assistantguard.storage import Database

__all__ = ["open_store"]


def open_store(where: str | ReplyStore, ledger: Ledger) -> ReplyStore:
    """The store that `where` means.

    Args:
        where: ``"memory"``, ``"ledger"``, the URL of a Redis or Valkey server, or a store.
        ledger: The guard's books.

    Raises:
        ConfigurationError: The ledger is not in a database, the URL is malformed, or the extra ``redis`` is missing.
    """
    if not isinstance(where, str):
        return where
    if where == "memory":
        from assistantguard.replies.memory import MemoryReplies

        return MemoryReplies()
    if where == "ledger":
        database: Database | None = getattr(ledger, "database", None)
        if database is None:
            raise ConfigurationError(
                "ReplyCache store is 'ledger', and the guard's ledger is in no database: give the guard one,"
                " ledger='sqlite:///guard.db' or 'postgresql://…', or use store='memory'"
            )
        from assistantguard.replies.sql import SqlReplies

        return SqlReplies(database)
    from assistantguard.replies.redis import RedisReplies

    return RedisReplies(where)
