from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from assistantguard.dashboard import Dashboard
from assistantguard.dashboard.refusals import RefusalFile
from assistantguard.events import BudgetRefusedEvent, RunCancelled
from assistantguard.events.traffic import PacingRefused
from tests.dashboard.calling import Caller, tables
from tests.support.books import Books


def line(number: int, **more: Any) -> str:
    return json.dumps({"event": "run.cancelled", "time": float(number), "policy": "caller", **more}) + "\n"


def times(file: RefusalFile) -> list[float]:
    return [refusal.time for refusal in file.newest()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_refusals_of_every_kind_are_shown_the_newest_first(books: Books, path: Path) -> None:
    now, account = time.time(), "user:ann@day:2026-11-22"
    amounts = (Decimal(100), Decimal(90), Decimal(5))
    events = (
        BudgetRefusedEvent(
            now - 3, "s", "t-1", account, "tokens", "exceeded", *amounts, "user/day", "spent", user="ann"
        ),
        PacingRefused(now - 2, "s", "t-2", "lane of gpt-6-luna", "pacing"),
        RunCancelled(now - 1, "s", "t-3", "run_1", "gpt-6-luna", 3, 4, "tool steps", "3 of 3 steps"),
    )
    path.write_text("".join(json.dumps(event.record()) + "\n" for event in events))
    caller = Caller(Dashboard(books.database, events=path))
    dash = "\N{EN DASH}"
    assert [row[1:] for row in tables(caller.page("/refusals"))["Last refusals and stops"]] == [
        ["run stopped", dash, "t-3", "tool steps", "3 of 3 steps"],
        ["rate limit", dash, "t-2", "pacing", "lane of gpt-6-luna"],
        ["refused", "ann", "t-1", "user/day", f"spent (90 tokens of 100 tokens spent on {account})"],
    ]


def test_without_a_file_it_says_that_the_database_keeps_no_refusals(books: Books, path: Path) -> None:
    for address in ("/", "/refusals"):
        assert "The database does not keep what was refused" in Caller(Dashboard(books.database)).page(address)
        page = Caller(Dashboard(books.database, events=path)).page(address)
        assert f"there is no file {path} yet" in page


def test_only_what_was_appended_is_read_and_a_line_is_taken_once_it_is_whole(path: Path) -> None:
    path.write_text(line(1) + "no event\n" + json.dumps({"event": "run.settled", "time": 2.0}) + "\n")
    file = RefusalFile(path, keep=3)
    assert times(file) == [1.0]
    whole = line(3)
    with path.open("a") as stream:
        stream.write(whole[:20])
        stream.flush()
        assert times(file) == [1.0]
        stream.write(whole[20:])
    assert times(file) == [3.0, 1.0]
    with path.open("a") as stream:
        stream.write(line(4) + line(5, policy=None) + line(6))
    assert times(file) == [6.0, 4.0, 3.0]


def test_of_a_long_file_only_the_end_is_read(path: Path) -> None:
    path.write_text("".join(line(number) for number in range(1_000)))
    size = len(line(999))
    assert times(RefusalFile(path, at_most=3 * size)) == [999.0, 998.0, 997.0]
    assert times(RefusalFile(path, at_most=3 * size - 1)) == [999.0, 998.0]
    file = RefusalFile(path, keep=5, at_most=size)
    assert times(file) == [999.0]
    with path.open("a") as stream:
        stream.write(line(100) + line(101) + line(102))
    assert times(file) == [102.0, 999.0]


def test_a_file_that_is_cut_replaced_or_gone_is_begun_anew(path: Path) -> None:
    path.write_text(line(1) + line(2))
    file = RefusalFile(path)
    assert times(file) == [2.0, 1.0]
    path.write_text(line(3))
    assert times(file) == [3.0]
    other = path.with_suffix(".new")
    other.write_text(line(4) * 3)
    other.replace(path)
    assert times(file) == [4.0] * 3
    path.unlink()
    assert times(file) == []


def test_a_line_without_an_end_is_passed_over(path: Path) -> None:
    path.write_bytes(b"x" * (3 << 20) + b"\n" + line(1).encode())
    assert times(RefusalFile(path)) == [1.0]


def test_a_file_that_cannot_be_read_is_told(books: Books, tmp_path: Path) -> None:
    caller = Caller(Dashboard(books.database, events=tmp_path))
    assert "cannot be read" in caller.page("/refusals", 503)
