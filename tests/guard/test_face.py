"""The face of the two guards: replies, summary, threads, and that both colours offer the same."""

from __future__ import annotations

import inspect
from decimal import Decimal
from typing import Any

import openai
import pytest

import assistantguard
from assistantguard import (
    Assistant,
    AssistantGuard,
    AssistantGuardError,
    AsyncAssistantGuard,
    AsyncGuardedThread,
    AsyncUserThreads,
    ConfigurationError,
    GuardedThread,
    Usage,
    UserThreads,
)
from assistantguard.events import TurnStarted
from assistantguard.sandbox import Answer, FunctionCall
from tests.support.checks import check_all, user_texts
from tests.support.models import Lookups
from tests.support.world import MODEL, World


def test_a_reply_says_what_was_answered_and_what_it_cost(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "W2378156"}), "It was sent."])
    bot = world.bot(sandbox, tools=[lookups.lookup])
    reply = bot.chat("Where is order #W2378156?")
    billed = sandbox.billing.totals
    assert reply.text == str(reply) == "It was sent."
    assert reply.complete
    assert reply.usage == Usage(billed.input_tokens, 0, 0, billed.output_tokens, 0, 0, 2)
    assert reply.cost == billed.cost
    assert isinstance(reply.cost, Decimal)
    assert reply.thread_id == bot.guard.thread_id
    run = reply.run
    assert (run.status, run.steps, run.calls, run.retries, run.attempt) == ("completed", 1, 1, 0, 1)
    assert run.response_ids == [call.response_id for call in sandbox.billing.calls]
    assert run.thread_id == reply.thread_id
    assert run.seconds > 0
    check_all(bot, sandbox)


def test_the_summary_before_anything_happened_is_all_nought(world: World) -> None:
    summary = world.bot(world.sandbox()).guard.summary()
    assert summary == {
        "run_count": 0,
        "cancelled_runs": 0,
        "retried_runs": 0,
        "rotations": 0,
        "current_turn_count": 0,
        "session_tokens_used": {"input": 0, "cached": 0, "output": 0, "reasoning": 0, "total": 0},
        "cost": Decimal(0),
        "estimated_tokens": 0,
        "vector_store_id": None,
        "thread_id": None,
    }


def test_the_summary_adds_up_over_threads_and_caching(world: World) -> None:
    sandbox = world.sandbox(lambda request: Answer("Yes.", reasoning_tokens=30))
    assistant = Assistant(model=MODEL, instructions="You know all about orders. " * 300)
    bot = world.bot(sandbox, assistant=assistant)
    other = bot.thread()
    for number in range(3):
        bot.chat(f"Hello {number}")
        bot.chat(f"Hello {number}", other)
    used = bot.guard.summary()["session_tokens_used"]
    billed = sandbox.billing.totals
    assert used == {
        "input": billed.input_tokens,
        "cached": billed.cached_tokens,
        "output": billed.output_tokens,
        "reasoning": billed.reasoning_tokens,
        "total": billed.total_tokens,
    }
    assert billed.cached_tokens > 0
    assert billed.cache_write_tokens > 0
    assert bot.guard.summary()["cost"] == billed.cost
    assert bot.guard.summary()["run_count"] == 6
    assert bot.guard.summary()["current_turn_count"] == 3
    check_all(bot, sandbox, bot.default, other)


def test_a_guard_gives_back_what_it_was_given(world: World) -> None:
    sandbox = world.sandbox()
    client = world.client(sandbox)
    assistant = Assistant(model=MODEL)
    bot = world.bot(sandbox, assistant=assistant, client=client)
    assert bot.guard.client is client
    assert bot.guard.assistant is assistant


def test_the_users_client_keeps_its_own_retries(world: World) -> None:
    sandbox = world.sandbox()
    client = world.client(sandbox, max_retries=7)
    bot = world.bot(sandbox, client=client)
    bot.chat("Hello")
    assert client.max_retries == 7


def test_threads_are_apart_and_keep_their_names(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox)
    mine, yours = bot.thread("mine"), bot.thread("yours")
    assert bot.chat("I am first", mine).thread_id == "mine"
    assert bot.chat("I am second", yours).thread_id == "yours"
    assert bot.thread("mine") is mine
    assert bot.thread().id not in {"mine", "yours", bot.thread().id}
    texts = [user_texts(sandbox.conversation(thread.state.generation_id or "")) for thread in (mine, yours)]
    assert texts == [["I am first"], ["I am second"]]
    assert bot.guard.summary()["thread_id"] is None
    check_all(bot, sandbox, mine, yours)


def test_the_default_thread_is_one_of_the_threads(world: World) -> None:
    bot = world.bot(world.sandbox())
    bot.chat("Hello")
    assert bot.guard.thread(bot.guard.thread_id).state.turns == 1
    assert bot.guard.summary()["thread_id"] == bot.guard.thread_id


def test_a_message_may_be_content_parts(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox)
    parts = [{"type": "input_text", "text": "Where is it?"}]
    assert bot.chat(parts).text == "You said: Where is it?"
    assert bot.chat(({"type": "input_text", "text": "And now?"},)).text == "You said: And now?"
    check_all(bot, sandbox)


