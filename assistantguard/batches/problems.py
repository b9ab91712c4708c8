"""What can be wrong with a batch as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistantguard.errors import AssistantGuardError, ConfigurationError
from assistantguard.models.values import Value

__all__ = ["BatchUnfinished", "JobProblem", "MalformedJobs"]

_SHOWN = 20


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JobProblem(Value):
    """What is wrong with one job, and how to mend it."""

    line: int
    """Of the file, or the place in the list of jobs; from 1."""
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class MalformedJobs(ConfigurationError):
    """Some jobs cannot be done as they are; none was sent."""

    def __init__(self, problems: Sequence[JobProblem]) -> None:
        shown = [str(problem) for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN:,} more")
        jobs = "1 job is" if len(problems) == 1 else f"{len(problems):,} jobs are"
        super().__init__(f"{jobs} malformed, and nothing was sent:\n" + "\n".join(shown))
        self.problems = tuple(problems)


class BatchUnfinished(AssistantGuardError):
    """The batch goes on at the server, or another process works on it. Asking again takes it up where it is."""

    def __init__(self, message: str, batch_id: str) -> None:
        super().__init__(message)
        self.batch_id = batch_id
