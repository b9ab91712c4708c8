"""What is left of a budget, and limits that are set at run time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from assistantguard import Budget, BudgetExceeded, BudgetReport, ConfigurationError, Reply, TokenCap
from tests.support.budgets import go_to_midnight, line_of, of_user
from tests.support.clock import Clock
from tests.support.models import SlowModel, while_slow
from tests.support.world import Bot, WatchedLedger, World


def left_of(bot: Bot, *args: Any, **kwargs: Any) -> BudgetReport:
    report = bot.world.wait(bot.guard.budget(*args, **kwargs))
    assert isinstance(report, BudgetReport)
    return report


def set_budget(bot: Bot, *args: Any, **kwargs: Any) -> None:
    bot.world.wait(bot.guard.set_budget(*args, **kwargs))


def test_what_is_left_is_told_for_every_budget_that_concerns_a_user(world: World, clock: Clock) -> None:
    midnight = go_to_midnight(clock, 3_600)
    budgets = [
        Budget("user", tokens=10_000, messages=2),
        Budget("tenant", "month", cost="0.50"),
        Budget("application", None, messages=1_000),
        TokenCap(session=1_000_000),
    ]
    sandbox = world.sandbox()
    bot = world.bot(sandbox, budgets)
    bot.chat("Hello?", of_user(bot, "u-42", "acme"))
    report = left_of(bot, "u-42", tenant="acme")
    assert [(line.budget, line.metric) for line in report.lines] == [
        ("user/day", "tokens"),
        ("user/day", "messages"),
        ("tenant/month", "cost"),
        ("application/ever", "messages"),
    ]
    tokens, messages, cost, ever = report.lines
    assert tokens.committed == sandbox.billing.totals.total_tokens
    assert tokens.left == tokens.limit - tokens.committed
    assert cost.committed == sandbox.billing.cost
    assert ever.renews_at is None
    assert tokens.renews_at == midnight
    # The report itself tells its tightest line: half of the messages are gone, and less of all else.
    assert report.tightest == messages
    assert (report.budget, report.metric, report.renews_at) == ("user/day", "messages", midnight)
    assert report.limit == 2
    assert report.committed == report.left == 1
    assert report.held == 0
    assert [line.budget for line in left_of(bot, "u-42").lines] == ["user/day", "user/day", "application/ever"]
    assert [line.budget for line in left_of(bot).lines] == ["application/ever"]
    assert left_of(bot, "u-43").lines[0].committed == 0
    clock.advance(3_600)
    assert left_of(bot, "u-42").lines[0].left == 10_000


def test_what_requests_in_flight_hold_is_told(world: World) -> None:
    slow = SlowModel()
    bot = world.bot(world.sandbox(slow, model_in_thread=True), [Budget("user", tokens=100_000, messages=5)])
    held: list[Decimal] = []

    class Asks:
        """Stands in for the second thread: it asks what is left."""

        def chat(self, message: str) -> Any:
            if not world.is_async:
                held.extend(line.held for line in bot.guard.budget("u-42").lines)
                return None

            async def ask() -> None:
                held.extend(line.held for line in (await bot.guard.budget("u-42")).lines)

            return ask()

    with slow.released_after():
        reply, _ = while_slow(bot, slow, of_user(bot, "u-42"), Asks())  # type: ignore[arg-type]
    assert isinstance(reply, Reply)
    assert held[0] > 0
    assert held[1] == 1
    assert line_of(bot, "u-42").held == 0


def test_a_limit_that_is_set_holds_for_that_user_on_every_guard_that_shares_the_ledger(world: World) -> None:
    ledger = WatchedLedger()
    bots = [world.bot(world.sandbox(), [Budget("user", messages=1)], ledger=ledger) for _ in range(2)]
    mine, theirs, other = of_user(bots[0], "u-42"), of_user(bots[1], "u-42"), of_user(bots[1], "u-43")
    bots[0].chat("Hello?", mine)
    assert isinstance(bots[1].try_chat("Hello?", theirs), BudgetExceeded)
    set_budget(bots[0], "u-42", messages=3)
    assert line_of(bots[1], "u-42", "messages").limit == 3
    bots[1].chat("Hello?", theirs)
    bots[0].chat("Hello?", mine)
    refused = bots[1].try_chat("Hello?", theirs)
    assert isinstance(refused, BudgetExceeded)
    assert refused.limit == 3
    bots[1].chat("Hello?", other)
    assert isinstance(bots[1].try_chat("Hello?", other), BudgetExceeded)
    set_budget(bots[1], "u-42", messages=None)
    assert line_of(bots[0], "u-42", "messages").limit == 1
    assert line_of(bots[0], "u-42", "messages").left == 0


def test_a_limit_of_nothing_blocks_a_user(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("user", tokens=100_000, cost=1, messages=10)])
    set_budget(bot, "u-42", cost=0)
    assert isinstance(bot.try_chat("Hello?", of_user(bot, "u-42")), BudgetExceeded)
    assert isinstance(bot.try_chat("Hello?", of_user(bot, "u-43")), Reply)


def test_a_limit_for_this_window_ends_with_it_and_goes_before_one_that_stays(world: World, clock: Clock) -> None:
    go_to_midnight(clock, 3_600)
    bot = world.bot(world.sandbox(), [Budget("user", tokens=1_000, messages=9)])
    set_budget(bot, "u-42", tokens=2_000)
    set_budget(bot, "u-42", tokens=5_000, this_window=True)
    assert line_of(bot, "u-42").limit == 5_000
    assert line_of(bot, "u-42", "messages").limit == 9
    clock.advance(3_600)
    assert line_of(bot, "u-42").limit == 2_000
    set_budget(bot, "u-42", tokens=0, this_window=True)
    set_budget(bot, "u-42", tokens=None)
    assert line_of(bot, "u-42").limit == 0
    set_budget(bot, "u-42", tokens=None, this_window=True)
    assert line_of(bot, "u-42").limit == 1_000


@pytest.mark.parametrize(
    ("who", "budget", "line"),
    [
        ({"user": "u-42"}, "user/day", 0),
        ({"user": "u-42"}, "trial", 1),
        ({"tenant": "acme"}, None, 2),
        ({"account": "red"}, None, 3),
        ({}, None, 4),
    ],
)
def test_a_limit_is_set_on_the_budget_that_is_meant(
    world: World, who: dict[str, Any], budget: str | None, line: int
) -> None:
    bot = world.bot(
        world.sandbox(),
        [
            Budget("user", tokens=1_000),
            Budget("user", tokens=1_000, name="trial"),
            Budget("tenant", tokens=1_000),
            Budget(lambda view: "red", tokens=1_000, name="team"),
            Budget("application", tokens=1_000),
        ],
    )
    set_budget(bot, **who, budget=budget, tokens=7)
    report = left_of(bot, "u-42", tenant="acme", account="red")
    assert [int(each.limit) for each in report.lines] == [7 if index == line else 1_000 for index in range(5)]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"user": "u-42", "tokens": -1}, "tokens is -1"),
        ({"user": "u-42", "tokens": True}, "tokens is True"),
        ({"user": "u-42", "tokens": 0.5}, "tokens is 0.5"),
        ({"user": "u-42", "cost": "NaN"}, "cost is 'NaN'"),
        ({"user": "u-42", "cost": "-1"}, "cost is '-1'"),
        ({"user": "u-42", "cost": 10**9}, "from 0 to 9,000,000"),
        ({"user": "u-42"}, "no limit is given"),
        ({"user": "u-42", "messages": 1}, r"no budget limits messages for user='u-42': the guard's budgets are"),
        ({"user": "u-42", "tokens": 1, "budget": "user/week"}, "no budget called 'user/week'"),
        ({"tenant": "acme", "tokens": 1}, "no budget limits tokens for tenant='acme'"),
        ({"tokens": 1}, "no budget limits tokens for the application"),
        ({"user": "u-42", "tenant": "acme", "tokens": 1}, "user and tenant are given: set the limits of one"),
        ({"user": "", "tokens": 1}, "the user is ''"),
        ({"user": "x" * 10_000, "tokens": 1}, "10,000 characters"),
        ({"user": "a\x00b", "tokens": 1}, r"U\+0000 at position 2"),
    ],
)
def test_a_limit_that_cannot_be_set_is_refused_and_none_is(world: World, values: dict[str, Any], text: str) -> None:
    ledger = WatchedLedger()
    bot = world.bot(world.sandbox(), [Budget("user", cost=5, tokens=1_000)], ledger=ledger)
    with pytest.raises(ConfigurationError, match=text):
        set_budget(bot, **values)
    with pytest.raises(ConfigurationError, match=text):
        set_budget(bot, **{"cost": "0.01", **values} if "no limit" not in text else values)
    keys = [budget.key("u-42") for budget, _ in bot.guard._core.policies.budgets]
    assert not ledger.limits(keys)


def test_two_budgets_that_a_limit_would_fit_are_named(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("user", tokens=9), Budget("user", "week", tokens=9)])
    with pytest.raises(ConfigurationError, match="name one of 'user/day', 'user/week'"):
        set_budget(bot, "u-42", tokens=1)


@pytest.mark.parametrize(("user", "text"), [("u-42", "no budget concerns user='u-42'"), ("\x07", "U\\+0007")])
def test_a_guard_without_budgets_says_so(world: World, user: str, text: str) -> None:
    bot = world.bot(world.sandbox())
    with pytest.raises(ConfigurationError, match=text):
        left_of(bot, user)
    with pytest.raises(ConfigurationError):
        set_budget(bot, user, tokens=1)


NAMES = ["u", "u@day", "u@day:2026-11-22", "u%40day", "u:x", "day", "U", "u ", "%", "é", "e\u0301"]


def test_no_name_reaches_another_users_budget(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("user", messages=1), Budget("user", None, messages=1, name="day")])
    for name in NAMES:
        assert left_of(bot, name).left == 1
        assert isinstance(bot.try_chat("Hello?", of_user(bot, name)), Reply)
        assert isinstance(bot.try_chat("Hello?", of_user(bot, name)), BudgetExceeded)
    for name in NAMES[::2]:
        set_budget(bot, name, budget="user/day", messages=2)
    assert [int(line_of(bot, name, "messages", "user/day").limit) for name in NAMES] == [
        2 - index % 2 for index in range(len(NAMES))
    ]
