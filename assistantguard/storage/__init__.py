"""What outlives the process: one file or one server, SQLite or PostgreSQL, and the threads and runs that it holds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.storage.database import Database, Transaction
    from assistantguard.storage.memory_threads import MemoryThreads
    from assistantguard.storage.migrations import MIGRATIONS, Migration
    from assistantguard.storage.opening import open_database
    from assistantguard.storage.sql_threads import SqlThreads
    from assistantguard.storage.threads import (
        GenerationRecord,
        Opened,
        RunRecord,
        Taken,
        ThreadFilter,
        ThreadInfo,
        ThreadStore,
        Unfinished,
        VectorStoreRecord,
    )
    from assistantguard.storage.url import DatabaseUrl, parse_url

__all__ = [
    "MIGRATIONS",
    "Database",
    "DatabaseUrl",
    "GenerationRecord",
    "MemoryThreads",
    "Migration",
    "Opened",
    "RunRecord",
    "SqlThreads",
    "Taken",
    "ThreadFilter",
    "ThreadInfo",
    "ThreadStore",
    "Transaction",
    "Unfinished",
    "VectorStoreRecord",
    "open_database",
    "parse_url",
]

_MODULES = {
    "MIGRATIONS": "migrations",
    "Database": "database",
    "DatabaseUrl": "url",
    "MemoryThreads": "memory_threads",
    "Migration": "migrations",
    "SqlThreads": "sql_threads",
    "Transaction": "database",
    "open_database": "opening",
    "parse_url": "url",
}
"""Where the names are made; those that are not here are made in `threads`."""


def __getattr__(name: str) -> Any:
    """What a guard does not need at once is imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'threads')}"), name)
