"""PostgreSQL: one server for several machines, through psycopg."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from assistantguard.errors import ConfigurationError, DatabaseUnavailable
from assistantguard.storage.database import Database, Row, Transaction, leave_behind
from assistantguard.storage.url import DatabaseUrl

if TYPE_CHECKING:
    import psycopg


__all__ = ["PostgresDatabase"]

_MOST_CONNECTIONS = 8
"""Of one process. Who finds them all taken waits."""
_PAUSES = (0.02, 0.2)
"""Seconds between two tries to connect: at least, and at most."""
_MIGRATION_LOCK = 0x6775617264
"""The number of the advisory lock."""
_CONNECT_SECONDS = 10
_IDLE_GRACE = 30
"""Seconds after which the server ends a transaction whose process stands still, beside the time to wait for a lock."""


class _Connection:
    """A connection and its cursor, since making a cursor for each statement costs as much as the statement."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.process = os.getpid()
        self.connection = connection
        self.cursor = connection.cursor()

    @property
    def closed(self) -> bool:
        """Whether it was closed, or lost."""
        return self.connection.closed

    def close(self) -> None:
        """Close it, or never touch it again where it belongs to the process that this one was forked from."""
        if self.process == os.getpid():
            self.connection.close()
        else:
            leave_behind(self.connection)


class _PostgresTransaction(Transaction):
    writes_in_with = True

    def __init__(self, database: PostgresDatabase, connection: _Connection, *, repeated: bool) -> None:
        super().__init__(repeated=repeated)
        self._database = database
        self._connection = connection

    def _execute(self, statement: str, parameters: Sequence[object]) -> list[Row]:
        return self._database.execute_on(self._connection, statement, parameters)


