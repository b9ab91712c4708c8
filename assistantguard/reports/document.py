"""A report as one JSON document. Sums of money are strings; null stands for what is unknown."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from assistantguard.reports.books import dearness

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from assistantguard.reports.report import Report
    from assistantguard.reports.tally import RunLine, Tally

__all__ = ["report_document"]


def report_document(report: Report, *, most: int = 1000) -> dict[str, Any]:
    """Everything that the report holds, JSON-ready.

    Args:
        report: The figures.
        most: Users and threads to list, the dearest; ``user_count`` and ``thread_count`` tell how many there are.
    """
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
        "origin": report.origin,
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
        "routed": [
            {"policy": policy, "from_model": before, "model": model, "count": count}
            for (policy, before, model), count in report.routed.most_common()
        ],
        "pacing": {
            "waits": dict(report.waits),
            "waited_seconds": report.waited_seconds,
            "refusals": dict(report.paced_out),
        },
        "batches": dict(report.batches),
        "reasons": [
            {"event": event, "which": which, "newest": reason} for (event, which), reason in report.reasons.items()
        ],
        "estimates": {
            "calls": report.estimates.calls,
            "exact": report.estimates.exact,
            "estimated_input_tokens": report.estimates.estimated,
            "reported_input_tokens": report.estimates.reported,
            "within_5_percent": report.estimates.within(5),
            "within_20_percent": report.estimates.within(20),
        },
        "suggestions": report.suggestions,
        "sweeps": dict(report.sweeps),
        "vector_stores": {"created": report.vector_stores_created, "reused": report.vector_stores_reused},
        "tools": {name: dataclasses.asdict(tool) for name, tool in report.tools.items()},
        "summed_over": report.source,
        "total": _tally(books.total),
        "days": _tallies(books.days),
        "models": _tallies(books.models),
        "user_count": len(books.users),
        "users": _tallies(dict(books.users.greatest(most, dearness))),
        "thread_count": len(books.threads),
        "threads": _tallies(dict(books.threads.greatest(most, dearness))),
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
