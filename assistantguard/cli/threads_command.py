"""The ``threads`` commands: look at users' threads, and put them in order."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistantguard._text import dollars, number, shown, when
from assistantguard.cli.database import Column, DatabaseOption, Format, FormatOption, opened, whole, write
from assistantguard.cli.output import fail, say, within
from assistantguard.errors import ConfigurationError, ThreadBusy, ThreadNotFound

if TYPE_CHECKING:
    from assistantguard.storage import SqlThreads, ThreadInfo

__all__ = ["archive", "delete", "rename", "restore", "show", "threads"]

threads = typer.Typer(
    name="threads",
    help="List, search and show users' threads; archive, restore, rename and delete them.",
    rich_markup_mode="markdown",
)

UserOption = Annotated[
    str | None, typer.Option("--user", help="Whose thread. Default: one of the application's own.", show_default=False)
]
ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="Its id or its name.")]
_LEASE_SECONDS = 120.0
_COLUMNS = (
    Column("user", "user"),
    Column("name", "name"),
    Column("id", "id", whole),
    Column("tags", "tags", lambda tags: ", ".join(map(shown, tags)) or "-"),
    Column("turns", "turns", number, right=True),
    Column("tokens", "tokens", number, right=True),
    Column("cost", "cost", dollars, right=True),
    Column("context_tokens", "context", number, right=True),
    Column("last_used_at", "last used (UTC)", when),
    Column("archived_at", "archived (UTC)", when),
)


@threads.callback(invoke_without_command=True)
def _listed(
    context: typer.Context,
    *,
    database: DatabaseOption = None,
    user: Annotated[
        str | None, typer.Option(help="This user's only. Default: everybody's.", show_default=False)
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="This tenant's only.")] = None,
    text: Annotated[str | None, typer.Option("--search", help="Whose name or tag contains this, in any case.")] = None,
    tag: Annotated[str | None, typer.Option(help="That have this tag.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones only.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Archived ones, too.")] = False,
    limit: Annotated[int, typer.Option(help="How many at most.", callback=within(1, 100_000))] = 100,
    form: FormatOption = Format.TABLE,
) -> None:
    """List threads, the one used last first; or one of the commands below."""
    if context.invoked_subcommand is not None:
        context.obj = database
        return
    from assistantguard.storage import SqlThreads, ThreadFilter

    with opened(database) as books:
        store = SqlThreads(books)
        if archived and everything:
            raise ConfigurationError("both --archived and --all are given: give one of them")
        which = None if everything else archived
        wanted = ThreadFilter(user, user is None, tenant, which, None, text, tag, limit=limit + 1)
        found = list(store.select(wanted))
        if not found:
            _check_known(store, user)
            say("there is no such thread")
        rows = [_row(info) for info in found[:limit]]
    write(form, _COLUMNS, rows, title="Threads", document={"threads": rows, "more": len(found) > limit})
    if len(found) > limit:
        say(f"and more: raise --limit {limit}")


@threads.command()
def show(
    context: typer.Context,
    thread: ThreadArgument,
    *,
    user: UserOption = None,
    database: DatabaseOption = None,
    runs: Annotated[int, typer.Option(help="How many of its runs, the newest first.", callback=within(0, 10_000))] = 20,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show a thread, its runs, and its conversations at the server. What was said is not stored."""
    with _store(context, database) as store:
        info = _found(store, user, thread)
        records = store.runs(info.id, runs) if runs else []
        conversations = [record.id for record in store.generations(info.id)]
    facts = {
        **_row(info),
        "tenant": info.tenant,
        "created_at": info.created_at,
        "generation": info.generation,
        "conversations": conversations,
        "vector_store_id": info.vector_store_id,
        "current": info.current,
    }
    lines = [
        {
            "run": record.id,
            "status": record.status,
            "model": record.model,
            "started_at": record.started_at,
            "tokens": record.usage.total_tokens,
            "cost": record.cost,
            "error": record.last_error,
        }
        for record in records
    ]
    if form is Format.TABLE:
        _print_facts(facts)
    columns = (
        Column("run", "run", whole),
        Column("status", "status"),
        Column("model", "model"),
        Column("started_at", "started (UTC)", when),
        Column("tokens", "tokens", number, right=True),
        Column("cost", "cost", dollars, right=True),
        Column("error", "error"),
    )
    write(form, columns, lines, title="Its runs", document={"thread": facts, "runs": lines})


@threads.command()
def archive(
    context: typer.Context, thread: ThreadArgument, *, user: UserOption = None, database: DatabaseOption = None
) -> None:
    """Put a thread away: it takes no messages until it is restored."""
    with _store(context, database) as store:
        info = store.archive(_found(store, user, thread).id, user, time.time())
    say(f"archived {_called(info)}")


@threads.command()
def restore(
    context: typer.Context, thread: ThreadArgument, *, user: UserOption = None, database: DatabaseOption = None
) -> None:
    """Take an archived thread into use again, however many the user has."""
    with _store(context, database) as store:
        info = store.restore(_found(store, user, thread).id, user, None)
    say(f"restored {_called(info)}")


