from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from assistantguard.cli.report_view import report_view
from assistantguard.reports import Report


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
