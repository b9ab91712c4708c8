"""Databases for tests: a file, or a schema of its own on a server that this process started."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from assistantguard import MemoryLedger
from assistantguard.ledger import Ledger, SqlLedger, open_ledger
from benchmarks._postgres import PostgresServer

__all__ = ["DIALECTS", "Open", "fresh_url", "opened_again"]

Open = Callable[[], Ledger]
"""Opens the same books once more."""

DIALECTS = ("sqlite", "postgresql")


@contextlib.contextmanager
def fresh_url(dialect: str, directory: Path, server: Callable[[], PostgresServer]) -> Iterator[str]:
    """The URL of a database without anything in it; `server` is called where one is needed."""
    if dialect == "sqlite":
        yield f"sqlite:///{directory / 'guard.db'}"
        return
    postgres, schema = server(), f"test_{uuid.uuid4().hex}"
    postgres.psql(f"CREATE SCHEMA {schema}")
    yield postgres.url(schema)
    postgres.psql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state LIKE '%in transaction%'",
        f"DROP SCHEMA {schema} CASCADE",
    )


@contextlib.contextmanager
def opened_again(where: str, directory: Path, server: Callable[[], PostgresServer]) -> Iterator[Open]:
    """Opens new books once more: as another process would, or, in ``"memory"``, as another part of the same."""
    if where == "memory":
        books = MemoryLedger()
        yield lambda: books
        return
    opened: list[SqlLedger] = []
    with fresh_url(where, directory, server) as url:

        def open_again() -> Ledger:
            opened.append(open_ledger(url))
            return opened[-1]

        yield open_again
        for ledger in opened:
            ledger.database.close()
