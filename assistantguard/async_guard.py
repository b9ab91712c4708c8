"""`AsyncAssistantGuard`: conversations whose cost is bounded, around your own async client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakValueDictionary

import openai
from typing_extensions import Self

from assistantguard._asyncio import AsyncioDriver, AsyncioPort, AsyncioTurns
from assistantguard._blocking import block_on
from assistantguard._checks import Message, check_client
from assistantguard._core import GuardCore, Options, Summary, run_tool, without_retries
from assistantguard._threads import in_thread
from assistantguard._wanted import wanted_thread
from assistantguard.engine import Engine
from assistantguard.guarded_thread import AsyncGuardedThread
from assistantguard.models import Assistant, Reply, ToolCall
from assistantguard.streams import AsyncRunStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard.batches import BatchProgress, BatchResult, Job
    from assistantguard.batches.run import Through
    from assistantguard.ledger import Ledger
    from assistantguard.models.budget import BudgetReport
    from assistantguard.policies import Metric, Policy, TopicCheck
    from assistantguard.prices import Price, PriceBook
    from assistantguard.telemetry import Sink
    from assistantguard.threads import AsyncUserThreads

__all__ = ["AsyncAssistantGuard"]

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
        max_threads_per_user: As for `AssistantGuard`.
        topic_check: As for `AssistantGuard`.
        lease_seconds: As for `AssistantGuard`.
        when_busy: As for `AssistantGuard`.
        keep_content: As for `AssistantGuard`.
        assistant_id: As for `AssistantGuard`.
        tools: As for `AssistantGuard`.

    Raises:
        ConfigurationError: A value cannot work; the message says which, why, and what to do.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        assistant: Assistant | None = None,
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
        ledger: Ledger | str | None = None,
        sinks: Sequence[Sink] | None = None,
        events: str | os.PathLike[str] | None = None,
        background: bool | None = None,
        cleanup_timeout: float = 15.0,
        max_threads_per_user: int | None = 5,
        topic_check: TopicCheck | None = None,
        lease_seconds: float = 30.0,
        when_busy: Literal["wait", "refuse"] = "wait",
        keep_content: bool = False,
        assistant_id: str | None = None,
        tools: Sequence[Callable[..., Any]] = (),
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
            max_threads_per_user,
            topic_check,
            lease_seconds,
            when_busy,
            keep_content,
            assistant_id,
            tools,
        )
        self._core = GuardCore(self, AsyncAssistantGuard, assistant, options, allows_async_tools=True)
        self._client = client
        driver = AsyncioDriver(self._core.calling, self._core.session.cleanup_timeout)
        backend = self._core.backend(AsyncioPort(without_retries(client)), driver)
        self._engine = Engine(self._core.session, driver, backend)
        self._book = self._core.book(self._engine, AsyncioTurns)
        self._user_threads: AsyncUserThreads | None = None
        self._handles: WeakValueDictionary[tuple[str | None, str], AsyncGuardedThread] = WeakValueDictionary()
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

    async def chat(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> Reply:
        """Answer a message on the default thread. See `AssistantGuard.chat`."""
        return await self._default_thread().chat(message, deadline=deadline, idempotency_key=idempotency_key)

    def stream(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> AsyncRunStream:
        """Answer a message on the default thread, and tell what happens. See `AssistantGuard.stream`."""
        return self._default_thread().stream(message, deadline=deadline, idempotency_key=idempotency_key)

    async def heal(self) -> bool:
        """Make the default thread usable. See `GuardedThread.heal`."""
        return await self._default_thread().heal()

    async def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on the default thread. See `GuardedThread.attach_files`."""
        return await self._default_thread().attach_files(file_ids)

    @property
    def threads(self) -> AsyncUserThreads:
        """Users' threads. See `AssistantGuard.threads`."""
        if self._user_threads is None:
            from assistantguard.threads import AsyncUserThreads

            self._user_threads = AsyncUserThreads(self._book)
        return self._user_threads

    def thread(
        self,
        thread_id: str | None = None,
        *,
        conversation_id: str | None = None,
        user: str | None = None,
        topic: str | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
    ) -> AsyncGuardedThread:
        """A conversation. See `AssistantGuard.thread`.

        A user's thread that is kept in a database is looked up when it is first used, or awaited: errors come then.
        """
        wanted = wanted_thread(thread_id, conversation_id, user, topic, tenant, tags)
        place = block_on(self._book.find(wanted)) if self._book.at_once else self._book.later(wanted)
        if place is None:
            return AsyncGuardedThread(self._book, wanted)
        thread = self._handles.get((place.user, place.id))
        if thread is None:
            thread = self._handles[place.user, place.id] = AsyncGuardedThread(self._book, place)
        return thread

    async def budget(
        self, user: str | None = None, *, tenant: str | None = None, account: str | None = None
    ) -> BudgetReport:
        """What is left of every budget that concerns a user. See `AssistantGuard.budget`."""
        from assistantguard.engine.payers import Payer

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
        from assistantguard.engine.payers import Payer

        payer = Payer(user, tenant, account)
        amounts: dict[Metric, Any] = {"tokens": tokens, "cost": cost, "messages": messages}
        await self._ask_ledger(lambda: self._core.set_budget(payer, amounts, budget, this_window=this_window))

    async def _ask_ledger(self, work: Callable[[], T]) -> T:
        return work() if self._core.ledger.in_process else await asyncio.to_thread(work)

    async def batch(
        self,
        jobs: Iterable[Job | str] | os.PathLike[str],
        *,
        through: Through = "batch",
        state: str | os.PathLike[str] | None = None,
        on_progress: Callable[[BatchProgress], object] | None = None,
        timeout: float | None = None,
        poll: float | None = None,
        idempotency_key: str | None = None,
        retry: bool = False,
        cancel: bool = False,
    ) -> BatchResult:
        """Answer many messages, each on its own, at a lower price. See `AssistantGuard.batch`."""
        from assistantguard.batches.run import BatchOptions, run_batch

        options = BatchOptions(through, state, on_progress, timeout, poll, idempotency_key, retry, cancel)
        port = AsyncioPort(without_retries(self._client))
        return await run_batch(self._core, self._engine.driver, port, jobs, options)

    def summary(self) -> Summary:
        """Totals of this guard's session, and the state of its default thread."""
        return self._core.summary(None if self._default is None else self._default.state)

    async def recover(self) -> int:
        """Finish what processes that died left under way. See `AssistantGuard.recover`."""
        return await self._book.recover()

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
