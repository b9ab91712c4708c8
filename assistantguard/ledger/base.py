"""What a ledger does: reserve before money is spent, then commit what was used, or release.

A hold is made on several accounts at once or on none. It ends exactly once: committed, released, or expired (which
commits its own amounts as an estimate, since a request whose outcome nobody learned may have been billed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

from assistantguard.models.usage import Usage
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.policies.base import Metric

__all__ = ["Balance", "Claim", "Entry", "Hold", "HoldState", "Ledger", "LedgerRefusal"]

HoldState = Literal["open", "committed", "released", "expired"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Claim(Value):
    """An amount to hold on one account."""

    account: str
    metric: Metric
    amount: Decimal
    """Tokens, or US dollars."""
    limit: Decimal | None = None
    """Refuse when committed + held + amount would pass it; None never refuses."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Entry(Value):
    """What one request really used: the row that is kept."""

    time: float
    """Unix time, seconds."""
    thread_id: str
    run_id: str
    attempt: int
    model: str
    usage: Usage
    cost: Decimal | None
    """US dollars; None where the price is unknown."""
    purpose: str = "run"
    response_id: str | None = None
    price_source: str | None = None
    provisional: bool = False
    """Whether the server may yet tell otherwise: a cancelled answer may turn out to have been completed."""

    @property
    def correctable(self) -> bool:
        """Whether it may be replaced by what is learned later."""
        return self.usage.estimated or self.provisional

    def amount(self, metric: Metric, held: Decimal) -> Decimal:
        """What to commit on an account: an unknown cost commits what was held for it, never nothing."""
        if metric == "tokens":
            return Decimal(self.usage.total_tokens)
        return held if self.cost is None else self.cost


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Hold(Value):
    """An open reservation."""

    id: str
    claims: tuple[Claim, ...]
    expires_at: float
    """Unix time, seconds."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Balance(Value):
    """What stands on one account and metric."""

    committed: Decimal = Decimal(0)
    held: Decimal = Decimal(0)


class LedgerRefusal(Exception):
    """A claim did not fit; nothing was held on any account."""

    def __init__(self, claim: Claim, balance: Balance) -> None:
        super().__init__(f"{claim.account}: {claim.amount} {claim.metric} do not fit {claim.limit}")
        self.claim = claim
        self.balance = balance


class Ledger(Protocol):
    """Blocking, atomic, and safe to call from several threads. The asyncio driver offloads those that may wait."""

    @property
    def in_process(self) -> bool:
        """Whether calls return at once (no file, no network), so that an event loop may make them itself."""
        ...

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        """Hold all claims at once.

        Raises:
            LedgerRefusal: One did not fit; none was held.
        """
        ...

    def commit(self, hold_id: str, entry: Entry) -> None:
        """End a hold with what was used, and keep the row.

        A hold that has expired is corrected instead, since its estimate stands on the books. Without effect on one
        that was committed or released.
        """
        ...

    def correct(self, hold_id: str, entry: Entry) -> bool:
        """Replace an estimate by what was really used.

        An estimate is what stands for a hold that was committed with a `correctable` entry, or that expired.

        Returns:
            Whether it was done. A hold can be corrected as long as it stands on the books as an estimate, so that
            nothing counts twice.
        """
        ...

    def release(self, hold_id: str) -> None:
        """End a hold with nothing used. Without effect on a hold that has ended."""
        ...

    def balance(self, account: str, metric: Metric) -> Balance:
        """What is committed and held on an account."""
        ...

    def expire(self, now: float) -> Sequence[Hold]:
        """End every hold whose time is up, committing its amounts as an estimate; return those holds."""
        ...

    def forget(self, account: str) -> None:
        """Say that nobody will ask for the balance of `account` again, so that it need not be kept at hand."""
        ...

    def open_holds(self) -> Sequence[Hold]:
        """Holds that have not ended."""
        ...

    def entries(self) -> Sequence[Entry]:
        """Every row, oldest first."""
        ...
