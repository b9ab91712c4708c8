"""Opens databases."""

from __future__ import annotations

from assistantguard.errors import ConfigurationError, DatabaseUnavailable
from assistantguard.storage.database import Database
from assistantguard.storage.migrations import migrate
from assistantguard.storage.url import DatabaseUrl, parse_url

__all__ = ["open_database"]


def open_database(url: str | DatabaseUrl, *, timeout: float = 10.0, create: bool = True) -> Database:
    """Open a database, make it where there is none, and bring its schema up to date.

    Args:
        url: ``sqlite:///guard.db`` (beside the program), ``sqlite:////var/lib/app/guard.db`` (an absolute path), or
            ``postgresql://user:password@host/database``, with libpq's parameters.
        timeout: Seconds for which a transaction waits to begin while others keep the database, or while a server
            that was there cannot be reached.
        create: Whether it is made where there is none.

    Raises:
        ConfigurationError: The URL is malformed, the database cannot be reached or written, is none, or has a schema
            that is newer than this program; there is none and it is not to be made; the extra ``postgres`` is missing.
            Passwords are never shown.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ConfigurationError(f"timeout is {timeout!r}, it must be a number of seconds above 0")
    where = url if isinstance(url, DatabaseUrl) else parse_url(url)
    if not create and where.path is not None and not where.path.exists():
        raise _no_books(where)
    database: Database
    if where.dialect == "sqlite":
        from assistantguard.storage.sqlite import SqliteDatabase

        database = SqliteDatabase(where, timeout)
    else:
        from assistantguard.storage.postgres import PostgresDatabase

        database = PostgresDatabase(where, timeout)
    try:
        if not create:
            _check_books(database)
        migrate(database)
    except BaseException as error:
        database.close()
        if isinstance(error, DatabaseUnavailable):
            raise ConfigurationError(str(error)) from error
        raise
    return database


def _check_books(database: Database) -> None:
    if not database.has_table("guard_schema"):
        raise _no_books(database.url)


def _no_books(where: DatabaseUrl) -> ConfigurationError:
    return ConfigurationError(
        f"there are no books at {where.shown!r}: give the URL that the guards have, AssistantGuard(ledger=…)"
    )
