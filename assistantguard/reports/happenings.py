"""What the guard did, as lines: what, which, how often, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard._text import dollars, number

if TYPE_CHECKING:
    from assistantguard.reports.report import Report

__all__ = ["Happening", "happenings"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One line. Texts are as the events had them: show them as text."""

    what: str
    which: str
    count: str
    reason: str = ""
    """The newest one that was told."""


def happenings(report: Report) -> list[Happening]:
    """Everything that was counted, by kind, the most frequent first."""
    lines: list[Happening] = []

    def add(what: str, counts: Mapping[str, int], event: str = "") -> None:
        for which, count in sorted(counts.items(), key=lambda item: -item[1]):
            lines.append(Happening(what, which, number(count), report.reasons.get((event, which), "")))

    def one(what: str, which: str, amount: int, reason: str = "") -> None:
        lines.append(Happening(what, which, number(amount), reason))

    add("runs", report.runs)
    add(
        "refusals", {f"{policy}: {metric} {kind}": n for (policy, metric, kind), n in report.refusals.items()}, _REFUSED
    )
    add("refused for a rate", report.paced_out)
    add("stops", report.stops, "run.cancelled")
    add("retries", report.retries, "run.retried")
    if report.heals:
        one("heals", "threads made usable again", report.heals, report.reasons.get(("thread.healed", ""), ""))
        one("", "open calls answered", report.answered_calls)
        one("", "items removed", report.deleted_items)
    add("rotations", report.rotations, "thread.rotated")
    if report.rotations and report.origin == "events":
        one("", "tokens carried over", report.carried_tokens)
    add("warnings", {f"{budget}: {share} of {metric}": n for (budget, metric, share), n in report.warnings.items()})
    add("held back for a rate", report.waits)
    for (policy, before, model), count in report.routed.most_common():
        reason = report.reasons.get(("run.routed", policy), "")
        one("routed", f"{policy or '-'}: {before} to {model}", count, reason)
    if report.corrections:
        one("corrections", "usage told late", report.corrections)
    observed = {f"{policy}: {decision}": n for (policy, decision), n in report.observed.items()}
    add("would have", observed, "policy.observed")
    stores = {"created": report.vector_stores_created, "reused": report.vector_stores_reused}
    add("vector stores", {which: count for which, count in stores.items() if count})
    if report.cached_replies or report.cache_failures:
        one("reply cache", "turns answered", report.cached_replies)
        one("", "tokens saved", report.saved_tokens)
        lines.append(Happening("", "cost saved", dollars(report.saved_cost)))
        one("", "out of order", report.cache_failures)
    if report.suggestions:
        one("suggestions", "a new thread", report.suggestions)
    add("batches", report.batches)
    add("sweeps", report.sweeps)
    add("unknown events", report.unknown)
    return lines


_REFUSED = "budget.refused"
