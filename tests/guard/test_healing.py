"""Whatever others did to a conversation, the thread takes the next message."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    AssistantGuardError,
    Reply,
    RequestRejected,
    ThreadBroken,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
)
from assistantguard.events import ThreadHealed, ThreadRotated
from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox, ToolCalls
from tests.support.checks import check_all, check_holds, check_thread, paths, user_texts
from tests.support.models import Lookups, SlowModel, order_desk
from tests.support.world import MODEL, Bot, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())


def start(world: World, *policies: Any, model: Any = order_desk, **options: Any) -> tuple[Bot, Sandbox, Lookups]:
    lookups = Lookups()
    sandbox = world.sandbox(model, **options)
    bot = world.bot(sandbox, [RETRY, *policies], tools=[lookups.lookup])
    bot.chat("Hello")
    return bot, sandbox, lookups


def conversation(bot: Bot) -> str:
    return bot.default.state.generation_id or ""


def add_items(world: World, bot: Bot, *items: dict[str, Any]) -> None:
    world.wait(bot.guard.client.conversations.items.create(conversation(bot), items=list(items)))


def open_call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "lookup", "arguments": '{"order": "9"}'}


@pytest.mark.parametrize("calls", [1, 3])
def test_an_open_call_put_there_by_a_third_party_is_answered(world: World, calls: int) -> None:
    bot, sandbox, lookups = start(world)
    add_items(world, bot, *(open_call(f"call_foreign_{number}") for number in range(calls)))
    reply = bot.chat("Where is order 2?")
    assert reply.text == "Done: Where is order 2?"
    assert lookups.counts == {"2": 1}
    (healed,) = bot.all(ThreadHealed)
    assert healed.answered_calls == calls
    assert healed.deleted_items == 0
    check_all(bot, sandbox)


def test_a_poisoned_conversation_is_healed_in_the_middle_of_a_run(world: World) -> None:
    poisoned = False

    def lookup(order: str) -> str:
        """Find an order."""
        nonlocal poisoned
        poisoned = True
        sandbox._state.conversation(conversation(bot)).append([])
        return order

    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [RETRY], tools=[lookup])
    assert bot.chat("Where is order 1?").text == "Done: Where is order 1?"
    assert poisoned
    add_items(world, bot, open_call("call_foreign"))
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    check_all(bot, sandbox)


def test_a_conversation_deleted_under_us_is_replaced(world: World) -> None:
    bot, sandbox, lookups = start(world)
    name, old = bot.guard.thread_id, conversation(bot)
    world.wait(bot.guard.client.conversations.delete(old))
    reply = bot.chat("Where is order 2?")
    assert reply.text == "Done: Where is order 2?"
    assert bot.guard.thread_id == name
    assert conversation(bot) != old
    assert lookups.counts == {"2": 1}
    (rotated,) = bot.all(ThreadRotated)
    assert (rotated.old, rotated.policy) == ("gone", "healing")
    assert "gone" in rotated.reason
    check_all(bot, sandbox)


def test_a_conversation_deleted_before_a_rotation_is_left_without_a_carry_over(world: World) -> None:
    bot, sandbox, _ = start(world, ThreadRotation(max_turns=1))
    world.wait(bot.guard.client.conversations.delete(conversation(bot)))
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    assert [event.old for event in bot.all(ThreadRotated)] == ["gone"]
    check_all(bot, sandbox)


def test_a_conversation_deleted_while_a_tool_runs_ends_in_a_named_error(world: World) -> None:
    runs: list[str] = []

    def lookup(order: str) -> str:
        """Find an order, and lose the conversation."""
        runs.append(order)
        if order == "1":
            del sandbox._state.conversations[conversation(bot)]
        return order

    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [RETRY], tools=[lookup])
    with pytest.raises(ThreadBroken):
        bot.chat("Where is order 1?")
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    assert runs == ["1", "2"]
    check_all(bot, sandbox)


def test_a_conversation_that_never_was_is_told(world: World) -> None:
    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [RETRY])
    thread = bot.thread("mine", conversation_id="conv_never_was")
    for _ in range(2):
        with pytest.raises(ThreadBroken, match="conv_never_was") as caught:
            bot.chat("Hello", thread)
        assert caught.value.thread_id == "mine"
    assert paths(sandbox, "POST /responses") == 0


def test_an_existing_conversation_is_taken_up(world: World) -> None:
    first, sandbox, _ = start(world)
    second = world.bot(sandbox, [RETRY])
    thread = second.thread("again", conversation_id=conversation(first))
    assert second.chat("Hello again", thread).text == "Done: Hello again"
    assert user_texts(sandbox.conversation(conversation(first))) == ["Hello", "Hello again"]
    assert second.all(ThreadRotated) == []


def test_an_existing_poisoned_conversation_is_healed_when_it_is_taken_up(world: World) -> None:
    first, sandbox, _ = start(world)
    add_items(world, first, open_call("call_left"))
    second = world.bot(sandbox, [RETRY])
    thread = second.thread("again", conversation_id=conversation(first))
    assert second.chat("Hello again", thread).text == "Done: Hello again"
    check_thread(sandbox, thread)


def test_the_calls_of_a_refused_step_are_answered_at_once(world: World) -> None:
    step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "123"))
    bot, sandbox, lookups = start(world, ToolStepCeiling(None, max_calls=2), model=["Hi.", step, "Here."])
    with pytest.raises(ToolStepCeilingReached):
        bot.chat("Look up three")
    items = sandbox.conversation(conversation(bot))
    assert sum(item["type"] == "function_call_output" for item in items) == 3
    assert not lookups.counts
    assert bot.chat("Are you there?").text == "Here."
    check_all(bot, sandbox)


def test_calls_of_a_response_that_was_cut_are_answered_and_not_run(world: World) -> None:
    cut = Answer("Let me see.", tool_calls=[FunctionCall("lookup", {"order": "1"})], status="incomplete")
    bot, sandbox, lookups = start(world, model=["Hi.", cut, "Here."])
    reply = bot.chat("Where is it?")
    assert (reply.text, reply.complete) == ("Let me see.", False)
    assert not lookups.counts
    assert bot.chat("Are you there?").text == "Here."
    check_all(bot, sandbox)


def test_calls_of_a_failed_response_that_stayed_are_removed_and_not_run(world: World) -> None:
    failed = Answer(tool_calls=[FunctionCall("lookup", {"order": "1"})], status="failed", appended=True)
    bot, sandbox, lookups = start(world, model=["Hi.", failed, "Where is what?", "Here."])
    assert bot.chat("Where is it?").text == "Where is what?"
    assert not lookups.counts
    check_all(bot, sandbox)
    assert bot.chat("Are you there?").text == "Here."
    check_all(bot, sandbox)


def test_a_failed_reasoning_answer_that_stayed_is_removed_whole(world: World) -> None:
    failed = Answer("Half", reasoning_tokens=40, status="failed", appended=True)
    whole = Answer("Whole.", reasoning_tokens=40)
    bot, sandbox, _ = start(world, model=["Hi.", failed, whole, "Here."])
    assert bot.chat("Where is it?").text == "Whole."
    assert "Half" not in str(sandbox.conversation(conversation(bot)))
    assert bot.chat("Are you there?").text == "Here."
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", ["GET /conversations/{id}/items", "DELETE /conversations/{id}/items/{item_id}"])
@pytest.mark.parametrize("status", [429, 500, 401])
def test_healing_that_fails_is_done_by_the_next_turn(world: World, endpoint: str, status: int) -> None:
    faults = [
        Fault.failed_response("invalid_prompt", text="half", appended=True, at=2),
        Fault.http(status, code="rate_limit_exceeded" if status == 429 else None, at=[1, 2, 3, 4], endpoint=endpoint),
    ]
    bot, sandbox, _ = start(world, faults=faults)
    assert isinstance(bot.try_chat("First try"), AssistantGuardError)
    outcomes = [bot.try_chat(f"Try {number}") for number in range(1, 5)]
    assert isinstance(outcomes[-1], Reply), outcomes
    assert "half" not in str(sandbox.conversation(conversation(bot)))
    assert "First try" not in user_texts(sandbox.conversation(conversation(bot)))
    check_all(bot, sandbox)


def test_the_same_message_asked_again_after_an_error_stands_once(world: World) -> None:
    fault = Fault.failed_response("invalid_prompt", text="half", appended=True, at=[2, 3])
    bot, sandbox, _ = start(world, faults=[fault])
    for _ in range(2):
        with pytest.raises(RequestRejected):
            bot.chat("Where is it?")
    assert bot.chat("Where is it?").text == "Done: Where is it?"
    check_all(bot, sandbox)


def test_healing_does_not_touch_an_earlier_turn_with_the_same_words(world: World) -> None:
    fault = Fault.failed_response("invalid_prompt", appended=True, at=3)
    bot, sandbox, _ = start(world, faults=[fault])
    bot.chat("Yes")
    with pytest.raises(RequestRejected):
        bot.chat("Yes")
    texts = user_texts(sandbox.conversation(conversation(bot)))
    assert texts == ["Hello", "Yes"]
    assert "Done: Yes" in str(sandbox.conversation(conversation(bot)))
    assert bot.chat("Yes, really").text == "Done: Yes, really"


def test_a_locked_conversation_is_tried_again(world: World) -> None:
    lock = Fault.http(
        400,
        message="Another process is currently operating on this conversation. Please retry in a few seconds.",
        type="invalid_request_error",
        code="conversation_locked",
        param="conversation",
        at=[2, 3],
    )
    bot, sandbox, _ = start(world, faults=[lock])
    assert bot.chat("Again").run.retries == 2
    check_all(bot, sandbox)


def test_a_context_that_became_too_long_is_left(world: World) -> None:
    too_long = Fault.http(
        400,
        message="Your input exceeds the context window of this model. Please adjust your input and try again.",
        type="invalid_request_error",
        code="context_length_exceeded",
        param="input",
        at=2,
    )
    bot, sandbox, _ = start(world, faults=[too_long])
    old = conversation(bot)
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    assert conversation(bot) != old
    assert "Hello" in str(sandbox.conversation(conversation(bot)))
    check_all(bot, sandbox)


def test_a_message_that_is_too_long_by_itself_ends_in_a_named_error(world: World) -> None:
    too_long = Fault.http(
        400,
        message="Your input exceeds the context window of this model. Please adjust your input and try again.",
        type="invalid_request_error",
        code="context_length_exceeded",
        at=range(2, 40),
        times=8,
    )
    bot, sandbox, _ = start(world, faults=[too_long])
    with pytest.raises(AssistantGuardError):
        bot.chat("Where is order 2?")
    assert paths(sandbox, "POST /responses") <= 6
    outcomes = [bot.try_chat("Are you there?") for _ in range(3)]
    assert isinstance(outcomes[-1], Reply)
    check_holds(bot)


def test_what_a_late_answer_left_behind_does_not_stand_twice(world: World) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    bot = world.bot(sandbox, [TransientRetry(100, wait=tenacity.wait_fixed(0.02))])
    with slow.released_after(), pytest.raises(AssistantGuardError):
        bot.chat("Slowly: where is order 1?", deadline=1.5)
    slow.wait_until_answered(sandbox)
    # The user asks the same again; the server has meanwhile put the first asking into the conversation.
    slow.release.set()
    outcome = bot.try_chat("Slowly: where is order 1?")
    assert isinstance(outcome, Reply)
    check_holds(bot)
    check_thread(sandbox, bot.default)


def test_a_first_conversation_that_is_lost_is_replaced(world: World) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    retry = TransientRetry(100, wait=tenacity.wait_fixed(0.02))
    bot = world.bot(sandbox, [retry])
    with slow.released_after(), pytest.raises(AssistantGuardError):
        bot.chat("Slowly: where is order 1?", deadline=1.5)
    slow.wait_until_answered(sandbox)
    world.wait(bot.guard.client.conversations.delete(conversation(bot)))
    bot.default.state.suspect = True
    assert bot.chat("Are you there?").text == "Done: Are you there?"


def test_what_landed_late_is_held_for(world: World) -> None:
    slow = SlowModel()
    sandbox = world.sandbox(slow, model_in_thread=True)
    assistant = Assistant(model=MODEL, max_output_tokens=16)
    policies = [TransientRetry(100, wait=tenacity.wait_fixed(0.02)), TokenCap(session=100_000, counting="never")]
    bot = world.bot(sandbox, policies, assistant=assistant)
    with slow.released_after(), pytest.raises(AssistantGuardError):
        bot.chat("Slowly: " + "please tell me more " * 200, deadline=1.5)
    slow.wait_until_answered(sandbox)
    assert bot.chat("Are you there?").text
    check_holds(bot)
