"""The ``batch`` command."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import typer

from assistantguard._core import LEDGER_VARIABLE
from assistantguard._text import number, shown
from assistantguard.cli.output import FAILED, errors_as_text, fail, say, stderr, within
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import openai

    from assistantguard.batches import BatchProgress, BatchResult, JobResult
    from assistantguard.batches.run import Through

__all__ = ["batch"]

_INTERRUPTED = 130
_MOST_NAMED = 10
_PLAYED_SECONDS, _PLAYED_POLL = 0.5, 0.1
"""How long a sandbox takes for a batch, and between two looks."""


def batch(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help='One job a line: {"id": "…", "input": "…"}, with user, tenant, model, instructions, max_output_tokens'
            " and metadata where they differ; or OpenAI's own batch lines for /v1/responses.",
        ),
    ],
    *,
    model: Annotated[str | None, typer.Option(help="Model of the jobs that name none.")] = None,
    instructions: Annotated[str, typer.Option(help="Instructions of the jobs that have none.")] = "",
    max_output_tokens: Annotated[
        int | None,
        typer.Option(help="The most that an answer may have, where a job does not say.", callback=within(16)),
    ] = None,
    through: Annotated[
        str,
        typer.Option(
            help="batch: the Batch API, half price, within a day; 2h or 8h: background responses with that completion"
            " window, 30 % or 40 % off."
        ),
    ] = "batch",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.jsonl", help="Where the results go, in the order of the jobs. Default: standard output."
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The guards' database, which keeps books and state: sqlite:///guard.db or postgresql://…. Default: the"
            f" variable {LEDGER_VARIABLE}, else --state.",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Without a database: the file that keeps both. Default: FILE.jsonl.state.",
            show_default=False,
        ),
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option(metavar="DOLLARS", help="Refuse the jobs that could pass this sum, in US dollars.")
    ] = None,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append each event as a JSON line, for the report command.")
    ] = None,
    poll: Annotated[
        float | None, typer.Option(help="Seconds between two looks at the server. Default: 2, growing to 60.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait; the server goes on. Default: no limit.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Do again what was not completed of the same jobs, and may be.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what is not done; what was done is booked and printed.")
    ] = False,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Play it against a stand-in for the API in this process: no key, no network, no bill, and nothing is"
            " kept. Its model answers with an echo.",
        ),
    ] = False,
) -> None:
    """Answer many messages at a lower price, and print what came of each.

    With the key in OPENAI_API_KEY (and the server in OPENAI_BASE_URL), or with --sandbox. Ctrl-C leaves the batch
    running; the same command takes it up again, also after a crash, and does no job twice.

    Exit codes: 0 all jobs were completed; 1 some were not, or the batch is not done; 2 wrong lines, nothing was sent.
    """
    with errors_as_text():
        if sandbox:
            _check_sandbox(ledger=ledger, state=state, retry=retry, cancel=cancel)
            books, kept = None, ""
        else:
            books, kept = _books(file, ledger, state)
        with _progress() as on_progress:
            try:
                result = _run(
                    file,
                    books,
                    model=model,
                    instructions=instructions,
                    max_output_tokens=max_output_tokens,
                    max_cost=max_cost,
                    events=events,
                    through=cast("Through", through),  # it is checked there
                    on_progress=on_progress,
                    poll=poll,
                    timeout=timeout,
                    retry=retry,
                    cancel=cancel,
                )
            except KeyboardInterrupt:
                if sandbox:
                    fail("interrupted", _INTERRUPTED)
                fail(
                    f"interrupted: what was sent goes on at the server, and {kept} knows it; the same command takes it"
                    " up, with --cancel it ends it",
                    _INTERRUPTED,
                )
        _write(result, output)
    _summarise(result)
    if result.failed:
        raise typer.Exit(FAILED)


def _books(file: Path, ledger: str | None, state: Path | None) -> tuple[str, str]:
    """The URL of the database that keeps books and state, and what it is called."""
    url = ledger or (None if state is not None else os.environ.get(LEDGER_VARIABLE))
    if url:
        if state is not None:
            raise ConfigurationError("both --ledger and --state are given: the database keeps the state, leave one out")
        return url, "the database"
    path = (state or file.with_name(f"{file.name}.state")).absolute()
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no folder {str(path.parent)!r}: make it, or give another --state")
    return f"sqlite:///{quote(str(path))}", str(path)


def _check_sandbox(**given: object) -> None:
    """Refuse what means a batch of another call: a sandbox is new each time."""
    for name, value in given.items():
        if value:
            raise ConfigurationError(
                f"both --sandbox and --{name} are given, and a sandbox forgets its batches: leave one of them out"
            )


@contextlib.contextmanager
def _client(*, played: bool) -> Iterator[openai.OpenAI]:
    """The server's client, or a sandbox's.

    Raises:
        ConfigurationError: There is no key.
    """
    import openai

    if not played:
        try:
            client = openai.OpenAI()
        except openai.OpenAIError as error:
            raise ConfigurationError("there is no key: set OPENAI_API_KEY, or try it with --sandbox") from error
        with client:
            yield client
        return
    from assistantguard.sandbox import BatchProcessing, Sandbox

    say("a sandbox answers: nothing is sent to OpenAI, nothing is billed, the costs are what they would be")
    windows: dict[str, float] = {"2h": _PLAYED_SECONDS, "8h": _PLAYED_SECONDS}
    with (
        Sandbox(batches=BatchProcessing(seconds=_PLAYED_SECONDS), window_seconds=windows) as sandbox,
        sandbox.client() as client,
    ):
        yield client


def _run(
    file: Path,
    books: str | None,
    *,
    model: str | None,
    instructions: str,
    max_output_tokens: int | None,
    max_cost: str | None,
    events: Path | None,
    through: Through,
    **options: Any,
) -> BatchResult:
    from assistantguard import Assistant, AssistantGuard
    from assistantguard.ledger import MemoryLedger
    from assistantguard.policies import CostCap, Policy, TransientRetry

    policies: list[Policy] = [TransientRetry(8)]
    if max_cost is not None:
        policies.append(CostCap(session=max_cost))
    settings = [model, instructions, max_output_tokens, through, hashlib.sha256(file.read_bytes()).hexdigest()]
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    assistant = Assistant(model or _model_in(file), instructions, max_output_tokens=max_output_tokens)
    if books is None:
        options["poll"] = options["poll"] or _PLAYED_POLL
    with (
        _client(played=books is None) as client,
        AssistantGuard(
            client, assistant, policies, ledger=MemoryLedger() if books is None else books, sinks=[], events=events
        ) as guard,
    ):
        return guard.batch(file, through=through, idempotency_key=key, **options)


def _model_in(file: Path) -> str:
    """The model of the first line, where all lines name their own.

    Raises:
        ConfigurationError: A line names none.
    """
    first = ""
    with file.open("rb") as lines:
        for place, raw in enumerate(lines, start=1):
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                continue  # it is named with all other bad lines
            body = line.get("body", line) if isinstance(line, dict) else None
            named = body.get("model") if isinstance(body, dict) else None
            if isinstance(body, dict) and named is None:
                raise ConfigurationError(f"line {place} of {file} names no model: give --model")
            first = first or (named if isinstance(named, str) else "")
    return first or "none"


def _write(result: BatchResult, output: Path | None) -> None:
    lines = (_line(_document(each)) for each in result.results)
    if output is None:
        sys.stdout.writelines(lines)
        return
    part = output.with_name(f"{output.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    part.replace(output)


def _line(document: dict[str, Any]) -> str:
    """A document as a line; half characters, which models may write, are no text."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def _document(result: JobResult) -> dict[str, Any]:
    usage = result.usage
    error = result.error
    return {
        "id": result.id,
        "status": result.status,
        "text": result.text,
        "usage": {
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "estimated_tokens": usage.estimated_tokens,
        },
        "cost": None if result.cost is None else format(result.cost, "f"),
        "response_id": result.response_id,
        "error": error and {"code": error.code, "message": error.message, "retryable": error.retryable},
    }


