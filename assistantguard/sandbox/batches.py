"""`/batches`: many requests of one file, made at half price. Their progress follows from the sandbox's clock.

A batch moves on when it is looked at: every request to `/batches` first does what is due by then. Its requests are made
in the order of its input, and take nothing from the rate limits; its output is in another order.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistantguard._parameters import enumeration, integer, metadata, string
from assistantguard._refusals import ApiProblem, invalid
from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.batch_lines import (
    answered_line,
    cancelled_line,
    expired_line,
    read_lines,
    refused_line,
    written,
)
from assistantguard.sandbox.paging import page
from assistantguard.sandbox.problems import not_found
from assistantguard.sandbox.validation import check_body, obj

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard._parameters import Check
    from assistantguard.sandbox.batch_lines import BatchLine
    from assistantguard.sandbox.files import Files
    from assistantguard.sandbox.responses import Responses
    from assistantguard.sandbox.state import State

__all__ = ["BatchProcessing", "Batches"]

_WINDOW = 86_400
_KEPT = 30 * 86_400
_ROUNDING = 1e-6
_FAILED = "The server had an error while processing your request. Sorry about that!"
_SERVED = "/v1/responses"
_ENDPOINTS = (
    _SERVED,
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
_CREATE: dict[str, Check] = {
    "input_file_id": string(minimum=1),
    "endpoint": enumeration(*_ENDPOINTS),
    "completion_window": enumeration("24h"),
    "metadata": metadata,
    "output_expires_after": obj(
        {"anchor": enumeration("created_at"), "seconds": integer(minimum=3600, maximum=2_592_000)},
        required=("anchor", "seconds"),
    ),
}
_REQUIRED = ("input_file_id", "endpoint", "completion_window")
_ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProcessing:
    """How batches are processed. Times are seconds by the sandbox's clock, which `Sandbox.advance` puts forward.

    Raises:
        ConfigurationError: A number is below 0.
    """

    seconds: float = 0.0
    """How long the requests of a batch take together; they are done one after another, evenly. After 24 hours since it
    was created a batch expires: with ``48 * 3600`` it does so with half of its requests done."""
    validating_seconds: float = 0.0
    """How long the input is validated before."""
    finalizing_seconds: float = 0.0
    """How long the files are prepared after."""
    cancelling_seconds: float = 0.0
    """How long it takes until a batch that is cancelled has stopped. No request is begun meanwhile."""
    failing: Collection[str] = ()
    """The `custom_id` of requests that fail with a 500, which costs nothing."""
    enqueued_tokens: int | None = None
    """How many input tokens the unfinished batches of a model may hold together. A batch beyond fails with
    ``token_limit_exceeded``. None does not limit them."""

    def __post_init__(self) -> None:
        for name in ("seconds", "validating_seconds", "finalizing_seconds", "cancelling_seconds"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name}={getattr(self, name)} is no number of at least 0")
        if self.enqueued_tokens is not None and self.enqueued_tokens < 1:
            raise ConfigurationError(f"enqueued_tokens={self.enqueued_tokens} is below 1; None does not limit them")
        if isinstance(self.failing, str):
            raise ConfigurationError(f"failing={self.failing!r} is a text; give a list of custom ids")


@dataclass(slots=True, eq=False)
class _Batch:
    """One batch."""

    id: str
    number: int
    asked: dict[str, Any]
    processing: BatchProcessing
    created: float
    expires: float
    status: str = "validating"
    times: dict[str, float] = field(default_factory=dict)
    """When it came to each status but the first."""
    lines: list[BatchLine] = field(default_factory=list)
    queued_tokens: int = 0
    errors: list[dict[str, Any]] | None = None
    begun: int = 0
    """How many of its requests were made."""
    completed: int = 0
    refused: int = 0
    used: Counter[str] = field(default_factory=Counter)
    """Tokens that its answers reported."""
    output: list[dict[str, Any]] = field(default_factory=list)
    """Lines of its files; empty once they are written."""
    failed: list[dict[str, Any]] = field(default_factory=list)
    output_file: str | None = None
    error_file: str | None = None
    cancelled: float | None = None
    """When its cancellation was asked for."""
    moving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def document(self) -> dict[str, Any]:
        """The batch as the API shows it."""
        used = self.used
        moments = {f"{status}_at": int(moment) for status, moment in self.times.items()}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.asked["endpoint"],
            "model": self.lines[0].body["model"] if self.lines else None,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.asked["input_file_id"],
            "completion_window": self.asked["completion_window"],
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": int(self.created),
            "expires_at": int(self.expires),
            **{f"{status}_at": None for status in ("in_progress", "finalizing", "cancelling", *_ENDED)},
            **moments,
            "request_counts": {
                "total": len(self.lines),
                "completed": self.completed,
                "failed": self.refused,
            },
            "usage": {
                "input_tokens": used["input_tokens"],
                "input_tokens_details": {"cached_tokens": used["cached_tokens"]},
                "output_tokens": used["output_tokens"],
                "output_tokens_details": {"reasoning_tokens": used["reasoning_tokens"]},
                "total_tokens": used["total_tokens"],
            },
            "metadata": self.asked.get("metadata"),
        }

    def answered(self, line: dict[str, Any]) -> None:
        """Add a request that was answered."""
        self.output.append(line)
        self.completed += 1
        usage = line["response"]["body"]["usage"] or {}
        for numbers in (usage, usage.get("input_tokens_details", {}), usage.get("output_tokens_details", {})):
            self.used.update({name: number for name, number in numbers.items() if isinstance(number, int)})

    def not_answered(self, line: dict[str, Any]) -> None:
        """Add a request that failed."""
        self.failed.append(line)
        self.refused += 1

    def came_to(self, status: str, moment: float) -> None:
        """Change its status."""
        self.status = status
        self.times[status] = moment


class Batches:
    """Serves `/batches`.

    Args:
        state: Ids and the clock.
        files: Where input is read and output is written.
        responses: Makes the responses.
        processing: How batches are processed.
    """

    def __init__(self, state: State, files: Files, responses: Responses, processing: BatchProcessing) -> None:
        self.processing = processing
        """Of batches that are created from now on."""
        self._state = state
        self._files = files
        self._responses = responses
        self._batches: dict[str, _Batch] = {}

    async def create(self, body: Any) -> dict[str, Any]:
        """Answer `POST /batches`."""
        asked = check_body(body, _CREATE, required=_REQUIRED, not_nullable=_REQUIRED)
        if asked["endpoint"] != _SERVED:
            raise invalid("endpoint", f"Sandbox: only batches of '{_SERVED}' are served.")
        file = self._files.get(asked["input_file_id"])
        if file.purpose != "batch":
            raise invalid("input_file_id", f"The file '{file.id}' has the purpose '{file.purpose}'; 'batch' is needed.")
        now = self._state.now()
        batch = _Batch(self._state.ids.make("batch_"), len(self._batches), asked, self.processing, now, now + _WINDOW)
        self._batches[batch.id] = batch
        return batch.document

    async def get(self, batch_id: str) -> dict[str, Any]:
        """Answer `GET /batches/{id}`."""
        batch = self._batch(batch_id)
        await self._move(batch)
        return batch.document

    async def list_all(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /batches`."""
        for batch in list(self._batches.values()):
            await self._move(batch)
        shown = {name: value for name, value in query.items() if name in {"after", "limit"}}
        return page([batch.document for batch in self._batches.values()], shown)

    async def cancel(self, batch_id: str) -> dict[str, Any]:
        """Answer `POST /batches/{id}/cancel`."""
        batch = self._batch(batch_id)
        await self._move(batch)
        if batch.status in _ENDED or batch.status == "finalizing":
            raise ApiProblem(409, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.cancelled is None:
            batch.cancelled = self._state.now()
            batch.came_to("cancelling", batch.cancelled)
        return batch.document

    def expire(self, batch_id: str) -> None:
        """Let a batch expire now, where it has not ended.

        Raises:
            KeyError: There is none of that id.
        """
        batch = self._batches[batch_id]
        batch.expires = min(batch.expires, self._state.now())

    def _batch(self, batch_id: str) -> _Batch:
        found = self._batches.get(batch_id)
        if found is None:
            raise not_found(f"No batch found with id '{batch_id}'.")
        return found

    async def _move(self, batch: _Batch) -> None:
        """Do what is due until now."""
        async with batch.moving:
            now = self._state.now()
            how = batch.processing
            validated = batch.created + how.validating_seconds
            if batch.status == "validating" and validated <= min(now, batch.expires):
                self._validate(batch, validated)
            if batch.status == "in_progress":
                await self._make(batch, now)
            if batch.status == "in_progress" and batch.begun == len(batch.lines):
                batch.came_to("finalizing", batch.times["in_progress"] + how.seconds)
            if batch.status == "finalizing" and batch.times["finalizing"] + how.finalizing_seconds <= now:
                self._end(batch, "completed", batch.times["finalizing"] + how.finalizing_seconds)
            elif batch.cancelled is not None and batch.status == "cancelling":
                if batch.cancelled + how.cancelling_seconds <= now:
                    self._end(batch, "cancelled", batch.cancelled + how.cancelling_seconds)
            elif batch.status in {"validating", "in_progress"} and batch.expires <= now:
                self._end(batch, "expired", batch.expires)

    def _validate(self, batch: _Batch, moment: float) -> None:
        lines: list[BatchLine] = []
        try:
            content = self._files.get(batch.asked["input_file_id"]).content
        except ApiProblem as problem:
            errors = [{"code": "invalid_request", "line": None, "message": str(problem), "param": None}]
        else:
            lines, errors = read_lines(content, batch.asked["endpoint"])
        if not errors:
            errors = self._enqueue(batch, lines)
        if errors:
            batch.errors = errors
            batch.came_to("failed", moment)
        else:
            batch.lines = lines
            batch.came_to("in_progress", moment)

    def _enqueue(self, batch: _Batch, lines: list[BatchLine]) -> list[dict[str, Any]]:
        """Count a batch's input against what may be queued, and return what is wrong with it."""
        most = batch.processing.enqueued_tokens
        if most is None:
            return []
        model = lines[0].body["model"]
        batch.queued_tokens = sum(self._responses.tokens_of(line.body) for line in lines)
        queued = sum(
            other.queued_tokens
            for other in self._batches.values()
            if other is batch or (other.status not in _ENDED and other.lines and other.lines[0].body["model"] == model)
        )
        if queued <= most:
            return []
        message = (
            f"Enqueued token limit reached for {model} in organization org-sandbox. Limit: {most:,} enqueued tokens. "
            "Please try again once some in_progress batches have been completed."
        )
        return [{"code": "token_limit_exceeded", "line": None, "message": message, "param": None}]

    async def _make(self, batch: _Batch, now: float) -> None:
        """Make the requests that are due."""
        began = batch.times["in_progress"]
        each = batch.processing.seconds / len(batch.lines)
        until = min(now, batch.expires)
        while batch.begun < len(batch.lines) and began + each * (batch.begun + 1) <= until + _ROUNDING:
            line = batch.lines[batch.begun]
            batch.begun += 1
            line_id, request_id = self._state.ids.make("batch_req_"), self._state.ids.make("req_")
            try:
                body = await self._answer(batch, line)
            except ApiProblem as problem:
                batch.not_answered(refused_line(line_id, line.custom_id, request_id, problem))
            else:
                batch.answered(answered_line(line_id, line.custom_id, request_id, body))
            await asyncio.sleep(0)

    async def _answer(self, batch: _Batch, line: BatchLine) -> dict[str, Any]:
        if line.custom_id in batch.processing.failing:
            raise ApiProblem(500, _FAILED, kind="server_error")
        return await self._responses.of_batch(line.body, batch.id)

    def _end(self, batch: _Batch, status: str, moment: float) -> None:
        ids = self._state.ids
        for line in batch.lines[batch.begun :]:
            if status == "cancelled":
                batch.failed.append(cancelled_line(ids.make("batch_req_"), line.custom_id))
            else:
                batch.not_answered(expired_line(ids.make("batch_req_"), line.custom_id))
        batch.output_file = self._file(batch, "output", _shuffled(batch.output, batch.number))
        batch.error_file = self._file(batch, "error", _shuffled(batch.failed, batch.number))
        batch.output, batch.failed = [], []
        batch.came_to(status, moment)

    def _file(self, batch: _Batch, kind: str, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        kept = batch.asked.get("output_expires_after", {}).get("seconds", _KEPT)
        return self._files.add(written(lines), f"{batch.id}_{kind}.jsonl", "batch_output", kept).id


def _shuffled(lines: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The lines in another order, the same for the same seed and number of lines."""
    shuffled = list(lines)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - nothing secret
    return shuffled[::-1] if shuffled == lines else shuffled
