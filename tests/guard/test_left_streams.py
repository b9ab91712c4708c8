"""Streams that nobody ends, interrupts, and visitors who leave: cancelled, booked and healed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import tenacity
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from assistantguard import (
    Assistant,
    AsyncAssistantGuard,
    StreamEvent,
    ToolCallRequested,
    TransientRetry,
)
from assistantguard.events import Event, RequestSettled, RunSettled
from assistantguard.sandbox import Fault, FunctionCall
from tests.support.checks import check_all, check_holds, check_thread, paths, user_texts
from tests.support.models import Lookups
from tests.support.slow import check_left, first_text, is_text, slow_words, until
from tests.support.world import World

RETRY = TransientRetry(3, wait=tenacity.wait_none())


PATIENT = TransientRetry(200, wait=tenacity.wait_fixed(0.05))
"""Waits for what could not be cancelled."""


CANCEL = "POST /responses/{id}/cancel"


GET_RESPONSE = "GET /responses/{id}"


MODES = pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])


WAYS_TO_ASK = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


@pytest.fixture
def blocking(warm: None) -> Iterator[World]:
    with World("sync") as world:
        yield world


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
        until = time.monotonic() + 60
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

    with Interrupt(at_work, 1.0), pytest.raises(KeyboardInterrupt):
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
    bot = blocking.bot(sandbox, [RETRY], background=True, cleanup_timeout=30)
    sandbox.inject(Fault.silent(at=1, endpoint=CANCEL))
    began = time.perf_counter()
    with (
        Interrupt(lambda: paths(sandbox, GET_RESPONSE)),
        Interrupt(lambda: paths(sandbox, CANCEL), 0.2),
        pytest.raises(KeyboardInterrupt),
    ):
        bot.chat("Slowly")
    assert time.perf_counter() - began < 28
    check_holds(bot)
    assert [event.status for event in bot.all(RunSettled)] == ["cancelled"]
    sandbox.faults = []
    other = blocking.bot(sandbox, [PATIENT])
    thread = other.thread(conversation_id=bot.default.state.generation_id)
    assert other.chat("Are you there?", thread).text == "Done: Are you there?"
    check_thread(sandbox, thread)


@MODES
@WAYS_TO_ASK
@pytest.mark.parametrize("number", range(1, 10))
def test_an_interrupt_out_of_a_sink_leaves_books_and_thread_whole(
    world: World, number: int, *, background: bool, streamed: bool
) -> None:
    seen: list[Event] = []

    armed = [True]

    def sink(event: Event) -> None:
        seen.append(event)
        if armed and len(seen) == number:
            raise KeyboardInterrupt

    script = [FunctionCall("lookup", {"order": "1"}), "One.", "Two.", "Three."]
    sandbox = world.sandbox(script, faults=[Fault.rate_limit(at=2)])
    bot = world.bot(sandbox, [RETRY], tools=[Lookups().lookup], background=background, sinks=[sink])
    bot.events = seen
    # The ninth event says that the run has ended; the interrupt comes out all the same.
    with pytest.raises(KeyboardInterrupt):
        bot.chat("Where is it?", streamed=streamed)
    armed.clear()
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
