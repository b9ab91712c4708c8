"""Whoever walks away in the middle: the books are settled, the thread is usable, nothing is renamed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest
import tenacity

from assistantguard import (
    Assistant,
    AsyncAssistantGuard,
    CarryOver,
    ThreadRotation,
    TokenCap,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.events import RunCancelled, RunRetried, RunSettled
from assistantguard.sandbox import Embedding, Fault, FunctionCall, ModelRequest, Sandbox, ToolCalls
from tests.support.checks import check_all, check_holds, check_thread
from tests.support.models import Lookups, SlowModel, order_desk
from tests.support.world import Bot, World

RETRY = TransientRetry(100, wait=tenacity.wait_fixed(0.02))


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


@pytest.fixture
def blocking(warm: None) -> Iterator[World]:
    with World("sync") as world:
        yield world


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


def task_cancel(chat: Coroutine[Any, Any, Any], ready: threading.Event) -> Coroutine[Any, Any, None]:
    async def scenario() -> None:
        task = asyncio.ensure_future(chat)
        await until(ready)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    return scenario()


def repeated_cancel(chat: Coroutine[Any, Any, Any], ready: threading.Event) -> Coroutine[Any, Any, None]:
    async def scenario() -> None:
        task = asyncio.ensure_future(chat)
        await until(ready)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()

    return scenario()


def wait_for(chat: Coroutine[Any, Any, Any], ready: threading.Event) -> Coroutine[Any, Any, None]:
    async def scenario() -> None:
        task = asyncio.ensure_future(chat)
        await until(ready)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.1)

    return scenario()


def anyio_scope(chat: Coroutine[Any, Any, Any], ready: threading.Event) -> Coroutine[Any, Any, None]:
    async def scenario() -> None:
        async def cancel_when_ready(scope: anyio.CancelScope) -> None:
            await until(ready)
            scope.cancel()

        scope = anyio.CancelScope()
        canceller = asyncio.ensure_future(cancel_when_ready(scope))
        with scope:
            await chat
        await canceller
        assert scope.cancelled_caught

    return scenario()


WAYS = [task_cancel, repeated_cancel, wait_for, anyio_scope]


def check_abandoned(bot: Bot, sandbox: Sandbox, *, estimated: bool) -> None:
    check_holds(bot)
    (cancelled,) = bot.all(RunCancelled)
    assert cancelled.policy == "caller"
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    summary = bot.guard.summary()
    assert (summary["run_count"], summary["cancelled_runs"]) == (1, 1)
    assert (summary["estimated_tokens"] > 0) == estimated
    assert summary["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens


@pytest.mark.parametrize("way", WAYS)
def test_a_chat_that_is_cancelled_while_the_model_works_is_booked_as_an_estimate(
    asynchronous: World, way: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    slow = SlowModel()
    sandbox = asynchronous.sandbox(slow, model_in_thread=True)
    bot = asynchronous.bot(sandbox, [RETRY, TokenCap(session=1_000_000)])
    with slow.released_after():
        asynchronous.wait(way(bot.guard.chat("Slowly: hello?"), slow.asked))
        check_abandoned(bot, sandbox, estimated=True)
    slow.wait_until_answered(sandbox)
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)
    check_holds(bot)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("plain", [False, True], ids=["async tool", "plain tool"])
def test_a_chat_that_is_cancelled_in_a_tool_leaves_no_call_open(
    asynchronous: World, way: Callable[..., Coroutine[Any, Any, None]], *, plain: bool
) -> None:
    ready, release = threading.Event(), threading.Event()
    runs: list[str] = []

    async def lookup(order: str) -> str:
        """Find an order."""
        runs.append(order)
        ready.set()
        await asyncio.sleep(60)
        return order

    def plain_lookup(order: str) -> str:
        """Find an order."""
        runs.append(order)
        ready.set()
        release.wait(60)
        return order

    name = "plain_lookup" if plain else "lookup"
    sandbox = asynchronous.sandbox([FunctionCall(name, {"order": "1"}), "Here I am."])
    bot = asynchronous.bot(sandbox, [RETRY], tools=[plain_lookup if plain else lookup])
    try:
        asynchronous.wait(way(bot.guard.chat("Where is it?"), ready))
        check_abandoned(bot, sandbox, estimated=False)
        check_thread(sandbox, bot.default)
        assert bot.chat("Are you there?").text == "Here I am."
    finally:
        release.set()
    assert runs == ["1"]
    check_all(bot, sandbox)


def test_an_event_loop_that_ends_settles_the_books(asynchronous: World) -> None:
    # asyncio.run cancels what still runs when its main task ends.
    slow = SlowModel()
    sandbox = asynchronous.sandbox(slow, model_in_thread=True)
    bots: list[AsyncAssistantGuard] = []

    async def main() -> None:

        async with sandbox.async_client() as client:
            bot = AsyncAssistantGuard(client, Assistant(model="gpt-6-luna"), [], sinks=[])
            bots.append(bot)
            task = asyncio.ensure_future(bot.chat("Slowly: hello?"))
            await until(slow.asked)
            assert not task.done()

    with slow.released_after():
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())
        (bot,) = bots
        assert not bot._core.ledger.open_holds()
        assert bot.summary()["estimated_tokens"] > 0


class Interrupt(BaseException):
    """Stands for what is raised into a program from outside."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Interrupt])
