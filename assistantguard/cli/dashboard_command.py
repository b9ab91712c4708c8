"""The ``dashboard`` command."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistantguard._core import LEDGER_VARIABLE
from assistantguard.cli.database import DatabaseOption, PoliciesOption
from assistantguard.cli.output import errors_as_text, say, within
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.events import Event

__all__ = ["dashboard"]


def dashboard(
    *,
    database: DatabaseOption = None,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", callback=within(0, 65_535))
    ] = 8765,
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Let limits be set, and threads be renamed, archived and restored. Each is an event.",
        ),
    ] = False,
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file of JSON lines that the guards append their events to: the last refusals are read from its"
            " end, and changes are appended to it.",
        ),
    ] = None,
    policies: PoliciesOption = None,
    timezone: Annotated[str, typer.Option(help="Where days begin: an IANA name, such as Europe/Berlin.")] = "UTC",
) -> None:
    """Show cost, users, budgets, threads and runs in a browser on this machine, until Ctrl-C.

    It prints a link with a token, without which nobody gets in. Nothing on its pages comes from elsewhere.
    """
    from assistantguard.cli.own_limits import own_limits
    from assistantguard.dashboard.listening import serve

    def started(address: str) -> None:
        say(f"dashboard at {address} ({'changes are allowed' if allow_changes else 'read only'}; Ctrl-C ends it)")
        if allow_changes and events is None:
            say("changes are told here only: give --events FILE to have them kept")

    def changed(event: Event) -> None:
        record = event.record()
        say(" ".join(f"{key}={value}" for key, value in record.items() if key not in {"session_id", "time"}))

    with errors_as_text(), contextlib.suppress(KeyboardInterrupt):
        where = database or os.environ.get(LEDGER_VARIABLE)
        if not where:
            raise ConfigurationError(f"no database is named: give --database URL, or set {LEDGER_VARIABLE}")
        serve(
            where,
            port=port,
            allow_changes=allow_changes,
            events=events,
            own_limits={} if policies is None else own_limits(policies),
            timezone=timezone,
            on_start=started,
            on_change=changed,
        )
