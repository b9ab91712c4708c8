"""`sweep`: finds what became old, unused or unfinished in a database and at the server, and tidies it up."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from assistantguard.lifecycle.consent import opened, seconds_of
from assistantguard.lifecycle.deletion import ServerDeletion
from assistantguard.lifecycle.leftovers import (
    delete_conversations,
    delete_vector_stores,
    expire_holds,
    expire_replies,
    prune_runs,
)
from assistantguard.lifecycle.report import SweepPart, SweepReport
from assistantguard.lifecycle.threads import NO_KEY, archive, delete
from assistantguard.lifecycle.work import Progress, Work
from assistantguard.storage.consents import consent_in_force
from assistantguard.telemetry import JsonLinesSink, Sink, StructlogSink, fan_out

if TYPE_CHECKING:
    import openai

    from assistantguard.prices import Price, PriceBook
    from assistantguard.storage import Database

__all__ = ["sweep"]

_MOST_RUNS = 100_000
_NOT_NOW = "taken by another process, or not to be settled now"
_ANY_MODEL = "gpt-6-luna"
"""A guard has a model; no model is called to learn what became of a run."""


def sweep(
    database: str | Database,
    *,
    client: openai.OpenAI | None = None,
    apply: bool = False,
    archive_after: timedelta = timedelta(days=30),
    delete_after: timedelta = timedelta(days=365),
    spare: timedelta = timedelta(days=1),
    keep_runs: timedelta = timedelta(days=90),
    scrub: bool = False,
    prices: Mapping[str, Price] | PriceBook | None = None,
    sinks: Sequence[Sink] | None = None,
    events: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> SweepReport:
    """Tidy up a database of guards, and what nothing refers to at the server; or only say what there is to do.

    In this order: runs that a dead process left in flight are settled, with what the server tells of them; holds whose
    time is up are booked; threads that nobody uses are archived; those archived long ago are deleted; conversations and
    vector stores that nothing refers to are deleted at the server; records of old runs are forgotten; cached replies
    whose time is over are deleted.

    It can be run at any time, again, by several machines at once, and be killed at any moment. A thread that somebody
    drives is left alone. What is deleted at the server is struck from the records when the server has said so.

    Args:
        database: The database, or its URL.
        client: For what must be learned from the server, or deleted there; without it that is left.
        apply: Whether to do it; else nothing is changed.
        archive_after: How long nobody used a thread that is archived.
        delete_after: How long a thread has been archived that is deleted. That needs the application's recorded
            consent (see `consent_to_deletion`) to a time that is not longer; without it such threads are only listed.
        spare: How long ago a conversation was begun, or a vector store used, that counts as unused.
        keep_runs: How long records of runs are kept. A turn's `idempotency_key` is forgotten with them.
        scrub: Whether the items of a conversation are deleted with it, which OpenAI otherwise keeps.
        prices: Prices to add or override, for runs that are settled.
        sinks: Where events go, instead of `StructlogSink`.
        events: A file that gets every event as a JSON line, in addition.
        progress: Called with the part, how many of it are done, and of how many.

    Raises:
        ConfigurationError: A value cannot work, there is no such database, or the server refuses the key.
        DatabaseUnavailable: The database cannot be reached.
    """
    if client is not None:
        _check(client)
    idle = seconds_of("archive_after", archive_after)
    archived = seconds_of("delete_after", delete_after)
    unused, old = seconds_of("spare", spare), seconds_of("keep_runs", keep_runs)
    with contextlib.ExitStack() as stack:
        books = stack.enter_context(opened(database))
        told: list[Sink] = [StructlogSink()] if sinks is None else list(sinks)
        if events is not None:
            told.append(stack.enter_context(JsonLinesSink(events)))
        work = _work(books, client, apply=apply, scrub=scrub, sinks=told, progress=progress)
        now = work.started_at
        return SweepReport(
            apply,
            now,
            work.consent,
            _finish_runs(work, client, told, prices),
            expire_holds(work),
            archive(work, idle),
            delete(work, archived),
            delete_conversations(work, now - unused),
            delete_vector_stores(work, now - unused),
            prune_runs(work, now - old),
            expire_replies(work, books),
        )


def _work(
    database: Database,
    client: openai.OpenAI | None,
    *,
    apply: bool,
    scrub: bool,
    sinks: Sequence[Sink],
    progress: Progress | None,
) -> Work:
    from assistantguard.ledger import SqlLedger
    from assistantguard.storage import SqlThreads
    from assistantguard.storage.leases import process_name

    return Work(
        f"sweep_{uuid.uuid4().hex}",
        f"sweep:{process_name()}",
        time.time(),
        SqlThreads(database),
        SqlLedger(database),
        None if client is None else ServerDeletion(client, scrub=scrub),
        consent_in_force(database),
        apply,
        fan_out(sinks),
        progress,
    )


def _check(client: openai.OpenAI) -> None:
    import openai

    from assistantguard._checks import check_client

    check_client(client, openai.OpenAI, openai.AsyncOpenAI, "a sweep is blocking, pass openai.OpenAI()")


def _finish_runs(
    work: Work,
    client: openai.OpenAI | None,
    sinks: Sequence[Sink],
    prices: Mapping[str, Price] | PriceBook | None,
) -> SweepPart:
    """Learn what became of the runs that dead processes left in flight, and settle them."""
    found = work.store.unfinished(work.started_at, _MOST_RUNS)
    ids = tuple(run.thread_id for run in found)
    if client is None or not work.apply or not found:
        left = {NO_KEY: len(ids)} if ids and client is None else {}
        return SweepPart("runs", len(ids), left=left, ids=ids)
    from assistantguard.guard import AssistantGuard
    from assistantguard.models import Assistant
    from assistantguard.policies import TransientRetry

    with AssistantGuard(
        client, Assistant(_ANY_MODEL), [TransientRetry()], prices=prices, ledger=work.ledger, sinks=sinks
    ) as guard:
        done = guard.recover()
    left = {_NOT_NOW: len(ids) - done} if done < len(ids) else {}
    return SweepPart("runs", len(ids), done, left=left, ids=ids)
