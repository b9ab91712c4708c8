"""Keeps an app built on OpenAI Assistants alive and its bill bounded.

Wrap your own client, have a conversation::

    from openai import OpenAI
    from assistantguard import Assistant, AssistantGuard, ThreadRotation, TokenCap, ToolStepCeiling

    bot = AssistantGuard(
        OpenAI(),
        Assistant(model="gpt-6-luna", instructions="You answer questions about orders.", tools=[lookup]),
        policies=[ThreadRotation(max_turns=30), ToolStepCeiling(5), TokenCap(session=500_000)],
    )
    print(bot.chat("Where is order #W2378156?").text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from assistantguard.errors import (
    AssistantGuardError,
    BudgetBusy,
    BudgetExceeded,
    ConfigurationError,
    DatabaseUnavailable,
    LeaseLost,
    OutcomeUnknown,
    PolicyRefused,
    QuotaExhausted,
    Refused,
    RepeatedToolCall,
    ReplyUnavailable,
    RequestRejected,
    RetriesExhausted,
    RunFailed,
    RunIncomplete,
    RunStopped,
    RunTimedOut,
    ThreadArchived,
    ThreadBroken,
    ThreadBusy,
    ThreadNameTaken,
    ThreadNotFound,
    ThreadRefused,
    ToolStepCeilingReached,
    TooManyRequests,
    TooManyThreads,
    VectorStoreFailed,
)
from assistantguard.guard import AssistantGuard
from assistantguard.guarded_thread import AsyncGuardedThread, GuardedThread
from assistantguard.ledger import Ledger, MemoryLedger
from assistantguard.models import (
    Assistant,
    AttemptFailed,
    Failure,
    Item,
    Reply,
    ReplyReady,
    RunState,
    StreamEvent,
    TextDelta,
    ThreadState,
    ToolCall,
    ToolCallRequested,
    ToolCallSettled,
    ToolOutput,
    Usage,
)
from assistantguard.models.carry_over import CarryOver
from assistantguard.policies import (
    CostCap,
    Policy,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
    default_policies,
    observe,
)
from assistantguard.prices import Price, PriceBook
from assistantguard.streams import AsyncRunStream, RunStream
from assistantguard.telemetry import Sink, StructlogSink
from assistantguard.tools import ToolError, tool

if TYPE_CHECKING:
    from assistantguard.async_guard import AsyncAssistantGuard
    from assistantguard.batches import (
        BatchProgress,
        BatchResult,
        BatchUnfinished,
        Job,
        JobError,
        JobProblem,
        JobResult,
        MalformedJobs,
    )
    from assistantguard.dropin.opening import drop_in
    from assistantguard.models.budget import BudgetLine, BudgetReport
    from assistantguard.policies import Budget, ModelRouting, Pacing, ReplyCache, Route, TopicCheck
    from assistantguard.policies.routing_rules import (
        Downgrade,
        Fallback,
        ForTenants,
        ForUsers,
        MatchingMessages,
        Otherwise,
        ShortMessages,
        WithoutTools,
    )
    from assistantguard.telemetry import JsonLinesSink
    from assistantguard.telemetry.otel import OpenTelemetrySink
    from assistantguard.threads import AsyncUserThreads, DeletedThread, ThreadInfo, ThreadStatistics, UserThreads

__all__ = [
    "Assistant",
    "AssistantGuard",
    "AssistantGuardError",
    "AsyncAssistantGuard",
    "AsyncGuardedThread",
    "AsyncRunStream",
    "AsyncUserThreads",
    "AttemptFailed",
    "BatchProgress",
    "BatchResult",
    "BatchUnfinished",
    "Budget",
    "BudgetBusy",
    "BudgetExceeded",
    "BudgetLine",
    "BudgetReport",
    "CarryOver",
    "ConfigurationError",
    "CostCap",
    "DatabaseUnavailable",
    "DeletedThread",
    "Downgrade",
    "Failure",
    "Fallback",
    "ForTenants",
    "ForUsers",
    "GuardedThread",
    "Item",
    "Job",
    "JobError",
    "JobProblem",
    "JobResult",
    "JsonLinesSink",
    "LeaseLost",
    "Ledger",
    "MalformedJobs",
    "MatchingMessages",
    "MemoryLedger",
    "ModelRouting",
    "OpenTelemetrySink",
    "Otherwise",
    "OutcomeUnknown",
    "Pacing",
    "Policy",
    "PolicyRefused",
    "Price",
    "PriceBook",
    "QuotaExhausted",
    "Refused",
    "RepeatedCallBreaker",
    "RepeatedToolCall",
    "Reply",
    "ReplyCache",
    "ReplyReady",
    "ReplyUnavailable",
    "RequestRejected",
    "RetriesExhausted",
    "Route",
    "RunFailed",
    "RunIncomplete",
    "RunState",
    "RunStopped",
    "RunStream",
    "RunTimedOut",
    "ShortMessages",
    "Sink",
    "StreamEvent",
    "StructlogSink",
    "TextDelta",
    "ThreadArchived",
    "ThreadBroken",
    "ThreadBusy",
    "ThreadInfo",
    "ThreadNameTaken",
    "ThreadNotFound",
    "ThreadRefused",
    "ThreadRotation",
    "ThreadState",
    "ThreadStatistics",
    "TokenCap",
    "TooManyRequests",
    "TooManyThreads",
    "ToolCall",
    "ToolCallRequested",
    "ToolCallSettled",
    "ToolError",
    "ToolOutput",
    "ToolStepCeiling",
    "ToolStepCeilingReached",
    "TopicCheck",
    "TransientRetry",
    "Usage",
    "UserThreads",
    "VectorStoreFailed",
    "VectorStoreReuse",
    "WithoutTools",
    "default_policies",
    "drop_in",
    "observe",
    "tool",
]

_LATER = {
    "AsyncAssistantGuard": "async_guard",
    "AsyncUserThreads": "threads",
    "BatchProgress": "batches",
    "BatchResult": "batches",
    "BatchUnfinished": "batches",
    "Budget": "policies.budget",
    "BudgetLine": "models.budget",
    "BudgetReport": "models.budget",
    "DeletedThread": "threads",
    "Downgrade": "policies.routing_rules",
    "Fallback": "policies.routing_rules",
    "ForTenants": "policies.routing_rules",
    "ForUsers": "policies.routing_rules",
    "MatchingMessages": "policies.routing_rules",
    "ModelRouting": "policies.routing",
    "OpenTelemetrySink": "telemetry.otel",
    "Otherwise": "policies.routing_rules",
    "Route": "policies.route",
    "ShortMessages": "policies.routing_rules",
    "ReplyCache": "policies.reply_cache",
    "Job": "batches",
    "JobError": "batches",
    "JobProblem": "batches",
    "JobResult": "batches",
    "JsonLinesSink": "telemetry.jsonl",
    "MalformedJobs": "batches",
    "ThreadInfo": "threads",
    "ThreadStatistics": "threads",
    "TopicCheck": "policies.topics",
    "UserThreads": "threads",
    "Pacing": "policies.pacing",
    "WithoutTools": "policies.routing_rules",
    "drop_in": "dropin.opening",
}


def __getattr__(name: str) -> Any:
    """What not every application needs is imported when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
