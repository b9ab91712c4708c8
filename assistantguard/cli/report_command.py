"""The ``report`` command."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from assistantguard._text import number
from assistantguard.cli.database import DatabaseOption, moment, opened
from assistantguard.cli.output import (
    USAGE,
    errors_as_text,
    fail,
    say,
    say_bad_lines,
    stderr,
    stdout,
    within,
    write_json,
)
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

    from assistantguard.reports import Report

__all__ = ["peak_memory", "report"]

_SHOW_PROGRESS_FROM = 32 << 20
"""Bytes."""


def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[EVENTS]...",
            help="Files of JSON lines that the guard's telemetry wrote; - reads standard input. None reads the"
            " guards' database.",
            show_default=False,
        ),
    ] = None,
    *,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page for the browser into this file; it needs no network.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    database: DatabaseOption = None,
    since: Annotated[
        str | None, typer.Option(help="From then on: 2026-11-01, 2026-11-01T08:30, or 24h, 7d, 4w ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Up to then, that moment not included.")] = None,
    timezone: Annotated[
        str, typer.Option(help="Where days begin, and what dates are meant in: an IANA name, such as Europe/Berlin.")
    ] = "UTC",
    top: Annotated[int, typer.Option(help="How many of the slowest and dearest runs to list.", callback=within(1))] = 5,
    most: Annotated[int, typer.Option(help="How many users, threads and models to list.", callback=within(1))] = 20,
) -> None:
    """Print what the guard did and what it cost, or write it as a page: by day, user, thread, model and run.

    Bad lines are named on standard error, skipped and counted. A cost that is not known is shown as unknown.
    """
    begun = time.monotonic()
    with errors_as_text():
        from assistantguard.policies.windows import time_zone

        if files and database is not None:
            raise ConfigurationError("both files and --database are given, they may hold the same: name one of them")
        zone = time_zone("--timezone", timezone)
        now = time.time()
        begin, end = moment("--since", since, zone, now), moment("--until", until, zone, now)
        if begin is not None and end is not None and begin >= end:
            raise ConfigurationError(f"--since {since} is not before --until {until}: nothing lies between them")
        figures = _of_files(files, top, zone, begin, end) if files else _of_database(database, top, zone, begin, end)
    with contextlib.closing(figures):
        say_bad_lines(figures.bad)
        if not figures.events:
            in_time = " in that time" if begin is not None or end is not None else ""
            where = ", ".join(map(str, files)) if files else "the database"
            fail(
                f"no event in {where}{in_time}: give a file that the JSON-lines telemetry wrote, or a guards' database"
            )
        if html is not None:
            _write_page(figures, html, ", ".join(file.name or str(file) for file in files or []), most)
        _print(figures, as_json=as_json, quiet=html is not None, most=most)
    what = "events" if figures.origin == "events" else "entries"
    used = peak_memory()
    memory = "" if used is None else f", with at most {used / 1e6:,.0f} MB of memory"
    say(f"{number(figures.events)} {what} in {time.monotonic() - begun:.1f} s{memory}")


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _print(figures: Report, *, as_json: bool, quiet: bool, most: int) -> None:
    if as_json:
        from assistantguard.reports import report_document

        write_json(report_document(figures))
    elif not quiet:
        from assistantguard.cli.report_view import report_view

        stdout().print(report_view(figures, most=most))


def _write_page(figures: Report, html: Path, sources: str, most: int) -> None:
    from assistantguard.reports.page import report_page

    page = report_page(figures, sources=sources or "the guards' database", most=most).encode("utf-8", "replace")
    try:
        html.write_bytes(page)
    except OSError as error:
        fail(f"cannot write {html}: {error.strerror}", USAGE)
    say(f"wrote {html} ({len(page) / 1000:,.0f} kB): open it in a browser")


def _of_files(files: list[Path], top: int, zone: tzinfo, since: float | None, until: float | None) -> Report:
    from assistantguard.reports import Report

    figures = Report(top=top, zone=zone, since=since, until=until)
    for file in files:
        with _opened(file) as (name, stream):
            figures.read(name, stream)
    return figures


def _of_database(url: str | None, top: int, zone: tzinfo, since: float | None, until: float | None) -> Report:
    from assistantguard.reports import read_database

    with opened(url) as books, _progress("the database") as advance:
        return read_database(books, top=top, since=since, until=until, zone=zone, advance=advance)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """Shows how far something is, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    import rich.progress

    with rich.progress.Progress(console=stderr(), transient=True) as shown:
        task = shown.add_task(what, total=1.0)
        yield lambda done: shown.update(task, completed=done)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[str, BinaryIO]]:
    """A file's name and bytes; reading a large one shows progress."""
    if str(file) == "-":
        yield "standard input", sys.stdin.buffer
    elif file.is_file() and file.stat().st_size >= _SHOW_PROGRESS_FROM and sys.stderr.isatty():
        import rich.progress

        with rich.progress.open(file, "rb", description=file.name, console=stderr(), transient=True) as stream:
            yield str(file), stream
    else:
        with file.open("rb") as stream:
            yield str(file), stream
