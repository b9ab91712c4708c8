"""The benchmark of the report measures what the command says of itself."""

from __future__ import annotations

import json
from pathlib import Path

from assistantguard.reports import read_report
from benchmarks._events import write_events
from benchmarks.report import measure


def test_the_report_of_made_up_events_is_measured() -> None:
    row = measure(600, threads=10, users=4)
    assert row["events"] == 600
    assert 0 < row["peak_mb"] < 300
    assert row["cpu_seconds"] > 0


def test_made_up_events_are_read_without_a_remark(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write_events(file, 6000, threads=10**6, users=10**6)
    report = read_report(file)
    assert (report.events, report.bad.count, dict(report.unknown)) == (6000, 0, {})
    assert len(report.books.threads) >= sum(report.runs.values()) > 100
    assert {json.loads(line)["event"] for line in file.read_text().splitlines()} >= {
        "request.settled",
        "run.retried",
        "run.cancelled",
        "budget.refused",
        "thread.healed",
    }
