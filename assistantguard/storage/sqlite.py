"""SQLite: one file, several processes, no server.

The write-ahead log lets readers read while one writes. Who wants to write tries again and again after short random
pauses: SQLite's own ``busy_timeout`` backs off so far that one process in a crowd may wait for seconds.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from assistantguard.errors import ConfigurationError, DatabaseUnavailable
from assistantguard.storage.database import Database, Row, Transaction, leave_behind
from assistantguard.storage.url import DatabaseUrl

__all__ = ["SqliteDatabase"]

_OLDEST = (3, 35, 0)
"""The first that has RETURNING."""
_PAUSES = (0.0002, 0.002)
"""Seconds between two tries to get the lock: at least, and at most."""
_WAL_KEPT = 64 * 1024 * 1024
"""Bytes to which the write-ahead log is cut after it had to grow."""
_STATEMENTS = 256
"""Compiled statements that a connection keeps."""


class _SqliteTransaction(Transaction):
    def __init__(self, database: SqliteDatabase, connection: sqlite3.Connection, *, repeated: bool) -> None:
        super().__init__(repeated=repeated)
        self._database = database
        self._connection = connection

    def _execute(self, statement: str, parameters: Sequence[object]) -> list[Row]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._database.translated(error) from error


class _Connections:
    """The connections of one process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.writing = threading.Lock()
        """Threads of one process queue here, instead of all trying in turn."""
        self.idle: list[sqlite3.Connection] = []

    def close(self) -> None:
        while self.idle:
            connection = self.idle.pop()
            if self.process == os.getpid():
                with contextlib.suppress(sqlite3.Error):  # the last one tidies up, which it may not be able to
                    connection.close()
            else:
                leave_behind(connection)


