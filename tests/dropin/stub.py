"""A service without an assistant."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from assistantguard.dropin.wire import DONE, WireAnswer, WireRequest

__all__ = ["RUN", "Stub", "events_of_a_run", "said"]

RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 1_790_000_000,
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "queued",
    "instructions": "",
    "model": "gpt-6-luna",
    "tools": [],
    "metadata": {},
    "parallel_tool_calls": True,
}


def events_of_a_run(*deltas: str) -> list[tuple[str, Any]]:
    """What the official server streams for a run that says this text in these pieces."""
    message = {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 1_790_000_000,
        "thread_id": "thread_1",
        "run_id": "run_1",
        "assistant_id": "asst_1",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
        "attachments": [],
        "metadata": {},
    }
    whole = {"type": "text", "text": {"value": "".join(deltas), "annotations": []}}
    return [
        ("thread.run.created", RUN),
        ("thread.run.queued", RUN),
        ("thread.run.in_progress", {**RUN, "status": "in_progress"}),
        ("thread.message.created", message),
        ("thread.message.in_progress", message),
        *(
            (
                "thread.message.delta",
                {
                    "id": "msg_1",
                    "object": "thread.message.delta",
                    "delta": {"content": [{"index": 0, "type": "text", "text": {"value": delta}}]},
                },
            )
            for delta in deltas
        ),
        ("thread.message.completed", {**message, "status": "completed", "content": [whole]}),
        ("thread.run.completed", {**RUN, "status": "completed"}),
        DONE,
    ]


class Stub:
    """Answers ``/threads`` and ``/assistants`` with what it was asked, or as it is told to."""

    def __init__(self, answer: Callable[[WireRequest], WireAnswer] | None = None) -> None:
        self._answer = answer or said
        self.requests: list[WireRequest] = []
        self.sent: list[str] = []
        """The events that were taken, in order; ``closed`` for each time that a stream was closed."""

    def serves(self, path: str) -> bool:
        return path.split("/")[1] in {"threads", "assistants"}

    async def handle(self, request: WireRequest) -> WireAnswer:
        self.requests.append(request)
        return self._answer(request)

    def streams(self, *events: tuple[str, Any]) -> Stub:
        """Answer everything with these events."""
        self._answer = lambda _: WireAnswer(200, events=self.events(events))
        return self

    async def events(self, events: Sequence[tuple[str, Any]]) -> AsyncGenerator[tuple[str, Any], None]:
        """These events; an exception among them is raised in its turn."""
        try:
            for name, data in events:
                if isinstance(data, Exception):
                    raise data
                self.sent.append(name)
                yield name, data
        finally:
            self.sent.append("closed")


def said(request: WireRequest) -> WireAnswer:
    """The request as a run's answer."""
    return WireAnswer(
        200,
        {
            **RUN,
            "method": request.method,
            "path": request.path,
            "query": [list(pair) for pair in request.query],
            "headers": dict(request.headers),
            "body": json.loads(request.body) if request.body else None,
        },
    )
