"""Streams and background runs that are interrupted: cancelled, booked, healed, in bounded time, nothing renamed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest
import tenacity

from assistantguard import (
    StreamEvent,
    TransientRetry,
)
from assistantguard.sandbox import Fault
from tests.support.checks import check_holds, check_thread, paths
from tests.support.slow import check_left, first_text, is_text, slow_words, until
from tests.support.waiting import LONG
from tests.support.world import World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
PATIENT = TransientRetry(200, wait=tenacity.wait_fixed(0.05))
"""Waits for what could not be cancelled."""
GET_RESPONSE = "GET /responses/{id}"
EVERY = range(1, 1_000)
MODES = pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


@pytest.fixture
def blocking(warm: None) -> Iterator[World]:
    with World("sync") as world:
        yield world


# Ways for a task to end what it does while it waits for the next event.


async def task_cancel(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    task = asyncio.ensure_future(reading)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled_again_and_again(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    task = asyncio.ensure_future(reading)
    await begun.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def cancelled_in_the_clean_up(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    task = asyncio.ensure_future(reading)
    await begun.wait()
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def wait_for(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    task = asyncio.ensure_future(reading)
    await begun.wait()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(task, 0.1)


async def end_once(begun: asyncio.Event, scope: anyio.CancelScope) -> None:
    """Have a time limit come once the reading has begun."""
    await begun.wait()
    scope.deadline = anyio.current_time()


async def move_on_after(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    scope = anyio.move_on_after(LONG)
    ending = asyncio.ensure_future(end_once(begun, scope))
    with scope:
        await reading
    assert scope.cancelled_caught
    await ending


async def fail_after(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    async def read() -> None:
        with anyio.fail_after(LONG) as scope:
            ending = asyncio.ensure_future(end_once(begun, scope))
            try:
                await reading
            finally:
                ending.cancel()

    with pytest.raises(TimeoutError):
        await read()
    assert begun.is_set()


async def task_group(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    async def read() -> None:
        await reading

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await begun.wait()
        group.cancel_scope.cancel()


async def timeout(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    if sys.version_info >= (3, 11):

        async def read() -> None:
            async with asyncio.timeout(LONG) as limit:

                async def end() -> None:
                    await begun.wait()
                    limit.reschedule(asyncio.get_running_loop().time())

                ending = asyncio.ensure_future(end())
                try:
                    await reading
                finally:
                    ending.cancel()

        with pytest.raises(TimeoutError):
            await read()
    assert begun.is_set()


WAYS = pytest.mark.parametrize(
    "way",
    [
        task_cancel,
        cancelled_again_and_again,
        cancelled_in_the_clean_up,
        wait_for,
        move_on_after,
        fail_after,
        task_group,
        *([timeout] if sys.version_info >= (3, 11) else []),
    ],
)


@WAYS
@MODES
def test_a_stream_that_is_cancelled_while_it_waits_is_settled_and_healed(
    asynchronous: World, way: Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]], *, background: bool
) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [RETRY], background=background)

    async def scenario() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with bot.guard.stream("Slowly") as stream:
                async for event in stream:
                    if is_text(event):
                        begun.set()

        await way(read(), begun)

    asynchronous.wait(scenario())
    check_left(bot, sandbox, background=background)


@WAYS
@MODES
def test_a_body_that_is_cancelled_between_events_is_settled_and_healed(
    asynchronous: World, way: Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]], *, background: bool
) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [RETRY], background=background)

    async def scenario() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with bot.guard.stream("Slowly") as stream:
                await first_text(stream)
                begun.set()
                await asyncio.sleep(30)

        await way(read(), begun)

    asynchronous.wait(scenario())
    check_left(bot, sandbox, background=background)


@WAYS
def test_a_chat_in_the_background_that_is_cancelled_ends_at_the_server(
    asynchronous: World, way: Callable[[Awaitable[Any], asyncio.Event], Awaitable[None]]
) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [RETRY], background=True)

    async def scenario() -> None:
        begun = asyncio.Event()

        async def watch() -> None:
            await until(lambda: paths(sandbox, GET_RESPONSE))
            begun.set()

        watching = asyncio.ensure_future(watch())
        await way(bot.guard.chat("Slowly"), begun)
        await watching

    asynchronous.wait(scenario())
    check_left(bot, sandbox, background=True)


@MODES
def test_a_clean_up_that_hangs_does_not_rename_a_cancellation(asynchronous: World, *, background: bool) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [PATIENT], background=background, cleanup_timeout=0.5)

    async def scenario() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with bot.guard.stream("Slowly") as stream:
                await first_text(stream)
                sandbox.faults = [Fault.silent(at=EVERY, endpoint="*")]
                begun.set()
                await asyncio.sleep(30)

        await task_cancel(read(), begun)

    began = time.perf_counter()
    asynchronous.wait(scenario())
    assert time.perf_counter() - began < 20
    check_holds(bot)
    sandbox.faults = []
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)


@MODES
def test_a_clean_up_that_hangs_does_not_replace_the_callers_own_error(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [PATIENT], background=background, cleanup_timeout=0.5)
    mine = LookupError("mine")

    def leave(event: StreamEvent) -> bool:
        if is_text(event):
            sandbox.faults = [Fault.silent(at=EVERY, endpoint="*")]
            raise mine
        return False

    began = time.perf_counter()
    with pytest.raises(LookupError) as caught:
        bot.stream("Slowly", until=leave)
    assert caught.value is mine
    assert time.perf_counter() - began < 20
    check_holds(bot)
    sandbox.faults = []
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)
