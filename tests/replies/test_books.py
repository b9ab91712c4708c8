"""Cached replies in the ledger's database, on the books, in sweeps and reports."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from assistantguard import (
    ReplyCache,
    Usage,
)
from assistantguard.backends import ResponsesBackend
from assistantguard.ledger import Entry
from assistantguard.lifecycle import sweep
from assistantguard.replies import CachedReply, SqlReplies
from assistantguard.reports import read_report
from assistantguard.storage import open_database
from tests.replies.stage import RETRY, made, numbered, texts
from tests.support.books import Books
from tests.support.clock import Clock
from tests.support.threads import of_user
from tests.support.world import MODEL, World


def test_replies_in_the_ledgers_database_outlive_the_guard(world: World, database_url: str) -> None:
    sandbox = world.sandbox(numbered())
    cache = ReplyCache(store="ledger")
    one = world.bot(sandbox, [cache], ledger=database_url)
    thread = of_user(one, "ann", "one")
    said = [one.chat(text, thread).text for text in ("First?", "Second?")]
    one.chat("First?", of_user(one, "ann", "other"))
    two = world.bot(sandbox, [cache], ledger=database_url)
    other = of_user(two, "ann", "other")
    again = two.chat("Second?", other)
    assert (again.cached, again.text) == (True, said[1])
    assert texts(sandbox, other) == ["First?", said[0], "Second?", said[1]]
    assert not two.chat("First?", of_user(two, "ben")).cached
    rows = {row.group: row for row in two.guard._core.ledger.usage(("purpose",))}
    assert (rows["reply_cache",].cached, rows["reply_cache",].requests) == (2, 0)
    assert rows["reply_cache",].saved_tokens > 0


def test_a_deleted_thread_takes_its_replies_with_it(world: World, tmp_path: Path) -> None:
    for options in ({}, {"ledger": f"sqlite:///{tmp_path / 'guard.db'}"}):
        store = "ledger" if options else "memory"
        _, bot = made(world, ReplyCache(store=store), **cast("dict[str, Any]", options))
        gone = of_user(bot, "ann", "gone")
        bot.chat("What is it?", gone)
        bot.world.wait(bot.guard.threads.delete("ann", "gone"))
        assert not bot.chat("What is it?", of_user(bot, "ann", "other")).cached


def test_a_process_that_dies_while_it_adds_a_reply_leaves_no_half_turn(
    warm: None, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, crashed = ResponsesBackend.add_messages, tmp_path / "crashed.db"

    async def add_and_copy(*arguments: Any) -> Any:
        added = await add(*arguments)
        with closing(sqlite3.connect(tmp_path / "guard.db")) as now, closing(sqlite3.connect(crashed)) as copy:
            now.backup(copy)
        return added

    with World("sync") as world:
        sandbox, bot = made(world, ReplyCache(store="ledger"), ledger=f"sqlite:///{tmp_path / 'guard.db'}")
        one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
        said = [bot.chat(text, one).text for text in ("First?", "Second?")]
        bot.chat("First?", other)
        monkeypatch.setattr(ResponsesBackend, "add_messages", add_and_copy)
        assert bot.chat("Second?", other).cached
        assert len(texts(sandbox, other)) == 4
        clock.advance(31)  # longer than the lease of who died
        next_one = world.bot(sandbox, [ReplyCache(store="ledger"), RETRY], ledger=f"sqlite:///{crashed}")
        thread = of_user(next_one, "ann", "other")
        reply = next_one.chat("Third?", thread)
        assert texts(sandbox, thread) == ["First?", said[0], "Third?", reply.text]
        assert not next_one.guard._core.ledger.open_holds()
        assert thread.state.context_digest is None


def test_a_sweep_deletes_replies_whose_time_is_over(database_url: str) -> None:
    database, now = open_database(database_url), time.time()
    replies = SqlReplies(database)
    for number, expires_at in enumerate((now - 1, now + 3600)):
        replies.put(CachedReply(str(number), "g", "t", "x", MODEL, Usage(), None, now - 2, expires_at), 100)
    assert (sweep(database, sinks=[]).replies.found, sweep(database, sinks=[]).replies.done) == (1, 0)
    assert (sweep(database, apply=True, sinks=[]).replies.done, sweep(database, sinks=[]).replies.found) == (1, 0)
    assert replies.get("1", now) is not None
    database.close()


def test_usage_counts_cached_replies_apart(books: Books) -> None:
    books.book("ann", tokens=100, cost="0.25", time=time.time())
    books.ledger.reserve("hold", [], time.time() + 600)
    saved = Entry(
        time.time(), "t", "r", 1, MODEL, Usage(), Decimal(0), "reply_cache", saved_tokens=90, saved_cost=Decimal("0.2")
    )
    books.ledger.commit("hold", saved)
    assert books.ledger.entries()[1] == saved
    total = books.json("usage", "--format", "json")["total"]
    assert (total["requests"], total["cached_replies"], total["saved_tokens"]) == (1, 1, 90)
    assert (total["cost"], total["saved_cost"]) == ("0.25", "0.2")


def test_a_report_counts_cached_replies(world: World, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _, bot = made(world, ReplyCache(scope="everyone"), events=path)
    replies = [bot.chat("What is it?", bot.thread()) for _ in range(3)]
    bot.close()
    report = read_report(path)
    assert (report.cached_replies, report.saved_tokens) == (2, 2 * replies[0].usage.total_tokens)
    assert report.saved_cost == 2 * (replies[0].cost or 0)
    assert (report.runs["completed"], report.books.total.count) == (3, 1)
    assert not report.unknown
