"""Admitting jobs and settling them, as calls that an application makes itself are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.batches.admitting import CALL_TIMEOUT, JobAdmission, JobAsking, JobPacer, JobStates, JobSteady
from assistantguard.batches.jobs import ENDPOINT, request_body
from assistantguard.batches.outcomes import one_line
from assistantguard.batches.results import JobError
from assistantguard.batches.state import FINISHED, PROCESS
from assistantguard.dropin.admission import CallBackend
from assistantguard.dropin.bodies import CallRequest, bounded, last_text, request_of
from assistantguard.engine.admission import Expectation
from assistantguard.engine.books import Books, Sent
from assistantguard.engine.modes import Mode
from assistantguard.engine.routing import Routing
from assistantguard.engine.session import Session
from assistantguard.errors import ConfigurationError, Refused
from assistantguard.ledger import Entry
from assistantguard.model_limits import largest_output
from assistantguard.models import Assistant, RunState, ThreadState, Usage
from assistantguard.prices.discounts import BatchPrices
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort
    from assistantguard.batches.jobs import Planned
    from assistantguard.batches.outcomes import Outcome
    from assistantguard.batches.replies import JobReplies
    from assistantguard.batches.state import BatchState, JobRecord
    from assistantguard.engine.cached import Cached
    from assistantguard.engine.ports import Driver
    from assistantguard.models import Failure
    from assistantguard.models.rates import RatesTold
    from assistantguard.policies.ruling import PlacedCap

__all__ = ["DAY", "Desk"]

DAY = 86_400.0
_GRACE = 3_600.0
"""Seconds past a day until a hold expires: a batch that is late by less is not booked as an estimate."""
_MODES = {
    "batch": Mode(True, "a job of a batch"),
    "2h": Mode(True, "a job in the completion window of 2 hours"),
    "8h": Mode(True, "a job in the completion window of 8 hours"),
}
_KEPT_FOR = 60.0
"""Seconds after which it is made sure again that the batch is still ours, while a job waits for its turn."""


class Desk:
    """Where jobs of one batch are admitted and settled.

    Args:
        guard: The guard's session: policies, prices, ledger and telemetry.
        driver: Blocking, or asyncio.
        port: The client.
        state: The batch.
        through: ``batch``, or a completion window: it decides the price.
        cached: The guard's cache of replies, where it has one.
    """

    def __init__(
        self,
        guard: Session,
        driver: Driver,
        port: ClientPort,
        state: BatchState,
        through: str,
        cached: Cached | None = None,
    ) -> None:
        self.driver = driver
        self.state = state
        self.backend = CallBackend(port)
        self._through = through
        self._states = JobStates(state)
        self.prices = BatchPrices(guard.prices)
        self.session = Session(
            guard.id,
            replace(guard.assistant, service_tier=through),
            guard.tools,
            guard.tools_text,
            guard.policies,
            self.prices,
            guard.ledger,
            guard.emit,
            DAY,
            guard.cleanup_timeout,
            states=self._states,
        )
        self.asking = JobAsking(self.session, driver)
        # The Batch API has limits of its own, for which see `Queue`.
        self._pacer = None if through == "batch" else JobPacer(self.session, driver)
        self._admission = JobAdmission(self.session, driver, self.backend, self.asking, self._pacer)
        self._books = Books(self.session, driver, self.backend, self._pacer)
        self._routing = Routing(self.session, driver, self.asking) if guard.policies.asks("route") else None
        self._guard = guard
        self._confirmed_at = 0.0
        self.texts: dict[int, str] = {}
        """What jobs were answered with, by their positions."""
        self.replies: JobReplies | None = None
        if cached is not None:
            from assistantguard.batches.replies import JobReplies

            self.replies = JobReplies(cached, guard, self.asking, self._admission)
        self.thread = ThreadState(state.id)
        """Stands for the batch as a whole."""
        self.steady = JobSteady(self.session, driver, self.backend, self.asking)

    def check(self, jobs: Sequence[Planned]) -> None:
        """See to it that the policies can work with the jobs' models at these prices.

        Raises:
            ConfigurationError: They cannot.
        """
        models = [job.model for job in jobs]
        if not all(job.is_own for job in jobs):
            models += [route.model for route in self.session.policies.routes if route.model is not None]
        for model in dict.fromkeys(models):
            for policy in self.session.policies.policies:
                policy.check(Assistant(model, service_tier=self._through), self.prices)

    def model(self, job: Planned, record: JobRecord) -> str:
        """Which model a job is asked of."""
        return record.model or job.model

    def request(self, job: Planned, record: JobRecord) -> dict[str, Any]:
        """The request of a job, not bounded yet."""
        if record.model is None and record.reasoning_effort is None:
            return job.body
        guard = self._guard
        return request_body(job.job, guard.assistant, guard.tools, record.model, record.reasoning_effort)

    def input_tokens(self, job: Planned, record: JobRecord) -> int:
        """How many tokens a job is expected to read."""
        return request_of("responses", ENDPOINT, self.request(job, record), {}).expected.tokens

    async def route(self, job: Planned, record: JobRecord) -> bool:
        """Choose which model a job is asked of, unless the application has; return False where a rule cannot work."""
        if self._routing is None or job.is_own:
            return True
        record.model = record.reasoning_effort = None
        thread, run = self._turn(job, record)
        try:
            event = await self._routing.choose(thread, run, last_text(job.body))
            record.model = None if run.model == job.model else run.model
            record.reasoning_effort = run.reasoning_effort
            if record.model is not None or record.reasoning_effort is not None:
                self.request(job, record)
        except ConfigurationError as error:
            record.model = record.reasoning_effort = None
            await self.refuse(record, error)
            return False
        if event is not None:
            event.service_tier = None  # `through` decides that
            self.session.emit(event)
        return True

    async def go_elsewhere(
        self, job: Planned, record: JobRecord, failure: Failure, attempt: int, attempts_elsewhere: int
    ) -> bool:
        """Let a job go to another model where its own has failed.

        Args:
            job: The job.
            record: How far it is.
            failure: Of its last attempt.
            attempt: Which one that was.
            attempts_elsewhere: How many of them went to other models than its present one.

        Returns:
            Whether it goes there.
        """
        if self._routing is None or job.is_own:
            return False
        thread, run = self._turn(job, record)
        run.attempt, run.attempts_elsewhere = attempt, attempts_elsewhere
        elsewhere = await self._routing.elsewhere(thread, run, failure)
        if elsewhere is None:
            return False
        record.model = None if elsewhere.model == job.model else elsewhere.model
        record.reasoning_effort = elsewhere.route.reasoning_effort
        elsewhere.event.service_tier = None
        self.session.emit(elsewhere.event)
        return True

    async def refuse(self, record: JobRecord, error: Refused | ConfigurationError) -> None:
        """A job is not sent."""
        record.stage, record.part_id = "refused", None
        record.error = JobError(type(error).__name__, one_line(str(error)), retryable=isinstance(error, Refused))
        await self.save(record)

    async def admit(self, job: Planned, record: JobRecord) -> bool:
        """Hold what a job may use at most; return whether it is to be sent.

        Else a policy or a cap does not allow it, it was answered out of the cache, or another job of the batch asks
        the same: then it is ``waiting``.
        """
        thread, run = self._turn(job, record)
        request = request_of("responses", ENDPOINT, self.request(job, record), {})
        thread.adopted = request.sealed
        text = last_text(job.body)
        self._states.at[run.id] = record, request
        assert run.deadline is not None
        record.expires_at = run.deadline
        try:
            if self.session.policies.asks("before_turn"):
                self.asking.rule("before_turn", self.asking.view(thread, run, text, run.model))
            if self.replies is not None and not await self._asks(self.replies, job, record, thread, run):
                return False
            record.stage = "admitted"
            await self._admission.admit(thread, run, request, text)
        except (Refused, ConfigurationError) as error:
            record.cached = False
            await self.refuse(record, error)
            return False
        except BaseException:
            record.stage = "waiting"
            if run.hold_id is not None:
                await self.driver.protect(self._books.release(thread, run))
            raise
        finally:
            self._states.at.pop(run.id, None)
        if self.replies is not None:
            self.replies.leads(job, thread, run)
        return True

    async def _asks(
        self, replies: JobReplies, job: Planned, record: JobRecord, thread: ThreadState, run: RunState
    ) -> bool:
        """Whether a job is to be sent; else it was answered, or another one asks the same."""
        stage, part_id = record.stage, record.part_id
        # As it is saved together with the entry on the books.
        record.stage, record.cached, record.part_id = "completed", True, None
        try:
            what, text = await replies.answer(job, thread, run)
        except BaseException:
            record.stage, record.cached, record.part_id = stage, False, part_id
            raise
        if what == "answered":
            self.texts[job.position] = text
            return False
        record.stage, record.cached = stage, False
        if what == "waits":
            return False
        record.part_id = part_id
        return True

    def waits(self, job: Planned) -> bool:
        """Whether a job waits for another one that asks the same and is under way."""
        return self.replies is not None and self.replies.waits(job.position)

    def lead(self, job: Planned, record: JobRecord) -> None:
        """Note that a job was sent by an earlier call."""
        if self.replies is not None:
            self.replies.leads(job, *self._turn(job, record))

    async def cached_text(self, job: Planned, record: JobRecord) -> str | None:
        """What a job was answered with out of the cache; None where it is not there any more."""
        return None if self.replies is None else await self.replies.text(job, *self._turn(job, record))

    def body(self, job: Planned, record: JobRecord) -> dict[str, Any]:
        """The request of a job that was admitted, bounded as it was."""
        request = self._request(job, record)
        request.max_tool_calls = record.max_tool_calls
        given = request.body.get("max_output_tokens")
        if given is not None or record.output_at_most < largest_output(request.model):
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
        request = self._request(job, record)
        sent = Sent(thread, run, request, expectation, "run", _MODES[self._through], hold_id)
        self._states.at[run.id] = record, request
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
        if self.replies is not None:
            await self.replies.conclude(job, record, thread, run, answer)

    async def begun(self, record: JobRecord, rates: RatesTold | None) -> None:
        """The server has taken a job up, and told of its rate limits."""
        if self._pacer is not None and record.hold_id is not None:
            await self._pacer.begun(record.hold_id, rates)

    @property
    def wants_rates(self) -> bool:
        """Whether anybody wants to know what the server tells of its rate limits."""
        return self._pacer is not None

    def wait_with(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Call a function now and then while a job waits for its turn."""
        if self._pacer is not None:
            self._pacer.meanwhile = meanwhile

    async def hold_again(self, jobs: Sequence[Planned]) -> None:
        """Hold what was sent by a process whose books were in its memory."""
        if not self.session.ledger.in_process:
            return
        for job in jobs:
            record = self.state.jobs[job.position]
            if record.stage in FINISHED or record.hold_id is None or record.process == PROCESS:
                continue
            thread, run = self._turn(job, record)
            view = self.asking.view(thread, run, "", run.model)
            caps = self._caps(thread, run, record)
            await self._admission.hold_again(view, caps, self._expectation(record, caps), record, run.model)
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
        await self.driver.blocking(lambda: state.confirm(now, CALL_TIMEOUT), at_once=state.in_process)
        self._confirmed_at = now

    async def keep(self) -> None:
        """Make sure of that where it was not done for a while.

        Raises:
            LeaseLost: Another process has taken it over.
        """
        if self.driver.now() - self._confirmed_at > _KEPT_FOR:
            await self.confirm()

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
        model = self.model(job, record)
        run = RunState(run_id, thread.id, model, "in_progress", started_at=now, deadline=now + DAY + _GRACE)
        run.usage, run.cost, run.reasoning_effort = record.usage, record.cost, record.reasoning_effort
        return thread, run

    def _request(self, job: Planned, record: JobRecord) -> CallRequest:
        return CallRequest(self.model(job, record), None, "", [], "", body=self.request(job, record))

    def _caps(self, thread: ThreadState, run: RunState, record: JobRecord) -> Sequence[PlacedCap]:
        """The caps that a job was admitted under."""
        view = replace(self.asking.view(thread, run, "", run.model), now=record.held_at)
        return self.session.policies.rule("before_request", view).caps

    def _expectation(self, record: JobRecord, caps: Sequence[PlacedCap]) -> Expectation:
        estimate = Estimate(record.input_tokens, record.input_at_most, exact=False)
        return Expectation(estimate, record.output_at_most, record.held_at, caps)
