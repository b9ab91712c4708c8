"""Every error the package raises.

::

    openai.OpenAIError
    └── AssistantGuardError          carries usage and cost so far, thread_id, run
        ├── ConfigurationError       (also a ValueError) wrong value at construction: value, limit, mend
        ├── Refused                  nothing was spent for the request that was refused
        │   ├── BudgetExceeded       the cap or budget is spent; asking again is refused until it renews
        │   ├── BudgetBusy           the rest of the cap is held by requests in flight; ask again soon
        │   ├── PolicyRefused        a policy said no
        │   ├── TooManyRequests      the rate limit leaves no room in time; `available_at` says when it does
        │   └── ThreadRefused        a thread cannot be had
        │       ├── ThreadNotFound   the user has no such thread; whether anybody else has is not told
        │       ├── ThreadArchived   it takes no messages until it is restored
        │       ├── ThreadBusy       another process drives it; ask again soon
        │       ├── ThreadNameTaken  the user has another thread of that name
        │       └── TooManyThreads   the user has as many named threads as are allowed
        ├── RunStopped               the guard ended the run; the thread takes the next message
        │   ├── ToolStepCeilingReached
        │   ├── RepeatedToolCall     the model was going in circles
        │   ├── LeaseLost            another process has taken the thread over, or it was deleted
        │   └── RunTimedOut          the run's deadline passed
        ├── RunFailed                the server ended the run, or never answered; `failure` says how
        │   ├── RetriesExhausted     transient, and still so after the last attempt
        │   ├── QuotaExhausted       quota or spend limit of the account; never tried again
        │   ├── RequestRejected      the server refuses the request itself (bad key, bad schema, content policy)
        │   ├── ThreadBroken         the conversation could not be healed
        │   ├── OutcomeUnknown       the connection was lost after sending; booked as an estimate
        │   └── RunIncomplete        the answer was cut before it said anything
        ├── VectorStoreFailed        a file could not be embedded, or not in time
        └── DatabaseUnavailable      the database of the books cannot be reached, is busy for too long, or is full

All of them are `openai.OpenAIError`, so an application's existing handlers keep working. The SDK's own exception,
where there was one, is the ``__cause__``. Cancellation and Ctrl-C are never renamed.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import openai

if TYPE_CHECKING:
    from assistantguard.models.failure import Failure
    from assistantguard.models.run import RunState
    from assistantguard.models.usage import Usage

__all__ = [
    "AssistantGuardError",
    "BudgetBusy",
    "BudgetExceeded",
    "ConfigurationError",
    "DatabaseUnavailable",
    "LeaseLost",
    "OutcomeUnknown",
    "PolicyRefused",
    "QuotaExhausted",
    "Refused",
    "RepeatedToolCall",
    "ReplyUnavailable",
    "RequestRejected",
    "RetriesExhausted",
    "RunFailed",
    "RunIncomplete",
    "RunStopped",
    "RunTimedOut",
    "ThreadArchived",
    "ThreadBroken",
    "ThreadBusy",
    "ThreadNameTaken",
    "ThreadNotFound",
    "ThreadRefused",
    "TooManyRequests",
    "TooManyThreads",
    "ToolStepCeilingReached",
    "VectorStoreFailed",
]


class AssistantGuardError(openai.OpenAIError):
    """Base of all our errors."""

    run: RunState | None = None
    """The run it happened in, with its steps, text and response ids; None where no run had begun."""
    thread_id: str | None = None

    @property
    def usage(self) -> Usage | None:
        """What the run had used when it ended; None where no run had begun."""
        return None if self.run is None else self.run.usage

    @property
    def cost(self) -> Decimal | None:
        """US dollars that the run had cost when it ended; None where unknown or no run had begun."""
        return None if self.run is None else self.run.cost


class ConfigurationError(AssistantGuardError, ValueError):
    """A value that cannot work, found at construction. The message names the value, the limit and the mend."""


class Refused(AssistantGuardError):
    """A request was not sent. What the run had spent before it is in `usage`."""

    policy: str | None = None
    """The policy that refused."""


class _BudgetRefused(Refused):
    def __init__(
        self,
        message: str,
        *,
        account: str,
        metric: str,
        limit: Decimal,
        committed: Decimal,
        held: Decimal,
        renews_at: float | None = None,
    ) -> None:
        super().__init__(message)
        self.account = account
        """Whose limit it is, for example ``session:…``, or of a budget ``user:…@day:…``."""
        self.metric = metric
        """``tokens``, ``cost`` (US dollars) or ``messages``."""
        self.limit = limit
        self.committed = committed
        """What is spent for good."""
        self.held = held
        """What requests in flight may still spend."""
        self.renews_at = renews_at
        """Unix time at which a budget renews, seconds; None where it never does, and for a cap."""

    @property
    def left(self) -> Decimal:
        """What is neither spent nor held."""
        return max(self.limit - self.committed - self.held, Decimal(0))


class BudgetExceeded(_BudgetRefused):
    """What is left of a cap or a budget does not suffice for the request; `renews_at` says until when."""


class BudgetBusy(_BudgetRefused):
    """The cap or budget would suffice, but requests in flight hold the rest. Ask again when they have settled."""


class PolicyRefused(Refused):
    """A policy refused the turn or the request."""


class TooManyRequests(Refused):
    """A request could not be sent in time without passing a rate limit."""

    def __init__(self, message: str, *, lane: str, available_at: float | None) -> None:
        super().__init__(message)
        self.lane = lane
        """What shares the limit, for example ``model:gpt-6-luna``."""
        self.available_at = available_at
        """Unix time at which it would have been possible, as it looked; None where it never is: the request alone is
        larger than a minute allows."""


class RunStopped(AssistantGuardError):
    """The guard ended a run. The thread is healed and takes the next message."""

    policy: str | None = None
    """The policy that stopped it."""


class ToolStepCeilingReached(RunStopped):
    """The model asked for more tool steps or calls than the ceiling allows."""


class RepeatedToolCall(RunStopped):
    """The model made the same call, or met the same error, too often in a row."""


class LeaseLost(RunStopped):
    """Another process has taken the thread over, since this one seemed dead, or it was deleted."""


class ReplyUnavailable(AssistantGuardError):
    """A turn was completed before, as its key tells, and its reply can be had no more."""


class RunTimedOut(RunStopped):
    """The run's deadline passed."""


