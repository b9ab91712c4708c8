"""What came of a soak, as figures and for people."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks._soak_books import Audit, Journal, WatchedLedger
from benchmarks._soak_judge import Tally
from benchmarks._soak_memory import MemoryWatch
from benchmarks._soak_sandbox import Status

__all__ = ["MUST_BE_ZERO", "figures_of", "show"]

_GROWTH = 1.1
"""How many times the memory of the start the memory of the end may be."""
MUST_BE_ZERO = (
    "caps_exceeded",
    "threads_unusable",
    "turns_lost",
    "turns_doubled",
    "tools_doubled",
    "answers_wrong",
    "calls_open",
    "errors_unnamed",
    "books_wrong",
)


def figures_of(
    tally: Tally,
    journal: Journal,
    ledger: WatchedLedger,
    audited: Audit,
    memory: MemoryWatch,
    status: Status,
    *,
    holds_open: int,
    tokens_billed_by_killed: int,
) -> dict[str, Any]:
    """Everything in one document, ready for JSON."""
    counts = tally.counts
    start, end = memory.samples[0], memory.samples[-1]
    booked = ledger.tokens_booked
    figures: dict[str, Any] = {
        "turns": counts["turns"],
        "faults": status.faults.total(),
        "kills": counts["kills"],
        "cancellations": counts["cancelled"],
        "tokens_billed": audited.tokens_billed,
        "tokens_booked": booked,
        "tokens_estimated": journal.tokens_estimated,
        "tokens_billed_by_killed": tokens_billed_by_killed,
        "corrections": journal.events["usage.corrected"],
        "caps_exceeded": ledger.caps_exceeded,
        "threads_unusable": counts["threads_unusable"],
        "turns_lost": counts["turns_lost"],
        "turns_doubled": counts["turns_doubled"],
        "tools_doubled": counts["tools_doubled"],
        "answers_wrong": counts["answers_wrong"],
        "calls_open": counts["calls_open"],
        "errors_unnamed": counts["errors_unnamed"],
        "books_wrong": audited.wrong + (booked < audited.tokens_billed),
        "memory_start": start,
        "memory_end": end,
        "memory_samples": memory.samples,
        "memory_sandbox": status.memory,
        "turns_answered": counts["answered"],
        "turns_incomplete": counts["incomplete"],
        "turns_left_early": counts["left_early"],
        "conversations_tampered_with": counts["tampered"],
        "conversations_begun_anew": counts["begun_anew"],
        "guards_dropped": counts["guards_dropped"],
        "tool_calls": counts["tool_calls"],
        "requests_billed": audited.calls_billed,
        "requests_booked_exactly": audited.calls_exact,
        "holds_left_open": holds_open,
        "holds_expired": ledger.holds_expired,
        "errors": dict(tally.errors.most_common()),
        "refused": dict(journal.refused),
        "events": dict(journal.events.most_common()),
        "faults_by_kind": dict(status.faults.most_common()),
    }
    wrong = [name for name in MUST_BE_ZERO if figures[name]]
    if end > _GROWTH * start:
        wrong.append("memory_end")
    figures["wrong"] = wrong
    figures["details"] = [*tally.details, *ledger.details, *audited.details]
    figures["growth"] = memory.growth
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print the figures for people."""
    rows = (
        ("turns", f"{figures['turns']}, {figures['turns_answered']} of them answered"),
        ("faults survived", f"{figures['faults']}, of {len(figures['faults_by_kind'])} kinds"),
        (
            "and",
            "{kills} kills, {cancellations} cancellations, {turns_left_early} streams left".format_map(figures),
        ),
        (
            "conversations harmed",
            f"{figures['conversations_tampered_with']} deleted or broken behind the guards' backs",
        ),
        ("tokens billed", f"{figures['tokens_billed']}"),
        (
            "tokens booked",
            "{tokens_booked}, {tokens_estimated} of them estimated; {corrections} estimates were corrected".format_map(
                figures
            ),
        ),
        ("  to killed processes", f"{figures['tokens_billed_by_killed']} billed, their books died with them"),
        (
            "requests",
            f"{figures['requests_billed']} billed, {figures['requests_booked_exactly']} of them booked exactly",
        ),
        *((name.replace("_", " "), str(figures[name])) for name in MUST_BE_ZERO),
        ("memory at start", _mebibytes(figures["memory_start"])),
        ("memory at end", _mebibytes(figures["memory_end"])),
        ("memory by round", ", ".join(map(_mebibytes, figures["memory_samples"]))),
    )
    for title, value in rows:
        print(f"{title:24}{value}")
    for title in ("errors", "refused"):
        print(f"{title:24}" + ", ".join(f"{name} {count}" for name, count in figures[title].items()))
    for line in (*figures["details"], *figures["growth"]):
        print(line, file=sys.stderr)
    if figures["wrong"]:
        print(f"\nnot as it must be: {', '.join(figures['wrong'])}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
