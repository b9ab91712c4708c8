"""Playing recorded threads through the sandbox: one row of the comparison."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard.errors import Refused, RunStopped
from assistantguard.guard import AssistantGuard
from assistantguard.models import Assistant
from assistantguard.replay.model import RecordedModel
from assistantguard.sandbox import Sandbox, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from openai import OpenAI

    from assistantguard.models import ToolCall
    from assistantguard.replay.recording import RecordedThread
    from assistantguard.replay.settings import RowSettings
    from assistantguard.sandbox import Billing

__all__ = ["Row", "play_row"]


@dataclass(frozen=True, slots=True)
class Row:
    """What one way of playing the threads cost, as the sandbox billed it."""

    name: str
    turns: int
    model_calls: int
    input_tokens: int
    """Cached ones included."""
    cached_tokens: int
    output_tokens: int
    cost: Decimal | None
    """US dollars; None where a model has no known price."""
    input_cost: Decimal | None
    """The part of `cost` that input tokens made, cached ones and cache writes included."""
    largest_context: int
    """The most tokens that one call read."""
    argument_values: int
    """Values in tool arguments that had occurred earlier in the thread, once for each use."""
    argument_values_in_context: int
    """Those that stood in the model's context when it used them."""
    rotations: int
    stops: int
    """Runs that the guard ended before the recorded answer; their remaining steps are not played."""

    @property
    def argument_recall(self) -> float | None:
        """The share of values that still stood in the context; None where there were none."""
        return self.argument_values_in_context / self.argument_values if self.argument_values else None


@dataclass(slots=True)
class _Counts:
    turns: int = 0
    rotations: int = 0
    stops: int = 0


class _ReplayGuard(AssistantGuard):
    """Answers every step with what was recorded."""

    recorded: RecordedModel

    def dispatch_tools(self, calls: Sequence[ToolCall]) -> list[str]:  # noqa: ARG002  in the recording's order
        return self.recorded.outputs()


def play_row(
    settings: RowSettings, threads: Sequence[RecordedThread], on_turn: Callable[[], None] = lambda: None
) -> Row:
    """Play all threads, one after another, in a sandbox of their own.

    Args:
        settings: With or without a guard, and which.
        threads: What was recorded.
        on_turn: Called after each turn.
    """
    model = RecordedModel()
    counts = _Counts()
    with Sandbox(model, model_in_thread=False) as sandbox:
        client = sandbox.client()
        for thread in threads:
            play = _play_guarded if settings.guarded else _play_bare
            play(client, settings, thread, model, counts, on_turn)
        return _row(settings.name, sandbox.billing, model, counts)


def _play_bare(
    client: OpenAI,
    _settings: RowSettings,
    thread: RecordedThread,
    model: RecordedModel,
    counts: _Counts,
    on_turn: Callable[[], None],
) -> None:
    """The same conversation as an application without a guard has it: one conversation for good."""
    conversation = client.conversations.create()
    request: dict[str, Any] = {"model": thread.model, "conversation": conversation.id}
    if thread.instructions:
        request["instructions"] = thread.instructions
    if thread.tools:
        request["tools"] = list(thread.tools)
    for turn in thread.turns:
        model.begin(turn)
        items: Any = [{"type": "message", "role": "user", "content": turn.text}]
        while items:
            response = client.responses.create(**request, input=items)
            calls = [item for item in response.output if item.type == "function_call"]
            outputs = model.outputs() if calls else []
            items = [
                {"type": "function_call_output", "call_id": call.call_id, "output": output}
                for call, output in zip(calls, outputs, strict=True)
            ]
        counts.turns += 1
        on_turn()


def _play_guarded(
    client: OpenAI,
    settings: RowSettings,
    thread: RecordedThread,
    model: RecordedModel,
    counts: _Counts,
    on_turn: Callable[[], None],
) -> None:
    assistant = Assistant(thread.model, thread.instructions, tools=thread.tools)
    guard = _ReplayGuard(client, assistant, policies=settings.policies(), sinks=[])
    guard.recorded = model
    for turn in thread.turns:
        model.begin(turn)
        try:
            guard.chat(turn.text)
        except (RunStopped, Refused):
            counts.stops += 1
        counts.turns += 1
        on_turn()
    counts.rotations += guard.summary()["rotations"]


def _row(name: str, billing: Billing, model: RecordedModel, counts: _Counts) -> Row:
    totals = billing.totals
    return Row(
        name=name,
        turns=counts.turns,
        model_calls=totals.requests,
        input_tokens=totals.input_tokens,
        cached_tokens=totals.cached_tokens,
        output_tokens=totals.output_tokens,
        cost=totals.cost,
        input_cost=Totals.of([dataclasses.replace(call, output_tokens=0) for call in billing.calls]).cost,
        largest_context=model.largest_context,
        argument_values=model.values,
        argument_values_in_context=model.values_in_context,
        rotations=counts.rotations,
        stops=counts.stops,
    )
