"""A report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard._text import number, when
from assistantguard.pages import content_security_policy, render, script_text, style_text
from assistantguard.reports.drawing import cost_chart, estimates_chart, life_charts, steps_chart, tokens_chart
from assistantguard.reports.tables import (
    happenings_table,
    models_table,
    runs_table,
    threads_table,
    tools_table,
    top_figures,
    users_table,
)

if TYPE_CHECKING:
    from assistantguard.reports.report import Report

__all__ = ["report_page"]


def report_page(report: Report, *, sources: str, most: int = 20, lives: int = 6) -> str:
    """Lay out a report as HTML.

    Args:
        report: The figures.
        sources: What they were read from, for people.
        most: Users, threads and tools to list, the dearest.
        lives: Threads whose context is drawn, the dearest.
    """
    return render(
        "report.html.jinja",
        policy=content_security_policy(style_text(), scripts=[script_text()]),
        span=_span(report),
        sources=sources,
        figures=top_figures(report),
        cost=cost_chart(report),
        tokens=tokens_chart(report),
        models=models_table(report),
        users=users_table(report, most),
        threads=threads_table(report, most),
        dearest=runs_table("Dearest runs", report.dearest.items()),
        slowest=runs_table("Slowest runs", report.slowest.items()),
        lives=life_charts(report, lives),
        happenings=happenings_table(report),
        steps=steps_chart(report) if report.runs else None,
        estimates=estimates_chart(report) if report.estimates.calls else None,
        tools=tools_table(report, most) if report.tools else None,
        remarks=_remarks(report),
    )


def _span(report: Report) -> str:
    if report.first_time is None or report.last_time is None:
        return ""
    return f"{when(report.first_time)} to {when(report.last_time)} UTC"


def _remarks(report: Report) -> list[str]:
    what = "events" if report.origin == "events" else "entries of the ledger"
    remarks = [f"{number(report.events)} {what}. All sums and orders are exact."]
    if report.bad.count:
        remarks.append(f"{number(report.bad.count)} lines were no events and are in no figure.")
    if report.source == "runs":
        remarks.append("There are no single calls in it, so that tokens and cost are summed over runs.")
    if report.corrections:
        remarks.append("A correction of usage that was told late counts on the day when it was told.")
    return remarks
