"""Warnings of budgets: once per share and window over all who share the ledger, and never in a turn's way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from assistantguard import Budget, Reply, StructlogSink
from assistantguard.events import BudgetWarned
from assistantguard.reports import read_report
from assistantguard.sandbox import FunctionCall
from tests.support.budgets import go_to_midnight, of_user
from tests.support.clock import Clock
from tests.support.models import Lookups
from tests.support.world import Bot, WatchedLedger, World


def shares(bot: Bot, metric: str = "messages") -> list[tuple[str, float, int]]:
    """Who was warned at which share, with how much spent."""
    return [
        (str(event.user), event.threshold, int(event.committed))
        for event in bot.all(BudgetWarned)
        if event.metric == metric
    ]


def test_a_warning_comes_once_per_share_and_window(world: World, clock: Clock) -> None:
    midnight = go_to_midnight(clock, 3_600)
    bot = world.bot(world.sandbox(), [Budget("user", messages=4, warn_at=(0.5, 0.75, 1))])
    thread = of_user(bot, "u-42", "acme")
    for _ in range(4):
        bot.chat("Hello?", thread)
    assert shares(bot) == [("u-42", 0.5, 2), ("u-42", 0.75, 3), ("u-42", 1.0, 4)]
    event = bot.all(BudgetWarned)[0]
    assert event.account.startswith("user:u-42@day:")
    assert (event.name, event.level, event.budget, event.tenant) == ("budget.warned", "warning", "user/day", "acme")
    assert event.limit == 4
    assert event.renews_at == midnight
    assert event.run_id is not None
    clock.advance(3_600)
    for _ in range(2):
        bot.chat("Hello?", thread)
    assert shares(bot)[3:] == [("u-42", 0.5, 2)]
    bot.chat("Hello?", of_user(bot, "u-43"))
    assert len(shares(bot)) == 4


def test_tokens_and_dollars_warn_for_themselves(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("application", tokens=200, cost="0.01", warn_at=(0.5,))])
    while not bot.all(BudgetWarned):
        bot.chat("Hello?")
    (event,) = bot.all(BudgetWarned)
    assert event.metric == "tokens"
    assert 100 <= event.committed <= 200


def test_one_request_may_pass_several_shares(world: World) -> None:
    bot = world.bot(world.sandbox(), [Budget("application", tokens=150, warn_at=(0.01, 0.1, 0.99))])
    bot.chat("Hello?")
    assert [share for _, share, _ in shares(bot, "tokens")] == [0.01, 0.1]


def test_guards_that_share_a_ledger_warn_once_together(world: World) -> None:
    ledger = WatchedLedger()
    budgets = [Budget("user", messages=10), Budget("application", messages=10)]
    bots = [world.bot(world.sandbox(), budgets, ledger=ledger) for _ in range(2)]
    threads = [of_user(bot, "u-42", topic=topic) for bot in bots for topic in "abcde"]
    outcomes = bots[0].at_once(*(lambda thread=thread: thread.chat("Hello?") for thread in threads))
    assert all(isinstance(outcome, Reply) for outcome in outcomes)
    given = sorted((event.budget, event.threshold) for bot in bots for event in bot.all(BudgetWarned))
    assert given == [(budget, share) for budget in ("application/day", "user/day") for share in (0.5, 0.8)]


class Watcher:
    """A callback that notes what it was called with, and in which thread."""

    def __init__(self) -> None:
        self.events: list[BudgetWarned] = []
        self.threads: list[threading.Thread] = []
        self.called = threading.Event()

    def __call__(self, event: BudgetWarned) -> None:
        self.events.append(event)
        self.threads.append(threading.current_thread())
        self.called.set()


def test_the_callback_gets_the_event_of_its_own_budget(world: World) -> None:
    mine, other = Watcher(), Watcher()
    budgets = [
        Budget("user", messages=2, warn_at=(0.5,), on_warning=mine),
        Budget("user", "week", messages=100, on_warning=other),
    ]
    bot = world.bot(world.sandbox(), budgets)
    bot.chat("Hello?", of_user(bot, "u-42"))
    bot.close()
    assert mine.events == bot.all(BudgetWarned)
    assert len(mine.events) == 1
    assert mine.threads[0] is not threading.main_thread()
    assert not other.events


def test_a_callback_that_blocks_holds_no_turn_up(world: World) -> None:
    release = threading.Event()
    done: list[Any] = []

    def mail(event: BudgetWarned) -> None:
        assert release.wait(60)
        done.append(event)

    bot = world.bot(world.sandbox(), [Budget("application", messages=2, warn_at=(0.5,), on_warning=mail)])
    assert bot.chat("Hello?").text
    assert bot.chat("Hello?").text
    assert not done
    release.set()
    bot.close()
    assert done == bot.all(BudgetWarned)


def test_a_callback_that_fails_is_logged_and_harms_no_turn(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def mail(event: BudgetWarned) -> None:
        raise ZeroDivisionError

    bot = world.bot(world.sandbox(), [Budget("application", messages=2, warn_at=(0.5,), on_warning=mail)])
    assert bot.chat("Hello?").text
    bot.close()
    (record,) = [record for record in caplog.records if "on_warning" in record.getMessage()]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert bot.chat("Hello?").text


def test_a_ledger_that_fails_while_a_warning_is_looked_for_harms_no_turn(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(WatchedLedger):
        def first_time(self, key: str, needed_until: float | None = None) -> bool:
            raise OSError("the disk is gone")

    bot = world.bot(world.sandbox(), [Budget("application", messages=2)], ledger=Broken())
    assert bot.chat("Hello?").text
    assert "could not be looked at" in caplog.text
    assert "the disk is gone" in caplog.text


def test_a_warning_is_told_once_for_a_run_of_several_requests(world: World) -> None:
    script = [FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}), "Sent."]
    bot = world.bot(world.sandbox(script), [Budget("application", messages=2)], tools=[Lookups().lookup])
    bot.chat("Where are orders 1 and 2?")
    assert [share for _, share, _ in shares(bot)] == [0.5]


def test_a_warning_is_in_the_log_and_in_the_report(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    bot = world.bot(world.sandbox(), [Budget("application", messages=2)], events=path, sinks=[StructlogSink()])
    for _ in range(2):
        bot.chat("Hello?")
    bot.close()
    assert "budget.warned" in caplog.text
    report = read_report(path)
    assert report.warnings == {("application/day", "messages", "50 %"): 1, ("application/day", "messages", "80 %"): 1}
    assert not report.unknown
    assert not report.bad.count
