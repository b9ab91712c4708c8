"""The figures of the dashboard, as the ledger and the thread store have them.

Every method blocks: call it on a thread that may wait.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.ledger import Grouping, SqlLedger, UsageRow
from assistantguard.ledger.account_names import parse_account
from assistantguard.ledger.budget_lines import OwnLimits, budget_lines
from assistantguard.models.values import Value
from assistantguard.policies import Budget
from assistantguard.storage import Database, SqlThreads, ThreadFilter, ThreadInfo
from assistantguard.storage.overview import (
    RunInFlight,
    UserThreadCount,
    count_runs_in_flight,
    runs_in_flight,
    thread_counts,
)
from assistantguard.storage.records import folded

if TYPE_CHECKING:
    from assistantguard.storage.threads import RunRecord

__all__ = [
    "PAGE",
    "PERIODS",
    "BudgetRow",
    "Figures",
    "Overview",
    "Spending",
    "ThreadPage",
    "UserPage",
    "UserRow",
    "dearest",
]

PERIODS: Mapping[str, int | None] = {"1": 1, "7": 7, "30": 30, "90": 90, "365": 365, "all": None}
"""Days that figures can be shown for, today included; None for all there are."""
PAGE = 50
"""Rows of a list that is shown in pages."""
_RUNS = 50
_ALWAYS_WHOLE = 40
"""Shorter names are never cut in an account."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Spending(Value):
    """What the entries of one group add up to."""

    name: str | None
    """The day, model, user or thread; None where the entries have none, and for a sum of all."""
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    estimated_tokens: int
    cost: Decimal | None
    """US dollars, of the entries whose price is known; None where none is."""
    unpriced: int
    """Entries whose cost is unknown, and not in `cost`."""
    cached_replies: int
    saved_cost: Decimal

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def cached_share(self) -> float | None:
        """Which part of the input was read from the provider's cache; None without input."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BudgetRow(Value):
    """What stands on an account, and what may be spent on it."""

    account: str
    """With its window, where something is booked."""
    key: str
    """The account of all windows: what limits are set for."""
    kind: str
    owner: str | None
    budget: str
    window: str | None
    metric: str
    committed: Decimal | None
    held: Decimal | None
    limit: Decimal | None
    """What is in force, as far as it is known."""
    override: Decimal | None
    """What was set at run time."""
    set_for: str | None
    """The account that it was set for: `key`, or `account` where it holds in this window only."""
    left: Decimal | None
    renews_at: float | None

    @property
    def share(self) -> float | None:
        """Which part of the limit is spent or held, 1 at most; None where that is not known."""
        if self.limit is None or self.committed is None or self.held is None:
            return None
        if not self.limit:
            return 1.0
        return min(1.0, float((self.committed + self.held) / self.limit))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Overview(Value):
    """What was spent in a period, and what goes on now."""

    total: Spending
    days: Sequence[Spending]
    """Each day from the first to today; those without entries are there, too."""
    models: Sequence[Spending]
    """The dearest first."""
    users: Sequence[Spending]
    """Likewise."""
    in_flight: int
    runs: Sequence[RunInFlight]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UserRow(Value):
    """A user in the list."""

    name: str
    spending: Spending
    threads: UserThreadCount | None
    budgets: Sequence[BudgetRow]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class UserPage(Value):
    """All about one user; None stands for the application's own threads."""

    name: str | None
    spending: Spending
    models: Sequence[Spending]
    budgets: Sequence[BudgetRow]
    threads: Sequence[ThreadInfo]
    """The newest ones."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadPage(Value):
    """All about one thread, but for what was said, which is not stored."""

    info: ThreadInfo
    runs: Sequence[RunRecord]


class Figures:
    """Reads the guards' database.

    Args:
        database: The database.
        zone: Where days begin.
        own_limits: The limits of the program's own budgets, as far as they are known.
    """

    def __init__(self, database: Database, zone: dt.tzinfo, own_limits: OwnLimits) -> None:
        self.database = database
        self.zone = zone
        self._own_limits = own_limits
        self._ledger = SqlLedger(database)
        self._threads = SqlThreads(database)

    def overview(self, days: int | None, most: int = 20) -> Overview:
        """What was spent in the last `days` days, today included; in all of time where that is None."""
        since = self._since(days)
        by_day = _by_name(self._usage("day", since))
        return Overview(
            self._total(since),
            self._all_days(by_day, days),
            dearest(self._usage("model", since))[:most],
            dearest(row for row in self._usage("user", since) if row.name is not None)[:most],
            count_runs_in_flight(self.database),
            runs_in_flight(self.database, time.time(), most),
        )

    def users(self, search: str, days: int | None, page: int) -> tuple[Sequence[UserRow], bool]:
        """Users whose names contain `search` in any case, who spent most first; and whether there is another page.

        Users are those who have entries in the period, threads, or an account of a budget that is now.
        """
        spending = {row.name: row for row in self._usage("user", self._since(days)) if row.name is not None}
        threads = {row.user: row for row in thread_counts(self.database)}
        budgets: dict[str, list[BudgetRow]] = {}
        for row in self.budgets(("user",)):
            budgets.setdefault(row.owner or "", []).append(row)
        shown_as = {_account_owner(name): name for name in {*spending, *threads}}
        names = {*spending, *threads, *(shown_as.get(owner, owner) for owner in budgets)}
        text = folded(search)
        found = dearest(spending.get(name) or _nothing(name) for name in names if not text or text in folded(name))
        rows = [
            UserRow(row.name or "", row, threads.get(row.name or ""), budgets.get(_account_owner(row.name or ""), ()))
            for row in found[page * PAGE : (page + 1) * PAGE]
        ]
        return rows, len(found) > (page + 1) * PAGE

    def user(self, name: str | None, days: int | None) -> UserPage:
        """All about one user. One whom nobody knows has nothing."""
        since = self._since(days)
        groups: tuple[Grouping, ...] = ("user", "model")
        rows = [row for row in self._ledger.usage(groups, since=since, timezone=self.zone) if row.group[0] == name]
        models = [_spending(replace(row, group=row.group[1:])) for row in rows]
        budgets = () if name is None else self.budgets(("user",), name)
        listed = self.threads(ThreadFilter(name, archived=None, limit=20))
        return UserPage(name, _sum(name, models), dearest(models), budgets, listed)

    def budgets(self, kinds: Sequence[str], owner: str | None = None) -> Sequence[BudgetRow]:
        """What stands on the accounts that are now, of these kinds; of one owner only, where one is given."""
        whose = None if owner is None else (kinds[0], owner)
        lines = budget_lines(self.database, whose, self._own_limits, past=False, now=time.time())
        return _joined(line for line in lines if line["kind"] in kinds)

    def account(self, key: str) -> Sequence[BudgetRow]:
        """What stands on one account, given without a window, in the window that is now."""
        name = parse_account(key)
        if name is None:
            return ()
        return [row for row in self.budgets((name.kind,)) if row.key == key]

    def threads(self, wanted: ThreadFilter) -> Sequence[ThreadInfo]:
        """Threads, the one that was used last first."""
        return self._threads.select(wanted)

    def thread(self, thread_id: str, user: str | None) -> ThreadPage:
        """All about one thread.

        Raises:
            ThreadNotFound: `user` has no such thread.
        """
        return ThreadPage(self._threads.info(thread_id, user), self._threads.runs(thread_id, _RUNS))

    def runs(self, most: int = 200) -> tuple[int, Sequence[RunInFlight]]:
        """How many runs are in flight, and the ones that began first."""
        return count_runs_in_flight(self.database), runs_in_flight(self.database, time.time(), most)

    def _since(self, days: int | None) -> float | None:
        """When the first of the last `days` days began; Unix time, seconds."""
        if days is None:
            return None
        first = dt.datetime.now(self.zone).date() - dt.timedelta(days=days - 1)
        return dt.datetime.combine(first, dt.time(), self.zone).timestamp()

    def _usage(self, name: Grouping, since: float | None) -> list[Spending]:
        return [_spending(row) for row in self._ledger.usage((name,), since=since, timezone=self.zone)]

    def _total(self, since: float | None) -> Spending:
        return _sum(None, [_spending(row) for row in self._ledger.usage(since=since)])

    def _all_days(self, known: Mapping[str, Spending], days: int | None) -> Sequence[Spending]:
        today = dt.datetime.now(self.zone).date()
        first = min(known, default=today.isoformat())
        begin = dt.date.fromisoformat(first) if days is None else today - dt.timedelta(days=days - 1)
        length = (max(today, begin) - begin).days + 1
        names = [(begin + dt.timedelta(days=number)).isoformat() for number in range(length)]
        return [known.get(name) or _nothing(name) for name in names]


def dearest(rows: Iterable[Spending]) -> list[Spending]:
    """In the order of what they cost, then of their tokens, then of their names."""
    return sorted(rows, key=lambda row: (-(row.cost or 0), -row.tokens, row.name or ""))


def _account_owner(user: str) -> str:
    """A user's name as the accounts of budgets show it: a very long one is cut there."""
    name = None if len(user) < _ALWAYS_WHOLE else parse_account(Budget("user", tokens=1).key(user))
    return user if name is None or name.owner is None else name.owner


