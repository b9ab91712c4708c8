"""A ledger that lives and ends with the process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.ledger.base import (
    KEPT_SECONDS,
    Balance,
    Claim,
    Entry,
    Grouping,
    Hold,
    LedgerRefusal,
    UsageRow,
    check_limit,
    needed_until,
)

if TYPE_CHECKING:
    from assistantguard.policies.base import Metric

__all__ = ["MemoryLedger"]

_Key = tuple[str, str]


@dataclass(slots=True, eq=False, repr=False)
class _Estimate:
    """Amounts on the books that may yet be corrected."""

    claims: tuple[Claim, ...]
    entry: Entry | None
    """The row that was committed; None where the hold expired, and its own amounts stand."""


class MemoryLedger:
    """`Ledger` in a dictionary under one lock.

    Args:
        keep_entries: How many of the newest rows `entries` keeps. Balances never forget.
    """

    in_process = True

    def __init__(self, keep_entries: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._committed: dict[_Key, Decimal] = {}
        self._held: dict[_Key, Decimal] = {}
        self._open: dict[str, Hold] = {}
        self._soonest = _NEVER
        """Before then no hold expires."""
        self._entries: deque[Entry] = deque(maxlen=keep_entries)
        self._estimates: dict[str, _Estimate] = {}
        self._most_estimates = keep_entries
        self._needed_until: dict[str, float] = {}
        """Accounts that may be forgotten, and from when on."""
        self._limits: dict[tuple[str, Metric], Decimal] = {}
        self._noticed: dict[str, float] = {}
        """What happened once, and until when it must be remembered."""
        self._next_tidying = 0.0

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        """See `Ledger.reserve`."""
        with self._lock:
            if hold_id in self._open:
                return self._open[hold_id]
            hold = Hold(hold_id, tuple(claims), expires_at)
            for index, claim in enumerate(hold.claims):
                key = (claim.account, claim.metric)
                held = self._held.get(key, _ZERO)
                if claim.limit is not None:
                    committed = self._committed.get(key, _ZERO)
                    if committed + held + claim.amount > claim.limit:
                        for earlier in hold.claims[:index]:
                            self._give_back(earlier)
                        raise LedgerRefusal(claim, Balance(committed, held))
                self._held[key] = held + claim.amount
            for claim in hold.claims:
                until = needed_until(claim.account, claim.needed_until, expires_at)
                if until is not None:
                    self._needed_until[claim.account] = max(until, self._needed_until.get(claim.account, until))
            self._open[hold_id] = hold
            self._soonest = min(self._soonest, expires_at)
            return hold

    def commit(self, hold_id: str, entry: Entry) -> None:
        """See `Ledger.commit`."""
        with self._lock:
            hold = self._end(hold_id)
            if hold is None:
                estimate = self._estimates.get(hold_id)
                if estimate is not None and estimate.entry is None:
                    self._correct(hold_id, entry)
                return
            for claim in hold.claims:
                self._add(claim, entry.amount(claim.metric, claim.amount))
            self._entries.append(entry)
            if entry.correctable:
                self._note_estimate(hold, entry)

    def correct(self, hold_id: str, entry: Entry) -> bool:
        """See `Ledger.correct`. As many of the newest estimates can be corrected as rows are kept."""
        with self._lock:
            return self._correct(hold_id, entry)

    def release(self, hold_id: str) -> None:
        """See `Ledger.release`."""
        with self._lock:
            self._end(hold_id)

    def balance(self, account: str, metric: Metric) -> Balance:
        """See `Ledger.balance`."""
        with self._lock:
            key = (account, metric)
            return Balance(self._committed.get(key, _ZERO), self._held.get(key, _ZERO))

    def expire(self, now: float) -> Sequence[Hold]:
        """See `Ledger.expire`."""
        with self._lock:
            if now >= self._next_tidying:
                self._tidy(now)
            if now < self._soonest:
                return []
            due = [hold for hold in self._open.values() if hold.expires_at <= now]
            for hold in due:
                self._end(hold.id)
                for claim in hold.claims:
                    self._add(claim, claim.amount)
                self._note_estimate(hold, None)
            self._soonest = min((hold.expires_at for hold in self._open.values()), default=_NEVER)
            return due

    def forget(self, account: str) -> None:
        """See `Ledger.forget`. An account on which something is held is kept."""
        with self._lock:
            self._drop(account)

    def open_holds(self) -> Sequence[Hold]:
        """See `Ledger.open_holds`."""
        with self._lock:
            return tuple(self._open.values())

    def entries(self) -> Sequence[Entry]:
        """See `Ledger.entries`; only the newest are kept."""
        with self._lock:
            return tuple(self._entries)

    def usage(
        self,
        group_by: Sequence[Grouping] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        timezone: tzinfo | None = None,
    ) -> Sequence[UsageRow]:
        """See `Ledger.usage`; only the newest rows are kept."""
        from assistantguard.ledger.days import add_up, check_grouping, row_of

        names = check_grouping(group_by)
        return add_up(
            row_of(entry, names, timezone)
            for entry in self.entries()
            if (since is None or entry.time >= since) and (until is None or entry.time < until)
        )

    def set_limit(self, key: str, metric: Metric, amount: Decimal | int | None) -> None:
        """See `Ledger.set_limit`."""
        number = check_limit(key, metric, amount)
        with self._lock:
            if number is None:
                self._limits.pop((key, metric), None)
            else:
                self._limits[key, metric] = number

    def limits(self, keys: Sequence[str]) -> Mapping[tuple[str, Metric], Decimal]:
        """See `Ledger.limits`."""
        wanted = set(keys)
        with self._lock:
            return {key: amount for key, amount in self._limits.items() if key[0] in wanted}

    def first_time(self, key: str, needed_until: float | None = None) -> bool:
        """See `Ledger.first_time`."""
        with self._lock:
            if key in self._noticed:
                return False
            self._noticed[key] = _NEVER if needed_until is None else needed_until
            return True

    def _tidy(self, now: float) -> None:
        self._next_tidying = now + _TIDYING_EVERY
        before = now - KEPT_SECONDS
        for account in [account for account, until in self._needed_until.items() if until < before]:
            self._drop(account)
        for key in [key for key, until in self._noticed.items() if until < before]:
            del self._noticed[key]

    def _drop(self, account: str) -> None:
        held = False
        for metric in _METRICS:
            if (account, metric) in self._held:
                held = True
            else:
                self._committed.pop((account, metric), None)
        if not held:
            self._needed_until.pop(account, None)

    def _note_estimate(self, hold: Hold, entry: Entry | None) -> None:
        self._estimates[hold.id] = _Estimate(hold.claims, entry)
        if len(self._estimates) > self._most_estimates:
            del self._estimates[next(iter(self._estimates))]

    def _correct(self, hold_id: str, entry: Entry) -> bool:
        estimate = self._estimates.pop(hold_id, None)
        if estimate is None:
            return False
        old = estimate.entry
        for claim in estimate.claims:
            booked = claim.amount if old is None else old.amount(claim.metric, claim.amount)
            if (claim.account, claim.metric) in self._committed:  # else it was forgotten
                self._add(claim, entry.amount(claim.metric, claim.amount) - booked)
        row = next((index for index, kept in enumerate(self._entries) if kept is old), None)
        if row is not None:
            self._entries[row] = entry
        elif old is None:
            self._entries.append(entry)
        if entry.correctable:
            self._estimates[hold_id] = _Estimate(estimate.claims, entry)
        return True

    def _end(self, hold_id: str) -> Hold | None:
        hold = self._open.pop(hold_id, None)
        if hold is None:
            return None
        for claim in hold.claims:
            self._give_back(claim)
        return hold

    def _give_back(self, claim: Claim) -> None:
        key = (claim.account, claim.metric)
        left = self._held.get(key, _ZERO) - claim.amount
        if left:
            self._held[key] = left
        else:
            self._held.pop(key, None)

    def _add(self, claim: Claim, amount: Decimal) -> None:
        key = (claim.account, claim.metric)
        self._committed[key] = self._committed.get(key, _ZERO) + amount


_ZERO = Decimal(0)
_NEVER = float("inf")
_TIDYING_EVERY = 3600.0
"""Seconds."""
_METRICS = ("tokens", "cost", "messages")
