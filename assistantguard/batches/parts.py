"""Through the Batch API: files of jobs, one model each, made, watched and settled."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard.backends.reading import answer_of, get
from assistantguard.batches.events import BatchSubmitted
from assistantguard.batches.jobs import Planned, request_line
from assistantguard.batches.outcomes import Outcome, is_locked_out
from assistantguard.batches.problems import BatchUnfinished
from assistantguard.batches.queue import FULL, Queue
from assistantguard.batches.state import FINISHED, JobRecord, PartRecord
from assistantguard.errors import ConfigurationError, RunFailed
from assistantguard.failures import Facts, classify
from assistantguard.models import Failure
from assistantguard.models.values import Record

if TYPE_CHECKING:
    from assistantguard.batches.journey import Journey

__all__ = ["MOST_BYTES", "MOST_REQUESTS", "Parts"]

MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
_ROOM = 200
"""Bytes that a line may grow by when it is bounded."""
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_NOT_DONE = {"batch_expired": "expired", "batch_cancelled": "cancelled"}
_WHY = {
    "expired": ("batch_expired", "the batch expired before this job was done: ask for it again"),
    "cancelled": ("batch_cancelled", "the batch was cancelled before this job was done"),
}
_Pair = tuple[Planned, JobRecord]


@dataclass(slots=True, eq=False, repr=False)
class _Filling(Record):
    """A file that jobs are put into."""

    id: str
    jobs: int = 0
    bytes: int = 0
    tokens: int = 0


class Parts:
    """The files of one batch."""

    def __init__(self, journey: Journey, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        self._journey = journey
        self._desk = journey.desk
        self._server = journey.server
        self._state = journey.state
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._queue = Queue(self._desk.session.policies)
        self._routed: set[int] = set()
        """Jobs whose model is chosen, by position."""

    async def run(self) -> None:
        """Bring every job to its end."""
        journey = self._journey
        for part in [*self._state.parts.values()]:
            await self._submit(part)
        if journey.cancels:
            for job, record in self._loose():
                await self._desk.settle(job, record, _not_done("cancelled"))
        while True:
            if not journey.cancels:
                await self._fill()
            for part in [*self._state.parts.values()]:
                if part.stage == "submitted":
                    await self._look(part)
            under_way = any(part.stage != "settled" for part in self._state.parts.values())
            if not under_way and not self._loose():
                return
            if under_way or self._queue.waits:
                self._tell("waiting")
                await journey.pause()
                self._queue.looked()

    async def read_texts(self) -> None:
        """Read again what completed jobs said that were settled before."""
        journey = self._journey
        wanted: dict[str | None, set[int]] = {}
        for record in self._state.jobs:
            if record.stage == "completed" and not record.cached and record.position not in journey.texts:
                wanted.setdefault(record.part_id, set()).add(record.position)
        for part in self._state.parts.values():
            missing = wanted.get(part.id)
            if not missing or part.output_file_id is None:
                continue
            try:
                lines = await self._lines(part.output_file_id)
            except RunFailed:  # the server does not have it any more
                continue
            for line in lines:
                position = _position(line)
                if position in missing:
                    journey.texts[position] = answer_of(get(line, "response", "body") or {}).text

    def _members(self, part: PartRecord) -> list[_Pair]:
        pairs = ((job, self._journey.record(job)) for job in self._journey.jobs)
        return [(job, record) for job, record in pairs if record.part_id == part.id]

    def _loose(self) -> list[_Pair]:
        """Jobs that are in no file yet."""
        return [pair for pair in self._journey.unfinished() if pair[1].part_id not in self._state.parts]

    def _tell(self, stage: Any) -> None:
        counts = {part.id: (part.done, part.failed) for part in self._state.parts.values() if part.stage == "submitted"}
        self._journey.progress(stage, counts)

    async def _fill(self) -> None:
        """Admit the jobs that are in no file yet, and hand them over, file by file, as far as there is room."""
        desk = self._desk
        filling: dict[str, _Filling] = {}
        full: set[str] = set()
        for number, (job, record) in enumerate(sorted(self._loose(), key=_admitted_first)):
            if number % 100 == 99:
                self._tell("admitting")
            if desk.waits(job):
                continue
            if record.stage == "waiting" and job.position not in self._routed:
                if not await desk.route(job, record):
                    continue
                self._routed.add(job.position)
            model = desk.model(job, record)
            if model in full:
                continue
            tokens = await self._room(job, record, model, filling.get(model))
            if tokens is None:
                if record.stage == "waiting":
                    full.add(model)
                continue
            size = len(request_line(_custom_id(record), desk.request(job, record))) + _ROOM
            file = filling.get(model)
            if file is not None and self._is_full(model, file, size, tokens):
                await self._hand_over(model, filling.pop(model))
                file = None
            if file is None:
                keeps = record.stage != "waiting" and record.part_id is not None
                file = filling[model] = _Filling(record.part_id if keeps and record.part_id else _new_id())
            if record.stage == "waiting":
                record.part_id = file.id
                if not await desk.admit(job, record):
                    continue
            elif record.part_id != file.id:
                record.part_id = file.id
                await desk.save(record)
            file.jobs, file.bytes, file.tokens = file.jobs + 1, file.bytes + size, file.tokens + tokens
        for model, file in filling.items():
            if file.jobs:
                await self._hand_over(model, file)

    def _is_full(self, model: str, file: _Filling, size: int, tokens: int) -> bool:
        if not file.jobs:
            return False
        most = self._queue.file_limit(model)
        return (
            file.jobs >= self._most_requests
            or file.bytes + size > self._most_bytes
            or (most is not None and file.tokens + tokens > most)
        )

    async def _room(self, job: Planned, record: JobRecord, model: str, file: _Filling | None) -> int | None:
        """How many tokens of the server's queue a job takes; None where it has to wait for room, or is refused."""
        queue = self._queue
        if not queue.is_kept_to:
            return 0
        waiting = record.stage == "waiting"
        if waiting and queue.is_closed(model):
            return None
        limit = queue.limit(model)
        tokens = self._desk.input_tokens(job, record)
        if limit is None or not waiting:
            return tokens
        if tokens > limit:
            await self._desk.refuse(
                record,
                ConfigurationError(
                    f"the job reads about {tokens} tokens, and the Batch API queues at most {limit} for {model}:"
                    " shorten it, or ask for it with through='2h'"
                ),
            )
            return None
        queued = sum(
            part.tokens for part in self._state.parts.values() if part.model == model and part.stage != "settled"
        )
        under_way = queued + (0 if file is None else file.tokens)
        return tokens if under_way + tokens <= limit else None

    async def _hand_over(self, model: str, file: _Filling) -> None:
        part = PartRecord(file.id, model, jobs=file.jobs, tokens=file.tokens)
        await self._desk.confirm()
        await self._save(part)
        await self._submit(part)

    async def _submit(self, part: PartRecord) -> None:
        """Go on with a part until the server has its batch, or will never have it."""
        journey = self._journey
        self._tell("submitting")
        try:
            if part.stage in {"planned", "uploading"}:
                if journey.cancels:
                    await self._give_up(part, _not_done("cancelled"))
                    return
                tried, part.stage = part.stage == "uploading", "uploading"
                await self._save(part)
                part.file_id, part.stage = await self._upload(part, tried=tried), "uploaded"
                await self._save(part)
            if part.stage in {"uploaded", "creating"}:
                await self._create(part)
            elif part.stage == "submitted" and journey.cancels:
                await self._cancel(part)
        except RunFailed as error:
            if error.failure is None or part.stage == "submitted":
                raise
            if part.stage == "creating" and error.failure.status_code is None:
                raise BatchUnfinished(
                    f"the server could not be asked whether it has the batch {self._state.id} ({error}): ask for the"
                    " same jobs again when it can be reached, and nothing is done twice",
                    self._state.id,
                ) from error
            if is_locked_out(error):
                await self._give_up(part, Outcome.withdrawn(error.failure))
                raise
            await self._give_up(part, Outcome.refused(error.failure))

    async def _upload(self, part: PartRecord, *, tried: bool) -> str:
        content: bytes | None = None

        async def upload(timeout: float) -> str:
            nonlocal tried, content
            if tried:
                found = await self._server.find_file(part.filename, timeout)
                if found is not None:
                    return found
            tried = True
            if content is None:
                content = b"".join(
                    request_line(_custom_id(record), self._desk.body(job, record))
                    for job, record in self._members(part)
                )
            return await self._server.upload(part.filename, content, timeout)

        return await self._journey.call(upload)

    async def _create(self, part: PartRecord) -> None:
        """Have the server begin the batch, unless it has one with this part's key already."""
        tried, cancels = part.stage == "creating", self._journey.cancels
        if not tried:
            if cancels:
                await self._give_up(part, _not_done("cancelled"))
                return
            part.stage = "creating"
            await self._save(part)

        async def create(timeout: float) -> Any:
            nonlocal tried
            if tried:
                found = await self._server.find(part, timeout)
                if found is not None or cancels:
                    return found
            tried = True
            return await self._server.create(part, timeout)

        try:
            made = await self._journey.call(create)
        except RunFailed as error:
            if error.failure is None or error.failure.kind in {"fatal", "exhausted"}:
                raise
            made = await self._journey.call(lambda timeout: self._server.find(part, timeout))
            if made is None:
                raise
        if made is None:
            await self._give_up(part, _not_done("cancelled"))
            return
        part.server_id, part.stage = str(get(made, "id")), "submitted"
        await self._note(part, made)
        session = self._desk.session
        session.emit(
            BatchSubmitted(
                self._desk.driver.now(), session.id, self._state.id, "batch", part.model, part.jobs, part.server_id
            )
        )
        if cancels:
            await self._cancel(part)

    async def _cancel(self, part: PartRecord) -> None:
        """Ask the server to stop. One that has ended meanwhile refuses that, which is as good."""
        server_id = part.server_id or ""
        try:
            await self._journey.call(lambda timeout: self._server.cancel(server_id, timeout))
        except RunFailed as error:
            if error.failure is None or error.failure.status_code not in {400, 404, 409}:
                raise

    async def _look(self, part: PartRecord) -> None:
        server_id = part.server_id or ""
        batch = await self._journey.look(lambda timeout: self._server.retrieve(server_id, timeout))
        if batch is None:
            return
        await self._note(part, batch)
        if part.status in _ENDED:
            await self._settle(part, batch)

    async def _note(self, part: PartRecord, batch: Any) -> None:
        """Keep what the server tells of a batch, where it is news."""
        counts = [get(batch, "request_counts", name) for name in ("completed", "failed")]
        completed, failed = (count if isinstance(count, int) else 0 for count in counts)
        news = (
            str(get(batch, "status") or ""),
            get(batch, "output_file_id"),
            get(batch, "error_file_id"),
            completed + failed,
            failed,
        )
        old = part.status, part.output_file_id, part.error_file_id, part.done, part.failed
        part.status, part.output_file_id, part.error_file_id, part.done, part.failed = news
        if news != old:
            await self._save(part)

    async def _settle(self, part: PartRecord, batch: Any) -> None:
        """Book each job by its line; those without one were not done, where the server says that the batch ended so."""
        self._tell("settling")
        full = _queue_was_full(batch) if part.status == "failed" and self._queue.is_kept_to else None
        if full is not None:
            self._queue.refused(part.model, part.tokens, full.message)
            await self._give_up(part, Outcome.withdrawn(full))
            return
        open_jobs = {record.position: (job, record) for job, record in self._members(part)}
        for file_id in (part.output_file_id, part.error_file_id):
            if file_id is None:
                continue
            for line in await self._lines(file_id):
                pair = open_jobs.pop(_position(line), None)
                if pair is not None:
                    await self._settle_line(*pair, line)
        for job, record in open_jobs.values():
            await self._desk.settle(job, record, _without_line(part, batch))
        part.stage = "settled"
        await self._save(part)
        self._queue.taken(part.model)

    async def _settle_line(self, job: Planned, record: JobRecord, line: Mapping[str, Any]) -> None:
        outcome = _outcome(line)
        if outcome.answer is not None:
            self._journey.texts[job.position] = outcome.answer.text
        if record.stage not in FINISHED:
            await self._desk.settle(job, record, outcome)

    async def _lines(self, file_id: str) -> Iterator[Mapping[str, Any]]:
        return await self._journey.call(lambda timeout: self._server.lines(file_id, timeout))

    async def _give_up(self, part: PartRecord, outcome: Outcome) -> None:
        """The server has nothing of this part, and will not have it."""
        for job, record in self._members(part):
            await self._desk.settle(job, record, outcome)
        part.stage = "settled"
        await self._save(part)

    async def _save(self, part: PartRecord) -> None:
        state = self._state
        await self._desk.driver.blocking(lambda: state.save_part(part), at_once=state.in_process)


