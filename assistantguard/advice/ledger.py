"""From the guards' database to the history of its threads."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from assistantguard.advice.calibration import calibrate, guess_fixed
from assistantguard.advice.history import History, ModelCall, StoreState, ThreadHistory, Turn
from assistantguard.ledger import SqlLedger
from assistantguard.ledger.base import REPLY_CACHE
from assistantguard.storage.sql_threads import SqlThreads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from assistantguard.advice.history import LimitState
    from assistantguard.ledger import Entry
    from assistantguard.storage import Database

__all__ = ["read_ledger"]

_IDLE_SECONDS = 86_400.0
_MOST_STORES = 10_000


def read_ledger(
    database: Database,
    *,
    since: float | None = None,
    until: float | None = None,
    limits: Iterable[LimitState] = (),
) -> History:
    """Read the books of a database.

    Args:
        database: From `assistantguard.storage.open_database`.
        since: Unix time of the first calls that count; threads that began before count from there on.
        until: Unix time of the first that count no more.
        limits: How near accounts are to their limits, where that is known: most limits stand in programs, not in the
            database.
    """
    history = History("ledger", limits=list(limits))
    fixed = _fixed_tokens(database)
    threads: dict[str, ThreadHistory] = {}
    last_run: dict[str, tuple[Turn, int]] = {}
    for entry in SqlLedger(database).entries():
        if (since is not None and entry.time < since) or (until is not None and entry.time >= until):
            continue
        if entry.purpose == REPLY_CACHE:
            continue
        history.first_time = entry.time if history.first_time is None else min(history.first_time, entry.time)
        history.last_time = entry.time if history.last_time is None else max(history.last_time, entry.time)
        thread = threads.get(entry.thread_id)
        if thread is None:
            thread = threads[entry.thread_id] = ThreadHistory(entry.thread_id)
        _add(thread, entry, last_run)
    guesses = _guesses(threads.values())
    for thread in threads.values():
        _chain(thread, fixed.get(thread.id), guesses)
        if thread.turns:
            history.threads.append(thread)
    calibrate(history)
    history.unused_stores = _unused_stores(database, history.last_time)
    return history


def _add(thread: ThreadHistory, entry: Entry, last_run: dict[str, tuple[Turn, int]]) -> None:
    usage = entry.usage
    call = ModelCall(
        entry.time,
        entry.model,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        max(0, usage.output_tokens - usage.reasoning_tokens),
        entry.cost,
        is_estimate=usage.estimated,
    )
    turn, requests = last_run.get(thread.id, (None, -1))
    if turn is None or turn.run_id != entry.run_id:
        turn, requests = Turn(entry.run_id, entry.time), -1
        thread.turns.append(turn)
    if entry.purpose != "run":
        turn.summaries.append(call)
    elif usage.input_tokens or usage.output_tokens:
        requests += entry.attempt <= 1 or requests < 0
        call.request = requests
        turn.calls.append(call)
        turn.steps = requests
    last_run[thread.id] = turn, requests


def _guesses(threads: Iterable[ThreadHistory]) -> dict[str, int]:
    firsts: dict[str, list[int]] = {}
    for thread in threads:
        for call in thread.turns[0].calls[:1] if thread.turns else ():
            firsts.setdefault(call.model, []).append(call.input_tokens)
    return {model: guess_fixed(inputs) for model, inputs in firsts.items()}


def _chain(thread: ThreadHistory, fixed: int | None, guesses: Mapping[str, int]) -> None:
    """Say what each turn's context was: what the one before left, since the books tell of no rotation."""
    first = next((call for turn in thread.turns for call in turn.calls), None)
    thread.fixed_known = bool(fixed)
    thread.fixed = fixed or (0 if first is None else guesses.get(first.model, 0))
    if first is not None:
        thread.fixed = min(thread.fixed, first.input_tokens)
    context = thread.fixed
    for turn in thread.turns:
        turn.context = context
        known = [call for call in turn.calls if not call.is_estimate]
        if known:
            turn.answer_tokens = known[-1].kept_tokens
            context = known[-1].input_tokens + known[-1].kept_tokens
            turn.growth = max(0, context - turn.context)


def _fixed_tokens(database: Database) -> dict[str, int]:
    """Instructions and tools of the threads that are kept, by thread."""
    found: dict[str, int] = {}
    for thread_id, state in database.query("SELECT id, state FROM guard_threads"):
        with suppress(ValueError, AttributeError):
            record: dict[str, Any] = json.loads(state)
            found[thread_id] = int(record.get("fixed_tokens", 0))
    return found


def _unused_stores(database: Database, now: float | None) -> list[StoreState]:
    if now is None:
        return []
    stores = SqlThreads(database).unused_vector_stores(now - _IDLE_SECONDS, _MOST_STORES)
    return [StoreState(store.id, None, store.last_used_at, store.expires_at) for store in stores]
