"""How a run ends for the application, from what ended it underneath."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from assistantguard.dropin.limits import TokensOfRunSpent
from assistantguard.errors import (
    AssistantGuardError,
    ConfigurationError,
    QuotaExhausted,
    Refused,
    RequestRejected,
    RunFailed,
    RunIncomplete,
    RunStopped,
    RunTimedOut,
)
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from assistantguard.dropin.engines import Refusals

__all__ = ["Ending", "ending_of"]

EndStatus = Literal["completed", "failed", "cancelled", "expired", "incomplete"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ending(Value):
    """A run's last status, and why."""

    status: EndStatus
    error: tuple[str, str] | None = None
    """``last_error``: its code and message."""
    incomplete_reason: str | None = None
    raises: bool = False
    """Whether the application wants the error itself."""


def ending_of(error: BaseException, *, cancelled: bool, on_refusal: Refusals) -> Ending:
    """How a run ends that `error` ended.

    Args:
        error: What was raised.
        cancelled: Whether the application cancelled the run.
        on_refusal: What becomes of runs that a cap or a budget does not allow.
    """
    if cancelled:
        return Ending("cancelled")
    if isinstance(error, TokensOfRunSpent):
        return Ending("incomplete", incomplete_reason=error.reason)
    if isinstance(error, RunTimedOut):
        return Ending("expired", ("server_error", str(error)))
    if isinstance(error, Refused):
        last_error = ("rate_limit_exceeded", str(error))
        if on_refusal == "incomplete":
            return Ending("incomplete", last_error, "max_completion_tokens")
        return Ending("failed", last_error, raises=on_refusal == "raise")
    if isinstance(error, RunIncomplete):
        return Ending("incomplete", incomplete_reason="max_completion_tokens")
    if isinstance(error, RunStopped):
        return Ending("cancelled", ("server_error", str(error)))
    if isinstance(error, RunFailed):
        return Ending("failed", (_code_of(error), str(error)))
    if isinstance(error, ConfigurationError):
        return Ending("failed", ("invalid_prompt", str(error)))
    if isinstance(error, AssistantGuardError):
        return Ending("failed", ("server_error", str(error)))
    return Ending("failed", ("server_error", f"The run was interrupted ({type(error).__name__})."))


def _code_of(error: RunFailed) -> str:
    failure = error.failure
    if isinstance(error, QuotaExhausted) or (failure is not None and failure.status_code == 429):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, RequestRejected) else "server_error"
