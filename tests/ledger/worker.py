"""A process that works on a ledger until it is done or killed; it prints what it has done, a line each.

::

    python -m tests.ledger.worker URL spend NAME THREADS PAIRS LIMIT
    python -m tests.ledger.worker URL expire NOW
    python -m tests.ledger.worker URL notice KEYS
    python -m tests.ledger.worker URL hang
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from assistantguard.ledger import LedgerRefusal, SqlLedger, open_ledger
from tests.ledger.books import claim, entry, estimate

__all__ = ["HOT", "main"]

HOT = "app"
"""The account that everybody spends from."""
_printing = threading.Lock()


def say(*words: object) -> None:
    with _printing:
        print(*words, flush=True)  # noqa: T201  the tests read it


def spend(ledger: SqlLedger, name: str, threads: int, pairs: int, limit: int) -> None:
    """Reserve 10 tokens and commit 3 to 10 of them, again and again, in several threads."""

    def work(thread: int) -> None:
        for number in range(pairs):
            hold = f"{name}-{thread}-{number}"
            used = 3 + number % 8
            try:
                ledger.reserve(hold, [claim(10, HOT, limit=limit), claim(10, f"user:{thread}")], 1e9)
            except LedgerRefusal as refusal:
                balance = refusal.balance
                say("refused", int(balance.committed), int(balance.held))
                continue
            balance = ledger.balance(HOT, "tokens")
            say("held", int(balance.committed + balance.held))
            if number % 7 == 0:
                ledger.release(hold)
            else:
                ledger.commit(hold, estimate(used) if number % 5 == 0 else entry(used))
                say("committed", hold, used)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def hang(ledger: SqlLedger) -> None:
    """Stop in the midst of a transaction, with everything written but the end."""
    with ledger.database.transaction():
        ledger.reserve("hanging", [claim(10, HOT)], 1e9)
        ledger.commit("first", entry(7))
        say("ready")
        time.sleep(600)


def main(url: str, act: str, *arguments: str) -> None:
    """Do one thing."""
    ledger = open_ledger(url, timeout=60.0)
    acts: dict[str, Callable[[], None]] = {
        "spend": lambda: spend(ledger, arguments[0], *map(int, arguments[1:4])),
        "expire": lambda: say(*(hold.id for hold in ledger.expire(float(arguments[0])))),
        "notice": lambda: say(*(number for number in range(int(arguments[0])) if ledger.first_time(f"key {number}"))),
        "hang": lambda: hang(ledger),
    }
    say("begun")
    wait_for_start(arguments)
    acts[act]()
    say("ended")


def wait_for_start(arguments: tuple[str, ...]) -> None:
    """All begin together, when the file that the last argument names is there."""
    start = Path(arguments[-1]) if arguments and arguments[-1].startswith("/") else None
    while start is not None and not start.exists():
        time.sleep(0.005)


if __name__ == "__main__":
    main(*sys.argv[1:])
