"""What happens in a turn."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal

from assistantguard.events.base import Event, Level
from assistantguard.models.usage import Usage

__all__ = [
    "PolicyObserved",
    "RequestSettled",
    "RunCancelled",
    "RunRetried",
    "RunSettled",
    "RunStarted",
    "RunStep",
    "ToolSettled",
    "TurnStarted",
    "UsageCorrected",
]


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
