"""Threads that are deleted, merged, shared between processes, and done twice."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistantguard import (
    CarryOver,
    ConfigurationError,
    LeaseLost,
    RunFailed,
    ThreadArchived,
    ThreadBusy,
    ThreadNotFound,
    ThreadRotation,
    TopicCheck,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.events import RequestSettled, ThreadRotated, ThreadSuggested
from assistantguard.models import RunState, ThreadState
from assistantguard.sandbox import Answer, Fault, FunctionCall, ModelRequest, Sandbox
from tests.support.checks import paths
from tests.support.models import SlowModel, while_slow
from tests.support.threads import Threads, of_user
from tests.support.world import Bot, World

Open = Callable[..., Bot]


def upload(world: World, bot: Bot, *names: str) -> list[str]:
    files = bot.guard.client.files
    return [
        world.wait(files.create(file=(f"{name}.txt", f"About {name}.".encode()), purpose="assistants")).id
        for name in names
    ]


def stores(world: World, bot: Bot) -> list[str]:
    async def collected() -> list[str]:
        return [store.id async for store in bot.guard.client.vector_stores.list()]

    if world.is_async:
        return list(world.wait(collected()))
    return [store.id for store in bot.guard.client.vector_stores.list()]


def test_a_deleted_thread_takes_its_conversations_along(begin: Open, sandbox: Sandbox) -> None:
    bot = begin(ThreadRotation(max_turns=1, old="keep"))
    thread, other = of_user(bot, "u-1", "billing"), of_user(bot, "u-1", "parcels")
    for number in range(3):
        bot.chat(f"Message {number}", thread)
    bot.chat("Hello", other)
    assert len(sandbox.conversations) == 4
    entries = len(bot.guard.ledger.entries())
    deleted = Threads(bot).delete("u-1", "billing")
    assert deleted.thread_id == thread.id
    assert len(set(deleted.conversations)) == 3
    assert (deleted.left, deleted.vector_store_id) == ((), None)
    assert sandbox.conversations == [other.state.generation_id]
    for way in (lambda: bot.chat("Hello?", thread), lambda: of_user(bot, "u-1", thread_id=thread.id)):
        with pytest.raises(ThreadNotFound):
            way()
    assert [info.name for info in Threads(bot).list("u-1", archived=None)] == ["parcels"]
    assert len(bot.guard.ledger.entries()) == entries, "what stands in the books stays"
    assert of_user(bot, "u-1", "billing").state.turns == 0


def test_deleting_scrubs_the_items_where_that_is_wanted(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    bot.chat("A secret", of_user(bot, "u-1", "billing"))
    Threads(bot).delete("u-1", "billing", scrub=True)
    assert paths(sandbox, "DELETE /conversations/{id}/items/{item_id}") == 2
    assert sandbox.conversations == []


def test_what_the_server_will_not_delete_now_is_told_and_stays_known(begin: Open, sandbox: Sandbox) -> None:
    bot = begin(TransientRetry(1))
    thread = of_user(bot, "u-1", "billing")
    bot.chat("Hello", thread)
    conversation = thread.state.generation_id
    sandbox.inject(Fault.server_error(endpoint="DELETE /conversations/{id}", at=1))
    deleted = Threads(bot).delete("u-1", "billing")
    assert (deleted.conversations, deleted.left) == ((), (conversation,))
    assert Threads(bot).list("u-1") == []
    store = bot.guard._core.leases.store
    assert [each.id for each in store.unused_generations(time.time() + 1)] == [conversation]


def test_a_conversation_that_is_gone_is_as_good_as_deleted(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    thread = of_user(bot, "u-1", "billing")
    bot.chat("Hello", thread)
    conversation = thread.state.generation_id or ""
    sandbox.delete_conversation(conversation)
    assert Threads(bot).delete("u-1", "billing").conversations == (conversation,)


def test_a_vector_store_is_deleted_with_its_last_thread_and_only_if_told_so(begin: Open, world: World) -> None:
    bot = begin(VectorStoreReuse())
    threads = Threads(bot)
    files = upload(world, bot, "returns")
    topics = ("a", "b", "c")
    store = {bot.attach_files(files, of_user(bot, "u-1", topic)) for topic in topics}.pop()
    assert threads.delete("u-1", "a", vector_store=True).vector_store_id is None, "two others have it"
    assert threads.delete("u-1", "b").vector_store_id is None
    threads.archive("u-1", "c")
    assert stores(world, bot) == [store]
    assert threads.delete("u-1", "c", vector_store=True).vector_store_id == store
    assert stores(world, bot) == []
    assert world.wait(bot.guard.client.files.retrieve(files[0])).id == files[0], "the files stay"


CARRY = CarryOver(tail_turns=1, tail_tokens=400, digest_tokens=400)


def test_a_merged_thread_knows_what_both_knew(begin: Open, sandbox: Sandbox) -> None:
    bot = begin(ThreadRotation(max_turns=20, carry_over=CARRY))
    threads = Threads(bot)
    bills, parcels = of_user(bot, "u-1", "bills", tags=["may"]), of_user(bot, "u-1", "parcels", tags=["late"])
    replies = [bot.chat("My customer number is KD-48213.", bills), bot.chat("The bill is too high.", bills)]
    replies += [bot.chat("Parcel PX-77120 is late.", parcels), bot.chat("It is blue.", parcels)]
    old = {bills.state.generation_id, parcels.state.generation_id}
    info = threads.merge("u-1", "bills", "parcels")
    assert (info.id, info.name, info.tags, info.turns) == (bills.id, "bills", ("late", "may"), 4)
    assert info.usage.total_tokens == sum(reply.usage.total_tokens for reply in replies)
    assert info.cost == sum(reply.cost or 0 for reply in replies)
    assert sandbox.conversations == [info.generation_id]
    assert not old & set(sandbox.conversations)
    seeds = sandbox.conversation(info.generation_id)
    said = [item["content"][0]["text"] for item in seeds]
    notes, *tail = said
    assert "KD-48213" in notes
    assert "PX-77120" in notes
    assert sum("<carried-over>" in text for text in said) == 1, "one block of notes, where the next rotation finds it"
    assert [text for text in tail if not text.startswith("Heard")] == ["It is blue.", "The bill is too high."]
    (rotated,) = bot.all(ThreadRotated)
    assert (rotated.policy, rotated.thread_id) == ("merge", bills.id)
    assert parcels.id in rotated.reason
    with pytest.raises(ThreadNotFound):
        bot.chat("Hello?", parcels)
    assert bot.chat("And now?", bills).text == f"Heard {len(seeds) + 1}: And now?"
    assert bills.state.turns == 5
    assert of_user(bot, "u-1", "parcels").id != parcels.id


def test_a_merge_is_on_the_books_of_both(begin: Open, sandbox: Sandbox) -> None:
    carry = CarryOver(summary_model="gpt-5-nano")
    bot = begin(ThreadRotation(max_turns=20, carry_over=carry))
    for topic in ("a", "b"):
        bot.chat(f"About {topic}.", of_user(bot, "u-1", topic))
    info = Threads(bot).merge("u-1", "a", "b")
    assert [event.purpose for event in bot.all(RequestSettled)].count("summary") == 2
    billed = sum(call.input_tokens + call.output_tokens for call in sandbox.billing.calls)
    assert info.usage.total_tokens == billed == sum(entry.usage.total_tokens for entry in bot.guard.ledger.entries())
    assert not bot.guard.ledger.open_holds()


def test_threads_that_were_never_used_are_merged_without_a_word_to_the_server(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    for topic in ("a", "b"):
        of_user(bot, "u-1", topic)
    assert Threads(bot).merge("u-1", "a", "b").generation_id is None
    assert not sandbox.requests
    bot.chat("Hello", of_user(bot, "u-1", "c"))
    info = Threads(bot).merge("u-1", "a", "c")
    assert info.generation_id in sandbox.conversations
    assert bot.chat("Again", of_user(bot, "u-1", "a")).text == "Heard 3: Again"


def test_files_of_both_are_searched_after_a_merge(begin: Open, world: World) -> None:
    bot = begin(VectorStoreReuse())
    files = upload(world, bot, "returns", "shipping")
    for topic, file in zip(("a", "b"), files, strict=True):
        bot.attach_files([file], of_user(bot, "u-1", topic))
    Threads(bot).merge("u-1", "a", "b")
    assert of_user(bot, "u-1", "a").state.file_ids == tuple(sorted(files))


def test_a_merge_that_fails_leaves_both_as_they_were(begin: Open, sandbox: Sandbox) -> None:
    bot = begin(TransientRetry(1))
    threads = {topic: of_user(bot, "u-1", topic) for topic in ("a", "b")}
    for thread in threads.values():
        bot.chat("Hello", thread)
    sandbox.inject(Fault.server_error(endpoint="POST /conversations", rate=1.0, times=1))
    with pytest.raises(RunFailed):
        Threads(bot).merge("u-1", "a", "b")
    for thread in threads.values():
        assert bot.chat("Again", thread).text == "Heard 3: Again"
    assert {info.turns for info in Threads(bot).list("u-1")} == {2}
    Threads(bot).archive("u-1", "a")
    with pytest.raises(ThreadArchived):
        Threads(bot).merge("u-1", "a", "b")


def test_a_merge_goes_on_without_a_conversation_that_is_gone(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    for topic in ("a", "b"):
        bot.chat(f"About {topic}", of_user(bot, "u-1", topic))
    sandbox.delete_conversation(of_user(bot, "u-1", "b").state.generation_id or "")
    info = Threads(bot).merge("u-1", "a", "b")
    assert "gone" in bot.all(ThreadRotated)[0].reason
    assert sandbox.conversation(info.generation_id)[0]["content"][0]["text"] == "About a"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'guard.db'}"


def test_one_process_at_a_time_drives_a_thread(world: World, url: str) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    here = world.bot(sandbox, ledger=url)
    there = world.bot(sandbox, ledger=url, when_busy="refuse")
    first, second = of_user(here, "u-1", "billing"), of_user(there, "u-1", "billing")
    assert first.id == second.id
    with slow.released_after():
        one, two = while_slow(here, slow, first, second)
    assert one.text == "Done: Slowly: one"
    assert isinstance(two, ThreadBusy)
    assert two.thread_id == first.id
    assert there.chat("Hello", second).text == "Done: Hello"
    assert second.state.turns == 2


def test_a_turn_waits_for_the_process_that_drives_its_thread(world: World, url: str) -> None:
    sandbox = world.sandbox(lambda request: f"Heard {len(request.items)}")
    bots = [world.bot(sandbox, ledger=url) for _ in range(3)]
    threads = [of_user(bot, "u-1", "billing") for bot in bots]
    replies = world.at_once(*[lambda thread=thread: thread.chat("Hello") for thread in threads for _ in range(2)])
    assert sorted(reply.text for reply in replies) == [f"Heard {number}" for number in (1, 11, 3, 5, 7, 9)]
    assert Threads(bots[0]).statistics("u-1", "billing").turns == 6


def test_what_one_process_says_of_a_thread_the_others_hear(world: World, url: str) -> None:
    sandbox = world.sandbox()
    here, there = (world.bot(sandbox, ledger=url) for _ in range(2))
    thread = of_user(here, "u-1", "billing")
    here.chat("Hello", thread)
    Threads(there).rename("u-1", "billing", "bills")
    Threads(there).archive("u-1", "bills")
    with pytest.raises(ThreadArchived):
        here.chat("Hello?", thread)
    assert thread.state.name == "bills"
    Threads(there).delete("u-1", "bills")
    with pytest.raises(ThreadNotFound):
        here.chat("Hello?", thread)


def test_a_thread_that_was_taken_away_in_mid_turn_is_given_up(world: World, url: str) -> None:
    bots: list[Bot] = []

    def model(request: ModelRequest) -> str:
        if len(bots) == 1 and "first" in request.last_user_text:
            store = bots[0].guard._core.leases.store
            store.open(bots[0].guard.thread_id, "another", 30.0, time.time() + 1_000)
        return "Done."

    sandbox = world.sandbox(model, model_in_thread=True)
    bots.append(world.bot(sandbox, ledger=url))
    with pytest.raises(LeaseLost):
        bots[0].chat("The first")
    assert sum(entry.usage.total_tokens for entry in bots[0].guard.ledger.entries()) > 0, "what was billed is booked"
    assert not bots[0].guard.ledger.open_holds()


@pytest.mark.parametrize("taken", [True, False])
def test_a_process_that_stood_still_for_longer_than_its_lease_asks_before_it_sends(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    sandbox = world.sandbox(["Hello there."])
    bot = world.bot(sandbox, ledger=url)
    leases = bot.guard._core.leases

    confirm = leases.confirm

    def confirm_late(thread: ThreadState, run: RunState | None) -> None:
        if taken:
            leases.store.open(thread.id, "another", 30.0, time.time() + 1_000)
        confirm(thread, run)

    monkeypatch.setattr(leases, "overdue", lambda _: True)
    monkeypatch.setattr(leases, "confirm", confirm_late)
    if taken:
        with pytest.raises(LeaseLost):
            bot.chat("Hello")
    else:
        assert bot.chat("Hello").text == "Hello there."
    assert paths(sandbox, "POST /responses") == (0 if taken else 1)
    assert not bot.guard.ledger.open_holds()


def test_a_turn_of_one_key_is_made_once(begin: Open, sandbox: Sandbox) -> None:
    bot = begin()
    thread, other = of_user(bot, "u-1", "billing"), of_user(bot, "u-2", "billing")
    first = bot.world.wait(thread.chat("Pay the bill", idempotency_key="order 17"))
    again = bot.world.wait(thread.chat("Pay the bill", idempotency_key="order 17"))
    assert (again.text, again.run.id, again.usage) == (first.text, first.run.id, first.usage)
    assert paths(sandbox, "POST /responses") == 1
    assert bot.world.wait(other.chat("Pay the bill", idempotency_key="order 17")).run.id != first.run.id
    assert bot.world.wait(thread.chat("Pay the bill", idempotency_key="order 18")).run.id != first.run.id
    assert paths(sandbox, "POST /responses") == 3
    with pytest.raises(ConfigurationError, match="idempotency key"):
        bot.world.wait(thread.chat("Pay the bill", idempotency_key=""))


def test_a_turn_whose_last_answer_never_told_its_id_is_found_again(world: World, tmp_path: Path) -> None:
    def lookup() -> str:
        """Find an order."""
        return "shipped"

    path = tmp_path / "guard.db"
    sandbox = world.sandbox([FunctionCall("lookup", {}), "It is on its way."])
    first = world.bot(sandbox, tools=[lookup], ledger=f"sqlite:///{path}")
    reply = world.wait(first.guard.chat("Where is it?", idempotency_key="order 17"))
    thread_id = first.guard.thread_id
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        ((state,),) = database.execute("SELECT state FROM guard_runs").fetchall()
        kept = json.loads(state)
        # A process that died before the answer arrived: another found it in the conversation, where no id is told.
        assert len(kept["response_ids"]) == 2
        del kept["response_ids"][1]
        database.execute("UPDATE guard_runs SET state = ?", (json.dumps(kept),))
    second = world.bot(sandbox, tools=[lookup], ledger=f"sqlite:///{path}")
    again = world.wait(second.guard.thread(thread_id).chat("Where is it?", idempotency_key="order 17"))
    assert (again.text, again.run.id) == (reply.text, reply.run.id) == ("It is on its way.", reply.run.id)
    assert paths(sandbox, "POST /responses") == 2


SECRETS = ("SECRET-MESSAGE", "SECRET-ANSWER", "SECRET-ARGUMENT", "SECRET-OUTPUT")


@pytest.mark.parametrize("keep", [False, True])
def test_no_text_is_kept_unless_that_is_asked_for(world: World, tmp_path: Path, keep: bool) -> None:
    from assistantguard.sandbox import FunctionCall

    kept: list[bytes] = []

    def look() -> None:
        kept.append(b"".join(path.read_bytes() for path in tmp_path.glob("guard.db*")))

    def lookup(order: str) -> str:
        """Find an order."""
        look()
        return "SECRET-OUTPUT"

    def model(request: ModelRequest) -> Any:
        look()
        if request.items[-1]["type"] == "function_call_output":
            return Answer("SECRET-ANSWER")
        return FunctionCall("lookup", {"order": "SECRET-ARGUMENT"})

    sandbox = world.sandbox(model)
    bot = world.bot(sandbox, tools=[lookup], ledger=f"sqlite:///{tmp_path / 'guard.db'}", keep_content=keep)
    bot.chat("SECRET-MESSAGE", of_user(bot, "u-1", "billing"))
    look()
    found = [secret for secret in SECRETS if secret.encode() in b"".join(kept)]
    assert b"billing" in kept[-1]
    assert bool(found) == keep


def test_a_message_that_leaves_the_topic_is_answered_and_a_new_thread_suggested(begin: Open) -> None:
    bot = begin(topic_check=TopicCheck())
    thread = of_user(bot, "u-1", "billing")
    same = [
        "My invoice of May lists the delivery charge twice, please correct that invoice.",
        "Thanks. Is the corrected invoice charged to the same credit card?",
        "And when?",
    ]
    for message in same:
        assert bot.chat(message, thread).suggestion is None
    assert not bot.all(ThreadSuggested)
    for streamed in (False, True):
        other = f"Recommend three hiking trails near Garmisch suitable for small children, number {streamed}."
        reply = bot.chat(other, thread, streamed=streamed)
        assert reply.text
        assert (reply.suggestion == "new_thread") == (not streamed), "the second one stays with the new topic"
    (event,) = bot.all(ThreadSuggested)
    assert (event.thread_id, event.user, event.compared) == (thread.id, "u-1", 6)
    assert "Garmisch" not in str(event.record())


def test_ones_own_judge_hears_the_message_and_what_was_said_before(begin: Open) -> None:
    heard: list[tuple[str, tuple[str, ...]]] = []

    def judge(message: str, earlier: Any) -> bool:
        heard.append((message, tuple(earlier)))
        return message == "two"

    bot = begin(topic_check=TopicCheck(judge=judge, remember=3))
    thread = of_user(bot, "u-1")
    suggestions = [bot.chat(message, thread).suggestion for message in ("one", "two", "three")]
    assert suggestions == [None, "new_thread", None]
    assert heard == [("two", ("one", "Heard 1: one")), ("three", ("Heard 1: one", "two", "Heard 3: two"))]


@pytest.mark.parametrize(
    "wrong", [{"shared": 0}, {"shared": 1.5}, {"min_words": 0}, {"remember": True}, {"judge": "ask me"}]
)
def test_a_topic_check_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TopicCheck(**wrong)


def test_an_async_guard_looks_a_thread_in_a_database_up_when_it_is_first_awaited(warm: None, url: str) -> None:
    with World("async") as world:
        bot = world.bot(world.sandbox(), ledger=url)
        thread = bot.thread(user="u-1", topic="billing")
        assert thread.user == "u-1"
        for name in ("id", "state"):
            with pytest.raises(ConfigurationError, match="await it first"):
                getattr(thread, name)
        reply = bot.chat("Hello", thread)
        assert thread.id == reply.thread_id
        assert thread.state.turns == 1
        with pytest.raises(ThreadNotFound):
            world.wait(bot.guard.thread(thread.id, user="u-2"))


def test_a_vector_store_that_another_process_made_is_found_in_the_database(world: World, url: str) -> None:
    sandbox = world.sandbox()
    here, there = (world.bot(sandbox, [VectorStoreReuse()], ledger=url) for _ in range(2))
    files = upload(world, here, "returns")
    store = here.attach_files(files, of_user(here, "u-1"))
    assert paths(sandbox, "GET /vector_stores") == 1
    assert there.attach_files(files, of_user(there, "u-2")) == store
    assert paths(sandbox, "GET /vector_stores") == 1, "the server was not asked for all of its stores"
    sandbox.expire_store(store)
    new = there.attach_files(files, of_user(there, "u-3"))
    assert new != store
    assert here.attach_files(files, of_user(here, "u-4")) == new


def test_a_store_that_is_gone_from_the_server_is_made_again(world: World, url: str) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [VectorStoreReuse()], ledger=url)
    files = upload(world, bot, "returns")
    store = bot.attach_files(files, of_user(bot, "u-1"))
    world.wait(bot.guard.client.vector_stores.delete(store))
    assert bot.attach_files(files, of_user(bot, "u-2")) != store


def test_only_conversations_that_should_be_gone_are_strays(begin: Open, sandbox: Sandbox) -> None:
    keeping, deleting = begin(ThreadRotation(max_turns=1, old="keep")), begin(ThreadRotation(max_turns=1))
    for bot in (keeping, deleting):
        for number in range(3):
            bot.chat(f"Message {number}", of_user(bot, "u-1", "kept" if bot is keeping else "deleted"))
        store = bot.guard._core.leases.store
        assert store.unused_generations(time.time() + 1) == []
    sandbox.inject(Fault.http(503, endpoint="DELETE /conversations/{id}", rate=1.0))
    old = of_user(deleting, "u-1", "deleted").state.generation_id
    deleting.chat("Message 4", of_user(deleting, "u-1", "deleted"))
    assert [each.id for each in store.unused_generations(time.time() + 1)] == [old]
