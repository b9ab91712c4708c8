"""Users and their threads at the face of both guards, kept in memory and in a database."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from assistantguard import (
    ConfigurationError,
    ThreadArchived,
    ThreadNameTaken,
    ThreadNotFound,
    TooManyThreads,
)
from assistantguard.sandbox import Sandbox
from tests.support.checks import user_texts
from tests.support.threads import NASTY, Threads, of_user
from tests.support.world import Bot, Thread, World

Open = Callable[..., Bot]
IMPOSSIBLE = (
    "",
    "   ",
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "\u2028",
    "\ud800",
    "x" * 257,
    "x" * 10_000,
    b"billing",
    7,
    ["a"],
)


def texts(sandbox: Sandbox, thread: Thread) -> list[str]:
    return user_texts(sandbox.conversation(thread.state.generation_id or ""))


def test_a_user_has_a_conversation_for_each_topic(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    bot.chat("About a bill", of_user(bot, "u-1", "billing"))
    bot.chat("About a parcel", of_user(bot, "u-1", "parcels"))
    bot.chat("The bill again", of_user(bot, "u-1", "billing"))
    bot.chat("Somebody else's bill", of_user(bot, "u-2", "billing"))
    assert texts(sandbox, of_user(bot, "u-1", "billing")) == ["About a bill", "The bill again"]
    assert texts(sandbox, of_user(bot, "u-1", "parcels")) == ["About a parcel"]
    assert texts(sandbox, of_user(bot, "u-2", "billing")) == ["Somebody else's bill"]
    thread = of_user(bot, "u-1", "billing")
    assert (thread.user, thread.state.name, thread.state.turns) == ("u-1", "billing", 2)
    assert of_user(bot, "u-1", thread_id=thread.id).id == thread.id


def test_a_thread_is_one_object_as_long_as_somebody_has_it(begin: Open) -> None:
    bot = begin()
    own = bot.thread("mine")
    assert bot.thread("mine") is own
    thread = of_user(bot, "u-1", "billing")
    again = of_user(bot, "u-1", "billing")
    assert again.id == thread.id
    assert (again is thread) or (bot.world.is_async and not bot.guard.ledger.in_process)


def test_a_user_without_a_topic_has_his_current_thread(begin: Open) -> None:
    bot = begin()
    billing, plain = of_user(bot, "u-1", "billing"), of_user(bot, "u-1")
    assert plain.id != billing.id
    assert of_user(bot, "u-1").id == plain.id
    assert Threads(bot).switch("u-1", "billing").current
    assert of_user(bot, "u-1").id == billing.id
    assert of_user(bot, "u-2").id not in {billing.id, plain.id}
    Threads(bot).archive("u-1", billing)
    assert of_user(bot, "u-1").id == plain.id
    Threads(bot).delete("u-1", plain)
    assert of_user(bot, "u-1").id not in {billing.id, plain.id}


def every_reach(bot: Bot, user: str | None, thread: str, *, by_id: bool) -> dict[str, Callable[[], Any]]:
    """Everything that a user could try with another's thread."""
    threads, world = Threads(bot), bot.world

    def handle() -> Thread:
        return of_user(bot, user, thread_id=thread)

    ways: dict[str, Callable[[], Any]] = {
        "rename": lambda: threads.rename(user, thread, "stolen"),
        "tag": lambda: threads.tag(user, thread, ["stolen"]),
        "archive": lambda: threads.archive(user, thread),
        "restore": lambda: threads.restore(user, thread),
        "delete": lambda: threads.delete(user, thread),
        "merge": lambda: threads.merge(user, thread, thread),
        "statistics": lambda: threads.statistics(user, thread),
        "after": lambda: threads.list(user, after=thread),
    }
    if user is not None:
        ways["switch"] = lambda: threads.switch(user, thread)
    if by_id:
        ways["chat"] = lambda: bot.chat("What did we say?", handle())
        ways["stream"] = lambda: bot.stream("What did we say?", handle())
        ways["heal"] = lambda: world.wait(handle().heal())
        ways["attach"] = lambda: world.wait(handle().attach_files(["file-1"]))
    return ways


