"""The ``advise`` command."""

from __future__ import annotations

import json
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistantguard.cli.database import DatabaseOption, moment, opened
from assistantguard.cli.output import errors_as_text, fail, say, say_bad_lines, stdout, within, write_json
from assistantguard.cli.replay_command import read_tools
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.advice import History, LimitState

__all__ = ["advise"]

_LOOKED_AT = 1 << 16
"""Bytes of a file by which it is told what it holds."""


def advise(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE...]",
            help="Files of JSON lines: events that the guard's telemetry wrote, or conversations as replay reads them;"
            " - reads events from standard input.",
            show_default=False,
        ),
    ] = None,
    *,
    database: DatabaseOption = None,
    since: Annotated[
        str | None,
        typer.Option(help="With --database: from then on. 2026-11-01, 2026-11-01T08:30, or 24h, 7d, 4w ago."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="With --database: up to then.")] = None,
    policies: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="With --database: where the program has its policies, so that their limits are known. It is imported.",
        ),
    ] = None,
    chain: Annotated[
        int, typer.Option(help="Conversations: this many of a file are one long-lived thread.", callback=within(1))
    ] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="Conversations: the model. Default: the recorded one where it has a price, else gpt-6-luna."),
    ] = None,
    tools: Annotated[
        Path | None, typer.Option(help="Conversations: JSON list of the tool schemas that every request carried.")
    ] = None,
    cheaper: Annotated[str, typer.Option(help="The model that simple turns could go to.")] = "gpt-6-luna",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what would change the bill, and what each change would have saved on your own data.

    Each call is billed anew with one thing changed: step ceilings, rotation, a cheaper model for simple turns, the
    prompt cache, topics; and vector stores that nothing uses and accounts near their limits are named. Every suggestion
    has the line of code to write, the range of its saving, and how that was found.
    """
    from assistantguard.advice import advice_document
    from assistantguard.advice import advise as advise_on
    from assistantguard.cli.advise_view import advise_view

    with errors_as_text():
        if files and database is not None:
            raise ConfigurationError("both files and --database are given: give one of them")
        if not files:
            history = _of_database(database, since, until, policies)
        elif _holds_events(files):
            history = _of_events(files)
        else:
            history = _of_conversations(files, chain, model, tools)
        advice = advise_on(history, cheaper=cheaper)
    if as_json:
        write_json(advice_document(advice))
    else:
        stdout().print(advise_view(advice))


def _holds_events(files: Sequence[Path]) -> bool:
    """Whether the first line that can be read is an event. All files must be of one kind."""
    kinds = {name: kind for name in files if (kind := _kind(name)) is not None}
    if len(set(kinds.values())) > 1:
        first, other = (next(name for name, kind in kinds.items() if kind is wanted) for wanted in (True, False))
        raise ConfigurationError(f"{first} holds events and {other} conversations: give one kind at a time")
    if not kinds:
        fail(f"nothing to read in {', '.join(map(str, files))}: give events or conversations as JSON lines")
    return next(iter(kinds.values()))


def _kind(file: Path) -> bool | None:
    """True for events, False for conversations, None where that cannot be told."""
    if str(file) == "-":
        return True
    with file.open("rb") as stream:
        for line in stream.readlines(_LOOKED_AT):
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, list) or (isinstance(value, dict) and "messages" in value):
                return False
            if isinstance(value, dict) and "event" in value:
                return True
    return None


def _of_events(files: Sequence[Path]) -> History:
    from assistantguard.advice import EventReader

    reader = EventReader()
    for file in files:
        if str(file) == "-":
            reader.read("standard input", sys.stdin.buffer)
        else:
            with file.open("rb") as stream:
                reader.read(str(file), stream)
    say_bad_lines(reader.bad)
    history = reader.history()
    if not history.threads:
        fail(f"no paid model call in {', '.join(map(str, files))}: give a file that the JSON-lines telemetry wrote")
    return history


def _of_conversations(files: Sequence[Path], chain: int, model: str | None, tools: Path | None) -> History:
    from assistantguard import replay
    from assistantguard.advice import history_of

    recordings = replay.read_recordings(*files)
    say_bad_lines(recordings.bad)
    if not recordings.count:
        fail(f"no conversation in {', '.join(map(str, files))}: give JSON lines in chat format")
    schemas = None if tools is None else read_tools(tools)
    choose = replay.model_chooser(model)
    history = history_of(replay.make_threads(recordings, chain=chain, choose_model=choose, tools=schemas))
    history.notes.update(+recordings.notes)
    return history


def _of_database(url: str | None, since: str | None, until: str | None, policies: str | None) -> History:
    from assistantguard.advice import read_ledger
    from assistantguard.cli.own_limits import own_limits
    from assistantguard.ledger.budget_lines import budget_lines
    from assistantguard.policies.windows import time_zone

    with opened(url) as books:
        zone, now = time_zone("--timezone", "UTC"), time.time()
        own = {} if policies is None else own_limits(policies)
        limits = [
            limit
            for line in budget_lines(books, None, own, past=False, now=now)
            if (limit := _limit_of(line)) is not None
        ]
        begin, end = moment("--since", since, zone, now), moment("--until", until, zone, now)
        history = read_ledger(books, since=begin, until=end, limits=limits)
    if not history.threads:
        say("nothing is booked in that time")
    return history


def _limit_of(line: dict[str, object]) -> LimitState | None:
    """A line of budgets with a limit; None where that is not known."""
    from assistantguard.advice import LimitState

    limit, committed = line["limit"], line["committed"]
    if not isinstance(limit, Decimal) or not isinstance(committed, Decimal) or not limit:
        return None
    owner = str(line["owner"]) if line["kind"] == "user" else None
    label, _, name = str(line["budget"]).partition("#")
    budget = name or f"{line['kind']}/{label.partition('~')[0]}"
    return LimitState(str(line["account"]), budget, str(line["metric"]), limit, committed, user=owner)
