"""Turns go to the model that the rules choose: sent so, reserved so, booked so, told so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    Budget,
    BudgetExceeded,
    ConfigurationError,
    CostCap,
    Downgrade,
    Fallback,
    ForUsers,
    MatchingMessages,
    ModelRouting,
    Otherwise,
    PolicyRefused,
    Price,
    PriceBook,
    RetriesExhausted,
    Route,
    ShortMessages,
    ThreadRotation,
    TransientRetry,
    WithoutTools,
    observe,
)
from assistantguard.events import PolicyObserved, RequestSettled, RunRetried, RunSettled, RunStarted
from assistantguard.events.traffic import RunRouted
from assistantguard.ledger import Claim, Hold
from assistantguard.policies import View
from assistantguard.sandbox import Fault, Sandbox
from tests.support.budgets import of_user
from tests.support.checks import check_all, check_books, check_holds
from tests.support.clock import Clock
from tests.support.databases import DIALECTS, fresh_url
from tests.support.models import Lookups, order_desk
from tests.support.world import Bot, WatchedLedger, World

LARGE, SMALL, OTHER = "gpt-6-sol", "gpt-6-luna", "gpt-5-mini"
RETRY = TransientRetry(4, wait=tenacity.wait_none())
HARD = MatchingMessages("why", LARGE)
LONG = "The parcel left the depot on Tuesday morning and is expected at the door by Thursday noon. " * 80


class NotingLedger(WatchedLedger):
    """Notes what is held for each request of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, list[Decimal]] = {"tokens": [], "cost": []}

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        for claim in claims:
            if claim.account.startswith("run:"):
                self.held[claim.metric].append(claim.amount)
        return super().reserve(hold_id, claims, expires_at)


def bot_of(world: World, sandbox: Sandbox, *policies: Any, model: str = LARGE, **options: Any) -> Bot:
    assistant = options.pop("assistant", None) or Assistant(model, "You answer questions about orders.")
    return world.bot(sandbox, list(policies), assistant=assistant, **options)


def asked(sandbox: Sandbox) -> list[str]:
    """The models of all requests that the server took up."""
    return [request.body["model"] for request in sandbox.requests if request.path.endswith("/responses")]


def last(sandbox: Sandbox) -> dict[str, Any]:
    """The body of the last paid request."""
    body = [request.body for request in sandbox.requests if request.path.endswith("/responses")][-1]
    return dict(body)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_turn_is_sent_booked_and_told_with_what_the_rules_chose(world: World, streamed: bool) -> None:
    sandbox = world.sandbox()
    route = Route(SMALL, reasoning_effort="low", service_tier="flex", reason="it is easy")
    bot = bot_of(world, sandbox, ModelRouting([lambda _: route]), CostCap(session=1))
    reply = bot.chat("Where is it?", streamed=streamed)
    body = last(sandbox)
    assert (body["model"], body["reasoning"], body["service_tier"]) == (SMALL, {"effort": "low"}, "flex")
    (entry,) = bot.ledger.entries()
    assert entry.model == reply.run.model == SMALL
    assert reply.cost == entry.cost == sandbox.billing.cost == PriceBook().cost(entry.usage, SMALL, "flex")
    (routed,) = bot.all(RunRouted)
    assert (routed.model, routed.from_model, routed.policy) == (SMALL, LARGE, "ModelRouting")
    assert (routed.reasoning_effort, routed.service_tier, routed.kept) == ("low", "flex", True)
    assert routed.reason == f"to {SMALL}: it is easy"
    assert routed.switch_cost == 0
    assert routed.record()["event"] == "run.routed"
    told = bot.all(RunStarted)[0].model, bot.all(RequestSettled)[0].model, bot.all(RunSettled)[0].model
    assert told == (SMALL,) * 3
    names = [event.name for event in bot.events]
    assert names.index("turn.started") < names.index("run.started") < names.index("run.routed")
    check_all(bot, sandbox)


def test_what_a_rule_leaves_open_is_as_the_assistant_has_it(world: World) -> None:
    sandbox = world.sandbox()
    assistant = Assistant(LARGE, reasoning_effort="medium", service_tier="priority")
    bot = bot_of(world, sandbox, ModelRouting([ShortMessages(SMALL, max_tokens=4)]), assistant=assistant)
    bot.chat("Hi")
    assert (last(sandbox)["model"], last(sandbox)["service_tier"]) == (SMALL, "priority")
    assert last(sandbox)["reasoning"] == {"effort": "medium"}
    # A model that is known to take no reasoning effort is not given one.
    other = bot_of(world, sandbox, ModelRouting([Otherwise("gpt-4.1-mini")]), assistant=assistant)
    other.chat("Hi")
    assert "reasoning" not in last(sandbox)


