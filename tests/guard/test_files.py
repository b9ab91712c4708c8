"""A set of files is embedded once, found again, and kept alive."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    ConfigurationError,
    RequestRejected,
    RunFailed,
    RunTimedOut,
    ThreadRotation,
    VectorStoreFailed,
    VectorStoreReuse,
)
from assistantguard.events import VectorStoreCreated, VectorStoreReused
from assistantguard.sandbox import Answer, Embedding, Fault, FileSearch, Sandbox
from tests.support.checks import check_books, check_thread, paths
from tests.support.world import MODEL, Bot, World

DAY = 86_400


def upload(world: World, bot: Bot, *names: str) -> list[str]:
    """Ids of new files of these names."""
    files = bot.guard.client.files
    return [
        world.wait(files.create(file=(f"{name}.txt", f"About {name}.".encode()), purpose="assistants")).id
        for name in names
    ]


def start(world: World, *policies: Any, model: Any = None, **options: Any) -> tuple[Bot, Sandbox]:
    sandbox = world.sandbox(model, **options)
    return world.bot(sandbox, policies or [VectorStoreReuse()]), sandbox


def stores_searched(sandbox: Sandbox) -> list[Sequence[str]]:
    return [
        tool["vector_store_ids"]
        for request in sandbox.requests
        if request.endpoint == "POST /responses"
        for tool in request.body.get("tools", ())
        if tool["type"] == "file_search"
    ]


def test_attached_files_are_searched_by_every_request(world: World) -> None:
    bot, sandbox = start(world)
    store = bot.attach_files(upload(world, bot, "returns", "shipping"))
    bot.chat("Hello")
    bot.chat("Hello again")
    assert stores_searched(sandbox) == [[store], [store]]
    assert bot.guard.summary()["vector_store_id"] == store
    (created,) = bot.all(VectorStoreCreated)
    assert (created.vector_store_id, created.files, created.replaces) == (store, 2, None)
    check_books(bot, sandbox)


def test_every_store_has_an_expiry(world: World) -> None:
    bot, sandbox = start(world, VectorStoreReuse(expires_after_days=3))
    bot.attach_files(upload(world, bot, "returns"))
    (request,) = [request for request in sandbox.requests if request.endpoint == "POST /vector_stores"]
    assert request.body["expires_after"] == {"anchor": "last_active_at", "days": 3}


def test_the_same_set_is_embedded_once_over_threads_and_guards(world: World) -> None:
    bot, sandbox = start(world)
    files = upload(world, bot, "returns", "shipping")
    store = bot.attach_files(files)
    assert bot.attach_files(files) == store
    assert bot.attach_files([files[1], files[0], files[1]], bot.thread()) == store
    other = world.bot(sandbox, [VectorStoreReuse()])
    assert other.attach_files(files[::-1]) == store
    assert sandbox.billing.vector_stores_created == 1
    assert set(sandbox.billing.files_embedded.values()) == {1}
    (reused,) = other.all(VectorStoreReused)
    assert (reused.vector_store_id, reused.files) == (store, 2)


def test_another_set_gets_another_store(world: World) -> None:
    bot, sandbox = start(world)
    files = upload(world, bot, "returns", "shipping", "prices")
    first = bot.attach_files(files[:2])
    second = bot.attach_files(files[1:], bot.thread())
    assert first != second
    assert sandbox.billing.vector_stores_created == 2


def test_files_attached_later_join_those_that_are_there(world: World) -> None:
    bot, sandbox = start(world)
    files = upload(world, bot, "returns", "shipping")
    bot.attach_files(files[:1])
    both = bot.attach_files(files[1:])
    assert bot.default.state.file_ids == tuple(sorted(files))
    bot.chat("Hello")
    assert stores_searched(sandbox) == [[both]]
    assert bot.attach_files(files[:1]) == both


def test_without_the_policy_nothing_is_looked_for(world: World) -> None:
    bot, sandbox = start(world, ThreadRotation(max_turns=9))
    files = upload(world, bot, "returns")
    first = bot.attach_files(files)
    assert bot.attach_files(files, bot.thread()) != first
    assert sandbox.billing.vector_stores_created == 2
    assert paths(sandbox, "GET /vector_stores") == 0


@pytest.mark.parametrize("stopped", ["failed", "failed while slow"])
def test_a_file_that_failed_is_told_and_its_store_not_used(world: World, stopped: str) -> None:
    seconds = 0.1 if "slow" in stopped else 0.0
    embedding = Embedding(seconds, failing=["shipping.txt"], error_code="unsupported_file")
    bot, sandbox = start(world, embedding=embedding)
    files = upload(world, bot, "returns", "shipping")
    with pytest.raises(VectorStoreFailed, match="1 of the files") as caught:
        bot.attach_files(files)
    assert files[1] in str(caught.value)
    assert "could not be processed" in str(caught.value)
    assert caught.value.thread_id == bot.guard.thread_id
    assert bot.guard.summary()["vector_store_id"] is None
    assert bot.chat("Hello").text
    assert stores_searched(sandbox) == []
    # What can be embedded is attached all the same.
    assert bot.attach_files(files[:1])
    with pytest.raises(VectorStoreFailed):
        bot.attach_files(files, bot.thread())


def test_a_slow_store_is_waited_for(world: World) -> None:
    bot, sandbox = start(world, embedding=Embedding(seconds=2))
    bot.attach_files(upload(world, bot, "returns"))
    (created,) = bot.all(VectorStoreCreated)
    assert created.seconds >= 2
    assert 1 < paths(sandbox, "GET /vector_stores/{id}") < 8


def test_a_store_that_is_not_ready_in_time_is_told_and_used_later(world: World) -> None:
    bot, sandbox = start(world, VectorStoreReuse(timeout=0.2), embedding=Embedding(seconds=300))
    files = upload(world, bot, "returns")
    began = time.perf_counter()
    with pytest.raises(VectorStoreFailed, match=r"not ready after 0\.2 s.*timeout"):
        bot.attach_files(files)
    assert time.perf_counter() - began < 30
    assert bot.chat("Hello").text
    sandbox.advance(600)
    assert bot.attach_files(files)
    assert sandbox.billing.vector_stores_created == 1


def test_a_server_that_is_silent_about_files_is_not_waited_for_longer_than_a_run_may_take(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.silent(at=range(1, 100), endpoint="GET /vector_stores")])
    bot = world.bot(sandbox, [VectorStoreReuse()], run_timeout=0.5)
    with pytest.raises(RunTimedOut, match=r"attaching the files took longer than its run_timeout of 0\.5 s"):
        bot.attach_files(upload(world, bot, "returns"))


def test_a_store_that_expired_is_built_again(world: World) -> None:
    bot, sandbox = start(world, VectorStoreReuse(expires_after_days=2))
    files = upload(world, bot, "returns", "shipping")
    old = bot.attach_files(files)
    bot.chat("Hello")
    sandbox.advance(3 * DAY)
    assert bot.chat("Are you there?").text == "You said: Are you there?"
    new = bot.guard.summary()["vector_store_id"]
    assert new != old
    assert stores_searched(sandbox)[-1] == [new]
    assert [event.replaces for event in bot.all(VectorStoreCreated)] == [None, old]
    assert set(sandbox.billing.files_embedded.values()) == {2}
    check_books(bot, sandbox)
    check_thread(sandbox, bot.default)


def test_an_expired_store_is_not_found_again(world: World) -> None:
    bot, sandbox = start(world, VectorStoreReuse(expires_after_days=2))
    files = upload(world, bot, "returns")
    old = bot.attach_files(files)
    sandbox.advance(3 * DAY)
    assert bot.attach_files(files, bot.thread()) != old


def test_a_store_deleted_under_us_is_built_again(world: World) -> None:
    bot, sandbox = start(world)
    old = bot.attach_files(upload(world, bot, "returns"))
    bot.chat("Hello")
    world.wait(bot.guard.client.vector_stores.delete(old))
    assert bot.chat("Are you there?").text == "You said: Are you there?"
    assert bot.guard.summary()["vector_store_id"] not in {None, old}
    check_books(bot, sandbox)


def test_a_rotation_keeps_the_store_attached(world: World) -> None:
    bot, sandbox = start(world, VectorStoreReuse(), ThreadRotation(max_turns=1))
    store = bot.attach_files(upload(world, bot, "returns"))
    for number in range(3):
        bot.chat(f"Hello {number}")
    assert bot.guard.summary()["rotations"] == 2
    assert stores_searched(sandbox) == [[store]] * 3
    assert sandbox.billing.vector_stores_created == 1


def test_the_assistants_own_file_search_gets_the_store_too(world: World) -> None:
    sandbox = world.sandbox()
    assistant = Assistant(
        model=MODEL, tools=[{"type": "file_search", "vector_store_ids": ["vs_own"], "max_num_results": 3}]
    )
    bot = world.bot(sandbox, [VectorStoreReuse()], assistant=assistant)
    store = bot.attach_files(upload(world, bot, "returns"))
    bot.try_chat("Hello")
    (tool,) = next(request for request in sandbox.requests if request.endpoint == "POST /responses").body["tools"]
    assert tool == {"type": "file_search", "vector_store_ids": ["vs_own", store], "max_num_results": 3}


def test_what_a_search_reads_is_on_the_books(world: World) -> None:
    searching = Answer("Within 30 days.", file_search=[FileSearch("returns", ["Returns within 30 days. " * 40])])
    bot, sandbox = start(world, model=[searching, "Yes."])
    bot.attach_files(upload(world, bot, "returns"))
    reply = bot.chat("How long may I return?")
    assert reply.text == "Within 30 days."
    assert reply.usage.input_tokens > 200
    bot.chat("Sure?")
    check_books(bot, sandbox)


@pytest.mark.parametrize("bad", [[], "file-abc", [""], [None], [7], ()])
def test_what_is_no_list_of_ids_is_refused(world: World, bad: Any) -> None:
    bot, sandbox = start(world)
    with pytest.raises(ConfigurationError, match="attach_files got"):
        bot.attach_files(bad)
    assert not sandbox.requests


def test_a_file_that_is_not_there_is_told(world: World) -> None:
    bot, sandbox = start(world)
    with pytest.raises(RunFailed) as caught:
        bot.attach_files(["file-nowhere"])
    assert isinstance(caught.value, (RequestRejected, RunFailed))
    assert bot.guard.summary()["vector_store_id"] is None
    assert bot.chat("Hello").text
    assert stores_searched(sandbox) == []


def test_two_threads_that_attach_the_same_set_at_once_share_a_store(world: World) -> None:
    bot, sandbox = start(world, embedding=Embedding(seconds=0.1))
    files = upload(world, bot, "returns")
    threads = [bot.thread() for _ in range(4)]
    stores = bot.at_once(*(lambda thread=thread: thread.attach_files(files) for thread in threads))
    assert len(set(stores)) == 1
    assert sandbox.billing.vector_stores_created == 1
