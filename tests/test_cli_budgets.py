from __future__ import annotations

import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from assistantguard.ledger import Claim
from assistantguard.policies import Budget
from assistantguard.sandbox import Sandbox
from tests.support.books import Books

LONG = "a very long name " * 15


def spend(books: Books, budget: Budget, owner: str, tokens: int, *, held: int = 0, now: float | None = None) -> str:
    """Book tokens on a budget's account, and hold some; return its name."""
    (cap,) = budget.caps(owner, time.time() if now is None else now)
    needed = None if cap.terms is None else cap.terms.renews_at
    if held:
        books.ledger.reserve("held", [Claim(cap.account, "tokens", Decimal(held), None, needed)], time.time() + 600)
    if tokens:
        books.book(owner, tokens=tokens, claims=[Claim(cap.account, "tokens", Decimal(tokens), None, needed)])
    return cap.account


def test_accounts_are_listed_with_what_is_spent_held_and_left(books: Books) -> None:
    budget = Budget("user", "day", tokens=1_000)
    account = spend(books, budget, "ann@x.com", 300, held=50)
    spend(books, Budget("application", None, tokens=1), "", 7)
    books.ledger.reserve("cap", [Claim("session:s-1", "tokens", Decimal(5))], time.time() + 600)
    books.ledger.set_limit(budget.key("ann@x.com"), "tokens", 5_000)
    found = books.json("budgets", "--format", "json")["budgets"]
    assert [(row["account"], row["committed"], row["held"], row["limit"], row["left"]) for row in found] == [
        ("application@ever", "7", "0", None, None),
        ("user:ann%40x.com@day", None, None, "5000", None),
        (account, "300", "50", "5000", "4650"),
    ]
    last = found[-1]
    assert (last["kind"], last["owner"], last["budget"], last["window"]) == (
        "user",
        "ann@x.com",
        "day",
        time.strftime("%Y-%m-%d", time.gmtime()),
    )
    assert last["renews_at"] > time.time()
    table = books.run("budgets").stdout
    assert "4,650" in table
    assert "session:s-1" not in table


def test_a_limit_of_one_window_goes_before_one_of_all(books: Books) -> None:
    budget = Budget("user", "day", tokens=1_000)
    account = spend(books, budget, "u-1", 300)
    books.ledger.set_limit(budget.key("u-1"), "tokens", 5_000)
    books.ledger.set_limit(account, "tokens", 400)
    rows = books.json("budgets", "--user", "u-1", "--format", "json")["budgets"]
    assert [row["left"] for row in rows if row["window"]] == ["100"]


