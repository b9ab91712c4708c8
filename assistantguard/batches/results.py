"""What came of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from assistantguard.batches.jobs import Job
from assistantguard.models.usage import Usage
from assistantguard.models.values import Value

__all__ = ["BatchProgress", "BatchResult", "JobError", "JobResult", "JobStatus"]

JobStatus = Literal["completed", "failed", "expired", "refused", "cancelled"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JobError(Value):
    """Why a job was not completed."""

    code: str
    """The API's error code or ours, such as ``batch_expired``, ``BudgetExceeded`` or ``outcome_unknown``."""
    message: str
    retryable: bool
    """Whether the same job may succeed when it is asked for again."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JobResult(Value):
    """What came of one job."""

    id: str
    status: JobStatus
    text: str | None = None
    """What the model said; None where it said nothing, or neither the server nor the cache of replies has it still."""
    usage: Usage = field(default_factory=Usage)
    """What was billed, over all times that the job was tried."""
    cost: Decimal | None = Decimal(0)
    """US dollars; None where the price is unknown."""
    error: JobError | None = None
    """None where it was completed."""
    response_id: str | None = None
    standard_cost: Decimal | None = Decimal(0)
    """US dollars that the same usage costs at standard rates; None where that is unknown."""
    cached: bool = False
    """Whether it was answered out of the cache of replies."""
    model: str = ""
    """Which one it was asked of."""

    @property
    def completed(self) -> bool:
        """Whether the whole answer is there."""
        return self.status == "completed"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchResult(Value):
    """What came of all jobs, in the order in which they were given."""

    id: str
    results: Sequence[JobResult]
    jobs: Sequence[Job] = field(repr=False)

    @property
    def failed(self) -> Sequence[JobResult]:
        """Those that were not completed, whatever the reason."""
        return [result for result in self.results if not result.completed]

    @property
    def retryable(self) -> Sequence[Job]:
        """The jobs that were not completed and may be, when they are asked for again: ``bot.batch(…)`` takes them."""
        return [
            job
            for job, result in zip(self.jobs, self.results, strict=True)
            if result.error is not None and result.error.retryable
        ]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many jobs there are of each status."""
        return Counter(result.status for result in self.results)

    @property
    def usage(self) -> Usage:
        """What was billed for all jobs."""
        total = Usage()
        for result in self.results:
            total += result.usage
        return total

    @property
    def cost(self) -> Decimal | None:
        """US dollars; None where the price of a job is unknown."""
        return _sum(result.cost for result in self.results)

    @property
    def saved(self) -> Decimal | None:
        """US dollars that the jobs cost less than at standard rates; None where that is unknown."""
        standard, cost = _sum(result.standard_cost for result in self.results), self.cost
        return None if standard is None or cost is None else standard - cost


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchProgress(Value):
    """How far a batch is."""

    total: int
    done: int
    """Jobs that are finished, at the server at least."""
    failed: int
    """Those among them that were not completed, as far as is known."""
    stage: Literal["admitting", "submitting", "waiting", "settling"]


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total
