"""A batch from its jobs to their results: checked, begun or taken up, brought to its end, told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from assistantguard._checks import positive
from assistantguard.batches.desk import Desk
from assistantguard.batches.events import BatchSettled
from assistantguard.batches.jobs import Job, digest_of, planned
from assistantguard.batches.journey import Journey
from assistantguard.batches.parts import Parts
from assistantguard.batches.results import BatchProgress, BatchResult, JobResult, JobStatus
from assistantguard.batches.server import BatchServer
from assistantguard.batches.state import FINISHED, BatchState, name_of
from assistantguard.batches.windows import Windows
from assistantguard.errors import ConfigurationError
from assistantguard.models.names import check_name
from assistantguard.policies.checks import one_of
from assistantguard.storage.documents import open_documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from decimal import Decimal

    from assistantguard._core import GuardCore
    from assistantguard.backends.port import ClientPort
    from assistantguard.batches.state import JobRecord
    from assistantguard.engine.ports import Driver
    from assistantguard.ledger import Ledger
    from assistantguard.storage.documents import DocumentStore

__all__ = ["BatchOptions", "Through", "run_batch"]

Through = Literal["batch", "2h", "8h"]


@dataclass(slots=True, eq=False, repr=False)
class BatchOptions:
    """What ``batch`` of both guards takes beside the jobs. Its docstring says what each is."""

    through: Through
    state: str | os.PathLike[str] | None
    on_progress: Callable[[BatchProgress], object] | None
    timeout: float | None
    poll: float | None
    idempotency_key: str | None
    retry: bool
    cancel: bool

    def check(self, ledger: Ledger) -> None:
        """See to it that they can work.

        Raises:
            ConfigurationError: They cannot.
        """
        one_of("through", self.through, ("batch", "2h", "8h"))
        positive("timeout", self.timeout, optional=True)
        positive("poll", self.poll, optional=True)
        if self.idempotency_key is not None:
            check_name("idempotency_key", self.idempotency_key)
        if self.on_progress is not None and not callable(self.on_progress):
            raise ConfigurationError(f"on_progress is {self.on_progress!r}: give a plain function of the progress")
        if self.retry and self.cancel:
            raise ConfigurationError("both retry and cancel are given: give one of them")
        if self.state is not None and not isinstance(self.state, (str, os.PathLike)):
            raise ConfigurationError(f"state is {self.state!r}: give the path of a file, or None")
        if self.state is not None and getattr(ledger, "database", None) is not None:
            raise ConfigurationError(
                f"state is {os.fspath(self.state)!r}, and the guard has a database, where batches are kept: leave state"
                " out"
            )


async def run_batch(
    core: GuardCore,
    driver: Driver,
    port: ClientPort,
    jobs: Iterable[Job | str] | os.PathLike[str],
    options: BatchOptions,
) -> BatchResult:
    """Do the jobs. See `AssistantGuard.batch`."""
    session = core.session
    options.check(session.ledger)
    if core.describes_itself:
        raise ConfigurationError(
            "the guard has an assistant_id, and that protocol has no batches: use a guard with an Assistant(…)"
        )
    stopping = session.policies.who_asks("on_progress")
    if stopping:
        raise ConfigurationError(
            f"the policy {stopping[0]} looks at answers while they arrive (on_progress), and a batch tells them when"
            " they are done: bound them with max_output_tokens, and use a guard without that policy"
        )
    checked = await driver.blocking(
        lambda: planned(jobs, session.assistant, session.tools, session.policies), at_once=False
    )
    if not session.prices.loaded:
        await driver.blocking(session.prices.load, at_once=False)
    with _store(session.ledger, options.state) as store:
        state = await driver.blocking(lambda: _opened(store, checked, options, driver.now()), at_once=store.in_process)
        finished = False
        try:
            desk = Desk(session, driver, port, state, options.through, core.cached)
            desk.check(checked)
            journey = Journey(
                desk,
                BatchServer(port),
                state,
                checked,
                options.through,
                options.cancel,
                None if options.timeout is None else driver.now() + options.timeout,
                options.poll,
                options.on_progress,
            )
            result = await _done(journey, retry=options.retry)
            finished = True
            return result
        finally:
            await driver.protect(_leave(driver, state, finished=finished))


async def _find_cached(journey: Journey) -> None:
    """Find the texts of jobs that were answered out of the cache by an earlier call.

    Where the cache has one no more, the job waits to be asked, unless the whole batch was finished.
    """
    gone = []
    for job in journey.jobs:
        record = journey.record(job)
        if record.cached and job.position not in journey.texts:
            text = await journey.desk.cached_text(job, record)
            if text is not None:
                journey.texts[job.position] = text
            elif not journey.state.was_finished:
                record.stage, record.attempt, record.cached = "waiting", record.attempt + 1, False
                gone.append(record)
    if gone:
        await journey.desk.save(*gone)


async def _leave(driver: Driver, state: BatchState, *, finished: bool) -> None:
    await driver.blocking(lambda: state.leave(finished=finished), at_once=state.in_process)


async def _done(journey: Journey, *, retry: bool) -> BatchResult:
    desk, state = journey.desk, journey.state
    if retry:
        await _begin_anew(journey)
    await desk.hold_again(journey.jobs)
    way = Parts(journey) if journey.through == "batch" else Windows(journey)
    await _find_cached(journey)
    for job, record in journey.unfinished():
        if record.stage != "waiting":
            desk.lead(job, record)
    news = bool(journey.unfinished()) or any(part.stage != "settled" for part in state.parts.values())
    if news:
        await way.run()
    await way.read_texts()
    result = _result(journey)
    if news:
        _tell(journey, result)
    return result


def _opened(store: DocumentStore, jobs: Sequence[Any], options: BatchOptions, now: float) -> BatchState:
    digest = digest_of(jobs, options.through)
    name, named = name_of(options.idempotency_key, digest), options.idempotency_key is not None
    return BatchState.open(store, name, digest, jobs, now, named=named, again=options.retry)


@contextmanager
def _state_file(path: str | os.PathLike[str]) -> Iterator[DocumentStore]:
    from assistantguard.storage import DatabaseUrl, open_database
    from assistantguard.storage.sql_documents import SqlDocuments

    file = Path(path).absolute()
    database = open_database(DatabaseUrl("sqlite", f"sqlite:///{file}", path=file))
    try:
        yield SqlDocuments(database)
    finally:
        database.close()


def _store(ledger: Ledger, path: str | os.PathLike[str] | None) -> AbstractContextManager[DocumentStore]:
    """Where the batch is kept: beside the books, or in a file of its own."""
    return nullcontext(open_documents(ledger)) if path is None else _state_file(path)


async def _begin_anew(journey: Journey) -> None:
    """Have the jobs wait again that were not completed and may be."""
    again = []
    for record in journey.state.jobs:
        if record.stage in FINISHED and record.error is not None and record.error.retryable:
            record.stage, record.attempt = "waiting", record.attempt + 1
            record.part_id = record.hold_id = record.response_id = record.error = None
            record.model = record.reasoning_effort = None
            again.append(record)
    if again:
        await journey.desk.save(*again)


def _result(journey: Journey) -> BatchResult:
    results = []
    for job in journey.jobs:
        record = journey.record(job)
        status: JobStatus = record.stage  # type: ignore[assignment]  # every job is finished
        results.append(
            JobResult(
                job.id,
                status,
                journey.texts.get(job.position),
                record.usage,
                record.cost,
                record.error,
                record.response_id,
                _standard_cost(journey, record.model or job.model, record),
                record.cached,
                record.model or job.model,
            )
        )
    return BatchResult(journey.state.id, tuple(results), tuple(job.job for job in journey.jobs))


def _standard_cost(journey: Journey, model: str, record: JobRecord) -> Decimal | None:
    """What a job would have cost at standard rates; fees of built-in tools are the same."""
    prices, usage = journey.desk.prices, record.usage
    standard, lowered = prices.cost(usage, model), prices.cost(usage, model, journey.through)
    if record.cost is None or standard is None or lowered is None:
        return None
    return record.cost + standard - lowered


def _tell(journey: Journey, result: BatchResult) -> None:
    session, counts = journey.desk.session, result.counts
    completed, refused = counts.get("completed", 0), counts.get("refused", 0)
    session.emit(
        BatchSettled(
            journey.desk.driver.now(),
            session.id,
            result.id,
            journey.through,
            len(result.results),
            completed,
            len(result.results) - completed - refused,
            refused,
            result.usage,
            result.cost,
        )
    )
