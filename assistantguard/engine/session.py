"""What an engine works with: the settings of one guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistantguard.engine.ports import NoStates

if TYPE_CHECKING:
    from assistantguard.engine.ports import ModelRequest, States
    from assistantguard.ledger import Ledger
    from assistantguard.models import Assistant, RunState
    from assistantguard.policies import PolicySet
    from assistantguard.prices import PriceBook
    from assistantguard.telemetry import Sink
    from assistantguard.telemetry.tracing import Tracing

__all__ = ["Session"]


@dataclass(slots=True, eq=False, repr=False)
class Session:
    """One guard's settings, shared by all its threads."""

    id: str
    assistant: Assistant
    tools: Sequence[Mapping[str, Any]]
    """Schemas, ready to be sent."""
    tools_text: str
    """The same as text, for counting."""
    policies: PolicySet
    prices: PriceBook
    ledger: Ledger
    emit: Sink
    run_timeout: float
    """Seconds that a run may take."""
    cleanup_timeout: float = 15.0
    """Seconds that settling and healing after an interruption may take."""
    background: bool | None = None
    """Whether requests are made in the background; None leaves it to `Modes`."""
    states: States = field(default_factory=NoStates)
    """Where threads and runs are kept."""
    adds_file_search: bool = True
    """Whether a thread's files are searched also where the assistant has no file search; else they lie unused."""
    takes_service_tiers: bool = True
    """Whether the server can be asked for a service tier."""
    tracing: Tracing | None = None
    """The sink that traces, where one does."""

    def tier_of(self, asked: ModelRequest | RunState | None) -> str | None:
        """The service tier that a request, or a run, is asked and priced by: its own, else the assistant's."""
        return (None if asked is None else asked.service_tier) or self.assistant.service_tier