def test_the_programs_own_limits_are_shown_when_it_is_named(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = [
        Budget("user", "day", tokens=1_000, timezone="Asia/Tokyo"),
        Budget("application", "month", tokens=9_000, name="all of us"),
    ]
    spend(books, policies[0], "u-1", 300)
    spend(books, policies[0], "u-2", 300)
    spend(books, policies[1], "", 400)
    books.ledger.set_limit(policies[0].key("u-2"), "tokens", 500)
    (tmp_path / "shop_policies.py").write_text(
        "from assistantguard import Budget, observe\n"
        "policies = [Budget('user', 'day', tokens=1_000, timezone='Asia/Tokyo'),"
        " observe(Budget('application', 'month', tokens=9_000, name='all of us'))]\n"
        "number = 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    rows = books.json("budgets", "--policies", "shop_policies:policies", "--format", "json")["budgets"]
    assert [(row["owner"], row["limit"], row["override"], row["left"]) for row in rows if row["window"]] == [
        (None, "9000", None, "8600"),
        ("u-1", "1000", None, "700"),
        ("u-2", "500", "500", "200"),
    ]
    for where, told in (
        ("shop_policies", "give MODULE:NAME"),
        ("shop_policies:absent", "has no attribute 'absent'"),
        ("shop_polices:policies", "No module named 'shop_polices'"),
        ("shop_policies:number", "int is neither a list of policies nor a guard"),
    ):
        assert told in books.refused("budgets", "--policies", where)


def test_windows_that_are_over_are_shown_when_asked_for(books: Books) -> None:
    budget = Budget("user", "day", tokens=1_000, timezone="Asia/Tokyo", name="chat")
    old = spend(books, budget, "u-1", 300, now=time.time() - 3 * 86_400)
    new = spend(books, budget, "u-1", 10)
    assert [row["account"] for row in books.json("budgets", "--format", "json")["budgets"]] == [new]
    assert [row["account"] for row in books.json("budgets", "--past", "--format", "json")["budgets"]] == [old, new]
    assert old.startswith("user:u-1@day~Asia/Tokyo#chat:")


@pytest.mark.parametrize("owner", ["u-1", "50%:off#~@", LONG, "\N{SNOWMAN}"])
def test_budgets_of_one_user_are_found_whatever_he_is_called(books: Books, owner: str) -> None:
    account = spend(books, Budget("user", "hour", tokens=10), owner[:250], 5)
    spend(books, Budget("user", "hour", tokens=10), "somebody else", 5)
    rows = books.json("budgets", "--user", owner[:250], "--format", "json")["budgets"]
    assert [row["account"] for row in rows] == [account]


def test_a_limit_that_is_set_is_in_force_and_can_be_cleared(books: Books) -> None:
    from assistantguard import Assistant, AssistantGuard, BudgetExceeded

    done = books.run("budgets", "set", "--user", "ann@x.com", "--tokens", "10")
    assert done.exit_code == 0
    assert "nothing is booked on 'user:ann%40x.com@day' yet" in done.stderr
    with (
        Sandbox() as sandbox,
        sandbox.client() as client,
        AssistantGuard(
            client, Assistant(model="gpt-6-luna"), [Budget("user", "day", tokens=100_000)], ledger=books.url, sinks=[]
        ) as bot,
    ):
        thread = bot.thread(user="ann@x.com")
        with pytest.raises(BudgetExceeded):
            thread.chat("Hello")
        assert books.run("budgets", "clear", "user:ann%40x.com@day").exit_code == 0
        thread.chat("Hello")
    (row,) = books.json("budgets", "--format", "json")["budgets"]
    assert row["limit"] is None


def test_costs_and_messages_can_be_limited_too(books: Books) -> None:
    options = ["--application", "--per", "month", "--timezone", "Europe/Berlin", "--name", "all of us"]
    done = books.run("budgets", "set", *options, "--cost", "12.50", "--messages", "40")
    assert "may spend $12.50, 40 messages" in done.stderr
    key = "application@month~Europe/Berlin#all of us"
    assert books.ledger.limits([key]) == {(key, "cost"): Decimal("12.5"), (key, "messages"): Decimal(40)}
    assert books.run("budgets", "clear", *options).exit_code == 0
    assert books.ledger.limits([key]) == {}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set", "--user", "u-1", "--tokens", "-1"], "--tokens is -1, it must be a whole number of tokens from 0"),
        (["set", "--user", "u-1", "--cost", "much"], "--cost is 'much', it must be an amount of US dollars"),
        (["set", "--user", "u-1", "--cost", "nan"], "--cost is 'nan'"),
        (["set", "--user", "u-1"], "no limit is given"),
        (["set", "--tokens", "1"], "neither an account nor --user, --tenant or --application is given"),
        (["set", "--user", "u", "--tenant", "t", "--tokens", "1"], "--user and --tenant are given"),
        (["set", "user:ann@x.com@day", "--tokens", "1"], "'user:ann@x.com@day' is not an account of a budget"),
        (["set", "user:u-1@fortnight", "--tokens", "1"], "is not an account of a budget"),
        (["set", "--user", "u-1", "--per", "fortnight", "--tokens", "1"], "per is 'fortnight': give 'hour', 'day'"),
        (["set", "--user", "u-1", "--timezone", "Berlin", "--tokens", "1"], "did you mean 'Europe/Berlin'"),
        (["set", "--user", "u\x1b[31m", "--tokens", "1"], "has the control character U+001B"),
        (["set", "--user", "u" * 10_000, "--tokens", "1"], "has 10,000 characters, at most 256 are allowed"),
        (["clear", "--user", "u-1"], "no limit is set for 'user:u-1@day'"),
        (["--user", "u-1"], "no budget of the user 'u-1' is in the books"),
        (["--user", "u-1", "--tenant", "t"], "both --user and --tenant are given"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(books: Books, arguments: list[str], told: str) -> None:
    assert told in books.refused("budgets", *arguments)
    assert books.json("budgets", "--format", "json")["budgets"] == []


def test_control_characters_in_accounts_never_reach_the_terminal(books: Books) -> None:
    books.book("x", claims=[Claim("user:\x1b[31mred\x9b@day", "tokens", Decimal(5))])
    for form in ("table", "json", "csv"):
        done = books.run("budgets", "--past", "--format", form)
        assert done.exit_code == 0
        assert not {"\x1b", "\x9b"} & set(done.output)
