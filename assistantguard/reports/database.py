"""The figures of the ledger's database: what was booked, and the runs and generations that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from assistantguard.ledger import SqlLedger, statements
from assistantguard.ledger.rows import from_units
from assistantguard.models.usage import Usage
from assistantguard.reports.books import dearness
from assistantguard.reports.report import Report
from assistantguard.reports.tally import RunLine, Tally
from assistantguard.storage.states import run_from_record

if TYPE_CHECKING:
    from datetime import tzinfo
    from decimal import Decimal

    from assistantguard.models import RunState
    from assistantguard.storage import Database

__all__ = ["read_database", "read_lives"]

_AT_ONCE = 5000
"""Rows that are fetched at once, so that memory stays flat."""
_CHUNK = 31 * 86_400.0
"""Seconds of the books that are added up at once."""
_SUMS = ", ".join(statements.SUMS)
_SPAN = "SELECT MIN(time), MAX(time), COUNT(*) FROM guard_entries WHERE {times}"
_BY_NAME = (
    "SELECT {column}, {sums} FROM guard_entries WHERE {column} > ? AND {times}"
    " GROUP BY {column} ORDER BY {column} LIMIT ?"
)
_NAMELESS = "SELECT {sums} FROM guard_entries WHERE user_name IS NULL AND {times}"
_CACHED = (
    "SELECT COUNT(*), SUM(saved_tokens), SUM(saved_cost) FROM guard_entries WHERE purpose = 'reply_cache' AND {times}"
)
_RUNS = "SELECT id, state FROM guard_runs WHERE id > ? AND finished_at IS NOT NULL AND {times} ORDER BY id LIMIT ?"
_CALLS = (
    "SELECT time, id, input_tokens + output_tokens, user_name FROM guard_entries"
    " WHERE thread_id = ? AND (time > ? OR (time = ? AND id > ?)) AND purpose = 'run' AND {times}"
    " ORDER BY time, id LIMIT ?"
)
_GENERATIONS = "SELECT begun_at FROM guard_generations WHERE thread_id = ? ORDER BY begun_at"
_ROTATED = (
    "SELECT SUM(generations - 1) FROM (SELECT COUNT(*) AS generations FROM guard_generations WHERE {times}"
    " GROUP BY thread_id) AS threads"
)


class _Bounds:
    """The times that count, as a condition and its parameters."""

    def __init__(self, since: float | None, until: float | None) -> None:
        bounds = [(">=", since), ("<", until)]
        self.parameters = [float(bound) for _, bound in bounds if bound is not None]
        self._signs = [sign for sign, bound in bounds if bound is not None]

    def put(self, statement: str, time: str = "time", **words: str) -> str:
        """A statement with the condition on the column `time`."""
        times = " AND ".join(f"{time} {sign} ?" for sign in self._signs) or "1 = 1"
        return statement.format(times=times, **words)


def read_database(
    database: Database,
    *,
    top: int = 5,
    lives: int = 6,
    since: float | None = None,
    until: float | None = None,
    zone: tzinfo | None = None,
    advance: Callable[[float], None] = lambda _: None,
) -> Report:
    """Add up what a guards' database has, a part at a time.

    The runs are those that are still kept; the books are whole. What no database keeps (refusals, warnings, heals,
    tools, estimates before sending) is empty.

    Args:
        database: From `assistantguard.storage.open_database`.
        top: How many of the slowest and dearest runs to keep.
        lives: Of how many threads, the dearest, the context over their lives is read.
        since: Unix time of the first entries that count.
        until: Unix time of the first that count no more.
        zone: Where days begin; None takes UTC.
        advance: Told how far it is, from 0 to 1.

    Raises:
        DatabaseUnavailable: It could not be read.
    """
    report = Report(top=top, zone=zone, origin="database", since=since, until=until)
    bounds = _Bounds(since, until)
    ((first, last, entries),) = database.query(bounds.put(_SPAN), bounds.parameters)
    report.events, report.first_time, report.last_time = int(entries), first, last
    if first is not None:
        _add_days(SqlLedger(database), report, first, last, advance)
        _add_names(database, report, bounds)
        advance(0.8)
    ((cached, saved_tokens, saved_cost),) = database.query(bounds.put(_CACHED), bounds.parameters)
    report.cached_replies, report.saved_tokens = int(cached), int(saved_tokens or 0)
    report.saved_cost = from_units("cost", int(saved_cost or 0))
    for run in _runs(database, bounds):
        report.add_run(_line(run))
    ((rotated,),) = database.query(bounds.put(_ROTATED, "begun_at"), bounds.parameters)
    if rotated:
        report.rotations["all policies"] = int(rotated)
    read_lives(database, report, [name for name, _ in report.books.threads.greatest(lives, dearness)])
    advance(1.0)
    return report


def read_lives(database: Database, report: Report, threads: list[str]) -> None:
    """Add the context of some threads over their lives to a report: what each call of theirs read and wrote."""
    bounds = _Bounds(report.since, report.until)
    for thread in threads:
        begun = [float(time) for (time,) in database.query(_GENERATIONS, (thread,))][1:]
        before = 0
        for time, _, tokens, user in _calls(database, thread, bounds):
            life = report.lives.at(thread)
            life.user = user or life.user
            while begun and begun[0] <= time:
                life.add(begun.pop(0), before, rotated=True)
            before = int(tokens)
            life.add(float(time), before)


def _calls(database: Database, thread: str, bounds: _Bounds) -> Iterator[tuple[Any, ...]]:
    time, number = -1e300, 0
    while True:
        parameters = [thread, time, time, number, *bounds.parameters, _AT_ONCE]
        rows = database.query(bounds.put(_CALLS), parameters)
        yield from rows
        if len(rows) < _AT_ONCE:
            return
        time, number = rows[-1][:2]


def _add_days(ledger: SqlLedger, report: Report, first: float, last: float, advance: Callable[[float], None]) -> None:
    begin = first
    while begin <= last:
        end = begin + _CHUNK
        until = end if report.until is None else min(end, report.until)
        for row in ledger.usage(["day", "model"], since=begin, until=until, timezone=report.zone):
            day, model = row.group
            tally = _tally_of(row.usage, row.requests, row.cost, row.unpriced)
            report.books.total.merge(tally)
            report.books.cells.setdefault((day or "", model or ""), Tally()).merge(tally)
        advance(0.5 * min(1.0, (end - first) / (last - first + 1)))
        begin = end


def _add_names(database: Database, report: Report, bounds: _Bounds) -> None:
    for column, groups in (("user_name", report.books.users), ("thread_id", report.books.threads)):
        last = ""
        while True:
            statement = bounds.put(_BY_NAME, column=column, sums=_SUMS)
            rows = database.query(statement, [last, *bounds.parameters, _AT_ONCE])
            for name, *sums in rows:
                groups.at(name).merge(_tally(sums))
            if len(rows) < _AT_ONCE:
                break
            last = rows[-1][0]
    ((*sums,),) = database.query(bounds.put(_NAMELESS, sums=_SUMS), bounds.parameters)
    if sums[9]:
        report.books.users.at("").merge(_tally(sums))


def _runs(database: Database, bounds: _Bounds) -> Iterator[RunState]:
    last = ""
    while True:
        rows = database.query(bounds.put(_RUNS, "started_at"), [last, *bounds.parameters, _AT_ONCE // 10])
        for _, state in rows:
            yield run_from_record(json.loads(state))
        if len(rows) < _AT_ONCE // 10:
            return
        last = rows[-1][0]


def _line(run: RunState) -> RunLine:
    return RunLine(
        run_id=run.id,
        thread_id=run.thread_id,
        model=run.model,
        status=run.status,
        seconds=run.seconds,
        cost=run.cost,
        total_tokens=run.usage.total_tokens,
        steps=run.steps,
    )


def _tally(sums: list[Any]) -> Tally:
    *counts, cost, unpriced, entries, cached, _, _ = (int(value or 0) for value in sums)
    return _tally_of(Usage(*counts), entries - cached, from_units("cost", cost), unpriced)


def _tally_of(usage: Usage, requests: int, cost: Decimal, unpriced: int) -> Tally:
    return Tally(
        requests,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.estimated_tokens,
        cost,
        unpriced,
    )
