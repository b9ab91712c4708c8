"""What came of a job, read from what the server said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistantguard.batches.results import JobError
from assistantguard.models import Failure

if TYPE_CHECKING:
    from assistantguard.batches.state import JobStage
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.errors import RunFailed

__all__ = ["Outcome", "is_locked_out", "one_line"]

_LONGEST_MESSAGE = 300
_NO_ENTRY = frozenset({401, 403})


@dataclass(slots=True, eq=False, repr=False)
class Outcome:
    """What came of a job."""

    stage: JobStage
    answer: ModelAnswer | None = None
    failure: Failure | None = None
    """Without an answer: why there is none. One that is not ambiguous was billed nothing; None may have been."""
    error: JobError | None = None

    @classmethod
    def of_answer(cls, answer: ModelAnswer) -> Outcome:
        """What an answer of the server comes to."""
        if answer.status == "completed":
            return cls("completed", answer)
        if answer.status == "incomplete":
            why = answer.incomplete_reason or "unknown"
            return cls("failed", answer, error=JobError("incomplete", f"the answer was cut: {why}", retryable=False))
        if answer.status == "cancelled":
            return cls("cancelled", answer, error=JobError("cancelled", "it was cancelled", retryable=True))
        failure = answer.failure
        code = (failure and failure.code) or answer.status
        text = one_line(failure.message) if failure else f"the response ended {answer.status}"
        return cls("failed", answer, failure, JobError(code, text, retryable=failure is None or _is_passing(failure)))

    @classmethod
    def of_failure(cls, failure: Failure, stage: JobStage = "failed") -> Outcome:
        """What a failed request comes to."""
        code = failure.code or (f"http_{failure.status_code}" if failure.status_code else failure.kind)
        retryable = stage != "failed" or _is_passing(failure)
        return cls(stage, None, failure, JobError(code, one_line(failure.message), retryable=retryable))

    @classmethod
    def refused(cls, failure: Failure) -> Outcome:
        """What becomes of a job that was never looked at, since the server refused the whole file it was in."""
        outcome = cls.of_failure(failure)
        assert outcome.error is not None
        return replace(outcome, error=replace(outcome.error, retryable=True))

    @classmethod
    def withdrawn(cls, failure: Failure) -> Outcome:
        """The server took nothing, and would take nothing else now: the job waits to be sent another time."""
        return cls("waiting", None, failure)

    @classmethod
    def ended(cls, stage: JobStage, code: str, message: str) -> Outcome:
        """It was not done, and not billed."""
        return cls.of_failure(Failure("transient", message, code), stage)

    @classmethod
    def unknown(cls, message: str) -> Outcome:
        """Nobody knows what became of it: it is booked as an estimate."""
        return cls("failed", error=JobError("outcome_unknown", message, retryable=True))


def is_locked_out(error: RunFailed) -> bool:
    """Whether the server lets nobody in with this key."""
    return error.failure is not None and error.failure.status_code in _NO_ENTRY


def _is_passing(failure: Failure) -> bool:
    return failure.kind in {"transient", "ambiguous", "exhausted"}


def one_line(text: str) -> str:
    """A text as one line that is not too long."""
    line = " ".join(text.split()) or "no message"
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
