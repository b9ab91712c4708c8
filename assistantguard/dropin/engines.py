"""Engines: one for each way in which runs are configured, over one ledger, one store of threads and one server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.backends import ResponsesBackend
from assistantguard.backends.propagation import propagating
from assistantguard.dropin.direct import DirectPort
from assistantguard.dropin.limits import limits_of
from assistantguard.dropin.recording import HIDDEN
from assistantguard.dropin.translation import assistant_for
from assistantguard.engine import Engine, Session
from assistantguard.events.replies import ReplyCacheFailed
from assistantguard.policies import PolicySet
from assistantguard.tools import Toolbox

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour
    from assistantguard.ledger import Ledger
    from assistantguard.models import Assistant
    from assistantguard.models.cached import ReplyStore
    from assistantguard.policies import Policy
    from assistantguard.prices import PriceBook
    from assistantguard.storage.documents import DocumentStore
    from assistantguard.storage.leases import Leases
    from assistantguard.telemetry import Sink
    from assistantguard.telemetry.tracing import Tracing

__all__ = ["CONFIGURING", "Engines", "Refusals", "Settings"]

Body = dict[str, Any]
Refusals = Literal["failed", "incomplete", "raise"]
_MOST_KEPT = 64
CONFIGURING = (
    "model",
    "instructions",
    "tools",
    "temperature",
    "top_p",
    "reasoning_effort",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "metadata",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
)
"""What `assistant_for` and `limits_of` read of a run."""


@dataclass(slots=True, eq=False, repr=False)
class Settings:
    """What a drop-in client works with."""

    policies: Sequence[Policy]
    prices: PriceBook
    ledger: Ledger
    documents: DocumentStore
    leases: Leases
    emit: Sink
    run_timeout: float
    """Seconds that one leg of a run may take; it expires after ten minutes in any case."""
    cleanup_timeout: float
    background: bool | None
    on_refusal: Refusals
    lease_seconds: float
    """After how long without a sign of life a process counts as gone."""
    user_of: Callable[[Mapping[str, str]], str | None]
    """Whose budget a thread counts on, from its metadata."""
    replies: ReplyStore | None = None
    """Where a cache of replies keeps them, for all engines; None where there is no such policy."""
    tracing: Tracing | None = None
    """The sink that traces, where one does."""


class Engines:
    """Makes engines, and keeps those that were used last."""

    def __init__(self, settings: Settings, colour: Colour, client: Any) -> None:
        self.settings = settings
        self._colour = colour
        port = propagating(colour.port(client), settings.tracing)
        self._backend = ResponsesBackend(DirectPort(port, client))
        self.session_id = uuid.uuid4().hex
        self._kept: dict[str, Engine] = {}

    def engine(self, run_body: Body, assistant_body: Body, thread_body: Body) -> Engine:
        """An engine that answers as a run's assistant, within the limits of the run.

        Args:
            run_body: The run.
            assistant_body: Its assistant.
            thread_body: Its thread.

        Raises:
            ApiProblem: See `assistant_for`.
            ConfigurationError: A policy cannot work with this assistant.
        """
        hidden = thread_body[HIDDEN]
        files, searches = hidden.get("code_files", ()), bool(hidden["files"])
        resources = assistant_body.get("tool_resources"), thread_body.get("tool_resources")
        key = repr((*map(run_body.get, CONFIGURING), assistant_body.get("name"), resources, files, searches))
        engine = self._kept.pop(key, None)
        if engine is None:
            assistant = assistant_for(run_body, assistant_body, thread_body, files=files, searches=searches)
            engine = self._made(assistant, limits_of(run_body))
        self._kept[key] = engine
        if len(self._kept) > _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)), None)
        return engine

    async def forget(self, thread_id: str) -> None:
        """Delete the cached replies that were given on a thread. Where that fails, they end with their lifetime."""
        store, driver = self.settings.replies, self._colour.driver
        if store is None:
            return
        try:
            await driver.blocking(lambda: store.forget(thread_id), at_once=store.in_process)
        except Exception as error:  # noqa: BLE001 - a cache fails nothing
            failed = ReplyCacheFailed(driver.now(), self.session_id, thread_id, "forget", type(error).__name__)
            self.settings.emit(failed)

    def _made(self, assistant: Assistant, limits: Policy | None) -> Engine:
        settings = self.settings
        policies = PolicySet(settings.policies if limits is None else [limits, *settings.policies])
        policies.check(assistant, settings.prices)
        schemas = Toolbox(assistant.tools).schemas
        session = Session(
            self.session_id,
            assistant,
            schemas,
            json.dumps(schemas) if schemas else "",
            policies,
            settings.prices,
            settings.ledger,
            settings.emit,
            settings.run_timeout,
            settings.cleanup_timeout,
            settings.background,
            settings.leases,
            adds_file_search=False,
            tracing=settings.tracing,
        )
        return Engine(session, self._colour.driver, self._backend)
