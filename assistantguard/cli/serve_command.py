"""The ``serve`` command."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from assistantguard._core import LEDGER_VARIABLE
from assistantguard.cli.output import errors_as_text, say, within
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from assistantguard.dropin.engines import Refusals

__all__ = ["serve"]

_MOST_PORT = 65_535
_POLICIES = "Policies"


def serve(
    *,
    host: Annotated[
        str, typer.Option(help="Name or address to listen on. Other than loopback needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", callback=within(0, _MOST_PORT))] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The server's own keys, one a line, # for remarks; each request must have one as a bearer token."
            " Default: the variable ASSISTANTGUARD_SERVER_KEYS, separated by commas.",
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where all is kept: sqlite:///guard.db or postgresql://…. Default: the variable"
            f" {LEDGER_VARIABLE}, else memory, which ends with the server.",
            show_default=False,
        ),
    ] = None,
    max_body: Annotated[int, typer.Option(help="Bytes of a request's body.", callback=within(1))] = 16 << 20,
    max_concurrent: Annotated[
        int, typer.Option(help="Requests that are answered at once, streams among them.", callback=within(1))
    ] = 1000,
    read_seconds: Annotated[
        int, typer.Option(help="Seconds within which a request must have arrived.", callback=within(1))
    ] = 30,
    write_seconds: Annotated[
        int, typer.Option(help="Seconds for which a reader may take nothing.", callback=within(1))
    ] = 60,
    grace: Annotated[
        int, typer.Option(help="Seconds that runs have to end when the server stops.", callback=within(0))
    ] = 30,
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append each event as a JSON line, for the report command.")
    ] = None,
    on_refusal: Annotated[
        str,
        typer.Option(
            help="What becomes of a run that a cap or a budget refuses: failed, incomplete, or raise, which answers"
            " polls and streams with an error."
        ),
    ] = "failed",
    max_turns: Annotated[
        int | None, typer.Option(help="Turns before a thread rotates.", rich_help_panel=_POLICIES)
    ] = None,
    max_tool_call_steps: Annotated[
        int | None, typer.Option(help="Tool steps in a run.", rich_help_panel=_POLICIES)
    ] = None,
    max_transient_retries: Annotated[
        int | None,
        typer.Option(help="Retries of a request that failed for a passing reason.", rich_help_panel=_POLICIES),
    ] = None,
    session_token_ceiling: Annotated[
        int | None, typer.Option(help="Tokens over the server's lifetime.", rich_help_panel=_POLICIES)
    ] = None,
) -> None:
    """Serve the Assistants API over HTTP, for programs in any language, until Ctrl-C.

    /v1/assistants and /v1/threads are answered here, over the Responses API and under the policies, with the key in
    OPENAI_API_KEY (and the server in OPENAI_BASE_URL). Clients have keys of this server's own. /health needs none.
    """
    from assistantguard.dropin import listening
    from assistantguard.dropin.serving import Limits
    from assistantguard.policies import default_policies

    with errors_as_text(), contextlib.suppress(KeyboardInterrupt):
        keys = _keys(key_file)

        def started(base_url: str) -> None:
            say(f"Assistants API at {base_url} ({_of_keys(len(keys))}; Ctrl-C ends it)")
            if not ledger and not os.environ.get(LEDGER_VARIABLE):
                say(
                    f"threads and books are in memory and end with the server: to keep them give --ledger URL or set"
                    f" {LEDGER_VARIABLE}"
                )

        listening.serve(
            keys=keys,
            host=host,
            port=port,
            limits=Limits(max_body, max_concurrent, read_seconds, write_seconds),
            grace=grace,
            policies=default_policies(
                max_turns=max_turns,
                max_tool_call_steps=max_tool_call_steps,
                max_transient_retries=max_transient_retries,
                session_token_ceiling=session_token_ceiling,
            ),
            ledger=ledger,
            on_refusal=cast("Refusals", on_refusal),  # it is checked there
            events=events,
            on_start=started,
        )


def _keys(file: Path | None) -> list[str]:
    """The server's own keys; empty where none are named at all.

    Raises:
        ConfigurationError: Where they should be there are none.
    """
    from assistantguard.dropin.serving import KEYS_VARIABLE, keys_in_file, keys_in_text

    if file is not None:
        try:
            keys, where = keys_in_file(file.read_text(encoding="utf-8")), str(file)
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{file} is no UTF-8 text: write one key a line") from error
        mend = "write one key a line"
    else:
        text = os.environ.get(KEYS_VARIABLE, "")
        if not text:
            return []
        keys, where, mend = keys_in_text(text), KEYS_VARIABLE, "separate keys by commas, or unset it"
    if not keys:
        raise ConfigurationError(f"{where} holds no key: {mend}")
    return keys


def _of_keys(count: int) -> str:
    if not count:
        return "no key needed: only this machine reaches it"
    return "1 key" if count == 1 else f"{count:,} keys"
