from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistantguard.cli.app import app
from assistantguard.ledger import Claim
from tests.support.books import Books

NOON = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
DAY = 86_400.0
RED = "\x1b[31mred\u202e\x9b"


def test_usage_is_summed_by_what_is_asked(books: Books) -> None:
    books.book("u-1", tokens=10, cost="0.25", time=NOON)
    books.book("u-1", tokens=20, cost="0.50", time=NOON + DAY)
    books.book("u-2", tokens=40, cost="1", time=NOON + DAY)
    for option in (["--by", "user,day"], ["--by", "user", "--by", "day"]):
        found = books.json("usage", *option, "--format", "json")
        assert [(row["user"], row["day"], row["input_tokens"], row["cost"]) for row in found["usage"]] == [
            ("u-1", "2026-11-18", 10, "0.25"),
            ("u-1", "2026-11-19", 20, "0.5"),
            ("u-2", "2026-11-19", 40, "1"),
        ]
        assert (found["total"]["input_tokens"], found["total"]["cost"], found["total"]["requests"]) == (70, "1.75", 3)


def test_the_table_has_a_line_for_all(books: Books) -> None:
    books.book("u-1", tokens=1_000, cost="0.25")
    books.book("u-2", tokens=234, cost="0.25")
    done = books.run("usage", "--by", "user")
    assert done.exit_code == 0
    last = [line for line in done.stdout.splitlines() if "all" in line][-1]
    assert "1,234" in last
    assert "$0.50" in last


def test_an_unknown_cost_is_shown_and_never_zero(books: Books) -> None:
    books.book("u-1", cost=None)
    books.book("u-2", cost=None)
    books.book("u-2", cost="0.5")
    table = books.run("usage", "--by", "user").stdout
    assert "unknown (1)" in table
    assert "$0.50 + unknown (1)" in table
    assert "$0.50 + unknown (2)" in table
    found = books.json("usage", "--by", "user", "--format", "json")
    assert [(row["cost"], row["unpriced"]) for row in found["usage"]] == [(None, 1), ("0.5", 1)]


def test_usage_of_one_user_leaves_the_others_out(books: Books) -> None:
    books.book("u-1", tokens=1, model="gpt-6-luna")
    books.book("u-1", tokens=2, model="gpt-6-sol")
    books.book("u-2", tokens=4, model="gpt-6-sol")
    found = books.json("usage", "--user", "u-1", "--format", "json")
    assert [(row["model"], row["input_tokens"]) for row in found["usage"]] == [("gpt-6-luna", 1), ("gpt-6-sol", 2)]
    found = books.json("usage", "--by", "user", "--model", "gpt-6-sol", "--format", "json")
    assert [(row["user"], row["input_tokens"]) for row in found["usage"]] == [("u-1", 2), ("u-2", 4)]


@pytest.mark.parametrize(
    ("since", "until", "tokens"),
    [
        ("2026-11-19", None, 6),
        (None, "2026-11-19", 1),
        ("2026-11-19T11:06:40Z", "2026-11-20T12:00+01:00", 2),
        ("2026-11-18T11:06:41", "2026-11-20", 2),
    ],
)
def test_usage_between_two_moments(books: Books, since: str | None, until: str | None, tokens: int) -> None:
    for number in range(3):
        books.book("u-1", tokens=2**number, time=NOON + number * DAY)
    options = [*(["--since", since] if since else []), *(["--until", until] if until else [])]
    assert books.json("usage", *options, "--format", "json")["total"]["input_tokens"] == tokens


def test_days_and_dates_are_those_of_the_time_zone(books: Books) -> None:
    books.book("u-1", time=1_794_956_400.0)  # 2026-11-17 23:00 UTC
    in_berlin = ["--timezone", "Europe/Berlin", "--by", "day", "--format", "json"]
    (row,) = books.json("usage", *in_berlin, "--since", "2026-11-18")["usage"]
    assert row["day"] == "2026-11-18"
    assert books.json("usage", *in_berlin, "--until", "2026-11-18")["usage"] == []


