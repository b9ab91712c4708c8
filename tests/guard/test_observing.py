"""`observe` lets a policy decide and report, and enforces nothing."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity

from assistantguard import (
    CostCap,
    Policy,
    PolicyRefused,
    RepeatedCallBreaker,
    RetriesExhausted,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    VectorStoreReuse,
    observe,
)
from assistantguard.events import BudgetRefusedEvent, PolicyObserved
from assistantguard.policies import Decision, Refuse, Retry, Rotate, Stop, View
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, Sandbox
from tests.support.checks import check_all, paths
from tests.support.models import Lookups
from tests.support.world import Bot, World


def four_steps(request: ModelRequest) -> str | FunctionCall:
    done = sum(item["type"] == "function_call" for item in request.items)
    return "Done." if done >= 4 else FunctionCall("lookup", {"order": "1"})


def run(world: World, policy: Policy, *more: Policy, turns: int = 2, **options: Any) -> tuple[Bot, Sandbox]:
    sandbox = world.sandbox(four_steps, **options)
    bot = world.bot(sandbox, [policy, *more], tools=[Lookups().lookup])
    for number in range(turns):
        assert bot.chat(f"Go {number}").text == "Done."
    check_all(bot, sandbox)
    return bot, sandbox


@pytest.mark.parametrize(
    ("policy", "checkpoint", "decision", "times"),
    [
        (ThreadRotation(max_turns=1), "before_turn", "rotate", 1),
        (ToolStepCeiling(2), "on_step", "stop", 2),
        (ToolStepCeiling(2, then="wrap_up"), "on_step", "wrap_up", 2),
        (RepeatedCallBreaker(3), "on_step", "stop", 1),
        (TokenCap(run=300), "before_request", "refuse", 6),
        (TokenCap(session=300), "before_request", "refuse", 6),
        (CostCap(session="0.00001"), "before_request", "refuse", 6),
    ],
    ids=lambda value: value.name if isinstance(value, Policy) else "",
)
def test_an_observed_policy_says_what_it_would_have_done(
    world: World, policy: Policy, checkpoint: str, decision: str, times: int
) -> None:
    bot, sandbox = run(world, observe(policy))
    observed = bot.all(PolicyObserved)
    assert {(event.policy, event.checkpoint, event.decision) for event in observed} == {
        (policy.name, checkpoint, decision)
    }
    assert 1 <= len(observed) <= times
    assert all(event.reason for event in observed)
    assert bot.guard.summary()["rotations"] == 0
    assert bot.guard.summary()["cancelled_runs"] == 0
    assert not bot.all(BudgetRefusedEvent)
    assert paths(sandbox, "POST /responses/input_tokens") == 0


def test_an_observed_cap_does_not_shorten_answers(world: World) -> None:
    _, sandbox = run(world, observe(TokenCap(session=200)))
    sent = [request.body for request in sandbox.requests if request.endpoint == "POST /responses"]
    assert {body.get("max_output_tokens") for body in sent} == {None}


def test_an_observed_cap_that_holds_says_nothing(world: World) -> None:
    bot, _ = run(world, observe(TokenCap(session=1_000_000, run=900_000)))
    assert not bot.all(PolicyObserved)


def test_an_observed_retry_does_not_retry(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.rate_limit(at=1)])
    bot = world.bot(sandbox, [observe(TransientRetry(3, wait=tenacity.wait_none()))])
    with pytest.raises(RetriesExhausted):
        bot.chat("Hello")
    (observed,) = bot.all(PolicyObserved)
    assert (observed.policy, observed.checkpoint, observed.decision) == ("TransientRetry", "on_failure", "retry")
    assert bot.chat("Hello").text == "You said: Hello"


def test_an_observed_store_reuse_does_not_reuse(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [observe(VectorStoreReuse())])
    file = world.wait(bot.guard.client.files.create(file=("a.txt", b"a"), purpose="assistants"))
    stores = {bot.attach_files([file.id]), bot.attach_files([file.id], bot.thread())}
    assert len(stores) == 2
    assert {event.decision for event in bot.all(PolicyObserved)} == {"embed_files"}


def test_an_enforced_policy_beside_an_observed_one_is_enforced(world: World) -> None:
    sandbox = world.sandbox(four_steps)
    lookups = Lookups()
    bot = world.bot(sandbox, [observe(ToolStepCeiling(1)), ToolStepCeiling(3)], tools=[lookups.lookup])
    with pytest.raises(ToolStepCeilingReached):
        bot.chat("Go")
    assert sum(lookups.counts.values()) == 3
    assert len(bot.all(PolicyObserved)) == 3


class Weekend(Policy):
    """A user's own policy: nobody asks at the weekend."""

    def before_turn(self, view: View) -> Decision | None:
        return Refuse("we are closed") if "weekend" in view.message else None


