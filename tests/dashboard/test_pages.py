from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from assistantguard._text import dollars, number
from assistantguard.dashboard import Dashboard, figures, views
from assistantguard.dashboard.app import FRAGMENT_HEADER
from assistantguard.ledger import Claim
from assistantguard.models import RunState, ThreadState, Usage
from assistantguard.policies import Budget
from assistantguard.storage import Opened
from tests.dashboard.calling import Caller, tables
from tests.support.books import Books

SCRIPT = "<script>alert('x')</script>\"'&"
DAY = 86_400.0


@pytest.fixture
def anywhere(database_url: str) -> Iterator[Books]:
    books = Books(database_url)
    yield books
    books.close()


def book_some(books: Books) -> None:
    now = time.time()
    for days, user, model, tokens, cost in (
        (0, "ann", "gpt-6-luna", 1_000, "0.10"),
        (0, "bob", "gpt-6-luna", 2_000, "0.000001"),
        (1, "ann", "gpt-5-mini", 4_000, "1.25"),
        (3, "bob", "house-model", 8_000, None),
        (3, None, "gpt-5-mini", 16_000, "2"),
        (40, "ann", "gpt-5-mini", 32_000, "4"),
    ):
        books.book(user, model=model, tokens=tokens, cost=cost, time=now - days * DAY)


