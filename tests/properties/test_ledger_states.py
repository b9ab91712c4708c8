"""The ledger in memory against the plainest possible model of one."""

from __future__ import annotations

from dataclasses import dataclass
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


class LedgerStates(RuleBasedStateMachine):
    """Every hold and every commitment kept in lists, summed up anew each time."""

    holds: Bundle[str] = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = MemoryLedger()
        self.booked: dict[str, _Booked] = {}
        self.spent: list[tuple[str, Metric, Decimal]] = []
        self.rows = 0

    def _balance(self, account: str, metric: Metric) -> Balance:
        spent = sum((amount for *key, amount in self.spent if key == [account, metric]), Decimal(0))
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

    @rule(hold_id=holds, tokens=st.integers(0, 80), cost=st.one_of(st.none(), _amounts))
    def commit(self, hold_id: str, tokens: int, cost: Decimal | None) -> None:
        entry = Entry(0.0, "thread_1", "run_1", 1, "m", Usage(input_tokens=tokens), cost)
        self.ledger.commit(hold_id, entry)
        booked = self.booked[hold_id]
        if booked.state == "open":
            booked.state = "ended"
            self.rows += 1
            for claim in booked.claims:
                known = Decimal(tokens) if claim.metric == "tokens" else cost
                self.spent.append((claim.account, claim.metric, claim.amount if known is None else known))

    @rule(hold_id=holds)
    def release(self, hold_id: str) -> None:
        self.ledger.release(hold_id)
        self.booked[hold_id].state = "ended"

    @rule(now=st.integers(0, 100))
    def expire(self, now: int) -> None:
        due = {name for name, one in self.booked.items() if one.state == "open" and one.expires_at <= now}
        assert {hold.id for hold in self.ledger.expire(now)} == due
        for hold_id in due:
            self.booked[hold_id].state = "ended"
            for claim in self.booked[hold_id].claims:
                self.spent.append((claim.account, claim.metric, claim.amount))

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