@pytest.mark.parametrize("parallel", [False, True], ids=["one call", "one of two calls"])
def test_what_ends_a_program_passes_through_a_tool_unchanged(
    blocking: World, error: type[BaseException], *, parallel: bool
) -> None:
    lookups = Lookups()

    def leave(order: str) -> str:
        """End the program."""
        raise error

    first = FunctionCall("leave", {"order": "1"})
    script = [ToolCalls(first, FunctionCall("lookup", {"order": "2"})) if parallel else first, "Here I am."]
    sandbox = blocking.sandbox(script)
    bot = blocking.bot(sandbox, [], tools=[leave, lookups.lookup])
    with pytest.raises(error):
        bot.chat("Where is it?")
    check_abandoned(bot, sandbox, estimated=False)
    check_thread(sandbox, bot.default)
    assert bot.chat("Are you there?").text == "Here I am."
    assert set(lookups.counts.values()) <= {1}
    check_all(bot, sandbox)


def test_ctrl_c_while_the_model_works_is_booked_as_an_estimate(blocking: World) -> None:
    slow = SlowModel()
    sandbox = blocking.sandbox(slow, model_in_thread=True)
    bot = blocking.bot(sandbox, [RETRY])
    main = threading.get_ident()

    def press() -> None:
        slow.asked.wait(60)
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    with slow.released_after():
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            bot.chat("Slowly: hello?")
        presser.join()
        check_abandoned(bot, sandbox, estimated=True)
    slow.wait_until_answered(sandbox)
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)


def test_a_blocking_guard_works_inside_a_running_event_loop(blocking: World) -> None:
    lookups = Lookups()
    sandbox = blocking.sandbox([FunctionCall("lookup", {"order": "1"}), "Sent."])
    bot = blocking.bot(sandbox, tools=[lookups.lookup])

    async def notebook() -> str:
        return bot.chat("Where is it?").text

    assert asyncio.run(notebook()) == "Sent."
    check_all(bot, sandbox)


def test_a_waiting_chat_that_is_cancelled_leaves_the_queue(asynchronous: World) -> None:
    slow = SlowModel()
    sandbox = asynchronous.sandbox(slow, model_in_thread=True)
    bot = asynchronous.bot(sandbox, [RETRY])

    async def scenario() -> Any:
        first = asyncio.ensure_future(bot.guard.chat("Slowly: one"))
        await until(slow.asked)
        second = asyncio.ensure_future(bot.guard.chat("two"))
        third = asyncio.ensure_future(bot.guard.chat("three"))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.sleep(0.01)
        slow.release.set()
        return await asyncio.gather(first, second, third, return_exceptions=True)

    with slow.released_after():
        one, two, three = asynchronous.wait(scenario())
    assert (one.text, three.text) == ("Done: Slowly: one", "Done: three")
    assert isinstance(two, asyncio.CancelledError)
    assert "two" not in str(sandbox.conversation(bot.default.state.generation_id or ""))
    check_all(bot, sandbox)


