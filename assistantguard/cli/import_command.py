"""The ``import`` command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistantguard._core import LEDGER_VARIABLE
from assistantguard._text import number, shown
from assistantguard.cli.output import FAILED, errors_as_text, fail, say, write_json
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.dropin.exported import Bad, Found
    from assistantguard.dropin.importing import Count, Imported

__all__ = ["import_command"]

_MOST_NAMED = 20


def import_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="What the old list calls gave, or objects one a line: assistants, threads, messages.",
        ),
    ],
    *,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where they go: sqlite:///guard.db or postgresql://…, which is made where it is not there. Default:"
            f" the variable {LEDGER_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Create exported assistants, threads and messages here, under their old ids.

    Give all files of an export at once. It can be repeated: what is there already stays as it is. Objects that cannot
    be taken are named on standard error, skipped and counted; the exit code is then 1.
    """
    from assistantguard.dropin.importing import import_objects
    from assistantguard.ledger import open_ledger
    from assistantguard.storage.documents import open_documents

    with errors_as_text():
        where = ledger or os.environ.get(LEDGER_VARIABLE)
        if not where:
            raise ConfigurationError(
                f"no database is named, and what is imported into memory is lost: give --ledger URL, or set"
                f" {LEDGER_VARIABLE}"
            )
        found = list(_read(files))
        if not found:
            fail(f"no object in {', '.join(map(str, files))}: give what the old list calls gave, or objects one a line")
        books = open_ledger(where)
        try:
            done = import_objects(found, open_documents(books))
        finally:
            books.database.close()
    for bad in done.bad[:_MOST_NAMED]:
        say(f"skipped {shown(str(bad), 400)}")
    if len(done.bad) > _MOST_NAMED:
        say(f"skipped {len(done.bad) - _MOST_NAMED:,} more objects{'' if as_json else ' (--json names them all)'}")
    for note in _notes(done):
        say(note)
    if as_json:
        write_json(_document(done))
    else:
        typer.echo(_summary(done))
    if done.bad:
        raise typer.Exit(FAILED)


def _read(files: list[Path]) -> Iterator[Found | Bad]:
    """Everything in the files; one that is empty, or no text, is told as bad."""
    from assistantguard.dropin.exported import Bad, objects_in

    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            yield Bad(str(file), line, "this is no UTF-8 text, and the rest of the file is not read")
            text = error.object[: error.start].rpartition(b"\n")[0].decode()
        yield from objects_in(text, str(file))


def _summary(done: Imported) -> str:
    parts = [
        _told(name, count)
        for name, count in (("assistants", done.assistants), ("threads", done.threads), ("messages", done.messages))
    ]
    return "; ".join([*parts, f"skipped: {number(len(done.bad))}"])


def _told(name: str, count: Count) -> str:
    return f"{name}: {number(count.created)} created, {number(count.there_already)} there already"


def _notes(done: Imported) -> Iterator[str]:
    for thread_id, size in done.long[:_MOST_NAMED]:
        yield (
            f"note: thread {shown(thread_id, 80)} holds about {number(size)} tokens, and its first run carries all of"
            " them, more than many models' contexts take; run it first on a model with a large one"
        )
    if len(done.long) > _MOST_NAMED:
        yield f"note: {number(len(done.long) - _MOST_NAMED)} more threads are as long"
    if done.without_thread:
        yield (
            f"note: threads made for messages that came without theirs: {number(len(done.without_thread))}; they have"
            " no metadata and no tool resources"
        )
    if done.with_stores:
        yield (
            f"note: threads that name a vector store of their own: {number(len(done.with_stores))}; such stores expire"
            " when they are not used, and where one has, give the thread another (threads.update)"
        )


def _document(done: Imported) -> dict[str, Any]:
    def counts(count: Count) -> dict[str, int]:
        return {"created": count.created, "there_already": count.there_already}

    return {
        "assistants": counts(done.assistants),
        "threads": counts(done.threads),
        "messages": counts(done.messages),
        "bad": [{"file": bad.file, "line": bad.line, "why": bad.why} for bad in done.bad],
        "threads_without_object": done.without_thread,
        "threads_with_vector_stores": done.with_stores,
        "long_threads": [{"id": thread_id, "tokens": size} for thread_id, size in done.long],
    }
