"""The books join the transaction they are called in: with it they are written, and with it they are undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from assistantguard.ledger import LedgerRefusal, SqlLedger, open_ledger
from tests.ledger.books import claim, entry, estimate, tokens

NEW = "INSERT INTO guard_notices (key, token) VALUES (?, 'x')"


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    ledger = open_ledger(database_url)
    yield ledger
    ledger.database.close()


@pytest.fixture
def other(ledger: SqlLedger, database_url: str) -> Iterator[SqlLedger]:
    """The same books, as another process sees them."""
    other = open_ledger(database_url)
    yield other
    other.database.close()


def noted(ledger: SqlLedger) -> int:
    return len(ledger.database.query("SELECT key FROM guard_notices"))


def test_books_and_other_tables_are_written_together(ledger: SqlLedger, other: SqlLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    with ledger.database.transaction() as transaction:
        transaction.execute(NEW, ("a",))
        ledger.commit("h1", entry(7))
        ledger.reserve("h2", [claim(5, limit=12)], 99.0)
        assert tokens(ledger) == (7, 5)
        assert (tokens(other), noted(other)) == ((0, 10), 0)
    assert (tokens(other), noted(other)) == ((7, 5), 1)


def test_what_fails_afterwards_undoes_the_books(ledger: SqlLedger, other: SqlLedger) -> None:
    ledger.reserve("h1", [claim(10)], 5.0)
    ledger.reserve("h2", [claim(10)], 99.0)
    ledger.reserve("h3", [claim(10)], 99.0)
    ledger.commit("h3", estimate(4))

    def settle_and_fail() -> None:
        with ledger.database.transaction():
            ledger.expire(6.0)
            ledger.commit("h2", entry(7))
            ledger.correct("h3", entry(3))
            ledger.reserve("h4", [claim(10)], 99.0)
            ledger.set_limit("user:1", "tokens", 5)
            assert ledger.first_time("key")
            assert tokens(ledger) == (20, 10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settle_and_fail()
    for books in (ledger, other):
        assert tokens(books) == (4, 20)
        assert books.entries() == (estimate(4),)
        assert not books.limits(["user:1"])
    assert ledger.first_time("key")
    ledger.commit("h2", entry(7))
    assert ledger.correct("h3", entry(3))
    ledger.commit("h4", entry(7))
    assert tokens(other) == (10, 10)


def test_a_refusal_undoes_what_was_to_be_written_with_it(ledger: SqlLedger, other: SqlLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)

    def reserve() -> None:
        with ledger.database.transaction() as transaction:
            transaction.execute(NEW, ("a",))
            ledger.reserve("h2", [claim(5, limit=12), claim(5, "app")], 99.0)

    with pytest.raises(LedgerRefusal):
        reserve()
    assert (tokens(other), tokens(other, "app"), noted(other)) == ((0, 10), (0, 0), 0)
    ledger.release("h1")
    reserve()
    assert (tokens(other), tokens(other, "app"), noted(other)) == ((0, 5), (0, 5), 1)