class SqliteDatabase(Database):
    """A database in one file.

    Args:
        url: Where it is.
        timeout: Seconds for which a transaction waits to begin while others write.

    Raises:
        ConfigurationError: The file cannot be made, opened or written, is no database, or SQLite is too old.
    """

    def __init__(self, url: DatabaseUrl, timeout: float) -> None:
        super().__init__(url, timeout)
        assert url.path is not None
        self._path = url.path
        self._random = random.Random()  # noqa: S311  spreads tries, keeps no secret
        if sqlite3.sqlite_version_info < _OLDEST:
            raise ConfigurationError(
                f"this Python has SQLite {sqlite3.sqlite_version}, at least {'.'.join(map(str, _OLDEST))} is needed:"
                " use a newer Python, or a postgresql:// URL"
            )
        self._connections = _Connections()
        self._finalizer = weakref.finalize(self, _Connections.close, self._connections)
        _check_place(self._path, url.shown)
        try:
            connection = self._connect()
        except DatabaseUnavailable as error:
            raise ConfigurationError(str(error)) from error.__cause__
        self._connections.idle.append(connection)

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """See `Database.query`."""
        joined = self._current()
        if joined is not None:
            return joined.execute(statement, parameters)
        connections = self._own_connections()
        connection = self._take(connections)
        try:
            began = time.monotonic()
            while True:
                try:
                    return connection.execute(statement, parameters).fetchall()
                except sqlite3.DatabaseError as error:
                    if not _is_busy(error):
                        raise self.translated(error) from error
                    self._pause(began, error)
        finally:
            self._give(connections, connection)

    def close(self) -> None:
        """See `Database.close`."""
        self._own_connections().close()

    def lock_migrations(self, transaction: Transaction) -> None:
        """Nothing to do: whoever has begun a transaction is the only one that writes."""

    def has_table(self, name: str) -> bool:
        """See `Database.has_table`."""
        return bool(self.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)))

    def translated(self, error: sqlite3.DatabaseError) -> Exception:
        """What to raise for `error`: itself where a statement is wrong, ours where the database does not work."""
        text = str(error)
        if not isinstance(error, sqlite3.OperationalError) and "malformed" not in text and "not a database" not in text:
            return error
        for sign, mend in _MENDS.items():
            if sign in text:
                return DatabaseUnavailable(f"{self.url.shown!r}: {text}: {mend}")
        return error if "no such" in text or "syntax" in text else DatabaseUnavailable(f"{self.url.shown!r}: {text}")

    @contextlib.contextmanager
    def _begun(self, *, repeated: bool) -> Iterator[Transaction]:
        began = time.monotonic()
        connections = self._own_connections()
        with connections.writing:
            connection = self._take(connections)
            try:
                self._insist(connection, "BEGIN IMMEDIATE", began)
                transaction = _SqliteTransaction(self, connection, repeated=repeated)
                self._set_current(transaction)
                yield transaction
                transaction.check()
                if connections.process == os.getpid():
                    self._insist(connection, "COMMIT", time.monotonic())
            finally:
                self._set_current(None)
                self._give(connections, connection)

    def _insist(self, connection: sqlite3.Connection, statement: str, began: float) -> None:
        """Run `statement` as soon as others let it."""
        while True:
            try:
                connection.execute(statement)
            except sqlite3.DatabaseError as error:
                if not _is_busy(error):
                    raise self.translated(error) from error
                self._pause(began, error)
            else:
                return

    def _pause(self, began: float, error: sqlite3.DatabaseError) -> None:
        waited = time.monotonic() - began
        if waited > self.timeout:
            raise DatabaseUnavailable(
                f"{self.url.shown!r} was locked by others for {waited:.1f} seconds, the most is {self.timeout:g}: end"
                " the program that keeps it locked (an open sqlite3 shell, a backup), or use a postgresql:// URL"
            ) from error
        time.sleep(self._random.uniform(*_PAUSES))

    def _own_connections(self) -> _Connections:
        """This process's; what a forked one brought along is laid aside."""
        if self._connections.process != os.getpid():
            self._connections.close()
            self._connections = _Connections()
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _Connections.close, self._connections)
        return self._connections

    def _take(self, connections: _Connections) -> sqlite3.Connection:
        try:
            return connections.idle.pop()
        except IndexError:
            return self._connect()

    def _give(self, connections: _Connections, connection: sqlite3.Connection) -> None:
        """Lay a connection by for the next one; a transaction that is still open is undone."""
        if connections.process != os.getpid():
            leave_behind(connection)
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.DatabaseError:
            connection.close()  # which undoes it too
        else:
            connections.idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(
                self._path, timeout=0.0, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
            )
            began = time.monotonic()
            while True:
                try:
                    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                    break
                except sqlite3.OperationalError as error:  # another process is changing it just now
                    if not _is_busy(error):
                        raise
                    self._pause(began, error)
            connection.execute(f"PRAGMA synchronous = {self.url.synchronous}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise self.translated(error) from error
            raise
        if mode != "wal":
            connection.close()
            raise DatabaseUnavailable(
                f"{self.url.shown!r} cannot have a write-ahead log ({mode}), as on a network share: put the file on a"
                " local disk, or use a postgresql:// URL"
            )
        return connection


def _is_busy(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _check_place(path: Path, shown: str) -> None:
    """Say what is wrong with a place before SQLite says that it is "unable to open database file"."""
    try:
        is_directory, parent_exists, exists = path.is_dir(), path.parent.is_dir(), path.exists()
    except OSError as error:
        raise ConfigurationError(f"{shown!r} cannot be looked at: {error.strerror or error}") from error
    if is_directory:
        raise ConfigurationError(f"{shown!r}: {path} is a directory, name a file in it")
    if not parent_exists:
        raise ConfigurationError(f"{shown!r}: the directory {path.parent} does not exist, make it first")
    for place in (path, path.parent) if exists else (path.parent,):
        if not os.access(place, os.W_OK):
            raise ConfigurationError(
                f"{shown!r}: {place} cannot be written by this user; the file and its directory must be writable"
            )


_MENDS = {
    "not a database": "name another file, or move this one away",
    "malformed": "the file is damaged, restore it from a backup (sqlite3 FILE .recover saves what is left)",
    "unable to open": "see to it that the file and its directory exist and are writable",
    "readonly": "the file, its directory and the -wal and -shm files beside it must be writable",
    "full": "make room on the disk",
    "disk I/O": "see to the disk, or to the file's having been removed",
}
