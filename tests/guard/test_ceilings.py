"""Step N runs, step N + 1 never reaches a tool; and the thread goes on."""

from __future__ import annotations

import pytest

from assistantguard import (
    Assistant,
    RepeatedCallBreaker,
    RepeatedToolCall,
    Reply,
    ToolStepCeiling,
    ToolStepCeilingReached,
)
from assistantguard.events import RunCancelled, RunSettled, RunStep
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox, ToolCalls
from tests.support.checks import check_all, user_texts
from tests.support.models import Lookups
from tests.support.world import MODEL, Bot, World


def spiral(request: ModelRequest) -> str | FunctionCall | ToolCalls:
    """Ask for tools for ever while the user says so; give in when there are none."""
    if "for ever" not in request.last_user_text or not request.may_call_tools:
        return f"Done after {sum(item['type'] == 'function_call' for item in request.items)} calls."
    number = sum(item["type"] == "function_call" for item in request.items) + 1
    if "by twos" in request.last_user_text:
        return ToolCalls(
            FunctionCall("lookup", {"order": str(number)}), FunctionCall("lookup", {"order": str(number + 1)})
        )
    return FunctionCall("lookup", {"order": "same" if "in circles" in request.last_user_text else str(number)})


class Spiral:
    def __init__(self, world: World, *policies: ToolStepCeiling | RepeatedCallBreaker) -> None:
        self.lookups = Lookups()
        self.sandbox: Sandbox = world.sandbox(spiral)
        self.bot: Bot = world.bot(self.sandbox, policies, tools=[self.lookups.lookup])

    @property
    def runs(self) -> int:
        return sum(self.lookups.counts.values())

    def goes_on(self) -> None:
        assert self.bot.chat("Are you there?").text.startswith("Done after")
        check_all(self.bot, self.sandbox)


@pytest.mark.parametrize("steps", [1, 3])
def test_with_a_ceiling_of_n_the_nth_step_runs_and_the_next_does_not(world: World, steps: int) -> None:
    story = Spiral(world, ToolStepCeiling(steps))
    with pytest.raises(ToolStepCeilingReached, match=f"step {steps + 1}, the ceiling is {steps}") as caught:
        story.bot.chat("Go on for ever")
    assert story.runs == steps
    run = caught.value.run
    assert run is not None
    assert (run.steps, run.calls, run.status) == (steps, steps, "cancelled")
    assert caught.value.policy == "ToolStepCeiling"
    assert caught.value.usage == run.usage
    assert run.usage.requests == steps + 1
    assert caught.value.cost == run.cost != 0
    assert caught.value.thread_id == story.bot.guard.thread_id
    assert len(story.bot.all(RunStep)) == steps
    (cancelled,) = story.bot.all(RunCancelled)
    assert cancelled.policy == "ToolStepCeiling"
    assert story.bot.guard.summary()["cancelled_runs"] == 1
    story.goes_on()
    assert story.runs == steps


def test_a_run_of_exactly_as_many_steps_is_left_alone(world: World) -> None:
    lookups = Lookups()
    script = [FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}), "Both were sent."]
    sandbox = world.sandbox(script, require_consumed=True)
    bot = world.bot(sandbox, [ToolStepCeiling(2)], tools=[lookups.lookup])
    reply = bot.chat("Where are they?")
    assert (reply.text, reply.run.steps, reply.run.calls) == ("Both were sent.", 2, 2)
    check_all(bot, sandbox)


def test_several_calls_of_one_answer_are_one_step(world: World) -> None:
    story = Spiral(world, ToolStepCeiling(2))
    with pytest.raises(ToolStepCeilingReached) as caught:
        story.bot.chat("Go on for ever by twos")
    assert story.runs == 4
    assert caught.value.run is not None
    assert (caught.value.run.steps, caught.value.run.calls) == (2, 4)
    story.goes_on()


def test_a_step_that_would_pass_the_ceiling_of_calls_is_not_run_at_all(world: World) -> None:
    story = Spiral(world, ToolStepCeiling(None, max_calls=3))
    with pytest.raises(ToolStepCeilingReached, match="call 4, the ceiling is 3"):
        story.bot.chat("Go on for ever by twos")
    assert story.runs == 2
    story.goes_on()


def test_wrapping_up_asks_for_one_last_answer_without_tools(world: World) -> None:
    story = Spiral(world, ToolStepCeiling(2, then="wrap_up"))
    reply = story.bot.chat("Go on for ever")
    assert reply.text == "Done after 3 calls."
    assert reply.run.steps == 2
    assert story.runs == 2
    assert story.sandbox.requests[-1].body["tool_choice"] == "none"
    story.goes_on()
    assert story.sandbox.requests[-1].body.get("tool_choice") != "none"


def test_the_same_call_is_run_so_often_and_not_once_more(world: World) -> None:
    story = Spiral(world, RepeatedCallBreaker(2))
    with pytest.raises(RepeatedToolCall, match="same call of lookup more than 2 times") as caught:
        story.bot.chat("Go on for ever in circles")
    assert story.lookups.counts == {"same": 2}
    assert caught.value.policy == "RepeatedCallBreaker"
    story.goes_on()


def test_the_breaker_can_wrap_up(world: World) -> None:
    story = Spiral(world, RepeatedCallBreaker(2, then="wrap_up"))
    assert story.bot.chat("Go on for ever in circles").text == "Done after 3 calls."
    assert story.lookups.counts == {"same": 2}
    story.goes_on()


def test_the_same_error_ends_a_run_whatever_the_arguments(world: World) -> None:
    tries: list[str] = []

    def lookup(order: str) -> str:
        """Find an order."""
        tries.append(order)
        raise ConnectionError("the order system is down")

    sandbox = world.sandbox(spiral)
    bot = world.bot(sandbox, [RepeatedCallBreaker(3)], tools=[lookup])
    with pytest.raises(RepeatedToolCall, match="same tool error came 3 times"):
        bot.chat("Go on for ever")
    assert tries == ["1", "2", "3"]
    assert bot.chat("Are you there?").text.startswith("Done")
    check_all(bot, sandbox)


def test_the_breaker_counts_each_run_anew(world: World) -> None:
    lookups = Lookups()
    script = [FunctionCall("lookup", {"order": "1"}), "Sent."] * 4
    sandbox = world.sandbox(script)
    bot = world.bot(sandbox, [RepeatedCallBreaker(1)], tools=[lookups.lookup])
    assert all(bot.chat(f"Where is it? ({number})").text == "Sent." for number in range(4))
    assert lookups.counts == {"1": 4}


def test_built_in_tools_get_the_ceiling_as_max_tool_calls(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Sent.", "Yes."])
    assistant = Assistant(model=MODEL, tools=[lookups.lookup, {"type": "web_search"}])
    bot = world.bot(sandbox, [ToolStepCeiling(3)], assistant=assistant)
    bot.chat("Where is it?")
    bot.chat("Sure?")
    sent = [request.body for request in sandbox.requests if request.endpoint == "POST /responses"]
    assert [body["max_tool_calls"] for body in sent] == [3, 2, 3]


def test_a_stopped_turn_keeps_what_was_said(world: World) -> None:
    story = Spiral(world, ToolStepCeiling(1))
    with pytest.raises(ToolStepCeilingReached):
        story.bot.chat("Go on for ever")
    items = story.sandbox.conversation(story.bot.default.state.generation_id or "")
    assert user_texts(items) == ["Go on for ever"]
    assert story.bot.all(RunSettled)[0].error == "ToolStepCeilingReached"
    reply = story.bot.chat("What did you find?")
    assert isinstance(reply, Reply)
    check_all(story.bot, story.sandbox)
