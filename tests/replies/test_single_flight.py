"""Identical questions in flight share one call, in a process and across those that share a store."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from assistantguard import (
    ReplyCache,
    RunTimedOut,
    TextDelta,
)
from assistantguard.engine.books import Books
from assistantguard.events import RunStarted
from assistantguard.replies import MemoryReplies
from assistantguard.sandbox import Fault, ModelRequest
from tests.replies.stage import ASK, MANY, made
from tests.support.checks import check_all, check_books, check_holds, paths
from tests.support.models import Lookups, order_desk
from tests.support.threads import of_user
from tests.support.waiting import wait_until
from tests.support.world import Bot, World


class Crowded:
    """A model that answers when so many turns have begun."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.bots: list[Bot] = []
        self.asked = 0

    async def __call__(self, request: ModelRequest) -> str:
        self.asked += 1
        while sum(len(bot.all(RunStarted)) for bot in self.bots) < self.turns:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return "All are here."


def test_identical_questions_in_flight_share_one_call(world: World) -> None:
    model = Crowded(MANY)
    sandbox, bot = made(world, ReplyCache(scope="everyone"), model=model)
    model.bots.append(bot)
    threads = [bot.thread() for _ in range(MANY)]
    replies = bot.at_once(*(lambda thread=thread: thread.chat("What is it?") for thread in threads))
    assert {reply.text for reply in replies} == {"All are here."}
    assert sorted(reply.cached for reply in replies) == [False] + [True] * (MANY - 1)
    assert model.asked == 1
    check_all(bot, sandbox, *threads)


def test_guards_that_share_a_store_share_one_call(world: World) -> None:
    model, store = Crowded(2), MemoryReplies()
    sandbox = world.sandbox(model)
    model.bots += [world.bot(sandbox, [ReplyCache(store=store, scope="everyone")]) for _ in range(2)]
    replies = world.at_once(*(lambda bot=bot: bot.guard.chat("What is it?") for bot in model.bots))
    assert sorted(reply.cached for reply in replies) == [False, True]
    assert model.asked == 1


def test_where_the_one_who_asks_fails_another_asks(world: World) -> None:
    sandbox, bot = made(world, ReplyCache(scope="everyone"), faults=[Fault.quota(at=1, endpoint=ASK)])
    threads = [bot.thread() for _ in range(MANY)]
    outcomes = bot.at_once(*(lambda thread=thread: thread.chat("What is it?") for thread in threads))
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert [type(error).__name__ for error in failed] == ["QuotaExhausted"]
    assert sum(outcome.cached for outcome in outcomes if outcome not in failed) == MANY - 2
    assert paths(sandbox, ASK) == 2


def test_turns_that_used_tools_do_not_wait_for_each_other_in_vain(world: World) -> None:
    lookups = Lookups()
    sandbox, bot = made(world, ReplyCache(scope="everyone"), model=order_desk, tools=[lookups.lookup])
    threads = [bot.thread() for _ in range(MANY)]
    replies = bot.at_once(*(lambda thread=thread: thread.chat("Where is order W1?") for thread in threads))
    assert not any(reply.cached for reply in replies)
    assert lookups.counts["W1"] == MANY
    check_books(bot, sandbox)


