"""The books in memory: all or nothing, each hold ends once, and nothing is forgotten."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

from assistantguard import MemoryLedger, Usage
from assistantguard.ledger import Balance, Claim, Entry, LedgerRefusal


def claim(amount: Any = 10, account: str = "session:1", metric: Any = "tokens", limit: Any = None) -> Claim:
    return Claim(account, metric, Decimal(amount), None if limit is None else Decimal(limit))


def entry(tokens: int = 7, cost: Any = "0.5", **values: Any) -> Entry:
    return Entry(
        **{
            "time": 1.0,
            "thread_id": "t",
            "run_id": "r",
            "attempt": 1,
            "model": "m",
            "usage": Usage(tokens - 1, 0, 0, 1, 0, 0, 1),
            "cost": None if cost is None else Decimal(cost),
            **values,
        }
    )


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def tokens(ledger: MemoryLedger, account: str = "session:1") -> tuple[int, int]:
    balance = ledger.balance(account, "tokens")
    return int(balance.committed), int(balance.held)


def test_an_account_begins_empty(ledger: MemoryLedger) -> None:
    assert ledger.balance("session:1", "tokens") == Balance(Decimal(0), Decimal(0))
    assert not ledger.open_holds()
    assert not ledger.entries()


def test_a_hold_is_held_until_it_is_committed_with_what_was_used(ledger: MemoryLedger) -> None:
    hold = ledger.reserve("h1", [claim(10)], 99.0)
    assert (hold.id, hold.expires_at, hold.claims) == ("h1", 99.0, (claim(10),))
    assert tokens(ledger) == (0, 10)
    assert ledger.open_holds() == (hold,)
    ledger.commit("h1", entry(7))
    assert tokens(ledger) == (7, 0)
    assert not ledger.open_holds()
    assert ledger.entries() == (entry(7),)


def test_more_may_be_used_than_was_held(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10, limit=10)], 99.0)
    ledger.commit("h1", entry(25))
    assert tokens(ledger) == (25, 0)


def test_a_release_gives_everything_back(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.release("h1")
    assert tokens(ledger) == (0, 0)
    assert not ledger.entries()


@pytest.mark.parametrize("first", ["commit", "release", "expire"])
@pytest.mark.parametrize("second", ["commit", "release", "expire"])
def test_a_hold_ends_only_once(ledger: MemoryLedger, first: str, second: str) -> None:
    ledger.reserve("h1", [claim(10)], 5.0)
    for ending in (first, second):
        if ending == "commit":
            ledger.commit("h1", entry(7))
        elif ending == "release":
            ledger.release("h1")
        else:
            ledger.expire(5.0)
    late_truth = (first, second) == ("expire", "commit")
    assert tokens(ledger) == (7 if late_truth else {"commit": 7, "release": 0, "expire": 10}[first], 0)
    assert len(ledger.entries()) == (first == "commit" or late_truth)


def estimate(used: int) -> Entry:
    return entry(used, usage=Usage(input_tokens=used, estimated_tokens=used))


def test_an_estimate_is_corrected_once_and_its_row_with_it(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", estimate(10))
    assert ledger.correct("h1", entry(4))
    assert not ledger.correct("h1", entry(3))
    assert tokens(ledger) == (4, 0)
    assert ledger.entries() == (entry(4),)


def test_an_estimate_may_be_replaced_by_a_better_one(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", estimate(10))
    assert ledger.correct("h1", estimate(6))
    assert ledger.correct("h1", entry(5))
    assert tokens(ledger) == (5, 0)


def test_what_the_server_told_is_never_corrected(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", entry(7))
    assert not ledger.correct("h1", entry(4))
    assert not ledger.correct("never", entry(4))
    assert tokens(ledger) == (7, 0)


@pytest.mark.parametrize("ending", ["commit", "release"])
def test_ending_a_hold_that_never_was_does_nothing(ledger: MemoryLedger, ending: str) -> None:
    if ending == "commit":
        ledger.commit("never", entry(7))
    else:
        ledger.release("never")
    assert tokens(ledger) == (0, 0)
    assert not ledger.entries()


@pytest.mark.parametrize(
    ("spent", "held", "asked", "fits"), [(0, 0, 10, True), (4, 6, 0, True), (4, 5, 2, False), (10, 0, 1, False)]
)
def test_committed_and_held_together_never_pass_a_limit(
    ledger: MemoryLedger, spent: int, held: int, asked: int, *, fits: bool
) -> None:
    ledger.reserve("spent", [claim(spent)], 99.0)
    ledger.commit("spent", entry(spent) if spent else entry(0, usage=Usage()))
    ledger.reserve("held", [claim(held)], 99.0)
    if fits:
        ledger.reserve("asked", [claim(asked, limit=10)], 99.0)
        assert tokens(ledger) == (spent, held + asked)
    else:
        with pytest.raises(LedgerRefusal) as caught:
            ledger.reserve("asked", [claim(asked, limit=10)], 99.0)
        assert caught.value.balance == Balance(Decimal(spent), Decimal(held))
        assert caught.value.claim == claim(asked, limit=10)
        assert tokens(ledger) == (spent, held)


def test_a_hold_is_made_on_all_accounts_or_on_none(ledger: MemoryLedger) -> None:
    claims = [claim(5), claim(5, "user:1"), claim(5, "tenant:1", limit=4), claim(5, "app")]
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h1", claims, 99.0)
    for account in ("session:1", "user:1", "tenant:1", "app"):
        assert tokens(ledger, account) == (0, 0)
    assert not ledger.open_holds()


def test_tokens_and_dollars_are_kept_apart(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10), claim("0.75", metric="cost")], 99.0)
    ledger.commit("h1", entry(7, "0.5"))
    assert ledger.balance("session:1", "tokens").committed == 7
    assert ledger.balance("session:1", "cost").committed == Decimal("0.5")


def test_an_unknown_cost_commits_what_was_held_for_it(ledger: MemoryLedger) -> None:
    ledger.reserve("h1", [claim(10), claim("0.75", metric="cost")], 99.0)
    ledger.commit("h1", entry(7, None))
    assert ledger.balance("session:1", "cost") == Balance(Decimal("0.75"), Decimal(0))


def test_what_expires_is_committed_as_it_was_held(ledger: MemoryLedger) -> None:
    first = ledger.reserve("h1", [claim(10)], 5.0)
    second = ledger.reserve("h2", [claim(3)], 6.0)
    assert ledger.expire(4.9) == []
    assert list(ledger.expire(5.0)) == [first]
    assert tokens(ledger) == (10, 3)
    assert ledger.open_holds() == (second,)
    assert list(ledger.expire(100.0)) == [second]
    assert tokens(ledger) == (13, 0)


def test_old_rows_may_go_but_balances_stay() -> None:
    ledger = MemoryLedger(keep_entries=2)
    for number in range(5):
        ledger.reserve(f"h{number}", [claim(10)], 99.0)
        ledger.commit(f"h{number}", entry(7, run_id=str(number)))
    assert [row.run_id for row in ledger.entries()] == ["3", "4"]
    assert tokens(ledger) == (35, 0)


def test_many_threads_never_pass_a_limit_together(ledger: MemoryLedger) -> None:
    limit, refused = 1_000, []

    def spend(worker: int) -> None:
        for number in range(100):
            hold = f"{worker}-{number}"
            try:
                ledger.reserve(hold, [claim(3, limit=limit), claim(3, f"run:{worker}")], 99.0)
            except LedgerRefusal:
                refused.append(hold)
                continue
            balance = ledger.balance("session:1", "tokens")
            assert balance.committed + balance.held <= limit
            if number % 3:
                ledger.commit(hold, entry(3))
            else:
                ledger.release(hold)

    workers = [threading.Thread(target=spend, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert tokens(ledger) == (3 * len(ledger.entries()), 0)
    assert sum(tokens(ledger, f"run:{number}")[0] for number in range(8)) == tokens(ledger)[0]
    assert tokens(ledger)[0] <= limit
    assert refused
    assert not ledger.open_holds()