def test_the_hold_is_that_of_the_routed_model(world: World) -> None:
    ledger, sandbox = NotingLedger(), world.sandbox()
    for rules in ([Otherwise(SMALL)], [Otherwise(Route(SMALL, service_tier="priority"))], [Otherwise(LARGE)]):
        assistant = Assistant(LARGE, max_output_tokens=1_000)
        bot_of(world, sandbox, ModelRouting(rules), assistant=assistant, ledger=ledger).chat("Hi")
    small, prior, large = ledger.held["cost"]
    assert Decimal("0.0005") < small < Decimal("0.0006")  # a thousand tokens at 0.50 a million, and a few read
    assert small < prior < large
    assert Decimal("0.01") < large


def test_a_thread_keeps_its_model_until_a_rule_says_otherwise(world: World, database_url: str) -> None:
    sandbox, url = world.sandbox(), database_url
    rules = ModelRouting([HARD, MatchingMessages("thanks", SMALL)])
    first = bot_of(world, sandbox, rules, model=SMALL, ledger=url)
    first.chat("Where is it?", of_user(first, "u-1"))
    first.chat("And why?", of_user(first, "u-1"))
    first.chat("I see.", of_user(first, "u-1"))
    first.chat("Hello?", of_user(first, "u-2"))
    assert asked(sandbox) == [SMALL, LARGE, LARGE, SMALL]
    first.close()
    # Another process finds the thread as it was.
    second = bot_of(world, sandbox, rules, model=SMALL, ledger=url)
    second.chat("Go on.", of_user(second, "u-1"))
    assert second.all(RunStarted)[0].model == LARGE
    second.chat("Many thanks!", of_user(second, "u-1"))
    second.chat("Bye.", of_user(second, "u-1"))
    assert asked(sandbox)[4:] == [LARGE, SMALL, SMALL]
    # A guard without rules asks the assistant's own model.
    third = bot_of(world, sandbox, model=OTHER, ledger=url)
    third.chat("Hello again.", of_user(third, "u-1"))
    assert asked(sandbox)[-1] == OTHER


def test_without_stay_each_turn_begins_with_the_assistants_model(world: World) -> None:
    sandbox = world.sandbox()
    bot = bot_of(world, sandbox, ModelRouting([HARD], stay=False), model=SMALL)
    for message in ("Hello?", "But why?", "I see."):
        bot.chat(message)
    assert asked(sandbox) == [SMALL, LARGE, SMALL]
    assert [event.reason.split(":")[0] for event in bot.all(RunRouted)] == [f"to {LARGE}", f"to {SMALL}"]


def test_a_switch_that_loses_more_cached_input_than_it_saves_is_not_made(world: World) -> None:
    near = Price(input="1.80", cached_input="1.80", output="9")
    sandbox = world.sandbox(["Yes."] * 9)
    rules = ModelRouting([MatchingMessages("thanks", "near")])
    bot = bot_of(world, sandbox, rules, prices={"near": near})
    bot.chat(LONG)
    bot.chat("And now?")
    assert sandbox.billing.calls[-1].cached_tokens >= 1_024
    bot.chat("Many thanks!")
    assert asked(sandbox) == [LARGE] * 3
    (stays,) = bot.all(RunRouted)
    assert (stays.model, stays.from_model, stays.kept) == (LARGE, LARGE, False)
    assert stays.reason.startswith(f"stays with {LARGE}: near would save")
    check_books(bot, sandbox)
    check_holds(bot)


def test_what_a_switch_loses_is_told_as_the_bill_shows_it(world: World) -> None:
    sandbox = world.sandbox(["Yes."] * 9)
    bot = bot_of(world, sandbox, ModelRouting([MatchingMessages("thanks", Route(SMALL, force=True))]))
    bot.chat(LONG)
    bot.chat("And now?")
    bot.chat("Many thanks!")
    assert asked(sandbox) == [LARGE, LARGE, SMALL]
    routed = bot.all(RunRouted)[-1]
    read = sandbox.billing.calls[-1].input_tokens
    assert sandbox.billing.calls[-1].cached_tokens == 0
    # It would have read nearly all of it at 0.20 instead of writing it at 2.50.
    assert routed.switch_cost is not None
    assert Decimal("0.9") < routed.switch_cost / (Decimal(read) * Decimal("2.30") / 10**6) <= 1


