"""Faults of the calls around the model: conversations, items, vector stores, the input count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import tenacity

from assistantguard import (
    AssistantGuardError,
    CarryOver,
    Policy,
    QuotaExhausted,
    Reply,
    RequestRejected,
    RetriesExhausted,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    ToolStepCeilingReached,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.events import ThreadRotated
from assistantguard.sandbox import Embedding, Fault, FunctionCall, Sandbox
from tests.support.checks import check_all, paths
from tests.support.models import Lookups, order_desk
from tests.support.world import Bot, World

ATTEMPTS = 3

FAULTS: dict[str, tuple[Callable[..., Fault], type[AssistantGuardError], int]] = {
    "429": (Fault.rate_limit, RetriesExhausted, ATTEMPTS),
    "429 with Retry-After": (lambda **when: Fault.rate_limit(retry_after=0.01, **when), RetriesExhausted, ATTEMPTS),
    "insufficient_quota": (Fault.quota, QuotaExhausted, 1),
    "500": (Fault.server_error, RetriesExhausted, ATTEMPTS),
    "503": (lambda **when: Fault.server_error(503, **when), RetriesExhausted, ATTEMPTS),
    "500 do not retry": (lambda **when: Fault.server_error(should_retry=False, **when), RetriesExhausted, 1),
    "400 do retry": (
        lambda **when: Fault.http(400, headers={"x-should-retry": "true"}, **when),
        RetriesExhausted,
        ATTEMPTS,
    ),
    "401": (lambda **when: Fault.http(401, type="invalid_request_error", **when), RequestRejected, 1),
}
FEW = ["429", "insufficient_quota", "500 do not retry", "401"]

retry = TransientRetry(ATTEMPTS, wait=tenacity.wait_none())


def rotating(world: World, *faults: Fault, rotation: Policy | None = None) -> tuple[Bot, Sandbox, Lookups]:
    lookups = Lookups()
    sandbox = world.sandbox(order_desk, faults=faults)
    bot = world.bot(sandbox, [rotation or ThreadRotation(max_turns=1), retry], tools=[lookups.lookup])
    return bot, sandbox, lookups


@pytest.mark.parametrize("name", FAULTS)
def test_creating_the_first_conversation_may_fail(world: World, name: str) -> None:
    make, error, attempts = FAULTS[name]
    bot, sandbox, lookups = rotating(world, make(at=range(1, 1 + attempts), endpoint="POST /conversations"))
    assert type(bot.try_chat("Where is order 1?")) is error
    assert paths(sandbox, "POST /conversations") == attempts
    assert paths(sandbox, "POST /responses") == 0
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    assert lookups.counts == {"2": 1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", ["POST /conversations", "GET /conversations/{id}/items"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_rotation_that_fails_half_way_loses_nothing(world: World, name: str, endpoint: str) -> None:
    make, error, attempts = FAULTS[name]
    first = 2 if endpoint == "POST /conversations" else 1
    bot, sandbox, lookups = rotating(world, make(at=range(first, first + attempts), endpoint=endpoint))
    bot.chat("Where is order 1?")
    old = bot.default.state.generation_id
    assert type(bot.try_chat("Where is order 2?")) is error
    assert bot.default.state.generation_id == old
    assert sandbox.conversations == [old]
    assert bot.guard.summary()["rotations"] == 0
    assert bot.chat("Where is order 3?").text == "Done: Where is order 3?"
    assert bot.guard.summary()["rotations"] == 1
    assert bot.default.state.generation_id != old
    assert sandbox.conversations == [bot.default.state.generation_id]
    assert "Done: Where is order 1?" in str(sandbox.conversation(sandbox.conversations[0]))
    assert lookups.counts == {"1": 1, "3": 1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", ["POST /conversations", "GET /conversations/{id}/items"])
@pytest.mark.parametrize("name", ["429", "429 with Retry-After", "503", "400 do retry"])
def test_a_rotation_gets_over_a_passing_fault(world: World, name: str, endpoint: str) -> None:
    make, _, _ = FAULTS[name]
    bot, sandbox, lookups = rotating(world, make(at=2 if endpoint == "POST /conversations" else 1, endpoint=endpoint))
    bot.chat("Where is order 1?")
    assert bot.chat("Where is order 2?").run.retries == 1
    assert len(bot.all(ThreadRotated)) == 1
    assert len(sandbox.conversations) == 1
    assert lookups.counts == {"1": 1, "2": 1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("name", FEW)
def test_an_old_conversation_that_cannot_be_deleted_stops_nothing(world: World, name: str) -> None:
    make, _, attempts = FAULTS[name]
    fault = make(at=range(1, 1 + attempts), endpoint="DELETE /conversations/{id}")
    bot, sandbox, _ = rotating(world, fault)
    bot.chat("Where is order 1?")
    assert bot.chat("Where is order 2?").text == "Done: Where is order 2?"
    (rotated,) = bot.all(ThreadRotated)
    assert rotated.old == "undeleted"
    assert rotated.from_generation_id in sandbox.conversations
    check_all(bot, sandbox)


@pytest.mark.parametrize("name", FEW)
def test_a_long_carry_over_may_fail_after_its_first_items(world: World, name: str) -> None:
    make, error, attempts = FAULTS[name]
    rotation = ThreadRotation(max_turns=12, carry_over=CarryOver(tail_turns=12, tail_tokens=10_000))
    fault = make(at=range(1, 1 + attempts), endpoint="POST /conversations/{id}/items")
    bot, sandbox, _ = rotating(world, fault, rotation=rotation)
    for number in range(12):
        bot.chat(f"Hello {number}")
    old = bot.default.state.generation_id
    outcome = bot.try_chat("Where is order 1?")
    assert type(outcome) is error or isinstance(outcome, Reply)
    if isinstance(outcome, AssistantGuardError):
        assert bot.default.state.generation_id == old
        assert old in sandbox.conversations
    reply = bot.chat("Where is order 2?")
    assert reply.text == "Done: Where is order 2?"
    items = sandbox.conversation(bot.default.state.generation_id or "")
    assert "Done: Hello 0" in str(items)
    assert "Done: Hello 11" in str(items)
    assert sandbox.conversations == [bot.default.state.generation_id], "a half-filled conversation was left behind"
    check_all(bot, sandbox)


@pytest.mark.parametrize("name", FEW)
def test_answering_open_calls_may_fail_and_is_done_later(world: World, name: str) -> None:
    # The second step is refused by the ceiling, so its call must be answered without a model call.
    make, _, attempts = FAULTS[name]
    lookups = Lookups()
    sandbox = world.sandbox(
        [FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}), "Here I am again."],
        faults=[make(at=range(1, 1 + attempts), endpoint="POST /conversations/{id}/items")],
    )
    bot = world.bot(sandbox, [ToolStepCeiling(1), retry], tools=[lookups.lookup])
    assert type(bot.try_chat("Spiral!")) is ToolStepCeilingReached
    assert bot.chat("Are you there?").text == "Here I am again."
    assert lookups.counts == {"1": 1}
    check_all(bot, sandbox)


STORE_CALLS = ["GET /vector_stores", "POST /vector_stores", "GET /vector_stores/{id}"]


def with_files(world: World, *faults: Fault, embedding: Embedding | None = None) -> tuple[Bot, Sandbox, list[str]]:
    sandbox = world.sandbox(order_desk, faults=faults, embedding=embedding)
    bot = world.bot(sandbox, [VectorStoreReuse(timeout=5), retry], tools=[Lookups().lookup])
    files = [
        world.wait(bot.guard.client.files.create(file=(f"{name}.txt", name.encode()), purpose="assistants")).id
        for name in ("returns", "shipping")
    ]
    return bot, sandbox, files


@pytest.mark.parametrize("endpoint", STORE_CALLS)
@pytest.mark.parametrize("name", FEW)
def test_a_vector_store_call_may_fail(world: World, name: str, endpoint: str) -> None:
    make, error, attempts = FAULTS[name]
    slow = Embedding(seconds=0.05) if endpoint == STORE_CALLS[2] else None
    fault = make(at=range(1, 1 + attempts), endpoint=endpoint)
    bot, sandbox, files = with_files(world, fault, embedding=slow)
    with pytest.raises(error):
        bot.attach_files(files)
    assert sandbox.faults_fired == attempts
    assert bot.guard.summary()["vector_store_id"] is None
    store = bot.attach_files(files)
    assert bot.guard.summary()["vector_store_id"] == store
    assert bot.chat("Where is order 1?").text == "Done: Where is order 1?"
    assert sandbox.billing.vector_stores_created == 1
    assert set(sandbox.billing.files_embedded.values()) == {1}
    check_all(bot, sandbox)


@pytest.mark.parametrize("endpoint", STORE_CALLS)
def test_a_vector_store_call_is_tried_again(world: World, endpoint: str) -> None:
    slow = Embedding(seconds=0.05) if endpoint == STORE_CALLS[2] else None
    bot, sandbox, files = with_files(world, Fault.rate_limit(at=[1, 2], endpoint=endpoint), embedding=slow)
    bot.attach_files(files)
    assert sandbox.faults_fired == 2
    assert sandbox.billing.vector_stores_created == 1
    assert {request.headers.get("x-stainless-retry-count", "0") for request in sandbox.requests} == {"0"}


@pytest.mark.parametrize("name", FEW)
def test_without_the_exact_count_the_surest_bound_counts(world: World, name: str) -> None:
    make, _, _ = FAULTS[name]
    sandbox = world.sandbox(order_desk, faults=[make(rate=1.0, endpoint="POST /responses/input_tokens")])
    bot = world.bot(sandbox, [TokenCap(session=1_500), retry], tools=[Lookups().lookup])
    outcomes = [bot.try_chat(f"Where is order {number}?") for number in range(1, 16)]
    assert isinstance(outcomes[0], Reply)
    assert type(outcomes[-1]).__name__ == "BudgetExceeded"
    assert sandbox.billing.totals.total_tokens <= 1_500
    check_all(bot, sandbox)


def test_a_server_without_the_count_is_asked_once(world: World) -> None:
    fault = Fault.http(404, type="invalid_request_error", rate=1.0, endpoint="POST /responses/input_tokens")
    sandbox = world.sandbox(order_desk, faults=[fault])
    bot = world.bot(sandbox, [TokenCap(session=20_000, counting="always")])
    for number in range(4):
        bot.chat(f"Hello {number}")
    assert paths(sandbox, "POST /responses/input_tokens") == 1
    check_all(bot, sandbox)
