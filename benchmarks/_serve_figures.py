"""What came of the serve benchmark: its requests, its turns, and what its database holds after the end."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from assistantguard.ledger import open_ledger
from assistantguard.sandbox import BilledCall
from benchmarks._serve_tally import Tally

__all__ = ["descriptors_for", "figures_of_database", "figures_of_requests", "figures_of_turns"]

_APART = 256
"""File descriptors that a process needs besides those of clients."""


def figures_of_database(file: Path, calls: Iterable[BilledCall], mark: str) -> dict[str, Any]:
    """What the database says after the end, against the sandbox's bill.

    Args:
        file: The database's.
        calls: The bill.
        mark: What was in all that was sent without a valid key.
    """
    url = f"sqlite:///{file}"
    ledger = open_ledger(url)
    try:
        entries = ledger.entries()
        holds = len(ledger.open_holds())
    finally:
        ledger.database.close()
    booked = sum(entry.usage.total_tokens for entry in entries)
    estimated = sum(entry.usage.estimated_tokens for entry in entries)
    billed = sum(call.input_tokens + call.output_tokens for call in calls if call.billed)
    with contextlib.closing(sqlite3.connect(file)) as database:
        ((open_runs,),) = database.execute("SELECT COUNT(*) FROM guard_runs WHERE finished_at IS NULL")
        ((open_documents,),) = database.execute(
            "SELECT COUNT(*) FROM guard_documents WHERE kind = 'run' AND json_extract(body, '$.status')"
            " IN ('queued', 'in_progress', 'requires_action', 'cancelling')"
        )
        marked = sum(mark in line for line in database.iterdump())
    return {
        "without_key_in_the_database": marked,
        "runs_in_flight": open_runs + open_documents,
        "holds_open": holds,
        "tokens_billed": billed,
        "tokens_booked": booked,
        "tokens_estimated": estimated,
        "tokens_booked_wrong": max(0, billed - booked, booked - billed - estimated),
    }


def figures_of_requests(tally: Tally) -> dict[str, Any]:
    """What became of the requests."""
    return {
        "requests": tally.requests,
        "answered": tally.answered,
        "refused": {str(status): count for status, count in sorted(tally.refused.items())},
        "closed": dict(tally.closed),
        "left": dict(tally.left),
        "unanswered": sum(tally.unanswered.values()),
        "unexpected": sum(tally.unexpected.values()),
    }


def figures_of_turns(tally: Tally) -> dict[str, Any]:
    """What became of the turns."""
    turns = sorted(tally.turns)
    return {
        "turns": len(turns),
        "turn_p50_seconds": round(statistics.median(turns), 2) if turns else None,
        "turn_p99_seconds": round(turns[int(0.99 * (len(turns) - 1))], 2) if turns else None,
        "turns_put_off": tally.turns_put_off,
        "turns_failed": sum(tally.turns_failed.values()),
    }


@contextlib.contextmanager
def descriptors_for(clients: int) -> Iterator[None]:
    """Allow so many clients' file descriptors to this process and its children.

    Raises:
        RuntimeError: The system does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + _APART
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise RuntimeError(f"{clients} clients need {needed} file descriptors, the limit is {hard}: see ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
