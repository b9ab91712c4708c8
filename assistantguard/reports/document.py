"""A report as one JSON document. Sums of money are strings; null stands for what is unknown."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from assistantguard.reports.report import Report
    from assistantguard.reports.tally import RunLine, Tally

__all__ = ["report_document"]


def report_document(report: Report) -> dict[str, Any]:
    """Everything that the report holds, JSON-ready."""
    books = report.books
    return {
        "events": report.events,
        "first_time": report.first_time,
        "last_time": report.last_time,
        "bad_lines": {
            "count": report.bad.count,
            "first": [dataclasses.asdict(line) for line in report.bad.first],
        },
        "unknown_events": dict(report.unknown),
        "runs": dict(report.runs),
        "retries": dict(report.retries),
        "stops": dict(report.stops),
        "refusals": [
            {"policy": policy, "metric": metric, "kind": kind, "count": count}
            for (policy, metric, kind), count in report.refusals.most_common()
        ],
        "warnings": [
            {"budget": budget, "metric": metric, "share": share, "count": count}
            for (budget, metric, share), count in report.warnings.most_common()
        ],
        "rotations": dict(report.rotations),
        "carried_tokens": report.carried_tokens,
        "corrections": report.corrections,
        "heals": {
            "count": report.heals,
            "answered_calls": report.answered_calls,
            "deleted_items": report.deleted_items,
        },
        "observed": [
            {"policy": policy, "decision": decision, "count": count}
            for (policy, decision), count in report.observed.most_common()
        ],
        "reply_cache": {
            "replies": report.cached_replies,
            "saved_tokens": report.saved_tokens,
            "saved_cost": str(report.saved_cost),
            "failures": report.cache_failures,
        },
        "suggestions": report.suggestions,
        "sweeps": dict(report.sweeps),
        "vector_stores": {"created": report.vector_stores_created, "reused": report.vector_stores_reused},
        "tools": {name: dataclasses.asdict(tool) for name, tool in report.tools.items()},
        "summed_over": report.source,
        "total": _tally(books.total),
        "threads": _tallies(books.threads),
        "models": _tallies(books.models),
        "slowest_runs": [_run(run) for run in report.slowest.items()],
        "dearest_runs": [_run(run) for run in report.dearest.items()],
        "steps": {
            "runs": sum(report.steps.counts.values()),
            "p50": report.steps.percentile(50),
            "p90": report.steps.percentile(90),
            "p99": report.steps.percentile(99),
            "suggested_ceiling": report.steps.suggested_ceiling,
        },
    }


def _tallies(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {name: _tally(tally) for name, tally in tallies.items()}


def _tally(tally: Tally) -> dict[str, Any]:
    return {**dataclasses.asdict(tally), "priced_cost": str(tally.priced_cost), "cost": _money(tally.cost)}


def _run(run: RunLine) -> dict[str, Any]:
    return {**dataclasses.asdict(run), "cost": _money(run.cost)}


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
