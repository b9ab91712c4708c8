"""Budgets on their own: what they refuse to be, whom they charge, and accounts that never collide."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard import Assistant, Budget, ConfigurationError, Price, PriceBook, observe
from assistantguard.policies import Limit, PolicySet, Refuse
from tests.support.views import NOW, make_view

TODAY = "2023-11-14"
"""The day of `NOW`, in UTC."""


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "neither tokens nor cost nor messages"),
        ({"tokens": -1}, "Budget tokens is -1"),
        ({"tokens": True}, "Budget tokens is True"),
        ({"tokens": 1.5}, "Budget tokens is 1.5"),
        ({"tokens": "5"}, "Budget tokens is '5'"),
        ({"tokens": 10**16}, "from 0 to 1,000,000,000,000,000"),
        ({"messages": -1}, "Budget messages is -1"),
        ({"messages": float("nan")}, "Budget messages is nan"),
        ({"messages": Decimal(2)}, "Budget messages is"),
        ({"cost": -0.01}, "Budget cost is -0.01"),
        ({"cost": "NaN"}, "Budget cost is 'NaN'"),
        ({"cost": float("inf")}, "Budget cost is inf"),
        ({"cost": Decimal("sNaN")}, "Budget cost is"),
        ({"cost": "two"}, "Budget cost is 'two'"),
        ({"cost": True}, "Budget cost is True"),
        ({"cost": 10**7}, "from 0 to 9,000,000"),
        ({"tokens": 1, "warn_at": (0,)}, "Budget warn_at has 0"),
        ({"tokens": 1, "warn_at": (0.5, 1.01)}, "Budget warn_at has 1.01"),
        ({"tokens": 1, "warn_at": 80}, "Budget warn_at has 80"),
        ({"tokens": 1, "warn_at": (-0.1,)}, "Budget warn_at has -0.1"),
        ({"tokens": 1, "warn_at": (True,)}, "Budget warn_at has True"),
        ({"tokens": 1, "warn_at": (float("nan"),)}, "Budget warn_at has nan"),
        ({"tokens": 1, "warn_at": ("0.5",)}, "Budget warn_at has '0.5'"),
        ({"tokens": 1, "warn_at": "0.5"}, "Budget warn_at is '0.5'"),
        ({"tokens": 1, "warn_at": None}, "Budget warn_at is None"),
        ({"tokens": 1, "account": "session"}, "Budget account is 'session'"),
        ({"tokens": 1, "account": None}, "Budget account is None"),
        ({"tokens": 1, "account": lambda view: "x"}, "has no name"),
        ({"tokens": 1, "name": ""}, "name of a Budget"),
        ({"tokens": 1, "name": "a\nb"}, r"U\+000A at position 2"),
        ({"tokens": 1, "on_warning": "mail"}, "Budget on_warning is 'mail'"),
        ({"tokens": 1, "counting": "often"}, "Budget counting is 'often'"),
        ({"tokens": 1, "wait": -1}, "Budget wait is -1"),
        ({"tokens": 1, "wait": "1"}, "Budget wait is '1'"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_the_value_and_the_mend(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Budget(**values)


async def mail(event: object) -> None: ...


class Mailer:
    async def __call__(self, event: object) -> None: ...


@pytest.mark.parametrize("on_warning", [mail, Mailer()])
def test_a_coroutine_function_is_no_callback(on_warning: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a plain function"):
        Budget(tokens=1, on_warning=on_warning)


def caps_of(budget: Budget, **values: Any) -> dict[tuple[str, str], Decimal]:
    limit = budget.before_request(make_view(**values))
    assert isinstance(limit, Limit)
    return {(cap.account, cap.metric): cap.limit for cap in limit.caps}


def test_a_budget_names_one_cap_for_each_of_its_limits() -> None:
    assert caps_of(Budget(tokens=500, cost="1.50", messages=3), thread_user="u-42") == {
        (f"user:u-42@day:{TODAY}", "tokens"): Decimal(500),
        (f"user:u-42@day:{TODAY}", "cost"): Decimal("1.50"),
        (f"user:u-42@day:{TODAY}", "messages"): Decimal(3),
    }


@pytest.mark.parametrize(
    ("budget", "account"),
    [
        (Budget("tenant", "month", tokens=1), "tenant:acme@month:2023-11"),
        (Budget("application", "hour", tokens=1), "application@hour:2023-11-14T22:00+0000"),
        (Budget("application", None, tokens=1), "application@ever"),
        (Budget("user", None, tokens=1, timezone="Europe/Berlin"), "user:u-42@ever"),
        (Budget("user", timedelta(hours=36), tokens=1), "user:u-42@36h:2023-11-14T12:00:00Z"),
        (Budget(tokens=1, timezone="Asia/Tokyo"), "user:u-42@day~Asia/Tokyo:2023-11-15"),
        (Budget(tokens=1, name="trial"), f"user:u-42@day#trial:{TODAY}"),
        (Budget(tokens=1, timezone="Asia/Tokyo", name="a:b"), "user:u-42@day~Asia/Tokyo#a%3Ab:2023-11-15"),
        (Budget(lambda view: view.thread.tags[0], name="team", tokens=1), f"account:red@day#team:{TODAY}"),
    ],
)
def test_the_account_carries_the_owner_the_window_the_zone_and_the_name(budget: Budget, account: str) -> None:
    caps = caps_of(budget, thread_user="u-42", thread_tenant="acme", thread_tags=("red",))
    assert caps == {(account, "tokens"): Decimal(1)}


def test_a_cap_tells_when_it_renews_and_when_to_warn() -> None:
    limit = Budget("application", tokens=1, warn_at=(0.9, 0.2, 0.9)).before_request(make_view())
    assert isinstance(limit, Limit)
    (cap,) = limit.caps
    assert cap.terms is not None
    assert cap.terms.renews_at == datetime(2023, 11, 15, tzinfo=timezone.utc).timestamp() > NOW
    assert cap.terms.warn_at == (0.2, 0.9)
    assert cap.terms.budget == "application/day"


def test_a_message_that_is_counted_is_not_asked_for_again() -> None:
    budget = Budget("application", tokens=9, messages=1)
    assert {metric for _, metric in caps_of(budget)} == {"tokens", "messages"}
    assert {metric for _, metric in caps_of(budget, run_message_counted=True)} == {"tokens"}


NAMES = st.text(st.sampled_from("ab@:#~%/ é"), min_size=1, max_size=6).filter(lambda name: not name.isspace())
PERIODS = st.sampled_from(["day", "week", None, timedelta(days=1)])
OWNERS = st.tuples(
    st.sampled_from(["user", "tenant"]), NAMES, PERIODS, st.sampled_from(["UTC", "Asia/Tokyo"]), st.none() | NAMES
)


@given(one=OWNERS, other=OWNERS)
def test_two_accounts_are_the_same_only_where_all_that_tells_them_apart_is(one: Any, other: Any) -> None:
    accounts: list[tuple[str, str]] = []
    for account, owner, per, zone, name in (one, other):
        budget = Budget(account, per, tokens=1, timezone=zone, name=name)
        accounts += caps_of(budget, **{f"thread_{account}": owner})
    # The zone has no say in what is no calendar window.
    signs = [(who[:3], who[4], who[3] if isinstance(who[2], str) else "") for who in (one, other)]
    assert (accounts[0] == accounts[1]) == (signs[0] == signs[1])


def test_the_longest_names_make_accounts_that_a_ledger_keeps() -> None:
    accounts: set[str] = set()
    for owner in ("@" * 256, "@" * 255 + "a", "é" * 256, "%x" * 128):
        budget = Budget(tokens=1, timezone="America/Argentina/ComodRivadavia", name=owner)
        accounts |= {account for account, _ in caps_of(budget, thread_user=owner)}
    assert len(accounts) == 4
    assert max(map(len, accounts)) < 400


@pytest.mark.parametrize("account", ["user", "tenant"])
def test_a_thread_with_nobody_to_charge_is_refused_with_what_to_do(account: Any) -> None:
    decision = Budget(account, tokens=1).before_turn(make_view())
    assert isinstance(decision, Refuse)
    assert decision.error is ConfigurationError
    assert f"bot.thread({account}=…)" in decision.reason
    assert "thread_1" in decision.reason


@pytest.mark.parametrize("named", ["", 42, "a\x00b", "x" * 300])
def test_a_function_that_names_no_account_is_refused(named: Any) -> None:
    decision = Budget(lambda view: named, tokens=1, name="team").before_turn(make_view())
    assert isinstance(decision, Refuse)
    assert decision.error is ConfigurationError
    assert "account that Budget team charges" in decision.reason


def test_a_function_that_names_nobody_leaves_a_turn_alone() -> None:
    budget = Budget(lambda view: view.thread.tenant, tokens=1, name="team")
    assert budget.before_turn(make_view()) is None
    assert budget.before_request(make_view()) is None
    assert budget.before_request(make_view(thread_tenant="acme")) is not None


def test_a_limit_in_dollars_needs_a_price() -> None:
    prices = PriceBook({"priced": Price(input="1", output="1")})
    Budget(cost=1).check(Assistant(model="priced"), prices)
    Budget(tokens=1).check(Assistant(model="house-model-1"), prices)
    with pytest.raises(ConfigurationError, match=r"Budget user/day cannot price .*house-model-1.*prices="):
        Budget(cost=1).check(Assistant(model="house-model-1"), prices)


def test_two_budgets_that_count_the_same_need_names() -> None:
    PolicySet([Budget(tokens=1), Budget(cost=1), Budget(per="week", tokens=1), Budget("application", tokens=1)])
    PolicySet([Budget(tokens=1), observe(Budget(tokens=2, name="trial"))])
    with pytest.raises(ConfigurationError, match=r"two budgets called 'user/day' limit tokens.*name="):
        PolicySet([Budget(tokens=1), observe(Budget(tokens=2))])
