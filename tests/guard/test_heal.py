"""`heal()`: a thread that someone else broke is usable again, or left for a new one, and the event says so."""

from __future__ import annotations

import time
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Reply,
    RequestRejected,
    RetriesExhausted,
    RunTimedOut,
    TextDelta,
    ThreadBroken,
    TransientRetry,
)
from assistantguard.events import RunStarted, ThreadHealed, ThreadRotated, TurnStarted
from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox, ToolCalls
from tests.support.checks import check_all, check_thread, paths, user_texts
from tests.support.models import Lookups
from tests.support.world import Bot, Thread, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
READ = "GET /conversations/{id}/items"
ADD = "POST /conversations/{id}/items"
DELETE = "DELETE /conversations/{id}/items/{item_id}"


def made(world: World, model: Any = None, **options: Any) -> tuple[Sandbox, Bot, str]:
    """A bot that has had a turn, and its conversation."""
    sandbox = world.sandbox(model)
    bot = world.bot(sandbox, [RETRY], **options)
    bot.chat("Hello")
    assert bot.default.state.generation_id is not None
    return sandbox, bot, bot.default.state.generation_id


def add_messages(bot: Bot, conversation: str, count: int) -> None:
    """What someone else says, in the twenties that the API takes."""
    for start in range(0, count, 20):
        items = [{"type": "message", "role": "user", "content": f"foreign {start + number}"} for number in range(20)]
        bot.world.wait(bot.guard.client.conversations.items.create(conversation, items=items))


def open_calls(sandbox: Sandbox, conversation: str) -> set[str]:
    items = sandbox.conversation(conversation)
    answered = {item["call_id"] for item in items if item["type"] == "function_call_output"}
    return {item["call_id"] for item in items if item["type"] == "function_call"} - answered


def test_a_thread_that_has_not_begun_needs_nothing(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [RETRY])
    assert bot.heal() is False
    assert sandbox.requests == []


def test_a_whole_thread_is_looked_at_and_left_alone(world: World) -> None:
    sandbox, bot, conversation = made(world)
    before = sandbox.conversation(conversation)
    assert bot.heal() is False
    assert sandbox.conversation(conversation) == before
    assert bot.all(ThreadHealed) == []
    assert bot.default.state.generation_id == conversation
    assert len(bot.all(TurnStarted)) == len(bot.all(RunStarted)) == 1
    check_all(bot, sandbox)


@pytest.mark.parametrize("messages", [0, 40, 100, 240])
def test_an_open_call_is_answered_however_deep_it_lies(world: World, messages: int) -> None:
    sandbox, bot, conversation = made(world)
    call_id = sandbox.break_conversation(conversation)
    add_messages(bot, conversation, messages)
    assert open_calls(sandbox, conversation) == {call_id}
    assert bot.heal() is True
    assert open_calls(sandbox, conversation) == set()
    (healed,) = bot.all(ThreadHealed)
    assert (healed.answered_calls, healed.deleted_items, healed.generation_id) == (1, 0, conversation)
    assert bot.heal() is False
    assert bot.chat("Are you there?").text == "You said: Are you there?"
    assert bot.default.state.generation_id == conversation
    check_all(bot, sandbox)


def test_many_open_calls_are_all_answered(world: World) -> None:
    sandbox, bot, conversation = made(world)
    for _ in range(45):
        sandbox.break_conversation(conversation)
    assert bot.heal() is True
    assert open_calls(sandbox, conversation) == set()
    assert sum(event.answered_calls for event in bot.all(ThreadHealed)) == 45
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)


@pytest.mark.parametrize("named", [False, True], ids=["default", "named"])
def test_a_thread_of_its_own_is_healed_alone(world: World, *, named: bool) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [RETRY])
    threads: list[Thread] = [bot.default, bot.thread("other")]
    for thread in threads:
        bot.chat("Hello", thread)
        sandbox.break_conversation(thread.state.generation_id or "")
    broken = threads[not named]
    assert bot.heal(threads[named]) is True
    assert open_calls(sandbox, threads[named].state.generation_id or "") == set()
    assert len(open_calls(sandbox, broken.state.generation_id or "")) == 1


