"""The commands."""

from __future__ import annotations

import contextlib
import importlib.metadata
from typing import TYPE_CHECKING, Annotated, cast

import typer

from assistantguard.cli.advise_command import advise
from assistantguard.cli.batch_command import batch
from assistantguard.cli.budgets_command import budgets
from assistantguard.cli.dashboard_command import dashboard
from assistantguard.cli.forecast_command import forecast
from assistantguard.cli.import_command import import_command
from assistantguard.cli.output import errors_as_text, say, within
from assistantguard.cli.replay_command import replay
from assistantguard.cli.report_command import report
from assistantguard.cli.scan_command import scan
from assistantguard.cli.serve_command import serve
from assistantguard.cli.sweep_command import sweep
from assistantguard.cli.threads_command import threads
from assistantguard.cli.usage_command import usage

if TYPE_CHECKING:
    from assistantguard.sandbox.responses import BackgroundMode, OnDisconnect

__all__ = ["app", "demo", "sandbox"]

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
app.command()(report)
app.command()(advise)
app.command()(replay)
app.command()(batch)
app.command()(usage)
app.add_typer(budgets)
app.add_typer(forecast)
app.add_typer(threads)
app.command()(dashboard)
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
