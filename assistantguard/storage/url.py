"""Database URLs: what they say, and how to show them without their passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

__all__ = ["DatabaseUrl", "Dialect", "parse_url", "without_passwords"]

Dialect = Literal["sqlite", "postgresql"]
Synchronous = Literal["normal", "full"]

_EXAMPLES = "sqlite:///guard.db, sqlite:////var/lib/app/guard.db or postgresql://user@host/database"
_POSTGRESQL = ("postgresql", "postgres")
_SECRETS = re.compile(r"((?:password|passwd|sslpassword|oauth_client_secret|pass)=)[^&#\s]*", re.IGNORECASE)
_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True, eq=False)
class DatabaseUrl(Value):
    """Where a database is."""

    dialect: Dialect
    shown: str
    """The URL without its passwords, for errors and logs."""
    path: Path | None = None
    """SQLite: the file, absolute."""
    synchronous: Synchronous = "normal"
    """SQLite: whether each commit waits for the disk (``full``), or only a checkpoint does (``normal``)."""
    conninfo: str = ""
    """PostgreSQL: what libpq gets. It may hold a password."""
    parameters: tuple[str, ...] = ()
    """PostgreSQL: the names of the parameters behind the ``?``."""

    def __repr__(self) -> str:
        return f"DatabaseUrl({self.shown!r})"


def without_passwords(url: str) -> str:
    """`url` as it may be shown: what stands between ``user:`` and the last ``@``, and password parameters, are masked.

    Where it is not clear which part is the password, more is masked rather than less.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if "@" in url or url.count(":") > 1 or not url.isprintable() else url[:_LONGEST_SHOWN]
    before, at, host = rest.rpartition("@")
    if at:
        user = before.partition(":")
        rest = f"{user[0]}:***@{host}" if user[1] else f"{before}@{host}"
    shown = scheme + "://" + _SECRETS.sub(_masked, rest)
    shown = "".join(character if character.isprintable() else "\ufffd" for character in shown)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 1] + "…"


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}***"


def parse_url(url: str) -> DatabaseUrl:
    """Read a database URL.

    ``sqlite:///guard.db`` is a file beside the program, ``sqlite:////var/lib/app/guard.db`` an absolute path (percent
    escapes are decoded; ``?synchronous=full`` has every commit wait for the disk). ``postgresql://…`` is what libpq
    understands, parameters included.

    Raises:
        ConfigurationError: It is not a URL of a kind that is known.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"the database URL is {type(url).__name__}, it must be a str such as {_EXAMPLES}")
    if "\0" in url:
        raise ConfigurationError("the database URL contains a NUL character, take it out")
    shown = without_passwords(url)
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme:
        raise ConfigurationError(f"{shown!r} is not a database URL: give one such as {_EXAMPLES}")
    kind = scheme.lower()
    if kind == "sqlite":
        return _sqlite(shown, rest)
    if kind in _POSTGRESQL:
        return _postgresql(shown, rest)
    if kind.startswith(("postgresql+", "postgres+", "sqlite+")):
        plain = kind.partition("+")[0]
        raise ConfigurationError(f"{shown!r} names a driver: leave it out and write {plain}://…")
    raise ConfigurationError(
        f"{shown!r} has the scheme {scheme!r}, known are sqlite and postgresql: give one such as {_EXAMPLES}"
    )


def _postgresql(shown: str, rest: str) -> DatabaseUrl:
    place, _, query = rest.partition("?")
    if place.count("@") > 1 or "@" in place.partition("/")[2]:
        raise ConfigurationError(f"{shown!r} has an @ or a / too many: in a user name or password write %40 and %2F")
    parameters = tuple(name for name, _ in parse_qsl(query, keep_blank_values=True))
    return DatabaseUrl("postgresql", shown, conninfo=f"postgresql://{rest}", parameters=parameters)


def _sqlite(shown: str, rest: str) -> DatabaseUrl:
    if not rest.startswith("/"):
        raise ConfigurationError(
            f"{shown!r} has {'no path' if not rest else 'two slashes'}: a file beside the program has three"
            " (sqlite:///guard.db), an absolute path has four (sqlite:////var/lib/app/guard.db)"
        )
    location, _, query = rest[1:].partition("?")
    name = unquote(location)
    if name in {"", ":memory:"}:
        raise ConfigurationError(
            f"{shown!r} names no file: give one such as sqlite:///guard.db (what is kept in memory needs no URL)"
        )
    if "\0" in name:
        raise ConfigurationError(f"{shown!r} contains a NUL character, take it out")
    synchronous: Synchronous = "normal"
    for parameter, value in parse_qsl(query, keep_blank_values=True):
        if parameter != "synchronous":
            raise ConfigurationError(f"{shown!r} has the parameter {parameter!r}, the only one known is synchronous")
        if value.lower() not in {"normal", "full"}:
            raise ConfigurationError(f"{shown!r} has synchronous={value}, it must be normal or full")
        synchronous = "full" if value.lower() == "full" else "normal"
    return DatabaseUrl("sqlite", shown, path=Path(name).absolute(), synchronous=synchronous)
