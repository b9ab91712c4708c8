"""A scripted stand-in for files, batches and background responses, as far as batches need them, below the real SDK."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import openai
from openai import DefaultHttpxClient

from assistantguard import Assistant, AssistantGuard, Policy

__all__ = ["HTTP", "Api", "Killed", "Lost", "error_answer"]

_BASE: Any = DefaultHttpxClient.__mro__[1]
HTTP: Any = __import__(_BASE.__module__.partition(".")[0])
"""The HTTP library that this SDK works with."""
INPUT, OUTPUT = 20, 10
"""Tokens that each answer is billed for."""


class Killed(BaseException):
    """The process ends here."""


class Lost(Exception):
    """The connection is lost here."""


class Api:
    """A server. Batches are done after so many looks at them."""

    def __init__(self, looks: int = 1) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.responses: dict[str, dict[str, Any]] = {}
        self.done: Counter[str] = Counter()
        """How often each text was answered."""
        self.begun: Counter[str] = Counter()
        """How often a response in the background was begun for each text."""
        self.requests: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        """Of the jobs, as they came."""
        self.end = "completed"
        """What batches end in."""
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda body: None
        """A line's own end, in place of an answer; ``{}`` leaves the line out."""
        self.hook: Callable[[str, str], None] = lambda moment, request: None
        """Called before and after each request is worked on."""
        self.looks = looks
        self.refuse: Callable[[dict[str, Any]], Any] = lambda body: None
        """The answer that a response in the background is refused with, if it is."""
        self.refusal: int | None = None
        """The HTTP status that every request is refused with."""

    def client(self) -> openai.OpenAI:
        transport = HTTP.MockTransport(self._serve)
        http = HTTP.Client(transport=transport)
        return openai.OpenAI(api_key="sk-test", base_url="http://api.test/v1", http_client=http, max_retries=0)

    def async_client(self) -> openai.AsyncOpenAI:
        transport = HTTP.MockTransport(self._serve)
        http = HTTP.AsyncClient(transport=transport)
        return openai.AsyncOpenAI(api_key="sk-test", base_url="http://api.test/v1", http_client=http, max_retries=0)

    def guard(self, policies: Sequence[Policy], assistant: Assistant | None = None, **options: Any) -> AssistantGuard:
        options.setdefault("sinks", [])
        return AssistantGuard(self.client(), assistant or Assistant("gpt-4.1-mini"), policies, **options)

    def _serve(self, request: Any) -> Any:
        name = f"{request.method} {request.url.path.removeprefix('/v1')}"
        self.requests.append(name)
        try:
            self.hook("before", name)
            answer = self._work(request, name)
            self.hook("after", name)
        except Lost as error:
            raise HTTP.ReadError("lost", request=request) from error
        return answer

    def _work(self, request: Any, name: str) -> Any:
        if self.refusal is not None:
            return error_answer(self.refusal, "wrong key", "invalid_api_key")
        if name == "POST /files":
            return self._upload(request)
        if name == "GET /files":
            return _list(self.files)
        if name == "POST /batches":
            return self._create(json.loads(request.content))
        if name == "GET /batches":
            return _list(self.batches)
        if name == "POST /responses":
            return self._respond(json.loads(request.content))
        one = re.fullmatch(r"(GET|POST) /(files|batches|responses)/([^/]+)(/content|/cancel)?", name)
        assert one is not None, name
        kind, key = one[2], one[3]
        held: dict[str, Any] = getattr(self, kind).get(key)
        if held is None:
            return error_answer(404, "not found", None)
        if kind == "files":
            return HTTP.Response(200, content=held["content"])
        if one[4] == "/cancel":
            return self._cancel(kind, held)
        self._look(kind, held)
        return HTTP.Response(200, json={key: value for key, value in held.items() if key != "looks"})

    def _upload(self, request: Any) -> Any:
        filename = re.search(rb'filename="([^"]+)"', request.content)
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        parts = request.content.split(b"--" + boundary)
        content = next(part for part in parts if b"filename=" in part).partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        assert filename is not None
        return HTTP.Response(200, json=_without_content(self._file(filename[1].decode(), content)))

    def _file(self, filename: str, content: bytes) -> dict[str, Any]:
        key = f"file-{len(self.files) + 1}"
        made = {"id": key, "object": "file", "filename": filename, "purpose": "batch", "bytes": len(content)}
        self.files[key] = {**made, "created_at": 1, "status": "processed", "content": content}
        return self.files[key]

    def _create(self, body: dict[str, Any]) -> Any:
        assert body["endpoint"] == "/v1/responses"
        assert body["completion_window"] == "24h"
        lines = self.files[body["input_file_id"]]["content"].splitlines()
        key = f"batch_{len(self.batches) + 1}"
        counts = {"total": len(lines), "completed": 0, "failed": 0}
        made = {"id": key, "object": "batch", "created_at": 1, "status": "in_progress", "request_counts": counts}
        self.batches[key] = {**made, **body, "looks": 0}
        return HTTP.Response(200, json=made)

    def _look(self, kind: str, held: dict[str, Any]) -> None:
        held["looks"] += 1
        if held["looks"] <= self.looks:
            return
        if kind == "batches" and held["status"] == "in_progress":
            self._finish(held, self.end)
        if kind == "responses" and held["status"] == "queued":
            held.update(self._answered(held["id"], held["body"]), status="completed")

    def _finish(self, batch: dict[str, Any], end: str) -> None:
        batch["status"] = end
        if end == "failed":
            batch["errors"] = {"data": [{"code": "invalid_file", "message": "the file is bad"}]}
            return
        good: list[str] = []
        bad: list[str] = []
        for raw in self.files[batch["input_file_id"]]["content"].splitlines():
            line = json.loads(raw)
            self.bodies.append(line["body"])
            special = self.answer(line["body"])
            if special is None:
                answer = self._answered(f"resp_{line['custom_id']}", line["body"])
                special = {"response": {"status_code": 200, "request_id": "req_1", "body": answer}, "error": None}
            if special:
                failed = special.get("error") is not None or special["response"]["status_code"] >= 400
                (bad if failed else good).append(json.dumps({"id": "x", "custom_id": line["custom_id"], **special}))
        batch["request_counts"] = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = self._file(name, "\n".join(lines).encode())["id"]

    def _cancel(self, kind: str, held: dict[str, Any]) -> Any:
        if kind == "batches":
            self._finish(held, "cancelled")
        else:
            held["status"] = "cancelled"
        return HTTP.Response(200, json={key: value for key, value in held.items() if key not in {"looks", "body"}})

    def _respond(self, body: dict[str, Any]) -> Any:
        assert body["background"] is True
        refused = self.refuse(body)
        if refused is not None:
            return refused
        self.bodies.append(body)
        self.begun[body["input"][-1]["content"]] += 1
        key = f"resp_{len(self.responses) + 1}"
        self.responses[key] = {"id": key, "object": "response", "status": "queued", "looks": 0, "body": body}
        return HTTP.Response(200, json={"id": key, "object": "response", "status": "queued", "model": body["model"]})

    def _answered(self, response_id: str, body: dict[str, Any]) -> dict[str, Any]:
        text = body["input"] if isinstance(body["input"], str) else body["input"][-1]["content"]
        self.done[text] += 1
        said = {"type": "output_text", "text": f"re: {text}", "annotations": []}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [said]}
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        return {
            "id": response_id,
            "object": "response",
            "status": "completed",
            "model": body["model"],
            "output": [message],
            "usage": usage,
            "service_tier": "default",
        }


def _without_content(file: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in file.items() if key != "content"}


def _list(held: dict[str, dict[str, Any]]) -> Any:
    data = [_without_content(each) for each in reversed(held.values())]
    return HTTP.Response(200, json={"object": "list", "data": data, "has_more": False})


def error_answer(status: int, message: str, code: str | None = None) -> Any:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return HTTP.Response(status, headers={"retry-after-ms": "1"}, json={"error": error})
