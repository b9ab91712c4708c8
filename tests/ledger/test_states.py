"""A ledger in a database does what the one in memory does, whatever is asked of it and by whom."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from assistantguard import MemoryLedger, Usage
from assistantguard.ledger import Claim, Entry, Ledger, LedgerRefusal, SqlLedger, open_ledger
from assistantguard.policies import Metric

_ACCOUNTS = ["session:s", "run:1", "user:u@day:2026-11-22"]
_METRICS: list[Metric] = ["tokens", "cost", "messages"]
_TABLES = ("accounts", "holds", "entries", "limits", "notices")
_WHOLE = st.integers(0, 40).map(Decimal)
_DOLLARS = st.one_of(_WHOLE, st.decimals(0, 40, allow_nan=False, places=12))
_TIMES = st.one_of(st.integers(0, 100), st.integers(0, 90).map(lambda day: day * 86_400))


@st.composite
def _claims(draw: st.DrawFn) -> list[Claim]:
    return [
        Claim(
            draw(st.sampled_from(_ACCOUNTS)),
            metric,
            draw(_DOLLARS if metric == "cost" else _WHOLE),
            draw(st.one_of(st.none(), st.integers(0, 120).map(Decimal))),
            draw(st.one_of(st.none(), _TIMES)),
        )
        for metric in draw(st.lists(st.sampled_from(_METRICS), max_size=4))
    ]


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    tokens = draw(st.integers(0, 80))
    usage = Usage(input_tokens=tokens, estimated_tokens=tokens if draw(st.booleans()) else 0, requests=1)
    return Entry(
        float(draw(_TIMES)),
        "thread_1",
        "run_1",
        1,
        draw(st.sampled_from(["luna", "nova"])),
        usage,
        draw(st.one_of(st.none(), _DOLLARS)),
        provisional=draw(st.booleans()),
        user=draw(st.sampled_from([None, "u-1", "u-2"])),
    )


def _outcome(act: Callable[[], object]) -> object:
    """What came of it, so that two can be compared."""
    try:
        return act()
    except LedgerRefusal as refusal:
        return ("refused", refusal.claim, refusal.balance)


class States(RuleBasedStateMachine):
    """Each act is done in memory and in the database, there through one of two processes' books."""

    holds: Bundle[str] = Bundle("holds")
    books: list[SqlLedger]
    numbers = itertools.count()
    """The name of a hold is never used again."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryLedger()
        for books in self.books:
            books._next_tidying = 0.0
        with self.books[0].database.transaction() as transaction:
            for table in _TABLES:
                transaction.execute(f"DELETE FROM guard_{table}")

    def both(self, which: int, act: Callable[[Ledger], object]) -> None:
        outcome = _outcome(lambda: act(self.books[which]))
        assert outcome == _outcome(lambda: act(self.memory))

    @rule(target=holds, which=st.integers(0, 1), claims=_claims(), expires_at=_TIMES)
    def reserve(self, which: int, claims: list[Claim], expires_at: int) -> str:
        hold_id = f"hold_{next(self.numbers)}"
        self.both(which, lambda books: books.reserve(hold_id, claims, float(expires_at)))
        return hold_id

    @rule(which=st.integers(0, 1), hold_id=holds, entry=_entries())
    def commit(self, which: int, hold_id: str, entry: Entry) -> None:
        self.both(which, lambda books: books.commit(hold_id, entry))

    @rule(which=st.integers(0, 1), hold_id=holds, entry=_entries())
    def correct(self, which: int, hold_id: str, entry: Entry) -> None:
        self.both(which, lambda books: books.correct(hold_id, entry))

    @rule(which=st.integers(0, 1), hold_id=holds)
    def release(self, which: int, hold_id: str) -> None:
        self.both(which, lambda books: books.release(hold_id))

    @rule(which=st.integers(0, 1), now=st.integers(0, 100))
    def expire(self, which: int, now: int) -> None:
        self.both(which, lambda books: {hold.id: hold for hold in books.expire(float(now))})

    @rule(account=st.sampled_from(_ACCOUNTS))
    def forget(self, account: str) -> None:
        self.both(0, lambda books: books.forget(account))

    @rule(which=st.integers(0, 1), key=st.sampled_from(["a", "b", "c"]))
    def notice(self, which: int, key: str) -> None:
        self.both(which, lambda books: books.first_time(key))

    @rule(which=st.integers(0, 1), amount=st.one_of(st.none(), _DOLLARS))
    def limit(self, which: int, amount: Decimal | None) -> None:
        self.both(which, lambda books: books.set_limit("user:u", "cost", amount))
        self.both(1 - which, lambda books: books.limits(["user:u", "user:v"]))

    @invariant()
    def balances_agree(self) -> None:
        for account in _ACCOUNTS:
            for metric in _METRICS:
                self.both(0, lambda books, account=account, metric=metric: books.balance(account, metric))  # type: ignore[misc]

    @invariant()
    def holds_and_rows_agree(self) -> None:
        self.both(1, lambda books: {hold.id: hold for hold in books.open_holds()})
        self.both(1, lambda books: sorted(books.entries(), key=repr))
        self.both(1, lambda books: list(books.usage(("user", "day", "model"))))


def test_a_database_keeps_the_same_books_as_memory(database_url: str) -> None:
    books = [open_ledger(database_url), open_ledger(database_url)]
    States.books = books
    examples = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else 40
    unhurried = [HealthCheck.too_slow]
    chosen = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        derandomize=examples == 40,
        suppress_health_check=unhurried,
    )
    run_state_machine_as_test(States, settings=chosen)
    for one in books:
        one.database.close()