def test_after_a_rotation_a_switch_costs_nothing(world: World) -> None:
    near = Price(input="1.80", cached_input="1.80", output="9")
    sandbox = world.sandbox(["Yes."] * 9)
    rules = ModelRouting([MatchingMessages("thanks", "near")])
    bot = bot_of(world, sandbox, rules, ThreadRotation(max_turns=2), prices={"near": near})
    bot.chat(LONG)
    bot.chat("And now?")
    bot.chat("Many thanks!")
    assert asked(sandbox) == [LARGE, LARGE, "near"]
    assert bot.all(RunRouted)[-1].switch_cost == 0


@pytest.mark.parametrize("streamed", [False, True])
def test_after_failures_the_next_attempt_goes_to_another_model_and_so_do_the_next_turns(
    world: World, clock: Clock, streamed: bool
) -> None:
    sandbox = world.sandbox(faults=[Fault.server_error(at=[1, 2])])
    bot = bot_of(world, sandbox, RETRY, ModelRouting([Fallback(SMALL, after=2, remember=60)]))
    reply = bot.chat("Hello?", streamed=streamed)
    assert asked(sandbox) == [LARGE, LARGE, SMALL]
    assert (reply.run.model, reply.run.retries) == (SMALL, 2)
    (routed,) = bot.all(RunRouted)
    assert (routed.from_model, routed.model, routed.kept) == (LARGE, SMALL, False)
    assert routed.reason.startswith(f"to {SMALL}: {LARGE} failed 2 times")
    assert [event.model for event in bot.all(RunRetried)] == [LARGE, LARGE]
    bot.chat("And now?")
    other = bot.thread()
    bot.chat("Hello?", other)
    assert asked(sandbox)[3:] == [SMALL, SMALL]
    clock.advance(61)
    bot.chat("And later?")
    assert asked(sandbox)[5:] == [LARGE]
    assert bot.all(RunRouted)[-1].reason == f"to {LARGE}: the thread's own model"
    check_all(bot, sandbox)


def test_another_model_is_not_waited_for(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.rate_limit(at=1, retry_after=3_600)])
    bot = bot_of(world, sandbox, TransientRetry(2, max_wait=5), ModelRouting([Fallback(SMALL, after=1)]))
    bot.chat("Hello?")
    assert asked(sandbox) == [LARGE, SMALL]
    assert [event.wait for event in bot.all(RunRetried)] == [0.0]


def test_a_fallback_in_the_middle_of_a_run_goes_on_with_the_tools_outputs(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox(order_desk, faults=[Fault.failed_response(at=[2, 3])])
    assistant = Assistant(LARGE, "You answer.", tools=[lookups.lookup])
    bot = bot_of(world, sandbox, RETRY, ModelRouting([Fallback((SMALL, OTHER), after=1)]), assistant=assistant)
    reply = bot.chat("Where is order W1?")
    assert reply.text.startswith("Done")
    assert [call.model for call in sandbox.billing.calls] == [LARGE, LARGE, SMALL, OTHER]
    assert [entry.model for entry in bot.ledger.entries()] == [LARGE, LARGE, SMALL, OTHER]
    assert lookups.counts == {"W1": 1}
    check_all(bot, sandbox)


def test_a_fallback_does_not_add_attempts(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.server_error(at=range(1, 9))])
    bot = bot_of(
        world,
        sandbox,
        TransientRetry(2, wait=tenacity.wait_none()),
        ModelRouting([Fallback((SMALL, OTHER), after=1)]),
    )
    assert isinstance(bot.try_chat("Hello?"), RetriesExhausted)
    assert asked(sandbox) == [LARGE, SMALL]
    assert isinstance(bot.try_chat("Hello?"), RetriesExhausted)
    assert asked(sandbox)[2:] == [OTHER, OTHER]


