"""What stands on the accounts of budgets, and which limits are in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.ledger.account_names import AccountName, parse_account

if TYPE_CHECKING:
    from assistantguard.storage import Database

__all__ = ["OwnLimits", "budget_lines"]

_KINDS = ("user", "tenant", "account", "application")
_MOST = 100_000

OwnLimits = Mapping[tuple[str, str, str], Decimal]
"""The limits of a program's budgets: by kind of account, what stands behind the ``@`` of its name, and metric."""


def budget_lines(
    books: Database, whose: tuple[str, str] | None, own: OwnLimits, *, past: bool, now: float
) -> Sequence[dict[str, Any]]:
    """What stands on each account, and what may be spent on it, in the order of their names.

    Args:
        books: The database.
        whose: Kind and name of whose accounts; None for everybody's.
        own: The limits of the program's budgets, as far as they are known.
        past: Whether windows that are over are told, too.
        now: Unix time, seconds.
    """
    from assistantguard.policies import Budget

    kinds, owner = _KINDS, None
    if whose is not None:
        kind: Any = whose[0]
        owner = parse_account(Budget(kind, tokens=1).key(whose[1]))
    amounts, overrides = _read(books, kinds if owner is None else (owner.kind,), None if past else now)
    lines = []
    for account, metric in sorted({*amounts, *overrides}):
        name = parse_account(account)
        if name is None or (owner is not None and (name.kind, name.written_owner) != (owner.kind, owner.written_owner)):
            continue
        is_now, ends_at = name.state(now)
        if not is_now and not past:
            continue
        key = account if name.window is None else account.removesuffix(f":{name.window}")
        override = overrides.get((account, metric), overrides.get((key, metric)))
        limit = own.get((name.kind, key.partition("@")[2], metric)) if override is None else override
        lines.append(
            _line(account, name, metric, amounts.get((account, metric)), limit, override)
            | {"now": is_now, "renews_at": ends_at if is_now and name.window is not None else None}
        )
    return lines


def _read(
    books: Database, kinds: Sequence[str], needed_at: float | None
) -> tuple[dict[tuple[str, str], tuple[Decimal, Decimal]], dict[tuple[str, str], Decimal]]:
    """What is committed and held, and the limits that were set, by account and metric."""
    from assistantguard.ledger.accounts import account_rows, limit_rows

    amounts: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    overrides: dict[tuple[str, str], Decimal] = {}
    for kind in kinds:
        for row in account_rows(books, prefix=kind, needed_at=needed_at, limit=_MOST):
            amounts[row.account, row.metric] = (row.committed, row.held)
        for account, metric, amount in limit_rows(books, prefix=kind, limit=_MOST):
            overrides[account, metric] = amount
    return amounts, overrides


def _line(
    account: str,
    name: AccountName,
    metric: str,
    amounts: tuple[Decimal, Decimal] | None,
    limit: Decimal | None,
    override: Decimal | None,
) -> dict[str, Any]:
    committed, held = amounts or (None, None)
    left = None if limit is None or amounts is None else max(limit - sum(amounts), Decimal(0))
    return {
        "account": account,
        "kind": name.kind,
        "owner": name.owner,
        "budget": name.budget,
        "window": name.window,
        "metric": metric,
        "committed": committed,
        "held": held,
        "limit": limit,
        "override": override,
        "left": left,
    }
