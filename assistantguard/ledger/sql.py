"""A ledger in a database, for any number of processes.

An account is one row for each metric. Whoever changes several does so in one statement, sorted by name, so that two
that want the same rows never wait for each other in a circle; holds are always touched before accounts.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from assistantguard.ledger import statements
from assistantguard.ledger.base import (
    KEPT_SECONDS,
    Balance,
    Claim,
    Entry,
    Grouping,
    Hold,
    LedgerRefusal,
    UsageRow,
    check_limit,
    is_of_a_run,
)
from assistantguard.ledger.changes import Changes
from assistantguard.ledger.rows import (
    QUARTER,
    Held,
    account_name,
    claims_text,
    entry_of,
    entry_values,
    from_units,
    held_by,
    held_of,
    hold_of,
    limit_units,
    to_units,
    whole_days,
)
from assistantguard.models.usage import Usage

if TYPE_CHECKING:
    from assistantguard.policies.base import Metric
    from assistantguard.storage import Database, Transaction
    from assistantguard.storage.database import Row

__all__ = ["SqlLedger", "open_ledger"]

_Key = tuple[str, str]
_Any = TypeVar("_Any")
_Value = TypeVar("_Value")


def open_ledger(url: str, *, timeout: float = 10.0) -> SqlLedger:
    """Open a ledger in the database at `url`; see `assistantguard.storage.open_database`.

    Raises:
        ConfigurationError: As there.
    """
    from assistantguard.storage import open_database

    return SqlLedger(open_database(url, timeout=timeout))


class SqlLedger:
    """`Ledger` in a database.

    Its calls join a transaction of the same thread, so that other tables can be written together with the books.

    Args:
        database: From `assistantguard.storage.open_database`.
    """

    in_process = False

    def __init__(self, database: Database) -> None:
        self.database = database
        self._next_tidying = 0.0
        self._made_here: dict[str, list[Held]] = {}
        """What is held by holds that were made here and have not ended."""
        self._there: dict[_Key, None] = {}
        """Accounts that are known to have a row."""

    def __repr__(self) -> str:
        return f"SqlLedger({self.database!r})"

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        """See `Ledger.reserve`."""
        held = held_by(claims, expires_at)
        text = claims_text(claims, held)
        changes = Changes((account, metric, 0, amount, day) for account, metric, amount, day in held)
        row = (hold_id, expires_at, text)
        limits = _limits(claims)

        def work(transaction: Transaction) -> Hold:
            rows = changes.apply_with_hold(transaction, row)
            if rows is None:
                ((kept, until),) = transaction.execute(statements.A_HOLD, (hold_id,))
                return hold_of(hold_id, kept, until)
            if limits:
                _check_limits(claims, held, rows)
            return made()

        def made() -> Hold:
            _note(self._made_here, hold_id, held)
            for key in limits:
                _note(self._there, key, None)
            return Hold(hold_id, tuple(claims), expires_at)

        exist = all(key in self._there or not is_of_a_run(key[0]) for key in limits)  # as far as can be told
        at_once = self.database.writes_in_with and changes.rows and exist
        if at_once and changes.hold_if_it_fits(self.database, row, limits):
            return made()
        return self.database.run(work, repeatable=True)

    def commit(self, hold_id: str, entry: Entry) -> None:
        """See `Ledger.commit`."""
        values = entry_values(hold_id, entry)
        held = self._made_here.pop(hold_id, None)
        if held and self.database.writes_in_with and not entry.correctable:
            changes = _settling(entry, held)
            statement = statements.end_and_add(len(changes.rows))
            if self.database.execute(statement, (hold_id, *values, *changes.parameters())):
                return

        def work(transaction: Transaction) -> None:
            ended = transaction.execute(
                statements.KEEP_AS_ESTIMATE if entry.correctable else statements.END_HOLD, (hold_id,)
            )
            if not ended:
                if transaction.execute(statements.IS_EXPIRED, (hold_id,)):
                    self._correct(transaction, hold_id, entry, values)
                return
            ((entry_id,),) = transaction.execute(statements.NEW_ENTRY, values)
            if entry.correctable:
                transaction.execute(statements.NOTE_ENTRY, (entry_id, hold_id))
            _settling(entry, held or held_of(*ended[0])).apply(transaction)

        self.database.run(work, repeatable=True)

    def correct(self, hold_id: str, entry: Entry) -> bool:
        """See `Ledger.correct`. An estimate can be corrected for 30 days after its hold would have expired."""
        values = entry_values(hold_id, entry)

        def work(transaction: Transaction) -> bool:
            if self._correct(transaction, hold_id, entry, values):
                return True
            # The try before this one may have done it.
            usage = entry.usage
            same = (entry.time, hold_id, usage.input_tokens, usage.output_tokens)
            return transaction.repeated and bool(transaction.execute(statements.SAME_ENTRY, same))

        return self.database.run(work, repeatable=True)

    def release(self, hold_id: str) -> None:
        """See `Ledger.release`."""
        self._made_here.pop(hold_id, None)

        def work(transaction: Transaction) -> None:
            for kept in transaction.execute(statements.END_HOLD, (hold_id,)):
                held = held_of(*kept)
                Changes((account, metric, 0, -amount, day) for account, metric, amount, day in held).apply(transaction)

        self.database.run(work, repeatable=True)

    def balance(self, account: str, metric: Metric) -> Balance:
        """See `Ledger.balance`."""
        for committed, held in self.database.query(statements.BALANCE, (account_name(account), metric)):
            return Balance(from_units(metric, committed), from_units(metric, held))
        return Balance()

    def expire(self, now: float) -> Sequence[Hold]:
        """See `Ledger.expire`."""
        if now >= self._next_tidying:
            self._next_tidying = now + random.uniform(0.5, 1.0) * _TIDYING_EVERY  # noqa: S311  spreads processes
            self._tidy(now)
        ended: list[Hold] = []
        while self.database.query(statements.ANY_DUE, (now,)):
            some = self.database.run(lambda transaction: self._expire_some(transaction, now), repeatable=True)
            ended += some
            if len(some) < statements.AT_ONCE:
                break
        return ended

    def forget(self, account: str) -> None:
        """See `Ledger.forget`. Its entries are kept, and an account on which something is held."""
        name = account_name(account)
        self.database.run(lambda transaction: transaction.execute(statements.FORGET, (name,)), repeatable=True)

    def open_holds(self) -> Sequence[Hold]:
        """See `Ledger.open_holds`."""
        rows = self.database.query(statements.OPEN_HOLDS)
        return tuple(hold_of(hold_id, text, expires_at) for hold_id, text, expires_at in rows)

    def entries(self) -> Sequence[Entry]:
        """See `Ledger.entries`."""
        return tuple(entry_of(row) for row in self.database.query(statements.ENTRIES))

    def usage(
        self,
        group_by: Sequence[Grouping] = (),
        *,
        since: float | None = None,
        until: float | None = None,
        timezone: tzinfo | None = None,
    ) -> Sequence[UsageRow]:
        """See `Ledger.usage`."""
        from assistantguard.ledger.days import add_up, check_grouping, day_of

        names = check_grouping(group_by)
        columns = [statements.GROUP_COLUMNS[name] for name in names]
        conditions, parameters = [], []
        for bound, sign in ((since, ">="), (until, "<")):
            if bound is not None:
                conditions.append(f"time {sign} ?")
                parameters.append(float(bound))
        statement = f"SELECT {', '.join([*columns, *statements.SUMS])} FROM guard_entries"  # noqa: S608  names of our own
        if conditions:
            statement += f" WHERE {' AND '.join(conditions)}"
        if columns:
            statement += f" GROUP BY {', '.join(columns)}"
        rows = []
        for row in self.database.query(statement, parameters):
            group, sums = row[: len(names)], [int(value or 0) for value in row[len(names) :]]
            *counts, cost, unpriced, entries, cached, saved_tokens, saved_cost = sums
            if entries:
                shown = tuple(
                    day_of(value * QUARTER, timezone) if name == "day" else value
                    for name, value in zip(names, group, strict=True)
                )
                saved = cached, saved_tokens, from_units("cost", saved_cost)
                rows.append(UsageRow(shown, Usage(*counts), from_units("cost", cost), unpriced, entries, *saved))
        return add_up(rows)

    def set_limit(self, key: str, metric: Metric, amount: Decimal | int | None) -> None:
        """See `Ledger.set_limit`."""
        name, number = account_name(key), check_limit(key, metric, amount)
        statement, parameters = statements.NO_LIMIT, list[object]([name, metric])
        if number is not None:
            statement, parameters = statements.SET_LIMIT, [name, metric, limit_units(metric, number)]
        self.database.run(lambda transaction: transaction.execute(statement, parameters), repeatable=True)

    def limits(self, keys: Sequence[str]) -> Mapping[tuple[str, Metric], Decimal]:
        """See `Ledger.limits`."""
        names = [account_name(key) for key in dict.fromkeys(keys)]
        if not names:
            return {}
        rows = self.database.query(statements.limits_of(len(names)), names)
        return {(account, metric): from_units(metric, amount) for account, metric, amount in rows}

    def first_time(self, key: str, needed_until: float | None = None) -> bool:
        """See `Ledger.first_time`."""
        name, token = account_name(key), uuid.uuid4().hex
        until = None if needed_until is None else whole_days(needed_until)
        if self.database.query(statements.NOTICE, (name,)):
            return False

        def work(transaction: Transaction) -> bool:
            if transaction.execute(statements.NEW_NOTICE, (name, token, until)):
                return True
            # The try before this one may have been the first.
            return transaction.repeated and transaction.execute(statements.NOTICE, (name,)) == [(token,)]

        return self.database.run(work, repeatable=True)

    def _correct(self, transaction: Transaction, hold_id: str, entry: Entry, values: Sequence[object]) -> bool:
        estimates = transaction.execute(statements.END_ESTIMATE, (hold_id,))
        if not estimates:
            return False
        ((text, expires_at, entry_id),) = estimates
        old = None
        if entry_id is None:
            ((entry_id,),) = transaction.execute(statements.NEW_ENTRY, values)
        else:
            old = entry_of(transaction.execute(statements.AN_ENTRY, (entry_id,))[0])
            transaction.execute(statements.CHANGE_ENTRY, (*values, entry_id))
        if entry.correctable:
            transaction.execute(statements.NEW_ESTIMATE, (hold_id, expires_at, text, entry_id))
        differences: dict[_Key, int] = {}
        for account, metric, held, _ in held_of(text, expires_at):
            booked = held if old is None else _booked(old, metric, held)
            difference = _booked(entry, metric, held) - booked
            differences[account, metric] = differences.get((account, metric), 0) + difference
        for (account, metric), difference in sorted(differences.items()):
            if difference:  # an account that was forgotten stays so
                transaction.execute(statements.ADD_COMMITTED, (difference, account, metric))
        return True

    def _expire_some(self, transaction: Transaction, now: float) -> list[Hold]:
        """End some of the holds that are due, first all of them, then their accounts."""
        rows = transaction.execute(statements.EXPIRE.format(skip_locked=self.database.skip_locked), (now,))
        Changes(
            (account, metric, amount, -amount, day)
            for _, text, expires_at in rows
            for account, metric, amount, day in held_of(text, expires_at)
        ).apply(transaction)
        return [hold_of(*row) for row in sorted(rows)]

    def _tidy(self, now: float) -> None:
        """Forget what was needed until a while ago."""
        before = now - KEPT_SECONDS
        day = whole_days(before)
        for rows, bound in (
            (statements.OLD_ESTIMATES, before),
            (statements.OLD_ACCOUNTS, day),
            (statements.OLD_NOTICES, day),
        ):
            while self.database.query(f"SELECT 1 {rows} LIMIT 1", (bound,)):
                self._delete(statements.some_of(rows), bound)

    def _delete(self, statement: str, bound: float) -> None:
        self.database.run(lambda transaction: transaction.execute(statement, (bound, bound)), repeatable=True)


def _settling(entry: Entry, held: Sequence[Held]) -> Changes:
    """What committing `entry` does to the accounts of its hold."""
    return Changes(
        (account, metric, _booked(entry, metric, amount), -amount, day) for account, metric, amount, day in held
    )


def _note(notes: dict[_Any, _Value], key: _Any, value: _Value) -> None:
    """Remember something, and not too much."""
    notes[key] = value
    if len(notes) > _MOST_REMEMBERED:
        notes.pop(next(iter(notes)), None)


def _limits(claims: Sequence[Claim]) -> dict[_Key, int]:
    """The lowest limit of each account that has one."""
    limits: dict[_Key, int] = {}
    for claim in claims:
        if claim.limit is not None:
            key, most = (claim.account, claim.metric), limit_units(claim.metric, claim.limit)
            limits[key] = min(most, limits.get(key, most))
    return limits


def _check_limits(claims: Sequence[Claim], held: Sequence[Held], rows: Sequence[Row]) -> None:
    """See to it that every claim fits, one after the other.

    Args:
        claims: What was asked for.
        held: What they hold, in the same order.
        rows: What stands on the accounts now that they hold it.

    Raises:
        LedgerRefusal: One does not fit.
    """
    committed = {(account, metric): amount for account, metric, amount, _, _ in rows}
    before = {(account, metric): amount for account, metric, _, amount, _ in rows}
    for account, metric, amount, _ in held:
        before[account, metric] -= amount
    for claim, (account, metric, amount, _) in zip(claims, held, strict=True):
        key = (account, metric)
        if claim.limit is not None and committed[key] + before[key] + amount > limit_units(metric, claim.limit):
            raise LedgerRefusal(claim, Balance(from_units(metric, committed[key]), from_units(metric, before[key])))
        before[key] += amount


def _booked(entry: Entry, metric: str, held: int) -> int:
    """What an entry commits where `held` was held; see `Entry.amount`."""
    if metric == "tokens":
        return entry.usage.total_tokens
    if metric == "messages" or entry.cost is None:
        return held
    return to_units(metric, entry.cost)


_MOST_REMEMBERED = 10_000
_TIDYING_EVERY = 3600.0
"""Seconds."""
