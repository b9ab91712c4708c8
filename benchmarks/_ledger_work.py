"""Processes that reserve and commit as fast as they can: through a ledger, or the bare statements.

A pair holds tokens and dollars on three accounts and books them: the one under test (one hot account for everybody, or
one of many), the worker's session, and a run of two requests. Five rows change twice, one hold comes and goes, one
entry is written.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from assistantguard import MemoryLedger, Usage
from assistantguard.ledger import Claim, Entry, Ledger, LedgerRefusal, open_ledger, statements
from assistantguard.ledger.rows import claims_text, entry_values, held_by

__all__ = ["HELD", "HOT", "LIMIT", "USED", "Task", "Workers", "claims", "entry"]

HELD, USED = 1_000, 800
"""Tokens of a pair."""
COST_HELD, COST_USED = Decimal("0.0015"), Decimal("0.0011")
MANY = 1_000
"""Accounts, where there are many."""
HOT = "app@month:2026-11"
LIMIT = 10**15
PICO = 10**12
PAUSES = (0.0002, 0.002)
"""Seconds between two tries of the bare statements: the same as the ledger's."""

Half = Callable[[], object]
Task = dict[str, Any]


def claims(number: int, account: str, limit: int = LIMIT) -> list[Claim]:
    """What a pair holds."""
    run = f"run:{uuid.uuid4().hex}"
    tokens, cost = Decimal(HELD), COST_HELD
    return [
        Claim(account, "tokens", tokens, Decimal(limit)),
        Claim(f"session:{number}", "tokens", tokens),
        Claim(f"session:{number}", "cost", cost),
        Claim(run, "tokens", tokens),
        Claim(run, "cost", cost),
    ]


def entry(run: str) -> Entry:
    """What a pair has used."""
    usage = Usage(USED - 200, 0, 0, 200, 0, 0, 1)
    origin = "genai-prices 0.2.3"
    return Entry(
        time.time(), "thread_1", run, 1, "gpt-6-luna", usage, COST_USED, "run", f"resp_{run}", origin, user="u-42"
    )


class Accounts:
    """Chooses the account of each pair."""

    def __init__(self, kind: str) -> None:
        self._hot = kind == "hot"
        self._random = random.Random()

    def next(self) -> str:
        """One hot account, or any of many."""
        return HOT if self._hot else f"user:u-{self._random.randrange(MANY)}@month:2026-11"


def through_ledger(ledger: Ledger, task: Task) -> Iterator[tuple[Half, Half]]:
    """The two halves of each pair, through a ledger."""
    accounts = Accounts(task["accounts"])
    while True:
        wanted = claims(task["number"], accounts.next())
        for _ in range(2):
            hold, written = f"hold_{uuid.uuid4().hex}", entry(wanted[-1].account)
            until = time.time() + 600
            yield (
                partial(ledger.reserve, hold, wanted, until),
                partial(ledger.commit, hold, written),
            )


def through_sqlite(path: str, task: Task) -> Iterator[tuple[Half, Half]]:
    """The two halves of each pair: the statements that a ledger runs, and nothing around them."""
    accounts, dice = Accounts(task["accounts"]), random.Random()
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, cached_statements=256)
    upsert = statements.add_to(5)

    def insist(statement: str) -> None:
        while True:
            try:
                connection.execute(statement)
            except sqlite3.OperationalError:
                time.sleep(dice.uniform(*PAUSES))
            else:
                return

    def reserve(hold: tuple[object, ...], rows: Sequence[object]) -> None:
        insist("BEGIN IMMEDIATE")
        connection.execute(statements.NEW_HOLD, hold).fetchall()
        if connection.execute(upsert, rows).fetchall()[0][3] > LIMIT:
            raise AssertionError
        connection.execute("COMMIT")

    def commit(hold: str, rows: Sequence[object], values: Sequence[object]) -> None:
        insist("BEGIN IMMEDIATE")
        connection.execute(statements.END_HOLD, (hold,)).fetchall()
        connection.execute(statements.NEW_ENTRY, values).fetchall()
        connection.execute(upsert, rows).fetchall()
        connection.execute("COMMIT")

    insist("PRAGMA journal_mode = WAL")
    insist("PRAGMA synchronous = normal")
    while True:
        wanted = claims(task["number"], accounts.next())
        until = time.time() + 600
        held = held_by(wanted, until)
        used = [round(PICO * COST_USED) if claim.metric == "cost" else USED for claim in wanted]
        changes = sorted(
            (account, metric, more, amount, day)
            for (account, metric, amount, day), more in zip(held, used, strict=True)
        )
        reserved = [value for *key, _, amount, day in changes for value in (*key, 0, amount, day)]
        settled = [value for *key, more, amount, day in changes for value in (*key, more, -amount, day)]
        for _ in range(2):
            hold, written = f"hold_{uuid.uuid4().hex}", entry(wanted[-1].account)
            row = (hold, until, claims_text(wanted, held))
            values = entry_values(hold, written)
            yield (
                partial(reserve, row, reserved),
                partial(commit, hold, settled, values),
            )


