"""A small scripted server that speaks the Assistants v2 protocol, over HTTP, with the ways that such servers have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import Self

from assistantguard.sandbox.server import BackgroundServer
from assistantguard.sandbox.streams import Dropped

__all__ = ["AssistantsServer", "Calls", "Ends", "Says", "ServerWays"]

MODEL = "gpt-4o"
EXPIRES_AFTER = 600
ENDED = {"completed", "failed", "incomplete", "cancelled", "expired"}


@dataclass(frozen=True, slots=True)
class Says:
    """A model call that answers with text."""

    text: str
    statuses: Sequence[str] = ("queued", "in_progress")
    """What the run is found as, one look after another, before it is done."""


@dataclass(frozen=True, slots=True)
class Calls:
    """A model call that asks for functions: name and arguments, by call id."""

    calls: Mapping[str, tuple[str, str]]
    statuses: Sequence[str] = ("queued", "in_progress")


@dataclass(frozen=True, slots=True)
class Ends:
    """A run that ends otherwise."""

    status: str
    error: Mapping[str, str] | None = None
    reason: str | None = None
    text: str = ""
    statuses: Sequence[str] = ("in_progress",)


Act = Says | Calls | Ends


@dataclass(slots=True)
class ServerWays:
    """What servers differ in."""

    usage: bool = True
    """Whether runs and steps tell usage."""
    run_usage: bool = True
    poll_after_ms: int | None = None
    cancels_requires_action: bool = True
    cancelled_after: int = 0
    """How many looks a run is found cancelling."""
    locks: bool = True
    lock_text: str | None = None
    """What it says of an active run, instead of the official words."""
    deletes_messages: bool = True
    keeps_metadata: bool = True
    lists_steps: bool = True
    filters_by_run: bool = True
    tells_run_of_message: bool = True
    streams: bool = True
    stream_breaks: bool = False
    extra_fields: bool = False
    refuses_runs: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """What the next attempts to begin a run are answered with."""
    loses: set[str] = field(default_factory=set)
    """Routes (``"runs"``, ``"messages"``, ``"submit_tool_outputs"``) whose next answer is lost after the work."""


class AssistantsServer:
    """The server. Everything that it holds may be looked at.

    Args:
        acts: What its model does, call by call; afterwards it says ``Fine.``.
        ways: How it differs.
        assistant: Fields of its assistant.
    """

    def __init__(self, *acts: Act, ways: ServerWays | None = None, **assistant: Any) -> None:
        self.acts: deque[Act] = deque(acts)
        self.ways = ways or ServerWays()
        self.assistant = {
            "id": "asst_1",
            "object": "assistant",
            "model": MODEL,
            "instructions": "You answer questions about orders.",
            "tools": [],
            **assistant,
        }
        self.threads: dict[str, list[dict[str, Any]]] = {}
        """Messages, oldest first, by thread."""
        self.runs: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, list[dict[str, Any]]] = {}
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []
        """Method, path, body and headers."""
        self._plans: dict[str, tuple[deque[str], Act]] = {}
        self._count = 0
        self._lock = threading.RLock()
        self._stack = contextlib.ExitStack()
        self.base_url = ""

    def __enter__(self) -> Self:
        app = Starlette(routes=[Route("/v1/{path:path}", self._answer, methods=["GET", "POST", "DELETE"])])
        server = self._stack.enter_context(
            contextlib.closing(BackgroundServer(app, host="127.0.0.1", port=0, on_close=lambda: None))
        )
        self.base_url = f"http://127.0.0.1:{server.port}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def client(self, **options: Any) -> openai.OpenAI:
        client = openai.OpenAI(api_key="sk-test", base_url=self.base_url, **options)
        self._stack.callback(client.close)
        return client

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key="sk-test", base_url=self.base_url, **options)

    def bodies(self, method: str, end: str) -> list[Any]:
        """The bodies of requests whose path ends so."""
        return [body for seen, path, body, _ in self.requests if seen == method and path.endswith(end)]

    def texts(self, thread_id: str | None = None) -> list[tuple[str, str]]:
        """Role and text of a thread's messages, oldest first; of the only thread where none is named."""
        (thread_id,) = [thread_id] if thread_id else self.threads
        return [(each["role"], each["content"][0]["text"]["value"]) for each in self.threads[thread_id]]

    @property
    def statuses(self) -> list[str]:
        """Of all runs, in the order they were begun."""
        return [run["status"] for run in self.runs.values()]

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        path = "/" + request.path_params["path"]
        headers = dict(request.headers)
        with self._lock:
            self.requests.append((request.method, path, body, headers))
            parts = path.strip("/").split("/")
            answer = self._route(request.method, parts, body or {}, dict(request.query_params))
            if request.method == "POST" and parts[-1] in self.ways.loses:
                self.ways.loses.discard(parts[-1])
                return Dropped()
        return answer

    def _route(self, method: str, parts: list[str], body: dict[str, Any], query: dict[str, str]) -> Response:
        if parts[0] == "assistants":
            return self._json(self.assistant)
        if parts[0] == "vector_stores":
            return self._vector_store(method, parts)
        if parts == ["threads"]:
            return self._json(self._new_thread(body))
        if parts[0] != "threads" or parts[1] not in self.threads:
            return _error(404, f"No thread found with id '{parts[1] if len(parts) > 1 else ''}'.")
        thread_id, rest = parts[1], parts[2:]
        if not rest:
            if method == "DELETE":
                del self.threads[thread_id]
            return self._json({"id": thread_id, "object": "thread"})
        if rest[0] == "messages":
            return self._messages(method, thread_id, rest[1:], body, query)
        if len(rest) == 1:
            if method == "GET":
                runs = [run for run in self.runs.values() if run["thread_id"] == thread_id]
                return self._page(runs, query)
            return self._new_run(thread_id, body)
        return self._run(method, thread_id, rest[1], rest[2:], body, query)

    def _vector_store(self, method: str, parts: list[str]) -> Response:
        if method == "GET" and len(parts) == 1:
            return self._page([], {})
        counts = {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}
        return self._json({"id": "vs_1", "object": "vector_store", "status": "completed", "file_counts": counts})

    def _new_thread(self, body: dict[str, Any]) -> dict[str, Any]:
        thread_id = self._id("thread")
        self.threads[thread_id] = []
        for message in body.get("messages", ()):
            self._add_message(thread_id, message)
        return {"id": thread_id, "object": "thread", "created_at": int(time.time()), "metadata": {}}

    def add_message(self, thread_id: str, role: str, text: str) -> dict[str, Any]:
        """Put a message into a thread, as a request does."""
        return self._add_message(thread_id, {"role": role, "content": text})

    def _add_message(self, thread_id: str, body: dict[str, Any], run_id: str | None = None) -> dict[str, Any]:
        content = body["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": {"value": content, "annotations": []}}]
        else:
            content = [
                {"type": "text", "text": {"value": part["text"], "annotations": []}} if part["type"] == "text" else part
                for part in content
            ]
        message = {
            "id": self._id("msg"),
            "object": "thread.message",
            "created_at": int(time.time()),
            "thread_id": thread_id,
            "role": body["role"],
            "content": content,
            "attachments": body.get("attachments", []),
            "status": "completed",
            "run_id": run_id if self.ways.tells_run_of_message else None,
            "metadata": body.get("metadata", {}) if self.ways.keeps_metadata else {},
        }
        self.threads[thread_id].append(message)
        return message

    def _messages(
        self, method: str, thread_id: str, rest: list[str], body: dict[str, Any], query: dict[str, str]
    ) -> Response:
        messages = self.threads[thread_id]
        if rest:
            if not self.ways.deletes_messages:
                return _error(405, "Method Not Allowed")
            active = self._active(thread_id)
            if active is not None and self.ways.locks:
                return self._locked(thread_id, active)
            if all(message["id"] != rest[0] for message in messages):
                return _error(404, f"No message found with id '{rest[0]}'.")
            self.threads[thread_id] = [message for message in messages if message["id"] != rest[0]]
            return self._json({"id": rest[0], "object": "thread.message.deleted", "deleted": True})
        if method == "GET":
            wanted = query.get("run_id") if self.ways.filters_by_run else None
            return self._page([each for each in messages if wanted is None or each["run_id"] == wanted], query)
        active = self._active(thread_id)
        if active is not None and self.ways.locks:
            return self._locked(thread_id, active)
        return self._json(self._add_message(thread_id, body))

    def _locked(self, thread_id: str, run_id: str) -> Response:
        official = f"Can't add messages to {thread_id} while a run {run_id} is active."
        return _error(400, self.ways.lock_text or official)

    def _active(self, thread_id: str) -> str | None:
        for run in self.runs.values():
            if run["thread_id"] == thread_id and run["status"] not in ENDED:
                return str(run["id"])
        return None

    def begin(self, thread_id: str, **fields: Any) -> dict[str, Any]:
        """Begin a run, as a request does."""
        now = int(time.time())
        run: dict[str, Any] = {
            "id": self._id("run"),
            "object": "thread.run",
            "created_at": now,
            "expires_at": now + EXPIRES_AFTER,
            "thread_id": thread_id,
            "assistant_id": "asst_1",
            "status": "queued",
            "model": fields.get("model") or self.assistant["model"],
            "tools": fields.get("tools", self.assistant["tools"]),
            "usage": None,
            "last_error": None,
            "required_action": None,
            "incomplete_details": None,
            "max_completion_tokens": fields.get("max_completion_tokens"),
            "metadata": fields.get("metadata", {}) if self.ways.keeps_metadata else {},
        }
        self.runs[run["id"]], self.steps[run["id"]] = run, []
        self._plan(run["id"])
        return run

    def _plan(self, run_id: str) -> None:
        act = self.acts.popleft() if self.acts else Says("Fine.")
        self._plans[run_id] = deque(act.statuses), act
        self.runs[run_id]["status"] = "queued"

    def _new_run(self, thread_id: str, body: dict[str, Any]) -> Response:
        if self.ways.refuses_runs:
            status, error = self.ways.refuses_runs.pop(0)
            return JSONResponse({"error": error}, status)
        active = self._active(thread_id)
        if active is not None and self.ways.locks:
            return _error(400, self.ways.lock_text or f"Thread {thread_id} already has an active run {active}.")
        run = self.begin(thread_id, **body)
        return self._stream(run) if body.get("stream") and self.ways.streams else self._json(run)

    def _run(
        self, method: str, thread_id: str, run_id: str, rest: list[str], body: dict[str, Any], query: dict[str, str]
    ) -> Response:
        run = self.runs.get(run_id)
        if run is None:
            return _error(404, f"No run found with id '{run_id}'.")
        if rest[:1] == ["steps"]:
            return self._page(self.steps[run_id], query) if self.ways.lists_steps else _error(405, "Not Allowed")
        if rest == ["cancel"]:
            return self._cancel(run)
        if rest == ["submit_tool_outputs"]:
            return self._submit(run, body)
        self.look(run)
        headers = {} if self.ways.poll_after_ms is None else {"openai-poll-after-ms": str(self.ways.poll_after_ms)}
        return self._json(run, headers)

    def _cancel(self, run: dict[str, Any]) -> Response:
        refused = run["status"] in ENDED or run["status"] == "cancelling"
        if refused or (run["status"] == "requires_action" and not self.ways.cancels_requires_action):
            return _error(400, f"Cannot cancel run with status '{run['status']}'.")
        run["status"] = "cancelling"
        self._plans[run["id"]] = deque(["cancelling"] * self.ways.cancelled_after), Ends("cancelled")
        return self._json(run)

    def _submit(self, run: dict[str, Any], body: dict[str, Any]) -> Response:
        if run["status"] != "requires_action":
            return _error(400, f'Runs in status "{run["status"]}" do not accept tool outputs.')
        given = {each["tool_call_id"]: each["output"] for each in body["tool_outputs"]}
        step = self.steps[run["id"]][-1]
        wanted = [call["id"] for call in step["step_details"]["tool_calls"]]
        if sorted(wanted) != sorted(given):
            return _error(400, f"Expected tool outputs for call_ids {wanted}, got {[*given]}")
        for call in step["step_details"]["tool_calls"]:
            call["function"]["output"] = given[call["id"]]
        step["status"], step["usage"] = "completed", self._usage(1)
        run["required_action"] = None
        self._plan(run["id"])
        return self._stream(run) if body.get("stream") and self.ways.streams else self._json(run)

    def look(self, run: dict[str, Any]) -> None:
        """What another look finds."""
        if run["status"] in ENDED or run["status"] == "requires_action":
            return
        statuses, act = self._plans[run["id"]]
        if statuses:
            run["status"] = statuses.popleft()
            return
        if isinstance(act, Calls):
            self._call(run, act)
        else:
            self._end(run, act)

    def _call(self, run: dict[str, Any], act: Calls) -> None:
        calls = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, (name, arguments) in act.calls.items()
        ]
        run["status"] = "requires_action"
        run["required_action"] = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
        details = {"type": "tool_calls", "tool_calls": json.loads(json.dumps(calls))}
        self._add_step(run, "tool_calls", "in_progress", details)

    def _end(self, run: dict[str, Any], act: Says | Ends) -> None:
        run["status"] = "completed" if isinstance(act, Says) else act.status
        if act.text:
            message = self._add_message(run["thread_id"], {"role": "assistant", "content": act.text}, run["id"])
            details = {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
            self._add_step(run, "message_creation", "completed", details)
        if isinstance(act, Ends):
            run["last_error"] = act.error
            run["incomplete_details"] = {"reason": act.reason} if act.reason else None
        for step in self.steps[run["id"]]:
            if step["status"] == "in_progress":
                step["status"], step["usage"] = run["status"], self._usage(1)
        if self.ways.run_usage:
            run["usage"] = self._usage(len(self.steps[run["id"]]))

    def _add_step(self, run: dict[str, Any], kind: str, status: str, details: dict[str, Any]) -> None:
        usage = self._usage(1) if status == "completed" else None
        self.steps[run["id"]].append(
            {
                "id": self._id("step"),
                "object": "thread.run.step",
                "created_at": int(time.time()),
                "type": kind,
                "status": status,
                "step_details": details,
                "usage": usage,
            }
        )

    def _usage(self, calls: int) -> dict[str, int] | None:
        if not self.ways.usage:
            return None
        return {"prompt_tokens": 100 * calls, "completion_tokens": 10 * calls, "total_tokens": 110 * calls}

    def _stream(self, run: dict[str, Any]) -> Response:
        events = list(self._events(run))
        return StreamingResponse(_sent(events), media_type="text/event-stream")

    def _events(self, run: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        yield "thread.run.created", _copy(run)
        yield "thread.run.queued", _copy(run)
        run["status"] = "in_progress"
        yield "thread.run.in_progress", _copy(run)
        statuses, act = self._plans[run["id"]]
        statuses.clear()
        if isinstance(act, Calls):
            for number, (name, arguments) in enumerate(act.calls.values()):
                call = {"index": number, "type": "function", "function": {"name": name, "arguments": arguments}}
                details = {"type": "tool_calls", "tool_calls": [call]}
                yield "thread.run.step.delta", {"id": "step_0", "delta": {"step_details": details}}
        else:
            for word in act.text.split(" "):
                text = word if word == act.text.split(" ")[0] else f" {word}"
                content = [{"index": 0, "type": "text", "text": {"value": text}}]
                yield "thread.message.delta", {"id": "msg_0", "delta": {"content": content}}
                if self.ways.stream_breaks:
                    return
        yield "thread.unheard_of", {"id": "x"}
        self.look(run)
        yield f"thread.run.{run['status']}", _copy(run)
        yield "done", "[DONE]"

    def _page(self, entries: Sequence[dict[str, Any]], query: dict[str, str]) -> Response:
        ordered = list(entries) if query.get("order") == "asc" else list(entries)[::-1]
        ids = [each["id"] for each in ordered]
        if query.get("after") in ids:
            ordered = ordered[ids.index(query["after"]) + 1 :]
        limit = int(query.get("limit", "20"))
        page = ordered[:limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return self._json({"object": "list", "data": page, "has_more": len(ordered) > limit, **ends})

    def _json(self, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
        extra = {"vendor": {"node": 7}, "trace": [1, 2]} if self.ways.extra_fields else {}
        return JSONResponse({**document, **extra}, headers=dict(headers or {}))

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._count}"


def _copy(document: Any) -> Any:
    return json.loads(json.dumps(document))


def _error(status: int, message: str) -> Response:
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": body}, status)


async def _sent(events: Sequence[tuple[str, Any]]) -> AsyncIterator[str]:
    for name, data in events:
        yield f"event: {name}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n"
        await asyncio.sleep(0)