class _Dead(MemoryReplies):
    """Whose first claim of each key is that of a process that died."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.dead: set[str] = set()

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        if key not in self.dead:
            self.dead.add(key)
            assert super().claim(key, "a process that died", now, now + self.seconds)
        return super().claim(key, owner, now, until)


def test_where_the_process_that_asks_dies_another_asks(world: World) -> None:
    sandbox, bot = made(world, ReplyCache(store=_Dead(0.05), scope="everyone"))
    threads = [bot.thread() for _ in range(3)]
    replies = bot.at_once(*(lambda thread=thread: thread.chat("What is it?") for thread in threads))
    assert sorted(reply.cached for reply in replies) == [False, True, True]
    assert paths(sandbox, ASK) == 1


def test_nobody_waits_for_another_beyond_his_deadline(world: World) -> None:
    sandbox, bot = made(world, ReplyCache(store=_Dead(1e6), scope="everyone"))
    with pytest.raises(RunTimedOut):
        bot.chat("What is it?", bot.thread(), deadline=0.2)
    assert paths(sandbox, ASK) == 0
    check_holds(bot)


def test_without_single_flight_nobody_waits(world: World) -> None:
    cache = ReplyCache(store=_Dead(1e6), scope="everyone", single_flight=False)
    _, bot = made(world, cache)
    assert [bot.chat("What is it?", bot.thread()).cached for _ in range(2)] == [False, True]


class Stuck:
    """A model whose first answer comes when it is let; the others come at once."""

    def __init__(self) -> None:
        self.asked = 0
        self.let = False

    async def __call__(self, request: ModelRequest) -> str:
        self.asked += 1
        number = self.asked
        while number == 1 and not self.let:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return f"Answer {number}"


def test_accounts_neither_wait_for_each_other_nor_share_a_call(world: World) -> None:
    model = Crowded(MANY)
    sandbox, bot = made(world, ReplyCache(), model=model)
    model.bots.append(bot)
    threads = [of_user(bot, f"user {number % 3}", str(number)) for number in range(MANY)]
    replies = bot.at_once(*(lambda thread=thread: thread.chat("What is it?") for thread in threads))
    assert sorted(reply.cached for reply in replies) == [False] * 3 + [True] * 3
    assert model.asked == 3
    check_books(bot, sandbox)


def test_where_the_one_who_asks_is_cancelled_another_asks() -> None:
    model = Stuck()
    with World("async") as world:
        sandbox, bot = made(world, ReplyCache(store=MemoryReplies(), scope="everyone"), model=model)
        threads: list[Any] = [bot.thread() for _ in range(2)]

        async def both() -> Any:
            first = asyncio.ensure_future(threads[0].chat("What is it?"))
            while not model.asked:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            second = asyncio.ensure_future(threads[1].chat("What is it?"))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            return await second

        try:
            reply = world.wait(both())
        finally:
            model.let = True
        assert (reply.text, reply.cached) == ("Answer 2", False)
        assert bot.chat("What is it?", bot.thread()).cached
        check_holds(bot)
        assert paths(sandbox, ASK) == 2


def test_a_stream_that_is_left_keeps_nobody_waiting(world: World) -> None:
    store = MemoryReplies()
    sandbox = world.sandbox(lambda request: "a rather long answer of many words")
    one, other = (world.bot(sandbox, [ReplyCache(store=store, scope="everyone")]) for _ in range(2))
    one.stream("What is it?", until=lambda event: isinstance(event, TextDelta))
    assert not other.chat("What is it?", deadline=30).cached
    assert one.chat("What is it?", one.thread()).cached


def test_a_turn_that_cannot_be_saved_keeps_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store, sandbox = MemoryReplies(), world.sandbox(lambda request: "the answer")
    one, other = (world.bot(sandbox, [ReplyCache(store=store, scope="everyone")]) for _ in range(2))
    save = Books.save

    async def fail_at_the_end(books: Books, *arguments: Any, **options: Any) -> None:
        if options.get("last"):
            raise OSError("the disk is full")
        await save(books, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Books, "save", fail_at_the_end)
        with pytest.raises(OSError, match="full"):
            one.chat("What is it?")
    assert other.chat("What is it?", deadline=30).cached
    assert paths(sandbox, ASK) == 1


class _Slow(MemoryReplies):
    """Whose first claim takes until it is let, as one over a network may."""

    in_process = False

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.begun = threading.Event()
        self.made = threading.Event()

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        if self.begun.is_set():
            return super().claim(key, owner, now, until)
        self.begun.set()
        assert self.let.wait(60)
        claimed = super().claim(key, owner, now, until)
        self.made.set()
        return claimed


def test_a_claim_that_arrives_after_its_turn_was_cancelled_keeps_nobody_waiting() -> None:
    store = _Slow()
    with World("async") as world:
        _, bot = made(world, ReplyCache(store=store, scope="everyone"))
        thread: Any = bot.thread()

        async def cancelled() -> None:
            turn = asyncio.ensure_future(thread.chat("What is it?"))
            while not store.begun.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn

        world.wait(cancelled())
        store.let.set()
        wait_until(store.made.is_set)
        assert not bot.chat("What is it?", bot.thread(), deadline=30).cached
        assert bot.chat("What is it?", bot.thread()).cached
