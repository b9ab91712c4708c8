"""What cannot work is refused with the value, the limit and the mend, and never with a password."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from assistantguard import ConfigurationError
from assistantguard.ledger import SqlLedger, open_ledger
from assistantguard.storage import open_database, parse_url
from benchmarks._postgres import PostgresServer
from tests.ledger.books import claim

SECRET = "sesame7"


def refusal(url: Any, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        open_database(url, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not a database URL: give one such as sqlite:///guard.db"),
        ("guard.db", "'guard.db' is not a database URL"),
        ("sqlite:/guard.db", "is not a database URL"),
        ("://guard.db", "is not a database URL"),
        ("sqlite://guard.db", "has two slashes: a file beside the program has three (sqlite:///guard.db)"),
        ("sqlite://", "has no path"),
        ("sqlite:///", "names no file"),
        (
            "sqlite:///:memory:",
            "names no file: give one such as sqlite:///guard.db (what is kept in memory needs no URL)",
        ),
        ("sqlite:///guard.db?mode=ro", "has the parameter 'mode', the only one known is synchronous"),
        ("sqlite:///guard.db?synchronous=off", "has synchronous=off, it must be normal or full"),
        ("sqlite:///a%00b", "contains a NUL character"),
        ("sqlite:///a\0b", "contains a NUL character"),
        ("sqlite:////nowhere/at/all/guard.db", "the directory /nowhere/at/all does not exist, make it first"),
        ("mysql://user@host/db", "has the scheme 'mysql', known are sqlite and postgresql"),
        ("postgresql+psycopg://user@host/db", "names a driver: leave it out and write postgresql://"),
        ("postgresql://host:port/db", "has a port that is no number from 1 to 65535"),
        ("postgresql://host:70000/db", "has a port that is no number from 1 to 65535"),
        ("postgresql://host/d%zzb", "cannot be read: give postgresql://user:password@host:port/database"),
        ("postgresql://host/db?colour=red", "has the parameter 'colour', which libpq does not know"),
        (42, "the database URL is int, it must be a str"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: Any, says: str) -> None:
    assert says in refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}@127.0.0.1:port/db",
        f"postgresql://user:se@{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:se/{SECRET}@127.0.0.1:1/db",
        f"postgresql://user:se@{SECRET}/x@127.0.0.1:1/db",
        f"postgresql://user:{SECRET}%zz@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}",
        f"postgresql://127.0.0.1:1/db?sslPassword={SECRET}&colour=red",
        f"postgresql+psycopg2://user:{SECRET}@127.0.0.1:1/db",
        f"mysql://user:{SECRET}@127.0.0.1:1/db",
        f"postgresql:user:{SECRET}@127.0.0.1:1/db",
        f"user:{SECRET}@127.0.0.1",
        f"sqlite://user:{SECRET}@x/guard.db",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_database(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        assert SECRET not in repr(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_database_is_shown_without_its_password(postgres: PostgresServer) -> None:
    url = postgres.url().replace("postgres@", f"postgres:{SECRET}@")
    database = open_database(url)
    ledger = SqlLedger(database)
    assert repr(database).startswith("PostgresDatabase('postgresql://postgres:***@/postgres?")
    assert SECRET not in repr(ledger) + repr(database.url) + repr(parse_url(url))
    database.close()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "10"])
def test_a_time_limit_is_a_number_of_seconds(timeout: Any, tmp_path: Path) -> None:
    assert f"timeout is {timeout!r}" in refusal(f"sqlite:///{tmp_path}/guard.db", timeout=timeout)


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory, name a file in it" in refusal(f"sqlite:///{tmp_path}")


def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    assert "file is not a database: name another file, or move this one away" in refusal(f"sqlite:///{path}")
    assert path.read_text() == "Dear reader, " * 100


OPEN = """
import os, sys
from assistantguard.storage import open_database, sqlite
if os.geteuid() == 0:
    os.setuid(65_534)  # root may write everywhere
open_database(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="rights are different there")
@pytest.mark.parametrize("readonly", ["directory", "file"])
def test_what_cannot_be_written_is_refused(readonly: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = directory / "guard.db"
        if readonly == "file":
            open_database(f"sqlite:///{path}").close()
            path.chmod(0o444)
        directory.chmod(0o777 if readonly == "file" else 0o555)
        done = subprocess.run(
            [sys.executable, "-c", OPEN, f"sqlite:///{path}"], capture_output=True, text=True, check=False
        )
        directory.chmod(0o755)
    assert "ConfigurationError" in done.stderr
    assert f"{path if readonly == 'file' else directory} cannot be written by this user" in done.stderr


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = refusal(f"postgresql://user@127.0.0.1:{port}/db")
    assert f"port {port} failed" in text
    assert "see to it that the server runs" in text


def test_a_database_that_is_not_there_is_named(postgres: PostgresServer) -> None:
    assert 'database "nowhere" does not exist' in refusal(postgres.url().replace("/postgres?", "/nowhere?"))


def test_a_user_that_may_not_make_tables_is_told(postgres: PostgresServer) -> None:
    postgres.psql("CREATE USER guest", "CREATE SCHEMA guarded")
    url = postgres.url("guarded").replace("postgres@", "guest@")
    unseen = refusal(url)
    postgres.psql("GRANT USAGE ON SCHEMA guarded TO guest")
    seen = refusal(url)
    postgres.psql("DROP SCHEMA guarded CASCADE", "DROP USER guest")
    assert "no schema has been selected to create in: GRANT USAGE, CREATE ON SCHEMA" in unseen
    assert "permission denied for schema guarded" in seen
    assert "GRANT USAGE, CREATE ON SCHEMA" in seen


def test_a_missing_psycopg_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert 'pip install "assistantguard[postgres]"' in refusal(f"postgresql://user:{SECRET}@host/db")


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b", "a\ud800b", 42])
def test_a_name_that_cannot_be_kept_is_refused(database_url: str, name: Any) -> None:
    ledger = open_ledger(database_url)
    for act in (
        lambda: ledger.reserve("h1", [claim(10, name)], 99.0),
        lambda: ledger.balance(name, "tokens"),
        lambda: ledger.set_limit(name, "tokens", 5),
        lambda: ledger.limits([name]),
        lambda: ledger.first_time(name),
        lambda: ledger.forget(name),
    ):
        with pytest.raises(ConfigurationError, match="is named"):
            act()
    ledger.reserve("h1", [claim(10, "x" * 500), claim(10, "ü" * 500)], 99.0)
    ledger.database.close()


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e30", "-1e30"])
@pytest.mark.parametrize("metric", ["tokens", "cost"])
def test_an_amount_that_cannot_be_booked_is_refused(database_url: str, amount: str, metric: str) -> None:
    ledger = open_ledger(database_url)
    with pytest.raises(ConfigurationError, match="cannot be booked"):
        ledger.reserve("h1", [claim(amount, metric=metric)], 99.0)
    assert not ledger.open_holds()
    ledger.reserve("h1", [claim(10, metric=metric, limit="1e30"), claim(10, "app", metric, "Infinity")], 99.0)
    ledger.database.close()
