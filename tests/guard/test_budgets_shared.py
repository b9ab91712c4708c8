"""Budgets over a database: guards that share it share the budgets, their warnings, and limits set at run time."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from assistantguard import Budget, BudgetBusy, BudgetExceeded, Reply
from assistantguard.events import BudgetWarned
from assistantguard.ledger import open_ledger
from assistantguard.sandbox import Sandbox
from tests.support.budgets import go_to_midnight, line_of, of_user
from tests.support.clock import Clock
from tests.support.world import Bot, World

NASTY = "x'; DROP TABLE guard_accounts; --@day:%40 é"


def wordy(_: object) -> str:
    return "The order was sent on Tuesday and will arrive soon. " * 20


@pytest.fixture
def two(world: World, database_url: str) -> Callable[..., tuple[list[Bot], Sandbox]]:
    """Makes two guards over one database."""

    def make(*budgets: Budget, model: Any = None) -> tuple[list[Bot], Sandbox]:
        sandbox = world.sandbox(model)
        return [world.bot(sandbox, list(budgets), ledger=database_url) for _ in range(2)], sandbox

    return make


Two = Callable[..., tuple[list[Bot], Sandbox]]


def test_two_guards_never_overspend_one_budget(two: Two, database_url: str) -> None:
    budgets = [
        Budget("user", tokens=4_000, messages=7, wait=0.0),
        Budget("application", "month", cost="0.0012", timezone="Europe/Berlin", wait=0.0),
    ]
    bots, sandbox = two(*budgets, model=wordy)
    threads = [of_user(bot, user, topic=f"{bot is bots[0]} {topic}") for bot in bots for user in "ab" for topic in "xy"]
    outcomes: list[Any] = []
    for number in range(3):
        outcomes += bots[0].at_once(
            *(lambda thread=thread: thread.chat(f"Round {number}") for thread in threads)  # noqa: B023
        )
    assert {type(outcome) for outcome in outcomes} <= {Reply, BudgetBusy, BudgetExceeded}
    replies = sum(isinstance(outcome, Reply) for outcome in outcomes)
    assert replies > 2
    spent = {user: line_of(bots[1], user).committed for user in "ab"}
    lines = [line for user in "ab" for line in bots[0].world.wait(bots[0].guard.budget(user)).lines[:2]]
    assert all(line.committed <= line.limit for line in lines)
    assert [line.held for line in lines] == [0] * 4
    messages = sum(line.committed for line in lines if line.metric == "messages")
    assert sum(spent.values()) == sandbox.billing.totals.total_tokens
    assert messages == replies
    cost = line_of(bots[1], "a", "cost")
    assert cost.committed == sandbox.billing.cost
    assert cost.committed <= Decimal("0.0012")
    ledger = open_ledger(database_url)
    assert not ledger.open_holds()
    booked = {row.group[0]: row.usage.total_tokens for row in ledger.usage(["user"])}
    assert booked == {user: tokens for user, tokens in spent.items() if tokens}
    ledger.database.close()


def test_two_guards_warn_once_together(two: Two) -> None:
    bots, _ = two(Budget("user", messages=10))
    threads = [of_user(bot, "u-42", topic=f"{bot is bots[0]}") for bot in bots]
    for _ in range(5):
        bots[0].at_once(*(lambda thread=thread: thread.chat("Hello?") for thread in threads))
    given = sorted(event.threshold for bot in bots for event in bot.all(BudgetWarned))
    assert given == [0.5, 0.8]


def test_a_limit_that_one_guard_sets_holds_on_the_other(two: Two, clock: Clock) -> None:
    midnight = go_to_midnight(clock, 1_000)
    bots, _ = two(Budget("user", messages=1, timezone="UTC"))
    one, other = bots
    one.chat("Hello?", of_user(one, NASTY, topic="a"))
    refused = other.try_chat("Hello?", of_user(other, NASTY, topic="b"))
    assert isinstance(refused, BudgetExceeded)
    assert refused.renews_at == midnight
    one.world.wait(one.guard.set_budget(NASTY, messages=2, this_window=True))
    assert line_of(other, NASTY, "messages").left == 1
    other.chat("Hello?", of_user(other, NASTY, topic="b"))
    assert isinstance(one.try_chat("Hello?", of_user(one, NASTY, topic="a")), BudgetExceeded)
    clock.advance(midnight - time.time())
    assert line_of(other, NASTY, "messages").left == line_of(other, NASTY, "messages").limit == 1
