"""Opens databases."""

from __future__ import annotations

from assistantguard.errors import ConfigurationError, DatabaseUnavailable
from assistantguard.storage.database import Database
from assistantguard.storage.migrations import migrate
from assistantguard.storage.url import DatabaseUrl, parse_url

__all__ = ["open_database"]


def open_database(url: str | DatabaseUrl, *, timeout: float = 10.0) -> Database:
    """Open a database, make it where there is none, and bring its schema up to date.

    Args:
        url: ``sqlite:///guard.db`` (beside the program), ``sqlite:////var/lib/app/guard.db`` (an absolute path), or
            ``postgresql://user:password@host/database``, with libpq's parameters.
        timeout: Seconds for which a transaction waits to begin while others keep the database, or while a server
            that was there cannot be reached.

    Raises:
        ConfigurationError: The URL is malformed, the database cannot be reached or written, is none, or has a schema
            that is newer than this program; the extra ``postgres`` is missing. Passwords are never shown.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise ConfigurationError(f"timeout is {timeout!r}, it must be a number of seconds above 0")
    where = url if isinstance(url, DatabaseUrl) else parse_url(url)
    database: Database
    if where.dialect == "sqlite":
        from assistantguard.storage.sqlite import SqliteDatabase

        database = SqliteDatabase(where, timeout)
    else:
        from assistantguard.storage.postgres import PostgresDatabase

        database = PostgresDatabase(where, timeout)
    try:
        migrate(database)
    except BaseException as error:
        database.close()
        if isinstance(error, DatabaseUnavailable):
            raise ConfigurationError(str(error)) from error
        raise
    return database
