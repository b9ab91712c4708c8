"""A report of a guard's events, one of its database, the ledger's own sums and the sandbox's bill are the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assistantguard import Assistant, AssistantGuard, ThreadRotation
from assistantguard.cli.app import app
from assistantguard.ledger import SqlLedger
from assistantguard.reports import Report, dearness, read_database, read_report, report_document
from assistantguard.sandbox import Sandbox
from assistantguard.sandbox.billing import Totals
from assistantguard.storage import Database, open_database
from tests.support.books import Books

DAY = 86_400.0
NOON = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


def converse(url: str, events: Path) -> Totals:
    with (
        Sandbox(["Hello.", "Yes.", "No.", "Perhaps.", "Bye.", "Well."]) as sandbox,
        AssistantGuard(
            sandbox.client(),
            Assistant("gpt-6-luna"),
            policies=[ThreadRotation(2)],
            sinks=[],
            events=events,
            ledger=url,
        ) as bot,
    ):
        for user, messages in (("ann", 3), ("ben", 2)):
            thread = bot.thread(user=user)
            for number in range(messages):
                thread.chat(f"Question {number} of {user}")
        bot.chat("Nobody's question")
        return sandbox.billing.totals


@pytest.fixture
def sources(database_url: str, tmp_path: Path) -> Iterator[tuple[Report, Report, Database, Totals]]:
    events = tmp_path / "events.jsonl"
    bill = converse(database_url, events)
    database = open_database(database_url)
    yield read_report(events), read_database(database), database, bill
    database.close()


def test_events_database_ledger_and_bill_agree(
    sources: tuple[Report, Report, Database, Totals],
) -> None:
    of_events, of_database, database, bill = sources
    ledger = SqlLedger(database)
    for report in (of_events, of_database):
        books = report.books
        assert (books.total.count, books.total.cost) == (bill.requests, bill.cost)
        assert (books.total.input_tokens, books.total.output_tokens) == (bill.input_tokens, bill.output_tokens)
        assert {name: tally.cost for name, tally in books.users.items()} == {
            row.group[0] or "": row.cost for row in ledger.usage(["user"])
        }
        assert {name: tally.input_tokens for name, tally in books.threads.items()} == {
            row.group[0]: row.usage.input_tokens for row in ledger.usage(["thread"])
        }
        assert {name: tally.cost for name, tally in books.days.items()} == {
            row.group[0]: row.cost for row in ledger.usage(["day"])
        }
        assert set(dict(books.users.items())) == {"ann", "ben", ""}
        assert report.runs == {"completed": 6}
        assert sum(report.rotations.values()) == 1
        (dearest, _), *_ = books.threads.greatest(1, dearness)
        life = report.lives[dearest]
        assert (life.rotations, life.user) == (1, "ann")
        assert [point.rotated for point in life.points()] == [False, False, True, False]
    assert {line.run_id: line.cost for line in of_events.dearest.items()} == {
        line.run_id: line.cost for line in of_database.dearest.items()
    }


def test_a_database_is_added_up_for_a_time_and_by_the_days_of_a_place(books: Books) -> None:
    from zoneinfo import ZoneInfo

    for number in range(80):
        books.book("u-1", tokens=number, cost="0.5", time=NOON + number * DAY, thread=f"t-{number}")
    report = read_database(books.database, since=NOON + 10 * DAY, until=NOON + 60 * DAY)
    assert report.books.total.count == len(report.books.days) == 50
    assert report.books.total.cost == Decimal(25)
    assert len(report.books.threads) == 50
    late = read_database(books.database, zone=ZoneInfo("Pacific/Kiritimati"))
    assert min(late.books.days) == "2026-11-19"


def test_what_has_no_price_in_the_database_is_unknown(books: Books) -> None:
    books.book("u-1", cost=None)
    books.book("u-1", cost="0.5")
    total = read_database(books.database).books.total
    assert (total.cost, total.priced_cost, total.unpriced) == (None, Decimal("0.5"), 1)


def test_the_command_reads_the_database_and_writes_a_page(books: Books, tmp_path: Path) -> None:
    books.book("u-1", cost="0.5")
    page = tmp_path / "out.html"
    found = books.json("report", "--json", "--html", str(page))
    assert found["origin"] == "database"
    assert found["users"]["u-1"]["cost"] == "0.5"
    assert "$0.50" in page.read_text(encoding="utf-8")


def test_a_file_becomes_a_page_and_nothing_is_printed_but_how_it_went(tmp_path: Path) -> None:
    events, page = tmp_path / "events.jsonl", tmp_path / "out.html"
    converse(f"sqlite:///{tmp_path / 'guard.db'}", events)
    done = CliRunner().invoke(app, ["report", str(events), "--html", str(page), "--timezone", "Europe/Berlin"])
    assert (done.exit_code, done.stdout) == (0, "")
    said = " ".join(done.stderr.split())
    assert re.search(r"wrote .*out\.html \(\d+ kB\): .* \d+ events in [\d.]+ s, with at most \d+ MB of memory", said)
    text = page.read_text(encoding="utf-8")
    assert "ann" in text
    assert not re.search(r"https?://|@import|url\(", text)


def test_events_outside_of_the_time_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    call = {"event": "request.settled", "thread_id": "t", "model": "m", "input_tokens": 1, "output_tokens": 1}
    file.write_text("".join(json.dumps({**call, "time": NOON + n * DAY}) + "\n" for n in range(4)), encoding="utf-8")
    command = ["report", str(file), "--json", "--since", "2026-11-19", "--until", "2026-11-20T12:00"]
    done = CliRunner().invoke(app, command)
    assert list(json.loads(done.stdout)["days"]) == ["2026-11-19", "2026-11-20"]


def test_files_and_a_database_are_not_mixed_up(books: Books, tmp_path: Path) -> None:
    assert "name one of them" in books.refused("report", str(tmp_path / "events.jsonl"))


def test_an_empty_database_and_a_page_that_cannot_be_written_are_said(books: Books, tmp_path: Path) -> None:
    done = books.run("report")
    assert done.exit_code == 1
    assert "no event in the database" in done.stderr.replace("\n", " ")
    books.book("u-1")
    assert "cannot write" in books.refused("report", "--html", str(tmp_path / "absent" / "out.html"))
    assert "not before" in books.refused("report", "--since", "2026-11-02", "--until", "2026-11-01")


def test_events_of_before_there_were_users_in_them_are_read(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    call = {"event": "request.settled", "time": NOON, "thread_id": "t", "model": "m", "input_tokens": 1}
    file.write_text(json.dumps({**call, "output_tokens": 1, "cost": "0.5"}) + "\n", encoding="utf-8")
    document = report_document(read_report(file))
    assert document["users"][""]["cost"] == "0.5"
    assert list(document["days"]) == ["2026-11-18"]
