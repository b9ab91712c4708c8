"""One adapter that drives `AssistantGuard` and `AsyncAssistantGuard` through the same scenario."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

import openai
from typing_extensions import Self

from assistantguard import (
    Assistant,
    AssistantGuard,
    AssistantGuardError,
    AsyncAssistantGuard,
    AsyncGuardedThread,
    AsyncRunStream,
    GuardedThread,
    MemoryLedger,
    Policy,
    Reply,
    ReplyReady,
    RunStream,
    StreamEvent,
)
from assistantguard.events import Event
from assistantguard.ledger import Claim, Entry, Hold
from assistantguard.sandbox import Sandbox
from tests.support.watches import check_tasks

__all__ = ["COLOURS", "Bot", "Colour", "Outcome", "Thread", "WatchedLedger", "World"]

Colour = Literal["sync", "async"]
COLOURS: tuple[Colour, ...] = ("sync", "async")
Thread = GuardedThread | AsyncGuardedThread
Outcome = Reply | AssistantGuardError
E2 = TypeVar("E2", bound=Event)

MODEL = "gpt-6-luna"


class WatchedLedger(MemoryLedger):
    """Notes every entry that used more tokens than were held for it."""

    def __init__(self) -> None:
        super().__init__()
        self.overdrafts: list[Entry] = []
        self._claimed: dict[str, Decimal] = {}

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        self._claimed[hold_id] = max(claim.amount for claim in claims if claim.metric == "tokens")
        return super().reserve(hold_id, claims, expires_at)

    def commit(self, hold_id: str, entry: Entry) -> None:
        if entry.usage.total_tokens > self._claimed[hold_id]:
            self.overdrafts.append(entry)
        super().commit(hold_id, entry)


class Bot:
    """A guard of either colour behind one blocking face, with its events and its ledger."""

    def __init__(
        self, world: World, guard: AssistantGuard | AsyncAssistantGuard, events: list[Event], ledger: WatchedLedger
    ) -> None:
        self.world = world
        self.guard: Any = guard
        """Of either colour, so without a type of its own."""
        self.events = events
        self.ledger = ledger

    def chat(
        self, message: Any, thread: Thread | None = None, *, streamed: bool = False, deadline: float | None = None
    ) -> Reply:
        if streamed:
            last = self.stream(message, thread, deadline=deadline)[-1]
            assert isinstance(last, ReplyReady)
            return last.reply
        reply = self.world.wait((thread or self.guard).chat(message, deadline=deadline))
        assert isinstance(reply, Reply)
        return reply

    def try_chat(
        self, message: Any, thread: Thread | None = None, *, streamed: bool = False, deadline: float | None = None
    ) -> Outcome:
        """The reply, or the named error; anything else is raised."""
        try:
            return self.chat(message, thread, streamed=streamed, deadline=deadline)
        except AssistantGuardError as error:
            if type(error) is AssistantGuardError:
                raise AssertionError("the error has no name of its own") from error
            return error

    def stream(
        self,
        message: Any,
        thread: Thread | None = None,
        *,
        until: Callable[[StreamEvent], bool] = lambda event: False,
        deadline: float | None = None,
    ) -> list[StreamEvent]:
        """The events of a streamed turn; the stream is left where `until` is true of one."""
        stream = (thread or self.guard).stream(message, deadline=deadline)
        events: list[StreamEvent] = []
        if isinstance(stream, RunStream):
            with stream:
                for event in stream:
                    events.append(event)
                    if until(event):
                        break
            return events
        asynchronous: AsyncRunStream = stream

        async def read() -> None:
            async with asynchronous:
                async for event in asynchronous:
                    events.append(event)
                    if until(event):
                        break

        self.world.wait(read())
        return events

    def texts(self, stream: Any, **options: Any) -> list[str]:
        """The text deltas of a stream of either colour, to its end."""
        deltas = stream.text_deltas(**options)
        if isinstance(stream, RunStream):
            return list(deltas)

        async def read() -> list[str]:
            return [text async for text in deltas]

        return cast("list[str]", self.world.wait(read()))

    def heal(self, thread: Thread | None = None) -> bool:
        return cast("bool", self.world.wait((thread or self.guard).heal()))

    def attach_files(self, file_ids: Sequence[str], thread: Thread | None = None) -> str:
        return cast("str", self.world.wait((thread or self.guard).attach_files(file_ids)))

    def thread(self, *args: Any, **kwargs: Any) -> Thread:
        return cast("Thread", self.guard.thread(*args, **kwargs))

    @property
    def default(self) -> Thread:
        """The default thread."""
        return self.thread(self.guard.thread_id)

    @property
    def session_account(self) -> str:
        return f"session:{self.events[0].session_id}"

    def all(self, kind: type[E2]) -> list[E2]:
        """The events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def at_once(self, *calls: Callable[[], Any]) -> list[Any]:
        """Make calls of the guard side by side; return their results, or what they raised."""
        return self.world.at_once(*calls)

    def close(self) -> None:
        self.world.wait(self.guard.close())


