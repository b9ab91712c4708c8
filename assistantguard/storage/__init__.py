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

_MODULES = (
    "database",
    "memory_threads",
    "migrations",
    "opening",
    "sql_threads",
    "threads",
    "url",
)


def __getattr__(name: str) -> Any:
    """What a guard does not need at once is imported when it is first used."""
    if name in __all__:
        for each in _MODULES:
            module = import_module(f"{__name__}.{each}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
