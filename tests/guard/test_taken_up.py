"""A conversation that somebody else left behind: taken up, moved where it is too large, left where it stays locked."""

from __future__ import annotations

import pytest
import tenacity

from assistantguard import Assistant, BudgetExceeded, RetriesExhausted, ThreadRotation, TokenCap, TransientRetry
from assistantguard.events import ThreadRotated, UsageCorrected
from assistantguard.policies import Policy
from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox
from tests.support.models import Lookups
from tests.support.world import MODEL, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
LONG = "word " * 3_000
ADD = "POST /conversations/{id}/items"


def _left_behind(world: World, *answers: str) -> tuple[Sandbox, str]:
    sandbox = world.sandbox([Answer(text=text) for text in (*answers, "Short.", "Short.", "Short.")])
    first = world.bot(sandbox, [RETRY])
    for _ in answers:
        first.chat("Hello")
    conversation = first.default.state.generation_id
    assert conversation is not None
    return sandbox, conversation


@pytest.mark.parametrize(
    "policies",
    [
        [ThreadRotation(max_context_tokens=2_000), RETRY],
        [ThreadRotation(50, max_history_tokens=None, max_context_tokens=None), TokenCap(run=2_500), RETRY],
    ],
    ids=["by its size", "by the run's cap"],
)
def test_a_conversation_that_is_too_large_is_left_at_once(world: World, policies: list[Policy]) -> None:
    sandbox, conversation = _left_behind(world, LONG)
    second = world.bot(sandbox, policies)
    thread = second.thread(conversation_id=conversation)
    assert second.chat("And?", thread).text == "Short."
    assert [event.from_generation_id for event in second.all(ThreadRotated)] == [conversation]
    assert thread.state.generation_id != conversation


def test_a_conversation_that_fits_is_kept(world: World) -> None:
    sandbox, conversation = _left_behind(world, "Fine.")
    second = world.bot(sandbox, [ThreadRotation(max_context_tokens=2_000), TokenCap(run=2_500), RETRY])
    thread = second.thread(conversation_id=conversation)
    assert second.chat("And?", thread).text == "Short."
    assert second.all(ThreadRotated) == []
    assert thread.state.generation_id == conversation


def test_a_cap_that_nothing_fits_is_still_told(world: World) -> None:
    sandbox, conversation = _left_behind(world, LONG)
    second = world.bot(sandbox, [ThreadRotation(max_context_tokens=2_000), TokenCap(run=40), RETRY])
    with pytest.raises(BudgetExceeded):
        second.chat("And?", second.thread(conversation_id=conversation))


def test_a_locked_conversation_with_an_open_call_is_left_at_the_second_turn(world: World) -> None:
    sandbox = world.sandbox(["Hello.", FunctionCall("lookup", {"order": "1"}), "It was sent.", "Bye."])
    first = world.bot(sandbox, [RETRY], tools=[Lookups().lookup])
    first.chat("Hello")
    conversation = first.default.state.generation_id
    assert conversation is not None
    sandbox.break_conversation(conversation)
    sandbox.inject(Fault.conversation_locked(3600, at=1, endpoint=ADD))
    second = world.bot(sandbox, [RETRY], tools=[Lookups().lookup])
    thread = second.thread(conversation_id=conversation)
    with pytest.raises(RetriesExhausted, match="operating on this conversation"):
        second.chat("Where is order 1?", thread)
    assert second.chat("Where is order 1?", thread).text == "It was sent."
    rotated = second.all(ThreadRotated)
    assert [(event.old, event.reason) for event in rotated] == [("kept", "somebody keeps the conversation locked")]
    assert second.chat("Thanks", thread).text == "Bye."


def test_an_estimate_that_corrects_another_does_not_raise_it(world: World) -> None:
    sandbox = world.sandbox([Answer(text="Straße für Öl " * 100)] * 5)
    bot = world.bot(
        sandbox, [TokenCap(run=5_000, counting="always"), RETRY], assistant=Assistant(MODEL, max_output_tokens=1_000)
    )
    for _ in range(3):
        bot.chat("Tell me.")
    lost = Fault.dropped(at=1, after_work=True)
    sandbox.faults = [lost, Fault.server_error(at=1, endpoint="GET /conversations/{id}/items")]
    reply = bot.chat("And now?")
    (corrected,) = bot.all(UsageCorrected)
    assert corrected.usage.total_tokens <= corrected.before.total_tokens
    billed = sandbox.billing.calls[-1]
    assert billed.input_tokens + billed.output_tokens <= reply.usage.total_tokens