def _by_name(rows: Iterable[Spending]) -> dict[str, Spending]:
    return {row.name: row for row in rows if row.name is not None}


def _nothing(name: str | None) -> Spending:
    return Spending(name, 0, 0, 0, 0, 0, Decimal(0), 0, 0, Decimal(0))


def _spending(row: UsageRow) -> Spending:
    usage = row.usage
    return Spending(
        row.group[0] if row.group else None,
        row.requests,
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.estimated_tokens,
        None if row.unpriced == row.entries else row.cost,
        row.unpriced,
        row.cached,
        row.saved_cost,
    )


def _sum(name: str | None, rows: Sequence[Spending]) -> Spending:
    known = [row.cost for row in rows if row.cost is not None]
    return Spending(
        name,
        sum(row.requests for row in rows),
        sum(row.input_tokens for row in rows),
        sum(row.cached_tokens for row in rows),
        sum(row.output_tokens for row in rows),
        sum(row.estimated_tokens for row in rows),
        sum(known, Decimal(0)) if known or not rows else None,
        sum(row.unpriced for row in rows),
        sum(row.cached_replies for row in rows),
        sum((row.saved_cost for row in rows), Decimal(0)),
    )


def _joined(lines: Iterable[Mapping[str, Any]]) -> list[BudgetRow]:
    """One row for each account and metric: what is set for all windows is told with the one that is now."""
    rows: dict[tuple[str, str], BudgetRow] = {}
    for line in lines:
        row = _budget_row(line)
        place = (row.key, row.metric)
        before = rows.get(place)
        if before is None or row.window is not None:
            for_all = before is not None and before.override == row.override
            rows[place] = replace(row, set_for=row.key) if for_all and row.set_for else row
    return list(rows.values())


def _budget_row(line: Mapping[str, Any]) -> BudgetRow:
    account, window = line["account"], line["window"]
    return BudgetRow(
        account,
        account if window is None else account.removesuffix(f":{window}"),
        line["kind"],
        line["owner"],
        line["budget"],
        window,
        line["metric"],
        line["committed"],
        line["held"],
        line["limit"],
        line["override"],
        None if line["override"] is None else account,
        line["left"],
        line["renews_at"],
    )
