"""Consent to the deletion of old threads, by the database's URL or the database itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta

from assistantguard.errors import ConfigurationError
from assistantguard.storage import Database, open_database
from assistantguard.storage.consents import Consent, record_consent, withdraw_consent

__all__ = ["consent_to_deletion", "opened", "seconds_of", "withdraw_consent_to_deletion"]

_LONGEST = timedelta(days=36_525)


def consent_to_deletion(
    database: str | Database,
    words: str,
    *,
    delete_after: timedelta = timedelta(days=365),
) -> Consent:
    """Consent, for the application, to the deletion of threads that have been archived for long.

    It is recorded in the database with its time, and holds until it is withdrawn or given anew. Without it
    `assistantguard.lifecycle.sweep` deletes no thread.

    Args:
        database: The database, or its URL.
        words: Who consents and why, in one line.
        delete_after: For how long a thread has been archived at least. A sweep that deletes sooner needs a new consent.

    Raises:
        ConfigurationError: The words say nothing, the time is not above 0, or there is no such database.
    """
    seconds = seconds_of("delete_after", delete_after)
    with opened(database) as books:
        return record_consent(books, words, seconds, time.time())


def withdraw_consent_to_deletion(database: str | Database) -> bool:
    """Take the consent back; return whether there was one. It stays on record, with the time of both.

    Raises:
        ConfigurationError: There is no such database.
    """
    with opened(database) as books:
        return withdraw_consent(books, time.time())


@contextlib.contextmanager
def opened(database: str | Database) -> Iterator[Database]:
    """The database; one that is opened here, which must be there, is closed at the end."""
    if isinstance(database, Database):
        yield database
        return
    books = open_database(database, create=False)
    try:
        yield books
    finally:
        books.close()


def seconds_of(name: str, value: timedelta) -> float:
    """A length of time in seconds.

    Raises:
        ConfigurationError: It is none, or not above 0, or longer than a hundred years.
    """
    if not isinstance(value, timedelta) or not timedelta(0) < value <= _LONGEST:
        raise ConfigurationError(
            f"{name} is {value!r}, it must be a timedelta above 0 and at most {_LONGEST.days:,} days: change it"
        )
    return value.total_seconds()
