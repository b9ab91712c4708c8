"""A run: the model's work on one turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from assistantguard.models.tools import ToolCall
from assistantguard.models.usage import Usage
from assistantguard.models.values import Record

__all__ = ["TERMINAL_STATUSES", "InFlight", "RunState", "RunStatus"]

RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]

TERMINAL_STATUSES: frozenset[RunStatus] = frozenset({"cancelled", "failed", "completed", "incomplete", "expired"})


@dataclass(slots=True, eq=False, repr=False)
class InFlight(Record):
    """A request that was sent and not concluded yet: what another process must know of it to settle it."""

    purpose: str
    model: str
    attempt: int
    generation_id: str | None
    """The conversation it belongs to; None where it stands alone."""
    marks: list[str]
    """Of its input items: what they are told by where they turn up, without their content."""
    input_tokens: int
    """As expected when it was sent."""
    input_at_most: int
    output_at_most: int
    sent_at: float
    """Unix time, seconds."""
    service_tier: str | None = None
    """As it was asked for."""


@dataclass(slots=True, eq=False, repr=False)
class RunState(Record):
    """Everything a run needs between two transitions. Plain data, so any process can carry on with it."""

    id: str
    thread_id: str
    model: str
    status: RunStatus = "queued"
    announced: bool = False
    """Whether telemetry was told of it."""
    attempt: int = 1
    """Which try of the current request this is. Starts at 1 again after each accepted answer."""
    retries: int = 0
    """How many attempts over the whole run were retries."""
    mends: int = 0
    """How often the thread was healed so that the run could go on."""
    steps: int = 0
    """Model answers that asked for tools and got them run. Several parallel calls are one step."""
    calls: int = 0
    """Tool calls in those steps."""
    seen: dict[str, int] = field(default_factory=dict)
    """Fingerprints of tool calls and tool errors, and how often in a row each came."""
    input: list[dict[str, Any]] = field(default_factory=list)
    """Items that the next request carries: the user's message, or tool outputs."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls that wait for an output."""
    wrapping_up: bool = False
    """Whether the rest of the run goes without tools."""
    hold_id: str | None = None
    """The open hold of the request in flight."""
    in_flight: InFlight | None = None
    """That request. It stays until the answer was taken in, also when its hold has ended."""
    open_response_id: str | None = None
    """The server's id of the answer in flight, where it is told before the end (background, or streamed)."""
    background: bool = False
    """Whether the answer in flight is made in the background, where it can be cancelled."""
    doubtful: list[str] = field(default_factory=list)
    """Marks of the input of attempts that were given up without their outcome being learned: it may yet turn up in the
    thread."""
    key: str | None = None
    """The caller's own name for the turn, by which it is done once however often it is asked for."""
    message_counted: bool = False
    """Whether the user's message stands on the books, for budgets that count messages."""
    answers: int = 0
    """How many answers of the model were accepted."""
    response_ids: list[str] = field(default_factory=list)
    """The server's ids of the answers so far, in order."""
    answer_item_id: str | None = None
    """The conversation item that holds the answer, once there is one."""
    text: str = ""
    """What the model said so far: the text of its last answer that had any."""
    cached: bool = False
    """Whether the answer came out of a `ReplyCache`."""
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)
    """US dollars, or None where a price is unknown."""
    started_at: float = 0.0
    """Unix time, seconds."""
    deadline: float | None = None
    """Unix time after which nothing more is started for this run."""
    finished_at: float | None = None
    retry_at: float | None = None
    """Unix time of the next attempt while the run backs off."""
    incomplete_reason: str | None = None
    """Why an ``incomplete`` run ended early, in the server's word."""
    last_error: str | None = None
    """One line on why the run failed, or was stopped."""
    reasoning_effort: str | None = None
    """What its requests ask for in place of the assistant's; None for that."""
    service_tier: str | None = None
    """Likewise."""
    pinned: bool = False
    """Whether the application named the model for this run, so that no policy chooses another."""
    keeps_model: bool = False
    """Whether the thread keeps `model` once it has answered."""
    attempts_elsewhere: int = 0
    """How many attempts of the current request went to other models than `model`."""

    @property
    def seconds(self) -> float:
        """How long the run took, or 0.0 while it lasts."""
        return 0.0 if self.finished_at is None else self.finished_at - self.started_at
