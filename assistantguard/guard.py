"""`AssistantGuard`: conversations whose cost is bounded, around your own blocking client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import openai
from typing_extensions import Self

from assistantguard._blocking import BlockingDriver, BlockingPort, BlockingTurns, block_on
from assistantguard._calling import is_async
from assistantguard._checks import Message, check_client
from assistantguard._core import GuardCore, Options, Summary, run_tool, without_retries
from assistantguard._wanted import wanted_thread
from assistantguard.engine import Engine
from assistantguard.errors import ConfigurationError
from assistantguard.guarded_thread import GuardedThread
from assistantguard.models import Assistant, Reply, ToolCall
from assistantguard.streams import RunStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard._thread_book import Place
    from assistantguard.batches import BatchProgress, BatchResult, Job
    from assistantguard.batches.run import Through
    from assistantguard.ledger import Ledger
    from assistantguard.models.budget import BudgetReport
    from assistantguard.policies import Metric, Policy, TopicCheck
    from assistantguard.prices import Price, PriceBook
    from assistantguard.telemetry import Sink
    from assistantguard.threads import UserThreads

__all__ = ["AssistantGuard"]


class AssistantGuard:
    """Conversations under policies, over a blocking client.

    Safe to share between threads of a program: calls on one conversation take turns in the order they came, different
    conversations run side by side.

    Subclass it and override `dispatch_tool` (or `dispatch_tools` for a whole step) to run your tools yourself.

    Args:
        client: Your own ``openai.OpenAI``. It is used as it is; only its own retries are off for our calls.
        assistant: Model, instructions and tools. None only with `assistant_id`.
        policies: What is enforced, in this order. None turns on `default_policies`; an empty list turns everything
            off.
        max_turns: Short form of ``ThreadRotation(max_turns)``.
        max_tool_call_steps: Short form of ``ToolStepCeiling(max_steps)``.
        max_transient_retries: Short form of ``TransientRetry(max_attempts=… + 1)``.
        session_token_ceiling: Short form of ``TokenCap(session=…)``.
        run_timeout: Seconds that a run may take, tools and retries included.
        tool_timeout: Seconds that a tool call may take; None leaves only the run's limit.
        max_parallel_tools: How many calls of one step run at once; 1 runs one after another.
        max_tool_output_characters: The longest tool output that the model gets, since it is billed again with every
            later request; the rest is cut off, and the model is told so. None sets no limit.
        prices: Prices to add or override, by model name, or a `PriceBook`.
        ledger: The books, or the URL of a database for them and for threads (``sqlite:///guard.db``,
            ``postgresql://…``); None keeps both in memory.
        sinks: Where events go, instead of `StructlogSink`.
        events: A file that gets every event as a JSON line, in addition.
        background: Whether answers are made in the background at the server, where they can be cancelled and outlive
            a lost connection. None chooses it where an answer may take long: high reasoning effort, built-in tools
            that work on their own, or a `max_output_tokens` of 16,384 and more.
        cleanup_timeout: Seconds that settling and healing may take after a run was interrupted.
        max_threads_per_user: How many named threads in use a user may have; None sets no limit.
        topic_check: When to suggest a new thread for a message that leaves the topic; None never does.
        lease_seconds: After how long another process may take over a thread whose process was killed. Only where
            threads are kept in a database.
        when_busy: Whether a turn waits for a thread that another process drives (``"wait"``), until its deadline, or is
            refused (``"refuse"``).
        keep_content: Whether the messages and tool outputs of runs in flight are kept in the database, too, so that
            nothing of them is lost with a process.
        assistant_id: An assistant (``asst_…``) of a server that speaks the Assistants v2 protocol, as self-hosted ones
            do. The conversations are threads and runs of that server then. Model, instructions and tools are the
            assistant's; where `assistant` is given, too, what it sets goes before them in every run.
        tools: With `assistant_id` and without `assistant`: the Python functions that the assistant's tools call.

    Raises:
        ConfigurationError: A value cannot work; the message says which, why, and what to do.
    """

    def __init__(
        self,
        client: openai.OpenAI,
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
        check_client(client, openai.OpenAI, openai.AsyncOpenAI, "use AsyncAssistantGuard, or pass openai.OpenAI()")
        for name in ("dispatch_tool", "dispatch_tools"):
            if is_async(getattr(self, name)):
                raise ConfigurationError(
                    f"{type(self).__name__}.{name} is async, and AssistantGuard is not: make it a plain function, or"
                    " derive from AsyncAssistantGuard"
                )
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
        self._core = GuardCore(self, AssistantGuard, assistant, options, allows_async_tools=False)
        self._client = client
        driver = BlockingDriver(self._core.calling)
        backend = self._core.backend(BlockingPort(without_retries(client)), driver)
        self._engine = Engine(self._core.session, driver, backend)
        self._book = self._core.book(self._engine, BlockingTurns)
        self._user_threads: UserThreads | None = None
        self._handles: WeakValueDictionary[tuple[str | None, str], GuardedThread] = WeakValueDictionary()
        self._default: GuardedThread | None = None
        self._threads_lock = threading.Lock()

    @property
    def client(self) -> openai.OpenAI:
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

    def dispatch_tool(self, call: ToolCall) -> Any:
        """Answer one tool call. Override it to run your own tools; by default the assistant's functions run.

        What it returns goes to the model: text as it is, everything else as JSON. What it raises goes to the model in
        one line; `ToolError` chooses the words. Calls of one step run in threads, side by side.
        """
        return run_tool(self._core.toolbox, call)

    def dispatch_tools(self, calls: Sequence[ToolCall]) -> Any:
        """Answer all calls of a step. Override it to run them together.

        Return as many values as there are calls, in their order, or a mapping from call id to value.
        """
        return [self.dispatch_tool(call) for call in calls]

    def chat(self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None) -> Reply:
        """Answer a message on the default thread.

        Args:
            message: Text, or content parts as the Responses API takes them.
            deadline: Seconds that the whole turn may take, waiting for earlier turns of the thread included; None
                leaves `run_timeout`. Cleaning up after it may take `cleanup_timeout` more.
            idempotency_key: Your own name for the turn. A turn of that name that was completed on the thread is not
                made again: its reply comes back, so that what is asked twice is answered and billed once.

        Raises:
            Refused: A cap or a policy does not allow it; nothing was spent for what was refused.
            RunStopped: A policy or the deadline ended the run.
            RunFailed: The server ended it.
        """
        return self._default_thread().chat(message, deadline=deadline, idempotency_key=idempotency_key)

    def stream(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> RunStream:
        """Answer a message on the default thread, and tell what happens as it happens.

        The same turn as `chat` makes, under the same policies and with the same reply and books.

        Args:
            message: As for `chat`.
            deadline: As for `chat`.
            idempotency_key: As for `chat`.

        Returns:
            A context manager to iterate over; what `chat` raises is raised while it is read.
        """
        return self._default_thread().stream(message, deadline=deadline, idempotency_key=idempotency_key)

    def heal(self) -> bool:
        """Make the default thread usable. See `GuardedThread.heal`."""
        return self._default_thread().heal()

    def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on the default thread. See `GuardedThread.attach_files`."""
        return self._default_thread().attach_files(file_ids)

    @property
    def threads(self) -> UserThreads:
        """Users' threads: list, search, rename, tag, switch, archive, restore, delete, merge, statistics."""
        if self._user_threads is None:
            from assistantguard.threads import UserThreads

            self._user_threads = UserThreads(self._book)
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
    ) -> GuardedThread:
        """A conversation: a user's, by topic or his current one, or the application's own, by id or a new one.

        A user's thread is reached with his name only.

        Args:
            thread_id: Its stable id, yours or one that `GuardedThread.id` gave. Without a user, one that is new begins
                a thread, and None does so, too.
            conversation_id: An existing ``conv_…`` to take up, where the thread is new.
            user: Whose thread it is. Without an id and a topic it is the one that he switched to, else his thread
                without a name.
            topic: The name of one of his threads, which is begun where he has none of that name.
            tenant: The tenant that the user belongs to.
            tags: Tags of the thread, where it is new.

        Raises:
            ConfigurationError: A name is none, or the thread is another tenant's.
            ThreadNotFound: The user has no thread of that id.
            TooManyThreads: He has `max_threads_per_user` named threads in use already.
        """
        wanted = wanted_thread(thread_id, conversation_id, user, topic, tenant, tags)
        return self._handle(block_on(self._book.find(wanted)))

    def budget(self, user: str | None = None, *, tenant: str | None = None, account: str | None = None) -> BudgetReport:
        """What is left of every budget that concerns a user: his own, and the application's.

        Args:
            user: Whose budgets; None leaves the application's.
            tenant: The tenant whose budgets are told, too.
            account: What the function of a budget names, whose budgets are told, too.

        Returns:
            `BudgetReport.lines` has a line for each budget and metric; the report itself tells limit, committed, held,
            left and renews_at of the tightest.

        Raises:
            ConfigurationError: A name is none, or there is no such budget.
        """
        from assistantguard.engine.payers import Payer

        return self._core.budget(Payer(user, tenant, account))

    def set_budget(
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
        """Give one user, one tenant, one account or the application other limits than the budgets' own.

        They stand in the ledger: every process that shares it goes by them from its next request on. What is spent and
        held stays, so a lower limit may be passed already; then nothing more is sent.

        Args:
            user: Whose limits.
            tenant: Whose limits, in place of a user.
            account: Whose limits, in place of a user, where a function names whom a budget charges.
            tokens: The new limit; None goes back to the budget's own, ``"keep"`` leaves it as it is.
            cost: As `tokens`, in US dollars.
            messages: As `tokens`.
            budget: The budget's name, where more than one would fit.
            this_window: Whether they end with the window that is now; such a limit goes before one that stays.

        Raises:
            ConfigurationError: A limit is negative or no number, or there is not exactly one budget that it fits.
        """
        amounts: dict[Metric, Any] = {"tokens": tokens, "cost": cost, "messages": messages}
        from assistantguard.engine.payers import Payer

        self._core.set_budget(Payer(user, tenant, account), amounts, budget, this_window=this_window)

    def recover(self) -> int:
        """Finish what processes that were killed left under way, on all threads of the database that nobody drives.

        The outcome of each run is learned and booked, and its thread made usable, as its next turn would do. Several
        processes may do so at once.

        Returns:
            How many runs were settled.
        """
        return block_on(self._book.recover())

    def batch(
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
        """Answer many messages, each on its own, at a lower price for waiting longer.

        Each job is held on the same caps and budgets as a turn, at the lower price, before it is sent; what does not
        fit is refused, and the others go on. A call that was interrupted is taken up by the same call with the same
        jobs, where the guard has a database or a `state`: no job is lost, and none is done twice. Content is not kept.

        A job is a turn of its own, without a conversation or tools that run here, and the guard's policies apply to it
        so far as that goes: they are asked ``before_turn``, ``route``, ``before_request`` and ``on_failure``.

        - `ModelRouting` chooses the model of jobs that name none themselves, when each is admitted; files have one
          model each. The price is that of `through`, whatever service tier a rule or the assistant names. A job that
          failed is routed anew with `retry`; `Fallback` moves it to another model only while it is being sent, which is
          in completion windows.
        - `ReplyCache` answers jobs at no cost, and keeps what they were answered; chats and jobs share replies. Of jobs
          of this batch that ask the same, one is sent, and the others get its reply; what is being answered elsewhere
          is not waited for. Without a user, jobs share replies within their batch; jobs of several items share none.
        - Jobs with a `body` go as they are: neither routed, nor answered out of the cache.
        - `Pacing` holds the requests of completion windows to their rates; a job that cannot be sent in time is
          refused. The Batch API has no rates. It has a limit to the input tokens that wait in its queue, by model:
          with a `Pacing` that names a tier, no more is handed over, and with any, what finds the queue full is tried
          again later; ``max_wait`` and ``max_queue`` do not apply to that.
        - A policy that stops answers while they arrive (``on_progress``) is refused, since nothing arrives early.

        Args:
            jobs: Texts, `Job`s, or the Path of a file with one job a line, as JSON or as a batch line of OpenAI's.
            through: The Batch API (half price, done within a day), or background responses with a completion window of
                ``"2h"`` (30 % off) or ``"8h"`` (40 % off).
            state: A file that remembers how far the batch is, where the guard has no database.
            on_progress: A plain function that is told how far the batch is.
            timeout: Seconds to wait; then `BatchUnfinished` is raised, and the server goes on. None waits to the end.
            poll: Seconds between two looks at the server; None begins with 2 and grows to 60.
            idempotency_key: Your own name for the batch. One of that name that was finished is not done again: its
                results come back. Without it a finished batch is forgotten, and the same jobs are a new one.
            retry: Whether jobs of the same batch that were not completed, and may be, are tried again.
            cancel: Whether what is not done of the batch is cancelled at the server; what was done is booked.

        Returns:
            The results, in the order of the jobs.

        Raises:
            MalformedJobs: Some jobs cannot be done as they are; nothing was sent.
            BatchUnfinished: The time is up, another process works on it, or the server cannot be reached.
            ConfigurationError: Another value cannot work, or a policy cannot.
        """
        from assistantguard.batches.run import BatchOptions, run_batch

        options = BatchOptions(through, state, on_progress, timeout, poll, idempotency_key, retry, cancel)
        port = BlockingPort(without_retries(self._client))
        return block_on(run_batch(self._core, self._engine.driver, port, jobs, options))

    def summary(self) -> Summary:
        """Totals of this guard's session, and the state of its default thread."""
        return self._core.summary(None if self._default is None else self._default.state)

    def close(self) -> None:
        """Write queued events, and see warnings of budgets out, for 5 seconds at most. The client stays open."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _handle(self, place: Place) -> GuardedThread:
        """The one object for a thread, for as long as somebody has it."""
        with self._threads_lock:
            thread = self._handles.get((place.user, place.id))
            if thread is None:
                thread = self._handles[place.user, place.id] = GuardedThread(self._book, place)
            return thread

    def _default_thread(self) -> GuardedThread:
        if self._default is None:
            thread = self.thread()
            with self._threads_lock:
                if self._default is None:
                    self._default = thread
        return self._default
