"""`ReplyCache` at the face of both guards: a question that was answered before is answered again at no cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    Budget,
    BudgetExceeded,
    ConfigurationError,
    ReplyCache,
    ReplyReady,
    RequestRejected,
    TextDelta,
    ThreadRotation,
    Usage,
    observe,
)
from assistantguard.events import PolicyObserved, RunSettled, RunStarted
from assistantguard.events.replies import ReplyCached, ReplyCacheFailed, ReplyStored
from assistantguard.replies import CachedQuestion, CachedReply, MemoryReplies
from assistantguard.sandbox import Fault
from tests.replies.stage import ADD, ASK, made, numbered, texts
from tests.support.checks import check_all, check_books, check_holds, paths
from tests.support.clock import Clock
from tests.support.models import Lookups, order_desk
from tests.support.threads import NASTY, of_user
from tests.support.world import MODEL, World


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