class World:
    """Sandboxes and guards of one colour; everything is closed at the end.

    The asyncio colour has one event loop of its own, since a client's connections belong to the loop that made them.
    """

    def __init__(self, colour: Colour) -> None:
        self.colour = colour
        self._stack = contextlib.ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_async(self) -> bool:
        return self.colour == "async"

    def __enter__(self) -> Self:
        if self.is_async:
            self._loop = asyncio.new_event_loop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
        finally:
            if self._loop is not None:
                try:
                    check_tasks(self._loop)
                finally:
                    self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                    self._loop.run_until_complete(self._loop.shutdown_default_executor())
                    self._loop.close()

    def wait(self, result: Any) -> Any:
        """A value as it is, an awaitable run to its end."""
        if not inspect.isawaitable(result):
            return result
        assert self._loop is not None

        async def whole() -> Any:
            return await result

        return self._loop.run_until_complete(whole())

    def at_once(self, *calls: Callable[[], Any]) -> list[Any]:
        if self.is_async:

            async def gathered() -> list[Any]:
                return await asyncio.gather(*(call() for call in calls), return_exceptions=True)

            return cast("list[Any]", self.wait(gathered()))

        def caught(call: Callable[[], Any]) -> Any:
            try:
                return call()
            except Exception as error:  # noqa: BLE001 - handed to the test
                return error

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(caught, calls))

    def sandbox(self, model: Any = None, **options: Any) -> Sandbox:
        options.setdefault("model_in_thread", False)
        return self._stack.enter_context(Sandbox(model, **options))

    def client(self, sandbox: Sandbox, **options: Any) -> openai.OpenAI | openai.AsyncOpenAI:
        if not self.is_async:
            return sandbox.client(**options)
        client = sandbox.async_client(**options)
        self._stack.callback(lambda: self.wait(client.close()))
        return client

    def bot(
        self,
        sandbox: Sandbox,
        policies: Sequence[Policy] | None = None,
        *,
        tools: Sequence[Any] = (),
        assistant: Assistant | None = None,
        kinds: tuple[type[AssistantGuard], type[AsyncAssistantGuard]] = (AssistantGuard, AsyncAssistantGuard),
        client: Any = None,
        **options: Any,
    ) -> Bot:
        """A guard of this world's colour over `sandbox`.

        `kinds` are the classes for the two colours. `tools` are given to the default assistant.
        """
        events: list[Event] = []
        options.setdefault("sinks", [events.append])
        if assistant is None:
            assistant = Assistant(model=MODEL, instructions="You answer questions about orders.", tools=tools)
        kind: Any = kinds[1] if self.is_async else kinds[0]
        ledger = options.setdefault("ledger", WatchedLedger())
        guard = kind(client or self.client(sandbox), assistant, policies, **options)
        bot = Bot(self, guard, events, ledger)
        self._stack.callback(bot.close)
        return bot