def _admitted_first(pair: _Pair) -> tuple[bool, int]:
    return pair[1].stage == "waiting", pair[0].position


def _queue_was_full(batch: Any) -> Failure | None:
    """Why the server refused a batch, where its queue had no room for it."""
    for error in get(batch, "errors", "data") or ():
        if get(error, "code") == FULL:
            return Failure("transient", str(get(error, "message") or "the queue is full"), FULL)
    return None


def _new_id() -> str:
    return f"part_{uuid.uuid4().hex}"


def _custom_id(record: JobRecord) -> str:
    return f"job-{record.position + 1}"


def _position(line: Mapping[str, Any]) -> int:
    """The position of the job that a line is about; -1 where it is none of ours."""
    custom_id = line.get("custom_id")
    number = custom_id.removeprefix("job-") if isinstance(custom_id, str) else ""
    return int(number) - 1 if number.isdecimal() else -1


def _outcome(line: Mapping[str, Any]) -> Outcome:
    """What a line of an output or error file comes to."""
    status_code, body = get(line, "response", "status_code"), get(line, "response", "body")
    error = line.get("error") or get(body, "error")
    refused = isinstance(status_code, int) and status_code >= 400
    if isinstance(body, dict) and not refused and (body.get("output") is not None or body.get("usage") is not None):
        return Outcome.of_answer(answer_of(body, get(line, "response", "request_id")))
    code = get(error, "code")
    if code in _NOT_DONE:
        return _not_done(_NOT_DONE[code])
    if error is None and not refused:
        return Outcome.unknown("the server's line says neither what was answered nor what went wrong")
    facts = Facts(
        "request",
        str(get(error, "message") or "no message"),
        status_code if isinstance(status_code, int) else 500,
        None if code is None else str(code),
        get(error, "type"),
        request_id=get(line, "response", "request_id"),
    )
    return Outcome.of_failure(classify(facts))


def _not_done(stage: Any) -> Outcome:
    return Outcome.ended(stage, *_WHY[stage])


def _without_line(part: PartRecord, batch: Any) -> Outcome:
    if part.status in _WHY:
        return _not_done(part.status)
    if part.status == "failed":
        errors = get(batch, "errors", "data") or []
        code, message = get(errors[0], "code") if errors else None, get(errors[0], "message") if errors else None
        return Outcome.ended("failed", str(code or "batch_failed"), str(message or "the server refused the batch"))
    return Outcome.unknown("the batch was completed, and no line of its files is about this job")
