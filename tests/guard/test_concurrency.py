"""One thread takes turns in order; different threads, and different guards, run side by side."""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import tenacity
from blockbuster import BlockBuster

from assistantguard import Reply, ThreadRotation, TokenCap, ToolStepCeiling, TransientRetry, tool
from assistantguard._threads import FairLock
from assistantguard.sandbox import Answer, Fault, ModelRequest
from tests.support.checks import check_all, check_books, check_holds, user_texts
from tests.support.models import Lookups, order_desk
from tests.support.world import World


def test_chats_on_one_thread_take_turns(world: World) -> None:
    sandbox = world.sandbox(lambda request: Answer(f"Done: {request.last_user_text}", delay=0.01))
    bot = world.bot(sandbox, [])
    replies = bot.at_once(*(lambda number=number: bot.guard.chat(f"Hello {number}") for number in range(6)))
    assert [reply.text for reply in replies] == [f"Done: Hello {number}" for number in range(6)]
    items = sandbox.conversation(bot.default.state.generation_id or "")
    assert [item["role"] for item in items] == ["user", "assistant"] * 6
    # No request found the conversation locked.
    assert {request.status for request in sandbox.requests} == {200}
    if world.is_async:
        assert user_texts(items) == [f"Hello {number}" for number in range(6)]
    check_all(bot, sandbox)


def test_waiting_threads_get_their_turn_in_the_order_they_came() -> None:
    lock = FairLock()
    order: list[int] = []

    def take(number: int) -> None:
        with lock:
            order.append(number)

    waiting: list[threading.Thread] = []
    with lock:
        for number in range(8):
            waiting.append(threading.Thread(target=take, args=(number,)))
            waiting[-1].start()
            while len(lock._waiters) <= number:
                time.sleep(0.001)
    for thread in waiting:
        thread.join(60)
    assert order == list(range(8))


def test_different_threads_run_side_by_side(world: World) -> None:
    meeting = Meeting(4)
    sandbox = world.sandbox(meeting)
    bot = world.bot(sandbox, [])
    threads = [bot.thread() for _ in range(4)]
    replies = bot.at_once(*(lambda thread=thread: thread.chat("Hello") for thread in threads))
    assert [reply.text for reply in replies] == ["All are here."] * 4
    check_all(bot, sandbox, *threads)


class Meeting:
    """A model that answers only when so many requests are there at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._there = 0

    async def __call__(self, request: ModelRequest) -> str:
        self._there += 1
        for _ in range(12_000):
            if self._there >= self._size:
                return "All are here."
            await asyncio.sleep(0.005)
        return "Nobody came."


@pytest.mark.parametrize("faulty", [False, True], ids=["fair weather", "with faults"])
def test_a_crowd_on_shared_threads_keeps_the_books(world: World, *, faulty: bool) -> None:
    faults = [
        Fault.rate_limit(rate=0.2, retry_after=0.005, seed=1),
        Fault.failed_response(rate=0.1, appended=True, seed=2),
    ]
    lookups = Lookups()
    sandbox = world.sandbox(order_desk, faults=faults if faulty else ())
    retry = TransientRetry(9, wait=tenacity.wait_none())
    policies = [ThreadRotation(max_turns=2), ToolStepCeiling(3), TokenCap(session=200_000), retry]
    bot = world.bot(sandbox, policies, tools=[lookups.lookup])
    threads = [bot.thread() for _ in range(3)]
    outcomes = bot.at_once(
        *(
            lambda thread=threads[number % 3], number=number: thread.chat(f"Where is order {number}?")
            for number in range(12)
        )
    )
    for number, outcome in enumerate(outcomes):
        assert isinstance(outcome, Reply)
        assert outcome.text == f"Done: Where is order {number}?"
    assert set(lookups.counts.values()) == {1}
    check_all(bot, sandbox, *threads)


def test_the_default_thread_is_made_once() -> None:
    with World("sync") as world:
        bot = world.bot(world.sandbox(), [])
        meeting = threading.Barrier(8)

        def name() -> str:
            meeting.wait()
            return str(bot.guard.thread_id)

        assert len(set(bot.at_once(*[name] * 8))) == 1


def test_guards_may_share_a_ledger_and_keep_their_sessions_apart(world: World) -> None:
    sandbox = world.sandbox()
    first = world.bot(sandbox, [TokenCap(session=300)])
    second = world.bot(sandbox, [TokenCap(session=300)], ledger=first.ledger)
    assert isinstance(first.try_chat("Hello"), Reply)
    assert isinstance(second.try_chat("Hello"), Reply)
    assert first.session_account != second.session_account
    used = first.ledger.balance(first.session_account, "tokens").committed
    assert used == first.guard.summary()["session_tokens_used"]["total"]
    check_holds(first)
    check_holds(second)


@pytest.fixture
def no_blocking() -> Iterator[None]:
    """A blocking call of ours on an event loop raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # its older versions leave a directory open
        blockbuster = BlockBuster("assistantguard")
    blockbuster.activate()
    try:
        yield
    finally:
        blockbuster.deactivate()


def test_the_event_loop_is_never_blocked(no_blocking: None, tmp_path: Any, warm: None) -> None:
    with World("async") as world:
        lookups = Lookups()
        sandbox = world.sandbox(order_desk, faults=[Fault.rate_limit(at=2, retry_after=0.01)])
        policies = [ThreadRotation(max_turns=1), ToolStepCeiling(3), TokenCap(session=50_000, counting="always")]
        bot = world.bot(sandbox, None, tools=[lookups.lookup], events=tmp_path / "events.jsonl")
        rotating = world.bot(sandbox, policies, tools=[lookups.lookup], events=tmp_path / "more.jsonl")
        for number in range(3):
            assert bot.chat(f"Where is order {number}?").text
            assert rotating.chat(f"Where is order 1{number}?").text
        assert rotating.guard.summary()["rotations"] == 2
        check_holds(bot)
        check_holds(rotating)


def test_a_guard_may_be_used_from_many_event_loops_one_after_the_other() -> None:
    # Scripts call asyncio.run several times; each makes a client of its own but may share the assistant and ledger.
    with World("async") as world:
        sandbox = world.sandbox()
        first = world.bot(sandbox, [])
        first.chat("Hello")
        with World("async") as other:
            second = other.bot(sandbox, [], ledger=first.ledger)
            thread = second.thread(conversation_id=first.default.state.generation_id)
            assert second.chat("Hello again", thread).text == "You said: Hello again"
    assert len(first.ledger.entries()) == 2


def test_a_tool_may_ask_another_guard(world: World) -> None:
    inner_sandbox = world.sandbox(lambda request: "It was sent.")
    inner = world.bot(inner_sandbox, [])

    async def asking(order: str) -> str:
        """Ask the order desk."""
        return str(await inner.guard.chat(f"Where is order {order}?"))

    def asking_at_once(order: str) -> str:
        """Ask the order desk."""
        return str(inner.guard.chat(f"Where is order {order}?"))

    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [], tools=[tool(name="lookup")(asking if world.is_async else asking_at_once)])
    assert bot.chat("Where is order 1?").text == "Done: Where is order 1?"
    assert "It was sent." in str(sandbox.conversation(bot.default.state.generation_id or ""))
    check_books(bot, sandbox)
    check_books(inner, inner_sandbox)
