"""What holds for every ledger: all or nothing, each hold ends once, and nothing is forgotten too early."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

from assistantguard import Usage
from assistantguard.ledger import Balance, Ledger, LedgerRefusal
from assistantguard.ledger.base import KEPT_SECONDS
from tests.ledger.books import claim, entry, estimate, tokens
from tests.support.databases import Open


def test_an_account_begins_empty(ledger: Ledger) -> None:
    assert ledger.balance("session:1", "tokens") == Balance(Decimal(0), Decimal(0))
    assert not ledger.open_holds()
    assert not ledger.entries()
    assert not ledger.usage()
    assert not ledger.expire(1e9)


def test_a_hold_is_held_until_it_is_committed_with_what_was_used(ledger: Ledger, another: Open) -> None:
    hold = ledger.reserve("h1", [claim(10)], 99.0)
    assert (hold.id, hold.expires_at, hold.claims) == ("h1", 99.0, (claim(10),))
    other = another()
    assert tokens(other) == (0, 10)
    assert other.open_holds() == (hold,)
    other.commit("h1", entry(7))
    assert tokens(ledger) == (7, 0)
    assert not ledger.open_holds()
    assert ledger.entries() == (entry(7),)


def test_an_open_hold_is_found_again_as_it_was_made(ledger: Ledger, another: Open) -> None:
    claims = [
        claim(10, "user:ü ☃", limit=20, needed_until=7e9),
        claim("0.000000000001", "run:1", "cost", "12.5"),
        claim(1, "user:ü ☃@day:2026-11-22", "messages", 30),
        claim(0),
    ]
    hold = ledger.reserve("h1", claims, 99.5)
    assert another().open_holds() == (hold,)
    assert hold.claims == tuple(claims)


def test_an_entry_is_found_again_as_it_was_written(ledger: Ledger, another: Open) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    written = entry(
        time=1793345678.123456,
        thread_id="thread-ü",
        run_id="run_1",
        attempt=3,
        model="gpt-6-luna",
        usage=Usage(10_000_000_000, 2, 3, 4, 5, 0, 1),
        cost="0.000123456789",
        purpose="summary",
        response_id="resp_1",
        price_source="genai-prices 0.2.3",
        provisional=True,
        user="u-42",
        tenant="acme",
    )
    ledger.commit("h1", written)
    assert another().entries() == (written,)


def test_more_may_be_used_than_was_held(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10, limit=10)], 99.0)
    ledger.commit("h1", entry(25))
    assert tokens(ledger) == (25, 0)


def test_a_release_gives_everything_back(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.release("h1")
    assert tokens(ledger) == (0, 0)
    assert not ledger.entries()


@pytest.mark.parametrize("first", ["commit", "release", "expire"])
@pytest.mark.parametrize("second", ["commit", "release", "expire"])
def test_a_hold_ends_only_once(ledger: Ledger, another: Open, first: str, second: str) -> None:
    ledger.reserve("h1", [claim(10)], 5.0)
    for books, ending in ((ledger, first), (another(), second)):
        if ending == "commit":
            books.commit("h1", entry(7))
        elif ending == "release":
            books.release("h1")
        else:
            books.expire(5.0)
    late_truth = (first, second) == ("expire", "commit")
    assert tokens(ledger) == (7 if late_truth else {"commit": 7, "release": 0, "expire": 10}[first], 0)
    assert len(ledger.entries()) == (first == "commit" or late_truth)


def test_an_estimate_is_corrected_once_and_its_row_with_it(ledger: Ledger, another: Open) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", estimate(10))
    assert another().correct("h1", entry(4))
    assert not ledger.correct("h1", entry(3))
    assert tokens(ledger) == (4, 0)
    assert ledger.entries() == (entry(4),)


def test_an_estimate_may_be_replaced_by_a_better_one(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10), claim(2, metric="cost")], 99.0)
    ledger.commit("h1", estimate(10, cost=None))
    assert ledger.correct("h1", estimate(6, cost="0.75"))
    assert ledger.correct("h1", entry(5, "0.25"))
    assert tokens(ledger) == (5, 0)
    assert ledger.balance("session:1", "cost") == Balance(Decimal("0.25"), Decimal(0))
    assert ledger.entries() == (entry(5, "0.25"),)


def test_what_expired_can_be_corrected_by_what_is_learned_later(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10), claim(2, metric="cost"), claim(1, metric="messages")], 5.0)
    ledger.expire(5.0)
    assert ledger.correct("h1", estimate(6, cost=None))
    assert ledger.correct("h1", entry(4, "1.5"))
    assert not ledger.correct("h1", entry(4, "1.5"))
    assert tokens(ledger) == (4, 0)
    assert ledger.balance("session:1", "cost").committed == Decimal("1.5")
    assert ledger.balance("session:1", "messages").committed == 1
    assert ledger.entries() == (entry(4, "1.5"),)


def test_a_provisional_answer_may_be_corrected(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", entry(7, provisional=True))
    assert ledger.correct("h1", entry(9))
    assert tokens(ledger) == (9, 0)


def test_what_the_server_told_is_never_corrected(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", entry(7))
    assert not ledger.correct("h1", entry(4))
    assert not ledger.correct("never", entry(4))
    assert tokens(ledger) == (7, 0)


def test_an_open_hold_is_not_corrected(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    assert not ledger.correct("h1", entry(4))
    assert tokens(ledger) == (0, 10)


@pytest.mark.parametrize("ending", ["commit", "release"])
def test_ending_a_hold_that_never_was_does_nothing(ledger: Ledger, ending: str) -> None:
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
    ledger: Ledger, spent: int, held: int, asked: int, *, fits: bool
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


def test_a_limit_in_dollars_holds_to_the_last_picodollar(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim("0.999999999999", metric="cost", limit=1)], 99.0)
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h2", [claim("0.000000000002", metric="cost", limit=1)], 99.0)
    ledger.reserve("h3", [claim("0.000000000001", metric="cost", limit=1)], 99.0)
    assert ledger.balance("session:1", "cost").held == 1


def test_a_hold_is_made_on_all_accounts_or_on_none(ledger: Ledger) -> None:
    claims = [claim(5), claim(5, "user:1"), claim(5, "tenant:1", limit=4), claim(5, "app")]
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h1", claims, 99.0)
    for account in ("session:1", "user:1", "tenant:1", "app"):
        assert tokens(ledger, account) == (0, 0)
    assert not ledger.open_holds()


def test_two_claims_on_one_account_count_together(ledger: Ledger) -> None:
    with pytest.raises(LedgerRefusal) as caught:
        ledger.reserve("h1", [claim(6, limit=10), claim(6, limit=10)], 99.0)
    assert caught.value.balance == Balance(Decimal(0), Decimal(6))
    assert tokens(ledger) == (0, 0)
    ledger.reserve("h2", [claim(6, limit=10), claim(4, limit=10)], 99.0)
    assert tokens(ledger) == (0, 10)
    ledger.release("h2")
    assert tokens(ledger) == (0, 0)


def test_the_same_hold_is_reserved_only_once(ledger: Ledger, another: Open) -> None:
    hold = ledger.reserve("h1", [claim(6, limit=10)], 99.0)
    assert another().reserve("h1", [claim(6, limit=10)], 99.0) == hold
    assert tokens(ledger) == (0, 6)


def test_tokens_dollars_and_messages_are_kept_apart(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10), claim("0.75", metric="cost"), claim(1, metric="messages", limit=1)], 99.0)
    with pytest.raises(LedgerRefusal):
        ledger.reserve("h2", [claim(1, metric="messages", limit=1)], 99.0)
    ledger.commit("h1", entry(7, "0.5"))
    assert ledger.balance("session:1", "tokens").committed == 7
    assert ledger.balance("session:1", "cost").committed == Decimal("0.5")
    assert ledger.balance("session:1", "messages") == Balance(Decimal(1), Decimal(0))


def test_an_unknown_cost_commits_what_was_held_for_it(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10), claim("0.75", metric="cost")], 99.0)
    ledger.commit("h1", entry(7, None))
    assert ledger.balance("session:1", "cost") == Balance(Decimal("0.75"), Decimal(0))
    assert ledger.entries()[0].cost is None


def test_amounts_are_shown_as_people_write_them(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim("0.75", metric="cost"), claim(100, "app", "cost")], 99.0)
    assert str(ledger.balance("session:1", "cost").held) == "0.75"
    assert str(ledger.balance("app", "cost").held) == "100"
    assert str(ledger.balance("app", "cost").committed) == "0"


def test_what_expires_is_committed_as_it_was_held(ledger: Ledger, another: Open) -> None:
    first = ledger.reserve("h1", [claim(10)], 5.0)
    second = ledger.reserve("h2", [claim(3)], 6.0)
    assert not ledger.expire(4.9)
    assert list(another().expire(5.0)) == [first]
    assert tokens(ledger) == (10, 3)
    assert ledger.open_holds() == (second,)
    assert list(ledger.expire(100.0)) == [second]
    assert not another().expire(100.0)
    assert tokens(ledger) == (13, 0)


def test_a_crowd_of_holds_expires_together(ledger: Ledger) -> None:
    for number in range(230):
        ledger.reserve(f"h{number}", [claim(1), claim(2, f"run:{number}")], 5.0 + number / 1000)
    assert {hold.id for hold in ledger.expire(6.0)} == {f"h{number}" for number in range(230)}
    assert tokens(ledger) == (230, 0)
    assert tokens(ledger, "run:229") == (2, 0)
    assert not ledger.open_holds()


def test_a_forgotten_account_begins_anew_and_its_rows_stay(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10), claim(10, "run:1"), claim(1, "run:1", "messages")], 99.0)
    ledger.commit("h1", estimate(7))
    ledger.forget("run:1")
    assert tokens(ledger, "run:1") == (0, 0)
    assert ledger.balance("run:1", "messages") == Balance()
    assert tokens(ledger) == (7, 0)
    assert ledger.entries() == (estimate(7),)
    assert ledger.correct("h1", entry(5))
    assert tokens(ledger, "run:1") == (0, 0)
    assert tokens(ledger) == (5, 0)


def test_an_account_with_something_held_is_not_forgotten(ledger: Ledger) -> None:
    ledger.reserve("h1", [claim(10)], 99.0)
    ledger.commit("h1", entry(7))
    ledger.reserve("h2", [claim(5)], 99.0)
    ledger.forget("session:1")
    assert tokens(ledger) == (7, 5)


def test_accounts_that_are_needed_no_more_are_forgotten_later(ledger: Ledger) -> None:
    day = 86_400.0
    ledger.reserve("h1", [claim(10), claim(10, "user:1@day:1", needed_until=day), claim(10, "run:1")], 99.0)
    ledger.reserve("h2", [claim(10, "user:2@day:1", needed_until=day)], 40 * day)
    ledger.commit("h1", entry(7))
    kept = KEPT_SECONDS + 2 * day
    ledger.expire(kept - 3 * day)
    assert (tokens(ledger, "user:1@day:1"), tokens(ledger, "run:1")) == ((7, 0), (7, 0))
    ledger.expire(kept)
    assert (tokens(ledger, "user:1@day:1"), tokens(ledger, "run:1")) == ((0, 0), (0, 0))
    assert tokens(ledger) == (7, 0)
    assert tokens(ledger, "user:2@day:1") == (0, 10)
    assert len(ledger.entries()) == 1


def test_an_account_that_is_used_again_is_kept_for_longer(ledger: Ledger) -> None:
    day = 86_400.0
    for number, until in enumerate((day, 50 * day, 49 * day)):
        ledger.reserve(f"h{number}", [claim(10, "run:1", needed_until=until), claim(10, "run:2")], until)
        ledger.commit(f"h{number}", entry(7))
    ledger.expire(KEPT_SECONDS + 49 * day)
    assert (tokens(ledger, "run:1"), tokens(ledger, "run:2")) == ((21, 0), (21, 0))
    ledger.expire(KEPT_SECONDS + 52 * day)
    assert (tokens(ledger, "run:1"), tokens(ledger, "run:2")) == ((0, 0), (0, 0))


def test_something_is_the_first_time_only_once(ledger: Ledger, another: Open) -> None:
    assert ledger.first_time("user:1@day:1 0.8")
    assert not ledger.first_time("user:1@day:1 0.8")
    assert not another().first_time("user:1@day:1 0.8")
    assert another().first_time("user:1@day:1 0.5")


def test_a_notice_is_forgotten_when_it_is_needed_no_more(ledger: Ledger) -> None:
    day = 86_400.0
    for key, until in (("always", None), ("long", 10 * day), ("short", day)):
        assert ledger.first_time(key, until)
    ledger.expire(KEPT_SECONDS + 3 * day)
    assert [ledger.first_time(key) for key in ("always", "long", "short")] == [False, False, True]


def test_limits_are_noted_for_everybody(ledger: Ledger, another: Open) -> None:
    assert ledger.limits(["user:1"]) == {}
    assert ledger.limits([]) == {}
    ledger.set_limit("user:1", "tokens", 5_000)
    ledger.set_limit("user:1", "cost", Decimal("2.50"))
    ledger.set_limit("user:2", "messages", 0)
    other = another()
    assert other.limits(["user:1", "user:1", "user:3"]) == {
        ("user:1", "tokens"): 5_000,
        ("user:1", "cost"): Decimal("2.5"),
    }
    other.set_limit("user:1", "tokens", 7_000)
    other.set_limit("user:1", "cost", None)
    other.set_limit("user:9", "cost", None)
    assert ledger.limits(["user:1", "user:2"]) == {("user:1", "tokens"): 7_000, ("user:2", "messages"): 0}


def test_usage_is_added_up_by_what_entries_have_in_common(ledger: Ledger, another: Open) -> None:
    day = 86_400.0
    rows: list[dict[str, Any]] = [
        {"time": 0.5 * day, "user": "u-1", "thread_id": "a", "model": "luna", "cost": "0.25"},
        {"time": 0.9 * day, "user": "u-1", "thread_id": "b", "model": "nova", "cost": None},
        {"time": 1.0 * day, "user": "u-2", "thread_id": "c", "model": "luna", "cost": "0.5", "tenant": "acme"},
        {"time": 2.5 * day, "user": None, "thread_id": "a", "model": "luna", "cost": "1.125", "purpose": "summary"},
    ]
    for number, values in enumerate(rows):
        ledger.reserve(f"h{number}", [claim(10)], 99.0)
        ledger.commit(f"h{number}", entry(10**number, **values))

    def sums(*group_by: Any, **bounds: Any) -> list[tuple[Any, ...]]:
        return [
            (*row.group, row.usage.total_tokens, row.cost, row.unpriced, row.entries)
            for row in another().usage(group_by, **bounds)
        ]

    dollars = Decimal
    assert sums() == [(1111, dollars("1.875"), 1, 4)]
    assert sums("user") == [
        (None, 1000, dollars("1.125"), 0, 1),
        ("u-1", 11, dollars("0.25"), 1, 2),
        ("u-2", 100, dollars("0.5"), 0, 1),
    ]
    assert sums("model", "purpose") == [
        ("luna", "run", 101, dollars("0.75"), 0, 2),
        ("luna", "summary", 1000, dollars("1.125"), 0, 1),
        ("nova", "run", 10, dollars(0), 1, 1),
    ]
    assert sums("day", since=0.6 * day, until=2.5 * day) == [
        ("1970-01-01", 10, dollars(0), 1, 1),
        ("1970-01-02", 100, dollars("0.5"), 0, 1),
    ]
    assert [row[:2] for row in sums("thread")] == [("a", 1001), ("b", 10), ("c", 100)]
    assert [row[:2] for row in sums("tenant")] == [(None, 1011), ("acme", 100)]
    assert sums("run") == [("r", 1111, dollars("1.875"), 1, 4)]
    assert sums(since=9 * day) == sums("user", since=9 * day) == []
    assert ledger.usage()[0].usage == Usage(1107, 0, 0, 4, 0, 0, 4)


def test_many_threads_never_pass_a_limit_together(ledger: Ledger) -> None:
    limit, refused = 400, []

    def spend(worker: int) -> None:
        for number in range(40):
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
