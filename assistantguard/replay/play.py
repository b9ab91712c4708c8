"""Playing recorded threads through the sandbox: one row of the comparison."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import openai

from assistantguard.errors import Refused, RunStopped
from assistantguard.guard import AssistantGuard
from assistantguard.models import Assistant
from assistantguard.replay.model import RecordedModel
from assistantguard.sandbox import Sandbox, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from assistantguard.models import ToolCall
    from assistantguard.replay.recording import RecordedThread, RecordedTurn
    from assistantguard.replay.settings import RowSettings

__all__ = ["ReplayError", "Row", "play_row"]


class ReplayError(Exception):
    """A recorded request was refused. The message says where, and what the sandbox said."""


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


def play_row(
    settings: RowSettings, threads: Sequence[RecordedThread], on_turn: Callable[[], None] = lambda: None
) -> Row:
    """Play all threads, one after another, in a sandbox of their own.

    Args:
        settings: With or without a guard, and which.
        threads: What was recorded.
        on_turn: Called after each turn.

    Raises:
        ReplayError: The sandbox refused a request.
    """
    model = RecordedModel()
    with Sandbox(model, model_in_thread=False) as sandbox:
        player = _Player(settings, model, sandbox.client(), on_turn)
        for thread in threads:
            if settings.guarded:
                player.play_guarded(thread)
            else:
                player.play_bare(thread)
        calls = sandbox.billing.calls
        totals = Totals.of(calls)
        return Row(
            name=settings.name,
            turns=player.turns,
            model_calls=totals.requests,
            input_tokens=totals.input_tokens,
            cached_tokens=totals.cached_tokens,
            output_tokens=totals.output_tokens,
            cost=totals.cost,
            input_cost=Totals.of([dataclasses.replace(call, output_tokens=0) for call in calls]).cost,
            largest_context=model.largest_context,
            argument_values=model.values,
            argument_values_in_context=model.values_in_context,
            rotations=player.rotations,
            stops=player.stops,
        )


class _ReplayGuard(AssistantGuard):
    """Answers every step with what was recorded."""

    recorded: RecordedModel

    def dispatch_tools(self, calls: Sequence[ToolCall]) -> list[str]:  # noqa: ARG002  they are the recording's
        return self.recorded.outputs()


@dataclass(slots=True)
class _Player:
    settings: RowSettings
    model: RecordedModel
    client: openai.OpenAI
    on_turn: Callable[[], None]
    turns: int = 0
    rotations: int = 0
    stops: int = 0

    def play_bare(self, thread: RecordedThread) -> None:
        """Talk as an application without a guard does: one conversation for good."""
        conversation = self.client.conversations.create()
        request: dict[str, Any] = {"model": thread.model, "conversation": conversation.id}
        if thread.instructions:
            request["instructions"] = thread.instructions
        if thread.tools:
            request["tools"] = list(thread.tools)
        for number, turn in enumerate(thread.turns, start=1):
            with self._turn(thread, number, turn):
                items: Any = [{"type": "message", "role": "user", "content": turn.text}]
                while items:
                    response = self.client.responses.create(**request, input=items)
                    calls = [item for item in response.output if item.type == "function_call"]
                    outputs = self.model.outputs() if calls else []
                    items = [
                        {"type": "function_call_output", "call_id": call.call_id, "output": output}
                        for call, output in zip(calls, outputs, strict=True)
                    ]

    def play_guarded(self, thread: RecordedThread) -> None:
        """Talk through a guard."""
        assistant = Assistant(thread.model, thread.instructions, tools=thread.tools)
        guard = _ReplayGuard(self.client, assistant, policies=self.settings.policies(), sinks=[])
        guard.recorded = self.model
        for number, turn in enumerate(thread.turns, start=1):
            with self._turn(thread, number, turn):
                try:
                    guard.chat(turn.text)
                except (RunStopped, Refused):
                    self.stops += 1
        self.rotations += guard.summary()["rotations"]

    @contextlib.contextmanager
    def _turn(self, thread: RecordedThread, number: int, turn: RecordedTurn) -> Iterator[None]:
        self.model.begin(turn)
        try:
            yield
        except openai.OpenAIError as error:
            raise ReplayError(f"row {self.settings.name}, thread {thread.id}, turn {number}: {error}") from error
        self.turns += 1
        self.on_turn()
