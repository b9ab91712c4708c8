"""Typed telemetry events: one per thing that happened, with ids and figures, never with content or keys.

An event's `name` is its wire name; `Event.record` is the flat JSON object that sinks write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, ClassVar, Literal

from assistantguard.models.usage import Usage

__all__ = [
    "BudgetRefusedEvent",
    "BudgetWarned",
    "ConversationDeleted",
    "Event",
    "HoldsExpired",
    "PolicyObserved",
    "RequestSettled",
    "RunCancelled",
    "RunRetried",
    "RunSettled",
    "RunStarted",
    "RunStep",
    "RunsPruned",
    "ThreadArchivedEvent",
    "ThreadDeleted",
    "ThreadHealed",
    "ThreadRotated",
    "ThreadSuggested",
    "ToolSettled",
    "TurnStarted",
    "UsageCorrected",
    "VectorStoreCreated",
    "VectorStoreDeleted",
    "VectorStoreReused",
]

Level = Literal["debug", "info", "warning"]

_PLAIN = frozenset({str, int, float, bool})
_values_of: dict[type[Event], Callable[[Event], tuple[Any, ...]]] = {}
"""Reads all fields of an event at once, for each kind: events are written for every sink of every turn."""


@dataclass(slots=True, eq=False, repr=False)
class Event:
    """What every event carries. Read it, never change it: every sink gets the same object.

    It is not frozen, since a frozen data class takes twice as long to import and to make.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "debug"

    time: float
    """Unix time, seconds."""
    session_id: str
    thread_id: str

    # Equality and text are written once, since generating them for each class doubles the cost of importing this.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Event) and self.record() == other.record()

    def __hash__(self) -> int:
        return hash((type(self), self.time, self.thread_id))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"

    def record(self) -> dict[str, Any]:
        """The event as one flat, JSON-ready object: ``event`` first, usage fields spread, None left out.

        Those of a usage that is not the event's `usage` are named after it: ``before_input_tokens``.

        Costs are strings, since a float cannot hold a sum of money.
        """
        out: dict[str, Any] = {"event": self.name}
        kind = type(self)
        values_of = _values_of.get(kind)
        if values_of is None:
            values_of = _values_of[kind] = attrgetter(*kind.__match_args__)
        for name, value in zip(kind.__match_args__, values_of(self), strict=True):
            if value is None:
                continue
            if value.__class__ in _PLAIN:
                out[name] = value
            elif isinstance(value, Usage):
                prefix = "" if name == "usage" else f"{name}_"
                for part in Usage.__match_args__:
                    out[prefix + part] = getattr(value, part)
            elif isinstance(value, Decimal):
                out[name] = str(value)
            else:
                out[name] = list(value) if isinstance(value, tuple) else value
        return out


@dataclass(slots=True, eq=False, repr=False)
class TurnStarted(Event):
    """A user's message was taken up."""

    name: ClassVar[str] = "turn.started"
    turn: int
    """Which turn of the thread this is, from 1."""
    generation: int
    generation_turns: int
    context_tokens: int


@dataclass(slots=True, eq=False, repr=False)
class RunStarted(Event):
    """The model's work on a turn begins."""

    name: ClassVar[str] = "run.started"
    run_id: str
    model: str


@dataclass(slots=True, eq=False, repr=False)
class RequestSettled(Event):
    """One paid model call is on the books, whatever it ended in."""

    name: ClassVar[str] = "request.settled"
    run_id: str
    model: str
    purpose: Literal["run", "summary"]
    attempt: int
    status: str
    """The response's status, or ``error`` where none arrived."""
    usage: Usage
    cost: Decimal | None
    seconds: float
    estimated_input_tokens: int
    """What was expected before sending."""
    exact: bool
    """Whether that expectation came from the API's own count."""
    response_id: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    price_source: str | None = None
    background: bool = False
    """Whether the server worked on it in the background, where it can be cancelled."""
    mode_reason: str | None = None
    """Why it did, or did not."""
    response_model: str | None = None
    """The model that answered, as the server names it."""
    error: str | None = None
    """What failed: the API's error code, an HTTP status, or the kind of the failure."""
    user: str | None = None
    """Whose thread it is; None where the application does not say."""