def test_a_conversation_that_is_gone_is_left_for_a_new_one(world: World) -> None:
    sandbox, bot, conversation = made(world)
    sandbox.delete_conversation(conversation)
    assert bot.heal() is True
    (rotated,) = bot.all(ThreadRotated)
    assert (rotated.from_generation_id, rotated.old, rotated.policy) == (conversation, "gone", "healing")
    assert rotated.reason
    assert rotated.to_generation_id == bot.default.state.generation_id
    assert bot.heal() is False
    assert bot.chat("Are you there?").text == "You said: Are you there?"
    assert bot.guard.summary()["rotations"] == 1
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", [ADD, DELETE])
def test_what_cannot_be_healed_is_left_for_a_new_conversation_that_knows_the_talk(world: World, endpoint: str) -> None:
    script = ["Hello to you.", "Half a turn.", "Here I am."]
    sandbox, bot, conversation = made(world, script)
    if endpoint == ADD:
        sandbox.break_conversation(conversation)
    else:
        sandbox.inject(Fault.slow(4, survives_disconnect=True, at=1))
        with pytest.raises(RunTimedOut):
            bot.chat("Slowly", deadline=1.5)
        wait_for_items(sandbox, conversation, 4)
    sandbox.faults = [Fault.http(400, type="invalid_request_error", at=range(1, 50), endpoint=endpoint)]
    assert bot.heal() is True
    (rotated,) = bot.all(ThreadRotated)
    assert (rotated.from_generation_id, rotated.policy) == (conversation, "healing")
    assert "could not be healed" in rotated.reason
    assert rotated.carried_items > 0
    sandbox.faults = []
    assert bot.chat("Are you there?").text
    assert "Slowly" not in str(sandbox.conversation(bot.default.state.generation_id or ""))
    assert "Hello to you." in str(sandbox.conversation(bot.default.state.generation_id or ""))
    check_thread(sandbox, bot.default)


def wait_for_items(sandbox: Sandbox, conversation: str, count: int) -> None:
    until = time.monotonic() + 60
    while len(sandbox.conversation(conversation)) < count:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_lock_that_passes_is_waited_for(world: World) -> None:
    sandbox, bot, conversation = made(world)
    sandbox.break_conversation(conversation)
    sandbox.faults = [Fault.conversation_locked(at=[1, 2], endpoint=ADD)]
    assert bot.heal() is True
    assert open_calls(sandbox, conversation) == set()
    assert bot.all(ThreadRotated) == []
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)


def test_a_lock_that_stays_is_told_and_heals_later(world: World) -> None:
    sandbox, bot, conversation = made(world)
    sandbox.break_conversation(conversation)
    sandbox.faults = [Fault.conversation_locked(at=[1, 2, 3], endpoint=ADD)]
    with pytest.raises(RetriesExhausted):
        bot.heal()
    assert bot.all(ThreadRotated) == []
    assert bot.default.state.generation_id == conversation
    assert bot.heal() is True
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", [READ, ADD])
def test_faults_that_pass_are_got_over(world: World, endpoint: str) -> None:
    sandbox, bot, conversation = made(world)
    sandbox.break_conversation(conversation)
    sandbox.faults = [Fault.dropped(at=1, endpoint=endpoint), Fault.server_error(at=2, endpoint=endpoint)]
    assert bot.heal() is True
    assert open_calls(sandbox, conversation) == set()
    assert bot.default.state.generation_id == conversation
    assert bot.chat("Are you there?").text
    check_all(bot, sandbox)


def test_an_answer_to_a_call_that_got_through_is_not_given_twice(world: World) -> None:
    sandbox, bot, conversation = made(world)
    sandbox.break_conversation(conversation)
    sandbox.faults = [Fault.dropped(at=1, after_work=True, endpoint=ADD)]
    bot.heal()
    bot.heal()
    assert bot.chat("Are you there?").text
    outputs = [item for item in sandbox.conversation(conversation) if item["type"] == "function_call_output"]
    assert len(outputs) == 1
    check_all(bot, sandbox)


def test_a_half_turn_is_removed(world: World) -> None:
    sandbox = world.sandbox([Answer(text="one two three", delay=4), "Here I am."], on_disconnect="complete")
    bot = world.bot(sandbox, [RETRY])
    with pytest.raises(RunTimedOut):
        bot.chat("Slowly", deadline=1.5)
    conversation = bot.default.state.generation_id or ""
    wait_for_items(sandbox, conversation, 2)
    assert bot.heal() is True
    assert sandbox.conversation(conversation) == []
    assert bot.heal() is False
    assert bot.chat("Are you there?").text == "Here I am."
    check_thread(sandbox, bot.default)


def test_what_an_abandoned_stream_adds_later_is_removed_and_counts_as_done(world: World) -> None:
    script = ["Hello.", Answer(text="one two three four " * 6, pace=0.3), "Here I am."]
    sandbox, bot, conversation = made(world, script)
    sandbox.inject(Fault.unstoppable(at=1))
    bot.stream("Slowly", until=lambda event: isinstance(event, TextDelta))
    wait_for_items(sandbox, conversation, 4)
    assert bot.heal() is True
    assert user_texts(sandbox.conversation(conversation)) == ["Hello"]
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)


