"""What is under way, in the documents beside the books: written before it is done, and read where a batch goes on.

No content is kept: jobs are recognised by a digest, and what the model said is read from the server again.
"""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.batches.problems import BatchUnfinished
from assistantguard.batches.results import JobError
from assistantguard.errors import ConfigurationError, LeaseLost
from assistantguard.models.usage import Usage
from assistantguard.models.values import Record
from assistantguard.storage.documents import Document, DocumentStore
from assistantguard.storage.leases import process_name
from assistantguard.storage.states import usage_from_record, usage_record

if TYPE_CHECKING:
    from assistantguard.batches.jobs import Planned

__all__ = ["FINISHED", "PROCESS", "BatchState", "JobRecord", "JobStage", "PartRecord", "PartStage", "name_of"]

JobStage = Literal["waiting", "admitted", "sending", "sent", "completed", "failed", "expired", "refused", "cancelled"]
PartStage = Literal["planned", "uploading", "uploaded", "creating", "submitted", "settled"]
FINISHED: frozenset[JobStage] = frozenset({"completed", "failed", "expired", "refused", "cancelled"})
PROCESS = uuid.uuid4().hex
"""This process, for telling whether books in memory are still the same."""
_BATCH, _PART, _JOB = "batch", "batch_part", "batch_job"
_PAGE = 1_000
_LEASE = 60.0
"""Seconds past a call's own limit until others may take a batch over."""


@dataclass(slots=True, eq=False, repr=False)
class JobRecord(Record):
    """How far a job is."""

    position: int
    stage: JobStage = "waiting"
    attempt: int = 1
    part_id: str | None = None
    """Of the file that it is in, or will be."""
    hold_id: str | None = None
    process: str | None = None
    """Which process holds what it may use."""
    held_at: float = 0.0
    """Unix time, seconds."""
    expires_at: float = 0.0
    """When its hold expires, a Unix time in seconds."""
    input_tokens: int = 0
    """As expected when it was admitted."""
    input_at_most: int = 0
    output_at_most: int = 0
    max_tool_calls: int | None = None
    response_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)
    """US dollars; None where the price is unknown."""
    error: JobError | None = None
    model: str | None = None
    """Which one it was routed to; None leaves its own."""
    reasoning_effort: str | None = None
    """Likewise."""
    cached: bool = False
    """Whether it was answered out of the cache of replies."""


@dataclass(slots=True, eq=False, repr=False)
class PartRecord(Record):
    """How far a file of jobs is."""

    id: str
    """Its own key: the file is called by it, and the server's batch carries it in its metadata."""
    model: str
    stage: PartStage = "planned"
    jobs: int = 0
    file_id: str | None = None
    server_id: str | None = None
    """The server's id of the batch."""
    status: str = ""
    """As the server calls it."""
    output_file_id: str | None = None
    error_file_id: str | None = None
    done: int = 0
    failed: int = 0
    tokens: int = 0
    """Of its jobs' input, as expected."""

    @property
    def filename(self) -> str:
        """What its file is called at the server."""
        return f"assistantguard-{self.id}.jsonl"


