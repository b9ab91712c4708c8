"""What a policy is: an object that looks at a turn and says what it wants. It does no I/O.

A policy overrides one or more checkpoints of `Policy`. Each gets a `View` (everything a policy can know) and
returns a `Decision` (everything it can want) with a reason for people, or None to let things pass. The engine asks
all policies in the order given: the strongest decision wins, among equals the first; limits intersect.

One step is one model answer that asks for tools, however many calls it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal

from assistantguard.errors import ConfigurationError, PolicyRefused, Refused, RunStopped
from assistantguard.models.values import Record, Value

if TYPE_CHECKING:
    from assistantguard.models import Assistant, Failure, RunState, ThreadState, ToolCall
    from assistantguard.models.carry_over import CarryOver, CarryOverFunction
    from assistantguard.policies.pacing import Pace
    from assistantguard.policies.route import Route
    from assistantguard.prices import Price, PriceBook
    from assistantguard.tokens import Estimate

__all__ = [
    "UNITS",
    "BudgetTerms",
    "Cap",
    "Decision",
    "EmbedFiles",
    "Limit",
    "Metric",
    "Policy",
    "Refuse",
    "Retry",
    "Rotate",
    "Stop",
    "View",
    "WrapUp",
    "run_account",
]

Metric = Literal["tokens", "cost", "messages"]
UNITS: dict[Metric, str] = {"tokens": "tokens", "cost": "US dollars", "messages": "messages"}
Counting = Literal["near", "always", "never"]
OldGeneration = Literal["delete", "scrub", "keep"]


def run_account(run: RunState) -> str:
    """The ledger account of a run."""
    return f"run:{run.id}"


def _no_budgets() -> Mapping[str, float]:
    return {}


def _no() -> bool:
    return False


@dataclass(slots=True, eq=False, repr=False)
class View(Record):
    """What a policy sees. Read it, never change what it points at."""

    now: float
    """Unix time, seconds."""
    session_id: str
    thread: ThreadState
    model: str
    run: RunState | None = None
    """None before a turn has a run."""
    message: str = ""
    """The user's message of this turn."""
    price: Price | None = None
    """The model's price, or None where it is unknown."""
    input: Estimate | None = None
    """Before a request: how many input tokens it is expected to read."""
    output: Estimate | None = None
    """While an answer arrives: how many output tokens of it there are so far."""
    calls: tuple[ToolCall, ...] = ()
    """At a step: what the model asks for. `run.steps` and `run.calls` do not count it yet."""
    failure: Failure | None = None
    """After a failed attempt: what went wrong. `run.attempt` is the attempt that failed."""
    service_tier: str | None = None
    """What requests ask for, as far as it is decided."""
    own_model: str = ""
    """At ``route``: the assistant's."""
    prices: PriceBook | None = None
    """At ``route``: what other models cost."""
    tools: tuple[str, ...] = ()
    """At ``route``: the tools that requests of this thread carry: names of functions, types of built-in ones."""
    budgets_left: Callable[[], Mapping[str, float]] = _no_budgets
    """At ``route``: call it to learn what is left of each budget and cap in US dollars or tokens, by its policy's name,
    as a share from 0 to 1; of one with both, the smaller. It is looked up when it is first asked for."""
    will_rotate: Callable[[], bool] = _no
    """At ``route``: call it to learn whether the thread leaves its generation before this turn."""

    @property
    def session_account(self) -> str:
        """The ledger account of this guard's session."""
        return f"session:{self.session_id}"

    @property
    def run_account(self) -> str:
        """The ledger account of this run; the thread's where there is no run yet."""
        return run_account(self.run) if self.run is not None else f"thread:{self.thread.id}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Decision(Value):
    """Something a policy wants. `reason` reaches the event and the error; it must not quote the conversation."""

    strength: ClassVar[int] = 0
    verb: ClassVar[str] = "decide"

    reason: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Refuse(Decision):
    """Do not spend: raise `error` before anything is sent. For ``before_turn`` and ``before_request``."""

    strength: ClassVar[int] = 4
    verb: ClassVar[str] = "refuse"
    error: type[Refused | ConfigurationError] = PolicyRefused


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Stop(Decision):
    """End the run: raise `error`, heal the thread. For ``on_step`` and ``on_progress``."""

    strength: ClassVar[int] = 4
    verb: ClassVar[str] = "stop"
    error: type[RunStopped] = RunStopped


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WrapUp(Decision):
    """Run no more tools: let the model answer once more with what it has. For ``on_step``."""

    strength: ClassVar[int] = 3
    verb: ClassVar[str] = "wrap_up"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Rotate(Decision):
    """Leave the generation before the turn. For ``before_turn``."""

    strength: ClassVar[int] = 2
    verb: ClassVar[str] = "rotate"
    carry_over: CarryOver | CarryOverFunction | None = None
    """What the new generation starts with; None carries the default."""
    old: OldGeneration = "delete"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Retry(Decision):
    """Try the request again after `wait` seconds. For ``on_failure``; only transient failures get there."""

    strength: ClassVar[int] = 1
    verb: ClassVar[str] = "retry"
    wait: float = 0.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbedFiles(Decision):
    """How a set of files becomes searchable. For ``on_files``."""

    strength: ClassVar[int] = 1
    verb: ClassVar[str] = "embed_files"
    reuse: bool = True
    """Whether a store that holds the same set is looked for first."""
    expires_after_days: int = 7
    """Days without use after which the server may drop the store."""
    timeout: float = 120.0
    """Seconds until the store must be ready."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BudgetTerms(Value):
    """What a budget's cap has beside its limit."""

    budget: str
    """The budget's name."""
    key: str
    """The account without its window. A limit that was set at run time stands under it, or under the account itself
    where it is for one window only."""
    timezone: str
    renews_at: float | None = None
    """Unix time at which the window ends, seconds; None where it never does."""
    warn_at: tuple[float, ...] = ()
    """Shares of the limit at which to warn, ascending."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cap(Value):
    """The most an account may ever have committed and held together."""

    account: str
    metric: Metric
    limit: Decimal
    """Tokens, US dollars, or messages."""
    terms: BudgetTerms | None = None
    """Of a budget's cap."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Limit(Decision):
    """Bounds on the next request; those of several policies intersect. For ``before_request``."""

    verb: ClassVar[str] = "limit"
    caps: tuple[Cap, ...] = ()
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    """Calls of built-in tools that the server may make inside the request."""
    counting: Counting = "near"
    """When to ask the API for the exact input count: when the estimate comes near a cap, always, or never."""
    busy_wait: float = 0.0
    """Seconds to wait for requests in flight to give back what they hold."""
    paces: tuple[Pace, ...] = ()
    """The rates to keep to: the request waits for its turn in each."""