@pytest.mark.parametrize("message", ["", "   ", [], None, 7, b"bytes", ["text"], {"text": "x"}])
def test_what_is_no_message_is_refused_before_anything_is_sent(world: World, message: Any) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox)
    with pytest.raises(ConfigurationError, match="the message is"):
        bot.chat(message)
    assert not sandbox.requests
    assert bot.chat("Hello").text == "You said: Hello"


def test_special_text_is_only_text(world: World) -> None:
    bot = world.bot(world.sandbox())
    for text in ("<|endoftext|>", "\x00", "\U0001d573 " * 50, "a" * 10_000):
        assert bot.chat(text).text.startswith("You said: ")
    assert bot.chat("Are you there?").text == "You said: Are you there?"


@pytest.mark.parametrize(
    "message",
    [
        "half a pair \ud83d",
        [{"type": "input_text", "text": "half a pair \ud83d"}],
        [{"type": "input_text", "text": {1}}],
    ],
    ids=["half a pair", "half a pair in a part", "no JSON"],
)
def test_a_message_that_cannot_be_sent_is_refused_and_not_booked(world: World, message: Any) -> None:
    bot = world.bot(world.sandbox())
    bot.chat("Hello")
    used = bot.guard.summary()["session_tokens_used"]
    outcome = bot.try_chat(message)
    if isinstance(outcome, AssistantGuardError):
        assert isinstance(outcome, ConfigurationError)
        assert bot.guard.summary()["session_tokens_used"] == used
    assert bot.guard.summary()["estimated_tokens"] == 0
    assert bot.chat("Are you there?").text == "You said: Are you there?"


def test_a_message_is_sent_with_the_assistants_settings(world: World) -> None:
    sandbox = world.sandbox()
    assistant = Assistant(
        model=MODEL,
        instructions="Be brief.",
        max_output_tokens=200,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        response_format={"type": "text"},
        service_tier="default",
        metadata={"shop": "north"},
        extra_body={"safety_identifier": "user-7"},
    )
    bot = world.bot(sandbox, [], assistant=assistant)
    run = bot.chat("Hello").run
    body = sandbox.requests[-1].body
    assert body["input"] == [{"type": "message", "role": "user", "content": "Hello"}]
    assert body["instructions"] == "Be brief."
    assert (body["max_output_tokens"], body["temperature"], body["top_p"]) == (200, 0.5, 0.9)
    assert body["reasoning"] == {"effort": "low"}
    assert body["text"] == {"format": {"type": "text"}}
    assert body["service_tier"] == "default"
    assert body["safety_identifier"] == "user-7"
    assert body["metadata"] == {"shop": "north", "assistantguard_run": run.id}
    assert body["prompt_cache_key"] == bot.guard.thread_id
    assert body["conversation"] == bot.default.state.generation_id


def test_a_guard_that_is_closed_leaves_the_client_open(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox)
    bot.chat("Hello")
    bot.close()
    bot.close()
    assert not bot.guard.client.is_closed()
    assert bot.chat("Are you there?").text == "You said: Are you there?"


def test_a_guard_is_a_context_manager(world: World, tmp_path: Any) -> None:
    sandbox = world.sandbox()
    path = tmp_path / "events.jsonl"
    bot = world.bot(sandbox, events=path)
    guard: Any = bot.guard
    if world.is_async:

        async def within() -> None:
            async with guard as entered:
                assert entered is guard
                await entered.chat("Hello")

        world.wait(within())
    else:
        with guard as entered:
            assert entered is guard
            entered.chat("Hello")
    assert path.read_text(encoding="utf-8").count("\n") >= 3


def signatures(kind: type) -> dict[str, str]:
    """What a class offers: its public methods with their parameters, and its properties."""
    offered: dict[str, str] = {}
    for name, value in inspect.getmembers(kind):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(value, property):
            offered[name] = "property"
        elif inspect.isfunction(value):
            parameters = inspect.signature(value).parameters.values()
            offered[name] = ", ".join(f"{each.kind.name} {each.name}={each.default!r}" for each in parameters)
    return offered


@pytest.mark.parametrize(
    ("blocking", "asynchronous", "known"),
    [
        (AssistantGuard, AsyncAssistantGuard, {"chat", "attach_files", "thread", "threads"}),
        (GuardedThread, AsyncGuardedThread, {"chat", "attach_files"}),
        (UserThreads, AsyncUserThreads, {"list", "merge"}),
    ],
)
def test_both_colours_have_the_same_face(blocking: type, asynchronous: type, known: set[str]) -> None:
    assert signatures(blocking) == signatures(asynchronous)
    assert set(signatures(blocking)) >= known


@pytest.mark.parametrize("name", ["chat", "attach_files", "dispatch_tool", "dispatch_tools", "close"])
def test_what_waits_is_awaited(name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(AsyncAssistantGuard, name))
    assert not inspect.iscoroutinefunction(getattr(AssistantGuard, name))


def test_every_error_is_the_sdks_own_kind_of_error() -> None:
    errors = [
        value
        for value in vars(assistantguard).values()
        if isinstance(value, type) and issubclass(value, AssistantGuardError)
    ]
    assert len(errors) > 10
    assert all(issubclass(error, openai.OpenAIError) for error in errors)
    assert issubclass(ConfigurationError, ValueError)


def test_each_turn_is_numbered(world: World) -> None:
    bot = world.bot(world.sandbox())
    for number in range(3):
        bot.chat(f"Hello {number}")
    assert [event.turn for event in bot.all(TurnStarted)] == [1, 2, 3]
