"""Whose budgets they are: what is left of them, and limits set at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.engine.budgets import Standing, standings
from assistantguard.errors import ConfigurationError
from assistantguard.models.budget import BudgetLine, BudgetReport
from assistantguard.models.names import check_name
from assistantguard.policies.budget import limit_of
from assistantguard.policies.ruling import PlacedCap

if TYPE_CHECKING:
    from assistantguard.ledger import Ledger
    from assistantguard.policies import Metric, PolicySet

__all__ = ["Payer", "report", "set_limits"]


@dataclass(slots=True, eq=False, repr=False)
class Payer:
    """Whose budgets are meant; with nobody named, the application's."""

    user: str | None = None
    tenant: str | None = None
    account: str | None = None
    """What the function of a budget names."""

    def owners(self) -> dict[str, str]:
        """Who is named, by kind of budget.

        Raises:
            ConfigurationError: One of them is no name.
        """
        named = {"user": self.user, "tenant": self.tenant, "account": self.account}
        return {kind: check_name(kind, name) for kind, name in named.items() if name is not None}

    def __str__(self) -> str:
        return ", ".join(f"{kind}={name!r}" for kind, name in self.owners().items()) or "the application"


def report(policies: PolicySet, ledger: Ledger, payer: Payer, now: float) -> BudgetReport:
    """What is left of every budget that concerns `payer`, the application's included. May block.

    Raises:
        ConfigurationError: A name is none, or no budget concerns them.
    """
    owners = {"application": "", **payer.owners()}
    placed = [
        PlacedCap(cap, budget.name, observed)
        for budget, observed in policies.budgets
        if budget.kind in owners
        for cap in budget.caps(owners[budget.kind], now)
    ]
    if not placed:
        raise ConfigurationError(f"no budget concerns {payer}: {_known(policies)}")
    return BudgetReport(tuple(_line(standing) for standing in standings(ledger, placed)))


def _line(standing: Standing) -> BudgetLine:
    cap, balance = standing.placed.cap, standing.balance
    assert cap.terms is not None
    return BudgetLine(
        cap.terms.budget,
        cap.account,
        cap.metric,
        cap.limit,
        balance.committed,
        balance.held,
        cap.terms.renews_at,
        standing.placed.observed,
    )


def set_limits(
    policies: PolicySet,
    ledger: Ledger,
    payer: Payer,
    amounts: Mapping[Metric, Any],
    *,
    budget: str | None,
    this_window: bool,
    now: float,
) -> None:
    """Set limits of one payer in place of the budgets' own, for all who share the ledger. May block.

    Args:
        policies: Where the budgets stand.
        ledger: Where the limits stand.
        payer: One user, one tenant, one account, or the application.
        amounts: The limit for each metric; None goes back to the budget's own.
        budget: The name of the budget, where more than one would fit.
        this_window: Whether they hold for the window that is now only.
        now: Unix time, seconds.

    Raises:
        ConfigurationError: A value cannot work, or it is not clear which budget is meant.
    """
    owners = payer.owners() or {"application": ""}
    if len(owners) > 1:
        raise ConfigurationError(f"{' and '.join(owners)} are given: set the limits of one at a time")
    if not amounts:
        raise ConfigurationError("no limit is given: give tokens, cost or messages, or None to take one back")
    ((kind, owner),) = owners.items()
    changes: list[tuple[str, Metric, Decimal | None]] = []
    for metric, value in amounts.items():
        fitting = [
            each
            for each, _observed in policies.budgets
            if each.kind == kind and metric in each.limits and budget in {None, each.name}
        ]
        if len(fitting) != 1:
            which = "no budget" if not fitting else "more than one budget"
            called = "" if budget is None else f" called {budget!r}"
            mend = _known(policies) if not fitting else "name one of " + ", ".join(repr(each.name) for each in fitting)
            raise ConfigurationError(f"{which}{called} limits {metric} for {payer}: {mend}")
        (chosen,) = fitting
        account = chosen.caps(owner, now)[0].account
        limit = None if value is None else limit_of(metric, metric, value)
        changes.append((account if this_window else chosen.key(owner), metric, limit))
    for key, metric, limit in changes:
        ledger.set_limit(key, metric, limit)


def _known(policies: PolicySet) -> str:
    if not policies.budgets:
        return "the guard has no budgets, give it some with policies=[Budget(…), …]"
    names = (f"{budget.name!r} ({', '.join(budget.limits)})" for budget, _observed in policies.budgets)
    return f"the guard's budgets are {', '.join(names)}"
