"""The ``replay`` command."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assistantguard.replay import RecordedThread, Row, RowSettings

__all__ = ["read_tools", "replay"]


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Conversations in OpenAI chat format, one a line: {messages: [...]}, or a list of messages.",
        ),
    ],
    *,
    chain: Annotated[
        int, typer.Option(help="Play this many conversations of a file as one long-lived thread.", callback=within(1))
    ] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="Model to play. Default: the recorded one where it has a price, else gpt-6-luna."),
    ] = None,
    tools: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of the tool schemas that every request carried. Without it, tools are made from"
            " the recorded calls, with a name only: input is then counted too low, on all rows alike.",
        ),
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Play only this row beside none; may be given more than once.")
    ] = None,
    max_turns: Annotated[
        int | None,
        typer.Option(help="custom: turns before a rotation.", callback=within(1), rich_help_panel="Custom row"),
    ] = None,
    max_history_tokens: Annotated[
        int | None,
        typer.Option(
            help="custom: context without instructions and tools before a rotation.",
            callback=within(256),
            rich_help_panel="Custom row",
        ),
    ] = None,
    max_context_tokens: Annotated[
        int | None,
        typer.Option(help="custom: context before a rotation.", callback=within(256), rich_help_panel="Custom row"),
    ] = None,
    tail_turns: Annotated[
        int | None,
        typer.Option(help="custom: last turns carried over.", callback=within(0), rich_help_panel="Custom row"),
    ] = None,
    tail_tokens: Annotated[
        int | None, typer.Option(help="custom: the most they hold.", callback=within(0), rich_help_panel="Custom row")
    ] = None,
    digest_tokens: Annotated[
        int | None,
        typer.Option(help="custom: the most the digest holds.", callback=within(0), rich_help_panel="Custom row"),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="custom: tool steps in a run.", callback=within(1), rich_help_panel="Custom row")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Rows to play at once. Default: one for each processor, where it is worth it.", callback=within(1)
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Play recorded conversations through the sandbox, without a guard and with one, and print what it saves.

    Rows: none; sketch-30 and sketch-8 (the rotation of sketches on the web, carrying the last reply's first
    500 characters); default; other settings of ours; custom where a policy option is given. Prompt caching is
    counted on all rows. Nothing is sent to OpenAI.

    saving is the share of the input cost of none that a row does not spend: input tokens at their price,
    cached ones and cache writes at theirs. argument_recall is the share of the values in the recorded tool
    arguments, said earlier in the thread, that still stood in the model's context when it used them.

    Bad lines are named on standard error, skipped and counted.
    """
    from assistantguard import replay as replaying
    from assistantguard.cli.replay_view import replay_view

    with errors_as_text():
        rows = _chosen_rows(
            row,
            replaying.custom_row(
                max_turns=max_turns,
                max_history_tokens=max_history_tokens,
                max_context_tokens=max_context_tokens,
                tail_turns=tail_turns,
                tail_tokens=tail_tokens,
                digest_tokens=digest_tokens,
                max_steps=max_steps,
            ),
        )
        recordings = replaying.read_recordings(*files)
        say_bad_lines(recordings.bad)
        if not recordings.count:
            fail(f"no conversation to play in {', '.join(map(str, files))}: give JSON lines in chat format")
        threads = replaying.make_threads(
            recordings,
            chain=chain,
            choose_model=replaying.model_chooser(model),
            tools=None if tools is None else read_tools(tools),
        )
        _say_what_is_played(recordings.notes, threads)
        try:
            compared = replaying.compare(_play(rows, threads, jobs))
        except replaying.ReplayError as error:
            fail(str(error))
    if as_json:
        write_json(replaying.replay_document(compared))
    else:
        stdout().print(replay_view(compared))


def _chosen_rows(names: Sequence[str] | None, custom: RowSettings | None) -> list[RowSettings]:
    from assistantguard.replay import standard_rows

    rows = standard_rows() if custom is None else [*standard_rows(), custom]
    for row in rows:
        row.policies()
    if not names:
        return rows
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            fail(f"there is no row {name!r}: the rows are {', '.join(known)}", USAGE)
    return [row for row in rows if row.name in {"none", *names} or row is custom]


def read_tools(path: Path) -> list[dict[str, Any]]:
    """The tool schemas of a JSON file, flat as in the Responses API; ends the command where it holds none."""
    try:
        schemas = json.loads(path.read_bytes())
    except ValueError as error:
        fail(f"{path} is no JSON ({error}): give a JSON list of tool schemas", USAGE)
    if not isinstance(schemas, list):
        fail(f"{path} holds no list: give a JSON list of tool schemas", USAGE)
    tools: list[dict[str, Any]] = []
    for number, schema in enumerate(schemas, start=1):
        function = schema.get("function", schema) if isinstance(schema, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            fail(f"{path}: tool {number} is no function schema: it needs a name", USAGE)
        known = {key: function[key] for key in ("name", "description", "parameters") if key in function}
        tools.append({"type": "function", "strict": False, **known})
    return tools


def _say_what_is_played(notes: Counter[str], threads: Sequence[RecordedThread]) -> None:
    turns = sum(len(thread.turns) for thread in threads)
    conversations = sum(thread.conversations for thread in threads)
    models = ", ".join(sorted({thread.model for thread in threads}))
    say(f"conversations: {conversations:,}, threads: {len(threads):,}, turns: {turns:,}, on {models}")
    for note, count in sorted((+notes).items()):
        say(f"  {note}: {count:,}")


def _play(rows: Sequence[RowSettings], threads: Sequence[RecordedThread], jobs: int | None) -> list[Row]:
    from assistantguard.replay import play_rows

    turns = sum(len(thread.turns) for thread in threads)
    with _progress([row.name for row in rows], turns) as on_turn:
        return play_rows(rows, threads, jobs=jobs, on_turn=on_turn)


@contextlib.contextmanager
def _progress(names: Sequence[str], turns: int) -> Iterator[Callable[[str], None]]:
    """One bar a row on a terminal; one line a row where it is done, elsewhere."""
    if not sys.stderr.isatty():
        played: Counter[str] = Counter()

        def count(name: str) -> None:
            played[name] += 1
            if played[name] == turns:
                say(f"played {name}")

        yield count
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=stderr(), transient=True) as progress:
        tasks = {name: progress.add_task(name, total=turns) for name in names}
        yield lambda name: progress.advance(tasks[name])
