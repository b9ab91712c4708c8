"""Caps: nothing is sent that could pass one, a refusal repeats, and busy is not exceeded."""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    AssistantGuardError,
    BudgetBusy,
    BudgetExceeded,
    ConfigurationError,
    CostCap,
    Policy,
    Price,
    Reply,
    ThreadRotation,
    TokenCap,
)
from assistantguard.events import BudgetRefusedEvent, RequestSettled, ThreadRotated
from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Sandbox
from tests.support.checks import check_all, check_holds, paths
from tests.support.models import Lookups, SlowModel, order_desk, while_slow
from tests.support.world import Bot, Outcome, World

WORDY = "The order was sent on Tuesday and will arrive soon. " * 20


def talk(bot: Bot, turns: int = 40) -> list[Outcome]:
    """Chat until the first refusal, at most `turns` times."""
    outcomes: list[Outcome] = []
    for number in range(turns):
        outcomes.append(bot.try_chat(f"Where is order {number}?"))
        if isinstance(outcomes[-1], AssistantGuardError):
            break
    return outcomes


def wordy(request: ModelRequest) -> Any:
    """Write as much as the request allows."""
    asked = order_desk(request)
    return WORDY if isinstance(asked, str) else asked


def spent(bot: Bot, metric: str = "tokens") -> Decimal:
    return bot.ledger.balance(bot.session_account, metric).committed  # type: ignore[arg-type]


CAPS: dict[str, tuple[Policy, str, Decimal]] = {
    "tokens, near": (TokenCap(session=3_000), "tokens", Decimal(3_000)),
    "tokens, always": (TokenCap(session=3_000, counting="always"), "tokens", Decimal(3_000)),
    "tokens, never": (TokenCap(session=3_000, counting="never"), "tokens", Decimal(3_000)),
    "cost, near": (CostCap(session="0.0006"), "cost", Decimal("0.0006")),
    "cost, never": (CostCap(session=Decimal("0.0006"), counting="never"), "cost", Decimal("0.0006")),
}


@pytest.mark.parametrize("name", CAPS)
def test_a_session_never_spends_more_than_its_cap(world: World, name: str) -> None:
    cap, metric, limit = CAPS[name]
    lookups = Lookups()
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [cap], tools=[lookups.lookup])
    outcomes = talk(bot)
    refusal = outcomes[-1]
    assert type(refusal) is BudgetExceeded
    assert len(outcomes) > 2
    billed = sandbox.billing.totals.total_tokens if metric == "tokens" else sandbox.billing.cost
    assert billed is not None
    assert spent(bot, metric) == billed <= limit
    assert (refusal.metric, refusal.limit, refusal.held) == (metric, limit, Decimal(0))
    assert refusal.account == bot.session_account
    assert refusal.committed == spent(bot, metric)
    assert refusal.policy == type(cap).__name__
    (event,) = bot.all(BudgetRefusedEvent)
    assert (event.kind, event.limit, event.committed, event.policy) == ("exceeded", limit, billed, refusal.policy)
    if name.endswith("never"):
        assert paths(sandbox, "POST /responses/input_tokens") == 0
    check_all(bot, sandbox)


def test_a_refusal_repeats_and_nothing_is_sent(world: World) -> None:
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [TokenCap(session=1_000)])
    talk(bot)
    before, used = paths(sandbox, "POST /responses"), spent(bot)
    for _ in range(3):
        with pytest.raises(BudgetExceeded, match="raise the cap, or begin a new session"):
            bot.chat("Where is it?")
    assert paths(sandbox, "POST /responses") == before
    assert spent(bot) == used
    check_all(bot, sandbox)


def test_the_answer_is_cut_to_what_the_cap_leaves(world: World) -> None:
    sandbox = world.sandbox([WORDY, WORDY, WORDY])
    bot = world.bot(sandbox, [TokenCap(session=400)])
    first = bot.chat("Where is it?")
    assert not first.complete or first.usage.total_tokens <= 400
    assert sandbox.requests[-1].body["max_output_tokens"] < 400
    assert isinstance(bot.try_chat("And now?"), (BudgetExceeded, Reply))
    assert sandbox.billing.totals.total_tokens <= 400
    check_all(bot, sandbox)


def test_near_a_cap_the_exact_count_lets_the_last_request_through(world: World) -> None:
    sandbox = world.sandbox([Answer("Yes.")] * 60)
    bot = world.bot(sandbox, [TokenCap(session=2_000)])
    outcomes = talk(bot, 60)
    assert type(outcomes[-1]) is BudgetExceeded
    counted = [event for event in bot.all(RequestSettled) if event.exact]
    assert counted
    for event in counted:
        assert event.estimated_input_tokens == event.usage.input_tokens
    # What is left would not have held one more input with the least output.
    assert 2_000 - sandbox.billing.totals.total_tokens < counted[-1].usage.input_tokens + 60
    check_all(bot, sandbox)


def test_far_from_a_cap_nothing_is_counted(world: World) -> None:
    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, [TokenCap(session=10_000_000)], tools=[Lookups().lookup])
    bot.chat("Where is order 1?")
    assert paths(sandbox, "POST /responses/input_tokens") == 0


def test_a_cap_on_the_run_ends_the_run_and_not_the_session(world: World) -> None:
    lookups = Lookups()

    def hungry(request: ModelRequest) -> str | FunctionCall:
        if "everything" not in request.last_user_text:
            return "Done."
        return FunctionCall("lookup", {"order": str(len(request.items))})

    sandbox = world.sandbox(hungry)
    bot = world.bot(sandbox, [TokenCap(run=1_500)], tools=[lookups.lookup])
    with pytest.raises(BudgetExceeded) as caught:
        bot.chat("Look up everything")
    assert caught.value.account.startswith("run:")
    assert caught.value.usage is not None
    assert 0 < caught.value.usage.total_tokens <= 1_500
    assert caught.value.run is not None
    assert caught.value.run.steps == sum(lookups.counts.values()) > 1
    assert bot.chat("Are you there?").text == "Done."
    check_all(bot, sandbox)


