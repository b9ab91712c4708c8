"""Admitting jobs and settling them, as calls that an application makes itself are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.batches.jobs import ENDPOINT
from assistantguard.batches.results import JobError
from assistantguard.batches.state import FINISHED, PROCESS
from assistantguard.dropin.admission import CallAdmission, CallBackend
from assistantguard.dropin.bodies import CallRequest, bounded, last_text, request_of
from assistantguard.engine.admission import Expectation
from assistantguard.engine.asking import Asking
from assistantguard.engine.books import Books, Sent
from assistantguard.engine.modes import Mode
from assistantguard.engine.ports import ModelRequest, NoStates
from assistantguard.engine.session import Session
from assistantguard.engine.steady import Steady
from assistantguard.errors import ConfigurationError, Refused, RunFailed
from assistantguard.ledger import Entry
from assistantguard.model_limits import largest_output
from assistantguard.models import Assistant, Failure, RunState, ThreadState, Usage
from assistantguard.prices.discounts import BatchPrices
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort
    from assistantguard.batches.jobs import Planned
    from assistantguard.batches.state import BatchState, JobRecord, JobStage
    from assistantguard.engine.ports import Driver, ModelAnswer
    from assistantguard.policies import View
    from assistantguard.policies.ruling import Checkpoint, PlacedCap, Ruling

__all__ = ["DAY", "Desk", "Outcome", "is_locked_out"]

DAY = 86_400.0
_GRACE = 3_600.0
"""Seconds past a day until a hold expires: a batch that is late by less is not booked as an estimate."""
_CALL_TIMEOUT = 600.0
"""Seconds that one call may take; files may have 200 MB."""
_MODES = {
    "batch": Mode(True, "a job of a batch"),
    "2h": Mode(True, "a job in the completion window of 2 hours"),
    "8h": Mode(True, "a job in the completion window of 8 hours"),
}
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
        text = _one_line(failure.message) if failure else f"the response ended {answer.status}"
        return cls("failed", answer, failure, JobError(code, text, retryable=failure is None or _is_passing(failure)))

    @classmethod
    def of_failure(cls, failure: Failure, stage: JobStage = "failed") -> Outcome:
        """What a failed request comes to."""
        code = failure.code or (f"http_{failure.status_code}" if failure.status_code else failure.kind)
        retryable = stage != "failed" or _is_passing(failure)
        return cls(stage, None, failure, JobError(code, _one_line(failure.message), retryable=retryable))

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


class _States(NoStates):
    """Keeps how far a job is, in the transaction that holds or books what it uses."""

    in_process = False

    def __init__(self, state: BatchState) -> None:
        self._state = state
        self.at: dict[str, tuple[JobRecord, CallRequest]] = {}
        """Jobs that are being admitted or settled, by their runs."""

    def together(self) -> AbstractContextManager[Any]:
        """See `States.together`."""
        return self._state.together()

    def save(self, thread: ThreadState, run: RunState | None, *, last: bool = False) -> None:  # noqa: ARG002
        """See `States.save`."""
        assert run is not None
        record, request = self.at[run.id]
        record.usage, record.cost = run.usage, run.cost
        sent = run.in_flight
        if run.hold_id is not None and sent is not None:
            record.hold_id, record.process, record.held_at = run.hold_id, PROCESS, sent.sent_at
            record.input_tokens, record.input_at_most = sent.input_tokens, sent.input_at_most
            record.output_at_most, record.max_tool_calls = sent.output_at_most, request.max_tool_calls
        self._state.save(record)


class _Asking(Asking):
    """Asks as for any request, but does not wait: what a job does not fit now is held by its own batch."""

    def rule(self, checkpoint: Checkpoint, view: View) -> Ruling:
        """See `Asking.rule`."""
        return replace(super().rule(checkpoint, view), busy_wait=0.0)


class _Admission(CallAdmission):
    """Can also hold again what books in memory lost with their process."""

    async def hold_again(
        self, view: View, caps: Sequence[PlacedCap], expectation: Expectation, record: JobRecord, model: str
    ) -> None:
        """Hold what a job may use that was sent already, whatever is left."""
        request = ModelRequest(model, None, "", [])
        claims = self._claims(view, caps, expectation.input, expectation.output_at_most, request, "run")
        for claim in claims:
            claim.limit = None
        assert record.hold_id is not None
        self._session.ledger.reserve(record.hold_id, claims, record.expires_at)


class _Steady(Steady):
    """Gives each call more time: files are large."""

    def limit(self, run: RunState | None) -> float:  # noqa: ARG002  of the base's shape
        """See `Steady.limit`."""
        return _CALL_TIMEOUT


class Desk:
    """Where jobs of one batch are admitted and settled.

    Args:
        guard: The guard's session: policies, prices, ledger and telemetry.
        driver: Blocking, or asyncio.
        port: The client.
        state: The batch.
        through: ``batch``, or a completion window: it decides the price.
    """

    def __init__(self, guard: Session, driver: Driver, port: ClientPort, state: BatchState, through: str) -> None:
        self.driver = driver
        self.state = state
        self.backend = CallBackend(port)
        self._through = through
        self._states = _States(state)
        self.prices = BatchPrices(guard.prices)
        self.session = Session(
            guard.id,
            Assistant("batch", service_tier=through),
            (),
            "",
            guard.policies,
            self.prices,
            guard.ledger,
            guard.emit,
            DAY,
            guard.cleanup_timeout,
            states=self._states,
        )
        self.asking = _Asking(self.session, driver)
        self._admission = _Admission(self.session, driver, self.backend, self.asking)
        self._books = Books(self.session, driver, self.backend)
        self.thread = ThreadState(state.id)
        """Stands for the batch as a whole."""
        self.steady = _Steady(self.session, driver, self.backend, self.asking)

    def check(self, jobs: Sequence[Planned]) -> None:
        """See to it that the policies can work with the jobs' models at these prices.

        Raises:
            ConfigurationError: They cannot.
        """
        for model in dict.fromkeys(job.model for job in jobs):
            for policy in self.session.policies.policies:
                policy.check(Assistant(model, service_tier=self._through), self.prices)

    async def admit(self, job: Planned, record: JobRecord) -> bool:
        """Hold what a job may use at most; return False where a policy or a cap does not allow it."""
        thread, run = self._turn(job, record)
        request = request_of("responses", ENDPOINT, job.body, {})
        thread.adopted = request.sealed
        text = last_text(job.body)
        self._states.at[run.id] = record, request
        assert run.deadline is not None
        record.stage, record.expires_at = "admitted", run.deadline
        try:
            if self.session.policies.asks("before_turn"):
                self.asking.rule("before_turn", self.asking.view(thread, run, text, job.model))
            await self._admission.admit(thread, run, request, text)
        except (Refused, ConfigurationError) as error:
            record.stage, record.part_id = "refused", None
            record.error = JobError(type(error).__name__, _one_line(str(error)), retryable=isinstance(error, Refused))
            await self.save(record)
            return False
        except BaseException:
            record.stage = "waiting"
            if run.hold_id is not None:
                await self.driver.protect(self._books.release(thread, run))
            raise
        finally:
            self._states.at.pop(run.id, None)
        return True

    def body(self, job: Planned, record: JobRecord) -> dict[str, Any]:
        """The request of a job that was admitted, bounded as it was."""
        request = _request(job)
        request.max_tool_calls = record.max_tool_calls
        if job.body.get("max_output_tokens") is not None or record.output_at_most < largest_output(job.model):
            request.max_output_tokens = record.output_at_most
        allowed = bounded(request)
        assert allowed is not None
        return allowed

    async def settle(self, job: Planned, record: JobRecord, outcome: Outcome) -> None:
        """Book what a job used and give back the rest, once; keep what came of it with the same stroke."""
        if record.stage in FINISHED:
            return
        answer = outcome.answer
        if answer is not None:
            answer = replace(answer, service_tier=self._through)
            record.response_id = answer.id or record.response_id
        hold_id, record.error = record.hold_id, outcome.error
        if hold_id is None:
            record.stage = outcome.stage
            await self.save(record)
            return
        thread, run = self._turn(job, record)
        run.hold_id, run.open_response_id = hold_id, record.response_id
        expectation = self._expectation(record, self._caps(thread, run, record))
        sent = Sent(thread, run, _request(job), expectation, "run", _MODES[self._through], hold_id)
        self._states.at[run.id] = record, _request(job)
        before, record.stage = record.stage, outcome.stage
        if outcome.stage == "waiting":
            record.part_id, record.attempt = None, record.attempt + 1
        try:
            await self._books.settle(sent, answer, outcome.failure)
            await self._books.save(thread, run, last=True)
            self._books.close(run)
            if answer is None and outcome.failure is not None and outcome.failure.kind != "ambiguous":
                await self._take_back(thread, run, record, hold_id)
        except BaseException:
            record.stage = before
            raise
        finally:
            self._states.at.pop(run.id, None)

    async def hold_again(self, jobs: Sequence[Planned]) -> None:
        """Hold what was sent by a process whose books were in its memory."""
        if not self.session.ledger.in_process:
            return
        for job in jobs:
            record = self.state.jobs[job.position]
            if record.stage in FINISHED or record.hold_id is None or record.process == PROCESS:
                continue
            thread, run = self._turn(job, record)
            view = self.asking.view(thread, run, "", job.model)
            caps = self._caps(thread, run, record)
            await self._admission.hold_again(view, caps, self._expectation(record, caps), record, job.model)
            record.process = PROCESS
            await self.save(record)

    async def save(self, *records: JobRecord) -> None:
        """Keep how far jobs are."""
        state = self.state
        await self.driver.blocking(lambda: state.save(*records), at_once=state.in_process)

    async def confirm(self) -> None:
        """Make sure that the batch is still ours, for as long as a call may take.

        Raises:
            LeaseLost: Another process has taken it over.
        """
        state, now = self.state, self.driver.now()
        await self.driver.blocking(lambda: state.confirm(now, _CALL_TIMEOUT), at_once=state.in_process)

    async def _take_back(self, thread: ThreadState, run: RunState, record: JobRecord, hold_id: str) -> None:
        """A hold that expired stands on the books as an estimate; nothing was billed."""
        now, ledger = self.driver.now(), self.session.ledger
        if now < record.expires_at:
            return
        nothing = Entry(
            now, thread.id, run.id, run.attempt, run.model, Usage(), Decimal(0), user=thread.user, tenant=thread.tenant
        )
        await self.driver.blocking(lambda: ledger.correct(hold_id, nothing), at_once=ledger.in_process)

    def _turn(self, job: Planned, record: JobRecord) -> tuple[ThreadState, RunState]:
        now = self.driver.now()
        thread = ThreadState(self.state.id, user=job.user, tenant=job.tenant, created_at=now)
        run_id = f"{self.state.id}_{job.position + 1}_{record.attempt}"
        run = RunState(run_id, thread.id, job.model, "in_progress", started_at=now, deadline=now + DAY + _GRACE)
        run.usage, run.cost = record.usage, record.cost
        return thread, run

    def _caps(self, thread: ThreadState, run: RunState, record: JobRecord) -> Sequence[PlacedCap]:
        """The caps that a job was admitted under."""
        view = replace(self.asking.view(thread, run, "", run.model), now=record.held_at)
        return self.session.policies.rule("before_request", view).caps

    def _expectation(self, record: JobRecord, caps: Sequence[PlacedCap]) -> Expectation:
        estimate = Estimate(record.input_tokens, record.input_at_most, exact=False)
        return Expectation(estimate, record.output_at_most, record.held_at, caps)


def is_locked_out(error: RunFailed) -> bool:
    """Whether the server lets nobody in with this key."""
    return error.failure is not None and error.failure.status_code in _NO_ENTRY


def _request(job: Planned) -> CallRequest:
    return CallRequest(job.model, None, "", [], "", body=job.body)


def _is_passing(failure: Failure) -> bool:
    return failure.kind in {"transient", "ambiguous", "exhausted"}


def _one_line(text: str) -> str:
    line = " ".join(text.split()) or "no message"
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
