"""Which model the rules choose, what a switch costs, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, cast

import pytest

from assistantguard import (
    Assistant,
    Budget,
    ConfigurationError,
    CostCap,
    Downgrade,
    Fallback,
    ForTenants,
    ForUsers,
    MatchingMessages,
    ModelRouting,
    Otherwise,
    Pacing,
    Price,
    PriceBook,
    Route,
    ShortMessages,
    Usage,
    WithoutTools,
    observe,
)
from assistantguard.policies import PolicySet, View
from assistantguard.policies.routing import Switch, cached_tokens, switch_of
from tests.support.views import NOW, failed, make_view

LARGE = Price(input="10", cached_input="1", output="40")
SMALL = Price(input="2", cached_input="0.20", output="8")
PRICES = PriceBook({"large": LARGE, "small": SMALL, "twin": LARGE})


def view(message: str = "Hello?", model: str = "large", **values: Any) -> View:
    """A view of a turn that is about to begin on a thread of this model."""
    made = make_view(message=message, **{"prices": PRICES, "own_model": "large", **values})
    made.model = model
    return made


def long_talk(tokens: int = 10_000, **values: Any) -> dict[str, Any]:
    """A thread with so much context, used a moment ago."""
    return {"thread_context_tokens": tokens, "thread_context_known": True, "thread_last_used_at": NOW - 10, **values}


def chosen(routing: ModelRouting, seen: View) -> str | None:
    """The model that is chosen, if any."""
    route = routing.route(seen)
    assert route is None or isinstance(route, Route)
    return None if route is None else route.model


def budgets(**left: float) -> Callable[[], Mapping[str, float]]:
    return lambda: left


@pytest.mark.parametrize(
    ("rule", "seen", "model"),
    [
        (ShortMessages("small", max_tokens=5), view("Hi there"), "small"),
        (ShortMessages("small", max_tokens=5), view("Hi there, and tell me of the whole history"), None),
        (ShortMessages("small", max_tokens=5), view("x" * 1_000), None),
        (MatchingMessages(r"\bwhy\b", "small"), view("But WHY?"), "small"),
        (MatchingMessages(r"\bwhy\b", "small"), view("But how?"), None),
        (WithoutTools("small"), view(), "small"),
        (WithoutTools("small"), view(tools=("lookup",)), None),
        (Otherwise("small"), view(), "small"),
        (ForUsers({"u-1": "small"}), view(thread_user="u-1"), "small"),
        (ForUsers({"u-1": "small"}), view(thread_user="u-2"), None),
        (ForUsers({"u-1": "small"}), view(), None),
        (ForTenants({"acme": "small"}), view(thread_user="u-2", thread_tenant="acme"), "small"),
        (Downgrade("small"), view(budgets_left=budgets(day=0.9, CostCap=0.2)), "small"),
        (Downgrade("small"), view(budgets_left=budgets(day=0.9, CostCap=0.21)), None),
        (Downgrade("small", budget="day"), view(budgets_left=budgets(day=0.9, CostCap=0.1)), None),
        (Downgrade("small", budget="day", when_left=0.95), view(budgets_left=budgets(day=0.9)), "small"),
        (lambda seen: Route("small") if seen.message == "Hello?" else None, view(), "small"),
        (lambda seen: None, view(), None),
    ],
)
def test_each_rule_chooses_for_its_turns(warm: None, rule: Any, seen: View, model: str | None) -> None:
    assert chosen(ModelRouting([rule]), seen) == model


def test_the_first_rule_that_names_a_route_decides() -> None:
    asked: list[str] = []

    def second(seen: View) -> Route | None:
        asked.append(seen.message)
        return Route("small", reasoning_effort="low", reason="a classifier")

    routing = ModelRouting([WithoutTools("twin"), second, Otherwise("large")])
    assert chosen(routing, view()) == "twin"
    assert asked == []
    route = routing.route(view(tools=("lookup",)))
    assert isinstance(route, Route)
    assert (route.model, route.reasoning_effort, route.keep) == ("small", "low", True)
    assert route.reason == "to small: a classifier"


def test_budgets_are_not_looked_up_where_no_rule_asks_for_them() -> None:
    def never() -> Mapping[str, float]:
        raise AssertionError("nobody asked")

    routing = ModelRouting([ForUsers({"u-1": "small"}), Downgrade("twin")])
    assert chosen(routing, view(thread_user="u-1", budgets_left=never)) == "small"


def test_a_switch_is_worth_what_it_saves_without_caches_less_the_cached_input() -> None:
    # 10,000 tokens read and 500 written: 0.10 + 0.02 against 0.02 + 0.004, both without a cache.
    # 9,984 of them are cached at 1 instead of 10 dollars per million: 0.089856 are lost.
    # With both caches warm it is 0.009984 + 0.00016 + 0.02 against a fifth of it.
    switch = switch_of(LARGE, SMALL, 9_984, 10_000, 500)
    assert switch is not None
    assert switch == Switch(Decimal("0.096"), Decimal("0.089856"), Decimal("0.0241152"))
    assert switch.pays()
    # With 100 written it saves 0.08 + 0.0032 = 0.0832, which is less.
    switch = switch_of(LARGE, SMALL, 9_984, 10_000, 100)
    assert switch is not None
    assert switch == Switch(Decimal("0.0832"), Decimal("0.089856"), Decimal("0.0113152"))
    assert not switch.pays()
    assert switch.pays(within=2)
    # What is asked more is told as a negative saving.
    assert switch_of(SMALL, LARGE, 0, 10_000, 100) == Switch(Decimal("-0.0832"), Decimal(0), Decimal("-0.0832"))
    assert switch_of(LARGE, None, 0, 10, 10) is None
    assert switch_of(None, LARGE, 0, 10, 10) is None


def test_a_switch_writes_to_the_other_cache_what_the_present_one_had_read() -> None:
    present = Price(input="10", cached_input="1", cache_write="12.50", output="40")
    other = Price(input="2", cached_input="0.20", cache_write="2.50", output="8")
    # Staying reads 1,024 at 1 and writes 1,024 at 12.50; nothing cached, all 2,048 would be written.
    switch = switch_of(present, other, 1_024, 2_048, 0)
    assert switch is not None
    assert switch.loss == Decimal(1_024) * (Decimal("12.50") - 1) / 10**6
    assert switch.saving == Decimal(2_048) * 10 / 10**6
    # Too short for a cache: nothing is written.
    short = switch_of(present, other, 0, 1_000, 0)
    assert short == Switch(Decimal("0.008"), Decimal(0), Decimal("0.008"))


def test_what_is_saved_less_what_is_lost_is_the_difference_of_the_two_bills() -> None:
    switch = switch_of(LARGE, SMALL, 4_992, 6_000, 700)
    assert switch is not None
    stays = LARGE.cost(Usage(input_tokens=6_000, cached_tokens=4_992, output_tokens=700))
    goes = SMALL.cost(Usage(input_tokens=6_000, output_tokens=700))
    assert stays is not None
    assert goes is not None
    assert switch.saving - switch.loss == stays - goes


def test_a_context_is_cached_in_steps_for_a_while_and_not_after_a_rotation() -> None:
    assert cached_tokens(view(**long_talk(10_000)), "large") == 9_984
    assert cached_tokens(view(**long_talk(1_023)), "large") == 0
    assert cached_tokens(view(**long_talk(thread_context_known=False)), "large") == 0
    assert cached_tokens(view(**long_talk(thread_last_used_at=NOW - 1_801)), "large") == 0
    assert cached_tokens(view(**long_talk(thread_last_used_at=NOW - 61)), "large", seconds=60) == 0
    assert cached_tokens(view(will_rotate=lambda: True, **long_talk()), "large") == 0


def test_a_model_that_was_left_has_what_it_had_read_then_for_a_while() -> None:
    def seen(seconds: float, **values: Any) -> View:
        read = {"small": [6_000.0, NOW - seconds]}
        return view(**long_talk(thread_answered_by="large", thread_read_by=read, **values))

    assert cached_tokens(view(**long_talk()), "small") == 0
    assert cached_tokens(seen(60), "large") == 9_984
    assert cached_tokens(seen(60), "small") == 5_888
    assert cached_tokens(seen(1_801), "small") == 0
    assert cached_tokens(seen(60, thread_context_known=False), "small") == 0
    # Going back there loses that much less: 5,888 tokens at 2 less 0.20 dollars per million.
    lost = switch_of(LARGE, SMALL, 9_984, 10_000, 100, 5_888)
    assert lost is not None
    assert lost.loss == Decimal("0.089856") - Decimal("0.0105984")
    assert lost.saving == Decimal("0.0832")
    routing = ModelRouting([Otherwise("small")], typical_output=100)
    assert chosen(routing, seen(60)) == "small"
    assert chosen(routing, seen(1_801)) is None


def test_a_cheaper_model_is_taken_only_where_the_switch_pays(warm: None) -> None:
    routing = ModelRouting([Otherwise("small")], typical_output=100)
    stays = routing.route(view(**long_talk()))
    assert isinstance(stays, Route)
    assert stays.model is None
    assert stays.reason.startswith("stays with large: small would save 0.08")
    assert "lose cached input worth 0.089856" in stays.reason
    assert chosen(ModelRouting([Otherwise("small")], typical_output=100, pays_within=2), view(**long_talk())) == "small"
    # Long answers, a cache that is gone, and a rotation make it pay.
    assert chosen(ModelRouting([Otherwise("small")], typical_output=500), view(**long_talk())) == "small"
    assert chosen(routing, view(**long_talk(thread_last_used_at=NOW - 4_000))) == "small"
    assert chosen(routing, view(will_rotate=lambda: True, **long_talk())) == "small"
    # The thread's own answers count more than the typical one.
    long = long_talk(thread_usage=Usage(output_tokens=1_000, requests=2))
    assert chosen(routing, view(**long)) == "small"


@pytest.mark.parametrize(
    ("routing", "seen"),
    [
        (ModelRouting([Otherwise(Route("small", force=True))], typical_output=1), view(**long_talk())),
        (ModelRouting([Otherwise("small")], stay=False, typical_output=1), view(**long_talk())),
        (ModelRouting([Otherwise("unpriced")], typical_output=1), view(**long_talk())),
        (ModelRouting([Otherwise("small")], typical_output=1), view(prices=None, **long_talk())),
    ],
    ids=["force", "stay=False", "no price", "no prices"],
)
def test_a_switch_that_is_forced_or_cannot_be_weighed_is_made(warm: None, routing: ModelRouting, seen: View) -> None:
    assert chosen(routing, seen) in {"small", "unpriced"}


def test_a_dearer_model_is_taken_as_the_rule_says(warm: None) -> None:
    assert chosen(ModelRouting([Otherwise("large")]), view(model="small", **long_talk())) == "large"


def test_a_thread_whose_cache_is_another_models_loses_nothing(warm: None) -> None:
    routing = ModelRouting([Otherwise("small")], typical_output=1)
    assert chosen(routing, view(**long_talk(thread_answered_by="small"))) == "small"


def test_without_stay_every_turn_begins_with_the_assistants_model() -> None:
    routing = ModelRouting([ForUsers({"u-1": "twin"})], stay=False)
    assert chosen(routing, view(model="small")) == "large"
    route = routing.route(view(thread_user="u-1"))
    assert isinstance(route, Route)
    assert (route.model, route.keep) == ("twin", False)


def test_a_fallback_comes_after_so_many_failures_and_is_remembered() -> None:
    routing = ModelRouting([Fallback("small", after=2, remember=60)])

    def after(attempt: int, elsewhere: int = 0, now: float = NOW, **failure: Any) -> str | None:
        seen = view(failure=failed(**{"status_code": 500, **failure}), run_attempt=attempt)
        assert seen.run is not None
        seen.run.attempts_elsewhere, seen.now = elsewhere, now
        return chosen(routing, seen)

    assert after(1) is None
    assert after(2, kind="ambiguous") is None
    assert after(2, status_code=409) is None
    assert after(3, elsewhere=2) is None
    assert chosen(routing, view()) is None
    assert after(2, status_code=429) == "small"
    assert chosen(routing, view()) == "small"
    later = view()
    later.now = NOW + 60
    assert chosen(routing, later) is None


def test_a_fallback_goes_around_what_another_rule_chose_and_what_failed_too() -> None:
    routing = ModelRouting([Otherwise("twin"), Fallback(("twin", Route("small", reasoning_effort="low")), after=1)])
    seen = view(model="large", failure=failed(status_code=503), run_attempt=1)
    assert chosen(routing, seen) == "twin"
    seen = view(model="twin", failure=failed(status_code=503), run_attempt=2, run_attempts_elsewhere=1)
    assert chosen(routing, seen) == "small"
    # The rule leads to twin, which failed lately; so did large.
    route = routing.route(view())
    assert isinstance(route, Route)
    assert (route.model, route.reasoning_effort, route.keep) == ("small", "low", False)
    # Where all have failed, the last one has nowhere to go.
    seen = view(model="small", failure=failed(status_code=503), run_attempt=3, run_attempts_elsewhere=2)
    assert chosen(routing, seen) is None


def test_a_fallback_for_one_model_leaves_the_others_alone() -> None:
    routing = ModelRouting([Fallback("small", after=1, model="large")])
    assert chosen(routing, view(model="twin", failure=failed(status_code=500), run_attempt=1)) is None
    assert chosen(routing, view(model="large", failure=failed(status_code=500), run_attempt=1)) == "small"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Route(""), "Route model is ''"),
        (
            lambda: Route("gpt-5", reasoning_effort="huge"),
            "reasoning_effort is 'huge', it must be one of 'none'",
        ),
        (lambda: Route("gpt-5", service_tier="cheap"), "service_tier is 'cheap', it must be one of 'auto', 'default'"),
        (lambda: Route("gpt-4o", reasoning_effort="low"), "'gpt-4o' takes none: leave it out"),
        (lambda: ModelRouting([]), "ModelRouting rules is"),
        (lambda: ModelRouting("gpt-5"), "ModelRouting rules is 'gpt-5'"),  # type: ignore[arg-type]
        (lambda: ModelRouting([Route("gpt-5")]), "give a rule such as ShortMessages"),  # type: ignore[list-item]
        (lambda: ModelRouting([ShortMessages]), "give a rule such as ShortMessages"),  # type: ignore[list-item]
        (lambda: ModelRouting([Otherwise("a")], typical_output=0), "typical_output is 0"),
        (lambda: ModelRouting([Otherwise("a")], pays_within=0), "pays_within is 0"),
        (lambda: ModelRouting([Otherwise("a")], cache_seconds=-1), "cache_seconds is -1"),
        (lambda: Otherwise(5), "Otherwise leads to 5: name a model"),  # type: ignore[arg-type]
        (lambda: ShortMessages("a", max_tokens=0), "ShortMessages max_tokens is 0"),
        (lambda: MatchingMessages("(", "a"), "no regular expression"),
        (lambda: ForUsers({}), "give a mapping, ForUsers"),
        (lambda: ForUsers({"": "a"}), "user of ForUsers"),
        (lambda: Downgrade("a", when_left=1), "when_left is 1, it must be a share above 0 and below 1"),
        (lambda: Downgrade("a", when_left=float("nan")), "when_left is nan"),
        (lambda: Fallback("a", after=0), "Fallback after is 0"),
        (lambda: Fallback("a", remember=-1), "Fallback remember is -1"),
        (lambda: Fallback(()), "name a model, or several"),
        (lambda: Fallback(Route(service_tier="flex")), "a route without a model"),
        (
            lambda: chosen(ModelRouting([cast("Any", lambda _: "gpt-5")]), view()),
            "rule of ModelRouting returned 'gpt-5'",
        ),
        (lambda: chosen(ModelRouting([Downgrade("a")]), view()), "Downgrade looks at a budget .* the guard has none"),
        (
            lambda: chosen(ModelRouting([Downgrade("a", budget="week")]), view(budgets_left=budgets(day=1))),
            "looks at the budget 'week' .* the guard has 'day'",
        ),
    ],
)
def test_bad_input_is_refused_with_the_value_and_the_mend(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()


@pytest.mark.parametrize("limit", [CostCap(session=1), Budget("application", cost=1)])
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Otherwise("no-price"), r"model 'no-price': give its price, prices=\{'no-price'"),
        (ForUsers({"u-1": "small", "u-2": "no-price"}), "model 'no-price'"),
        (Fallback(("small", "no-price")), "model 'no-price'"),
        (Otherwise(Route(service_tier="flex")), "model 'large' at service tier 'flex'"),
    ],
)
def test_a_dollar_limit_wants_a_price_for_every_model_that_a_rule_names(limit: Any, rule: Any, told: str) -> None:
    for routing in (ModelRouting([rule]), observe(ModelRouting([rule]))):
        policies = PolicySet([routing, limit])
        with pytest.raises(ConfigurationError, match=told):
            policies.check(Assistant(model="large"), PRICES)
    PolicySet([ModelRouting([rule])]).check(Assistant(model="large"), PRICES)
    PolicySet([ModelRouting([Otherwise("small")]), limit]).check(Assistant(model="large"), PRICES)


def test_rules_are_values() -> None:
    assert ShortMessages("a", max_tokens=5) == ShortMessages(Route("a"), max_tokens=5)
    assert ShortMessages("a", max_tokens=5) != ShortMessages("a", max_tokens=6)
    assert hash(ForUsers({"u": "a"})) == hash(ForUsers({"u": "a"}))
    with pytest.raises(AttributeError):
        Otherwise("a").to = Route("b")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ShortMessages("m", max_tokens=None), "ShortMessages max_tokens is None, it must be a number of at "),  # type: ignore[arg-type]
        (lambda: Fallback("m", after=0), "Fallback after is 0, it must be a number of at least 1: give one"),
        (lambda: Fallback("m", remember="5"), "Fallback remember is '5', it must be a number"),  # type: ignore[arg-type]
        (lambda: ModelRouting([Otherwise("m")], cache_seconds="x"), "ModelRouting cache_seconds is 'x'"),  # type: ignore[arg-type]
        (lambda: ModelRouting([Otherwise("m")], pays_within=1.5), "pays_within is 1.5, it must be a whole number"),  # type: ignore[arg-type]
        (lambda: Pacing(0), "Pacing requests_per_minute is 0, it must be a number of at least 1: raise it, or give No"),
        (lambda: Pacing(1, max_wait="x"), "Pacing max_wait is 'x', it must be a number of at least 0.0: raise it"),  # type: ignore[arg-type]
    ],
)
def test_a_number_that_cannot_work_is_refused_with_its_mend(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()