def test_the_tightest_of_several_caps_holds(world: World) -> None:
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [TokenCap(session=50_000), CostCap(session="0.0002"), TokenCap(session=1_000_000)])
    refusal = talk(bot)[-1]
    assert isinstance(refusal, BudgetExceeded)
    assert refusal.policy == "CostCap"
    assert (sandbox.billing.cost or 0) <= Decimal("0.0002")


def busy_bot(world: World, slow: SlowModel, wait: float) -> tuple[Bot, Sandbox]:
    sandbox = world.sandbox(slow, model_in_thread=True)
    return world.bot(sandbox, [TokenCap(session=20_000, wait=wait)]), sandbox


def test_a_cap_that_requests_in_flight_hold_is_busy_and_not_exceeded(world: World) -> None:
    slow = SlowModel()
    bot, sandbox = busy_bot(world, slow, 0.05)

    with slow.released_after():
        first, refused = while_slow(bot, slow, bot.thread(), bot.thread())
    assert isinstance(first, Reply)
    assert isinstance(refused, BudgetBusy)
    assert "ask again" in str(refused)
    assert refused.held > 0
    (event,) = bot.all(BudgetRefusedEvent)
    assert event.kind == "busy"
    assert bot.chat("Quickly: three").text == "Done: Quickly: three"
    check_all(bot, sandbox)


def test_a_request_waits_for_what_others_hold(world: World) -> None:
    slow = SlowModel()
    bot, sandbox = busy_bot(world, slow, 60.0)
    releaser = threading.Timer(0.3, slow.release.set)
    with slow.released_after():
        releaser.start()
        began = time.perf_counter()
        first, second = while_slow(bot, slow, bot.thread(), bot.thread())
        releaser.join()
    assert (first.text, second.text) == ("Done: Slowly: one", "Done: Quickly: two")
    assert time.perf_counter() - began < 30
    check_all(bot, sandbox)


def test_many_at_once_never_pass_the_cap(world: World) -> None:
    sandbox = world.sandbox(wordy)
    bot = world.bot(sandbox, [TokenCap(session=3_000, wait=0.0)])
    threads = [bot.thread() for _ in range(8)]
    outcomes: list[Any] = []
    for round_number in range(3):
        outcomes += bot.at_once(
            *(lambda thread=thread: thread.chat(f"Round {round_number}") for thread in threads)  # noqa: B023
        )
    assert {type(outcome) for outcome in outcomes} <= {Reply, BudgetBusy, BudgetExceeded}
    assert any(isinstance(outcome, Reply) for outcome in outcomes)
    assert sandbox.billing.totals.total_tokens <= 3_000
    check_all(bot, sandbox, *threads)


def test_a_refused_first_turn_leaves_a_usable_thread(world: World) -> None:
    sandbox = world.sandbox(["Hello."])
    bot = world.bot(sandbox, [TokenCap(run=300)])
    with pytest.raises(BudgetExceeded) as caught:
        bot.chat("word " * 400)
    assert caught.value.usage is not None
    assert caught.value.usage.total_tokens == 0
    assert bot.chat("Hi").text == "Hello."
    check_all(bot, sandbox)


def test_an_unpriced_model_with_a_dollar_cap_is_refused_at_construction(world: World) -> None:
    sandbox = world.sandbox(["Hello."])
    unpriced = Assistant(model="house-model-1")
    with pytest.raises(ConfigurationError, match=r"house-model-1.*prices="):
        world.bot(sandbox, [CostCap(session=1)], assistant=unpriced)
    bot = world.bot(
        sandbox, [CostCap(session=1)], assistant=unpriced, prices={"house-model-1": Price(input="1", output="2")}
    )
    reply = bot.chat("Hi")
    billed = sandbox.billing.totals
    assert reply.cost == (billed.input_tokens + 2 * billed.output_tokens) / Decimal(1_000_000)


def test_an_unknown_price_is_none_and_never_nought(world: World) -> None:
    sandbox = world.sandbox(["Hello."])
    bot = world.bot(sandbox, [TokenCap(session=10_000)], assistant=Assistant(model="house-model-1"))
    assert bot.chat("Hi").cost is None
    assert bot.guard.summary()["cost"] is None
    check_holds(bot)


def test_a_context_that_has_outgrown_a_runs_cap_is_left_for_a_new_one(world: World) -> None:
    sandbox = world.sandbox(lambda request: "word " * 300 if "long" in request.last_user_text else "ok")
    bot = world.bot(sandbox, [ThreadRotation(50), TokenCap(run=1_500)])
    for number in range(8):
        assert bot.chat(f"A long one, please ({number})").text
    rotations = bot.all(ThreadRotated)
    assert rotations
    assert {event.policy for event in rotations} == {"TokenCap"}
    check_all(bot, sandbox)


def test_without_rotation_a_context_that_has_outgrown_a_runs_cap_is_refused_with_the_mend(world: World) -> None:
    sandbox = world.sandbox(lambda request: "word " * 300)
    bot = world.bot(sandbox, [TokenCap(run=1_500)])
    outcomes = [bot.try_chat("A long one, please") for _ in range(8)]
    assert isinstance(outcomes[-1], BudgetExceeded)
    assert "ThreadRotation" in str(outcomes[-1])
