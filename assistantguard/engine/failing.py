"""From a failure to the error that the caller gets."""

from __future__ import annotations

from assistantguard.errors import (
    ConfigurationError,
    OutcomeUnknown,
    QuotaExhausted,
    Refused,
    RequestRejected,
    RetriesExhausted,
    RunFailed,
    RunIncomplete,
    RunStopped,
    RunTimedOut,
    ThreadBroken,
)
from assistantguard.models import Failure, FailureKind, RunState, RunStatus

__all__ = ["ending", "error_of", "is_lock", "leaves_doubt", "note", "stopped", "timed_out"]

_ERRORS: dict[FailureKind, tuple[type[RunFailed], str]] = {
    "transient": (RetriesExhausted, "try again later, or raise TransientRetry(max_attempts=…)"),
    "exhausted": (QuotaExhausted, "raise the account's quota or limit; trying again does not help"),
    "structural": (ThreadBroken, "begin a new thread"),
    "ambiguous": (
        OutcomeUnknown,
        "it may have been done and billed, an estimate is booked; ask again if you need to",
    ),
    "fatal": (RequestRejected, "mend the request; sending it again does not help"),
}


def error_of(failure: Failure, attempts: int) -> RunFailed:
    """The error for a failure after so many attempts."""
    kind, mend = _ERRORS[failure.kind]
    where = f"HTTP {failure.status_code}" if failure.status_code is not None else "no HTTP error"
    code = f", {failure.code}" if failure.code else ""
    times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    message = failure.message.strip().splitlines()[0] if failure.message.strip() else "no message"
    error = kind(f"{message} ({where}{code}, {times}): {mend}")
    error.failure = failure
    return error


def timed_out(run: RunState, run_timeout: float) -> RunTimedOut:
    """The error for a run whose deadline has passed: its own limit, or an earlier one that the caller set."""
    who = f"the run {run.id}" if run.id else "attaching the files"
    allowed = run_timeout if run.deadline is None else run.deadline - run.started_at
    if allowed < run_timeout - 0.001:
        error = RunTimedOut(
            f"{who} did not end in the {allowed:.3g} s that the turn's deadline left it: allow more time, or"
            " let the run do less"
        )
        error.policy = "deadline"
        return error
    error = RunTimedOut(
        f"{who} took longer than its run_timeout of {run_timeout:g} s: raise it, or let the run do less"
    )
    error.policy = "run_timeout"
    return error


def stopped(kind: type[RunStopped], policy: str, reason: str) -> RunStopped:
    """The error of a run that a policy stopped."""
    error = kind(f"{policy} stopped the run: {reason}")
    error.policy = policy
    return error


def ending(cause: BaseException) -> tuple[RunStatus, str | None]:
    """The status of a run that `cause` ended, and who cancelled it (None where the server ended it)."""
    if isinstance(cause, RunTimedOut):
        return "expired", cause.policy
    if isinstance(cause, RunStopped):
        return "cancelled", cause.policy
    if isinstance(cause, (ConfigurationError, Refused, RunIncomplete)):
        return "incomplete", None
    if isinstance(cause, RunFailed):
        return "failed", None
    return "cancelled", "caller"


def leaves_doubt(error: RunFailed) -> bool:
    """Whether the conversation may hold something of the attempt. A plain HTTP refusal appends nothing."""
    failure = error.failure
    return failure is None or failure.status_code is None or failure.kind == "structural"


def note(cause: BaseException, text: str) -> None:
    """Attach a note where this Python has notes (3.11 and newer); always keep it on the exception."""
    notes = [*getattr(cause, "__notes__", ()), text]
    setattr(cause, "__notes__", notes)  # noqa: B010 - no attribute that type checkers know on Python 3.10


def is_lock(failure: Failure) -> bool:
    """Whether a conversation was locked by another request. Not every server sends the code."""
    return failure.code == "conversation_locked" or "operating on this conversation" in failure.message.lower()
