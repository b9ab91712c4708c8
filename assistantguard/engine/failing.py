"""From a failure to the error that the caller gets."""

from __future__ import annotations

from assistantguard.errors import (
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
    RetriesExhausted,
    RunFailed,
    RunTimedOut,
    ThreadBroken,
)
from assistantguard.models import Failure, FailureKind, RunState

__all__ = ["error_of", "timed_out"]

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
    """The error for a run whose deadline has passed."""
    error = RunTimedOut(
        f"the run {run.id} took longer than its run_timeout of {run_timeout:g} s: raise it, or let the run do less"
    )
    error.policy = "run_timeout"
    return error
