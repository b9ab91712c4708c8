"""What the suite watches in every test is really seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from assistantguard import Policy
from assistantguard.events import Event
from assistantguard.policies import Decision, View
from assistantguard.sandbox import FunctionCall
from tests.support.watches import LoopWatch, check_tasks, threads_left
from tests.support.world import World


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


class Sleepy(Policy):
    """Blocks before every turn."""

    def before_turn(self, view: View) -> Decision | None:
        time.sleep(0.001)
        return None


class Waiting(Policy):
    """Waits for a lock that another thread holds for a moment."""

    def before_turn(self, view: View) -> Decision | None:
        lock = threading.Lock()
        lock.acquire()
        threading.Timer(0.05, lock.release).start()
        lock.acquire(timeout=60)
        return None


class Reading(Policy):
    """Reads a file before every turn."""

    def before_turn(self, view: View) -> Decision | None:
        with open(__file__, encoding="utf-8") as file:  # noqa: PTH123 - pathlib opens another way in each Python
            file.read()
        return None


@pytest.mark.parametrize(
    ("policy", "call"),
    [(Sleepy, "time.sleep"), (Waiting, "lock.acquire"), (Reading, "TextIOWrapper.read")],
)
def test_a_policy_that_blocks_the_loop_is_seen(
    asynchronous: World, loop_watch: LoopWatch, policy: type[Policy], call: str
) -> None:
    bot = asynchronous.bot(asynchronous.sandbox(), [policy()])
    with pytest.raises(Exception, match="Blocking call"):
        bot.chat("Hello")
    (found,) = loop_watch.take()
    assert call in found
    assert "async_guard.py" in found


def test_a_sink_that_blocks_the_loop_is_seen_though_its_failure_is_only_logged(
    asynchronous: World, loop_watch: LoopWatch
) -> None:
    def sink(event: Event) -> None:
        time.sleep(0.001)

    bot = asynchronous.bot(asynchronous.sandbox(), [], sinks=[sink])
    assert bot.chat("Hello").text
    assert len(loop_watch.take()) >= 3


def test_an_async_tool_that_blocks_the_loop_is_seen_though_the_model_is_told_of_a_failure(
    asynchronous: World, loop_watch: LoopWatch
) -> None:
    async def lookup(order: str) -> str:
        """Find an order."""
        time.sleep(0.001)  # noqa: ASYNC251 - what is to be seen
        return "It was sent."

    sandbox = asynchronous.sandbox([FunctionCall("lookup", {"order": "1"}), "Sent."])
    bot = asynchronous.bot(sandbox, [], tools=[lookup])
    assert bot.chat("Where is it?").text == "Sent."
    (found,) = loop_watch.take()
    assert "time.sleep" in found


def test_a_plain_tool_may_block_its_thread(world: World, loop_watch: LoopWatch) -> None:
    def lookup(order: str) -> str:
        """Find an order."""
        time.sleep(0.001)
        return "It was sent."

    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Sent."])
    assert world.bot(sandbox, [], tools=[lookup]).chat("Where is it?").text == "Sent."
    assert not loop_watch.take()


def test_the_blocking_guard_may_block_the_loop_that_it_is_called_on(warm: None, loop_watch: LoopWatch) -> None:
    with World("sync") as world:
        bot = world.bot(world.sandbox(), [Sleepy()])

        async def notebook() -> str:
            return bot.chat("Hello").text

        assert asyncio.run(notebook())
    assert not loop_watch.take()


def test_a_task_that_is_left_is_seen_and_ended() -> None:
    loop = asyncio.new_event_loop()
    left: list[asyncio.Task[Any]] = []

    async def leave() -> None:
        left.append(asyncio.ensure_future(asyncio.sleep(3_600)))
        left.append(asyncio.ensure_future(asyncio.sleep(0)))

    loop.run_until_complete(leave())
    with pytest.raises(AssertionError, match="tasks are left"):
        check_tasks(loop)
    assert [task.cancelled() for task in left] == [True, False]
    check_tasks(loop)
    loop.close()


def test_a_thread_that_is_left_is_seen_unless_it_is_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.watches._ENDING", 1.5)
    before = set(threading.enumerate())
    release = threading.Event()
    stays = threading.Thread(target=release.wait, name="stays")
    goes = threading.Thread(target=time.sleep, args=(0.01,), name="goes")
    background = threading.Thread(target=release.wait, name="background", daemon=True)
    for thread in (stays, goes, background):
        thread.start()
    try:
        assert threads_left(before) == ["stays"]
    finally:
        release.set()
    stays.join()
    assert threads_left(before) == []
