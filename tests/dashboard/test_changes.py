from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from assistantguard.dashboard import Dashboard
from assistantguard.dashboard.events import BudgetLimitChanged, ThreadChanged
from assistantguard.events import Event
from assistantguard.ledger import Claim
from assistantguard.policies import Budget
from assistantguard.reports import read_report
from assistantguard.telemetry import JsonLinesSink
from tests.dashboard.calling import Caller, serving, tables
from tests.support.books import Books

ACCOUNT = "user:ann@day"


@pytest.fixture
def anywhere(database_url: str) -> Iterator[Books]:
    books = Books(database_url)
    yield books
    books.close()


def problem(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    return answer.text.partition('role="alert">')[2].partition("</p>")[0]


def test_limits_are_set_and_cleared_and_each_change_is_told(anywhere: Books, told: list[Event]) -> None:
    caller = Caller(Dashboard(anywhere.database, sink=told.append, actor="mel"))
    for metric, amount, limit in (
        ("cost", "$2.50", Decimal("2.5")),
        ("cost", "1,000.25", Decimal("1000.25")),
        ("tokens", "1,000,000", Decimal(1_000_000)),
        ("messages", "0", Decimal(0)),
    ):
        answer = caller.post("/account/set", {"account": ACCOUNT, "metric": metric, "amount": amount})
        assert answer.status_code == 303
        assert "The limit is set." in caller.page(answer.headers["location"])
        assert anywhere.ledger.limits([ACCOUNT])[ACCOUNT, metric] == limit  # type: ignore[index]
    answer = caller.post("/account/clear", {"account": ACCOUNT, "metric": "cost"})
    assert "The limit is cleared" in caller.page(answer.headers["location"])
    assert {metric for _, metric in anywhere.ledger.limits([ACCOUNT])} == {"tokens", "messages"}
    assert [(event.metric, event.limit, event.before) for event in told if isinstance(event, BudgetLimitChanged)] == [
        ("cost", Decimal("2.5"), None),
        ("cost", Decimal("1000.25"), Decimal("2.5")),
        ("tokens", Decimal(1_000_000), None),
        ("messages", Decimal(0), None),
        ("cost", None, Decimal("1000.25")),
    ]
    assert {(event.account, event.actor) for event in told if isinstance(event, BudgetLimitChanged)} == {
        (ACCOUNT, "mel")
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"amount": "2,50"}, "it must be an amount of US dollars"),
        ({"amount": "-1"}, "it must be an amount"),
        ({"amount": "nan"}, "it must be an amount"),
        ({"amount": ""}, "it must be an amount"),
        ({"amount": "1.5", "metric": "tokens"}, "a whole number of tokens"),
        ({"amount": "9" * 500, "metric": "messages"}, "a whole number of messages"),
        ({"metric": "euros"}, "The metric is"),
    ],
)
def test_a_limit_that_is_none_is_refused_and_what_was_typed_is_kept(
    caller: Caller, books: Books, told: list[Event], fields: dict[str, str], said: str
) -> None:
    answer = caller.post("/account/set", {"account": ACCOUNT, "metric": "cost", "amount": "1", **fields})
    assert said in problem(answer)
    assert f'value="{fields.get("amount", "1")}"' in answer.text
    assert not books.ledger.limits([ACCOUNT])
    assert not told


def test_an_account_that_is_no_budgets_is_refused(caller: Caller, books: Books) -> None:
    for account in ("", "session:s-1", "run:1", "user:ann", "x\x00@day"):
        answer = caller.post("/account/set", {"account": account, "metric": "cost", "amount": "1"})
        assert "not an account of a budget" in answer.text
        assert answer.status_code == 400
    assert not books.run("budgets", "--format", "json").stdout.count("override")


def test_a_limit_of_one_window_is_cleared_where_it_was_set(caller: Caller, books: Books) -> None:
    (cap,) = Budget("user", "day", tokens=1).caps("ann", time.time())
    books.book("ann", claims=[Claim(cap.account, "tokens", Decimal(100))])
    books.ledger.set_limit(cap.account, "tokens", 400)
    page = caller.page(f"/account?account={cap.account}")
    assert len(tables(page)["What stands on it now"]) == 1
    assert f'value="{cap.account}"' in page
    assert caller.post("/account/clear", {"account": cap.account, "metric": "tokens"}).status_code == 303
    assert not books.ledger.limits([cap.account])