class Policy:
    """Base of all policies. Override the checkpoints you care about; all are plain functions without I/O."""

    keeps_replies: bool = False
    """Whether it is the `ReplyCache`."""

    @property
    def name(self) -> str:
        """How events and errors call this policy."""
        return type(self).__name__

    @property
    def routes(self) -> Sequence[Route]:
        """The routes that it may choose, as far as it can name them: all policies are checked with their models."""
        return ()

    def check(self, assistant: Assistant, prices: PriceBook) -> None:
        """Called when a guard is built: with its assistant, and as that with each of the guard's `routes`.

        Raises:
            ConfigurationError: The policy cannot work with this assistant.
        """

    def route(self, view: View) -> Decision | None:
        """Which model answers. `Route` or None. ``view.model`` is the one that would.

        Asked before a turn, and again when the model has failed in a way that may be tried again: ``view.failure`` is
        set then, and a route takes effect where another policy wants to try again.
        """

    def before_turn(self, view: View) -> Decision | None:
        """A user's message arrived; nothing was sent yet. `Refuse`, `Rotate` or None."""

    def before_request(self, view: View) -> Decision | None:
        """A paid model call is about to be made: first attempt, retry, or after tools. `Refuse`, `Limit` or None."""

    def on_progress(self, view: View) -> Decision | None:
        """Output of an answer arrives; asked now and then, not for every piece. `Stop` or None.

        Where a policy overrides this, answers are streamed from the server, for `chat` as well.
        """

    def on_step(self, view: View) -> Decision | None:
        """The model asks for tools, none has run. `Stop`, `WrapUp` or None."""

    def on_failure(self, view: View) -> Decision | None:
        """An attempt failed in a way that may be tried again. `Retry` or None (which gives up)."""

    def on_files(self, view: View) -> Decision | None:
        """A thread got files. `EmbedFiles` or None."""
