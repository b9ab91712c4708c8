"""The ledger in memory against the plainest possible model of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from assistantguard import MemoryLedger, Usage
from assistantguard.ledger import Balance, Claim, Entry, LedgerRefusal
from assistantguard.policies import Metric

_ACCOUNTS = ["session:s", "run:1", "run:2"]
_METRICS: list[Metric] = ["tokens", "cost"]
_amounts = st.integers(0, 40).map(Decimal)
_claims = st.lists(
    st.builds(
        Claim,
        st.sampled_from(_ACCOUNTS),
        st.sampled_from(_METRICS),
        _amounts,
        st.one_of(st.none(), st.integers(0, 120).map(Decimal)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda claim: (claim.account, claim.metric),
)


@dataclass
class _Booked:
    claims: list[Claim]
    expires_at: float
    state: Literal["open", "ended"] = "open"
    spent: list[tuple[str, Metric, Decimal]] = field(default_factory=list)
    """What it committed, by account."""
    estimated: bool = False
    """Whether that may yet be corrected."""
    expired: bool = False
    """Whether it stands there without a row."""


def _entry(tokens: int, cost: Decimal | None, *, estimated: bool) -> Entry:
    usage = Usage(input_tokens=tokens, estimated_tokens=tokens if estimated else 0)
    return Entry(0.0, "thread_1", "run_1", 1, "m", usage, cost)


class LedgerStates(RuleBasedStateMachine):
    """Every hold and every commitment kept in lists, summed up anew each time."""

    holds: Bundle[str] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger()
        self.booked: dict[str, _Booked] = {}
        self.rows = 0

    def _balance(self, account: str, metric: Metric) -> Balance:
        all_spent = [one for booked in self.booked.values() for one in booked.spent]
        spent = sum((amount for *key, amount in all_spent if key == [account, metric]), Decimal(0))
        held = sum(
            (
                claim.amount
                for booked in self.booked.values()
                if booked.state == "open"
                for claim in booked.claims
                if (claim.account, claim.metric) == (account, metric)
            ),
            Decimal(0),
        )
        return Balance(spent, held)

    @rule(target=holds, claims=_claims, expires_at=st.integers(0, 100))
    def reserve(self, claims: list[Claim], expires_at: int) -> str:
        hold_id = f"hold_{len(self.booked)}"
        fits = True
        for claim in claims:
            balance = self._balance(claim.account, claim.metric)
            if claim.limit is not None and balance.committed + balance.held + claim.amount > claim.limit:
                fits = False
        if fits:
            assert self.ledger.reserve(hold_id, claims, expires_at).id == hold_id
            self.booked[hold_id] = _Booked(claims, expires_at)
        else:
            with pytest.raises(LedgerRefusal):
                self.ledger.reserve(hold_id, claims, expires_at)
            self.booked[hold_id] = _Booked([], expires_at, "ended")
        return hold_id

    @rule(hold_id=holds, tokens=st.integers(0, 80), cost=st.one_of(st.none(), _amounts), estimated=st.booleans())
    def commit(self, hold_id: str, tokens: int, cost: Decimal | None, estimated: bool) -> None:
        entry = _entry(tokens, cost, estimated=estimated)
        self.ledger.commit(hold_id, entry)
        booked = self.booked[hold_id]
        if booked.state == "open":
            self.rows += 1
            self._book(booked, entry)
        elif booked.expired:
            self._correct(booked, entry)

    @rule(hold_id=holds, tokens=st.integers(0, 80), cost=st.one_of(st.none(), _amounts), estimated=st.booleans())
    def correct(self, hold_id: str, tokens: int, cost: Decimal | None, estimated: bool) -> None:
        entry = _entry(tokens, cost, estimated=estimated)
        booked = self.booked[hold_id]
        assert self.ledger.correct(hold_id, entry) == booked.estimated
        if booked.estimated:
            self._correct(booked, entry)

    def _correct(self, booked: _Booked, entry: Entry) -> None:
        self.rows += booked.expired
        self._book(booked, entry)

    def _book(self, booked: _Booked, entry: Entry) -> None:
        booked.state, booked.expired, booked.estimated = "ended", False, entry.usage.estimated
        booked.spent = [
            (
                claim.account,
                claim.metric,
                Decimal(entry.usage.total_tokens)
                if claim.metric == "tokens"
                else claim.amount
                if entry.cost is None
                else entry.cost,
            )
            for claim in booked.claims
        ]

    @rule(hold_id=holds)
    def release(self, hold_id: str) -> None:
        self.ledger.release(hold_id)
        if self.booked[hold_id].state == "open":
            self.booked[hold_id].state = "ended"

    @rule(now=st.integers(0, 100))
    def expire(self, now: int) -> None:
        due = {name for name, one in self.booked.items() if one.state == "open" and one.expires_at <= now}
        assert {hold.id for hold in self.ledger.expire(now)} == due
        for hold_id in due:
            booked = self.booked[hold_id]
            booked.state, booked.expired, booked.estimated = "ended", True, True
            booked.spent = [(claim.account, claim.metric, claim.amount) for claim in booked.claims]

    @invariant()
    def balances_agree(self) -> None:
        for account in _ACCOUNTS:
            for metric in _METRICS:
                assert self.ledger.balance(account, metric) == self._balance(account, metric)

    @invariant()
    def open_holds_and_rows_agree(self) -> None:
        open_ids = {name for name, one in self.booked.items() if one.state == "open"}
        assert {hold.id for hold in self.ledger.open_holds()} == open_ids
        assert len(self.ledger.entries()) == self.rows


TestLedgerStates = LedgerStates.TestCase
