"""A server behind respx: it answers with plain JSON, keeps every request, and looks at the books as each arrives."""

from __future__ import annotations

import importlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import respx
from respx.mocks import HTTPCoreMocker

from assistantguard import Ledger
from tests.wire.contract import endpoint_of

__all__ = [
    "MOCKER",
    "MODEL",
    "FakeServer",
    "SeenRequest",
    "answer",
    "error",
    "function_call",
    "message",
    "transport_error",
]

MODEL = "gpt-6-luna"
CORE = "httpcore2" if openai.DefaultHttpxClient.__mro__[1].__module__.startswith("httpx2") else "httpcore"
"""What the installed SDK sends with: openai 3 has httpx2, older ones have httpx."""

if CORE == "httpcore2":

    class _HTTPCore2Mocker(HTTPCoreMocker):
        name = "httpcore2"
        targets = [target.replace("httpcore.", "httpcore2.", 1) for target in HTTPCoreMocker.targets]  # noqa: RUF012


MOCKER = CORE


def transport_error(name: str) -> Exception:
    """An exception of the transport that the installed SDK uses: ``ConnectError``, ``ReadTimeout``, …"""
    kind: type[Exception] = getattr(importlib.import_module(CORE), name)
    return kind("made by a test")


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any
    open_holds: int
    """How many holds were open in the guard's ledger at that moment."""

    @property
    def endpoint(self) -> str:
        return endpoint_of(self.method, self.path)


def message(text: str = "Hello.", **overrides: Any) -> dict[str, Any]:
    """An output item with text."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
        **overrides,
    }


def function_call(call_id: str = "call_1", name: str = "lookup", arguments: str = '{"order": "W1"}') -> dict[str, Any]:
    """An output item that asks for a tool."""
    return {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 110,
}


def answer(*output: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """A response document. An override of ``...`` leaves the field out."""
    document = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": MODEL,
        "output": [*(output or (message(),))],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": USAGE,
        **overrides,
    }
    return {name: value for name, value in document.items() if value is not ...}


def error(status: int, text: str = "No.", *, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx.Response:
    """An HTTP error with the API's body."""
    body = {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None, **fields}}
    return httpx.Response(status, json=body, headers=dict(headers or {}))


Answer = dict[str, Any] | httpx.Response | Exception
Route = Callable[[SeenRequest], Answer]


@dataclass
class FakeServer:
    """Everything is answered; `answers` are what paid requests get, in order, afterwards ``Hello.``."""

    ledger: Ledger
    answers: deque[Answer] = field(default_factory=deque)
    routes: dict[str, Route | Answer] = field(default_factory=dict)
    """Overrides by endpoint, for example ``{"GET /vector_stores": error(404)}``."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """What stands in every conversation, newest first."""
    requests: list[SeenRequest] = field(default_factory=list)
    _count: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a request: respx's side effect."""
        seen = SeenRequest(
            request.method,
            request.url.path,
            dict(request.url.params),
            {name.lower(): value for name, value in request.headers.items()},
            json.loads(request.content) if request.content else None,
            len(self.ledger.open_holds()),
        )
        self.requests.append(seen)
        answered = self._answer(seen)
        if isinstance(answered, Exception):
            raise answered
        return httpx.Response(200, json=answered) if isinstance(answered, dict) else answered

    def to(self, endpoint: str) -> list[SeenRequest]:
        """The requests that came to an endpoint."""
        return [seen for seen in self.requests if seen.endpoint == endpoint]

    def bodies(self, endpoint: str) -> list[Any]:
        """The bodies that came to an endpoint."""
        return [seen.body for seen in self.to(endpoint)]

    def mount(self, router: respx.MockRouter) -> None:
        """Answer everything that goes through `router`."""
        router.route().mock(side_effect=self)

    def _answer(self, seen: SeenRequest) -> Answer:
        route = self.routes.get(seen.endpoint)
        if route is not None:
            return route(seen) if callable(route) else route
        if seen.endpoint == "POST /responses":
            return self.answers.popleft() if self.answers else answer()
        if seen.endpoint == "POST /responses/input_tokens":
            return {"object": "response.input_tokens", "input_tokens": 100}
        if seen.endpoint == "POST /conversations":
            return {"id": self._id("conv"), "object": "conversation", "created_at": 1, "metadata": {}}
        if seen.endpoint == "GET /conversations/{id}/items":
            return self._page(self.items)
        if seen.endpoint == "DELETE /conversations/{id}/items/{id}":
            self.items = [item for item in self.items if item["id"] != seen.path.rpartition("/")[2]]
        if seen.endpoint == "POST /conversations/{id}/items":
            return self._page([])
        if seen.endpoint == "GET /vector_stores":
            return self._page([])
        if seen.endpoint in {"POST /vector_stores", "GET /vector_stores/{id}"}:
            return self.vector_store()
        return {"id": "gone", "object": "deleted", "deleted": True, "created_at": 1, "metadata": {}}

    def vector_store(self, **overrides: Any) -> dict[str, Any]:
        """A store that is ready."""
        counts = {"in_progress": 0, "completed": 2, "failed": 0, "cancelled": 0, "total": 2}
        return {
            "id": "vs_1",
            "object": "vector_store",
            "created_at": 1,
            "name": "s",
            "status": "completed",
            "usage_bytes": 10,
            "file_counts": counts,
            "metadata": {},
            "last_active_at": 1,
            **overrides,
        }

    def _page(self, data: list[dict[str, Any]], **overrides: Any) -> dict[str, Any]:
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        page = {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}
        return {**page, **overrides}

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"
