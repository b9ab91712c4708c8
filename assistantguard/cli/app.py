"""The commands."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from assistantguard.cli.advise_command import advise
from assistantguard.cli.batch_command import batch
from assistantguard.cli.budgets_command import budgets
from assistantguard.cli.import_command import import_command
from assistantguard.cli.output import errors_as_text, fail, say, say_bad_lines, stderr, stdout, within, write_json
from assistantguard.cli.replay_command import replay
from assistantguard.cli.scan_command import scan
from assistantguard.cli.serve_command import serve
from assistantguard.cli.sweep_command import sweep
from assistantguard.cli.threads_command import threads
from assistantguard.cli.usage_command import usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assistantguard.sandbox.responses import BackgroundMode, OnDisconnect

__all__ = ["app", "demo", "report", "sandbox"]

_SHOW_PROGRESS_FROM = 32 << 20
"""Bytes."""

app = typer.Typer(
    name="assistantguard",
    help="Keeps an app built on OpenAI's assistants alive and its bill bounded.",
    epilog="Exit codes: 0 done; 1 the command could not do its work; 2 wrong usage, an unreadable file or a"
    " missing extra; 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(advise)
app.command()(replay)
app.command()(batch)
app.command()(usage)
app.add_typer(budgets)
app.add_typer(threads)
app.command()(sweep)
app.command()(scan)
app.command()(serve)
app.command("import")(import_command)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        version = importlib.metadata.version("assistantguard")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    typer.echo(f"assistantguard {version}")
    raise typer.Exit


@app.callback()
def _common(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Keep an app built on OpenAI's assistants alive and its bill bounded."""


@app.command()
def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="EVENTS...",
            help="Files of JSON lines that the guard's telemetry wrote; - reads standard input.",
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    top: Annotated[int, typer.Option(help="How many of the slowest and dearest runs to list.", callback=within(1))] = 5,
    most: Annotated[int, typer.Option(help="How many threads and models to list.", callback=within(1))] = 20,
) -> None:
    """Print what the guard did and what it cost: runs, retries, stops, rotations, tokens, cost, steps.

    Bad lines are named on standard error, skipped and counted. A cost that is not known is shown as unknown.
    """
    from assistantguard.cli.report_view import report_view
    from assistantguard.reports import Report, report_document

    figures = Report(top=top)
    with errors_as_text():
        for file in files:
            with _opened(file) as (name, stream):
                figures.read(name, stream)
    say_bad_lines(figures.bad)
    if not figures.events:
        fail(f"no event in {', '.join(map(str, files))}: give a file that the JSON-lines telemetry wrote")
    if as_json:
        write_json(report_document(figures))
    else:
        stdout().print(report_view(figures, most=most))


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


@app.command()
def sandbox(
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", callback=within(0, 65_535))
    ] = 8080,
    *,
    background: Annotated[
        str, typer.Option(help="What becomes of background requests: supported, refused, or made in the foreground.")
    ] = "supported",
    on_disconnect: Annotated[
        str, typer.Option(help="What becomes of an answer whose client leaves: stop, or complete.")
    ] = "stop",
    log_requests: Annotated[
        int, typer.Option(help="How many of the newest requests are kept.", callback=within(0))
    ] = 10_000,
    keep_responses: Annotated[
        int | None,
        typer.Option(help="How many of the newest answers can be read again. Default: all.", callback=within(1)),
    ] = None,
    keep_calls: Annotated[
        int | None,
        typer.Option(help="How many of the newest calls the bill lists. Default: all.", callback=within(1)),
    ] = None,
) -> None:
    """Serve a local stand-in for OpenAI's API, for programs in any language, until Ctrl-C.

    Its model answers with a short echo. Any key is taken; nothing is billed and nothing leaves the machine.
    """
    from assistantguard.sandbox import serve as serve_sandbox

    def started(base_url: str) -> None:
        say(f"sandbox at {base_url} (any key; Ctrl-C ends it). For example:")
        say(f"  export OPENAI_BASE_URL={base_url} OPENAI_API_KEY=sk-sandbox")

    with errors_as_text(), contextlib.suppress(KeyboardInterrupt):
        serve_sandbox(
            port=port,
            background=cast("BackgroundMode", background),  # it is checked there
            on_disconnect=cast("OnDisconnect", on_disconnect),
            log_requests=log_requests,
            keep_responses=keep_responses,
            keep_calls=keep_calls,
            on_start=started,
        )


@app.command()
def demo(
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Talk to OpenAI with the key in OPENAI_API_KEY, under a small cap.")
    ] = False,
) -> None:
    """Show a guarded conversation: a rate limit, a tool spiral, a rotation, and the two bills."""
    from assistantguard.demo import run

    with errors_as_text():
        code = run(live=live)
    raise typer.Exit(code)
