"""The ``sweep`` command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from assistantguard._text import number, shown, when
from assistantguard.cli.database import DatabaseOption, json_ready, opened
from assistantguard.cli.output import FAILED, say, stderr, stdout, write_json
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    import openai

    from assistantguard.lifecycle import SweepReport
    from assistantguard.lifecycle.work import Progress

__all__ = ["sweep"]

_LONGEST = 36_500
"""Days."""
_MOST_NAMED = 20
_TITLES = {
    "runs": "runs that a dead process left, settled",
    "holds": "reservations whose time is up, booked",
    "archive": "threads that nobody uses, archived",
    "delete": "threads archived long ago, deleted",
    "conversations": "conversations that nothing refers to, deleted",
    "vector_stores": "vector stores that nothing refers to, deleted",
    "old_runs": "records of old runs, forgotten",
    "replies": "cached replies whose time is over, deleted",
}


def sweep(
    *,
    database: DatabaseOption = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without it nothing is changed.")] = False,
    archive_after: Annotated[
        float, typer.Option(metavar="DAYS", help="Archive threads that nobody used for so many days.")
    ] = 30,
    delete_after: Annotated[
        float,
        typer.Option(metavar="DAYS", help="Delete threads that have been archived for so many days; needs consent."),
    ] = 365,
    keep_runs: Annotated[float, typer.Option(metavar="DAYS", help="Keep records of runs for so many days.")] = 90,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="Delete a conversation's items with it, which OpenAI otherwise keeps.")
    ] = False,
    consent: Annotated[
        str | None,
        typer.Option(
            "--consent-to-deletion",
            metavar="WORDS",
            help="Record that the application consents to the deletion of threads that have been archived for"
            " --delete-after days: who says so, and why. It holds until it is withdrawn.",
        ),
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw-consent", help="Take the consent back.")] = False,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="Leave the server alone, also where OPENAI_API_KEY is set.")
    ] = False,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append each change as a JSON line, for the report command.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what became old, unused or unfinished in the guards' database and at the server; --apply tidies it up.

    What must be asked or deleted at the server needs OPENAI_API_KEY. It can be run from cron, twice, on several
    machines at once, and be killed at any moment. A thread that somebody drives is left alone.
    """
    from assistantguard import lifecycle

    with opened(database) as books, contextlib.ExitStack() as stack:
        if consent is not None and withdraw:
            raise ConfigurationError("both --consent-to-deletion and --withdraw-consent are given: give one of them")
        idle, archived = _days("--archive-after", archive_after), _days("--delete-after", delete_after)
        kept = _days("--keep-runs", keep_runs)
        if consent is not None:
            lifecycle.consent_to_deletion(books, consent, delete_after=archived)
        elif withdraw and not lifecycle.withdraw_consent_to_deletion(books):
            say("there was no consent to withdraw")
        client = None if no_key else _client(stack)
        report = lifecycle.sweep(
            books,
            client=client,
            apply=apply,
            archive_after=idle,
            delete_after=archived,
            keep_runs=kept,
            scrub=scrub,
            sinks=[],
            events=events,
            progress=stack.enter_context(_progress()),
        )
    if as_json:
        write_json(_document(report))
    else:
        stdout().print(_view(report))
        _say_more(report)
    if report.failed:
        raise typer.Exit(FAILED)


def _days(option: str, value: float) -> timedelta:
    if not 0 < value <= _LONGEST:
        raise ConfigurationError(f"{option} is {value:g}, it must be a number of days above 0, at most {_LONGEST:,}")
    return timedelta(days=value)


def _client(stack: contextlib.ExitStack) -> openai.OpenAI | None:
    if not os.environ.get("OPENAI_API_KEY"):
        return None
    import openai

    return stack.enter_context(openai.OpenAI())


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar for each part, where somebody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress as Bars

    with Bars(console=stderr(), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = bars.add_task(_TITLES[part], total=total)
            bars.update(tasks[part], completed=done)

        yield tell


def _view(report: SweepReport) -> Table:
    title = "What was done" if report.applied else "What there is to do; --apply does it"
    table = Table("what", "found", "done", "left", title=title, title_justify="left")
    for column in table.columns[1:3]:
        column.justify = "right"
    for part in report.parts:
        left = [f"{count:,}: {why}" for why, count in part.left.items()]
        if part.failed:
            left.append(f"{part.failed:,}: the server did not let it happen")
        table.add_row(
            _TITLES[part.name],
            number(part.found),
            number(part.done) if report.applied else "-",
            Text("; ".join(left) or "-"),
        )
    return table


def _say_more(report: SweepReport) -> None:
    if report.delete.found > report.delete.done:
        first = ", ".join(shown(each, 100) for each in report.delete.ids[:_MOST_NAMED])
        others = report.delete.found - _MOST_NAMED
        more = f", and {others:,} more (--json)" if others > 0 else ""
        say(f"archived long ago: {first}{more}")
    if report.consent is not None:
        days = report.consent.delete_after / 86_400
        say(
            f"consent to deletion after {days:g} days, given {when(report.consent.given_at)} UTC:"
            f" {shown(report.consent.words, 1_000)}"
        )
    if "no consent to deletion" in report.delete.left:
        say('to have archived threads deleted, consent once: --consent-to-deletion "who, and why"')
    if any("no key" in part.left for part in report.parts):
        say("set OPENAI_API_KEY to have done what needs the server")


def _document(report: SweepReport) -> dict[str, Any]:
    consent = report.consent
    document = {
        "applied": report.applied,
        "started_at": report.started_at,
        "consent": None if consent is None else dataclasses.asdict(consent),
        "parts": {
            part.name: {
                "found": part.found,
                "done": part.done,
                "failed": part.failed,
                "left": dict(part.left),
                "ids": list(part.ids),
            }
            for part in report.parts
        },
    }
    ready: dict[str, Any] = json_ready(document)
    return ready
