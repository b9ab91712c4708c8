"""Faults while the thread is being healed: healing twice over, and never twice the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from assistantguard import (
    AssistantGuardError,
    Reply,
    ThreadRotation,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.events import RunRetried
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, ToolCalls
from tests.support.checks import check_all, paths
from tests.support.models import Lookups, order_desk
from tests.support.world import World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
ITEMS = "/conversations/{id}/items"

FAULTS: dict[str, Callable[..., Fault]] = {
    "429": lambda **when: Fault.rate_limit(at=[1, 2, 3], **when),
    "401": lambda **when: Fault.http(401, type="invalid_request_error", at=1, **when),
    "passing 500": lambda **when: Fault.server_error(at=1, **when),
}


@pytest.mark.parametrize("endpoint", [f"GET {ITEMS}", f"POST {ITEMS}"])
@pytest.mark.parametrize("name", FAULTS)
def test_answering_a_foreign_call_may_fail_and_is_done_later(world: World, name: str, endpoint: str) -> None:
    lookups = Lookups()
    sandbox = world.sandbox(order_desk, faults=[FAULTS[name](endpoint=endpoint)])
    bot = world.bot(sandbox, [RETRY], tools=[lookups.lookup])
    bot.chat("Hello")
    # Put there behind the API's back, so that no fault is spent on it.
    held = sandbox._state.conversation(bot.default.state.generation_id or "")
    foreign: dict[str, Any] = {
        "type": "function_call",
        "id": "fc_foreign",
        "call_id": "call_foreign",
        "name": "lookup",
        "arguments": "{}",
        "status": "completed",
    }
    held.append([type(held.items[0]).of(foreign)])
    outcomes = [bot.try_chat(f"Where is order {number}?") for number in range(1, 4)]
    assert isinstance(outcomes[-1], Reply)
    assert set(lookups.counts.values()) == {1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("at", [1, 2])
def test_outputs_that_were_handed_over_in_part_do_not_stand_twice(world: World, at: int) -> None:
    # Thirty calls need two requests of twenty items; one of the two fails.
    step = ToolCalls(*(FunctionCall("lookup", {"order": str(number)}) for number in range(30)))
    fault = Fault.http(401, type="invalid_request_error", at=at, endpoint=f"POST {ITEMS}")
    lookups = Lookups()
    sandbox = world.sandbox([step, "Here I am.", "Still here."], faults=[fault])
    bot = world.bot(sandbox, [RETRY, ToolStepCeiling(None, max_calls=9)], tools=[lookups.lookup])
    with pytest.raises(ToolStepCeilingReached):
        bot.chat("Look up thirty")
    generation = bot.default.state.generation_id
    assert bot.chat("Are you there?").text == "Here I am."
    assert bot.chat("And now?").text == "Still here."
    assert not lookups.counts
    assert bot.default.state.generation_id == generation
    check_all(bot, sandbox)


def test_a_poisoned_conversation_can_be_rotated_away(world: World) -> None:
    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [RETRY, ThreadRotation(max_turns=1)], tools=[Lookups().lookup])
    bot.chat("Hello")
    call: Any = {"type": "function_call", "call_id": "call_foreign", "name": "lookup", "arguments": "{}"}
    world.wait(bot.guard.client.conversations.items.create(bot.default.state.generation_id, items=[call]))
    assert bot.chat("Where is order 1?").text == "Done: Where is order 1?"
    assert bot.guard.summary()["rotations"] == 1
    check_all(bot, sandbox)


def test_wrapping_up_is_retried_without_tools_too(world: World) -> None:
    def spiral(request: ModelRequest) -> str | FunctionCall:
        if not request.may_call_tools:
            return "I give up."
        return FunctionCall("lookup", {"order": str(len(request.items))})

    lookups = Lookups()
    sandbox = world.sandbox(spiral, faults=[Fault.server_error(at=3), Fault.failed_response(appended=True, at=4)])
    bot = world.bot(sandbox, [RETRY, ToolStepCeiling(1, then="wrap_up")], tools=[lookups.lookup])
    reply = bot.chat("Go")
    assert (reply.text, reply.run.steps, reply.run.retries) == ("I give up.", 1, 2)
    sent = [request.body["tool_choice"] for request in sandbox.requests[-1:]]
    assert sent == ["none"]
    assert sum(lookups.counts.values()) == 1
    check_all(bot, sandbox)


def test_a_fault_at_every_second_request_is_got_over(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox(order_desk, faults=[Fault.server_error(at=range(1, 60, 2), endpoint="*")])
    bot = world.bot(sandbox, [RETRY, ThreadRotation(max_turns=2)], tools=[lookups.lookup])
    for number in range(6):
        assert bot.chat(f"Where is order {number}?").text == f"Done: Where is order {number}?"
    assert set(lookups.counts.values()) == {1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_everywhere_never_break_books_or_thread(world: World, seed: int) -> None:
    lookups = Lookups()
    faults = [
        Fault.rate_limit(rate=0.12, seed=seed, times=8, endpoint="*"),
        Fault.server_error(rate=0.08, seed=seed + 100, times=8, endpoint="*"),
        Fault.http(401, type="invalid_request_error", rate=0.04, seed=seed + 200, times=4, endpoint="*"),
        Fault.failed_response(rate=0.08, seed=seed + 300, text="half", appended=True, usage_reported=False, times=5),
        Fault.failed_response("invalid_prompt", rate=0.08, seed=seed + 400, text="half", appended=True, times=5),
        Fault.incomplete(rate=0.05, seed=seed + 500, text="cut", times=5),
    ]
    sandbox = world.sandbox(order_desk, faults=faults)
    bot = world.bot(sandbox, [RETRY, ToolStepCeiling(3), ThreadRotation(max_turns=3)], tools=[lookups.lookup])
    outcomes = [bot.try_chat(f"Where is order {number}?") for number in range(10)]
    assert sandbox.faults_fired > 2
    assert sum(isinstance(outcome, Reply) for outcome in outcomes) > 3
    assert set(lookups.counts.values()) == {1}
    # Every fault is spent by now, or will be: the thread must come back.
    last = [bot.try_chat(f"Are you there, {number}?") for number in range(14)]
    assert any(isinstance(outcome, Reply) for outcome in last[-3:]), last
    check_all(bot, sandbox)


def test_what_was_retried_without_a_run_counts_as_no_run(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.rate_limit(at=1, endpoint="GET /vector_stores")])
    bot = world.bot(sandbox, [RETRY, VectorStoreReuse()])
    file = world.wait(bot.guard.client.files.create(file=("a.txt", b"a"), purpose="assistants"))
    bot.attach_files([file.id])
    assert len(bot.all(RunRetried)) == 1
    assert bot.guard.summary()["retried_runs"] == bot.guard.summary()["run_count"] == 0
    assert not isinstance(bot.try_chat("Hello"), AssistantGuardError)
    assert paths(sandbox, "GET /vector_stores") == 2
