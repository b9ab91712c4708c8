"""The public types as a user sees them. Never run: mypy and pyright check it.

A line with ``type: ignore`` is a mistake that a type checker must catch; mypy reports an ignore that nothing needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
from typing_extensions import assert_type

from assistantguard import (
    Assistant,
    AssistantGuard,
    AssistantGuardError,
    AsyncAssistantGuard,
    AsyncGuardedThread,
    BudgetBusy,
    BudgetExceeded,
    CarryOver,
    ConfigurationError,
    CostCap,
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
    RunFailed,
    RunState,
    RunStopped,
    Sink,
    StructlogSink,
    ThreadRotation,
    ThreadState,
    TokenCap,
    ToolCall,
    ToolError,
    ToolStepCeiling,
    TransientRetry,
    Usage,
    VectorStoreReuse,
    default_policies,
    observe,
    tool,
)
from assistantguard.events import Event, RunSettled
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
        assert_type(await bot.close(), None)


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
