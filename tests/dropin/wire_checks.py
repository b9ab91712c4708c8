"""Every answer that the drop-in's service gives: against the SDK's own models, and against the official document.

The check stands between the service and the transport, so that it sees all calls of all tests, streamed ones too.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from openai.types import beta
from openai.types.beta import threads
from openai.types.beta.threads import runs
from pydantic import TypeAdapter, ValidationError

from assistantguard.dropin.service import AssistantsService
from assistantguard.dropin.wire import DONE, WireAnswer, WireRequest
from tests.support.contract import contract_is_here, contract_problems, schema_of_answer

__all__ = ["WireChecks", "problems_of_order"]

_COLLECTIONS = ("assistants", "threads", "messages", "runs", "steps", "cancel", "submit_tool_outputs")
_MODELS: Mapping[str, Any] = {
    "POST /assistants": beta.Assistant,
    "GET /assistants": beta.Assistant,
    "GET /assistants/{id}": beta.Assistant,
    "POST /assistants/{id}": beta.Assistant,
    "DELETE /assistants/{id}": beta.AssistantDeleted,
    "POST /threads": beta.Thread,
    "POST /threads/runs": threads.Run,
    "GET /threads/{id}": beta.Thread,
    "POST /threads/{id}": beta.Thread,
    "DELETE /threads/{id}": beta.ThreadDeleted,
    "POST /threads/{id}/messages": threads.Message,
    "GET /threads/{id}/messages": threads.Message,
    "GET /threads/{id}/messages/{id}": threads.Message,
    "POST /threads/{id}/messages/{id}": threads.Message,
    "DELETE /threads/{id}/messages/{id}": threads.MessageDeleted,
    "POST /threads/{id}/runs": threads.Run,
    "GET /threads/{id}/runs": threads.Run,
    "GET /threads/{id}/runs/{id}": threads.Run,
    "POST /threads/{id}/runs/{id}": threads.Run,
    "POST /threads/{id}/runs/{id}/cancel": threads.Run,
    "POST /threads/{id}/runs/{id}/submit_tool_outputs": threads.Run,
    "GET /threads/{id}/runs/{id}/steps": runs.RunStep,
    "GET /threads/{id}/runs/{id}/steps/{id}": runs.RunStep,
}
_LISTS = re.compile(r"GET /(assistants|.*/(messages|runs|steps))$")
_SCHEMAS: Mapping[str, str] = {
    "thread": "ThreadObject",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
    "thread.message": "MessageObject",
}
"""Of what an event carries. The official document has none for deltas; the SDK's types do."""

_MESSAGE = (
    r"thread\.run\.step\.created thread\.run\.step\.in_progress thread\.message\.created thread\.message\.in_progress "
    r"(?:thread\.message\.delta )*"
    r"(?:thread\.message\.completed thread\.run\.step\.completed "
    r"|thread\.message\.incomplete thread\.run\.step\.(?:completed|failed|cancelled|expired) )"
)
_CALLS = r"thread\.run\.step\.created thread\.run\.step\.in_progress (?:thread\.run\.step\.delta )+"
_END = r"(?:thread\.run\.cancelling )?thread\.run\.(?:completed|incomplete|failed|cancelled|expired) "
_ORDER = re.compile(
    r"(?:(?:thread\.created )?thread\.run\.created |thread\.run\.step\.completed )thread\.run\.queued "
    rf"(?:thread\.run\.in_progress (?:{_MESSAGE}|{_CALLS}thread\.run\.step\.completed )*)?"
    rf"(?:{_CALLS}thread\.run\.requires_action |{_CALLS}thread\.run\.step\.(?:failed|cancelled) {_END}|{_END}"
    r"|error )done "
)
"""An error ends the stream of a run that goes on elsewhere."""