def _summarise(result: BatchResult) -> None:
    for each in result.failed[:_MOST_NAMED]:
        assert each.error is not None
        say(f"{each.status}: {shown(each.id)}: {each.error.code}: {shown(each.error.message, 300)}")
    if len(result.failed) > _MOST_NAMED:
        say(f"and {len(result.failed) - _MOST_NAMED:,} more that were not completed")
    counts = ", ".join(f"{count:,} {status}" for status, count in result.counts.items())
    usage = result.usage
    say(f"{counts}; {number(usage.input_tokens)} input and {number(usage.output_tokens)} output tokens")
    say(f"cost {_dollars(result.cost)}; at standard price it had been {_dollars(result.saved)} more")
    if result.retryable:
        say(f"{len(result.retryable):,} may be done again: give --retry")


def _dollars(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"${amount:.6f}"


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[BatchProgress], None]]:
    """A bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda progress: say(f"{progress.stage}: {progress.done:,} of {progress.total:,} done{_failed(progress)}")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task("checking", total=None)

        def show(progress: BatchProgress) -> None:
            description = progress.stage + _failed(progress)
            bar.update(task, description=description, total=progress.total, completed=progress.done)

        yield show


def _failed(progress: BatchProgress) -> str:
    return f", {progress.failed:,} not completed" if progress.failed else ""
