"""Streams and background runs that are interrupted: cancelled, booked, healed, in bounded time, nothing renamed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest
import tenacity
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from assistantguard import (
    Assistant,
    AssistantGuardError,
    AsyncAssistantGuard,
    Reply,
    RunTimedOut,
    StreamEvent,
    TextDelta,
    ToolCallRequested,
    TransientRetry,
)
from assistantguard.events import Event, RequestSettled, RunCancelled, RunSettled, RunStarted
from assistantguard.sandbox import Answer, Fault, FunctionCall, ModelRequest, Sandbox
from tests.support.checks import check_all, check_holds, check_thread, paths, user_texts
from tests.support.dripping import Drip, DrippingServer
from tests.support.models import Lookups
from tests.support.world import Bot, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
PATIENT = TransientRetry(200, wait=tenacity.wait_fixed(0.05))
"""Waits for what could not be cancelled."""
CANCEL = "POST /responses/{id}/cancel"
GET_RESPONSE = "GET /responses/{id}"
ITEMS = "GET /conversations/{id}/items"
EVERY = range(1, 1_000)
WORDS = "one two three four five six seven eight nine ten"
MODES = pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
WAYS_TO_ASK = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


def slow_words(request: ModelRequest) -> Answer | str:
    if request.last_user_text.startswith("Slowly"):
        return Answer(text=WORDS, delay=0.05, pace=0.3)
    return f"Done: {request.last_user_text}"


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


@pytest.fixture
def blocking(warm: None) -> Iterator[World]:
    with World("sync") as world:
        yield world


def is_text(event: StreamEvent) -> bool:
    return isinstance(event, TextDelta)


def check_left(bot: Bot, sandbox: Sandbox, *, background: bool, nameless: int = 0) -> None:
    """One run was interrupted: it is booked, it was cancelled at the server, and the next message is answered."""
    check_holds(bot)
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    assert [event.policy for event in bot.all(RunCancelled)] == ["caller"]
    assert len(bot.all(RunStarted)) == 1
    if background:
        assert paths(sandbox, CANCEL) == 1
        assert [call.status for call in sandbox.billing.calls] == ["cancelled"]
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox, nameless=nameless)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["Are you there?"]


async def until(ready: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not ready():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


async def first_text(stream: Any) -> None:
    async for event in stream:
        if is_text(event):
            return


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
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(reading, 0.4)
    assert begun.is_set()


async def move_on_after(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    with anyio.move_on_after(0.4) as scope:
        await reading
    assert scope.cancelled_caught
    assert begun.is_set()


async def fail_after(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0.4):
        await reading
    assert begun.is_set()


async def task_group(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    async def read() -> None:
        await reading

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await begun.wait()
        group.cancel_scope.cancel()


async def timeout(reading: Awaitable[Any], begun: asyncio.Event) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is new in Python 3.11")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await reading
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
        timeout,
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
    assert time.perf_counter() - began < 5
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
    assert time.perf_counter() - began < 5
    check_holds(bot)
    sandbox.faults = []
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)


SILENCES: dict[str, tuple[list[str], bool]] = {
    # Where nothing is answered, and whether the first request of all is among it.
    "everything": (["*"], True),
    "the request": (["POST /responses"], True),
    "looking and cancelling": ([GET_RESPONSE, CANCEL], False),
    "cancelling": ([CANCEL], False),
    "reading the conversation": (["POST /responses", ITEMS], True),
}


@pytest.mark.parametrize("silence", SILENCES)
@MODES
@WAYS_TO_ASK
def test_a_server_that_goes_silent_costs_no_more_than_the_deadline_and_the_clean_up(
    world: World, silence: str, *, background: bool, streamed: bool
) -> None:
    endpoints, at_once = SILENCES[silence]
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [PATIENT], background=background, cleanup_timeout=0.8)
    bot.chat("Hello")
    sandbox.faults = [Fault.silent(at=EVERY, endpoint=endpoint) for endpoint in endpoints]
    began = time.perf_counter()
    outcome = bot.try_chat("Slowly", streamed=streamed, deadline=0.5)
    assert time.perf_counter() - began < 0.5 + 0.8 + 1.5
    assert isinstance(outcome, RunTimedOut)
    check_holds(bot)
    assert (silence == "everything" and at_once) or paths(sandbox, "POST /responses") == 2
    sandbox.faults = []
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_thread(sandbox, bot.default)
    booked = bot.guard.summary()["session_tokens_used"]["total"]
    assert booked >= sandbox.billing.totals.total_tokens


@MODES
def test_a_stream_of_comments_without_end_stops_at_the_deadline(world: World, *, background: bool) -> None:
    sandbox = world.sandbox(slow_words, faults=[Fault.endless("comments", at=1)])
    bot = world.bot(sandbox, [RETRY], background=background, cleanup_timeout=2)
    began = time.perf_counter()
    outcome = bot.try_chat("Hello", streamed=True, deadline=0.5)
    assert time.perf_counter() - began < 4
    assert isinstance(outcome, RunTimedOut)
    assert paths(sandbox, CANCEL) == int(background)
    assert bot.chat("Are you there?").text == "Done: Are you there?"
    check_all(bot, sandbox)


@pytest.mark.parametrize("also_reads", [False, True], ids=["the request", "the clean-up, too"])
@pytest.mark.parametrize("drip", ["headers", "body", "comments", "silent body"])
@WAYS_TO_ASK
def test_a_server_that_drips_costs_no_more_than_the_deadline_and_the_clean_up(
    world: World, drip: Drip, *, also_reads: bool, streamed: bool
) -> None:
    with DrippingServer(drip, also_reads=also_reads) as server:
        kind: Any = openai.AsyncOpenAI if world.is_async else openai.OpenAI
        client = kind(base_url=server.base_url, api_key="sk-test")
        nowhere: Any = None
        bot = world.bot(nowhere, [RETRY], client=client, cleanup_timeout=0.5)
        began = time.perf_counter()
        outcome = bot.try_chat("Hello", streamed=streamed, deadline=0.5)
        assert time.perf_counter() - began < 3
        world.wait(client.close())
    assert isinstance(outcome, RunTimedOut)
    assert not bot.ledger.open_holds()


@WAYS_TO_ASK
def test_the_shorter_of_deadline_and_run_timeout_ends_a_turn_and_is_named(world: World, *, streamed: bool) -> None:
    for run_timeout, deadline, named in (
        (0.3, 60.0, "run_timeout"),
        (60.0, 0.3, "deadline"),
        (0.3, None, "run_timeout"),
    ):
        sandbox = world.sandbox(slow_words)
        bot = world.bot(sandbox, [RETRY], run_timeout=run_timeout)
        outcome = bot.try_chat("Slowly", streamed=streamed, deadline=deadline)
        assert isinstance(outcome, RunTimedOut)
        assert outcome.policy == named
        assert named in str(outcome)
        assert "0.8 s" in str(outcome)
        (cancelled,) = bot.all(RunCancelled)
        assert cancelled.policy == named
        assert bot.chat("Are you there?", streamed=streamed).text == "Done: Are you there?"
        check_all(bot, sandbox, nameless=int(not streamed))


@WAYS_TO_ASK
def test_a_deadline_covers_tools_and_the_waits_between_attempts(world: World, *, streamed: bool) -> None:
    release = threading.Event()

    def wait_long(order: str) -> str:
        """Find an order."""
        release.wait(10)
        return order

    sandbox = world.sandbox([FunctionCall("wait_long", {"order": "1"}), "Never said.", "Here I am."])
    bot = world.bot(sandbox, [RETRY], tools=[wait_long])
    began = time.perf_counter()
    try:
        outcome = bot.try_chat("Where is it?", streamed=streamed, deadline=0.3)
    finally:
        release.set()
    assert time.perf_counter() - began < 4
    assert isinstance(outcome, RunTimedOut)
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)
    sandbox = world.sandbox(slow_words, faults=[Fault.rate_limit(at=EVERY)])
    bot = world.bot(sandbox, [TransientRetry(500, wait=tenacity.wait_fixed(0.05))])
    began = time.perf_counter()
    outcome = bot.try_chat("Hello", streamed=streamed, deadline=0.3)
    assert time.perf_counter() - began < 4
    assert isinstance(outcome, AssistantGuardError)
    assert paths(sandbox, "POST /responses") > 1


def test_a_turn_waits_for_its_thread_no_longer_than_its_deadline(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY])
    bot.chat("Hello")

    def waiting(**how: Any) -> Callable[[], Any]:
        if world.is_async:

            async def later() -> Any:
                await asyncio.sleep(0.1)
                return await asking(**how)

            return later

        def later_in_a_thread() -> Any:
            time.sleep(0.1)
            return asking(**how)

        return later_in_a_thread

    def asking(*, streamed: bool) -> Any:
        if streamed:
            return bot.guard.stream("Are you there?", deadline=0.2).until_done()
        return bot.guard.chat("Are you there?", deadline=0.2)

    outcomes = bot.at_once(lambda: bot.guard.chat("Slowly"), waiting(streamed=False), waiting(streamed=True))
    assert isinstance(outcomes[0], Reply)
    for outcome in outcomes[1:]:
        assert isinstance(outcome, RunTimedOut)
        assert outcome.policy == "deadline"
        assert outcome.thread_id == bot.default.id
        assert "nothing was sent" in str(outcome)
    assert bot.chat("And now?").text == "Done: And now?"
    check_all(bot, sandbox)
    assert len(bot.all(RunStarted)) == 3


def test_asking_for_late_usage_does_not_use_a_turns_time_up(world: World) -> None:
    sandbox = world.sandbox(slow_words)
    bot = world.bot(sandbox, [RETRY], cleanup_timeout=1)
    for number in range(4):
        sandbox.faults = [Fault.no_usage(at=1), Fault.server_error(at=EVERY, endpoint=GET_RESPONSE)]
        bot.chat(f"Hello {number}")
    sandbox.faults = [Fault.silent(at=EVERY, endpoint=GET_RESPONSE)]
    began = time.perf_counter()
    assert bot.chat("Are you there?", deadline=3).text == "Done: Are you there?"
    assert time.perf_counter() - began < 3


# Ctrl-C.


class Interrupt:
    """Presses Ctrl-C in the main thread when told to."""

    def __init__(self, ready: Callable[[], object], wait: float = 0.05) -> None:
        self._ready = ready
        self._wait = wait
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._press)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _press(self) -> None:
        until = time.monotonic() + 10
        while not self._ready() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(self._wait)
        signal.pthread_kill(self._main, signal.SIGINT)


@MODES
@WAYS_TO_ASK
def test_ctrl_c_ends_a_run_and_leaves_books_and_thread_whole(
    blocking: World, *, background: bool, streamed: bool
) -> None:
    sandbox = blocking.sandbox(slow_words)
    bot = blocking.bot(sandbox, [RETRY], background=background)

    def at_work() -> bool:
        return bool(paths(sandbox, GET_RESPONSE if background and not streamed else "POST /responses"))

    with Interrupt(at_work, 0.15), pytest.raises(KeyboardInterrupt):
        bot.chat("Slowly", streamed=streamed)
    check_left(bot, sandbox, background=background, nameless=int(not background and not streamed))


def test_ctrl_c_in_the_body_of_a_stream(blocking: World) -> None:
    sandbox = blocking.sandbox(slow_words)
    bot = blocking.bot(sandbox, [RETRY])

    def press(event: StreamEvent) -> bool:
        if is_text(event):
            signal.raise_signal(signal.SIGINT)
        return False

    with pytest.raises(KeyboardInterrupt):
        bot.stream("Slowly", until=press)
    check_left(bot, sandbox, background=False)


def test_a_second_ctrl_c_ends_the_clean_up_and_the_next_turn_makes_it_good(blocking: World) -> None:
    sandbox = blocking.sandbox(slow_words)
    bot = blocking.bot(sandbox, [RETRY], background=True, cleanup_timeout=10)
    sandbox.inject(Fault.silent(at=1, endpoint=CANCEL))
    began = time.perf_counter()
    with (
        Interrupt(lambda: paths(sandbox, GET_RESPONSE)),
        Interrupt(lambda: paths(sandbox, CANCEL), 0.2),
        pytest.raises(KeyboardInterrupt),
    ):
        bot.chat("Slowly")
    assert time.perf_counter() - began < 8
    check_holds(bot)
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    sandbox.faults = []
    other = blocking.bot(sandbox, [PATIENT])
    thread = other.thread(conversation_id=bot.default.state.generation_id)
    assert other.chat("Are you there?", thread).text == "Done: Are you there?"
    check_thread(sandbox, thread)


@MODES
@WAYS_TO_ASK
@pytest.mark.parametrize("number", range(1, 12))
def test_an_interrupt_out_of_a_sink_leaves_books_and_thread_whole(
    world: World, number: int, *, background: bool, streamed: bool
) -> None:
    seen: list[Event] = []

    def sink(event: Event) -> None:
        seen.append(event)
        if len(seen) == number:
            raise KeyboardInterrupt

    script = [FunctionCall("lookup", {"order": "1"}), "One.", "Two.", "Three."]
    sandbox = world.sandbox(script, faults=[Fault.rate_limit(at=2)])
    bot = world.bot(sandbox, [RETRY], tools=[Lookups().lookup], background=background, sinks=[sink])
    bot.events = seen
    with contextlib.suppress(KeyboardInterrupt):
        bot.chat("Where is it?", streamed=streamed)
        assert len(seen) < number
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)
    exchanges: Any = bot.guard._engine._exchanges
    assert not exchanges._open


# Streams that nobody ends.


@MODES
def test_a_blocking_stream_that_is_dropped_is_ended_by_the_collector(blocking: World, *, background: bool) -> None:
    sandbox = blocking.sandbox(slow_words)
    bot = blocking.bot(sandbox, [RETRY], background=background)

    def begin() -> None:
        stream = bot.guard.stream("Slowly")
        for event in stream:
            if is_text(event):
                return

    worker = threading.Thread(target=begin)
    worker.start()
    worker.join()
    gc.collect()
    check_left(bot, sandbox, background=background)


@MODES
@pytest.mark.parametrize("deltas", [False, True], ids=["events", "text_deltas"])
def test_an_asyncio_stream_that_is_dropped_is_ended_by_the_loop(
    asynchronous: World, *, background: bool, deltas: bool
) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [RETRY], background=background)

    async def begin() -> None:
        stream = bot.guard.stream("Slowly")
        if not deltas:
            await first_text(stream)
            return
        async for _ in stream.text_deltas():
            return

    async def scenario() -> None:
        await begin()
        gc.collect()
        await until(lambda: bot.all(RunSettled))

    asynchronous.wait(scenario())
    check_left(bot, sandbox, background=background)


def test_a_stream_that_is_dropped_at_a_tool_leaves_no_call_open(asynchronous: World) -> None:
    sandbox = asynchronous.sandbox([FunctionCall("lookup", {"order": "1"}), "Here I am."])
    bot = asynchronous.bot(sandbox, [RETRY], tools=[Lookups().lookup])

    async def begin() -> None:
        async for event in bot.guard.stream("Where is it?"):
            if isinstance(event, ToolCallRequested):
                return

    async def scenario() -> None:
        await begin()
        gc.collect()
        assert (await bot.guard.chat("Are you there?")).text == "Here I am."

    asynchronous.wait(scenario())
    check_all(bot, sandbox)


def test_a_loop_that_ends_settles_its_streams(warm: None) -> None:
    with World("sync") as world:
        sandbox = world.sandbox(slow_words)
        events: list[Event] = []

        async def main() -> None:
            async with sandbox.async_client() as client:
                assistant = Assistant(model="gpt-6-luna", instructions="Be brief.")
                bot = AsyncAssistantGuard(client, assistant, [RETRY], sinks=[events.append])
                stream = bot.stream("Slowly")
                await first_text(stream)
                task = asyncio.ensure_future(stream.until_done())
                await asyncio.sleep(0.05)
                assert not task.done()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())
        (settled,) = [event for event in events if isinstance(event, RequestSettled)]
        assert settled.usage.estimated_tokens > 0
        assert [event.status for event in events if isinstance(event, RunSettled)] == ["cancelled"]


# A web application whose visitor leaves.


@contextlib.asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@MODES
def test_a_visitor_who_leaves_ends_the_run(asynchronous: World, *, background: bool) -> None:
    sandbox = asynchronous.sandbox(slow_words)
    bot = asynchronous.bot(sandbox, [RETRY], background=background)

    async def answer(request: Request) -> StreamingResponse:
        async def texts() -> AsyncIterator[str]:
            async with bot.guard.stream(request.query_params["message"]) as stream:
                async for text in stream.text_deltas():
                    yield text

        return StreamingResponse(texts(), media_type="text/plain")

    async def scenario() -> None:
        async with served(Starlette(routes=[Route("/", answer)])) as url:
            async with (
                httpx.AsyncClient(trust_env=False) as visitor,
                visitor.stream("GET", url, params={"message": "Slowly"}) as response,
            ):
                async for _ in response.aiter_text():
                    break
            await until(lambda: bot.all(RunSettled))
            check_holds(bot)
            assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
            async with httpx.AsyncClient(trust_env=False) as visitor:
                answered = await visitor.get(url, params={"message": "Are you there?"})
                assert answered.text == "Done: Are you there?"

    asynchronous.wait(scenario())
    assert paths(sandbox, CANCEL) == int(background)
    check_all(bot, sandbox)
    kept = user_texts(sandbox.conversation(bot.default.state.generation_id or ""))
    assert kept == ["Are you there?"]