class _Connections:
    """The connections of one process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.idle: list[_Connection] = []

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()


class PostgresDatabase(Database):
    """A database on a server.

    Args:
        url: Where it is.
        timeout: Seconds for which a transaction waits: for a connection, for the server to come back, for a lock.

    Raises:
        ConfigurationError: psycopg is missing, or the server cannot be reached or refuses.
    """

    writes_in_with = True
    locked = "FOR UPDATE"
    skip_locked = "FOR UPDATE SKIP LOCKED"

    def __init__(self, url: DatabaseUrl, timeout: float) -> None:
        super().__init__(url, timeout)
        try:
            import psycopg
        except ImportError as error:
            raise ConfigurationError(
                f'{url.shown!r} needs psycopg ({error}): pip install "assistantguard[postgres]"'
            ) from None
        self._psycopg = psycopg
        self._idle = psycopg.pq.TransactionStatus.IDLE
        self._conninfo = self._checked_conninfo(url)
        self._random = random.Random()  # noqa: S311  spreads tries, keeps no secret
        wait, idle = round(timeout * 1000), round((timeout + _IDLE_GRACE) * 1000)
        self._session = (
            f"SET lock_timeout = {wait}; SET idle_in_transaction_session_timeout = {idle};"
            " SET default_transaction_isolation = 'read committed'; SET plan_cache_mode = force_generic_plan"
        )
        self._connections = _Connections()
        self._finalizer = weakref.finalize(self, _Connections.close, self._connections)
        try:
            connection = self._connect(time.monotonic(), insist=False)
        except DatabaseUnavailable as error:
            raise ConfigurationError(str(error)) from error.__cause__
        self._connections.idle.append(connection)

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """See `Database.query`."""
        return self.execute(statement, parameters)

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """See `Database.execute`; a statement is a transaction."""
        joined = self._current()
        if joined is not None:
            return joined.execute(statement, parameters)
        connections, began = self._own_connections(), time.monotonic()
        with self._slot(connections):
            while True:
                connection = self._take(connections, began)
                try:
                    return self.execute_on(connection, statement, parameters)
                except DatabaseUnavailable as error:
                    if error.undone and not connection.closed:  # a deadlock
                        self._pause(began, error)
                    else:
                        self._after_loss(connections, connection, began, error)
                finally:
                    self._give(connections, connection)

    def close(self) -> None:
        """See `Database.close`."""
        self._own_connections().close()

    def lock_migrations(self, transaction: Transaction) -> None:
        """See `Database.lock_migrations`."""
        transaction.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))

    def has_table(self, name: str) -> bool:
        """See `Database.has_table`."""
        return self.query("SELECT to_regclass(?) IS NOT NULL", (name,)) == [(True,)]

    def execute_on(self, connection: _Connection, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a statement on `connection`.

        Raises:
            DatabaseUnavailable: The server is lost, or did not let it happen.
        """
        try:
            cursor = connection.cursor.execute(cast("Any", _numbered(statement)), parameters or None)
            result = cursor.pgresult
            return cursor.fetchall() if result is not None and result.nfields else []
        except self._psycopg.Error as error:
            raise self._translated(error, connection) from error

    @contextlib.contextmanager
    def _begun(self, *, repeated: bool) -> Iterator[Transaction]:
        connections, began = self._own_connections(), time.monotonic()
        with self._slot(connections):
            connection = self._begin_on_some(connections, began)
            try:
                transaction = _PostgresTransaction(self, connection, repeated=repeated)
                self._set_current(transaction)
                yield transaction
                transaction.check()
                if connections.process == os.getpid():
                    self._commit(connection)
            finally:
                self._set_current(None)
                self._give(connections, connection)

    def _begin_on_some(self, connections: _Connections, began: float) -> _Connection:
        """A connection on which a transaction is open. Those that turn out to be lost are replaced."""
        while True:
            connection = self._take(connections, began)
            try:
                self.execute_on(connection, "BEGIN")
            except DatabaseUnavailable as error:
                self._give(connections, connection)
                self._after_loss(connections, connection, began, error)
            except BaseException:
                self._give(connections, connection)
                raise
            else:
                return connection

    def _commit(self, connection: _Connection) -> None:
        try:
            self.execute_on(connection, "COMMIT")
        except DatabaseUnavailable as error:
            if connection.closed:
                error.undone, error.outcome_unknown = False, True
            raise

    def _translated(self, error: psycopg.Error, connection: _Connection | None = None) -> Exception:
        """What to raise for `error`: itself where a statement is wrong, ours where the database does not work."""
        state = error.sqlstate or ""
        if state in _RIGHTS:
            return ConfigurationError(f"{self.url.shown!r}: {_one_line(error)}: {_RIGHTS[state]}")
        lost = connection is not None and connection.closed
        if not lost and state[:2] not in _UNAVAILABLE and state not in _LOCK_STATES:
            return error
        text = f"{self.url.shown!r}: {_one_line(error)}"
        if state == _LOCK_TIMEOUT:
            text += f" within {self.timeout:g} seconds: another session keeps what is needed locked (pg_stat_activity)"
        elif state[:2] == _FULL:
            text += ": make room on the server"
        translated = DatabaseUnavailable(text)
        translated.undone = lost or state in _UNDONE
        return translated

    def _pause(self, began: float, error: BaseException) -> None:
        """Wait before the next try.

        Raises:
            DatabaseUnavailable: The time is up.
        """
        if time.monotonic() - began > self.timeout:
            raise error
        time.sleep(self._random.uniform(*_PAUSES))

    @contextlib.contextmanager
    def _slot(self, connections: _Connections) -> Iterator[None]:
        if not connections.slots.acquire(timeout=self.timeout):
            raise DatabaseUnavailable(
                f"{self.url.shown!r}: all {_MOST_CONNECTIONS} connections of this process were busy for"
                f" {self.timeout:g} seconds: see what keeps them (pg_stat_activity)"
            )
        try:
            yield
        finally:
            connections.slots.release()

    def _own_connections(self) -> _Connections:
        """This process's; what a forked one brought along is laid aside."""
        if self._connections.process != os.getpid():
            self._connections.close()
            self._connections = _Connections()
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _Connections.close, self._connections)
        return self._connections

    def _take(self, connections: _Connections, began: float) -> _Connection:
        try:
            return connections.idle.pop()
        except IndexError:
            return self._connect(began, insist=True)

    def _give(self, connections: _Connections, connection: _Connection) -> None:
        """Lay a connection by for the next one; a transaction that is still open is undone."""
        if connections.process != os.getpid():
            connection.close()
            return
        try:
            if not connection.closed and connection.connection.pgconn.transaction_status != self._idle:
                connection.cursor.execute("ROLLBACK")
        except self._psycopg.Error:
            connection.close()  # which undoes it too
        else:
            if not connection.closed:
                connections.idle.append(connection)

    def _after_loss(
        self, connections: _Connections, connection: _Connection, began: float, error: DatabaseUnavailable
    ) -> None:
        """Go on with another connection, if `connection` was lost before anything was done on it.

        Raises:
            DatabaseUnavailable: It was not lost, or the time is up.
        """
        if not connection.closed:
            raise error
        if connections.idle:
            connections.close()  # the server went away, and they with it
        else:
            self._pause(began, error)

    def _connect(self, began: float, *, insist: bool) -> _Connection:
        """A new connection.

        Args:
            began: When the wait for it began (monotonic).
            insist: Whether a server that cannot be reached is tried again, and not only one that is starting.
        """
        from psycopg.types.numeric import Int8Dumper

        psycopg = self._psycopg
        while True:
            connection = None
            try:
                connection = psycopg.connect(
                    self._conninfo, autocommit=True, prepare_threshold=0, cursor_factory=psycopg.RawCursor
                )
                connection.execute(cast("Any", self._session), prepare=False)
            except psycopg.Error as error:
                if connection is not None:
                    connection.close()
                translated = self._refused(error)
                text = str(error)
                passing = any(sign in text for sign in _PASSING)
                if not passing and not (insist and any(sign in text for sign in _UNREACHABLE)):
                    raise translated from error
                translated.__cause__ = error
                self._pause(began, translated)
            else:
                # All whole numbers are 64 bits wide, so that a statement is prepared once and not for each width.
                connection.adapters.register_dumper(int, Int8Dumper)
                return _Connection(cast("Any", connection))

    def _refused(self, error: psycopg.Error) -> DatabaseUnavailable:
        return DatabaseUnavailable(
            f"{self.url.shown!r}: {_one_line(error)}: see to it that the server runs, listens there, and lets this user"
            " use this database"
        )

    def _checked_conninfo(self, url: DatabaseUrl) -> str:
        from psycopg import conninfo

        known = {option.keyword.decode() for option in self._psycopg.pq.Conninfo.get_defaults()}
        strange = [name for name in url.parameters if name not in known]
        if strange:
            raise ConfigurationError(f"{url.shown!r} has the parameter {strange[0]!r}, which libpq does not know")
        try:
            given = conninfo.conninfo_to_dict(url.conninfo)
        except self._psycopg.Error:
            # libpq's own message may quote a part of the password.
            raise ConfigurationError(
                f"{url.shown!r} cannot be read: give postgresql://user:password@host:port/database, special characters"
                " in it percent-encoded (@ is %40, / is %2F, : is %3A)"
            ) from None
        for port in str(given.get("port", "")).split(","):
            if port and not (port.isdecimal() and 0 < int(port) < 65_536):
                raise ConfigurationError(f"{url.shown!r} has a port that is no number from 1 to 65535")
        given.setdefault("connect_timeout", _CONNECT_SECONDS)
        given.setdefault("application_name", "assistantguard")
        return str(conninfo.make_conninfo("", **given))