def test_near_the_end_of_a_budget_a_cheaper_model_answers(world: World, database: dict[str, Any]) -> None:
    sandbox = world.sandbox(lambda request: "Word " * 60)
    budget = Budget("user", cost="0.004", warn_at=())
    rules = ModelRouting([Downgrade(SMALL, when_left=0.5, budget="user/day")])
    assistant = Assistant(LARGE, "You answer.", max_output_tokens=70)
    bot = bot_of(world, sandbox, rules, budget, assistant=assistant, **database)
    for number in range(5):
        bot.chat(f"And order {number}?", of_user(bot, "u-1"))
    models = asked(sandbox)
    switched = models.index(SMALL)
    assert 1 < switched < 5
    assert models == [LARGE] * switched + [SMALL] * (5 - switched)
    assert bot.all(RunRouted)[-1].reason.startswith(f"to {SMALL}: user/day has ")
    assert bot.all(RunRouted)[-1].kept is False
    # Another user's budget is whole, and after the day this one's is as well.
    bot.chat("Hello?", of_user(bot, "u-2"))
    assert asked(sandbox)[-1] == LARGE
    world.wait(bot.guard.set_budget("u-1", cost="5"))
    bot.chat("Hello?", of_user(bot, "u-1"))
    assert asked(sandbox)[-1] == LARGE


