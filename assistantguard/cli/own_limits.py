"""The limits that stand in a program, not in the database."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from assistantguard.errors import AssistantGuardError, ConfigurationError

if TYPE_CHECKING:
    from assistantguard.ledger.budget_lines import OwnLimits

__all__ = ["own_limits"]


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
