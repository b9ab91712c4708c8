"""The connection is lost just after the server has committed: what was asked for is done once, and told as done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from assistantguard import DatabaseUnavailable
from assistantguard.ledger import SqlLedger, open_ledger
from assistantguard.storage.database import Row
from assistantguard.storage.postgres import PostgresDatabase
from tests.ledger.books import claim, entry, estimate, tokens

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

Lose = Callable[[], None]


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    ledger = open_ledger(database_url)
    yield ledger
    ledger.database.close()


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lose]:
    """Once, the next end of a transaction is not heard."""
    execute_on = PostgresDatabase.execute_on
    left = [0]

    def lossy(self: PostgresDatabase, connection: Any, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        rows = execute_on(self, connection, statement, parameters)
        if left[0] and (statement == "COMMIT" or ("INTO guard_entries" in statement and statement.startswith("WITH"))):
            left[0] = 0
            connection.close()
            raise DatabaseUnavailable("the connection was lost")
        return rows

    def arm() -> None:
        left[0] = 1

    monkeypatch.setattr(PostgresDatabase, "execute_on", lossy)
    yield arm
    assert not left[0], "nothing was lost"


def test_a_hold_is_made_once(ledger: SqlLedger, lose: Lose) -> None:
    lose()
    hold = ledger.reserve("h1", [claim(6, limit=10)], 99.0)
    assert tokens(ledger) == (0, 6)
    assert ledger.open_holds() == (hold,)


@pytest.mark.parametrize("used", [entry(7), estimate(7)], ids=["told", "estimated"])
@pytest.mark.parametrize("here", [True, False])
def test_what_was_used_is_booked_once(
    ledger: SqlLedger, database_url: str, lose: Lose, used: Any, *, here: bool
) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    other = ledger if here else open_ledger(database_url)
    lose()
    other.commit("h1", used)
    assert tokens(ledger) == (7, 0)
    assert ledger.entries() == (used,)
    other.database.close()


def test_a_correction_is_made_once_and_told(ledger: SqlLedger, lose: Lose) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", estimate(10))
    lose()
    assert ledger.correct("h1", entry(4))
    assert not ledger.correct("h1", entry(4))
    assert tokens(ledger) == (4, 0)
    assert ledger.entries() == (entry(4),)


def test_a_release_gives_back_once(ledger: SqlLedger, lose: Lose) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.reserve("h2", [claim(10)], 99.0)
    lose()
    ledger.release("h1")
    assert tokens(ledger) == (0, 10)


def test_a_hold_expires_once(ledger: SqlLedger, lose: Lose) -> None:
    ledger.reserve("h1", [claim(10)], 5.0)
    lose()
    ledger.expire(6.0)
    assert tokens(ledger) == (10, 0)
    assert not ledger.open_holds()


def test_the_first_is_told_that_it_is(ledger: SqlLedger, lose: Lose) -> None:
    lose()
    assert ledger.first_time("key")
    assert not ledger.first_time("key")


def test_a_limit_is_set(ledger: SqlLedger, lose: Lose) -> None:
    lose()
    ledger.set_limit("user:1", "tokens", 5)
    assert ledger.limits(["user:1"]) == {("user:1", "tokens"): 5}
