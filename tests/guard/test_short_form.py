"""The short form builds the same policies, and with neither form sensible defaults are on."""

from __future__ import annotations

from typing import Any

import pytest

from assistantguard import (
    AssistantGuardError,
    BudgetExceeded,
    Policy,
    RepeatedCallBreaker,
    RepeatedToolCall,
    RetriesExhausted,
    RunTimedOut,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    VectorStoreReuse,
    default_policies,
)
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest
from tests.support.checks import check_all, paths
from tests.support.models import Lookups, SlowModel, order_desk
from tests.support.world import World


def spiral(request: ModelRequest) -> FunctionCall:
    return FunctionCall("lookup", {"order": str(len(request.items))})


def test_max_turns(world: World) -> None:
    bot = world.bot(world.sandbox(), max_turns=2)
    for number in range(5):
        bot.chat(f"Hello {number}")
    assert bot.guard.summary()["rotations"] == 2


def test_max_tool_call_steps(world: World) -> None:
    lookups = Lookups()
    bot = world.bot(world.sandbox(spiral), tools=[lookups.lookup], max_tool_call_steps=2)
    with pytest.raises(ToolStepCeilingReached):
        bot.chat("Go")
    assert sum(lookups.counts.values()) == 2


@pytest.mark.parametrize("retries", [0, 1])
def test_max_transient_retries(world: World, retries: int) -> None:
    sandbox = world.sandbox(faults=[Fault.rate_limit(retry_after=0.01, at=range(1, 9))])
    bot = world.bot(sandbox, max_transient_retries=retries)
    with pytest.raises(RetriesExhausted):
        bot.chat("Hello")
    assert paths(sandbox, "POST /responses") == retries + 1


def test_session_token_ceiling(world: World) -> None:
    sandbox = world.sandbox()
    bot = world.bot(sandbox, session_token_ceiling=500)
    outcome: Any = None
    while not isinstance(outcome, AssistantGuardError):
        outcome = bot.try_chat("Hello there, how are you?")
    assert isinstance(outcome, BudgetExceeded)
    assert sandbox.billing.totals.total_tokens <= 500


def test_run_timeout(world: World) -> None:
    slow = SlowModel()
    bot = world.bot(world.sandbox(slow, model_in_thread=True), run_timeout=0.3)
    with slow.released_after(), pytest.raises(RunTimedOut, match=r"0\.3 s"):
        bot.chat("Slowly: hello?")


def test_the_sketches_on_the_web_work_as_they_are(world: World) -> None:
    sandbox = world.sandbox(order_desk)
    bot = world.bot(
        sandbox,
        tools=[Lookups().lookup],
        max_turns=30,
        max_tool_call_steps=5,
        max_transient_retries=3,
        session_token_ceiling=500_000,
        run_timeout=180,
    )
    assert bot.chat("Where is order W2378156?").text == "Done: Where is order W2378156?"
    check_all(bot, sandbox)


def by_kind(policies: list[Policy]) -> dict[str, Any]:
    return {policy.name: policy for policy in policies}


def test_the_short_form_builds_the_same_policies() -> None:
    built = by_kind(
        default_policies(max_turns=7, max_tool_call_steps=4, max_transient_retries=2, session_token_ceiling=9_000)
    )
    assert built["ThreadRotation"].max_turns == 7
    assert built["ToolStepCeiling"].max_steps == 4
    assert built["TransientRetry"].max_attempts == 3
    assert built["TokenCap"].session == 9_000


def test_the_defaults_guard_everything() -> None:
    kinds = {type(policy) for policy in default_policies()}
    assert kinds >= {
        ThreadRotation,
        ToolStepCeiling,
        RepeatedCallBreaker,
        TransientRetry,
        VectorStoreReuse,
        TokenCap,
    }


def test_with_neither_form_a_spiral_ends_and_a_rate_limit_is_retried(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox(
        lambda request: FunctionCall("lookup", {"order": "1"}), faults=[Fault.rate_limit(retry_after=0.01, at=1)]
    )
    bot = world.bot(sandbox, tools=[lookups.lookup])
    with pytest.raises(RepeatedToolCall):
        bot.chat("Go")
    assert bot.guard.summary()["retried_runs"] == 1
    assert lookups.counts["1"] == 3
    check_all(bot, sandbox)


def test_a_guard_that_guards_nothing_must_be_asked_for(world: World) -> None:
    lookups = Lookups()

    def long_run(request: ModelRequest) -> str | FunctionCall:
        return FunctionCall("lookup", {"order": "1"}) if len(request.items) < 30 else "Done."

    sandbox = world.sandbox(long_run, faults=[Fault.rate_limit(retry_after=0.01, at=18)])
    bot = world.bot(sandbox, [], tools=[lookups.lookup])
    assert bot.chat("Go").run.steps == 15
    assert bot.chat("Hello").text == "Done."
    with pytest.raises(RetriesExhausted):
        bot.chat("Hello again")
    check_all(bot, sandbox)
