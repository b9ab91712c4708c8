"""What can be changed in the dashboard. Each change is told by an event once it is made.

Every method blocks: call it on a thread that may wait.
"""

from __future__ import annotations

import re
import time
import unicodedata
import uuid
from typing import TYPE_CHECKING, Any, get_args

from assistantguard.dashboard.events import BudgetLimitChanged, ThreadChange, ThreadChanged
from assistantguard.errors import ConfigurationError
from assistantguard.ledger import SqlLedger
from assistantguard.ledger.account_names import parse_account, per_of
from assistantguard.models.names import check_name
from assistantguard.policies import Budget, Metric
from assistantguard.policies.budget import limit_of
from assistantguard.storage import SqlThreads

if TYPE_CHECKING:
    from decimal import Decimal

    from assistantguard.storage import Database, ThreadInfo
    from assistantguard.telemetry import Sink

__all__ = ["METRICS", "Changes", "every_window", "user_account"]

METRICS: tuple[Metric, ...] = get_args(Metric)
"""What a budget can limit."""
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_LONGEST_AMOUNT = 40
"""Characters that are looked at."""


class Changes:
    """Changes what the guards' database holds.

    Args:
        database: The database.
        sink: Is told of each change.
        actor: Who makes them.
    """

    def __init__(self, database: Database, sink: Sink, actor: str) -> None:
        self._database = database
        self._ledger = SqlLedger(database)
        self._threads = SqlThreads(database)
        self._sink = sink
        self._actor = actor
        self._session_id = f"dashboard_{uuid.uuid4().hex}"

    def set_limit(self, account: str, metric: str, amount: str) -> None:
        """Set a limit of an account, in place of the budget's own, for every program on this database.

        Args:
            account: Which one, as its budget calls it.
            metric: What is limited.
            amount: Tokens, US dollars or messages, as it was typed.

        Raises:
            ConfigurationError: The account is no budget's, the metric is unknown, or the amount is no limit.
        """
        checked = _check_metric(metric)
        self._limit(account, checked, _amount_of(checked, amount))

    def clear_limit(self, account: str, metric: str) -> None:
        """Take away a limit that was set: the budget's own is in force again.

        Raises:
            ConfigurationError: The account is no budget's, or the metric is unknown.
        """
        self._limit(account, _check_metric(metric), None)

    def _limit(self, account: str, metric: Metric, amount: Decimal | None) -> None:
        every_window(account)
        with self._database.transaction():
            before = self._ledger.limits([account]).get((account, metric))
            self._ledger.set_limit(account, metric, amount)
        if before != amount:
            self._sink(
                BudgetLimitChanged(time.time(), self._session_id, "", self._actor, account, metric, amount, before)
            )

    def rename(self, thread_id: str, user: str | None, name: str) -> None:
        """Give a thread another name.

        Raises:
            ConfigurationError: It is no name.
            ThreadNotFound: The user has no such thread.
            ThreadNameTaken: The user has another thread of that name.
        """
        checked = unicodedata.normalize("NFC", check_name("thread name", name))
        self._tell("renamed", self._threads.rename(thread_id, user, checked, None))

    def archive(self, thread_id: str, user: str | None) -> None:
        """Put a thread away: it takes no messages until it is restored.

        Raises:
            ThreadNotFound: The user has no such thread.
        """
        self._tell("archived", self._threads.archive(thread_id, user, time.time()))

    def restore(self, thread_id: str, user: str | None) -> None:
        """Take a thread into use again, however many the user has.

        Raises:
            ThreadNotFound: The user has no such thread.
        """
        self._tell("restored", self._threads.restore(thread_id, user, None))

    def _tell(self, change: ThreadChange, info: ThreadInfo) -> None:
        self._sink(ThreadChanged(time.time(), self._session_id, info.id, self._actor, change, info.user))


def every_window(account: str) -> str:
    """The account of all windows of the budget that `account` is of.

    Raises:
        ConfigurationError: It is no budget's.
    """
    name = parse_account(account)
    if name is None:
        raise ConfigurationError(
            f"{account[:80]!r} is not an account of a budget: give one as the lists show it, such as user:u-42@day"
        )
    return account if name.window is None else account.removesuffix(f":{name.window}")


def user_account(user: str, per: str) -> str:
    """The account of a user's budget without a name, in UTC.

    Args:
        user: The user.
        per: The budget's window: ``hour``, ``day``, ``week``, ``month``, ``ever``, or a length such as ``90m``.

    Raises:
        ConfigurationError: Either is none.
    """
    return Budget("user", per_of(per), tokens=1).key(check_name("user", user))


def _check_metric(metric: str) -> Metric:
    for known in METRICS:
        if metric == known:
            return known
    raise ConfigurationError(f"the metric is {metric[:40]!r}: give {', '.join(METRICS)}")


def _amount_of(metric: Metric, text: str) -> Decimal:
    """What was typed as a limit: ``1,000,000`` and ``$2.50`` are understood. A comma is no decimal point.

    Raises:
        ConfigurationError: It is none.
    """
    typed: Any = text.strip().removeprefix("$")[:_LONGEST_AMOUNT]
    if _GROUPED.fullmatch(typed):
        typed = typed.replace(",", "")
    if metric != "cost" and typed.isascii() and typed.isdigit():
        typed = int(typed)
    return limit_of("the limit", metric, typed)
