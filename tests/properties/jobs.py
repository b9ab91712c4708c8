"""The scripted server's paid work: answers that are made at once, in pieces, or in the background."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from assistantguard import ToolCall, Usage
from assistantguard.engine import ModelAnswer, ModelRequest, Piece
from assistantguard.failures import Facts, classify
from assistantguard.models import Failure, Item, RunStatus
from tests.properties.acts import Act, Billed
from tests.properties.shelf import FRAMING, Shelf, Stored, refuse

__all__ = ["Job", "Jobs"]

LARGEST_OUTPUT = 16_384
_CALL_BYTES = 16
"""More than the arguments of a call take."""


@dataclass(slots=True, eq=False)
class Job:
    """One answer, while it is made and afterwards."""

    id: str
    request: ModelRequest
    act: Act
    calls: tuple[ToolCall, ...]
    items: list[Item]
    usage: Usage
    line: Billed | None
    """Its line on the bill."""
    left: int
    """How many calls it takes yet."""
    streamed: bool = False
    """Whether someone holds the connection that it is made for."""
    ended: Literal["", "completed", "incomplete", "failed", "cancelled"] = ""
    flips_in: int | None = None
    """So many calls later it turns from cancelled to completed."""
    silent: int = 0
    """How often it will be shown without its usage."""

    @property
    def pieces(self) -> list[Piece]:
        """What a stream of it brings."""
        words = [Piece(word, shown=True) for word in re.findall(r"\S+\s*", self.act.text)]
        return words + [Piece(call.arguments_json, shown=False) for call in self.calls]


class Jobs:
    """All paid work.

    Args:
        shelf: Where it is appended.
        obedient: Whether ``tool_choice="none"`` keeps the model from calling tools.
    """

    def __init__(self, shelf: Shelf, *, obedient: bool) -> None:
        self._shelf = shelf
        self._obedient = obedient
        self._jobs: dict[str, Job] = {}
        self.bill: list[Billed] = []

    def begin(self, request: ModelRequest, act: Act, *, streamed: bool) -> Job:
        """Take a request on: it is billed whatever becomes of it."""
        shelf = self._shelf
        if act.calls and (not request.tools or (request.tool_choice == "none" and self._obedient)):
            act = replace(act, calls=(), text=act.text or "no tools")
        allowed = request.max_output_tokens or LARGEST_OUTPUT
        # What it writes keeps to what it was allowed, by any way of counting: no token is shorter than a byte.
        act = replace(act, text=act.text.encode()[:allowed].decode(errors="ignore"))
        room = (allowed - len(act.text.encode())) // _CALL_BYTES
        calls = tuple(
            ToolCall(shelf.id("call"), "lookup", {"n": number}, json.dumps({"n": number}))
            for number in act.calls[:room]
        )
        items = [Item("message", act.text, role="assistant", id=shelf.id("msg"))] if act.text else []
        items += [
            Item("function_call", call.arguments_json, id=shelf.id("fc"), call_id=call.id, name=call.name)
            for call in calls
        ]
        written = min(allowed, max(len(items), math.ceil(allowed * act.share)))
        if written > sum(len(item.text.encode()) for item in items):
            items.insert(0, Item("reasoning", id=shelf.id("rs")))
        usage = Usage(input_tokens=shelf.input_tokens(request), output_tokens=written, requests=1)
        job_id = shelf.id("resp")
        line = Billed(job_id, usage, model=request.model) if act.billed else None
        if line is not None:
            self.bill.append(line)
        copied = replace(request, input=[*request.input])
        job = Job(job_id, copied, act, calls, items, usage, line, act.looks, streamed, silent=act.silent_looks)
        self._jobs[job_id] = job
        return job

    def is_locked(self, generation_id: str | None) -> bool:
        """Whether an answer is being made in a conversation."""
        return generation_id is not None and any(
            not job.ended and job.request.generation_id == generation_id for job in self._jobs.values()
        )

    def find(self, response_id: str) -> Job:
        """A job by its id."""
        if response_id not in self._jobs:
            raise refuse(f"Response with id '{response_id}' not found.", 404)
        return self._jobs[response_id]

    def tick(self) -> None:
        """One more call of the server: whatever no one holds a connection for goes on."""
        for job in self._jobs.values():
            if job.flips_in is not None:
                job.flips_in -= 1
                if job.flips_in < 0:
                    self._flip(job)
            elif not job.ended and not job.streamed and job.act.status != "in_progress":
                job.left -= 1
                if job.left < 0:
                    self.finish(job)

    def finish_all(self) -> None:
        """Let everything come to its end, and every usage be told that is ever told."""
        for job in self._jobs.values():
            if job.flips_in is not None:
                self._flip(job)
            elif not job.ended:
                self.finish(job)
        self.tell_all()

    def tell_all(self) -> None:
        """From now on, every answer is shown with its usage."""
        for job in self._jobs.values():
            job.silent = 0

    def finish(self, job: Job) -> None:
        """Let a job end as its act says; one that never ends by itself is cancelled."""
        if job.ended:
            return
        if job.act.status == "in_progress":
            self._end(job, "cancelled")
        else:
            self._end(job, job.act.status)

    def leave(self, job: Job) -> None:
        """Its connection is gone: in the foreground that ends it, unless it survives."""
        job.streamed = False
        if not job.request.background and not job.ended and not job.act.survives:
            self._end(job, "cancelled")

    def cancel(self, job: Job) -> None:
        """Cancel it, where that does anything."""
        if not job.request.background:
            raise refuse("Cannot cancel a synchronous response.")
        if job.ended:
            return
        if job.act.cancels == "refused":
            raise refuse("This response cannot be cancelled.", 409)
        if job.act.cancels == "flips":
            job.ended, job.flips_in = "cancelled", job.act.looks
            return
        self._end(job, "cancelled")

    def show(self, job: Job) -> ModelAnswer:
        """A job as the server tells it now."""
        if not job.ended:
            status: RunStatus = "queued" if job.left == job.act.looks and job.request.background else "in_progress"
            return ModelAnswer(job.id, status, "", (), None, job.request.model)
        usage = job.usage if job.line is not None and job.act.reports else None
        if job.silent > 0 or (job.ended == "cancelled" and job.flips_in is not None):
            usage, job.silent = None, job.silent - 1
        shown = sum(len(item.text.encode()) for item in job.items)
        return ModelAnswer(
            job.id,
            job.ended,
            job.act.text,
            job.calls,
            usage,
            job.request.model,
            _failure_of(job),
            "max_output_tokens" if job.ended == "incomplete" else None,
            output_items=len(job.items),
            last_item_id=job.items[-1].id if job.items else None,
            hidden_output=job.usage.output_tokens > shown,
        )

    def arrived(self, answer: ModelAnswer) -> ModelAnswer:
        """Note that an answer reached the client."""
        line = self._jobs[answer.id].line
        if answer.usage is not None and line is not None:
            line.told = True
        return answer

    def _end(self, job: Job, status: Literal["completed", "incomplete", "failed", "cancelled"]) -> None:
        job.ended = status
        if status == "cancelled":
            job.silent = max(1, job.silent)
        appends = "all" if status == "completed" else job.act.appends
        if appends == "nothing":
            return
        made = job.items if appends == "all" else []
        whole = len(made) if status == "completed" else len(made) - 1
        each = job.usage.output_tokens // max(1, len(made)) + FRAMING
        self._shelf.add(
            job.request.generation_id,
            job.request.input,
            [
                Stored(replace(item, status="completed" if number < whole else "incomplete"), each)
                for number, item in enumerate(made)
            ],
        )

    def _flip(self, job: Job) -> None:
        job.flips_in = None
        self._end(job, "completed")


def _failure_of(job: Job) -> Failure | None:
    if job.ended == "failed":
        return classify(Facts("response", "the response ended failed", code=job.act.code))
    if job.ended == "cancelled":
        return classify(Facts("response", "the response ended cancelled", code="cancelled"))
    return None
