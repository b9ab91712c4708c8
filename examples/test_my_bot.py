"""How to test your own guarded bot: the sandbox plays OpenAI, and its bill is the truth.

Run it: ``pytest examples/test_my_bot.py``.
"""

from __future__ import annotations

import pytest
from openai import OpenAI

from assistantguard import Assistant, AssistantGuard, BudgetExceeded, CostCap, ToolStepCeilingReached
from assistantguard.policies import TokenCap, ToolStepCeiling, TransientRetry
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, Sandbox, Script

looked_up: list[str] = []


def look_up_order(order_id: str) -> dict[str, str]:
    """Look up an order.

    Args:
        order_id: The order's number.
    """
    looked_up.append(order_id)
    return {"order_id": order_id, "status": "sent"}


def my_bot(client: OpenAI) -> AssistantGuard:
    """The bot under test."""
    return AssistantGuard(
        client,
        Assistant(model="gpt-6-luna", instructions="You answer questions about orders.", tools=[look_up_order]),
        policies=[
            ToolStepCeiling(3),
            TransientRetry(max_attempts=3),
            TokenCap(session=20_000),
            CostCap(session="0.10"),
        ],
    )


@pytest.fixture(autouse=True)
def _nothing_looked_up() -> None:
    looked_up.clear()


def test_it_looks_the_order_up_and_answers() -> None:
    script = Script([FunctionCall("look_up_order", {"order_id": "W1"}), "It is on its way."])
    with Sandbox(script, require_consumed=True) as sandbox:
        reply = my_bot(sandbox.client()).chat("Where is order W1?")
        assert reply.text == "It is on its way."
        assert reply.cost == sandbox.billing.cost
    assert looked_up == ["W1"]


def test_a_spiral_ends_after_three_steps_and_the_thread_goes_on() -> None:
    def model(request: ModelRequest) -> FunctionCall | str:
        if "thank you" in request.last_user_text:
            return "You are welcome."
        return FunctionCall("look_up_order", {"order_id": f"W{len(request.items)}"})

    with Sandbox(model) as sandbox:
        bot = my_bot(sandbox.client())
        with pytest.raises(ToolStepCeilingReached):
            bot.chat("Where are all my orders?")
        assert len(looked_up) == 3
        assert bot.chat("Never mind, thank you").text == "You are welcome."


def test_a_rate_limit_is_waited_out() -> None:
    with Sandbox(["Hello!"], faults=[Fault.rate_limit(at=1, retry_after=0.01)]) as sandbox:
        bot = my_bot(sandbox.client())
        assert bot.chat("Hi").text == "Hello!"
        assert sandbox.billing.requests == 1
        assert bot.summary()["retried_runs"] == 1


def test_it_never_spends_more_than_its_cap() -> None:
    with Sandbox(lambda _: "word " * 5_000) as sandbox:
        bot = my_bot(sandbox.client())

        def talk() -> None:
            for _ in range(50):
                bot.chat("Tell me a long story")

        with pytest.raises(BudgetExceeded):
            talk()
        assert sandbox.billing.totals.total_tokens <= 20_000