@dataclass(slots=True, eq=False, repr=False)
class UsageCorrected(Event):
    """The server told late what a request had used whose usage was booked as an estimate."""

    name: ClassVar[str] = "usage.corrected"
    level: ClassVar[Level] = "info"
    run_id: str
    model: str
    response_id: str
    usage: Usage
    """What stands on the books now."""
    before: Usage
    """What stood there until now."""
    cost: Decimal | None
    before_cost: Decimal | None
    user: str | None = None
    """As in `RequestSettled`."""


@dataclass(slots=True, eq=False, repr=False)
class RunStep(Event):
    """The model asked for tools."""

    name: ClassVar[str] = "run.step"
    run_id: str
    model: str
    step: int
    """Which step of the run this is, from 1."""
    calls: int
    """Tool calls in this step."""
    tools: tuple[str, ...]
    """Their names."""


@dataclass(slots=True, eq=False, repr=False)
class ThreadSuggested(Event):
    """A message left the topic of its thread: a new thread would suit it. It was answered all the same."""

    name: ClassVar[str] = "thread.suggested"
    level: ClassVar[Level] = "info"
    compared: int
    """With how many messages and replies it was compared."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class ToolSettled(Event):
    """One tool call was answered."""

    name: ClassVar[str] = "tool.settled"
    run_id: str
    call_id: str
    tool: str
    seconds: float
    failed: bool
    error_type: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class RunRetried(Event):
    """An attempt failed and another follows."""

    name: ClassVar[str] = "run.retried"
    level: ClassVar[Level] = "warning"
    run_id: str
    model: str
    attempt: int
    """The attempt that failed."""
    kind: str
    wait: float
    """Seconds until the next attempt."""
    policy: str
    reason: str
    code: str | None = None
    status_code: int | None = None
    request_id: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class RunCancelled(Event):
    """The guard ended a run, or the caller walked away from it."""

    name: ClassVar[str] = "run.cancelled"
    level: ClassVar[Level] = "warning"
    run_id: str
    model: str
    steps: int
    calls: int
    policy: str
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class RunSettled(Event):
    """A run has ended and is on the books. Exactly one for every `RunStarted`."""

    name: ClassVar[str] = "run.settled"
    level: ClassVar[Level] = "info"
    run_id: str
    model: str
    status: str
    steps: int
    calls: int
    retries: int
    usage: Usage
    cost: Decimal | None
    seconds: float
    context_tokens: int
    """What the next request on this thread will read before anything new."""
    generation: int
    error: str | None = None
    """The class name of the error that the caller got, or None."""
    incomplete_reason: str | None = None
    user: str | None = None
    """As in `RequestSettled`."""
    fixed_tokens: int | None = None
    """The part of `context_tokens` that every request carries (instructions and tools); None where it is not known."""


@dataclass(slots=True, eq=False, repr=False)
class ThreadRotated(Event):
    """A thread left its generation for a new one."""

    name: ClassVar[str] = "thread.rotated"
    level: ClassVar[Level] = "info"
    generation: int
    """The new generation's number."""
    from_generation_id: str | None
    to_generation_id: str
    turns: int
    """Turns that the old generation held."""
    context_tokens: int
    """What the old generation's next request would have read."""
    carried_tokens: int
    """What was carried over, by our own count."""
    carried_items: int
    old: Literal["deleted", "scrubbed", "kept", "gone", "undeleted"]
    """What became of the old generation; ``undeleted``: deleting it failed."""
    policy: str
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class ThreadHealed(Event):
    """A generation was made usable again."""

    name: ClassVar[str] = "thread.healed"
    level: ClassVar[Level] = "warning"
    generation_id: str
    answered_calls: int
    """Function calls that had no output and got one."""
    deleted_items: int
    """Items of a half turn that were removed."""
    reason: str


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreCreated(Event):
    """A set of files was embedded."""

    name: ClassVar[str] = "vector_store.created"
    level: ClassVar[Level] = "info"
    vector_store_id: str
    files: int
    seconds: float
    usage_bytes: int | None = None
    replaces: str | None = None
    """The expired store that it was built in place of, or None."""


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreReused(Event):
    """A set of files was already embedded; nothing was spent."""

    name: ClassVar[str] = "vector_store.reused"
    level: ClassVar[Level] = "info"
    vector_store_id: str
    files: int


