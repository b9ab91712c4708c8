"""What a ledger does: reserve before money is spent, then commit what was used, or release.

A hold is made on several accounts at once or on none. It ends exactly once: committed, released, or expired (which
commits its own amounts as an estimate, since a request whose outcome nobody learned may have been billed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

from assistantguard.errors import ConfigurationError
from assistantguard.models.usage import Usage
from assistantguard.models.values import Record, Value

if TYPE_CHECKING:
    from assistantguard.policies.base import Metric

__all__ = [
    "GROUPINGS",
    "KEPT_SECONDS",
    "REPLY_CACHE",
    "Balance",
    "Claim",
    "Entry",
    "Grouping",
    "Hold",
    "Ledger",
    "LedgerRefusal",
    "UsageRow",
    "check_limit",
    "is_of_a_run",
    "needed_until",
]

Grouping = Literal["day", "model", "purpose", "run", "tenant", "thread", "user"]
GROUPINGS: tuple[Grouping, ...] = ("day", "model", "purpose", "run", "tenant", "thread", "user")
"""What usage can be summed up by."""
REPLY_CACHE = "reply_cache"
"""The purpose of entries for cached replies."""
KEPT_SECONDS = 30 * 86_400.0
"""How long an account, a notice or an estimate is kept after it is needed no more."""


@dataclass(slots=True, eq=False, repr=False)
class Claim(Record):
    """An amount to hold on one account."""

    account: str
    metric: Metric
    amount: Decimal
    """Tokens, US dollars, or messages. A database keeps dollars to 12 decimals, and rounds up what has more."""
    limit: Decimal | None = None
    """Refuse when committed + held + amount would pass it; None never refuses."""
    needed_until: float | None = None
    """Until when somebody may ask for the account's balance (Unix time), such as the end of its window. It is
    forgotten some time later. None keeps it for ever, but for a run's account (``run:…``), which is needed until its
    last hold expires."""


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
    user: str | None = None
    """Whose thread it is; None where the application does not say."""
    tenant: str | None = None
    saved_tokens: int = 0
    """What a cached reply's original had used; nothing was used here."""
    saved_cost: Decimal | None = Decimal(0)
    """US dollars; None where the original's price is unknown."""

    @property
    def correctable(self) -> bool:
        """Whether it may be replaced by what is learned later."""
        return self.usage.estimated or self.provisional

    def amount(self, metric: Metric, held: Decimal) -> Decimal:
        """What to commit on an account.

        An unknown cost commits what was held for it, never nothing. Messages are known when they are held.
        """
        if metric == "tokens":
            return Decimal(self.usage.total_tokens)
        return held if metric == "messages" or self.cost is None else self.cost


@dataclass(slots=True, eq=False, repr=False)
class Hold(Record):
    """An open reservation."""

    id: str
    claims: tuple[Claim, ...]
    expires_at: float
    """Unix time, seconds."""


@dataclass(slots=True, eq=False, repr=False)
class Balance(Record):
    """What stands on one account and metric."""

    committed: Decimal = Decimal(0)
    held: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UsageRow(Value):
    """What the entries of one group add up to."""

    group: tuple[str | None, ...]
    """One value for each name that was grouped by; None where entries have none. Days are ``2026-11-22``."""
    usage: Usage
    cost: Decimal
    """US dollars, of the entries whose price was known."""
    unpriced: int
    """How many entries have an unknown cost, which is not in `cost`."""
    entries: int
    cached: int = 0
    """How many entries are cached replies, for which nothing was sent."""
    saved_tokens: int = 0
    """What their originals had used."""
    saved_cost: Decimal = Decimal(0)
    """US dollars, of the originals whose price was known."""

    @property
    def requests(self) -> int:
        """How many entries are requests that were sent."""
        return self.entries - self.cached


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
        """End every hold whose time is up, committing its amounts as an estimate; return those that this call ended.

        Cheap when nothing is due. It also forgets what is needed no more.
        """
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

    def usage(
        self,
        group_by: Sequence[Grouping] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        timezone: tzinfo | None = None,
    ) -> Sequence[UsageRow]:
        """Add up the rows by group, in the order of the groups (those without a value first).

        Args:
            group_by: What a group has in common; nothing gives one row, or none where there are no entries.
            since: Unix time of the first entries that count.
            until: Unix time of the first that count no more.
            timezone: Where the days are; None takes UTC.

        Raises:
            ConfigurationError: A name to group by is unknown or given twice.
        """
        ...

    def set_limit(self, key: str, metric: Metric, amount: Decimal | int | None) -> None:
        """Note a limit of an account, for all processes; None takes it away. Policies read it, the ledger does not.

        Args:
            key: Whose limit it is, as the policy that reads it calls it.
            metric: What it limits.
            amount: Tokens, US dollars, or messages.

        Raises:
            ConfigurationError: The amount is negative or no number.
        """
        ...

    def limits(self, keys: Sequence[str]) -> Mapping[tuple[str, Metric], Decimal]:
        """The limits that were set for `keys`."""
        ...

    def first_time(self, key: str, needed_until: float | None = None) -> bool:
        """Whether nobody has asked so for `key` before: True exactly once, over all processes.

        Args:
            key: What must happen only once, such as a warning at one threshold of one window.
            needed_until: When it may be forgotten that somebody asked (Unix time); None never forgets.
        """
        ...


def check_limit(key: str, metric: str, amount: object) -> Decimal | None:
    """A limit as a number.

    Raises:
        ConfigurationError: It is negative or no number.
    """
    if amount is None:
        return None
    if isinstance(amount, bool) or not isinstance(amount, (Decimal, int)):
        raise ConfigurationError(f"the limit of {key!r} is {amount!r} {metric}, it must be a Decimal, an int or None")
    number = Decimal(amount)
    if not number.is_finite() or number < 0:
        raise ConfigurationError(
            f"the limit of {key!r} is {amount} {metric}, it must be at least 0; None takes it away"
        )
    return number


def is_of_a_run(account: str) -> bool:
    """Whether an account is that of one run, made with its first hold."""
    return account.startswith("run:")


def needed_until(account: str, until: float | None, expires_at: float) -> float | None:
    """Until when an account is needed of which a claim says `until`, in a hold that expires at `expires_at`."""
    if until is None and is_of_a_run(account):
        until = expires_at
    return None if until == float("inf") else until