class WireChecks:
    """Notes the answers of every service, from now on until the test is over, and finds what is wrong with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[tuple[str, int, Any]] = []
        """Endpoint, status and body."""
        self.streams: list[tuple[str, list[tuple[str, Any]], bool]] = []
        """Endpoint, events, and whether they were read to their end."""
        handle = AssistantsService.handle
        checks = self

        async def noted(service: AssistantsService, request: WireRequest) -> WireAnswer:
            answer = await handle(service, request)
            endpoint = _endpoint_of(request)
            if answer.events is not None:
                return WireAnswer(answer.status, None, answer.headers, checks._noted(endpoint, answer.events))
            checks.answers.append((endpoint, answer.status, json.loads(json.dumps(answer.body))))
            return answer

        monkeypatch.setattr(AssistantsService, "handle", noted)

    async def _noted(
        self, endpoint: str, events: AsyncGenerator[tuple[str, Any], None]
    ) -> AsyncGenerator[tuple[str, Any], None]:
        told: list[tuple[str, Any]] = []
        whole = False
        try:
            async with aclosing(events):
                async for event in events:
                    told.append(json.loads(json.dumps(event)))
                    whole = event == DONE
                    yield event
        finally:
            self.streams.append((endpoint, told, whole))

    def problems(self) -> list[str]:
        """What is wrong with what was noted."""
        found = [problem for answer in self.answers for problem in _problems_of_answer(*answer)]
        for endpoint, events, whole in self.streams:
            found += [problem for name, data in events for problem in _problems_of_event(name, data)]
            if whole:
                found += [f"{endpoint}: {problem}" for problem in problems_of_order(events)]
        return found


def _problems_of_answer(endpoint: str, status: int, body: Any) -> list[str]:
    if status != 200:
        return _against("ErrorResponse", body, f"{endpoint} {status}")
    found = [
        problem
        for one in (body["data"] if _LISTS.match(endpoint) else [body])
        for problem in _read(_MODELS[endpoint], one, endpoint)
    ]
    return [*found, *_against(schema_of_answer(endpoint), body, endpoint)] if contract_is_here() else found


def _problems_of_event(name: str, data: Any) -> list[str]:
    if name == "done":
        return []
    found = _read(beta.AssistantStreamEvent, {"event": name, "data": data}, name)
    if name == "error":
        return found
    kind = data["object"]
    if kind in _SCHEMAS:
        return [*found, *_against(_SCHEMAS[kind], data, name)]
    return found if kind.endswith(".delta") else [*found, f"{name} carries a {kind}"]


def _read(model: Any, body: Any, place: str) -> list[str]:
    try:
        TypeAdapter(model).validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        return [f"{place}: {error}"]
    return []


def _against(schema: Mapping[str, Any] | str, body: Any, place: str) -> list[str]:
    if not contract_is_here():
        return []
    return [f"{place} {problem}" for problem in contract_problems(schema, body)]


def _endpoint_of(request: WireRequest) -> str:
    parts = request.path.strip("/").split("/")
    return f"{request.method} /" + "/".join(part if part in _COLLECTIONS else "{id}" for part in parts)


def problems_of_order(events: Sequence[tuple[str, Any]]) -> list[str]:
    """Where a whole stream of events departs from the official order, or is not one story."""
    names = [name for name, _ in events]
    if not _ORDER.fullmatch("".join(f"{name} " for name in names)):
        return [f"the events came in this order: {', '.join(names)}"]
    problems = []
    texts: dict[str, str] = {}
    known = set() if names[0].endswith(".created") else {data["id"] for _, data in events[:2]}
    for name, data in events[:-1]:
        if name == "error":
            continue
        word = name.rpartition(".")[2]
        if word == "created":
            known.add(data["id"])
        if data["id"] not in known:
            problems.append(f"{name} tells of {data['id']}, which was not created")
        if data.get("status") != _STATUS.get(name, _STATUS.get(word, word)):
            problems.append(f"{name} tells of an object that is {data.get('status')}")
        if name == "thread.message.delta":
            piece = "".join(part["text"].get("value") or "" for part in data["delta"]["content"])
            texts[data["id"]] = texts.get(data["id"], "") + piece
        if name in {"thread.message.completed", "thread.message.incomplete"}:
            whole = "".join(part["text"]["value"] for part in data["content"])
            if whole != texts.get(data["id"], ""):
                problems.append(f"the pieces of {data['id']} are {texts.get(data['id'])!r}, it says {whole!r}")
    return problems


_STATUS = {"created": "in_progress", "delta": None, "thread.created": None, "thread.run.created": "queued"}
"""Of the object that an event of this name, or of this last word, tells of; else the word itself."""
