"""A report's figures as tables and single numbers for a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from assistantguard._text import cost_text, dollars, number, share
from assistantguard.pages.rendering import Column, Figure, Table
from assistantguard.reports.books import dearness
from assistantguard.reports.happenings import happenings

if TYPE_CHECKING:
    from assistantguard.reports.groups import Groups
    from assistantguard.reports.report import Report
    from assistantguard.reports.tally import RunLine, Tally

__all__ = [
    "NAMELESS",
    "happenings_table",
    "models_table",
    "runs_table",
    "tallies_table",
    "tally_cells",
    "tally_columns",
    "threads_table",
    "tools_table",
    "top_figures",
    "users_table",
]

NAMELESS = "(no user named)"


def tally_columns(heading: str, report: Report) -> list[Column]:
    """The columns of a table of tallies, the first of which is `heading`."""
    unit = "calls" if report.source == "requests" else "runs"
    headings = ("cost", unit, "input tokens", "cached", "output tokens", "reasoning", "estimated")
    return [Column(heading), *(Column(each, right=True) for each in headings)]


def tally_cells(tally: Tally, report: Report) -> list[str]:
    """A tally's cells for `tally_columns`."""
    unit = "call" if report.source == "requests" else "run"
    return [
        cost_text(tally.priced_cost, tally.unpriced, tally.count, unit),
        number(tally.count),
        number(tally.input_tokens),
        share(tally.cached_tokens / tally.input_tokens) if tally.input_tokens else "-",
        number(tally.output_tokens),
        number(tally.reasoning_tokens),
        number(tally.estimated_tokens),
    ]


def tallies_table(
    caption: str, heading: str, tallies: Iterable[tuple[str, Tally]], report: Report, notes: Sequence[str] = ()
) -> Table:
    """A table of tallies by name, in the order given."""
    rows = [[name or "-", *tally_cells(tally, report)] for name, tally in tallies]
    return Table(caption, tally_columns(heading, report), rows, notes)


def top_figures(report: Report) -> list[Figure]:
    """The numbers that stand above everything else."""
    books = report.books
    total = books.total
    users = len(books.users)
    figures = [
        Figure("cost", *_cost_and_note(report)),
        Figure("input tokens", number(total.input_tokens), _cached_note(total)),
        Figure("output tokens", number(total.output_tokens), f"of which reasoning {number(total.reasoning_tokens)}"),
        Figure("model calls" if report.source == "requests" else "runs", number(total.count)),
        Figure("runs", number(sum(report.runs.values())), _outcomes(report)),
        Figure("threads", number(len(books.threads)), f"{number(sum(report.rotations.values()))} rotations"),
    ]
    if users > 1 or _has_names(books.users):
        figures.append(Figure("users", number(users)))
    if report.origin == "events":
        refused = sum(report.refusals.values()) + sum(report.paced_out.values())
        figures += [
            Figure("refused", number(refused)),
            Figure("stopped", number(sum(report.stops.values()))),
            Figure("retried", number(sum(report.retries.values()))),
            Figure("healed", number(report.heals)),
        ]
    if report.cached_replies:
        figures.append(
            Figure("from the reply cache", number(report.cached_replies), f"{dollars(report.saved_cost)} saved")
        )
    return figures


def models_table(report: Report) -> Table:
    """By model, the dearest first, and all together."""
    models = sorted(report.books.models.items(), key=lambda item: dearness(item[1]), reverse=True)
    return tallies_table("By model", "model", [*models, ("all", report.books.total)], report)


def users_table(report: Report, most: int) -> Table:
    """The dearest users."""
    users = report.books.users
    rows = [(name or NAMELESS, tally) for name, tally in users.greatest(most, dearness)]
    return tallies_table("By user", "user", rows, report, _rest(users, most, "users"))


def threads_table(report: Report, most: int) -> Table:
    """The dearest threads."""
    threads = report.books.threads
    rows = threads.greatest(most, dearness)
    return tallies_table("Dearest threads", "thread", rows, report, _rest(threads, most, "threads"))


def runs_table(caption: str, runs: Sequence[RunLine]) -> Table:
    """Runs, one a row."""
    named = any(run.user for run in runs)
    columns = [Column("run"), Column("thread"), *([Column("user")] if named else []), Column("model"), Column("status")]
    columns += [Column(each, right=True) for each in ("seconds", "tokens", "steps", "cost")]
    rows = [
        [
            run.run_id,
            run.thread_id,
            *([run.user or "-"] if named else []),
            run.model,
            run.status,
            f"{run.seconds:,.2f}",
            number(run.total_tokens),
            number(run.steps),
            dollars(run.cost),
        ]
        for run in runs
    ]
    return Table(caption, columns, rows)


def happenings_table(report: Report) -> Table:
    """What was refused, stopped, retried, healed, and why."""
    columns = [Column("what"), Column("which"), Column("count", right=True), Column("newest reason")]
    rows: list[list[str]] = []
    what = ""
    for line in happenings(report):
        what = line.what or what
        rows.append([what, line.which, line.count, line.reason])
    notes = [] if report.origin == "events" else [_NOT_KEPT]
    return Table("What happened", columns, rows, notes)


def tools_table(report: Report, most: int) -> Table:
    """Tools, the most used first."""
    columns = [Column("tool"), *(Column(each, right=True) for each in ("calls", "failed", "seconds each"))]
    tools = sorted(report.tools.items(), key=lambda item: -item[1].calls)
    rows = [
        [name, number(tool.calls), number(tool.failed), f"{tool.seconds / tool.calls:.2f}"]
        for name, tool in tools[:most]
    ]
    notes = [f"and {len(tools) - most:,} more"] if len(tools) > most else []
    return Table("Tools", columns, rows, notes)


def _cost_and_note(report: Report) -> tuple[str, str]:
    total = report.books.total
    if not total.unpriced:
        return dollars(total.priced_cost), ""
    unit = "calls" if report.source == "requests" else "runs"
    note = f"without {total.unpriced:,} {unit} of unknown price"
    return (dollars(None) if total.unpriced == total.count else dollars(total.priced_cost)), note


def _cached_note(total: Tally) -> str:
    return f"of which cached {share(total.cached_tokens / total.input_tokens)}" if total.input_tokens else ""


def _outcomes(report: Report) -> str:
    others = {status: count for status, count in report.runs.most_common() if status != "completed"}
    named = [f"{number(count)} {status}" for status, count in list(others.items())[:3]]
    return ", ".join(named)


def _has_names(users: Groups[Tally]) -> bool:
    return any(name for name, _ in users.greatest(1, dearness))


def _rest(groups: Groups[Tally], most: int, what: str) -> list[str]:
    count = len(groups)
    return [f"The {most:,} dearest of {count:,} {what}; the order is exact."] if count > most else []


_NOT_KEPT = (
    "The database keeps the books, runs and generations. Refusals, warnings, retries with their reasons and heals are"
    " in the events: give the file that the guard's events= names."
)
