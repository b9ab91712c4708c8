"""The guards that the soak drives: of both colours, with caps and rotations that matter."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import openai

from assistantguard import (
    Assistant,
    AssistantGuard,
    AsyncAssistantGuard,
    CarryOver,
    CostCap,
    Policy,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolCall,
    ToolError,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.telemetry.jsonl import JsonLinesSink
from benchmarks._soak_books import Journal, WatchedLedger
from benchmarks._soak_judge import ToolCounter
from benchmarks._soak_sandbox import API_KEY

__all__ = [
    "CLEANUP_TIMEOUT",
    "KINDS",
    "MODEL",
    "RUN_TIMEOUT",
    "WORKER_MODEL",
    "AsyncSoakGuard",
    "BlockingSoakGuard",
    "Kind",
    "Shared",
    "assistant",
    "async_client",
    "blocking_client",
]

MODEL = "gpt-6-luna"
WORKER_MODEL = "gpt-5.6-luna"
"""What the killed processes ask for, so that their part of the bill can be told apart."""
RUN_TIMEOUT = 12.0
CLEANUP_TIMEOUT = 5.0
_TOOL_TIMEOUT = 2.0
_PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}


def look_up(mark: str, step: int, number: int) -> str:
    """Find an order.

    Args:
        mark: Of the message.
        step: Which step it is for.
        number: Which call of the step it is.
    """
    return f"Order {mark}: part {number} of step {step} was handed to the carrier."


def assistant(model: str = MODEL, max_output_tokens: int = 400) -> Assistant:
    """The assistant that answers. Its short answers keep an endless one short too."""
    return Assistant(
        model=model,
        instructions="You answer questions about orders. Look every order up first.",
        tools=[look_up],
        max_output_tokens=max_output_tokens,
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """How a guard is set up."""

    name: str
    background: bool | None = None
    max_turns: int | None = 6
    max_context_tokens: int | None = None
    summaries: bool = False
    frugal: bool = False
    """Caps that are reached all the time, counted exactly."""

    def policies(self) -> list[Policy]:
        """Fresh policies."""
        carry_over = CarryOver(summary_model=MODEL, summary_tokens=200) if self.summaries else None
        caps: Sequence[Policy] = (TokenCap(session=1_000_000_000, run=20_000),)
        if self.frugal:
            caps = (
                TokenCap(session=150_000, run=4_000, counting="always", wait=0.5),
                CostCap(session="0.50", wait=0.5),
            )
        return [
            ThreadRotation(self.max_turns, max_context_tokens=self.max_context_tokens, carry_over=carry_over),
            ToolStepCeiling(5),
            RepeatedCallBreaker(),
            TransientRetry(4),
            *caps,
        ]


KINDS = (
    Kind("plain"),
    Kind("background", background=True),
    Kind("by size", max_turns=None),
    Kind("frugal", max_context_tokens=2_500, frugal=True),
    Kind("summaries", max_turns=8, summaries=True),
)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all guards have in common."""

    ledger: WatchedLedger
    journal: Journal
    tools: ToolCounter
    events: JsonLinesSink | None = None
    """Where events are kept, if anywhere."""

    def options(self, kind: Kind) -> dict[str, Any]:
        """Arguments of a guard."""
        return {
            "policies": kind.policies(),
            "run_timeout": RUN_TIMEOUT,
            "cleanup_timeout": CLEANUP_TIMEOUT,
            "tool_timeout": _TOOL_TIMEOUT,
            "background": kind.background,
            "ledger": self.ledger,
            "sinks": [self.journal, *(() if self.events is None else (self.events,))],
        }


def _conduct(call: ToolCall) -> tuple[float, bool]:
    """How long a call takes and whether it fails: always the same for the same call."""
    drawn = zlib.crc32(call.arguments_json.encode())
    if drawn % 200 == 0:
        return 1.5 * _TOOL_TIMEOUT, False
    return drawn % 50 / 1000, drawn % 15 == 0


class AsyncSoakGuard(AsyncAssistantGuard):
    """Counts its tool calls."""

    def __init__(self, client: openai.AsyncOpenAI, kind: Kind, shared: Shared) -> None:
        super().__init__(client, assistant(), **shared.options(kind))
        self._tools = shared.tools

    async def dispatch_tool(self, call: ToolCall) -> Any:
        self._tools.note(call)
        seconds, fails = _conduct(call)
        await asyncio.sleep(seconds)
        if fails:
            raise ToolError("The order book is closed.")
        return await super().dispatch_tool(call)


class BlockingSoakGuard(AssistantGuard):
    """Counts its tool calls."""

    def __init__(self, client: openai.OpenAI, kind: Kind, shared: Shared) -> None:
        super().__init__(client, assistant(), **shared.options(kind))
        self._tools = shared.tools

    def dispatch_tool(self, call: ToolCall) -> Any:
        self._tools.note(call)
        seconds, fails = _conduct(call)
        time.sleep(seconds)
        if fails:
            raise ToolError("The order book is closed.")
        return super().dispatch_tool(call)


def async_client(base_url: str) -> openai.AsyncOpenAI:
    """A client of the sandbox in the other process."""
    http = openai.DefaultAsyncHttpxClient(**_PLAIN)
    return openai.AsyncOpenAI(base_url=base_url, api_key=API_KEY, http_client=http)


def blocking_client(base_url: str) -> openai.OpenAI:
    """A client of the sandbox in the other process."""
    return openai.OpenAI(base_url=base_url, api_key=API_KEY, http_client=openai.DefaultHttpxClient(**_PLAIN))
