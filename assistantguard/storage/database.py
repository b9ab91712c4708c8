"""What a database does for the rest of the package: transactions that threads can nest, and whole ones that repeat.

Statements are plain SQL that SQLite and PostgreSQL both understand, with ``?`` for parameters.
"""

from __future__ import annotations

import abc
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from assistantguard.errors import AssistantGuardError, DatabaseUnavailable
from assistantguard.storage.url import DatabaseUrl

__all__ = ["Database", "Row", "Transaction", "leave_behind"]

T = TypeVar("T")
Row = tuple[Any, ...]


class Transaction(abc.ABC):
    """An open transaction. It belongs to the thread that began it."""

    writes_in_with = False
    """See `Database.writes_in_with`."""

    def __init__(self, *, repeated: bool) -> None:
        self.repeated = repeated
        """Whether an earlier try may have been written although its end was not heard: see `Database.run`."""
        self.process = os.getpid()
        self.error: BaseException | None = None
        """What went wrong in a part of it: the whole can only be undone then."""

    def check(self) -> None:
        """See to it that no part has failed.

        Raises:
            AssistantGuardError: One has.
        """
        if self.error is not None:
            raise AssistantGuardError(
                "a part of this transaction failed before, so that nothing of it is written"
            ) from self.error

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement; return its rows, if it has any.

        Raises:
            DatabaseUnavailable: It could not be run.
            AssistantGuardError: A part of this transaction failed before.
        """
        if self.error is not None:
            self.check()
        try:
            return self._execute(statement, parameters)
        except BaseException as error:
            self.error = error
            raise

    @abc.abstractmethod
    def _execute(self, statement: str, parameters: Sequence[object]) -> list[Row]: ...


class Database(abc.ABC):
    """A database that several processes and threads use at once.

    Connections are made when they are needed, kept for the next one, and made anew after a fork or when the server
    was lost. `assistantguard.storage.open_database` gives one.
    """

    writes_in_with = False
    """Whether parts of a statement that begins with WITH may write, so that one does what takes several elsewhere."""
    locked = ""
    """What ends a SELECT that locks its rows."""
    skip_locked = ""
    """What ends a SELECT that locks its rows and passes over those that others have locked."""

    def __init__(self, url: DatabaseUrl, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        """Seconds for which a transaction waits to begin, while others keep the database or it cannot be reached."""
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url.shown!r})"

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.url.dialect

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction for writing: committed at the end, undone when an exception leaves the block.

        Inside one, further calls by the same thread join it. An exception that leaves an inner block undoes the whole
        one, also if it is caught further out: the outer block then raises at its end.

        Raises:
            DatabaseUnavailable: It could not begin in time, or not be committed; `outcome_unknown` tells whether it
                may have been written all the same.
        """
        joined = self._current()
        if joined is None:
            with self._begun(repeated=False) as transaction:
                yield transaction
            return
        try:
            yield joined
        except BaseException as error:
            joined.error = joined.error or error
            raise

    def run(self, work: Callable[[Transaction], T], *, repeatable: bool = False) -> T:
        """Do `work` in a transaction, and again from the start when the server undid it: a lost connection, a deadlock.

        Args:
            work: Called once or several times; what it does besides running statements must bear that. Inside a
                transaction of the same thread it joins that one, and is called once.
            repeatable: Whether the work may also be repeated when it is not known whether it was written. It then
                finds `Transaction.repeated` set.

        Raises:
            DatabaseUnavailable: As for `transaction`.
        """
        joined = self._current()
        if joined is not None:
            try:
                return work(joined)
            except BaseException as error:
                joined.error = joined.error or error
                raise
        repeated, left = False, _MOST_REPEATS
        while True:
            try:
                with self._begun(repeated=repeated) as transaction:
                    return work(transaction)
            except DatabaseUnavailable as error:
                left -= 1
                if not left or not (error.undone or (error.outcome_unknown and repeatable)):
                    raise
                repeated = repeated or error.outcome_unknown

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement that writes, in a transaction of its own; inside one of the same thread it joins that.

        It may be run again when it is not known whether it was written, and must bear that.

        Raises:
            DatabaseUnavailable: As for `transaction`.
        """
        return self.run(lambda transaction: transaction.execute(statement, parameters), repeatable=True)

    @abc.abstractmethod
    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement that only reads; inside a transaction of the same thread it sees what that one wrote.

        Raises:
            DatabaseUnavailable: It could not be run.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections that nobody uses. The database can be used again all the same."""

    @abc.abstractmethod
    def _begun(self, *, repeated: bool) -> Any:
        """A context manager of a transaction of its own, the thread's current one: commits it, or undoes it."""

    @abc.abstractmethod
    def lock_migrations(self, transaction: Transaction) -> None:
        """Keep other processes from migrating until `transaction` ends."""

    @abc.abstractmethod
    def has_table(self, name: str) -> bool:
        """Whether there is a table of this name."""

    def _set_current(self, transaction: Transaction | None) -> None:
        """Note what this thread is in, for those who join it."""
        self._local.transaction = transaction

    def _current(self) -> Transaction | None:
        """The transaction that this thread is in; a forked process is in none."""
        transaction: Transaction | None = getattr(self._local, "transaction", None)
        return transaction if transaction is not None and transaction.process == os.getpid() else None


def leave_behind(connection: object) -> None:
    """Never close a connection of the process that this one was forked from, not even when this one ends.

    Closing it would end the parent's session, or give up its locks.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


_MOST_REPEATS = 20