@dataclass(slots=True, eq=False, repr=False)
class VectorStoreDeleted(Event):
    """A vector store that nothing referred to was deleted at the server, or was gone there. Its files stay."""

    name: ClassVar[str] = "vector_store.deleted"
    level: ClassVar[Level] = "info"
    vector_store_id: str


@dataclass(slots=True, eq=False, repr=False)
class ConversationDeleted(Event):
    """A conversation that nothing referred to was deleted at the server, or was gone there."""

    name: ClassVar[str] = "conversation.deleted"
    level: ClassVar[Level] = "info"
    generation_id: str


@dataclass(slots=True, eq=False, repr=False)
class ThreadArchivedEvent(Event):
    """A thread was put away, since nobody used it for long."""

    name: ClassVar[str] = "thread.archived"
    level: ClassVar[Level] = "info"
    last_used_at: float
    """Unix time, seconds."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class ThreadDeleted(Event):
    """A thread was forgotten; its conversations at the server are deleted next."""

    name: ClassVar[str] = "thread.deleted"
    level: ClassVar[Level] = "info"
    reason: str
    archived_at: float | None = None
    """Unix time, seconds."""
    user: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class HoldsExpired(Event):
    """Reservations of processes that are gone were settled: what they held is on the books, as an estimate."""

    name: ClassVar[str] = "holds.expired"
    level: ClassVar[Level] = "warning"
    holds: int


@dataclass(slots=True, eq=False, repr=False)
class RunsPruned(Event):
    """What was kept of old runs was forgotten. What they used stays in the books."""

    name: ClassVar[str] = "runs.pruned"
    level: ClassVar[Level] = "info"
    runs: int


@dataclass(slots=True, eq=False, repr=False)
class BudgetRefusedEvent(Event):
    """A request was not sent, since a cap or a budget does not allow it."""

    name: ClassVar[str] = "budget.refused"
    level: ClassVar[Level] = "warning"
    account: str
    metric: str
    kind: Literal["exceeded", "busy"]
    limit: Decimal
    committed: Decimal
    held: Decimal
    policy: str
    reason: str
    run_id: str | None = None
    renews_at: float | None = None
    """Unix time at which the budget renews, seconds; None where it never does, and for a cap."""
    user: str | None = None
    """Whose thread it was."""


@dataclass(slots=True, eq=False, repr=False)
class BudgetWarned(Event):
    """A share of a budget is spent. Once per share and window, over all processes that share the ledger."""

    name: ClassVar[str] = "budget.warned"
    level: ClassVar[Level] = "warning"
    account: str
    """Whose budget, and which window of it."""
    budget: str
    """The budget's name."""
    metric: str
    threshold: float
    """The share of `limit` that was reached."""
    limit: Decimal
    committed: Decimal
    """What is spent for good."""
    renews_at: float | None = None
    """Unix time at which the budget renews, seconds; None where it never does."""
    user: str | None = None
    """Whose request it was that reached it."""
    tenant: str | None = None
    run_id: str | None = None


@dataclass(slots=True, eq=False, repr=False)
class PolicyObserved(Event):
    """A policy under `observe` would have acted."""

    name: ClassVar[str] = "policy.observed"
    level: ClassVar[Level] = "info"
    policy: str
    checkpoint: str
    decision: str
    """What it would have done: ``refuse``, ``stop``, ``rotate``, …"""
    reason: str
    run_id: str | None = None