def _one_line(error: psycopg.Error) -> str:
    return " ".join((error.diag.message_primary or str(error)).split()) or type(error).__name__


@functools.lru_cache(maxsize=1024)
def _numbered(statement: str) -> str:
    """A statement with its parameters written as ``$1``, ``$2`` and so on."""
    first, *others = statement.split("?")
    return first + "".join(f"${number}{other}" for number, other in enumerate(others, 1))


_FULL = "53"
_UNAVAILABLE = {"08", _FULL, "57", "58", "XX"}
"""Classes of errors: connection, resources, intervention by an operator, trouble of the system, internal."""
_LOCK_TIMEOUT = "55P03"
_UNDONE = {"40001", "40P01", "25P03"}
"""Serialisation failure, deadlock, and the time limit of a transaction that stood still."""
_LOCK_STATES = {_LOCK_TIMEOUT, *_UNDONE}
_RIGHTS = {
    "25006": "name the primary server, this one only lets read",
    "3F000": "GRANT USAGE, CREATE ON SCHEMA … TO this user, or name a schema that exists (options=-csearch_path%3D…)",
    "42501": "GRANT USAGE, CREATE ON SCHEMA … TO this user, who must own the tables whose names begin with guard_",
}
"""What to do where the user may not do something, by SQLSTATE."""
_PASSING = (
    "starting up",
    "shutting down",
    "recovery mode",
    "not yet accepting connections",
    "too many clients",
    "remaining connection slots",
)
_UNREACHABLE = ("connection failed", "Connection refused", "No such file", "closed the connection", "timeout expired")