@threads.command()
def rename(
    context: typer.Context,
    thread: ThreadArgument,
    name: Annotated[str, typer.Argument(help="The new name.")],
    *,
    user: UserOption = None,
    database: DatabaseOption = None,
) -> None:
    """Give a thread another name."""
    from assistantguard.models.names import check_name

    with _store(context, database) as store:
        checked = unicodedata.normalize("NFC", check_name("thread name", name))
        info = store.rename(_found(store, user, thread).id, user, checked, None)
    say(f"renamed {_called(info)}")


@threads.command()
def delete(
    context: typer.Context,
    thread: ThreadArgument,
    *,
    user: UserOption = None,
    database: DatabaseOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="Delete its items, too, which OpenAI otherwise keeps.")
    ] = False,
) -> None:
    """Delete a thread, with its conversations at the server where OPENAI_API_KEY is set. The books stay."""
    from assistantguard.lifecycle import ServerDeletion, delete_conversations_of, forget_thread
    from assistantguard.storage import Taken
    from assistantguard.storage.leases import process_name

    with _store(context, database) as store, contextlib.ExitStack() as stack:
        info = _found(store, user, thread)
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigurationError(f"{_called(info)} would be deleted for good: say so with --yes")
            typer.confirm(f"Delete {_called(info)} for good?", abort=True, err=True)
        owner = f"command:{process_name()}"
        opened_thread = store.open(info.id, owner, _LEASE_SECONDS, time.time(), user=user)
        if isinstance(opened_thread, Taken):
            raise ThreadBusy(f"{_called(info)} is in use by {opened_thread.owner}: try again when it is done")
        if opened_thread.run is not None:
            store.close(info.id, owner, opened_thread.fence)
            fail(f"{_called(info)} has a run that is unfinished: run `assistantguard sweep --apply` with a key first")
        forget_thread(store, opened_thread, time.time())
        server = None
        if os.environ.get("OPENAI_API_KEY"):
            import openai

            server = ServerDeletion(stack.enter_context(openai.OpenAI()), scrub=scrub)
        gone, left = delete_conversations_of(store, info.id, server, time.time)
    later = f"; left for a sweep with a key: {len(left)}" if left else ""
    say(f"deleted {_called(info)}; conversations deleted at the server: {len(gone)}{later}")


@contextlib.contextmanager
def _store(context: typer.Context, database: str | None) -> Iterator[SqlThreads]:
    from assistantguard.storage import SqlThreads

    with opened(database or context.obj) as books:
        yield SqlThreads(books)


def _found(store: SqlThreads, user: str | None, word: str) -> ThreadInfo:
    """A user's thread by its id, or else by its name.

    Raises:
        ThreadNotFound: He has none such.
        ConfigurationError: Nobody knows the user.
    """
    from assistantguard.storage import ThreadFilter

    try:
        return store.info(word, user)
    except ThreadNotFound as error:
        named = ThreadFilter(user, archived=None, name=unicodedata.normalize("NFC", word), limit=1)
        found = store.select(named)
        if found:
            return found[0]
        _check_known(store, user)
        whose = "that has no user" if user is None else f"of the user {user[:80]!r}"
        raise ThreadNotFound(
            f"there is no thread {word[:80]!r} {whose}: give --user, or look it up with `assistantguard threads`"
        ) from error


def _check_known(store: SqlThreads, user: str | None) -> None:
    from assistantguard.storage import ThreadFilter

    if user is not None and not store.select(ThreadFilter(user, archived=None, limit=1)):
        raise ConfigurationError(f"the user {user[:80]!r} has no threads: see who has with `assistantguard threads`")


def _row(info: ThreadInfo) -> dict[str, Any]:
    return {
        "user": info.user,
        "name": info.name,
        "id": info.id,
        "tags": list(info.tags),
        "turns": info.turns,
        "tokens": info.usage.total_tokens,
        "cost": info.cost,
        "context_tokens": info.context_tokens,
        "last_used_at": info.last_used_at,
        "archived_at": info.archived_at,
    }


def _print_facts(facts: Mapping[str, Any]) -> None:
    shows = {column.key: column.text for column in _COLUMNS} | {"created_at": when}
    rows = []
    for key, value in facts.items():
        if isinstance(value, list):
            text = ", ".join(shown(str(each)) for each in value) or "-"
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        else:
            text = shows[key](value) if key in shows else "-" if value is None else shown(str(value))
        rows.append({"what": key.replace("_", " "), "value": text})
    write(
        Format.TABLE,
        (Column("what", "what"), Column("value", "value", str)),
        rows,
        title="Thread",
        document={},
    )


def _called(info: ThreadInfo) -> str:
    name = f" {info.name!r}" if info.name is not None else ""
    return f"the thread{name} ({info.id})"