class BatchState:
    """One batch, as it is kept.

    Args:
        store: Where.
        batch_id: Its id.
        jobs: How far each job is, in their order.
        parts: How far each file is, in the order in which they were begun.
    """

    def __init__(
        self, store: DocumentStore, batch_id: str, jobs: Sequence[JobRecord], parts: Iterable[PartRecord]
    ) -> None:
        self.id = batch_id
        self.was_finished = False
        """Whether nothing was left to do when it was taken up."""
        self.jobs = jobs
        self.parts: dict[str, PartRecord] = {part.id: part for part in parts}
        self._store = store
        self._owner = process_name()

    @property
    def in_process(self) -> bool:
        """Whether calls return at once, and nothing outlives the process."""
        return self._store.in_process

    def together(self) -> AbstractContextManager[object]:
        """Make what happens inside, here and in a ledger of the same database, one transaction."""
        return self._store.together()

    @classmethod
    def open(
        cls,
        store: DocumentStore,
        name: str,
        digest: str,
        jobs: Sequence[Planned],
        now: float,
        *,
        named: bool,
        again: bool,
    ) -> BatchState:
        """Take up the batch of this name, or begin one. May block.

        Args:
            store: Where it is kept.
            name: See `name_of`.
            digest: Of its jobs.
            jobs: Its jobs.
            now: Unix time, seconds.
            named: Whether the application named it. Then one that was finished is taken up, too.
            again: Whether one that was finished is taken up in any case.

        Raises:
            ConfigurationError: The batch of that name has other jobs.
            BatchUnfinished: Another process works on it.
        """
        found = store.newest(_BATCH, name, None if named or again else "open")
        if found is None:
            state = cls._begin(store, name, digest, len(jobs), now)
        else:
            if found.body["digest"] != digest:
                raise ConfigurationError(
                    "the batch of this idempotency_key has other jobs, or other settings: give another key, or the"
                    " same jobs"
                )
            state = cls(store, found.id, [], ())
            state.was_finished = found.mark == "finished"
        state._take(now)
        state._load()
        return state

    @classmethod
    def _begin(cls, store: DocumentStore, name: str, digest: str, count: int, now: float) -> BatchState:
        batch_id = f"batch_{uuid.uuid4().hex}"
        whole = Document(_BATCH, batch_id, name, now, {"digest": digest, "jobs": count}, "open")
        rows = (_job_document(batch_id, JobRecord(position), now) for position in range(count))
        with store.together():
            store.add(whole, *rows)
        return cls(store, batch_id, [], ())

    def _load(self) -> None:
        self.jobs = [_job_of(each.body) for each in self._all(_JOB)]
        self.parts = {each.id: PartRecord(**each.body) for each in self._all(_PART)}

    def _all(self, kind: str) -> Iterable[Document]:
        after: str | None = None
        while True:
            page = self._store.page(kind, self.id, limit=_PAGE, descending=False, after=after)
            yield from page.documents
            if not page.has_more:
                return
            after = page.documents[-1].id

    def _take(self, now: float) -> None:
        def take(document: Document) -> None:
            owner, until = document.body.get("owner"), document.body.get("until", 0.0)
            if owner is not None and until > now and not _is_dead(owner):
                raise BatchUnfinished(
                    f"the batch {self.id} is driven by another process ({owner.rpartition(':')[0]}): ask again when it"
                    f" has ended, or in {until - now:.0f} s where it was killed",
                    self.id,
                )
            document.body.update(owner=self._owner, until=now + _LEASE)
            document.mark = "open"

        self._store.change(_BATCH, self.id, take)

    def confirm(self, now: float, seconds: float) -> None:
        """Make sure that nobody else has taken the batch over, and keep it for the next `seconds`. May block.

        Raises:
            LeaseLost: Somebody has.
        """

        def renew(document: Document) -> None:
            if document.body.get("owner") != self._owner:
                raise LeaseLost(f"another process has taken the batch {self.id} over: it goes on there")
            document.body["until"] = now + seconds + _LEASE

        self._store.change(_BATCH, self.id, renew)

    def leave(self, *, finished: bool) -> None:
        """Let others have it; `finished` says that nothing is left to do. May block."""

        def leave(document: Document) -> None:
            if document.body.get("owner") == self._owner:
                document.body.update(owner=None, until=0.0)
                document.mark = "finished" if finished else "open"

        self._store.change(_BATCH, self.id, leave)

    def save(self, *records: JobRecord) -> None:
        """Keep how far jobs are. May block."""
        with self._store.together():
            for record in records:
                body = _body_of(record)

                def write(document: Document, body: dict[str, Any] = body) -> None:
                    document.body = body

                self._store.change(_JOB, f"{self.id}:{record.position}", write)

    def save_part(self, part: PartRecord) -> None:
        """Keep how far a file is. May block."""
        body = {name: getattr(part, name) for name in _PART_FIELDS}
        if part.id not in self.parts:
            self._store.add(Document(_PART, part.id, self.id, 0.0, body))
            self.parts[part.id] = part
            return

        def write(document: Document) -> None:
            document.body = body

        self._store.change(_PART, part.id, write)


def name_of(key: str | None, digest: str) -> str:
    """What a batch is found by: the application's key, else its jobs."""
    return f"jobs:{digest}" if key is None else f"key:{hashlib.sha256(key.encode()).hexdigest()}"


_PART_FIELDS = tuple(PartRecord.__dataclass_fields__)
_PLAIN = tuple(name for name in JobRecord.__dataclass_fields__ if name not in {"usage", "cost", "error"})


def _job_document(batch_id: str, record: JobRecord, now: float) -> Document:
    return Document(_JOB, f"{batch_id}:{record.position}", batch_id, now, _body_of(record))


def _body_of(record: JobRecord) -> dict[str, Any]:
    error = record.error
    return {
        **{name: getattr(record, name) for name in _PLAIN},
        "usage": usage_record(record.usage),
        "cost": None if record.cost is None else str(record.cost),
        "error": None if error is None else [error.code, error.message, error.retryable],
    }


def _job_of(body: dict[str, Any]) -> JobRecord:
    cost, error = body["cost"], body["error"]
    return JobRecord(
        **{name: body[name] for name in _PLAIN if name in body},
        usage=usage_from_record(body["usage"]),
        cost=None if cost is None else Decimal(cost),
        error=None if error is None else JobError(*error),
    )


def _is_dead(owner: str) -> bool:
    """Whether the process of an owner is known to have ended: it ran on this machine, and does no more."""
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname() or os.name != "posix":
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
    return False
