"""`drop_in`: the user's own client, in which the Assistants API lives on."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from assistantguard import tokens
from assistantguard._calling import ToolCalling
from assistantguard._checks import positive
from assistantguard._core import background_mode, ledger_and_database, threads_beside, without_retries
from assistantguard.dropin.admission import GuardedCalls
from assistantguard.dropin.client import wrapped
from assistantguard.dropin.colours import AsyncioColour, BlockingColour, Colour
from assistantguard.dropin.engines import Engines, Settings
from assistantguard.dropin.metering import Metering
from assistantguard.dropin.service import AssistantsService
from assistantguard.dropin.transport import library_of
from assistantguard.errors import ConfigurationError
from assistantguard.policies import Policy, default_policies
from assistantguard.policies.checks import one_of
from assistantguard.prices import PriceBook
from assistantguard.prices import warm_up as warm_up_prices
from assistantguard.replies.opening import with_one_store
from assistantguard.storage.documents import open_documents
from assistantguard.storage.leases import Leases
from assistantguard.telemetry import JsonLinesSink, Sink, StructlogSink, fan_out, tracing_of
from assistantguard.tools import Toolbox

if TYPE_CHECKING:
    from assistantguard.dropin.engines import Refusals
    from assistantguard.ledger import Ledger
    from assistantguard.prices import Price

__all__ = ["Opening", "drop_in"]

T = TypeVar("T", openai.OpenAI, openai.AsyncOpenAI)


class Opening:
    """What services work with, opened: the books, the threads and where events go. See `drop_in` for the arguments.

    Raises:
        ConfigurationError: An argument is outside what is allowed.
    """

    def __init__(
        self,
        *,
        policies: Sequence[Policy] | None = None,
        ledger: Ledger | str | None = None,
        user: Callable[[Mapping[str, str]], str | None] | None = None,
        on_refusal: Refusals = "failed",
        prices: Mapping[str, Price] | PriceBook | None = None,
        sinks: Sequence[Sink] | None = None,
        events: str | os.PathLike[str] | None = None,
        run_timeout: float = 600.0,
        cleanup_timeout: float = 15.0,
        background: bool | None = None,
        lease_seconds: float = 30.0,
    ) -> None:
        if isinstance(policies, Policy):
            raise ConfigurationError(f"policies is {policies.name}: give a list, policies=[{policies.name}(…)]")
        one_of("on_refusal", on_refusal, ("failed", "incomplete", "raise"))
        run_seconds = positive("run_timeout", run_timeout)
        cleanup_seconds = positive("cleanup_timeout", cleanup_timeout)
        lease = positive("lease_seconds", lease_seconds)
        assert run_seconds is not None
        assert cleanup_seconds is not None
        assert lease is not None
        books, database = ledger_and_database(ledger)
        try:
            enforced, replies = with_one_store(default_policies() if policies is None else policies, books)
        except ConfigurationError:
            if database is not None:
                database.close()
            raise
        jsonl = None if events is None else JsonLinesSink(events)
        given = _sinks(sinks, jsonl)
        self.settings = Settings(
            enforced,
            prices if isinstance(prices, PriceBook) else PriceBook(prices),
            books,
            open_documents(books),
            Leases(threads_beside(books, content=True), lease),
            fan_out(given),
            run_seconds,
            cleanup_seconds,
            background_mode(background),
            on_refusal,
            lease,
            user or _user_in_metadata,
            replies,
            tracing_of(given),
        )
        self._ends = contextlib.ExitStack()
        if database is not None:
            self._ends.callback(database.close)
        if replies is not None:
            self._ends.callback(replies.close)
        if jsonl is not None:
            self._ends.callback(jsonl.close)
        self._ends.callback(self.settings.leases.stop)
        self._colours: list[AsyncioColour] = []
        tokens.warm_up()
        warm_up_prices()

    def service(self, client: openai.OpenAI | openai.AsyncOpenAI) -> AssistantsService:
        """A service that works through this client, in its colour."""
        return self.services(client)[0]

    def services(self, client: openai.OpenAI | openai.AsyncOpenAI) -> tuple[AssistantsService, Metering]:
        """As `service`, and what guards the calls that the application makes itself; they share a session."""
        calling = ToolCalling(Toolbox(()), _no_tools, None, None, 1)
        colour: Colour
        if isinstance(client, openai.AsyncOpenAI):
            colour = AsyncioColour(calling, self.settings.cleanup_timeout)
            self._colours.append(colour)
        else:
            colour = BlockingColour(calling)
        inner = without_retries(client)
        engines = Engines(self.settings, colour, inner)
        calls = GuardedCalls(self.settings, colour, inner, engines.session_id)
        http = library_of(type(client._client))  # noqa: SLF001 - the SDK shows it nowhere else
        metering = Metering(calls, http, is_async=isinstance(client, openai.AsyncOpenAI))
        return AssistantsService(engines, colour), metering

    async def finish(self, seconds: float) -> None:
        """Let the runs that tasks drive here end for so many seconds, and end the others as failed."""
        for colour in self._colours:
            await colour.finish(seconds)

    def close(self) -> None:
        """Write what is queued, and close the database that was opened here. May be called again."""
        self._ends.close()


def drop_in(
    client: T,
    *,
    policies: Sequence[Policy] | None = None,
    ledger: Ledger | str | None = None,
    user: Callable[[Mapping[str, str]], str | None] | None = None,
    guard_calls: bool = False,
    on_refusal: Refusals = "failed",
    prices: Mapping[str, Price] | PriceBook | None = None,
    sinks: Sequence[Sink] | None = None,
    events: str | os.PathLike[str] | None = None,
    run_timeout: float = 600.0,
    cleanup_timeout: float = 15.0,
    background: bool | None = None,
    lease_seconds: float = 30.0,
) -> T:
    """Return the same client with ``client.beta.assistants`` and ``client.beta.threads`` at work again.

    Their calls are answered here, over the Responses API and under the policies; all others go to the server as they
    did. The client that is passed in stays as it is.

    Args:
        client: Your own ``openai.OpenAI``, ``AsyncOpenAI``, ``AzureOpenAI`` or ``AsyncAzureOpenAI``.
        policies: What is enforced underneath, as for `AssistantGuard`; None turns on `default_policies`. A `ReplyCache`
            answers runs, and has one store for all assistants.
        ledger: Where the books, threads, messages and runs are kept: a `Ledger` or the URL of a database. None takes
            the URL in ``ASSISTANTGUARD_LEDGER``, or keeps them in memory, where no other process sees them.
        user: Whose budget a thread counts on, from its metadata; None takes ``metadata["user"]``.
        guard_calls: Whether the same policies and the same books hold for the calls that the application makes on this
            client itself: ``client.responses``, ``client.chat.completions`` and ``client.completions``, through
            whichever entry point. Each is a turn of its own: reserved before it is sent, its ``max_output_tokens`` (or
            ``max_completion_tokens``) lowered to what is left, booked by the usage that the server reports, and by an
            estimate where it reports none; a stream that passes its limit is cut. One that is not allowed is answered
            with a 429 (`openai.RateLimitError`, `code` ``"budget_exceeded"``) that the SDK does not try again, or with
            the error itself where `on_refusal` is ``"raise"``. The README lists what is bounded, and what is not. Its
            user is what `user` makes of its ``metadata``, else its ``safety_identifier``, else its ``user``.
        on_refusal: What becomes of a run that a cap or a budget does not allow: ``"failed"`` or ``"incomplete"`` with
            a ``last_error`` that says why, or ``"raise"``: the error itself, once, where the run is polled, streamed or
            retrieved.
        prices: As for `AssistantGuard`.
        sinks: As for `AssistantGuard`.
        events: As for `AssistantGuard`.
        run_timeout: Seconds that a run may take between two stops; ten minutes after it was created it expires.
        cleanup_timeout: As for `AssistantGuard`.
        background: As for `AssistantGuard`.
        lease_seconds: As for `AssistantGuard`.

    Raises:
        ConfigurationError: An argument is outside what is allowed.
    """
    opening = Opening(
        policies=policies,
        ledger=ledger,
        user=user,
        on_refusal=on_refusal,
        prices=prices,
        sinks=sinks,
        events=events,
        run_timeout=run_timeout,
        cleanup_timeout=cleanup_timeout,
        background=background,
        lease_seconds=lease_seconds,
    )

    watchers: list[Metering] = []

    def service_for(inner: Any) -> AssistantsService:
        service, metering = opening.services(inner)
        weakref.finalize(service, opening.close)
        if guard_calls:
            watchers.append(metering)
        return service

    return wrapped(client, service_for, lambda: watchers.pop() if watchers else None)


def _sinks(sinks: Sequence[Sink] | None, jsonl: Sink | None) -> list[Sink]:
    told: list[Sink] = [StructlogSink()] if sinks is None else list(sinks)
    return told if jsonl is None else [*told, jsonl]


def _user_in_metadata(metadata: Mapping[str, str]) -> str | None:
    return metadata.get("user") or None


def _no_tools(_: Any) -> Any:
    raise AssertionError("the application runs its own tools")
