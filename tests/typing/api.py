"""The public types as a user sees them. Never run: mypy and pyright check it.

A line with ``type: ignore`` is a mistake that a type checker must catch; mypy reports an ignore that nothing needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import openai
from typing_extensions import assert_type

from assistantguard import (
    Assistant,
    AssistantGuard,
    AssistantGuardError,
    AsyncAssistantGuard,
    AsyncGuardedThread,
    AsyncRunStream,
    AttemptFailed,
    Budget,
    BudgetBusy,
    BudgetExceeded,
    BudgetLine,
    BudgetReport,
    CarryOver,
    ConfigurationError,
    CostCap,
    DeletedThread,
    Failure,
    GuardedThread,
    Item,
    JsonLinesSink,
    Ledger,
    MemoryLedger,
    OutcomeUnknown,
    Policy,
    Price,
    PriceBook,
    Refused,
    RepeatedCallBreaker,
    Reply,
    ReplyReady,
    RunFailed,
    RunState,
    RunStopped,
    RunStream,
    RunTimedOut,
    Sink,
    StreamEvent,
    StructlogSink,
    TextDelta,
    ThreadInfo,
    ThreadRotation,
    ThreadState,
    ThreadStatistics,
    TokenCap,
    ToolCall,
    ToolCallRequested,
    ToolCallSettled,
    ToolError,
    ToolOutput,
    ToolStepCeiling,
    TransientRetry,
    Usage,
    UserThreads,
    VectorStoreReuse,
    default_policies,
    observe,
    tool,
)
from assistantguard.events import BudgetWarned, Event, RequestSettled, RunSettled, UsageCorrected
from assistantguard.policies import Decision, Refuse, Stop, View


def lookup(order: str) -> dict[str, str]:
    """Find an order."""
    return {"order": order}


@tool
def marked(order: str) -> str:
    """Find an order."""
    return order


@tool(name="find", timeout=5)
async def renamed(order: str, deep: bool = False) -> str:
    """Find an order."""
    return f"{order} {deep}"


assert_type(marked("W1"), str)
assistant = Assistant(
    model="gpt-6-luna",
    instructions="You answer questions about orders.",
    tools=[lookup, marked, {"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}],
    max_output_tokens=1_000,
    temperature=0.2,
    response_format={"type": "json_object"},
    metadata={"team": "support"},
)
Assistant("gpt-6-luna", tools=lookup)  # type: ignore[arg-type]
Assistant(model=None)  # type: ignore[arg-type]
assistant.model = "gpt-6"  # type: ignore[misc]


class OnlyOnWeekdays(Policy):
    """A user's own policy: one class, one method."""

    def before_turn(self, view: View) -> Decision | None:
        assert_type(view.thread, ThreadState)
        assert_type(view.run, RunState | None)
        assert_type(view.calls, tuple[ToolCall, ...])
        assert_type(view.failure, Failure | None)
        return Refuse("closed today") if view.now > 0 else None

    def on_step(self, view: View) -> Stop | None:
        return Stop("enough", RunStopped) if len(view.calls) > 3 else None


def newest(items: Sequence[Item]) -> Sequence[Item]:
    return items[-2:]


policies: list[Policy] = [
    ThreadRotation(max_turns=30, max_age=timedelta(hours=2), carry_over=CarryOver(tail_turns=2)),
    ThreadRotation(None, max_context_tokens=50_000, carry_over=newest, old="scrub"),
    ToolStepCeiling(5, max_calls=20, then="wrap_up"),
    RepeatedCallBreaker(3),
    TransientRetry(max_attempts=3),
    VectorStoreReuse(expires_after_days=3),
    TokenCap(session=500_000, run=50_000, counting="always"),
    CostCap(session="2.50", run=Decimal("0.10")),
    observe(TokenCap(session=1_000)),
    OnlyOnWeekdays(),
]
policies += default_policies(max_turns=8)
ToolStepCeiling(5, then="explode")  # type: ignore[arg-type]
TokenCap(session="many")  # type: ignore[arg-type]
TokenCap(500_000, counting="sometimes")  # type: ignore[arg-type]


class SupportBot(AssistantGuard):
    """The override point."""

    def dispatch_tool(self, call: ToolCall) -> Any:
        assert_type(call.arguments, dict[str, Any])
        if call.name != "lookup":
            raise ToolError("there is no such tool")
        return lookup(**call.arguments)


class StepBot(AsyncAssistantGuard):
    """The override point for a whole step."""

    async def dispatch_tools(self, calls: Sequence[ToolCall]) -> Any:
        return {call.id: call.name for call in calls}


