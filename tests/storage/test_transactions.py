"""Transactions: nested ones are one, failed ones leave nothing, lost ones are repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from assistantguard import AssistantGuardError, DatabaseUnavailable
from assistantguard.storage import Database, Transaction, open_database
from benchmarks._postgres import PostgresServer

NEW = "INSERT INTO guard_notices (key, token) VALUES (?, 'x')"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = open_database(database_url, timeout=60.0)
    yield database
    database.close()


@pytest.fixture
def other(database: Database, database_url: str) -> Iterator[Database]:
    """The same, as another process sees it."""
    other = open_database(database_url, timeout=60.0)
    yield other
    other.close()


@pytest.fixture
def impatient(database: Database, database_url: str) -> Iterator[Database]:
    """The same, as another process sees it that does not wait for long."""
    impatient = open_database(database_url, timeout=0.5)
    yield impatient
    impatient.close()


def keys(database: Database) -> list[str]:
    return [key for (key,) in database.query("SELECT key FROM guard_notices ORDER BY key")]


def test_what_was_written_is_seen_by_others_at_the_end(database: Database, other: Database) -> None:
    with database.transaction() as transaction:
        assert transaction.execute(NEW, ("a",)) == []
        assert keys(database) == ["a"]
        assert keys(other) == []
    assert keys(other) == ["a"]


def write_and_fail(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
        raise ZeroDivisionError


def test_an_exception_undoes_everything(database: Database) -> None:
    def fail(transaction: Transaction) -> None:
        transaction.execute(NEW, ("a",))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail(database)
    with pytest.raises(ZeroDivisionError):
        database.run(fail)
    assert keys(database) == []


def test_inner_transactions_are_part_of_the_outer_one(database: Database, other: Database) -> None:
    with database.transaction() as outer:
        with database.transaction() as inner:
            inner.execute(NEW, ("a",))
        assert inner is outer
        assert database.run(lambda transaction: transaction) is outer
        database.run(lambda transaction: transaction.execute(NEW, ("b",)))
        assert keys(other) == []
    assert keys(other) == ["a", "b"]


def test_what_fails_outside_undoes_what_succeeded_inside(database: Database) -> None:
    def fail_outside() -> None:
        with database.transaction():
            with database.transaction() as inner:
                inner.execute(NEW, ("a",))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_outside()
    assert keys(database) == []


@pytest.mark.parametrize("inner", ["transaction", "run", "statement"])
def test_a_failure_inside_cannot_be_swallowed(database: Database, inner: str) -> None:
    def fail(transaction: Transaction) -> None:
        transaction.execute(NEW, ("b",))
        raise ZeroDivisionError

    def swallow() -> None:
        with database.transaction() as outer:
            outer.execute(NEW, ("outer",))
            with suppress(Exception):
                if inner == "transaction":
                    write_and_fail(database)
                elif inner == "run":
                    database.run(fail)
                else:
                    outer.execute("SELECT nothing FROM nowhere")
            with pytest.raises(AssistantGuardError, match="failed before"):
                outer.execute(NEW, ("c",))

    with pytest.raises(AssistantGuardError, match="a part of this transaction failed before") as caught:
        swallow()
    assert caught.value.__cause__ is not None
    assert keys(database) == []
    with database.transaction() as transaction:
        transaction.execute(NEW, ("d",))
    assert keys(database) == ["d"]


def test_a_wrong_statement_raises_the_driver_s_own_error(database: Database) -> None:
    with pytest.raises(Exception, match="guard_nowhere") as caught:
        database.query("SELECT 1 FROM guard_nowhere")
    assert not isinstance(caught.value, AssistantGuardError)


def test_each_thread_has_its_own_transaction(database: Database) -> None:
    seen: list[list[str]] = []
    with database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
        thread = threading.Thread(target=lambda: seen.append(keys(database)))
        thread.start()
        thread.join()
    assert seen == [[]]


def test_who_waits_for_too_long_is_told_what_keeps_it(database: Database, impatient: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as caught, impatient.transaction() as waiting:
            waiting.execute(NEW, ("a",))
        assert time.monotonic() - began >= 0.5
    assert "locked" in str(caught.value) or "lock timeout" in str(caught.value)
    assert not caught.value.outcome_unknown
    assert keys(impatient) == ["a"]


def test_who_waits_goes_on_when_it_can(database: Database, other: Database) -> None:
    begun = threading.Event()

    def write() -> None:
        with database.transaction() as transaction:
            transaction.execute(NEW, ("a",))
            begun.set()
            time.sleep(0.1)

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    with other.transaction() as transaction:
        transaction.execute(NEW + " ON CONFLICT (key) DO NOTHING", ("a",))
        transaction.execute(NEW, ("b",))
    thread.join()
    assert keys(database) == ["a", "b"]


def test_connections_are_used_again(database: Database) -> None:
    own: list[object] = []
    for _ in range(3):
        with database.transaction() as transaction:
            own.append(transaction._connection)  # type: ignore[attr-defined]
    assert len(set(map(id, own))) == 1


def test_a_closed_database_opens_again(database: Database) -> None:
    database.close()
    with database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
    assert keys(database) == ["a"]


@pytest.fixture
def server(database: Database, postgres: PostgresServer) -> PostgresServer:
    return postgres


on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@on_postgresql
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_between_transactions_is_not_noticed(
    database: Database, server: PostgresServer, mode: str
) -> None:
    assert keys(database) == []
    server.restart(mode)  # type: ignore[arg-type]
    with database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
    server.restart(mode)  # type: ignore[arg-type]
    assert keys(database) == ["a"]


@on_postgresql
def test_a_server_that_is_away_for_a_while_is_waited_for(database_url: str, server: PostgresServer) -> None:
    patient = open_database(database_url, timeout=60.0)
    server.stop()
    starting = threading.Timer(0.5, server.start)
    starting.start()
    assert keys(patient) == []
    starting.join()
    patient.close()


@on_postgresql
def test_a_server_that_stays_away_is_unavailable(
    database: Database, impatient: Database, server: PostgresServer
) -> None:
    server.stop()
    try:
        for act in (lambda: keys(impatient), lambda: impatient.run(lambda transaction: None)):
            with pytest.raises(DatabaseUnavailable, match="see to it that the server runs"):
                act()
    finally:
        server.start()
    assert keys(database) == []


@on_postgresql
def test_work_that_the_server_undid_is_repeated(database: Database, server: PostgresServer) -> None:
    tries: list[bool] = []

    def work(transaction: Transaction) -> int:
        transaction.execute(NEW, ("a",))
        tries.append(transaction.repeated)
        if len(tries) == 1:
            server.restart("immediate")
            transaction.execute(NEW, ("b",))
        return len(tries)

    assert database.run(work) == 2
    assert tries == [False, False]
    assert keys(database) == ["a"]


@on_postgresql
def test_work_whose_end_was_not_heard_is_repeated_only_if_that_is_allowed(
    database: Database, server: PostgresServer
) -> None:
    tries: list[bool] = []

    def work(transaction: Transaction) -> None:
        transaction.execute(NEW + " ON CONFLICT (key) DO NOTHING", ("a",))
        tries.append(transaction.repeated)
        if tries == [False]:
            server.restart("immediate")  # at COMMIT the connection is lost

    with pytest.raises(DatabaseUnavailable) as caught:
        database.run(work)
    assert caught.value.outcome_unknown
    assert not caught.value.undone
    tries.clear()
    database.run(work, repeatable=True)
    assert tries == [False, True]
    assert keys(database) == ["a"]


@on_postgresql
def test_a_deadlock_is_repeated(database: Database, other: Database, server: PostgresServer) -> None:
    server.psql("ALTER SYSTEM SET deadlock_timeout = '20ms'", "SELECT pg_reload_conf()")
    both = threading.Barrier(2)
    tries: list[str] = []

    def cross(name: str, mine: Database, *order: str) -> None:
        def work(transaction: Transaction) -> None:
            tries.append(name)
            transaction.execute(NEW + " ON CONFLICT (key) DO UPDATE SET token = 'y'", (order[0],))
            if tries.count(name) == 1:
                both.wait(60)
            transaction.execute(NEW + " ON CONFLICT (key) DO UPDATE SET token = 'y'", (order[1],))

        mine.run(work)

    thread = threading.Thread(target=cross, args=("one", database, "a", "b"))
    thread.start()
    cross("two", other, "b", "a")
    thread.join()
    server.psql("ALTER SYSTEM RESET deadlock_timeout", "SELECT pg_reload_conf()")
    assert len(tries) > 2
    assert keys(database) == ["a", "b"]
