"""The accounts of a ledger in a database, and the limits that were set at run time, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.ledger.rows import from_units
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.storage import Database

__all__ = ["AccountRow", "account_rows", "limit_rows"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AccountRow(Value):
    """What stands on one account and metric."""

    account: str
    metric: str
    committed: Decimal
    held: Decimal


def account_rows(
    database: Database, *, prefix: str = "", needed_at: float | None = None, limit: int = 1_000
) -> Sequence[AccountRow]:
    """Accounts that begin with `prefix`, in the order of their names.

    Args:
        database: The ledger's.
        prefix: What the names begin with.
        needed_at: Leaves out those that were needed only until the day before then (Unix time, seconds).
        limit: How many at most.
    """
    conditions, parameters = ["account >= ?", "account < ?"], list[object]([prefix, prefix + "\U0010ffff"])
    if needed_at is not None:
        conditions.append("(needed_until IS NULL OR needed_until >= ?)")
        parameters.append(int(needed_at // 86_400))
    rows = database.query(
        "SELECT account, metric, committed, held FROM guard_accounts"  # noqa: S608  conditions of our own
        f" WHERE {' AND '.join(conditions)} ORDER BY account, metric LIMIT ?",
        (*parameters, limit),
    )
    return [
        AccountRow(account, metric, from_units(metric, committed), from_units(metric, held))
        for account, metric, committed, held in rows
    ]


def limit_rows(database: Database, *, prefix: str = "", limit: int = 1_000) -> Sequence[tuple[str, str, Decimal]]:
    """Account, metric and amount of the limits that were set at run time; see `account_rows`."""
    rows = database.query(
        "SELECT account, metric, amount FROM guard_limits WHERE account >= ? AND account < ?"
        " ORDER BY account, metric LIMIT ?",
        (prefix, prefix + "\U0010ffff", limit),
    )
    return [(account, metric, from_units(metric, amount)) for account, metric, amount in rows]
