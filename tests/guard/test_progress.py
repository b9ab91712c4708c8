"""Policies are asked while an answer arrives, and may end it there."""

from __future__ import annotations

import pytest

from assistantguard import Policy, RunStopped, observe
from assistantguard.errors import ToolStepCeilingReached
from assistantguard.events import PolicyObserved, RunCancelled
from assistantguard.policies import Stop, View
from assistantguard.policies.base import Decision
from assistantguard.sandbox import Answer, FunctionCall
from tests.support.checks import check_all
from tests.support.models import Lookups
from tests.support.world import World

LONG = "Once more and again. " * 400
ENOUGH = 200


class Brief(Policy):
    """Stops answers that grow longer than it likes."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_progress(self, view: View) -> Decision | None:
        assert view.output is not None
        assert view.run is not None
        self.seen.append(view.output.tokens)
        return Stop("the answer rambles") if view.output.tokens > ENOUGH else None


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_an_answer_is_stopped_in_its_midst(world: World, *, background: bool, streamed: bool) -> None:
    sandbox = world.sandbox([Answer(text=LONG), "Short."])
    policy = Brief()
    bot = world.bot(sandbox, [policy], background=background)
    with pytest.raises(RunStopped, match="Brief stopped the run: the answer rambles") as caught:
        bot.stream("Tell me.") if streamed else bot.chat("Tell me.")
    assert caught.value.policy == "Brief"
    assert len(policy.seen) > 1
    assert policy.seen == sorted(policy.seen)
    assert policy.seen[-2] <= ENOUGH < policy.seen[-1] < 2 * ENOUGH
    assert [event.policy for event in bot.all(RunCancelled)] == ["Brief"]
    assert bot.chat("And?").text == "Short."
    check_all(bot, sandbox)


def test_a_policy_that_is_observed_only_reports(world: World) -> None:
    sandbox = world.sandbox([Answer(text=LONG)])
    bot = world.bot(sandbox, [observe(Brief())])
    assert bot.chat("Tell me.").text == LONG
    seen = bot.all(PolicyObserved)
    assert seen
    assert {(event.checkpoint, event.decision) for event in seen} == {("on_progress", "stop")}
    check_all(bot, sandbox)


def test_arguments_of_tool_calls_count_too_and_the_error_is_the_policys_choice(world: World) -> None:
    class Terse(Policy):
        def on_progress(self, view: View) -> Decision | None:
            return Stop("too much to say", error=ToolStepCeilingReached)

    sandbox = world.sandbox([FunctionCall("lookup", {"order": LONG}), "Done."])
    lookups = Lookups()
    bot = world.bot(sandbox, [Terse()], tools=[lookups.lookup])
    with pytest.raises(ToolStepCeilingReached):
        bot.chat("Where is it?")
    assert not lookups.counts
    assert bot.chat("And?").text == "Done."
    check_all(bot, sandbox)
