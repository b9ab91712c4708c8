"""One file or one server for all that outlives the process: SQLite or PostgreSQL, chosen by a URL."""

from __future__ import annotations

from assistantguard.storage.database import Database, Transaction
from assistantguard.storage.migrations import MIGRATIONS, Migration
from assistantguard.storage.opening import open_database
from assistantguard.storage.url import DatabaseUrl, parse_url

__all__ = ["MIGRATIONS", "Database", "DatabaseUrl", "Migration", "Transaction", "open_database", "parse_url"]