def count(event: Event) -> None:
    if isinstance(event, RunSettled):
        assert_type(event.usage, Usage)
        assert_type(event.record(), dict[str, Any])


def talk(client: openai.OpenAI) -> None:
    ledger: Ledger = MemoryLedger()
    sinks: list[Sink] = [StructlogSink(), JsonLinesSink(Path("events.jsonl")), count]
    prices = {"my-model": Price(input="0.10", output="0.50")}
    bot = SupportBot(client, assistant, policies=policies, ledger=ledger, sinks=sinks, prices=prices)
    AssistantGuard(client, assistant, prices=PriceBook(prices), events="events.jsonl", tool_timeout=None)
    AssistantGuard(
        client,
        assistant,
        max_turns=30,
        max_tool_call_steps=5,
        max_transient_retries=3,
        session_token_ceiling=500_000,
        run_timeout=180,
    )
    AssistantGuard(client, assistant, max_turn=30)  # type: ignore[call-arg]
    AssistantGuard(client, assistant, max_turns="30")  # type: ignore[arg-type]
    AssistantGuard(openai.AsyncOpenAI(), assistant)  # type: ignore[arg-type]
    AsyncAssistantGuard(client, assistant)  # type: ignore[arg-type]

    with bot as entered:
        assert_type(entered, SupportBot)
    assert_type(bot.client, openai.OpenAI)
    assert_type(bot.attach_files(["file-a"]), str)
    reply = bot.chat("Where is order #W2378156?")
    assert_type(reply, Reply)
    assert_type(reply.text, str)
    assert_type(reply.usage, Usage)
    assert_type(reply.usage + reply.usage, Usage)
    assert_type(reply.cost, Decimal | None)
    assert_type(reply.run, RunState)
    assert_type(reply.thread_id, str)
    assert_type(reply.complete, bool)
    bot.chat([{"type": "input_text", "text": "Hi"}])
    bot.chat(7)  # type: ignore[arg-type]
    thread = bot.thread()
    assert_type(thread, GuardedThread)
    assert_type(thread.chat("Hi"), Reply)
    assert_type(bot.thread("t-1", conversation_id="conv_1").state, ThreadState)
    summary = bot.summary()
    assert_type(summary["run_count"], int)
    assert_type(summary["cost"], Decimal | None)
    assert_type(summary["session_tokens_used"]["cached"], int)
    summary["runs"]  # type: ignore[typeddict-item]


async def talk_async(client: openai.AsyncOpenAI) -> None:
    async with StepBot(client, assistant, [TokenCap(1_000)], max_parallel_tools=2) as bot:
        assert_type(bot, StepBot)
        assert_type(await bot.chat("Hi"), Reply)
        assert_type(await bot.attach_files(["file-a"]), str)
        thread = bot.thread()
        assert_type(thread, AsyncGuardedThread)
        assert_type(await thread.chat("Hi"), Reply)
        assert_type(await bot.thread(user="u-42", topic="billing"), AsyncGuardedThread)
        assert_type(await bot.threads.list("u-42"), list[ThreadInfo])
        assert_type(await bot.threads.delete("u-42", thread), DeletedThread)
        assert_type((await bot.threads.statistics("u-42")).cost, Decimal | None)
        assert_type(await bot.close(), None)


def keep_threads(bot: AssistantGuard) -> None:
    thread = bot.thread(user="u-42", topic="billing", tenant="acme", tags=["urgent"])
    assert_type(thread.user, str | None)
    assert_type(thread.chat("Hi", idempotency_key="order 17").suggestion, Literal["new_thread"] | None)
    assert_type(bot.threads, UserThreads)
    assert_type(bot.threads.search("u-42", "bill", tag="urgent"), list[ThreadInfo])
    assert_type(bot.threads.merge("u-42", thread, "parcels"), ThreadInfo)
    assert_type(bot.threads.statistics("u-42", thread), ThreadStatistics)
    bot.threads.list(7)  # type: ignore[arg-type]


def mail(event: BudgetWarned) -> None:
    assert_type(event.committed, Decimal)
    assert_type(event.renews_at, float | None)


BUDGETS = [
    Budget("user", per="day", tokens=50_000, messages=20, warn_at=(0.5, 0.8), timezone="Europe/Berlin"),
    Budget("tenant", timedelta(hours=6), cost="2.50", on_warning=mail),
    Budget("application", None, cost=Decimal(100)),
    Budget(lambda view: view.thread.tenant, name="house", messages=1_000),
]
Budget("session", tokens=1)  # type: ignore[arg-type]
Budget(per="year", tokens=1)  # type: ignore[arg-type]
Budget(tokens="many")  # type: ignore[arg-type]