def test_a_chat_that_is_cancelled_while_it_backs_off_costs_nothing_more(asynchronous: World) -> None:
    sandbox = asynchronous.sandbox(["Here I am."], faults=[Fault.rate_limit(retry_after=60, at=1)])
    bot = asynchronous.bot(sandbox, [RETRY])

    async def scenario() -> None:
        task = asyncio.ensure_future(bot.guard.chat("Hello?"))
        while not bot.all(RunRetried):  # noqa: ASYNC110 - an event of the guard is no event of asyncio
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asynchronous.wait(scenario())
    check_abandoned(bot, sandbox, estimated=False)
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)


def test_ctrl_c_while_it_backs_off_costs_nothing_more(blocking: World) -> None:
    sandbox = blocking.sandbox(["Here I am."], faults=[Fault.rate_limit(retry_after=60, at=1)])
    bot = blocking.bot(sandbox, [RETRY])
    main = threading.get_ident()

    def press() -> None:
        while not bot.all(RunRetried):
            time.sleep(0.005)
        time.sleep(0.05)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        bot.chat("Hello?")
    presser.join()
    check_abandoned(bot, sandbox, estimated=False)
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)


@pytest.mark.parametrize("way", WAYS)
def test_a_rotation_that_is_cancelled_at_its_summary_leaves_the_old_conversation(
    asynchronous: World, way: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    slow = SlowModel()

    def model(request: ModelRequest) -> str | FunctionCall:
        if request.conversation is None:
            slow.asked.set()
            slow.release.wait(slow.longest)
            return "SUMMARY"
        return order_desk(request)

    sandbox = asynchronous.sandbox(model, model_in_thread=True)
    rotation = ThreadRotation(max_turns=1, carry_over=CarryOver(summary_model="gpt-5-nano"))
    bot = asynchronous.bot(sandbox, [RETRY, rotation])
    bot.chat("Hello")
    old = bot.default.state.generation_id
    with slow.released_after():
        asynchronous.wait(way(bot.guard.chat("Are you there?"), slow.asked))
        check_holds(bot)
    assert sandbox.conversations == [old]
    assert bot.guard.summary()["estimated_tokens"] > 0
    assert bot.guard.summary()["cancelled_runs"] == 1
    slow.wait_until_answered(sandbox, 2)
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    assert bot.guard.summary()["rotations"] == 1
    assert sandbox.conversations == [bot.default.state.generation_id]
    assert bot.guard.summary()["session_tokens_used"]["total"] >= sandbox.billing.totals.total_tokens
    check_thread(sandbox, bot.default)


@pytest.mark.parametrize("way", [task_cancel, anyio_scope])
def test_an_attachment_that_is_cancelled_is_found_again(
    asynchronous: World, way: Callable[..., Coroutine[Any, Any, None]]
) -> None:
    sandbox = asynchronous.sandbox(embedding=Embedding(seconds=60))
    bot = asynchronous.bot(sandbox, [VectorStoreReuse()])
    file = asynchronous.wait(bot.guard.client.files.create(file=("a.txt", b"a"), purpose="assistants"))
    polled = Polled(sandbox)
    asynchronous.wait(way(bot.guard.attach_files([file.id]), polled))
    assert bot.guard.summary()["vector_store_id"] is None
    sandbox.advance(60)
    assert bot.attach_files([file.id])
    assert sandbox.billing.vector_stores_created == 1


class Polled(threading.Event):
    """Set once the sandbox was asked how far a vector store is."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox

    def is_set(self) -> bool:
        return any(request.endpoint == "GET /vector_stores/{id}" for request in self._sandbox.requests)

    def wait(self, timeout: float | None = None) -> bool:
        until = time.monotonic() + (timeout or 60)
        while not self.is_set() and time.monotonic() < until:
            time.sleep(0.005)
        return self.is_set()
