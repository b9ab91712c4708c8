"""Threads of users, and moments before and after a window ends."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import cast

from assistantguard import Budget, BudgetLine
from tests.support.clock import Clock
from tests.support.world import Bot, Thread

__all__ = ["budgeted", "go_to_midnight", "line_of", "of_user"]


def of_user(bot: Bot, user: str, tenant: str | None = None, topic: str | None = None) -> Thread:
    """A user's thread."""
    return cast("Thread", bot.world.wait(bot.thread(user=user, tenant=tenant, topic=topic)))


def go_to_midnight(clock: Clock, before: float = 0.0) -> float:
    """Put the clock forward to so many seconds before the next midnight in UTC; return that midnight."""
    today = datetime.fromtimestamp(time.time(), timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = (today + timedelta(2)).timestamp()
    clock.advance(midnight - before - time.time())
    return midnight


def line_of(bot: Bot, user: str | None = None, metric: str = "tokens", budget: str | None = None) -> BudgetLine:
    """One line of what is left."""
    report = bot.world.wait(bot.guard.budget(user))
    (line,) = [line for line in report.lines if line.metric == metric and budget in {None, line.budget}]
    assert isinstance(line, BudgetLine)
    return line


def budgeted(bot: Bot, budget: Budget, owner: str, metric: str = "tokens") -> Decimal:
    """What stands on an owner's account now."""
    (cap,) = [cap for cap in budget.caps(owner, time.time()) if cap.metric == metric]
    return bot.ledger.balance(cap.account, cap.metric).committed
