"""What a ledger in a database does of its own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from assistantguard.ledger import Balance, LedgerRefusal, SqlLedger, open_ledger
from tests.ledger.books import claim, entry, tokens


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    ledger = open_ledger(database_url)
    yield ledger
    ledger.database.close()


def test_what_is_finer_than_a_picodollar_is_rounded_up_and_limits_down(ledger: SqlLedger) -> None:
    fine = Decimal("0.0000000000005")
    ledger.reserve("h1", [claim(fine, metric="cost"), claim("0.5")], 99.0)
    assert ledger.balance("session:1", "cost") == Balance(Decimal(0), Decimal("1e-12"))
    assert tokens(ledger) == (0, 1)
    ledger.commit("h1", entry(1, 3 * fine))
    assert ledger.balance("session:1", "cost") == Balance(Decimal("2e-12"), Decimal(0))
    assert ledger.entries()[0].cost == Decimal("2e-12")
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h2", [claim("1e-12", metric="cost", limit=Decimal("2e-12") + fine)], 99.0)
    ledger.set_limit("user:1", "cost", 3 * fine)
    assert ledger.limits(["user:1"]) == {("user:1", "cost"): Decimal("1e-12")}


def test_odd_texts_from_outside_do_not_break_the_books(ledger: SqlLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    odd = {"model": "a\0b", "response_id": "\ud800" * 3, "thread_id": "ü" * 10_000, "user": "☃" * 501, "tenant": None}
    ledger.commit("h1", entry(7, **odd))
    (kept,) = ledger.entries()
    assert (kept.model, kept.response_id) == ("a\ufffdb", "\ufffd" * 3)
    assert (kept.thread_id, kept.user, kept.tenant) == ("ü" * 500, "☃" * 500, None)
    assert tokens(ledger) == (7, 0)


def test_a_claim_on_nothing_is_a_hold_all_the_same(ledger: SqlLedger) -> None:
    ledger.reserve("h1", [], 99.0)
    assert [hold.id for hold in ledger.open_holds()] == ["h1"]
    ledger.commit("h1", entry(7))
    assert ledger.entries() == (entry(7),)
    assert not ledger.open_holds()


def test_a_year_of_runs_leaves_no_accounts_behind(ledger: SqlLedger) -> None:
    day = 86_400.0
    for number in range(120):
        now = number * 3 * day
        ledger.expire(now)
        ledger.reserve(f"h{number}", [claim(10, f"run:{number}"), claim(10, f"run:{number}", "cost")], now + 600)
        ledger.commit(f"h{number}", entry(7, time=now))
    ((accounts,),) = ledger.database.query("SELECT COUNT(*) FROM guard_accounts")
    assert accounts <= 2 * 13
    assert len(ledger.entries()) == 120


def test_an_estimate_that_nobody_corrects_is_settled_after_a_month(ledger: SqlLedger) -> None:
    day = 86_400.0
    ledger.reserve("h1", [claim(10)], day)
    ledger.reserve("h2", [claim(10)], 20 * day)
    ledger.expire(25 * day)
    ledger.expire(40 * day)
    assert not ledger.correct("h1", entry(4))
    assert ledger.correct("h2", entry(4))
    assert tokens(ledger) == (14, 0)
    ((holds,),) = ledger.database.query("SELECT COUNT(*) FROM guard_holds")
    assert holds == 0


def test_accounts_whose_row_was_forgotten_by_another_process_begin_anew(ledger: SqlLedger, database_url: str) -> None:
    other = open_ledger(database_url)
    ledger.reserve("h1", [claim(10, limit=10)], 99.0)
    ledger.commit("h1", entry(7))
    other.forget("session:1")
    ledger.reserve("h2", [claim(10, limit=10)], 99.0)
    assert tokens(other) == (0, 10)
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h3", [claim(1, limit=10)], 99.0)
    other.database.close()