def test_a_half_turn_that_comes_late_with_an_open_call_is_removed(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([ToolCalls(FunctionCall("lookup", {"order": 1})), "Here I am."])
    bot = world.bot(sandbox, [TransientRetry(1_000, wait=tenacity.wait_fixed(0.05))], tools=[lookups.lookup])
    sandbox.inject(Fault.unstoppable(at=1, delay=3.0))
    with pytest.raises(RunTimedOut):
        bot.chat("Where is order 1?", deadline=1.0)
    assert bot.chat("Are you there?").text == "Here I am."
    conversation = sandbox.conversation(bot.default.state.generation_id or "")
    assert [item["type"] for item in conversation] == ["message", "message"]
    assert user_texts(conversation) == ["Are you there?"]
    assert not lookups.counts
    check_all(bot, sandbox, nameless=1)


def test_an_output_that_could_not_be_handed_over_is_handed_over(world: World) -> None:
    lookups = Lookups()
    faults = [Fault.http(401, type="invalid_request_error", at=2)]
    faults.append(Fault.http(401, type="invalid_request_error", at=1, endpoint=ADD))
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Here I am."], faults=faults)
    bot = world.bot(sandbox, [RETRY], tools=[lookups.lookup])
    assert isinstance(bot.try_chat("Where is it?"), RequestRejected)
    conversation = bot.default.state.generation_id or ""
    assert len(open_calls(sandbox, conversation)) == 1
    assert bot.heal() is True
    assert open_calls(sandbox, conversation) == set()
    assert "order 1 was sent" in str(sandbox.conversation(conversation))
    assert bot.heal() is False
    assert bot.chat("Are you there?").text == "Here I am."
    assert lookups.counts == {"1": 1}
    check_all(bot, sandbox)


def test_handing_over_is_tried_again_and_ends_in_a_named_error(world: World) -> None:
    lookups = Lookups()
    faults = [Fault.http(401, type="invalid_request_error", at=2)]
    faults.append(Fault.http(401, type="invalid_request_error", at=1, endpoint=ADD))
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Here I am."], faults=faults)
    bot = world.bot(sandbox, [RETRY], tools=[lookups.lookup])
    assert isinstance(bot.try_chat("Where is it?"), RequestRejected)
    sandbox.inject(Fault.server_error(at=(1, 2, 3), endpoint=ADD))
    with pytest.raises(RetriesExhausted):
        bot.heal()
    sandbox.inject(Fault.server_error(at=(1, 2), endpoint=ADD))
    assert bot.heal() is True
    assert bot.chat("Are you there?").text == "Here I am."
    check_all(bot, sandbox)


def test_an_answer_that_comes_late_beside_a_foreign_call_does_not_stand_twice(world: World) -> None:
    sandbox = world.sandbox([Answer(text="one two three four " * 3, pace=0.3), "Here I am."])
    bot = world.bot(sandbox, [TransientRetry(1_000, wait=tenacity.wait_fixed(0.05))], background=False)
    for fault in (Fault.cut(after=6, goes_on=True, at=1), Fault.unanswered_call(at=2)):
        sandbox.inject(fault)
    bot.stream("Slowly")
    conversation = sandbox.conversation(bot.default.state.generation_id or "")
    assert [(item["type"], item.get("role")) for item in conversation] == [
        ("message", "user"),
        ("message", "assistant"),
    ]
    check_thread(sandbox, bot.default)


def test_a_conversation_that_was_taken_up_is_healed_before_its_first_turn(world: World) -> None:
    sandbox, _, conversation = made(world)
    sandbox.break_conversation(conversation)
    bot = world.bot(sandbox, [RETRY])
    thread = bot.thread(conversation_id=conversation)
    assert bot.heal(thread) is True
    assert bot.heal(thread) is False
    before = paths(sandbox, ADD)
    assert bot.chat("Are you there?", thread).text == "You said: Are you there?"
    assert paths(sandbox, ADD) == before
    check_thread(sandbox, thread)


def test_a_conversation_that_never_was_is_no_reason_for_a_new_one(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [RETRY])
    thread = bot.thread(conversation_id="conv_nowhere")
    with pytest.raises(ThreadBroken):
        bot.heal(thread)
    assert bot.all(ThreadRotated) == []
    assert sandbox.conversations == []


def test_healing_waits_for_the_turn_that_is_on(world: World) -> None:
    sandbox = world.sandbox([Answer(text="one two three", delay=0.2), "Two."])
    bot = world.bot(sandbox, [RETRY])
    reply, healed = bot.at_once(lambda: bot.guard.chat("Hello"), bot.guard.heal)
    assert isinstance(reply, Reply)
    assert reply.text == "one two three"
    assert healed is False
    assert bot.chat("Two?").text == "Two."
    check_all(bot, sandbox)