def budgets(bot: AssistantGuard) -> None:
    report = bot.budget("u-42", tenant="acme")
    assert_type(report, BudgetReport)
    assert_type(report.left, Decimal)
    assert_type(report.renews_at, float | None)
    assert_type(report.lines, tuple[BudgetLine, ...])
    assert_type(report.tightest.share_left, float)
    bot.set_budget("u-42", tokens=100_000, cost=None)
    bot.set_budget("u-42", messages=50, budget="user/day", this_window=True)
    bot.set_budget("u-42", messages="many")  # type: ignore[arg-type]


async def budgets_async(bot: AsyncAssistantGuard) -> None:
    assert_type(await bot.budget(), BudgetReport)
    assert_type(await bot.set_budget(cost="5.00"), None)


def handle(bot: AssistantGuard) -> None:
    try:
        bot.chat("Hi")
    except BudgetBusy as error:
        assert_type(error.held, Decimal)
    except BudgetExceeded as error:
        assert_type(error.limit, Decimal)
        assert_type(error.account, str)
    except Refused as error:
        assert_type(error.policy, str | None)
    except OutcomeUnknown as error:
        assert_type(error.failure, Failure | None)
    except RunFailed as error:
        assert_type(error.usage, Usage | None)
    except AssistantGuardError as error:
        assert_type(error.run, RunState | None)
        assert_type(error.thread_id, str | None)
        assert_type(error.cost, Decimal | None)
    except openai.OpenAIError:
        raise
    except ValueError:
        raise
    assert issubclass(ConfigurationError, ValueError)


def read(bot: AssistantGuard) -> None:
    with bot.stream("Hi", deadline=30) as stream:
        assert_type(stream, RunStream)
        for event in stream:
            assert_type(event, StreamEvent)
            if isinstance(event, TextDelta):
                assert_type(event.text, str)
                assert_type(event.step, int)
            elif isinstance(event, ToolCallRequested):
                assert_type(event.call, ToolCall)
            elif isinstance(event, ToolCallSettled):
                assert_type(event.output, ToolOutput)
            elif isinstance(event, AttemptFailed):
                assert_type((event.wait, event.code, event.discarded_characters), tuple[float, str | None, int])
            elif isinstance(event, ReplyReady):
                assert_type(event.reply, Reply)
    assert_type(stream.reply, Reply)
    assert_type(bot.stream("Hi").text_deltas(separator=" "), Iterator[str])
    assert_type(bot.thread("maren").stream([{"type": "input_text", "text": "Hi"}]).until_done(), Reply)
    assert_type(stream.close(), None)
    assert_type(bot.heal(), bool)
    assert_type(bot.thread("maren").heal(), bool)
    assert_type(bot.chat("Hi", deadline=2.5), Reply)
    bot.stream(7)  # type: ignore[arg-type]
    bot.chat("Hi", deadline="soon")  # type: ignore[arg-type]
    bot.chat("Hi", 30)  # type: ignore[call-arg]
    stream.reply = stream.reply  # type: ignore[misc]


async def read_async(bot: AsyncAssistantGuard) -> None:
    async with bot.stream("Hi", deadline=30) as stream:
        assert_type(stream, AsyncRunStream)
        async for event in stream:
            assert_type(event, StreamEvent)
    assert_type(stream.reply, Reply)
    assert_type(bot.stream("Hi").text_deltas(), AsyncIterator[str])
    assert_type(await bot.thread("maren").stream("Hi").until_done(), Reply)
    assert_type(await bot.heal(), bool)
    assert_type(await bot.chat("Hi", deadline=2), Reply)
    for _ in stream:  # type: ignore[attr-defined]
        pass


def long_runs(client: openai.OpenAI, assistant: Assistant) -> None:
    AssistantGuard(client, assistant, background=None, cleanup_timeout=5)
    AssistantGuard(client, assistant, background="auto")  # type: ignore[arg-type]


def late(event: Event) -> None:
    if isinstance(event, UsageCorrected):
        assert_type((event.usage, event.before), tuple[Usage, Usage])
        assert_type(event.cost, Decimal | None)
    elif isinstance(event, RequestSettled):
        assert_type((event.background, event.mode_reason), tuple[bool, str | None])


def in_time(bot: AssistantGuard) -> str | None:
    try:
        return bot.chat("Hi", deadline=5).text
    except RunTimedOut as error:
        assert_type(error.policy, str | None)
        return error.thread_id