def test_figures_are_the_ledgers_in_each_kind_of_database(anywhere: Books) -> None:
    book_some(anywhere)
    caller = Caller(Dashboard(anywhere.database))
    since = (time.time() // DAY - 29) * DAY
    for address, begin in (("/", since), ("/?days=all", None), ("/?days=nonsense", since)):
        page = caller.page(address)
        (total,) = anywhere.ledger.usage(since=begin)
        assert f">{dollars(total.cost)}<" in page
        assert f">{number(total.usage.total_tokens)}<" in page
        assert f"and {total.unpriced} requests of unknown cost" in page
        found = tables(page)
        assert {row[0]: (row[1], row[2], row[4]) for row in found["By model"]} == {
            str(row.group[0]): (
                "unknown (1)" if row.unpriced else dollars(row.cost),
                number(row.usage.total_tokens),
                number(row.requests),
            )
            for row in anywhere.ledger.usage(["model"], since=begin)
        }
        users = {str(row.group[0]): row for row in anywhere.ledger.usage(["user"], since=begin) if row.group[0]}
        assert [row[0] for row in found["By user"]] == ["ann", "bob"]
        assert {row[0]: row[2] for row in found["By user"]} == {
            user: number(row.usage.total_tokens) for user, row in users.items()
        }
        assert found["By user"][1][1] == "$0.000001 + unknown (1)"
    for day in anywhere.ledger.usage(["day"], since=since):
        assert f"{day.group[0]}, cost: " in page or day.unpriced


def test_users_are_listed_with_what_is_left_of_their_budgets(anywhere: Books) -> None:
    book_some(anywhere)
    budget = Budget("user", "day", tokens=1_000)
    (cap,) = budget.caps("ann", time.time())
    anywhere.book("ann", tokens=300, time=time.time(), claims=[Claim(cap.account, "tokens", Decimal(300))])
    anywhere.ledger.reserve("held", [Claim(cap.account, "tokens", Decimal(50))], time.time() + 600)
    anywhere.ledger.set_limit(budget.key("ann"), "tokens", 5_000)
    anywhere.ledger.set_limit(Budget("user", "month", cost=1).key("dan"), "cost", Decimal("2.5"))
    anywhere.thread("t-1", "cem", "Orders")
    caller = Caller(Dashboard(anywhere.database))
    rows = {row[0]: row for row in tables(caller.page("/users?days=30"))["Users"]}
    assert list(rows) == ["ann", "bob", "cem", "dan"]
    assert rows["ann"][-1] == "day: 4,650 tokens left of 5,000 tokens"
    assert rows["dan"][-1] == "month: $2.50 to spend, nothing booked yet"
    assert (rows["cem"][1], rows["cem"][5]) == ("$0.00", "1")
    (row,) = tables(caller.page("/user?user=ann"))["Budgets now"]
    assert row[:6] == ["user ann, day", "tokens", "300 tokens", "50 tokens", "5,000 tokens (set)", "4,650 tokens"]
    assert [row[0] for row in tables(caller.page("/users?search=CE"))["Users"]] == ["cem"]
    assert tables(caller.page("/users?search=%00zz"))["Users"] == [["no such user"]]


def test_a_limit_that_stands_in_the_program_is_shown_where_it_is_named_and_else_unknown(books: Books) -> None:
    budget = Budget("application", "month", cost=10)
    (cap,) = budget.caps("", time.time())
    books.book("ann", cost="4", claims=[Claim(cap.account, "cost", Decimal(4))])
    own = {("application", "month", "cost"): Decimal(10)}
    for limits, shown in (({}, ["unknown", "unknown"]), (own, ["$10.00", "$6.00"])):
        caller = Caller(Dashboard(books.database, own_limits=limits))
        (row,) = tables(caller.page("/budgets"))["Budgets now"]
        assert [row[2], *row[4:6]] == ["$4.00", *shown]


def test_many_users_come_in_pages_the_dearest_first(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PAGE", 5)
    for user in range(8):
        books.book(f"u-{user:02}", cost=f"{user}.5", time=time.time())
    caller = Caller(Dashboard(books.database))
    first, second = caller.page("/users"), caller.page("/users?page=1&days=30")
    assert "Next page" in first
    assert "Page before" in second
    names = [row[0] for page in (first, second) for row in tables(page)["Users"]]
    assert names == [f"u-{user:02}" for user in reversed(range(8))]


def test_threads_are_searched_and_come_in_pages(anywhere: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE", 5)
    for thread in range(6):
        anywhere.thread(f"t-{thread:02}", "ann", f"Order {thread:02}", "late" if thread == 4 else "new")
    anywhere.thread("t-bob", "bob", "100% wool_")
    anywhere.thread("t-own")
    anywhere.threads.archive("t-bob", "bob", time.time())
    caller = Caller(Dashboard(anywhere.database))

    def names(address: str) -> list[str]:
        return [row[0] for row in tables(caller.page(address))["Threads"]]

    page = caller.page("/threads")
    (more,) = [part.partition('"')[0] for part in page.split('href="')[1:] if "after=" in part.partition('"')[0]]
    both = names("/threads") + names(more.replace("&amp;", "&"))
    assert sorted(both) == sorted([f"Order {thread:02}" for thread in range(6)] + ["t-own"])
    assert names("/threads?search=order+0") == [f"Order {thread:02}" for thread in range(5, 0, -1)]
    assert names("/threads?search=LATE") == ["Order 04"]
    assert names("/threads?search=%25") == ["there is no such thread"]
    assert names("/threads?search=%25&which=archived") == ["100% wool_"]
    assert names("/threads?user=bob&which=all") == ["100% wool_"]
    assert names("/threads?user=bob") == ["there is no such thread"]
    caller.page("/threads?after=nonsense", 400)


def test_a_thread_is_shown_with_its_runs_and_to_its_user_only(anywhere: Books) -> None:
    now = time.time()
    state = ThreadState("t-1", created_at=now, last_used_at=now)
    state.user, state.name, state.turns = "ann", "Orders", 3
    opened = anywhere.threads.open("t-1", "me", 60.0, now, user="ann", fresh=state)
    assert isinstance(opened, Opened)
    run = RunState("run_1", "t-1", "gpt-6-luna", "in_progress", started_at=now, steps=2)
    run.usage, run.cost = Usage(100, 0, 0, 20, 0, 0, 1), None
    anywhere.threads.save(state, run, opened.fence)
    caller = Caller(Dashboard(anywhere.database))
    (row,) = tables(caller.page("/runs"))["Runs in flight"]
    assert (row[:4], row[5:]) == (["Orders", "ann", "gpt-6-luna", "in progress"], ["2", "0", "120", "unknown"])
    run.status, run.finished_at, run.last_error = "failed", now, SCRIPT
    anywhere.threads.save(state, run, opened.fence, close=True)
    assert tables(caller.page("/runs"))["Runs in flight"] == [["no run is in flight"]]
    (row,) = tables(caller.page("/thread?id=t-1&user=ann"))["Its runs"]
    assert (row[:3], row[4:]) == (["run_1", "failed", "gpt-6-luna"], ["120", "unknown", SCRIPT])
    for address in ("/thread?id=t-1", "/thread?id=t-1&user=bob", "/thread?id=absent&user=ann"):
        assert "Not found" in caller.page(address, 404)
    for address in ("/thread", "/thread?id=%00&user=ann", "/thread?id=t-1&user=%00", "/user?user=", "/account"):
        assert "That did not work" in caller.page(address, 400)


def test_a_run_that_nobody_drives_is_told_from_one_that_somebody_does(books: Books) -> None:
    now = time.time()
    for name, lease in (("t-1", 0.0), ("t-2", 600.0)):
        state = ThreadState(name, created_at=now, last_used_at=now)
        opened = books.threads.open(name, f"owner of {name}", lease, now - 1, fresh=state)
        assert isinstance(opened, Opened)
        books.threads.save(state, RunState(f"run of {name}", name, "m", "queued", started_at=now), opened.fence)
    rows = tables(Caller(Dashboard(books.database)).page("/"))["Runs in flight"]
    assert {row[0]: row[3] for row in rows} == {"t-1": "queued, left by its program", "t-2": "queued"}


def test_text_of_users_stays_text_on_every_page(books: Books, tmp_path: Path) -> None:
    books.book(SCRIPT, model=SCRIPT, tenant=SCRIPT, thread=SCRIPT, time=time.time())
    books.thread("t-1", SCRIPT, SCRIPT, SCRIPT)
    books.ledger.set_limit(Budget("user", "day", tokens=1).key(SCRIPT), "tokens", 5)
    events = tmp_path / "events"
    refusal = {"event": "budget.refused", "time": 1.0, "policy": SCRIPT, "reason": SCRIPT, "user": SCRIPT}
    events.write_text(json.dumps({**refusal, "thread_id": SCRIPT, "account": SCRIPT}) + "\n")
    caller = Caller(Dashboard(books.database, sink=lambda _: None, events=events))
    user = {"user": SCRIPT}
    for address, parameters in (
        ("/", {}),
        ("/", {"days": SCRIPT}),
        ("/users", {"search": SCRIPT}),
        ("/user", user),
        ("/threads", {**user, "search": SCRIPT, "which": SCRIPT}),
        ("/thread", {**user, "id": "t-1", "done": SCRIPT}),
        ("/thread", {**user, "id": SCRIPT}),
        ("/account", {**user, "per": "day"}),
        ("/account", {"account": SCRIPT}),
        ("/budgets", {}),
        ("/refusals", {}),
    ):
        page = caller.get(address, params=parameters).text
        assert "<script>alert" not in page
        assert page.count("<script") == 2
    assert tables(caller.page("/refusals"))["Last refusals and stops"][0][2:] == [SCRIPT] * 4
    answer = caller.post("/thread/rename", {**user, "id": "t-1", "name": f"{SCRIPT}\x00"})
    assert answer.status_code == 400
    assert "<script>alert" not in answer.text


def test_a_fragment_is_the_live_part_of_its_page(books: Books) -> None:
    book_some(books)
    caller = Caller(Dashboard(books.database))
    for address in ("/", "/users", "/user?user=ann", "/threads", "/runs", "/refusals", "/budgets"):
        part = caller.get(address, headers={FRAGMENT_HEADER: "live"}).text
        assert "<html" not in part
        assert "<form" not in part
        assert part.strip() in caller.page(address)


def test_days_begin_where_it_is_said(books: Books) -> None:
    midnight = time.time() // DAY * DAY
    books.book("ann", time=midnight - 3_600)
    caller = Caller(Dashboard(books.database, timezone="Asia/Tokyo"))
    (row,) = books.ledger.usage(["day"], timezone=caller.dashboard.zone)
    page = caller.page("/?days=all")
    assert f"{row.group[0]}, cost: $0.01" in page
    assert "Asia/Tokyo" in page


def test_what_fails_is_told_without_its_insides(
    books: Books, caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(books.database, "query", fail)
    answer = caller.get("/")
    assert answer.status_code == 500
    assert "a secret" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "a secret" in caplog.text