@pytest.fixture(params=["memory", *DIALECTS])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Where the books are kept."""
    if request.param == "memory":
        yield {}
        return
    with fresh_url(request.param, tmp_path, lambda: request.getfixturevalue("postgres")) as url:
        yield {"ledger": url}


def test_a_downgrade_looks_at_caps_and_not_at_observed_budgets_or_messages(world: World) -> None:
    seen: list[dict[str, float]] = []

    def rule(view: View) -> None:
        seen.append(dict(view.budgets_left()))

    budgets = [
        Budget("application", tokens=10_000, cost=1),
        observe(Budget("application", "hour", tokens=1)),
        Budget("application", None, messages=1),
        Budget(lambda view: None, tokens=5, name="nobody"),
    ]
    bot = bot_of(world, world.sandbox(), ModelRouting([rule]), CostCap(session=1), *budgets)
    bot.chat("Hello?")
    assert seen == [{"CostCap": 1.0, "application/day": 1.0, "nobody": 1.0}]


def test_a_downgrade_without_a_budget_is_refused_before_anything_is_sent(world: World) -> None:
    sandbox = world.sandbox()
    bot = bot_of(world, sandbox, ModelRouting([Downgrade(SMALL)]))
    with pytest.raises(ConfigurationError, match="the guard has none"):
        bot.chat("Hello?")
    assert sandbox.requests == []


def test_a_model_without_a_price_is_refused_under_a_dollar_limit(world: World) -> None:
    sandbox = world.sandbox()
    with pytest.raises(ConfigurationError, match="cannot price the model 'no-price'"):
        bot_of(world, sandbox, CostCap(session=1), ModelRouting([Otherwise("no-price")]))
    # What a function says is known only when it says it.
    bot = bot_of(world, sandbox, CostCap(session=1), ModelRouting([lambda _: Route("no-price")]))
    with pytest.raises(PolicyRefused, match=r"'no-price' has no known price: give it with prices=\{'no-price'"):
        bot.chat("Hello?")
    no_tier = ModelRouting([lambda _: Route("gpt-4.1-mini", service_tier="flex")])
    bot = bot_of(world, sandbox, CostCap(session=1), no_tier)
    with pytest.raises(PolicyRefused, match=r"'gpt-4\.1-mini' has no known price at service tier 'flex'"):
        bot.chat("Hello?")
    assert asked(sandbox) == []
    assert sandbox.billing.cost == 0


def test_observed_routing_says_what_it_would_have_done(world: World) -> None:
    sandbox = world.sandbox(faults=[Fault.server_error(at=2)])
    bot = bot_of(world, sandbox, RETRY, observe(ModelRouting([Otherwise(SMALL), Fallback(OTHER, after=1)])))
    bot.chat("Hello?")
    bot.chat("And now?")
    assert asked(sandbox) == [LARGE] * 3
    assert bot.all(RunRouted) == []
    observed = [(event.policy, event.checkpoint, event.decision) for event in bot.all(PolicyObserved)]
    assert observed == [("ModelRouting", "route", "route")] * 3
    reasons = [event.reason for event in bot.all(PolicyObserved)]
    assert reasons[0] == f"to {SMALL}: no other rule"
    assert reasons[2].startswith(f"to {OTHER}: {LARGE} failed 1 times")
    check_all(bot, sandbox)


def test_rules_see_who_asks_and_which_tools_there_are(world: World) -> None:
    sandbox, lookups = world.sandbox(), Lookups()
    rules = ModelRouting([ForUsers({"u-1": OTHER}), WithoutTools(SMALL)])
    with_tools = Assistant(LARGE, tools=[lookups.lookup, {"type": "web_search"}])
    bot = bot_of(world, sandbox, rules, assistant=with_tools)
    bot.chat("Hello?", of_user(bot, "u-2"))
    bot.chat("Hello?", of_user(bot, "u-1"))
    bot_of(world, sandbox, rules).chat("Hello?")
    assert asked(sandbox) == [LARGE, OTHER, SMALL]


def test_a_context_that_another_model_may_read_as_more_tokens_is_reserved_as_such(world: World) -> None:
    ledger = NotingLedger()
    sandbox = world.sandbox(["Yes."] * 9)
    assistant = Assistant("gpt-5-mini", max_output_tokens=100)
    rules = ModelRouting(
        [MatchingMessages("nano", Route("gpt-5-nano", force=True)), MatchingMessages("old", "gpt-4-turbo")]
    )
    bot = bot_of(world, sandbox, rules, assistant=assistant, ledger=ledger)
    for message in (LONG, "And with nano?", "And with the old one?"):
        bot.chat(message)
    assert asked(sandbox) == ["gpt-5-mini", "gpt-5-nano", "gpt-4-turbo"]
    context = sandbox.billing.calls[1].input_tokens
    assert ledger.held["tokens"][1] < context + 300
    assert ledger.held["tokens"][2] > 4 * context


def test_what_a_rule_raises_the_turn_raises_and_nothing_is_sent(world: World) -> None:
    def broken(view: View) -> Route:
        raise ValueError("the classifier has no words")

    sandbox = world.sandbox()
    bot = bot_of(world, sandbox, ModelRouting([broken]))
    with pytest.raises(ValueError, match="no words"):
        bot.chat("Hello?")
    assert sandbox.requests == []
    assert bot.events == []


def test_a_cap_holds_whatever_the_rules_do(world: World) -> None:
    sandbox = world.sandbox(lambda request: "Word " * 200)
    turns = iter(range(1_000))

    def unsteady(view: View) -> Route:
        number = next(turns)
        return Route((LARGE, SMALL, OTHER)[number % 3], service_tier=("flex", "priority")[number % 2], force=True)

    bot = bot_of(world, sandbox, ModelRouting([unsteady]), CostCap(session="0.01"))
    outcomes = []
    for number in range(40):
        outcomes.append(bot.try_chat(f"And order {number}?"))
        if isinstance(outcomes[-1], BudgetExceeded):
            break
    assert isinstance(outcomes[-1], BudgetExceeded)
    assert len(set(asked(sandbox))) == 3
    assert sandbox.billing.cost is not None
    assert sandbox.billing.cost <= Decimal("0.01")
    check_all(bot, sandbox)


def test_a_thread_of_an_earlier_version_loads(world: World, tmp_path: Path) -> None:
    import sqlite3

    sandbox, path = world.sandbox(), tmp_path / "guard.db"
    rules = ModelRouting([HARD])
    first = bot_of(world, sandbox, rules, ledger=f"sqlite:///{path}", model=SMALL)
    first.chat("Hello?", of_user(first, "u-1"))
    first.close()
    with sqlite3.connect(path) as database:
        ((thread_id, text),) = database.execute("SELECT id, state FROM guard_threads").fetchall()
        state = json.loads(text)
        assert state.pop("answered_by") == SMALL
        database.execute("UPDATE guard_threads SET state = ? WHERE id = ?", (json.dumps(state), thread_id))
    database.close()
    second = bot_of(world, sandbox, rules, ledger=f"sqlite:///{path}", model=SMALL)
    second.chat("And now?", of_user(second, "u-1"))
    second.chat("But why?", of_user(second, "u-1"))
    assert asked(sandbox) == [SMALL, SMALL, LARGE]


def test_tools_that_a_run_asked_for_are_answered_by_the_same_model(world: World) -> None:
    sandbox, lookups, calls = world.sandbox(order_desk), Lookups(), list[str]()

    def rule(view: View) -> Route | None:
        calls.append(view.model)
        return Route(SMALL) if len(calls) == 1 else Route(LARGE)

    bot = bot_of(world, sandbox, ModelRouting([rule]), assistant=Assistant(LARGE, tools=[lookups.lookup]))
    bot.chat("Where is order W1?")
    assert asked(sandbox) == [SMALL, SMALL]
    assert calls == [LARGE]
