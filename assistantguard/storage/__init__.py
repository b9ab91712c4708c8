"""What outlives the process: one file or one server, SQLite or PostgreSQL, and the threads and runs that it holds."""

from __future__ import annotations

from assistantguard.storage.database import Database, Transaction
from assistantguard.storage.memory_threads import MemoryThreads
from assistantguard.storage.migrations import MIGRATIONS, Migration
from assistantguard.storage.opening import open_database
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