def test_csv_is_clean_for_pipes(books: Books) -> None:
    books.book('a, "b"', tokens=7)
    books.book(RED, tokens=8)
    done = books.run("usage", "--by", "user", "--format", "csv")
    assert done.stderr == ""
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["user"]: row["input_tokens"] for row in rows} == {'a, "b"': "7", "\ufffd[31mred\ufffd\ufffd": "8"}


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_control_characters_in_names_never_reach_the_terminal(books: Books, form: str) -> None:
    books.book(RED, model=RED, thread=RED)
    done = books.run("usage", "--by", "user,model,thread", "--format", form)
    assert done.exit_code == 0
    assert not set(RED) - set("[31mred") & set(done.output)
    if form == "json":
        assert json.loads(done.stdout)["usage"][0]["user"] == RED


def test_every_command_reads_either_database(database_url: str) -> None:
    books = Books(database_url)
    books.thread("t-1", "u-1", "billing")
    books.book("u-1", tokens=42, claims=[Claim("user:u-1@ever", "tokens", Decimal(42))])
    assert books.json("usage", "--user", "u-1", "--by", "day", "--format", "json")["total"]["input_tokens"] == 42
    assert books.run("budgets", "set", "--user", "u-1", "--per", "ever", "--tokens", "100").exit_code == 0
    (row,) = books.json("budgets", "--user", "u-1", "--format", "json")["budgets"]
    assert (row["committed"], row["left"]) == ("42", "58")
    assert books.json("threads", "--search", "BILL", "--format", "json")["threads"][0]["id"] == "t-1"
    assert books.json("sweep", "--apply", "--no-key", "--json")["applied"]
    books.close()


def test_nothing_in_that_time_is_said_and_no_error(books: Books) -> None:
    books.book("u-1")
    done = books.run("usage", "--since", "2099-01-01", "--format", "csv")
    assert done.exit_code == 0
    assert "nothing is booked in that time" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_user_whom_nobody_knows_is_refused(books: Books) -> None:
    books.book("u-1")
    assert "nothing was ever booked for the user 'nobody'" in books.refused("usage", "--user", "nobody")
    assert "'\\x1b[31mred" in books.refused("usage", "--user", RED)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--by", "moon"], "usage cannot be grouped by 'moon', it can be by day, model"),
        (["--by", "user,user"], "grouped by 'user' twice"),
        (["--since", "soon"], "--since is 'soon': give a date"),
        (["--until", "2026-13-01"], "--until is '2026-13-01': give a date"),
        (["--since", "2026-11-02", "--until", "2026-11-01"], "--since 2026-11-02 is not before --until 2026-11-01"),
        (["--timezone", "Europe/Berlim"], "did you mean 'Europe/Berlin'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(books: Books, options: list[str], told: str) -> None:
    assert told in books.refused("usage", *options)


@pytest.mark.parametrize("command", ["usage", "budgets", "threads", "sweep"])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///absent.db", "there are no books at 'sqlite:///absent.db'"),
        ("guard.db", "'guard.db' is not a database URL"),
        ("mysql://root:pa55word@host/db", "has the scheme 'mysql'"),
        ("postgresql://guard:pa55word@127.0.0.1:1/books", "postgresql://guard:***@127.0.0.1:1/books"),
    ],
)
def test_a_database_that_cannot_be_read_is_refused_without_its_password(
    command: str, url: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [command, "--database", url])
    assert done.exit_code == 2
    assert told in done.stderr.replace("\n", " ")
    assert "pa55word" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_the_database_may_come_from_the_environment_and_must_be_named(books: Books) -> None:
    books.book("u-1", tokens=42)
    program = [sys.executable, "-W", "error", "-m", "assistantguard.cli", "usage", "--format", "csv"]
    nowhere = {name: value for name, value in os.environ.items() if name != "ASSISTANTGUARD_LEDGER"}

    def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)

    found = run({**nowhere, "ASSISTANTGUARD_LEDGER": books.url})
    assert (found.returncode, found.stderr) == (0, "")
    assert ",42," in found.stdout
    lost = run(nowhere)
    assert lost.returncode == 2
    assert "give --database URL, or set ASSISTANTGUARD_LEDGER" in lost.stderr
