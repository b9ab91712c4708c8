"""`AsyncAssistantGuard`: conversations whose cost is bounded, around your own async client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
import openai
from typing_extensions import Self

from assistantguard._asyncio import AsyncioDriver, AsyncioPort
from assistantguard._core import (
    GuardCore,
    Message,
    Options,
    Summary,
    check_client,
    check_message,
    new_thread_state,
    run_tool,
    until,
    waited_too_long,
    without_retries,
)
from assistantguard._threads import in_thread
from assistantguard.backends import ResponsesBackend
from assistantguard.engine import Engine
from assistantguard.engine.budgets import Payer
from assistantguard.models import Assistant, Reply, StreamEvent, ThreadState, ToolCall
from assistantguard.models.budget import BudgetReport
from assistantguard.streams import AsyncRunStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard.ledger import Ledger
    from assistantguard.policies import Metric, Policy
    from assistantguard.prices import Price, PriceBook
    from assistantguard.telemetry import Sink

__all__ = ["AsyncAssistantGuard", "AsyncGuardedThread"]

T = TypeVar("T")


class AsyncAssistantGuard:
    """Conversations under policies, over an async client. The same face as `AssistantGuard`, with ``await``.

    Tools may be async or plain functions; plain ones run in threads. Safe to share between the tasks of an event loop.

    Args:
        client: Your own ``openai.AsyncOpenAI``.
        assistant: As for `AssistantGuard`.
        policies: As for `AssistantGuard`.
        max_turns: As for `AssistantGuard`.
        max_tool_call_steps: As for `AssistantGuard`.
        max_transient_retries: As for `AssistantGuard`.
        session_token_ceiling: As for `AssistantGuard`.
        run_timeout: As for `AssistantGuard`.
        tool_timeout: As for `AssistantGuard`.
        max_parallel_tools: As for `AssistantGuard`.
        max_tool_output_characters: As for `AssistantGuard`.
        prices: As for `AssistantGuard`.
        ledger: As for `AssistantGuard`.
        sinks: As for `AssistantGuard`.
        events: As for `AssistantGuard`.
        background: As for `AssistantGuard`.
        cleanup_timeout: As for `AssistantGuard`.

    Raises:
        ConfigurationError: A value cannot work; the message says which, why, and what to do.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        assistant: Assistant,
        policies: Sequence[Policy] | None = None,
        *,
        max_turns: int | None = None,
        max_tool_call_steps: int | None = None,
        max_transient_retries: int | None = None,
        session_token_ceiling: int | None = None,
        run_timeout: float = 300.0,
        tool_timeout: float | None = 60.0,
        max_parallel_tools: int = 8,
        max_tool_output_characters: int | None = None,
        prices: Mapping[str, Price] | PriceBook | None = None,
        ledger: Ledger | None = None,
        sinks: Sequence[Sink] | None = None,
        events: str | os.PathLike[str] | None = None,
        background: bool | None = None,
        cleanup_timeout: float = 15.0,
    ) -> None:
        check_client(client, openai.AsyncOpenAI, openai.OpenAI, "use AssistantGuard, or pass openai.AsyncOpenAI()")
        options = Options(
            policies,
            max_turns,
            max_tool_call_steps,
            max_transient_retries,
            session_token_ceiling,
            run_timeout,
            tool_timeout,
            max_parallel_tools,
            max_tool_output_characters,
            prices,
            ledger,
            sinks,
            events,
            background,
            cleanup_timeout,
        )
        self._core = GuardCore(self, AsyncAssistantGuard, assistant, options, allows_async_tools=True)
        self._client = client
        self._engine = Engine(
            self._core.session,
            AsyncioDriver(self._core.calling, self._core.session.cleanup_timeout),
            ResponsesBackend(AsyncioPort(without_retries(client))),
        )
        self._threads: dict[str, AsyncGuardedThread] = {}
        self._default: AsyncGuardedThread | None = None

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The client that was passed in."""
        return self._client

    @property
    def assistant(self) -> Assistant:
        """The assistant that answers."""
        return self._core.session.assistant

    @property
    def ledger(self) -> Ledger:
        """The books."""
        return self._core.ledger

    @property
    def thread_id(self) -> str:
        """The id of the default thread."""
        return self._default_thread().id

    async def dispatch_tool(self, call: ToolCall) -> Any:
        """Answer one tool call. Override it, async or plain, to run your own tools. See `AssistantGuard`."""
        if self._core.toolbox.is_async(call.name):
            result = run_tool(self._core.toolbox, call)
            return await result if asyncio.iscoroutine(result) else result
        return await asyncio.wrap_future(in_thread(lambda: run_tool(self._core.toolbox, call)))

    async def dispatch_tools(self, calls: Sequence[ToolCall]) -> Any:
        """Answer all calls of a step. Override it, async or plain, to run them together. See `AssistantGuard`."""
        return [await self.dispatch_tool(call) for call in calls]

    async def chat(self, message: Message, *, deadline: float | None = None) -> Reply:
        """Answer a message on the default thread. See `AssistantGuard.chat`."""
        return await self._default_thread().chat(message, deadline=deadline)

    def stream(self, message: Message, *, deadline: float | None = None) -> AsyncRunStream:
        """Answer a message on the default thread, and tell what happens. See `AssistantGuard.stream`."""
        return self._default_thread().stream(message, deadline=deadline)

    async def heal(self) -> bool:
        """Make the default thread usable. See `GuardedThread.heal`."""
        return await self._default_thread().heal()

    async def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on the default thread. See `GuardedThread.attach_files`."""
        return await self._default_thread().attach_files(file_ids)

    def thread(self, thread_id: str | None = None, *, conversation_id: str | None = None) -> AsyncGuardedThread:
        """Another conversation, or the one with this id. See `AssistantGuard.thread`."""
        if thread_id is not None and thread_id in self._threads:
            return self._threads[thread_id]
        state = new_thread_state(thread_id, conversation_id, time.time())
        thread = self._threads[state.id] = AsyncGuardedThread(self._engine, state)
        return thread

    async def budget(
        self, user: str | None = None, *, tenant: str | None = None, account: str | None = None
    ) -> BudgetReport:
        """What is left of every budget that concerns a user. See `AssistantGuard.budget`."""
        payer = Payer(user, tenant, account)
        return await self._ask_ledger(lambda: self._core.budget(payer))

    async def set_budget(
        self,
        user: str | None = None,
        *,
        tenant: str | None = None,
        account: str | None = None,
        tokens: int | Literal["keep"] | None = "keep",
        cost: Decimal | float | str | None = "keep",
        messages: int | Literal["keep"] | None = "keep",
        budget: str | None = None,
        this_window: bool = False,
    ) -> None:
        """Give someone other limits than the budgets' own. See `AssistantGuard.set_budget`."""
        payer = Payer(user, tenant, account)
        amounts: dict[Metric, Any] = {"tokens": tokens, "cost": cost, "messages": messages}
        await self._ask_ledger(lambda: self._core.set_budget(payer, amounts, budget, this_window=this_window))

    async def _ask_ledger(self, work: Callable[[], T]) -> T:
        return work() if self._core.ledger.in_process else await asyncio.to_thread(work)

    def summary(self) -> Summary:
        """Totals of this guard's session, and the state of its default thread."""
        return self._core.summary(None if self._default is None else self._default.state)

    async def close(self) -> None:
        """Write queued events, and see warnings of budgets out, for 5 seconds at most. The client stays open."""
        await asyncio.to_thread(self._core.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _default_thread(self) -> AsyncGuardedThread:
        if self._default is None:
            self._default = self.thread()
        return self._default


class AsyncGuardedThread:
    """One conversation of an `AsyncAssistantGuard`. Made by `AsyncAssistantGuard.thread`."""

    def __init__(self, engine: Engine, state: ThreadState) -> None:
        self._engine = engine
        self._state = state
        self._turns = asyncio.Lock()

    @property
    def id(self) -> str:
        """The conversation's stable id; rotations do not change it."""
        return self._state.id

    @property
    def state(self) -> ThreadState:
        """Turns, context size, generation and usage, as they are now. Read it, do not change it."""
        return self._state

    async def chat(self, message: Message, *, deadline: float | None = None) -> Reply:
        """Answer a message. Calls on one thread take turns in the order they came. See `AssistantGuard.chat`."""
        checked, end = check_message(message), until(deadline)
        await self._take_turn(end)
        try:
            return await self._engine.turn(self._state, checked, end)
        finally:
            self._turns.release()

    def stream(self, message: Message, *, deadline: float | None = None) -> AsyncRunStream:
        """Answer a message and tell what happens as it happens. See `AssistantGuard.stream`."""
        return AsyncRunStream(self._events(check_message(message), until(deadline)))

    async def heal(self) -> bool:
        """Make the thread usable. See `GuardedThread.heal`."""
        async with self._turns:
            return await self._engine.heal(self._state)

    async def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on this thread. See `GuardedThread.attach_files`."""
        async with self._turns:
            return await self._engine.files.attach(self._state, file_ids)

    async def _take_turn(self, end: float | None) -> None:
        """Take the thread; the turns before this one go first."""
        try:
            with anyio.fail_after(None if end is None else max(0.0, end - time.time())):
                await self._turns.acquire()
        except TimeoutError:
            raise waited_too_long(self.id) from None

    async def _events(
        self, message: str | list[dict[str, Any]], end: float | None
    ) -> AsyncGenerator[StreamEvent, None]:
        await self._take_turn(end)
        try:
            async with aclosing(self._engine.stream(self._state, message, end)) as events:
                async for event in events:
                    yield event
        finally:
            self._turns.release()
