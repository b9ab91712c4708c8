"""What stands on the accounts of budgets, and which limits are in force."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.cli.accounts import AccountName, parse_account
from assistantguard.errors import AssistantGuardError, ConfigurationError

if TYPE_CHECKING:
    from assistantguard.storage import Database

__all__ = ["OwnLimits", "budget_lines", "own_limits"]

_KINDS = ("user", "tenant", "account", "application")
_MOST = 100_000

OwnLimits = Mapping[tuple[str, str, str], Decimal]
"""The limits of a program's budgets: by kind of account, what stands behind the ``@`` of its name, and metric."""


def own_limits(where: str) -> OwnLimits:
    """The limits of the budgets that a program has.

    Args:
        where: ``module:name`` of its policies, or of its guard.

    Raises:
        ConfigurationError: There is nothing of that name, or it is neither.
    """
    from assistantguard.policies import PolicySet

    found = _imported(where)
    policies = getattr(getattr(found, "_core", None), "policies", None)
    if policies is None:
        try:
            policies = PolicySet(found)
        except (TypeError, AssistantGuardError) as error:
            raise ConfigurationError(
                f"--policies {where}: {type(found).__name__} is neither a list of policies nor a guard"
            ) from error
    return {
        (budget.kind, budget.key("" if budget.kind == "application" else "x").partition("@")[2], metric): limit
        for budget, _observed in policies.budgets
        for metric, limit in budget.limits.items()
    }


def _imported(where: str) -> Any:
    module, _, name = where.partition(":")
    if not module or not name:
        raise ConfigurationError(f"--policies is {where[:80]!r}: give MODULE:NAME, such as my_app.bot:policies")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigurationError(f"--policies {where}: {type(error).__name__}: {error}") from error


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
