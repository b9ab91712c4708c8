"""`ReplyCache` at the face of both guards: a question that was answered before is answered again at no cost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
import tenacity

from assistantguard import (
    Assistant,
    Budget,
    BudgetExceeded,
    ConfigurationError,
    ReplyCache,
    ReplyReady,
    RequestRejected,
    RunTimedOut,
    TextDelta,
    ThreadRotation,
    TransientRetry,
    Usage,
    observe,
)
from assistantguard.backends import ResponsesBackend
from assistantguard.events import PolicyObserved, RunSettled, RunStarted
from assistantguard.ledger import Entry
from assistantguard.lifecycle import sweep
from assistantguard.replies import CachedQuestion, CachedReply, MemoryReplies, SqlReplies
from assistantguard.reply_events import ReplyCached, ReplyCacheFailed, ReplyStored
from assistantguard.reports import read_report
from assistantguard.sandbox import Fault, ModelRequest, Sandbox
from assistantguard.storage import open_database
from tests.support.books import Books
from tests.support.checks import check_all, check_books, check_holds, paths
from tests.support.clock import Clock
from tests.support.models import Lookups, order_desk
from tests.support.threads import NASTY, of_user
from tests.support.world import MODEL, Bot, Thread, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
ASK = "POST /responses"
ADD = "POST /conversations/{id}/items"
MANY = 6


def numbered() -> Callable[[ModelRequest], str]:
    """A model that never says the same twice."""
    answers = iter(range(1, 1000))
    return lambda request: f"Answer {next(answers)} to {request.last_user_text!r} after {len(request.items)} items"


def made(world: World, *policies: Any, model: Any = None, faults: Sequence[Fault] = (), **options: Any) -> Any:
    sandbox = world.sandbox(model or numbered(), faults=faults)
    return sandbox, world.bot(sandbox, [*policies, RETRY], **options)


def texts(sandbox: Sandbox, thread: Thread) -> list[str]:
    items = sandbox.conversation(thread.state.generation_id or "")
    return ["".join(part.get("text", "") for part in item["content"]) for item in items]


def test_a_question_that_was_answered_is_answered_again_at_no_cost(world: World) -> None:
    sandbox, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    first, second = bot.chat("What  is it?", one), bot.chat(" What is it?", other)
    assert (first.cached, second.cached) == (False, True)
    assert second.text == first.text
    assert (second.usage, second.cost, second.complete) == (Usage(), 0, True)
    assert second.run.cached
    assert paths(sandbox, ASK) == 1
    assert bot.all(ReplyStored)[0].characters == len(first.text)
    (told,) = bot.all(ReplyCached)
    assert (told.found, told.saved, told.saved_cost, told.user) == ("exact", first.usage, first.cost, "ann")
    assert told.age >= 0
    (paid, hit) = bot.ledger.entries()
    assert (hit.purpose, hit.usage, hit.cost) == ("reply_cache", Usage(), 0)
    assert (hit.saved_tokens, hit.saved_cost) == (paid.usage.total_tokens, paid.cost)
    (row,) = bot.ledger.usage()
    assert (row.requests, row.cached, row.saved_tokens, row.saved_cost) == (1, 1, hit.saved_tokens, hit.saved_cost)
    check_all(bot, sandbox, one, other)


def test_a_conversation_goes_on_after_a_cached_reply(world: World) -> None:
    sandbox, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    said = [bot.chat(text, one).text for text in ("First?", "Second?")]
    again = [bot.chat(text, other) for text in ("First?", "Second?", "Third?")]
    assert [reply.cached for reply in again] == [True, True, False]
    assert [reply.text for reply in again[:2]] == said
    assert again[2].text.endswith("after 5 items")
    assert texts(sandbox, other) == ["First?", said[0], "Second?", said[1], "Third?", again[2].text]
    assert bot.chat("Third?", one).cached
    assert (one.state.turns, other.state.turns) == (3, 3)
    assert paths(sandbox, ASK) == 3
    check_all(bot, sandbox, one, other)


def test_another_context_is_another_question(world: World) -> None:
    _, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    bot.chat("About a bill", one)
    bot.chat("About a parcel", other)
    assert not bot.chat("When?", one).cached
    assert not bot.chat("When?", other).cached


def test_a_stream_tells_a_cached_reply_at_once(world: World) -> None:
    _, bot = made(world, ReplyCache())
    first = bot.chat("What is it?", of_user(bot, "ann", "one"))
    delta, ready = bot.stream("What is it?", of_user(bot, "ann", "other"))
    assert delta == TextDelta(first.text, 0)
    assert isinstance(ready, ReplyReady)
    assert ready.reply.cached


def test_nobody_is_given_anothers_reply(world: World) -> None:
    _, bot = made(world, ReplyCache())
    threads = [of_user(bot, name, tenant=tenant) for tenant in (None,) for name in NASTY]
    threads += [bot.thread(), bot.thread(), bot.thread("ann")]
    replies = [bot.chat("What is it?", thread) for thread in threads]
    assert not any(reply.cached for reply in replies)
    assert len({reply.text for reply in replies}) == len(threads)


def test_users_of_a_tenant_share_replies_where_they_are_told_to(world: World) -> None:
    _, bot = made(world, ReplyCache(scope="tenant"))
    threads = [of_user(bot, f"{tenant}/{user}", tenant=tenant) for tenant in ("x", "y") for user in ("ann", "ben")]
    assert [bot.chat("What is it?", thread).cached for thread in threads] == [False, True, False, True]
    assert not bot.chat("What is it?", bot.thread()).cached


def test_everyone_or_whom_a_function_names_shares_replies(world: World) -> None:
    _, bot = made(world, ReplyCache(scope="everyone"))
    bot.chat("What is it?")
    assert bot.chat("What is it?", of_user(bot, "ann")).cached
    _, bot = made(world, ReplyCache(scope=lambda view: None if view.thread.user == "eve" else "team"))
    cached = [bot.chat("What is it?", of_user(bot, user)).cached for user in ("ann", "ben", "eve")]
    assert cached == [False, True, False]


@pytest.mark.parametrize(
    "changes",
    [{"model": "gpt-6-terra"}, {"instructions": "Be rude."}, {"temperature": 0.5}, {"reasoning_effort": "low"}],
)
def test_another_assistant_is_another_question(world: World, changes: dict[str, Any]) -> None:
    store, sandbox = MemoryReplies(), world.sandbox(numbered())
    cache = ReplyCache(store=store, scope="everyone")
    one = world.bot(sandbox, [cache], assistant=Assistant(MODEL, "Be brief."))
    same = world.bot(sandbox, [cache], assistant=Assistant(MODEL, "Be brief.", metadata={"of": "another"}))
    other = world.bot(sandbox, [cache], assistant=Assistant(**{"model": MODEL, "instructions": "Be brief.", **changes}))
    assert [bot.chat("What is it?").cached for bot in (one, same, other)] == [False, True, False]


def test_a_reply_is_good_for_its_lifetime(world: World, clock: Clock) -> None:
    _, bot = made(world, ReplyCache(timedelta(minutes=10), scope="everyone"))
    assert not bot.chat("What is it?", bot.thread()).cached
    clock.advance(590)
    assert bot.chat("What is it?", bot.thread()).cached
    clock.advance(11)
    assert not bot.chat("What is it?", bot.thread()).cached


@pytest.mark.parametrize("tools", [False, True])
def test_replies_of_turns_that_used_tools_are_kept_only_where_that_is_wanted(world: World, *, tools: bool) -> None:
    lookups = Lookups()
    sandbox, bot = made(world, ReplyCache(tools=tools, scope="everyone"), model=order_desk, tools=[lookups.lookup])
    one, other = bot.thread(), bot.thread()
    bot.chat("Where is order W1?", one)
    assert bot.chat("Where is order W1?", other).cached is tools
    assert lookups.counts["W1"] == (1 if tools else 2)
    assert not bot.chat("Thanks", one).cached
    check_all(bot, sandbox, one, other)


def test_cut_and_overlong_replies_are_not_kept(world: World) -> None:
    cache = ReplyCache(scope="everyone", max_characters=20)
    _, bot = made(world, cache, model=lambda request: "a long answer " * 5)
    assert not [bot.chat("What is it?", bot.thread()).cached for _ in range(2)][1]
    _, bot = made(world, ReplyCache(scope="everyone"), faults=[Fault.incomplete(at=1, text="cut")])
    first = bot.chat("What is it?", bot.thread())
    assert not first.complete
    assert not bot.chat("What is it?", bot.thread()).cached


def test_a_reply_after_a_rotation_is_given_where_the_same_was_carried_over(world: World) -> None:
    sandbox, bot = made(world, ReplyCache(), ThreadRotation(max_turns=1))
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    said = [bot.chat(text, one).text for text in ("First?", "Second?")]
    again = [bot.chat(text, other) for text in ("First?", "Second?")]
    assert one.state.generation == other.state.generation == 2
    assert [(reply.text, reply.cached) for reply in again] == [(text, True) for text in said]
    check_all(bot, sandbox, one, other)


def test_a_message_budget_counts_cached_replies_and_others_do_not(world: World) -> None:
    budget = Budget("user", messages=3, tokens=100_000, name="all")
    sandbox, bot = made(world, ReplyCache(), budget)
    topics = [of_user(bot, "ann", str(number)) for number in range(4)]
    assert [bot.chat("What is it?", topic).cached for topic in topics[:3]] == [False, True, True]
    used = bot.ledger.balance(bot.session_account, "tokens").committed
    with pytest.raises(BudgetExceeded) as caught:
        bot.chat("What is it?", topics[3])
    assert caught.value.metric == "messages"
    assert caught.value.committed == caught.value.limit == 3
    assert bot.ledger.balance(bot.session_account, "tokens").committed == used
    check_books(bot, sandbox)
    check_holds(bot)
    assert paths(sandbox, "POST /conversations") == 3


def test_a_cached_reply_is_given_where_no_tokens_are_left(world: World) -> None:
    wordy = "The order was sent on Tuesday and will arrive soon. " * 20
    _, bot = made(world, ReplyCache(), Budget("user", tokens=2_000), model=lambda request: wordy)
    first = bot.chat("What is it?", of_user(bot, "ann", "first"))
    outcomes = [bot.try_chat(f"And {number}?", of_user(bot, "ann", "others")) for number in range(20)]
    assert isinstance(outcomes[-1], BudgetExceeded)
    again = bot.chat("What is it?", of_user(bot, "ann", "again"))
    assert (again.cached, again.text) == (True, first.text)


def test_a_refusal_leaves_the_conversation_known(world: World) -> None:
    _, bot = made(world, ReplyCache(), Budget("user", messages=3, name="m"))
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    for text in ("First?", "Second?"):
        bot.chat(text, one)
    bot.chat("First?", other)
    assert isinstance(bot.try_chat("Something else?", other), BudgetExceeded)
    bot.world.wait(bot.guard.set_budget("ann", messages=10))
    assert bot.chat("Second?", other).cached


@pytest.mark.parametrize("after_work", [False, True], ids=["lost before", "lost after"])
def test_a_cached_reply_stands_once_however_its_connection_is_lost(world: World, *, after_work: bool) -> None:
    sandbox, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    said = [bot.chat(text, one).text for text in ("First?", "Second?")]
    bot.chat("First?", other)
    sandbox.faults = [Fault.dropped(at=1, after_work=after_work, endpoint=ADD)]
    assert bot.chat("Second?", other).cached
    assert texts(sandbox, other) == ["First?", said[0], "Second?", said[1]]
    assert bot.chat("Third?", other).text.endswith("after 5 items")
    check_all(bot, sandbox, one, other)


def test_a_conversation_that_is_gone_is_answered_by_the_model(world: World) -> None:
    sandbox, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    for text in ("First?", "Second?"):
        bot.chat(text, one)
    bot.chat("First?", other)
    sandbox.delete_conversation(other.state.generation_id)
    assert not bot.chat("Second?", other).cached
    check_holds(bot)


def test_after_a_turn_that_failed_nothing_is_taken_for_granted(world: World) -> None:
    sandbox, bot = made(world, ReplyCache())
    one, other = of_user(bot, "ann", "one"), of_user(bot, "ann", "other")
    for text in ("First?", "Second?"):
        bot.chat(text, one)
    bot.chat("First?", other)
    sandbox.faults = [Fault.http(400, code="invalid_prompt", message="no", at=1, endpoint=ASK)]
    assert not isinstance(bot.try_chat("Else?", other), str)
    assert not bot.chat("Second?", other).cached


def test_an_adopted_conversation_and_attached_files_have_no_part_in_it(world: World) -> None:
    _, bot = made(world, ReplyCache(scope="everyone"))
    bot.chat("What is it?")
    named = bot.thread(conversation_id=bot.default.state.generation_id)
    assert not bot.chat("Once more?", named).cached
    assert named.state.context_digest is None


def test_a_function_finds_similar_questions_of_the_same_account(world: World) -> None:
    seen: list[tuple[str, list[str]]] = []

    def similar(question: str, known: Sequence[CachedQuestion]) -> CachedQuestion | None:
        seen.append((question, [each.question for each in known]))
        return next((each for each in known if each.question.rstrip("?") in question), None)

    _, bot = made(world, ReplyCache(similar=similar))
    first = bot.chat("Opening hours?", of_user(bot, "ann", "one"))
    again = bot.chat("The Opening hours please", of_user(bot, "ann", "two"))
    assert (again.cached, again.text) == (True, first.text)
    assert bot.all(ReplyCached)[0].found == "similar"
    assert not bot.chat("The Opening hours please", of_user(bot, "ben")).cached
    assert seen == [("The Opening hours please", ["Opening hours?"])]


@pytest.mark.parametrize(
    ("options", "operation"),
    [
        ({"normalise": lambda text: 1 / 0}, "ask"),
        ({"scope": lambda view: 1 / 0}, "ask"),
        ({"similar": lambda question, known: "yes"}, "similar"),
    ],
)
def test_a_function_that_fails_fails_no_turn(world: World, options: dict[str, Any], operation: str) -> None:
    _, bot = made(world, ReplyCache(**{"scope": "everyone", **options}))
    for text in ("One?", "Two?"):
        assert not bot.chat(text, bot.thread()).cached
    assert operation in {event.operation for event in bot.all(ReplyCacheFailed)}


class _Broken(MemoryReplies):
    def get(self, key: str, now: float) -> CachedReply | None:
        raise ConnectionError("gone")


@pytest.mark.parametrize("store", [_Broken(), "redis://127.0.0.1:1/0"], ids=["broken", "gone"])
def test_a_store_that_is_out_of_order_fails_no_turn(world: World, store: Any) -> None:
    sandbox, bot = made(world, ReplyCache(store=store, scope="everyone"))
    for _ in range(3):
        assert not bot.chat("What is it?", bot.thread()).cached
    (failed,) = bot.all(ReplyCacheFailed)  # then it is left alone for a while
    assert (failed.operation, failed.error) == ("get", "ConnectionError")
    check_books(bot, sandbox)


def test_an_observed_cache_says_what_it_would_have_answered(world: World) -> None:
    sandbox, bot = made(world, observe(ReplyCache(scope="everyone")))
    assert [bot.chat("What is it?", bot.thread()).cached for _ in range(2)] == [False, False]
    (observed,) = bot.all(PolicyObserved)
    assert (observed.policy, observed.decision) == ("ReplyCache", "answer")
    assert paths(sandbox, ASK) == 2


def test_a_turn_that_is_asked_for_again_by_its_name_is_not_cached_twice(world: World) -> None:
    _, bot = made(world, ReplyCache(scope="everyone"))
    first = bot.chat("What is it?", bot.thread())
    other = bot.thread()
    chat: Any = other.chat
    replies = [bot.world.wait(chat("What is it?", idempotency_key="k")) for _ in range(2)]
    assert [(reply.text, reply.cached) for reply in replies] == [(first.text, True)] * 2
    assert len(bot.all(ReplyCached)) == 1


# Single-flight


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


# In the ledger's database


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lifetime": 0}, "lifetime is 0, it must be a number of seconds above 0"),
        ({"lifetime": timedelta(0)}, "lifetime is datetime.timedelta(0)"),
        ({"lifetime": float("nan")}, "lifetime is nan"),
        ({"lifetime": "1h"}, "lifetime is '1h'"),
        ({"max_entries": 0}, "max_entries is 0, it must be a number of at least 1"),
        ({"max_entries": None}, "max_entries is None"),
        ({"max_characters": 0.5}, "max_characters is 0.5"),
        ({"scope": "world"}, "scope is 'world', it must be one of 'user', 'tenant', 'everyone'"),
        ({"store": "disk"}, "store is 'disk': give 'memory', 'ledger'"),
        ({"store": "mysql://me:secret@host"}, "store is mysql://…: give"),
        ({"store": object()}, "which has no get()"),
        ({"tools": "yes"}, "tools is 'yes': give True or False"),
        ({"similar": "embedding"}, "similar is 'embedding': give a plain function, or None"),
    ],
)
def test_values_that_cannot_work_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ReplyCache(**options)
    assert named in str(caught.value)
    assert "secret" not in str(caught.value)


def test_guards_whose_cache_cannot_work_are_refused(world: World) -> None:
    for policies, named in (
        ([ReplyCache(store="ledger")], "the guard's ledger is in no database"),
        ([ReplyCache(), observe(ReplyCache())], "ReplyCache twice"),
        ([ReplyCache(store="redis://me:secret@host:port/0")], "malformed redis:// URL"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            made(world, *policies)
        assert named in str(caught.value)
        assert "secret" not in str(caught.value)


def test_without_the_extra_a_url_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'pip install "assistantguard\[redis\]"'):
        ReplyCache(store="valkey://localhost")


def test_every_run_that_starts_settles_once(world: World) -> None:
    _, bot = made(world, ReplyCache(scope="everyone"))
    for _ in range(3):
        bot.chat("What is it?", bot.thread())
    assert [event.run_id for event in bot.all(RunStarted)] == [event.run_id for event in bot.all(RunSettled)]
    assert bot.guard.summary()["run_count"] == 3
    assert not any(isinstance(outcome, RequestRejected) for outcome in bot.events)


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
