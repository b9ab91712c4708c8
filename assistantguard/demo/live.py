"""The story in short, on OpenAI, under a small cap."""

from __future__ import annotations

import os
from decimal import Decimal

import openai

from assistantguard import (
    Assistant,
    AssistantGuard,
    AssistantGuardError,
    CostCap,
    Refused,
    RepeatedCallBreaker,
    ThreadRotation,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.demo.stage import Stage, dollars
from assistantguard.demo.story import Story
from assistantguard.errors import RunFailed, RunStopped
from assistantguard.events import Event, RunRetried, ThreadRotated

__all__ = ["MODEL", "MODEL_VARIABLE", "play_live"]

MODEL = "gpt-6-luna"
MODEL_VARIABLE = "ASSISTANTGUARD_DEMO_MODEL"
KEY_VARIABLE = "OPENAI_API_KEY"

_CAP = Decimal("0.05")
_TURNS = 3
_STEPS = 3
_OUTPUT_TOKENS = 600

_MESSAGES = (
    "Hello, Maren Holt here, Birkdale Hill Club, customer number C-20417. Please look up order LK-48213.",
    "One of the tents has a torn seam on the fly. Please start an exchange for it.",
    "What did one tent cost us, after the club discount of ten per cent?",
    "Which return number did you give me for the tent?",
    "Please check the stock of BTS-655-41 in these shops, one call at a time, until one has a pair: {shops}.",
    "Never mind the boots. What was our customer number?",
)
"""What the user says; the fourth comes after a rotation."""


def play_live(story: Story, stage: Stage, model: str | None) -> int:
    """Play a few turns on OpenAI (or the server in ``OPENAI_BASE_URL``); return the exit code.

    Args:
        story: The shop's records and instructions are used, not the script.
        stage: Where to tell it.
        model: The model; None takes the environment's, or a cheap one.
    """
    if not os.environ.get(KEY_VARIABLE):
        stage.say(
            f"The live demo talks to OpenAI and needs a key: set {KEY_VARIABLE}, or leave --live out for the sandbox."
        )
        return 2
    name = model or os.environ.get(MODEL_VARIABLE) or MODEL
    stage.title("A guarded conversation with OpenAI")
    stage.say(
        f"Model {name} (another one: {MODEL_VARIABLE}). This run spends at most {dollars(_CAP)}: a CostCap refuses each"
        f" request that could pass it. {len(_MESSAGES)} turns, no files; the conversation is deleted at the end."
    )
    with openai.OpenAI() as client:
        bot = _bot(client, story, name, _Narrator(stage))
        try:
            code = _play(bot, story, stage)
        finally:
            _tidy(client, bot, stage)
        summary = bot.summary()
        used = summary["session_tokens_used"]
        stage.moment(
            "the bill",
            f"{summary['run_count']} runs, {summary['rotations']} rotations, {summary['retried_runs']} retried,"
            f" {summary['cancelled_runs']} stopped",
            f"{used['input']:,} input tokens ({used['cached']:,} cached), {used['output']:,} output tokens",
            f"{dollars(summary['cost'])} of at most {dollars(_CAP)}",
            style="green",
        )
    return code


def _bot(client: openai.OpenAI, story: Story, model: str, narrator: _Narrator) -> AssistantGuard:
    assistant = Assistant(
        model=model,
        instructions=story.instructions,
        tools=story.shop.tools,
        max_output_tokens=_OUTPUT_TOKENS,
        parallel_tool_calls=False,
    )
    policies = [
        ThreadRotation(max_turns=_TURNS),
        ToolStepCeiling(_STEPS),
        RepeatedCallBreaker(),
        TransientRetry(),
        CostCap(session=_CAP),
    ]
    return AssistantGuard(client, assistant, policies=policies, sinks=[narrator], run_timeout=90)


def _play(bot: AssistantGuard, story: Story, stage: Stage) -> int:
    """Play the turns. A stop is part of the story; a refusal or a failure ends it."""
    for number, message in enumerate(_MESSAGES, 1):
        user = message.format(shops=", ".join(story.shops[:6]))
        try:
            reply = bot.chat(user)
        except RunStopped as error:
            _tell_turn(stage, number, user, error)
            stage.moment("stopped", f"{error}. The thread takes the next message.", style="red")
        except (Refused, RunFailed) as error:
            stage.moment(type(error).__name__, str(error), style="red")
            return 1
        else:
            stage.turn(number, user, reply.usage, reply.cost)
            stage.say(f"    {reply.text}")
    return 0


def _tell_turn(stage: Stage, number: int, user: str, error: AssistantGuardError) -> None:
    if error.usage is not None:
        stage.turn(number, user, error.usage, error.cost)


def _tidy(client: openai.OpenAI, bot: AssistantGuard, stage: Stage) -> None:
    """Delete the last conversation; the earlier ones went with their rotations."""
    conversation_id = bot.thread(bot.thread_id).state.generation_id
    if conversation_id is None:
        return
    try:
        client.conversations.delete(conversation_id)
    except openai.OpenAIError as error:
        stage.say(f"The conversation {conversation_id} could not be deleted: {error}")


class _Narrator:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunRetried):
            self._stage.moment("retry", f"{event.policy} waits {event.wait:.1f} s: {event.reason}.", style="yellow")
        elif isinstance(event, ThreadRotated):
            self._stage.moment(
                "rotation",
                f"{event.policy}: {event.reason}. {event.context_tokens:,} tokens were left, the new conversation"
                f" starts with {event.carried_tokens:,}.",
                style="magenta",
            )
