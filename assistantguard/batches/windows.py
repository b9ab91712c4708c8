"""Through completion windows: each job a response in the background, cheaper for being allowed to take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.batches.desk import DAY
from assistantguard.batches.events import BatchSubmitted
from assistantguard.batches.outcomes import Outcome, is_locked_out
from assistantguard.batches.state import FINISHED
from assistantguard.engine.exchange import OPEN_STATUSES
from assistantguard.engine.failing import error_of
from assistantguard.errors import RunFailed
from assistantguard.models import RunState

if TYPE_CHECKING:
    from assistantguard.batches.jobs import Planned
    from assistantguard.batches.journey import Journey
    from assistantguard.batches.state import JobRecord
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.models import Failure

__all__ = ["Windows"]

_SEND_TIMEOUT = 60.0
_TELL_EVERY = 20
_LOST = (
    "the connection was lost, or the process ended, while it was sent: it may have been done and billed, an estimate is"
    " booked"
)


class Windows:
    """The responses of one batch."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._desk = journey.desk
        self._server = journey.server
        self._elsewhere: dict[int, int] = {}
        """How many attempts of a job went to other models than its present one, by its position."""

    async def run(self) -> None:
        """Bring every job to its end."""
        journey = self._journey
        self._desk.wait_with(journey.meanwhile)
        while journey.unfinished():  # what waits for the reply of another job comes after it
            await self._send_all()
            while under_way := [pair for pair in journey.unfinished() if pair[1].stage == "sent"]:
                for job, record in under_way:
                    await self._look(job, record)
                if all(record.stage in FINISHED for _, record in under_way):
                    break
                journey.progress("waiting", {})
                await journey.pause()

    async def _send_all(self) -> None:
        journey, desk = self._journey, self._desk
        sent: dict[str, int] = {}
        for number, (job, record) in enumerate(journey.unfinished()):
            if desk.waits(job):
                continue
            if number % _TELL_EVERY == 0:
                journey.progress("submitting", {})
            await desk.keep()
            if record.stage == "sending":
                await desk.settle(job, record, Outcome.unknown(_LOST))
            elif record.stage == "sent":
                if journey.cancels:
                    await self._cancel(job, record)
            elif journey.cancels:
                await desk.settle(job, record, _cancelled())
            elif record.stage == "admitted" or await self._admit(job, record):
                await self._send(job, record)
                model = desk.model(job, record)
                sent[model] = sent.get(model, 0) + (journey.record(job).response_id is not None)
        for model, jobs in sent.items():
            session = desk.session
            session.emit(BatchSubmitted(desk.driver.now(), session.id, journey.state.id, journey.through, model, jobs))

    async def _admit(self, job: Planned, record: JobRecord) -> bool:
        return await self._desk.route(job, record) and await self._desk.admit(job, record)

    async def read_texts(self) -> None:
        """Read again what completed jobs said that were settled before."""
        journey = self._journey
        for job in journey.jobs:
            record = journey.record(job)
            response_id = record.response_id
            if record.stage != "completed" or record.cached or job.position in journey.texts or response_id is None:
                continue
            try:
                answer = await self._ask(response_id)
            except RunFailed:  # the server does not have it any more
                continue
            journey.texts[job.position] = answer.text

    async def _send(self, job: Planned, record: JobRecord) -> None:
        """Begin a job's response, and keep its id at once."""
        desk = self._desk
        attempt = 0
        while True:
            attempt += 1
            record.stage = "sending"
            await desk.save(record)
            wait = await desk.driver.protect(self._begin(job, record, attempt))
            if wait is None:
                return
            await desk.driver.sleep(wait)
            if not await desk.admit(job, record):
                return

    async def _begin(self, job: Planned, record: JobRecord, attempt: int) -> float | None:
        """Begin a job's response; return the seconds until the next attempt, None where there is none."""
        desk, server = self._desk, self._server
        body: dict[str, Any] = {**desk.body(job, record), "background": True, "store": True}
        body["background_options"] = {"completion_window": self._journey.through}
        try:
            answer = await server.begin(body, record.hold_id or "", _SEND_TIMEOUT)
        except Exception as error:
            failure = desk.backend.classify(error)
            if failure is None:
                raise
            refused = error_of(failure, attempt)
            if is_locked_out(refused):
                await desk.settle(job, record, Outcome.withdrawn(failure))
                raise refused from error
            wait = await self._retry(job, record, failure, attempt)
            if wait is not None:
                await desk.settle(job, record, Outcome.withdrawn(failure))
                return 0.0 if await self._goes_elsewhere(job, record, failure, attempt) else wait
            outcome = Outcome.unknown(_LOST) if failure.kind == "ambiguous" else Outcome.of_failure(failure)
            await desk.settle(job, record, outcome)
            return None
        record.response_id = answer.id
        record.stage = "sent"
        await desk.save(record)
        await desk.begun(record, answer.rates)
        await self._take(job, record, answer)
        return None

    async def _retry(self, job: Planned, record: JobRecord, failure: Failure, attempt: int) -> float | None:
        """Seconds until a job is sent again whose attempt failed; None where it is not."""
        desk = self._desk
        if failure.kind != "transient":
            return None
        run = RunState("", desk.state.id, desk.model(job, record), attempt=attempt, started_at=desk.driver.now())
        return desk.asking.retry(desk.thread, run, failure)

    async def _goes_elsewhere(self, job: Planned, record: JobRecord, failure: Failure, attempt: int) -> bool:
        before = self._elsewhere.get(job.position, 0)
        if not await self._desk.go_elsewhere(job, record, failure, attempt, before):
            return False
        self._elsewhere[job.position] = attempt
        return True

    async def _look(self, job: Planned, record: JobRecord) -> None:
        response_id = record.response_id
        assert response_id is not None
        try:
            answer = await self._journey.look(lambda timeout: self._server.response(response_id, timeout))
        except RunFailed as error:
            if error.failure is None or error.failure.status_code != 404:
                raise
            await self._desk.settle(job, record, Outcome.unknown("the server no longer has the response"))
            return
        if answer is not None:
            await self._take(job, record, answer)
        if record.stage not in FINISHED and self._desk.driver.now() > record.held_at + DAY:
            await self._cancel(job, record)

    async def _take(self, job: Planned, record: JobRecord, answer: ModelAnswer) -> None:
        """Settle a job whose response has ended."""
        if answer.status in OPEN_STATUSES:
            return
        self._journey.texts[job.position] = answer.text
        await self._desk.settle(job, record, Outcome.of_answer(answer))

    async def _cancel(self, job: Planned, record: JobRecord) -> None:
        """Cancel a job's response.

        One that has ended meanwhile counts as it ended; one that had not begun was not billed.
        """
        response_id = record.response_id
        assert response_id is not None
        before = await self._ask(response_id)
        try:
            answer = await self._journey.call(lambda timeout: self._server.cancel_response(response_id, timeout))
        except RunFailed as error:
            if error.failure is None or error.failure.status_code not in {400, 404, 409}:
                raise
            answer = await self._ask(response_id)
        if before.status == "queued" and answer.status == "cancelled" and answer.usage is None and not answer.output:
            await self._desk.settle(job, record, _cancelled())
        else:
            await self._take(job, record, answer)

    async def _ask(self, response_id: str) -> ModelAnswer:
        return await self._journey.call(lambda timeout: self._server.response(response_id, timeout))


def _cancelled() -> Outcome:
    return Outcome.ended("cancelled", "cancelled", "it was cancelled before it was begun")