class RunFailed(AssistantGuardError):
    """The server ended the run, or never answered."""

    failure: Failure | None = None
    """Kind, code, HTTP status and request id."""


class RetriesExhausted(RunFailed):
    """The failure was transient, and no attempt is left."""


class QuotaExhausted(RunFailed):
    """The account's quota or spend limit is used up. Never tried again."""


class RequestRejected(RunFailed):
    """The server refuses this request, and would again."""


class ThreadBroken(RunFailed):
    """The conversation cannot be used and could not be healed."""


class OutcomeUnknown(RunFailed):
    """The connection was lost after the request was sent. It may have been billed: an estimate is booked."""


class RunIncomplete(RunFailed):
    """The answer was cut before it said anything; ``run.incomplete_reason`` says by what."""


class VectorStoreFailed(AssistantGuardError):
    """A vector store did not become ready: a file failed, or the time was up."""


class ThreadRefused(Refused):
    """A thread cannot be had. Nothing was sent."""


class ThreadNotFound(ThreadRefused):
    """The user has no such thread. The text is the same whether somebody else has one of that id or nobody."""


class ThreadArchived(ThreadRefused):
    """The thread is archived: it takes no messages until it is restored."""


class ThreadBusy(ThreadRefused):
    """Another process drives the thread. Ask again when it is done."""


class ThreadNameTaken(ThreadRefused):
    """The user has another thread of that name."""


class TooManyThreads(ThreadRefused):
    """The user has as many named threads in use as are allowed."""


class DatabaseUnavailable(AssistantGuardError):
    """The database of the books could not be reached, stayed busy for too long, or could not be written."""

    undone = False
    """Whether all that was asked for in the transaction is certain to have been undone, so that it may be repeated."""
    outcome_unknown = False
    """Whether the connection was lost while the transaction was being committed: it may have been written."""