def timed(pairs: Iterator[tuple[Half, Half]], seconds: float) -> dict[str, Any]:
    """Do pairs for so long, at least two; return what each took (microseconds), and the longest half."""
    taken: list[int] = []
    longest = 0.0
    clock = time.perf_counter
    began = clock()
    until = began + seconds
    for reserve, commit in pairs:
        first = clock()
        if first > until and len(taken) > 1:
            break
        reserve()
        second = clock()
        commit()
        third = clock()
        taken.append(round((third - first) * 1e6))
        longest = max(longest, second - first, third - second)
    return {"taken_us": taken, "longest": longest, "seconds": clock() - began}


def overspend(ledger: Ledger, task: Task) -> dict[str, Any]:
    """Spend from one account until it is refused; return the most that was seen on it, and what was booked."""
    account, limit, booked, most = task["account"], task["limit"], 0, 0
    while True:
        wanted, hold = claims(task["number"], account, limit), f"hold_{uuid.uuid4().hex}"
        try:
            ledger.reserve(hold, wanted, time.time() + 600)
        except LedgerRefusal as refusal:
            most = max(most, int(refusal.balance.committed + refusal.balance.held))
            return {"booked": booked, "most": most}
        balance = ledger.balance(account, "tokens")
        most = max(most, int(balance.committed + balance.held))
        ledger.commit(hold, entry(wanted[-1].account))
        booked += USED


def do(task: Task, ready: Callable[[], None]) -> dict[str, Any]:
    """Do a task, once everybody is ready."""
    if task["through"] == "sqlite3":
        pairs = through_sqlite(task["path"], task)
        next(pairs)  # it connects
        ready()
        return timed(pairs, task["seconds"])
    ledger = MemoryLedger() if task["through"] == "memory" else open_ledger(task["url"], timeout=60.0)
    ledger.balance(HOT, "tokens")
    ready()
    return (
        overspend(ledger, task) if task["act"] == "overspend" else timed(through_ledger(ledger, task), task["seconds"])
    )


class Workers:
    """Processes that do tasks together. They are started once, since that takes longer than what they do."""

    def __init__(self, count: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks._ledger_work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[1],
            )
            for _ in range(count)
        ]

    def do(self, count: int, task: Task) -> list[dict[str, Any]]:
        """Let the first `count` workers do a task at the same time; return what each has to tell."""
        chosen = self._processes[:count]
        for number, process in enumerate(chosen):
            self._tell(process, {**task, "number": number})
        for process in chosen:
            self._hear(process)
        for process in chosen:
            self._tell(process, {})
        return [self._hear(process) for process in chosen]

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()

    def _tell(self, process: subprocess.Popen[str], what: Any) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()

    def _hear(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with exit code {process.wait()}")
        return json.loads(line)


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """So many workers, until the end of the block."""
    started = Workers(count)
    try:
        yield started
    finally:
        started.close()


def serve() -> None:
    """Do what is told on standard input, until it ends."""

    def ready() -> None:
        print("{}", flush=True)
        sys.stdin.readline()

    while line := sys.stdin.readline():
        print(json.dumps(do(json.loads(line), ready)), flush=True)


if __name__ == "__main__":
    serve()
