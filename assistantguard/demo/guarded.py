"""The conversation under a guard, told as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import openai

from assistantguard import (
    Assistant,
    AssistantGuard,
    CostCap,
    Policy,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    Usage,
    VectorStoreReuse,
)
from assistantguard.demo.model import ScriptedModel
from assistantguard.demo.stage import Stage, dollars
from assistantguard.demo.story import Story, Turn
from assistantguard.events import Event, RunRetried, ThreadRotated, VectorStoreCreated
from assistantguard.sandbox import Sandbox

__all__ = ["Narration", "play_guarded"]

_TURNS = 20
_STEPS = 5
_ATTEMPTS = 3
_TOKENS = 500_000
_COST = Decimal("1.00")
_EXCERPT = 420
"""Characters shown of what a rotation carried over."""


def play_guarded(
    client: openai.OpenAI, model: str, story: Story, file_ids: Sequence[str], narration: Narration
) -> None:
    """Play all turns and tell what happens.

    Args:
        client: The client to use.
        model: The model's name.
        story: The conversation.
        file_ids: Ids of the uploaded files.
        narration: Who tells it.
    """
    bot = AssistantGuard(
        client,
        Assistant(model=model, instructions=story.instructions, tools=story.shop.tools),
        policies=_policies(),
        sinks=[narration],
    )
    bot.attach_files(file_ids)
    for turn in story.turns:
        try:
            reply = bot.chat(turn.user)
        except ToolStepCeilingReached as error:
            narration.tell_turn(turn, error.usage, error.cost)
            narration.tell_stop(error)
        else:
            narration.tell_turn(turn, reply.usage, reply.cost)
    summary = bot.summary()
    used = summary["session_tokens_used"]["total"]
    narration.stage.moment(
        "caps",
        f"tokens: {used:,} of {_TOKENS:,} ({used / _TOKENS:.0%} of the session's cap)",
        f"cost:   {dollars(summary['cost'])} of {dollars(_COST)}, booked by the guard, file searches included",
        f"runs: {summary['run_count']}, retried: {summary['retried_runs']}, stopped: {summary['cancelled_runs']},"
        f" rotations: {summary['rotations']}",
        style="green",
    )


def _policies() -> list[Policy]:
    return [
        ThreadRotation(max_turns=_TURNS),
        ToolStepCeiling(_STEPS),
        RepeatedCallBreaker(),
        TransientRetry(max_attempts=_ATTEMPTS),
        VectorStoreReuse(),
        TokenCap(session=_TOKENS),
        CostCap(session=_COST),
    ]


class Narration:
    """Tells a guarded conversation. It is the guard's sink.

    Args:
        stage: Where to tell it.
        story: The conversation.
        sandbox: The server, to show what a rotation carried.
        scripted: The model, to show what it no longer knew.
    """

    def __init__(self, stage: Stage, story: Story, sandbox: Sandbox, scripted: ScriptedModel) -> None:
        self.stage = stage
        self._story = story
        self._sandbox = sandbox
        self._scripted = scripted
        self._turns = 0
        self._rotated_at: int | None = None
        self._missing_before = 0

    def __call__(self, event: Event) -> None:
        """Tell an event when it happens, if it is worth a word."""
        if isinstance(event, VectorStoreCreated):
            self.stage.moment(
                "files attached once",
                f"{event.files} guides are embedded in one vector store ({event.vector_store_id}),"
                " which stays attached to the thread over every rotation.",
            )
        elif isinstance(event, RunRetried):
            self.stage.moment(
                f"rate limit: HTTP {event.status_code} {event.code}",
                f"{event.policy} waits {event.wait:.2f} s and tries again: {event.reason}.",
                style="yellow",
            )
        elif isinstance(event, ThreadRotated):
            self._tell_rotation(event)

    def tell_turn(self, turn: Turn, usage: Usage | None, cost: Decimal | None) -> None:
        """Tell one turn when it has ended."""
        assert usage is not None
        self._turns += 1
        self.stage.turn(self._turns, turn.user, usage, cost)
        missing = [value for _, value in self._scripted.missing[self._missing_before :]]
        self._missing_before = len(self._scripted.missing)
        if missing:
            self.stage.moment(
                "no longer known",
                f"Not in the context any more: {', '.join(missing)}. The model asks for it.",
                style="red",
            )
        elif self._rotated_at is not None and turn.needs and not turn.steps:
            self._tell_known(turn)

    def tell_stop(self, error: ToolStepCeilingReached) -> None:
        """Tell that a tool spiral was stopped."""
        assert error.run is not None
        self.stage.moment(
            "tool spiral stopped",
            f"{error}.",
            f"{error.run.calls} calls ran and no more. The user is told so, the thread takes the next message.",
            style="red",
        )

    def _tell_rotation(self, event: ThreadRotated) -> None:
        self._rotated_at = self._turns
        items = self._sandbox.conversation(event.to_generation_id)
        carried = "".join(part["text"] for part in items[0]["content"]) if items else ""
        self.stage.moment(
            f"rotation: conversation {event.generation} of the same thread",
            f"{event.policy}: {event.reason}. The conversation of {event.context_tokens:,} tokens is left"
            f" ({event.old}). The new one starts with {event.carried_tokens:,} tokens, {event.carried_items} messages:",
            "",
            _excerpt(carried),
            style="magenta",
        )

    def _tell_known(self, turn: Turn) -> None:
        """The first thing asked after a rotation that was said before it."""
        earlier = self._story.turns[: self._rotated_at]
        value = next((one for one in turn.needs if any(one in other.answer for other in earlier)), None)
        if value is None:
            return
        first = next(number for number, other in enumerate(earlier, 1) if value in other.answer)
        self.stage.moment(
            "still known",
            f"{value} was first said in turn {first}, in a conversation that is gone. The answer: {turn.answer}",
            style="green",
        )
        self._rotated_at = None


def _excerpt(text: str) -> str:
    if len(text) <= _EXCERPT:
        return text
    return f"{text[:_EXCERPT].rstrip()} [... {len(text) - _EXCERPT:,} characters more]"
