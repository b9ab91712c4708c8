"""Many single-turn jobs at a lower price: through the Batch API, or through completion windows of the background.

Jobs are admitted one by one and held against the same caps and budgets as turns are, and each is booked with what it
used. What is under way stands in the documents beside the books before it is done, so that a batch goes on where a
process was killed.
"""

from __future__ import annotations

from assistantguard.batches.jobs import Job
from assistantguard.batches.problems import BatchUnfinished, JobProblem, MalformedJobs
from assistantguard.batches.results import BatchProgress, BatchResult, JobError, JobResult

__all__ = [
    "BatchProgress",
    "BatchResult",
    "BatchUnfinished",
    "Job",
    "JobError",
    "JobProblem",
    "JobResult",
    "MalformedJobs",
]