def test_a_budget_on_which_nothing_is_booked_can_be_opened(caller: Caller) -> None:
    page = caller.page("/account?user=ann%40x.com&per=month")
    assert "Limits of user:ann%40x.com@month" in page
    assert "nothing is booked on it yet" in page
    assert "That did not work" in caller.page("/account?user=ann&per=fortnight", 400)


def test_threads_are_renamed_archived_and_restored_and_each_change_is_told(anywhere: Books, told: list[Event]) -> None:
    anywhere.thread("t-1", "ann", "Orders")
    anywhere.thread("t-2", "ann", "Returns")
    anywhere.thread("t-own")
    caller = Caller(Dashboard(anywhere.database, sink=told.append, actor="mel"))
    mine = {"id": "t-1", "user": "ann"}
    for action, fields, said in (
        ("rename", {**mine, "name": "Cafe\u0301"}, "The thread is renamed."),
        ("archive", mine, "The thread is archived"),
        ("restore", mine, "The thread is in use again."),
        ("archive", {"id": "t-own"}, "The thread is archived"),
    ):
        answer = caller.post(f"/thread/{action}", fields)
        assert answer.status_code == 303
        assert said in caller.page(answer.headers["location"])
    info = anywhere.threads.info("t-1", "ann")
    assert (info.name, info.archived_at) == ("Caf\u00e9", None)
    assert anywhere.threads.info("t-own").archived_at is not None
    assert [
        (event.change, event.thread_id, event.user, event.actor) for event in told if isinstance(event, ThreadChanged)
    ] == [
        ("renamed", "t-1", "ann", "mel"),
        ("archived", "t-1", "ann", "mel"),
        ("restored", "t-1", "ann", "mel"),
        ("archived", "t-own", None, "mel"),
    ]
    assert "Caf" not in json.dumps([event.record() for event in told])
    assert "another thread named" in problem(caller.post("/thread/rename", {**mine, "name": "Returns"}))
    assert "which says nothing" in problem(caller.post("/thread/rename", {**mine, "name": " "}))
    assert caller.post("/thread/rename", {"id": "t-1", "user": "bob", "name": "Mine"}).status_code == 404
    assert len(told) == 4


def test_changes_are_kept_in_the_file_of_events(books: Books, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with JsonLinesSink(events) as sink:
        caller = Caller(Dashboard(books.database, sink=sink, actor="mel", events=events))
        caller.post("/account/set", {"account": ACCOUNT, "metric": "tokens", "amount": "5"})
    assert not read_report(events).unknown
    (line,) = map(json.loads, events.read_text().splitlines())
    assert {name: line[name] for name in ("event", "actor", "account", "metric", "limit", "thread_id")} == {
        "event": "budget.limit_changed",
        "actor": "mel",
        "account": ACCOUNT,
        "metric": "tokens",
        "limit": "5",
        "thread_id": "",
    }
    assert "before" not in line


def test_served_on_loopback_it_keeps_changes_in_the_file_it_is_given(books: Books, tmp_path: Path) -> None:
    events, heard = tmp_path / "events.jsonl", list[Event]()
    options = {"allow_changes": True, "events": events, "on_change": heard.append}
    with serving(books.url, **options) as link, httpx.Client() as client:
        assert client.get(link.partition("/?")[0]).status_code == 401
        page = client.get(link, follow_redirects=True)
        assert "token" not in str(page.url)
        form = client.get(page.url.join("/account?account=user:ann@day")).text
        token = form.partition('name="form_token" value="')[2].partition('"')[0]
        fields = {"form_token": token, "account": ACCOUNT, "metric": "cost", "amount": "3"}
        assert client.post(page.url.join("/account/set"), data=fields).status_code == 303
    assert "budget.limit_changed" in events.read_text()
    assert len(heard) == 1
    assert books.ledger.limits([ACCOUNT]) == {(ACCOUNT, "cost"): Decimal(3)}