def test_a_users_own_policy_is_one_class_with_one_method(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, [Weekend()])
    with pytest.raises(PolicyRefused, match=r"Weekend refused.*we are closed") as caught:
        bot.chat("It is the weekend")
    assert caught.value.policy == "Weekend"
    assert not paths(sandbox, "POST /responses")
    assert bot.chat("It is Monday").text == "You said: It is Monday"
    check_all(bot, sandbox)


def test_a_users_own_policy_can_be_observed(world: World) -> None:
    bot = world.bot(world.sandbox(), [observe(Weekend())])
    assert bot.chat("It is the weekend").text
    (observed,) = bot.all(PolicyObserved)
    assert (observed.policy, observed.decision, observed.reason) == ("Weekend", "refuse", "we are closed")


class Expensive(Policy):
    """A user's own policy at every other checkpoint."""

    def before_request(self, view: View) -> Decision | None:
        if view.input is not None and view.input.tokens > 2_000:
            return Refuse("too much to read")
        return None

    def on_step(self, view: View) -> Decision | None:
        return Stop("no such tool today") if any(call.name == "refund" for call in view.calls) else None

    def on_failure(self, view: View) -> Decision | None:
        return Retry("once more") if view.run is not None and view.run.attempt == 1 else None


def test_a_users_own_policy_decides_at_each_checkpoint(world: World) -> None:
    runs: list[int] = []

    def refund(order: int) -> str:
        """Give the money back."""
        runs.append(order)
        return "done"

    script = [FunctionCall("refund", {"order": 1}), "Hello."]
    sandbox = world.sandbox(script, faults=[Fault.server_error(at=2)])
    bot = world.bot(sandbox, [Expensive()], tools=[refund])
    with pytest.raises(Exception, match="no such tool today"):
        bot.chat("Refund!")
    assert not runs
    assert bot.chat("Hello").run.retries == 1
    with pytest.raises(PolicyRefused, match="too much to read"):
        bot.chat("word " * 3_000)
    check_all(bot, sandbox)


class Broken(Policy):
    def on_step(self, view: View) -> Decision | None:
        raise ZeroDivisionError

    def before_turn(self, view: View) -> Decision | None:
        if "rotate" in view.message:
            return Rotate("asked for")
        return None


def test_a_policy_that_raises_leaves_a_usable_thread(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([FunctionCall("lookup", {"order": "1"}), "Hello.", "Hello again."])
    bot = world.bot(sandbox, [Broken()], tools=[lookups.lookup])
    with pytest.raises(ZeroDivisionError):
        bot.chat("Go")
    assert not lookups.counts
    assert bot.chat("Are you there?").text == "Hello."
    assert bot.chat("Please rotate").text == "Hello again."
    assert bot.guard.summary()["rotations"] == 1
    check_all(bot, sandbox)


def test_an_observed_retry_reports_on_unpaid_calls_too(world: World) -> None:
    sandbox = world.sandbox(["Hello."], faults=[Fault.server_error(at=1, endpoint="POST /conversations")])
    bot = world.bot(sandbox, [observe(TransientRetry(max_attempts=3, wait=tenacity.wait_none()))])
    with pytest.raises(RetriesExhausted):
        bot.chat("Hi")
    assert [(event.checkpoint, event.decision) for event in bot.all(PolicyObserved)] == [("on_failure", "retry")]
    assert bot.chat("Hi").text == "Hello."
