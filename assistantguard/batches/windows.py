"""Through completion windows: each job a response in the background, cheaper for being allowed to take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.batches.desk import DAY, Outcome, is_locked_out
from assistantguard.batches.events import BatchSubmitted
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

    async def run(self) -> None:
        """Bring every job to its end."""
        journey, desk = self._journey, self._desk
        sent: dict[str, int] = {}
        for number, (job, record) in enumerate(journey.unfinished()):
            if number % _TELL_EVERY == 0:
                await desk.confirm()
                journey.progress("submitting", {})
            if record.stage == "sending":
                await desk.settle(job, record, Outcome.unknown(_LOST))
            elif record.stage == "sent":
                if journey.cancels:
                    await self._cancel(job, record)
            elif journey.cancels:
                await desk.settle(job, record, _cancelled())
            elif record.stage == "admitted" or await desk.admit(job, record):
                await self._send(job, record)
                sent[job.model] = sent.get(job.model, 0) + (journey.record(job).stage == "sent")
        for model, jobs in sent.items():
            session = desk.session
            session.emit(BatchSubmitted(desk.driver.now(), session.id, journey.state.id, journey.through, model, jobs))
        while True:
            for job, record in journey.unfinished():
                await self._look(job, record)
            if not journey.unfinished():
                return
            journey.progress("waiting", {})
            await journey.pause()

    async def read_texts(self) -> None:
        """Read again what completed jobs said that were settled before."""
        journey = self._journey
        for job in journey.jobs:
            record = journey.record(job)
            response_id = record.response_id
            if record.stage != "completed" or job.position in journey.texts or response_id is None:
                continue
            try:
                answer = await self._ask(response_id)
            except RunFailed:  # the server does not have it any more
                continue
            journey.texts[job.position] = answer.text

    async def _send(self, job: Planned, record: JobRecord) -> None:
        """Begin a job's response, and keep its id at once."""
        desk = self._desk
        record.stage = "sending"
        await desk.save(record)
        await desk.driver.protect(self._begin(job, record))

    async def _begin(self, job: Planned, record: JobRecord) -> None:
        desk, server = self._desk, self._server
        body: dict[str, Any] = {**desk.body(job, record), "background": True, "store": True}
        body["background_options"] = {"completion_window": self._journey.through}
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await server.begin(body, record.hold_id or "", _SEND_TIMEOUT)
                break
            except Exception as error:
                failure = desk.backend.classify(error)
                if failure is None:
                    raise
                run = RunState("", desk.state.id, job.model, attempt=attempt, started_at=desk.driver.now())
                wait = desk.asking.retry(desk.thread, run, failure) if failure.kind == "transient" else None
                if wait is None:
                    refused = error_of(failure, attempt)
                    if is_locked_out(refused):
                        await desk.settle(job, record, Outcome.withdrawn(failure))
                        raise refused from error
                    outcome = Outcome.unknown(_LOST) if failure.kind == "ambiguous" else Outcome.of_failure(failure)
                    await desk.settle(job, record, outcome)
                    return
                await desk.driver.sleep(wait)
        record.response_id = answer.id
        record.stage = "sent"
        await desk.save(record)
        await self._take(job, record, answer)

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