@pytest.mark.parametrize("intruder", ["u-2", None, "U-1", "u-1 ", "x' OR '1'='1", "%", "u-1\u200b"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_no_call_for_another_user_reaches_a_thread(
    begin: Open, sandbox: Sandbox, intruder: str | None, elsewhere: bool
) -> None:
    bot = begin()
    mine = of_user(bot, "u-1", "billing")
    bot.chat("My secret", mine)
    asked = len(sandbox.requests)
    thief = begin() if elsewhere and not bot.guard.ledger.in_process else bot
    for thread, nowhere in ((mine.id, "thread_0123"), ("billing", "nowhere")):
        for name, reach in every_reach(thief, intruder, thread, by_id=thread == mine.id).items():
            with pytest.raises(ThreadNotFound) as caught:
                reach()
            told = str(caught.value).replace(thread, "…")
            if intruder is None and name in {"chat", "stream", "heal", "attach"}:
                continue  # without a user, an id that nobody has begins a thread
            with pytest.raises(ThreadNotFound) as caught:
                every_reach(thief, intruder, nowhere, by_id=thread == mine.id)[name]()
            assert str(caught.value).replace(nowhere, "…") == told, name
    assert len(sandbox.requests) == asked, "something was asked of the server"
    assert Threads(thief).list(intruder) == Threads(thief).search(intruder, "bill") == []
    assert Threads(thief).statistics(intruder).threads == 0
    (info,) = Threads(bot).list("u-1")
    assert (info.id, info.name, info.tags, info.archived_at, info.turns) == (mine.id, "billing", (), None, 1)
    if intruder is not None:
        theirs = of_user(thief, intruder, "billing")
        assert theirs.id != mine.id
        thief.chat("Theirs", theirs)
    assert texts(sandbox, mine) == ["My secret"]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_nothing_but_a_name(begin: Open, sandbox: Sandbox, name: str) -> None:
    bot = begin()
    others = of_user(bot, "u-1", "billing")
    thread = of_user(bot, name, name, tenant=name, tags=[name])
    bot.chat("Hello", thread)
    assert bot.chat("Hello again", of_user(bot, name, name)).thread_id == thread.id
    threads = Threads(bot)
    (info,) = threads.list(name)
    assert (info.user, info.name, info.tenant, info.tags) == (name, name, name, (name,))
    assert [each.id for each in threads.search(name, name, tag=name)] == [thread.id]
    assert threads.archive(name, name).archived_at is not None
    assert threads.restore(name, name).name == name
    assert threads.switch(name, name).current
    assert threads.delete(name, name).thread_id == thread.id
    assert threads.list(name) == []
    assert [each.id for each in threads.list("u-1")] == [others.id]
    assert threads.search("u-1", name) == []


@pytest.mark.parametrize("word", IMPOSSIBLE, ids=lambda word: repr(word)[:12])
def test_what_is_no_name_is_refused_and_nothing_is_made(begin: Open, sandbox: Sandbox, word: Any) -> None:
    bot = begin()
    threads = Threads(bot)
    of_user(bot, "u-1", "billing")
    for call in (
        lambda: bot.thread(word),
        lambda: bot.thread(user=word),
        lambda: bot.thread(word, user="u-1"),
        lambda: bot.thread(user="u-1", topic=word),
        lambda: bot.thread(user="u-1", topic="a", tenant=word),
        lambda: bot.thread(user="u-1", topic="a", tags=[word]),
        lambda: bot.thread(user="u-1", topic="a", conversation_id=word),
        lambda: threads.list(word),
        lambda: threads.search(word, "a"),
        lambda: threads.search("u-1", "a", tag=word),
        lambda: threads.rename(word, "billing", "a"),
        lambda: threads.rename("u-1", word, "a"),
        lambda: threads.rename("u-1", "billing", word),
        lambda: threads.tag("u-1", "billing", [word]),
        lambda: threads.tag("u-1", "billing", [], [word]),
        lambda: threads.delete("u-1", word),
        lambda: threads.merge("u-1", "billing", word),
        lambda: threads.statistics(word),
        lambda: bot.chat("Hello", of_user(bot, "u-1", "billing"), deadline=-1),
    ):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert len(str(caught.value)) < 400
    assert [(info.name, info.tags) for info in threads.list("u-1", archived=None)] == [("billing", ())]
    assert not sandbox.requests


def test_words_that_do_not_go_together_are_refused(begin: Open) -> None:
    bot = begin()
    with pytest.raises(ConfigurationError, match="no user is given"):
        bot.thread(topic="billing")
    with pytest.raises(ConfigurationError, match="found by one of them"):
        bot.thread("thread_1", user="u-1", topic="billing")
    with pytest.raises(ConfigurationError, match="list of texts"):
        bot.thread(user="u-1", topic="billing", tags="urgent")
    with pytest.raises(ConfigurationError, match="at most 50"):
        bot.thread(user="u-1", topic="billing", tags=[str(number) for number in range(51)])
    with pytest.raises(ConfigurationError, match="from 1 to 1,000"):
        Threads(bot).list("u-1", limit=0)
    of_user(bot, "u-1", "billing")
    with pytest.raises(ConfigurationError, match="itself"):
        Threads(bot).merge("u-1", "billing", "billing")
    with pytest.raises(ConfigurationError, match="only a user has"):
        Threads(bot).switch(None, "billing")


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "5"])
def test_a_limit_of_threads_that_is_none_is_refused(world: World, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_threads_per_user is .* at least 1"):
        world.bot(world.sandbox(), max_threads_per_user=value)


def test_two_ways_to_write_an_accent_are_one_name(begin: Open) -> None:
    bot = begin()
    thread = of_user(bot, "u-1", "caf\u00e9", tags=["e\u0301t\u00e9"])
    assert of_user(bot, "u-1", "cafe\u0301").id == thread.id
    assert Threads(bot).archive("u-1", "cafe\u0301").tags == ("\u00e9t\u00e9",)
    assert of_user(bot, "u-1", "cafe").id != thread.id
    assert of_user(bot, "caf\u00e9", "x").id != of_user(bot, "cafe\u0301", "x").id, (
        "users are who they are to the letter"
    )


def test_a_user_may_have_so_many_named_threads(begin: Open, sandbox: Sandbox) -> None:
    bot = begin(max_threads_per_user=2)
    threads = Threads(bot)
    of_user(bot, "u-1")
    first = of_user(bot, "u-1", "a")
    of_user(bot, "u-1", "b")
    with pytest.raises(TooManyThreads, match=r"'u-1' has 2 named threads in use.* archive or delete one, or raise"):
        of_user(bot, "u-1", "c")
    assert of_user(bot, "u-1", "a").id == first.id
    of_user(bot, "u-2", "c")
    threads.archive("u-1", "a")
    of_user(bot, "u-1", "c")
    with pytest.raises(TooManyThreads):
        threads.restore("u-1", "a")
    with pytest.raises(TooManyThreads):
        threads.rename("u-1", of_user(bot, "u-1"), "d")
    threads.delete("u-1", "c")
    assert threads.restore("u-1", "a").id == first.id
    assert not sandbox.requests
    unlimited = begin(max_threads_per_user=None)
    for number in range(7):
        of_user(unlimited, "u-3", f"topic {number}")


def test_an_archived_thread_takes_no_message_until_it_is_restored(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    thread = of_user(bot, "u-1", "billing")
    bot.chat("Hello", thread)
    assert Threads(bot).archive("u-1", "billing").archived_at is not None
    asked = len(sandbox.requests)
    for streamed in (False, True):
        for way in (thread, of_user(bot, "u-1", "billing"), of_user(bot, "u-1", thread_id=thread.id)):
            with pytest.raises(ThreadArchived, match=rf"{thread.id}.*restore"):
                bot.chat("Hello?", way, streamed=streamed)
    with pytest.raises(ThreadArchived):
        Threads(bot).switch("u-1", "billing")
    assert len(sandbox.requests) == asked
    Threads(bot).restore("u-1", "billing")
    assert bot.chat("Hello again", thread).thread_id == thread.id
    assert texts(sandbox, thread) == ["Hello", "Hello again"]


def test_threads_are_listed_and_found(begin: Open, world: World) -> None:
    bot = begin(max_threads_per_user=None)
    threads = Threads(bot)
    made = [of_user(bot, "u-1", f"Topic {number}", tags=["even"] if number % 2 == 0 else []) for number in range(5)]
    for thread in (made[3], made[0]):
        bot.chat("Hello", thread)
    listed = threads.list("u-1")
    assert [info.id for info in listed[:2]] == [made[0].id, made[3].id]
    assert {info.id for info in listed} == {thread.id for thread in made}
    pages: list[list[str]] = []
    after = None
    while page := threads.list("u-1", limit=2, after=after):
        pages.append([info.id for info in page])
        after = page[-1].id
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == [info.id for info in listed]
    threads.archive("u-1", "Topic 4")
    assert {info.name for info in threads.search("u-1", "TOPIC", tag="Even")} == {"Topic 0", "Topic 2"}
    assert {info.name for info in threads.search("u-1", "even", archived=None)} == {"Topic 0", "Topic 2", "Topic 4"}
    assert [info.name for info in threads.search("u-1", "topic 4", archived=True)] == ["Topic 4"]
    assert [info.name for info in threads.list("u-1", archived=True)] == ["Topic 4"]
    bot.chat("Hello", bot.thread("the application's own"))
    assert [info.id for info in threads.list()] == ["the application's own"]
    assert threads.archive(None, "the application's own").archived_at is not None


def test_a_thread_is_renamed_and_tagged(begin: Open) -> None:
    bot = begin()
    threads = Threads(bot)
    thread = of_user(bot, "u-1", "billing")
    of_user(bot, "u-1", "parcels")
    with pytest.raises(ThreadNameTaken, match="'parcels'"):
        threads.rename("u-1", "billing", "parcels")
    assert threads.rename("u-1", "billing", "bills of May").id == thread.id
    assert threads.tag("u-1", thread, ["urgent", "may"]).tags == ("may", "urgent")
    assert threads.tag("u-1", thread, ["paid"], remove=["urgent"]).tags == ("may", "paid")
    assert (thread.state.name, thread.state.tags) == ("bills of May", ("may", "paid"))
    assert of_user(bot, "u-1", "bills of May").id == thread.id
    assert of_user(bot, "u-1", "billing").id != thread.id
    with pytest.raises(ConfigurationError, match="52 tags"):
        threads.tag("u-1", thread, [f"tag {number}" for number in range(50)])


def test_statistics_tell_what_threads_came_to(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    threads = Threads(bot)
    replies = [bot.chat("Hello", of_user(bot, "u-1", topic)) for topic in ("a", "a", "b")]
    one, all_of_them = threads.statistics("u-1", "a"), threads.statistics("u-1")
    assert (one.threads, one.turns) == (1, 2)
    assert one.usage == replies[0].usage + replies[1].usage
    assert replies[0].cost is not None
    assert replies[1].cost is not None
    assert one.cost == replies[0].cost + replies[1].cost
    assert one.context_tokens == replies[1].usage.total_tokens
    assert one.last_used_at is not None
    assert (all_of_them.threads, all_of_them.turns) == (2, 3)
    assert all_of_them.usage.total_tokens == sum(reply.usage.total_tokens for reply in replies)
    assert all_of_them.cost == sum(call.cost or 0 for call in sandbox.billing.calls)
    assert threads.statistics("u-9").threads == 0
    assert threads.statistics("u-9").last_used_at is None


def test_a_users_names_are_one_for_all_tenants(begin: Open) -> None:
    bot = begin()
    thread = of_user(bot, "u-1", "billing", tenant="acme")
    assert thread.state.tenant == "acme"
    assert of_user(bot, "u-1", "billing").id == thread.id
    for words in ({"topic": "billing"}, {"thread_id": thread.id}):
        with pytest.raises(ConfigurationError, match="'acme'"):
            of_user(bot, "u-1", tenant="other", **words)


def test_a_guard_keeps_no_thread_that_nobody_has(begin: Open) -> None:
    bot = begin()
    thread = of_user(bot, "u-1", "billing")
    bot.chat("Hello", thread)
    thread_id, gone = thread.id, weakref.ref(thread)
    del thread
    gc.collect()
    assert gone() is None
    again = of_user(bot, "u-1", thread_id=thread_id)
    assert (again.state.turns, again.state.name) == (1, "billing")


def test_turns_on_one_thread_by_several_objects_take_turns(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    replies = bot.at_once(*[lambda n=n: bot.guard.thread("shared").chat(f"Message {n}") for n in range(4)])
    assert {str(reply.thread_id) for reply in replies} == {"shared"}
    assert bot.thread("shared").state.turns in {0, 4}
    heard = sorted(int(reply.text.split()[1].rstrip(":")) for reply in replies)
    assert heard == [1, 3, 5, 7], "each saw the turns before it"


def test_a_conversation_may_be_taken_up_for_a_user(begin: Open, sandbox: Sandbox, world: World) -> None:
    bot = begin()
    first = of_user(bot, "u-1", "billing")
    bot.chat("My number is 4711", first)
    conversation = first.state.generation_id
    taken = of_user(bot, "u-2", "taken up", conversation_id=conversation)
    assert bot.chat("Which number?", taken).text == "Heard 3: Which number?"
    assert of_user(bot, "u-2", "taken up", conversation_id="conv_other").state.generation_id == conversation
