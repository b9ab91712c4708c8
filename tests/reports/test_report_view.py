from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from assistantguard.cli.report_view import report_view
from assistantguard.reports import Report
from assistantguard.reports.drawing import cost_chart
from assistantguard.reports.page import report_page


def shown(*records: dict[str, Any]) -> str:
    report = Report()
    report.read("events", io.BytesIO("\n".join(map(json.dumps, records)).encode()))
    written = io.StringIO()
    Console(width=160, file=written, force_terminal=False).print(report_view(report))
    return written.getvalue()


def call(**fields: Any) -> dict[str, Any]:
    return {
        "event": "request.settled",
        "thread_id": "t1",
        "model": "gpt-6-luna",
        "input_tokens": 1000,
        "output_tokens": 10,
        **fields,
    }


def settled(**fields: Any) -> dict[str, Any]:
    return {
        "event": "run.settled",
        "run_id": "run_1",
        "thread_id": "t1",
        "model": "gpt-6-luna",
        "status": "completed",
        "steps": 4,
        "input_tokens": 1000,
        "output_tokens": 10,
        "seconds": 2.5,
        **fields,
    }


def test_unknown_cost_is_shown_as_unknown() -> None:
    text = shown(call(), settled())

    assert "unknown" in text
    assert "$0.00" not in text


def test_partly_known_cost_shows_the_sum_and_how_many_calls_are_missing() -> None:
    assert "$0.02 + unknown (1 call)" in shown(call(cost="0.02"), call())


def test_the_suggested_ceiling_is_printed() -> None:
    assert "ToolStepCeiling(6)" in shown(settled())


def test_text_from_the_file_cannot_drive_the_terminal() -> None:
    text = shown(call(thread_id="\x1b[31m[bold]evil[/bold]\r\n"), settled(status="[red]x[/red]"))

    assert "\x1b" not in text
    assert "[bold]evil[/bold]" in text
    assert "[red]x[/red]" in text


def test_a_file_with_many_threads_is_cut_with_a_line_that_says_so() -> None:
    text = shown(*(call(thread_id=f"thread-{number}", cost="0.01") for number in range(25)))

    assert "and 5 more" in text


def test_a_page_can_be_made_of_little_and_of_odd_times() -> None:
    for records in (
        [{"event": "turn.started"}],
        [call(cost="1"), call(time=1e300, cost="1"), call(time=-1e18), call(time=0.0), call(time=2.5e11, cost="2")],
        [settled(time=5.0, context_tokens=7), settled(time=5.0, context_tokens=0, cost="0.5", steps=1000)],
    ):
        report = Report()
        report.read("events", io.BytesIO("\n".join(map(json.dumps, records)).encode()))
        page = report_page(report, sources="events")
        assert page.count("<h1>") == 1
        assert not report.bad.count


def test_many_days_are_shown_as_weeks_months_or_years() -> None:
    for days, heading in ((90, "day"), (400, "week"), (2000, "month"), (20_000, "year")):
        report = Report()
        records = (call(time=86_400.0 * day, cost="1") for day in (0, days // 2, days))
        report.read("events", io.BytesIO("\n".join(map(json.dumps, records)).encode()))
        chart = cost_chart(report)
        assert chart.title == f"Cost by {heading}"
        assert len(chart.table.rows) <= 93
        assert sorted(row[1] for row in chart.table.rows if row[2] != "0") == ["$1.00"] * 3
